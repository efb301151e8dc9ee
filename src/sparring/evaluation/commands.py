"""What `eval processbench` and `score` do: read, score, measure, write, show.

Contract: plain functions with typed arguments; bad arguments and bad data raise a SparringError before
any work is done. Models are loaded only where one is needed. A run that was killed continues from its
journal when it is started again with the same model and data.

Not here: the command line (`__main__.py`), the definitions (`processbench.py`), the tables (`tables.py`).
"""

from __future__ import annotations

import random
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from sparring.errors import DataError, SettingsError
from sparring.evaluation.processbench import (
    Case,
    Matched,
    Threshold,
    best_threshold,
    by_subset,
    chosen_threshold,
    evaluate,
    first_error_below,
    make_case,
    match_scores,
    reliability,
)
from sparring.evaluation.score_files import read_scores, write_scores
from sparring.evaluation.scoring import StepScorer, score_traces
from sparring.evaluation.tables import print_scored_traces, processbench_table
from sparring.evaluation.worst import MOST_WORST, WORST_FILE, Judged, show_worst, worst_disagreements
from sparring.files import atomic_write_jsonl
from sparring.fingerprints import folder_identity
from sparring.locks import writes
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.statistics import RESAMPLES
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Trace

CASES_FILE = "cases.jsonl"


@writes("out")
def evaluate_processbench(
    data: Sequence[Path],
    *,
    out: Path,
    model: Path | None = None,
    scores: Path | Sequence[Path] | None = None,
    scores_model: str | None = None,
    threshold: float | None = None,
    threshold_split: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    resamples: int = RESAMPLES,
    allow_missing: bool = False,
    batch: int = 64,
    scorer: StepScorer | None = None,
    console: Console | None = None,
) -> dict[str, Metric]:
    """Measure a PRM, or the scores that one has given, on files of traces with a labelled first error.

    Writes `metrics.json` (names ``processbench.<subset or average>.<measure>``) `cases.jsonl`, `worst.jsonl`
    and `report.html` into `out`, and prints a table. A data file is a subset, named like the file.

    Args:
        data: ProcessBench files, or traces with labels in any other format that is known.
        out: the run directory.
        model: checkpoint folder to score with; either this, `scores` or `scorer`.
        scores: score files.
        scores_model: whose scores to take from files that hold several models'.
        threshold: scores below it count as wrong; by default the checkpoint's own, else 0.5.
        threshold_split: choose the threshold with the best F1 on this subset instead.
        seed: of the bootstrap, and of the sample that `limit` takes.
        limit: use a random sample of so many cases of each subset (files are often sorted by label).
        resamples: bootstrap draws.
        allow_missing: leave cases without scores out, and count them, instead of refusing.
        batch: traces between two journal entries while scoring.
        scorer: a loaded scorer (then `model` is not loaded).
        console: where to print (stdout by default).

    Returns:
        The metrics, as written.

    Raises:
        SettingsError: arguments out of range or that contradict each other.
        DataError: data or scores that cannot be used.
        CheckpointError: the model cannot be loaded.
    """
    _check_arguments(data, model, scores, scorer, threshold, threshold_split, limit, resamples)
    if scores is None and allow_missing:
        raise SettingsError("--allow-missing is for score files; a model scores every case")
    console = console or Console()
    subsets, skipped = read_subsets(data, limit, seed)
    if threshold_split is not None and threshold_split not in subsets:
        raise SettingsError(f"no subset {threshold_split!r} to choose the threshold on: {', '.join(subsets)}")
    journal = out / "scores.partial.jsonl"
    own_threshold, own_rule = None, ""
    if scores is not None:
        matched = match_scores(subsets, read_scores(scores, model=scores_model), allow_missing=allow_missing)
    else:
        scorer = scorer or load_for_scoring(model)
        own_threshold, own_rule = scorer.threshold, sidecar_rule(scorer)
        matched = _score_cases(scorer, subsets, journal, scorer_name(model), batch)
    rule = (
        best_threshold(by_subset(matched.cases).get(threshold_split, []), threshold_split)
        if threshold_split is not None
        else chosen_threshold(threshold, own_threshold, own_rule)
    )
    metrics = {
        f"processbench.{name}": metric
        for name, metric in evaluate(matched.cases, rule, resamples=resamples, seed=seed).items()
    }
    metrics["processbench.threshold"] = Metric(rule.value)
    metrics["processbench.cases"] = Metric(len(matched.cases))
    metrics["processbench.skipped"] = Metric(skipped)
    metrics["processbench.missing"] = Metric(len(matched.missing))
    metrics["processbench.unused_scores"] = Metric(matched.unused)
    against = contradictions(subsets)
    metrics |= {f"processbench.{name}": Metric(float(len(ids))) for name, ids in against.items()}
    settings = {
        "data": list(data),
        "model": model,
        "scores": scores,
        "scores_model": scores_model,
        "threshold": rule.value,
        "threshold_rule": rule.rule,
        "averages": "mean: unweighted over subsets; weighted: by cases; pooled: all cases as one set",
        "interval": "95 %: percentile bootstrap over cases within subsets; Wilson for accuracies of a set",
        "resamples": resamples,
        "limit": limit,
        "allow_missing": allow_missing,
    }
    extra = {
        "reliability": reliability(matched.cases),
        "missing_ids": matched.missing,
        "contradictions": {name: ids[:MOST_WORST] for name, ids in against.items()},
        "worst_of": len(matched.cases),
    }
    worst = worst_disagreements(_judged(matched.cases, subsets), rule.value)
    _write_cases(out / CASES_FILE, matched.cases, rule)
    atomic_write_jsonl(out / WORST_FILE, worst)
    write_metrics(out, metrics, settings=settings, seed=seed, extra=extra)
    journal.unlink(missing_ok=True)
    console.print(processbench_table(metrics, by_subset(matched.cases), rule))
    for what, count in (("records skipped", skipped), ("cases without scores", len(matched.missing))):
        if count:
            console.print(f"{count} {what}: left out of every number above", style="yellow")
    for name, ids in against.items():
        if ids:
            console.print(f"{len(ids)} {_CONTRADICTIONS[name]}: {ids[0]} …", style="yellow", highlight=False)
    show_worst(console, worst, rule.value)
    show_evaluation_report(out, console)
    return metrics


