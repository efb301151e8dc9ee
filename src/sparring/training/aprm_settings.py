"""Settings of APRM training; every field's text is its help.

Contract: checked when made. Defaults are those of the tiny chain world; `configs/` holds commented files for others.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sparring.models.loading import TINY_POLICY
from sparring.settings import Settings


class AprmSettings(Settings):
    """Settings of `sparring train aprm`."""

    # Subject
    task: Literal["chain", "text"] = "chain"
    """Where states come from: the endless chain world (exact oracle), or problems with solutions in a file (text oracles)."""
    data: str | None = None
    """File of problems with correct step-by-step solutions (text task)."""
    data_format: str = "auto"
    """Format of `data`: `auto`, or one of the names that `sparring score --help` lists."""
    max_problems: int | None = Field(None, gt=0)
    """Use only the first so many problems of `data`."""

    # Players
    backbone: str = TINY_POLICY
    """Model folder or hub name of the causal language model that both players start from."""
    adapter: Literal["lora", "full"] = "full"
    """`lora`: one frozen backbone, small adapters per player; `full`: each player has its own weights."""
    lora_rank: int = Field(16, gt=0)
    """Rank of the adapters."""
    lora_targets: str | list[str] = "all-linear"
    """Names of the linear layers that get adapters, or `all-linear`."""
    style: Literal["plain", "chat"] = "plain"
    """`chat`: question and requests go through the tokenizer's chat template; `plain`: bare text."""
    adversary: Literal["rules", "frozen", "trained"] = "trained"
    """Who makes the mistakes: rules (static perturbation), the adversary as it is after its warm start, or the game."""
    mistake_cue: str = "mistake :"
    """What asks a plain-style adversary for a mistake; the warm start teaches its meaning."""
    max_step_tokens: int = Field(24, gt=0)
    """Longest rewrite of a step; one that has not ended by then is malformed."""
    max_length: int = Field(512, gt=0)
    """Most tokens in a row; longer states are left out and counted."""

    # Budget
    updates: int = Field(100, ge=0)
    """Rounds of the game (updates of the PRM after the warm start)."""
    prm_warm_steps: int = Field(50, ge=0)
    """PRM updates on rule perturbations before the game."""
    adversary_warm_steps: int = Field(50, ge=0)
    """Imitation updates of the adversary on rule perturbations before the game (not for `adversary: rules`)."""
    states_per_update: int = Field(32, gt=0)
    """States per round."""
    samples_per_state: int = Field(4, gt=0)
    """Rewrites of each state's step per round."""
    states_per_pass: int = Field(32, gt=0)
    """States per forward pass; lower it to save memory (gradients are accumulated, results stay the same)."""

    # The game
    reward_fooled: float = 1.0
    """Adversary's reward when a wrong step is accepted."""
    reward_caught: float = 0.0
    """Adversary's reward when a wrong step is rejected."""
    reward_failed: float = -1.0
    """Adversary's reward when its step is still correct, or malformed."""
    prm_objective: Literal["expected", "sampled", "log_score"] = "log_score"
    """`expected`: exact expected utility of R's binary action; `sampled`: R's action is drawn and reinforced (PPO);
    `log_score`: log-probability of the true label, a proper score whose gradient does not vanish where R is sure and wrong."""
    prm_kl: float = Field(0.05, ge=0)
    """Weight of KL(R ‖ its reference), per judged step."""
    prm_entropy: float = Field(0.1, ge=0)
    """Weight of R's entropy, per judged step."""
    adversary_kl: float = Field(0.15, ge=0)
    """Weight of KL(G ‖ its reference), per rewrite (summed over its tokens)."""
    adversary_entropy: float = Field(0.0, ge=0)
    """Weight of G's entropy, per rewrite (summed over its tokens)."""
    clip: float = Field(0.2, gt=0)
    """PPO's clipping range."""
    prm_epochs: int = Field(1, gt=0)
    """Updates of the PRM per round."""
    adversary_epochs: int = Field(1, gt=0)
    """Updates of the adversary per round."""
    clean_share: float = Field(0.5, ge=0, le=1)
    """Weight of untouched correct steps in the PRM's utility; without them "always wrong" is the equilibrium."""
    replay_share: float = Field(0.15, ge=0, le=1)
    """Weight of replayed rewrites of earlier rounds."""
    replayed_states: int = Field(8, ge=0)
    """States replayed per round."""
    pool_states: int = Field(512, ge=0)
    """States kept for replay (a uniform sample of all so far)."""
    optimism: float = Field(1.0, ge=0, le=1)
    """1: optimistic steps 2·g_t − g_{t−1}; 0: plain gradients."""

    # Optimisation
    prm_learning_rate: float = Field(1e-3, gt=0)
    """Adam's step size for the PRM."""
    adversary_learning_rate: float = Field(3e-4, gt=0)
    """Adam's step size for the adversary."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm, per player."""
    seed: int = Field(0, ge=0)
    """All randomness derives from it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights and of the forward passes: `auto` is bfloat16 on a GPU, float32 elsewhere."""

    # Running
    checkpoint_every: int = Field(50, gt=0)
    """Steps between checkpoints."""
    snapshot_every: int = Field(0, ge=0)
    """Updates between snapshots of both players for cross-play; 0 for none."""
    trackers: list[str] = []
    """Trackers of accelerate to log to, such as `tensorboard` or `wandb`, where installed."""

    @model_validator(mode="after")
    def _check(self) -> AprmSettings:
        if self.clean_share + self.replay_share >= 1:
            raise ValueError("clean_share + replay_share must leave something for fresh rewrites (sum below 1)")
        if self.task == "text" and self.data is None:
            raise ValueError("the text task needs `data`")
        if self.samples_per_state < 2 and self.adversary == "trained":
            raise ValueError("a trained adversary needs samples_per_state ≥ 2: samples are compared within their group")
        return self

    @property
    def warm_steps(self) -> int:
        """Steps before the game: the adversary is warmed up only where it takes part."""
        return self.prm_warm_steps + (self.adversary_warm_steps if self.adversary != "rules" else 0)

    @property
    def total_steps(self) -> int:
        """All steps."""
        return self.warm_steps + self.updates

    @property
    def monotone(self) -> bool:
        """Whether the regularised one-step game is strongly monotone: τ > |2 − (fooled − caught)| / 8 for both players."""
        needed = abs(2 - (self.reward_fooled - self.reward_caught)) / 8
        return min(self.prm_kl + self.prm_entropy, self.adversary_kl + self.adversary_entropy) > needed
