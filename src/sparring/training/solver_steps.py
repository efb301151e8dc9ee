"""A solver's own wrong steps as material for the game, beside what rules make.

Rules make the mistakes that somebody thought of, at places drawn from reference solutions. A solver's solutions whose
steps were judged hold what it gets wrong itself, and where: a *pit* is a correct prefix with the wrong step that followed
it and a correct one that could have.

Contract: a task around another one. It draws the pits for a share of the states; there "what rules make" is one of the
solver's wrong steps. So they reach both warm starts, and R where rules play: with `adversary: rules` a baseline without
any adversary. Verdicts are the other task's, so a wrong label in the file teaches nobody. The correct step is that of the
problem's solution where the solver followed it so far, or that of another of its solutions with the same prefix; a first
error without either is counted in `left_out`.

Not here: sampling and judging solutions (`sparring label`, `search`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sparring.errors import DataError
from sparring.fingerprints import records_digest
from sparring.traces.records import Trace
from sparring.traces.verdict import Verdict
from sparring.training.game import State, Task, TextTask, those_that_fit

_Place = tuple[str, str, tuple[str, ...]]
"""A problem's id and question, and the steps before a place."""


class SolverTask:
    """A task, with a solver's pits for a share of its states.

    Args:
        task: the other states, and all verdicts.
        traces: labelled solutions; only the problem, the steps and where the first wrong one stands are used.
        share: of the states that are drawn from the pits.

    Raises:
        DataError: there is no pit.
    """

    def __init__(self, task: Task, traces: Sequence[Trace], share: float) -> None:
        self.task, self.share = task, share
        self.left_out = task.left_out
        found, missing = _pits(traces)
        self.wrong = {place: wrong for place, (_, wrong) in found.items()}
        self.pits = [state for state, _ in found.values()]
        if missing:
            self.left_out["first wrong step of the solver without a known correct one"] += missing
        rows = [[s.problem.question, s.solution, s.index, wrong] for s, wrong in found.values()]
        self.digest = task.digest + records_digest(rows)
        if not self.pits:
            raise DataError("no solution has a first wrong step with a known correct one", field="labels")

    @property
    def states(self) -> Sequence[State]:
        """The pits, and the states of a text task."""
        return [*self.pits, *(self.task.states if isinstance(self.task, TextTask) else ())]

    def keep(self, fits: Sequence[bool], reason: str) -> None:
        """Drop the states for which `fits` is false, in the order of `states`, and count them under the reason."""
        pits = len(self.pits)
        self.pits = those_that_fit(self.pits, fits[:pits], reason, self.left_out)
        if isinstance(self.task, TextTask):
            self.task.keep(fits[pits:], reason)
        if not self.pits:
            raise DataError(f"no first wrong step of the solver is left: {reason}", field="labels")

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return random states, each a pit with the probability `share`."""
        return [
            rng.choice(self.pits) if rng.random() < self.share else self.task.draw(rng, 1)[0]
            for _ in range(count)
        ]

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the other task's verdicts."""
        return self.task.judge_many(rewrites)

    def malformed(self, state: State, candidate: str) -> str | None:
        """Return what the other task says."""
        return self.task.malformed(state, candidate)

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return one of the solver's wrong steps at a pit, elsewhere what a rule makes."""
        if found := self.wrong.get((state.problem.id, state.problem.question, state.prefix)):
            return "solver", rng.choice(found)
        return self.task.perturb(state, rng)


def _pits(traces: Sequence[Trace]) -> tuple[dict[_Place, tuple[State, list[str]]], int]:
    """Return every pit with the different wrong steps that the solver wrote there, and how many first errors have none."""
    right: dict[_Place, tuple[str, ...]] = {}
    for trace in traces:
        for index, step in enumerate(_correct_part(trace)):
            right.setdefault(_place(trace, index), (*trace.steps[:index], step))
    found: dict[_Place, tuple[State, list[str]]] = {}
    missing = 0
    for trace in traces:
        error = trace.first_error
        if error is None or error < 0:
            continue
        place, solution = _place(trace, error), trace.problem.solution
        if solution is None or len(solution) <= error or solution[:error] != trace.steps[:error]:
            solution = right.get(place)
        if solution is None:
            missing += 1
            continue
        _, wrong = found.setdefault(place, (State(replace(trace.problem, solution=solution), error), []))
        if trace.steps[error] not in wrong:
            wrong.append(trace.steps[error])
    return found, missing


def _place(trace: Trace, index: int) -> _Place:
    return trace.problem.id, trace.problem.question, trace.steps[:index]


def _correct_part(trace: Trace) -> Iterable[str]:
    """Return the steps up to the first that is not labelled correct."""
    for step, label in zip(trace.steps, trace.labels or (), strict=False):
        if label != 1.0:
            return
        yield step
