"""Paired comparison of two PRMs on the same labelled traces: is A better than B, or is it luck?

Contract: both are measured on exactly the same cases and on the same bootstrap resamples, so what the cases have in common
cancels. The differences of F1 and of the AUCs get intervals that way; the share of cases judged right also gets a p-value
(sign flips over problems).

Not here: the measures (`processbench.py`), reading scores (`score_files.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table

from sparring.errors import DataError
from sparring.evaluation.commands import read_subsets
from sparring.evaluation.processbench import (
    AVERAGES,
    MEASURES,
    Case,
    Group,
    Threshold,
    best_threshold,
    by_subset,
    chosen_threshold,
    first_error_below,
    match_scores,
    measured_draws,
)
from sparring.evaluation.score_files import read_scores
from sparring.evaluation.tables import HEADINGS, plain
from sparring.evaluation.worst import MOST_WORST, WORST_FILE
from sparring.files import atomic_write_jsonl
from sparring.locks import writes
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.settings import Settings, dump_settings
from sparring.statistics import RESAMPLES, paired_difference
from sparring.terminal import interval_caption, percent, results_table


class CompareSettings(Settings):
    """Settings of `sparring eval compare`."""

    data: list[Path] = Field(min_length=1)
    """Files of traces with a labelled first error; each is a subset."""
    scores_model_a: str | None = None
    """Whose scores to take from A, where it holds several models'."""
    scores_model_b: str | None = None
    """Whose scores to take from B."""
    threshold_a: float | None = Field(None, ge=0, le=1)
    """Threshold of A; 0.5 by default."""
    threshold_b: float | None = Field(None, ge=0, le=1)
    """Threshold of B; 0.5 by default."""
    threshold_split: str | None = None
    """Choose both thresholds on this subset instead, each for its own scores."""
    allow_missing: bool = False
    """Compare on the cases that both have scores for, and count the others."""
    resamples: int = Field(RESAMPLES, gt=0)
    """Bootstrap draws."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""


@writes("out")
def compare_scores(
    a: Sequence[Path],
    b: Sequence[Path],
    settings: CompareSettings,
    out: Path,
    *,
    console: Console | None = None,
) -> dict[str, Metric]:
    """Compare two sets of score files; write `metrics.json`, `cases.jsonl`, `worst.jsonl`, `report.html`.

    Metrics: ``compare.<subset or average>.<measure>.<a, b or difference>``, ``compare.<subset>.right.difference`` and
    ``.p_value``.

    Raises:
        SettingsError, DataError: settings, data or scores cannot be used.
    """
    console = console or Console()
    subsets, skipped = read_subsets(settings.data)
    models = (settings.scores_model_a, settings.scores_model_b)
    sides = [
        match_scores(subsets, read_scores(list(paths), model=model), allow_missing=settings.allow_missing)
        for paths, model in zip((a, b), models, strict=True)
    ]
    shared = {case.id for case in sides[0].cases} & {case.id for case in sides[1].cases}
    if not shared:
        raise DataError("A and B have no case in common", field="id")
    cases = [[case for case in side.cases if case.id in shared] for side in sides]
    thresholds = [
        _threshold(settings, side, given)
        for side, given in zip(cases, (settings.threshold_a, settings.threshold_b), strict=True)
    ]
    metrics = {
        f"compare.{name}": metric
        for name, metric in compare(cases[0], cases[1], thresholds, settings.resamples, settings.seed).items()
    }
    metrics["compare.cases"] = Metric(len(shared))
    metrics["compare.skipped"] = Metric(skipped)
    metrics["compare.missing"] = Metric(sum(len(traces) for traces in subsets.values()) - len(shared))
    records = _records(cases, thresholds)
    atomic_write_jsonl(out / "cases.jsonl", records)
    questions = {trace.problem.id: trace for traces in subsets.values() for trace in traces}
    apart = sorted((r for r in records if r["right_a"] != r["right_b"]), key=lambda r: -r["gap"])
    atomic_write_jsonl(
        out / WORST_FILE,
        (
            {**r, "problem": questions[r["id"]].problem.question, "steps": questions[r["id"]].steps}
            for r in apart[:MOST_WORST]
        ),
    )
    rules = {"a": [str(path) for path in a], "b": [str(path) for path in b], "thresholds": thresholds}
    extra = {"worst_of": len(apart)}
    write_metrics(out, metrics, settings=dump_settings(settings) | rules, seed=settings.seed, extra=extra)
    console.print(_table(metrics, list(by_subset(cases[0])), thresholds))
    show_evaluation_report(out, console)
    return metrics


def compare(
    a: Sequence[Case], b: Sequence[Case], thresholds: Sequence[Threshold], resamples: int, seed: int
) -> dict[str, Metric]:
    """Return ``<subset or average>.<measure>.<a, b, difference>`` for two lists of the same cases in the same order."""
    subsets = by_subset(a)
    sides = []
    for cases, threshold in zip((a, b), thresholds, strict=True):
        groups = {name: Group(chosen, threshold.value) for name, chosen in by_subset(cases).items()}
        groups["pooled"] = Group(
            [case for chosen in by_subset(cases).values() for case in chosen], threshold.value
        )
        sides.append(measured_draws(groups, resamples, seed))
    first, second = sides
    metrics: dict[str, Metric] = {}
    for name in (*subsets, *(AVERAGES if len(subsets) > 1 else ())):
        n = len(subsets.get(name, a))
        for row, measure in enumerate(MEASURES):
            metrics[f"{name}.{measure}.a"] = first.metric(name, row, n)
            metrics[f"{name}.{measure}.b"] = second.metric(name, row, n)
            metrics[f"{name}.{measure}.difference"] = first.metric(name, row, n, second)
    for name in (*subsets, *(("pooled",) if len(subsets) > 1 else ())):
        right = [
            [float(_right(case, threshold)) for case in cases if name in (case.subset, "pooled")]
            for cases, threshold in zip((a, b), thresholds, strict=True)
        ]
        compared = paired_difference(right[0], right[1], resamples=resamples, seed=seed, unit="fraction")
        metrics[f"{name}.right.difference"] = compared.difference
        metrics[f"{name}.right.p_value"] = Metric(compared.p_value)
    return metrics


def _threshold(settings: CompareSettings, cases: Sequence[Case], given: float | None) -> Threshold:
    if settings.threshold_split is None:
        return chosen_threshold(given, None)
    chosen = by_subset(cases).get(settings.threshold_split)
    if chosen is None:
        raise DataError(f"no subset {settings.threshold_split!r} to choose the thresholds on")
    return best_threshold(chosen, settings.threshold_split)


def _right(case: Case, threshold: Threshold) -> bool:
    return first_error_below(case.scores, threshold.value) == case.first_error


def _records(cases: Sequence[Sequence[Case]], thresholds: Sequence[Threshold]) -> list[dict[str, Any]]:
    return [
        {
            "subset": first.subset,
            "id": first.id,
            "first_error": first.first_error,
            "right_a": _right(first, thresholds[0]),
            "right_b": _right(second, thresholds[1]),
            "gap": max(abs(x - y) for x, y in zip(first.scores, second.scores, strict=True)),
            "scores_a": first.scores,
            "scores_b": second.scores,
        }
        for first, second in zip(*cases, strict=True)
    ]


def _table(metrics: Mapping[str, Metric], subsets: Sequence[str], thresholds: Sequence[Threshold]) -> Table:
    table = results_table(
        "A minus B, same cases, same resamples",
        f"{interval_caption(metrics.values())}; thresholds {thresholds[0].value:.4g} and {thresholds[1].value:.4g} "
        f"({thresholds[0].rule}; {thresholds[1].rule})",
        "subset", *(HEADINGS[measure] for measure in MEASURES), "cases right", "p",
    )  # fmt: skip
    for name in (*subsets, *(AVERAGES if len(subsets) > 1 else ())):
        right, p = (
            metrics.get(f"compare.{name}.right.difference"),
            metrics.get(f"compare.{name}.right.p_value"),
        )
        table.add_row(
            plain(name),
            *(percent(metrics[f"compare.{name}.{measure}.difference"]) for measure in MEASURES),
            percent(right),
            "" if p is None or p.value is None else f"{p.value:.3g}",
        )
    return table
