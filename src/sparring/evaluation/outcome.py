"""The outcome of an evaluation: what every one of them writes and shows, in one way.

    metrics.json    the numbers, with intervals, settings and surroundings (`runs.write_metrics`)
    cases.jsonl     every case that was judged
    worst.jsonl     at most `MOST_WORST` cases where score and label, or choice and truth, are furthest apart, worst first
    report.html     the page made of these (`report/`); the terminal shows the same tables

Contract: `metrics.json` is written after all other files but the page, so where it is, they are. Text from data and models
is shown as text: markup in it has no effect, and control characters, which could steer the terminal, are replaced.

Not here: the numbers (one file per evaluation), which tables there are (`report/kinds.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from sparring.errors import DataError, plural
from sparring.evaluation.cases import Case
from sparring.files import atomic_write_jsonl, atomic_write_text, to_json
from sparring.json_files import read_json_object, read_jsonl_objects
from sparring.report.kinds import tables
from sparring.report.page import write_report
from sparring.runs import METRICS_FILE, Metric, write_metrics
from sparring.settings import Settings, dump_settings
from sparring.terminal import results_table
from sparring.traces.records import Problem, Trace
from sparring.traces.shown import plain, steps_table

CASES_FILE, WORST_FILE = "cases.jsonl", "worst.jsonl"
JOURNAL_FILE = "scores.partial.jsonl"
"""Where scores are kept until the outcome is written; a killed run goes on from it."""
MOST_WORST = 20
MOST_ROWS = 60
Record = Mapping[str, Any]
_SCORERS = ("scorer", "scorers")
"""Under ``extra``: who scored, where that was a server."""
_INTERVALS = {"bootstrap": "bootstrap", "Wilson": "Wilson (shares)", "t": "t: Student's (few cases)"}


def write_evaluation(
    out: Path,
    kind: str,
    settings: Settings,
    metrics: Mapping[str, Metric],
    *,
    cases: Iterable[Record],
    worst: Sequence[Record] | None,
    worst_of: int | None = None,
    rules: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    files: Mapping[str, str | Iterable[Any]] | None = None,
    notes: Iterable[str] = (),
    console: Console | None = None,
) -> dict[str, Metric]:
    """Write the run directory of an evaluation, show its tables, and return the metrics as they are named there.

    Args:
        kind: the evaluation, a name in `report.kinds.KINDS`; it is put before every metric's name.
        settings: of the command, with the seed.
        metrics: by name, without the kind.
        cases: records of everything that was judged.
        worst: records of the worst cases, worst first; those past `MOST_WORST` are left out. None: in another file.
        worst_of: how many cases they were taken from; by default the number of `worst`.
        rules: what was decided beside the settings, such as the threshold and its rule; written among the settings.
        extra: further content of `metrics.json`.
        files: further files by name: a text, or records of a JSONL file.
        notes: what a reader must know beside the numbers, such as what was left out; one line each.

    Raises:
        OutputError: a file cannot be written.
    """
    console = console or Console()
    named = {f"{kind}.{name}": metric for name, metric in metrics.items()}
    stored = dump_settings(settings) | dict(rules or {})
    contents = {
        CASES_FILE: cases,
        **({} if worst is None else {WORST_FILE: worst[:MOST_WORST]}),
        **(files or {}),
    }
    settled = {name: stored[name] for name in dump_settings(settings)}
    if differing := _differing(out, kind, settled, extra or {}):
        text = f"replacing the finished run in '{out}', which was of another {' and '.join(differing)}"
        console.print(plain(text), style="yellow", highlight=False, soft_wrap=True)
    for name, content in contents.items():
        if isinstance(content, str):
            atomic_write_text(out / name, content)
        else:
            atomic_write_jsonl(out / name, content)
    counted = {} if worst is None else {"worst_of": len(worst) if worst_of is None else worst_of}
    write_metrics(out, named, settings=stored, seed=stored["seed"], extra={**(extra or {}), **counted})
    (out / JOURNAL_FILE).unlink(missing_ok=True)
    show_tables(console, kind, metrics, stored)
    for note in notes:
        console.print(plain(note), style="yellow", highlight=False, soft_wrap=True)
    show_worst(console, worst or ())
    console.print(f"report: {write_report(out)}", highlight=False, markup=False, soft_wrap=True)
    return named


def _differing(out: Path, kind: str, settings: Record, extra: Record) -> list[str]:
    """Return in what the finished run that stands at `out` differs: evaluation, settings, scorers; empty without one."""
    try:
        old = read_json_object(out / METRICS_FILE, loose=True)
        if not all(name.startswith(f"{kind}.") for name in old["metrics"]):
            return ["evaluation"]
        before = {**old["settings"], **{name: old["extra"].get(name) for name in _SCORERS}}
    except (DataError, KeyError, TypeError, AttributeError):  # none, or a damaged one
        return []
    now, _ = to_json({**settings, **{name: extra.get(name) for name in _SCORERS}})
    return [name for name, value in now.items() if name in before and before[name] != value]


# --- once more, from the raw records ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What the raw records of a run give once more, to be compared with what stands in its files.

    Attributes:
        metrics: by name, without the kind; those that the raw records do not hold are absent.
        records: by file, what follows from the raw fields of its records, in order; a record may leave out fields.
        texts: files that are made of the numbers alone.
        extra: content of `metrics.json` under ``extra``.
        unknown: what else the raw records do not give, in words.
    """

    metrics: Mapping[str, Metric]
    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    unknown: Sequence[str] = ()


