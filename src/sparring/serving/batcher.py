"""Dynamic batches by tokens: one thread owns a model, and jobs of all requests share its forward passes.

    ticket = batcher.submit("scores", rows, lengths, deadline)     # from any thread
    scores = ticket.result()                                       # or: await asyncio.wrap_future(ticket.future)

The worker takes the oldest jobs, up to `WINDOW` batches of them, sorts them by kind and length, and computes batch after
batch; what comes in meanwhile is the next window. So a model that is idle answers at once, and one that is busy gets large
batches, without a waiting time to be set.

Contract: a request's jobs are accepted all or none; the queue is bounded in tokens. Every accepted request ends: with its
results, or with an error. A batch that fails is computed again in halves, so that one bad job does not take its
neighbours with it. Whatever else goes wrong in the worker answers all that wait with `WorkerLost`, and the worker goes on.
Jobs of a request that was cancelled or is past its deadline are never computed. Closing finishes what was accepted.

Not here: what is computed (`models.py`), HTTP.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from sparring.errors import SparringError
from sparring.models.batching import length_sorted_batches
from sparring.models.scorer import SHORTEST_SCORED

Compute = Callable[[Sequence[Any]], Sequence[Any]]
"""From works of one kind to as many results."""
WINDOW = 4
"""Batches that are planned at once."""


class BatcherError(SparringError):
    """Work that was not done."""


class QueueFull(BatcherError):
    """As many tokens wait as may; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class WorkerLost(BatcherError):
    """The worker stopped in the middle, or was closed; what was asked may be asked again."""


class WorkFailed(BatcherError):
    """The model failed at a job; the reason is `__cause__`."""


class TooLate(BatcherError):
    """The deadline passed before the work was done."""


