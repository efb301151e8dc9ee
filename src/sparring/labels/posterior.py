"""What counts of successful rollouts say about a value: means, intervals, pass@k, best-of-K.

Contract: pure functions of counts. The posterior is Beta(1 + successes, 1 + failures), from a uniform prior; its
distribution function is an exact sum for whole counts. Nothing here samples.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sparring.traces.records import Estimate

Values = TypeVar("Values", float, NDArray[np.float64])
LEVEL = 0.95


def posterior_mean(successes: int, count: int) -> float:
    """Return the mean of the posterior, (successes + 1) / (count + 2) (Laplace's rule)."""
    _check(successes, count)
    return (successes + 1) / (count + 2)


@lru_cache(maxsize=100_000)
def probability_above(threshold: float, successes: int, count: int) -> float:
    """Return the posterior probability that the value is above the threshold, which lies in [0, 1]."""
    _check(successes, count)
    if threshold <= 0.0 or threshold >= 1.0:
        return 1.0 if threshold <= 0.0 else 0.0
    # P(Beta(s + 1, n − s + 1) > t) = P(Binomial(n + 1, t) ≤ s)
    n = count + 1
    successes_in_sum = np.arange(successes + 1)
    log_choose = np.array(
        [math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in successes_in_sum]
    )
    terms = (
        log_choose + successes_in_sum * math.log(threshold) + (n - successes_in_sum) * math.log1p(-threshold)
    )
    return min(1.0, float(np.exp(terms).sum()))


@lru_cache(maxsize=100_000)
def interval(successes: int, count: int) -> tuple[float, float]:
    """Return the equal-tailed 95 % credible interval; it reaches 0 without a success and 1 without a failure."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if successes == 0 else _quantile(tail, successes, count)
    high = 1.0 if successes == count else _quantile(1 - tail, successes, count)
    return low, high


def best_of_k(value: Values, k: int) -> Values:
    """Return the value under best-of-K of the policy with a perfect choice: 1 − (1 − Q)^K (PAV, section 3.4)."""
    if k < 1:
        raise ValueError(f"best-of-K needs K of at least 1, got {k}")
    return value if k == 1 else 1 - (1 - value) ** k


def pass_at_k(successes: int, count: int, k: int) -> float:
    """Return the unbiased estimate of the probability that one of k samples succeeds (Chen et al. 2021).

    It is 1 − C(count − successes, k) / C(count, k), the share of k-subsets of the samples that hold a success.

    Raises:
        ValueError: there are fewer than k samples.
    """
    _check(successes, count)
    if not 1 <= k <= count:
        raise ValueError(f"pass@{k} cannot be estimated without bias from {count} samples")
    return 1 - math.comb(count - successes, k) / math.comb(count, k)


def estimate(successes: int, count: int, *, k: int = 1, mean: bool = False) -> Estimate:
    """Return value, count and interval of a prefix under best-of-k of the policy that made the rollouts.

    Args:
        successes: rollouts that reached the right answer.
        count: all rollouts, at least 1.
        k: 1 for the policy itself. The closed form is taken of the estimate, as in the paper; it is concave, so for
            k > 1 the estimate is too low on average. `pass_at_k` has no such bias where count ≥ k.
        mean: take the posterior's mean instead of the share of successes.
    """
    if count < 1:
        raise ValueError("an estimate needs at least one rollout")
    value = posterior_mean(successes, count) if mean else successes / count
    low, high = interval(successes, count)
    return Estimate(best_of_k(value, k), count, best_of_k(low, k), best_of_k(high, k))


def exact(value: float) -> Estimate:
    """Return the estimate of a value that is known."""
    return Estimate(value, 0, value, value)


def _quantile(probability: float, successes: int, count: int) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if probability_above(middle, successes, count) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(successes: int, count: int) -> None:
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} rollouts")
