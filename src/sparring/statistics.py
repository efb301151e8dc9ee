"""Intervals, tests and threshold-free measures for scores and counts.

Contract: seeded and deterministic; nothing here knows about problems or steps. Cases that are not independent (the
steps of one solution, the samples of one problem) are one cluster; k is the number of clusters that the number rests
on, for an AUC or F1 those of the rarer class. Which interval a number gets, which its `Metric` says, too:

| k | interval |
|---|---|
| 1 | none |
| 2 to 19 | Student's t with k − 1 degrees of freedom, standard error by the jackknife over clusters |
| 20 and more | percentile bootstrap over clusters (Efron 1979), widened to Student's quantile (Hesterberg 2015, §4.3) |

Shares near 0 or 1, where resamples hardly vary, get a Wilson interval (1927): a single proportion always, a mean of
values in [0, 1] where fewer than 20 clusters differ from 0, or from 1. A percentile bootstrap of five seeds covers 84 %
instead of 95; `benchmarks/interval_coverage.py` measures what each of these covers. A statistic that does not exist
in a sample is NaN inside and ``None`` in a `Metric`.

Not here: what is measured, and the writing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparring.errors import plural
from sparring.runs import Metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Seed = int | Sequence[int]

LEVEL = 0.95
LEAST_SCALE = 1e-3
RESAMPLES = 2000
_BLOCK = 2_000_000  # numbers held at a time by a vectorised bootstrap: 16 MB
_MOST_UNDEFINED = 0.05  # share of resamples without the statistic above which no interval is given
_EXACT_FLIPS = 12  # up to this many clusters all 2^k sign flips are enumerated
FEW = 20
"""Below so many independent clusters an interval is Student's, not a bootstrap's."""
STUDENT, BOOTSTRAP, WILSON = "t", "bootstrap", "Wilson"
"""What `Metric.interval` may be."""
Bounds = tuple[float, float]
_UNBOUNDED: Bounds = (-math.inf, math.inf)
_NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)


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

    def left_out(self) -> Floats:
        """Return weights of shape (clusters, size) of which row i leaves out cluster i: the jackknife's samples."""
        kept = self.cluster_of[None, :] != np.arange(self.count)[:, None]
        return np.asarray(kept, dtype=np.float64)


def cluster_numbers(size: int, clusters: Sequence[Hashable] | None) -> Integers:
    """Return one cluster number from 0 per case, in order of appearance; without clusters, each case its own.

    Raises:
        ValueError: not one cluster per case.
    """
    if clusters is None:
        return np.arange(size, dtype=np.int64)
    if len(clusters) != size:
        raise ValueError(f"{plural(len(clusters), 'cluster')} for {plural(size, 'case')}")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)


def blocks(resamples: int, width: int) -> Iterator[int]:
    """Yield how many resamples to do at a time so that a row of `width` numbers each stays within memory."""
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


@lru_cache(maxsize=1000)
def student_quantile(freedom: int, level: float = LEVEL) -> float:
    """Return the t with P(|T| ≤ t) = `level` for so many degrees of freedom.

    Raises:
        ValueError: no degree of freedom, or a level outside (0, 1).
    """
    if freedom < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"no Student's quantile for {freedom} degrees of freedom at level {level}")
    import mpmath  # a quarter of a second that most commands never need

    def outside(t: Any) -> Any:
        return mpmath.betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True) - (
            1 - level
        )

    high = NormalDist().inv_cdf((1 + level) / 2)
    while outside(high) > 0:
        high *= 2
    return float(mpmath.findroot(outside, (high / 2, high), solver="anderson", tol=1e-20))


def jackknife_error(left_out: Floats) -> float:
    """Return the standard error from the statistic without each cluster in turn; NaN where one of those is undefined."""
    k = len(left_out)
    return float(math.sqrt((k - 1) / k * np.sum((left_out - left_out.mean()) ** 2))) if k > 1 else math.nan