@dataclass(eq=False, slots=True)
class Ticket:
    """One request's jobs.

    Attributes:
        deadline: on the clock of `time.monotonic`.
        future: ends with the results in order, or an error; cancelled by who no longer wants them.
        results: so far.
        left: jobs that are not done.
    """

    deadline: float
    results: list[Any]
    left: int
    future: Future[list[Any]] = field(default_factory=Future)

    def result(self) -> list[Any]:
        """Wait, and return the results."""
        try:
            return self.future.result(max(0.0, self.deadline - time.monotonic()))
        except TimeoutError:
            self.future.cancel()
            raise TooLate("not done in time") from None
        except CancelledError:
            raise WorkerLost("cancelled") from None

    def fail(self, error: Exception) -> None:
        """End with an error, unless it has ended."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def done(self, index: int, result: Any) -> None:
        """Take a result; the last one ends it."""
        self.results[index] = result
        self.left -= 1
        if self.left == 0:
            with contextlib.suppress(InvalidStateError):
                self.future.set_result(self.results)


@dataclass(eq=False, slots=True)
class _Job:
    ticket: Ticket
    index: int
    kind: Any
    work: Any
    tokens: int


class Batcher:
    """The thread that owns one model.

    Args:
        compute: per kind of work (any hashable), what computes a batch of it.
        batch_tokens: tokens per batch, padding included.
        queue_tokens: tokens that may wait.

    Attributes:
        on_batch: told the kind, rows, tokens (without padding) and seconds of every batch.
        on_error: told the errors that the worker met.
        batches, tokens, seconds: computed so far.
        restarts: how often the worker was lost.
    """

    on_batch: Callable[[Any, int, int, float], None] = staticmethod(lambda *_: None)
    on_error: Callable[[BaseException], None] = staticmethod(lambda _: None)

    def __init__(
        self, name: str, compute: Mapping[Any, Compute], *, batch_tokens: int, queue_tokens: int
    ) -> None:
        self.name, self.compute = name, compute
        self.batch_tokens, self.queue_tokens = batch_tokens, queue_tokens
        self.waiting_tokens = self.batches = self.tokens = self.restarts = 0
        self.seconds = 0.0
        self._jobs: deque[_Job] = deque()
        self._taken: list[_Job] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._busy_since: float | None = None

    # --- from any thread ---------------------------------------------------------------------------------------------

    def submit(
        self, kind: Any, works: Sequence[Any], tokens: Sequence[int], deadline: float, *, bounded: bool = True
    ) -> Ticket:
        """Put a request's works into the queue.

        Args:
            bounded: whether a full queue refuses them; what goes on with work that was accepted goes in.

        Raises:
            QueueFull: they do not fit; nothing was queued.
            WorkerLost: the batcher is closed.
        """
        ticket = Ticket(deadline, [None] * len(works), len(works))
        total = sum(tokens)
        with self._changed:
            if self._closed:
                raise WorkerLost("the server is going down")
            if bounded and self.waiting_tokens and self.waiting_tokens + total > self.queue_tokens:
                raise QueueFull(self._seconds_for(self.waiting_tokens))
            self.waiting_tokens += total
            self._jobs.extend(
                _Job(ticket, index, kind, work, length)
                for index, (work, length) in enumerate(zip(works, tokens, strict=True))
            )
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=f"sparring-{self.name}", daemon=True)
                self._thread.start()
            self._changed.notify()
        return ticket

    def close(self, seconds: float = 60.0) -> None:
        """Take nothing more, finish what was accepted, and end the thread; what is left after so long fails."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)
        self._fail_all(WorkerLost("the server is going down"))

    @property
    def busy_seconds(self) -> float:
        """How long the worker has been at its present batch; 0 while it is idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def _seconds_for(self, tokens: int) -> float:
        rate = self.tokens / self.seconds if self.seconds else math.inf
        return min(60.0, max(1.0, tokens / rate))

    # --- in the worker -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if not self._work():
                    return
            except BaseException as error:  # nothing may leave a request without an answer
                self.restarts += 1
                self.on_error(error)
                self._fail_all(WorkerLost("the worker was lost and has started again"))
            finally:
                self._busy_since = None

    def _work(self) -> bool:
        """Compute a window; return False once closed and empty."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if not self._jobs:
                return False
            tokens = 0
            while self._jobs and (
                not self._taken or tokens + self._jobs[0].tokens <= WINDOW * self.batch_tokens
            ):
                job = self._jobs.popleft()
                tokens += job.tokens
                self._taken.append(job)
        for kind in dict.fromkeys(job.kind for job in self._taken):
            jobs = [job for job in self._taken if job.kind == kind]
            lengths = [job.tokens for job in jobs]
            for batch in length_sorted_batches(lengths, self.batch_tokens, shortest=SHORTEST_SCORED):
                self._batch(kind, [jobs[index] for index in batch])
        return True

    def _leave(self, jobs: list[_Job]) -> None:
        """Take jobs off the count before their answers go out: who has an answer must not see itself waiting."""
        with self._changed:
            self.waiting_tokens -= sum(job.tokens for job in jobs)
            left = set(jobs)
            self._taken = [job for job in self._taken if job not in left]

    def _batch(self, kind: Any, jobs: list[_Job]) -> None:
        """Compute one batch, in halves where it fails."""
        now = time.monotonic()
        gone = [job for job in jobs if job.ticket.deadline <= now or job.ticket.future.done()]
        if gone:
            self._leave(gone)
            for ticket in {job.ticket for job in gone}:
                ticket.fail(TooLate("not done in time"))  # nothing where it has an answer or its client left
            jobs = [job for job in jobs if not (job.ticket.deadline <= now or job.ticket.future.done())]
        if not jobs:
            return
        self._busy_since = now
        try:
            results = self.compute[kind]([job.work for job in jobs])
            if len(results) != len(jobs):
                raise RuntimeError(f"{len(results)} results of {len(jobs)} jobs")
        except Exception as error:
            if len(jobs) > 1:
                half = len(jobs) // 2
                self._batch(kind, jobs[:half])
                self._batch(kind, jobs[half:])
                return
            if not isinstance(error, SparringError):  # a word on the job itself is not the model's failure
                self.on_error(error)
            failed = WorkFailed("the model failed")
            failed.__cause__ = error
            self._leave(jobs)
            jobs[0].ticket.fail(failed)
            return
        seconds, tokens = time.monotonic() - now, sum(job.tokens for job in jobs)
        self.batches += 1
        self.tokens += tokens
        self.seconds += seconds
        self.on_batch(kind, len(jobs), tokens, seconds)
        self._leave(jobs)
        for job, result in zip(jobs, results, strict=True):
            job.ticket.done(job.index, result)

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            jobs = [*self._taken, *self._jobs]
            self._jobs.clear()
            self._taken = []
            self.waiting_tokens = 0
        for ticket in {job.ticket for job in jobs}:
            ticket.fail(error)
