"""Values of expression trees at points: exact fractions where possible, complex floats elsewhere.

Contract: `evaluate` is bounded (bits of exact numbers, size of floats, terms of sums) and raises `TooLargeError`
beyond that, `UndefinedError` where there is no value (division by zero, logarithm of zero). `Reading` fixes what a
writer may have meant by ``%``, mixed numbers, ``i``, ``e``, ``±``. `calculate` is the exact value of a number expression
of prose, whose square roots are carried to `ROOT_BITS` bits. `same` and `close` compare two values within float noise and
within the bits of such roots; the bounds of both are here. Not here: trees (`expressions.py`), rounding (`excuses.py`).
"""

from __future__ import annotations

import cmath
import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sparring.oracles.expressions import USUAL, Node, Order, calculation, walk
from sparring.oracles.reading import Token, TooLargeError, UndefinedError, UnreadableError, tokenize

MAX_BITS = 20_000
MAX_FACTORIAL = 400
MAX_TERMS = 1000
MAX_ALL_TERMS = 5000
NOISE = 1e-9
# Roots that are no fraction are carried to so many bits; values that rest on them (or on π) are equal within this share.
ROOT_BITS = 200
IRRATIONAL_PRECISION = Fraction(1, 10**30)
# Binary floating point leaves its mark in decimals of this many digits: 99.00000000000001.
FLOAT_DIGITS = 12
FLOAT_PRECISION = Fraction(1, 10**9)

Value = Fraction | complex
_RATIOS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_INVERSES = frozenset(("arcsin", "arccos", "arctan"))
ANGULAR = _RATIOS | _INVERSES
"""Functions that take or give an angle, in radians or in degrees."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the writer means by signs with two meanings; `usual` chooses in an ``either``."""

    mixed: bool = True
    percent: bool = True
    imaginary: bool = True
    euler: bool = True
    usual: bool = True
    degrees: bool = False
    sign: int = 1


def readings(nodes: Iterable[Node]) -> list[Reading]:
    """Return the readings that differ for these expressions, the usual one first; ± is not varied here."""
    kinds, names = set(), set()
    for node in nodes:
        for one in walk(node):
            kinds.add(one.kind)
            if one.kind in ("variable", "call"):
                names.add(one.name)
    doubtful = ("mixed" in kinds, "percent" in kinds, "i" in names, "e" in names, "either" in kinds)
    choices = [(True, False)[: 1 + one] for one in doubtful]
    if names & ANGULAR:
        choices.append((True, False) if "degrees" in kinds else (False, True))
    return [Reading(*choice) for choice in itertools.product(*choices)]


def unknowns(names: Iterable[str], reading: Reading) -> list[str]:
    """Return the variables that are not constants under a reading, sorted."""
    constants = {name for name, on in (("i", reading.imaginary), ("e", reading.euler)) if on}
    return sorted(set(names) - constants)


def sample_points(names: Iterable[str], count: int = 8) -> list[dict[str, Fraction]]:
    """Return fixed rational points: large and small positive ones, then ones with mixed signs."""
    rng = random.Random(20_251)
    points = []
    ordered = sorted(names)
    for index in range(count):
        low, high = ((11, 60), (1, 9), (1, 60), (-60, 60))[index % 4]
        denominator = (10, 10, 20, 10)[index % 4]
        points.append({name: Fraction(rng.randint(low, high) * 7 + 1, denominator * 7) for name in ordered})
    return points


