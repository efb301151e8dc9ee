"""Parts of a job at the same time: worker processes of one thread each (`multiprocessing`, spawned, never forked).

On tiny models two torch threads wait for each other more than they compute, and on a busy machine they starve; two
processes do not, and what they compute does not depend on how many there are.

Contract: results come in the order of the parts; the first error ends all. Workers die with this process, however it
dies (kill -9 too), and Ctrl-C is this process's to handle. A script that calls this must guard its own start with
``if __name__ == "__main__"``, as `multiprocessing` demands.

Not here: what is computed (`demo.py`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from sparring.errors import SparringError

Report = Callable[[int], None]
"""What a part calls after every unit of work, with how many are done."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Part:
    """A piece of work: `work(report, *arguments)`, where `work` is a function of a module; all of it can be pickled."""

    title: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


def processes() -> int:
    """Return how many parts can be computed at once here: the cores that this process may use, at most two."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2, usable)


class Workers:
    """Worker processes that take parts one after the other; a context manager that ends them."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[BaseProcess, Connection]] = []
        with _inherited():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self._workers.append((process, ours))

    def run(
        self,
        parts: Sequence[Part],
        *,
        done: Callable[[int, int], None],
        ended: Callable[[int], None],
        tick: Callable[[], None],
        every: float = 1.0,
    ) -> list[Any]:
        """Compute the parts and return their results.

        Args:
            parts: what to compute; the longest first is best.
            done: called with (place of the part, units done) as the parts report, and with -1 units when one begins.
            ended: called with the place of a part whose result is there.
            tick: called at least every so many seconds.
            every: these seconds.

        Raises:
            SparringError: of a part, or a worker has died. Any other exception of a part, with its traceback as a note.
        """
        results: dict[int, Any] = {}
        waiting = iter(range(len(parts)))
        busy: dict[Connection, tuple[BaseProcess, int]] = {}

        def give(process: BaseProcess, connection: Connection) -> None:
            place = next(waiting, None)
            if place is not None:
                with contextlib.suppress(OSError):  # of a worker that has died: told below
                    connection.send((parts[place].work, parts[place].arguments))
                busy[connection] = process, place
                done(place, -1)

        for process, connection in self._workers:
            give(process, connection)
        while busy:
            for ready in wait(list(busy), timeout=every):
                connection = cast(Connection, ready)
                process, place = busy[connection]
                try:
                    what, value = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    raise SparringError(_death(parts[place].title, process.exitcode)) from None
                if what == "units":
                    done(place, value)
                    continue
                if what == "error":
                    raise value
                results[place] = value
                ended(place)
                del busy[connection]
                give(process, connection)
            tick()
        return [results[place] for place in range(len(parts))]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _connection in self._workers:
            process.terminate()
        for process, connection in self._workers:
            process.join()
            connection.close()


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """Set what a new process takes over from this one: one thread for numerics, and no ear for Ctrl-C from its birth."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _death(title: str, status: int | None) -> str:
    how = (
        f"was killed by signal {-status}"
        if status is not None and status < 0
        else f"ended with status {status}"
    )
    advice = "; perhaps the memory was full" if status == -getattr(signal, "SIGKILL", 9) else ""
    return f"{title}: its process {how}{advice}; the same command goes on where it was"


# --- in the worker ---------------------------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """Compute what comes through the connection until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            work, arguments = connection.recv()
            try:
                answer = "result", work(lambda units: connection.send(("units", units)), *arguments)
            except Exception as error:
                error.add_note("".join(traceback.format_exception(error)))
                answer = "error", error
            try:
                connection.send(answer)
            except OSError:
                raise
            except Exception as error:  # an exception that cannot be pickled
                connection.send(("error", RuntimeError(f"{answer[1]!r} ({error})")))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
