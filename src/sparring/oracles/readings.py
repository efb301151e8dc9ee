"""What the reference oracle compares of a step: the calculations that it claims, its words, numbers and formulas.

Contract: `read` takes a text apart, without a verdict; two texts are compared by `reference.py`. Bounded time on any
text. Readings of the last texts are kept, because all rewrites of a step share the original and its prefix.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, zip_longest

from sparring.oracles.arithmetic import check_equations
from sparring.oracles.canonical import Canonical, Formula, canonical_of, formulas_of
from sparring.oracles.equations import read_step
from sparring.oracles.expressions import calculation
from sparring.oracles.reading import COMPARISONS, Token, UnreadableError, kept, tokenize
from sparring.oracles.units import UNITS
from sparring.oracles.values import calculate, without_float_noise
from sparring.oracles.words import word_set

# Characters of an earlier result that is written out: sums that double would grow without end.
MAX_WRITTEN_OUT = 300
# Words that carry no content: with or without them, a step says the same.
CONNECTIVES = word_set("a an the so then thus hence therefore and that")
# Units without an exact size, which `units.py` leaves out: spelling → (name, dimension).
_INEXACT_UNITS = {
    spelling: (name, dimension)
    for name, dimension, spellings in (
        ("month", "time", "month months"),
        ("year", "time", "year years yr yrs"),
        ("ton", "mass", "ton tons tonnes"),
    )
    for spelling in spellings.split()
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A calculation and its result as a text claims them.

    Attributes:
        calculation: canonical form of the left side, earlier results of the same text written out.
        direct: canonical form of the left side as written.
        operands: the numbers of the left side, sorted.
        result: its value: the exact one of the left side where the right side is that, correctly rounded.
        shown: the right side's value as written.
        error: how far a rounded right side is from the exact result, 0 elsewhere.
        span: characters of the equation.
    """

    calculation: Canonical
    direct: Canonical
    operands: tuple[Fraction, ...]
    result: Fraction
    shown: Fraction
    error: Fraction
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reference oracle compares of a step, everything in order.

    Attributes:
        claims: its calculations, each once.
        words: the words of the visible text, without articles and words of inference.
        numbers: the numbers of the visible text, a percentage as its share of one.
        loose: those of them that stand in no claim; `loose_at` are their first characters.
        percents: how many of the numbers are percentages.
        units: how often each unit of measurement is named, whatever its spelling.
        formulas: its formulas outside the claims, as `canonical.formulas_of` writes them.
    """

    claims: tuple[Claim, ...]
    words: tuple[str, ...]
    numbers: tuple[Fraction, ...]
    loose: tuple[Fraction, ...]
    loose_at: tuple[int, ...]
    percents: int
    units: Counter[str]
    formulas: tuple[Formula, ...]

    @property
    def symbolic(self) -> Counter[Formula]:
        """The formulas that hold anything but numbers."""
        return Counter(formula for formula in self.formulas if any(map(_is_symbol, formula)))


def _is_symbol(sign: str) -> bool:
    return sign.isalpha() or sign[0] == "\\" or sign in COMPARISONS


@kept
def read(step: str) -> Reading:
    """Return what is compared of a step.

    Raises:
        TooLargeError: the step exceeds what is read.
    """
    claims = claims_of(step)
    tokens, _ = read_step(step)
    all_words = [token.text for token in tokens if token.kind in ("word", "of", "unknown")]
    units = Counter(unit[0] for word in all_words if (unit := unit_of(word)) is not None)
    units["dollar"] += sum(token.dollars for token in tokens)
    units = +units
    spans = iter(sorted(claim.span for claim in claims))
    span = next(spans, None)
    numbers: list[Fraction] = []
    loose: list[tuple[Fraction, int]] = []
    percents = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.value is None:
            continue
        percent = after is not None and after.kind == "percent"
        percents += percent
        number = without_float_noise(token.value)
        numbers.append(number / 100 if percent else number)
        while span is not None and span[1] <= token.start:
            span = next(spans, None)
        if span is None or token.start < span[0]:
            loose.append((numbers[-1], token.start))
    return Reading(
        claims,
        tuple(word for word in all_words if word not in CONNECTIVES),
        tuple(numbers),
        tuple(number for number, _ in loose),
        tuple(place for _, place in loose),
        percents,
        units,
        formulas_of(tokens, [claim.span for claim in claims]),
    )


def unit_of(word: str) -> tuple[str, str] | None:
    """Return name and dimension of the unit of measurement that a word spells, also of those without an exact size."""
    unit = UNITS.get(word)
    return _INEXACT_UNITS.get(word) if unit is None else (unit.name, unit.dimension)


def claims_of(step: str) -> tuple[Claim, ...]:
    """Return the calculations of a step in order, each once.

    Raises:
        TooLargeError: the step exceeds what is read.
    """
    claims: list[Claim] = []
    derived: dict[Fraction, Canonical] = {}
    for check in check_equations(step):
        if check.equation.source == "printed" or check.equation.relation in COMPARISONS:
            continue
        left, right, shown = check.equation.left, check.equation.right, check.right
        if check.finding == "right" and left is not None and not left.operators:
            left, right, shown = right, left, check.left  # "24 = 48 / 2"
        if left is None or right is None or check.left is None or shown is None:
            continue
        # "17 500" may not be the whole of what was written
        ambiguous = check.finding == "unclear" and "two_numbers_side_by_side" in (left.doubt, right.doubt)
        if left.operators == 0 or right.operators or ambiguous:
            continue
        shown = without_float_noise(shown)
        tokens = [_denoised(token) for token in left.tokens]
        try:
            result = calculate(tokens) if check.finding == "right" else shown
            tree = calculation(tokens, shares=True)
            direct, expanded = canonical_of(tree, {}), canonical_of(tree, derived)
        except (UnreadableError, RecursionError):
            continue
        if any(claim.direct == direct and claim.shown == shown for claim in claims):
            continue
        numbers = (token.value for token in tokens if token.value is not None)
        error = abs(result - shown) if check.reason == "rounded" else Fraction(0)
        claims.append(
            Claim(expanded, direct, tuple(sorted(numbers)), result, shown, error, check.equation.span)
        )
        if len(str(expanded)) <= MAX_WRITTEN_OUT:
            derived.setdefault(shown, expanded)
    return tuple(claims)


def _denoised(token: Token) -> Token:
    return token if token.value is None else token._replace(value=without_float_noise(token.value))


@kept
def known_numbers(text: str) -> frozenset[Fraction]:
    """Return the numbers of a text; of a percentage also its share of one.

    Raises:
        TooLargeError: the text exceeds what is read.
    """
    tokens = tokenize(text)
    values = [token.value for token in tokens if token.value is not None]
    shares = [
        token.value / 100
        for token, after in pairwise(tokens)
        if token.value is not None and after.kind == "percent"
    ]
    return frozenset(values + shares)
