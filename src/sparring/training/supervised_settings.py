"""Settings of supervised training; every field's text is its help.

Contract: checked when made. `train prm`, `train orm` and `train value` share `SupervisedSettings`; class attributes say in
what the three differ.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from sparring.models.prompts import PromptSettings
from sparring.models.sidecar import LayoutFields
from sparring.settings import MANY
from sparring.settings_shared import Running, Shape, Trained, learning_rate_share


class SupervisedSettings(Trained, Running, PromptSettings):
    """What `train prm`, `train orm` and `train value` have in common."""

    title: ClassVar[str]
    """What is trained, in words."""
    missing: ClassVar[str] = "trace without a label"
    """Why a trace cannot be used that has nothing to train on."""
    meaning: ClassVar[Literal["correctness", "value"]]
    """What the scores estimate."""
    aggregation: ClassVar[Literal["min", "last"]]
    """How steps make one score of a solution."""

    # Data
    data: str | list[str]
    """File or files of labelled traces."""
    data_format: str = "auto"
    """Format of the files: `auto`, or a name from docs/data-formats.md."""
    keep_annotations: bool = False
    """Keep GSM8K's `<<48/2=24>>` in the steps; off, since other texts have none and the model would miss them."""
    max_traces: int | None = Field(None, gt=0, le=MANY)
    """Use only the first so many traces."""
    validation_data: str | list[str] | None = None
    """File or files to validate on; without it a share of the problems in `data` is kept for that."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of the problems (never of the steps) kept for validation; 0 for none."""
    max_length: int | None = Field(None, gt=0, le=MANY)
    """Most tokens of a trace; null: what the backbone takes."""
    overflow: Literal["refuse", "drop_trace", "drop_steps"] = "refuse"
    """A longer trace stops the command, is left out, or loses its last steps; both of the latter are counted and shown."""

    # Model
    backbone: str
    """Model folder or hub name to start from: a causal language model, or (token classification) an earlier PRM."""
    head: Literal["token_classification", "label_tokens"] = "token_classification"
    """A new two-class head, or the logits of two tokens of the language model."""
    label_tokens: tuple[str, str] = ("+", "-")
    """The tokens that say correct and wrong (head `label_tokens`)."""
    separator: str = "\n"
    """Text after every step; the step is scored at its last token."""
    layout: LayoutFields | None = None
    """All texts around question and steps, instead of those that `style` and `separator` make."""

    # Loss
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """Let steps with target below 0.5 and from 0.5 on count alike: by `weights`, or by leaving a random part of the larger
    class out of each epoch (`sampling`)."""
    calibrate: bool = False
    """Fit scale and shift of the log-odds on the validation split and write them into the checkpoint."""

    # Optimisation
    epochs: int = Field(1, gt=0)
    """Passes over the training traces."""
    max_updates: int | None = Field(None, gt=0, le=MANY)
    """Stop after so many updates."""
    batch_traces: int = Field(32, gt=0)
    """Traces per update."""
    token_budget: int = Field(16_384, gt=0, le=MANY)
    """Tokens per forward pass, padding included; a batch is split by length into passes (same result, less memory)."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak step size of AdamW."""
    schedule: Shape = "linear"
    """How the learning rate falls after the warm-up."""
    warmup_share: float = Field(0.0, ge=0, le=1)
    """Share of the updates over which the learning rate rises from zero."""
    final_learning_rate: float = Field(0.0, ge=0, le=1)
    """Share of the peak at which the learning rate ends."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's weight decay."""

    # Running
    evaluate_every: int | None = Field(None, gt=0, le=MANY)
    """Updates between validations; null: once per epoch."""
    patience: int = Field(0, ge=0)
    """Stop after so many validations without a lower loss; 0: never."""
    keep: Literal["best", "last"] = "best"
    """Which weights to write in the end: those with the lowest validation loss, or the last."""
    checkpoint_every: int = Field(100, gt=0, le=MANY)

    @model_validator(mode="after")
    def _check(self) -> SupervisedSettings:
        if not self.files:
            raise ValueError("`data` names no file")
        if self.calibrate and not self.validates:
            raise ValueError("`calibrate` needs a validation split")
        if self.patience and not self.validates:
            raise ValueError("`patience` needs a validation split")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("`betas` are two numbers from 0 to below 1")
        return self

    def learning_rate_factor(self, step: int, updates: int) -> float:
        """Return the share of the peak learning rate at an update: warm-up, then the schedule."""
        warm = math.ceil(self.warmup_share * updates)
        return learning_rate_share(
            step,
            rise=warm + 1,
            done=max(0, step - warm) / max(1, updates - warm),
            final=self.final_learning_rate,
            shape=self.schedule,
        )

    @property
    def files(self) -> list[str]:
        """The training files."""
        return [self.data] if isinstance(self.data, str) else self.data

    @property
    def validation_files(self) -> list[str]:
        """The validation files, possibly none."""
        given = self.validation_data or []
        return [given] if isinstance(given, str) else given

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return bool(self.validation_files) or self.validation_share > 0


class PrmSettings(SupervisedSettings):
    """Settings of `sparring train prm`."""

    title = "process reward model"
    meaning = "correctness"
    aggregation = "min"

    labels: Literal["hard", "soft", "outcome"] = "hard"
    """`hard`: a step label from 0.5 on counts as 1, a lower one as 0; `soft`: labels are probabilities; `outcome`: no step
    label at all, the solution's outcome stands for every step."""
    outcome_noise: Literal["none", "product"] = "product"
    """`labels: outcome` only, what an outcome says of the steps: `none`: the same of each; `product`: a solution is right
    where all its steps are."""

    @model_validator(mode="after")
    def _check_outcome(self) -> PrmSettings:
        if self.product and self.class_balance != "none":
            raise ValueError(
                "outcome_noise: product has one target per solution: set class_balance: none, or outcome_noise: none"
            )
        return self

    @property
    def product(self) -> bool:
        """Whether a solution is right where all its steps are."""
        return self.labels == "outcome" and self.outcome_noise == "product"


class OrmSettings(SupervisedSettings):
    """Settings of `sparring train orm`."""

    title = "outcome reward model"
    missing = "trace without an outcome"
    meaning = "value"
    aggregation = "last"


class ValueSettings(SupervisedSettings):
    """Settings of `sparring train value`."""

    title = "value model"
    missing = "trace without values (see the setting `values`)"
    meaning = "value"
    aggregation = "last"

    values: Literal["estimates", "labels"] = "estimates"
    """Where Q̂ stands: in `estimates`, or, in formats whose labels are Monte-Carlo values, in the labels."""
    class_balance: Literal["none", "weights", "sampling"] = "sampling"
    """Let prefixes with Q̂ below 0.5 and from 0.5 on count alike: by `weights`, or by leaving a random part of the larger
    class out of each epoch (`sampling`)."""
    calibrate: bool = True
    """Fit scale and shift of the log-odds on the validation split: balancing makes scores that are too near to one half."""
