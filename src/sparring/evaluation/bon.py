"""Best-of-N curves: what choosing among N of a problem's samples is worth, for every N at once.

With M samples of a problem, the expectation over all subsets of N (drawn without replacement) is computed exactly for
`random`, `pass` (some sample is right) and best-of-N by score. Votes have no such formula: all subsets are counted where
there are few, else a seeded sample of them.

Contract, also for bad input: ties, in scores and in votes, are broken at random, which the expectation takes in; a sample
without scores ranks below every other, one without an answer does not vote; where nobody votes, and for a problem without
samples, the problem counts as unsolved; where a problem has fewer than N samples, all of them are used. A NaN never comes
this far: it is refused when scores are read.

Not here: reading candidates (`bon_candidates.py`), intervals and files (`bon_command.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from sparring.search.aggregation import AGGREGATIONS

EXACT_SUBSETS = 3000
"""Up to this many subsets are all counted; above, as many are drawn."""
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled solution: its answer (None: none found), whether it is right, its step scores (None: it has none)."""

    answer: str | None
    correct: bool
    scores: Sequence[float] | None


def random_accuracy(correct: Sequence[bool]) -> float:
    """Return the accuracy of one sample drawn at random; 0 without samples."""
    return sum(correct) / len(correct) if correct else 0.0


def pass_at(correct: Sequence[bool], n: int) -> float:
    """Return the chance that a random subset of n holds a right sample (Chen et al. 2021); of all if there are fewer."""
    size = min(n, len(correct))
    return 1.0 - comb(len(correct) - sum(correct), size) / comb(len(correct), size) if correct else 0.0


def best_at(scores: Sequence[float], correct: Sequence[bool], n: int) -> float:
    """Return the expected accuracy of the best-scored sample of a random subset of n."""
    total, size = len(scores), min(n, len(scores))
    if total == 0:
        return 0.0
    order = sorted(range(total), key=lambda index: -scores[index])
    subsets, expected, above, start = comb(total, size), 0.0, 0, 0
    while start < total:
        tied = [index for index in order[start:] if scores[index] == scores[order[start]]]
        # The subset's best is among these if it holds one of them and none above.
        chance = (comb(total - above, size) - comb(total - above - len(tied), size)) / subsets
        expected += chance * sum(correct[index] for index in tied) / len(tied)
        above += len(tied)
        start = above
    return expected


def subset_masks(total: int, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return subsets of n of `total` samples as rows of a mask: all of them, or `EXACT_SUBSETS` drawn ones."""
    size = min(n, total)
    if comb(total, size) <= EXACT_SUBSETS:
        rows = np.array(list(combinations(range(total), size)), dtype=np.int64)
    else:
        rows = np.argsort(rng.random((EXACT_SUBSETS, total)), axis=1)[:, :size]
    masks = np.zeros((len(rows), total), dtype=bool)
    np.put_along_axis(masks, rows, True, axis=1)
    return masks


def vote_at(
    answers: Sequence[str | None],
    correct: Sequence[bool],
    weights: Sequence[float],
    masks: NDArray[np.bool_],
) -> float:
    """Return the mean accuracy of a weighted vote over subsets; an answer is as right as its samples on average."""
    names = sorted({answer for answer in answers if answer is not None})
    if not names:
        return 0.0
    votes = np.array([[answer == name for name in names] for answer in answers], dtype=np.float64)
    truth = (np.array(correct, dtype=np.float64) @ votes) / votes.sum(axis=0)
    totals = masks @ (votes * np.array(weights, dtype=np.float64)[:, None])
    present = masks @ votes > 0
    totals = np.where(present, totals, -1.0)  # an answer that nobody gave loses to one with weight 0
    winners = present & (totals >= totals.max(axis=1, keepdims=True) - _TIE)
    count = winners.sum(axis=1)
    return float(np.where(count > 0, (winners @ truth) / np.maximum(count, 1), 0.0).mean())


def curve_sizes(largest: int) -> list[int]:
    """Return 1, 2, 4, … and the largest N itself."""
    sizes = [2**power for power in range(largest.bit_length()) if 2**power < largest]
    return [*sizes, largest] if largest > 0 else []


def curves(
    groups: Sequence[Sequence[Sample]], sizes: Sequence[int], *, seed: int = 0
) -> dict[str, dict[int, list[float]]]:
    """Return line → N → one expected accuracy per problem.

    Lines: `random`, `majority`, `pass`, and where samples have scores `best_<aggregation>` and `weighted_<aggregation>` for
    every aggregation (all the same line `best`, `weighted` where every sample has a single score).
    """
    scored = any(sample.scores for group in groups for sample in group)
    steps = max((len(sample.scores) for group in groups for sample in group if sample.scores), default=0)
    rules: Mapping[str, Callable[[Sequence[float]], float]] = (
        AGGREGATIONS if steps > 1 else {"": AGGREGATIONS["last"]}
    )
    lines = ["random", "majority", "pass"]
    if scored:
        lines += [f"{kind}_{rule}".rstrip("_") for rule in rules for kind in ("best", "weighted")]
    result: dict[str, dict[int, list[float]]] = {line: {n: [] for n in sizes} for line in lines}
    for number, group in enumerate(groups):
        correct, answers = [sample.correct for sample in group], [sample.answer for sample in group]
        totals = {
            rule: [-1.0 if not sample.scores else aggregate(sample.scores) for sample in group]
            for rule, aggregate in (rules.items() if scored else ())
        }
        for n in sizes:
            masks = subset_masks(len(group), n, np.random.default_rng([seed, number, n]))
            values = {
                "random": random_accuracy(correct),
                "pass": pass_at(correct, n),
                "majority": vote_at(answers, correct, [1.0] * len(group), masks),
            }
            for rule, total in totals.items():
                values[f"best_{rule}".rstrip("_")] = best_at(total, correct, n)
                weights = [max(0.0, weight) for weight in total]
                values[f"weighted_{rule}".rstrip("_")] = vote_at(answers, correct, weights, masks)
            for line, value in values.items():
                result[line][n].append(value)
    return result


def is_exact(groups: Sequence[Sequence[Sample]], sizes: Sequence[int]) -> bool:
    """Return whether all subsets were counted for votes, too."""
    return all(comb(len(group), min(n, len(group))) <= EXACT_SUBSETS for group in groups for n in sizes)
