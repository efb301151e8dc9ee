"""Settings of one search method; `sparring search` adds who searches, on what, and which methods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sparring.labels.settings import PolicySettings, parse_prover
from sparring.rollouts.engine import Limits
from sparring.settings import MANY
from sparring.settings_shared import Seeded

USUAL_NEW_TOKENS = 512


class MethodSettings(PolicySettings, Seeded):
    """How a method searches; N is given beside it, since curves vary it."""

    expansions: int = Field(4, gt=0)
    """Next steps sampled from every state (C; the paper's beam search takes 3)."""
    alpha: float = Field(0.0, ge=0)
    """Weight of the prover's progress in the effective reward Q + alpha · A; 0 goes by Q alone."""
    prover: str = "best-of-4"
    """Whose progress counts with `alpha`: `base` or `best-of-K` of the PRM's own value, or the folder of another one."""
    aggregation: Literal["auto", "min", "product", "last", "mean", "soft_min"] = "auto"
    """From step scores to Q; `auto`: the last score where scores are values, else as the PRM's sidecar says."""
    state_mark: str | None = Field(None, min_length=1)
    """Beam: text in a step behind which stands all that matters from there on (` : ` in countdown). Of partial solutions
    that agree in it the best one is kept. Without it only equal texts are one."""
    max_steps: int = Field(40, gt=0)
    """Steps after which a solution is not continued."""
    max_step_tokens: int | None = Field(None, gt=0)
    """Longest step; a longer one is cut, and its solution is over. Without it 128, or what a prefix leaves of the policy's
    positions."""
    max_new_tokens: int | None = Field(None, gt=0)
    """Longest solution of the method `independent`, which writes solutions in one go. Without it 512, or what the question
    leaves of the policy's positions."""
    temperature: float = Field(1.0, ge=0)
    """Of the sampling; 0 is greedy."""
    separator: str = Field("\n", min_length=1)
    """What ends a step of the policy; a blank line for policies that write one between steps."""
    lookahead_steps: int = Field(2, ge=0)
    """Greedy steps ahead by which `lookahead` judges a step; 0 is beam search."""
    exploration: float = Field(1.0, ge=0)
    """Weight of PUCT's exploration term."""
    resampling_temperature: float = Field(1.0, gt=0)
    """Particles are drawn by softmax(log-odds of Q / this)."""
    budget_tokens: int | None = Field(None, gt=0, le=MANY)
    """A problem's search stops once the policy has written so many tokens for it."""
    budget_flops: float | None = Field(None, gt=0, le=1e30)
    """A problem's search stops once policy and PRMs have computed so much for it."""
    in_flight: int = Field(32, gt=0)
    """Problems searched at the same time. Does not change results."""

    @model_validator(mode="after")
    def _check_prover(self) -> MethodSettings:
        parse_prover(self.prover)
        return self

    def limits(self, *, whole: bool, greedy: bool) -> Limits:
        """Return how a step, or a whole solution, is sampled."""
        tokens, usual = (self.max_new_tokens, USUAL_NEW_TOKENS) if whole else (self.max_step_tokens, 128)
        return Limits.wanted(tokens, usual, 0.0 if greedy else self.temperature, self.thinking)
