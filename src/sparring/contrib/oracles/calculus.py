r"""The calculus oracle: derivatives and integrals that a step states, checked by numerical differentiation and quadrature.

Contract: decided are links of a chain with a derivative or an integral (``\frac{d}{dx} x^3 = 3x^2``, ``f'(x) = 2x`` where
the text defines f, ``\int_0^1 x^2 dx = 1/3``). Both sides are computed to `DIGITS` digits at fixed points; antiderivatives
are compared by their derivatives, so that no constant is asked for. ``wrong`` only where both sides differ clearly at every
point and under every usual reading, name the same variables, and neither the words nor the form make them an equation to
be solved; ``correct`` only where `algebra.py` has no doubt about the rest of the step. No `eval`, and bounded on any text.
Not here: what a sentence says of a derivative, limits, improper integrals, implicit differentiation.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from numpy.polynomial.legendre import leggauss

from sparring.oracles import algebra
from sparring.oracles.chains import Chain, find_chains
from sparring.oracles.expressions import GREEK, Functions, Node, Parser, number, walk
from sparring.oracles.precise import Precise, context_of
from sparring.oracles.reading import Token, TooLargeError, UndefinedError, UnreadableError, tokenize_formula
from sparring.oracles.values import Reading, sample_points
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

Agreement = Literal["same", "different", "unclear"]
Scope = Literal["factor", "product", "sum"]
SCOPES: tuple[Scope, ...] = ("factor", "product", "sum")
"""How much of a product or sum an operator without brackets may cover."""

MAX_VALUES = 50_000  # of parts of trees, in one step
MAX_ORDER = 4
# Letters that stand for constants beside the variable; every other letter may depend on it.
CONSTANTS = frozenset("abcknmpqABCDK")
CALCULUS = frozenset(("derivative", "partial", "prime", "integral", "antiderivative", "between"))

_SIGNS = re.compile(
    r"\\int|∫|\\[dt]?frac\s*\{\s*(?:d|\\partial)|\bd\^?\d?[A-Za-z]?\s*/\s*d[A-Za-z]|[A-Za-z](?:['’′]+|\^\{?\s*\\prime)\s*(?:\(|=)|"
    r"[\])|]\s*_",
)
_SUPPOSED = re.compile(
    r"\b(?:if|when|whenever|suppos\w*|assum\w*|let|set|setting|solv\w*|want|wants|need|needs|where|such|would|could|"
    r"should|try|trying|guess|claim\w*|maybe|perhaps|equation|condition|require\w*|satisf\w*|unless|whether)\b"
)
_OPERATOR_BEFORE = re.compile(
    r"(?<![A-Za-z\\])d(?:\^?\d)?[A-Za-z]?\s*/\s*d[A-Za-z](?:\^\d)?|∫|\\int(?![a-z])"
)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the derivatives and integrals of `step`; never raises on bad text, never runs unbounded."""
    if not _SIGNS.search(step):
        return Verdict("undecided", "calculus:nothing_to_check")
    try:
        chains = find_chains(step)
        texts = [*map(algebra.chains_of, (problem.question, *prefix[-algebra.MAX_PREFIX :])), chains]
        definitions, calculus = algebra.defined(texts), _Calculus()
        with _lock:
            found = [one for chain in chains for one in _findings(step, chain, definitions, calculus)]
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


class _CalculusParser(Parser):
    """The core's parser with kinds of nodes of its own.

    ``derivative`` and ``partial`` (parts: body; name: variable; value: order), ``prime`` (parts: argument, if any; name:
    function; value: order), ``integral`` (body, low, high), ``antiderivative`` (body), ``between`` (body, low, high).
    """

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

    def postfix(self) -> Node:
        node = super().postfix()
        if self.text == "_" and self.tokens[self.position - 1].text in ("]", ")"):
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


def free(node: Node) -> frozenset[str]:
    """Return the variables on which the value of an `expanded` tree may depend; Euler's number is none."""
    if node.kind in ("integral", "between", "at"):
        body, *places = node.parts
        return frozenset().union(free(body) - {node.name}, *map(free, places))
    own = {node.name} if node.kind in ("variable", "antiderivative") else set()
    return frozenset(own - {"e"}).union(*map(free, node.parts))


def expanded(node: Node, definitions: Functions) -> Node:
    """Return the tree with known functions in place of their names, and the variable of what stands between bounds.

    The new kind ``at`` is a body (first part) with an expression (second part) in place of a variable (name).

    Raises:
        UnreadableError: a function is not known, or a variable may depend on another.
    """
    kind, name = node.kind, node.name
    parts = tuple(expanded(part, definitions) for part in node.parts)
    if kind in ("prime", "application"):
        if name not in definitions or len(parts) > 1:
            raise UnreadableError(f"{name} is not defined")
        argument, body = definitions[name]
        made = body if kind == "application" else Node("derivative", (body,), argument, node.value)
        return Node("at", (made, *parts), argument) if parts else made
    if kind in ("derivative", "partial"):
        body = parts[0]
        if body.kind == "variable" and body.name in definitions:
            body = definitions[body.name][1]
        others = free(body) - {name}
        constant = others <= CONSTANTS - definitions.keys() and (not others or name in free(body))
        if kind == "derivative" and not constant:
            raise UnreadableError("a variable that may depend on another")
        return Node("derivative", (body,), name, node.value)
    if kind == "integral" and name in free(parts[1]) | free(parts[2]):
        raise UnreadableError("a bound that names the variable of integration")
    if kind == "between":
        if len(free(parts[0])) != 1:
            raise UnreadableError("bounds of an unknown variable")
        (name,) = free(parts[0])
    return node._replace(parts=parts, name=name)


