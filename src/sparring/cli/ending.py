"""How the process ends: exit status, last words, standard streams, signals.

    0    done; also where the reader of a pipe (`| head -1`) left early
    1    done, and what was to be checked is not as it should be (`report --verify`)
    2    something that the user can mend, in one line
    70   a fault of Sparring, in one line that names the file with the traceback
    130  stopped by Ctrl-C, 143 by `kill`, 129 by a terminal that was closed; the line says how to go on

Contract: no traceback reaches a terminal. Standard streams that are closed, full, left by their reader or too narrow for
Unicode never stop the work: files come first, what is printed is for convenience. Of the processes of one run one speaks.

Not here: checking the place of the output before any work (`commands.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, TextIO, cast

from rich.console import Console
from rich.text import Text

from sparring import launched
from sparring.cli.commands import jobs
from sparring.errors import SettingsError, SparringError

MENDABLE, INTERNAL = 2, 70  # the latter as EX_SOFTWARE in sysexits.h
TRACEBACK_FILE = "traceback.txt"
_MEMORY = (
    "not enough memory ({reason}); give the job less at once (smaller batches, fewer states or samples, a shorter "
    "max_length, dtype=bfloat16), or a machine with more"
)
_AFTER_STOP = {
    "--resume": "stopped; to go on, give the same command with --resume",
    "no checkpoint": "stopped before the first checkpoint (checkpoint_every); the same command with --resume begins anew",
    "again": "stopped; the same command goes on where it was",
    "anew": "stopped; nothing was written, the same command starts anew",
}


def run(app: Callable[[], object]) -> int:
    """Run the command line and return the exit status of the process."""
    jobs.clear()
    with _signals() as signals, _streams() as output:
        try:
            try:
                signals.phase = "work"
                if signals.stopped:  # before it began
                    raise KeyboardInterrupt
                app()
                status = 0
            finally:
                signals.phase = "after"
        except SystemExit as end:  # how typer ends
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        except Exception as error:
            status = _report(error)
        if signals.stopped and status:
            status = 128 + signals.stopped
            _say(_after_stop(), "yellow")
            # A stop inside of a text that a library executed, as some do when imported, leaves a mark in Python 3.11
            # by which the process would end by SIGINT, whatever its status; executing another text takes it away.
            exec("")  # noqa: S102
        output.flush()
        if output.failure is not None and not isinstance(output.failure, BrokenPipeError):
            reason = output.failure.strerror
            _say_error(
                f"standard output cannot be written: {reason}"
                + (f" ({jobs[0].out} is complete)" if jobs and not status else "")
            )
            status = status or MENDABLE
    return status


def _after_stop() -> str:
    """Return how the command that was stopped goes on."""
    if not jobs:
        return "stopped"
    job = jobs[0]
    begun = job.after_stop != "--resume" or (job.out / "checkpoint").exists()  # `training.run.CHECKPOINT`
    return _AFTER_STOP[job.after_stop if begun else "no checkpoint"]


def _report(error: Exception) -> int:
    """Say what went wrong in one line; return the exit status."""
    text = str(error).strip()
    if isinstance(error, SparringError):
        lines = text.splitlines() if isinstance(error, SettingsError) else [text]
        _say_error("\n".join(_one_line(line) for line in lines))
    elif isinstance(error, MemoryError) or _is_torch_memory(error):
        _say_error(_MEMORY.format(reason=_one_line(text.partition("\n")[0][:200] or type(error).__name__)))
    elif isinstance(error, OSError) and error.errno is not None:  # the system refuses, and says why
        _say_error(
            _one_line(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
        )
    else:
        first = _one_line(text.partition("\n")[0][:200])
        _say_error(
            f"this is a fault of Sparring, please report it: {type(error).__name__}{': ' * bool(first)}{first} "
            f"(traceback: {_keep_traceback(error)})"
        )
        return INTERNAL
    return MENDABLE


def _is_torch_memory(error: Exception) -> bool:
    """Whether torch ran out of memory: on a GPU it has a class for it, on the CPU a plain RuntimeError."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in str(error) or "out of memory" in str(error))
    )


def _keep_traceback(error: Exception) -> str:
    """Write the traceback beside the run, else among temporary files; return where, or the text itself as last resort."""
    command = shlex.join(sys.argv)
    text = "".join(
        (
            f"{command}\npython {platform.python_version()}, {platform.platform()}\n\n",
            *traceback.format_exception(error),
        )
    )
    if not launched.speaks():
        return "told by another process"
    if jobs:
        out = jobs[0].out
        file = (out if out.is_dir() else out.parent) / TRACEBACK_FILE
        with contextlib.suppress(OSError, ValueError):
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            return str(file)
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="sparring-traceback-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as draft:
            draft.write(text)
        return name
    return "it could be written nowhere: " + _one_line(text)


# --- words -----------------------------------------------------------------------------------------------------------


def _say_error(message: str) -> None:
    _say(Text.assemble(("error:", "bold red"), f" {message}"))


def _say(message: str | Text, style: str = "") -> None:
    if not launched.speaks():
        return
    Console(stderr=True).print(message, style=style, soft_wrap=True, highlight=False, markup=False)


def _one_line(text: str) -> str:
    """Return a text with its line breaks and other control characters written out: names of files may hold any."""
    return "".join(
        character if character.isprintable() or character == " " else repr(character)[1:-1]
        for character in text
    )


# --- streams and signals ---------------------------------------------------------------------------------------------


class _Output:
    """A standard stream that keeps its first failure to itself, and writes nothing after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], object]) -> None:
        if self.failure is not None:
            return
        try:
            work()
        except OSError as error:
            self.failure = error
            # What is still in its buffer must not fail again at exit
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _streams() -> Iterator[_Output]:
    """Put streams that never fail in place of the standard ones; yield that of the output."""
    for descriptor in range(3):  # a closed one would be given to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    streams = [stream if stream is not None else open(os.devnull, "w") for stream in before]  # noqa: SIM115
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    output, errors = (_Output(stream) for stream in streams)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


@dataclass
class _Signals:
    """What a signal does: it interrupts the work only, so that how the work ended is told whole.

    Attributes:
        phase: before the work a signal is kept until it begins; after it, one is noted, and the next ends the process.
        stopped: number of the signal that stopped the work; 0: none did.
        came: whether there was any.
    """

    phase: Literal["before", "work", "after"] = "before"
    stopped: int = 0
    came: bool = False


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Let `kill` and a closed terminal end the work as Ctrl-C does, once."""
    signals = _Signals()
    before: dict[int, Any] = {}
    unraisable = sys.unraisablehook

    def unless_together(report: Any) -> None:
        """Two signals in one instant: Python says of the second that it found no handler any more."""
        if not (signals.came and isinstance(report.exc_value, OSError) and report.object is None):
            unraisable(report)

    def stop(number: int, _: FrameType | None) -> None:
        signals.came = True
        for each in before:
            signal.signal(each, signal.SIG_DFL)  # a second one, of any kind, ends at once
        if signals.phase != "after":
            signals.stopped = number
        if signals.phase == "work":
            raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # not the main thread
        known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
        for number in (int(one) for one in known if one is not None):
            # As under nohup, and in the background of a script
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    sys.unraisablehook = unless_together
    try:
        yield signals
    finally:
        sys.unraisablehook = unraisable
        for number, handler in before.items():
            signal.signal(number, handler)
        atexit.unregister(_end_at_once)
        atexit.register(_end_at_once)  # the last that is registered is the first that runs


def _end_at_once() -> None:
    """Let Ctrl-C end a process that is clearing up without a traceback of whatever it clears."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
