"""Step scores on disk, and the check that every list of scores passes before it is used.

Contract: a score file is JSONL, one trace a line, or one JSON array: ``{"id": "…", "scores": [0.97, 0.12]}`` (ours), or
with the scores of several models, ``{"id": "…", "<model>": […], "<model>": […]}``, of which one is chosen by name. A
record that is not understood, an id that comes twice and a model that some record lacks are refused with their place.

Not here: making scores (`scoring.py`), what they are worth (`processbench.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError, did_you_mean
from sparring.traces.fields import is_number, shown
from sparring.traces.jsonl import json_objects, write_jsonl_objects

OWN_KEY = "scores"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The scores of one trace as they stood in the file, unchecked, and where that was."""

    scores: Sequence[Any]
    file: Path
    line: int


def read_scores(paths: Path | Sequence[Path], *, model: str | None = None) -> dict[str, ScoreRow]:
    """Return the rows of one or more score files by trace id.

    Args:
        paths: score files; an id may stand in only one of them, once.
        model: whose scores to take where lines hold several; not needed where there is one.

    Raises:
        DataError: a file cannot be read or is empty, a line is not an object with an id and a list, an id
        twice. SettingsError: several models and none chosen, or one that is not there.
    """
    rows: dict[str, ScoreRow] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        empty = True
        for number, record in json_objects(path):
            empty = False
            identity = record.get("id")
            if not isinstance(identity, str) or not identity:
                raise DataError("expected the trace's id, a text", file=path, line=number, field="id")
            if identity in rows:
                first = rows[identity]
                place = f"{first.file}:{first.line}"
                raise DataError(
                    f"id {identity!r} stands at {place} already", file=path, line=number, field="id"
                )
            rows[identity] = ScoreRow(_chosen(record, model, path, number), path, number)
        if empty:
            raise DataError("no scores in this file", file=path)
    return rows


def write_scores(path: Path, scores: Iterable[tuple[str, Sequence[float]]]) -> None:
    """Write (id, scores) pairs in our own form, whole or not at all."""
    write_jsonl_objects(path, ({"id": identity, OWN_KEY: list(row)} for identity, row in scores))


def checked_scores(scores: Sequence[Any], steps: int, identity: str) -> tuple[float, ...]:
    """Return the scores as floats, one per step and all in [0, 1].

    Raises:
        DataError: another number of them, or one that is null, NaN, not a number or outside [0, 1]; names
        the id.
    """
    if len(scores) != steps:
        raise DataError(f"trace {identity!r} has {steps} steps but {len(scores)} scores", field=OWN_KEY)
    for index, score in enumerate(scores):
        field = f"{OWN_KEY}[{index}]"
        if not is_number(score):
            what = "null" if score is None else f"a {type(score).__name__}"
            raise DataError(f"trace {identity!r}: expected a number, got {what}", field=field)
        if score != score:
            raise DataError(f"trace {identity!r}: the score is NaN", field=field)
        if not 0.0 <= score <= 1.0:
            advice = "scores are probabilities from 0 to 1; raw logits need a sigmoid or softmax first"
            raise DataError(
                f"trace {identity!r}: score {shown(score)} is out of range; {advice}", field=field
            )
    return tuple(float(score) for score in scores)


def _chosen(record: Mapping[str, Any], model: str | None, path: Path, line: int) -> Sequence[Any]:
    """Return the list of scores that `model`, or the lack of a choice, means."""
    names = [name for name, value in record.items() if name != "id" and isinstance(value, list)]
    if model is None:
        if OWN_KEY in record:
            model = OWN_KEY
        elif len(names) == 1:
            model = names[0]
        elif names:
            raise SettingsError(
                f"{path}:{line}: scores of several models: choose one of {', '.join(names)} (--scores-model)"
            )
        else:
            raise DataError("expected a list of step scores", file=path, line=line, field=OWN_KEY)
    if model not in record:
        raise SettingsError(f"{path}:{line}: no scores of model {model!r}{did_you_mean(model, names)}")
    if not isinstance(record[model], list):
        raise DataError("expected a list of step scores", file=path, line=line, field=model)
    return list(record[model])