# --- values, and whether two trees are the same function ---

DIGITS = 30
_POINTS = 13
_NEEDED = 4  # of them, because functions of real numbers have no value at some
_SAME = 1e-7  # relative distance up to which two values agree
_CLEAR = 1e-4  # relative distance from which two values differ
_CLEAR_DECIMALS = 0.12  # the same where a side is written in decimals
_HUGE = 1e300
# Two rules that must agree; one has a place in the middle and one has none, so that poles are not met evenly.
_GAUSS = [
    [(float(at), float(weight)) for at, weight in zip(*leggauss(count), strict=True)] for count in (14, 21)
]
_lock = threading.Lock()  # the context changes its precision while it works
_context = context_of(DIGITS)


class _Calculus(Precise):
    """Real values of expanded trees at one point after another; at most `MAX_VALUES` in its life."""

    def __init__(self) -> None:
        super().__init__(_context, {}, real=True)
        self.origin: dict[str, Fraction] = {}
        self.natural = False
        self.left = MAX_VALUES
        self.order = 0  # of the derivatives that are being taken

    def values(self, nodes: Sequence[Node], point: dict[str, Fraction]) -> list[Any]:
        """Return the values of trees at a point; none where one of them has none."""
        self.point = self.origin = point
        try:
            return [self.value(node) for node in nodes]
        except (ValueError, ArithmeticError, RecursionError):
            return []

    def value(self, node: Node) -> Any:
        self.left -= 1
        if self.left < 0:
            raise TooLargeError("too many values")
        name, parts = node.name, node.parts
        if node.kind == "derivative":
            return self.slope(parts[0], name, int(node.value))
        if node.kind == "at":
            return self.at(parts[0], name, self.value(parts[1]))
        if node.kind in ("integral", "between"):
            low, high = self.value(parts[1]), self.value(parts[2])
            if node.kind == "integral":
                return self.area(parts[0], name, low, high)
            return self.at(parts[0], name, high) - self.at(parts[0], name, low)
        if node.kind == "antiderivative":  # the one that is zero at the point that was asked about
            return self.area(parts[0], name, self.number(self.origin[name]), self.variable(name))
        return super().value(node)

    def call(self, node: Node, parts: Sequence[Any]) -> Any:
        natural = self.natural and node.name == "log" and len(parts) == 1
        return super().call(node._replace(name="ln") if natural else node, parts)

    def at(self, body: Node, name: str, value: Any) -> Any:
        """Return the value of a tree with another value of one variable."""
        outer, self.point = self.point, {**self.point, name: value}
        try:
            return self.value(body)
        finally:
            self.point = outer

    def slope(self, body: Node, name: str, order: int) -> Any:
        """Return a derivative; those inside of others multiply the precision, so their orders are bounded together."""
        if body.kind in ("sum", "negative"):
            total = sum(self.slope(part, name, order) for part in body.parts)
            return total if body.kind == "sum" else -total
        if body.kind == "antiderivative" and body.name == name and order == 1:
            return self.value(body.parts[0])
        self.order += order
        try:
            if self.order > MAX_ORDER:
                raise TooLargeError("too high a derivative")
            return self.context.diff(lambda at: self.at(body, name, at), self.variable(name), order)
        finally:
            self.order -= order

    def area(self, body: Node, name: str, low: Any, high: Any) -> Any:
        """Return an integral by Gauss-Legendre quadrature; places that all lie beside a peak do not settle it."""
        half = (high - low) / 2
        terms = [
            [half * weight * self.at(body, name, low + half * (1 + at)) for at, weight in rule]
            for rule in _GAUSS
        ]
        one, other = map(sum, terms)
        size = max(sum(map(abs, found)) for found in terms)
        if not abs(one - other) <= min(max(1e-8 * abs(other), 1e-10), 1e-8 * size):
            raise UndefinedError("the quadrature does not settle")
        return other

    def compare(self, left: Node, right: Node) -> Agreement:
        """Return whether two trees are the same function, under the present reading."""
        nodes = [*walk(left), *walk(right)]
        names = sorted(free(left) | free(right))
        if "i" in names or any(one.kind in ("plusminus", "percent", "degrees", "sigma") for one in nodes):
            return "unclear"
        clear = _CLEAR_DECIMALS if any("." in one.name for one in nodes if one.kind == "number") else _CLEAR
        agreed = differed = 0
        for point in sample_points(names, _POINTS if names else 1):
            found = self.values((left, right), point)
            size = max(map(abs, found), default=_HUGE)
            if size < _HUGE:
                gap = abs(found[0] - found[1])
                agreed += gap <= _SAME * max(size, 1e-3)
                differed += gap > max(clear * size, 1e-6)
            if agreed and differed:
                return "unclear"
        needed = _NEEDED if names else 1
        if agreed >= needed:
            return "same"
        named_alike = not any(self.depends(left, right, name) for name in free(left) ^ free(right))
        return "different" if differed >= needed and named_alike else "unclear"

    def depends(self, left: Node, right: Node, name: str) -> bool:
        """Whether the value of a side changes with a variable, as that of ``d/dx 3x`` does not."""
        side = left if name in free(left) else right
        one, other, *_ = sample_points(free(side))
        found = [self.values([side], point) for point in (one, {**one, name: other[name]})]
        return not all(found) or abs(found[0][0] - found[1][0]) > _SAME * max(abs(found[0][0]), 1e-3)

    def agreement(self, left: _Side, right: _Side, definitions: Functions, constant: bool) -> Agreement:
        """Compare two sides as read in several ways: one that holds is enough, and all must differ.

        Sides may differ by a `constant`. Mixed numbers may be products, logarithms without a base natural.
        """
        found: set[Agreement] = set()
        for first, second in dict.fromkeys(zip(left.trees, right.trees, strict=True)):
            if first is None or second is None:
                continue
            try:
                one, other = expanded(first, definitions), expanded(second, definitions)
                if constant:
                    one, other = _slopes(one, other)
            except UnreadableError:
                found.add("unclear")
                continue
            both = [*walk(one), *walk(other)]
            mixed = any(node.kind == "mixed" for node in both)
            logarithm = any(node.name == "log" for node in both)
            for self.natural in (False, True)[: 1 + logarithm]:
                for self.reading in (Reading(), Reading(mixed=False))[: 1 + mixed]:
                    found.add(self.compare(one, other))
        return "same" if "same" in found else "different" if found == {"different"} else "unclear"


