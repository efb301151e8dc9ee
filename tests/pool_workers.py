"""Workers of pools, for tests: doubling numbers, with misfortunes at some of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import DataError
from sparring.scorers.pooled import ScoringWorker
from sparring.traces.records import Trace

MARKS = "SPARRING_TEST_MARKS"
"""Environment variable that names a folder for all actors of a cluster."""


@dataclass(frozen=True)
class Doubling:
    """Makes a worker that doubles numbers and writes down, a line each, what it was given and where.

    Attributes:
        log: the file.
        once: at these numbers the process is killed, the first time.
        always: at these numbers it is killed every time.
        stuck: at these numbers it never answers.
        bad: these numbers are refused.
        broken: at these numbers the worker has a fault.
        pause: seconds for every number.
        model: file whose content is the model's identity.
    """

    log: Path
    once: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    bad: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    pause: float = 0.0
    model: Path | None = None

    def __call__(self) -> Worker:
        return Worker(self)


class Deadly(ScoringWorker):
    """A worker that scores and is killed by the problem c3."""

    def __call__(self, traces: Sequence[Trace]) -> Any:
        if any(trace.problem.id.startswith("c3-") for trace in traces):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(traces)


class KilledOnce(ScoringWorker):
    """A worker that scores and is killed by the problem c300, the first time; a file in the folder `MARKS` tells."""

    def __call__(self, traces: Sequence[Trace]) -> Any:
        met = Path(os.environ[MARKS]) / "c300"
        if not met.exists() and any(trace.problem.id.startswith("c300-") for trace in traces):
            met.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(traces)


class Worker:
    """One worker."""

    def __init__(self, made: Doubling) -> None:
        self.made = made
        self.identity = "" if made.model is None else made.model.read_text()
        self.about = f"doubling in {os.getpid()}"

    def __call__(self, values: Sequence[int]) -> list[int]:
        for value in values:
            with self.made.log.open("a") as file:
                file.write(f"{value} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
            met = self.made.log.with_suffix(f".{value}")
            if value in self.made.always or (value in self.made.once and not met.exists()):
                met.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if value in self.made.stuck:
                time.sleep(1000)
            if value in self.made.bad:
                raise DataError("no number", field=f"number[{value}]")
            if value in self.made.broken:
                raise RuntimeError(f"cannot double {value}")
            time.sleep(self.made.pause)
        return [2 * value for value in values]
