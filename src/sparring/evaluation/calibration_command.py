"""What `sparring eval calibration` does: measure calibration on labelled traces, mend it and store it where asked.

Contract: what is fitted (scale, shift, threshold) is fitted on one named split; numbers on that split are marked as
optimistic, those on the others are honest. A sidecar is written only with `store=true`, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from pydantic import model_validator
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sparring.errors import DataError, SettingsError
from sparring.evaluation.calibration import PlattMap, brier, fit_platt
from sparring.evaluation.commands import distinct_ids, read_subsets
from sparring.evaluation.processbench import Case, Threshold, best_threshold, labelled_steps
from sparring.evaluation.scored import ScoredSettings, scored
from sparring.evaluation.scoring import StepScorer
from sparring.evaluation.tables import plain
from sparring.evaluation.worst import WORST_FILE, show_worst, worst_disagreements
from sparring.files import atomic_write_jsonl, atomic_write_text
from sparring.locks import writes
from sparring.pictures import svg_of
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.statistics import (
    ReliabilityBin,
    bootstrap_mean,
    expected_calibration_error,
    reliability_bins,
)
from sparring.terminal import interval_caption, percent, results_table

PLOT_FILE = "reliability.svg"


class CalibrationSettings(ScoredSettings):
    """Settings of `sparring eval calibration`."""

    fit_on: str | None = None
    """Subset (named like its file) on which scale, shift and the threshold with the best F1 are chosen."""
    store: bool = False
    """Write what was chosen into the `sparring.json` of `model`."""

    @model_validator(mode="after")
    def _check_store(self) -> CalibrationSettings:
        if self.store and (self.fit_on is None or self.model is None):
            raise ValueError("store needs fit_on and a model, whose sidecar it changes")
        return self


@writes("out")
def evaluate_calibration(
    settings: CalibrationSettings,
    out: Path,
    *,
    scorer: StepScorer | None = None,
    console: Console | None = None,
) -> dict[str, Metric]:
    """Measure and, where asked, mend calibration; write `metrics.json`, `cases.jsonl`, `worst.jsonl`, `reliability.svg`
    and `report.html`.

    Raises:
        SettingsError: no such split. DataError: data or scores cannot be used. CheckpointError: the model cannot be.
    """
    console = console or Console()
    subsets, skipped = read_subsets(settings.data)
    if settings.fit_on is not None and settings.fit_on not in subsets:
        raise SettingsError(f"fit_on: no subset {settings.fit_on!r}: {', '.join(subsets)}")
    flat = [(name, trace) for name, traces in subsets.items() for trace in traces]
    ids = distinct_ids([trace for _, trace in flat])
    named = dict(zip(ids, (trace for _, trace in flat), strict=True))
    found = scored(list(named.items()), settings, out / "scores.partial.jsonl", scorer)
    cases: dict[str, list[Case]] = {name: [] for name in subsets}
    for identity, (name, trace) in zip(ids, flat, strict=True):
        if identity in found.rows and trace.labels is not None:
            first = -1 if trace.first_error is None else trace.first_error
            cases[name].append(Case(name, identity, first, trace.labels, found.rows[identity]))
    if not any(label is not None for chosen in cases.values() for case in chosen for label in case.labels):
        raise DataError("no step has a label: calibration needs labelled traces", field="labels")
    fitted, threshold = None, found.threshold
    if settings.fit_on is not None:
        steps = labelled_steps(cases[settings.fit_on])
        fitted = fit_platt(steps.scores, steps.labels)
        whole = [case for case in cases[settings.fit_on] if named[case.id].first_error is not None]
        threshold = best_threshold(
            [replace(case, scores=tuple(fitted(case.scores))) for case in whole], settings.fit_on
        )
    metrics, tables = _measured(cases, fitted, named, settings)
    metrics["calibration.threshold"] = Metric(threshold.value)
    metrics["calibration.skipped"] = Metric(skipped)
    metrics["calibration.missing"] = Metric(len(found.missing))
    worst = worst_disagreements(
        ((case.id, named[case.id], case.scores, case.labels) for chosen in cases.values() for case in chosen),
        found.threshold.value,
    )
    atomic_write_text(out / PLOT_FILE, reliability_plot(tables))
    atomic_write_jsonl(
        out / "cases.jsonl",
        (
            {"subset": case.subset, "id": case.id, "labels": case.labels, "scores": case.scores}
            for chosen in cases.values()
            for case in chosen
        ),
    )
    atomic_write_jsonl(out / WORST_FILE, worst)
    extra = {
        "reliability": tables, "fitted": fitted, "missing_ids": found.missing,
        "worst_of": sum(len(chosen) for chosen in cases.values()),
    }  # fmt: skip
    rules = {"threshold_rule": threshold.rule}
    write_metrics(out, metrics, settings=dump_settings(settings) | rules, seed=settings.seed, extra=extra)
    (out / "scores.partial.jsonl").unlink(missing_ok=True)
    console.print(_table(metrics, list(cases), settings.fit_on))
    if fitted is not None:
        console.print(
            f"fitted on {settings.fit_on}: scale {fitted.scale:.4g}, shift {fitted.shift:.4g}, "
            f"threshold {threshold.value:.4g} ({threshold.rule})",
            highlight=False,
            markup=False,
        )
    if settings.store and fitted is not None and settings.model is not None:
        store_calibration(settings.model, fitted, threshold)
        console.print(f"stored in {settings.model}/sparring.json", highlight=False, markup=False)
    show_worst(console, worst, found.threshold.value)
    show_evaluation_report(out, console)
    return metrics


def store_calibration(folder: Path, fitted: PlattMap, threshold: Threshold) -> None:
    """Put a fitted map on top of the sidecar's own, and the threshold with its rule beside it.

    Raises:
        CheckpointError: the folder has no sidecar that can be read.
    """
    from sparring.models.sidecar import Calibration, read_sidecar, write_sidecar

    sidecar = read_sidecar(folder)
    old = sidecar.calibration
    new = Calibration(scale=fitted.scale * old.scale, shift=fitted.scale * old.shift + fitted.shift)
    changes = {"calibration": new, "threshold": threshold.value, "threshold_rule": threshold.rule}
    write_sidecar(folder, sidecar.model_copy(update=changes))


def _measured(
    cases: Mapping[str, Sequence[Case]],
    fitted: PlattMap | None,
    named: Mapping[str, object],
    settings: CalibrationSettings,
) -> tuple[dict[str, Metric], dict[str, list[ReliabilityBin]]]:
    """Return ``calibration.<subset or pooled>[.fitted].<ece, brier, mean_score, share_right>`` and reliability tables."""
    metrics: dict[str, Metric] = {}
    tables = {}
    held_out = [case for name, chosen in cases.items() if name != settings.fit_on for case in chosen]
    sets = {name: list(chosen) for name, chosen in cases.items()}
    if len(cases) > 1:
        sets["pooled"] = [case for chosen in cases.values() for case in chosen]
        if settings.fit_on is not None:
            sets["held_out"] = held_out
    for name, chosen in sets.items():
        steps = labelled_steps(chosen)
        if len(steps.scores) == 0:
            continue
        clusters = [int(number) for number in steps.case]
        for suffix, scores in (
            ("", steps.scores),
            (".fitted", None if fitted is None else fitted(steps.scores)),
        ):
            if scores is None:
                continue
            place = f"calibration.{name}{suffix}"
            error = expected_calibration_error(scores, steps.labels)
            metrics[f"{place}.ece"] = Metric(error, n=len(scores), unit="fraction")
            for measure, values in (
                ("brier", brier(scores, steps.labels)),
                ("mean_score", scores),
                ("share_right", steps.labels),
            ):
                metrics[f"{place}.{measure}"] = bootstrap_mean(
                    values,
                    clusters=clusters,
                    resamples=settings.resamples,
                    seed=settings.seed,
                    unit="" if measure == "brier" else "fraction",
                )
            tables[name + suffix] = reliability_bins(scores, steps.labels)
    return metrics, tables


def reliability_plot(tables: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Return an SVG: mean score against share of right steps per bin, dots as large as the bin is full."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for name, bins in tables.items():
        filled = [row for row in bins if row.count]
        total = sum(row.count for row in filled)
        sizes = [10 + 160 * float(np.sqrt(row.count / total)) for row in filled]
        scores = [row.mean_score or 0.0 for row in filled]
        shares = [row.share_correct or 0.0 for row in filled]
        [line] = axes.plot(scores, shares, linewidth=1)
        axes.scatter(scores, shares, s=sizes, alpha=0.5, color=line.get_color(), label=name)
    axes.set(
        xlabel="mean score", ylabel="share of right steps", xlim=(0, 1), ylim=(0, 1), title="Reliability"
    )
    axes.legend(fontsize=8)
    return svg_of(figure)


def _table(metrics: Mapping[str, Metric], names: Sequence[str], fit_on: str | None) -> Table:
    title, caption = "Calibration of step scores", interval_caption(metrics.values(), over="traces")
    table = results_table(title, caption, "subset", "ECE", "Brier", "mean score", "share right")
    for name in (*names, "pooled", "held_out"):
        for suffix in ("", ".fitted"):
            place = f"calibration.{name}{suffix}"
            if f"{place}.ece" not in metrics:
                continue
            mark = " (fitted here: optimistic)" if suffix and name == fit_on else suffix.replace(".", ", ")
            table.add_row(
                Text.assemble(plain(name), mark),
                *(
                    percent(metrics[f"{place}.{measure}"])
                    for measure in ("ece", "brier", "mean_score", "share_right")
                ),
            )
    return table
