"""The sandbox: a process pool in which every evaluation of an oracle runs, within hard limits; and its workers' own side.

Contract: `Sandbox.verdicts` returns one verdict per question and member, whatever the members do. An evaluation (one
member on one step) that overruns its time is ``undecided`` with the reason ``sandbox:timeout``, one that lacks memory
with ``sandbox:memory``, one that takes its worker down with ``sandbox:died``; only the guilty evaluation, the others
are done by a fresh worker, however many have died. What it refuses is a worker that cannot start.

Workers are fresh interpreters (no fork, no torch, few environment variables, a fixed hash seed), start when they are
needed, are shared by all threads, and end with the sandbox or with the process that made it, even if that is killed,
together with what members started. A process made by fork gets workers of its own. POSIX only. Own code, because the
process pools of Python and of pebble import the main script (and with it torch) into every worker, hand it all
environment variables, pickle what it returns, and leave alive what it started.

Between the two are JSON lines over pipes, never pickle: ``{"members": [...], "seconds": s, "megabytes": m}``, answered by
``{"ready": true}`` or ``{"error": text}``; then chunks of jobs, ``[[number, [member index, ...], [question, answer,
prefix, original, step]], ...]``, answered by ``[number, [verdict, ...]]`` per job and ``true`` at the chunk's end, or
``false`` where the worker then leaves, to be replaced. The slate, 24 bytes of shared memory, always says which member is
at which job since when, so that whoever finds the worker dead or stuck knows what it was doing. A worker limits itself:
address space on top of what the imports took (RLIMIT_AS; enforced on Linux), and processor time per evaluation
(RLIMIT_CPU, whole seconds), in case nobody is left to watch the clock.

Before it meets text a worker gives up network, writing, most reading, and other processes (`confinement.py`), where the
kernel lets it. A member of a user's own may need them (a compiler, a prover, a server): with one in the panel nothing is
given up unless its file says ``CONFINED = True``. Not protected against: members that mean harm; they are trusted code.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from sparring.errors import SettingsError, SparringError
from sparring.oracles.confinement import confine
from sparring.oracles.members import Member, Question, ask, load_member, short_name
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MAX_CHUNK = 64
CHUNKS_PER_WORKER = 4  # so that one slow chunk does not keep a batch waiting while other workers idle
START_SECONDS = 120.0
START_ATTEMPTS = 3
GUILTLESS_DEATHS = 3
_GLANCE_SECONDS = 0.25
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
SLATE = struct.Struct("=qqd")
"""Job number, member index, and the monotonic clock's time (seconds) at which it began; 0 between evaluations."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one evaluation: seconds by the wall clock, and megabytes on top of what a worker has after its imports."""

    seconds: float = 5.0
    megabytes: int = 1024


