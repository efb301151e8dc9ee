"""`sparring plan --simulate`: a job as queues, event by event: engines, uneven lengths, slow engines, failures, an oracle.

    reading ahead (bounded) ──► engines: each several tasks at once ──► oracle's processors ──► done, in order
                                   └── failures: what was at work begins again elsewhere

What a roofline cannot say: how long the last tasks keep everybody waiting, what bounded reading ahead costs when results
leave in order, how failures add up, and how much overlapping sampling with training saves.

Contract: a pure function of the settings and the seed. Engines share their time among their tasks: each gets one token
per step, and a step takes longer the more there are (`timing.step_seconds`). Lengths are log-normal, cut at a longest,
with the plan's mean after the cut. Of a long job the first tasks are simulated, and the rest goes on at the same rate.

Not here: networks, memory (`fitting.py`), and anything that changes with what the tasks say.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from sparring.errors import SettingsError
from sparring.planning.fitting import Fit, Job
from sparring.planning.timing import Stage, at_work, step_seconds
from sparring.settings_shared import seed_from

MOST_ENGINES, ROUNDS = 4, 10
"""Engines that are simulated, with their share of the tasks, and tasks for each of their places: the others go on at
their rate."""
IN_VAIN = 100
"""Failures per engine after which, with no task done between them, nothing more is expected."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that work off tasks.

    Attributes:
        engines: how many.
        slots: tasks that an engine works on at once.
        ahead: tasks that an engine is given beside those, to go on with.
        window: tasks between the oldest that is not done and the newest that was read; 0: no bound.
        step: seconds per unit of every task's length, by how many the engine works on.
        start: seconds until another engine stands in for one that failed.
        between_failures: mean seconds of an engine between failures; 0: none.
        slow_share, slow_factor: how many engines are slower, and by what.
        oracle_seconds, oracle_processors: of a verdict on every finished task, and on how many processors.
    """

    engines: int
    slots: int = 1
    ahead: int = 0
    window: int = 0
    step: Callable[[int], float] = lambda number: 1.0
    start: float = 0.0
    between_failures: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    oracle_seconds: float = 0.0
    oracle_processors: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went.

    Attributes:
        seconds: until the last task was done.
        busy: mean share of the engines' slots that were at work.
        failures: engines that failed.
        done: when each task was done, in the order in which they were.
    """

    seconds: float
    busy: float
    failures: int
    done: list[float]

    @property
    def rate(self) -> float:
        """Tasks per second between the first tenth and the last."""
        number = len(self.done)
        since, until = self.done[number // 10], self.done[number - 1 - number // 10]
        between = bisect_right(self.done, until) - bisect_right(self.done, since)
        return between / (until - since) if until > since else number / self.seconds


@dataclass(slots=True)
class _Engine:
    """An engine as it is now.

    Attributes:
        at: length that every task of it has done since the engine began, at time `since`.
        ends: tasks at work, by the length at which they end.
        waiting: tasks that it has and does not work on yet.
        version: of its next event; older ones in the heap do not count.
    """

    factor: float
    since: float
    at: float = 0.0
    ends: list[tuple[float, int]] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    version: int = 0


def simulate(lengths: Sequence[float], pool: Pool, rng: random.Random) -> Outcome:
    """Work off tasks of these lengths, in order, and return how it went.

    Raises:
        SettingsError: engines fail so often that the tasks are not done in a bounded number of events.
    """
    engines = [
        _Engine(pool.slow_factor if rng.random() < pool.slow_share else 1.0, 0.0) for _ in range(pool.engines)
    ]
    events: list[tuple[float, int, str, int, int]] = []  # time, order, what, engine, version
    order = failures = in_vain = oldest = 0
    ready: deque[int] = deque(range(len(lengths)))
    again: list[int] = []  # what failed engines had, first
    finished = [False] * len(lengths)
    done: list[float] = []
    processors = [0.0] * max(1, pool.oracle_processors)
    busy = now = 0.0

    def push(time: float, what: str, number: int, version: int) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (time, order, what, number, version))

    def advance(engine: _Engine, time: float) -> None:
        """Bring an engine's tasks to a time."""
        nonlocal busy
        if engine.ends and time > engine.since:
            engine.at += (time - engine.since) / (pool.step(len(engine.ends)) * engine.factor)
            busy += (time - engine.since) * len(engine.ends)
        engine.since = max(engine.since, time)

    def refill(time: float) -> None:
        """Give tasks to engines with room, the emptiest first, and say when each of them ends one next."""
        changed = set()
        while again or (ready and (not pool.window or ready[0] < oldest + pool.window)):
            number = min(range(len(engines)), key=lambda n: len(engines[n].ends) + len(engines[n].waiting))
            engine = engines[number]
            if len(engine.ends) + len(engine.waiting) >= pool.slots + pool.ahead:
                break
            engine.waiting.append(heapq.heappop(again) if again else ready.popleft())
            changed.add(number)
        for number in changed:
            settle(number, time)

    def settle(number: int, time: float) -> None:
        """Let an engine begin what it can, and note when it ends its next task."""
        engine = engines[number]
        if engine.since > time:  # it has not started yet
            engine.version += 1
            push(engine.since, "begin", number, engine.version)
            return
        advance(engine, time)
        while engine.waiting and len(engine.ends) < pool.slots:
            task = engine.waiting.popleft()
            heapq.heappush(engine.ends, (engine.at + lengths[task], task))
        engine.version += 1
        if engine.ends:
            left = max(0.0, engine.ends[0][0] - engine.at)
            push(time + left * pool.step(len(engine.ends)) * engine.factor, "end", number, engine.version)

    if pool.between_failures:
        for number in range(pool.engines):
            push(rng.expovariate(1 / pool.between_failures), "fail", number, 0)
    refill(0.0)
    while len(done) < len(lengths):
        now, _, what, number, version = heapq.heappop(events)
        engine = engines[number]
        if what == "fail":
            advance(engine, now)
            failures, in_vain = failures + 1, in_vain + 1
            if in_vain > IN_VAIN * len(engines) or failures > IN_VAIN * len(engines) + len(lengths):
                raise SettingsError(
                    f"failures outrun the work: {failures:,} of them for {len(done):,} of {len(lengths):,} tasks "
                    "(gpu_hours_between_failures, restart_minutes)"
                )
            again += [task for _, task in engine.ends] + list(engine.waiting)
            heapq.heapify(again)
            factor = pool.slow_factor if rng.random() < pool.slow_share else 1.0
            engines[number] = _Engine(factor, now + pool.start, version=engine.version + 1)
            push(now + rng.expovariate(1 / pool.between_failures), "fail", number, 0)
            refill(now)
        elif version == engine.version:
            if what == "end":
                advance(engine, now)
                _, task = heapq.heappop(engine.ends)
                finished[task], in_vain = True, 0
                while oldest < len(finished) and finished[oldest]:
                    oldest += 1
                place = min(range(len(processors)), key=processors.__getitem__)
                processors[place] = max(now, processors[place]) + pool.oracle_seconds
                done.append(processors[place])
            settle(number, now)
            refill(now)
    seconds = max(done, default=0.0)
    whole = seconds * pool.engines * pool.slots
    return Outcome(seconds, busy / whole if whole else 0.0, failures, sorted(done))


