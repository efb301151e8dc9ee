"""What `sparring label` does: load, label, write, show.

Contract: writes `traces.jsonl` (solutions with labels and estimates), `metrics.json` and `journal.jsonl` into the run
directory. Started again with the same settings it goes on where it was, or writes the same files again; with other
settings it refuses the directory. What was left out is counted and shown.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from sparring.errors import DataError
from sparring.labels.answers import AnswerChecker, Checker, WorldChecker
from sparring.labels.job import JOURNAL_FILE, REPEATED, TRACES_FILE, LabelJob, Subject
from sparring.labels.job import Progress as JobProgress
from sparring.labels.journal import Journal
from sparring.labels.posterior import interval
from sparring.labels.provers import load_engines, policy_identity
from sparring.labels.settings import LabelSettings, SolverSettings
from sparring.locks import writes
from sparring.models.prompts import prompt_digest
from sparring.oracles.panel import Panel
from sparring.rollouts.engine import Engine, room_note
from sparring.rollouts.local import LocalEngine
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.terminal import progress_bar
from sparring.traces.formats.common import ReadOptions
from sparring.traces.jsonl import write_traces
from sparring.traces.readers import read_problems_as, read_traces_as
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Judge
from sparring.worlds.world import require_words, world_problems

_WORLD_PROBLEMS = 100
_NOT_OF_THE_JOB = {"batch", "row_budget", "device", "data"}  # of the data, the content counts
_NOT_OF_THE_SERVER = {"concurrency", "timeout", "retries", "key_variable"}
_LINE_EVERY = 30.0  # seconds between lines of progress where there is no terminal


@writes("out")
def run_label(
    settings: LabelSettings, out: Path, console: Console, engines: tuple[Engine, Engine] | None = None
) -> list[Trace]:
    """Label solutions and write the run directory; return the labelled traces.

    Args:
        settings: of the job.
        out: run directory.
        console: for progress and the summary.
        engines: who writes solutions and who finishes prefixes, instead of those that the settings name.

    Raises:
        DataError: the data cannot be used.
        CheckpointError: a model cannot be loaded.
        SettingsError: the run directory belongs to another job.
        EngineError: an engine is out of order; start the command again to go on.
    """
    subjects, left_out = load_subjects(settings)
    checker = pick_checker(settings, (subject.problem for subject in subjects))
    cover, prover = engines or load_engines(settings)
    if settings.data is None:
        for engine in (cover, prover):
            if isinstance(engine, LocalEngine):
                require_words(settings.world, engine.tokenizer, engine.name)
    journal = Journal(out / JOURNAL_FILE, _job(settings, (cover, prover)))
    try:
        before = journal.rollouts
        if before:
            console.print(f"continuing: {before} rollouts are made already", highlight=False)
        if note := room_note(prover, settings.limits()):
            console.print(note, highlight=False)
        started = time.perf_counter()
        with _shown_progress(console) as progress, oracle_of(settings) as judge:
            job = LabelJob(
                settings,
                subjects,
                cover=cover,
                prover=prover,
                checker=checker,
                journal=journal,
                progress=progress,
                judge=judge,
            )
            traces = job.run()
        seconds = time.perf_counter() - started
    finally:
        journal.close()
    write_traces(out / TRACES_FILE, traces)
    counts = journal.counts + left_out
    metrics = _metrics(traces, job, journal)
    metrics |= {
        "label.seconds": Metric(seconds, unit="s"),
        "label.new_rollouts": Metric(journal.rollouts - before, unit="rollouts"),
    }
    for name in ("tokens_generated", "tokens_prefilled", "requests"):
        used = getattr(journal.usage, name)
        metrics[f"label.{name}"] = Metric(used, unit="tokens" if "tokens" in name else "requests")
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
    _summarise(console, traces, job, counts, journal.rollouts, out)
    show_doubts(console, journal.usage.doubts)
    return traces


def show_doubts(console: Console, doubts: Sequence[str]) -> None:
    """Print what makes an engine's completions doubtful."""
    for doubt in doubts:
        console.print(f"warning: {doubt}", style="bold yellow", highlight=False, markup=False, soft_wrap=True)


