"""Rewards for every token of an answer: each step's reward on the last of its tokens.

Contract: pure of the trainer: ids in, one number per id out. Which tokens belong to a step is told as in `sparring train
rl` (`training/alignment.py`), from the ids that were sampled. Steps that did not fit the PRM get nothing and are counted
(`StepRewards.unscored_steps`). Not here: the outcome, advantages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sparring.contrib.rewards import StepRewards
from sparring.errors import SettingsError, did_you_mean
from sparring.progress.rewards import advantages
from sparring.rollouts.engine import SEPARATOR
from sparring.scorers.door import StepScorer
from sparring.training.alignment import step_spans
from sparring.training.credit import Floats

Reward = Literal["cost", "score", "progress"]


class DenseRewards:
    """Rewards of the tokens of answers.

    Args:
        source: a PRM's folder, a server's address, or a scorer.
        reward: `cost`: a step's score minus 1; `score`; or `progress`: the change of a value model's value over the step,
            nothing for the first step, before which nobody knows the value.
        separator: what ends a step.

    Raises:
        SettingsError: no such reward, or the PRM's scores mean something else.
    """

    def __init__(
        self, source: str | Path | StepScorer, *, reward: Reward = "cost", separator: str = SEPARATOR
    ) -> None:
        if reward not in get_args(Reward):
            raise SettingsError(f"unknown reward '{reward}'{did_you_mean(reward, get_args(Reward))}")
        self.rewards, self.reward = StepRewards(source, separator=separator), reward
        wanted = "value" if reward == "progress" else "correctness"
        sidecar = getattr(self.rewards.scorer, "sidecar", None)
        if sidecar is not None and sidecar.meaning != wanted:
            raise SettingsError(
                f"the reward '{reward}' takes scores whose meaning is '{wanted}'; those of this PRM mean "
                f"'{sidecar.meaning}'"
            )

    def steps(self, scores: Floats) -> Floats:
        """Return the reward of every step from its scores."""
        if self.reward == "progress":
            return advantages(np.concatenate([scores[:1], scores])) if len(scores) else scores
        return scores - 1.0 if self.reward == "cost" else scores

    def row(self, question: str, ids: Sequence[int], tokenizer: Any) -> Floats:
        """Return one reward per token of one answer, (tokens,).

        Args:
            ids: of the answer, as they were sampled.
        """
        text = answer_text(tokenizer, ids)
        [scores] = self.rewards.rows([question], [text])
        result = np.zeros(len(ids))
        spans = step_spans(tokenizer, ids, text, self.rewards.separator)
        for reward, (start, end) in zip(self.steps(scores), spans, strict=False):
            # A step without a token of its own is paid where the one before it is.
            result[max(start, end - 1) if end > start else max(0, start - 1)] += reward
        return result


def answer_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of sampled ids without the special tokens at its end."""
    special = set(tokenizer.all_special_ids)
    end = len(ids)
    while end and ids[end - 1] in special:
        end -= 1
    return str(tokenizer.decode(list(ids[:end]), skip_special_tokens=False))
