"""PRMBench (arXiv 2501.03124): can a PRM tell right steps from eight classes of planted errors, and other right solutions?

Contract: the official definition. Every step of the modified solution is predicted right or wrong by the threshold and
compared with `error_steps`; PRMScore = ½ · F1 (right steps as positives) + ½ · F1 (wrong steps as positives), over all
steps of a class, or of all nine classes together (`overall`). In `multi_solutions`, which has no wrong step by design, it
is F1 alone. A group's PRMScore is the mean of its classes'. (Read off the authors' code, github.com/ssmisya/PRMBench:
`eval_on_hallucination_step`, `get_prmscore_from_current_res_dict`.)
Beside it the accuracies on right, on wrong and on first wrong steps, and, without any threshold, the AUC of step scores.
Intervals are over problems (the same one stands in several classes), see `statistics.py`.

Three deviations: a score that equals the threshold counts as right (PRMBench: as wrong), as everywhere here; a measure
that does not exist (no wrong step in a class) is undefined, and the F1 of a PRM that finds none of them 0, where PRMBench
writes −1; and a record whose `error_steps` name a step past the end is left out and counted (PRMBench: it is ignored).

Not here: the files' format (`traces/formats/human.py`), where scores come from (`scored.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sparring.errors import DataError
from sparring.evaluation.cases import Case, labelled_steps
from sparring.evaluation.outcome import (
    CASES_FILE,
    WORST_FILE,
    Recomputed,
    raw_records,
    worst_disagreements,
    write_evaluation,
)
from sparring.evaluation.scored import ScoredSettings, left_out_notes, scored
from sparring.locks import writes
from sparring.pool import PoolSettings
from sparring.report.page import Run
from sparring.runs import Metric
from sparring.scorers.door import StepScorer
from sparring.statistics import (
    RESAMPLES,
    Floats,
    Resampler,
    WeightedAuc,
    blocks,
    metric_with_interval,
    share,
)
from sparring.traces.formats.human import NO_WRONG_STEP
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Label, Trace, first_error_of

GROUPS: Mapping[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""The benchmark's three groups of classes, spelt as in its files."""
OVERALL = "overall"
MEASURES = (
    "prm_score", "f1", "negative_f1", "accuracy_right", "accuracy_wrong", "accuracy_first_error", "step_auc",
)  # fmt: skip


class PrmbenchSettings(ScoredSettings):
    """Settings of `sparring eval prmbench`; `data` may also be the folder of the classes' files."""


