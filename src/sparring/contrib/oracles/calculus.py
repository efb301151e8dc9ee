r"""The calculus oracle: derivatives and integrals that a step states.

Contract: decided are links of a chain with a derivative or an integral (``\frac{d}{dx} x^3 = 3x^2``, ``f'(x) = 2x`` where
the text defines f, ``\int_0^1 x^2 dx = 1/3``), and sentences ("the derivative of $x^3$ is $3x^2$"). An antiderivative is
checked by differentiating it, so its constant is not asked for. ``wrong`` only where both sides differ clearly at every
fixed point and under every usual reading, name the same variables, and neither the words nor the form make them an equation
to be solved; ``correct`` only where `algebra.py` has no doubt about the rest of the step. Integrals are exact for
polynomials and otherwise a Gauss quadrature that is given up where its estimates differ; values are those of `values.py`:
no `eval`, and bounded on any text. Not here: limits, improper and multiple integrals, implicit differentiation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal, NamedTuple

from sparring.oracles import algebra
from sparring.oracles.chains import Chain, find_chains
from sparring.oracles.expressions import (
    GREEK,
    Functions,
    Node,
    Parser,
    inlined,
    number,
    parse,
    replaced,
    variables,
    walk,
)
from sparring.oracles.polynomials import rational
from sparring.oracles.reading import Token, TooLargeError, UndefinedError, UnreadableError, tokenize_formula
from sparring.oracles.values import Reading, Value, as_complex, evaluate, same, sample_points
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

Agreement = Literal["same", "different", "unclear"]
Scope = Literal["factor", "product", "sum"]
SCOPES: tuple[Scope, ...] = ("factor", "product", "sum")
"""How much of a product or sum an operator without brackets may cover."""

MAX_INTEGRALS = 12
MAX_NODES = 1500
MAX_ORDER = 4
# Letters that stand for constants beside the variable; every other letter may depend on it.
CONSTANTS = frozenset("abcknmpqABCDK")
CALCULUS = frozenset(("derivative", "partial", "prime", "integral", "antiderivative", "between"))

_SIGNS = re.compile(
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


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the derivatives and integrals of `step`; never raises on bad text, never runs unbounded."""
    try:
        if not _SIGNS.search(step):
            return Verdict("undecided", "calculus:nothing_to_check")
        chains = find_chains(step)
        texts = [*map(algebra.chains_of, (problem.question, *prefix[-algebra.MAX_PREFIX :])), chains]
        found = _findings(step, chains, algebra.defined(texts))
    except (TooLargeError, RecursionError) as error:
        return Verdict("undecided", "calculus:too_large", str(error))
    if algebra.RETRACTED.search(step):
        found = [replace(one, truth="undecided", reason="calculus:retracted") if one.truth == "wrong" else one
                 for one in found]  # fmt: skip
    open_ones = [one for one in found if one.truth != "correct" and one.reason != "calculus:definition"]
    verified = [one for one in found if one.truth == "correct"]
    if open_ones:
        return next((one for one in open_ones if one.truth == "wrong"), open_ones[0])
    if not verified:
        return Verdict("undecided", "calculus:nothing_to_check")
    rest = step
    for start, end in (one.span for one in found if one.span is not None):
        rest = rest[:start] + " " * (end - start) + rest[end:]
    doubt = algebra.judge(problem, prefix, rest)
    if doubt.truth == "undecided" and doubt.reason not in ("algebra:nothing_to_check", "algebra:definition"):
        return Verdict("undecided", "calculus:rest_unread", doubt.detail, doubt.span)
    return verified[0]


# --- reading: formulas with derivatives and integrals ---


def read(tokens: Sequence[Token], scope: Scope) -> Node:
    """Return the tree of one expression, with kinds of nodes beyond those of `expressions.parse`.

    ``derivative`` and ``partial`` (parts: body; name: variable; value: order), ``prime`` (parts: argument, if any; name:
    function; value: order), ``integral`` (body, low, high), ``antiderivative`` (body), ``between`` (body, low, high).

    Raises:
        UnreadableError: anything in it is not understood (`TooLargeError`: it is too long or too deep).
    """
    return _CalculusParser(tokens, scope).whole()


