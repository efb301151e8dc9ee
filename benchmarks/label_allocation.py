"""What adaptive allocation of rollouts saves, at equal label error, against the same number for every prefix.

    python benchmarks/label_allocation.py

The label says whether a prefix's value is above a threshold; its error is the share of prefixes on the wrong side. Values
come from three distributions and from the tiny policy of the chain world (shares of many rollouts, measured once by
`sparring label` and then taken for the truth); rollouts are then Bernoulli draws. How many rollouts the uniform rule
needs for the same error is read off its curve, linear in the logarithm of the rollouts. The root mean squared error of
the values themselves is compared at equal rollouts. Writes `label_allocation.json` and `.md` into the results folder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from publishing import command_line, publish, table
from sparring.labels.allocation import Adaptive, Allocation, Uniform
from sparring.labels.command import run_label
from sparring.labels.job import labelled_values
from sparring.labels.settings import LabelSettings
from sparring.runs import Metric
from sparring.settings import dump_settings
from sparring.statistics import mean_over_runs

Values = NDArray[np.float64]
UNIFORM = (1, 3, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257)
# Odd, since a tie at one half is decided one way: an even number has the error of the odd number below it.
MOST = (8, 16, 32, 64)
SOURCES = ("chain", "uniform", "two_ends", "weak_policy")
BOUNDS = {"fraction": (-math.inf, 1.0), "rollouts": (0.0, math.inf), "ratio": (0.0, math.inf)}
"""What a number cannot leave; more may be spent than saved."""
CONFIDENCES = (0.8, 0.9, 0.95)


def main() -> None:
    """Measure values once, simulate, write."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--run", type=Path, default=Path("runs/label-allocation"), help="run of `sparring label`"
    )
    parser.add_argument("--seeds", type=int, default=10, help="simulations, seeds 0, 1, …")
    parser.add_argument(
        "--prefixes", type=int, default=1000, help="simulated prefixes per distribution and seed"
    )
    arguments = parser.parse_args()
    settings = LabelSettings(problems=40, chain_steps=(4, 8), n_cov=2, n_mc=32)
    run_label(settings, arguments.run, Console(stderr=True))
    chain = chain_values(arguments.run)
    metrics: dict[str, Metric] = {"label_allocation.chain_values": Metric(len(chain), unit="prefixes")}
    raw: dict[str, list[float]] = {}
    for name in SOURCES:
        per_seed = [
            simulate(name, draw(name, chain, arguments.prefixes, seed), seed)
            for seed in range(arguments.seeds)
        ]
        for key, unit in ((key, unit) for key, (_, unit) in per_seed[0].items()):
            values = raw[key] = [found[key][0] for found in per_seed]
            metrics[f"label_allocation.{key}"] = (
                Metric(None, n=len(values), unit=unit)
                if any(np.isnan(values))
                else mean_over_runs(values, unit=unit, bounds=BOUNDS[unit])
            )
    described = {
        "label": dump_settings(settings),
        "seeds": arguments.seeds,
        "prefixes": arguments.prefixes,
        "adaptive": "first 4, rounds of 4",
        "interval": "95 %, Student's t over seeds",
    }
    page = savings_table(metrics)
    publish(arguments.results, "label_allocation", metrics, page, settings=described, extra={"per_seed": raw})


def chain_values(run: Path) -> Values:
    """Return the measured values of all different prefixes of a run."""
    found = {}
    for one in labelled_values(run):
        for length, (value, count) in enumerate(zip(one.values, one.counts, strict=True)):
            if count > 0:
                found[one.trace.problem.id, one.trace.steps[:length]] = value
    return np.array(list(found.values()))


def draw(name: str, chain: Values, prefixes: int, seed: int) -> Values:
    """Return true values of simulated prefixes."""
    rng = np.random.default_rng([seed, 1])
    if name == "chain":
        return rng.choice(chain, prefixes)
    if name == "uniform":
        return rng.random(prefixes)
    return rng.beta(0.3, 0.3, prefixes) if name == "two_ends" else rng.beta(0.2, 2.0, prefixes)


def cases() -> list[tuple[float, int, float]]:
    """Return the compared (threshold, most, confidence); a first success needs no confidence."""
    return [
        (threshold, most, confidence)
        for threshold in (0.0, 0.5)
        for most, confidence in itertools.product(MOST, (0.9,) if threshold == 0.0 else CONFIDENCES)
    ]


