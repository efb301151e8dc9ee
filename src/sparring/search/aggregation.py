"""From step scores to one score of a solution.

Contract: every rule takes at least one score in [0, 1] and returns a number in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

SOFT_MIN_TEMPERATURE = 0.1
"""Of `soft_min`: towards 0 it becomes the minimum, towards infinity the mean."""


def soft_min(scores: Sequence[float]) -> float:
    """Return the mean weighted by softmax(−score / temperature): between minimum and mean (PURE, arXiv 2504.15275)."""
    lowest = min(scores)
    weights = [math.exp((lowest - score) / SOFT_MIN_TEMPERATURE) for score in scores]
    weighted = sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights)
    return max(lowest, weighted)  # rounding must not leave the range


AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": lambda scores: scores[-1],
    "mean": lambda scores: sum(scores) / len(scores),
    "soft_min": soft_min,
}


def aggregation_for(scorer: object, wanted: str = "auto") -> str:
    """Return the rule that a setting means for a scorer.

    `auto` is the last score where its sidecar says that scores are values, else the rule that the sidecar names, and the
    minimum for a scorer without a sidecar.
    """
    sidecar = getattr(scorer, "sidecar", None)
    if wanted != "auto":
        return wanted
    if sidecar is None:
        return "min"
    return "last" if sidecar.meaning == "value" else str(sidecar.aggregation)
