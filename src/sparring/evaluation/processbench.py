"""ProcessBench (arXiv 2412.06559): does a PRM find the first wrong step, and leave right solutions alone?

Contract: the official definition. The predicted first error is the first step whose score is below the
threshold, −1 if there is none. Accuracy on erroneous cases asks for exactly the labelled step, accuracy on
correct cases for −1; F1 is their harmonic mean. A threshold never comes without the rule that chose it.
Beside F1 stand two measures that need no threshold: the AUC of single step scores (over labelled steps: up to and including
the first error) and of a solution's lowest score against "has no error". Both also within problems (`step_auc_within`,
`solution_auc_within`): the mean over the problems that have both classes, on which a choice among a problem's own steps or
solutions rests, while a pooled AUC also counts telling hard problems from easy ones. Intervals are bootstraps over cases,
drawn within each subset (Student's with fewer than 20 erroneous or correct cases, see `statistics.py`); for the two
accuracies of a set of cases they are Wilson's, which have a width at 0 % and 100 % too.

Three averages over subsets are in use, and differ by points: `mean` (unweighted mean of the subsets'
numbers, the official one), `weighted` (the same, weighted by cases) and `pooled` (all cases as one set).

Not here: reading cases (`traces/readers.py`), where scores come from (`scored.py`), files and tables (`outcome.py`).
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator
from rich.console import Console

from sparring.errors import DataError, plural
from sparring.evaluation.cases import Case, CaseTable, by_subset, labelled_steps
from sparring.evaluation.outcome import (
    CASES_FILE,
    MOST_WORST,
    WORST_FILE,
    Judged,
    Recomputed,
    furthest,
    raw_records,
    worst_disagreements,
    write_evaluation,
)
from sparring.evaluation.scored import (
    ScoredSettings,
    SubsetTraces,
    Threshold,
    left_out_notes,
    scored,
)
from sparring.evaluation.scores import checked_scores
from sparring.locks import writes
from sparring.pool import PoolSettings
from sparring.report.page import Run
from sparring.runs import Metric
from sparring.scorers.door import StepScorer
from sparring.settings import MANY
from sparring.statistics import (
    FEW,
    RESAMPLES,
    Floats,
    ReliabilityBin,
    Resampler,
    WeightedAuc,
    auc_within,
    blocks,
    cluster_numbers,
    expected_calibration_error,
    metric_with_interval,
    proportion,
    rarer,
    reliability_bins,
    share,
)
from sparring.traces.records import Trace

MEASURES = ("f1", "accuracy_erroneous", "accuracy_correct", "step_auc", "solution_auc")
PROPORTIONS = ("accuracy_erroneous", "accuracy_correct")
AVERAGES = ("mean", "weighted", "pooled")


class ProcessbenchSettings(ScoredSettings):
    """Settings of `sparring eval processbench`, which are its options; a data file is a subset, named like the file."""

    threshold_split: str | None = None
    """Choose the threshold with the best F1 on this subset instead."""
    limit: int | None = Field(None, ge=1, le=MANY)
    """Use a random sample of so many cases of each subset: files are often sorted by label."""

    @model_validator(mode="after")
    def _check_threshold(self) -> ProcessbenchSettings:
        if self.threshold is not None and self.threshold_split is not None:
            raise ValueError("a threshold is either given or chosen on a split")
        return self


@writes("out")
def evaluate_processbench(
    settings: ProcessbenchSettings,
    out: Path,
    *,
    scorer: StepScorer | None = None,
    console: Console | None = None,
    pool: PoolSettings | None = None,
) -> dict[str, Metric]:
    """Measure a PRM, or the scores that one has given, on traces with a labelled first error.

    Metrics: ``processbench.<subset or average>.<measure>``, and counts.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data, scores or model cannot be used.
    """
    subsets = SubsetTraces(settings.data, settings.limit, settings.seed, see=_refuse_unlabelled)
    subsets.refuse_other("threshold_split", settings.threshold_split)
    found = scored(subsets, settings, out, scorer, pool)
    cases, contradictions = CaseTable(), Counter[str]()
    first: dict[str, list[str]] = {name: [] for name in _CONTRADICTIONS}

    def judged_cases() -> Iterator[Judged]:
        for identity, subset, trace in subsets.subsets():
            if (name := contradiction(trace)) is not None:
                contradictions[name] += 1
                first[name] += [identity] if contradictions[name] <= MOST_WORST else []
            if (row := found.rows.get(identity)) is not None:
                case = make_case(identity, trace, row, subset)
                cases.add(case)
                yield case, trace

    worst = furthest(judged_cases())
    threshold = found.threshold
    if (split := settings.threshold_split) is not None:
        threshold = best_threshold(by_subset(cases).get(split, []), split)
    counts = {
        "threshold": threshold.value,
        "cases": len(cases),
        "skipped": subsets.skipped,
        "missing": len(found.missing),
        "unused_scores": found.unused,
        **{name: contradictions[name] for name in _CONTRADICTIONS},
    }
    metrics = evaluate(cases, threshold, resamples=settings.resamples, seed=settings.seed)
    notes = left_out_notes(subsets.skipped, len(found.missing), found.why)
    notes += [
        f"{plural(contradictions[name], 'record')}: {what}: {first[name][0]} …"
        for name, what in _CONTRADICTIONS.items()
        if first[name]
    ]
    return write_evaluation(
        out,
        "processbench",
        settings,
        metrics | {name: Metric(value) for name, value in counts.items()},
        cases=(case_record(case, threshold.value) for case in cases),
        worst=worst_disagreements(worst, threshold.value),
        worst_of=len(cases),
        rules={
            "threshold": threshold.value,
            "threshold_rule": threshold.rule,
            "averages": "mean: unweighted over subsets; weighted: by cases; pooled: all cases as one set",
            "interval": "95 %: percentile bootstrap over cases within subsets; Wilson for accuracies of a set",
        },
        extra={
            "reliability": reliability(cases),
            "missing_ids": found.missing,
            "contradictions": first,
            **found.who,
        },
        notes=notes,
        console=console,
    )


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` gives once more."""
    settings = run.settings
    cases = [Case.of(record) for record in raw_records(run.folder / CASES_FILE, "labels", "problem")]
    threshold = Threshold(settings["threshold"], settings["threshold_rule"])
    if (split := settings["threshold_split"]) is not None:
        threshold = best_threshold(by_subset(cases).get(split, []), split)
    counts = {"threshold": Metric(threshold.value), "cases": Metric(len(cases))}
    worst = worst_disagreements(((case, None) for case in cases), threshold.value)
    return Recomputed(
        evaluate(cases, threshold, resamples=settings["resamples"], seed=settings["seed"]) | counts,
        {CASES_FILE: [case_record(case, threshold.value) for case in cases], WORST_FILE: worst},
        extra={"reliability": reliability(cases)},
    )


