"""Verification: are a run's numbers and tables what its raw records say? Everything is computed once more and compared.

    sparring report runs/processbench --verify

What is computed from what: evaluations from `cases.jsonl` and the files beside it (the function `recomputed` of each of
them), training and reinforcement learning from their logs, labels and labelled traces from the journal, the demo from its
own records and the runs within it. Of evaluations also what follows from the raw fields of a record (predictions, totals,
who was right), the list of the worst, and the tables, which are functions of the numbers.

Contract: nothing is written and no model is loaded. Numbers agree to a relative 1e-9, everything else exactly. A number
that the raw records do not hold (seconds, memory, what a reader skipped) is named as such and never counted as verified;
one of an evaluation with an interval is of cases, which they must hold: without them it differs. A run without raw
records is an error.

Not here: whether the raw records are true; they are what somebody who wants to believe a table can look at.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from sparring.errors import DataError, SparringError, plural
from sparring.files import to_json
from sparring.json_files import read_jsonl_objects
from sparring.runs import METRICS_FILE, Metric, read_metrics
from sparring.settings import parse_settings

if TYPE_CHECKING:
    from sparring.evaluation.outcome import Recomputed
    from sparring.labels.journal import Journal as LabelJournal
    from sparring.report.page import Run

TOLERANCE = 1e-9
MOST_SHOWN = 20
FAILED = 1
"""Exit status where something differs."""
ABSENT = "(absent)"


class Difference(NamedTuple):
    """A place in a file of the run, what stands there, and what the raw records give."""

    file: Path
    field: str
    stored: Any
    recomputed: Any

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.field}: stored {_short(self.stored)}, recomputed {_short(self.recomputed)}"
        )


@dataclass(slots=True)
class Verification:
    """What was compared.

    Attributes:
        differences: in the order of the files.
        numbers: how many metrics the raw records give.
        unverified: metrics that they do not hold.
        files: what else was compared.
    """

    differences: list[Difference] = field(default_factory=list)
    numbers: int = 0
    unverified: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def add(self, other: Verification) -> None:
        """Count what was compared in a run within this one."""
        self.differences += other.differences
        self.numbers += other.numbers
        self.unverified += other.unverified
        self.files += other.files


def report(run: Path, *, verify: bool = False, console: Console | None = None) -> None:
    """Make the page of a finished run again; or, to verify it, compute its numbers once more and say what differs.

    Raises:
        SparringError, DataError: no finished run, or one whose records cannot be read.
        SystemExit: something differs (status `FAILED`).
    """
    from sparring.report.page import write_report

    console = console or Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if not verify:
        say(f"report: {write_report(run)}")
        return
    found = verify_run(run)
    for one in found.differences[:MOST_SHOWN]:
        say(str(one))
    if len(found.differences) > MOST_SHOWN:
        say(f"… and {len(found.differences) - MOST_SHOWN} more")
    also = f"; also compared: {', '.join(dict.fromkeys(found.files))}" if found.files else ""
    say(
        f"{plural(found.numbers, 'number')} computed again from raw records, "
        f"{plural(len(found.differences), 'difference')}{also}"
    )
    if found.unverified:
        say(f"not in the raw records, so not verified: {', '.join(found.unverified)}")
    if found.differences:
        raise SystemExit(FAILED)


def verify_run(folder: Path) -> Verification:
    """Compute a run's numbers once more from its raw records, and compare.

    Raises:
        SparringError: no finished run, of a kind that has no raw records, or one of another version.
        DataError: a file does not hold what it should.
    """
    from sparring.report.page import DEMO, read_run

    run = read_run(folder)
    file = folder / METRICS_FILE
    stored = read_metrics(file)
    again = _recomputed(run)
    found = Verification()
    stem = f"{run.kind}." if run.kind not in ("", DEMO) else ""
    named = {stem + name: metric for name, metric in again.metrics.items()}
    if not named:
        raise SparringError(f"{folder}: nothing of this run's numbers is in its raw records")
    found.differences += compare_metrics(file, stored, named)
    found.numbers = len(named)
    absent = {name: metric for name, metric in stored.items() if name not in named}
    lost = {name: metric for name, metric in absent.items() if run.kind and metric.low is not None}
    found.differences += [
        Difference(file, f"metrics.{name}", metric.text(1, ".6g"), ABSENT) for name, metric in lost.items()
    ]
    found.unverified = [*(name for name in absent if name not in lost), *again.unknown]
    found.differences += _compare_files(folder, again, found.files)
    extra = {name: run.extra.get(name, ABSENT) for name in again.extra}
    found.differences += differing(file, extra, to_json(again.extra)[0], "extra")
    written_by = run.context["versions"]
    if isinstance(written_by, dict) and written_by.get("sparring") == version("sparring"):
        found.differences += _compare_page(run, found.files)
    if run.kind == DEMO:
        from sparring.demo import METHODS

        for method in METHODS:
            found.add(verify_run(folder / method))
    return found


def compare_metrics(
    file: Path, stored: Mapping[str, Metric], recomputed: Mapping[str, Metric]
) -> Iterator[Difference]:
    """Yield where metrics differ from those that stand in a file."""
    for name, metric in recomputed.items():
        if name not in stored:
            yield Difference(file, f"metrics.{name}", ABSENT, metric.text(1, ".6g"))
        else:
            plain = to_json(metric)[0]
            if not any(one.interval for one in stored.values()):
                del plain["interval"]  # an earlier version did not name it
            yield from differing(file, asdict(stored[name]), plain, f"metrics.{name}")


def differing(file: Path, stored: Any, recomputed: Any, place: str) -> Iterator[Difference]:
    """Yield where two JSON values differ; fields that only the stored one has are not compared."""
    if isinstance(recomputed, dict) and isinstance(stored, dict):
        for name, value in recomputed.items():
            yield from differing(file, stored.get(name, ABSENT), value, f"{place}.{name}")
    elif isinstance(recomputed, list) and isinstance(stored, list) and len(recomputed) == len(stored):
        for number, (one, other) in enumerate(zip(stored, recomputed, strict=True)):
            yield from differing(file, one, other, f"{place}[{number}]")
    elif not _same(stored, recomputed):
        yield Difference(file, place, stored, recomputed)


def _same(stored: Any, recomputed: Any) -> bool:
    if isinstance(stored, bool) or isinstance(recomputed, bool):
        return stored is recomputed
    if isinstance(stored, (int, float)) and isinstance(recomputed, (int, float)):
        return math.isclose(stored, recomputed, rel_tol=TOLERANCE, abs_tol=1e-12)
    return bool(stored == recomputed)


def _short(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


# --- files -----------------------------------------------------------------------------------------------------------


def _compare_files(folder: Path, again: Recomputed, files: list[str]) -> Iterator[Difference]:
    for name, records in again.records.items():
        file = folder / name
        files.append(name)
        stored = [record for _, record in read_jsonl_objects(file, loose=True)]
        if len(stored) != len(records):
            yield Difference(file, "number of records", len(stored), len(records))
            continue
        for line, (one, other) in enumerate(zip(stored, records, strict=True), start=1):
            yield from differing(file, one, to_json(other)[0], f"line {line}")
    for name, text in again.texts.items():
        files.append(name)
        yield from _compare_text(folder / name, text)


def _compare_page(run: Run, files: list[str]) -> Iterator[Difference]:
    """Yield where the page, with its tables, is not the one that the run's files give; training has none."""
    from sparring.report.page import REPORT_FILE, page_of

    page = page_of(run)
    if page is not None:
        files.append(REPORT_FILE)
        yield from _compare_text(run.folder / REPORT_FILE, page)


