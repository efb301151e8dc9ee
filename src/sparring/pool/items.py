"""What a pool works on: items with keys, in batches; and the same map in this process.

    for item, result in mapper.map(batches, known=…, keep=…):  # as a journal reads and writes
        ...

Contract of every mapper: results come in the order of the items, each once, while later batches are at work; batches are
given to a worker as they are, so that results are the same bit for bit wherever they are computed. `keep` is told of a
result as soon as it is there, in any order, before it is given out; a batch whose results are all known is not computed
again, and of two items with one key the first counts. An error that a user can mend (`SparringError`) is raised where the
result would have come, after all results before it.

A key names the content of an item and of all that decides its result (`content_key`); randomness comes from it or from
seeds in the item, never from who computes it.

Not here: the pool over a cluster (`ray_pool.py`), what workers do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sparring.errors import SparringError, plural
from sparring.files import to_json

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One piece of work: its key, what people call it, and what the worker is given."""

    key: str
    name: str
    value: T


@dataclass(frozen=True, slots=True)
class Lost:
    """In a result's place: an item that was left out since its workers died, and why.

    Attributes:
        why: how the last worker ended, and where.
        deaths: how many died.
    """

    key: str
    name: str
    why: str
    deaths: int

    def __str__(self) -> str:
        return f"{self.name} ({plural(self.deaths, 'actor')} died of it; the last: {self.why})"


class LostError(SparringError):
    """All is finished but some items, which were left out."""

    def __init__(self, lost: Sequence[Lost], advice: str) -> None:
        self.lost = tuple(lost)
        named = "; ".join(map(str, lost[:5])) + (f"; and {len(lost) - 5} more" if len(lost) > 5 else "")
        super().__init__(f"{len(lost)} left out: {named}. {advice}")


class Mapper(Protocol[T, R]):
    """Maps batches of items to results."""

    @property
    def status(self) -> str:
        """How the work goes, in a few words; empty where there is nothing to say."""
        ...

    def map(
        self,
        batches: Iterable[Sequence[Item[T]]],
        *,
        known: Callable[[Item[T]], R | None] | None = None,
        keep: Callable[[Item[T], R], None] | None = None,
    ) -> Iterator[tuple[Item[T], R | Lost]]:
        """Yield each item with its result.

        Args:
            batches: read ahead as far as there are workers for them.
            known: an item's result of earlier.
            keep: told of a new result, once per key.

        Raises:
            SparringError: a worker raised it, or no worker can be had.
        """
        ...


class Here(Generic[T, R]):
    """Maps in this process, with one worker."""

    status = ""

    def __init__(self, worker: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._worker = worker

    def map(
        self,
        batches: Iterable[Sequence[Item[T]]],
        *,
        known: Callable[[Item[T]], R | None] | None = None,
        keep: Callable[[Item[T], R], None] | None = None,
    ) -> Iterator[tuple[Item[T], R | Lost]]:
        """Yield each item with its result (see `Mapper.map`)."""
        for batch in batches:
            found: dict[str, R | None] = {item.key: known(item) if known else None for item in batch}
            if any(result is None for result in found.values()):
                results = checked(self._worker, [item.value for item in batch])
                for item, result in zip(batch, results, strict=True):
                    if found[item.key] is None:
                        found[item.key] = result
                        if keep is not None:
                            keep(item, result)
            for item in batch:
                result_ = found[item.key]
                assert result_ is not None
                yield item, result_


def checked(worker: Callable[[Sequence[T]], Sequence[R]], values: Sequence[T]) -> Sequence[R]:
    """Return a worker's results; raise ValueError where they are not one per value."""
    results = worker(values)
    if len(results) != len(values):
        raise ValueError(
            f"the worker returned {plural(len(results), 'result')} for {plural(len(values), 'item')}"
        )
    return results


def content_key(*parts: Any) -> str:
    """Return a digest of parts of plain JSON types, settings or records (`files.to_json`): 32 hexadecimal digits."""
    plain, _ = to_json(list(parts))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
