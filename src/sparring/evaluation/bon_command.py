"""What `sparring eval bon` does: read candidates, score them, draw the curves, write, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sparring.errors import DataError
from sparring.evaluation.bon import Sample, curve_sizes, curves, is_exact
from sparring.evaluation.bon_candidates import Candidates, read_candidates
from sparring.evaluation.scored import ScoredSettings, scored
from sparring.evaluation.scoring import StepScorer
from sparring.evaluation.tables import percent, plain
from sparring.files import atomic_write_jsonl
from sparring.runs import Metric, write_metrics
from sparring.search.aggregation import AGGREGATIONS
from sparring.settings import dump_settings
from sparring.statistics import bootstrap_mean, paired_difference

_BASELINES = ("majority", "random")


class BonSettings(ScoredSettings):
    """Settings of `sparring eval bon`; without model and scores, the scores that came with the data are used."""

    n: list[int] = Field([])
    """Sizes N of the curves; by default 1, 2, 4, … up to the most candidates of a problem."""
    rule: str = Field("min")
    """Aggregation by which `worst.jsonl` lists the problems where choosing by score went most wrong."""

    @model_validator(mode="after")
    def _check_sizes(self) -> BonSettings:
        if any(n < 1 for n in self.n):
            raise ValueError("n: sizes are at least 1")
        if self.rule not in AGGREGATIONS:
            raise ValueError(f"rule: one of {', '.join(AGGREGATIONS)}")
        return self


def evaluate_bon(
    settings: BonSettings, out: Path, *, scorer: StepScorer | None = None, console: Console | None = None
) -> dict[str, Metric]:
    """Measure best-of-N curves; write `metrics.json`, `cases.jsonl` and `worst.jsonl` into `out`.

    Metrics: ``bon.<line>.n<N>.accuracy``, and at the largest N ``bon.<line>_minus_<majority or random>`` with a p-value.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data, scores or model cannot be used.
    """
    console = console or Console()
    candidates = read_candidates(settings.data)
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
    _write(out, candidates, groups, lines, settings.rule)
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings) | {"votes": "all subsets" if exact else "drawn subsets"},
        seed=settings.seed,
        extra={"missing_ids": missing},
    )
    (out / "scores.partial.jsonl").unlink(missing_ok=True)
    console.print(_table(metrics, list(lines), sizes, exact))
    for what in ("empty", "short", "without_answer", "without_scores", "missing", "skipped"):
        if counts[what]:
            console.print(f"{what.replace('_', ' ')}: {counts[what]}", style="yellow", highlight=False)
    return metrics


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
) -> None:
    """Write one record per problem, and those where a wrong candidate beats every right one, furthest apart first."""
    cases: list[dict[str, Any]] = []
    for number, (problem, ids) in enumerate(candidates.groups.items()):
        totals = [AGGREGATIONS[rule](s.scores) if s.scores else None for s in groups[number]]
        right = [t for t, s in zip(totals, groups[number], strict=True) if s.correct and t is not None]
        wrong = [t for t, s in zip(totals, groups[number], strict=True) if not s.correct and t is not None]
        cases.append(
            {
                "id": problem,
                "candidates": ids,
                "answers": [sample.answer for sample in groups[number]],
                "correct": [sample.correct for sample in groups[number]],
                "totals": totals,
                "accuracy": {
                    line: {str(n): v[number] for n, v in sizes.items()} for line, sizes in lines.items()
                },
                "gap": max(wrong) - max(right) if right and wrong else None,
            }
        )
    atomic_write_jsonl(out / "cases.jsonl", cases)
    misled = sorted((case for case in cases if (case["gap"] or 0.0) > 0), key=lambda case: -case["gap"])[:20]
    shown = []
    for case in misled:
        best = max(
            (i for i, right in enumerate(case["correct"]) if not right and case["totals"][i] is not None),
            key=lambda i: case["totals"][i],
        )
        trace = candidates.traces.get(case["candidates"][best])
        shown.append(
            {
                "id": case["id"],
                "gap": case["gap"],
                "chosen": case["candidates"][best],
                "totals": case["totals"],
            }
            | ({} if trace is None else {"problem": trace.problem.question, "steps": trace.steps})
        )
    atomic_write_jsonl(out / "worst.jsonl", shown)


def _table(metrics: Mapping[str, Metric], lines: Sequence[str], sizes: Sequence[int], exact: bool) -> Table:
    how = "exact expectation over subsets" + ("" if exact else "; votes: drawn subsets")
    table = Table(title="Best of N", caption=f"percent [95 % interval over problems]; {how}")
    table.add_column("line")
    for n in sizes:
        table.add_column(f"N = {n}", justify="right")
    table.add_column("minus majority", justify="right")
    for line in lines:
        difference = metrics.get(f"bon.{line}_minus_majority")
        table.add_row(
            plain(line),
            *(percent(metrics[f"bon.{line}.n{n}.accuracy"]) for n in sizes),
            Text("") if difference is None else percent(difference),
        )
    return table