def _slopes(left: Node, right: Node) -> tuple[Node, Node]:
    """Return the derivatives of two sides with respect to the variable of integration.

    Raises:
        UnreadableError: there is no such variable, or others may depend on it.
    """
    both = free(left) | free(right)
    variable = {one.name for side in (left, right) for one in walk(side) if one.kind == "antiderivative"}
    variable = variable or set(both - CONSTANTS)
    if len(variable) != 1 or not variable <= free(left) & free(right) or not both - variable <= CONSTANTS:
        raise UnreadableError("an unknown variable of integration")
    (name,) = variable
    one, other = (Node("derivative", (side,), name, Fraction(1)) for side in (left, right))
    return one, other


# --- what a step states ---


class _Side(NamedTuple):
    """A member of a chain as it is read under every scope of its operators."""

    trees: tuple[Node | None, ...]
    start: int
    end: int

    def has(self, *kinds: str) -> bool:
        return any(one.kind in kinds for tree in self.trees if tree is not None for one in walk(tree))


def _findings(step: str, chain: Chain, definitions: Functions, calculus: _Calculus) -> Iterator[Verdict]:
    """Yield a verdict on every link of a chain that holds a derivative or an integral."""
    sides = [_side(step, chain, place) for place in range(len(chain.members))]
    if not any(side.has(*CALCULUS) for side in sides):
        head = chain.members[0].node
        if len(sides) == 2 and head is not None and head.name in definitions:
            yield Verdict("undecided", "calculus:definition", "", chain.span)
        return
    constant = any(side.has("antiderivative") for side in sides)
    supposed = _SUPPOSED.search(re.split(r"[.!?]\s|\n", chain.prose)[-1]) is not None
    for left, right, relation in zip(sides, sides[1:], chain.relations, strict=False):
        if relation not in ("=", "~"):
            continue
        span = (left.start, right.end)
        answer = calculus.agreement(left, right, definitions, constant)
        rewritten = not (constant or left.has(*CALCULUS) or right.has(*CALCULUS))  # as algebra judges
        kind = "derivative"
        if constant or left.has("integral", "between") or right.has("integral", "between"):
            kind = "integral"
        if answer == "same":
            yield Verdict("correct", f"calculus:{kind}_holds", "", span)
        elif answer == "unclear" or supposed or rewritten or relation == "~" or _is_equation(left, right):
            yield Verdict("undecided", "calculus:unread", "", span)
        else:
            detail = f"does not hold: {step[span[0] : span[1]][:200]}"
            yield Verdict("wrong", f"calculus:wrong_{kind}", detail, span)


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
    return _Side(trees(step[start : member.end]), start, member.end)


def trees(text: str) -> tuple[Node | None, ...]:
    """Return the tree of a formula under every scope; None where it is not understood."""
    found: list[Node | None] = []
    for scope in SCOPES:
        try:
            tokens = [one for one in tokenize_formula(text) if one.kind != "newline" and one.text != "&"]
            found.append(_CalculusParser(tokens, scope).whole())
        except UnreadableError:
            found.append(None)
    return tuple(found)
