"""What `sparring label` does: load, label, write, show.

Contract: writes `traces.jsonl` (solutions with labels and estimates), `metrics.json` and `journal.jsonl` into the run
directory. Started again with the same settings it goes on where it was, or writes the same files again; with other
settings it refuses the directory. What was left out is counted and shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sparring.errors import DataError, about, plural
from sparring.fingerprints import files_digest
from sparring.labels.answers import pick_checker, refuse_of_elsewhere
from sparring.labels.job import JOURNAL_FILE, REPEATED, TRACES_FILE, LabelJob
from sparring.labels.job import Progress as JobProgress
from sparring.labels.journal import Journal
from sparring.labels.pooled import LabelPool, label_pool
from sparring.labels.posterior import interval
from sparring.labels.provers import load_engines, policy_identity
from sparring.labels.settings import LabelSettings, SolverSettings
from sparring.labels.subjects import Subjects, has_answer, made_problems, no_answer
from sparring.locks import writes
from sparring.models.prompts import prompt_digest
from sparring.oracles.panel import Panel
from sparring.pool import LostError, PoolSettings
from sparring.rollouts.engine import Engine, EngineAbout, room_note
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.streams import windows
from sparring.terminal import ProgressBar
from sparring.traces.jsonl import read_traces, write_traces
from sparring.traces.readers import read_problems_as
from sparring.traces.records import Problem, Trace
from sparring.traces.sources import data_digest
from sparring.traces.verdict import Judge

WINDOW = 1024
"""Problems that are worked on at once, with their solutions and rollouts."""
_NOT_OF_THE_JOB = {"batch", "row_budget", "device", "data"}  # of the data, the content counts
_NOT_OF_THE_SERVER = {"concurrency", "timeout", "retries", "key_variable"}


def run_label(
    settings: LabelSettings, out: Path, console: Console, engines: tuple[Engine, Engine] | None = None
) -> list[Trace]:
    """Label solutions and write the run directory (`label_files`); return the labelled traces."""
    label_files(settings, out, console, engines)
    return read_traces(out / TRACES_FILE)


@writes("out")
def label_files(
    settings: LabelSettings,
    out: Path,
    console: Console,
    engines: tuple[Engine, Engine] | None = None,
    pool: PoolSettings | None = None,
) -> None:
    """Label solutions and write the run directory, however many there are: `WINDOW` problems are held at a time.

    Other `engines` (who writes solutions, who finishes prefixes) may take the place of those that the settings name, or a
    `pool` of actors.

    Raises:
        LostError: actors of the pool died of some problems; the traces of all others are written.
        DataError: the data cannot be used, or every solution was left out (what was counted is written).
        CheckpointError: a model cannot be loaded.
        SettingsError: the run directory belongs to another job.
        EngineError: an engine is out of order; start the command again to go on.
    """
    checker = pick_checker(settings)
    subjects = Subjects(settings, see=refuse_of_elsewhere(settings))
    tally = LabelTally()
    tell = partial(console.print, highlight=False, markup=False)
    with ExitStack() as stack:
        stack.enter_context(about(settings.data))
        pooled = None
        cover: Engine | EngineAbout
        prover: Engine | EngineAbout
        if pool is not None and engines is None:
            pooled = LabelPool(stack.enter_context(label_pool(settings, pool, tell)))
            cover, prover = pooled.engines
        else:
            cover, prover = engines or load_engines(settings)
        journal = Journal(out / JOURNAL_FILE, _job(settings, (cover, prover)))
        stack.callback(journal.close)
        before = journal.rollouts
        if before:
            console.print(f"continuing: {plural(before, 'rollout')} made already", highlight=False)
        if note := room_note(prover, settings.limits()):
            console.print(note, highlight=False)
        started = time.perf_counter()
        with _shown_progress(console) as progress, oracle_of(settings) as judge:
            job = LabelJob(
                settings,
                subjects.total,
                cover=cover,
                prover=prover,
                checker=checker,
                journal=journal,
                progress=progress,
                judge=judge,
            )
            fill = None if pooled is None else pooled.fill
            labelled = (trace for window in windows(subjects, WINDOW) for trace in job.run(window, fill))
            write_traces(out / TRACES_FILE, map(tally.count, labelled))
        seconds = time.perf_counter() - started
        if pooled is not None and pooled.lost:
            advice = (
                f"{out / TRACES_FILE} has the solutions of all others; the same command tries these again"
            )
            raise LostError(pooled.lost, advice)
    counts = journal.counts + subjects.left_out
    metrics = label_metrics(tally, subjects.total, journal, greedy=settings.temperature == 0)
    metrics |= {
        "label.seconds": Metric(seconds, unit="s"),
        "label.new_rollouts": Metric(journal.rollouts - before, unit="rollouts"),
    }
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings),
        seed=settings.seed,
        extra={
            "counts": dict(sorted(counts.items())),
            "walks": dict(sorted(job.kinds.items())),
            "reproducible": cover.reproducible and prover.reproducible,
            "doubts": journal.usage.doubts,
        },
    )
    _summarise(console, tally, job, counts, journal.rollouts, out)
    show_doubts(console, journal.usage.doubts)
    if not tally.traces:
        raise DataError(
            f"no solution is labelled: all were left out, for the reasons above; {out / TRACES_FILE} is empty",
            file=settings.data,
        )


@dataclass
class LabelTally:
    """What metrics say of all labelled traces."""

    traces: int = 0
    known: int = 0
    unknown: int = 0
    total: float = 0.0

    def count(self, trace: Trace) -> Trace:
        """Count a trace, and give it back."""
        self.traces += 1
        for label in trace.labels or ():
            if label is None:
                self.unknown += 1
            else:
                self.known += 1
                self.total += label
        return trace


def show_doubts(console: Console, doubts: Sequence[str]) -> None:
    """Print what makes an engine's completions doubtful."""
    for doubt in doubts:
        console.print(f"warning: {doubt}", style="bold yellow", highlight=False, markup=False, soft_wrap=True)


