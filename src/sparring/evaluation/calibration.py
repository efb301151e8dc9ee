"""Are scores probabilities? Calibration error, reliability, and the two numbers that mend them (Platt 1999).

Contract: the map is score → sigmoid(scale · logit(score) + shift), which is what a sidecar can hold; scale stays positive,
so that the order of scores, and every AUC, is untouched. What is fitted (scale, shift, threshold) is fitted on one named
split; numbers on that split are marked as optimistic, those on the others are honest. A sidecar is written only with
`store=true`, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from pydantic import model_validator
from rich.console import Console

from sparring.errors import DataError, about, names_of
from sparring.evaluation.cases import Case, CaseTable, by_subset, labelled_steps
from sparring.evaluation.outcome import (
    CASES_FILE,
    WORST_FILE,
    Judged,
    Recomputed,
    furthest,
    raw_records,
    worst_disagreements,
    write_evaluation,
)
from sparring.evaluation.processbench import best_threshold
from sparring.evaluation.scored import (
    ScoredSettings,
    SubsetTraces,
    Threshold,
    left_out_notes,
    scored,
    subset_name,
)
from sparring.locks import writes
from sparring.pictures import reliability_plot
from sparring.pool import PoolSettings
from sparring.report.page import Run
from sparring.runs import Metric
from sparring.scorers.door import StepScorer
from sparring.statistics import (
    Floats,
    ReliabilityBin,
    bootstrap_mean,
    expected_calibration_error,
    finite,
    platt_scaling,
    reliability_bins,
    sigmoid,
)
from sparring.traces.records import first_error_of

PLOT_FILE = "reliability.svg"
_EDGE = 1e-6  # scores of exactly 0 or 1 have no finite logit


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
        if self.store and isinstance(self.model, str):
            raise ValueError("store changes a sidecar, and a server keeps its own: name the PRM's folder")
        return self


@writes("out")
def evaluate_calibration(
    settings: CalibrationSettings,
    out: Path,
    *,
    scorer: StepScorer | None = None,
    console: Console | None = None,
    pool: PoolSettings | None = None,
) -> dict[str, Metric]:
    """Measure and, where asked, mend calibration.

    Raises:
        SettingsError: no such split. DataError: data or scores cannot be used. CheckpointError: the model cannot be.
    """
    subsets = SubsetTraces(settings.data)
    subsets.refuse_other("fit_on", settings.fit_on)
    found = scored(subsets, settings, out, scorer, pool)
    every = CaseTable()

    def judged_cases() -> Iterator[Judged]:
        for identity, subset, trace in subsets.subsets():
            if trace.labels is not None and (row := found.rows.get(identity)) is not None:
                first = -1 if trace.first_error is None else trace.first_error
                case = Case(subset, identity, first, trace.labels, row)
                every.add(case)
                yield case, trace

    worst = furthest(judged_cases())
    if not worst:
        raise DataError(
            "no step has a label: calibration needs labelled traces",
            file=names_of(settings.data),
            field="labels",
        )
    cases: dict[str, Collection[Case]] = {name: [] for name in subsets.sizes}
    cases |= by_subset(every)
    fitted, threshold, notes = None, found.threshold, []
    if settings.fit_on is not None:
        with about(*settings.data):
            fitted, threshold = _fitted(cases[settings.fit_on], settings.fit_on)
        notes = [f"fitted on {settings.fit_on}, where its numbers are optimistic: scale {fitted.scale:.4g}, "
                 f"shift {fitted.shift:.4g}"]  # fmt: skip
    notes += left_out_notes(subsets.skipped, len(found.missing), found.why)
    metrics, reliability = _measured(cases, fitted, settings)
    counts = {"threshold": threshold.value, "skipped": subsets.skipped, "missing": len(found.missing)}
    console = console or Console()
    written = write_evaluation(
        out,
        "calibration",
        settings,
        metrics | {name: Metric(value) for name, value in counts.items()},
        cases=(
            {"subset": case.subset, "id": case.id, "labels": case.labels, "scores": case.scores}
            for case in every
        ),
        worst=worst_disagreements(worst, found.threshold.value),
        worst_of=len(every),
        rules={"threshold_rule": threshold.rule},
        extra={"reliability": reliability, "fitted": fitted, "missing_ids": found.missing, **found.who},
        files={PLOT_FILE: reliability_plot(reliability)},
        notes=notes,
        console=console,
    )
    if settings.store and isinstance(settings.model, Path) and fitted is not None:
        store_calibration(settings.model, fitted, threshold)
        console.print(f"stored in {settings.model}/sparring.json", highlight=False, markup=False)
    return written


def _fitted(cases: Collection[Case], split: str) -> tuple[PlattMap, Threshold]:
    """Return the map, and the threshold of mapped scores with the best F1, of the cases of a named split."""
    steps = labelled_steps(cases)
    fitted = fit_platt(steps.scores, steps.labels)
    # Where it is known whether there is a wrong step, and which is the first.
    whole = [case for case in cases if first_error_of(case.labels) is not None]
    mapped = [replace(case, scores=tuple(fitted(case.scores))) for case in whole]
    return fitted, best_threshold(mapped, split)


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` gives once more, the fit included."""
    settings = CalibrationSettings.model_construct(
        **{name: run.settings[name] for name in ("fit_on", "resamples", "seed")}
    )
    every = [
        Case(
            record["subset"],
            record["id"],
            -1 if (first := first_error_of(record["labels"])) is None else first,
            tuple(record["labels"]),
            tuple(record["scores"]),
        )
        for record in raw_records(run.folder / CASES_FILE)
    ]
    cases: dict[str, Collection[Case]] = {subset_name(Path(file)): [] for file in run.settings["data"]}
    cases |= by_subset(every)
    fitted, found = None, {}
    if settings.fit_on is not None:
        fitted, threshold = _fitted(cases[settings.fit_on], settings.fit_on)
        found = {"threshold": Metric(threshold.value)}
    metrics, reliability = _measured(cases, fitted, settings)
    # The worst are called so by the threshold that the scores came with, which a fitted one replaces in the metrics.
    worst = worst_disagreements(((case, None) for case in every), 0.5)
    return Recomputed(
        metrics | found,
        {WORST_FILE: [{name: one[name] for name in one if name != "threshold"} for one in worst]},
        extra={"reliability": reliability, "fitted": fitted},
    )


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
    cases: Mapping[str, Collection[Case]], fitted: PlattMap | None, settings: CalibrationSettings
) -> tuple[dict[str, Metric], dict[str, list[ReliabilityBin]]]:
    """Return ``<subset or pooled>[.fitted].<ece, brier, mean_score, share_right>`` and reliability tables."""
    metrics: dict[str, Metric] = {}
    tables = {}
    sets = dict(cases)
    if len(cases) > 1:
        sets["pooled"] = CaseTable(case for chosen in cases.values() for case in chosen)
        if settings.fit_on is not None:
            sets["held_out"] = [case for name in cases if name != settings.fit_on for case in cases[name]]
    for name, chosen in sets.items():
        steps = labelled_steps(chosen)
        if len(steps.scores) == 0:
            continue
        clusters = steps.case.tolist()
        scored = {"": steps.scores} | ({} if fitted is None else {".fitted": fitted(steps.scores)})
        for suffix, scores in scored.items():
            place = name + suffix
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
            tables[place] = reliability_bins(scores, steps.labels)
    return metrics, tables


# --- the map ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlattMap:
    """score → sigmoid(scale · logit(score) + shift)."""

    scale: float
    shift: float

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the mapped scores."""
        return sigmoid(self.scale * logit(scores) + self.shift)


def logit(scores: ArrayLike) -> Floats:
    """Return log-odds; scores closer than 10⁻⁶ to 0 or 1 are taken at that distance."""
    inner = np.clip(finite(scores), _EDGE, 1 - _EDGE)
    return np.log(inner) - np.log1p(-inner)


def brier(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the squared error of every case; its mean is the Brier score."""
    return (finite(scores) - finite(labels)) ** 2


def fit_platt(scores: ArrayLike, labels: ArrayLike) -> PlattMap:
    """Return the map with the highest likelihood of the labels (soft ones count as shares).

    Raises:
        DataError: only one kind of label.
    """
    inputs, targets = logit(scores), finite(labels)
    if len(targets) == 0 or targets.min() >= 0.5 or targets.max() < 0.5:
        raise DataError("calibration needs steps that are right and steps that are wrong, there is one kind")
    return PlattMap(*platt_scaling(inputs, targets))
