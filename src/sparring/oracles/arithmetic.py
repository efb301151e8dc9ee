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
from functools import lru_cache
from typing import Literal

from sparring.oracles.equations import (
    KEPT_TEXTS,
    MAX_KEPT_CHARACTERS,
    Equation,
    expression_text,
    find_equations,
    may_hold_equation,
)
from sparring.oracles.excuses import comparison_excuse, excuse
from sparring.oracles.facts import Fact, find_facts
from sparring.oracles.numbers import (
    EvaluationError,
    Failure,
    close,
    is_irrational,
    show,
    to_postfix,
    value_of,
)
from sparring.oracles.run import Run
from sparring.oracles.scales import mixed_units
from sparring.oracles.tokens import COMPARISONS, MAX_CHARACTERS, TextTooLargeError
from sparring.oracles.verdict import Verdict
from sparring.traces.records import Problem

MAX_EQUATIONS = 200
MAX_FALSE_EQUATIONS = 20
Finding = Literal["right", "wrong", "unclear", "label", "not_numeric", "too_large"]


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one equation.

    Attributes:
        finding: ``right`` (possibly after rounding), ``wrong``, ``unclear`` (false as written, but an excuse
            applies), ``label`` (nothing is calculated: ``1 hour = 60 minutes``, ``Total = 5``),
            ``not_numeric`` (variables, unread parts), ``too_large``.
        equation: the equation.
        reason: the excuse of an unclear one, machine-readable.
        left: value of the left side where there is one.
        right: value of the right side where there is one.
    """

    finding: Finding
    equation: Equation
    reason: str = ""
    left: Fraction | None = None
    right: Fraction | None = None


class ArithmeticOracle:
    """Judges a step by its own calculations; needs neither the problem nor the prefix."""

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the verdict on `step`; never raises on bad text, never runs unbounded."""
        return judge_text(step)


def judge_text(step: str) -> Verdict:
    """Return the arithmetic verdict on a step's text."""
    if len(step) > MAX_CHARACTERS:
        return Verdict("undecided", "arithmetic:too_large", f"{len(step)} characters")
    try:
        checks = check_equations(step) if may_hold_equation(step) else ()
    except TextTooLargeError as error:
        return Verdict("undecided", "arithmetic:too_large", str(error))
    facts = find_facts(step)
    return with_facts(checks, facts) if facts else verdict_of(checks)


def with_facts(checks: Sequence[Check], facts: Sequence[Fact]) -> Verdict:
    """Combine equations and facts; an equation that a fact has read (``3:45 + 2 hours``) is not asked again."""
    spans = [fact.span for fact in facts]
    left = [
        check
        for check in checks
        if check.finding not in ("not_numeric", "label")
        or not any(start < check.equation.span[1] and check.equation.span[0] < end for start, end in spans)
    ]
    verdict = verdict_of(left)
    false = next((fact for fact in facts if not fact.holds), None)
    if verdict.truth == "wrong" or (false is None and verdict.reason != "arithmetic:nothing_to_check"):
        return verdict
    if false is not None:
        return Verdict("wrong", f"arithmetic:{false.kind}", false.detail, false.span)
    count = f"{len(facts)} statement{'s' if len(facts) > 1 else ''} checked"
    return Verdict("correct", "arithmetic:calculations_hold", count, facts[0].span)


def check_equations(step: str) -> tuple[Check, ...]:
    """Return one check per equation of the step; those of the last short texts are kept.

    Raises:
        TextTooLargeError: the step exceeds what is read, in characters, in equations, or in false equations.
    """
    return (_check_equations if len(step) > MAX_KEPT_CHARACTERS else _kept_checks)(step)


def _check_equations(step: str) -> tuple[Check, ...]:
    equations = find_equations(step)
    if len(equations) > MAX_EQUATIONS:
        raise TextTooLargeError(f"{len(equations)} equations; at most {MAX_EQUATIONS} are checked")
    checks: list[Check] = []
    false = 0
    for equation in equations:
        checks.append(check(equation, step))
        false += checks[-1].finding in ("wrong", "unclear")
        if false > MAX_FALSE_EQUATIONS:
            raise TextTooLargeError(f"over {MAX_FALSE_EQUATIONS} false equations; no step of a solution")
    return tuple(checks)