def load_problems(settings: SolverSettings, name: str) -> tuple[list[Problem], Counter[str]]:
    """Return the problems that are to be solved, and what was left out and why; ids of a world's begin with `name`.

    Raises:
        DataError: the data cannot be used, or nothing of it is left.
    """
    if settings.data is None:
        return list(made_problems(settings, name)), Counter()
    found = read_problems_as(settings.data, settings.data_format)
    left_out = Counter({"record skipped by the reader": len(found.skipped)})
    answered = [one for one in found.problems if has_answer(one)]
    left_out["problem without a reference answer"] += len(found.problems) - len(answered)
    if not answered:
        raise no_answer(settings)
    return answered[: settings.problems], +left_out


@contextmanager
def oracle_of(settings: LabelSettings) -> Iterator[Judge | None]:
    """Give the oracle of the mode `oracle`: the world's where that judges answers, else the panel; None in other modes."""
    if settings.mode != "oracle":
        yield None
    elif settings.judged_by_world:
        world = settings.world
        yield lambda steps: [world.judge(*step) for step in steps]
    else:
        with Panel(settings.oracle) as panel:
            yield panel.judge_many


def _job(settings: LabelSettings, engines: Sequence[Engine | EngineAbout]) -> dict[str, Any]:
    """Return what must agree for a journal to be continued."""
    dumped = {name: value for name, value in dump_settings(settings).items() if name not in _NOT_OF_THE_JOB}
    if settings.mode != "oracle":
        del dumped["oracle"]
    dumped["server"] = {k: v for k, v in dumped["server"].items() if k not in _NOT_OF_THE_SERVER}
    names = {settings.policy, *((settings.prover,) if settings.prover.strip() else ())}
    return {
        **dumped,
        "prompts": prompt_digest(*(getattr(engine, "layout", None) for engine in engines)),
        "data_digest": files_digest(()) if settings.data is None else data_digest(settings.data),
        "models": sorted(
            policy_identity(name) for name in names if name != "base" and "best-of-" not in name
        ),
    }