def load_subjects(settings: LabelSettings) -> tuple[list[Subject], Counter[str]]:
    """Return what is to be labelled, and what was left out and why.

    Raises:
        DataError: the data cannot be used, or nothing of it is left.
    """
    options = ReadOptions(keep_annotations=settings.keep_annotations)
    if settings.data is None or settings.solutions == "sample":
        problems, left_out = load_problems(settings, "label", options)
        return [Subject(problem) for problem in problems], left_out
    read = read_traces_as(settings.data, settings.data_format, options)
    left_out = Counter({"record skipped by the reader": len(read.skipped)})
    groups: dict[str, list[Trace]] = {}
    for trace in read.traces:
        groups.setdefault(trace.problem.id, []).append(trace)
    # Rollouts go by the first trace's problem; a problem that differs from it under the same id has no place.
    solutions: dict[str, tuple[Trace, ...]] = {}
    for name, group in groups.items():
        solutions[name] = tuple(trace for trace in group if trace.problem == group[0].problem)
        left_out["solution of another problem with the same id"] += len(group) - len(solutions[name])
    kept = _answered([group[0].problem for group in groups.values()], settings, left_out)
    return [Subject(problem, solutions[problem.id]) for problem in kept], +left_out


def load_problems(
    settings: SolverSettings, name: str, options: ReadOptions | None = None
) -> tuple[list[Problem], Counter[str]]:
    """Return the problems that are to be solved, and what was left out and why.

    Args:
        settings: which ones.
        name: begins the ids of a world's problems.
        options: what the format leaves open.

    Raises:
        DataError: the data cannot be used, or nothing of it is left.
    """
    if settings.data is None:
        count = settings.problems or _WORLD_PROBLEMS
        return world_problems(settings.world, count, seed=settings.seed, name=name), Counter()
    found = read_problems_as(settings.data, settings.data_format, options)
    left_out = Counter({"record skipped by the reader": len(found.skipped)})
    return _answered(found.problems, settings, left_out), +left_out


def _answered(problems: Sequence[Problem], settings: SolverSettings, left_out: Counter[str]) -> list[Problem]:
    """Return the first so many problems with a reference answer; count the others."""
    answered = [one for one in problems if one.answer is not None and one.answer.strip()]
    left_out["problem without a reference answer"] += len(problems) - len(answered)
    if not answered:
        raise DataError(
            "no problem has a reference answer, so no rollout could be judged", file=settings.data
        )
    return answered[: settings.problems]


def pick_checker(settings: SolverSettings, problems: Iterable[Problem]) -> Checker:
    """Return who judges answers.

    Raises:
        DataError: a world's checker is asked for, and a problem is not one of its.
    """
    if not settings.judged_by_world:
        return AnswerChecker(last_number=settings.last_number)
    for problem in problems:
        settings.world.judge(problem, (), "")  # raises for a problem of elsewhere
    return WorldChecker(settings.world)


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


def _job(settings: LabelSettings, engines: Sequence[Engine]) -> dict[str, Any]:
    """Return what must agree for a journal to be continued."""
    dumped = {name: value for name, value in dump_settings(settings).items() if name not in _NOT_OF_THE_JOB}
    if settings.mode != "oracle":
        del dumped["oracle"]
    dumped["server"] = {k: v for k, v in dumped["server"].items() if k not in _NOT_OF_THE_SERVER}
    content = b"" if settings.data is None else Path(settings.data).read_bytes()
    names = {settings.policy, *((settings.prover,) if settings.prover.strip() else ())}
    return {
        **dumped,
        "prompts": prompt_digest(*(getattr(engine, "layout", None) for engine in engines)),
        "data_digest": hashlib.sha256(content).hexdigest(),
        "models": sorted(
            policy_identity(name) for name in names if name != "base" and "best-of-" not in name
        ),
    }


