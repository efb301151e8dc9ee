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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from sparring.errors import DataError, SettingsError
from sparring.fingerprints import Identity
from sparring.http_client import (
    FIRST_RETRIES,
    TOKEN_VARIABLE,
    Address,
    HttpClient,
    Patience,
    RefusedError,
    ServerError,
    UnusableError,
    gather,
    json_answer,
    waited,
    whole_option,
)
from sparring.scorers.door import Overflow
from sparring.traces.fields import is_number
from sparring.traces.records import Trace

W = TypeVar("W", bound=tuple[Any, ...])
Row = list[float] | DataError
COMMON_OPTIONS = ("model", "concurrency", "batch", "timeout", "retries")
"""Options that every address can have."""
BATCH = 16
"""Traces per request."""
CONCURRENCY = 8
"""Requests in flight."""
BUSY = 200
"""Further tries for a server that says that it is busy, and when to come again."""


@dataclass(frozen=True, slots=True)
class Told:
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
        token: bearer token.
        threshold: instead of the PRM's own.
        overflow: what to do with a trace that does not fit.

    Raises:
        SettingsError: an option, or no such model.
        ServerError: the server cannot be used.
    """

    path: str
    options: tuple[str, ...] = COMMON_OPTIONS
    batch_size = BATCH

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
        self.first_retries = whole_option(options, "retries", FIRST_RETRIES, least=0)
        retries, timeout = whole_option(options, "retries", 6, least=0), whole_option(options, "timeout", 300)
        self.client = HttpClient(
            address.url,
            concurrency=whole_option(options, "concurrency", CONCURRENCY),
            patience=Patience(timeout=timeout, retries=retries, busy=BUSY),
            token=token,
        )
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
            self.refuse_other()
        return rows

    def refuse_other(self) -> None:
        """Raise ServerError where the server is not the one any more that it was at the start."""
        now, *_ = self.introduce()
        if now.key != self.identity.key:
            raise ServerError(
                f"the server at {self.client.url} was lost for a while and is another one now: it was model "
                f"{self.identity.model!r} ({self.identity.fingerprint or 'no fingerprint'}), it is {now.model!r} "
                f"({now.fingerprint or 'no fingerprint'})"
            )

    async def _all(self, works: Sequence[W], progress: Callable[[int], None] | None, each: bool) -> list[Row]:
        gate = Semaphore(self.client.concurrency)
        async with self.client.session() as http:

            async def ask(part: Sequence[W]) -> list[Row]:
                async with gate:
                    found = await self._ask(http, part)
                refused = next((row for row in found if isinstance(row, DataError)), None)
                if refused is not None and not each:
                    raise refused
                if progress is not None:
                    progress(len(part))
                return found

            size = self.per_request
            parts = [works[start : start + size] for start in range(0, len(works), size)]
            return [row for rows in await gather([ask(part) for part in parts]) for row in rows]

    async def _ask(self, http: httpx.AsyncClient, works: Sequence[W]) -> list[Row]:
        try:
            found = await self.client.ask(
                http,
                self.path,
                self.request(works),
                lambda content: self.rows(json_answer(content), works),
            )
            return list(found)
        except RefusedError as error:
            if len(works) > 1:  # one of them is to blame
                half = len(works) // 2
                return await self._ask(http, works[:half]) + await self._ask(http, works[half:])
            trace: Trace = works[0][0]
            kept = self.shorter(trace, error) if self.overflow == "drop_steps" else None
            if kept is not None and len(kept.steps) < len(trace.steps):
                self.dropped_steps += len(trace.steps) - len(kept.steps)
                return await self._ask(http, [self.prepare(kept)])
            message, field = error.told()
            told = f"trace of problem '{trace.problem.id}': the server at {self.client.url} refuses it: {message}"
            return [DataError(told, field=field)]
        except ServerError as error:
            raise self.explained(error) from None

    def explained(self, error: ServerError) -> ServerError:
        """Return the error with advice where a token is missing."""
        if error.status in (401, 403):
            return ServerError(f"{error}; the token is taken from {TOKEN_VARIABLE}")
        return error

    def get(self, path: str) -> Any:
        """Return the JSON of a small answer.

        Raises:
            ServerError: there is none.
        """

        async def ask() -> Any:
            async with self.client.session() as http:
                return await self.client.ask(http, path, None, json_answer, retries=self.first_retries)

        try:
            return waited(ask())
        except RefusedError as error:
            raise ServerError(f"the server at {self.client.url} answered with {error.reason}") from None
        except ServerError as error:
            raise self.explained(error) from None

    def listed_models(self) -> list[Mapping[str, Any]]:
        """Return the entries of `/v1/models` (OpenAI's list), which have an id each.

        Raises:
            ServerError: the answer is something else.
        """
        answer = self.get("/v1/models")
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise ServerError(
                f"the server at {self.client.url} lists no models: /v1/models has no list 'data'"
            )
        for index, entry in enumerate(data):
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
                raise ServerError(
                    f"the server at {self.client.url}: /v1/models: data[{index}].id: expected a text"
                )
        return data

    def chosen(self, entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the entry of the model that is wanted, or the only one.

        Raises:
            SettingsError: it is not there, or there are several and none is wanted.
        """
        names = [str(entry["id"]) for entry in entries]
        if self.wanted is None and len(names) != 1:
            raise SettingsError(
                f"the server at {self.client.url} has {len(names)} models to score with; choose one by ?model=: "
                f"{', '.join(names[:10]) or 'there is none'}"
            )
        for entry in entries:
            if self.wanted in (None, entry["id"]):
                return entry
        raise SettingsError(
            f"the server at {self.client.url} has no model {self.wanted!r} to score with: {', '.join(names[:10])}"
        )


def probabilities(values: Sequence[Any], count: int, place: str) -> list[float]:
    """Return numbers from 0 to 1, of which there must be so many.

    Raises:
        UnusableError: there are not; names the field.
    """
    if len(values) != count:
        raise UnusableError(f"{place}: {len(values)} scores for {count} steps")
    for index, value in enumerate(values):
        if not is_number(value) or not 0.0 <= value <= 1.0:  # NaN is not either
            raise UnusableError(f"{place}[{index}]: expected a number from 0 to 1, got {value!r:.40}")
    return [float(value) for value in values]
