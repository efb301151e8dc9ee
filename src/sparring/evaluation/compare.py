"""Paired comparison of two PRMs on the same labelled traces: is A better than B, or is it luck?

Contract: both are measured on exactly the same cases and on the same bootstrap resamples, so what the cases have in common
cancels. The differences of F1 and of the AUCs get intervals that way; the share of cases judged right also gets a p-value
(sign flips over problems).

Not here: the measures (`processbench.py`), reading scores (`scored.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from sparring.errors import DataError, names_of
from sparring.evaluation.cases import Case, CaseTable, by_subset
from sparring.evaluation.outcome import CASES_FILE, MOST_WORST, Recomputed, raw_records, write_evaluation
from sparring.evaluation.processbench import (
    AVERAGES,
    MEASURES,
    best_threshold,
    first_error_below,
    groups_of,
    make_case,
    measured_draws,
)
from sparring.evaluation.scored import (
    SubsetTraces,
    Threshold,
    chosen_threshold,
    left_out_notes,
    scores_from_files,
)
from sparring.locks import writes
from sparring.report.page import Run
from sparring.runs import Metric
from sparring.settings import LARGEST_SEED, Settings
from sparring.statistics import RESAMPLES, paired_difference


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
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of the bootstrap."""


@writes("out")
def compare_scores(
    a: Path | Sequence[Path],
    b: Path | Sequence[Path],
    settings: CompareSettings,
    out: Path,
    *,
    console: Console | None = None,
) -> dict[str, Metric]:
    """Compare two sets of score files.

    Metrics: ``compare.<subset or average>.<measure>.<a, b or difference>``, ``compare.<subset>.right.difference`` and
    ``.p_value``.

    Raises:
        SettingsError, DataError: settings, data or scores cannot be used.
    """
    subsets = SubsetTraces(settings.data)
    subsets.refuse_other("threshold_split", settings.threshold_split)
    files = [[given] if isinstance(given, Path) else list(given) for given in (a, b)]
    models = (settings.scores_model_a, settings.scores_model_b)
    rows = [
        scores_from_files(subsets, paths, model, allow_missing=settings.allow_missing)[0]
        for paths, model in zip(files, models, strict=True)
    ]
    cases = [CaseTable(), CaseTable()]
    for identity, subset, trace in subsets.subsets():
        both = [row for side in rows if (row := side.get(identity)) is not None]
        if len(both) == len(rows):
            for table, row in zip(cases, both, strict=True):
                table.add(make_case(identity, trace, row, subset))
    if not len(cases[0]):
        raise DataError("A and B have no case in common", file=names_of([*files[0], *files[1]]), field="id")
    given = (settings.threshold_a, settings.threshold_b)
    thresholds = [chosen_threshold(one, None) for one in given]
    if (split := settings.threshold_split) is not None:
        thresholds = [best_threshold(by_subset(side).get(split, []), split) for side in cases]
    counts = {"cases": len(cases[0]), "skipped": subsets.skipped, "missing": len(subsets) - len(cases[0])}
    metrics = compare(cases[0], cases[1], thresholds, settings.resamples, settings.seed)

    def disagreements() -> Iterator[dict[str, Any]]:
        return (one for one in _records(cases, thresholds) if one["right_a"] != one["right_b"])

    worst = heapq.nsmallest(MOST_WORST, disagreements(), key=lambda one: -one["gap"])
    wanted = {one["id"] for one in worst}
    texts = {identity: trace for identity, trace in subsets.items() if identity in wanted}
    return write_evaluation(
        out,
        "compare",
        settings,
        metrics | {name: Metric(value) for name, value in counts.items()},
        cases=_records(cases, thresholds),
        worst=[
            {**one, "problem": texts[one["id"]].problem.question, "steps": texts[one["id"]].steps}
            for one in worst
        ],
        worst_of=sum(1 for _ in disagreements()),
        rules={"a": files[0], "b": files[1], "thresholds": thresholds},
        notes=[
            f"threshold of {side}: {chosen.value:.4g} ({chosen.rule})"
            for side, chosen in zip("AB", thresholds, strict=True)
        ]
        + left_out_notes(subsets.skipped, len(subsets) - len(cases[0]), without="scores of both"),
        console=console,
    )


def compare(
    a: Collection[Case], b: Collection[Case], thresholds: Sequence[Threshold], resamples: int, seed: int
) -> dict[str, Metric]:
    """Return ``<subset or average>.<measure>.<a, b, difference>`` for two lists of the same cases in the same order."""
    subsets = by_subset(a)
    first, second = (
        measured_draws(groups_of(cases, threshold), resamples, seed)
        for cases, threshold in zip((a, b), thresholds, strict=True)
    )
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


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` gives once more."""
    settings = run.settings
    records = raw_records(run.folder / CASES_FILE, "labels", "problem")
    cases = [[Case.of(record, name) for record in records] for name in ("scores_a", "scores_b")]
    thresholds = [Threshold(one["value"], one["rule"]) for one in settings["thresholds"]]
    if (split := settings["threshold_split"]) is not None:
        thresholds = [best_threshold(by_subset(side).get(split, []), split) for side in cases]
    metrics = compare(cases[0], cases[1], thresholds, settings["resamples"], settings["seed"])
    return Recomputed(
        metrics | {"cases": Metric(len(cases[0]))}, {CASES_FILE: list(_records(cases, thresholds))}
    )


def _right(case: Case, threshold: Threshold) -> bool:
    return first_error_below(case.scores, threshold.value) == case.first_error


def _records(cases: Sequence[Collection[Case]], thresholds: Sequence[Threshold]) -> Iterator[dict[str, Any]]:
    for first, second in zip(*cases, strict=True):
        yield {
            "subset": first.subset,
            "id": first.id,
            "problem": first.problem,
            "first_error": first.first_error,
            "labels": first.labels,
            "right_a": _right(first, thresholds[0]),
            "right_b": _right(second, thresholds[1]),
            "gap": max(abs(x - y) for x, y in zip(first.scores, second.scores, strict=True)),
            "scores_a": first.scores,
            "scores_b": second.scores,
        }
