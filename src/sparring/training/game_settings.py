"""Settings that every game with an adversary has: its subject, the adversary, its rewards and regularisation.

Contract: base of the settings of APRM training and of attacks on a frozen PRM, so that both speak of the same adversary.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from sparring.errors import SettingsError
from sparring.models import TINY_POLICY
from sparring.models.prompts import PromptSettings
from sparring.oracles.members import check_members
from sparring.settings_shared import Subject, Trained


class GameSettings(Subject, Trained, PromptSettings):
    """Subject, adversary, budget per update, and the adversary's utility."""

    keep_annotations: bool = False
    """Keep GSM8K's `<<48/2=24>>` in the steps; off, since other texts have none and the PRM would miss them."""
    oracle: list[str] = Field(["arithmetic", "reference"])
    """Members of the panel that judges the text task; your own are `file.py:function` or `package.module:function`."""

    # Players
    backbone: str = TINY_POLICY
    """Model folder or hub name of the causal language model that the players start from."""
    mistake_cue: str = "mistake :"
    """What asks a plain-style adversary for a mistake; the warm start teaches its meaning."""
    max_step_tokens: int = Field(24, gt=0)
    """Longest rewrite of a step; one that has not ended by then is malformed."""

    # Budget
    updates: int = Field(150, ge=0)
    """Rounds of the game."""
    states_per_update: int = Field(16, gt=0)
    """States per round."""
    samples_per_state: int = Field(4, gt=0)
    """Rewrites of each state's step per round."""
    states_per_pass: int = Field(32, gt=0)
    """States per forward pass; lower it to save memory (gradients are accumulated, results stay the same)."""

    # The adversary's utility
    reward_fooled: float = 1.0
    """Adversary's reward when a wrong step is accepted."""
    reward_caught: float = 0.0
    """Adversary's reward when a wrong step is rejected."""
    reward_failed: float = -1.0
    """Adversary's reward when its step is still correct, or malformed."""
    adversary_kl: float = Field(0.26, ge=0)
    """Weight of KL(G ‖ its reference), per rewrite (summed over its tokens)."""
    adversary_entropy: float = Field(0.0, ge=0)
    """Weight of G's entropy, per rewrite (summed over its tokens)."""
    clip: float = Field(0.2, gt=0)
    """PPO's clipping range."""
    adversary_epochs: int = Field(1, gt=0)
    """Updates of the adversary per round."""

    # Optimisation
    adversary_learning_rate: float = Field(5e-4, gt=0)
    """Adam's step size for the adversary."""

    @field_validator("oracle")
    @classmethod
    def _check_oracle(cls, names: list[str]) -> list[str]:
        try:
            check_members(names)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return names
