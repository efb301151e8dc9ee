"""The planted subsequence (PAV §3.3): effective rewards against outcomes, provers of every strength, Pass@N.

    python benchmarks/planted.py

Trains the paper's network from its weak start, a population of seeds at once, and writes `planted.json` (the layout of
metrics.json, with all curves) and `planted.md` into the results folder and three plots into docs/images. A few minutes
on one core; `--sizes quick` does a little of everything, `--sizes paper` the paper's 10,000 iterations, its exact values
and more seeds (an hour or more). What differs from the paper, and why: docs/progress.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from planted_policy import PlantedTraining, Population, Run
from planted_world import Floats, PlantedWorld
from publishing import ROOT, command_line, publish, shown, table
from sparring.report.plots import PALETTE, RC
from sparring.runs import Metric
from sparring.statistics import mean_over_runs, paired_difference

WORLD = PlantedWorld()
STRENGTHS = (5.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1000.0, 3000.0)
PAPER_STRENGTH = 10.0
LONG_START_STRENGTHS = (5.0, 8.0, 10.0, 15.0, 50.0, 1000.0)
PASS_AT = tuple(2**power for power in range(11))
PASS_SAMPLES = 20_000
ARMS = {"effective": "effective reward (γ = 10)", "outcome": "outcome only", "start": "start"}
COLOURS = {"effective": PALETTE["aprm"], "outcome": PALETTE["rules"], "start": PALETTE["baseline"]}


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    seeds: int = 5
    iterations: int = 3000
    sweep_iterations: int = 600
    few_seeds: int = 3  # of the two side experiments
    rollout_iterations: int = 200
    rollouts: int = 8
    long_start: int = 128_000
    test_responses: int = 1000
    every: int = 20


SIZES = {
    "quick": Sizes(
        seeds=2,
        iterations=200,
        sweep_iterations=100,
        few_seeds=2,
        rollout_iterations=20,
        long_start=6400,
        test_responses=200,
    ),
    "default": Sizes(),
    "paper": Sizes(
        seeds=10, iterations=10_000, sweep_iterations=2000, few_seeds=5, rollout_iterations=400, rollouts=100
    ),
}


@dataclass(frozen=True)
class Curves:
    """Accuracy of every run: `accuracy` is (runs, evaluations), at the training iterations `at`."""

    runs: Sequence[Run]
    at: Sequence[int]
    accuracy: Floats

    def of(self, strength: float | None, alpha: float) -> Floats:
        """Return the curves of one arm, (seeds, evaluations); any strength where it plays no part."""
        rows = [
            row
            for row, run in enumerate(self.runs)
            if run.alpha == alpha and (strength is None or run.strength == strength)
        ]
        return self.accuracy[rows]


def learn(runs: Sequence[Run], training: PlantedTraining, sizes: Sizes) -> tuple[Curves, Population]:
    """Warm-start and train a population, measuring accuracy on fresh responses along the way."""
    population = Population(WORLD, runs, training)
    population.start()
    at: list[int] = []
    accuracy: list[Floats] = []

    def observe(iteration: int) -> None:
        at.append(iteration)
        responses = population.sample(sizes.test_responses, f"planted-test-{iteration}")
        accuracy.append(WORLD.outcomes(responses).mean(axis=1))

    population.train(observe, sizes.every)
    return Curves(runs, at, np.stack(accuracy, axis=1)), population


def two_arms(seeds: int) -> list[Run]:
    """Return the paper's two arms for every seed: progress under γ = 10, and the outcome alone."""
    return [Run(seed, PAPER_STRENGTH, alpha) for alpha in (1.0, 0.0) for seed in range(seeds)]


def reached(curves: Floats, at: Sequence[int], accuracy: float) -> list[int | None]:
    """Return, per seed, the first evaluated iteration with at least this accuracy; None: never."""
    hits = curves >= accuracy
    return [at[int(row.argmax())] if row.any() else None for row in hits]


def sample_efficiency(curves: Curves, name: str, metrics: dict[str, Metric]) -> None:
    """Record, per arm, accuracy at the end and averaged over the run, and the iterations to given accuracies."""
    for arm, alpha in (("effective", 1.0), ("outcome", 0.0)):
        rows = curves.of(None, alpha)
        metrics[f"{name}.{arm}.final_accuracy"] = mean_over_runs(rows[:, -1], unit="fraction")
        metrics[f"{name}.{arm}.mean_accuracy"] = mean_over_runs(rows.mean(axis=1), unit="fraction")
        for level in (50, 90, 99):
            found = reached(rows, curves.at, level / 100)
            times = [time for time in found if time is not None]
            metrics[f"{name}.{arm}.seeds_reaching_{level}"] = Metric(len(times) / len(found), n=len(found))
            if len(times) == len(found):
                metrics[f"{name}.{arm}.iterations_to_{level}"] = mean_over_runs(times, unit="iterations")