def _compare_text(file: Path, text: str) -> Iterator[Difference]:
    lines = text.splitlines()
    if not file.is_file():
        yield Difference(file, "the file", ABSENT, f"{plural(len(lines), 'line')}")
        return
    stored = file.read_text(encoding="utf-8").splitlines()
    for number, (one, other) in enumerate(zip_longest(stored, lines, fillvalue=ABSENT), start=1):
        if one != other:
            yield Difference(file, f"line {number}", one, other)
            return


# --- from raw records ------------------------------------------------------------------------------------------------


def _recomputed(run: Run) -> Recomputed:
    """Return what the raw records of a run give."""
    from sparring.evaluation.outcome import Recomputed
    from sparring.report.page import DEMO

    work: Callable[[Run], Any]
    if run.kind:
        work = import_module(
            "sparring." + (DEMO if run.kind == DEMO else f"evaluation.{run.kind}")
        ).recomputed
    else:
        stems = {name.partition(".")[0] for name in run.metrics}
        known = [logged for needed, logged in LOGGED.items() if needed in stems]
        if not known:
            raise SparringError(
                f"{run.folder / METRICS_FILE}: numbers of no kind of run that is known ({', '.join(sorted(stems))})"
            )
        work = known[0]
    try:
        found = work(run)
    except SparringError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        message = (
            f"the raw records are not what a run of this version leaves ({type(error).__name__}: {error})"
        )
        raise DataError(message, file=run.folder) from error
    return found if isinstance(found, Recomputed) else Recomputed(found)