_CONTRADICTIONS = {
    "all_right_wrong_answer": "records contradict themselves (every step is labelled right, the final answer is wrong)",
    "wrong_step_right_answer": "records reach a right final answer over a wrong step (which can be: errors cancel)",
}


def contradictions(subsets: Mapping[str, Sequence[Trace]]) -> dict[str, list[str]]:
    """Return the ids of the traces whose labels and outcome do not go together, by kind; all of them are evaluated.

    Right steps to a wrong answer cannot all be right: label or outcome is wrong. A right answer after a wrong step is
    odd, but can be: errors cancel, or the answer does not rest on the step. Traces without an outcome say nothing.
    """
    found: dict[str, list[str]] = {name: [] for name in _CONTRADICTIONS}
    for trace in (trace for traces in subsets.values() for trace in traces):
        if trace.first_error is not None and trace.outcome is not None:
            if trace.first_error < 0 and not trace.outcome:
                found["all_right_wrong_answer"].append(trace.problem.id)
            elif trace.first_error >= 0 and trace.outcome:
                found["wrong_step_right_answer"].append(trace.problem.id)
    return found


@writes("out", inside=False)
def score_file(
    data: Path,
    *,
    out: Path,
    model: Path | None = None,
    data_format: str = "auto",
    limit: int | None = None,
    batch: int = 64,
    show: int = 5,
    scorer: StepScorer | None = None,
    console: Console | None = None,
) -> dict[str, int]:
    """Score the steps of a file of traces and write a score file.

    A row's id is the id of its trace's problem; where several traces share one, ``#1``, ``#2``, … follows
    it in the file's order.

    Args:
        data: traces in our own form, or in another format that is known.
        out: score file to write.
        model: checkpoint folder; either this or `scorer`.
        data_format: a name from `sparring.traces.FORMATS`, or ``auto``.
        limit: score only the first so many traces.
        batch: traces between two journal entries.
        show: how many scored traces to show on a terminal.
        scorer: a loaded scorer.
        console: where to print (stdout by default).

    Returns:
        How many ``traces`` and ``steps`` were scored.

    Raises:
        SettingsError: arguments out of range or that contradict each other.
        DataError: traces that cannot be used, or scores that do not fit them.
        CheckpointError: the model cannot be loaded.
    """
    if (model is None) == (scorer is None):
        raise SettingsError("give a model to score with")
    _check_limit(limit)
    console = console or Console()
    found = read_traces_as(data, data_format)
    traces = found.traces[:limit]
    if not traces:
        raise DataError("no traces in this file", file=data)
    names = distinct_ids(traces)
    scorer = scorer or load_for_scoring(model)
    journal = out.with_name(out.name + ".partial")
    name = scorer_name(model)
    rows = score_traces(scorer, traces, journal=journal, scorer_name=name, batch=batch)
    write_scores(out, zip(names, rows, strict=True))
    journal.unlink(missing_ok=True)
    if console.is_terminal:
        threshold = chosen_threshold(None, scorer.threshold)
        print_scored_traces(console, traces[:show], rows[:show], threshold.value)
    steps = sum(len(row) for row in rows)
    console.print(f"{len(rows)} traces, {steps} steps scored: {out}", highlight=False)
    if found.skipped:
        console.print(f"{len(found.skipped)} records skipped: {found.skipped[0].reason} …", style="yellow")
    return {"traces": len(rows), "steps": steps}


