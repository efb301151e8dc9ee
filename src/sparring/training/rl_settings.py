"""Settings of reinforcement learning; every field's text is its help.

Contract: checked when made. Defaults are those of the tiny chain world (`configs/chain-rl.yaml`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sparring.labels.provers import is_server
from sparring.labels.settings import PolicySettings
from sparring.models import TINY_POLICY
from sparring.oracles.members import OracleMembers
from sparring.rollouts.engine import Limits
from sparring.settings import MANY
from sparring.settings_shared import Running, learning_rate_share
from sparring.training.sampler_settings import SamplerSettings
from sparring.worlds.subject import TEXT, Subject, world_of
from sparring.worlds.world import World

USUAL_NEW_TOKENS = 160


class RlSettings(Subject, SamplerSettings, Running, PolicySettings):
    """Settings of `sparring train rl`."""

    chain_steps: tuple[int, int] = (3, 5)
    """Fewest and most steps of the chain world's problems."""

    # Policy and rollouts
    policy: str = TINY_POLICY
    """Model folder or hub name of the policy; as it is at the start, it is also the reference."""
    problems_per_update: int = Field(16, gt=0)
    """Problems per update."""
    samples_per_problem: int = Field(8, ge=2)
    """Answers per problem and update: a group, whose members are each other's baseline."""
    max_new_tokens: int | None = Field(None, gt=0)
    """Longest answer; one that has not ended by then is cut. Without it 160, or what the question leaves of the policy's
    positions."""
    cut_answers: Literal["penalised", "failed", "left_out"] = "penalised"
    """`penalised`: the reward of a cut answer is −1; `failed`: 0, as of a wrong one; `left_out`: it trains nobody and is in
    no baseline. Where an end costs more than going on, a policy finds that out and never ends."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the rollouts; the policy that is trained is the one at this temperature."""
    row_budget: int = Field(256, gt=0)
    """Answers in flight at once."""

    # Credit
    credit: Literal["outcome", "progress", "step_sum", "soft_min", "log_ratio"] = "progress"
    """Rule from step scores to credit (docs/rl.md has the formulas)."""
    outcome_weight: float = Field(1.0, ge=0)
    """Weight of the verified outcome; 0 trains on step scores alone."""
    process_weight: float = Field(1.0, ge=0)
    """Weight of the steps' credit; α in PAV."""
    clip_step_sum: bool = True
    """`step_sum` only: steps above the group's mean get no credit, so that length never pays."""
    soft_min_temperature: float = Field(0.1, gt=0)
    """`soft_min` only: towards 0 only the worst step counts."""
    prm: str | None = None
    """Step scorer, a folder or a server's address (docs/serving.md): a PRM for `step_sum` and `soft_min`, an implicit one
    for `log_ratio`, a value model for `progress` and for `baseline: prefix`. With `outcome` alone it is only watched."""
    prover: str | None = None
    """Where values are needed and there is no `prm`: frozen policy whose rollouts give the values of prefixes, a model or a
    server's address (`http://…/v1`); none: `policy` itself."""
    prover_rollouts: int = Field(4, gt=0)
    """Rollouts of the prover per prefix."""
    prover_temperature: float = Field(1.0, gt=0)
    """Temperature of the prover; a higher one makes a weaker prover of the same model."""
    best_of: int = Field(4, gt=0)
    """`progress` only: the prover is best-of-K of the policy behind the values, 1 − (1 − Q)^K; 1 for that policy itself."""
    last_value: Literal["scored", "outcome"] = "scored"
    """`outcome`: the value of a whole answer is its verified outcome, whatever the value model says (so it is with a prover
    and with a gate in any case)."""
    gate: str = "none"
    """Takes values away from the first wrong step on: `none`; `oracle` (a world's own, for texts the panel
    `gate_oracle`); or a PRM, its folder or a server's address."""
    gate_oracle: OracleMembers = Field(["arithmetic", "reference"])
    """Members of the panel that judges steps of the text task, for `gate: oracle`."""
    gate_threshold: float | None = Field(0.5, ge=0, le=1)
    """A step whose score by the gate's PRM is below it is called wrong. null: values are multiplied by the lowest score so
    far instead (correctness × progress)."""

    # Objective
    objective: Literal["reinforce", "ppo"] = "ppo"
    """`ppo`: clipped importance ratios; `reinforce`: the same ratios, not clipped."""
    baseline: Literal["group", "value", "prefix"] = "group"
    """`group`: the mean outcome of the other answers; `value`: a value function of the policy's hidden states; `prefix`:
    the value of the prefix before the step, from `prm` (a value model) or from a prover's rollouts."""
    value_learning_rate: float = Field(1e-2, gt=0)
    """Adam's step size for the value function (a linear head)."""
    clip: float = Field(0.2, gt=0)
    """PPO's clipping range."""
    sampler_cap: float | None = Field(2.0, ge=1)
    """Ratios are to the policy's own probabilities before the update, and what the sampler's differ from these
    (rounding, another engine) weighs each token, at most so much. null: ratios to the sampler's."""
    epochs: int = Field(1, gt=0)
    """Passes over an update's answers."""
    minibatches: int = Field(1, gt=0)
    """Optimiser steps per pass."""
    kl: float | None = Field(0.01, ge=0)
    """Weight of KL(policy ‖ reference), per token. null: no reference is kept or asked, which saves a forward pass."""
    entropy: float = Field(0.0, ge=0)
    """Weight of the policy's entropy, per token."""

    # Optimisation
    updates: int = Field(100, gt=0)
    """Updates."""
    learning_rate: float = Field(5e-4, gt=0)
    """Adam's step size for the policy."""
    rise_updates: int = Field(5, ge=0)
    """The step size rises from zero over so many updates."""
    final_learning_rate: float = Field(0.1, gt=0, le=1)
    """The step size falls linearly over the run to this share of what it is."""
    tokens_per_pass: int = Field(16_384, gt=0, le=MANY)
    """Tokens per forward pass, padding included; lower it to save memory (gradients are accumulated)."""
    answers_per_row: int = Field(1, gt=0)
    """Answers to one problem that share a row in training, so that their prompt is read once: quicker where prompts are
    long beside answers, with other rounding. For models with rotary positions."""

    # Watching
    watch_every: int = Field(10, gt=0)
    """Updates between evaluations on the held-out problems."""
    watch_problems: int = Field(64, gt=1)
    """Held-out problems; they never train anybody."""
    watch_longer: int = Field(0, ge=0)
    """Held-out problems of the chain world with longer chains, on which accuracy is measured too."""
    stop_when_hacked: bool = True
    """Stop when the PRM's reward rises while verified accuracy falls, both beyond their intervals, twice in a row."""

    @model_validator(mode="after")
    def _check(self) -> RlSettings:
        if is_server(self.policy):
            raise ValueError(
                "the policy is trained here and cannot be a server: its weights would not be those that sample; "
                "name a model (a prover may be a server, and so may the `sampler`)"
            )
        if self.watch_longer and self.task.partition(":")[0] != "chain":
            raise ValueError("watch_longer belongs to the chain world")
        if not 1 <= self.chain_steps[0] <= self.chain_steps[1] <= 10:
            raise ValueError("chain_steps is the fewest and the most steps, from 1 to 10")
        if self.task != TEXT:
            world_of(self.task, self.chain_steps)  # raises where they do not fit
        if self.prover is not None and not self.takes_values:
            raise ValueError("a prover belongs to credit: progress or to baseline: prefix")
        if self.prover is not None and self.prm is not None:
            raise ValueError(
                "credit: progress and baseline: prefix take values from `prover` (a policy) or from `prm` (a value model)"
            )
        if self.baseline == "prefix" and self.credit not in ("outcome", "progress"):
            raise ValueError(f"baseline: prefix takes a value model as `prm`, credit: {self.credit} does not")
        if self.baseline == "prefix" and self.outcome_weight == 0:
            raise ValueError("baseline: prefix is the outcome's, and outcome_weight is 0")
        if self.gate != "none" and not self.takes_values:
            raise ValueError("a gate closes values: it belongs to credit: progress or to baseline: prefix")
        if self.credit in ("step_sum", "soft_min", "log_ratio") and self.prm is None:
            raise ValueError(f"credit: {self.credit} needs `prm`")
        if self.outcome_weight == 0 and (self.process_weight == 0 or self.credit == "outcome"):
            raise ValueError("without outcome and without step credit there is nothing to learn from")
        return self

    @property
    def world(self) -> World:
        """The world `task`, with `chain_steps`."""
        return world_of(self.task, self.chain_steps)

    @property
    def takes_values(self) -> bool:
        """Whether `prm` is a value model, and without one a prover gives values."""
        return self.credit == "progress" or self.baseline == "prefix"

    def limits(self, temperature: float) -> Limits:
        """Return how answers are sampled at a temperature."""
        return Limits.wanted(self.max_new_tokens, USUAL_NEW_TOKENS, temperature, self.thinking)

    def learning_rate_factor(self, step: int) -> float:
        """Return the share of the step sizes to use at an update, counted from 0."""
        return learning_rate_share(
            step, rise=self.rise_updates, done=step / self.updates, final=self.final_learning_rate
        )
