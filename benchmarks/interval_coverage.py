"""What the intervals of `sparring.statistics` cover: simulated data of known truth, one row per kind of number.

    python benchmarks/interval_coverage.py --draws 1000

Every row draws so many data sets, makes the interval of each, and counts how often the truth lies in it; 95 is right. A
data set that gets no interval is counted apart. Beside it stands what a plain percentile bootstrap covers. Writes
`interval_coverage.json` and `.md` into `--results`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from publishing import command_line, table
from sparring.evaluation.processbench import Case, evaluate
from sparring.evaluation.scored import Threshold
from sparring.files import atomic_write_json, atomic_write_text
from sparring.runs import Metric
from sparring.statistics import (
    RESAMPLES,
    Floats,
    Resampler,
    auc_interval,
    bootstrap_mean,
    mean_over_runs,
    paired_difference,
    proportion,
)

Random = np.random.Generator
Sample = Callable[[Random], tuple[Metric, tuple[float, float] | None]]
"""Draws a data set; returns its metric, and the plain percentile interval of the same statistic where that is simple."""


def percentile(values: Floats, seed: int = 0) -> tuple[float, float]:
    """Return the plain percentile interval of a mean."""
    weights = Resampler(len(values), seed=seed).weights(RESAMPLES)
    low, high = np.quantile(weights @ values / len(values), [0.025, 0.975])
    return float(low), float(high)


def mean_of(draw: Callable[[Random], Floats], **options: Any) -> Sample:
    """Return a row: the mean of values that are drawn."""

    def sample(random: Random) -> tuple[Metric, tuple[float, float]]:
        values = draw(random)
        return bootstrap_mean(values, **options), percentile(values)

    return sample


def over_runs(draw: Callable[[Random], Floats], unit: str = "") -> Sample:
    """Return a row: the mean over runs."""

    def sample(random: Random) -> tuple[Metric, tuple[float, float]]:
        values = draw(random)
        return mean_over_runs(values, unit=unit), percentile(values)

    return sample


def shares(chance: float, n: int, per_cluster: int, spread: float) -> Sample:
    """Return a row: a share over clusters whose own chances vary (beta-binomial, `spread` is their correlation)."""

    def sample(random: Random) -> tuple[Metric, tuple[float, float]]:
        a, b = chance * (1 / spread - 1), (1 - chance) * (1 / spread - 1)
        rows = random.random((n, per_cluster)) < random.beta(a, b, n)[:, None]
        clusters = np.repeat(np.arange(n), per_cluster).tolist()
        metric = bootstrap_mean(rows.ravel().astype(float), clusters=clusters, unit="fraction")
        return metric, percentile(rows.mean(axis=1))

    return sample


def differences(a_only: float, b_only: float, n: int) -> Sample:
    """Return a row: the paired difference of two systems that alone are right in so many cases."""

    def sample(random: Random) -> tuple[Metric, tuple[float, float]]:
        drawn = random.random(n)
        a, b = (drawn < a_only).astype(float), (drawn > 1 - b_only).astype(float)
        return paired_difference(a, b, unit="fraction").difference, percentile(a - b)

    return sample


def areas(positive: int, negative: int, shift: float) -> Sample:
    """Return a row: the AUC of normal scores."""

    def sample(random: Random) -> tuple[Metric, None]:
        scores = np.concatenate([random.normal(shift, 1, positive), random.normal(0, 1, negative)])
        return auc_interval(scores, [True] * positive + [False] * negative), None

    return sample


def f1(erroneous: int, correct: int, right_erroneous: float, right_correct: float) -> Sample:
    """Return a row: ProcessBench's F1 with so many cases of each kind."""

    def sample(random: Random) -> tuple[Metric, None]:
        cases = [
            Case("set", str(i), -1, (1.0,), (0.9 if random.random() < right_correct else 0.1,))
            for i in range(correct)
        ] + [
            Case("set", f"e{i}", 0, (0.0,), (0.1 if random.random() < right_erroneous else 0.9,))
            for i in range(erroneous)
        ]
        return evaluate(cases, Threshold(0.5, "fixed"), resamples=1000)["set.f1"], None

    return sample