def read_subsets(
    data: Sequence[Path], limit: int | None = None, seed: int = 0
) -> tuple[dict[str, list[Trace]], int]:
    """Return the traces of each data file by subset name, and how many records the reader left out.

    With a limit, at most so many of each subset: a random sample, in the file's order.

    Raises:
        DataError: a file cannot be used, holds no trace, or is named like another.
    """

    subsets: dict[str, list[Trace]] = {}
    skipped = 0
    for path in data:
        name = re.sub(r"[^A-Za-z0-9_+@-]", "_", path.stem)
        if name in subsets:
            raise DataError(f"another data file is named {name!r} too: subsets are named by file", file=path)
        result = read_traces_as(path)
        skipped += len(result.skipped)
        if not result.traces:
            raise DataError("no traces in this file", file=path)
        subsets[name] = _sample(result.traces, limit, f"{seed} {name}")
    return subsets, skipped


def _sample(traces: list[Trace], limit: int | None, seed: str) -> list[Trace]:
    if limit is None or limit >= len(traces):
        return traces
    return [traces[index] for index in sorted(random.Random(seed).sample(range(len(traces)), limit))]


def distinct_ids(traces: Sequence[Trace]) -> list[str]:
    """Return one id per trace: its problem's, with ``#1``, ``#2``, … where several traces share it.

    Raises:
        DataError: a numbered id is another problem's own.
    """
    shared = Counter(trace.problem.id for trace in traces)
    seen: Counter[str] = Counter()
    names = []
    for trace in traces:
        identity = trace.problem.id
        seen[identity] += 1
        names.append(identity if shared[identity] == 1 else f"{identity}#{seen[identity]}")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"the id {twice!r} is both a problem's own and a numbered one", field="id")
    return names


def _score_cases(
    scorer: StepScorer, subsets: dict[str, list[Trace]], journal: Path, scorer_name: str, batch: int
) -> Matched:
    traces = [(name, trace) for name, chosen in subsets.items() for trace in chosen]
    for trace in (trace for _, trace in traces):
        if trace.first_error is None:  # found out before hours of scoring, not after
            raise DataError(f"trace {trace.problem.id!r} has no first-error label", field="label")
    rows = score_traces(
        scorer, [trace for _, trace in traces], journal=journal, scorer_name=scorer_name, batch=batch
    )
    cases = [make_case(trace, row, name) for (name, trace), row in zip(traces, rows, strict=True)]
    return Matched(cases, [], 0)


def _judged(cases: Sequence[Case], subsets: dict[str, list[Trace]]) -> Iterator[Judged]:
    """Yield every case with its trace: cases are in the order of the data, of which some may have no scores."""
    traces = ((name, trace) for name, chosen in subsets.items() for trace in chosen)
    for case in cases:
        trace = next(trace for name, trace in traces if (name, trace.problem.id) == (case.subset, case.id))
        yield case.id, trace, case.scores, case.labels


def _write_cases(path: Path, cases: Sequence[Case], threshold: Threshold) -> None:
    records = []
    for case in cases:
        prediction = first_error_below(case.scores, threshold.value)
        records.append(
            {
                "subset": case.subset,
                "id": case.id,
                "first_error": case.first_error,
                "prediction": prediction,
                "right": prediction == case.first_error,
                "scores": case.scores,
            }
        )
    atomic_write_jsonl(path, records)


def _check_arguments(
    data: Sequence[Path],
    model: Path | None,
    scores: Path | Sequence[Path] | None,
    scorer: StepScorer | None,
    threshold: float | None,
    threshold_split: str | None,
    limit: int | None,
    resamples: int,
) -> None:
    if not data:
        raise SettingsError("give at least one data file")
    if (scores is None) == (model is None and scorer is None):
        raise SettingsError("give a model to score with, or the scores that one has given: one of the two")
    if threshold is not None and threshold_split is not None:
        raise SettingsError("a threshold is either given or chosen on a split")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise SettingsError(f"a threshold is a number from 0 to 1, got {threshold}")
    if resamples < 1:
        raise SettingsError(f"resamples must be at least 1, got {resamples}")
    _check_limit(limit)


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingsError(f"a limit must be at least 1, got {limit}")


def load_for_scoring(model: Path | None) -> StepScorer:
    """Return the scorer of a checkpoint folder; torch is imported here and not before."""
    from sparring.models.scorer import load_scorer

    if model is None:
        raise SettingsError("give a model to score with")
    return load_scorer(model)


def scorer_name(model: Path | None) -> str:
    """Return what a journal must agree in to be continued; a scorer without a folder never agrees."""
    return folder_identity(model) if model is not None else secrets.token_hex(16)


def sidecar_rule(scorer: StepScorer) -> str:
    """Return how the checkpoint's threshold was chosen, where its sidecar says so."""
    return str(getattr(getattr(scorer, "sidecar", None), "threshold_rule", ""))


__all__ = ["CASES_FILE", "distinct_ids", "evaluate_processbench", "read_subsets", "score_file"]