def _training(run: Run) -> dict[str, Metric]:
    """Return what the log of `train aprm`, `prm`, `orm` or `value` gives."""
    records = _log(run.folder / "log.jsonl")
    seconds = sum(record["seconds"] for record in records)
    found = {"training.seconds": Metric(seconds, unit="s")}
    if records and "phase" in records[0]:
        game = [record for record in records if record["phase"] == "game"]
        found["training.updates"] = Metric(float(len(game)))
        tokens = sum(record["tokens_per_second"] * record["seconds"] for record in records)
        for name in ("fool_rate", "prm_accuracy_clean", "prm_accuracy_fresh"):
            tail = [record[name] for record in game[-20:] if record.get(name) is not None]
            if tail:
                found[f"training.last_20.{name}"] = Metric(sum(tail) / len(tail), n=len(tail))
    else:
        found["training.updates"] = Metric(float(records[-1]["step"]))
        tokens = sum(record["tokens"] for record in records)
    found["training.tokens_per_second"] = Metric(tokens / seconds if seconds else None, unit="tokens/s")
    return found


def _rl(run: Run) -> dict[str, Metric]:
    """Return what the logs of `train rl` give: its updates, and the evaluations at the start and in the end."""
    from sparring.training.rl_monitors import evaluation_metrics

    records, watched = _log(run.folder / "log.jsonl"), _log(run.folder / "watch.jsonl")
    seconds = sum(record["seconds"] for record in records)
    tokens = sum(record["tokens_per_second"] * record["seconds"] for record in records)
    found = {
        "rl.seconds": Metric(seconds or None, unit="s"),
        "rl.tokens_per_second": Metric(tokens / seconds if seconds else None, unit="tokens/s"),
        **evaluation_metrics(watched[0], "rl.start"),
        **evaluation_metrics(watched[-1], "rl.end"),
    }
    if records:
        found |= {
            "rl.updates": Metric(float(records[-1]["step"])),
            "rl.samples": Metric(float(records[-1]["samples"])),
        }
    return found


def _labels(run: Run) -> Recomputed:
    """Return what the journal of `label`, whose lines prove themselves, gives: numbers, and the labelled traces."""
    from sparring.evaluation.outcome import Recomputed
    from sparring.labels.again import labels_again
    from sparring.labels.command import LabelTally, label_metrics
    from sparring.labels.job import JOURNAL_FILE, TRACES_FILE
    from sparring.labels.settings import LabelSettings
    from sparring.traces.jsonl import read_traces

    traces = read_traces(run.folder / TRACES_FILE)
    settings = parse_settings(LabelSettings, run.settings, str(run.folder / METRICS_FILE))
    with _opened_journal(run.folder / JOURNAL_FILE) as (journal, job):
        again = labels_again(settings, journal, job, traces, ABSENT)
    tally = LabelTally()
    for trace in traces:
        tally.count(trace)
    metrics = label_metrics(tally, journal.solved, journal, greedy=settings.temperature == 0)
    extra: dict[str, Any] = {"doubts": journal.usage.doubts, "counts": dict(+journal.counts)}
    extra |= {"walks": dict(sorted(again.kinds.items()))} if again.kinds else {}
    return Recomputed(metrics, {TRACES_FILE: again.records}, extra=extra, unknown=again.unknown)


@contextmanager
def _opened_journal(file: Path) -> Iterator[tuple[LabelJournal, Mapping[str, Any]]]:
    """Give a copy of a finished job's journal, which is opened for writing, and the job; errors name the file itself."""
    from sparring.journals import CHANGED, DamagedLineError
    from sparring.labels.journal import Journal

    if not file.is_file():
        raise DataError("no such file", file=file)
    with tempfile.TemporaryDirectory() as draft:
        copy = Path(shutil.copy(file, draft))
        try:
            _, head = next(read_jsonl_objects(copy, loose=True), (0, {}))
            job = head.get("job", {})
            with closing(Journal(copy, job)) as journal:
                yield journal, job
        except DataError as error:
            if error.file != str(copy):
                raise
            changed = f"{CHANGED}: the run's labels cannot be verified by it"
            message = changed if isinstance(error, DamagedLineError) else error.message
            raise DataError(message, file=file, line=error.line, field=error.field) from error


LOGGED: dict[str, Callable[[Any], Recomputed | dict[str, Metric]]] = {
    "training": _training,
    "rl": _rl,
    "label": _labels,
}
"""What computes the numbers of a run that is no evaluation, by the first word of their names."""


def _log(file: Path) -> Sequence[dict[str, Any]]:
    return [record for _, record in read_jsonl_objects(file, loose=True)]
