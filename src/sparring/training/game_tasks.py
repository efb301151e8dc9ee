"""Where the states of the game come from, who judges rewrites there, and what rules make of a step.

- `WorldTask`: an endless, exactly judged world.
- `TextTask`: solved problems in a file, judged by a panel of oracles.
- `SolverTask`: one of these, and beside it a solver's own wrong steps. Rules make the mistakes that somebody thought of, at
  places drawn from reference solutions; a solver's solutions whose steps were judged hold what it gets wrong itself, and
  where: a *pit* is a correct prefix with the wrong step that followed it and a correct one that could have.

Contract: drawing is a pure function of the generator that is passed in; what cannot be used is counted in `left_out`. At a
pit "what rules make" is one of the solver's wrong steps, so they reach both warm starts, and R where rules play: with
`adversary: rules` a baseline without any adversary. Verdicts are the other task's there, so a wrong label in the file
teaches nobody. The correct step is that of the problem's solution where the solver followed it so far, or that of another
of its solutions with the same prefix; a first error without either is counted.

Not here: sampling and judging solutions (`sparring label`, `search`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sparring.errors import DataError, SettingsError, about
from sparring.fingerprints import records_digest
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import PERTURBATIONS, perturb
from sparring.oracles.reference import is_malformed
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_problems_as
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Verdict
from sparring.training.aprm_settings import GameSettings
from sparring.training.game import State, Task
from sparring.training.processes import spread
from sparring.worlds.subject import TEXT
from sparring.worlds.world import World, make_world


def load_task(settings: GameSettings) -> WorldTask | TextTask:
    """Return the task that the settings name.

    Raises:
        DataError: the data file is missing, or nothing in it can be used.
        SettingsError: a member of the oracle panel cannot be loaded, or a kind of mistake is unknown.
    """
    if settings.task != TEXT or settings.data is None:
        return WorldTask(make_world(settings.task), kinds=settings.rule_kinds)
    options = ReadOptions(keep_annotations=settings.keep_annotations)
    result = read_problems_as(Path(settings.data), settings.data_format, options)
    problems = result.problems[: settings.max_problems]
    with about(settings.data):
        text_task = TextTask(problems, Panel(settings.oracle), settings.rule_kinds)
    if result.skipped:
        text_task.left_out["record skipped by the reader"] += len(result.skipped)
    return text_task


class WorldTask:
    """Problems of a world, generated as they are needed.

    Args:
        world: makes the problems and judges the rewrites.
        kinds: of mistakes that the rules make; all that the world knows, unless given.
    """

    def __init__(self, world: World, kinds: Sequence[str] | None = None) -> None:
        self.world = world
        self.kinds = known_kinds(kinds, world.kinds) or world.kinds
        self._identifier = f"{world.name}-task"
        self.left_out: Counter[str] = Counter()
        self.digest = ""

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return states of fresh random problems, any step alike likely."""
        states = []
        for _ in range(count):
            problem = self.world.problem(rng, self._identifier)
            assert problem.solution is not None
            states.append(State(problem, rng.randrange(len(problem.solution))))
        return states

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the exact verdict on each rewrite."""
        return [self.world.judge(state.problem, state.prefix, text) for state, text in rewrites]

    def malformed(self, state: State, candidate: str) -> str | None:
        """A rewrite that is not of a step's form is malformed."""
        return None if self.world.is_step(candidate) else "not of a step's form"

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random one of the kinds."""
        return self.world.perturb(state.problem, state.prefix, state.step, rng, self.kinds)


class TextTask:
    """Problems with correct natural-language solutions, judged by a panel of oracles.

    Only steps that hold something the oracle can check are states: elsewhere every verdict would be undecided and the
    work lost. The others are counted in `left_out`.
    """

    def __init__(
        self, problems: Sequence[Problem], oracle: Panel, kinds: Sequence[str] | None = None
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self._oracle, self._kinds = oracle, known_kinds(kinds, PERTURBATIONS)
        self.digest = records_digest([one.id, one.question, one.solution] for one in problems)
        solved = [problem for problem in problems if problem.solution is not None]
        if len(solved) < len(problems):
            self.left_out["problem without a solution"] += len(problems) - len(solved)
        places = [State(problem, index) for problem in solved for index in range(len(problem.solution or ()))]
        verdicts = spread([(state.problem, state.prefix, state.step) for state in places], oracle.judge_many)
        checked = [verdict.truth == "correct" for verdict in verdicts]
        unchecked = "step without a calculation that the oracle can check"
        self.states = those_that_fit(places, checked, unchecked, self.left_out)
        if not self.states:
            reasons = Counter(verdict.reason for verdict in verdicts).most_common(3)
            found = ", ".join(f"{count} times {reason}" for reason, count in reasons) or "there are none"
            raise DataError(f"the oracle calls no step of a solution correct: {found}")

    def keep(self, fits: Sequence[bool], reason: str) -> None:
        """Drop the states for which `fits` is false, and count them under the reason."""
        self.states = those_that_fit(self.states, fits, reason, self.left_out)
        if not self.states:
            raise DataError(f"no state is left: {reason}")

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return random states, with repetition."""
        return [rng.choice(self.states) for _ in range(count)]

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the panel's verdict on each rewrite, given the correct step that it replaces."""
        return self._oracle.judge_against_many(
            [(state.problem, state.prefix, state.step, text) for state, text in rewrites]
        )

    def malformed(self, state: State, candidate: str) -> str | None:
        """Empty, far too long, or several lines: not a step."""
        return is_malformed(state.step, candidate)

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random one of the kinds."""
        return perturb(state.problem, state.prefix, state.step, rng, self._kinds)


def those_that_fit(
    states: Sequence[State], fits: Sequence[bool], reason: str, left_out: Counter[str]
) -> list[State]:
    """Return the states for which `fits` is true; the others are counted under the reason."""
    kept = [state for state, fit in zip(states, fits, strict=True) if fit]
    if len(kept) < len(states):
        left_out[reason] += len(states) - len(kept)
    return kept


def known_kinds(kinds: Sequence[str] | None, known: Collection[str]) -> tuple[str, ...] | None:
    """Return the kinds of mistakes, None for all of them.

    Raises:
        SettingsError: one of them is unknown.
    """
    for kind in kinds or ():
        if kind not in known:
            raise SettingsError(f"rule_kinds: no kind of mistake '{kind}'; this task has {', '.join(known)}")
    return None if kinds is None else tuple(kinds)


# --- a solver's own wrong steps ---------------------------------------------------------------------------------------

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
