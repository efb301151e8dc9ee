r"""The arithmetic oracle: are the calculations that a step writes down right?

Contract: every equation between number expressions is evaluated exactly, and so are some statements about numbers without
one: ``51 is prime``, ``17 \equiv 2 \pmod{5}``, ``17 ÷ 5 = 3 R 2``, ``1011_2 = 11``, ``\gcd(12, 18) = 6``, ``2 hours = 120
minutes``, ``He needs 7 because 8 - 2 = 6``. What is false beyond rounding, under every reading that people use, makes the
step ``wrong``; at least one true equation and nothing left unread makes it ``correct``; everything else is ``undecided``
with a reason. ``correct`` here says only that the calculations hold: a step that computes the wrong quantity flawlessly is
``correct`` too. A false alarm costs more than a miss (it trains a scorer to distrust good steps), so each of the excuses
(`excuses.py`) turns a false equation into ``undecided``. Bounded time on any text, no `eval`. Not here: whether the
numbers are the ones that the problem asks for (`reference.py`), algebra.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from sparring.errors import plural
from sparring.oracles.equations import Equation, Run, expression_text, find_equations, may_hold_equation
from sparring.oracles.excuses import between_systems, comparison_excuse, excuse, loses_its_unit, mixed_units
from sparring.oracles.reading import (
    BASE_PREFIXES,
    COMPARISONS,
    MAX_CHARACTERS,
    SUBSCRIPTS,
    TooLargeError,
    UnreadableError,
    cached,
)
from sparring.oracles.units import UNITS
from sparring.oracles.values import calculate, close, is_irrational, show, value_of
from sparring.oracles.words import CARDINALS, SPELLED_NUMBERS, is_denied, is_only_reported
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

MAX_EQUATIONS = 200
MAX_FALSE_EQUATIONS = 20
NOTHING = "arithmetic:nothing_to_check"
Finding = Literal["right", "wrong", "unclear", "label", "not_numeric", "too_large"]
_WORST_FIRST: tuple[Finding, ...] = ("wrong", "too_large", "unclear", "not_numeric", "right")


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one equation: the finding, the excuse of an unclear one, the values of its sides where known.

    ``right`` may be so after rounding; ``unclear`` is false as written, but an excuse applies; in a ``label`` nothing is
    calculated (``1 hour = 60 minutes``, ``Total = 5``); ``not_numeric`` has variables or unread parts.
    """

    finding: Finding
    equation: Equation
    reason: str = ""
    left: Fraction | None = None
    right: Fraction | None = None


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the arithmetic verdict on `step`, which needs neither problem nor prefix."""
    return judge_text(step)


@cached
def judge_text(step: str) -> Verdict:
    """Return the verdict on a step's text; never raises on bad text, never runs unbounded."""
    if len(step) > MAX_CHARACTERS:
        return Verdict("undecided", "arithmetic:too_large", f"{len(step)} characters")
    try:
        checks = check_equations(step) if may_hold_equation(step) else ()
    except TooLargeError as error:
        return Verdict("undecided", "arithmetic:too_large", str(error))
    facts = find_facts(step)
    return with_facts(checks, facts) if facts else verdict_of(checks)


def with_facts(checks: Sequence[Check], facts: Sequence[Fact]) -> Verdict:
    """Combine equations and facts; an equation that a fact has read (``17 ÷ 5 = 3 R 2``) is not asked again."""
    facts = [fact for fact in facts if fact.holds or not _is_part(fact, checks)]
    left = [
        check
        for check in checks
        if not any(
            (check.finding in ("not_numeric", "label") or fact.kind in READ_WHOLE)
            and fact.span[0] < check.equation.span[1]
            and check.equation.span[0] < fact.span[1]
            for fact in facts
        )
    ]
    verdict = verdict_of(left)
    false = next((fact for fact in facts if fact.holds is False), None)
    if verdict.truth == "wrong":
        return verdict
    if false is not None:
        return Verdict("wrong", f"arithmetic:{false.kind}", false.detail, false.span)
    open_fact = next((fact for fact in facts if fact.holds is None), None)
    if open_fact is not None and (verdict.truth == "correct" or verdict.reason == NOTHING):
        return Verdict("undecided", "arithmetic:open_statement", open_fact.detail, open_fact.span)
    if verdict.reason != NOTHING:
        return verdict
    count = f"{plural(len(facts), 'statement')} checked"
    return Verdict("correct", "arithmetic:calculations_hold", count, facts[0].span)


