"""The sidecar `sparring.json`: what a checkpoint needs in order to be scored, beside its weights.

Contract: the sidecar alone decides how a checkpoint is read; no table of model names does. It is read strictly: unknown
or repeated fields, other types than the field's (no text or true for a number), numbers that are not finite and newer
versions are refused, never ignored or converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparring.errors import CheckpointError, DataError, said_by_pydantic
from sparring.files import atomic_write_json, dumps
from sparring.json_files import read_json_object
from sparring.settings import Settings
from sparring.traces.spans import Layout

SIDECAR_NAME = "sparring.json"
SIDECAR_VERSION = 1
MAX_LENGTH = 2048
"""Most tokens of a trace where the sidecar does not say."""
_LARGE = 1e30
"""Bound of numbers that are computed with in float32."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or PurePosixPath(path).is_absolute() or "\0" in path:
        raise ValueError("must be a folder inside the checkpoint")
    return path


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayoutFields(_Record):
    """The texts around question and steps (see `sparring.traces.spans`)."""

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


class Calibration(_Record):
    """Score = sigmoid(scale · logit + shift), with logit = log-odds of "correct"."""

    scale: float = Field(1.0, ge=1 / _LARGE, le=_LARGE)
    shift: float = Field(0.0, ge=-_LARGE, le=_LARGE)


class LogRatio(_Record):
    """An implicit PRM: a step's log-odds are beta · log(p(answer so far) / p_reference(answer so far))."""

    beta: float = Field(ge=1 / _LARGE, le=_LARGE)
    reference: Annotated[str, AfterValidator(_inside)] = "reference"
    """Folder of the reference model, relative to the checkpoint."""
    end: str = ""
    """Text after the last step; its log ratio counts towards that step."""


class Sidecar(_Record):
    """How to score a checkpoint."""

    version: int = Field(SIDECAR_VERSION, ge=1)
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
    max_length: int = Field(MAX_LENGTH, gt=0)
    """Most tokens of a trace; more than the model's positions are refused, and where it is not given, fewer count."""

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
            CheckpointError: the layout has more to it; then `text_layout.encode_trace` encodes, which scorers use.
        """
        if not self.layout.is_plain:
            raise CheckpointError(
                "this checkpoint's layout belongs to another family of PRMs: it can only be scored"
            )
        return Layout(self.layout.before, self.layout.after, self.layout.separator)


class ConvertPrmSettings(Settings):
    """Settings of `sparring convert-prm`."""

    family: str
    """Name of the family; `docs/checkpoints.md` lists them."""
    reference: Path | None = None
    """Folder of the reference model, for implicit PRMs (`eurus`)."""
    sidecar: dict[str, Any] = Field({})
    """Fields of `sparring.json` that differ from the family's preset, such as ``sidecar.threshold=0.4``."""


def sidecar_for(layout: Layout, **fields: object) -> Sidecar:
    """Return a sidecar with this layout and any other fields."""
    texts = LayoutFields(before=layout.before, after=layout.after, separator=layout.separator)
    return Sidecar.model_validate({"layout": texts, **fields})


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write the sidecar into a model folder."""
    atomic_write_json(folder / SIDECAR_NAME, sidecar.model_dump())


def model_inside(folder: Path) -> str:
    """Return the end of an error about a folder without a model, where a folder in it has one: a run's `model` or `prm`."""
    inside = sorted(str(path.parent) for path in folder.glob("*/config.json"))
    return f" (there is one in {' and '.join(repr(path) for path in inside[:3])})" if inside else ""


def read_sidecar(folder: Path) -> Sidecar:
    """Return the sidecar of a model folder.

    Raises:
        CheckpointError: the folder or the file is missing, is not strict JSON, has an unknown or ill-typed field, or
            was written by a newer version.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no model folder at '{folder}'")
    path = folder / SIDECAR_NAME
    if not path.is_file():
        raise CheckpointError(
            f"'{folder}' has no {SIDECAR_NAME}, so it is not known where its step scores are; "
            f"write one as docs/checkpoints.md describes{model_inside(folder)}"
        )
    fields = json_object(path)
    version = fields.get("version")
    if type(version) is int and version > SIDECAR_VERSION:
        raise CheckpointError(
            f"{path}: version {version} is newer than this Sparring reads ({SIDECAR_VERSION}); update it"
        )
    try:
        return checked_sidecar(fields)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {problems(error)}") from None


def checked_sidecar(fields: Mapping[str, Any]) -> Sidecar:
    """Return the sidecar with these fields, of plain JSON types.

    Raises:
        pydantic.ValidationError: a field is unknown, of another type, or out of range; `problems` says it in one line.
    """
    return Sidecar.model_validate_json(dumps(fields), strict=True)


def problems(error: ValidationError) -> str:
    """Return what is wrong with a sidecar, field by field."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'file'}: {said_by_pydantic(item)}" for item in error.errors()
    )


def json_object(path: Path, *, loose: bool = False) -> dict[str, Any]:
    """Return the object in a JSON file of a model folder (`json_files`).

    Raises:
        CheckpointError: the file cannot be read, is not JSON, or holds something else than an object.
    """
    try:
        return read_json_object(path, loose=loose)
    except DataError as error:
        raise CheckpointError(str(error)) from None
