"""Values in the chain world: how many rollouts a label needs, which prover to choose, what a value model learns.

    python benchmarks/chain_values.py --run runs/chain-values

The policy solves problems, and every prefix of its solutions is finished very often: half of those rollouts are the
truth, from the other half estimates of few rollouts are drawn. A value model is trained on other problems, labelled with
few rollouts, and measured against that truth. The labelling is resumed where it was killed. Writes `chain_values.json`
(the layout of metrics.json) and `chain_values.md` into the results folder. About half an hour on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from publishing import command_line, publish, table
from sparring.labels.command import run_label
from sparring.labels.job import LabelledValues, labelled_values
from sparring.labels.settings import LabelSettings
from sparring.models import TINY_POLICY
from sparring.models.scorer import load_scorer
from sparring.progress.logs import logged_traces
from sparring.progress.provers import (
    MEASURES,
    Evidence,
    ProverComparison,
    compare_provers,
    comparison_metrics,
)
from sparring.runs import Metric
from sparring.statistics import (
    auc_interval,
    bootstrap_mean,
    expected_calibration_error,
)
from sparring.training.supervised import ValueSettings, train_supervised

BEST_OF = (2, 4, 8, 16, 32)
EVIDENCE: tuple[Evidence, ...] = ("steps", "siblings")
ESTIMATES = {"share": "share of right rollouts", "posterior": "posterior mean"}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prefixes:
    """Distinct unfinished prefixes that were finished often: which problem, right rollouts, rollouts, (prefixes,) each."""

    problems: list[str]
    successes: NDArray[np.int64]
    rollouts: NDArray[np.int64]


def distinct_prefixes(run: Sequence[LabelledValues]) -> Prefixes:
    """Return every counted prefix of a labelling run once."""
    found: dict[tuple[str, tuple[str, ...]], tuple[int, int]] = {}
    for one in run:
        for length, (value, count) in enumerate(zip(one.values, one.counts, strict=True)):
            if count:
                found[one.trace.problem.id, one.trace.steps[:length]] = (round(value * count), int(count))
    successes, rollouts = np.array(list(found.values())).T
    return Prefixes([problem for problem, _ in found], successes, rollouts)


def measure_estimates(
    prefixes: Prefixes, seed: int, metrics: dict[str, Metric]
) -> list[tuple[int, dict[str, tuple[Metric, Metric]]]]:
    """Record error and calibration of estimates from 1, 2, 4, … rollouts; return them by rollouts and estimate."""
    random = np.random.default_rng(seed)
    half = int(prefixes.rollouts.min()) // 2
    right = random.hypergeometric(prefixes.successes, prefixes.rollouts - prefixes.successes, half)
    left = prefixes.successes - right
    truth, truth_noise = right / half, right / half * (1 - right / half) / (half - 1)
    rows = []
    for m in (2**power for power in range(int(math.log2(half)) + 1)):
        hits = random.hypergeometric(left, prefixes.rollouts - half - left, m)
        found = {}
        for name, estimates in (("share", hits / m), ("posterior", (hits + 1) / (m + 2))):
            # The truth is noisy as well; what it adds to the squared error is known.
            errors = (estimates - truth) ** 2 - truth_noise
            found[name] = (
                root(bootstrap_mean(errors, clusters=prefixes.problems, seed=seed)),
                calibration(estimates, truth),
            )
            metrics[f"estimates.{name}.{m}.rmse"], metrics[f"estimates.{name}.{m}.ece"] = found[name]
        rows.append((m, found))
    return rows


def root(metric: Metric) -> Metric:
    """Return the square root of a mean square and its interval; what noise pushed below zero is zero."""
    ends = [
        None if end is None else math.sqrt(max(0.0, end)) for end in (metric.value, metric.low, metric.high)
    ]
    return replace(metric, value=ends[0], low=ends[1], high=ends[2])


def calibration(estimates: Floats, truth: Floats) -> Metric:
    """Return the expected calibration error of estimates against values, in ten bins.

    Without an interval: noise makes it larger, and a resample more so.
    """
    return Metric(expected_calibration_error(estimates, truth), n=len(truth))


def measure_value_model(
    folder: Path,
    truth: Sequence[LabelledValues],
    training: Sequence[LabelledValues],
    seed: int,
    metrics: dict[str, Metric],
) -> None:
    """Record error, calibration and AUC of a value model on the truth's steps, and the error of the training mean."""
    mean = float(np.nanmean(np.concatenate([one.values[1:-1] for one in training])))
    scores = load_scorer(folder).score([one.trace for one in truth])
    problems, predicted, values, noise, outcomes = [], [], [], [], []
    for one, row in zip(truth, scores, strict=True):
        for score, value, count in zip(row, one.values[1:], one.counts[1:], strict=True):
            if count:  # whole solutions have outcomes, not values
                problems.append(one.trace.problem.id)
                predicted.append(score)
                values.append(value)
                noise.append(value * (1 - value) / (count - 1))
                outcomes.append(one.trace.outcome)
    guesses, exact = np.array(predicted), np.array(values)
    for name, estimate in (("value_model", guesses), ("mean_value", np.full(len(exact), mean))):
        errors = (estimate - exact) ** 2 - np.array(noise)
        metrics[f"{name}.rmse"] = root(bootstrap_mean(errors, clusters=problems, seed=seed))
        metrics[f"{name}.ece"] = calibration(estimate, exact)
    metrics["value_model.outcome_auc"] = auc_interval(guesses, outcomes, clusters=problems, seed=seed)
    metrics["truth.outcome_auc"] = auc_interval(exact, outcomes, clusters=problems, seed=seed)