def _is_part(fact: Fact, checks: Sequence[Check]) -> bool:
    """Whether a conversion is the end of a sum: "5 pounds plus 12 ounces = 6 pounds"."""
    return fact.kind == "wrong_conversion" and any(
        side is not None
        and (side.operators or side.compound)
        and side.start < fact.span[1]
        and fact.span[0] < side.end
        for check in checks
        for side in (check.equation.left, check.equation.right)
    )


@cached
def check_equations(step: str) -> tuple[Check, ...]:
    """Return one check per equation of the step.

    Raises:
        TooLargeError: the step exceeds what is read, in characters, in equations, or in false equations.
    """
    equations = find_equations(step)
    if len(equations) > MAX_EQUATIONS:
        raise TooLargeError(f"{len(equations)} equations; at most {MAX_EQUATIONS} are checked")
    checks: list[Check] = []
    false = 0
    for equation in equations:
        checks.append(check(equation, step))
        false += checks[-1].finding in ("wrong", "unclear")
        if false > MAX_FALSE_EQUATIONS:
            raise TooLargeError(f"over {MAX_FALSE_EQUATIONS} false equations; no step of a solution")
    return tuple(checks)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Combine checks: one wrong makes the step wrong, one unclear or unread leaves it undecided."""
    by_finding: dict[Finding, Check] = {}
    for one in checks:
        by_finding.setdefault(one.finding, one)
    worst = next((by_finding[kind] for kind in _WORST_FIRST if kind in by_finding), None)
    if worst is None:
        return Verdict("undecided", NOTHING)
    span = worst.equation.span
    if worst.finding == "wrong":
        return Verdict("wrong", "arithmetic:wrong_result", describe(worst), span)
    if worst.finding == "right":
        count = sum(one.finding == "right" for one in checks)
        detail = f"{plural(count, 'calculation')} checked"
        return Verdict("correct", "arithmetic:calculations_hold", detail, span)
    return Verdict("undecided", f"arithmetic:{worst.reason or worst.finding}", describe(worst), span)


def describe(failed: Check) -> str:
    """Say what the left side is and what the step says it is."""
    left, right = failed.equation.left, failed.equation.right
    if left is None or right is None or failed.left is None or failed.right is None:
        return ""
    if failed.equation.source == "printed":
        return f"the calculation gives {show(failed.left)}, the text says {show(failed.right)}"
    if failed.equation.relation in COMPARISONS:
        return f"{show(failed.left)} {failed.equation.relation} {show(failed.right)} does not hold"
    if failed.reason == "unit_of_result":
        return "the result has a unit that the calculation does not give"
    if mixed_units(left, right) is not None:
        return "the sum is wrong after conversion of its units"
    if left.operators == 0 and right.operators == 0:
        return f"{expression_text(left)} is not {expression_text(right)}"
    if left.operators == 0:
        return f"{expression_text(right)} is {show(failed.right)}, not {show(failed.left)}"
    return f"{expression_text(left)} is {show(failed.left)}, not {show(failed.right)}"


def check(equation: Equation, step: str) -> Check:
    """Evaluate both sides of an equation and compare them."""
    left, right = equation.left, equation.right
    if equation.relation in COMPARISONS and not (left and right and left.known and right.known):
        return Check("label", equation)  # "x > 3" is a condition
    if left is None or right is None:
        return Check("not_numeric" if equation.symbolic else "label", equation)
    unread = [side for side in (left, right) if not side.known]
    if unread:  # without numbers, a formula of words alone
        numeric = any(side.numbers for side in unread)
        return Check("not_numeric" if numeric else "label", equation)
    try:
        values = calculate(left.tokens), calculate(right.tokens)
    except TooLargeError:
        return Check("too_large", equation)
    except UnreadableError:
        return Check("not_numeric", equation)
    judged = _compared if equation.relation in COMPARISONS else _equated
    finding, reason = judged(equation, left, right, *values, step)
    return Check(finding, equation, reason, *(values if finding != "not_numeric" else ()))


def _equated(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction, step: str
) -> tuple[Finding, str]:
    """Return finding and reason for an equation of two sides with these values."""
    compound = first.compound or second.compound
    plain = not first.operators and not second.operators and not compound
    carried_on = equation.chained and not first.units and not second.units
    if plain and equation.source == "text" and not carried_on:
        return "label", ""
    converted = mixed_units(first, second)
    if converted is None:
        if compound:
            return "not_numeric", ""
        if left == right:
            return ("unclear", "unit_of_result") if loses_its_unit(first, second) else ("right", "")
    elif converted[0] == converted[1]:
        return "right", "converted"
    elif left == right or between_systems(first, second):
        # "5 tens + 3 ones = 8" bills, "1 foot + 10 cm = 40.5 cm"
        return "unclear", "unit_or_percent_scale"
    if is_irrational(first.tokens + second.tokens) and close(left, right):
        return "right", ""
    if first.operators == 0 and equation.source == "text" and not carried_on and converted is None:
        # "2 pizzas = 2 * 8 slices", "Step 2 = ...": an amount renamed, not a calculation
        renamed = bool(first.lead or first.units or second.units or first.doubt) or second.operators == 0
        return "label" if renamed else "unclear", "renamed"
    found = excuse(equation, first, second, left, right, step)
    return "wrong" if found is None else "right" if found == "rounded" else "unclear", found or ""


def _compared(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction, step: str
) -> tuple[Finding, str]:
    """Return finding and reason for ``left < right`` and the like; a true one of bare numbers is no calculation."""
    sign = equation.relation
    if (left == right and "=" in sign) or (left < right if "<" in sign else left > right):
        return "right" if first.operators or second.operators else "label", ""
    found = comparison_excuse(first, second, step)
    return "unclear" if found else "wrong", found or ""


# --- statements without an equation between expressions; each pattern is anchored to numbers of few digits ---


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that is decided.

    Attributes:
        kind: of the error if it is false, as in `_ROWS`.
        holds: whether it is true; None where it is false as written, and another reading, a denial or a supposition in
            the same step may save it.
        detail: for people.
        span: its characters.
    """

    kind: str
    holds: bool | None
    detail: str
    span: tuple[int, int]


