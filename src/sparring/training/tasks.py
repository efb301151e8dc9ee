"""Tasks: where the states of the game come from, and who judges in them.

A state is (problem, correct prefix, correct step). A task draws states, judges a rewritten step against its state,
recognises malformed rewrites, and can perturb a step by rule. Two tasks: the chain world, endless and exactly judged;
and texts, problems with correct step-by-step solutions judged by a panel of oracles.

Contract: drawing is a pure function of the random generator passed in. What cannot be used is counted in `left_out`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sparring.errors import DataError
from sparring.fingerprints import records_digest
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import perturb
from sparring.oracles.reference import is_malformed
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_problems_as
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.training.game_settings import GameSettings
from sparring.worlds.chain import IN_DISTRIBUTION, generate_problem, judge_step, parse_question, parse_step
from sparring.worlds.chain_errors import perturb_step


@dataclass(frozen=True, slots=True)
class State:
    """A place in a correct solution: the step at `index` is to be rewritten, those before it are the prefix."""

    problem: Problem
    index: int

    @property
    def solution(self) -> tuple[str, ...]:
        """All steps of the correct solution."""
        assert self.problem.solution is not None
        return self.problem.solution

    @property
    def prefix(self) -> tuple[str, ...]:
        """The steps before the one in question."""
        return self.solution[: self.index]

    @property
    def step(self) -> str:
        """The correct step."""
        return self.solution[self.index]


class Task(Protocol):
    """What the game needs to know of its subject."""

    left_out: Counter[str]
    digest: str
    """Fingerprint of the data; empty where problems are generated."""

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return `count` random states."""
        ...

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the oracle's verdict on each rewrite of its state's step."""
        ...

    def malformed(self, state: State, candidate: str) -> str | None:
        """Return why a rewrite is not even a step, or None."""
        ...

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return (kind, wrong step) made by a rule, or None where no rule applies."""
        ...


class ChainTask:
    """Problems of the chain world, generated as they are needed."""

    def __init__(self, steps: tuple[int, int] = IN_DISTRIBUTION) -> None:
        self.steps = steps
        self.left_out: Counter[str] = Counter()
        self.digest = ""

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return states of fresh random problems, any step alike likely."""
        states = []
        for _ in range(count):
            problem = generate_problem(rng, self.steps, "chain-task")
            assert problem.solution is not None
            states.append(State(problem, rng.randrange(len(problem.solution))))
        return states

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the exact verdict on each rewrite."""
        return [
            judge_step(parse_question(state.problem.question), state.prefix, text) for state, text in rewrites
        ]

    def malformed(self, state: State, candidate: str) -> str | None:
        """A rewrite that is not of a step's form is malformed."""
        return None if parse_step(candidate) is not None else "not of a step's form"

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random kind."""
        return perturb_step(parse_question(state.problem.question), state.prefix, state.step, rng)


class TextTask:
    """Problems with correct natural-language solutions, judged by a panel of oracles.

    Only steps that hold something the oracle can check are states: elsewhere every verdict would be undecided and the
    work lost. They are counted in `left_out`.
    """

    def __init__(self, problems: Sequence[Problem], oracle: Panel) -> None:
        self.left_out: Counter[str] = Counter()
        self._oracle = oracle
        self.digest = records_digest([one.id, one.question, one.solution] for one in problems)
        solved = [problem for problem in problems if problem.solution is not None]
        if len(solved) < len(problems):
            self.left_out["problem without a solution"] += len(problems) - len(solved)
        places = [State(problem, index) for problem in solved for index in range(len(problem.solution or ()))]
        verdicts = oracle.judge_many([(state.problem, state.prefix, state.step) for state in places])
        self._states = [
            state for state, verdict in zip(places, verdicts, strict=True) if verdict.truth == "correct"
        ]
        if unchecked := len(places) - len(self._states):
            self.left_out["step without a calculation that the oracle can check"] += unchecked
        if not self._states:
            raise DataError("no solution has a step that the oracle can check", field="data")

    def __len__(self) -> int:
        return len(self._states)

    def keep(self, fits: Sequence[bool], reason: str) -> None:
        """Drop the states for which `fits` is false, and count them under the reason."""
        if not all(fits):
            self.left_out[reason] += sum(not fit for fit in fits)
        self._states = [state for state, fit in zip(self._states, fits, strict=True) if fit]
        if not self._states:
            raise DataError(f"no state is left: {reason}", field="data")

    @property
    def states(self) -> Sequence[State]:
        """All states."""
        return self._states

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return random states, with repetition."""
        return [rng.choice(self._states) for _ in range(count)]

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the panel's verdict on each rewrite, given the correct step that it replaces."""
        return self._oracle.judge_against_many(
            [(state.problem, state.prefix, state.step, text) for state, text in rewrites]
        )

    def malformed(self, state: State, candidate: str) -> str | None:
        """Empty, far too long, or several lines: not a step."""
        return is_malformed(state.step, candidate)

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random kind."""
        return perturb(state.problem, state.prefix, state.step, rng)


def load_task(settings: GameSettings) -> ChainTask | TextTask:
    """Return the task that the settings name.

    Raises:
        DataError: the data file is missing, or nothing in it can be used.
        SettingsError: a member of the oracle panel cannot be loaded.
    """
    if settings.task == "chain" or settings.data is None:
        return ChainTask()
    options = ReadOptions(keep_annotations=settings.keep_annotations)
    result = read_problems_as(Path(settings.data), settings.data_format, options)
    text_task = TextTask(result.problems[: settings.max_problems], Panel(settings.oracle))
    if result.skipped:
        text_task.left_out["record skipped by the reader"] += len(result.skipped)
    return text_task