class _CalculusParser(Parser):
    def __init__(self, tokens: Sequence[Token], scope: Scope) -> None:
        super().__init__(tokens)
        self.scope = scope
        self.integrals = 0
        self.differential = ""  # the variable of \frac{dx}{...} in the integral that is being read

    def ahead(self, offset: int = 1) -> str:
        place = self.position + offset
        return self.tokens[place].text if place < len(self.tokens) else ""

    def variable(self) -> str:
        name = self.text
        if self.kind != "letter" and not (self.kind == "command" and name in GREEK):
            raise UnreadableError("a variable was expected")
        self.position += 1
        return name

    def at_differential(self) -> bool:
        following = self.tokens[self.position + 1 : self.position + 2]
        named = any(one.kind == "letter" or one.text in GREEK for one in following)
        return named and self.kind == "letter" and self.text == "d"

    def starts_atom(self) -> bool:
        if self.integrals and self.at_differential():
            return False
        return self.text in ("int", "∫") or super().starts_atom()

    def atom(self) -> Node:
        if (self.kind, self.text) in (("command", "int"), ("symbol", "∫")):
            return self.integral()
        divided = self.ahead() in ("/", "^") or (self.ahead(2) == "/" and self.ahead(3) == "d")
        return self.operator("/", "") if self.text == "d" and divided else super().atom()

    def named(self, name: str) -> Node:
        order = 0
        while self.text in ("'", "’", "′"):
            order += 1
            self.position += 1
        if not order:
            return super().named(name)
        return Node("prime", (self.group("("),) if self.text == "(" else (), name, Fraction(order))

    def fraction(self) -> Node:
        if self.text != "{" or self.ahead() not in ("d", "partial"):
            return super().fraction()
        if self.integrals and self.ahead(3) == "}" and self.ahead(5) != "d":
            self.position += 2
            self.differential = self.variable()
            self.take("}")
            return Node("quotient", (number(1), self.argument()))
        self.position += 1
        return self.operator("}", "{")

    def sum(self) -> Node:
        return self.evaluated(super().sum(), "sum")

    def product(self) -> Node:
        return self.evaluated(super().product(), "product")

    def postfix(self) -> Node:
        node = super().postfix()
        if self.text == "_" and self.tokens[self.position - 1].text in ("]", ")"):
            return Node("between", (node, *self.bounds()))
        return self.evaluated(node, "factor")

    def evaluated(self, node: Node, scope: Scope) -> Node:
        """The expression between bounds where a bar with bounds follows: ``x^3|_0^1``."""
        if self.scope == scope and self.text == "|" and self.ahead() == "_":
            self.position += 1
            return Node("between", (node, *self.bounds()))
        return node

    def order(self) -> int:
        if self.text != "^":
            return 1
        self.position += 1
        exponent = self.script()
        if exponent.kind != "number" or exponent.value not in range(1, 10):
            raise UnreadableError("the order of a derivative")
        return int(exponent.value)

    def operator(self, closing: str, opening: str) -> Node:
        """``d/dx``, ``dy/dx`` or, from inside the numerator, ``\\frac{d^2}{dx^2}``, with what it is applied to."""
        self.descend()
        sign, body = self.text, None
        self.position += 1
        order = self.order()
        if self.text != closing and self.ahead() == closing:
            body = Node("variable", name=self.variable())
        elif self.text != closing:
            body = self.group("(") if self.text == "(" else self.product()
        self.take(closing)
        if opening:
            self.take(opening)
        self.take(sign)
        name = self.variable()
        if self.order() != order:
            raise UnreadableError("two orders of a derivative")
        if opening:
            self.take("}")
        if body is None:
            body = {"factor": self.postfix, "product": self.product, "sum": self.sum}[self.scope]()
        self.depth -= 1
        return Node("derivative" if sign == "d" else "partial", (body,), name, Fraction(order))

    def bound(self) -> Node:
        if self.text == "-":
            self.position += 1
            return Node("negative", (self.bound(),))
        return self.atom() if self.text == "π" else self.argument()

    def bounds(self) -> tuple[Node, Node]:
        self.take("_")
        low = self.bound()
        self.take("^")
        return low, self.bound()

    def integral(self) -> Node:
        self.position += 1
        limits = self.bounds() if self.text == "_" else ()
        outer, self.differential = self.differential, ""
        self.integrals += 1
        body = number(1) if self.at_differential() else self.sum()
        if self.at_differential():
            self.position += 1
            name = self.variable()
        elif self.differential:
            name = self.differential
        else:
            raise UnreadableError("an integral without its differential")
        self.integrals -= 1
        self.differential = outer
        return Node("integral" if limits else "antiderivative", (body, *limits), name)