READ_WHOLE = frozenset(("wrong_remainder", "wrong_base"))
"""Kinds of facts that are equations: nobody has to read what stands in them again."""

Reader = Callable[[re.Match[str], str], tuple[bool | None, str] | None]


def find_facts(step: str) -> list[Fact]:
    """Return the decided statements of a step of at most `reading.MAX_CHARACTERS` characters, in reading order."""
    hinted = {hint for hint in _HINTS if hint in step}
    if not hinted:
        return []
    found = [
        Fact(kind, *answer, match.span())
        for kind, hints, pattern, read in _PATTERNS
        if not hinted.isdisjoint(hints)
        for match in pattern.finditer(step)
        if (answer := read(match, step)) is not None
    ]
    denied = any(fact.holds is False for fact in found) and is_denied(step)
    found = [
        replace(fact, holds=None)
        if fact.holds is False and (denied or is_only_reported(step, *fact.span))
        else fact
        for fact in found
    ]
    return sorted(found, key=lambda fact: fact.span)


# --- properties of whole numbers ---


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _is_power(number: int, power: int) -> bool:
    root = round(number ** (1 / power))
    return any(base**power == number for base in (root - 1, root, root + 1))


_PROPERTIES: dict[str, Callable[[int], bool]] = {
    "prime": _is_prime,
    "composite": lambda number: number > 1 and not _is_prime(number),
    "even": lambda number: number % 2 == 0,
    "odd": lambda number: number % 2 == 1,
    "perfect square": lambda number: _is_power(number, 2),
    "perfect cube": lambda number: _is_power(number, 3),
}


