"""Does a PRM help a solver? Accuracy of choosing among N sampled solutions.

The lines: `random` (one sample: the mean over candidates), `majority`, one per PRM (best of N by its aggregated step
scores), `oracle` (some candidate is right: pass@N), and whatever else is given per problem, such as `greedy`.

Contract: every method sees the same candidates of the same problems; intervals and differences are over problems. A
candidate without any step can never be chosen by score; a problem without candidates counts as unsolved by all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sparring.runs import Metric
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.selection import best_of_n, majority
from sparring.statistics import bootstrap_mean, paired_difference


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled solution: its answer (None: none found), whether it is right, step scores per PRM (None: no step)."""

    answer: str | None
    correct: bool
    scores: Mapping[str, Sequence[float] | None]


def best_of_n_accuracies(
    groups: Sequence[Sequence[Candidate]], prms: Sequence[str], aggregation: str, *, n: int | None = None
) -> dict[str, list[float]]:
    """Return, per method, one accuracy in [0, 1] per problem, choosing among the first `n` candidates."""
    results: dict[str, list[float]] = {name: [] for name in ("random", "majority", *prms, "oracle")}
    for group in groups:
        candidates = group[:n]
        right = [candidate.correct for candidate in candidates]
        results["random"].append(sum(right) / len(right) if right else 0.0)
        results["oracle"].append(float(any(right)))
        voted = majority([candidate.answer for candidate in candidates])
        results["majority"].append(0.0 if voted is None else float(right[voted]))
        for prm in prms:
            # A candidate without steps has no score; −1 is below every score there is.
            scores = [
                AGGREGATIONS[aggregation](scored) if (scored := candidate.scores[prm]) else -1.0
                for candidate in candidates
            ]
            results[prm].append(float(right[best_of_n(scores)]) if candidates else 0.0)
    return results


def best_of_n_metrics(
    accuracies: Mapping[str, Sequence[float]],
    prefix: str,
    *,
    compare: Sequence[tuple[str, str]] = (),
    seed: int = 0,
) -> dict[str, Metric]:
    """Return ``prefix.method.accuracy`` for every method and ``prefix.a_minus_b`` for the pairs (default: all pairs)."""
    metrics = {
        f"{prefix}.{name}.accuracy": bootstrap_mean(values, seed=seed, unit="fraction")
        for name, values in accuracies.items()
    }
    for a, b in compare or list(combinations(accuracies, 2)):
        difference = paired_difference(accuracies[a], accuracies[b], seed=seed, unit="fraction")
        metrics[f"{prefix}.{a}_minus_{b}"] = difference.difference
        if difference.p_value is not None:
            metrics[f"{prefix}.{a}_minus_{b}.p_value"] = Metric(difference.p_value)
    return metrics
