"""The labelling job: solutions are written, their prefixes finished again and again, and counted.

Contract: everything finished is in the journal before the job goes on, so it can be killed at any moment and started
again to the same result (with an engine that is reproducible; with others, finished prefixes are kept all the same).
Which rollouts a prefix gets depends on the seed, its own text and its own counts, never on batches. A completion that
does not end, is empty, or whose answer cannot be read counts as wrong, and is counted as such. A prefix that the engine
refuses has no value; a job whose first prefixes are all refused is given up.

Not here: settings (`settings.py`), engines (`provers.py`), the terminal (`command.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.errors import DataError
from sparring.labels.allocation import Tally
from sparring.labels.answers import Checker, doubt
from sparring.labels.journal import (
    Journal,
    Key,
    Solution,
    prefix_digest,
    refused_entry,
    rollouts_entry,
    solutions_entry,
)
from sparring.labels.modes import BinarySearch, FirstPit, Mode, MonteCarlo, Walk
from sparring.labels.posterior import estimate
from sparring.labels.settings import LabelSettings
from sparring.rollouts.engine import (
    Completion,
    Engine,
    EngineAbout,
    EngineError,
    Prefix,
    repeats,
    split_completion,
)
from sparring.settings_shared import seed_from
from sparring.traces.jsonl import read_traces
from sparring.traces.records import Estimate, Problem, Trace, step_labels
from sparring.traces.verdict import Judge

TRACES_FILE, JOURNAL_FILE = "traces.jsonl", "journal.jsonl"
REPEATED = "rollout repeats another of its prefix"
_REFUSALS_BEFORE_GIVING_UP = 20


@dataclass(frozen=True, slots=True)
class Subject:
    """A problem and, where solutions are given, its solutions."""

    problem: Problem
    given: tuple[Trace, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: solutions labelled of how many (None while they are still being written), rollouts made."""

    phase: str
    done: int
    total: int
    rollouts: int


