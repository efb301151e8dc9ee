"""Groups of settings that several commands have, as base classes: a command's class inherits the groups that it needs.

Contract: names are flat, so a command's file and help do not show the groups. A class that changes a default declares the
field again; without a text of its own it keeps the group's. Help lists these groups after a command's own settings.

Not here: how models are prompted (`models.prompts.PromptSettings`), how policies are asked (`labels.settings`), whose
problems a command works on (`worlds.subject`).
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal

from pydantic import Field

from sparring.settings import LARGEST_SEED, MANY, Shared


class Seeded(Shared):
    """A seed."""

    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """All randomness derives from it."""


def seed_from(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on all the parts and their order."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Device(Shared):
    """Where a model computes, and with what numbers."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of frozen weights and of forward passes: `auto` is bfloat16 on a GPU, float32 elsewhere."""


class Trained(Seeded, Device, Shared):
    """A backbone whose weights, or small adapters on them, are trained."""

    adapter: Literal["lora", "full"] = "full"
    """`lora`: frozen backbone with small adapters, in a game one per player; `full`: all weights, each player's own."""
    lora_rank: int = Field(16, gt=0)
    """Rank of the adapters; their scale alpha is twice the rank."""
    lora_targets: str | list[str] = "all-linear"
    """Names of the linear layers that get adapters, or `all-linear`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    """How the trained model attends: `auto` is what transformers takes (sdpa where a model has it); `flash_attention_2`
    needs the package flash-attn, a GPU and bfloat16, and is not for the game, whose rows branch."""
    optimizer_bits: Literal[32, 8] = 32
    """Bits of Adam's two moments; 8 (extra `bits`: bitsandbytes) takes a quarter of their memory, which counts where the
    adapter is `full`."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm, in a game each player's."""


class Running(Shared):
    """A long run that can be resumed and watched."""

    checkpoint_every: int = Field(10, gt=0, le=MANY)
    """Updates between checkpoints to resume from."""
    trackers: list[str] = Field([])
    """Trackers of accelerate to log to, such as `tensorboard`, `trackio` or `wandb`, where installed."""


Shape = Literal["linear", "cosine", "constant"]


def learning_rate_share(step: int, *, rise: int, done: float, final: float, shape: Shape = "linear") -> float:
    """Return the share of the peak learning rate to use at an update.

    Args:
        step: updates made since the rate began to rise.
        rise: updates over which it rises from zero; 0: it begins at its peak.
        done: share of the fall that is over, from 0 to 1.
        final: share of the peak at which the fall ends.
        shape: of the fall; `constant` does not fall.
    """
    risen = min(1.0, (step + 1) / rise) if rise else 1.0
    if shape == "constant":
        return risen
    left = 1 - done if shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return risen * (final + (1 - final) * left)