_CONTRADICTIONS = {
    "all_right_wrong_answer": "every step is labelled right, the final answer is wrong (a contradiction)",
    "wrong_step_right_answer": "a right final answer over a wrong step (which can be: errors cancel)",
}


def contradiction(trace: Trace) -> str | None:
    """Return how a trace's labels and outcome do not go together, or None; all traces are evaluated.

    Right steps to a wrong answer cannot all be right: label or outcome is wrong. A right answer after a wrong step is
    odd, but can be: errors cancel, or the answer does not rest on the step. Traces without an outcome say nothing.
    """
    if trace.first_error is None or trace.outcome is None or (trace.first_error < 0) == trace.outcome:
        return None
    return "all_right_wrong_answer" if trace.first_error < 0 else "wrong_step_right_answer"


def _refuse_unlabelled(trace: Trace) -> None:
    """Find out before hours of scoring, not after."""
    if trace.first_error is None:
        raise DataError(f"trace {trace.problem.id!r} has no first-error label", field="label")


# --- cases -----------------------------------------------------------------------------------------------------------


def first_error_below(scores: Sequence[float], threshold: float) -> int:
    """Return the index of the first score below the threshold, −1 if there is none."""
    return next((index for index, score in enumerate(scores) if score < threshold), -1)


def make_case(identity: str, trace: Trace, scores: Sequence[Any], subset: str) -> Case:
    """Return the case of a labelled trace and its scores, both checked.

    Raises:
        DataError: no label, or scores that do not fit the steps; names the trace's id.
    """
    checked = checked_scores(scores, len(trace.steps), identity)
    if trace.labels is None or trace.first_error is None:
        raise DataError(f"trace {identity!r} has no first-error label", field="label")
    return Case(subset, identity, trace.first_error, trace.labels, checked, trace.problem.id)


