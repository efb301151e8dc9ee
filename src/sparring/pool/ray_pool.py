"""A pool of Ray actors, on this machine or on a cluster: the mapper for jobs that one process is too slow for.

    with RayPool(make_worker, PoolSettings(actors=8)) as pool:
        for item, result in pool.map(batches, known=…, keep=…):
            ...

The driver (this process) reads batches ahead, hands every actor one to work on and one to go on with, and gives results
out in order. An actor that dies, that takes longer than it may, or whose worker breaks is replaced, where the cluster has
room, and what it had is given to another. A batch that actors die of again and again is taken apart, and an item that they
die of alone is left out (`Lost`). Ray decides where actors run and finds out about lost nodes; it is told not to restart or
retry anything, so that who counts is one.

Contract: as `items.py` says; results do not depend on actors, their number, or what happened to them. (One exception: a
batch that was taken apart is computed item by item, and what a model makes of an item may then differ in its last digits.)
An actor that comes later with another model is refused (`SettingsError`): somebody changed it while the job ran.

A cluster of its own listens on the loopback interface only and asks for a token that is made for it; one that is joined
is as safe as it was set up (docs/engines.md): whoever can talk to a Ray cluster can run code on it.

Not here: which journal keeps results (the commands').
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from sparring.errors import SettingsError, SparringError, install_extra, needs, plural
from sparring.pool.items import Item, Lost, checked
from sparring.pool.settings import PoolSettings

T = TypeVar("T")
R = TypeVar("R")

QUEUE = 2
"""Batches that an actor has: the one at work, and one to go on with."""
_TICK, _LOOK = 1.0, 10.0  # seconds between looks at the clock, and at the cluster
_NO_ROOM = 1800.0
"""Seconds without a single actor after which a job is given up."""
_NO_NODE = 30.0
"""Seconds without a single node after which a cluster that was joined is given up; nobody starts one for our own."""
_REACHED = 30.0
"""Seconds that the cluster may take to answer."""
_TOLD = 30.0
"""Seconds between two lines on what is waited for."""
_GONE = "what is finished is kept, and the same command goes on where it was"


# --- in an actor, a process of its own on some node ---------------------------------------------------------------------
#
# Nothing that a worker raises ends the actor; it comes back as an answer, so that the driver can tell an error that a user
# can mend from a worker that is broken. What it cannot catch (a kill, a lost node) the driver sees by itself.


@dataclass(frozen=True, slots=True)
class Started:
    """The worker is there: on which machine, in which process, with which model."""

    place: str
    identity: str
    about: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker's error, and where it came up: one that a user can mend as it is, any other in words."""

    error: SparringError | str
    place: str


class Host:
    """One actor.

    Args:
        threads: that torch may use here; 0: as it likes.
    """

    def __init__(self, make_worker: Callable[[], Any], threads: int) -> None:
        self._make, self._threads, self._worker = make_worker, threads, None

    def start(self) -> Started | Failed:
        """Make the worker, and say where it is."""
        if self._threads:  # for libraries that read it when they are imported
            os.environ["OMP_NUM_THREADS"] = str(self._threads)
        try:
            self._worker = worker = self._make()
            return Started(_here(), worker.identity, worker.about)
        except Exception as error:
            return _failed(error)

    def work(self, values: Sequence[Any]) -> Sequence[Any] | Failed:
        """Return the results of a batch."""
        assert self._worker is not None
        try:
            return checked(self._worker, values)
        except Exception as error:
            return _failed(error)


def _here() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _failed(error: Exception) -> Failed:
    text = " ".join(str(error).split())
    words = f"{type(error).__name__}{': ' if text else ''}{text[:300]}"
    return Failed(error if isinstance(error, SparringError) else words, _here())


# --- in the driver ------------------------------------------------------------------------------------------------------


class PoolError(SparringError):
    """The cluster cannot do the work: it is not there, lost its nodes, has no room, or all actors die in their start."""


@dataclass(slots=True)
class _Work:
    """Places of a batch that an actor is given at once; `alone`: with nothing else, for an actor may die of it."""

    number: int
    places: tuple[int, ...]
    deaths: int = 0
    alone: bool = False


@dataclass(slots=True)
class _Slot(Generic[T, R]):
    """A batch that was read and is not given out yet; `open` places still wait for their result."""

    items: Sequence[Item[T]]
    results: list[R | Lost | None]
    open: int
    error: SparringError | None = None


