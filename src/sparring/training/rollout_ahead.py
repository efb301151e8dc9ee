"""Answers for an update of reinforcement learning, on request one update ahead of the training (`staleness`).

- `staleness: 0`: an update's answers are sampled from the weights that it starts from, when it asks for them.
- `staleness: 1`: while update t scores its answers, gives credit and trains, a thread samples and judges the answers of
  update t + 1 from the weights that update t started from. So the answers of every update but the first are one update
  old. The ratios of the objective are to the probabilities that they were sampled with, as for any other engine.

Contract: answers are a function of the seed and of weights, never of the clock: the problems and seeds are those of the
update that they are for, the weights those at the moment of `take` for the update before. A checkpoint holds the answers
that are ahead, so a resumed run trains on the same ones, whatever engine wrote them. What goes wrong in the thread is
raised once, by the `take` or `values` that asks for it. No more than one update is ever ahead, and nothing samples beside
it. Of several processes each samples its share in a thread of its own; they exchange answers where they are asked for,
never in a thread.

Not here: which engine (`rl_engine.py`), what the answers are worth (`rl_scores.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from sparring.rollouts.engine import Completion
from sparring.settings_shared import seed_from
from sparring.traces.records import Problem
from sparring.training.processes import share, spread
from sparring.training.rl_scores import Answer
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import Sampler, Subject
from sparring.training.run import random_for

Groups = list[list[Answer]]


class Rollouts:
    """The answers of one update after another.

    Attributes:
        waited: seconds that the last `take` waited for answers, without what a checkpoint or an evaluation before it did.
    """

    def __init__(self, settings: RlSettings, subject: Subject, sampler: Sampler) -> None:
        self.settings, self.subject, self.sampler = settings, subject, sampler
        self.waited = 0.0
        self._thread = ThreadPoolExecutor(1, "rollouts") if settings.staleness else None
        self._ahead: tuple[int, Future[Groups]] | None = None  # this process's share
        self._ready: tuple[int, Groups] | None = None

    def take(self, step: int) -> Groups:
        """Return the judged answers to the problems of an update, a group per problem; let the next ones be sampled.

        Raises:
            DataError: a prompt does not fit into the model's positions.
            EngineError: the engine is out of order. Nothing of the update has been done.
            SettingsError: it does not tell what was sampled with what probability.
        """
        started = time.perf_counter()
        self._gather()
        if self._ready is None or self._ready[0] != step:
            problems, seed = self._asked(step)
            self._ready = step, self.sampler.answers(problems, self.settings.samples_per_problem, seed)
        groups = self._ready[1]
        self.waited = time.perf_counter() - started
        if self._thread is not None and step + 1 < self.settings.updates:
            engine = self.sampler.in_step()  # here, not in the thread: these weights, before they are changed
            asked = self.sampler.asked(*self._asked(step + 1))
            own = [asked[index] for index in share([1.0] * len(asked))]
            samples = self.settings.samples_per_problem
            future = self._thread.submit(self.sampler.answers_of, engine, own, samples)
            self._ahead, self.sampler.in_flight = (step + 1, future), future
        self._ready = None
        return groups

    def values(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the answers that are ahead; empty where there are none.

        Raises:
            DataError, EngineError, SettingsError: as `take`, once: the next call does without them.
        """
        self._gather()
        if self._ready is None:
            return {}
        step, groups = self._ready
        return {"ahead": [step, [[asdict(answer.completion) for answer in group] for group in groups]]}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on with the answers of a checkpoint."""
        if "ahead" not in values:
            return
        step, groups = values["ahead"]
        completions = [[_completion(one) for one in group] for group in groups]
        self._ready = step, self.sampler.judged(self._asked(step)[0], completions)

    def drop(self) -> None:
        """Let go of answers that nobody will train on; waits for those on their way, whatever comes of them."""
        if self._ahead is not None:
            self._ahead[1].exception()
        self._ahead = self._ready = None

    def _gather(self) -> None:
        """Wait for the answers that are ahead, and let all processes have all of them."""
        if self._ahead is None:
            return
        (step, future), self._ahead = self._ahead, None
        own = future.result()
        self._ready = step, spread(self._asked(step)[0], lambda _: own)

    def _asked(self, step: int) -> tuple[list[Problem], int]:
        """Return an update's problems, and the seed of their answers."""
        seed = self.settings.seed
        problems = self.subject.draw(random_for(seed, step, "problems"), self.settings.problems_per_update)
        return problems, seed_from(seed, step, "rollouts")


def _completion(values: Mapping[str, Any]) -> Completion:
    tuples: Mapping[str, Sequence[Any]] = {
        name: tuple(values[name]) for name in ("token_ids", "log_probabilities")
    }
    return Completion(**{**values, **tuples})
