"""One problem being searched: its states, and the two questions that a method may ask about them.

A method is a generator that reads as if there were one problem: it yields a question (`Sample`: continue these prefixes;
`Score`: score these) and is sent the answers. The driver runs many of them at once and answers the questions of all
together, which is how every method is batched across problems without a line about it.

Contract: what a method does depends on the problem, N, the settings and the answers alone. A prefix is sampled with a
seed of its own, so methods that visit the same prefix see the same continuations. A prefix that engine or PRM refuse is
dropped and counted; blank lines and cut steps are counted.

Not here: who answers (`driver.py`), the methods.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from sparring.errors import DataError
from sparring.rollouts.engine import Completion, split_completion
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.budget import Spent
from sparring.search.settings import MethodSettings
from sparring.settings_shared import seed_from
from sparring.traces.records import Problem

Steps = tuple[str, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """Continue each prefix `counts` times: by its next step, or, with `whole`, to the end."""

    prefixes: tuple[Steps, ...]
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    whole: bool = False
    greedy: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Score each prefix; none is empty, none comes twice."""

    prefixes: tuple[Steps, ...]


Sampled = list[list[Completion] | DataError]
Scored = list[tuple[Sequence[float], Sequence[float] | None, Sequence[float] | None] | DataError]
"""Per prefix: scores of its steps by the PRM and, where there are such, by the prover's value model and a value model."""

Search = Generator[Sample | Score, Any, T]
"""A part of a method: asks, is sent `Sampled` or `Scored`, returns T."""


@dataclass(frozen=True, slots=True)
class State:
    """A prefix of a solution and what is known about it.

    Attributes:
        steps: written so far.
        end: `finished`: a whole solution; `cut`: its last step was too long; `open`: can be continued.
        scores: by the PRM, one per step.
        value: Q^π, the chance that it ends well, from the scores.
        prover_value: Q^μ, under the prover.
        reward: Q^π + α · A^μ of its last step, by which methods keep it.
    """

    steps: Steps = ()
    end: Literal["open", "finished", "cut"] = "open"
    scores: tuple[float, ...] = ()
    value: float = 0.0
    prover_value: float = 0.0
    reward: float = 0.0


ROOT = State()


@dataclass(frozen=True, slots=True)
class Valuation:
    """How step scores become Q^π and Q^μ.

    Attributes:
        aggregation: from step scores to Q, a name in `AGGREGATIONS`.
        best_of: K of a best-of-K prover, whose Q^μ is 1 − (1 − Q)^K.
        prover_aggregation: from the prover's value model's scores to its Q; None: the prover's Q is the PRM's.
        value_aggregation: from the value model's scores to a factor of Q; None: there is none.
    """

    aggregation: str
    best_of: int = 1
    prover_aggregation: str | None = None
    value_aggregation: str | None = None

    def of(
        self,
        scores: Sequence[float],
        prover_scores: Sequence[float] | None = None,
        value_scores: Sequence[float] | None = None,
    ) -> tuple[float, float]:
        """Return Q^π and Q^μ of a prefix with at least one step; with a value model both are times the correctness."""
        correctness = 1.0
        value = AGGREGATIONS[self.aggregation](scores)
        if self.value_aggregation is not None and value_scores is not None:
            correctness, value = value, value * AGGREGATIONS[self.value_aggregation](value_scores)
        if self.prover_aggregation is None or prover_scores is None:
            return value, 1.0 - (1.0 - value) ** self.best_of
        return value, correctness * AGGREGATIONS[self.prover_aggregation](prover_scores)