# --- a planned job -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Simulated:
    """A job's simulation.

    Attributes:
        busy: share of the devices' time that is work.
        notes: what was simulated, in words.
    """

    seconds: float
    busy: float
    failures: float
    notes: str


def simulate_job(job: Job, found: Fit, work: Sequence[Stage], run: int) -> Simulated:
    """Return one simulation of a planned job.

    Args:
        run: its number; randomness is a function of the seed and this.
    """
    rng = random.Random(seed_from(job.settings.seed, "simulation", run))
    if job.settings.job in ("label", "score"):
        return _worked_off(job, found, work, rng)
    return _in_updates(job, found, work, rng)


def lengths_of(number: int, mean: float, spread: float, most: float, rng: random.Random) -> list[float]:
    """Return log-normal lengths, cut at `most`, whose mean with the cut is `mean` (below `most`).

    Args:
        spread: standard deviation of their logarithm before the cut.
    """
    centre = _centre(mean, spread, most)
    return [min(most, rng.lognormvariate(centre, spread)) for _ in range(number)]


def _centre(mean: float, spread: float, most: float) -> float:
    """Return the mean logarithm that gives log-normal lengths, cut at `most`, this mean: E min(most, X) is bisected."""
    low = math.log(mean) - spread * spread / 2  # right without a cut, which only lowers the mean
    if spread == 0:
        return low
    high, below = math.log(most) + 8 * spread, NormalDist().cdf
    for _ in range(60):
        centre = (low + high) / 2
        end = (math.log(most) - centre) / spread
        kept = math.exp(centre + spread * spread / 2) * below(end - spread)
        low, high = (centre, high) if kept + most * below(-end) < mean else (low, centre)
    return low