class LabelJob:
    """One job.

    Args:
        settings: of the job.
        total: how many subjects there are in all.
        cover: writes solutions; where all is done elsewhere (`run` with `fill`), what is known of who does.
        prover: finishes prefixes, likewise.
        checker: judges answers.
        journal: what is finished.
        progress: called after every call of an engine.
        judge: the oracle of the mode `oracle`.

    Attributes:
        kinds: how the walks ended, so far.
        left_out: numbers of present subjects of which nothing can be said.
    """

    def __init__(
        self,
        settings: LabelSettings,
        total: int,
        *,
        cover: Engine | EngineAbout,
        prover: Engine | EngineAbout,
        checker: Checker,
        journal: Journal,
        progress: Callable[[Progress], None] = lambda _: None,
        judge: Judge | None = None,
    ) -> None:
        self.settings, self.total, self.journal = settings, total, journal
        self._subjects: Sequence[Subject] = ()
        self._first = 0
        self._cover, self._prover, self._checker, self._progress = cover, prover, checker, progress
        self._judge = judge
        self._limits = settings.limits()
        self._refused: list[str] = []
        self._answered = False
        self._mode = mode_of(settings)
        self.kinds: Counter[str] = Counter()
        self.left_out: set[int] = set()

    def run(self, subjects: Sequence[Subject], fill: Callable[[LabelJob], None] | None = None) -> list[Trace]:
        """Do what is not done yet of the next subjects; return their labelled traces, in order.

        Solutions about which a search mode learnt nothing are only counted, in `kinds`.

        Args:
            subjects: that follow those before.
            fill: does in place of `fill` what is not done.

        Raises:
            EngineError: an engine is out of order; what is finished is in the journal.
        """
        self.begin(subjects)
        (fill or LabelJob.fill)(self)
        if self._judge is not None:
            return self._judged(self._judge)
        return [trace for item in self._items() for trace in self._labelled(*item)]

    def begin(self, subjects: Sequence[Subject]) -> None:
        """Go on to the next subjects, and read back what is finished of them."""
        self._first += len(self._subjects)
        self._subjects = subjects
        self.left_out.clear()
        self.journal.open(self._first, self._first + len(subjects))

    def fill(self) -> None:
        """Do what is not done yet of the present subjects."""
        self._write_solutions()
        if self.settings.mode != "oracle":
            self._measure()

    def unfinished(self) -> list[int]:
        """Return the numbers of the present subjects for which something is still to be done."""
        return [index for index in self._numbers() if not self._finished(index)]

    def _finished(self, index: int) -> bool:
        solutions = self.journal.solutions.get(index)
        if solutions is None or self.settings.mode == "oracle":
            return solutions is not None
        return not any(self._mode.needs(self._walk(index, solution)) for solution in solutions)

    def tell(self, phase: str, done: int) -> None:
        """Tell whoever shows progress."""
        self._progress(Progress(phase, done, self.total, self.journal.rollouts))

    def _numbers(self) -> list[int]:
        """The numbers of the present subjects, by which the journal knows them, without those that are left out."""
        every = range(self._first, self._first + len(self._subjects))
        return [number for number in every if number not in self.left_out]

    def subject(self, index: int) -> Subject:
        """Return a present subject by its number."""
        return self._subjects[index - self._first]

    # --- solutions -------------------------------------------------------------------------------------------

    def _write_solutions(self) -> None:
        waiting = [index for index in self._numbers() if index not in self.journal.solutions]
        given = self.settings.solutions == "given"
        per_call = max(1, self.settings.batch // (1 if given else self.settings.n_cov))
        for start in range(0, len(waiting), per_call):
            part = waiting[start : start + per_call]
            if given:
                self.journal.add(
                    [solutions_entry(index, *self._given_solutions(self.subject(index))) for index in part]
                )
            else:
                self._sample_solutions(part)
            self.tell("solutions", self.journal.solved)

    def _given_solutions(self, subject: Subject) -> tuple[list[Solution], Counter[str]]:
        known = [trace.outcome for trace in subject.given]
        unknown = [trace for trace in subject.given if trace.outcome is None]
        judged = iter(self._checker.judge([(subject.problem, trace.steps) for trace in unknown]))
        outcomes = [next(judged) if outcome is None else outcome for outcome in known]
        pairs = zip(subject.given, outcomes, strict=True)
        return [Solution(trace.steps, outcome) for trace, outcome in pairs], Counter()

    def _sample_solutions(self, indices: Sequence[int]) -> None:
        prefixes = [Prefix(self.subject(index).problem) for index in indices]
        seeds = [seed_from(self.settings.seed, "solutions", prefix.problem.id) for prefix in prefixes]
        before = self._cover.usage.copy()
        groups = self._sample(self._cover, prefixes, self.settings.n_cov, seeds)
        done = []
        for index, prefix, group in zip(indices, prefixes, groups, strict=True):
            counts: Counter[str] = Counter()
            solutions: list[Solution] = []
            if isinstance(group, str):
                done.append(refused_entry((index, prefix_digest(())), 0, group))
                group = []
            finished = []
            for completion in group:
                steps = split_completion(completion.text)
                if completion.finish == "length":
                    counts["solution unfinished"] += 1
                elif not steps:
                    counts["solution empty"] += 1
                else:
                    finished.append((steps, completion.whole))
            outcomes = self._checker.judge([(prefix.problem, steps) for steps, _ in finished])
            for (steps, whole), outcome in zip(finished, outcomes, strict=True):
                if why := doubt(self._checker, prefix.problem, steps, outcome):
                    counts[f"solution {why}"] += 1
                solutions.append(Solution(steps, bool(outcome), whole))
            done.append(solutions_entry(index, solutions, +counts))
        self.journal.add(done, self._cover.usage.since(before))

    # --- values ----------------------------------------------------------------------------------------------

    def _items(self) -> Iterator[tuple[int, int, Solution]]:
        for index in self._numbers():
            for number, solution in enumerate(self.journal.solutions[index]):
                yield index, number, solution

    def _measure(self) -> None:
        items = list(self._items())
        waiting = deque(items)
        active: deque[tuple[int, int, Solution]] = deque()
        done = 0
        while waiting or active:
            wanted: dict[Key, tuple[Prefix, int]] = {}
            still: deque[tuple[int, int, Solution]] = deque()
            while active or (waiting and len(wanted) < self.settings.batch):
                item = active.popleft() if active else waiting.popleft()
                index, _, solution = item
                needs = self._mode.needs(self._walk(index, solution))
                if not needs:
                    done += 1
                    continue
                still.append(item)
                for length, count in needs.items():
                    prefix = Prefix(self.subject(index).problem, solution.steps[:length])
                    wanted[index, prefix_digest(prefix.steps)] = prefix, count
            active = still
            self._measure_prefixes(wanted)
            self._progress(Progress("values", done, len(items), self.journal.rollouts))

    def _measure_prefixes(self, wanted: dict[Key, tuple[Prefix, int]]) -> None:
        """Make the wanted rollouts, in calls of at most `batch` prefixes that want the same number."""
        by_count: dict[int, list[Key]] = {}
        for key, (_, count) in wanted.items():
            by_count.setdefault(count, []).append(key)
        for count, keys in by_count.items():
            for start in range(0, len(keys), self.settings.batch):
                part = keys[start : start + self.settings.batch]
                prefixes = [wanted[key][0] for key in part]
                seeds = [self._seed(key, prefix) for key, prefix in zip(part, prefixes, strict=True)]
                before = self._prover.usage.copy()
                groups = self._sample(self._prover, prefixes, count, seeds)
                self.journal.add(self._counted(part, prefixes, groups), self._prover.usage.since(before))

    def _seed(self, key: Key, prefix: Prefix) -> int:
        return seed_from(self.settings.seed, "rollouts", prefix.problem.id, key[1], self._made(key))

    def _made(self, key: Key) -> int:
        known = self.journal.tallies.get(key)
        return 0 if known is None else known.count

    def _counted(
        self, keys: Sequence[Key], prefixes: Sequence[Prefix], groups: Sequence[list[Completion] | str]
    ) -> list[dict[str, Any]]:
        """Return what is written down of one call for rollouts."""
        odd: list[Counter[str]] = [Counter() for _ in keys]
        finished: list[tuple[int, tuple[str, ...]]] = []
        for place, (prefix, group) in enumerate(zip(prefixes, groups, strict=True)):
            if isinstance(group, str):
                continue
            odd[place][REPEATED] += repeats(group) if self._limits.temperature > 0 else 0
            for completion in group:
                steps = split_completion(completion.text)
                odd[place]["rollout empty"] += not steps
                if completion.finish == "length":
                    odd[place]["rollout unfinished"] += 1
                elif steps or prefix.steps:
                    finished.append((place, prefix.steps + steps))
        outcomes = self._checker.judge([(prefixes[place].problem, steps) for place, steps in finished])
        successes: Counter[int] = Counter()
        for (place, steps), outcome in zip(finished, outcomes, strict=True):
            if why := doubt(self._checker, prefixes[place].problem, steps, outcome):
                odd[place][f"rollout {why}"] += 1
            successes[place] += bool(outcome)
        return [
            refused_entry(key, len(prefix.steps), group)
            if isinstance(group, str)
            else rollouts_entry(
                key, len(prefix.steps), self._made(key), successes[place], len(group), +odd[place]
            )
            for place, (key, prefix, group) in enumerate(zip(keys, prefixes, groups, strict=True))
        ]

    def _sample(
        self, engine: Engine | EngineAbout, prefixes: Sequence[Prefix], n: int, seeds: Sequence[int]
    ) -> list[list[Completion] | str]:
        """Return each prefix's completions, or why the engine does not take it.

        Raises:
            EngineError: the engine is out of order, or takes nothing at all.
        """
        assert not isinstance(engine, EngineAbout)  # what a pool does is done elsewhere
        try:
            groups = engine.sample(prefixes, n, limits=self._limits, seeds=seeds, stop=self.settings.stop)
            self._answered = True
            return list(groups)
        except DataError as error:
            if len(prefixes) > 1:  # find out which one it was; the others are fine
                return [
                    self._sample(engine, [prefix], n, [seed])[0]
                    for prefix, seed in zip(prefixes, seeds, strict=True)
                ]
            self._refused.append(str(error))
            if not self._answered and len(self._refused) >= _REFUSALS_BEFORE_GIVING_UP:
                raise EngineError(
                    f"'{engine.name}' refused each of the first {len(self._refused)} prefixes: {error}"
                ) from error
            return [str(error)]

    # --- results ---------------------------------------------------------------------------------------------

    def _walk(self, index: int, solution: Solution) -> Walk:
        tallies = {}
        for length in range(len(solution.steps) + 1):
            known = self.journal.tallies.get((index, prefix_digest(solution.steps[:length])))
            if known is not None:
                tallies[length] = known
        return Walk(len(solution.steps), solution.outcome, tallies)

    def _judged(self, judge: Judge) -> list[Trace]:
        """Return the solutions with an oracle's labels: what a solver wrote, judged step by step, without a rollout.

        A PRM trained on the policy's own wrong steps is the strongest supervised baseline where an exact oracle exists.
        """
        items = list(self._items())
        questions = [
            (self.subject(index).problem, solution.steps[:place], step)
            for index, _, solution in items
            for place, step in enumerate(solution.steps)
        ]
        verdicts = iter(judge(questions))
        found = []
        for index, number, solution in items:
            labels = step_labels([next(verdicts).truth for _ in solution.steps])
            kind = "wrong step" if 0.0 in labels else "undecided step" if None in labels else "all correct"
            self.kinds[kind] += 1
            trace = self._trace(index, number, solution, kind)
            found.append(replace(trace, labels=labels, outcome=solution.outcome))
        return found

    def _trace(self, index: int, number: int, solution: Solution, kind: str) -> Trace:
        subject = self.subject(index)
        fresh = Trace(subject.problem, solution.steps, source=self._cover.name)
        trace = subject.given[number] if subject.given else fresh
        written = {} if solution.whole is None else {"written": solution.whole}
        return replace(trace, meta={**trace.meta, "walk": kind, **written})

    def _labelled(self, index: int, number: int, solution: Solution) -> Iterator[Trace]:
        findings = self._mode.findings(self._walk(index, solution))
        self.kinds[findings.kind] += 1
        if all(label is None for label in findings.labels) and self.settings.mode != "montecarlo":
            return  # nothing was learnt about it; it is counted by its kind
        trace = self._trace(index, number, solution, findings.kind)
        meta = dict(trace.meta)
        if findings.root is not None:
            meta |= {"root_value": findings.root.value, "root_count": findings.root.count}
        yield replace(
            trace,
            labels=findings.labels,
            estimates=findings.estimates,
            outcome=solution.outcome,
            meta=meta,
        )


def mode_of(settings: LabelSettings) -> Mode:
    """Return what the settings want to be found out by rollouts; an oracle finds out by itself."""
    allocation = settings.allocation()

    def estimator(tally: Tally) -> Estimate:
        mean = settings.label == "posterior_mean"
        return estimate(tally.successes, tally.count, k=settings.best_of, mean=mean)

    def labeller(found: Estimate) -> float:
        return float(found.value > settings.threshold) if settings.label == "hard" else found.value

    if settings.mode == "binary_search":
        return BinarySearch(allocation, estimator)
    if settings.mode == "first_pit":
        return FirstPit(allocation, settings.pit_samples, settings.pit_from_value, estimator, labeller)
    return MonteCarlo(allocation, estimator, labeller)


@dataclass(frozen=True, slots=True)
class LabelledValues:
    """The measured values along one solution.

    Attributes:
        trace: the labelled solution.
        values: shape (steps + 1,): of the bare question, then after each step; NaN where not measured.
        counts: shape (steps + 1,): rollouts behind each value; 0 where the value is exact or missing.
    """

    trace: Trace
    values: NDArray[np.float64]
    counts: NDArray[np.int64]


def labelled_values(run: str | Path) -> list[LabelledValues]:
    """Return the values of every solution of a finished run: its directory, or its `traces.jsonl`.

    Raises:
        DataError: there is no such file, or it holds traces without estimates.
    """
    path = Path(run)
    path = path / TRACES_FILE if path.is_dir() else path
    found = []
    for line, trace in enumerate(read_traces(path), start=1):
        if trace.estimates is None:
            raise DataError("the trace has no estimates", file=path, line=line, field="estimates")
        root = trace.meta.get("root_value")
        values = [root, *(None if one is None else one.value for one in trace.estimates)]
        counts = [
            trace.meta.get("root_count"),
            *(None if one is None else one.count for one in trace.estimates),
        ]
        found.append(
            LabelledValues(
                trace,
                np.array([np.nan if value is None else value for value in values], dtype=np.float64),
                np.array([count or 0 for count in counts], dtype=np.int64),
            )
        )
    return found
