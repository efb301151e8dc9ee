"""Rounding: when a number is the result of a calculation, rounded, and how far off it may be.

Contract: every tolerance that oracles grant to rounded numbers is here. `rounding_excuse` answers ``rounded`` (the right
side is the left side, correctly rounded at a digit that the text shows or names), another name (nobody can tell), or
``None``. Where a hedge ("about", "≈", "rounded") stands is read in `expressions.py`: only one beside the number governs
it. Not here: rounded operands (`excuses.py`).
"""

from __future__ import annotations

from fractions import Fraction

from sparring.oracles.equations import Equation
from sparring.oracles.numbers import decimal_places
from sparring.oracles.run import Run
from sparring.oracles.tokens import Token

FINE = Fraction(1, 20)
"""Share of a value up to which "about 1200" for 1234 is a rounding; beyond, ``160 ≈ 200`` may be a mistake."""
ROUGH = Fraction(1, 10)
"""Share up to which a number with a hedge that is no rounding at any digit may still be a guess; beyond, it is wrong."""
NEAR_PI = Fraction(1, 1500)
"""Share by which values with 3.14 or 22/7 may differ from those with π."""


def rounding_excuse(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction
) -> str | None:
    """``rounded`` for a correct rounding to the digits shown, another name where it may be one."""
    if second.operators and not first.operators:
        return rounding_excuse(equation, second, first, right, left)
    shown = second.tokens[-1] if not second.operators else None
    number = next((token for token in second.tokens if token.kind == "number"), None)
    if shown is None or number is None:
        return None
    scale = Fraction(1, 100) if shown.kind == "percent" else Fraction(1)
    places = 0 if number.text.endswith(".0") else number.places  # "4.0" is a float's way to write 4
    unit = Fraction(1, 10**places) * scale
    error = abs(left - right)
    hedged = equation.relation == "~" or second.approximate
    if places > 0:
        if error <= unit / 2:
            return "rounded"
        if error < unit:
            return "rounded" if decimal_places(left / scale) is None else "truncated"
    elif hedged and _rounds(number, second.digit, unit, error, left):
        return "rounded"
    elif error < unit and (left / scale).denominator != 1:
        return "unmarked_rounding"  # a share of whole things: 7 / 2 = 3 may be meant, 100 * 6 = 601 is not
    if hedged or first.approximate:
        return _rough(number, unit, error, left)
    return None


def usual_error(value: Fraction) -> Fraction:
    """Return how far a rounded decimal may be from a value that no decimal writes exactly: half a hundredth, or 1 %."""
    return Fraction(0) if decimal_places(value) is not None else min(Fraction(1, 200), abs(value) / 100)


def _zeros(number: Token) -> int:
    digits = number.text.replace(",", "").replace(".0", "")
    return len(digits) - len(digits.rstrip("0"))


def _rounds(number: Token, named: Fraction | None, unit: Fraction, error: Fraction, left: Fraction) -> bool:
    """Whether a whole number is the value, rounded to the digit that is named, else to any that it ends in."""
    if named is not None:
        return error <= named / 2
    zeros = _zeros(number)
    return error <= unit / 2 or (error <= unit * 10**zeros / 2 and error <= abs(left) * FINE)


def _rough(number: Token, unit: Fraction, error: Fraction, left: Fraction) -> str | None:
    up_or_down = number.places == 0 and error < unit * 10 ** _zeros(number) and error <= abs(left) / 2
    return "rough_approximation" if up_or_down or error <= abs(left) * ROUGH else None
