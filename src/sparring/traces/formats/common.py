"""What the format readers share: their settings, oddities, problem ids, and labels from ratings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sparring.settings import Settings
from sparring.traces.boxed import last_boxed
from sparring.traces.records import Label, Problem, Trace
from sparring.traces.splitting import split_steps

TAG = "ки"
"""What stands after every step of Math-Shepherd and sets made after it."""
FIRST_STEP = re.compile(r"step 1:", re.IGNORECASE)
"""Where such a set's question ends and its first step begins."""


class ReadOptions(Settings):
    """What a format leaves open. Each format uses the options that concern it."""

    keep_annotations: bool = True
    """Keep GSM8K's ``<<48/2=24>>`` in the steps; false removes them, for models that write none."""
    neutral: Literal["correct", "wrong", "unknown"] = "correct"
    """What PRM800K's rating 0 (not wrong, no progress) means; its authors' results count it as correct."""
    human_steps: Literal["correct", "unknown"] = "correct"
    """Label of the steps that PRM800K's annotators wrote, as right ones, where all samples were wrong."""
    alternatives: bool = True
    """Also make a trace of every rated step that was not chosen (PRM800K) or was tried aside (VersaPRM)."""
    prmbench_process: Literal["modified", "original", "both"] = "modified"
    """Which of PRMBench's two solutions to read: the one with planted errors, the correct one, or both."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """What a public data set is known to get wrong: a record or part of one, left out and listed."""

    reason: str


@dataclass(frozen=True, slots=True)
class RatedStep:
    """A step with a rating from {1, 0, −1}, or None where nobody rated it."""

    text: str
    rating: int | None


def question_id(question: str) -> str:
    """Return an id that depends on the question's text alone, for sets that name no problem.

    The same question gets the same id in every file, which groups its solutions and shows leaks between sets.
    """
    return "q-" + hashlib.sha256(question.strip().encode()).hexdigest()[:16]


def labels_from_ratings(ratings: Iterable[int | None], neutral: str) -> tuple[Label, ...]:
    """Return step labels for ratings; what comes after the first −1 rests on an error and is unknown."""
    meaning: dict[int | None, Label] = {
        1: 1.0,
        0: {"correct": 1.0, "wrong": 0.0, "unknown": None}[neutral],
        -1: 0.0,
        None: None,
    }
    labels: list[Label] = []
    broken = False
    for rating in ratings:
        labels.append(None if broken else meaning[rating])
        broken = broken or rating == -1
    return tuple(labels)


def rated_trace(
    problem: Problem,
    steps: Sequence[RatedStep],
    options: ReadOptions,
    *,
    source: str,
    meta: dict[str, object],
    outcome: bool | None = None,
) -> Trace:
    """Return the trace of rated steps."""
    labels = labels_from_ratings((step.rating for step in steps), options.neutral)
    return Trace(problem, tuple(step.text for step in steps), labels, outcome, source, meta)


def reference_trace(problem: Problem) -> Trace:
    """Return a problem's reference solution as a trace: correct at every step and in its answer."""
    steps = problem.solution or ()
    return Trace(problem, steps, (1.0,) * len(steps), True, "reference")


def boxed_solution(solution: str) -> tuple[str | None, tuple[str, ...]]:
    r"""Return the answer in the last ``\boxed{…}`` (None if there is none) and the solution's paragraphs."""
    return last_boxed(solution), split_steps(solution, "paragraphs")