def metric_with_interval(
    value: float,
    draws: Floats,
    left_out: Callable[[], Floats],
    *,
    n: int,
    independent: int,
    unit: str = "",
    bounds: Bounds | None = None,
) -> Metric:
    """Return a metric with the interval that fits the number of independent clusters behind it.

    Args:
        value: the statistic on the sample; NaN if undefined.
        draws: of the bootstrap, shape (resamples,); NaN where a resample does not define the statistic.
        left_out: gives the statistic without each cluster in turn; called where there are few.
        n: cases behind the value.
        independent: clusters that the value rests on, of the rarer class where it needs two; below two there is
            no interval.
        unit: unit of the value.
        bounds: what the statistic cannot leave; by default [0, 1] for a fraction.

    There is none either where clusters do not differ (an AUC of exactly 1, say), or where many resamples do not define
    the statistic: its spread is then unknown, and not zero.
    """
    if math.isnan(value):
        return Metric(None, n=n, unit=unit)
    least, most = bounds or ((0.0, 1.0) if unit == "fraction" else _UNBOUNDED)
    bare = Metric(float(value), n=n, unit=unit)
    if independent < 2:
        return bare
    if independent < FEW:
        half = student_quantile(independent - 1) * jackknife_error(left_out())
        if math.isnan(half) or half <= 1e-12 * max(1.0, abs(value)):
            return bare
        return replace(bare, low=max(value - half, least), high=min(value + half, most), interval=STUDENT)
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0 or len(defined) < (1 - _MOST_UNDEFINED) * len(draws):
        return bare
    wide = math.sqrt(independent / (independent - 1)) * student_quantile(independent - 1)
    tail = NormalDist().cdf(-wide)
    low, high = np.quantile(defined, [tail, 1 - tail])
    if high - low <= 1e-12 * max(1.0, abs(value)):
        return bare
    return replace(bare, low=float(low), high=float(high), interval=BOOTSTRAP)


def bootstrap_weighted(
    statistic: Callable[[Floats], Floats],
    size: int,
    *,
    independent: int | None = None,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    unit: str = "",
    bounds: Bounds | None = None,
) -> Metric:
    """Return a statistic of weighted cases with its interval, many resamples at once.

    Args:
        statistic: takes weights of shape (rows, size), returns shape (rows,), NaN where undefined.
        size: number of cases.
        independent: clusters that the statistic rests on, where that is not all of them.
        clusters: one key per case; cases with equal keys are drawn together.
        resamples: number of bootstrap draws.
        seed: of the draws.
        unit: unit of the statistic.
        bounds: what the statistic cannot leave; by default [0, 1] for a fraction.
    """
    if size == 0:
        return Metric(None, n=0, unit=unit)
    resampler = Resampler(size, clusters=clusters, seed=seed)
    value = float(statistic(np.ones((1, size)))[0])
    k = resampler.count if independent is None else independent
    draws = [statistic(resampler.weights(rows)) for rows in blocks(resamples, size)] if k >= FEW else []
    return metric_with_interval(
        value,
        np.concatenate([np.empty(0), *draws]),
        lambda: statistic(resampler.left_out()),
        n=size,
        independent=k,
        unit=unit,
        bounds=bounds,
    )


def bootstrap_mean(
    values: ArrayLike,
    wholes: ArrayLike | None = None,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
    unit: str = "",
    bounds: Bounds | None = None,
) -> Metric:
    """Return the mean over cases, or Σ values / Σ wholes, with its interval (over clusters where given).

    Args:
        values: one per case, at most (in size) what the bounds times the whole allow.
        wholes: one per case, at least 0; where their sum is 0 there is no mean. By default 1 each.
        clusters, resamples, seed, unit: as in `bootstrap_weighted`.
        bounds: within which value / whole must lie; by default [0, 1] for fractions that do, else none.

    Raises:
        ValueError: a number is not finite, a whole is negative, or there are not as many wholes as values.
    """
    above = finite(values)
    below = np.ones(len(above)) if wholes is None else finite(wholes)
    if len(above) != len(below) or (len(below) and below.min() < 0):
        raise ValueError(f"{len(above)} values for {len(below)} wholes, of which none may be negative")
    numbers = cluster_numbers(len(above), clusters)
    total, size = (np.bincount(numbers, weights=one).astype(np.float64) for one in (above, below))
    total, size = total[size > 0], size[size > 0]  # a cluster without a case says nothing
    if len(size) == 0:
        return Metric(None, n=0, unit=unit)
    bounds = bounds or _share_bounds(total, size, unit)
    found = _near_an_edge(total, size, bounds, unit) or bootstrap_weighted(
        lambda weights: (weights @ total) / (weights @ size),
        len(size),
        resamples=resamples,
        seed=seed,
        unit=unit,
        bounds=bounds,
    )
    return replace(found, n=round(float(below.sum())))


def _share_bounds(total: Floats, size: Floats, unit: str) -> Bounds:
    """Return [0, 1] for fractions that lie there."""
    inside = unit == "fraction" and bool(np.all((total >= 0) & (total <= size)))
    return (0.0, 1.0) if inside else _UNBOUNDED


