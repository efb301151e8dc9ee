"""What all servers that score have in common: requests of several traces, refusals blamed on one, answers checked.

Contract: a trace gets its own scores or the call fails. A request that is refused is taken apart until one trace is to
blame, which the error names. An answer that has another shape than it must, or a score that is no number from 0 to 1, is
never used: the request is tried again, and then it is a ServerError that names the field. Where a connection was lost in
between, the server is asked again who it is, and another model is refused.

Not here: what is sent and how it is read (`served.py`, `vllm.py`, `sglang.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Semaphore
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sparring.addresses import Address, whole_option
from sparring.errors import DataError
from sparring.fingerprints import Identity
from sparring.http_client import HttpClient, RefusedError, ServerError, Session, gather, json_answer, waited
from sparring.scorers.door import Overflow
from sparring.traces.records import Trace

W = TypeVar("W", bound=tuple[Any, ...])
Row = list[float] | DataError
CONCURRENCY = 8
"""Requests in flight."""


@dataclass(frozen=True, slots=True)
class DeclaredReading:
    """How a server's scores are to be read, as it says (see `door.Reading`)."""

    head: str = ""
    meaning: str = "correctness"
    aggregation: str = "min"


class RemoteScorer(ABC, Generic[W]):
    """A PRM on a server. What is sent of a trace is made ready once (`W`, which begins with the trace).

    Args:
        address: where; its options set `model`, `concurrency` (requests in flight), `batch` (traces per request),
            `timeout` (seconds for an answer) and `retries`.
        model: its name there; also `?model=`.
        threshold: instead of the PRM's own.
        overflow: what to do with a trace that does not fit.

    Raises:
        SettingsError: an option, or no such model.
        ServerError: the server cannot be used.
    """

    path: str
    options: tuple[str, ...] = ("model", "concurrency", "batch", "timeout", "retries")
    batch_size = 16

    def __init__(
        self,
        address: Address,
        *,
        model: str | None = None,
        token: str | None = None,
        threshold: float | None = None,
        overflow: Overflow = "refuse",
    ) -> None:
        options = address.only(*self.options)
        self.address, self.overflow, self.dropped_steps = address, overflow, 0
        self.wanted = model or options.get("model")
        self.per_request = whole_option(options, "batch", self.batch_size)
        self.client = HttpClient.at(address, token, concurrency=CONCURRENCY, timeout=300)
        self.identity, self.sidecar, self.threshold, self.threshold_rule = self.introduce()
        if threshold is not None:
            self.threshold, self.threshold_rule = threshold, f"fixed {threshold:g}"

    @abstractmethod
    def introduce(self) -> tuple[Identity, Any, float | None, str]:
        """Ask the server who it is; return that, how scores are read, and the threshold with its rule."""

    @abstractmethod
    def prepare(self, trace: Trace) -> W:
        """Return a trace made ready to be sent.

        Raises:
            DataError: it cannot be scored.
        """

    @abstractmethod
    def request(self, works: Sequence[W]) -> dict[str, Any]:
        """Return the body of a request for the scores of traces."""

    @abstractmethod
    def rows(self, answer: Any, works: Sequence[W]) -> list[list[float]]:
        """Return the scores in an answer.

        Raises:
            UnusableError: the answer is not what it must be; names the field.
        """

    def shorter(self, trace: Trace, error: RefusedError) -> Trace | None:
        """Return the part of a refused trace that the server takes; None where it does not say, or takes none."""
        return None

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return one list of scores per trace (see `door.StepScorer`); the first that is refused ends it."""
        return [row for row in self._rows(traces, progress, each=False) if not isinstance(row, DataError)]

    def score_each(self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None) -> list[Row]:
        """Return one list of scores per trace, or why there is none."""
        return self._rows(traces, progress, each=True)

    def _rows(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None, *, each: bool
    ) -> list[Row]:
        rows: list[Row] = [[] for _ in traces]
        works: dict[int, W] = {}
        for index, trace in enumerate(traces):
            try:
                works[index] = self.prepare(trace)
            except DataError as error:
                if not each:
                    raise
                rows[index] = error
        lost = self.client.lost
        if works:
            found = waited(self._all(list(works.values()), progress, each))
            for index, row in zip(works, found, strict=True):
                rows[index] = row
        if self.client.lost > lost:
            self._refuse_another_model()
        return rows

    def _refuse_another_model(self) -> None:
        now, *_ = self.introduce()
        if now.key != self.identity.key:
            raise ServerError(
                f"the server at {self.client.url} was lost for a while and is another one now: it was model "
                f"{self.identity.model!r} ({self.identity.fingerprint or 'no fingerprint'}), it is {now.model!r} "
                f"({now.fingerprint or 'no fingerprint'})"
            )

    async def _all(self, works: Sequence[W], progress: Callable[[int], None] | None, each: bool) -> list[Row]:
        # A part is finished before many others begin, so that a server that refuses everything is found out soon.
        begun = Semaphore(self.client.concurrency)
        async with self.client.session() as session:

            async def ask(part: Sequence[W]) -> list[Row]:
                async with begun:
                    found = await self._ask(session, part)
                refused = next((row for row in found if isinstance(row, DataError)), None)
                if refused is not None and not each:
                    raise refused
                if progress is not None:
                    progress(len(part))
                return found

            size = self.per_request
            parts = [works[start : start + size] for start in range(0, len(works), size)]
            return [row for rows in await gather([ask(part) for part in parts]) for row in rows]

    async def _ask(self, session: Session, works: Sequence[W]) -> list[Row]:
        def read(content: bytes) -> list[list[float]]:
            return self.rows(json_answer(content), works)

        try:
            return list(await session.ask(self.path, self.request(works), read))
        except RefusedError as error:
            if len(works) > 1:  # one of them is to blame
                half = len(works) // 2
                return await self._ask(session, works[:half]) + await self._ask(session, works[half:])
            trace: Trace = works[0][0]
            kept = self.shorter(trace, error) if self.overflow == "drop_steps" else None
            if kept is not None and len(kept.steps) < len(trace.steps):
                self.dropped_steps += len(trace.steps) - len(kept.steps)
                return await self._ask(session, [self.prepare(kept)])
            why = f"the server at {self.client.url} refuses it: {error.message}"
            return [
                DataError(f"trace of problem '{trace.problem.id}': {why}", field=error.field, trace=trace)
            ]