# --- tables --------------------------------------------------------------------------------------------------


def cell(metric: Metric, scale: float = 1.0, digits: int = 3) -> str:
    """Return value and interval."""
    return metric.text(scale, f".{digits}f")


def provers_table(comparison: ProverComparison) -> str:
    """Return a comparison of provers in thousandths."""
    rows = [
        [
            row.name + ("" if row.unbiased else " (biased)"),
            *(cell(getattr(row, measure), 1000, 2) for measure in MEASURES),
            f"{100 * row.chance:.0f} %",
        ]
        for row in comparison.rows
    ]
    heads = ("prover", "distinguishability", "alignment", "sum", "first-order gain", "best in resamples")
    return table(heads, rows)


def main() -> None:
    """Label, train, measure and write."""
    parser = command_line(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/chain-values"))
    parser.add_argument("--policy", default=TINY_POLICY)
    parser.add_argument("--truth-problems", type=int, default=60)
    parser.add_argument("--truth-rollouts", type=int, default=96)
    parser.add_argument("--training-problems", type=int, default=1200)
    parser.add_argument("--training-rollouts", type=int, default=8)
    parser.add_argument("--solutions", type=int, default=4, help="per problem of the truth")
    parser.add_argument("--training-solutions", type=int, default=1, help="per training problem")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--adapter", choices=("full", "lora"), default="lora")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, metrics = Console(), dict[str, Metric]()

    def labelled(name: str, problems: int, solutions: int, rollouts: int, seed: int) -> list[LabelledValues]:
        settings = LabelSettings(
            policy=options.policy, problems=problems, n_cov=solutions, n_mc=rollouts, seed=seed
        )
        run_label(settings, options.run / name, console)
        return labelled_values(options.run / name)

    truth = labelled("truth", options.truth_problems, options.solutions, options.truth_rollouts, options.seed)
    training = labelled(
        "training",
        options.training_problems,
        options.training_solutions,
        options.training_rollouts,
        options.seed + 1,
    )
    prefixes = distinct_prefixes(truth)
    rows = measure_estimates(prefixes, options.seed, metrics)
    comparisons = {
        evidence: compare_provers(logged_traces(truth), BEST_OF, evidence=evidence, seed=options.seed)
        for evidence in EVIDENCE
    }
    for evidence, comparison in comparisons.items():
        metrics |= {f"{evidence}.{name}": metric for name, metric in comparison_metrics(comparison).items()}
    settings = ValueSettings(
        data=str(options.run / "training" / "traces.jsonl"),
        backbone=options.policy,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        adapter=options.adapter,
        seed=options.seed,
    )
    folder = train_supervised(settings, options.run / "value-model", resume=True)
    measure_value_model(folder, truth, training, options.seed, metrics)

    estimates = [
        [str(m), *(cell(metric) for name in ESTIMATES for metric in found[name])] for m, found in rows
    ]
    heads = ["rollouts"] + [f"{text}, {what}" for text in ESTIMATES.values() for what in ("RMSE", "ECE")]
    models = [
        [text, cell(metrics[f"{name}.rmse"]), cell(metrics[f"{name}.ece"])]
        for name, text in (
            ("value_model", "value model"),
            ("mean_value", "the mean of the training values for all"),
        )
    ]
    sizes = f"{options.truth_problems} problems, {len(prefixes.problems)} distinct prefixes"
    parts = [
        "# Values in the chain world",
        f"{sizes}, {options.truth_rollouts} rollouts each; 95 % intervals: bootstrap over problems; "
        "none for calibration errors, which noise makes larger.",
        "## Estimates from few rollouts",
        table(heads, estimates),
        "## Provers, thousandths",
    ]
    for evidence, comparison in comparisons.items():
        parts += [
            f"Evidence: {comparison.cases} {'states' if evidence == 'siblings' else evidence}. Theorem 3.1 prefers "
            f"{comparison.by_theorem}, a small step gains most with {comparison.by_first_order}.",
            provers_table(comparison),
        ]
    parts += [
        "## Value model",
        f"Trained on {options.training_problems} other problems with {options.training_rollouts} rollouts per prefix.",
        table(["", "RMSE", "ECE"], models),
        f"AUC for the outcome of the solution, over its unfinished prefixes: value model "
        f"{cell(metrics['value_model.outcome_auc'])}, true value {cell(metrics['truth.outcome_auc'])}.",
        "Made by `python benchmarks/chain_values.py`.",
    ]
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    given = {name: value for name, value in vars(options).items() if name not in ("run", "results")}
    recorded = {**given, "best_of": BEST_OF}
    publish(options.results, "chain_values", metrics, text, settings=recorded, seed=options.seed)


if __name__ == "__main__":
    main()