def same(left: Value, right: Value, tolerance: float = NOISE) -> bool:
    """Whether two values are equal within a relative tolerance (exactly, where both are fractions)."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        slack = 0 if tolerance <= NOISE else tolerance * max(abs(left), abs(right))
        return abs(left - right) <= slack
    first, second = as_complex(left), as_complex(right)
    return abs(first - second) <= tolerance * max(abs(first), abs(second), 1e-3)


def as_complex(value: Value) -> complex:
    """Return a value as a complex float.

    Raises:
        TooLargeError: it does not fit.
    """
    try:
        return complex(value)
    except OverflowError as error:
        raise TooLargeError("a value too large for floats") from error


def evaluate(node: Node, point: Mapping[str, Value], reading: Reading = Reading()) -> Value:
    """Return the value of an expression.

    Raises:
        UndefinedError: it has no value here.
        UnreadableError: a function of the text, or an unknown variable.
        TooLargeError: it exceeds the bounds.
    """
    try:
        value: Value = Evaluation(point, reading).value(node)
    except (OverflowError, RecursionError) as error:
        raise TooLargeError("a value is too large, or nested too deeply") from error
    if isinstance(value, complex) and not cmath.isfinite(value):
        raise TooLargeError("a value is not finite")
    return value


class Evaluation:
    """The value of trees at one point under one reading; a subclass computes with other numbers.

    Its methods raise what `evaluate` raises, and `OverflowError`.
    """

    constants: Mapping[str, Any] = {"i": 1j, "e": complex(math.e), "pi": complex(math.pi)}

    def __init__(self, point: Mapping[str, Value], reading: Reading = Reading()) -> None:
        self.point = point
        self.reading = reading
        self.terms = 0  # of finite sums, which may stand in each other

    def value(self, node: Node) -> Any:
        """Return the value of a tree."""
        kind, reading = node.kind, self.reading
        if kind == "number":
            return self.number(node.value)
        if kind == "variable":
            return self.variable(node.name)
        if kind == "constant":
            return self.constants[node.name]
        if kind == "application":
            raise UnreadableError(f"{node.name} is a function of the text")
        if kind == "sigma":
            return self.finite_sum(node)
        if kind == "either":
            return self.value(node.parts[0 if reading.usual else 1])
        parts = [self.value(part) for part in node.parts]
        if kind == "call":
            return self.call(node, parts)
        if kind == "sum":
            total = parts[0]
            for part in parts[1:]:
                total = _bounded(total + part)
            return total
        if kind == "product":
            return _bounded(parts[0] * parts[1])
        if kind == "quotient":
            if parts[1] == 0:
                raise UndefinedError("division by zero")
            return _bounded(parts[0] / parts[1])
        if kind == "power":
            return self.power(node, *parts)
        if kind == "negative":
            return -parts[0]
        if kind == "plusminus":
            return parts[0] * reading.sign
        if kind == "mixed":
            return parts[0] + parts[1] if reading.mixed else parts[0] * parts[1]
        if kind == "percent":
            return parts[0] / 100 if reading.percent else parts[0]
        if kind == "degrees":
            return self.degrees(parts[0])
        raise UnreadableError(kind)

    def number(self, value: Fraction) -> Any:
        """Return a fraction as the kind of number that is computed with."""
        return value

    def variable(self, name: str) -> Any:
        """Return the value of a variable, or of a constant that is written as one."""
        if (name == "i" and self.reading.imaginary) or (name == "e" and self.reading.euler):
            return self.constants[name]
        if name not in self.point:
            raise UnreadableError(f"{name} has no value")
        return self.point[name]

    def degrees(self, value: Any) -> Any:
        """Return a number of degrees as it stands: `call` converts the angles of functions."""
        return value

    def finite_sum(self, node: Node) -> Any:
        """Return a sum over an index, whose bounds are whole numbers."""
        exact = Evaluation(self.point, self.reading)
        exact.terms = self.terms
        first, last = (exact.value(part) for part in node.parts[:2])
        self.terms = exact.terms
        if not (isinstance(first, Fraction) and isinstance(last, Fraction)):
            raise UnreadableError("a sum without numbers as bounds")
        if first.denominator * last.denominator != 1:
            raise UnreadableError("a sum without whole numbers as bounds")
        if last - first > MAX_TERMS:
            raise TooLargeError("a sum of too many terms")
        total, outer = self.number(Fraction(0)), self.point
        for index in range(int(first), int(last) + 1):
            self.terms += 1
            if self.terms > MAX_ALL_TERMS:
                raise TooLargeError("sums of too many terms")
            self.point = {**outer, node.name: Fraction(index)}
            total = _bounded(total + self.value(node.parts[2]))
        self.point = outer
        return total

    def power(self, node: Node, base: Any, exponent: Any) -> Any:
        """Return the value of a power, from those of its parts."""
        return _power(base, exponent)

    def call(self, node: Node, parts: Sequence[Any]) -> Any:
        """Return the value of a function, from those of its arguments."""
        name, value = node.name, parts[0]
        if name == "sqrt":
            return _power(value, Fraction(1, 2))
        if name == "root":
            return _square_root(value)
        if name == "factorial":
            return Fraction(math.factorial(_whole(value)))
        if name == "binom":
            return Fraction(math.comb(_whole(value), _whole(parts[1])))
        if name == "abs":
            return abs(value) if isinstance(value, Fraction) else complex(abs(value))
        if name in ("floor", "ceil"):
            exact = value if isinstance(value, Fraction) else Fraction(_real(value)).limit_denominator(10**12)
            return Fraction(math.floor(exact) if name == "floor" else math.ceil(exact))
        number = as_complex(value)
        if name in ("log", "ln"):
            if number == 0:
                raise UndefinedError("logarithm of zero")
            base = as_complex(parts[1]) if len(parts) > 1 else complex(10 if name == "log" else math.e)
            if base in (0, 1):
                raise UndefinedError("a logarithm to this base")
            return cmath.log(number) / cmath.log(base)
        in_degrees = self.reading.degrees or any(one.kind == "degrees" for one in walk(node))
        if in_degrees and name in _RATIOS:
            number *= math.pi / 180
        value = _trigonometric(name, number)
        return value * 180 / math.pi if self.reading.degrees and name in _INVERSES else value


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction) and bits(value) > MAX_BITS:
        raise TooLargeError("a number is too large")
    return value


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction):
        if isinstance(base, Fraction):
            if exponent.denominator == 1:
                if base == 0 and exponent < 0:
                    raise UndefinedError("division by zero")
                if abs(exponent) * bits(base) > MAX_BITS and abs(base) != 1:
                    raise TooLargeError("a power is too large")
                return base ** int(exponent)
            if base < 0 and exponent.denominator % 2 == 1 and abs(exponent) < 64:
                return -_power(-base, exponent) if exponent.numerator % 2 else _power(-base, exponent)
            root = _exact_root(base, exponent.denominator)
            if root is not None:
                return _power(root, Fraction(exponent.numerator))
        elif exponent.denominator == 1 and abs(exponent) <= 1000:
            if base == 0 and exponent < 0:
                raise UndefinedError("division by zero")
            return base ** int(exponent)
    base, exponent = as_complex(base), as_complex(exponent)
    if base == 0:
        if exponent.real <= 0:
            raise UndefinedError("division by zero")
        return 0j
    return base**exponent


def _exact_root(base: Fraction, degree: int) -> Fraction | None:
    if base < 0 or degree > 8:
        return None
    roots = [round(_float_root(part, degree)) for part in (base.numerator, base.denominator)]
    if roots[0] ** degree == base.numerator and roots[1] ** degree == base.denominator:
        return Fraction(roots[0], roots[1])
    return None


def _float_root(part: int, degree: int) -> float:
    return math.isqrt(part) if degree == 2 else float(part) ** (1 / degree)


def _square_root(value: Value) -> Fraction:
    """Return a square root of a fraction, exact where it is one, else to `ROOT_BITS` bits."""
    if not isinstance(value, Fraction) or value < 0:
        raise UnreadableError("a root that is no real number")
    root = _exact_root(value, 2)
    if root is not None:
        return root
    magnitude = value.numerator.bit_length() - value.denominator.bit_length()
    shift = max(0, ROOT_BITS - magnitude // 2)
    return Fraction(math.isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift)


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
        raise UndefinedError("needs a whole number")
    if value > MAX_FACTORIAL:
        raise TooLargeError("a factorial is too large")
    return int(value)


def _trigonometric(name: str, number: complex) -> complex:
    if abs(number.imag) > 300 or abs(number) > 1e9:
        raise TooLargeError("an argument is too large")
    sine, cosine = cmath.sin(number), cmath.cos(number)
    if name in ("sin", "cos"):
        return sine if name == "sin" else cosine
    ratios = {"tan": (sine, cosine), "cot": (cosine, sine), "sec": (1, cosine), "csc": (1, sine)}
    if name in ratios:
        above, below = ratios[name]
        if abs(below) < 1e-12:
            raise UndefinedError("division by zero")
        return above / below
    inverse = {"arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "exp": cmath.exp}
    if name not in inverse or (name == "exp" and number.real > 600):
        raise UnreadableError(name)
    if name == "arctan" and number in (1j, -1j):
        raise UndefinedError("a pole of the arctangent")
    return inverse[name](number)


def _real(value: complex) -> float:
    if abs(value.imag) > NOISE:
        raise UndefinedError("needs a real number")
    return value.real


# --- calculations in prose ---


def calculate(tokens: Sequence[Token], order: Order = USUAL) -> Fraction:
    """Return the exact value of a number expression.

    Raises:
        UnreadableError: it has none (`TooLargeError`: it is beyond the bounds; `UndefinedError`: division by zero).
    """
    if len(tokens) == 1 and tokens[0].value is not None:
        return tokens[0].value
    value = evaluate(calculation(tokens, order), {})
    if not isinstance(value, Fraction):
        raise UnreadableError("a value that is no fraction")
    return value


def value_or_none(tokens: Sequence[Token], order: Order = USUAL) -> Fraction | None:
    """Return what `calculate` does, ``None`` for what has no value."""
    try:
        return calculate(tokens, order)
    except UnreadableError:
        return None


def value_of(text: str) -> Fraction | None:
    """Return the value of a text that is one number expression and nothing else, ``None`` without one."""
    try:
        return value_or_none(tokenize(text))
    except TooLargeError:
        return None


def is_irrational(tokens: Sequence[Token]) -> bool:
    """Whether an expression has a root or π, so that its value may only be a close one."""
    return any(token.kind == "root" or token.text == "π" for token in tokens)


def close(one: Fraction, other: Fraction) -> bool:
    """Whether two values that rest on roots or π are the same but for the bits that were cut."""
    return abs(one - other) <= IRRATIONAL_PRECISION * max(abs(one), abs(other), Fraction(1))


def is_float_noise(tokens: Sequence[Token], one: Fraction, other: Fraction) -> bool:
    """Whether two values differ only by what binary floating point adds.

    True where one of the numbers in `tokens` is a decimal of at least `FLOAT_DIGITS` significant digits and
    the values agree to `FLOAT_PRECISION` of the larger.
    """
    if abs(one - other) > FLOAT_PRECISION * max(abs(one), abs(other)):
        return False
    return any(
        token.kind == "number"
        and token.places > 0
        and len(token.text.replace(".", "").replace(",", "").lstrip("0")) >= FLOAT_DIGITS
        for token in tokens
    )


def without_float_noise(value: Fraction) -> Fraction:
    """Return the short decimal that a value is, but for what binary floating point adds to it.

    99.00000000000001 becomes 99. A value that is close to no decimal of `FLOAT_DIGITS` - 2 significant digits
    (26.666666666666668) stays as it is.
    """
    if value.denominator < 10 ** (FLOAT_DIGITS // 2) or decimal_places(value) is None:
        return value
    short = round(value, max(0, FLOAT_DIGITS - 2 - len(str(int(abs(value))))))
    return short if abs(short - value) <= abs(value) / 10**FLOAT_DIGITS else value


def bits(value: Fraction) -> int:
    """Return the size of a fraction: bits of numerator and denominator together."""
    return value.numerator.bit_length() + value.denominator.bit_length()


def show(value: Value) -> str:
    """Write a value for people: a whole number, a short exact decimal, a fraction, or digits of it."""
    if isinstance(value, complex):
        return f"{value.real:.6g}" if abs(value.imag) < 1e-9 else f"{value:.6g}"
    if bits(value) > ROOT_BITS:
        return f"about {float(value):.6g}" if abs(value) < 10**300 else "a huge number"
    places = decimal_places(value)
    if places is not None and 0 < places <= 6 and bits(value) < 100:
        return f"{value.numerator / value.denominator:.{places}f}"
    return str(value)


def decimal_places(value: Fraction) -> int | None:
    """Return how many decimal places write the value exactly, ``None`` if it never ends."""
    twos = (value.denominator & -value.denominator).bit_length() - 1
    rest, fives = value.denominator >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None
