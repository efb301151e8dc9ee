"""One of several answers to a question, by a PRM: what the adapters to evaluation harnesses share.

Answers that are equal are one candidate for a vote (`oracles/equality.py`); ties go to the earlier answer. In expectation
over subsets the same rules are in `search/selection.py`; here a harness has drawn its N answers and wants one.

Contract: every answer has a value, or nothing is chosen: a score that cannot be made is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sparring.errors import DataError
from sparring.oracles.equality import answer_groups
from sparring.rollouts.engine import split_completion
from sparring.traces.answers import stated_answer

Rule = Literal["best_of_n", "weighted_vote", "majority"]
RULES: tuple[Rule, ...] = ("best_of_n", "weighted_vote", "majority")


def choose(answers: Sequence[str], values: Sequence[float], rule: Rule = "best_of_n") -> int:
    """Return the index of the chosen answer.

    Args:
        answers: whole texts, at least one.
        values: one per answer, in [0, 1].
        rule: `best_of_n`: the highest value; `weighted_vote`: the best of the class of equal answers with the highest sum
            of values; `majority`: of the largest class, by its first answer. Where no text states an answer, a vote is
            best-of-N.

    Raises:
        DataError: no answer, another number of values, a value that is no number, or no such rule.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule '{rule}' (known: {', '.join(RULES)})", field="rule")
    if not answers or len(values) != len(answers):
        raise DataError(f"{len(values)} values for {len(answers)} answers", field="values")
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise DataError("a value is not a number from 0 to 1", field="values")
    best = max(range(len(answers)), key=values.__getitem__)
    if rule == "best_of_n":
        return best
    groups = answer_groups([stated_answer(split_completion(text)) for text in answers])
    weights: dict[int, float] = {}
    for place, group in enumerate(groups):
        if group >= 0:
            weights[group] = weights.get(group, 0.0) + (1.0 if rule == "majority" else values[place])
    if not weights:
        return best
    won = max(weights, key=weights.__getitem__)
    members = [place for place, group in enumerate(groups) if group == won]
    return members[0] if rule == "majority" else max(members, key=values.__getitem__)