def _property(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    number = int(match.group(1).replace(",", ""))
    holds = _PROPERTIES[match.group(2).lower()](number)
    return holds, f"{number} is {'' if holds else 'not '}{match.group(2).lower()}"


def _divisible(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    number, divisor = int(match.group(1).replace(",", "")), int(match.group(2))
    holds = divisor > 0 and number % divisor == 0
    return holds, f"{number} is {'' if holds else 'not '}divisible by {divisor}"


def _common(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    name, shown = match.group(1).lower(), int(match.group(3).replace(",", ""))
    numbers = [int(digits) for digits in re.findall(r"\d+", match.group(2))]
    found = math.gcd(*numbers) if name[0] == "g" else math.lcm(*numbers)
    return found == shown, f"it is {found}, not {shown}"


def _congruence(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    modulus = int(match.group(3))
    one, other = (value_of(side) for side in match.group(1, 2))
    if one is None or other is None or one.denominator != 1 or other.denominator != 1 or modulus == 0:
        return None
    return (one - other) % modulus == 0, f"{show(one)} and {show(other)} differ modulo {modulus}"


_FUNCTION_OF = re.compile(r"\b(?!remainder|value|result)\w+ of[\s$(\\]*$", re.IGNORECASE)


def _remainder(match: re.Match[str], step: str) -> tuple[bool, str] | None:
    number, divisor, quotient, rest = (int(match.group(name).replace(",", "")) for name in "abqr")
    if divisor == 0 or (number == divisor * quotient + rest and rest >= divisor):
        return None
    found = f"{number} is {number // divisor} times {divisor} and {number % divisor}"
    return number == divisor * quotient + rest, found


def _modulo(match: re.Match[str], step: str) -> tuple[bool, str] | None:
    number, divisor, rest = value_of(match["a"]), int(match["b"]), int(match["r"])
    if number is None or number.denominator != 1 or divisor == 0:
        return None
    if _FUNCTION_OF.search(step[: match.start()]):
        return None  # "the inverse of 17 mod 83 is 44"
    if (number - rest) % divisor == 0:
        return (True, "the remainder") if abs(rest) < divisor else None
    if "%" in match.group() and number * divisor == 100 * rest:
        return None  # 50 % of 20
    return False, f"the remainder is {number % divisor}, not {rest}"


# --- number bases ---

_BASES = {name: base for name, base in CARDINALS.items() if 2 <= base <= 16}
_BASES |= {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}
_IN_BASE = (
    r"(?:0[xbo][0-9a-f]{1,16}(?![\w.])|\(?[0-9a-f]{1,24}\)?"
    rf"(?:_\{{?(?:\\text\{{)?(?:base )?\}}?(?:\d{{1,2}}|{'|'.join(_BASES)})\}}{{0,2}}|[₀-₉]{{1,2}}"
    rf"|,? (?:\(|in )?base[ -](?:\d{{1,2}}|{'|'.join(_BASES)})\)?)(?![\w.]))"
)
_BASE_TERM = re.compile(rf"{_IN_BASE}|\d{{1,18}}", re.IGNORECASE)


def _in_base(text: str) -> int | None:
    """Return the value of ``1011_2``, ``0x1F``, or of plain digits."""
    if re.match(r"\(?(?![A-F]{2,}[_\W]+16\b)[a-z]", text, re.IGNORECASE):
        return None  # a_{14}
    text = text.lower().replace("\\text", "")
    if text[:1] == "0" and text[1:2] in BASE_PREFIXES:
        digits, base = text[2:], BASE_PREFIXES[text[1]]
    else:
        marked = re.sub(r"(?=[₀-₉])(?<![₀-₉])", "_", text).translate(SUBSCRIPTS)
        found = re.fullmatch(r"\(?([0-9a-f]+)\)?(?:[\W_]+(?:in[\W_]+)?(?:base[\W_]*)?(\w+?)[\W_]*)?", marked)
        if found is None:
            return None
        digits, name = found.group(1), found.group(2) or "ten"
        base = _BASES.get(name) or (int(name) if name.isdigit() else 0)
    if not 2 <= base <= 16 or any(int(digit, 16) >= base for digit in digits):
        return None
    return int(digits, base)


def _based(match: re.Match[str], step: str) -> tuple[bool, str] | None:
    sides = [[_in_base(term) for term in _BASE_TERM.findall(side)] for side in match.group("left", "right")]
    signs = re.findall(r"[-+*×]|\\times|\\cdot", match["left"])
    if any(None in side for side in sides) or (signs and len({*signs}) > 1):
        return None
    left, (right,) = [value for value in sides[0] if value is not None], sides[1]
    total, *others = left
    for other in others:
        total = total + other if signs[0] == "+" else total - other if signs[0] == "-" else total * other
    assert right is not None
    if total != right and _reads_otherwise(match, step, total):
        return None
    return total == right, f"it is {total}, not {right}"


def _reads_otherwise(match: re.Match[str], step: str, total: int) -> bool:
    """Whether ``0x10`` may be a product, or the right side be written in a base that is not named."""
    if re.search(r"\b0x\d+\b", match.group()) and 0 in (total, _in_base(match["right"])):
        return True
    digits = match["right"]
    if not digits.isalnum() or not digits.isdigit():
        return False
    bases = {2, 8, 16, *(int(base) for base in re.findall(r"(?:_\{?|\bbase )(\d{1,2})\b", step))}
    largest = max(int(digit) for digit in digits)
    return any(int(digits, base) == total for base in bases if largest < base <= 36)


# --- units ---

_SCALE = re.compile(
    r"\b(?:scale|map|model|drawing|represents?|blueprint|rate|every|each|per)\b", re.IGNORECASE
)


def _conversion(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    one, other = UNITS.get(match.group(2).lower()), UNITS.get(match.group(4).lower())
    if one is None or other is None or one.dimension != other.dimension or one == other:
        return None
    if "day" in (one.name, other.name) or "week" in (one.name, other.name):
        return None  # working days and weeks are shorter
    left, right = Fraction(match.group(1).replace(",", "")), Fraction(match.group(3).replace(",", ""))
    wanted = left * one.factor / other.factor
    if wanted == right:
        return True, f"{match.group(1)} {one.name} is {match.group(3)} {other.name}"
    # Rounded, between systems, or a scale ("1 inch = 4 feet"): only a multiple of a definition can be wrong.
    if wanted.denominator != 1 and (wanted * 100).denominator != 1:
        return None
    if abs(wanted - right) < 1:
        return None, "rounded"
    if _SCALE.search(step) or (left == 1 and one.dimension == "length"):
        return None
    return False, f"{match.group(1)} {one.name} is {float(wanted):g} {other.name}, not {match.group(3)}"


# --- a number and the calculation that is its reason ---

_COUNT = re.compile(r"\d[\d,]*(?:\.\d+)?")
_OTHER_COUNT = re.compile(
    r"\d-|-\d|\d[a-z]|\d, \d|[%/<>≤≥]|\b(?:million|thousand|hundred|dozens?|half|twice|times|every|per cent|percent"
    r"|more|less|another|about|almost|over|under|least|most|negative|fifteen|each|per)\b",
    re.IGNORECASE,
)


def _reason(match: re.Match[str], step: str) -> tuple[bool | None, str] | None:
    """Compare the only number of a sentence with the result after its "because"."""
    lead = re.split(r"[.;:!?](?!\d)", step[: match.start()])[-1]
    counts, words = _COUNT.findall(lead), set(re.findall(r"[a-z]+", lead.lower()))
    if len(counts) != 1 or _OTHER_COUNT.search(lead) or SPELLED_NUMBERS & words:
        return None
    said, result = (Fraction(text.replace(",", "")) for text in (counts[0], match.group(1)))
    if said == result:
        return True, f"{counts[0]} is the result"
    if abs(said - result) < 1 or result in (100 * said, said / 100):
        return None  # rounded to whole things, or cents of dollars
    return False, f"the calculation gives {match.group(1)}, the text says {counts[0]}"


_NUMBER = r"(?<![\w.,^/*+=-])(?<![-+*/^=×·] )(\d{1,3}(?:,\d{3}){0,3}|\d{1,7})(?![\w.,]*\d)"
# Nothing before that the number would be a part of.
_BARE = (
    r"(?<![\w.,^/+=×÷·-])(?:(?<!\*)|(?<=^\*\*)|(?<=\s\*\*))(?:(?<![-+*/^=×÷·−] )|(?<=^[-*] )|(?<=\n[-*] ))(?<!\d )"
    r"(?<!cdot)(?<!cdot )(?<!times)(?<!times )(?<!div)(?<!div )"
)
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d{1,9})"
_SAYS = r"\s*(?:=|equals|is(?=\s*[\da-f]+\s*(?:[.,;$)]|$)))\s*"
_DIVISION = (
    rf"{_BARE}(?P<a>{_WHOLE})[\s$]*(?:÷|/|\\div|divided by)[\s$]*(?P<b>{_WHOLE})[\s$]*(?:=|is|equals)"
    rf"[\s$]*(?P<q>{_WHOLE})"
)
_SPACING = r"(?:\\text\{|\\mathrm\{|\\[,;: ]|[\s$,(~}])*"
_PRODUCT = r"-?\d{1,9}(?:\^\{?\d{1,3}\}?|\s*(?:\\cdot|\\times|[*×])\s*\d{1,6}){0,4}"
_AMOUNT = r"(\d{1,3}(?:,\d{3})+(?:\.\d{1,4})?|\d{1,7}(?:\.\d{1,4})?)"
_SIDE = r"(-?\d{1,6}(?:(?:\^\{?\d{1,3}\}?|\s*(?:\\cdot|\\times|[-+*])\s*\d{1,6})){0,12})"
# (kind, texts of which every match holds one, reader, pattern)
_ROWS: tuple[tuple[str, str, Reader, str], ...] = (
    ("wrong_property", " is ", _property,
     rf"{_NUMBER}\$? is (?:an? |also |indeed )?"
     r"(prime|composite|even|odd|perfect square|perfect cube)\b(?! (?:to|with|in|if|when|factor))"),
    ("wrong_property", "divisible by", _divisible,
     rf"{_NUMBER}\$? is (?:also )?divisible by \$?(\d{{1,4}})(?![\d.^*]|\s*[\^*\\])"),
    ("wrong_property", "(", _common,
     r"\b(gcd|lcm)\b\}?\s*(?:\\left)?\(((?:\d{1,6}\s*,\s*){1,4}\d{1,6})(?:\\right)?\)\s*=\s*"
     r"(\d{1,9})(?![\d.,/^*]|\s*[-+*/^\\(])"),
    ("wrong_congruence", "mod", _congruence,
     rf"(?<![\w.^}})+*-])(?<![-+*/^=×·−] )(?<!cdot )(?<!times ){_SIDE}"
     rf"\s*(?:\\equiv|≡)\s*{_SIDE}\s*(?:\\pmod|\(\s*\\?mod|\\mod)\s*\{{?\s*(\d{{1,5}})\b"),
    ("wrong_remainder", "R| r|rem|{r", _remainder,
     rf"{_DIVISION}{_SPACING}(?:with |and )?(?:an? )?(?:r|rem|remainder)\b(?: of)?[.:]?{_SPACING}(?P<r>{_WHOLE})"
     r"(?![\d.,/^*]*\d)"),
    ("wrong_remainder", "left|remaining", _remainder,
     rf"{_DIVISION}[\s$,]*(?:with|and) (?P<r>{_WHOLE}) (?:left over|leftover|left|remaining)\b"),
    ("wrong_remainder", "R", _remainder, rf"{_DIVISION}[\s$]*R(?P<r>\d{{1,6}})(?![\d.,/^*]*\d)"),
    ("wrong_remainder", "%|mod|MOD", _modulo,
     rf"{_BARE}(?P<a>{_PRODUCT}|\(-?\d{{1,9}}(?:\s*[-+*×]\s*\d{{1,9}}){{1,4}}\))\s*"
     r"(?:\\?%|\\operatorname\{mod\}|\\text\{ ?mod ?\}|\\?b?mod\b|modulo\b)\s*(?P<b>\d{1,7})[\s$]*"
     r"(?:==?|is|equals)[\s$]*(?P<r>-?\d{1,7})(?![\w.,]*\d|\s*[-+*/^×÷%]|\s*mod)"),
    ("wrong_base", "_|0x|0b|0o|0X|base|₂|₃|₄|₅|₆|₇|₈|₉|₁", _based,
     rf"{_BARE}(?P<left>{_IN_BASE}(?:\s*(?:[-+*×]|\\times|\\cdot)\s*(?:{_IN_BASE}|\d{{1,18}})){{0,6}}){_SAYS}"
     rf"(?P<right>{_IN_BASE}|\d{{1,18}}(?![\w.,]*\d))(?!\s*(?:[-+*/^×÷_(]|\\(?:cdot|times|div|left)))"),
    ("wrong_base", "_|0x|0b|0o|0X|base|₂|₃|₄|₅|₆|₇|₈|₉|₁", _based,
     rf"{_BARE}(?P<left>\d{{1,18}}){_SAYS}(?P<right>{_IN_BASE})(?!\s*(?:[-+*/^×÷(]|\\(?:cdot|times|div|left)))"),
    ("wrong_conversion", "=", _conversion,
     rf"(?<![\w.,/*+-])(?<![-+*/×] ){_AMOUNT}\s*([A-Za-z]+)\s*=\s*{_AMOUNT}\s*([A-Za-z]+)\b"
     r"(?!\s*(?:per\b|/|and\b|\d|[-+*^]))"),
    ("wrong_reason", "because", _reason,
     r"\bbecause\s+(?=[\d$(.])[\d.,$%()xX×*+/÷ -]{3,60}=\s*\$?(?:<<[^<>\n]{0,80}>>)?\$?"
     r"(\d[\d,]*(?:\.\d{1,6})?)(?=\.?\s*$|\.\s)"),
)  # fmt: skip
_PATTERNS = [
    (kind, hints.split("|"), re.compile(pattern, re.IGNORECASE), read) for kind, hints, read, pattern in _ROWS
]
_HINTS = sorted({hint for _, hints, _, _ in _PATTERNS for hint in hints})
