"""What AReaL asks of a process-reward scorer, in our words: its `areal/reward/prm/runner.py` at 4e9db5f, in no release yet.

A scorer is a class with a name, made with `weight`, `enabled` and its own arguments; `evaluate(interaction, ctx)` gives
one number, a tensor of one number per output token, or None. A turn has `messages` and a `model_response` with
`output_tokens` and a tokenizer. One failure, a None, another shape or a number that is not finite gives up the rewards of
the whole trajectory.
"""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import torch


class BaseScorer:
    """The base class of scorers."""

    name = ""

    def __init__(self, weight: float = 1.0, enabled: bool = True) -> None:
        if not self.name:
            raise ValueError("a scorer has a name")
        self.weight, self.enabled = float(weight), bool(enabled)


def install() -> None:
    """Put the stand-in where the package is not."""
    for name in ("areal", "areal.reward", "areal.reward.prm", "areal.reward.prm.runner"):
        sys.modules.setdefault(name, types.ModuleType(name))
    module: Any = sys.modules["areal.reward.prm.runner"]
    module.BaseScorer = BaseScorer


def run(scorer: Any, turns: list[Any]) -> list[torch.Tensor]:
    """Score the turns of a trajectory together, and check what came as AReaL does."""

    async def all_of_them() -> list[Any]:
        return list(await asyncio.gather(*[scorer.evaluate(turn, {"is_eval": False}) for turn in turns]))

    found = []
    for turn, reward in zip(turns, asyncio.run(all_of_them()), strict=True):
        length = len(turn.model_response.output_tokens)
        if reward is None:
            raise RuntimeError("a turn has no reward")
        row = reward if isinstance(reward, torch.Tensor) else torch.full((length,), float(reward))
        if row.shape != torch.Size((length,)) or not bool(torch.isfinite(row).all()):
            raise ValueError(f"rewards of shape {tuple(row.shape)} for {length} tokens, or not finite")
        found.append(row.detach().to("cpu", torch.float32) * scorer.weight)
    return found
