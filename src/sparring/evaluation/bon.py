"""Best-of-N curves: what choosing among N of a problem's samples is worth, for every N at once.

Contract: as `search/selection.py` says; a sample without scores ranks below every other. A NaN never comes this far: it
is refused when scores are read.

Not here: reading candidates (`bon_candidates.py`), intervals and files (`bon_command.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparring.oracles.equality import answer_groups
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.selection import best_at, pass_at, random_choice, vote_at, votes_are_exact


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled solution: its answer (None: none found), whether it is right, its step scores (None: it has none)."""

    answer: str | None
    correct: bool
    scores: Sequence[float] | None


def curve_sizes(largest: int) -> list[int]:
    """Return 1, 2, 4, … and the largest N itself."""
    sizes = [2**power for power in range(largest.bit_length()) if 2**power < largest]
    return [*sizes, largest] if largest > 0 else []


def total_score(scores: Sequence[float] | None, aggregate: Callable[[Sequence[float]], float]) -> float:
    """Return the score that a solution is ranked by: below every other where it has no step scores."""
    return aggregate(scores) if scores else -1.0


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
        correct = [sample.correct for sample in group]
        classes = answer_groups([sample.answer for sample in group])
        totals = {
            rule: [total_score(sample.scores, aggregate) for sample in group]
            for rule, aggregate in (rules.items() if scored else ())
        }
        for n in sizes:
            drawn = [seed, number, n]
            values = {
                "random": random_choice(correct),
                "pass": pass_at(correct, n),
                "majority": vote_at(classes, correct, n, seed=drawn),
            }
            for rule, total in totals.items():
                values[f"best_{rule}".rstrip("_")] = best_at(total, correct, n)
                weights = [max(0.0, weight) for weight in total]
                values[f"weighted_{rule}".rstrip("_")] = vote_at(
                    classes, correct, n, weights=weights, seed=drawn
                )
            for line, value in values.items():
                result[line][n].append(value)
    return result


def is_exact(groups: Sequence[Sequence[Sample]], sizes: Sequence[int]) -> bool:
    """Return whether all subsets were counted for votes, too."""
    return all(votes_are_exact(len(group), n) for group in groups for n in sizes)