# --- derivatives ---

_RULES = {
    name: parse(tokenize_formula(rule))
    for name, rule in {
        "exp": r"\exp(u)", "ln": r"1/u", "log": r"1/(u*\ln(10))", "sqrt": r"1/(2*\sqrt{u})", "abs": r"u/|u|",
        "sin": r"\cos(u)", "cos": r"-\sin(u)", "tan": r"\sec(u)*\sec(u)", "cot": r"-\csc(u)*\csc(u)",
        "sec": r"\sec(u)*\tan(u)", "csc": r"-\csc(u)*\cot(u)", "arcsin": r"1/\sqrt{1-u*u}", "arccos": r"-1/\sqrt{1-u*u}",
        "arctan": r"1/(1+u*u)",
    }.items()
}  # fmt: skip
"""Function of u → its derivative."""
_ZERO, _ONE, _MINUS_ONE = number(0), number(1), number(-1)


def differentiate(node: Node, name: str, order: int = 1) -> Node:
    """Return a derivative with respect to a variable; every other variable is constant.

    Raises:
        UnreadableError: a part of the tree has no rule.
        TooLargeError: the derivative has over `MAX_NODES` nodes, or `order` exceeds `MAX_ORDER`.
    """
    if order > MAX_ORDER or len(walk(node)) > MAX_NODES:
        raise TooLargeError("too high or too large a derivative")
    for _ in range(order):
        node = _derivative(node, name)
        if len(walk(node)) > MAX_NODES:
            raise TooLargeError("too large a derivative")
    return node


def _derivative(node: Node, name: str) -> Node:
    kind, parts = node.kind, node.parts
    if kind == "antiderivative" and node.name == name:
        return parts[0]
    if name not in variables(node) and kind not in ("antiderivative", "sigma", "application"):
        return _ZERO
    if kind == "variable":
        return _ONE
    if kind == "call" and node.name in _RULES:
        if any(one.kind == "degrees" for one in walk(node)) or any(
            name in variables(one) for one in parts[1:]
        ):
            raise UnreadableError("degrees, or a logarithm to a variable base")
        if len(parts) > 1:
            return Node(
                "quotient", (_derivative(Node("call", parts[:1], "ln"), name), Node("call", parts[1:], "ln"))
            )
        return _product(substituted(_RULES[node.name], "u", parts[0]), _derivative(parts[0], name))
    if kind not in ("sum", "negative", "product", "quotient", "power"):
        raise UnreadableError(f"the derivative of a part of kind {kind}")
    changes = [_derivative(part, name) for part in parts]
    if kind in ("sum", "negative"):
        return _sum(*changes) if kind == "sum" else _product(_MINUS_ONE, changes[0])
    (first, second), (change, other) = parts, changes
    if kind == "product":
        return _sum(_product(change, second), _product(first, other))
    relative = _product(second, Node("quotient", (change, first)))  # of a power: from its base
    if kind == "quotient":
        less = _product(_MINUS_ONE, _product(Node("quotient", (node, second)), other))
        return _sum(Node("quotient", (change, second)), less)
    if other == _ZERO:
        return _product(_product(second, Node("power", (first, _sum(second, _MINUS_ONE)))), change)
    return _product(node, _sum(_product(other, Node("call", (first,), "ln")), relative))


def _sum(*terms: Node) -> Node:
    kept = tuple(term for term in terms if term != _ZERO)
    return Node("sum", kept) if len(kept) > 1 else kept[0] if kept else _ZERO


def _product(one: Node, other: Node) -> Node:
    if _ZERO in (one, other):
        return _ZERO
    return other if one == _ONE else one if other == _ONE else Node("product", (one, other))


# --- integrals between bounds ---

_USUAL = Reading()
_PANELS = (24, 37, 50)  # no two share an interior edge other than the middle: poles are not met evenly
_GAUSS = ((0.0, 128 / 225), *(
    (sign * math.sqrt(5 + turn * 2 * math.sqrt(10 / 7)) / 3, (322 - turn * 13 * math.sqrt(70)) / 900)
    for turn in (-1, 1) for sign in (-1, 1)
))  # fmt: skip


