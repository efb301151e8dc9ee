"""The sandbox: a pool of worker processes in which every evaluation of an oracle runs, within hard limits.

Contract: `Sandbox.verdicts` returns one verdict per question and member, whatever the members do. An evaluation (one
member on one step) that overruns its time is ``undecided`` with the reason ``sandbox:timeout``, one that lacks memory
with ``sandbox:memory``, one that takes its worker down with ``sandbox:died``; only the guilty evaluation, the others
are done by a fresh worker. There is no number of dead workers at which it gives up. What it refuses is a worker that
cannot start.

Questions go out in chunks, over pipes of the workers' own, as JSON, never pickle. Workers are fresh interpreters (no
fork, no torch, few environment variables, a fixed hash seed), start when they are needed, are shared by all threads,
and end with the sandbox or with the process that made it, even if that is killed. A process made by fork gets workers
of its own. POSIX only; the memory limit needs Linux.

Not protected against: members that mean harm. They are trusted code that meets untrusted text; a worker may read
files and open connections like any other process of its user.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sparring.errors import SettingsError, SparringError
from sparring.oracles.members import short_name
from sparring.oracles.worker import SLATE
from sparring.traces.verdict import Truth, Verdict

MAX_CHUNK = 64
CHUNKS_PER_WORKER = 4  # so that one slow chunk does not keep a batch waiting while other workers idle
START_SECONDS = 120.0
START_ATTEMPTS = 3
GUILTLESS_DEATHS = 3
_GLANCE_SECONDS = 0.25
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one evaluation: seconds by the wall clock, and megabytes on top of what a worker has after its imports."""

    seconds: float = 5.0
    megabytes: int = 1024


@dataclass(frozen=True, slots=True)
class _Job:
    """A question for some members; `deaths` counts the workers that died beside it, with nobody to blame."""

    number: int
    members: tuple[int, ...]
    deaths: int = 0


class Sandbox:
    """A pool of workers that know the same members.

    Args:
        members: names as `resolve_members` gives them.
        workers: most processes at a time; by default one per core, at most 8.
        limits: of each evaluation.
    """

    def __init__(
        self, members: Sequence[str], *, workers: int | None = None, limits: SandboxLimits | None = None
    ) -> None:
        self.members = tuple(members)
        self.size = min(8, os.cpu_count() or 1) if workers is None else workers
        self.limits = limits or SandboxLimits()
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = os.getpid()
        self._condition = threading.Condition()
        self._line: deque[object] = deque()  # tickets of waiting threads: first come, first served
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
        return _Batch(self, questions).run()

    def _take(self, *, wait: bool) -> _Worker | None:
        """Return a worker for this thread alone, or None where none is free and `wait` is off."""
        with self._condition:
            if not wait and (self._line or not self._available()):
                return None
            ticket = object()
            self._line.append(ticket)
            try:
                self._condition.wait_for(lambda: self._line[0] is ticket and self._available())
            finally:
                self._line.remove(ticket)
                self._condition.notify_all()
            if self._idle:
                return self._idle.pop()
            worker = _Worker(self.members, self.limits)
            self._alive.add(worker)
            return worker

    def _available(self) -> bool:
        return bool(self._idle) or len(self._alive) < self.size

    def _give_back(self, worker: _Worker, *, usable: bool) -> None:
        if not usable:
            worker.close()
        with self._condition:
            if usable:
                self._idle.append(worker)
            else:
                self._alive.discard(worker)
            self._condition.notify_all()