def case_record(case: Case, threshold: float) -> dict[str, Any]:
    """Return a case as it is written: which step is wrong, and which one the scores say."""
    prediction = first_error_below(case.scores, threshold)
    return {
        "subset": case.subset,
        "id": case.id,
        "problem": case.problem,
        "first_error": case.first_error,
        "prediction": prediction,
        "right": prediction == case.first_error,
        "labels": case.labels,
        "scores": case.scores,
    }


def best_threshold(cases: Collection[Case], split: str) -> Threshold:
    """Return the threshold with the best F1 on the cases of a named split, taken as one set.

    It lies midway between two neighbouring scores; among equally good ones the nearest to 0.5 is taken. On
    the split itself the resulting F1 is optimistic, which the rule reminds of.

    Raises:
        DataError: the split lacks erroneous or correct cases.
    """
    erroneous = sum(case.first_error >= 0 for case in cases)
    if erroneous in (0, len(cases)):
        raise DataError(
            f"choosing a threshold on {split!r} needs erroneous and correct cases, it has one kind"
        )
    levels = sorted({score for case in cases for score in case.scores})
    place = {score: index for index, score in enumerate(levels)}
    # A threshold of "gap" k lies above level k−1 and at most at level k. Every case is right on a run of
    # gaps: from just above the score at its first error to the lowest score before it.
    changes = np.zeros((2, len(levels) + 1))
    for case in cases:
        before = case.scores[: case.first_error] if case.first_error >= 0 else case.scores
        last = place[min(before)] if before else len(levels) - 1
        first = place[case.scores[case.first_error]] + 1 if case.first_error >= 0 else 0
        if first <= last:
            kind = int(case.first_error >= 0)
            changes[kind, first] += 1
            changes[kind, last + 1] -= 1
    right_correct, right_erroneous = np.cumsum(changes[:, :-1], axis=1)
    f1 = harmonic_mean(right_erroneous / erroneous, right_correct / (len(cases) - erroneous))
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    values = [_between(levels[gap - 1] if gap else 0.0, levels[gap]) for gap in best]
    value = min(values, key=lambda candidate: (abs(candidate - 0.5), candidate))
    return Threshold(value, f"best F1 on {split} (optimistic there)")


def _between(low: float, high: float) -> float:
    """Return the middle of (low, high], or `high` where rounding leaves nothing between."""
    middle = (low + high) / 2
    return middle if middle > low else high


def harmonic_mean(a: Floats, b: Floats) -> Floats:
    """Return the elementwise harmonic mean; 0 where both are 0, NaN where one is NaN."""
    total = a + b
    return np.where(total == 0, 0.0, 2 * a * b / np.where(total == 0, 1.0, total))


