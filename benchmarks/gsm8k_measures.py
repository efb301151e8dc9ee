"""What `gsm8k_values.py` measures: AUC, calibration and best-of-four of trained models on held-out solutions, and the page.

Contract: reads the split files and tables of step scores that the benchmark made; trains and scores nothing. A held-out
rollout is a case, so a prefix with 3 right rollouts of 8 is 3 positive and 5 negative cases, and nothing is thresholded.
Intervals are 95 % bootstraps over problems of the mean over training seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from publishing import table
from sparring.evaluation.bon import Sample, curves, read_candidates
from sparring.evaluation.calibration import brier, fit_platt
from sparring.files import atomic_write_json
from sparring.runs import Metric
from sparring.statistics import (
    Floats,
    WeightedAuc,
    auc,
    bootstrap_mean,
    bootstrap_weighted,
    expected_calibration_error,
    paired_difference,
    proportion,
    reliability_bins,
)
from sparring.traces.jsonl import read_traces
from sparring.traces.records import Trace

SPLITS = ("train", "validation", "heldout")
PLACES = ("to_25", "to_50", "to_75", "below_100", "whole")
"""The share of a solution's steps that a prefix holds, in percent."""
RULES = ("last", "min", "mean")
BEST_SOURCE = "175b_verification"
JUDGED = [
    (kind, f"{view}{writer}")
    for writer in ("", "_sampled")
    for kind, view in (("orm", "whole"), ("value", "whole"), ("value", "prefixes"))
]
Table = Sequence[Sequence[float]]
"""Per trace, the score of each step."""
Tables = dict[str, list[list[list[float]]]]
"""Kind of model → seed → table."""


@dataclass(frozen=True, slots=True)
class Cases:
    """Held-out rollouts, one case each.

    Attributes:
        trace: index of the solution.
        step: index of the step that its prefix ends with.
        right: 1.0 where the rollout ended well.
        problem: name of the problem: the unit of the bootstrap.
        place: one of `PLACES`.
    """

    trace: list[int]
    step: list[int]
    right: Floats
    problem: list[str]
    place: list[str]

    def kept(self, rows: Sequence[int]) -> Cases:
        """Return the cases with these indices."""
        return Cases(
            [self.trace[row] for row in rows],
            [self.step[row] for row in rows],
            self.right[list(rows)],
            [self.problem[row] for row in rows],
            [self.place[row] for row in rows],
        )

    def scores(self, table: Table) -> Floats:
        """Return the score of every case's prefix."""
        return np.array([table[row][step] for row, step in zip(self.trace, self.step, strict=True)])


