r"""Values of number literals: ``1,250.50``, ``3.2e5``, ``2 1/2``, ``2\frac{1}{3}``, ``\frac12``, ``\binom{5}{2}``, ``2½``.

Contract: exact fractions; ``None`` for what is no such number or beyond the bounds on digits, exponents and binomials.
Not here: where literals stand in a text (`tokens.py`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

MAX_DIGITS = 40
MAX_SCIENTIFIC_EXPONENT = 64
MAX_BINOMIAL = 200
# Fifty digits: a value that rests on it is compared with tolerance, see `numbers.IRRATIONAL_PRECISION`.
PI = Fraction(314159265358979323846264338327950288419716939937510, 10**50)
VULGAR = {
    character: Fraction(*map(int, unicodedata.normalize("NFKC", character).split("⁄")))
    for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}
# Between groups of three digits: LaTeX's spaces and commas, and the spaces that do not break a line.
SEPARATOR = r"(?:,|\{,\}|,?\\!|\\,|[\u00a0\u2009\u202f])"
_SEPARATORS = re.compile(r"[{},\\!\u00a0\u2009\u202f]+")
_DIGITS = re.compile(r"\d+")


@lru_cache(maxsize=4096)
def exact_number(text: str) -> Fraction | None:
    """Return the exact value of digits with separators, point and exponent, ``None`` beyond the bounds."""
    digits, _, exponent = _SEPARATORS.sub("", text).lower().partition("e")
    if len(digits) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_SCIENTIFIC_EXPONENT:
        return None
    value = Fraction("0" + digits) if digits[0] == "." else Fraction(digits)
    return value * Fraction(10) ** int(exponent) if exponent else value


def decimals_shown(text: str) -> int:
    """Return the digits after the decimal point of a number as written, its exponent applied."""
    mantissa, _, exponent = text.lower().partition("e")
    point = mantissa.find(".")
    places = 0 if point < 0 else len(mantissa) - point - 1
    return max(0, places - int(exponent)) if exponent else places


def two_numbers(text: str) -> tuple[int, int]:
    """Return the numbers of ``{5}{12}``, or those of ``57`` where LaTeX takes single digits."""
    found = _DIGITS.findall(text)
    one, other = found if len(found) == 2 else found[-1]
    return int(one), int(other)


def proper_fraction(text: str) -> Fraction | None:
    """Return the value of ``1/3`` or ``{1}{3}`` if it lies between zero and one."""
    numerator, denominator = two_numbers(text)
    return Fraction(numerator, denominator) if 0 < numerator < denominator else None


def binomial(text: str) -> Fraction | None:
    """Return the binomial coefficient that ``{5}{2}`` names."""
    total, chosen = two_numbers(text)
    return Fraction(math.comb(total, chosen)) if total <= MAX_BINOMIAL else None