class Group:
    """The measures of a fixed list of cases as functions of case weights."""

    def __init__(self, cases: Collection[Case], threshold: float) -> None:
        right = np.array([first_error_below(case.scores, threshold) == case.first_error for case in cases])
        erroneous = np.array([case.first_error >= 0 for case in cases])
        columns = (right & erroneous, erroneous, right & ~erroneous, ~erroneous)
        self._tallies = np.stack(columns, axis=1).astype(np.float64)
        self.steps = steps = labelled_steps(cases)
        self._step_auc = WeightedAuc(steps.scores, steps.labels >= 0.5, steps.case)
        self._solution_auc = WeightedAuc([min(case.scores) for case in cases], ~erroneous)
        self.size = len(cases)
        kinds = int(erroneous.sum()), int((~erroneous).sum())
        # How many cases a number rests on: those of the rarer kind where it needs two.
        rare, rare_steps = min(kinds), rarer(steps.case, steps.labels >= 0.5)
        self.independent = dict(zip(MEASURES, (rare, *kinds, rare_steps, rare), strict=True))
        self.counts = dict(zip(MEASURES, (self.size, *kinds, len(steps.scores), self.size), strict=True))

    def measure(self, weights: Floats) -> Floats:
        """Return the `MEASURES`, shape (measures, rows), for weights of shape (rows, cases)."""
        right_erroneous, erroneous, right_correct, correct = (weights @ self._tallies).T
        on_erroneous, on_correct = share(right_erroneous, erroneous), share(right_correct, correct)
        f1 = harmonic_mean(on_erroneous, on_correct)
        return np.stack([f1, on_erroneous, on_correct, self._step_auc(weights), self._solution_auc(weights)])


def groups_of(cases: Collection[Case], threshold: Threshold) -> dict[str, Group]:
    """Return the group of each subset, and of all together as ``pooled``."""
    subsets = by_subset(cases)
    groups = {name: Group(chosen, threshold.value) for name, chosen in subsets.items()}
    if len(subsets) == 1:
        return groups | {"pooled": next(iter(groups.values()))}
    every = CaseTable(case for chosen in subsets.values() for case in chosen)
    return groups | {"pooled": Group(every, threshold.value)}


