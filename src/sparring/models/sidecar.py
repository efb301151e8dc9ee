"""The sidecar `sparring.json`: what a checkpoint needs in order to be scored, beside its weights.

Contract: the sidecar alone decides how a checkpoint is read; no table of model names does. Unknown fields and newer
versions are refused, never ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparring.errors import CheckpointError
from sparring.runs import atomic_write_json
from sparring.traces.spans import Layout

SIDECAR_NAME = "sparring.json"
SIDECAR_VERSION = 1


class LayoutFields(BaseModel):
    """The texts around question and steps (see `sparring.traces.spans`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    before: str = ""
    after: str = "\n"
    separator: str = "\n"
    between: str = ""
    """Text between a separator and the next step; not scored."""
    step_prefix: str = ""
    """Put before a step that does not begin with it; ``{number}`` is the step's number from 1."""
    strip: bool = False
    """Whether white space around question and steps is removed, as many chat templates do."""
    tokenization: Literal["pieces", "prompt", "text"] = "pieces"
    """What is tokenised in one go: each piece alone, the question with the texts around it, or everything."""

    @property
    def is_plain(self) -> bool:
        """Whether `sparring.traces.spans.Layout` says it all."""
        return self == LayoutFields(before=self.before, after=self.after, separator=self.separator)


class Calibration(BaseModel):
    """Score = sigmoid(scale · logit + shift), with logit = log-odds of "correct"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: float = Field(1.0, gt=0)
    shift: float = 0.0


class LogRatio(BaseModel):
    """An implicit PRM: a step's log-odds are beta · log(p(answer so far) / p_reference(answer so far))."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    beta: float = Field(gt=0)
    reference: str = "reference"
    """Folder of the reference model, relative to the checkpoint."""
    end: str = ""
    """Text after the last step; its log ratio counts towards that step."""


class Sidecar(BaseModel):
    """How to score a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int = SIDECAR_VERSION
    head: Literal["token_classification", "label_tokens", "mlp", "log_ratio"] = "token_classification"
    correct_label: int = Field(1, ge=0)
    """Index of the class that means "this step is correct" (token classification)."""
    label_tokens: tuple[int, int] | None = None
    """Ids of the tokens that say "correct" and "wrong" (label tokens)."""
    log_ratio: LogRatio | None = None
    """The reference model and its weight (log ratio)."""
    layout: LayoutFields = LayoutFields()
    meaning: Literal["correctness", "value"] = "correctness"
    aggregation: Literal["min", "product", "last", "mean", "soft_min"] = "min"
    """From step scores to the score of a solution, where a command is not told otherwise."""
    threshold: float = Field(0.5, ge=0, le=1)
    threshold_rule: str = "fixed 0.5"
    calibration: Calibration = Calibration()
    max_length: int = Field(2048, gt=0)

    @model_validator(mode="after")
    def _check_head(self) -> Sidecar:
        if (self.head == "label_tokens") != (self.label_tokens is not None):
            raise ValueError("label_tokens belong to the head 'label_tokens', and it needs them")
        if self.label_tokens is not None and (
            min(self.label_tokens) < 0 or self.label_tokens[0] == self.label_tokens[1]
        ):
            raise ValueError("label_tokens are two different token ids")
        if (self.head == "log_ratio") != (self.log_ratio is not None):
            raise ValueError("log_ratio belongs to the head 'log_ratio', and it needs it")
        return self

    def span_layout(self) -> Layout:
        """Return the layout in the form that `encode` takes.

        Raises:
            CheckpointError: the layout has more to it; then `families.text_layout.encode_trace` encodes, which scorers use.
        """
        if not self.layout.is_plain:
            raise CheckpointError(
                "this checkpoint's layout belongs to another family of PRMs: it can only be scored"
            )
        return Layout(self.layout.before, self.layout.after, self.layout.separator)


def sidecar_for(layout: Layout, **fields: object) -> Sidecar:
    """Return a sidecar with this layout and any other fields."""
    texts = LayoutFields(before=layout.before, after=layout.after, separator=layout.separator)
    return Sidecar.model_validate({"layout": texts, **fields})


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write the sidecar into a model folder."""
    atomic_write_json(folder / SIDECAR_NAME, sidecar.model_dump())


def read_sidecar(folder: Path) -> Sidecar:
    """Return the sidecar of a model folder.

    Raises:
        CheckpointError: the folder or the file is missing, is not JSON, has an unknown or ill-typed field, or was
            written by a newer version.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at '{folder}'")
    path = folder / SIDECAR_NAME
    if not path.is_file():
        raise CheckpointError(
            f"'{folder}' has no {SIDECAR_NAME}, so it is not known where its step scores are; "
            "write one as docs/checkpoints.md describes"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not valid JSON: {error}") from None
    version = fields.get("version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SIDECAR_VERSION:
        raise CheckpointError(
            f"{path}: version {version} is newer than this Sparring reads ({SIDECAR_VERSION}); update it"
        )
    try:
        return Sidecar.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()
        )
        raise CheckpointError(f"{path}: {problems}") from None
