"""Settings of the game; every field's text is its help.

Contract: checked when made; defaults are those of the tiny chain world. `GameSettings` is what `sparring train aprm` shares
with attacks on a frozen PRM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sparring.models import TINY_POLICY
from sparring.models.prompts import PromptSettings
from sparring.oracles.members import OracleMembers
from sparring.settings import MANY
from sparring.settings_shared import Running, Trained, learning_rate_share
from sparring.training.sampler_settings import SamplerSettings
from sparring.worlds.subject import Subject

if TYPE_CHECKING:
    from sparring.models.roles import Player


class GameSettings(Subject, Trained, PromptSettings):
    """What APRM training and attacks on a frozen PRM share: subject, adversary, budget per update, G's utility."""

    keep_annotations: bool = False
    """Keep GSM8K's `<<48/2=24>>` in the steps; off, since other texts have none and the PRM would miss them."""
    oracle: OracleMembers = Field(["arithmetic", "reference"])
    """Members of the panel that judges the text task; your own are `file.py:function` or `package.module:function`."""

    # Players
    backbone: str = TINY_POLICY
    """Model folder or hub name of the causal language model that the players start from."""
    mistake_cue: str = "mistake :"
    """What asks a plain-style adversary for a mistake; the warm start teaches its meaning."""
    max_step_tokens: int = Field(24, gt=0)
    """Longest rewrite of a step; one that has not ended by then is malformed."""
    rule_kinds: list[str] | None = Field(None, min_length=1)
    """Kinds of mistakes that the rules know, where they play and in the warm starts; without it all that the task has."""

    # Budget
    updates: int = Field(150, ge=0)
    """Rounds of the game; `train aprm` has its warm start (`prm_warm_steps`, `adversary_warm_steps`) before them."""
    states_per_update: int = Field(16, gt=0)
    """States per round."""
    samples_per_state: int = Field(4, gt=0)
    """Rewrites of each state's step per round."""
    states_per_pass: int = Field(32, gt=0)
    """States per forward pass; lower it to save memory (gradients are accumulated, results stay the same)."""

    # The adversary's utility
    reward_fooled: float = 1.0
    """Adversary's reward when a wrong step is accepted."""
    reward_caught: float = -1.0
    """Adversary's reward when a wrong step is rejected. As for a failed one: where only failing costs, G flees to mistakes
    that are sure to be wrong and sure to be caught."""
    reward_failed: float = -1.0
    """Adversary's reward when its step is still correct, or malformed."""
    adversary_pay: Literal["probability", "rank"] = "probability"
    """Where between `reward_caught` and `reward_fooled` a wrong step is paid: at R's `probability` of accepting it, or by
    its `rank` in R's eyes among the wrong rewrites of the same step."""
    adversary_advantage: Literal["plain", "normalised"] = "plain"
    """G's reward less the mean of the others of its state: as it is, or divided by the group's standard deviation."""
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

    @model_validator(mode="after")
    def _check_attention(self) -> GameSettings:
        if self.attention == "flash_attention_2":
            raise ValueError(
                "attention: flash_attention_2 takes no masks, and in the game several rewrites share a row: take sdpa"
            )
        return self


