"""Work for the tests of workers: in a module that imports nothing, since every worker imports it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path


def doubled(report: Callable[[int], None], number: int) -> int:
    report(1)
    return 2 * number


def threads(report: Callable[[int], None]) -> str:
    return os.environ["OMP_NUM_THREADS"]


def refused(report: Callable[[int], None], name: str) -> None:
    from sparring.errors import DataError

    raise DataError("no", file=name, line=3)


def faulty(report: Callable[[int], None]) -> None:
    error = ValueError("cannot be pickled")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def killed(report: Callable[[int], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def endless(report: Callable[[int], None], file: Path) -> None:
    file.write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