class Task:
    """A problem, the method's N and settings, and what the search has cost so far."""

    def __init__(self, problem: Problem, n: int, settings: MethodSettings, valuation: Valuation) -> None:
        self.problem, self.n, self.settings, self.valuation = problem, n, settings, valuation
        self.spent, self.counts = Spent(), Counter[str]()
        self.refusal: DataError | None = None

    def exhausted(self) -> bool:
        """Tell whether a budget that was asked for is spent."""
        tokens, flops = self.settings.budget_tokens, self.settings.budget_flops
        return (tokens is not None and (self.spent.tokens_generated or 0) >= tokens) or (
            flops is not None and (self.spent.flops or 0.0) >= flops
        )

    def solutions(self, rounds: Sequence[tuple[int, int]]) -> Search[list[State]]:
        """Return whole solutions, scored; a round is its number, which seeds it, and how many."""
        answers: Sampled = yield Sample(
            prefixes=((),) * len(rounds),
            counts=tuple(count for _, count in rounds),
            seeds=tuple(self._seed((), number) for number, _ in rounds),
            whole=True,
        )
        states = []
        for completion in (one for answer in answers for one in self._accepted(answer)):
            steps = split_completion(completion.text, self.settings.separator)
            if not steps:
                self.counts["empty solution"] += 1
                continue
            if completion.finish == "length":
                self.counts["solution cut"] += 1
            states.append(State(steps, "cut" if completion.finish == "length" else "finished"))
        scored = yield from self.scored(states)
        return [state for state in scored if state is not None]

    def expand(self, states: Sequence[State], n: int | Sequence[int]) -> Search[list[list[State]]]:
        """Return up to `n` next states of each open state, scored, with rewards; equal ones stay apart."""
        grown = yield from self.grow(states, n)
        return (yield from self.rewarded(states, grown))

    def grow(
        self, states: Sequence[State], n: int | Sequence[int], *, greedy: bool = False
    ) -> Search[list[list[State]]]:
        """Return up to `n` next states of each open state (one number for all, or one for each), not scored.

        A prefix that comes twice is sampled once.
        """
        wanted = [n] * len(states) if isinstance(n, int) else list(n)
        times = Counter(state.steps for state in states)
        counts = Counter[Steps]()
        for state, count in zip(states, wanted, strict=True):
            counts[state.steps] += count
        answers: Sampled = yield Sample(
            prefixes=tuple(counts),
            counts=tuple(1 if greedy else count for count in counts.values()),
            seeds=tuple(self._seed(steps) for steps in counts),
            greedy=greedy,
        )
        found = {
            steps: iter(
                [self._child(steps, one) for one in self._accepted(answer)] * (times[steps] if greedy else 1)
            )
            for steps, answer in zip(counts, answers, strict=True)
        }
        return [
            [child for _, child in zip(range(count), found[state.steps], strict=False) if child is not None]
            for state, count in zip(states, wanted, strict=True)
        ]  # fmt: skip

    def scored(self, states: Sequence[State]) -> Search[list[State | None]]:
        """Return the states with scores and values, None where the PRM refuses one."""
        prefixes = tuple(dict.fromkeys(state.steps for state in states))
        answers: Scored = (yield Score(prefixes)) if prefixes else []
        known = dict(zip(prefixes, answers, strict=True))
        result: list[State | None] = []
        for state in states:
            answer = known[state.steps]
            if isinstance(answer, DataError):
                self.counts["prefix refused by the PRM"] += 1
                self.refusal = answer
                result.append(None)
                continue
            value, prover_value = self.valuation.of(*answer)
            result.append(
                replace(state, scores=tuple(answer[0]), value=value, prover_value=prover_value, reward=value)
            )
        return result

    def rewarded(
        self, parents: Sequence[State], groups: Sequence[Sequence[State]]
    ) -> Search[list[list[State]]]:
        """Return the children of each parent, scored, with effective rewards (PAV eq. 5).

        A step scorer does not know the value of the bare question: it is taken as the mean over its sampled first
        steps, which estimates it. The end of a solution is no step: it keeps its state's reward.
        """
        flat = yield from self.scored([child for group in groups for child in group])
        scored = iter(flat)
        result = []
        for parent, group in zip(parents, groups, strict=True):
            children = [child for _, child in zip(group, scored, strict=False) if child is not None]
            before = parent.prover_value
            if not parent.steps and children:
                before = sum(child.prover_value for child in children) / len(children)
            result.append(
                [
                    replace(child, reward=parent.reward)
                    if child.steps == parent.steps
                    else replace(
                        child, reward=child.value + self.settings.alpha * (child.prover_value - before)
                    )
                    for child in children
                ]
            )
        return result

    def _accepted(self, answer: list[Completion] | DataError) -> list[Completion]:
        if isinstance(answer, DataError):
            self.counts["prefix refused by the engine"] += 1
            self.refusal = answer
            return []
        return answer

    def _child(self, steps: Steps, completion: Completion) -> State | None:
        text, ended = _before_stop(completion.text, self.settings.stop)
        if not text and (ended or completion.finish == "end") and steps:
            return State(steps, "finished")
        if text and ended:
            return State((*steps, text), "finished")
        if not text:
            self.counts["empty solution" if completion.finish == "end" else "blank line"] += 1
            return None
        if completion.finish == "length":
            self.counts["step cut"] += 1
        end = {"stop": "open", "end": "finished", "length": "cut"}[completion.finish]
        return State((*steps, text), end)  # type: ignore[arg-type]

    def _seed(self, steps: Steps, number: int = 0) -> int:
        return seed_from(self.settings.seed, self.problem.id, number, json.dumps(steps))


def _before_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return a step up to the first stop text, whose line breaks are those between steps, and whether there was one."""
    places = [place for one in stop if (place := text.find(one.strip() or one)) >= 0]
    return text[: min(places, default=len(text))].strip(), bool(places)


def merged(states: Sequence[State], mark: str | None = None) -> list[State]:
    """Return the states without repetitions, in order: equal texts are one state.

    With `mark`, so are as many steps whose last one says the same after its first `mark`; the one of the highest reward is
    kept.
    """
    found: dict[tuple[object, str], State] = {}
    for state in states:
        key: object = state.steps
        if mark is not None and state.steps and mark in state.steps[-1]:
            key = len(state.steps), state.steps[-1].partition(mark)[2]
        kept = found.setdefault((key, state.end), state)
        if state.reward > kept.reward and mark is not None:
            found[key, state.end] = state
    return list(found.values())


def best(states: Sequence[State], n: int) -> list[State]:
    """Return the `n` states of the highest reward, best first; of equals the earlier one."""
    return sorted(states, key=lambda state: -state.reward)[:n]


def choice(states: Sequence[State]) -> int | None:
    """Return the index of the answer: the highest Q^π among finished solutions, else among all; None without any."""
    if not states:
        return None
    return max(range(len(states)), key=lambda index: (states[index].end == "finished", states[index].value))