class Sandbox:
    """A pool of workers that know the same members.

    Args:
        members: names as `resolve_members` gives them.
        workers: most processes at a time; by default one per core, at most 8.
        limits: of each evaluation.

    Raises:
        SparringError: a system without limits of processes.
    """

    def __init__(
        self, members: Sequence[str], *, workers: int | None = None, limits: SandboxLimits | None = None
    ) -> None:
        if resource is None:
            raise SparringError(
                "oracles run in worker processes with limits, which this system has not (POSIX only)"
            )
        self.members = tuple(members)
        self.size = min(8, os.cpu_count() or 1) if workers is None else workers
        self.limits = limits or SandboxLimits()
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = os.getpid()
        self._places = threading.Semaphore(self.size)
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._finalizer = weakref.finalize(self, _end_all, self._alive, self._process)

    def close(self) -> None:
        """End all workers; the next questions start new ones."""
        self._finalizer()
        self._start_anew()

    def verdicts(self, questions: Sequence[str]) -> list[list[Verdict]]:
        """Return each member's verdict on each question, written as ``[question, answer, prefix, original, step]`` in JSON.

        Raises:
            SettingsError: a member cannot be loaded.
            SparringError: workers cannot be started.
        """
        if os.getpid() != self._process:
            self._start_anew()
        batch = _Batch(self, questions)
        size = max(1, min(MAX_CHUNK, -(-len(questions) // (CHUNKS_PER_WORKER * self.size))))
        chunks = [range(start, min(start + size, len(questions))) for start in range(0, len(questions), size)]
        if self.size == 1 or len(chunks) < 2:
            for chunk in chunks:
                batch.evaluate(chunk)
        else:
            threads = ThreadPoolExecutor(min(self.size, len(chunks)))
            try:
                for _ in threads.map(batch.evaluate, chunks):
                    pass
            finally:  # after an error, or Ctrl-C, the others need not go on
                batch.ended = True
                threads.shutdown(cancel_futures=True)
        return [[found[member] for member in range(len(self.members))] for found in batch.found]

    @contextlib.contextmanager
    def worker(self) -> Iterator[_Worker]:
        """Lend a worker to this thread alone; one that is not usable afterwards is ended.

        Raises:
            SettingsError: a member cannot be loaded.
            SparringError: it does not start.
        """
        idle, alive = self._idle, self._alive
        with self._places:
            try:
                worker = idle.pop()
            except IndexError:
                worker = self._started(alive)
            try:
                yield worker
            finally:
                if worker.usable:
                    idle.append(worker)
                else:
                    alive.discard(worker)
                    worker.close()

    def _started(self, alive: set[_Worker]) -> _Worker:
        for _ in range(START_ATTEMPTS):
            worker = _Worker(self.limits)
            alive.add(worker)
            try:
                worker.start(self.members)
            finally:
                if not worker.usable:
                    alive.discard(worker)
                    worker.close()
            if worker.usable:
                return worker
        raise SparringError(f"the workers of the oracles do not start: {worker.last_words()}")


class _Batch:
    """The questions of one call, and the verdicts found: a dictionary per question, by member."""

    def __init__(self, sandbox: Sandbox, questions: Sequence[str]) -> None:
        self._sandbox, self._questions = sandbox, questions
        self.found: list[dict[int, Verdict]] = [{} for _ in questions]
        self.ended = False

    def evaluate(self, numbers: Sequence[int], deaths: int = 0) -> None:
        """Have all members judge some questions, again by another worker where one ends over them.

        What a worker was at when it ended has its verdict then. Where that is not known, each question is asked alone,
        so that nobody else can be to blame the next time; `deaths` counts the workers that ended beside a question.
        """
        left = dict.fromkeys(numbers, tuple(range(len(self._sandbox.members))))
        while left and not self.ended:
            failure, (number, member) = self._ask(left)
            if failure is None:
                continue
            if member in left.get(number, ()):
                self.found[number][member] = self._named(member, failure)
                left[number] = tuple(other for other in left[number] if other != member)
                left = {number: members for number, members in left.items() if members}
            elif len(left) > 1:
                for number in left:
                    self.evaluate([number], deaths + 1)
                return
            elif (deaths := deaths + 1) >= GUILTLESS_DEATHS:
                [(number, members)] = left.items()
                self.found[number] |= {member: self._named(member, failure) for member in members}
                return

    def _ask(self, left: dict[int, tuple[int, ...]]) -> tuple[Verdict | None, tuple[int, int]]:
        """Ask a worker, and take what it answers off `left`; return its failure, and at which evaluation it was."""
        jobs = [f"[{number},{list(members)},{self._questions[number]}]" for number, members in left.items()]
        with self._sandbox.worker() as worker:
            for number, verdicts in worker.answers(f"[{','.join(jobs)}]", lambda: self.ended):
                members = left.pop(number)
                self.found[number] |= zip(members, map(self._named, members, verdicts), strict=True)
            return (None, (-1, -1)) if worker.usable or not left else worker.post_mortem()

    def _named(self, member: int, verdict: Verdict) -> Verdict:
        """Return the verdict; one of the sandbox itself says whose evaluation it was."""
        if not verdict.reason.startswith("sandbox:"):
            return verdict
        name = short_name(self._sandbox.members[member])
        words = verdict.detail or f"needs more than {self._sandbox.limits.megabytes} MB"
        return replace(verdict, detail=f"{name}: {words}")


class _Worker:
    """One worker process, seen from outside; `usable`: it has started, and answered all that it was asked."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._unread = b""
        self._overran = False
        self.usable = False
        with tempfile.TemporaryFile() as file:
            file.truncate(SLATE.size)
            self._slate = mmap.mmap(file.fileno(), SLATE.size)
            self._process = _start(file.fileno())
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)

    def start(self, members: Sequence[str]) -> None:
        """Have the members loaded; it is usable if that worked.

        Raises:
            SettingsError: a member cannot be loaded.
        """
        began = time.monotonic()
        self._send(json.dumps({"members": members} | asdict(self._limits)))
        for message in self._messages(lambda: time.monotonic() - began > START_SECONDS):
            if "error" in message:
                raise SettingsError(message["error"])
            self.usable = True
            return

    def answers(self, chunk: str, stop: Callable[[], bool]) -> Iterator[tuple[int, list[Verdict]]]:
        """Yield the answers to a chunk of jobs, (job number, verdicts), as they come."""
        self.usable = False
        self._send(chunk)
        for message in self._messages(lambda: stop() or self._remaining() <= 0):
            if isinstance(message, bool):
                self.usable = message
                return
            number, verdicts = message
            yield (
                number,
                [
                    Verdict(truth, reason, detail, span and tuple(span))
                    for truth, reason, detail, span in verdicts
                ],
            )

    def _send(self, line: str) -> None:
        """Write a line; that a worker is no more is noticed when it is read from."""
        rest = memoryview(line.encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[self._requests.write(rest) :]

    def _messages(self, overdue: Callable[[], bool]) -> Iterator[Any]:
        """Yield what the worker writes until it ends; one that is overdue is ended, and its last words are read."""
        while True:
            patience = 0 if self._overran else max(0.0, min(_GLANCE_SECONDS, self._remaining()))
            if not self._poll.poll(1000 * patience):
                if self._overran:
                    return
                if overdue():
                    self._overran = True
                    end_group(self._process)
                continue
            piece = os.read(self._answers.fileno(), 1 << 20)
            *lines, self._unread = (self._unread + piece).split(b"\n")
            try:
                yield from map(json.loads, lines)
            except ValueError:  # something wrote over the worker's answers
                return
            if not piece:
                return

    def _remaining(self) -> float:
        """Return the seconds that the evaluation that is going on has left."""
        begun = SLATE.unpack_from(self._slate)[2]
        return float(begun + self._limits.seconds - time.monotonic()) if begun else self._limits.seconds

    def post_mortem(self) -> tuple[Verdict, tuple[int, int]]:
        """End a worker that did not finish its chunk; return why, and the (job number, member index) it was at.

        They are −1 if it was between evaluations, or had gone on to the next one just before it was ended.
        """
        end_group(self._process)
        number, member, begun = SLATE.unpack_from(self._slate)
        known = begun and not (self._overran and time.monotonic() - begun < self._limits.seconds)
        late = self._overran or self._process.returncode == -signal.SIGXCPU
        words = f"not finished within {self._limits.seconds:g} s" if late else self.last_words()
        verdict = Verdict("undecided", "sandbox:timeout" if late else "sandbox:died", words)
        return verdict, (number, member) if known else (-1, -1)

    def last_words(self) -> str:
        """Return how a worker ended."""
        return f"the worker ended with status {self._process.returncode}"

    def close(self) -> None:
        """End the process, and let go of the pipes."""
        end_group(self._process)
        for end in (self._requests, self._answers, self._slate):
            end.close()


def _start(slate: int) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter that gets this file descriptor and can import what this process can."""
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    variables |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    program = f"from sparring.oracles.sandbox import serve; serve({slate}, {os.getpid()})"
    return subprocess.Popen(  # noqa: S603  our own module, no shell
        [sys.executable, "-P", "-c", program],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(slate,),
        env=variables,
        start_new_session=True,  # Ctrl-C is for us, and what members start can be ended with them
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own session, with all that it started there, and wait for it."""
    if process.returncode is None:
        # not yet waited for: the id is its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_all(workers: set[_Worker], process: int) -> None:
    if os.getpid() == process:  # after a fork, the workers are those of the parent
        for worker in workers:
            worker.close()


# --- in the worker ---

FLUSH_SECONDS = 0.05
_PARENT_CHECK_SECONDS = 1.0
_STATM = Path("/proc/self/statm")


def serve(slate: int, parent: int) -> None:
    """Be a worker until the requests end, or `parent` (a process id) is gone; `slate` is a file descriptor."""
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
        # What they import and read while loaded is done by now
        if all(member.confined for member in members):
            places = (Path(name.rpartition(":")[0]) for name in setup["members"])
            confine(place.parent for place in places if place.suffix == ".py")
        outgoing.write(b'{"ready": true}\n')
        outgoing.flush()
        os.dup2(silence.fileno(), 2)
        gc.freeze()
        _answer(members, setup["seconds"], setup["megabytes"] << 20, incoming, outgoing, shared)


def _answer(
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