def evaluate(
    cases: Collection[Case], threshold: Threshold, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """Return ``<subset>.<measure>`` for each subset and ``<average>.<measure>`` for the averages over them.

    Measures are fractions: `f1`, `accuracy_erroneous`, `accuracy_correct`, `step_auc`, `solution_auc`, and of subsets and
    `pooled` also `step_auc_within`, `solution_auc_within` and `step_ece` (expected calibration error of labelled steps, ten
    bins; no interval, its bootstrap is biased upwards). A measure that one subset does not define (no correct case, say) is
    undefined in `mean` and `weighted` as well.

    Raises:
        DataError: no cases, or a subset that is named like an average.
    """
    subsets = by_subset(cases)
    if not subsets:
        raise DataError("there are no cases to evaluate")
    for name in AVERAGES:
        if name in subsets:
            raise DataError(f"a subset cannot be named {name!r}, that is an average; rename the data file")
    groups = groups_of(cases, threshold)
    measured = measured_draws(groups, resamples, seed)
    metrics: dict[str, Metric] = {}
    for name in (*subsets, *AVERAGES):
        counts = groups[name].counts if name in groups else groups["pooled"].counts
        for row, measure in enumerate(MEASURES):
            n, value = counts[measure], float(measured.values[name][row, 0])
            metrics[f"{name}.{measure}"] = (
                proportion(round(value * n) if n else 0, n)
                if measure in PROPORTIONS and (name in groups or len(subsets) == 1)
                else measured.metric(name, row, n)
            )
        if name in groups:
            metrics |= {
                f"{name}.{measure}": metric
                for measure, metric in within_problems(subsets.get(name, cases), resamples, seed).items()
            }
            steps = groups[name].steps
            error = expected_calibration_error(steps.scores, steps.labels)
            metrics[f"{name}.step_ece"] = Metric(error, n=len(steps.scores), unit="fraction")
    return metrics


def within_problems(cases: Collection[Case], resamples: int, seed: int) -> dict[str, Metric]:
    """Return `step_auc_within` and `solution_auc_within`: AUCs within each problem, averaged over the problems.

    Of steps, those with a label count: up to and including the first error of each of a problem's solutions.
    """
    problems = cluster_numbers(len(cases), [case.problem or case.id for case in cases])
    steps = labelled_steps(cases)
    lowest = [min(case.scores) for case in cases]
    drawn = {"resamples": resamples, "seed": seed}
    return {
        "step_auc_within": auc_within(
            steps.scores, steps.labels >= 0.5, problems[steps.case].tolist(), **drawn
        ),
        "solution_auc_within": auc_within(
            lowest, [case.first_error < 0 for case in cases], problems.tolist(), **drawn
        ),
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """The measures of subsets and averages: on the sample (measures, 1), on resamples, and without each case in turn.

    Attributes:
        values, draws: by subset or average.
        left_out: by subset or average, one column per case of each subset that it depends on.
        independent: by subset or average and measure, how many cases the number rests on.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]
    left_out: Mapping[str, Floats]
    independent: Mapping[str, Mapping[str, int]]

    def metric(self, name: str, row: int, n: int, other: Measured | None = None) -> Metric:
        """Return a measure with its interval, or, with another's on the same cases, the difference this − other."""
        sides = (self,) if other is None else (self, other)

        def difference(part: str) -> Floats:
            arrays = [np.asarray(getattr(side, part)[name][row]) for side in sides]
            return arrays[0] if other is None else arrays[0] - arrays[1]

        return metric_with_interval(
            float(difference("values")[0]),
            difference("draws"),
            lambda: difference("left_out"),
            n=n,
            independent=self.independent[name][MEASURES[row]],
            unit="fraction",
            bounds=(0.0, 1.0) if other is None else (-1.0, 1.0),
        )


def measured_draws(groups: Mapping[str, Group], resamples: int, seed: int) -> Measured:
    """Return what the measures of subsets and averages are, and how they vary."""
    names = [name for name in groups if name != "pooled"]
    # Each subset has a stream of its own, so that its interval does not depend on the company it is in.
    streams = {
        name: Resampler(groups[name].size, seed=[seed, zlib.crc32(name.encode("utf-8"))]) for name in names
    }

    def measured(weights: Mapping[str, Floats]) -> dict[str, Floats]:
        result = {name: groups[name].measure(weights[name]) for name in names}
        stacked = np.stack([result[name] for name in names])
        sizes = np.array([groups[name].size for name in names], dtype=np.float64)
        result["mean"] = stacked.mean(axis=0)
        result["weighted"] = np.tensordot(sizes / sizes.sum(), stacked, axes=1)
        result["pooled"] = groups["pooled"].measure(np.concatenate([weights[name] for name in names], axis=1))
        return result

    parts = [
        measured({name: streams[name].weights(rows) for name in names})
        for rows in blocks(resamples, groups["pooled"].size)
    ]
    draws = {name: np.concatenate([part[name] for part in parts], axis=1) for name in (*names, *AVERAGES)}
    values = measured({name: np.ones((1, groups[name].size)) for name in names})
    independent: dict[str, Mapping[str, int]] = {name: groups[name].independent for name in names}
    independent["pooled"] = groups["pooled"].independent
    # An average is as uncertain as the subset that knows least.
    weakest = {measure: min(groups[name].independent[measure] for name in names) for measure in MEASURES}
    independent |= {"mean": weakest, "weighted": weakest}
    left_out: dict[str, Floats] = {}
    if any(count < FEW for counts in independent.values() for count in counts.values()):
        rows = {name: groups[name].size for name in names}
        less = [
            measured(
                {o: streams[o].left_out() if o == name else np.ones((rows[name], rows[o])) for o in names}
            )
            for name in names
        ]
        left_out = {name: one[name] for name, one in zip(names, less, strict=True)}
        for average in AVERAGES:
            # Around each subset's own mean, so that the jackknife is one within subsets.
            apart = [
                one[average] - one[average].mean(axis=1, keepdims=True) + values[average] for one in less
            ]
            left_out[average] = np.concatenate(apart, axis=1)
    return Measured(values, draws, left_out, independent)


def reliability(cases: Collection[Case]) -> dict[str, list[ReliabilityBin]]:
    """Return the reliability diagram of labelled step scores for each subset."""
    tables = {}
    for name, chosen in by_subset(cases).items():
        steps = labelled_steps(chosen)
        tables[name] = reliability_bins(steps.scores, steps.labels)
    return tables
