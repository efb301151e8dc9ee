"""What `sparring eval prmbench` does: read the classes, score, measure, write, show."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sparring.errors import DataError
from sparring.evaluation.prmbench import GROUPS, MEASURES, OVERALL, Case, evaluate
from sparring.evaluation.processbench import Threshold
from sparring.evaluation.scored import Scored, ScoredSettings, scored
from sparring.evaluation.scoring import StepScorer
from sparring.evaluation.tables import plain
from sparring.evaluation.worst import WORST_FILE, show_worst, worst_disagreements
from sparring.files import atomic_write_jsonl
from sparring.locks import writes
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.terminal import interval_caption, percent, results_table
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Trace

_COLUMNS = ("prm_score", "f1", "negative_f1", "accuracy_first_error", "step_auc")


class PrmbenchSettings(ScoredSettings):
    """Settings of `sparring eval prmbench`; `data` may also be the folder of the classes' files."""


@writes("out")
def evaluate_prmbench(
    settings: PrmbenchSettings, out: Path, *, scorer: StepScorer | None = None, console: Console | None = None
) -> dict[str, Metric]:
    """Measure a PRM, or scores, on PRMBench; write `metrics.json`, `cases.jsonl`, `worst.jsonl` and `report.html`.

    A score file's ids are PRMBench's own: ``<class>_<idx>``.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data or model cannot be used.
    """
    console = console or Console()
    traces, left_out, total = read_prmbench(settings.data)
    found = scored(list(traces.items()), settings, out / "scores.partial.jsonl", scorer)
    cases = [
        Case(
            identity,
            str(trace.meta["classification"]),
            str(trace.meta["idx"]),
            tuple(label == 1.0 for label in trace.labels or ()),
            found.rows[identity],
        )
        for identity, trace in traces.items()
        if identity in found.rows
    ]
    measured = evaluate(cases, found.threshold.value, resamples=settings.resamples, seed=settings.seed)
    metrics = {f"prmbench.{name}": metric for name, metric in measured.items()}
    counts = {
        "threshold": found.threshold.value, "records": total, "cases": len(cases), "left_out": sum(left_out.values()),
        "missing": len(found.missing), "unused_scores": found.unused,
    }  # fmt: skip
    metrics |= {f"prmbench.{name}": Metric(value) for name, value in counts.items()}
    worst = worst_disagreements(
        ((case.id, traces[case.id], case.scores, [float(right) for right in case.right]) for case in cases),
        found.threshold.value,
    )
    _write_cases(out, cases, found)
    atomic_write_jsonl(out / WORST_FILE, worst)
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings) | {"threshold_rule": found.threshold.rule},
        seed=settings.seed,
        extra={"left_out": dict(left_out), "missing_ids": found.missing, "worst_of": len(cases)},
    )
    (out / "scores.partial.jsonl").unlink(missing_ok=True)
    console.print(_table(measured, cases, found.threshold))
    for reason, count in left_out.items():
        console.print(f"left out: {count} × {plain(reason)}", style="yellow", highlight=False)
    show_worst(console, worst, found.threshold.value)
    show_evaluation_report(out, console)
    return metrics


def read_prmbench(data: list[Path]) -> tuple[dict[str, Trace], Counter[str], int]:
    """Return the modified solutions by id, why records were left out, and how many records there were.

    Raises:
        DataError: a file cannot be read, or is not PRMBench's.
    """
    files = [file for path in data for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    traces: dict[str, Trace] = {}
    left_out: Counter[str] = Counter()
    for file in files:
        result = read_traces_as(file, "prmbench")
        left_out.update(skipped.reason for skipped in result.skipped)
        for trace in result.traces:
            if not {"classification", "idx"} <= trace.meta.keys():
                raise DataError("expected PRMBench records with 'classification' and 'idx'", file=file)
            identity = f"{trace.meta['classification']}_{trace.meta['idx']}"
            if identity in traces:
                left_out["the same class and idx stand twice"] += 1
            else:
                traces[identity] = trace
    if not traces:
        raise DataError(f"no PRMBench record in {', '.join(map(str, data))}")
    return traces, left_out, len(traces) + sum(left_out.values())


def _write_cases(out: Path, cases: list[Case], found: Scored) -> None:
    atomic_write_jsonl(
        out / "cases.jsonl",
        (
            {
                "id": case.id,
                "class": case.error_class,
                "right": case.right,
                "accepted": [score >= found.threshold.value for score in case.scores],
                "scores": case.scores,
            }
            for case in cases
        ),
    )


def _table(metrics: dict[str, Metric], cases: list[Case], threshold: Threshold) -> Table:
    accept_all = metrics[f"{OVERALL}.prm_score_accept_all"].text(100)
    table = results_table(
        f"PRMBench, threshold {threshold.value:.4g} ({threshold.rule})",
        f"{interval_caption(metrics.values(), over='problems')}; accepting every step has PRMScore {accept_all}",
        "class", "n", *(column.replace("_", " ") for column in _COLUMNS),
    )  # fmt: skip
    counts = Counter(case.error_class for case in cases)
    for name in (*counts, *(group for group in GROUPS if f"{group}.prm_score" in metrics), OVERALL):
        cells = [metrics.get(f"{name}.{column}") for column in _COLUMNS]
        table.add_row(
            plain(name.replace("_", " ")),
            str(counts.get(name, "")),
            *(percent(cell) for cell in cells),
        )
    return table


__all__ = ["MEASURES", "PrmbenchSettings", "evaluate_prmbench", "read_prmbench"]
