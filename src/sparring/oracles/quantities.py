"""The quantities oracle: do the numbers of a step come from somewhere, and do its units fit together?

Contract: a guard against planted numbers. `judge` finds three errors and confirms nothing (a step may calculate the wrong
thing with founded numbers): ``miscopied_number`` (an operand without a source that differs by one slip of the pen from a
number that is given), ``unfounded_number`` (an operand that is neither given, stated nor constant, nor one calculation away
from such numbers), ``incompatible_units`` (3 kg + 5 m). Everything else is ``undecided``. The two rules on sources ask for
plain arithmetic: a problem in words, a step without powers, roots or unknowns. `numbers_in` says with what values
somebody who has read a text may calculate: in digits, words, percentages and their rests. Bounded time on any text.
Not here: whether calculations are right (`arithmetic.py`), units (`units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from sparring.oracles.equations import Equation, find_equations, may_hold_equation, read_step
from sparring.oracles.reading import COMPARISONS, MAX_CHARACTERS, Token, TooLargeError, tokenize
from sparring.oracles.units import AMBIGUOUS, UNITS, conversion_factors
from sparring.oracles.words import CARDINALS, MULTIPLES, SCALES, SHARES
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

MAX_PREFIX_STEPS = 200
MAX_DOUBTFUL = 100
MIN_MISCOPIED_DIGITS = 3
_PLAIN = frozenset("+-*/")
# Signs of a problem that is not told in words, where steps calculate silently.
_FORMULAS = re.compile(r"\\(?!\$|%)|\^|\$[^$\d\s]|\b[a-zA-Z] ?= ?\d|_")
_SUPPOSES = re.compile(
    r"\b(?:if|suppos\w+|assum\w+|let|say|guess\w*|try|tries|trial|test|example|estimat\w+|approximat\w+|about|round\w*"
    r"|average|random|check|maybe|perhaps|not|isn't|wrong|instead|mistake)\b|≈|~",
    re.IGNORECASE,
)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return ``wrong`` with the first error found, else ``undecided``; never raises on bad text."""
    texts = [problem.question, *prefix]
    if len(step) > MAX_CHARACTERS or len(texts) > MAX_PREFIX_STEPS:
        return Verdict("undecided", "quantities:too_large")
    try:
        equations = find_equations(step) if may_hold_equation(step) else []
        return next(_incompatible(equations), None) or _sources(texts, step, equations)
    except TooLargeError as too_large:
        return Verdict("undecided", "quantities:too_large", str(too_large))


def _wrong(kind: str, detail: str, span: tuple[int, int]) -> Verdict:
    return Verdict("wrong", f"quantities:{kind}", detail, span)


# --- where numbers come from ---


def _sources(texts: Sequence[str], step: str, equations: Sequence[Equation]) -> Verdict:
    operands = _operands(equations)
    if not operands:
        return Verdict("undecided", "quantities:nothing_to_check")
    written, given = (frozenset().union(*found) for found in zip(*map(numbers_in, texts), strict=True))
    doubtful = [operand for operand in operands if operand.value not in given]
    if len(doubtful) > MAX_DOUBTFUL:
        return Verdict("undecided", "quantities:too_large")
    factors = frozenset().union(*map(factors_of, (*texts, step))) if doubtful else frozenset()
    loose, results = _stated(step, equations, operands) if doubtful else (frozenset(), [])
    unfounded = []
    for operand in doubtful:
        before = (numbers for end, numbers in results if end <= operand.start)
        foundation = Foundation(given, written, loose.union(*before), factors)
        if not foundation.founds(operand):
            unfounded.append((operand, foundation))
    if not unfounded:
        return Verdict("undecided", "quantities:numbers_founded")
    for operand, foundation in unfounded if _is_plain(texts[0], step, equations) else ():
        span, value = (operand.start, operand.end), operand.value or Fraction(0)
        meant = _miscopied(operand, texts)
        if meant is not None and not foundation.derives(value, only_written=True):
            return _wrong("miscopied_number", f"{operand.text} is not given, {meant} is", span)
        if not foundation.derives(value):
            detail = f"{operand.text} is neither given nor follows from what is given in one calculation"
            return _wrong("unfounded_number", detail, span)
    operand, _ = unfounded[0]
    detail = f"{operand.text} is not given"
    return Verdict("undecided", "quantities:unsupported_number", detail, (operand.start, operand.end))


def _operands(equations: Sequence[Equation]) -> list[Token]:
    """Return the numbers that the step starts calculations with: of left sides that continue no chain."""
    found: dict[int, Token] = {}
    for equation in equations:
        side = equation.left
        if side is None or not side.known or not side.operators or equation.source == "printed":
            continue
        if equation.chained or equation.relation in COMPARISONS:
            continue
        found |= {token.start: token for token in side.numbers if token.value is not None}
    return [found[start] for start in sorted(found)]


def _stated(
    step: str, equations: Sequence[Equation], operands: Sequence[Token]
) -> tuple[frozenset[Fraction], list[tuple[int, set[Fraction]]]]:
    """Return what the step states outside its calculations, and (end, numbers but for the operands) of each side."""
    starts = {one.start for one in operands}
    inside = [
        side
        for equation in equations
        for side in (equation.left, equation.right)
        if side is not None and (side.operators or equation.right is side)
    ]
    pieces, position = [], 0
    for start, end in sorted((side.start, side.end) for side in inside):
        pieces.append(step[position : max(position, start)])
        position = max(position, end)
    pieces.append(step[position:])
    results = [
        (
            side.end,
            {token.value for token in side.tokens if token.value is not None and token.start not in starts},
        )
        for side in inside
    ]
    return numbers_in(" ; ".join(pieces))[1], results