def definite(body: Node, name: str, low: Node, high: Node) -> Node:
    """Return the integral of `body` over a variable between two bounds as a tree.

    Raises:
        UnreadableError: no polynomial, and variables are left or the quadrature does not settle.
        TooLargeError: a value exceeds the bounds.
    """
    if name in variables(low) | variables(high):
        raise UnreadableError("a bound that names the variable of integration")
    try:
        above, below = rational(body, _USUAL)
    except UnreadableError:
        above, below = {}, {}
    if set(below) != {()}:
        return number(Fraction(_quadrature(body, name, low, high)))
    terms = [number(0)]
    for monomial, coefficient in above.items():
        exponents = dict(monomial)
        exponents[name] = exponents.get(name, 0) + 1
        term = number(coefficient / below[()] / exponents[name])
        for factor, exponent in exponents.items():
            term = Node("product", (term, Node("power", (Node("variable", name=factor), number(exponent)))))
        terms.append(term)
    return between(Node("sum", tuple(terms)), name, low, high)


def between(body: Node, name: str, low: Node, high: Node) -> Node:
    """Return the value of a tree at the upper bound less its value at the lower one."""
    below = Node("product", (_MINUS_ONE, substituted(body, name, low)))
    return Node("sum", (substituted(body, name, high), below))


def substituted(body: Node, name: str, value: Node) -> Node:
    """Return `body` with an expression in place of a variable.

    Raises:
        TooLargeError: the result would have over `MAX_NODES` nodes.
    """
    nodes = walk(body)
    places = sum(one.kind == "variable" and one.name == name for one in nodes)
    if len(nodes) + places * len(walk(value)) > MAX_NODES:
        raise TooLargeError("an expression put in for a variable is too large")
    return replaced(body, name, value)


def _quadrature(body: Node, name: str, low: Node, high: Node) -> float:
    """Composite five-point Gauss rule, with three numbers of panels that must agree."""
    if _names(body) - {name} or _names(low) or _names(high) or any(one.kind == "mixed" for one in walk(body)):
        raise UnreadableError("an integral with parameters")
    estimates = []
    try:
        start, end = _real_value(low, {}), _real_value(high, {})
        for panels in _PANELS:
            half = (end - start) / panels / 2
            places = [(start + (2 * panel + 1) * half + place * half, weight * half)
                      for panel in range(panels) for place, weight in _GAUSS]  # fmt: skip
            estimates.append(sum(_real_value(body, {name: complex(at)}) * weight for at, weight in places))
    except UndefinedError as error:
        raise UnreadableError("an integrand without a real value") from error
    if not max(estimates) - min(estimates) <= max(1e-8 * abs(estimates[-1]), 1e-10):
        raise UnreadableError("the quadrature does not settle")
    return estimates[-1]


# --- are two trees the same function? ---

_POINTS = 13
_NEEDED = 4  # of them, because functions of real numbers have no value at some
_CLEAR = 1e-4  # relative distance from which two values differ
_CLEAR_DECIMALS = 0.12  # the same where a side is written in decimals


def _names(node: Node) -> frozenset[str]:
    """Return the variables of a tree; Euler's number is none."""
    return variables(node) - {"e"}


def _real_value(node: Node, point: Mapping[str, Value], reading: Reading = _USUAL) -> float:
    value = as_complex(evaluate(node, point, reading))
    if abs(value.imag) > 1e-9 * max(abs(value), 1):
        raise UndefinedError("not real")
    return value.real


def compare(left: Node, right: Node) -> Agreement:
    """Return whether two trees are the same function, at fixed points; mixed numbers may be products."""
    mixed = any(one.kind == "mixed" for side in (left, right) for one in walk(side))
    found = {_compare(left, right, reading) for reading in (_USUAL, Reading(mixed=False))[: 1 + mixed]}
    return "same" if "same" in found else "different" if found == {"different"} else "unclear"


def _compare(left: Node, right: Node, reading: Reading) -> Agreement:
    both = [*walk(left), *walk(right)]
    unknown = sorted(_names(left) | _names(right))
    if "i" in unknown or any(one.kind in ("plusminus", "percent", "degrees", "sigma") for one in both):
        return "unclear"
    clear = _CLEAR_DECIMALS if any("." in one.name for one in both if one.kind == "number") else _CLEAR
    agreed = differed = 0
    for point in sample_points(unknown, _POINTS if unknown else 1):
        try:
            first, second = _real_value(left, point, reading), _real_value(right, point, reading)
        except (UndefinedError, UnreadableError):
            continue
        agreed += same(complex(first), complex(second), 1e-7)
        differed += abs(first - second) > max(clear * max(abs(first), abs(second)), 1e-6)
        if agreed and differed:
            return "unclear"
    needed = _NEEDED if unknown else 1
    if agreed >= needed and not differed:
        return "same"
    return "different" if differed >= needed and not agreed else "unclear"


