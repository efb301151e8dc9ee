"""Is the answer of a finished solution right? In a world exactly; elsewhere by equality of answers.

Contract: a checker says True or False, or None where no answer can be read or compared; callers count that and take it
for wrong. `pick_checker` says who judges.

Not here: which answer a solution states (`traces/answers.py`), equality (`oracles/equality.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sparring.errors import DataError
from sparring.labels.settings import SolverSettings
from sparring.oracles.equality import same_answer
from sparring.traces.answers import stated_answer
from sparring.traces.records import Problem
from sparring.worlds.world import World

Finished = tuple[Problem, Sequence[str]]
"""A problem and the steps of a finished solution."""


class Checker(Protocol):
    """Judges the answers of finished solutions."""

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return, per solution, whether its answer is right; None where that cannot be told."""
        ...

    def stated(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the answer that a solution states, or None; one that is stated and judged None is unreadable."""
        ...


class WorldChecker:
    """A world's own: it reads the answer and tells whether the solution succeeds."""

    def __init__(self, world: World) -> None:
        self.world = world

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return whether each solution succeeds; raises DataError for a problem that is not one of the world."""
        return [
            None if self.stated(problem, steps) is None else self.world.solved(problem, steps)
            for problem, steps in solutions
        ]

    def stated(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the answer as the world reads it."""
        return self.world.answer(problem, steps)


class AnswerChecker:
    """Compares the stated answer with the reference answer.

    Args:
        last_number: where no answer is stated, take the last number of the last step.
    """

    def __init__(self, *, last_number: bool = True) -> None:
        self.last_number = last_number

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return whether each answer is right.

        Raises:
            DataError: a problem has no reference answer.
        """
        found: list[bool | None] = []
        for problem, steps in solutions:
            if problem.answer is None:
                raise DataError(f"problem {problem.id!r} has no reference answer", field="answer")
            stated = self.stated(problem, steps)
            found.append(None if stated is None else same_answer(problem.answer, stated))
        return found

    def stated(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the stated answer."""
        return stated_answer(steps, last_number=self.last_number)


def pick_checker(settings: SolverSettings, problems: Iterable[Problem] = ()) -> Checker:
    """Return who judges answers.

    Raises:
        DataError: a world's checker is asked for, and a problem is not one of its.
    """
    for problem in problems:
        refuse_of_elsewhere(settings)(problem)
    if not settings.judged_by_world:
        return AnswerChecker(last_number=settings.last_number)
    return WorldChecker(settings.world)


def refuse_of_elsewhere(settings: SolverSettings) -> Callable[[Problem], object]:
    """Return what raises DataError for a problem that the world, where it judges answers, did not make."""
    if not settings.judged_by_world:
        return lambda problem: None
    world = settings.world
    return lambda problem: world.judge(problem, (), "")


def doubt(checker: Checker, problem: Problem, steps: Sequence[str], outcome: bool | None) -> str | None:
    """Return what to count of an outcome that cannot be told: ``without an answer`` or ``with an unreadable answer``."""
    if outcome is not None:
        return None
    return "without an answer" if checker.stated(problem, steps) is None else "with an unreadable answer"