def _metrics(traces: Sequence[Trace], job: LabelJob, journal: Journal) -> dict[str, Metric]:
    labels = [label for trace in traces for label in trace.labels or ()]
    known = [label for label in labels if label is not None]
    solutions = [one for group in journal.solutions.values() for one in group]
    right = sum(one.outcome is True for one in solutions)
    low, high = interval(right, len(solutions)) if solutions else (None, None)
    share = right / len(solutions) if solutions else None
    return {
        "label.problems": Metric(len(job.subjects), unit="problems"),
        "label.solutions": Metric(len(solutions), unit="solutions"),
        "label.solution_accuracy": Metric(share, low, high, len(solutions), "fraction"),
        "label.labelled_solutions": Metric(len(traces), unit="solutions"),
        "label.prefixes": Metric(len(journal.tallies), unit="prefixes"),
        "label.rollouts": Metric(journal.rollouts, unit="rollouts"),
        "label.mean_label": Metric(sum(known) / len(known) if known else None, n=len(known), unit="fraction"),
        "label.unknown_labels": Metric(len(labels) - len(known), unit="steps"),
        "label.rollouts_distinct": _distinct(journal, greedy=job.settings.temperature == 0),
        "label.rollouts_unfinished": Metric(journal.counts["rollout unfinished"], unit="rollouts"),
        "label.rollouts_empty": Metric(journal.counts["rollout empty"], unit="rollouts"),
        "label.rollouts_without_answer": Metric(journal.counts["rollout without an answer"], unit="rollouts"),
        "label.rollouts_unreadable": Metric(
            journal.counts["rollout with an unreadable answer"], unit="rollouts"
        ),
        "label.prefixes_refused": Metric(journal.counts["prefix refused"], unit="prefixes"),
    }


def _distinct(journal: Journal, *, greedy: bool) -> Metric:
    """Return the share of rollouts that say what no earlier one of the same prefix and round says."""
    if greedy or not journal.rollouts:
        return Metric(None, n=0, unit="fraction")
    repeated = journal.counts[REPEATED]
    return Metric(1 - repeated / journal.rollouts, n=journal.rollouts, unit="fraction")


@contextmanager
def _shown_progress(console: Console) -> Iterator[Callable[[JobProgress], None]]:
    """Give the function that shows a job's progress: a bar on a terminal, now and then a line elsewhere."""
    started = shown = time.monotonic()
    phase_started, first_done, phase = started, 0, ""
    with progress_bar(console, "{task.fields[rollouts]} rollouts") as bar:
        task = bar.add_task("starting", total=None, rollouts=0)

        def show(progress: JobProgress) -> None:
            nonlocal shown, phase, phase_started, first_done
            now = time.monotonic()
            if progress.phase != phase:
                phase, phase_started, first_done = progress.phase, now, progress.done
                bar.reset(task, total=progress.total, description=phase, rollouts=progress.rollouts)
            bar.update(task, completed=progress.done, rollouts=progress.rollouts)
            if not console.is_terminal and now - shown >= _LINE_EVERY:
                shown = now
                rate = (progress.done - first_done) / max(now - phase_started, 1e-9)
                left = (
                    f", about {(progress.total - progress.done) / rate / 60:.0f} min left" if rate > 0 else ""
                )
                console.print(
                    f"{phase}: {progress.done} of {progress.total}, {progress.rollouts} rollouts{left}",
                    highlight=False,
                )

        yield show


def _summarise(
    console: Console, traces: Sequence[Trace], job: LabelJob, counts: Counter[str], rollouts: int, out: Path
) -> None:
    steps = sum(label is not None for trace in traces for label in trace.labels or ())
    console.print(
        f"{len(traces)} solutions, {steps} labelled steps, {rollouts} rollouts: {out / TRACES_FILE}",
        highlight=False,
    )
    for kind, count in sorted(job.kinds.items()):
        console.print(f"  {kind}: {count}", highlight=False)
    for reason, count in sorted((+counts).items()):
        if reason == REPEATED:  # a policy that is sure of itself repeats itself
            continue
        console.print(f"  {reason}: {count}", style="yellow", highlight=False)