@writes("out")
def evaluate_prmbench(
    settings: PrmbenchSettings,
    out: Path,
    *,
    scorer: StepScorer | None = None,
    console: Console | None = None,
    pool: PoolSettings | None = None,
) -> dict[str, Metric]:
    """Measure a PRM, or scores, on PRMBench; a score file's ids are PRMBench's own: ``<class>_<idx>``.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data or model cannot be used.
    """
    traces, left_out, total = read_prmbench(settings.data)
    found = scored(traces, settings, out, scorer, pool)
    threshold = found.threshold.value
    cases = [
        make_case(str(trace.meta["classification"]), str(trace.meta["idx"]), trace.labels or (), row)
        for identity, trace in traces.items()
        if (row := found.rows.get(identity)) is not None
    ]
    counts = {
        "threshold": threshold,
        "records": total,
        "cases": len(cases),
        "left_out": left_out.total(),
        "missing": len(found.missing),
        "unused_scores": found.unused,
    }
    metrics = evaluate(cases, threshold, resamples=settings.resamples, seed=settings.seed)
    accept_all = metrics[f"{OVERALL}.prm_score_accept_all"].text(100)
    return write_evaluation(
        out,
        "prmbench",
        settings,
        metrics | {name: Metric(value) for name, value in counts.items()},
        cases=(_record(case, threshold) for case in cases),
        worst=worst_disagreements(((case, traces[case.id]) for case in cases), threshold),
        worst_of=len(cases),
        rules={"threshold_rule": found.threshold.rule},
        extra={"left_out": dict(left_out), "missing_ids": found.missing, **found.who},
        notes=[
            f"accepting every step has PRMScore {accept_all}",
            *(f"left out: {count} × {reason}" for reason, count in left_out.items()),
            *left_out_notes(0, len(found.missing), found.why),
        ],
        console=console,
    )


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` gives once more; a case's problem is the end of its id."""
    threshold = run.metrics["prmbench.threshold"].value or 0.0
    cases = [
        make_case(
            record["class"],
            record["id"].removeprefix(record["class"] + "_"),
            tuple(map(float, record["right"])),
            tuple(record["scores"]),
        )
        for record in raw_records(run.folder / CASES_FILE)
    ]
    worst = worst_disagreements(((case, None) for case in cases), threshold)
    metrics = evaluate(cases, threshold, resamples=run.settings["resamples"], seed=run.settings["seed"])
    return Recomputed(
        metrics | {"cases": Metric(len(cases))},
        {CASES_FILE: [_record(case, threshold) for case in cases], WORST_FILE: worst},
    )


def make_case(error_class: str, problem: str, labels: tuple[Label, ...], scores: tuple[float, ...]) -> Case:
    """Return the case of a modified solution; its class is its subset."""
    first = first_error_of(labels)
    identity = f"{error_class}_{problem}"
    return Case(error_class, identity, -1 if first is None else first, labels, scores, problem)


def _record(case: Case, threshold: float) -> dict[str, Any]:
    return {
        "id": case.id,
        "class": case.subset,
        "right": [label == 1.0 for label in case.labels],
        "accepted": [score >= threshold for score in case.scores],
        "scores": case.scores,
    }


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


def tallies(cases: Sequence[Case], threshold: float) -> Floats:
    """Return, per case, how many steps are: right and accepted, wrong and accepted, wrong and rejected, right and rejected,
    first errors rejected, first errors; shape (cases, 6)."""
    rows = []
    for case in cases:
        accepted = [score >= threshold for score in case.scores]
        pairs = [(label == 1.0, one) for label, one in zip(case.labels, accepted, strict=True)]
        counts = [pairs.count(kind) for kind in ((True, True), (False, True), (False, False), (True, False))]
        first = case.first_error
        rows.append([*counts, int(first >= 0 and not accepted[first]), int(first >= 0)])
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def measures(counts: Floats) -> Floats:
    """Return all measures but the AUC, shape (6, rows), for summed tallies of shape (rows, 6); NaN where undefined."""
    true_right, false_right, true_wrong, false_wrong, first_hit, first = counts.T
    f1 = share(2 * true_right, 2 * true_right + false_right + false_wrong)
    negative = share(2 * true_wrong, 2 * true_wrong + false_right + false_wrong)
    no_wrong, no_right = (true_wrong + false_right) == 0, (true_right + false_wrong) == 0
    score = np.where(no_wrong | no_right, np.nan, (f1 + negative) / 2)
    return np.stack(
        [
            score,
            np.where(no_right, np.nan, f1),
            np.where(no_wrong, np.nan, negative),
            share(true_right, true_right + false_wrong),
            share(true_wrong, true_wrong + false_right),
            share(first_hit, first),
        ]
    )


def evaluate(
    cases: Sequence[Case], threshold: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """Return ``<class, group or overall>.<measure>``, and ``overall.prm_score_accept_all``: what accepting every step gets.

    Raises:
        DataError: no cases, or a class that is named like a group.
    """
    if not cases:
        raise DataError("there are no cases to evaluate")
    classes = list(dict.fromkeys(case.subset for case in cases))
    for name in (OVERALL, *GROUPS):
        if name in classes:
            raise DataError(f"a class of errors cannot be named {name!r}")
    chosen = {
        name: np.array([index for index, case in enumerate(cases) if case.subset == name]) for name in classes
    }
    chosen[OVERALL] = np.arange(len(cases))
    counts = tallies(cases, threshold)
    members = {name: [cases[index] for index in places] for name, places in chosen.items()}
    areas = {name: _area(some) for name, some in members.items()}
    rests_on = {name: _problems(some) for name, some in members.items()}

    def measured(weights: Floats) -> dict[str, Floats]:
        result = {
            name: np.concatenate(
                [measures(weights[:, places] @ counts[places]), areas[name](weights[:, places])[None]]
            )
            for name, places in chosen.items()
        }
        if NO_WRONG_STEP in result:
            result[NO_WRONG_STEP][0] = result[NO_WRONG_STEP][1]
        for group, classes_of in GROUPS.items():
            if present := [result[name][:1] for name in classes_of if name in known]:
                result[group] = np.mean(present, axis=0)
        return result

    known = {name for name in classes if name == NO_WRONG_STEP or min(rests_on[name]) > 0}
    resampler = Resampler(len(cases), clusters=[case.problem for case in cases], seed=seed)
    values = measured(np.ones((1, len(cases))))
    parts = [measured(resampler.weights(rows)) for rows in blocks(resamples, len(cases))]
    left_out = measured(resampler.left_out())
    metrics = {}
    for name in (*classes, *(group for group in GROUPS if group in values), OVERALL):
        for row, measure in enumerate(MEASURES[: len(values[name])]):
            independent = (
                _independent(measure, rests_on[name], name)
                if name in members
                else min(_independent(measure, rests_on[c], c) for c in GROUPS[name] if c in known)
            )
            metrics[f"{name}.{measure}"] = metric_with_interval(
                float(values[name][row, 0]),
                np.concatenate([part[name][row] for part in parts]),
                lambda name=name, row=row: left_out[name][row],  # type: ignore[misc]
                n=len(members.get(name, cases)),
                independent=independent,
                unit="fraction",
            )
    accept_all = float(measures(tallies(cases, -1.0).sum(axis=0, keepdims=True))[0, 0])
    metrics[f"{OVERALL}.prm_score_accept_all"] = Metric(
        None if np.isnan(accept_all) else accept_all, unit="fraction"
    )
    return metrics


def _problems(cases: Sequence[Case]) -> tuple[int, int]:
    """Return how many problems have right steps, and how many have wrong ones."""
    right = {case.problem for case in cases if 1.0 in case.labels}
    return len(right), len({case.problem for case in cases if case.first_error >= 0})


def _independent(measure: str, problems: tuple[int, int], name: str) -> int:
    """Return on how many problems a measure of a class rests: of the rarer kind of steps where it needs both."""
    if measure == "accuracy_right" or (name == NO_WRONG_STEP and measure in ("prm_score", "f1")):
        return problems[0]
    return problems[1] if measure in ("accuracy_wrong", "accuracy_first_error") else min(problems)


def _area(cases: Sequence[Case]) -> WeightedAuc:
    steps = labelled_steps(cases)
    return WeightedAuc(steps.scores, steps.labels == 1.0, steps.case)
