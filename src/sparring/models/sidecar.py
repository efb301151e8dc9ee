"""The sidecar `sparring.json`: what a checkpoint needs in order to be scored, beside its weights.

Contract: the sidecar alone decides how a checkpoint is read; no table of model names does. Unknown fields and newer
versions are refused, never ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Calibration(BaseModel):
    """Score = sigmoid(scale · logit + shift), with logit = log-odds of "correct"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: float = Field(1.0, gt=0)
    shift: float = 0.0


class Sidecar(BaseModel):
    """How to score a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int = SIDECAR_VERSION
    head: Literal["token_classification"] = "token_classification"
    correct_label: int = Field(1, ge=0)
    """Index of the class that means "this step is correct"."""
    layout: LayoutFields = LayoutFields()
    meaning: Literal["correctness", "value"] = "correctness"
    aggregation: Literal["min", "product", "last", "mean"] = "min"
    threshold: float = Field(0.5, ge=0, le=1)
    threshold_rule: str = "fixed 0.5"
    calibration: Calibration = Calibration()
    max_length: int = Field(2048, gt=0)

    def span_layout(self) -> Layout:
        """Return the layout in the form that `encode` takes."""
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
