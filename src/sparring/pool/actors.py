"""What runs in an actor of the pool, in a process of its own on some node: one worker, made there.

Contract: nothing that a worker raises ends the actor; it comes back as an answer, so that the driver can tell an error that
a user can mend from a worker that is broken. What it cannot catch (a kill, a lost node) the driver sees by itself.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.errors import SparringError


@dataclass(frozen=True, slots=True)
class Started:
    """The worker is there: on which machine, in which process, with which model."""

    place: str
    identity: str
    about: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The results of a batch."""

    results: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker's error that a user can mend, and where it came up."""

    error: SparringError
    place: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Any other error of a worker, in words, and where it came up."""

    why: str
    place: str


class Host:
    """One actor.

    Args:
        make_worker: makes the worker (`pool.items.Worker`).
        threads: that torch may use here; 0: as it likes.
    """

    def __init__(self, make_worker: Callable[[], Any], threads: int) -> None:
        self._make, self._threads, self._worker = make_worker, threads, None

    def start(self) -> Started | Refused | Broken:
        """Make the worker, and say where it is."""
        if self._threads:  # for libraries that read it when they are imported
            os.environ["OMP_NUM_THREADS"] = str(self._threads)
        try:
            self._worker = worker = self._make()
            return Started(_here(), worker.identity, worker.about)
        except Exception as error:
            return _answer(error)

    def work(self, values: Sequence[Any]) -> Done | Refused | Broken:
        """Compute a batch."""
        assert self._worker is not None
        try:
            results = self._worker(values)
            if len(results) != len(values):
                raise ValueError(f"the worker returned {len(results)} results for {len(values)} items")
            return Done(results)
        except Exception as error:
            return _answer(error)


def _here() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _answer(error: Exception) -> Refused | Broken:
    if isinstance(error, SparringError):
        return Refused(error, _here())
    text = " ".join(str(error).split())
    return Broken(f"{type(error).__name__}{': ' if text else ''}{text[:300]}", _here())
