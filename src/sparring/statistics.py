"""Intervals, tests and threshold-free measures for scores and counts.

Contract: seeded and deterministic; plain numpy; nothing here knows about problems or steps. Intervals are
percentile bootstraps (Efron 1979) over cases, or over clusters of cases that are not independent (the
steps of one solution, the samples of one problem), or Wilson intervals (1927) for a single proportion. A
statistic that does not exist in a sample is NaN inside and ``None`` in a `Metric`.

Not here: what is measured, and the writing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparring.runs import Metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Seed = int | Sequence[int]

LEVEL = 0.95
RESAMPLES = 2000
_BLOCK = 2_000_000  # numbers held at a time by a vectorised bootstrap: 16 MB
_MOST_UNDEFINED = 0.05  # share of resamples without the statistic above which no interval is given
_EXACT_FLIPS = 12  # up to this many clusters all 2^k sign flips are enumerated


class Resampler:
    """Draws bootstrap resamples of `size` cases, whole clusters at a time.

    A resample is a row of weights: how often each case was drawn. Any statistic that can be computed from
    weighted sums is then computed for many resamples at once.
    """

    def __init__(self, size: int, *, clusters: Sequence[Hashable] | None = None, seed: Seed = 0) -> None:
        self.cluster_of = cluster_numbers(size, clusters)
        self.count = int(self.cluster_of.max()) + 1 if size else 0
        self._random = np.random.default_rng(seed)

    def weights(self, resamples: int) -> Floats:
        """Return weights of shape (resamples, size); each row draws as many clusters as there are."""
        drawn = self._random.integers(0, self.count, size=(resamples, self.count))
        drawn += np.arange(resamples)[:, None] * self.count
        counts = np.bincount(drawn.ravel(), minlength=resamples * self.count).reshape(resamples, self.count)
        return counts[:, self.cluster_of].astype(np.float64)


def cluster_numbers(size: int, clusters: Sequence[Hashable] | None) -> Integers:
    """Return one cluster number from 0 per case, in order of appearance; without clusters, each case its own.

    Raises:
        ValueError: not one cluster per case.
    """
    if clusters is None:
        return np.arange(size, dtype=np.int64)
    if len(clusters) != size:
        raise ValueError(f"{len(clusters)} clusters for {size} cases")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)


def blocks(resamples: int, width: int) -> Iterator[int]:
    """Yield how many resamples to do at a time so that a row of `width` numbers each stays within memory."""
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def percentile_metric(
    value: float, draws: Floats, *, n: int, independent: int, unit: str = "", level: float = LEVEL
) -> Metric:
    """Return a metric with the percentile interval of its bootstrap draws.

    Args:
        value: the statistic on the sample; NaN if undefined.
        draws: shape (resamples,); NaN where a resample does not define the statistic.
        n: cases behind the value.
        independent: how many clusters could be drawn; below two there is no interval.
        unit: unit of the value.
        level: coverage, in (0, 1).
    """
    if math.isnan(value):
        return Metric(None, n=n, unit=unit)
    defined = draws[~np.isnan(draws)]
    if independent < 2 or len(defined) < (1 - _MOST_UNDEFINED) * len(draws) or len(defined) == 0:
        return Metric(float(value), n=n, unit=unit)
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Metric(float(value), float(low), float(high), n, unit)


def bootstrap_weighted(
    statistic: Callable[[Floats], Floats],
    size: int,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    unit: str = "",
    level: float = LEVEL,
) -> Metric:
    """Return a statistic of weighted cases with its bootstrap interval, many resamples at once.

    Args:
        statistic: takes weights of shape (rows, size), returns shape (rows,), NaN where undefined.
        size: number of cases.
        clusters: one key per case; cases with equal keys are drawn together.
        resamples: number of bootstrap draws.
        seed: of the draws.
        unit: unit of the statistic.
        level: coverage of the interval.
    """
    if size == 0:
        return Metric(None, n=0, unit=unit)
    resampler = Resampler(size, clusters=clusters, seed=seed)
    draws = [statistic(resampler.weights(rows)) for rows in blocks(resamples, size)]
    value = float(statistic(np.ones((1, size)))[0])
    independent = resampler.count
    joined = np.concatenate(draws) if draws else np.empty(0)
    return percentile_metric(value, joined, n=size, independent=independent, unit=unit, level=level)


def bootstrap_statistic(
    statistic: Callable[[Integers], float],
    size: int,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    unit: str = "",
    level: float = LEVEL,
) -> Metric:
    """Return any statistic of case indices with its bootstrap interval; the general, slower sibling.

    `statistic` takes a sorted one-dimensional array of indices into the cases (repeated where drawn
    repeatedly) and returns a number, NaN where undefined. Everything else as in `bootstrap_weighted`.
    """

    def by_rows(weights: Floats) -> Floats:
        cases = np.arange(size, dtype=np.int64)
        return np.array(
            [statistic(np.repeat(cases, row.astype(np.int64))) for row in weights], dtype=np.float64
        )

    return bootstrap_weighted(
        by_rows, size, clusters=clusters, resamples=resamples, seed=seed, unit=unit, level=level
    )


def bootstrap_mean(
    values: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    unit: str = "",
    level: float = LEVEL,
) -> Metric:
    """Return the mean over cases with its bootstrap interval (over clusters where given).

    Raises:
        ValueError: a value is NaN or infinite, or the values are not one-dimensional.
    """
    numbers = finite(values)
    return bootstrap_weighted(
        lambda weights: (weights @ numbers) / weights.sum(axis=1),
        len(numbers),
        clusters=clusters,
        resamples=resamples,
        seed=seed,
        unit=unit,
        level=level,
    )


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of a − b over the same cases, its interval, and a two-sided p-value for "no difference"."""

    difference: Metric
    p_value: float | None


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    unit: str = "",
) -> PairedDifference:
    """Compare two systems on the same cases.

    The interval is a bootstrap of the per-case differences; the p-value comes from flipping their signs,
    cluster by cluster (Fisher's randomisation test): all 2^k flips up to 12 clusters that differ, else
    random ones, counting the observed one among them so that it is never zero.

    Raises:
        ValueError: different lengths, or a value that is not finite.
    """
    first, second = finite(a), finite(b)
    if len(first) != len(second):
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    differences = first - second
    mean = bootstrap_mean(differences, clusters=clusters, resamples=resamples, seed=seed, unit=unit)
    if len(differences) == 0:
        return PairedDifference(mean, None)
    sums = np.bincount(cluster_numbers(len(differences), clusters), weights=differences).astype(np.float64)
    return PairedDifference(mean, _sign_flip_p_value(sums, max(resamples, 10_000), seed))


