"""The verdict: an oracle's word on one step, in three values.

Contract: `undecided` never trains anybody and is always counted. An oracle is a function of
(problem, prefix, step) — never of model scores — and is safe on any text: bounded time, no `eval`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sparring.traces.records import Problem

Truth = Literal["correct", "wrong", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an oracle says of a step.

    Attributes:
        truth: ``correct``, ``wrong`` or ``undecided``.
        reason: machine-readable, ``member:kind`` (``arithmetic:wrong_result``, ``chain:wrong_reference``).
        detail: for people: the fact that the verdict rests on (``3*4 is 12, not 13``).
        span: character range of the step that the verdict rests on, where there is one.
    """

    truth: Truth
    reason: str
    detail: str = ""
    span: tuple[int, int] | None = None


class Oracle(Protocol):
    """Judges one step after a prefix that is taken to be correct."""

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the verdict on `step` after `prefix`; never raises on bad text, never runs unbounded."""
        ...


Judge = Callable[[Sequence[tuple[Problem, Sequence[str], str]]], list[Verdict]]
"""Verdicts on many steps at once, each with its problem and the steps before it."""