def _natural(node: Node) -> Node:
    """Return the tree with logarithms without a base as natural ones, as calculus often means them."""
    parts = tuple(_natural(part) for part in node.parts)
    name = "ln" if node.kind == "call" and node.name == "log" and len(parts) == 1 else node.name
    return node._replace(parts=parts, name=name)


def resolved(node: Node, definitions: Functions) -> Node:
    """Return the tree with derivatives, definite integrals and known functions worked out; antiderivatives stay.

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
        others = _names(body) - {node.name}
        constant = others <= CONSTANTS - set(definitions) and (not others or node.name in _names(body))
        if node.kind == "derivative" and not constant:
            raise UnreadableError("a variable that may depend on another")
        return differentiate(body, node.name, int(node.value))
    if node.kind == "integral":
        return definite(parts[0], node.name, parts[1], parts[2])
    if node.kind == "between":
        if len(_names(parts[0])) != 1:
            raise UnreadableError("bounds of an unknown variable")
        return between(parts[0], min(_names(parts[0])), parts[1], parts[2])
    made = inlined(node._replace(parts=parts), definitions)
    if made.kind == "application":
        raise UnreadableError(f"{made.name} is not defined")
    return made


# --- what a step states ---


class _Side(NamedTuple):
    """A member of a chain as it is read under every scope of its operators."""

    trees: tuple[Node | None, ...]
    start: int
    end: int

    def has(self, *kinds: str) -> bool:
        return any(one.kind in kinds for tree in self.trees if tree is not None for one in walk(tree))


def _findings(step: str, chains: Sequence[Chain], definitions: Functions) -> list[Verdict]:
    worded = list(_worded_verdicts(step, definitions))
    found = [verdict for chain in chains for verdict in _chain_verdicts(step, chain, definitions)]
    return worded + [one for one in found if not any(_covers(other, one) for other in worded)]


def _covers(verdict: Verdict, other: Verdict) -> bool:
    if other.span is None or verdict.span is None:
        return False
    return verdict.span[0] <= other.span[0] and other.span[1] <= verdict.span[1]


def _chain_verdicts(step: str, chain: Chain, definitions: Functions) -> Iterator[Verdict]:
    sides = [_side(step, chain, place) for place in range(len(chain.members))]
    if not any(side.has(*CALCULUS) for side in sides):
        head = chain.members[0].node
        if len(sides) == 2 and head is not None and head.name in definitions:
            yield Verdict("undecided", "calculus:definition", "", chain.span)
        return
    integrals = sum(
        one.kind == "integral" for side in sides for tree in side.trees if tree for one in walk(tree)
    )
    constant = any(side.has("antiderivative") for side in sides)
    sentence = re.split(r"[.!?]\s|\n", chain.prose)[-1]
    supposed = _SUPPOSED.search(sentence) is not None
    for left, right, relation in zip(sides, sides[1:], chain.relations, strict=False):
        if relation not in ("=", "~"):
            continue
        span = (left.start, right.end)
        answer = _agreement(left, right, definitions, constant) if integrals <= MAX_INTEGRALS else "unclear"
        rewritten = not (constant or left.has(*CALCULUS) or right.has(*CALCULUS))  # as algebra judges
        if answer == "different" and (supposed or rewritten or relation == "~" or _is_equation(left, right)):
            answer = "unclear"
        integral = constant or left.has("integral", "between") or right.has("integral", "between")
        yield _verdict(answer, integral, step, span)


def _verdict(answer: Agreement, integral: bool, step: str, span: tuple[int, int]) -> Verdict:
    kind = "integral" if integral else "derivative"
    if answer == "unclear":
        return Verdict("undecided", "calculus:unread", "", span)
    if answer == "same":
        return Verdict("correct", f"calculus:{kind}_holds", "", span)
    return Verdict("wrong", f"calculus:wrong_{kind}", f"does not hold: {step[span[0] : span[1]][:200]}", span)


def _is_equation(left: _Side, right: _Side) -> bool:
    """Whether both sides name functions, as an equation for one of them does."""
    named = right.has("prime", "application") or left.has("application")
    return named or (left.has("prime") and right.has("derivative", "partial"))


def _side(step: str, chain: Chain, place: int) -> _Side:
    member = chain.members[place]
    start = member.start
    if place == 0 and not chain.latex:  # the operator may stand before it as a word: ``d/dx``, ``∫ x dx``
        line = max(step.rfind(mark, 0, start) for mark in "\n=$,;") + 1
        before = _OPERATOR_BEFORE.search(step, max(line, start - 200), member.end)
        start = min(before.start(), start) if before else start
    if member.node is not None and start == member.start:
        return _Side((member.node,) * len(SCOPES), start, member.end)
    return _Side(_trees(step[start : member.end]), start, member.end)


def _trees(text: str) -> tuple[Node | None, ...]:
    trees: list[Node | None] = []
    for scope in SCOPES:
        try:
            tokens = [one for one in tokenize_formula(text) if one.kind != "newline" and one.text != "&"]
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


def _readings(left: _Side, right: _Side, definitions: Functions) -> Iterable[tuple[Node, Node, Functions]]:
    """Both members under every scope, and with ``log`` as the natural logarithm where that differs."""
    naturally = {name: (argument, _natural(body)) for name, (argument, body) in definitions.items()}
    for first, second in dict.fromkeys(zip(left.trees, right.trees, strict=True)):
        if first is not None and second is not None:
            yield first, second, definitions
            if naturally != definitions or (_natural(first), _natural(second)) != (first, second):
                yield _natural(first), _natural(second), naturally


def _equal(left: Node, right: Node) -> Agreement:
    answer = compare(left, right)
    return "unclear" if answer == "different" and _names(left) != _names(right) else answer


def _equal_but_for_constant(left: Node, right: Node) -> Agreement:
    both = _names(left) | _names(right)
    variable = {one.name for side in (left, right) for one in walk(side) if one.kind == "antiderivative"}
    variable = variable or set(both - CONSTANTS)
    if len(variable) != 1 or not variable <= _names(left) & _names(right) or not both - variable <= CONSTANTS:
        return "unclear"
    (name,) = variable
    return _equal(differentiate(left, name), differentiate(right, name))


def _worded_verdicts(step: str, definitions: Functions) -> Iterator[Verdict]:
    """Judge sentences: "the integral of $2x$ from $0$ to $3$ is $9$"."""
    for match in _WORDED.finditer(step):
        before = step[: match.start()]
        if _SCALED.search(before) or _SUPPOSED.search(re.split(r"[.!?]\s|\n", before)[-1].lower()):
            continue
        body, value = (_Side(_trees(_plain(text)), *match.span())
                       for text in (_plain(match["body"]).split("=")[-1], match["value"]))  # fmt: skip
        stated = body._replace(trees=tuple(tree and _stated(match, tree, definitions) for tree in body.trees))
        integral = not match["kind"].endswith("derivative") or "anti" in match["kind"]
        answer = _agreement(stated, value, definitions, stated.has("antiderivative"))
        if answer != "unclear" and not (answer == "different" and value.has(*CALCULUS)):
            yield _verdict(answer, integral, step, match.span())


def _stated(match: re.Match[str], body: Node, definitions: Functions) -> Node | None:
    """The derivative or integral of `body` that a sentence speaks of."""
    kind = match["kind"]
    if body.kind == "variable" and body.name in definitions:
        body = definitions[body.name][1]
    free = _names(body)
    name = match["name"] or (min(free) if len(free) == 1 else "")
    if not name:
        return None
    if kind.endswith("derivative") and "anti" not in kind:
        order = Fraction(_ORDERS.get(kind.split()[0], 1))
        return Node("partial" if "partial" in kind else "derivative", (body,), name, order)
    if match["low"] is None:
        return None if kind.startswith("definite") else Node("antiderivative", (body,), name)
    low, high = (_trees(_plain(match[bound]))[0] for bound in ("low", "high"))
    return None if low is None or high is None else Node("integral", (body, low, high), name)


def _plain(text: str) -> str:
    text = text.strip()
    if text.startswith("$"):
        return text.strip("$")
    return text[2:-2] if text.startswith("\\(") else text