def label_metrics(tally: LabelTally, total: int, journal: Journal, *, greedy: bool) -> dict[str, Metric]:
    """Return a job's numbers, but for those that a journal does not hold: seconds, and what a process added.

    `tally` is of all labelled traces, `total` counts problems; `greedy`: all rollouts of a prefix are the same one.
    """
    low, high = interval(journal.right, journal.written) if journal.written else (None, None)
    share = journal.right / journal.written if journal.written else None
    counts, usage = journal.counts, journal.usage
    return {
        "label.problems": Metric(total, unit="problems"),
        "label.solutions": Metric(journal.written, unit="solutions"),
        "label.solution_accuracy": Metric(share, low, high, journal.written, "fraction"),
        "label.labelled_solutions": Metric(tally.traces, unit="solutions"),
        "label.prefixes": Metric(journal.prefixes, unit="prefixes"),
        "label.rollouts": Metric(journal.rollouts, unit="rollouts"),
        "label.mean_label": Metric(
            tally.total / tally.known if tally.known else None, n=tally.known, unit="fraction"
        ),
        "label.unknown_labels": Metric(tally.unknown, unit="steps"),
        "label.rollouts_distinct": _distinct(journal, greedy=greedy),
        "label.rollouts_unfinished": Metric(counts["rollout unfinished"], unit="rollouts"),
        "label.rollouts_empty": Metric(counts["rollout empty"], unit="rollouts"),
        "label.rollouts_without_answer": Metric(counts["rollout without an answer"], unit="rollouts"),
        "label.rollouts_unreadable": Metric(counts["rollout with an unreadable answer"], unit="rollouts"),
        "label.prefixes_refused": Metric(counts["prefix refused"], unit="prefixes"),
        "label.tokens_generated": Metric(usage.tokens_generated, unit="tokens"),
        "label.tokens_prefilled": Metric(usage.tokens_prefilled, unit="tokens"),
        "label.requests": Metric(usage.requests, unit="requests"),
    }


def _distinct(journal: Journal, *, greedy: bool) -> Metric:
    """Return the share of rollouts that say what no earlier one of the same prefix and round says."""
    if greedy or not journal.rollouts:
        return Metric(None, n=0, unit="fraction")
    repeated = journal.counts[REPEATED]
    return Metric(1 - repeated / journal.rollouts, n=journal.rollouts, unit="fraction")


@contextmanager
def _shown_progress(console: Console) -> Iterator[Callable[[JobProgress], None]]:
    """Give the function that shows a job's progress."""
    phase = ""
    with ProgressBar(console, "{task.fields[rollouts]} rollouts") as bar:
        task = bar.add_task("starting", total=None, rollouts=0)

        def show(progress: JobProgress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                bar.reset(task, total=progress.total, description=phase, rollouts=progress.rollouts)
            bar.update(task, completed=progress.done, rollouts=progress.rollouts)

        yield show


def _summarise(
    console: Console, tally: LabelTally, job: LabelJob, counts: Counter[str], rollouts: int, out: Path
) -> None:
    console.print(
        f"{plural(tally.traces, 'solution')}, {plural(tally.known, 'labelled step')}, "
        f"{plural(rollouts, 'rollout')}: {out / TRACES_FILE}",
        highlight=False,
    )
    for kind, count in sorted(job.kinds.items()):
        console.print(f"  {kind}: {count}", highlight=False)
    if tally.unknown and not tally.known:
        show_doubts(
            console, [f"no step is labelled: none of the {plural(tally.unknown, 'step')} could be judged"]
        )
    for reason, count in sorted((+counts).items()):
        if reason == REPEATED:  # a policy that is sure of itself repeats itself
            continue
        console.print(f"  {reason}: {count}", style="yellow", highlight=False)
