"""Are two expression trees equal? Exactly where they are rational, else to more than a hundred digits; no tolerance.

Contract: `same_expressions` and `same_equations` say True, False, or None where that cannot be told within the bounds.
Numbers are compared as fractions where they are, so that tiny and huge ones differ by any digit; expressions in
variables as rational functions, else at fixed rational points of which the first have positive values only: what holds
there and fails where signs differ (``\\sqrt{x^2}`` and ``x``) is different where both have real values, else not looked at.
Irrational values are computed at two precisions: noise shrinks with the second, a difference does not. ``i`` and ``e``
are the constants. Everything is bounded; nothing is ever expanded. Not here: reading (`expressions.py`).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import mpmath

from sparring.oracles.expressions import Node, variables, walk
from sparring.oracles.polynomials import cross_difference, proportional, rational
from sparring.oracles.reading import TooLargeError, UndefinedError, UnreadableError
from sparring.oracles.values import Evaluation, Reading, evaluate, sample_points

MAX_NODES = 400
_DIGITS = (80, 170)
_LARGEST_EXPONENT = 10**14
_LARGEST_ANGLE_BITS = 300
_EXACT = Reading()
_CONSTANTS = frozenset(("i", "e"))
_lock = threading.Lock()  # contexts of mpmath change their precision while they work


def context_of(digits: int) -> Any:
    """Return a context of mpmath's that computes with so many digits."""
    context = mpmath.mp.__class__()
    context.dps = digits
    return context


_contexts = [context_of(digits) for digits in _DIGITS]


def same_expressions(one: Node, other: Node) -> bool | None:
    """Return whether two expressions are equal for all values of their variables; None where that cannot be told."""
    if one == other:
        return True
    if len(walk(one)) + len(walk(other)) > MAX_NODES:
        return None
    exact = _exactly(one, other)
    if exact is not None:
        return exact
    names = sorted((variables(one) | variables(other)) - _CONSTANTS)
    found = [_same_at(one, other, point) for point in _points(names)]
    if not names or False in found:
        return False if False in found else found[0]
    return True if found.count(True) >= 3 else None


def same_equations(one: tuple[Node, Node], other: tuple[Node, Node]) -> bool | None:
    """Return whether two equations say the same: their differences of sides are equal up to a constant factor."""
    sides = (*one, *other)
    if sum(len(walk(side)) for side in sides) > MAX_NODES:
        return None
    names = [variables(left) | variables(right) for left, right in (one, other)]
    if names[0] - _CONSTANTS != names[1] - _CONSTANTS:
        return False
    try:
        first, second = cross_difference(*one, _EXACT)[0], cross_difference(*other, _EXACT)[0]
        if not first or not second:
            return bool(first) == bool(second)
        return proportional(first, second)
    except UnreadableError:
        pass
    one_side, other_side = (Node("sum", (left, Node("negative", (right,)))) for left, right in (one, other))
    ratio = Node("quotient", (one_side, other_side))
    points = _points(sorted(names[0] - _CONSTANTS))
    found = [_values_at(_contexts[0], [ratio], point) for point in points if point]
    values = [value for one_found in found for value in one_found if value != 0]
    if len(values) < 3:
        return None
    return all(abs(value - values[0]) <= abs(values[0]) * mpmath.mpf(10) ** -50 for value in values[1:])


def approximate(node: Node) -> float | None:
    """Return the value of a real constant as a float, for putting bounds in order; None where there is none."""
    try:
        [value] = _values_at(_contexts[0], [node], {})
        return None if mpmath.im(value) != 0 else float(mpmath.re(value))
    except (OverflowError, ValueError):
        return None


def _points(names: list[str]) -> list[dict[str, Fraction]]:
    """Return fixed points: with positive values, with mixed signs, with negative ones; an empty one for constants."""
    if not names:
        return [{}]
    points = sample_points(names, 4)
    return [*points, {name: -value for name, value in points[0].items()}]


def _exactly(one: Node, other: Node) -> bool | None:
    rounds = any(
        node.kind == "call" and node.name in ("floor", "ceil")
        for node in itertools.chain(walk(one), walk(other))
    )
    try:
        if not variables(one) | variables(other):
            values = evaluate(one, {}), evaluate(other, {})
            exact = all(isinstance(value, Fraction) for value in values)
            return values[0] == values[1] if exact and not rounds else None
        return not cross_difference(one, other, _EXACT)[0]
    except UnreadableError:
        return None


