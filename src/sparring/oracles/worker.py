"""One worker of the sandbox: a process that asks members about steps, within limits that it sets itself.

    python -m sparring.oracles.worker SLATE PARENT        (a file descriptor and a process id)

Contract: JSON lines from stdin and to stdout. First comes ``{"members": [...], "seconds": s, "megabytes": m}``, answered
by ``{"ready": true}`` or ``{"error": text}``. Then each line is a chunk of jobs, ``[[number, [member index, ...],
[question, answer, prefix, original, step]], ...]``, answered by ``[number, [verdict, ...]]`` per job and ``true`` at
the chunk's end, or ``false`` where the worker then leaves, to be replaced. The slate, 24 bytes of shared memory,
always says which member is at which job since when, so that whoever finds the worker dead or stuck knows what it was
doing. It ends at the end of its requests, and whenever its parent is no longer PARENT. Imports no torch.

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
from typing import BinaryIO

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
    slate, parent = map(int, arguments)
    threading.Thread(target=_leave_without, args=(parent,), daemon=True).start()
    with (
        os.fdopen(os.dup(0), "rb") as incoming,
        os.fdopen(os.dup(1), "wb") as outgoing,
        mmap.mmap(slate, SLATE.size) as shared,
        open(os.devnull, "r+b") as silence,
    ):
        os.close(slate)
        for descriptor in (0, 1):  # what a member writes there is noise
            os.dup2(silence.fileno(), descriptor)
        setup = json.loads(incoming.readline())
        try:
            members = [load_member(name) for name in setup["members"]]
        except SettingsError as error:
            outgoing.write(json.dumps({"error": str(error)}).encode() + b"\n")
            return
        outgoing.write(b'{"ready": true}\n')
        outgoing.flush()
        os.dup2(silence.fileno(), 2)
        gc.freeze()
        _serve(members, setup["seconds"], setup["megabytes"] << 20, incoming, outgoing, shared)


def _serve(
    members: Sequence[Member],
    seconds: float,
    allowance: int,
    incoming: BinaryIO,
    outgoing: BinaryIO,
    slate: mmap.mmap,
) -> None:
    """Answer chunks until there are no more, or until half of the memory is used up."""
    used = _address_space()
    _limit((resource.RLIMIT_AS, resource.RLIMIT_DATA), used + allowance)
    _limit((resource.RLIMIT_CORE,), 0)
    wound_at = -1
    for line in incoming:
        lacked_memory = False
        flushed = time.monotonic()
        for number, indices, (text, answer, prefix, original, step) in json.loads(line):
            question = Question(Problem("", text, answer), tuple(prefix), original, step)
            verdicts = []
            for index in indices:
                SLATE.pack_into(slate, 0, number, index, time.monotonic())
                if (now := int(time.process_time())) != wound_at:  # a system call only once per second
                    wound_at = now
                    _limit((resource.RLIMIT_CPU,), now + 2 + math.ceil(seconds))
                try:
                    verdict = ask(members[index], question)
                except MemoryError:
                    lacked_memory = True
                    verdict = Verdict("undecided", "sandbox:memory")
                verdicts.append((verdict.truth, verdict.reason, verdict.detail, verdict.span))
            outgoing.write(json.dumps([number, verdicts]).encode() + b"\n")
            SLATE.pack_into(slate, 0, number, 0, 0.0)
            if time.monotonic() - flushed > FLUSH_SECONDS:
                outgoing.flush()
                flushed = time.monotonic()
        # A worker that lacked memory, or whose members keep what they took, makes room for a fresh one.
        stays = not lacked_memory and _address_space() < used + allowance // 2
        outgoing.write(json.dumps(stays).encode() + b"\n")
        outgoing.flush()
        if not stays:
            return


def _limit(kinds: Sequence[int], soft: int) -> None:
    """Set soft limits of this process, lower where less is allowed already."""
    for kind in kinds:
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):  # systems that do not know this limit
            resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


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