def _engines(job: Job, found: Fit, slots: int, step: Callable[[int], float]) -> Pool:
    s = job.settings
    engines = min(MOST_ENGINES, job.count // found.split)
    return Pool(
        engines=engines,
        slots=slots,
        window=s.in_flight * engines * slots,
        step=step,
        start=s.restart_minutes * 60,
        between_failures=s.gpu_hours_between_failures * 3600 / found.split,
        slow_share=s.slow_share,
        slow_factor=s.slow_factor,
        # The engines that are simulated have their share of the oracle's processors.
        oracle_seconds=s.oracle_seconds * (job.count // found.split) / engines if s.job == "label" else 0.0,
        oracle_processors=s.oracle_processors,
    )


def _worked_off(job: Job, found: Fit, work: Sequence[Stage], rng: random.Random) -> Simulated:
    """Simulate a job whose tasks do not wait for each other: passes to score, completions to sample."""
    s = job.settings
    seconds = sum(stage.seconds for stage in work if stage.waits)
    engines = job.count // found.split
    if s.job == "score":
        number = math.ceil(s.traces / found.rows)
        each = seconds * at_work(engines, number) / number  # of one pass, on one engine
        pool = _engines(job, found, 1, lambda busy: each)
        mean, most, spread = 1.0, 2.0, s.length_spread / math.sqrt(found.rows)
    else:
        # A completion is a task; reading its prefix is spread over its tokens.
        decoded = next(stage for stage in work if stage.name == "rollouts")
        number = job.completions
        mean, most, spread = decoded.tokens / number, 2.0 * s.answer_tokens, s.length_spread
        more = seconds / decoded.seconds
        context = s.prompt_tokens + s.answer_tokens / 2
        times = {
            n: more * step_seconds(job, found, n, context, engine=True) for n in range(1, found.sequences + 1)
        }
        pool = _engines(job, found, found.sequences, times.__getitem__)
    share = math.ceil(number * pool.engines / engines)  # of the engines that are simulated
    simulated = min(share, ROUNDS * pool.engines * pool.slots)
    outcome = simulate(lengths_of(simulated, mean, spread, most, rng), pool, rng)
    whole = outcome.seconds + (share - simulated) / outcome.rate
    failures = whole * engines / pool.between_failures
    if share > simulated:  # in the rest each failure takes one engine away for a while
        whole += max(0.0, failures - outcome.failures) * pool.start / engines
    notes = f"{simulated:,} of {number:,} tasks on {pool.engines} of {engines} engines × {pool.slots} at once"
    return Simulated(whole, min(1.0, seconds / whole), failures, notes)


def _in_updates(job: Job, found: Fit, work: Sequence[Stage], rng: random.Random) -> Simulated:
    """Simulate a job of updates: sample, judge, train; with `staleness` the next ones are sampled meanwhile."""
    s = job.settings
    updates = (
        math.ceil(s.traces * s.epochs / s.batch_traces) if s.job in ("prm", "orm", "value") else s.updates
    )
    sampled = next((stage for stage in work if stage.name in ("rewrites", "answers")), None)
    judged = next((stage for stage in work if not stage.waits), None)
    trained = sum(stage.seconds for stage in work if stage.waits and stage is not sampled) / updates
    # All devices wait for the slowest.
    slow = any(rng.random() < s.slow_share for _ in range(math.ceil(at_work(job.count, job.texts))))
    trained *= s.slow_factor if slow else 1.0
    simulated = min(updates, 50)
    before = trains_until = busy = 0.0
    samples_done = 0.0
    for _ in range(simulated):
        sampling = 0.0
        if sampled is not None:
            groups = math.ceil(at_work(job.count // found.split, job.prompts))
            each = found.sequences
            mean = sampled.tokens / (updates * groups * each)
            step = sampled.seconds / updates / mean
            # A device samples its share and is done when the longest of them is; fewer left are not much faster.
            pool = Pool(
                engines=groups,
                slots=each,
                step=lambda number, step=step: step,  # type: ignore[misc]
                slow_share=s.slow_share,
                slow_factor=s.slow_factor,
                oracle_seconds=judged.seconds / (updates * groups * each) if judged is not None else 0.0,
                oracle_processors=s.oracle_processors,
            )
            lengths = lengths_of(groups * each, mean, s.length_spread, 2 * mean, rng)
            sampling = simulate(lengths, pool, rng).seconds
        # Sampling may begin when the samples before it are there and training is not more than `staleness` behind.
        begins = max(samples_done, trains_until if s.staleness == 0 else before)
        samples_done = begins + sampling
        before = trains_until
        trains_until = max(samples_done, trains_until) + trained
        busy += trained + (sampled.seconds / updates if sampled is not None else 0.0)
    seconds = trains_until * updates / simulated
    failures = seconds * job.count / 3600 / s.gpu_hours_between_failures
    if failures >= 1 and s.restart_minutes / 60 >= s.gpu_hours_between_failures / job.count:
        raise SettingsError(
            f"failures outrun the work: one in {s.gpu_hours_between_failures / job.count:.3g} h, each takes "
            f"{s.restart_minutes:g} min (gpu_hours_between_failures, restart_minutes)"
        )
    seconds += failures * s.restart_minutes * 60
    notes = f"{simulated:,} of {updates:,} updates, staleness {s.staleness}"
    return Simulated(seconds, min(1.0, busy * updates / simulated / seconds), failures, notes)
