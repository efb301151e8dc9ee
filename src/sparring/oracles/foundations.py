"""Numbers that a text gives: digits, number words, percentages and their rests, and what they stand for.

Contract: `numbers_in` is the set of values that somebody who read the text may calculate with; `Foundation` says whether a
number comes from such a set, from a constant or conversion, or from one calculation with them. Pure and cached by text.
Not here: which numbers of a step have to be founded (`quantities.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from sparring.oracles.reading import Token, TooLargeError, tokenize
from sparring.oracles.units import UNITS, conversion_factors

MAX_POOL = 400
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_CARDINALS = {word: number for number, word in enumerate(_ONES.split())} | {
    word: 10 * tens
    for tens, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12, "dozens": 12}
_SHARES = {
    word: Fraction(1, parts)
    for parts, words in (
        (2, "half halves halved"), (3, "third thirds"), (4, "quarter quarters fourth fourths"), (5, "fifth fifths"),
        (6, "sixth sixths"), (7, "seventh sevenths"), (8, "eighth eighths"), (9, "ninth ninths"), (10, "tenth tenths"),
        (12, "twelfth twelfths"), (20, "twentieth twentieths"), (100, "hundredth hundredths"),
    )
    for word in words.split()
}  # fmt: skip
_MULTIPLES = {
    "once": 1, "single": 1, "twice": 2, "double": 2, "doubles": 2, "doubled": 2, "both": 2, "couple": 2, "pair": 2,
    "pairs": 2, "twins": 2, "thrice": 3, "triple": 3, "triples": 3, "tripled": 3, "triplets": 3, "quadruple": 4,
    "quadrupled": 4, "score": 20, "decade": 10, "decades": 10, "century": 100, "fortnight": 14,
}  # fmt: skip
CONSTANTS: dict[int, str] = {
    **dict.fromkeys(range(13), "small counts, months of a year"),
    14: "days of a fortnight", 15: "minutes of a quarter of an hour", 16: "ounces of a pound", 20: "nickels of a dollar",
    21: "days of three weeks", 24: "hours of a day", 25: "cents of a quarter", 26: "fortnights of a year, letters",
    28: "days of four weeks", 29: "days of February", 30: "days of a month", 31: "days of a month",
    36: "inches of a yard", 40: "hours of a working week", 45: "minutes of three quarters of an hour",
    48: "hours of two days", 50: "half of a hundred", 52: "weeks of a year", 60: "minutes of an hour", 75: "cents of "
    "three quarters", 90: "degrees of a right angle", 100: "percent, cents of a dollar", 144: "a gross",
    180: "degrees of a triangle", 360: "degrees of a circle", 365: "days of a year", 366: "days of a leap year",
    1000: "grams of a kilogram", 1760: "yards of a mile", 2000: "pounds of a ton", 3600: "seconds of an hour",
    5280: "feet of a mile",
}  # fmt: skip
"""Numbers that need no source, and what they are."""
_KNOWN = frozenset(Fraction(number) for number in CONSTANTS) | {
    Fraction(1, parts) for parts in (2, 3, 4, 5, 10, 20, 100)
}
_CUSTOMARY = frozenset(Fraction(number) for number in (30, 52, 365))
_DIGITS = re.compile(r"\d{1,12}")
_WORDS = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a step may build on.

    Attributes:
        given: values of the problem and of earlier steps, with what they imply.
        written: those of them that are written there themselves.
        stated: values that the step itself states or has calculated before.
        factors: conversions between units of the dimensions that the texts speak of.
    """

    given: frozenset[Fraction]
    written: frozenset[Fraction]
    stated: frozenset[Fraction]
    factors: frozenset[Fraction]

    def founds(self, number: Token) -> bool:
        """Whether a number is given, stated, constant, a unit conversion of such, or one of them rounded."""
        value = number.value
        assert value is not None
        if value in _KNOWN or value in self.given or value in self.stated:
            return True
        if any(value * factor in self.written or value / factor in self.written for factor in self.factors):
            return True
        unit = Fraction(1, 10**number.places)
        return any(
            abs(one - value) < unit and one.denominator > value.denominator
            for one in self.written | self.stated
        )

    def derives(self, value: Fraction, *, only_written: bool = False) -> bool:
        """Whether one addition, subtraction, multiplication or division of two founded values gives the value."""
        pool = (self.written if only_written else self.given | _KNOWN) | self.stated
        if len(pool) > MAX_POOL:
            return True  # so many numbers found anything
        for one in pool:
            if value - one in pool or value + one in pool or one - value in pool:
                return True
            if one and (value / one in pool or value * one in pool or (value and one / value in pool)):
                return True
        return False