def _near_an_edge(total: Floats, size: Floats, bounds: Bounds, unit: str) -> Metric | None:
    """Return the mean of bounded values with a Wilson interval where so few clusters vary that it is needed, else None.

    Values on both sides of 0 are the difference of two shares, of what is above and what is below, whose margins are
    joined as those of independent ones (Newcombe 1998, method 10).
    """
    k, (least, most) = len(size), bounds
    if k < 2 or not math.isfinite(most - least):
        return None
    value = float(total.sum() / size.sum())
    if least < 0 < most:
        varying, single = int(np.sum(total != 0)), False
    else:
        varying = min(int(np.sum(total > least * size)), int(np.sum(total < most * size)))
        single = bool(np.all(size == 1.0) and np.all((total == least) | (total == most)))
    still = _spread(total, size) <= 1e-12
    if not (single or still or (k >= FEW and varying < FEW)):
        return None
    if least < 0 < most:
        up, down = total.clip(min=0), -total.clip(max=0)
        above, below = (float(one.sum() / size.sum()) for one in (up, down))
        above_low, above_high = (most * end for end in _share_interval(up / most, size))
        below_low, below_high = (-least * end for end in _share_interval(down / -least, size))
        low = value - math.hypot(above - above_low, below_high - below)
        high = value + math.hypot(above_high - above, below - below_low)
    else:
        ends = _share_interval((total - least * size) / (most - least), size)
        low, high = (least + (most - least) * end for end in ends)
    return Metric(value, low, high, k, unit, WILSON)


def _spread(total: Floats, size: Floats) -> float:
    """Return the standard error of Σ total / Σ size over independent clusters."""
    k, value = len(size), total.sum() / size.sum()
    return float(math.sqrt(k / (k - 1) * np.sum((total - value * size) ** 2)) / size.sum())


def _share_interval(total: Floats, size: Floats) -> Bounds:
    """Return the Wilson interval of a share over clusters with the size of a simple sample of the same variance (Kish).

    Where clusters do not vary at all that size is their number, and its quantile the normal one.
    """
    k, share, spread = len(size), float(total.sum() / size.sum()), _spread(total, size)
    if spread <= 1e-12:
        _, other = wilson(0.0, k)  # how many could be otherwise?
        return share * (1 - other), share + (1 - share) * other
    if np.all(size == 1.0) and np.all((total == 0.0) | (total == 1.0)):
        return wilson(share, k)
    return wilson(share, share * (1 - share) / spread**2, student_quantile(k - 1))


def mean_over_runs(values: ArrayLike, *, unit: str = "", bounds: Bounds | None = None) -> Metric:
    """Return the mean over independent runs (seeds) with Student's interval; none for one run, or where none differs.

    Args:
        values: one per run: any measure, whatever it was computed from.
        unit: of the values.
        bounds: what the mean cannot leave; by default [0, 1] for fractions that do not.

    Raises:
        ValueError: a value is not finite, or the values are not one-dimensional.
    """
    numbers = finite(values)
    n = len(numbers)
    if n == 0:
        return Metric(None, n=0, unit=unit)
    value = float(numbers.mean())
    if n == 1 or np.ptp(numbers) <= 1e-12 * max(1.0, abs(value)):
        return Metric(value, n=n, unit=unit)
    least, most = bounds or _share_bounds(numbers, np.ones(n), unit)
    half = student_quantile(n - 1) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Metric(value, max(value - half, least), min(value + half, most), n, unit, STUDENT)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of a − b over the same cases, its interval, and a two-sided p-value for "no difference"."""

    difference: Metric
    p_value: float | None

    def named(self, name: str) -> dict[str, Metric]:
        """Return both as metrics: the difference under a name, ``.p_value`` behind it."""
        return {name: self.difference, f"{name}.p_value": Metric(self.p_value)}


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    unit: str = "",
    runs: bool = False,
) -> PairedDifference:
    """Compare two systems on the same cases, or, with `runs`, over pairs of runs with the same seed.

    The interval is that of the mean difference (`bootstrap_mean`, `mean_over_runs`); the p-value comes from flipping
    signs, cluster by cluster (Fisher's randomisation test): all 2^k flips up to 12 clusters that differ, else
    random ones, counting the observed one among them so that it is never zero.

    Raises:
        ValueError: different lengths, or a value that is not finite.
    """
    first, second = finite(a), finite(b)
    if len(first) != len(second):
        raise ValueError(f"paired values differ in number: {len(first)} and {len(second)}")
    differences = first - second
    bounds = (-1.0, 1.0) if unit == "fraction" else None
    mean = (
        mean_over_runs(differences, unit=unit, bounds=bounds)
        if runs
        else bootstrap_mean(
            differences, clusters=clusters, resamples=resamples, seed=seed, unit=unit, bounds=bounds
        )
    )
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


def proportion(successes: int, n: int) -> Metric:
    """Return a proportion with its Wilson interval, which stays in [0, 1] and is right for small n.

    Raises:
        ValueError: not 0 ≤ successes ≤ n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Metric(None, n=0, unit="fraction")
    return Metric(successes / n, *wilson(successes / n, n), n, "fraction", WILSON)


def wilson(share: float, n: float, z: float = _NORMAL) -> Bounds:
    """Return the shares whose score test with quantile z does not reject the observed one of n cases.

    It is the interval of a proportion, and no narrower than needed for a mean of n numbers in [0, 1].
    """
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if share == 0.0 else middle - half), (1.0 if share == 1.0 else middle + half)


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
            raise ValueError(f"{plural(len(positive), 'label')} for {plural(len(numbers), 'score')}")
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
) -> Metric:
    """Return the AUC with its interval (over clusters where given)."""
    size = len(np.asarray(scores))
    return bootstrap_weighted(
        WeightedAuc(scores, labels),
        size,
        independent=rarer(cluster_numbers(size, clusters), labels),
        clusters=clusters,
        resamples=resamples,
        seed=seed,
        unit="fraction",
    )


