"""AReaL's process rewards with a PRM: a scorer for `PRMConfig.scorers`, with a reward for every token of a turn.

    scorers:
      - {path: sparring.contrib.areal.SparringScorer, weight: 1.0, kwargs: {source: "http://prm:8000", reward: cost}}

A turn's answer is cut into steps, and the reward of a step stands on the last of its tokens. `reward` says what it is:

| `reward` | of a step | for PRMs whose scores mean |
|---|---|---|
| `cost` | its score minus 1: nothing for a step that is surely right, so that length never pays | correctness |
| `score` | its score | correctness |
| `progress` | value after it minus value before it; nothing for the first, whose start nobody knows | value |

Contract: a tensor of the turn's output length, finite, on the CPU; an answer without a step has zeros. What cannot be
scored raises, and AReaL gives up the whole trajectory's rewards (all or nothing). Tested against the interface of AReaL's
`areal/reward/prm/runner.py` at commit 4e9db5f (merged after 1.0.4, the last release). Not here: how AReaL shapes
advantages from these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from sparring.contrib.dense import DenseRewards, Reward
from sparring.contrib.rewards import text_of
from sparring.errors import DataError, needs
from sparring.rollouts.engine import SEPARATOR

with needs(
    "sparring.contrib.areal",
    "areal",
    "install AReaL from its repository (process rewards are in no release yet)",
):
    from areal.reward.prm.runner import BaseScorer


class SparringScorer(BaseScorer):  # type: ignore[misc]
    """Scores a turn's steps.

    Args:
        source: a PRM's folder or a server's address.
        reward: what a step is paid.
        separator: what ends a step.
        tokenizer: folder of the policy's tokenizer, where responses do not carry one.
    """

    name: ClassVar[str] = "sparring"

    def __init__(
        self,
        source: Any,
        reward: Reward = "cost",
        separator: str = SEPARATOR,
        tokenizer: str | None = None,
        weight: float = 1.0,
        enabled: bool = True,
    ) -> None:
        super().__init__(weight=weight, enabled=enabled)
        self.dense = DenseRewards(source, reward=reward, separator=separator)
        self._tokenizer: Any = None
        if tokenizer is not None:
            from sparring.models.loading import load_tokenizer

            self._tokenizer = load_tokenizer(tokenizer)

    async def evaluate(self, interaction: Any, ctx: Mapping[str, Any]) -> torch.Tensor:
        """Return one reward per output token of a turn."""
        response = interaction.model_response
        tokenizer = self._tokenizer or response.tokenizer
        if tokenizer is None:
            raise DataError("neither the scorer nor the response has a tokenizer", field="tokenizer")
        question = text_of(interaction.messages, "user")
        ids = tuple(response.output_tokens)
        row = await asyncio.to_thread(self.dense.row, question, ids, tokenizer)
        return torch.from_numpy(row).float()