_kept_checks = lru_cache(maxsize=KEPT_TEXTS)(_check_equations)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Combine checks: one wrong makes the step wrong, one unclear or unread leaves it undecided."""
    by_finding: dict[Finding, Check] = {}
    for one in checks:
        by_finding.setdefault(one.finding, one)
    if (wrong := by_finding.get("wrong")) is not None:
        return Verdict("wrong", "arithmetic:wrong_result", describe(wrong), wrong.equation.span)
    if (large := by_finding.get("too_large")) is not None:
        return Verdict("undecided", "arithmetic:too_large", span=large.equation.span)
    if (unclear := by_finding.get("unclear")) is not None:
        return Verdict("undecided", f"arithmetic:{unclear.reason}", describe(unclear), unclear.equation.span)
    if (unread := by_finding.get("not_numeric")) is not None:
        return Verdict("undecided", "arithmetic:not_numeric", span=unread.equation.span)
    if (right := by_finding.get("right")) is not None:
        count = sum(one.finding == "right" for one in checks)
        detail = f"{count} calculation{'s' if count > 1 else ''} checked"
        return Verdict("correct", "arithmetic:calculations_hold", detail, right.equation.span)
    return Verdict("undecided", "arithmetic:nothing_to_check")


def describe(failed: Check) -> str:
    """Say what the left side is and what the step says it is."""
    left, right = failed.equation.left, failed.equation.right
    if left is None or right is None or failed.left is None or failed.right is None:
        return ""
    if failed.equation.source == "printed":
        return f"the calculation gives {show(failed.left)}, the text says {show(failed.right)}"
    if failed.equation.relation in COMPARISONS:
        return f"{show(failed.left)} {failed.equation.relation} {show(failed.right)} does not hold"
    if mixed_units(left, right) is not None:
        return "the sum is wrong after conversion of its units"
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
    if not (left.known and right.known):
        return Check("not_numeric" if _has_mathematics(left, right) else "label", equation)
    left_value, left_failure = side_value(left)
    right_value, right_failure = side_value(right)
    if left_value is None or right_value is None:
        failure = "too_large" if "too_large" in (left_failure, right_failure) else "not_numeric"
        return Check("too_large" if failure == "too_large" else "not_numeric", equation)
    if equation.relation in COMPARISONS:
        return _compared(equation, left_value, right_value, step)
    if equation.source != "printed" and left.operators == 0 and right.operators == 0:
        return Check("label", equation, left=left_value, right=right_value)
    converted = mixed_units(left, right)
    if converted is not None and converted[0] == converted[1]:
        return Check("right", equation, "converted", left=left_value, right=right_value)
    if left_value == right_value and converted is None:
        return Check("right", equation, left=left_value, right=right_value)
    if is_irrational(left.tokens + right.tokens) and close(left_value, right_value):
        return Check("right", equation, left=left_value, right=right_value)
    carried_on = equation.chained and not left.units and not right.units
    if left.operators == 0 and equation.source == "text" and not carried_on:
        # "2 pizzas = 2 * 8 slices", "Step 2 = ...": an amount renamed, not a calculation
        return Check("label", equation, left=left_value, right=right_value)
    found = excuse(equation, left_value, right_value, step)
    if found is None:
        return Check("wrong", equation, left=left_value, right=right_value)
    finding: Finding = "right" if found == "rounded" else "unclear"
    return Check(finding, equation, found, left_value, right_value)


def _compared(equation: Equation, left: Fraction, right: Fraction, step: str) -> Check:
    """Check ``left < right`` and the like; between two bare numbers a true one is no calculation."""
    sign = equation.relation
    holds = (left == right and "=" in sign) or (left < right if "<" in sign else left > right)
    if holds:
        plain = not (
            (equation.left and equation.left.operators) or (equation.right and equation.right.operators)
        )
        return Check("label" if plain else "right", equation, left=left, right=right)
    found = comparison_excuse(equation, step)
    return Check("label" if found else "wrong", equation, found or "", left, right)


def side_value(run: Run) -> tuple[Fraction | None, Failure | None]:
    """Return the value of a side, or why it has none."""
    try:
        if len(run.tokens) == 1 and run.tokens[0].value is not None:
            return run.tokens[0].value, None
        return value_of(to_postfix(run.tokens)), None
    except EvaluationError as error:
        return None, error.failure


def _has_mathematics(left: Run, right: Run) -> bool:
    """Whether an unread side holds numbers: a formula of words alone is a label."""
    return any(
        not side.known and any(token.kind == "number" for token in side.tokens) for side in (left, right)
    )
