"""The arithmetic oracle: are the calculations that a step writes down right?

Contract: every equation between number expressions is evaluated exactly. One that is false beyond rounding,
under every reading that people use, makes the step ``wrong``; at least one true equation and nothing left
unread makes it ``correct``; everything else is ``undecided`` with a reason. ``correct`` here says only that
the calculations hold: a step that computes the wrong quantity flawlessly is ``correct`` too. A false alarm
costs more than a miss (it trains a scorer to distrust good steps), so each excuse below turns a false
equation into ``undecided``. Bounded time on any text, no `eval`. Not here: whether the numbers are the ones
that the problem asks for (`reference.py`), algebra, units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sparring.oracles.equations import Equation, Run, expression_text, find_equations, may_hold_equation
from sparring.oracles.excuses import between_systems, comparison_excuse, excuse, loses_its_unit, mixed_units
from sparring.oracles.facts import READ_WHOLE, Fact, find_facts
from sparring.oracles.reading import COMPARISONS, MAX_CHARACTERS, TooLargeError, UnreadableError, kept
from sparring.oracles.values import (
    calculate,
    close,
    is_irrational,
    show,
)
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
    """Combine equations and facts; an equation that a fact has read (``3:45 + 2 hours``) is not asked again."""
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
    count = f"{len(facts)} statement{'s' if len(facts) > 1 else ''} checked"
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


@kept
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
        detail = f"{count} calculation{'s' if count > 1 else ''} checked"
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
        numeric = any(token.kind == "number" for side in unread for token in side.tokens)
        return Check("not_numeric" if numeric else "label", equation)
    try:
        left_value, right_value = calculate(left.tokens), calculate(right.tokens)
    except TooLargeError:
        return Check("too_large", equation)
    except UnreadableError:
        return Check("not_numeric", equation)
    if equation.relation in COMPARISONS:
        return _compared(equation, left, right, left_value, right_value, step)
    compound = left.compound or right.compound
    if left.operators == 0 and right.operators == 0 and not compound and not _claims_equality(equation):
        return Check("label", equation, left=left_value, right=right_value)
    converted = mixed_units(left, right)
    if converted is not None and converted[0] == converted[1]:
        return Check("right", equation, "converted", left=left_value, right=right_value)
    if converted is None and compound:
        return Check("not_numeric", equation)
    if left_value == right_value and converted is None:
        if loses_its_unit(left, right):
            return Check("unclear", equation, "unit_of_result", left_value, right_value)
        return Check("right", equation, left=left_value, right=right_value)
    if converted is not None and (left_value == right_value or between_systems(left, right)):
        # "5 tens + 3 ones = 8" bills, "1 foot + 10 cm = 40.5 cm"
        return Check("unclear", equation, "unit_or_percent_scale", left_value, right_value)
    if is_irrational(left.tokens + right.tokens) and close(left_value, right_value):
        return Check("right", equation, left=left_value, right=right_value)
    carried_on = equation.chained and not left.units and not right.units
    if left.operators == 0 and equation.source == "text" and not carried_on and converted is None:
        # "2 pizzas = 2 * 8 slices", "Step 2 = ...": an amount renamed, not a calculation
        renamed = bool(left.lead or left.units or right.units or left.doubt) or right.operators == 0
        return Check("label" if renamed else "unclear", equation, "renamed", left_value, right_value)
    found = excuse(equation, left, right, left_value, right_value, step)
    if found is None:
        return Check("wrong", equation, left=left_value, right=right_value)
    finding: Finding = "right" if found == "rounded" else "unclear"
    return Check(finding, equation, found, left_value, right_value)


def _claims_equality(equation: Equation) -> bool:
    """Whether two plain numbers are said to be equal: in or after an annotation, or as the end of a chain without units."""
    left, right = equation.left, equation.right
    if equation.source != "text" or left is None or right is None:
        return equation.source != "text"
    return equation.chained and not left.units and not right.units


def _compared(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction, step: str
) -> Check:
    """Check ``left < right`` and the like; between two bare numbers a true one is no calculation."""
    sign = equation.relation
    if (left == right and "=" in sign) or (left < right if "<" in sign else left > right):
        calculates = first.operators or second.operators
        return Check("right" if calculates else "label", equation, left=left, right=right)
    found = comparison_excuse(first, second, step)
    return Check("unclear" if found else "wrong", equation, found or "", left, right)
