"""What an update trains on, sampled on request one update ahead of the training (`staleness`).

- `staleness: 0`: an update's samples are made from the weights that it starts from, when it asks for them.
- `staleness: 1`: while update t scores its samples and trains, a thread samples and judges those of update t + 1 from the
  weights that update t started from. So the samples of every update but the first are one update old. The ratios of the
  objective are to the probabilities that they were sampled with, as for any other engine.

Contract: samples are a function of the seed and of weights, never of the clock: what is asked and its seeds are those of
the update that they are for, the weights those at the moment of `take` for the update before. A checkpoint holds the
samples that are ahead, so a resumed run trains on the same ones, whatever engine wrote them. What goes wrong in the thread
is raised once, by the `take` or `values` that asks for it. No more than one update is ever ahead, and nothing samples
beside it. Of several processes each samples its share in a thread of its own; they exchange samples where they are asked
for, never in a thread.

Not here: which engine (`engine_beside.py`), what is sampled (`rl_tasks.py`: answers, `adversary.py`: rewrites).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from sparring.training.processes import share, spread

Asked = TypeVar("Asked")
Made = TypeVar("Made")


class Ahead(ABC, Generic[Asked, Made]):
    """The samples of one update after another.

    Args:
        staleness: how many updates they are ahead, 0 or 1.
        end: the update that never comes.

    Attributes:
        waited: seconds that the last `take` waited for samples, without what a checkpoint or an evaluation before it did.
    """

    def __init__(self, staleness: int, end: int) -> None:
        self.end = end
        self.waited = 0.0
        self._thread = ThreadPoolExecutor(1, "rollouts") if staleness else None
        self._ahead: tuple[int, Future[list[Made]]] | None = None  # this process's share
        self._ready: tuple[int, list[Made]] | None = None

    @abstractmethod
    def asked(self, step: int) -> list[Asked]:
        """Return what an update asks for, each with its seed."""

    @abstractmethod
    def fresh(self, step: int) -> list[Made]:
        """Return an update's samples from the present weights, in every process."""

    @abstractmethod
    def engine(self) -> Any:
        """Return what samples, once it has the present weights."""

    @abstractmethod
    def make(self, engine: Any, own: Sequence[Asked]) -> list[Made]:
        """Return the samples that this process is asked for, from the weights that the engine has; in the thread."""

    @abstractmethod
    def packed(self, made: Made) -> Any:
        """Return JSON values of samples."""

    @abstractmethod
    def unpacked(self, step: int, values: Sequence[Any]) -> list[Made]:
        """Return an update's samples again."""

    def take(self, step: int) -> list[Made]:
        """Return an update's samples, one group for each that is asked; let the next ones be sampled.

        Raises:
            DataError: a prompt does not fit into the model's positions.
            EngineError: the engine is out of order. Nothing of the update has been done.
            SettingsError: it does not tell what was sampled with what probability.
        """
        started = time.perf_counter()
        self._gather()
        if self._ready is None or self._ready[0] != step:
            self._ready = step, self.fresh(step)
        made = self._ready[1]
        self.waited = time.perf_counter() - started
        if self._thread is not None and step + 1 < self.end:
            engine = self.engine()  # here, not in the thread: these weights, before they are changed
            asked = self.asked(step + 1)
            own = [asked[index] for index in share([1.0] * len(asked))]
            self._ahead = step + 1, self._thread.submit(self.make, engine, own)
        self._ready = None
        return made

    def wait(self) -> None:
        """Wait for what is sampled in the thread; whoever asks for it is told how that ended."""
        if self._ahead is not None:
            self._ahead[1].exception()

    def values(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the samples that are ahead; empty where there are none.

        Raises:
            DataError, EngineError, SettingsError: as `take`, once: the next call does without them.
        """
        self._gather()
        if self._ready is None:
            return {}
        step, made = self._ready
        return {"ahead": [step, [self.packed(one) for one in made]]}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on with the samples of a checkpoint."""
        if "ahead" in values:
            step, packed = values["ahead"]
            self._ready = step, self.unpacked(step, packed)

    def drop(self) -> None:
        """Let go of samples that nobody will train on; waits for those on their way, whatever comes of them."""
        self.wait()
        self._ahead = self._ready = None

    def _gather(self) -> None:
        """Wait for the samples that are ahead, and let all processes have all of them."""
        if self._ahead is None:
            return
        (step, future), self._ahead = self._ahead, None
        own = future.result()
        self._ready = step, spread(self.asked(step), lambda _: own)
