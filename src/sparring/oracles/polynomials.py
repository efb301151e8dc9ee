"""Exact polynomials and rational functions with fractions as coefficients: just enough algebra, always bounded.

Contract: a polynomial is a dict from monomials (sorted tuples of (variable, exponent)) to non-zero fractions.
`rational` turns an expression tree into numerator and denominator, or raises `UnreadableError` where it is none, and
`TooLargeError` beyond the bounds. Everything is pure and exact: equal means proven equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sparring.oracles.expressions import Node
from sparring.oracles.reading import TooLargeError, UnreadableError
from sparring.oracles.values import MAX_BITS, Reading, bits

Monomial = tuple[tuple[str, int], ...]
Polynomial = dict[Monomial, Fraction]

MAX_MONOMIALS = 200
MAX_EXPONENT = 24
ONE: Polynomial = {(): Fraction(1)}


def add(left: Polynomial, right: Polynomial, scale: Fraction = Fraction(1)) -> Polynomial:
    """Return ``left + scale * right``."""
    total = dict(left)
    for monomial, coefficient in right.items():
        value = total.get(monomial, Fraction(0)) + scale * coefficient
        if value:
            total[monomial] = value
        else:
            total.pop(monomial, None)
    return total


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return the product.

    Raises:
        TooLargeError: too many monomials, too high an exponent, or too long a coefficient.
    """
    if len(left) * len(right) > 40 * MAX_MONOMIALS:
        raise TooLargeError("too many terms")
    product: dict[Monomial, int | Fraction] = {}
    others = [(second, _plain(b)) for second, b in right.items()]
    for first, coefficient in left.items():
        a = _plain(coefficient)
        for second, b in others:
            exponents = dict(first)
            for name, exponent in second:
                exponents[name] = exponents.get(name, 0) + exponent
            if any(exponent > MAX_EXPONENT for exponent in exponents.values()):
                raise TooLargeError("too high an exponent")
            key = tuple(sorted(exponents.items()))
            product[key] = product.get(key, 0) + a * b
    result = {key: Fraction(value) for key, value in product.items() if value}
    if len(result) > MAX_MONOMIALS:
        raise TooLargeError("too many terms")
    if any(bits(value) > MAX_BITS // 8 for value in result.values()):
        raise TooLargeError("too long a coefficient")
    return result


def _plain(value: Fraction) -> int | Fraction:
    """Return a whole number as an integer, with which multiplying is several times as fast."""
    return value.numerator if value.denominator == 1 else value


def power(base: Polynomial, exponent: int) -> Polynomial:
    """Return ``base ** exponent`` for a whole exponent from 0 to `MAX_EXPONENT`."""
    if exponent > MAX_EXPONENT:
        raise TooLargeError("too high an exponent")
    if exponent > 1 and len(base) == 1:  # one term: the product of its powers, at once
        [(monomial, coefficient)] = base.items()
        raised = tuple((name, power * exponent) for name, power in monomial)
        return multiply({raised: Fraction(1)}, {(): coefficient**exponent})
    result = ONE
    for _ in range(exponent):
        result = multiply(result, base)
    return result


def rational(node: Node, reading: Reading) -> tuple[Polynomial, Polynomial]:
    """Return numerator and denominator of an expression made of variables, numbers and + − · / ^.

    Raises:
        UnreadableError: it is no rational function (or `TooLargeError`: one beyond the bounds).
    """
    kind = node.kind
    if kind == "number":
        return ({(): node.value} if node.value else {}), ONE
    if kind == "variable":
        if (node.name == "i" and reading.imaginary) or (node.name == "e" and reading.euler):
            raise UnreadableError("a constant that is no fraction")
        return {((node.name, 1),): Fraction(1)}, ONE
    if kind == "either":
        return rational(node.parts[0 if reading.usual else 1], reading)
    if kind == "power":
        base, below = rational(node.parts[0], reading)
        top, bottom = rational(node.parts[1], reading)
        if bottom != ONE or any(top) or (top and top[()].denominator != 1):
            raise UnreadableError("an exponent that is no whole number")
        exponent = int(top.get((), Fraction(0)))
        if exponent < 0:
            if not base:
                raise UnreadableError("division by zero")
            base, below, exponent = below, base, -exponent
        return power(base, exponent), power(below, exponent)
    if kind not in ("sum", "product", "quotient", "negative", "degrees", "mixed", "percent", "plusminus"):
        raise UnreadableError(kind)
    parts = [rational(part, reading) for part in node.parts]
    above, below = parts[0]
    if kind in ("negative", "plusminus", "percent"):
        percent = Fraction(1, 100 if reading.percent else 1)
        scale = {"negative": Fraction(-1), "plusminus": Fraction(reading.sign), "percent": percent}[kind]
        return add({}, above, scale), below
    for top, bottom in parts[1:]:
        if kind == "quotient":
            if not top:
                raise UnreadableError("division by zero")
            above, below = multiply(above, bottom), multiply(below, top)
        elif kind == "product" or (kind == "mixed" and not reading.mixed):
            above, below = multiply(above, top), multiply(below, bottom)
        elif below == bottom:
            above = add(above, top)
        else:
            above = add(multiply(above, bottom), multiply(top, below))
            below = multiply(below, bottom)
    return above, below


def cross_difference(left: Node, right: Node, reading: Reading) -> tuple[Polynomial, Polynomial]:
    """Return numerator and denominator of ``left - right``; the numerator is zero exactly if both are identical."""
    first, below_first = rational(left, reading)
    second, below_second = rational(right, reading)
    if below_first == below_second:
        return add(first, second, Fraction(-1)), below_first
    above = add(multiply(first, below_second), multiply(second, below_first), Fraction(-1))
    return above, multiply(below_first, below_second)


def coefficients(polynomial: Polynomial) -> list[Fraction]:
    """Return the coefficients of a polynomial in at most one variable, the constant first."""
    degree = max((monomial[0][1] if monomial else 0 for monomial in polynomial), default=0)
    values = [Fraction(0)] * (degree + 1)
    for monomial, coefficient in polynomial.items():
        values[monomial[0][1] if monomial else 0] = coefficient
    return values


def common_divisor(first: Sequence[Fraction], second: Sequence[Fraction]) -> list[Fraction]:
    """Return a greatest common divisor of two polynomials in one variable, the constant first (Euclid)."""
    a, b = _trimmed(first), _trimmed(second)
    while b:
        while len(a) >= len(b):
            factor, shift = a[-1] / b[-1], len(a) - len(b)
            rest = [value - factor * other for value, other in zip(a[shift:], b, strict=True)]
            a = _trimmed([*a[:shift], *rest])
        a, b = b, a
    return a


def _trimmed(values: Sequence[Fraction]) -> list[Fraction]:
    kept = list(values)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def proportional(left: Polynomial, right: Polynomial) -> bool:
    """Whether one polynomial is a multiple of the other."""
    return left.keys() == right.keys() and len({left[key] / right[key] for key in left}) == 1


def is_linear(polynomial: Polynomial) -> bool:
    """Whether no monomial has a degree above one."""
    return all(sum(exponent for _, exponent in monomial) <= 1 for monomial in polynomial)


class LinearSystem:
    """Linear equations ``polynomial = 0`` in reduced form; says whether another one contradicts them."""

    def __init__(self) -> None:
        self.rows: dict[str, Polynomial] = {}

    def reduced(self, polynomial: Polynomial) -> Polynomial:
        """Return the polynomial with all solved variables replaced."""
        rest = polynomial
        for name, row in self.rows.items():
            coefficient = rest.get(((name, 1),))
            if coefficient:
                rest = add(rest, row, -coefficient)
        return rest

    def include(self, polynomial: Polynomial) -> bool:
        """Add an equation; return False, and leave it out, where it contradicts the others."""
        rest = self.reduced(polynomial)
        pivots = [monomial for monomial in rest if monomial]
        if not pivots:
            return not rest
        if len(self.rows) < 30:
            pivot = min(pivots)
            row = add({}, rest, 1 / rest[pivot])
            name = pivot[0][0]
            self.rows = {
                other: add(old, row, -old[pivot]) if pivot in old else old for other, old in self.rows.items()
            }
            self.rows[name] = row
        return True