def metric_key(name: str, threshold: float, most: int, confidence: float) -> str:
    """Return the part of a metric's name that tells the case."""
    above = "above_zero" if threshold == 0.0 else "above_half"
    return f"{name}.{above}.most_{most}.confidence_{confidence:.0%}".rstrip("%")


def simulate(name: str, truths: Values, seed: int) -> dict[str, tuple[float, str]]:
    """Return, by metric, what one seed gives: savings for each threshold, limit and confidence."""
    found: dict[str, tuple[float, str]] = {}
    curves = {}
    for number, (threshold, most, confidence) in enumerate(cases()):
        if threshold not in curves:
            rng = np.random.default_rng([seed, 2])
            curves[threshold] = [spend(Uniform(n), truths, threshold, rng) for n in UNIFORM]
        curve = curves[threshold]
        rule = Adaptive(threshold, most, confidence=confidence)
        error, rollouts, squared = spend(rule, truths, threshold, np.random.default_rng([seed, 3, number]))
        key = metric_key(name, threshold, most, confidence)
        # Stopping at the first success gives the very label that `most` rollouts would have given.
        equal = float(most) if threshold == 0.0 else rollouts_for(error, curve)
        found[f"{key}.error"] = error, "fraction"
        found[f"{key}.rollouts"] = rollouts, "rollouts"
        found[f"{key}.saving"] = 1 - rollouts / equal, "fraction"
        uniform_squared = np.interp(np.log(rollouts), np.log(UNIFORM), [point[2] for point in curve])
        found[f"{key}.rmse_ratio"] = float(np.sqrt(squared / uniform_squared)), "ratio"
    return found


def spend(
    rule: Allocation, truths: Values, threshold: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return label error, rollouts per prefix and mean squared error of the values under a rule."""
    shares, counts = np.empty(len(truths)), np.empty(len(truths))
    for index, truth in enumerate(truths):
        successes = count = 0
        while more := rule.more(successes, count):
            successes, count = successes + int(rng.binomial(more, truth)), count + more
        shares[index], counts[index] = successes / count, count
    wrong = (shares > threshold) != (truths > threshold)
    return float(wrong.mean()), float(counts.mean()), float(((shares - truths) ** 2).mean())


def rollouts_for(error: float, curve: Sequence[tuple[float, float, float]]) -> float:
    """Return the rollouts with which the uniform rule has this error; NaN outside its measured curve."""
    # Noise can make the curve rise a little: the best error with at most n rollouts never does.
    errors = np.minimum.accumulate([point[0] for point in curve])
    if not errors[-1] <= error <= errors[0]:
        return float("nan")
    kept = np.unique(errors, return_index=True)[1]  # ascending errors, each at its fewest rollouts
    return float(np.exp(np.interp(error, errors[kept], np.log(np.array(UNIFORM)[kept]))))


def savings_table(metrics: dict[str, Metric]) -> str:
    """Return the results as Markdown."""
    measures = (("error", 100, 1), ("rollouts", 1, 1), ("saving", 100, 0), ("rmse_ratio", 1, 2))
    rows = []
    for name, (threshold, most, confidence) in itertools.product(SOURCES, cases()):
        key = f"label_allocation.{metric_key(name, threshold, most, confidence)}"
        until = "first success" if threshold == 0.0 else f"{confidence:.0%} sure"
        cells = [shown(metrics[f"{key}.{measure}"], scale, digits) for measure, scale, digits in measures]
        rows.append([name.replace("_", " "), f"{threshold:g}", str(most), until, *cells])
    heads = ["values", "label: value above", "at most", "until", "label error, %", "rollouts per prefix"]
    heads += ["saved at equal label error, %", "RMSE of values, against uniform at equal rollouts"]
    return table(heads, rows) + "\n95 % intervals: Student's t over seeds.\n"


def shown(metric: Metric, scale: float, digits: int) -> str:
    """Return a metric with its interval, ``outside`` where the uniform rule's curve does not reach the error."""
    if metric.value is None:
        return "outside"
    low, high = (metric.value if end is None else end for end in (metric.low, metric.high))
    return f"{scale * metric.value:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


if __name__ == "__main__":
    main()