def rows() -> dict[str, tuple[float, Sample]]:
    """Return, by name, the truth and how a data set is drawn."""
    table: dict[str, tuple[float, Sample]] = {}
    for n in (2, 3, 5, 10, 19, 20, 30, 60, 200):
        table[f"mean of {n} normal values"] = 0.0, mean_of(lambda r, n=n: r.normal(size=n))  # type: ignore[misc]
    for n in (3, 5, 10):
        table[f"accuracy over {n} seeds, 0.7 ± 0.03"] = (
            0.7, over_runs(lambda r, n=n: r.normal(0.7, 0.03, n), "fraction"),  # type: ignore[misc]
        )  # fmt: skip
    for n in (5, 20, 60):
        table[f"mean of {n} log-normal values (σ 0.5)"] = (
            float(np.exp(0.125)), mean_of(lambda r, n=n: r.lognormal(0, 0.5, n)),  # type: ignore[misc]
        )  # fmt: skip
    for chance, n in ((0.5, 10), (0.02, 10), (0.9, 30), (0.98, 100), (0.003, 400), (0.02, 400), (0.7, 400)):
        draw = mean_of(lambda r, c=chance, n=n: (r.random(n) < c).astype(float), unit="fraction")  # type: ignore[misc]
        table[f"share {chance} of {n} cases"] = chance, draw
    for chance, n, each, spread in (
        (0.5, 10, 8, 0.3),
        (0.02, 50, 8, 0.2),
        (0.005, 200, 4, 0.2),
        (0.3, 100, 8, 0.3),
    ):
        name = f"share {chance}, {n} clusters of {each}, correlation {spread}"
        table[name] = chance, shares(chance, n, each, spread)
    for a, b, n in ((0.1, 0.1, 10), (0.01, 0.01, 200), (0.02, 0.0, 200), (0.1, 0.05, 60), (0.15, 0.1, 400)):
        name = f"paired difference, {a} and {b} right alone, {n} cases"
        table[name] = a - b, differences(a, b, n)
    for positive, negative, shift, truth in (
        (5, 5, 1.0, 0.7602), (5, 100, 1.0, 0.7602), (15, 300, 1.0, 0.7602), (30, 30, 1.0, 0.7602),
        (25, 25, 2.5, 0.9615), (100, 100, 0.0, 0.5), (200, 200, 2.5, 0.9615),
    ):  # fmt: skip
        table[f"AUC {truth:.2f}, {positive} and {negative} cases"] = truth, areas(positive, negative, shift)
    for erroneous, correct, one, other in (
        (5, 5, 0.6, 0.8), (6, 100, 0.6, 0.8), (15, 60, 0.3, 0.9), (25, 25, 0.6, 0.8), (104, 96, 0.7, 0.95)
    ):  # fmt: skip
        truth = 2 * one * other / (one + other)
        table[f"F1 {truth:.2f}, {erroneous} and {correct} cases"] = truth, f1(erroneous, correct, one, other)
    return table


def main() -> None:
    """Simulate, write."""
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    lines = []
    for number, (name, (truth, sample)) in enumerate(rows().items()):
        if arguments.only not in name:
            continue
        random = np.random.default_rng([0, number])
        hits, plain, without, kinds = 0, [], 0, set()
        for _ in range(arguments.draws):
            metric, other = sample(random)
            if other is not None:
                plain.append(other[0] <= truth <= other[1])
            if metric.low is None or metric.high is None:
                without += 1
                continue
            kinds.add(metric.interval)
            hits += metric.low <= truth <= metric.high
        given = arguments.draws - without
        covered = proportion(hits, given)
        old = float(np.mean(plain)) if plain else None
        found[name] = {"covered": covered.value, "low": covered.low, "high": covered.high, "given": given,
                       "percentile": old, "intervals": sorted(kinds)}  # fmt: skip
        share = "–" if old is None else f"{100 * old:.1f}"
        none = f"{100 * without / arguments.draws:.1f}"
        lines.append([name, covered.text(100), share, none, ", ".join(sorted(kinds))])
        print(*lines[-1], sep=" | ", flush=True)
    if not arguments.only:
        atomic_write_json(
            arguments.results / "interval_coverage.json", {"draws": arguments.draws, "rows": found}
        )
        about = (
            f"{arguments.draws} data sets per row; 95 % intervals. *None*: data sets without an interval (no spread among "
            "few cases, or a class that is missing).\n\n"
        )
        heads = ["number", "covered, %", "percentile bootstrap covers, %", "none, %", "kinds of interval"]
        atomic_write_text(arguments.results / "interval_coverage.md", about + table(heads, lines))


if __name__ == "__main__":
    main()
