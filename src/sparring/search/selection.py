"""Choosing among whole solutions: best-of-N by score, majority, weighted vote; and what they do on average over subsets.

Contract: ties go to the earliest candidate; a candidate without an answer cannot win a vote, but can be chosen by score.
The `…_over_subsets` functions take N candidates that were drawn independently and return the mean over subsets of n of
them, an unbiased estimate with less variance than the first n: exactly for best-of-n and pass@n, exactly for votes
where there are few subsets, else over seeded random ones.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_SUBSETS = 512
"""Votes: all subsets are gone through up to this number, else so many random ones."""


def best_of_n(scores: Sequence[float]) -> int:
    """Return the index of the highest score.

    Raises:
        ValueError: there are no candidates, or a score is NaN.
    """
    if not scores:
        raise ValueError("no candidates to choose from")
    if any(score != score for score in scores):
        raise ValueError("a score is NaN")
    return max(range(len(scores)), key=lambda index: scores[index])


def majority(answers: Sequence[str | None]) -> int | None:
    """Return the index of the first candidate with the most frequent answer; None if no candidate has an answer."""
    return weighted_vote(answers, [1.0] * len(answers))


def weighted_vote(answers: Sequence[str | None], weights: Sequence[float]) -> int | None:
    """Return the first candidate with the answer of the highest total weight; None if no candidate has an answer.

    Raises:
        ValueError: not one weight per answer, or a weight that is negative or not finite.
    """
    if len(answers) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(answers)} answers")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError("weights are finite and not negative")
    totals: dict[str, float] = defaultdict(float)
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] += weight
    # A dictionary keeps the order of first appearance, and max returns the first of equals.
    return answers.index(max(totals, key=lambda answer: totals[answer])) if totals else None


def best_over_subsets(scores: Sequence[float], worth: Sequence[float], n: int) -> float:
    """Return the mean worth of the best-scored of n candidates, over all subsets of n (exact).

    Args:
        scores: one per candidate; equal ones are ordered by position, as `best_of_n` does.
        worth: what choosing a candidate gives, for instance 1.0 where its answer is right.
        n: subset size, from 1 to the number of candidates.
    """
    total = len(scores)
    order = sorted(range(total), key=lambda index: -scores[index])
    # The candidate of rank r is the best of a subset if the other n − 1 come from the ranks after it.
    chances = (math.comb(total - 1 - rank, n - 1) / math.comb(total, n) for rank in range(total))
    return math.fsum(chance * worth[index] for chance, index in zip(chances, order, strict=True))


def pass_over_subsets(right: Sequence[bool], n: int) -> float:
    """Return the share of subsets of n candidates that hold a right one: pass@n (Chen et al. 2021, eq. 1)."""
    return 1.0 - math.comb(len(right) - sum(right), n) / math.comb(len(right), n)


def vote_over_subsets(
    answers: Sequence[str | None],
    right: Sequence[bool],
    n: int,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> float:
    """Return the share of subsets of n candidates whose (weighted) vote is right; one without any answer is wrong.

    Args:
        answers: one per candidate, None where there is none.
        right: whether the candidate is right; candidates with one answer agree in it.
        n: subset size, from 1 to the number of candidates.
        weights: of the votes; 1 each without them.
        seed: of the random subsets, where there are more than `MOST_SUBSETS`.
    """
    names = list(dict.fromkeys(answer for answer in answers if answer is not None))
    if not names:
        return 0.0
    members = np.array([[answer == name for name in names] for answer in answers])  # (N, answers)
    votes = members * np.array([1.0] * len(answers) if weights is None else weights)[:, None]
    chosen = _subsets(len(answers), n, seed)  # (subsets, N), boolean
    totals = chosen @ votes
    present = chosen[:, :, None] & members[None]
    first = np.where(present.any(axis=1), present.argmax(axis=1), len(answers))  # (subsets, answers)
    totals = np.where(first < len(answers), totals, -1.0)
    highest = totals >= totals.max(axis=1, keepdims=True) - 1e-12
    winner = np.where(highest, first, len(answers)).min(
        axis=1
    )  # the candidate that shows the winning answer first
    worth = np.append(np.array(right, dtype=np.float64), 0.0)
    return float(worth[winner].mean())


def _subsets(total: int, n: int, seed: int) -> NDArray[np.bool_]:
    if math.comb(total, n) <= MOST_SUBSETS:
        indices = np.array(list(itertools.combinations(range(total), n)))
    else:
        random = np.random.default_rng([seed, total, n])
        indices = random.random((MOST_SUBSETS, total)).argsort(axis=1)[:, :n]
    chosen = np.zeros((len(indices), total), dtype=bool)
    np.put_along_axis(chosen, indices, True, axis=1)
    return chosen