def raw_records(file: Path, *needed: str) -> list[dict[str, Any]]:
    """Return the raw records of a run.

    Raises:
        DataError: no such file, or a record lacks a field, as those that an earlier version wrote do.
    """
    found = []
    for line, record in read_jsonl_objects(file, loose=True):
        for name in needed:
            if name not in record:
                message = "is missing: an earlier version wrote this run, and left it out"
                raise DataError(message, file=file, line=line, field=name)
        found.append(record)
    return found


def show_tables(
    console: Console, kind: str, metrics: Mapping[str, Metric], settings: Mapping[str, Any]
) -> None:
    """Print an evaluation's tables, with the intervals that they hold and the threshold that they rest on."""
    kinds = {metric.interval for metric in metrics.values()}
    intervals = ", ".join(words for kind, words in _INTERVALS.items() if kind in kinds)
    caption = f"shares in percent [95 % interval{': ' + intervals if intervals else ''}]"
    if (rule := settings.get("threshold_rule")) is not None:
        caption = f"threshold {metrics['threshold'].text(1, '.4g')} ({rule}); {caption}"
    for title, headings, rows in tables(kind, metrics):
        table = results_table(title, caption, *headings)
        for row in rows[:MOST_ROWS]:
            table.add_row(*map(plain, row))
        console.print(table)
        if len(rows) > MOST_ROWS:
            console.print(f"{plural(len(rows) - MOST_ROWS, 'more row')} in metrics.json")


def markdown_tables(kind: str, metrics: Mapping[str, Metric]) -> str:
    """Return an evaluation's tables as Markdown; the metrics are named without the kind."""
    found = tables(kind, metrics)
    return "\n".join(f"### {title}\n\n{markdown([head, *rows])}" for title, head, rows in found)


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """Return rows, the first of which holds the headings, as a Markdown table; what would be markup is escaped."""
    head, *rest = [[_escaped(text) for text in row] for row in rows]
    lines = [head, ["---"] * len(head), *rest]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _escaped(text: str) -> str:
    for mark, written in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("$", "\\$")):
        text = text.replace(mark, written)
    return " ".join(text.split())


# --- the worst disagreements -----------------------------------------------------------------------------------------


Judged = tuple[Case, Trace | None]
"""A case with its texts, where they are known."""


def furthest(cases: Iterable[Judged]) -> list[Judged]:
    """Return the `MOST_WORST` cases whose score at some step is furthest from its label, worst first; only these are held.

    Ties keep the order of the data.
    """
    labelled = (one for one in cases if any(label is not None for label in one[0].labels))
    return heapq.nsmallest(MOST_WORST, labelled, key=lambda one: -_gap(one[0])[0])


def worst_disagreements(cases: Iterable[Judged], threshold: float) -> list[dict[str, Any]]:
    """Return the records of the `furthest` cases, each by the step whose score is furthest from its label.

    Args:
        cases: what is listed.
        threshold: of the scores; it does not decide what is listed, but what a page calls accepted.
    """
    records = []
    for case, trace in furthest(cases):
        gap, step = _gap(case)
        texts = {} if trace is None else {"problem": trace.problem.question, "steps": trace.steps}
        records.append(
            {
                "id": case.id,
                "gap": gap,
                "step": step,
                "score": case.scores[step],
                "label": case.labels[step],
                "threshold": threshold,
                **texts,
                "scores": case.scores,
                "labels": case.labels,
            }
        )
    return records


def _gap(case: Case) -> tuple[float, int]:
    """Return the largest distance of a score from its label, and the first step where it is."""
    pairs = enumerate(zip(case.scores, case.labels, strict=True))
    gap, step = max((abs(score - label), -step) for step, (score, label) in pairs if label is not None)
    return gap, -step


def candidate_record(
    steps: Sequence[str], scores: Sequence[float] | None, value: float, answer: str | None
) -> dict[str, Any]:
    """Return one of several solutions of a problem: its steps and scores where known, its total, its answer."""
    return {"answer": answer, "value": value, "steps": list(steps), "scores": scores}


def show_worst(console: Console, records: Sequence[Record]) -> None:
    """Name the first few of `worst_disagreements`, on a terminal with coloured steps; other records are not shown."""
    shown = [record for record in records[:3] if "label" in record and "step" in record]
    if shown:
        console.print(f"worst disagreements ({WORST_FILE}):", highlight=False)
    for record in shown:
        console.print(
            f"  {record['id']}: step {record['step'] + 1} scores {record['score']:.3f}, label {record['label']:g}",
            highlight=False,
            markup=False,
        )
        if console.is_terminal:
            trace = Trace(Problem(record["id"], record["problem"]), tuple(record["steps"]))
            console.print(steps_table(trace, record["scores"], record["threshold"]))