def cases_of(traces: Sequence[Trace]) -> Cases:
    """Return all rollouts from all prefixes; a finished solution is one rollout."""
    found = [
        (row, step, float(place < round(known.value * max(1, known.count))), trace.problem.id,
         PLACES[-1] if step + 1 == len(trace.steps) else PLACES[max(0, -(-4 * (step + 1) // len(trace.steps)) - 1)])
        for row, trace in enumerate(traces)
        for step, known in enumerate(trace.estimates or ())
        if known is not None
        for place in range(max(1, known.count))
    ]  # fmt: skip
    rows, steps, right, problems, places = (list(column) for column in zip(*found, strict=True))
    return Cases(rows, steps, np.array(right), problems, places)


def measure(part: str, folder: Path, scores: Mapping[str, Tables]) -> dict[str, Metric]:
    """Return AUCs by place and within problems, and calibration before and after it is fitted on the validation split."""
    heldout = read_traces(folder / "heldout.jsonl")
    views = views_of(heldout)
    fitting = views_of(read_traces(folder / "validation.jsonl"))
    tables: dict[str, Sequence[Table]] = {**scores["heldout"], **baselines(folder, heldout)}
    metrics: dict[str, Metric] = {}
    reliability: dict[str, Any] = {}
    for view, some in views.items():
        metrics[f"{part}.share_right.{view}"] = bootstrap_mean(
            some.right, clusters=some.problem, unit="fraction"
        )
        for name, seeds in tables.items():
            rows = [some.scores(table) for table in seeds]
            metrics[f"{part}.{name}.auc.{view}"] = mean_auc(rows, some)
            for seed, row in enumerate(rows if len(rows) > 1 and view in ("whole", "prefixes") else ()):
                metrics[f"{part}.auc.{view}.{name}.seed_{seed}"] = Metric(
                    auc(row, some.right), unit="fraction"
                )
            # A reference solution is always right, so it does not compete with sampled ones.
            if view == ("whole_sampled" if "whole_sampled" in views else "whole"):
                metrics[f"{part}.{name}.auc.within_problem"] = within_problem_auc(rows, some)
    for kind, view in JUDGED:
        if view not in views or view not in fitting:
            continue
        some, others = views[view], fitting[view]
        if len(set(others.right.tolist())) < 2:
            continue  # one kind of outcome: no map can be fitted, and the page has no such row
        raw = np.array([some.scores(table) for table in scores["heldout"][kind]])
        fitted = [fit_platt(others.scores(table), others.right) for table in scores["validation"][kind]]
        states = {
            "raw": raw,
            "calibrated": np.array([one(row) for one, row in zip(fitted, raw, strict=True)]),
            "constant": np.full_like(raw, others.right.mean()),
        }
        for state, values in states.items():
            name = f"{part}.{kind}.{view}.{state}"
            metrics |= {f"{name}.{measure}": found for measure, found in calibration(values, some).items()}
            bins = reliability_bins(values.ravel(), np.tile(some.right, len(values)))
            reliability[f"{kind}.{view}.{state}"] = [asdict(row) for row in bins]
        gain = np.mean([brier(row, some.right) for row in states["constant"]], axis=0) - np.mean(
            [brier(row, some.right) for row in states["calibrated"]], axis=0
        )
        metrics[f"{part}.{kind}.{view}.brier_gain"] = bootstrap_mean(gain, clusters=some.problem)
    atomic_write_json(folder / "reliability.json", reliability)
    return metrics


def views_of(traces: Sequence[Trace]) -> dict[str, Cases]:
    """Return the cases by place, all proper prefixes together, and these by who wrote them where rollouts were made."""
    cases = cases_of(traces)
    places, sources = cases.place, [traces[row].source for row in cases.trace]
    chosen = {place: [one == place for one in places] for place in PLACES}
    chosen["prefixes"] = [one != "whole" for one in places]
    for source in sorted({"sampled", "reference"} & set(sources)):
        chosen[f"prefixes_{source}"] = [
            one != "whole" and by == source for one, by in zip(places, sources, strict=True)
        ]
        chosen[f"whole_{source}"] = [
            one == "whole" and by == source for one, by in zip(places, sources, strict=True)
        ]
    return {name: cases.kept(np.flatnonzero(mask).tolist()) for name, mask in chosen.items() if any(mask)}


def baselines(folder: Path, traces: Sequence[Trace]) -> dict[str, Sequence[Table]]:
    """Return what needs no model: the writer's accuracy on the training problems, and how short a text is."""
    outcomes = defaultdict(list)
    for trace in read_traces(folder / "train.jsonl"):
        outcomes[trace.source].append(float(bool(trace.outcome)))
    known = {source: float(np.mean(values)) for source, values in outcomes.items()}
    return {
        "source": [[[known[trace.source]] * len(trace.steps) for trace in traces]],
        "shortness": [
            [[-float(n) for n in np.cumsum([len(step) for step in trace.steps])] for trace in traces]
        ],
    }


def mean_auc(scores: Sequence[Floats], cases: Cases) -> Metric:
    """Return the AUC, averaged over seeds."""
    areas = [WeightedAuc(one, cases.right) for one in scores]
    return bootstrap_weighted(
        lambda weights: np.mean([area(weights) for area in areas], axis=0),
        len(cases.right), clusters=cases.problem, unit="fraction",
    )  # fmt: skip


def within_problem_auc(scores: Sequence[Floats], cases: Cases) -> Metric:
    """Return how often a right solution outscores a wrong one of the same problem, over all such pairs and seeds."""
    groups: dict[str, list[int]] = {}
    for index, problem in enumerate(cases.problem):
        groups.setdefault(problem, []).append(index)
    wins, pairs = [], []
    for rows in groups.values():
        right, wrong = ([row for row in rows if cases.right[row] == truth] for truth in (1.0, 0.0))
        gaps = np.array([one[a] - one[b] for one in scores for a in right for b in wrong])
        wins.append(float(np.sum(gaps > 0) + 0.5 * np.sum(gaps == 0)))
        pairs.append(float(len(gaps)))
    won, all_pairs = np.array(wins), np.array(pairs)

    def share(weights: Floats) -> Floats:
        below = weights @ all_pairs
        return np.where(below > 0, weights @ won / np.where(below > 0, below, 1.0), np.nan)

    return bootstrap_weighted(share, len(won), unit="fraction")


def calibration(scores: Floats, cases: Cases) -> dict[str, Metric]:
    """Return calibration error and Brier score of scores of shape (seeds, cases), averaged over seeds."""
    squares = np.mean([brier(row, cases.right) for row in scores], axis=0)

    errors = [expected_calibration_error(row, cases.right) or 0.0 for row in scores]
    return {
        # Without an interval: noise makes a calibration error larger, a resample more so.
        "ece": Metric(float(np.mean(errors)), n=len(cases.right), unit="fraction"),
        "brier": bootstrap_mean(squares, clusters=cases.problem),
    }


def best_of_four(folder: Path, scores: Mapping[str, Tables]) -> dict[str, Metric]:
    """Return accuracies of choosing among a problem's four solutions; the value model's rule is chosen on validation."""

    def lines(split: str, table: Table) -> dict[str, list[float]]:
        candidates = read_candidates([folder / f"{split}.jsonl"])
        rows = dict(zip(candidates.correct, table, strict=True))
        groups = [
            [Sample(candidates.answers[c], candidates.correct[c], rows[c]) for c in ids]
            for ids in candidates.groups.values()
        ]
        return {name: by_size[4] for name, by_size in curves(groups, [4]).items()}

    found = {(split, kind): [lines(split, table) for table in tables] for split in scores
             for kind, tables in scores[split].items()}  # fmt: skip

    def averaged(split: str, kind: str, line: str) -> Floats:
        mean: Floats = np.array([one[line] for one in found[split, kind]]).mean(axis=0)
        return mean

    rule = max(RULES, key=lambda name: averaged("validation", "value", f"best_{name}").mean())
    heldout = read_traces(folder / "heldout.jsonl")
    first = found["heldout", "orm"][0]
    sources = {
        trace.problem.id: float(bool(trace.outcome)) for trace in heldout if trace.source == BEST_SOURCE
    }
    methods: dict[str, Any] = {
        "random": first["random"],
        "majority": first["majority"],
        BEST_SOURCE: [sources[name] for name in dict.fromkeys(trace.problem.id for trace in heldout)],
        "shortest": lines("heldout", baselines(folder, heldout)["shortness"][0])["best_last"],
        "orm": averaged("heldout", "orm", "best_last"),
        "orm_weighted_vote": averaged("heldout", "orm", "weighted_last"),
        **{f"value_{name}": averaged("heldout", "value", f"best_{name}") for name in RULES},
        "oracle": first["pass"],
    }
    methods["value"] = methods[f"value_{rule}"]
    metrics = {f"example.best_of_4.{k}": bootstrap_mean(v, unit="fraction") for k, v in methods.items()}
    for one, others in (("orm", ("value",)), ("value", ()), ("orm_weighted_vote", ())):
        for other in (*others, "random", "majority", BEST_SOURCE, "shortest"):
            compared = paired_difference(methods[one], methods[other], unit="fraction")
            metrics[f"example.best_of_4.{one}_minus_{other}"] = compared.difference
            metrics[f"example.best_of_4.{one}_minus_{other}.p_value"] = Metric(compared.p_value)
    for kind, line in (("orm", "best_last"), ("value", f"best_{rule}")):
        for seed, accuracies in enumerate(found["heldout", kind]):
            mean = float(np.mean(accuracies[line]))
            metrics[f"example.best_of_4_alone.{kind}.seed_{seed}"] = Metric(mean, unit="fraction")
    return metrics | {f"example.value_rule.{rule}": Metric(None)}


def data_facts(part: str, folder: Path) -> dict[str, Metric]:
    """Return the sizes of the splits, their shares of right solutions, and where rollouts were made how values vary."""
    metrics = {}
    for split in SPLITS:
        traces = read_traces(folder / f"{split}.jsonl")
        name = f"{part}.{split}"
        metrics[f"{name}.problems"] = Metric(len({trace.problem.id for trace in traces}), unit="problems")
        metrics[f"{name}.solutions"] = Metric(len(traces), unit="solutions")
        for source in sorted({trace.source for trace in traces}):
            outcomes = [bool(trace.outcome) for trace in traces if trace.source == source]
            metrics[f"{name}.right.{source}"] = proportion(sum(outcomes), len(outcomes))
            values = [
                known.value
                for trace in traces
                if trace.source == source
                for known in trace.estimates or ()
                if known is not None and known.count > 0 and part == "own"
            ]
            if values:
                for fact, count in (
                    ("zero", sum(value == 0 for value in values)),
                    ("between", sum(0 < value < 1 for value in values)),
                    ("one", sum(value == 1 for value in values)),
                ):
                    metrics[f"{name}.values_{fact}.{source}"] = proportion(count, len(values))
    return metrics


# --- the page --------------------------------------------------------------------------------------------------------


def report(
    about: str,
    metrics: Mapping[str, Metric],
    reliability: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    costs: Sequence[Mapping[str, Any]],
) -> str:
    """Return the page in Markdown: per part the data, AUC, calibration, reliability and best of four; costs."""
    lines = ["# ORM and value model on GSM8K\n", f"{about} Percent, with 95 % intervals over problems.\n"]
    for part, bins in reliability.items():
        ours = {
            name.removeprefix(f"{part}."): one for name, one in metrics.items() if name.startswith(f"{part}.")
        }
        lines.append(f"## {part}\n")
        judged = [(kind, view) for kind, view in JUDGED if f"{kind}.{view}.raw" in bins]
        facts = [name for name in ours if name.split(".")[0] in (*SPLITS, "sampled", "reference")]
        views = [name.removeprefix("orm.auc.") for name in ours if name.startswith("orm.auc.")]
        ranked = ("orm", "value", "source", "shortness")
        parts = ("raw.ece", "calibrated.ece", "raw.brier", "calibrated.brier", "constant.brier", "brier_gain")
        states = [f"{kind}.{view}.{state}" for kind, view in judged for state in ("raw", "calibrated")]
        chosen = [name for name in ours if name.startswith("best_of_4.") and not name.endswith("p_value")]
        single = [name for name in ours if ".seed_" in name or name.startswith("value_rule")]
        tables: dict[tuple[str, ...], list[list[str]]] = {
            ("data", "value"): [[name, _fact(ours[name])] for name in facts],
            ("AUC of prefixes", "share right", "ORM", "value model", "source", "shortness"): [
                [
                    view,
                    _percent(ours.get(f"share_right.{view}")),
                    *(_percent(ours[f"{name}.auc.{view}"]) for name in ranked),
                ]
                for view in views
            ],
            (
                "calibration", "ECE raw", "ECE calibrated", "Brier raw", "Brier calibrated", "Brier of a constant",
                "gain over it",
            ): [
                [f"{kind}, {view}", *(_percent(ours[f"{kind}.{view}.{one}"]) for one in parts)]
                for kind, view in judged
            ],
            (
                "score: mean score → share right (cases)",
                *(f"{n / 10:.1f}–{(n + 1) / 10:.1f}" for n in range(10)),
            ): [[state, *(_bin(row) for row in bins[state])] for state in states],
            ("best of 4", "accuracy or difference", "p"): [
                [
                    name.removeprefix("best_of_4."),
                    _percent(ours[name]),
                    f"{p.value:.4f}" if (p := ours.get(f"{name}.p_value")) and p.value is not None else "",
                ]
                for name in chosen
            ],
            ("training seeds by themselves; the value model's rule", ""): [
                [name, _percent(ours[name])] for name in single
            ],
        }  # fmt: skip
        lines += [table(heads, rows) for heads, rows in tables.items() if rows]
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for record in costs:
        for name, value in record.items():
            if name != "stage":
                totals[record["stage"]][name] += value
    spent = [
        (stage, f"{one['cpu_seconds'] / 60:.1f}", f"{one['wall_seconds'] / 60:.1f}", f"{one['tokens']:,.0f}")
        for stage, one in totals.items()
    ]
    lines += ["## Cost\n", table(("stage", "CPU minutes", "wall minutes", "tokens"), spent)]
    return "\n".join(lines)


def _percent(metric: Metric | None) -> str:
    return "" if metric is None or metric.value is None else metric.text(100)


def _fact(metric: Metric) -> str:
    if metric.unit == "fraction":
        return f"{metric.text(100)} %"
    return "–" if metric.value is None else f"{metric.value:,.0f} {metric.unit}"


def _bin(row: Mapping[str, Any]) -> str:
    if not row["count"]:
        return ""
    return f"{100 * row['mean_score']:.0f} → {100 * row['share_correct']:.0f} ({row['count']})"
