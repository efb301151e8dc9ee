"""A policy and a PRM for search tests, scripted: steps are letters, every answer is known."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sparring.errors import DataError
from sparring.rollouts.engine import Completion, Limits, Prefix, Usage
from sparring.settings_shared import seed_from
from sparring.traces.records import Problem, Trace

DEPTH = 3
LETTERS = "abcd"


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{index}", f"question {index}", answer="a") for index in range(count)]


class Letters:
    """Writes DEPTH letters, one a step; which one depends on (prefix, seed, number) alone. A token is a letter."""

    name, reproducible = "letters", True

    def __init__(self, write: Callable[[Prefix, int, int], str] | None = None, *, depth: int = DEPTH) -> None:
        self.usage, self.depth = Usage(), depth
        self.write = write or (
            lambda prefix, seed, j: random.Random(seed_from(seed, j, len(prefix.steps))).choice(LETTERS)
        )
        self.calls: list[list[Prefix]] = []
        self.refuse: Callable[[Prefix], bool] = lambda prefix: False

    def sample(
        self,
        prefixes: Sequence[Prefix],
        n: int,
        *,
        limits: Limits,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        for prefix in prefixes:
            if self.refuse(prefix):
                raise DataError(f"problem {prefix.problem.id!r} does not fit")
        self.calls.append(list(prefixes))
        groups = [
            [self._one(prefix, seed, j, whole=not stop) for j in range(n)]
            for prefix, seed in zip(prefixes, seeds, strict=True)
        ]
        self.usage.requests += 1
        self.usage.tokens_generated += sum(len(one.token_ids) for group in groups for one in group)
        return groups

    def _one(self, prefix: Prefix, seed: int, j: int, *, whole: bool) -> Completion:
        steps: list[str] = []
        while len(prefix.steps) + len(steps) < self.depth and (whole or not steps):
            at = Prefix(prefix.problem, (*prefix.steps, *steps))
            steps.append(self.write(at, seed, j))
        over = len(prefix.steps) + len(steps) >= self.depth
        text = "\n".join(steps)
        return Completion(text, (7,) * max(1, len(steps)), (), "end" if over else "stop")


class Judge:
    """Scores a step by a function of the prefix that it ends; remembers what it was asked."""

    threshold, threshold_rule = 0.873, "best F1 on some"

    def __init__(self, worth: Callable[[tuple[str, ...]], float]) -> None:
        self.worth = worth
        self.asked: list[Trace] = []
        self.refuse: Callable[[Trace], bool] = lambda trace: False

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        for trace in traces:
            if self.refuse(trace):
                raise DataError(f"trace of problem {trace.problem.id!r} does not fit")
        self.asked += traces
        return [
            [self.worth(trace.steps[: length + 1]) for length in range(len(trace.steps))] for trace in traces
        ]


def share_of_a(steps: tuple[str, ...]) -> float:
    """The best solution is 'a' all the way; strictly better letter by letter."""
    return sum(step.startswith("a") for step in steps) / len(steps) * 0.9 + 0.05