def _sign_flip_p_value(sums: Floats, flips: int, seed: int) -> float:
    """Return the share of sign patterns whose total is at least as far from zero as the observed one."""
    moving = sums[sums != 0]
    # Rounding must not break a tie with the observed total.
    bar = abs(moving.sum()) - 1e-9 * np.abs(moving).sum()
    if len(moving) <= _EXACT_FLIPS:
        patterns = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ moving) >= bar))
    random = np.random.default_rng([seed, 1])  # another stream than the interval's
    extreme = 0
    for rows in blocks(flips, len(moving)):
        signs = 1.0 - 2.0 * random.integers(0, 2, size=(rows, len(moving)))
        extreme += int(np.sum(np.abs(signs @ moving) >= bar))
    return (extreme + 1) / (flips + 1)


def proportion(successes: int, n: int, *, level: float = LEVEL) -> Metric:
    """Return a proportion with its Wilson interval, which stays in [0, 1] and is right for small n.

    Raises:
        ValueError: not 0 ≤ successes ≤ n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Metric(None, n=0, unit="fraction")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return Metric(share, low, high, n, "fraction")


class WeightedAuc:
    """Area under the ROC curve, for many weightings of the same cases at once.

    The chance that a random positive scores higher than a random negative, ties counting one half
    (Mann-Whitney).

    Args:
        scores: shape (n,), finite.
        labels: shape (n,), truthy where the case is positive.
        unit_of: for each case the column of the weights that it belongs to; by default column i is case i.
    """

    def __init__(self, scores: ArrayLike, labels: ArrayLike, unit_of: Integers | None = None) -> None:
        numbers = finite(scores)
        positive = np.asarray(labels, dtype=bool)
        if positive.shape != numbers.shape:
            raise ValueError(f"{len(positive)} labels for {len(numbers)} scores")
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        new = (
            np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, dtype=bool)
        )
        self._tie_starts = np.flatnonzero(new)
        self._positive = positive[order]
        self._unit_of = (np.arange(len(numbers)) if unit_of is None else unit_of)[order]

    def __call__(self, weights: Floats) -> Floats:
        """Return the AUC for each row of weights, shape (rows,); NaN where one class has no weight."""
        if len(self._positive) == 0:
            return np.full(len(weights), np.nan)
        done, parts = 0, []
        for rows in blocks(len(weights), len(self._positive)):
            parts.append(self._rows(weights[done : done + rows]))
            done += rows
        return np.concatenate(parts)

    def _rows(self, weights: Floats) -> Floats:
        spread = weights[:, self._unit_of]
        positive = np.add.reduceat(spread * self._positive, self._tie_starts, axis=1)
        negative = np.add.reduceat(spread * ~self._positive, self._tie_starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        wins = np.sum(positive * (below + 0.5 * negative), axis=1)
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1.0), np.nan)


def auc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the area under the ROC curve, ties counting one half; ``None`` if one class is missing."""
    area = WeightedAuc(scores, labels)
    value = float(area(np.ones((1, len(np.asarray(scores)))))[0])
    return None if math.isnan(value) else value


