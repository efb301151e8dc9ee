"""One worker of the sandbox: a process that asks members about steps, within limits that it sets itself.

    python -m sparring.oracles.worker REQUESTS ANSWERS SLATE PARENT        (three file descriptors and a process id)

Contract: JSON lines in both directions. First comes ``{"members": [...], "seconds": s, "megabytes": m}``, answered by
``{"ready": true}`` or ``{"error": text}``. Then each line is a chunk of jobs, ``[[number, [member index, ...],
[question, answer, prefix, original, step]], ...]``, answered by ``[number, [verdict, ...]]`` per job and ``true`` at
the chunk's end, or ``false`` where the worker then leaves, to be replaced. The slate, 24 bytes of shared memory,
always says which member is at which job since when, so that whoever finds the worker dead or stuck knows what it was
doing. It ends at the end of REQUESTS, and whenever its parent is no longer PARENT. Imports no torch.

Limits: address space on top of what the imports took (RLIMIT_AS; the kernel enforces it on Linux), and processor time
per evaluation (RLIMIT_CPU, whole seconds), in case nobody is left to watch the clock. Not here: the wall clock
(`sandbox.py`).
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import mmap
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from sparring.errors import SettingsError
from sparring.oracles.members import Member, Question, ask, load_member
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

SLATE = struct.Struct("=qqd")
"""Job number, member index, and the monotonic clock's time (seconds) at which it began; 0 between evaluations."""

FLUSH_SECONDS = 0.05
_PARENT_CHECK_SECONDS = 1.0
_STATM = Path("/proc/self/statm")


def main(arguments: Sequence[str]) -> None:
    """Serve until the requests end."""
    requests, answers, slate, parent = map(int, arguments)
    for descriptor in (requests, answers, slate):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_leave_without, args=(parent,), daemon=True).start()
    with (
        os.fdopen(requests, "rb") as incoming,
        os.fdopen(answers, "wb") as outgoing,
        mmap.mmap(slate, SLATE.size) as shared,
    ):
        setup = json.loads(incoming.readline())
        try:
            members = [load_member(name) for name in setup["members"]]
        except SettingsError as error:
            _send(outgoing, {"error": str(error)})
            return
        _send(outgoing, {"ready": True})
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)  # what a member writes there is noise from here on
        gc.freeze()
        _serve(members, setup["seconds"], _limit_memory(setup["megabytes"] << 20), incoming, outgoing, shared)


def _serve(
    members: Sequence[Member],
    seconds: float,
    allowance: int,
    incoming: BinaryIO,
    outgoing: BinaryIO,
    slate: mmap.mmap,
) -> None:
    """Answer chunks until there are no more, or until half of the memory is used up."""
    half_full = _address_space() + allowance // 2
    clock = _ProcessorClock(seconds)
    for line in incoming:
        lacked_memory = False
        lines: list[str] = []
        flushed = time.monotonic()
        for number, indices, (text, answer, prefix, original, step) in json.loads(line):
            question = Question(Problem("", text, answer), tuple(prefix), original, step)
            verdicts: list[Any] = []
            for index in indices:
                SLATE.pack_into(slate, 0, number, index, time.monotonic())
                clock.wind()
                try:
                    verdict = ask(members[index], question)
                except MemoryError:
                    lacked_memory = True
                    verdict = Verdict("undecided", "sandbox:memory")
                verdicts.append((verdict.truth, verdict.reason, verdict.detail, verdict.span))
            lines.append(json.dumps([number, verdicts]))
            SLATE.pack_into(slate, 0, number, 0, 0.0)
            if (now := time.monotonic()) - flushed > FLUSH_SECONDS:
                outgoing.write(("\n".join(lines) + "\n").encode())
                outgoing.flush()
                lines, flushed = [], now
        # A worker that lacked memory, or whose members keep what they took, makes room for a fresh one.
        stays = not lacked_memory and _address_space() < half_full
        lines.append(json.dumps(stays))
        outgoing.write(("\n".join(lines) + "\n").encode())
        outgoing.flush()
        if not stays:
            return


def _send(outgoing: BinaryIO, message: object) -> None:
    outgoing.write(json.dumps(message).encode() + b"\n")
    outgoing.flush()


class _ProcessorClock:
    """Keeps RLIMIT_CPU, which counts from the process's start, ahead of the evaluation that begins."""

    def __init__(self, seconds: float) -> None:
        self._seconds = math.ceil(seconds) + 1
        self._hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        self._set_at = -1
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def wind(self) -> None:
        """Allow `seconds` from now on; a system call only once per second of processor time."""
        used = int(time.process_time())
        if used != self._set_at:
            self._set_at = used
            soft = used + 1 + self._seconds
            if self._hard != resource.RLIM_INFINITY:
                soft = min(soft, self._hard)
            resource.setrlimit(resource.RLIMIT_CPU, (soft, self._hard))


def _limit_memory(allowance: int) -> int:
    """Allow so many more bytes of address space than are used now, or fewer where less is allowed already."""
    limit = _address_space() + allowance
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(kind)
        smallest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # systems that do not know this limit
            resource.setrlimit(kind, (smallest, hard))
    return allowance


def _address_space() -> int:
    """Return the bytes of address space in use; 0 where the system does not say."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0


def _leave_without(parent: int) -> None:
    """End the process, and what it started, once its parent is gone, even in the middle of an evaluation."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