@lru_cache(maxsize=4096)
def factors_of(text: str) -> frozenset[Fraction]:
    """Return the conversions between units of the dimensions that a text speaks of; cents of dollars always."""
    words = set(_WORDS.findall(text.lower()))
    dimensions = frozenset(UNITS[word].dimension for word in words & UNITS.keys())
    timed = "time" in dimensions or words & {"month", "months", "year", "years"}
    return conversion_factors(dimensions) | (_CUSTOMARY if timed else frozenset()) | {Fraction(100)}


@lru_cache(maxsize=4096)
def written_in(text: str) -> frozenset[Fraction]:
    """Return the values that a text writes in digits or words; none for a text that is too large."""
    try:
        tokens = tokenize(text)
    except TooLargeError:
        return frozenset()
    return frozenset(_in_words(tokens)) | {token.value for token in tokens if token.value is not None}


@lru_cache(maxsize=4096)
def numbers_in(text: str) -> frozenset[Fraction]:
    """Return the values that a text gives, with what they imply: percentages, rests, fractions, clock times."""
    try:
        tokens = tokenize(text)
    except TooLargeError:
        return frozenset()
    found = set(written_in(text))
    for index, token in enumerate(tokens):
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.value is None:
            found.update(Fraction(int(digits)) for digits in _DIGITS.findall(token.text))
            if token.kind == "unknown" and ":" in token.text:
                found.update(_of_clock(token.text))
            continue
        if after is None:
            continue
        if after.kind == "percent":
            found.update(_of_share(token.value / 100))
            found.update((100 - token.value, 100 + token.value))
        elif after.text == "/" and index + 2 < len(tokens) and (below := tokens[index + 2].value):
            found.update(_of_share(token.value / below))
        elif after.value is not None and len(after.text) == 3 and after.text.isdigit():
            found.add(token.value * 1000 + after.value)  # "400 000"
    found.update(one for value in tuple(found) if 0 < value < 1 for one in _of_share(value))
    return frozenset(found)


def _of_share(share: Fraction) -> tuple[Fraction, ...]:
    """A share of one, its rest, what is reached by adding it, and all three in percent."""
    shares = (share, 1 - share, 1 + share)
    return (*shares, *(100 * one for one in shares))


def _of_clock(text: str) -> Iterable[Fraction]:
    """``8:25`` as 825, as hours and as minutes since midnight."""
    hours, minutes = (Fraction(int(part[:4])) for part in text.split(":")[:2])
    return hours * 100 + minutes, hours + minutes / 60, hours * 60 + minutes


def _in_words(tokens: Sequence[Token]) -> Iterable[Fraction]:
    """Yield what number words give: each by itself, and the whole of "two hundred fifty", "two and a half"."""
    words = [part for token in tokens if token.kind in ("word", "of", "percent") for part in _parts(token)]
    total = current = Fraction(0)
    running = False
    for place, word in enumerate(words):
        number = _CARDINALS.get(word)
        if number is not None:
            yield Fraction(number)
            current, running = current + number, True
            yield total + current
        elif word in _SCALES:
            yield Fraction(_SCALES[word])
            if running:
                current *= _SCALES[word]
                yield total + current
                if _SCALES[word] >= 1000:
                    total, current = total + current, Fraction(0)
        elif word in _SHARES:
            yield _SHARES[word]
            if running:
                yield current * _SHARES[word]
                yield total + current + _SHARES[word]
            before = words[max(0, place - 4) : place]
            if "and" in before:  # "an hour and a half", "two and a half", "one and a quarter"
                yield 1 + _SHARES[word]
                yield from (_CARDINALS[one] + _SHARES[word] for one in before if one in _CARDINALS)
        elif word in _MULTIPLES:
            yield Fraction(_MULTIPLES[word])
        elif word not in ("and", "a"):
            total = current = Fraction(0)
            running = False


def _parts(token: Token) -> list[str]:
    return ["%"] if token.kind == "percent" else token.text.split("-")