def strength_sweep(curves: Curves, name: str, strengths: Sequence[float], metrics: dict[str, Metric]) -> None:
    """Record accuracy averaged over the run for every prover, and its paired difference from outcomes only."""
    outcome = curves.of(None, 0.0).mean(axis=1)
    metrics[f"{name}.outcome.mean_accuracy"] = mean_over_runs(outcome, unit="fraction")
    for strength in strengths:
        mean = curves.of(strength, 1.0).mean(axis=1)
        key = f"{name}.strength_{strength:g}"
        metrics[f"{key}.mean_accuracy"] = mean_over_runs(mean, unit="fraction")
        metrics[f"{key}.minus_outcome"] = paired_difference(
            mean, outcome, unit="fraction", runs=True
        ).difference


def pass_at(outcomes: Floats, k: int) -> Floats:
    """Return the unbiased pass@k of each row of sampled outcomes, (runs, samples) → (runs,)."""
    n = outcomes.shape[1]
    failures = n - outcomes.sum(axis=1)
    taken = np.arange(k)
    return np.asarray(1 - np.prod(np.clip(failures[:, None] - taken, 0, None) / (n - taken), axis=1))


def pass_curves(sizes: Sizes) -> dict[str, dict[str, list[float]]]:
    """Return Pass@N per seed of the start, and of both arms after 100 iterations, by arm and N."""
    training = PlantedTraining(iterations=100)
    start = Population(WORLD, [Run(seed) for seed in range(sizes.seeds)], training)
    start.start()
    _, trained = learn(two_arms(sizes.seeds), training, sizes)
    outcomes = WORLD.outcomes(trained.sample(PASS_SAMPLES, "planted-pass"))
    arms = {
        "start": WORLD.outcomes(start.sample(PASS_SAMPLES, "planted-pass")),
        "effective": outcomes[: sizes.seeds],
        "outcome": outcomes[sizes.seeds :],
    }
    return {arm: {str(k): pass_at(rows, k).tolist() for k in PASS_AT} for arm, rows in arms.items()}


def run_all(sizes: Sizes) -> dict[str, Any]:
    """Run everything; return the numbers of every run."""
    extra: dict[str, Any] = {"seconds": {}}

    def timed(name: str, runs: Sequence[Run], training: PlantedTraining) -> None:
        begun = time.perf_counter()
        curves, _ = learn(runs, training, sizes)
        extra["seconds"][name] = round(time.perf_counter() - begun, 1)
        extra[f"{name}.curves"] = {
            "at": list(curves.at),
            "runs": [[run.seed, run.strength, run.alpha] for run in runs],
            "accuracy": np.round(curves.accuracy, 4).tolist(),
        }
        print(f"{name}: {extra['seconds'][name]} s", flush=True)

    short = PlantedTraining(iterations=sizes.sweep_iterations)
    long_start = replace(short, start_samples=sizes.long_start)
    timed("efficiency", two_arms(sizes.seeds), PlantedTraining(iterations=sizes.iterations))
    timed("strength", sweep(STRENGTHS, sizes.seeds), short)
    extra["pass_at"] = pass_curves(sizes)
    timed("long_start", sweep(LONG_START_STRENGTHS, sizes.few_seeds), long_start)
    extra["long_start.start"] = start_accuracies(long_start, sizes.few_seeds)
    counted = PlantedTraining(iterations=sizes.rollout_iterations, rollouts=sizes.rollouts)
    timed("rollouts", two_arms(sizes.few_seeds), counted)
    return extra