class AprmSettings(GameSettings, SamplerSettings, Running):
    """Settings of `sparring train aprm`."""

    adversary: Literal["rules", "frozen", "trained"] = "trained"
    """Who makes the mistakes: rules (static perturbation), the adversary as it is after its warm start, or the game."""
    max_length: int = Field(512, gt=0, le=MANY)
    """Most tokens in a row; longer states are left out and counted."""
    prm_warm_steps: int = Field(100, ge=0)
    """PRM updates on rule perturbations before the game."""
    adversary_warm_steps: int = Field(80, ge=0)
    """Imitation updates of the adversary on rule perturbations before the game (not for `adversary: rules`)."""

    # Beside rules: what a solver gets wrong
    solver_steps: str | None = None
    """File of a solver's solutions with step labels (our own form, as `sparring label` writes): its first wrong steps are
    states, and there take the place of what rules make."""
    solver_share: float = Field(0.5, gt=0, le=1)
    """Share of the states that are the solver's, with `solver_steps`."""

    # The adversary's share
    frozen_share: float = Field(0.0, ge=0, lt=1)
    """Share of a round's states that are rewritten by G as it was at the start of the game; only R learns from them."""
    adversary_seeds: Literal["round", "state"] = Field("round", validate_default=True)
    """`round`: one stream of random numbers for all rewrites of a round, which of several processes one samples alone;
    `state`: each state has its own, so that processes share the sampling, as with a `sampler` or with `staleness` in any
    case. Results are those of one process either way."""
    log_kinds: bool = False
    """Also log how many wrong rewrites of each kind there were, and how many of them were accepted."""

    # The PRM's utility
    prm_objective: Literal["expected", "sampled", "log_score"] = "log_score"
    """`expected`: exact expected utility of R's binary action; `sampled`: R's action is drawn and reinforced (PPO);
    `log_score`: log-probability of the true label, whose gradient does not vanish where R is sure and wrong."""
    prm_kl: float = Field(0.05, ge=0)
    """Weight of KL(R ‖ its reference), per judged step."""
    prm_entropy: float = Field(0.21, ge=0)
    """Weight of R's entropy, per judged step."""
    prm_epochs: int = Field(1, gt=0)
    """Updates of the PRM per round."""
    clean_share: float = Field(0.5, ge=0, le=1)
    """Weight of untouched correct steps in the PRM's utility; without them "always wrong" is the equilibrium."""
    replay_share: float = Field(0.15, ge=0, le=1)
    """Weight of replayed rewrites of earlier rounds."""
    replayed_states: int = Field(8, ge=0)
    """States replayed per round."""
    pool_states: int = Field(512, ge=0, le=MANY)
    """States kept for replay (a uniform sample of all so far)."""

    optimism: float = Field(1.0, ge=0, le=1)
    """1: optimistic steps 2·g_t − g_{t−1}; 0: plain gradients. Used in the game only, not against a fixed opponent."""
    prm_learning_rate: float = Field(3e-4, gt=0)
    """Adam's step size for the PRM."""
    final_learning_rate: float = Field(0.1, gt=0, le=1)
    """Both step sizes fall linearly over the run to this share of what they are."""
    rise_steps: int = Field(50, ge=0)
    """Both step sizes rise from zero over so many updates, at a player's start and again at the game's: Adam's first steps
    have full size whatever the gradient, and with a head that knows nothing they would only spoil the backbone."""

    rise_again: bool = True
    """Whether the step sizes rise again at the game's start; against rules or a frozen adversary they never do, so an equal
    comparison turns it off."""

    # Running
    checkpoint_every: int = Field(50, gt=0, le=MANY)
    snapshot_every: int = Field(0, ge=0, le=MANY)
    """Updates between snapshots of both players for cross-play; 0 for none."""

    @field_validator("adversary_seeds")
    @classmethod
    def _as_it_is_sampled(cls, seeds: str, given: ValidationInfo) -> str:
        beside = given.data.get("sampler") is not None or given.data.get("staleness")
        return "state" if beside else seeds

    @model_validator(mode="after")
    def _check_game(self) -> AprmSettings:
        if self.clean_share + self.replay_share >= 1:
            raise ValueError(
                "clean_share + replay_share must leave something for fresh rewrites (sum below 1)"
            )
        if self.adversary == "rules" and (self.sampler is not None or self.staleness):
            raise ValueError(
                "rules sample nothing: sampler and staleness belong to an adversary that is a model"
            )
        if self.samples_per_state < 2 and self.adversary == "trained":
            raise ValueError(
                "a trained adversary needs samples_per_state ≥ 2: samples are compared within their group"
            )
        return self

    @property
    def warm_steps(self) -> int:
        """Steps before the game: the adversary is warmed up only where it takes part."""
        return self.prm_warm_steps + (self.adversary_warm_steps if self.adversary != "rules" else 0)

    @property
    def total_steps(self) -> int:
        """All steps."""
        return self.warm_steps + self.updates

    def learning_rate_factor(self, step: int, player: Player) -> float:
        """Return the share of a player's learning rate to use at a step of the run."""
        start = self.prm_warm_steps if player == "adversary" and step < self.warm_steps else 0
        if step >= self.warm_steps and self.adversary == "trained" and self.rise_again:
            start = self.warm_steps
        return learning_rate_share(
            step - start, rise=self.rise_steps, done=step / self.total_steps, final=self.final_learning_rate
        )

    @property
    def played_states(self) -> int:
        """States of a round that G rewrites as it is; the others are rewritten by G as it was."""
        return self.states_per_update - min(
            self.states_per_update - 1, round(self.frozen_share * self.states_per_update)
        )

    @property
    def monotone(self) -> bool:
        """Whether the regularised one-step game is strongly monotone for both players (docs/aprm.md derives the bounds).

        τ = KL weight + entropy weight must exceed |2 − (fooled − caught)| / 8 where R is paid 1 for agreeing with the
        oracle, and 1/4 with the log score (for 0 ≤ fooled − caught ≤ 8).
        """
        spread = self.reward_fooled - self.reward_caught
        needed = abs(2 - spread) / 8
        if self.prm_objective == "log_score":
            if not 0 <= spread <= 8:
                return False
            needed = 0.25
        return min(self.prm_kl + self.prm_entropy, self.adversary_kl + self.adversary_entropy) > needed