def _same_at(one: Node, other: Node, point: Mapping[str, Fraction]) -> bool | None:
    gaps, sizes = [], []
    for context in _contexts:
        pair = _values_at(context, [one, other], point)
        if not pair:
            return None
        gaps.append(abs(pair[0] - pair[1]))
        sizes.append(max(map(abs, pair)))
    fine, size = _contexts[1], sizes[1]
    if gaps[1] <= size * fine.mpf(10) ** -130 or gaps[1] <= gaps[0] * fine.mpf(10) ** -60:
        return True if fine.mag(size) < 400 else None  # beyond, a unit more or less is not seen
    return False if abs(gaps[0] - gaps[1]) <= gaps[1] * fine.mpf(10) ** -6 else None


def _values_at(context: Any, nodes: Sequence[Node], point: Mapping[str, Fraction]) -> list[Any]:
    """Return the values of expressions at a point; none where one of them has none, or is not real between variables."""
    with _lock:
        try:
            values = [Precise(context, point, bool(point)).value(node) for node in nodes]
        except (ValueError, ArithmeticError):
            return []
        return values if all(map(context.isfinite, values)) else []


class Precise(Evaluation):
    """The value of trees in one precision; `real`: what is not real on the way has no value."""

    def __init__(self, context: Any, point: Mapping[str, Fraction], real: bool) -> None:
        super().__init__(point)
        self.context, self.real = context, real
        self.constants = {"i": context.mpc(0, 1), "e": +context.e, "pi": +context.pi}

    def value(self, node: Node) -> Any:
        """Return the value of a tree without double readings; real on the way, where that is asked for."""
        if node.kind in ("plusminus", "either"):
            raise UnreadableError(node.kind)
        value = super().value(node)
        if self.real and getattr(value, "imag", 0) != 0 and node.name != "i":
            imaginary = any(one.kind == "variable" and one.name == "i" for one in walk(node))
            if not imaginary:
                raise UndefinedError("not real")
        return value

    def number(self, value: Fraction) -> Any:
        """Return a fraction in the context's precision."""
        return self.context.mpf(value.numerator) / value.denominator

    def variable(self, name: str) -> Any:
        """Return the value of a variable or constant in the context's precision."""
        value = self.point.get(name)
        return self.number(value) if isinstance(value, Fraction) else super().variable(name)

    def degrees(self, value: Any) -> Any:
        """Return degrees in radians."""
        return value * self.context.pi / 180

    def power(self, node: Node, base: Any, exponent: Any) -> Any:
        """Return a power; odd roots of negative numbers are the real ones."""
        context = self.context
        if base == 0:
            if context.re(exponent) <= 0:
                raise UndefinedError("a power of zero")
            return context.mpf(0)
        if abs(exponent) * (1 + abs(context.log(abs(base)))) > _LARGEST_EXPONENT:
            raise TooLargeError("a power is too large")
        try:
            above, below = rational(node.parts[1], _EXACT)
            fraction = above.get((), Fraction(0)) / below[()] if set(above) | set(below) <= {()} else None
        except (UnreadableError, KeyError):
            fraction = None
        negative = context.im(base) == 0 and context.re(base) < 0
        if fraction is not None and negative and fraction.denominator % 2 and fraction.denominator > 1:
            size = (-base) ** exponent  # the real root
            return -size if fraction.numerator % 2 else size
        return base ** (
            fraction.numerator if fraction is not None and fraction.denominator == 1 else exponent
        )

    def call(self, node: Node, parts: Sequence[Any]) -> Any:
        """Return the value of a function; whole numbers, arguments and distances from poles are bounded."""
        context, name, value = self.context, node.name, parts[0]
        if name == "sqrt":
            return context.sqrt(value)
        if name == "abs":
            return abs(value)
        if name in ("floor", "ceil"):
            return context.floor(value) if name == "floor" else context.ceil(value)
        if name in ("factorial", "binom"):
            if not all(context.isint(part) and 0 <= part <= 10**6 for part in parts):
                raise UndefinedError("needs whole numbers of a bounded size")
            return context.factorial(value) if name == "factorial" else context.binomial(*parts)
        if name in ("log", "ln"):
            base = parts[1] if len(parts) > 1 else 10 if name == "log" else context.e
            if value == 0 or base in (0, 1):
                raise UndefinedError("a logarithm")
            return context.log(value) / context.log(base)
        if context.mag(value) > _LARGEST_ANGLE_BITS or context.mag(context.im(value) or 0) > 10:
            raise TooLargeError("an argument is too large")
        if name == "exp":
            return context.exp(value)
        functions = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
        if name not in (*functions, "sin", "cos", "tan", "cot", "sec", "csc"):
            raise UnreadableError(name)
        if name in ("tan", "sec") and abs(context.cos(value)) < context.mpf(10) ** (8 - context.dps):
            raise UndefinedError("a pole")
        if name in ("cot", "csc") and abs(context.sin(value)) < context.mpf(10) ** (8 - context.dps):
            raise UndefinedError("a pole")
        return getattr(context, functions.get(name, name))(value)
