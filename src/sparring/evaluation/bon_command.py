"""What `sparring eval bon` does: read candidates, score them, draw the curves, write, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table

from sparring.errors import DataError
from sparring.evaluation.bon import Sample, curve_sizes, curves, is_exact
from sparring.evaluation.bon_candidates import Candidates, read_candidates
from sparring.evaluation.commands import load_for_scoring
from sparring.evaluation.scored import ScoredSettings, scored
from sparring.evaluation.scoring import StepScorer
from sparring.evaluation.tables import plain
from sparring.evaluation.worst import MOST_WORST, WORST_FILE, candidate_record
from sparring.files import atomic_write_jsonl
from sparring.locks import writes
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.driver import aggregation_for
from sparring.settings import dump_settings
from sparring.statistics import bootstrap_mean, paired_difference
from sparring.terminal import interval_caption, percent, results_table

_BASELINES = ("majority", "random")


class BonSettings(ScoredSettings):
    """Settings of `sparring eval bon`; without model and scores, the scores that came with the data are used."""

    n: list[int] = Field([])
    """Sizes N of the curves; by default 1, 2, 4, … up to the most candidates of a problem."""
    rule: str = Field("auto")
    """Aggregation by which `worst.jsonl` lists the problems where choosing by score went most wrong; `auto`: as the model's
    sidecar says, `min` for scores from files."""

    @model_validator(mode="after")
    def _check_sizes(self) -> BonSettings:
        if any(n < 1 for n in self.n):
            raise ValueError("n: sizes are at least 1")
        if self.rule not in ("auto", *AGGREGATIONS):
            raise ValueError(f"rule: one of auto, {', '.join(AGGREGATIONS)}")
        return self


@writes("out")
def evaluate_bon(
    settings: BonSettings, out: Path, *, scorer: StepScorer | None = None, console: Console | None = None
) -> dict[str, Metric]:
    """Measure best-of-N curves; write `metrics.json`, `cases.jsonl`, `worst.jsonl` and `report.html` into `out`.

    Metrics: ``bon.<line>.n<N>.accuracy``, and at the largest N ``bon.<line>_minus_<majority or random>`` with a p-value.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data, scores or model cannot be used.
    """
    console = console or Console()
    candidates = read_candidates(settings.data)
    if scorer is None and settings.model is not None:
        scorer = load_for_scoring(settings.model)
    rule = _rule(settings, scorer)
    rows, missing = _scores(candidates, settings, out, scorer)
    groups = [
        [Sample(candidates.answers[c], candidates.correct[c], rows.get(c)) for c in ids]
        for ids in candidates.groups.values()
    ]
    sizes = sorted(set(settings.n)) or curve_sizes(max(map(len, groups)))
    if not sizes:
        raise DataError("no problem has a candidate")
    lines = curves(groups, sizes, seed=settings.seed)
    largest = sizes[-1]
    metrics = {
        f"bon.{line}.n{n}.accuracy": _mean(values, settings)
        for line, by_size in lines.items()
        for n, values in by_size.items()
    }
    for line in lines:
        for baseline in _BASELINES:
            if line not in _BASELINES and line != "pass":
                compared = paired_difference(
                    lines[line][largest],
                    lines[baseline][largest],
                    resamples=settings.resamples,
                    seed=settings.seed,
                    unit="fraction",
                )
                metrics[f"bon.{line}_minus_{baseline}"] = compared.difference
                metrics[f"bon.{line}_minus_{baseline}.p_value"] = Metric(compared.p_value)
    counts = {
        "problems": len(groups),
        "candidates": sum(map(len, groups)),
        "empty": sum(not group for group in groups),
        "short": sum(len(group) < largest for group in groups),
        "without_answer": sum(sample.answer is None for group in groups for sample in group),
        "without_scores": sum(sample.scores is None for group in groups for sample in group),
        "missing": len(missing),
        "skipped": candidates.skipped,
    }
    metrics |= {f"bon.{name}": Metric(value) for name, value in counts.items()}
    exact = is_exact(groups, sizes)
    misled = _write(out, candidates, groups, lines, rule)
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings)
        | {"votes": "all subsets" if exact else "drawn subsets", "rule": rule},
        seed=settings.seed,
        extra={"missing_ids": missing, "worst_of": misled},
    )
    (out / "scores.partial.jsonl").unlink(missing_ok=True)
    console.print(_table(metrics, list(lines), sizes, exact))
    for what in ("empty", "short", "without_answer", "without_scores", "missing", "skipped"):
        if counts[what]:
            console.print(f"{what.replace('_', ' ')}: {counts[what]}", style="yellow", highlight=False)
    show_evaluation_report(out, console)
    return metrics


def _rule(settings: BonSettings, scorer: StepScorer | None) -> str:
    """Return the aggregation that `rule` means for this scorer."""
    if scorer is not None:
        return aggregation_for(scorer, settings.rule)
    return "min" if settings.rule == "auto" else settings.rule


def _scores(
    candidates: Candidates, settings: BonSettings, out: Path, scorer: StepScorer | None
) -> tuple[Mapping[str, Sequence[float]], list[str]]:
    if settings.model is None and not settings.scores and scorer is None:
        return candidates.scores, []
    found = scored(list(candidates.traces.items()), settings, out / "scores.partial.jsonl", scorer)
    return found.rows, found.missing


def _mean(values: Sequence[float], settings: BonSettings) -> Metric:
    return bootstrap_mean(values, resamples=settings.resamples, seed=settings.seed, unit="fraction")


def _write(
    out: Path,
    candidates: Candidates,
    groups: Sequence[Sequence[Sample]],
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    rule: str,
) -> int:
    """Write one record per problem, and those where a wrong candidate beats every right one, furthest apart first.

    Returns how many of the latter there are.
    """
    cases: list[dict[str, Any]] = []
    misled: list[dict[str, Any]] = []
    for number, ((problem, ids), group) in enumerate(zip(candidates.groups.items(), groups, strict=True)):
        totals = [AGGREGATIONS[rule](sample.scores) if sample.scores else None for sample in group]
        right, wrong = (_best(group, totals, correct) for correct in (True, False))
        gap = None if right is None or wrong is None else (totals[wrong] or 0.0) - (totals[right] or 0.0)
        cases.append(
            {
                "id": problem,
                "candidates": ids,
                "answers": [sample.answer for sample in group],
                "correct": [sample.correct for sample in group],
                "totals": totals,
                "accuracy": {
                    line: {str(n): v[number] for n, v in sizes.items()} for line, sizes in lines.items()
                },
                "gap": gap,
            }
        )
        if gap is None or gap <= 0 or right is None or wrong is None:
            continue
        trace = candidates.traces.get(ids[wrong])
        record = {"id": problem, "gap": gap, "chosen": ids[wrong], "totals": totals}
        for name, place in (("picked", wrong), ("right", right)):
            known = candidates.traces.get(ids[place])
            sample = group[place]
            steps = () if known is None else known.steps
            record[name] = candidate_record(steps, sample.scores, totals[place] or 0.0, sample.answer)
        misled.append(record if trace is None else record | {"problem": trace.problem.question})
    misled.sort(key=lambda record: -record["gap"])
    atomic_write_jsonl(out / "cases.jsonl", cases)
    atomic_write_jsonl(out / WORST_FILE, misled[:MOST_WORST])
    return len(misled)


def _best(group: Sequence[Sample], totals: Sequence[float | None], correct: bool) -> int | None:
    """Return the place of the highest total among the right, or the wrong, candidates; None where there is none."""
    known = {i: total for i, total in enumerate(totals) if total is not None and group[i].correct is correct}
    return max(known, key=lambda place: known[place]) if known else None


def _table(metrics: Mapping[str, Metric], lines: Sequence[str], sizes: Sequence[int], exact: bool) -> Table:
    how = "exact expectation over subsets" + ("" if exact else "; votes: drawn subsets")
    caption = f"{interval_caption(metrics.values(), over='problems')}; {how}"
    table = results_table("Best of N", caption, "line", *(f"N = {n}" for n in sizes), "minus majority")
    for line in lines:
        table.add_row(
            plain(line),
            *(percent(metrics[f"bon.{line}.n{n}.accuracy"]) for n in sizes),
            percent(metrics.get(f"bon.{line}_minus_majority")),
        )
    return table