def auc_within(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Metric:
    """Return the mean over groups of the AUC within each, with its interval over groups.

    A choice is made within a problem, so what separates problems (hard ones score lower) is of no use to it: this is the
    AUC without that. Groups that lack one of the classes say nothing and are left out; `n` is how many do not.

    Args:
        scores: shape (n,), finite.
        labels: shape (n,), truthy where the case is positive.
        groups: one key per case.
        resamples, seed: as in `bootstrap_weighted`.

    Raises:
        ValueError: different lengths, or a score that is not finite.
    """
    numbers, positive = finite(scores), np.asarray(labels, dtype=bool)
    if positive.shape != numbers.shape:
        raise ValueError(f"{plural(len(positive), 'label')} for {plural(len(numbers), 'score')}")
    group_of = cluster_numbers(len(numbers), groups)
    order = np.lexsort((numbers, group_of))
    begins_group = np.diff(group_of[order], prepend=-1) != 0
    ties = np.flatnonzero(begins_group | (np.diff(numbers[order], prepend=np.inf) != 0))
    firsts = np.flatnonzero(begins_group[ties])  # of each group: its lowest tied scores
    right, wrong = (np.add.reduceat(kind[order], ties, dtype=np.float64) for kind in (positive, ~positive))
    rights, wrongs = (np.add.reduceat(kind, firsts) for kind in (right, wrong))
    in_groups_before = np.repeat(np.cumsum(wrongs) - wrongs, np.diff(firsts, append=len(ties)))
    below = np.cumsum(wrong) - wrong - in_groups_before
    wins = np.add.reduceat(right * (below + 0.5 * wrong), firsts)
    known = (rights > 0) & (wrongs > 0)
    areas = wins[known] / (rights * wrongs)[known]
    return bootstrap_mean(areas, resamples=resamples, seed=seed, unit="fraction")


def rarer(clusters: Integers, labels: ArrayLike) -> int:
    """Return how many clusters hold a case of the class that fewer of them hold."""
    positive = np.asarray(labels, dtype=bool)
    return min(len(set(clusters[positive].tolist())), len(set(clusters[~positive].tolist())))


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
        raise ValueError(f"{plural(len(truths), 'label')} for {plural(len(numbers), 'score')}")
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


def platt_scaling(log_odds: Floats, labels: Floats) -> tuple[float, float]:
    """Return the scale and shift whose sigmoid(scale · log-odds + shift) has the highest likelihood of the labels.

    By damped Newton steps (Platt 1999); soft labels count as shares. A weak pull towards (1, 0), one case's worth, keeps
    the solution finite on separable cases. The scale is at least `LEAST_SCALE`, so that the order of scores stays: of
    scores that are the wrong way round all that can be learned is the share of right cases.
    """
    design = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    start = np.array([1.0, 0.0])

    def loss(weights: Floats) -> float:
        odds = design @ weights
        cost = np.logaddexp(0.0, odds) - labels * odds
        return float(cost.sum() + ((weights - start) ** 2).sum() / 2)

    weights, value = start, loss(start)
    for _ in range(100):
        chances = sigmoid(design @ weights)
        gradient = design.T @ (chances - labels) + (weights - start)
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design + np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-8 and loss(weights - size * step) > value:
            size /= 2
        moved = weights - size * step
        if value - loss(moved) < 1e-10:
            break
        weights, value = moved, loss(moved)
    if weights[0] < LEAST_SCALE:
        right = (labels.sum() + 0.5) / (len(labels) + 1)
        return LEAST_SCALE, float(np.log(right / (1 - right)))
    return float(weights[0]), float(weights[1])


def sigmoid(numbers: Floats) -> Floats:
    """Return 1 / (1 + e^−x) without overflow."""
    return np.exp(-np.logaddexp(0.0, -numbers))


def share(part: Floats, whole: Floats) -> Floats:
    """Return the elementwise part / whole, NaN where the whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


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
