"""Choosing among whole solutions: best-of-N by score, and majority vote.

Contract: ties go to the earliest candidate; a candidate without an answer cannot win a vote, but can be chosen by score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


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
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return None
    most = max(counts.values())
    return next(
        index for index, answer in enumerate(answers) if answer is not None and counts[answer] == most
    )
