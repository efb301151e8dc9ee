"""Best-of-N, majority and weighted vote over whole solutions: what choosing among N of a problem's M samples is worth.

Everything is an expectation over the subsets of N of the M samples, drawn without replacement: unbiased, and with less
noise than the first N. It is exact for a random choice, for best-of-N by score and for pass@N; votes are counted over
all subsets where there are few, else over a seeded sample of them. This is the only place where it is computed: for
`eval bon`, `search`, `demo`, the attacks and the benchmarks.

Contract: ties, in scores and in votes, are broken at random, which the expectation takes in. Samples vote by the class
of their answer (`answer_groups`: equal answers, one class; −1: no answer, no vote); where nobody votes, and without
samples, nothing is won. A class is worth what its samples are on average. With fewer than N samples all are used.

Not here: from step scores to one score (`aggregation.py`), curves and intervals (`evaluation/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

MOST_SUBSETS = 3000
"""Votes: up to this many subsets are all counted; above, as many are drawn."""
_TIE = 1e-12


def random_choice(worth: Sequence[float]) -> float:
    """Return what one sample drawn at random is worth; 0 without samples."""
    return sum(worth) / len(worth) if worth else 0.0


def pass_at(right: Sequence[bool], n: int) -> float:
    """Return the chance that a random subset of n holds a right sample: pass@n (Chen et al. 2021, eq. 1)."""
    size = min(n, len(right))
    return 1.0 - comb(len(right) - sum(right), size) / comb(len(right), size) if right else 0.0


def best_at(scores: Sequence[float], worth: Sequence[float], n: int) -> float:
    """Return what the best-scored sample of a random subset of n is worth on average.

    Args:
        scores: one per sample, none NaN; −inf or any number below all others for a sample without one.
        worth: what choosing a sample gives, for instance 1 where it is right.
        n: subset size, at least 1.

    Raises:
        ValueError: a score is NaN.
    """
    if any(score != score for score in scores):
        raise ValueError("a score is NaN")
    total, size = len(scores), min(n, len(scores))
    if total == 0:
        return 0.0
    order = sorted(range(total), key=lambda index: -scores[index])
    subsets, expected, above = comb(total, size), 0.0, 0
    while above < total:
        tied = [index for index in order[above:] if scores[index] == scores[order[above]]]
        # The subset's best is among these if it holds one of them and none above.
        chance = (comb(total - above, size) - comb(total - above - len(tied), size)) / subsets
        expected += chance * sum(worth[index] for index in tied) / len(tied)
        above += len(tied)
    return expected


def vote_at(
    classes: Sequence[int],
    worth: Sequence[float],
    n: int,
    *,
    weights: Sequence[float] | None = None,
    seed: int | Sequence[int] = 0,
) -> float:
    """Return what the winner of a (weighted) vote in a random subset of n is worth on average.

    Args:
        classes: the class of each sample's answer, −1 where it has none.
        worth: of each sample, for instance 1 where it is right.
        n: subset size, at least 1.
        weights: of the votes, finite and not negative; 1 each without them.
        seed: of the subsets that are drawn, where there are more than `MOST_SUBSETS`.

    Raises:
        ValueError: not one weight per sample, or one that is negative or not finite.
    """
    given = np.array([1.0] * len(classes) if weights is None else weights, dtype=np.float64)
    if len(given) != len(classes):
        raise ValueError(f"{len(given)} weights for {len(classes)} answers")
    if not np.all(np.isfinite(given) & (given >= 0)):
        raise ValueError("weights are finite and not negative")
    names = sorted({one for one in classes if one >= 0})
    if not names:
        return 0.0
    votes = (np.array(classes)[:, None] == np.array(names)).astype(np.float64)
    value = (np.array(worth, dtype=np.float64) @ votes) / votes.sum(axis=0)
    chosen = _subsets(len(classes), n, seed)
    # A class that nobody of the subset is in loses to one of weight 0.
    totals = np.where(chosen @ votes > 0, chosen @ (votes * given[:, None]), -1.0)
    winners = (totals >= 0) & (totals >= totals.max(axis=1, keepdims=True) - _TIE)
    return float(((winners @ value) / np.maximum(winners.sum(axis=1), 1)).mean())


def votes_are_exact(total: int, n: int) -> bool:
    """Return whether all subsets of n of `total` samples are counted for votes."""
    return comb(total, min(n, total)) <= MOST_SUBSETS


def _subsets(total: int, n: int, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Return subsets as rows of zeros and ones."""
    size = min(n, total)
    if votes_are_exact(total, n):
        rows = np.array(list(combinations(range(total), size)), dtype=np.int64)
    else:
        draws = np.random.default_rng(seed).random((MOST_SUBSETS, total))
        rows = np.argpartition(draws, size - 1, axis=1)[:, :size]
    chosen = np.zeros((len(rows), total))
    np.put_along_axis(chosen, rows, 1.0, axis=1)
    return chosen
