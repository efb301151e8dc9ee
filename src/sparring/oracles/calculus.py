r"""Derivatives and integrals that a step states, for the algebra oracle.

Contract: `judge_calculus` returns a verdict for every link of a chain with a derivative or an integral that it can
decide (``\frac{d}{dx} x^3 = 3x^2``, ``f'(x) = 2x`` where the text defines f, ``\int_0^1 x^2 dx = 1/3``), and for
sentences ("the derivative of $x^3$ is $3x^2$"). An antiderivative is checked by differentiating it, so its constant is
not asked for. ``wrong`` only where no usual reading saves the statement, both sides have the same variables, and
neither the words nor the form make it an equation to be solved. Verdicts of chains with an antiderivative replace all
others on them, as their sides are equal but for a constant. Not here: limits, improper and multiple integrals,
implicit differentiation, what is asked in place of stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sparring.oracles.calculus_formulas import CALCULUS, SCOPES, read
from sparring.oracles.chains import Chain
from sparring.oracles.derivatives import (
    Agreement,
    between,
    compare,
    definite,
    differentiate,
    names,
    natural,
    substituted,
)
from sparring.oracles.expressions import Functions, Node, inlined, number, replaced, walk
from sparring.oracles.reading import TooLargeError, UnreadableError, tokenize_formula
from sparring.traces.verdict import Verdict

MAX_INTEGRALS = 12
# Letters that stand for constants beside the variable; every other letter may depend on it.
CONSTANTS = frozenset("abcknmpqABCDK")

SIGNS = re.compile(
    r"\\int|∫|\\[dt]?frac\s*\{\s*(?:d|\\partial)|\bd\^?\d?[A-Za-z]?\s*/\s*d[A-Za-z]|[A-Za-z](?:['’′]+|\^\{?\s*\\prime)\s*(?:\(|=)|"
    r"[\])|]\s*_|derivative|integral",
)
_SUPPOSED = re.compile(
    r"\b(?:if|when|whenever|suppos\w*|assum\w*|let|set|setting|solv\w*|want|wants|need|needs|where|such|would|could|"
    r"should|try|trying|guess|claim\w*|maybe|perhaps|equation|condition|require\w*|satisf\w*|unless|whether)\b"
)
_OPERATOR_BEFORE = re.compile(
    r"(?<![A-Za-z\\])d(?:\^?\d)?[A-Za-z]?\s*/\s*d[A-Za-z](?:\^\d)?|∫|\\int(?![a-z])"
)
_MATHEMATICS = r"\$[^$\n]{1,300}\$|\\\([^\n]{1,300}?\\\)"
_WORDED = re.compile(
    rf"\b(?P<kind>(?:(?:first|second|third|partial|indefinite|definite)\s++)?(?:anti)?derivative|(?:(?:in)?definite\s++)?integral)"
    rf"\s++of\s++(?P<body>{_MATHEMATICS}|[^\n,;:$?!]{{1,120}}?)"
    rf"(?:\s++with\s++respect\s++to\s++\$?(?P<name>[A-Za-z])\$?)?"
    rf"(?:\s++from\s++(?P<low>{_MATHEMATICS}|[^\s$]{{1,20}})\s++to\s++(?P<high>{_MATHEMATICS}|[^\s$]{{1,20}}))?"
    rf",?\s*+(?:\bis\b|\bequals\b|=)\s*+(?P<value>{_MATHEMATICS}|[^\n,;:$?!]{{1,120}}?)"
    r"(?=\s*+(?:[.,;]\s|[.,;]?\s*$|\n|(?:so|and|which|because|since|by|using|then|but|while)\b))",
)
_SCALED = re.compile(
    r"(?:\b(?:twice|half|times|of|over|by|minus|negative|plus|root|value|inverse|logarithmic|directional)|[-+*/^(\d])\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_ORDERS = {"second": 2, "third": 3}


class _Side(NamedTuple):
    """A member as it is read under every scope of its operators."""

    trees: tuple[Node | None, ...]
    start: int
    end: int

    @property
    def calculus(self) -> bool:
        return any(tree is not None and _kinds(tree) & CALCULUS for tree in self.trees)

    def has(self, *kinds: str) -> bool:
        return any(tree is not None and _kinds(tree) & set(kinds) for tree in self.trees)


def _kinds(node: Node) -> set[str]:
    return {one.kind for one in walk(node)}


def judge_calculus(step: str, texts: Sequence[Sequence[Chain]], denied: bool) -> list[Verdict]:
    """Return what was found about the derivatives and integrals that a step states.

    `texts` are the chains of the problem, the steps before and, last, the step; `denied` says that words of the step
    take something back, which leaves nothing wrong.
    """
    if not SIGNS.search(step):
        return []
    definitions = defined(texts)
    found: list[Verdict] = []
    for chain in texts[-1]:
        found += _chain_verdicts(step, chain, definitions)
    worded = list(_worded_verdicts(step, definitions))
    found = worded + [one for one in found if not any(covers(other, one.span) for other in worded)]
    if not denied:
        return found
    return [
        replace(one, truth="undecided", reason="algebra:retracted") if one.truth == "wrong" else one
        for one in found
    ]


def covers(verdict: Verdict, span: tuple[int, int] | None) -> bool:
    """Whether a verdict rests on a range that holds `span`."""
    if span is None or verdict.span is None:
        return False
    return verdict.span[0] <= span[0] and span[1] <= verdict.span[1]


# --- what the text defines ---


def defined(texts: Sequence[Sequence[Chain]]) -> Functions:
    """Return the functions of one variable, ``f(x) = ...`` or ``y = ...``, that texts define and never contradict."""
    bodies: dict[str, list[tuple[str, Node]]] = {}
    doubtful: set[str] = set()
    for chain in (chain for chains in texts for chain in chains):
        head, body = chain.members[0].node, chain.members[1].node
        if head is None or chain.relations[0] not in ("=", "defines"):
            continue
        applied = head.kind == "application" and len(head.parts) == 1 and head.parts[0].kind == "variable"
        if not applied and head.kind != "variable":
            continue
        if body is None:
            doubtful.add(head.name)
        elif not names(body) or _kinds(body) & {"application", "plusminus"}:
            continue  # a value, or an equation between functions
        elif head.name in names(body):
            doubtful.add(head.name)
        else:
            argument = head.parts[0].name if applied else min(names(body))
            if not applied and len(names(body)) > 1:
                doubtful.add(head.name)
            bodies.setdefault(head.name, []).append((argument, body))
    found: Functions = {}
    for name, ((argument, body), *others) in bodies.items():
        agree = all(
            compare(body, replaced(other, its, Node("variable", name=argument))) == "same"
            for its, other in others[:8]
        )
        if name not in doubtful and agree and argument in names(body):
            found[name] = (argument, body)
    return found


def resolved(node: Node, definitions: Functions) -> Node:
    """Return the tree with derivatives, definite integrals and known functions worked out.

    Antiderivatives stay, with their bodies worked out.

    Raises:
        UnreadableError: something in it is not known, or may depend on the variable.
        TooLargeError: it exceeds the bounds.
    """
    if node.kind == "prime":
        if node.name not in definitions:
            raise UnreadableError(f"{node.name} is not defined")
        argument, body = definitions[node.name]
        made = differentiate(body, argument, int(node.value))
        return substituted(made, argument, resolved(node.parts[0], definitions)) if node.parts else made
    parts = tuple(resolved(part, definitions) for part in node.parts)
    if node.kind in ("derivative", "partial"):
        body = parts[0]
        if body.kind == "variable" and body.name in definitions:
            body = definitions[body.name][1]
        others = names(body) - {node.name}
        constant = others <= CONSTANTS - set(definitions) and (not others or node.name in names(body))
        if node.kind == "derivative" and not constant:
            raise UnreadableError("a variable that may depend on another")
        return differentiate(body, node.name, int(node.value))
    if node.kind == "integral":
        return definite(parts[0], node.name, parts[1], parts[2])
    if node.kind == "between":
        if len(names(parts[0])) != 1:
            raise UnreadableError("bounds of an unknown variable")
        return between(parts[0], min(names(parts[0])), parts[1], parts[2])
    made = inlined(node._replace(parts=parts), definitions)
    if made.kind == "application":
        raise UnreadableError(f"{made.name} is not defined")
    return made


# --- chains ---


def _chain_verdicts(step: str, chain: Chain, definitions: Functions) -> Iterator[Verdict]:
    sides = [_side(step, chain, place) for place in range(len(chain.members))]
    if not any(side.calculus for side in sides):
        head = chain.members[0].node
        if len(sides) == 2 and head is not None and head.kind == "application" and head.name in definitions:
            yield Verdict("undecided", "algebra:definition", "", chain.span)
        return
    integrals = sum(
        one.kind == "integral" for side in sides for tree in side.trees if tree for one in walk(tree)
    )
    constant = any(side.has("antiderivative") for side in sides)
    sentence = re.split(r"[.!?]\s|\n", chain.prose)[-1]
    supposed = _SUPPOSED.search(sentence) is not None
    for left, right, relation in zip(sides, sides[1:], chain.relations, strict=False):
        if relation not in ("=", "~") or not (constant or left.calculus or right.calculus):
            continue
        span = (left.start, right.end)
        answer = _agreement(left, right, definitions, constant) if integrals <= MAX_INTEGRALS else "unclear"
        if answer == "different" and (supposed or relation == "~" or _is_equation(left, right)):
            answer = "unclear"
        if answer != "unclear":
            integral = constant or left.has("integral", "between") or right.has("integral", "between")
            yield _verdict(answer, integral, step, span)
        elif constant:
            yield Verdict("undecided", "algebra:unread", "", span)


def _verdict(answer: Agreement, integral: bool, step: str, span: tuple[int, int]) -> Verdict:
    kind = "integral" if integral else "derivative"
    if answer == "same":
        return Verdict("correct", f"algebra:{kind}_holds", "", span)
    return Verdict("wrong", f"algebra:wrong_{kind}", f"does not hold: {step[span[0] : span[1]][:200]}", span)


def _is_equation(left: _Side, right: _Side) -> bool:
    """Whether both sides name functions, as an equation for one of them does."""
    return right.has("prime", "application") or left.has("application") or (
        left.has("prime") and right.has("derivative", "partial")
    )  # fmt: skip


def _side(step: str, chain: Chain, place: int) -> _Side:
    member = chain.members[place]
    start = member.start
    if place == 0 and not chain.latex:
        start = _operator_start(step, member.start, member.end)
    if member.node is not None and start == member.start:
        return _Side((member.node,) * len(SCOPES), start, member.end)
    return _Side(_trees(step[start : member.end]), start, member.end)


def _operator_start(step: str, start: int, end: int) -> int:
    """Where a plain formula begins whose operator stands before it as a word: ``d/dx``, ``∫ x dx``."""
    line = max(step.rfind(mark, 0, start) for mark in "\n=$,;") + 1
    found = list(_OPERATOR_BEFORE.finditer(step, max(line, start - 200), end))
    return min(found[0].start(), start) if found else start


def _trees(text: str) -> tuple[Node | None, ...]:
    try:
        tokens = [one for one in tokenize_formula(text) if one.kind != "newline" and one.text != "&"]
    except TooLargeError:
        return (None,) * len(SCOPES)
    trees: list[Node | None] = []
    for scope in SCOPES:
        try:
            trees.append(read(tokens, scope))
        except UnreadableError:
            trees.append(None)
    return tuple(trees)


def _agreement(left: _Side, right: _Side, definitions: Functions, constant: bool) -> Agreement:
    """Compare two members under every scope: one that holds is enough, and all that are read must differ."""
    found: set[Agreement] = set()
    for first, second, known in _readings(left, right, definitions):
        try:
            one, other = resolved(first, known), resolved(second, known)
            found.add(_equal_but_for_constant(one, other) if constant else _equal(one, other))
        except UnreadableError:
            found.add("unclear")
    return "same" if "same" in found else "different" if found == {"different"} else "unclear"


def _readings(left: _Side, right: _Side, definitions: Functions) -> Iterator[tuple[Node, Node, Functions]]:
    """Both members under every scope, and with ``log`` as the natural logarithm where that differs."""
    naturally = {name: (argument, natural(body)) for name, (argument, body) in definitions.items()}
    for first, second in dict.fromkeys(zip(left.trees, right.trees, strict=True)):
        if first is not None and second is not None:
            yield first, second, definitions
            if naturally != definitions or (natural(first), natural(second)) != (first, second):
                yield natural(first), natural(second), naturally


def _equal(left: Node, right: Node) -> Agreement:
    answer = compare(left, right)
    return "unclear" if answer == "different" and names(left) != names(right) else answer


def _equal_but_for_constant(left: Node, right: Node) -> Agreement:
    both = names(left) | names(right)
    variable = {one.name for side in (left, right) for one in walk(side) if one.kind == "antiderivative"}
    variable = variable or set(both - CONSTANTS)
    if len(variable) != 1 or not variable <= names(left) & names(right) or not both - variable <= CONSTANTS:
        return "unclear"
    (name,) = variable
    return _equal(differentiate(left, name), differentiate(right, name))


# --- sentences ---


def _worded_verdicts(step: str, definitions: Functions) -> Iterator[Verdict]:
    for match in _WORDED.finditer(step):
        if _SCALED.search(step[: match.start()]) or _SUPPOSED.search(
            re.split(r"[.!?]\s|\n", step[: match.start()])[-1].lower()
        ):
            continue
        body = _plain(match["body"]).split("=")[-1]
        sides = [_Side(_trees(text), *match.span()) for text in (body, _plain(match["value"]))]
        integral = not match["kind"].endswith("derivative") or "anti" in match["kind"]
        trees = tuple(
            _stated(match, tree, definitions) if tree is not None else None for tree in sides[0].trees
        )
        constant = any(tree is not None and tree.kind == "antiderivative" for tree in trees)
        answer = _agreement(sides[0]._replace(trees=trees), sides[1], definitions, constant)
        if answer != "unclear" and not (answer == "different" and sides[1].calculus):
            yield _verdict(answer, integral, step, match.span())


def _stated(match: re.Match[str], body: Node, definitions: Functions) -> Node | None:
    """The derivative or integral of `body` that a sentence speaks of."""
    kind = match["kind"]
    if body.kind == "variable" and body.name in definitions:
        body = definitions[body.name][1]
    free = names(body)
    name = match["name"] or (min(free) if len(free) == 1 else "")
    if not name:
        return None
    if kind.endswith("derivative") and "anti" not in kind:
        order = _ORDERS.get(kind.split()[0], 1)
        return Node("partial" if "partial" in kind else "derivative", (body,), name, number(order).value)
    if match["low"] is None:
        return None if kind.startswith("definite") else Node("antiderivative", (body,), name)
    limits = [_trees(_plain(match[bound]))[0] for bound in ("low", "high")]
    if limits[0] is None or limits[1] is None:
        return None
    return Node("integral", (body, limits[0], limits[1]), name)


def _plain(text: str) -> str:
    text = text.strip()
    if text.startswith("$"):
        return text.strip("$")
    return text[2:-2] if text.startswith("\\(") else text
