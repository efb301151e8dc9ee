"""Equality of two answers by math-verify, as a member for the oracles' sandbox: never call it outside.

Contract: the problem's answer is the reference, the step is the stated answer. `undecided` where one of them is not
mathematics that math-verify reads, else `correct` or `wrong`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return whether the two answers are equal."""
    from math_verify import parse, verify

    # The sandbox keeps the time: math-verify's own time limit needs signals.
    reference = parse(f"${problem.answer}$", parsing_timeout=None)
    stated = parse(f"${step}$", parsing_timeout=None)
    if not reference or not stated:
        return Verdict("undecided", "equality:not_mathematics")
    same = verify(reference, stated, timeout_seconds=None)
    return Verdict("correct" if same else "wrong", "equality:math_verify")
