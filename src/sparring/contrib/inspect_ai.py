"""Inspect with a PRM: best-of-N over epochs.

    Task(dataset, solver=generate(), scorer=with_prm(match(), "models/prm"), epochs=Epochs(8, [prm_best(), prm_vote()]))

Inspect samples every problem once per epoch and reduces the scores of its epochs to one. `with_prm` runs another scorer
and puts the PRM's value of the answer beside its score; the reducers then take the score of the answer that the PRM
chooses.

Contract: the step scores are in the score's metadata (`prm_scores`, `prm_value`), so that `inspect view` shows them. An
answer whose score cannot be made ends the sample with the error. Tested with inspect-ai 0.3.285.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.contrib.rewards import Rule, StepRewards, choose
from sparring.errors import DataError, needs
from sparring.rollouts.engine import SEPARATOR
from sparring.scorers.door import StepScorer
from sparring.search.aggregation import AGGREGATIONS

with needs("sparring.contrib.inspect_ai", "inspect_ai", "pip install inspect-ai==0.3.285"):
    from inspect_ai.scorer import Score, Scorer, ScoreReducer, Target, accuracy, score_reducer, scorer, stderr
    from inspect_ai.solver import TaskState


@scorer(metrics=[accuracy(), stderr()])  # type: ignore[untyped-decorator]
def with_prm(
    outcome: Scorer,
    source: str | Path | StepScorer,
    aggregation: str = "auto",
    separator: str = SEPARATOR,
) -> Scorer:
    """Return a scorer: another one's score, with the PRM's scores of the steps in its metadata.

    Args:
        outcome: tells whether the answer is right, such as `match()`.
        source: a PRM's folder, a server's address, or a scorer.
        aggregation: from step scores to one number; ``auto`` as the PRM's sidecar says.
        separator: what ends a step of an answer.
    """
    rewards = StepRewards(source, aggregation=aggregation, separator=separator)

    async def score(state: TaskState, target: Target) -> Score:
        found = await outcome(state, target)
        text = state.output.completion
        rows = await asyncio.to_thread(rewards.rows, [state.input_text], [text])
        row = [float(one) for one in rows[0]]
        value = AGGREGATIONS[rewards.aggregation](row) if row else 0.0
        known = {"prm_value": value, "prm_scores": row, "answer_text": text}
        return found.model_copy(update={"metadata": {**(found.metadata or {}), **known}})

    return score


@score_reducer(name="prm_best")  # type: ignore[untyped-decorator]
def prm_best() -> ScoreReducer:
    """Take the score of the answer with the highest value: best-of-N."""
    return lambda scores: _chosen(scores, "best_of_n")


@score_reducer(name="prm_vote")  # type: ignore[untyped-decorator]
def prm_vote() -> ScoreReducer:
    """Take the score of the answer that wins a vote weighted by value."""
    return lambda scores: _chosen(scores, "weighted_vote")


def _chosen(scores: Sequence[Score], rule: Rule) -> Score:
    known: list[dict[str, Any]] = [score.metadata or {} for score in scores]
    if any("prm_value" not in one for one in known):
        raise DataError("a score has no prm_value: the task's scorer is `with_prm(…)`", field="metadata")
    return scores[choose([one["answer_text"] for one in known], [one["prm_value"] for one in known], rule)]