def _is_plain(question: str, step: str, equations: Sequence[Equation]) -> bool:
    """Whether problem and step are everyday arithmetic, where a number has to have a source."""
    if _FORMULAS.search(question) or _SUPPOSES.search(step):
        return False
    sides = [side for equation in equations for side in (equation.left, equation.right) if side is not None]
    return all(side.known and not side.doubt for side in sides) and all(
        (token.kind != "operator" or token.text in _PLAIN)
        and token.kind not in ("root", "factorial")
        and "\\" not in token.text
        for side in sides
        for token in side.tokens
    )


def _miscopied(operand: Token, texts: Sequence[str]) -> str | None:
    """Return the one given number from which the digits of an operand differ by a single slip."""
    digits = _digits(operand.text)
    if len(digits) < MIN_MISCOPIED_DIGITS:
        return None
    near = {
        written
        for text in texts
        for written in (_digits(token.text) for token in read_step(text)[0] if token.kind == "number")
        if len(written) >= MIN_MISCOPIED_DIGITS and _one_slip(digits, written)
    }
    return near.pop() if len(near) == 1 else None


def _digits(text: str) -> str:
    return text.replace(",", "").removesuffix(".00").removesuffix(".0")


def _one_slip(one: str, other: str) -> bool:
    """Whether one digit is changed, left out, put in, or two neighbours are exchanged."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if len(one) == len(other):
        first, *rest = [place for place in range(len(one)) if one[place] != other[place]]
        exchanged = one[:first] + one[first : first + 2][::-1] + one[first + 2 :]
        return not rest or exchanged == other
    short, long = sorted((one, other), key=len)
    return any(long[:place] + long[place + 1 :] == short for place in range(len(long)))


# --- units ---


def _incompatible(equations: Sequence[Equation]) -> Iterator[Verdict]:
    """Yield sums of amounts that measure different things."""
    for equation in equations:
        side = equation.left
        if side is None or not side.known or side.doubt or len(side.measures) < 2:
            continue
        if any(token.kind not in ("number", "operator") or token.text in "*/^" for token in side.tokens):
            continue
        units = [
            unit
            for _, unit in sorted(side.measures.items())
            if unit.name not in AMBIGUOUS and unit.dimension != "count"
        ]
        other = next((unit for unit in units if unit.dimension != units[0].dimension), None)
        if other is not None:
            names = [f"{unit.name} ({unit.dimension})" for unit in (units[0], other)]
            detail = f"{' and '.join(names)} cannot be added"
            yield _wrong("incompatible_units", detail, (side.start, side.end))


# --- numbers that a text gives ---

MAX_POOL = 400
# Words for how many, beside those that multiply.
_GROUPS = {
    "single": 1, "both": 2, "couple": 2, "pair": 2, "pairs": 2, "twins": 2, "triplets": 3, "decade": 10, "decades": 10,
    "fortnight": 14, "score": 20, "century": 100,
}  # fmt: skip
CONSTANTS = frozenset((
    *range(13), 14, 15, 16, 20, 21, 24, 25, 26, 28, 29, 30, 31, 36, 40, 45, 48, 50, 52, 60, 75, 90, 100, 144, 180, 360,
    365, 366, 1000, 1760, 2000, 3600, 5280,
))  # fmt: skip
"""Numbers that need no source: small counts, and what days, weeks, years, money, angles, lengths and weights hold."""
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
def numbers_in(text: str) -> tuple[frozenset[Fraction], frozenset[Fraction]]:
    """Return the values that a text writes in digits or words, and these with what they imply.

    Implied are percentages, rests, fractions and clock times. A text that is too large has none.
    """
    try:
        tokens = tokenize(text)
    except TooLargeError:
        return frozenset(), frozenset()
    written = frozenset(_in_words(tokens)) | {token.value for token in tokens if token.value is not None}
    found = set(written)
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
    return written, frozenset(found)


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
        number = CARDINALS.get(word)
        if number is not None:
            yield Fraction(number)
            current, running = current + number, True
            yield total + current
        elif (scale := SCALES.get(word.removesuffix("s") if word == "dozens" else word)) is not None:
            yield Fraction(scale)
            if running:
                current *= scale
                yield total + current
                if scale >= 1000:
                    total, current = total + current, Fraction(0)
        elif (share := SHARES.get(word)) is not None:
            yield share
            if running:
                yield current * share
                yield total + current + share
            before = words[max(0, place - 4) : place]
            if "and" in before:  # "an hour and a half", "two and a half", "one and a quarter"
                yield 1 + share
                yield from (CARDINALS[one] + share for one in before if one in CARDINALS)
        elif word in MULTIPLES or word in _GROUPS:
            yield Fraction((MULTIPLES | _GROUPS)[word])
        elif word not in ("and", "a"):
            total = current = Fraction(0)
            running = False


def _parts(token: Token) -> list[str]:
    return ["%"] if token.kind == "percent" else token.text.split("-")
