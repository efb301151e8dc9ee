"""The quantities oracle: do the numbers of a step come from somewhere, keep their value, and fit together?

Contract: `judge` finds four errors and confirms nothing (a step may calculate the wrong thing with founded numbers):
``miscopied_number`` (an operand without a source that differs by one slip of the pen from a number that is given),
``unfounded_number`` (an operand that is neither given, stated nor constant, nor one calculation away from such numbers),
``contradicts_earlier`` (``f(3) = 12`` after ``f(3) = 10``), ``incompatible_units`` (3 kg + 5 m). Everything else is
``undecided``. The two rules on sources ask for plain arithmetic: a problem in words, a step without powers, roots or
unknowns. Bounded time on any text. Not here: whether calculations are right (`arithmetic.py`), what constants and
conversions there are (`foundations.py`, `units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain

from sparring.oracles.equations import Equation, find_equations, may_hold_equation, read_step
from sparring.oracles.foundations import Foundation, factors_of, numbers_in, written_in
from sparring.oracles.reading import COMPARISONS, MAX_CHARACTERS, Token, TooLargeError
from sparring.oracles.units import AMBIGUOUS
from sparring.oracles.values import show, value_of
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
# Words after which one name may have several values.
_CASES = re.compile(
    r"\b(?:cases?|if|suppose|assume|when|or|either|let|try|trying|not|wrong|mistake|instead|otherwise|actually|could"
    r"|would|possib\w+|respectively|whenever|guess|check\w*|test\w*|options?|choices?|maximum|minimum|solutions?|roots?"
    r"|values|new|now|next|then|each|another|other|sorry|setting|set|for)\b|\\pm|\?|\[asy\]",
    re.IGNORECASE,
)
_LINKING = re.compile(
    r"^(?:(?:so|thus|hence|then|therefore|and|but|we|have|get|gives|giving|where|with|that|also)\s+)+"
)
_OF_LETTERS = re.compile(r"(?:[-+*\d^{}/]|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+")  # n, 2k, x+y
_NAMED = re.compile(
    r"(?:^|\$|\\\(|\\\[|, )\s*([A-Za-z\\][A-Za-z0-9_\\{}()+\-* ]{0,30}?)\s*=\s*"
    r"(-?\d{1,12}(?:\.\d{1,9})?|-?\\[dt]?frac\{\d{1,9}\}\{\d{1,9}\})(?=\s*(?:[$.,;]|\\\]|\\\)|$))"
)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return ``wrong`` with the first error found, else ``undecided``; never raises on bad text."""
    texts = [problem.question, *prefix]
    if len(step) > MAX_CHARACTERS or len(texts) > MAX_PREFIX_STEPS:
        return Verdict("undecided", "quantities:too_large")
    try:
        equations = find_equations(step) if may_hold_equation(step) else []
        error = _contradiction(problem.question, prefix, step) or next(_incompatible(equations), None)
        return error or _sources(texts, step, equations)
    except TooLargeError as too_large:
        return Verdict("undecided", "quantities:too_large", str(too_large))


def _wrong(kind: str, detail: str, span: tuple[int, int]) -> Verdict:
    return Verdict("wrong", f"quantities:{kind}", detail, span)


# --- where numbers come from ---


def _sources(texts: Sequence[str], step: str, equations: Sequence[Equation]) -> Verdict:
    operands = _operands(equations)
    if not operands:
        return Verdict("undecided", "quantities:nothing_to_check")
    given, written = (frozenset().union(*map(read, texts)) for read in (numbers_in, written_in))
    doubtful = [operand for operand in operands if operand.value not in given]
    if len(doubtful) > MAX_DOUBTFUL:
        return Verdict("undecided", "quantities:too_large")
    factors = frozenset().union(*map(factors_of, (*texts, step))) if doubtful else frozenset()
    loose, results = _stated(step, equations, operands) if doubtful else (frozenset(), [])
    unfounded = [
        (operand, foundation)
        for operand in doubtful
        if not (
            foundation := Foundation(given, written, loose.union(*_before(results, operand)), factors)
        ).founds(operand)
    ]
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
        numbers = (token for token in side.tokens if token.kind == "number" and token.value is not None)
        found |= {token.start: token for token in numbers}
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
    return numbers_in(" ; ".join(pieces)), results


def _before(results: Sequence[tuple[int, set[Fraction]]], operand: Token) -> list[set[Fraction]]:
    return [numbers for end, numbers in results if end <= operand.start]


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


# --- names and their values ---


def _contradiction(question: str, prefix: Sequence[str], step: str) -> Verdict | None:
    """Return a name that the step gives another value than the problem or an earlier step did."""
    named = list(_names(step))
    if not named or any(_CASES.search(text) for text in (step, *prefix)):
        return None
    given = {name for name, _, _ in _names(question)}
    earlier: dict[str, set[Fraction]] = {}
    for name, value, _ in chain.from_iterable(map(_names, (question, *prefix))):
        earlier.setdefault(name, set()).add(value)
    for name, value, span in named:
        values = earlier.get(name, set())
        # A single letter may run through solutions, unless the problem gives its value.
        if len(values) == 1 and value not in values and (name in given or not _OF_LETTERS.fullmatch(name)):
            (old,) = values
            return _wrong("contradicts_earlier", f"{name} was {show(old)}, not {show(value)}", span)
    return None


def _names(text: str) -> Iterable[tuple[str, Fraction, tuple[int, int]]]:
    """Yield (name, value, span) of every ``name = number`` that a text states."""
    if "=" not in text or len(text) > MAX_CHARACTERS:
        return
    for match in _NAMED.finditer(text):
        value = value_of(match.group(2))
        if value is not None:
            name = re.sub(r"\s|\\left|\\right|\\,", "", _LINKING.sub("", match.group(1)))
            yield name, value, match.span(1)