def auc_interval(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    level: float = LEVEL,
) -> Metric:
    """Return the AUC with its bootstrap interval (over clusters where given)."""
    area = WeightedAuc(scores, labels)
    size = len(np.asarray(scores))
    return bootstrap_weighted(
        area, size, clusters=clusters, resamples=resamples, seed=seed, unit="fraction", level=level
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The cases with a score in [low, high) (the last bin holds 1 too): mean score against share correct."""

    low: float
    high: float
    count: int
    mean_score: float | None
    share_correct: float | None


def reliability_bins(scores: ArrayLike, labels: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Return the reliability diagram of probabilities against labels in [0, 1], in bins of equal width.

    Raises:
        ValueError: a score or label outside [0, 1], or different lengths.
    """
    numbers, truths = _fractions(scores), _fractions(labels)
    if len(numbers) != len(truths):
        raise ValueError(f"{len(truths)} labels for {len(numbers)} scores")
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, bins - 1)
    result = []
    for index in range(bins):
        inside = place == index
        count = int(inside.sum())
        means = (float(numbers[inside].mean()), float(truths[inside].mean())) if count else (None, None)
        result.append(ReliabilityBin(float(edges[index]), float(edges[index + 1]), count, *means))
    return result


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike, *, bins: int = 10) -> float | None:
    """Return the mean over cases of |mean score − share correct| of their bin; ``None`` without cases."""
    table = reliability_bins(scores, labels, bins=bins)
    total = sum(row.count for row in table)
    if total == 0:
        return None
    gaps = (
        row.count * abs(row.mean_score - row.share_correct)
        for row in table
        if row.mean_score is not None and row.share_correct is not None
    )
    return sum(gaps) / total


def finite(values: ArrayLike) -> Floats:
    """Return the values as a one-dimensional float array.

    Raises:
        ValueError: another shape, or a NaN or infinite value.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"expected one-dimensional values, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"value {int(np.argmin(np.isfinite(numbers)))} is not finite")
    return numbers


def _fractions(values: ArrayLike) -> Floats:
    numbers = finite(values)
    if len(numbers) and (numbers.min() < 0 or numbers.max() > 1):
        raise ValueError("values outside [0, 1]")
    return numbers