@dataclass(slots=True)
class _Actor:
    handle: Any
    starting: Any
    place: str = ""
    queue: deque[tuple[Any, _Work]] = field(default_factory=deque)
    since: float = 0.0

    @property
    def ready(self) -> bool:
        return self.starting is None

    @property
    def awaited(self) -> Any:
        """What it answers next; None: nothing."""
        return self.starting if self.starting is not None else self.queue[0][0] if self.queue else None


class RayPool(Generic[T, R]):
    """A pool; a context manager, within which the actors live.

    Args:
        make_worker: makes a worker in an actor; must be picklable, and what it names must be on every node. A worker
            returns one result per value, in their order. Its `identity` is the content of the model behind it, may be
            empty, and is the same for all workers of a job; `about` is what the driver wants to know of the model.
        tell: is told what happens to actors, for people.

    Raises:
        MissingPackageError: Ray is not installed.
        PoolError: no such cluster.
    """

    def __init__(
        self,
        make_worker: Callable[[], Any],
        settings: PoolSettings,
        *,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        _environment(settings)
        with needs("--engine ray", "ray", install_extra("ray")):
            import ray
        self._ray, self._make, self.settings = ray, make_worker, settings
        self._tell = tell
        self._actors: list[_Actor] = []
        self._first: Started | None = None
        # Whether to a cluster at all; whether to one of this machine's own.
        self._connected = self._local = False
        self._room, self._gpus, self._deaths_in_start = 0, 0.0, 0
        self._looked: float | None = None
        self._began = self._alive = time.monotonic()
        self._node_seen, self._told = self._began, -_TOLD
        self.lost: list[Lost] = []
        self.done = 0
        self.deaths = 0

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            self._connect()
            self._connected = True
        self._began = self._alive = self._node_seen = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            self._kill(actor)
        self._actors.clear()
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    @property
    def status(self) -> str:
        """How the pool is, in a few words: actors at work, rate, deaths."""
        ready = sum(actor.ready for actor in self._actors)
        rate = self.done / max(time.monotonic() - self._began, 1e-9)
        return f"{plural(ready, 'actor')}, {rate:.3g}/s" + (
            f", {self.deaths} replaced" if self.deaths else ""
        )

    def about(self) -> Any:
        """Return what the first worker says of its model (`about`); starts it if need be."""
        nothing: _Job[T, R] = _Job((), None, None, [])
        while self._first is None:
            with self._reaching():
                self._staff(1)
                self._collect(nothing)
        return self._first.about

    def share(self, items: int, most: int) -> int:
        """Return how large batches of so many items should be for every actor to have some, at most `most`."""
        return max(1, min(most, -(-items // (QUEUE * max(1, self._wanted(items))))))

    # --- the map -----------------------------------------------------------------------------------------------

    def map(
        self,
        batches: Iterable[Sequence[Item[T]]],
        *,
        known: Callable[[Item[T]], R | None] | None = None,
        keep: Callable[[Item[T], R], None] | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[Item[T], R | Lost]]:
        """Yield each item with its result (see `items.Mapper.map`); where order does not matter, batches as they come."""
        job: _Job[T, R] = _Job(batches, known, keep, self.lost, ordered=ordered)
        try:
            while True:
                yield from job.finished()
                with self._reaching():
                    wanted = self._wanted(1 << 30)
                job.read(self.settings.in_flight * max(1, wanted))
                if job.over:
                    return
                if job.done is not None:
                    continue
                with self._reaching():
                    self._staff(len(job.waiting) + sum(len(actor.queue) for actor in self._actors))
                    self._assign(job)
                    self._collect(job)
        finally:
            for actor in [one for one in self._actors if one.queue]:  # what it does is of no use any more
                self._kill(actor)
                self._actors.remove(actor)

    def _assign(self, job: _Job[T, R]) -> None:
        """Give waiting batches to those that have least to do."""
        ready = [one for one in self._actors if one.ready and not any(work.alone for _, work in one.queue)]
        while job.waiting and ready:
            actor = min(ready, key=lambda one: len(one.queue))
            idle = sum(not one.queue for one in self._actors)
            if len(actor.queue) >= QUEUE or (actor.queue and len(job.waiting) <= idle):
                return  # the last ones are for those that are about to start
            if job.waiting[0].alone and actor.queue:
                return
            work = job.waiting.popleft()
            values = [job.slots[work.number].items[place].value for place in work.places]
            try:
                reference = actor.handle.work.remote(values)
            except self._ray.exceptions.RayError as error:
                job.waiting.appendleft(work)
                self._bury(actor, job, self._words(error, actor.place))
                ready.remove(actor)
                continue
            if not actor.queue:
                actor.since = time.monotonic()
            actor.queue.append((reference, work))
            if work.alone:
                ready.remove(actor)

    def _collect(self, job: _Job[T, R]) -> None:
        """Wait until something is answered, or a while; take what is there."""
        awaited = {actor.awaited: actor for actor in self._actors if actor.awaited is not None}
        if not awaited:
            time.sleep(_TICK / 10)
        else:
            ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=_TICK)
            ready += self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)[0]
            for reference in dict.fromkeys(ready):
                self._take(awaited[reference], reference, job)
        limit = self.settings.seconds_per_item
        now = time.monotonic()
        for actor in list(self._actors):
            if actor.ready and actor.queue and limit is not None:
                allowed = limit * len(actor.queue[0][1].places)
                if now - actor.since > allowed:
                    why = f"no answer within {allowed:g} s from {actor.place}"
                    self._bury(actor, job, why, certain=True)
        if any(actor.ready for actor in self._actors):
            self._alive = now
        elif now - self._alive > _NO_ROOM:
            raise PoolError(f"no actor came to life in {_NO_ROOM:g} s: {self._asked()}; {_GONE}")

    def _take(self, actor: _Actor, reference: Any, job: _Job[T, R]) -> None:
        """Take one answer of an actor, or its death."""
        try:
            answer = self._ray.get(reference, timeout=_REACHED)  # it is there, unless its node died just now
        except self._ray.exceptions.RayError as error:
            self._bury(actor, job, self._words(error, actor.place))
            return
        failure = answer.error if isinstance(answer, Failed) else None
        if isinstance(failure, str):
            self._bury(actor, job, f"{failure} ({answer.place})", certain=True)
        elif not actor.ready:
            self._welcome(actor, answer)
        else:
            _, work = actor.queue.popleft()
            actor.since = time.monotonic()
            if failure is not None:
                job.slots[work.number].error = failure  # raised when its turn comes
            else:
                self.done += len(work.places)
                for place, result in zip(work.places, answer, strict=True):
                    job.set(work.number, place, result)

    # --- actors ------------------------------------------------------------------------------------------------

    def _staff(self, works: int) -> None:
        """Start actors until there are as many as there is room and work for."""
        missing = self._wanted(works) - len(self._actors)
        for _ in range(missing):
            cpus, gpus = self.settings.cpus_per_actor, self._gpus
            remote = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Host)
            handle = remote.remote(self._make, max(1, int(cpus)) if cpus else 0)
            self._actors.append(_Actor(handle, handle.start.remote()))

    def _welcome(self, actor: _Actor, answer: Started | Failed) -> None:
        """Take a new actor in.

        Raises:
            SparringError: its worker cannot be made, or has another model than the others.
        """
        if isinstance(answer, Failed):
            assert isinstance(answer.error, SparringError)
            raise answer.error if self._local else PoolError(f"{answer.error} ({answer.place})")
        actor.starting, actor.place, self._deaths_in_start = None, answer.place, 0
        if self._first is None:
            self._first = answer
        elif answer.identity != self._first.identity:
            before = self._first.identity or "none"
            raise SettingsError(
                f"the model changed while the job ran: {answer.place} found {answer.identity or 'none'}, those before it "
                f"{before}; what is finished is kept: put the first model back and start again, or choose another --out"
            )

    def _bury(self, actor: _Actor, job: _Job[T, R], why: str, *, certain: bool = False) -> None:
        """Note that an actor died, and of what; the others get what it had.

        An actor that is killed may have finished its first work and not told: then it died of the second. So unless it is
        `certain` that it was the first, both are tried alone, and only who is alone is blamed.

        Raises:
            PoolError: actors die one after the other before any of them has started.
        """
        self._actors.remove(actor)
        self._kill(actor)
        self.deaths += 1
        self._looked = None  # its node may have died with it
        if not actor.ready:
            self._deaths_in_start += 1
            if self._deaths_in_start >= max(3, self.settings.deaths):
                raise PoolError(
                    f"{plural(self._deaths_in_start, 'actor')} died while they started; the last: {why}"
                )
            self._tell(f"an actor died while it started ({why}); another takes its place")
            return
        held = [work for _, work in actor.queue]
        blamed = ""
        if len(held) > 1 and not certain:
            for work in held:
                work.alone = True
            job.waiting.extendleft(reversed(held))
        elif held:
            job.waiting.extendleft(reversed(held[1:]))  # they had no part in it
            blamed = job.died(held[0], why, self.settings.deaths)
        self._tell(f"an actor is replaced: {why}{blamed}")

    def _kill(self, actor: _Actor) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(actor.handle, no_restart=True)

    def _words(self, error: Exception, place: str) -> str:
        """Return how an actor ended, in a line."""
        place = place or "an actor"
        lines = str(error).strip().splitlines() or [""]
        if "creation task" in lines[0]:  # what it was to be made of could not be read there
            return lines[-1]
        text, kind = " ".join(lines), type(error).__name__
        if kind == "OutOfDiskError":
            return f"the disk of the node of {place} is full"
        if kind == "OutOfMemoryError" or "running low on memory" in text:
            return f"{place} was ended for want of memory"
        if "node" in text and ("node was dead" in text or "node died" in text or "node is dead" in text):
            return f"the node of {place} died"
        return f"{place} died"

    # --- the cluster -------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        address = self.settings.address or os.environ.get("RAY_ADDRESS") or "local"
        self._local = address == "local"
        given: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            asked = (self.settings.actors or 1) * self.settings.cpus_per_actor
            given |= {"num_cpus": max(os.cpu_count() or 1, int(-(-asked // 1))), "include_dashboard": False}
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():  # Ray would try for a minute
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as error:
                raise PoolError(f"no Ray cluster at '{address}': {error.strerror or error}") from error
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._ray.init(**given)
        except Exception as error:  # Ray raises a bare one where a node does not come up in time
            raise PoolError(f"no Ray cluster at '{address}': {' '.join(str(error).split())[:300]}") from error
        finally:
            for number, handler in before.items():  # Ray puts its own in place of ours
                with contextlib.suppress(ValueError):
                    signal.signal(number, handler)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say in our words what Ray raises where the cluster is gone."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise PoolError(f"the Ray cluster cannot be reached any more ({text}); {_GONE}") from error

    def _wanted(self, works: int) -> int:
        """Return how many actors there should be for so much work."""
        now = time.monotonic()
        if self._looked is None or now - self._looked > _LOOK:
            self._looked = now
            self._look(now)
        return min(works, self.settings.actors or max(1, self._room))

    def _look(self, now: float) -> None:
        """See how many actors the nodes that are alive have room for.

        Raises:
            PoolError: no node is alive, the cluster does not answer, or no node of our own cluster can have an actor.
        """
        nodes = [node["Resources"] for node in self._nodes() if node["Alive"]]
        if not nodes:
            self._room = 0
            if self._local or now - self._node_seen > _NO_NODE:
                raise PoolError(f"the Ray cluster has no living node any more; {_GONE}")
            return
        self._node_seen = now
        cpus, gpus = self.settings.cpus_per_actor, self.settings.gpus_per_actor
        if gpus is None:
            gpus = float(any("GPU" in has for has in nodes))
        self._gpus = gpus
        self._room = 0
        for has in nodes:
            limits = [has.get("CPU", 0) / cpus] if cpus else []
            limits += [has.get("GPU", 0) / gpus] if gpus else []
            self._room += int(min(limits, default=has.get("CPU", 1)))
        if self._room or not (cpus or gpus):
            return
        lacks = _lacks(nodes, cpus, gpus)
        if self._local:
            raise PoolError(lacks)
        if now - self._told >= _TOLD:
            self._told = now
            self._tell(f"waiting for a node that can have an actor: {lacks}")

    def _nodes(self) -> list[dict[str, Any]]:
        """Return the cluster's nodes; not in this thread, which Ctrl-C and the clock must reach.

        Raises:
            PoolError: the cluster does not answer.
        """
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(self._ray.nodes())
            except Exception as error:
                found.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_REACHED)
        if not found or isinstance(found[0], Exception):
            why = " ".join(str(found[0]).split())[:300] if found else f"no answer within {_REACHED:g} s"
            raise PoolError(f"the Ray cluster cannot be reached any more ({why}); {_GONE}")
        return list(found[0])

    def _asked(self) -> str:
        nodes = [node["Resources"] for node in self._nodes() if node["Alive"]]
        have = {name: sum(has.get(name, 0) for has in nodes) for name in ("CPU", "GPU")}
        return (
            f"one asks for {self.settings.cpus_per_actor:g} cores and {self._gpus:g} GPUs on one node, the cluster has "
            f"{have['CPU']:g} and {have['GPU']:g} in all"
        )


def _lacks(nodes: list[dict[str, float]], cpus: float, gpus: float) -> str:
    """Return what an actor asks for that no node has."""
    for setting, asked, name, word in (
        ("gpus_per_actor", gpus, "GPU", "GPU"),
        ("cpus_per_actor", cpus, "CPU", "core"),
    ):
        most = max(has.get(name, 0) for has in nodes)
        if asked > most:
            has = f"more than {most:g} {word}{'s' * (most != 1)}" if most else f"a {word}"
            return f"{setting}={asked:g}: no node of the cluster has {has}"
    return f"cpus_per_actor={cpus:g} and gpus_per_actor={gpus:g}: no node of the cluster has both"


class _Job(Generic[T, R]):
    """One map: what was read, what waits, what is finished and not given out.

    Of the items of one key that are held, the first owns it: its result is that of all.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Item[T]]],
        known: Callable[[Item[T]], R | None] | None,
        keep: Callable[[Item[T], R], None] | None,
        lost: list[Lost],
        *,
        ordered: bool = True,
    ) -> None:
        self._batches, self._known, self._keep, self._lost = iter(batches), known, keep, lost
        self._ordered = ordered
        self._read = 0
        self._exhausted = False
        self._places: dict[str, list[tuple[int, int]]] = {}
        self.slots: dict[int, _Slot[T, R]] = {}
        self.waiting: deque[_Work] = deque()

    @property
    def over(self) -> bool:
        return self._exhausted and not self.slots

    @property
    def done(self) -> int | None:
        """The number of the next batch that can be given out."""
        for number, slot in self.slots.items():  # in the order in which they were read
            if slot.error is not None or not slot.open:
                return number
            if self._ordered:
                return None
        return None

    def read(self, most: int) -> None:
        """Read ahead until so many batches are held."""
        while len(self.slots) < most and not self._exhausted:
            batch = next(self._batches, None)
            if batch is None:
                self._exhausted = True
                return
            number, self._read = self._read, self._read + 1
            results: list[R | Lost | None] = [self._known(item) if self._known else None for item in batch]
            self.slots[number] = _Slot(batch, results, sum(result is None for result in results))
            for place, item in enumerate(batch):
                if results[place] is None:
                    self._places.setdefault(item.key, []).append((number, place))
            # As a whole or not at all: what a model makes of an item may hang on what is beside it.
            if any(self._owns(number, place) for place in range(len(batch))):
                self.waiting.append(_Work(number, tuple(range(len(batch)))))

    def finished(self) -> Iterator[tuple[Item[T], R | Lost]]:
        """Give out the batches whose turn it is."""
        while (number := self.done) is not None:
            slot = self.slots.pop(number)
            if slot.error is not None:
                raise slot.error
            for item, result in zip(slot.items, slot.results, strict=True):
                assert result is not None
                yield item, result

    def died(self, work: _Work, why: str, most: int) -> str:
        """Note that an actor died of a work; return what is said about that."""
        work.deaths, work.alone = work.deaths + 1, True
        if work.deaths < most:
            self.waiting.appendleft(work)
            return ""
        owned = [place for place in work.places if self._owns(work.number, place)]
        if len(work.places) > 1:
            self.waiting.extendleft(_Work(work.number, (place,), alone=True) for place in reversed(owned))
            return f"; {plural(len(owned), 'item')} of which {plural(work.deaths, 'actor')} died are now tried one by one"
        item = self.slots[work.number].items[work.places[0]]
        lost = Lost(item.key, item.name, why, work.deaths)
        self._lost.append(lost)
        self.set(work.number, work.places[0], lost)
        return f"; {item.name!r} is left out"

    def _owns(self, number: int, place: int) -> bool:
        """Whether the result of a place is awaited, and no earlier one has its key."""
        held = self._places.get(self.slots[number].items[place].key)
        return held is not None and held[0] == (number, place)

    def set(self, number: int, place: int, result: R | Lost) -> None:
        """Take a result, which is that of all places with its key."""
        if not self._owns(number, place):
            return
        item = self.slots[number].items[place]
        for other, at in self._places.pop(item.key):
            self.slots[other].results[at] = result
            self.slots[other].open -= 1
        if self._keep is not None and not isinstance(result, Lost):
            self._keep(item, result)


def _environment(settings: PoolSettings) -> None:
    """Set what Ray reads from the environment when it is imported and when it starts, where nobody has set it."""
    known = sys.modules.get("ray")
    if known is not None and known.is_initialized():
        return  # the cluster is there: what is set now would not fit it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if settings.address is None and "RAY_ADDRESS" not in os.environ:
        # Only listen on the loopback interface.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