def measure(extra: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of what `run_all` gave."""
    metrics: dict[str, Metric] = {}

    def curves(name: str) -> Curves:
        known = extra[f"{name}.curves"]
        return Curves([Run(*run) for run in known["runs"]], known["at"], np.array(known["accuracy"]))

    sample_efficiency(curves("efficiency"), "efficiency", metrics)
    strength_sweep(curves("strength"), "strength", STRENGTHS, metrics)
    for arm, rows in extra["pass_at"].items():
        for k, values in rows.items():
            metrics[f"pass_at.{arm}.{k}"] = mean_over_runs(values, unit="fraction")
    strength_sweep(curves("long_start"), "long_start", LONG_START_STRENGTHS, metrics)
    metrics["long_start.start.accuracy"] = mean_over_runs(extra["long_start.start"], unit="fraction")
    sample_efficiency(curves("rollouts"), "rollouts", metrics)
    return metrics


def sweep(strengths: Sequence[float], seeds: int) -> list[Run]:
    """Return runs with every prover, and with the outcome only, for every seed."""
    runs = [Run(seed, strength) for strength in strengths for seed in range(seeds)]
    return runs + [Run(seed, PAPER_STRENGTH, 0.0) for seed in range(seeds)]


def start_accuracies(training: PlantedTraining, seeds: int) -> list[float]:
    """Return every seed's accuracy after the warm start."""
    population = Population(WORLD, [Run(seed) for seed in range(seeds)], training)
    population.start()
    accuracy: Floats = WORLD.outcomes(population.sample(PASS_SAMPLES, "planted-pass")).mean(axis=1)
    return accuracy.tolist()


# --- plots ---------------------------------------------------------------------------------------------------


def draw(metrics: dict[str, Metric], extra: dict[str, Any], images: Path) -> None:
    """Write the three panels."""
    images.mkdir(parents=True, exist_ok=True)
    for name, panel in (("efficiency", draw_efficiency), ("strength", draw_strength), ("pass_at", draw_pass)):
        with matplotlib.rc_context(RC):
            figure = Figure(figsize=(6.2, 3.8), layout="constrained")
            axes = figure.add_subplot()
            axes.grid(alpha=0.6)
            panel(axes, metrics, extra)
            axes.legend(frameon=False, fontsize=10, loc="center left" if name == "efficiency" else "best")
            figure.savefig(images / f"planted_{name}.png", dpi=130)


def draw_efficiency(axes: Any, metrics: dict[str, Metric], extra: dict[str, Any]) -> None:
    """Draw accuracy over iterations: mean and range over seeds."""
    curves = extra["efficiency.curves"]
    at, accuracy = np.array(curves["at"]), np.array(curves["accuracy"])
    alphas = np.array([alpha for _, _, alpha in curves["runs"]])
    for arm, alpha in (("effective", 1.0), ("outcome", 0.0)):
        rows = accuracy[alphas == alpha]
        axes.plot(at[1:], rows.mean(axis=0)[1:], color=COLOURS[arm], label=ARMS[arm])
        low, high = rows.min(axis=0)[1:], rows.max(axis=0)[1:]
        axes.fill_between(at[1:], low, high, color=COLOURS[arm], alpha=0.2, linewidth=0)
    axes.set(xscale="log", xlabel="iteration", ylabel="accuracy", ylim=(-0.02, 1.02))


def draw_strength(axes: Any, metrics: dict[str, Metric], extra: dict[str, Any]) -> None:
    """Draw accuracy averaged over the run against the prover's strength, with intervals over seeds."""
    marks = (("strength", STRENGTHS, "start of the paper", "o-"),)
    marks += (("long_start", LONG_START_STRENGTHS, "longer start", "s--"),)
    for name, strengths, label, style in marks:
        found = [metrics[f"{name}.strength_{strength:g}.mean_accuracy"] for strength in strengths]
        values, low, high = ends(found)
        colour = COLOURS["effective"] if name == "strength" else PALETTE["oracle"]
        axes.errorbar(strengths, values, [values - low, high - values], fmt=style, color=colour, label=label)
    outcome = metrics["strength.outcome.mean_accuracy"].value
    axes.axhline(outcome, color=COLOURS["outcome"], label=ARMS["outcome"])
    axes.axvspan(8, 15, color=PALETTE["grid"], alpha=0.6, label="range in the paper", linewidth=0)
    axes.set(xscale="log", xlabel="strength γ of the prover", ylabel="accuracy, mean over the run")
    axes.set_ylim(-0.02, 1.02)


def ends(found: Sequence[Metric]) -> tuple[Floats, Floats, Floats]:
    """Return values and both ends of their intervals, the value itself where there is none."""
    rows = [
        [m.value, m.value if m.low is None else m.low, m.value if m.high is None else m.high] for m in found
    ]
    value, low, high = np.array(rows, dtype=np.float64).T
    return value, low, high


def draw_pass(axes: Any, metrics: dict[str, Metric], extra: dict[str, Any]) -> None:
    """Draw Pass@N after 100 iterations, with intervals over seeds."""
    for arm in ARMS:
        found = [metrics[f"pass_at.{arm}.{k}"] for k in PASS_AT]
        value, low, high = ends(found)
        axes.plot(PASS_AT, value, "o-", color=COLOURS[arm], label=ARMS[arm], markersize=4)
        axes.fill_between(PASS_AT, low, high, color=COLOURS[arm], alpha=0.2, linewidth=0)
    axes.set(xlabel="N", ylabel="Pass@N after 100 iterations", ylim=(-0.02, 1.02))
    axes.set_xscale("log", base=2)


# --- tables --------------------------------------------------------------------------------------------------


def efficiency_table(metrics: dict[str, Metric], name: str) -> str:
    """Return final and mean accuracy, and iterations to 50, 90 and 99 %, of both arms."""
    rows = []
    for arm in ("effective", "outcome"):
        key = f"{name}.{arm}"
        row = [ARMS[arm], *(shown(metrics[f"{key}.{what}_accuracy"]) for what in ("final", "mean"))]
        for level in (50, 90, 99):
            share = metrics[f"{key}.seeds_reaching_{level}"]
            assert share.value is not None
            assert share.n is not None
            seeds = f"{round(share.value * share.n)} of {share.n} seeds"
            times = metrics.get(f"{key}.iterations_to_{level}")
            row.append(seeds if times is None else f"{shown(times, 1, 0)}")
        rows.append(row)
    heads = ["", "accuracy at the end, %", "mean over the run, %"]
    return table([*heads, *(f"iterations to {level} %" for level in (50, 90, 99))], rows)


def markdown(metrics: dict[str, Metric], sizes: Sizes) -> str:
    """Return all tables."""
    strengths = []
    for strength in STRENGTHS:
        keys = [f"{name}.strength_{strength:g}.mean_accuracy" for name in ("strength", "long_start")]
        difference = metrics[f"strength.strength_{strength:g}.minus_outcome"]
        success = 100 * WORLD.success(WORLD.prover(strength))
        row = [f"{strength:g}", f"{success:.2f}", shown(metrics[keys[0]]), shown(difference)]
        strengths.append([*row, shown(metrics.get(keys[1]))])
    outcomes = [shown(metrics[f"{name}.outcome.mean_accuracy"]) for name in ("strength", "long_start")]
    strengths.append([ARMS["outcome"], "", outcomes[0], "", outcomes[1]])
    passes = [
        [ARMS[arm], *(shown(metrics[f"pass_at.{arm}.{k}"], digits=2) for k in PASS_AT[::2])] for arm in ARMS
    ]
    heads = ["prover γ", "its success, %", "mean accuracy, %", "minus outcome only"]
    parts = [
        "# The planted subsequence",
        f"95 % intervals: Student's t over seeds ({sizes.seeds}; {sizes.few_seeds} with the longer start and with "
        f"counted values); none where no seed differs. "
        f"Accuracy: {sizes.test_responses} fresh responses, every {sizes.every} iterations.",
        f"## Sample efficiency, {sizes.iterations} iterations",
        efficiency_table(metrics, "efficiency"),
        f"The same with Q^π counted from {sizes.rollouts} completions of every prefix, "
        f"{sizes.rollout_iterations} iterations:",
        efficiency_table(metrics, "rollouts"),
        f"## Strength of the prover, mean over {sizes.sweep_iterations} iterations",
        table([*heads, f"start of {sizes.long_start} samples"], strengths),
        f"Accuracy at the start: {shown(metrics['pass_at.start.1'], digits=4)} %; with the longer start "
        f"{shown(metrics['long_start.start.accuracy'], digits=4)} %.",
        "## Pass@N after 100 iterations, %",
        table(["", *(f"N = {k}" for k in PASS_AT[::2])], passes),
        "Made by `python benchmarks/planted.py`.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def main() -> None:
    """Measure, and write the results and the plots."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--sizes", choices=SIZES, default="default", help="how much is done of everything")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = SIZES[options.sizes]
    extra = run_all(sizes)
    metrics = measure(extra)
    publish(options.results, "planted", metrics, markdown(metrics, sizes), settings=vars(sizes), extra=extra)
    draw(metrics, extra, options.images)


if __name__ == "__main__":
    main()