class _Batch:
    """The questions of one call, and what is known of their answers."""

    def __init__(self, sandbox: Sandbox, questions: Sequence[str]) -> None:
        self._sandbox, self._questions = sandbox, questions
        everyone = tuple(range(len(sandbox.members)))
        self._waiting = deque(_Job(number, everyone) for number in range(len(questions)))
        self._out: dict[_Worker, dict[int, _Job]] = {}  # what each worker has not answered yet
        self._found: list[dict[int, Verdict]] = [{} for _ in questions]
        per_worker = -(-len(questions) // (CHUNKS_PER_WORKER * sandbox.size))
        self._chunk = max(1, min(MAX_CHUNK, per_worker))
        self._failed_starts = 0

    def run(self) -> list[list[Verdict]]:
        with selectors.DefaultSelector() as selector:
            try:
                while self._waiting or self._out:
                    self._hand_out(selector)
                    patience = min(worker.patience() for worker in self._out)
                    selector.select(patience)
                    for worker in list(self._out):
                        self._look_at(worker)
                        if worker.state != "busy" or worker.overdue():
                            selector.unregister(worker.answers)
                            self._let_go(worker)
            finally:  # only after an exception are there workers left
                for worker in self._out:
                    self._sandbox._give_back(worker, usable=False)
        everyone = range(len(self._sandbox.members))
        return [[found[member] for member in everyone] for found in self._found]

    def _hand_out(self, selector: selectors.BaseSelector) -> None:
        """Give chunks to workers while both are there; wait for a worker if this call has none."""
        while self._waiting:
            worker = self._sandbox._take(wait=not self._out)
            if worker is None:
                return
            # A job that saw a worker die goes alone, so that nobody else can be to blame the next time.
            count = 1 if self._waiting[0].deaths else min(self._chunk, len(self._waiting))
            jobs = [self._waiting.popleft() for _ in range(count)]
            self._out[worker] = {job.number: job for job in jobs}
            selector.register(worker.answers, selectors.EVENT_READ)
            chunk = (f"[{job.number},{list(job.members)},{self._questions[job.number]}]" for job in jobs)
            worker.send(f"[{','.join(chunk)}]")

    def _look_at(self, worker: _Worker) -> None:
        """Take in what a worker has written."""
        for number, verdicts in worker.read():
            members = self._out[worker].pop(number).members
            self._found[number] |= zip(members, map(self._named, members, verdicts), strict=True)

    def _let_go(self, worker: _Worker) -> None:
        """Give a worker back; what it leaves unanswered is done again, except for what it ended at."""
        if worker.state in ("idle", "leaving"):
            del self._out[worker]
            self._failed_starts = 0
            self._sandbox._give_back(worker, usable=worker.state == "idle")
            return
        failure, at_work = worker.post_mortem()
        self._look_at(worker)  # its last words
        unanswered = self._out.pop(worker)
        self._sandbox._give_back(worker, usable=False)
        if worker.error is not None:
            raise SettingsError(worker.error)
        self._failed_starts = 0 if worker.was_ready else self._failed_starts + 1
        if self._failed_starts >= START_ATTEMPTS:
            raise SparringError(f"the workers of the oracles do not start: {failure.detail}")
        if worker.was_ready:
            unanswered = self._without_guilty(unanswered, failure, at_work)
        self._waiting.extendleft(reversed(unanswered.values()))

    def _without_guilty(
        self, jobs: dict[int, _Job], failure: Verdict, at_work: tuple[int, int] | None
    ) -> dict[int, _Job]:
        """Return what is to be done again; the guilty evaluation is not, it has its verdict."""
        number, member = at_work or (-1, -1)
        if number in jobs and member in jobs[number].members:
            self._found[number][member] = self._named(member, failure)
            rest = tuple(other for other in jobs[number].members if other != member)
            jobs = jobs | {number: replace(jobs[number], members=rest)}
        elif len(jobs) == 1 and all(job.deaths + 1 >= GUILTLESS_DEATHS for job in jobs.values()):
            for number, job in jobs.items():
                self._found[number] |= {member: self._named(member, failure) for member in job.members}
            return {}
        else:
            jobs = {number: replace(job, deaths=job.deaths + 1) for number, job in jobs.items()}
        return {number: job for number, job in jobs.items() if job.members}

    def _named(self, member: int, verdict: Verdict) -> Verdict:
        """Return the verdict; one of the sandbox itself says whose evaluation it was."""
        if not verdict.reason.startswith("sandbox:"):
            return verdict
        name = short_name(self._sandbox.members[member])
        words = verdict.detail or f"needs more than {self._sandbox.limits.megabytes} MB"
        return replace(verdict, detail=f"{name}: {words}")


class _Worker:
    """One worker process, seen from outside.

    Attributes:
        state: ``busy`` (from the first chunk on, starting included), ``idle``, ``leaving`` (it ends by itself), ``ended``.
        was_ready: whether it has loaded its members.
        error: what it says of a member that it cannot load.
        answers: the file descriptor to wait at.
    """

    def __init__(self, members: Sequence[str], limits: SandboxLimits) -> None:
        self._limits = limits
        self._begun = time.monotonic()
        self._unread = b""
        self.state = "busy"
        self.was_ready = False
        self.error: str | None = None
        requests, self._requests = os.pipe()
        self.answers, answers = os.pipe()
        os.set_blocking(self.answers, False)
        with tempfile.TemporaryFile() as file:
            file.truncate(SLATE.size)
            self._slate = mmap.mmap(file.fileno(), SLATE.size)
            self._process = _start((requests, answers, file.fileno()))
        os.close(requests)
        os.close(answers)
        self.send(json.dumps({"members": members, "seconds": limits.seconds, "megabytes": limits.megabytes}))

    def send(self, line: str) -> None:
        """Write a line; that a worker is no more is noticed when it is read from."""
        self.state = "busy"
        rest = memoryview(line.encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self._requests, rest) :]

    def read(self) -> Iterator[tuple[int, list[Verdict]]]:
        """Yield the answers that have come, (job number, verdicts), and keep `state` up to date."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.answers, 1 << 20):
                self._unread += piece
            self.state = "ended"
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:  # something wrote over the worker's answers
                self.state = "ended"
                return
            if isinstance(message, list):
                yield message[0], [_verdict(*fields) for fields in message[1]]
            elif isinstance(message, dict):
                self.was_ready, self.error = "ready" in message, message.get("error")
            elif self.state == "busy":
                self.state = "idle" if message else "leaving"

    def patience(self) -> float:
        """Return for how many seconds there is no need to look at the clock."""
        begun = SLATE.unpack_from(self._slate)[2]
        left = begun + self._limits.seconds - time.monotonic() if begun else _GLANCE_SECONDS
        return float(min(_GLANCE_SECONDS, max(0.0, left)))

    def overdue(self) -> bool:
        """Whether the evaluation that is going on has overrun its time."""
        now = time.monotonic()
        begun = SLATE.unpack_from(self._slate)[2]
        if not self.was_ready:
            return now - self._begun > START_SECONDS
        return bool(begun) and now - begun > self._limits.seconds

    def post_mortem(self) -> tuple[Verdict, tuple[int, int] | None]:
        """End a worker that did not finish its chunk; return why, and the (job number, member index) it was at.

        None for the second if it was between evaluations, or had gone on to the next one just before it was ended.
        """
        overran = self.state == "busy"
        end_group(self._process)
        number, member, begun = SLATE.unpack_from(self._slate)
        at_work = (number, member) if begun else None
        if overran and time.monotonic() - begun < self._limits.seconds:
            at_work = None
        if overran or self._process.returncode == -signal.SIGXCPU:
            words = f"not finished within {self._limits.seconds:g} s"
            return Verdict("undecided", "sandbox:timeout", words), at_work
        words = f"the worker ended with status {self._process.returncode}"
        return Verdict("undecided", "sandbox:died", words), at_work

    def close(self) -> None:
        """End the process, and let go of the pipes."""
        end_group(self._process)
        if not self._slate.closed:
            self._slate.close()
            os.close(self._requests)
            os.close(self.answers)


def _verdict(truth: Truth, reason: str, detail: str, span: Sequence[int] | None) -> Verdict:
    return Verdict(truth, reason, detail, None if span is None else (span[0], span[1]))


def _start(passed: tuple[int, int, int]) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter that gets these file descriptors and can import what this process can."""
    words = [sys.executable, "-P", "-m", "sparring.oracles.worker", *map(str, passed), str(os.getpid())]
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    variables |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603  our own module, no shell
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=passed,
        env=variables,
        start_new_session=True,  # Ctrl-C is for us, and what members start can be ended with them
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own session, with all that it started there, and wait for it."""
    if process.returncode is None:
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # not yet waited for: the id is its own
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_all(workers: set[_Worker], process: int) -> None:
    if os.getpid() == process:  # after a fork, the workers are those of the parent
        for worker in workers:
            worker.close()
