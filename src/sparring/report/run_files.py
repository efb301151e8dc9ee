"""The files of one demo run, read and checked: what the reports are made from.

Contract: `metrics.json` must be there; every other file may be absent (``None``) or empty (``[]``). A record
that does not fit is refused with its file, line and field; nothing is skipped. Numbers that are null, absent
or not finite are ``None``: a gap in a curve. Not here: writing these files, and what they mean to a reader
(`wording.py`, `demo.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sparring.errors import DataError, SparringError

METHODS = ("rules_prm", "aprm")
Record = Mapping[str, Any]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured number with its 95 % interval (``None``: there is none) and the number of cases."""

    value: float
    low: float | None
    high: float | None
    n: int | None
    unit: str
    interval: str = ""


@dataclass(frozen=True, slots=True)
class CrossPlay:
    """Fool rate of every saved adversary (columns) against every saved PRM (rows); `n` steps per cell."""

    prm_updates: tuple[int, ...]
    adversary_updates: tuple[int, ...]
    fool_rate: tuple[tuple[float | None, ...], ...]
    n: int | None


@dataclass(frozen=True, slots=True)
class Example:
    """An adversarial step, with what the oracle says of it and how both PRMs score it (scores in [0, 1])."""

    question: str
    prefix: tuple[str, ...]
    step: str
    perturbed: str
    truth: str
    reason: str
    detail: str
    adversary: str
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution of the solver; `truths` and every list of scores hold one entry per step."""

    question: str
    steps: tuple[str, ...]
    truths: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, ...]]
    outcome: bool | None
    split: str


@dataclass(frozen=True, slots=True)
class DemoRun:
    """A run of ``sparring demo``: its numbers, their context, and the records behind them."""

    metrics: Mapping[str, Metric]
    settings: Mapping[str, Any]
    context: Mapping[str, Any]
    logs: Mapping[str, list[Record] | None]
    attacks: Mapping[str, list[Record] | None]
    cross_play: CrossPlay | None
    examples: list[Example] | None
    solutions: list[Solution] | None


def read_demo_run(run_dir: Path) -> DemoRun:
    """Read a run directory.

    Raises:
        SparringError: the directory or its `metrics.json` is missing.
        DataError: a file does not hold what it should; names file, line and field.
    """
    path = run_dir / "metrics.json"
    if not path.is_file():
        raise SparringError(
            f"{path} is missing, so there is nothing to report: give the directory of a finished "
            "'sparring demo' run"
        )
    written = read_json(path)
    try:
        metrics = metrics_of(written)
        settings = mapping(written, "settings", required=False)
    except DataError as error:
        raise error.at(file=path) from None
    return DemoRun(
        metrics={name: entry for name, entry in metrics.items() if entry is not None},
        settings=settings,
        context={key: written.get(key) for key in ("seed", "commit", "versions", "machine")},
        logs={name: read_game(run_dir / name / "log.jsonl") for name in METHODS},
        attacks={name: read_lines(run_dir / f"attack_{name}.jsonl", curve_record) for name in METHODS},
        cross_play=read_cross_play(run_dir / "cross_play.json"),
        examples=read_lines(run_dir / "examples.jsonl", example),
        solutions=read_lines(run_dir / "solutions.jsonl", solution),
    )


def read_json(path: Path) -> Record:
    """Read a file that holds one JSON object."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not readable JSON: {error}", file=path) from None
    if not isinstance(written, dict):
        raise DataError(f"expected a JSON object, got {type(written).__name__}", file=path)
    return written


def read_lines(path: Path, make: Callable[[Record], Made]) -> list[Made] | None:
    """Read a file with one JSON object per line, each checked by `make`; ``None`` where there is no file."""
    if not path.is_file():
        return None
    made = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"this is not UTF-8 text: {error}", file=path) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"this is not readable JSON: {error}", file=path, line=number) from None
        if not isinstance(record, dict):
            raise DataError(f"expected a JSON object, got {type(record).__name__}", file=path, line=number)
        try:
            made.append(make(record))
        except DataError as error:
            raise error.at(file=path, line=number) from None
    return made


def read_game(path: Path) -> list[Record] | None:
    """Read a training log without its warm start, whose updates are counted for themselves."""
    records = read_lines(path, lambda record: (record.get("phase", "game") == "game", curve_record(record)))
    return None if records is None else [record for in_game, record in records if in_game]


def read_cross_play(path: Path) -> CrossPlay | None:
    """Read the cross-play matrix, or return ``None`` where it was not made."""
    if not path.is_file():
        return None
    record = read_json(path)
    try:
        prm_updates, adversary_updates = updates(record, "prm_updates"), updates(record, "adversary_updates")
        rows = sequence(record, "fool_rate")
        if len(rows) != len(prm_updates):
            raise DataError(f"{len(rows)} rows for {len(prm_updates)} PRMs", field="fool_rate")
        rates = tuple(score_row(row, len(adversary_updates), f"fool_rate[{i}]") for i, row in enumerate(rows))
        return CrossPlay(prm_updates, adversary_updates, rates, count(record, "n"))
    except DataError as error:
        raise error.at(file=path) from None


def metrics_of(written: Record) -> dict[str, Metric | None]:
    """Return the checked numbers of a `metrics.json`; raises DataError."""
    kinds = mapping(written, "intervals", required=False)
    return {
        name: metric(name, entry, str(kinds.get(name, "")))
        for name, entry in mapping(written, "metrics").items()
    }


def metric(name: str, entry: Any, interval: str = "") -> Metric | None:
    """Check one measured number; ``None`` where its value is null or not finite (it was not measured)."""
    if not isinstance(entry, dict):
        raise DataError("expected an object with value, low, high, n and unit", field=f"metrics.{name}")
    try:
        value, low, high = (number(entry, key) for key in ("value", "low", "high"))
        n = count(entry, "n")
    except DataError as error:
        raise DataError(error.message, field=f"metrics.{name}.{error.field}") from None
    if low is not None and high is not None and low > high:
        raise DataError(f"the interval runs from {low} down to {high}", field=f"metrics.{name}.low")
    unit = entry.get("unit")
    return None if value is None else Metric(value, low, high, n, str(unit or ""), interval)


def curve_record(record: Record) -> Record:
    """Check a record of a training or attack curve: an update number, and numbers or null beside it."""
    checked: dict[str, Any] = {name: number(record, name) for name in record if name != "phase"}
    if checked.get("update") is None:
        raise DataError("every record needs the number of its update", field="update")
    return checked


def example(record: Record) -> Example:
    """Check one adversarial example."""
    return Example(
        question=text(record, "question"),
        prefix=texts(record, "prefix"),
        step=text(record, "step"),
        perturbed=text(record, "perturbed"),
        truth=text(record, "truth"),
        reason=text(record, "reason", required=False),
        detail=text(record, "detail", required=False),
        adversary=text(record, "adversary"),
        scores={
            name: score(value, f"scores.{name}")
            for name, value in mapping(record, "scores", required=False).items()
        },
    )


def solution(record: Record) -> Solution:
    """Check one solution of the solver."""
    steps, truths = texts(record, "steps"), texts(record, "truths")
    if len(truths) != len(steps):
        raise DataError(f"{len(truths)} truths for {len(steps)} steps", field="truths")
    outcome = record.get("outcome")
    if outcome is not None and not isinstance(outcome, bool):
        raise DataError(f"expected true, false or null, got {type(outcome).__name__}", field="outcome")
    scores = {
        name: score_row(row, len(steps), f"scores.{name}")
        for name, row in mapping(record, "scores", required=False).items()
    }
    question, split = text(record, "question"), text(record, "split", required=False)
    return Solution(question, steps, truths, scores, outcome, split)


def number(record: Record, name: str) -> float | None:
    """Return a finite number, or ``None`` where the field is absent, null or not finite."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"expected a number or null, got {type(value).__name__}", field=name)
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        raise DataError("the number is too large", field=name) from None


def count(record: Record, name: str) -> int | None:
    """Return a whole number from 0 on, or ``None`` where the field is absent or null."""
    value = number(record, name)
    if value is not None and (value < 0 or value != int(value)):
        raise DataError(f"expected a whole number from 0 on, got {value}", field=name)
    return None if value is None else int(value)


def score(value: Any, name: str) -> float | None:
    """Return a share or score in [0, 1], or ``None`` where it is null."""
    checked = number({name: value}, name)
    if checked is not None and not 0.0 <= checked <= 1.0:
        raise DataError(f"expected a number from 0 to 1 or null, got {checked}", field=name)
    return checked


def score_row(row: Any, length: int, name: str) -> tuple[float | None, ...]:
    """Return `length` shares or scores."""
    if not isinstance(row, list) or len(row) != length:
        raise DataError(f"expected a list of {length} numbers", field=name)
    return tuple(score(value, f"{name}[{index}]") for index, value in enumerate(row))


def updates(record: Record, name: str) -> tuple[int, ...]:
    """Return a list of update numbers."""
    values = [count({name: value}, name) for value in sequence(record, name)]
    if any(value is None for value in values):
        raise DataError("an update number is null", field=name)
    return tuple(value for value in values if value is not None)


def sequence(record: Record, name: str) -> list[Any]:
    """Return a list, or raise DataError."""
    value = record.get(name)
    if not isinstance(value, list):
        raise DataError(f"expected a list, got {type(value).__name__}", field=name)
    return value


def mapping(record: Record, name: str, *, required: bool = True) -> dict[str, Any]:
    """Return an object; an absent one is empty where it is not required."""
    value = record.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"expected an object, got {type(value).__name__}", field=name)
    return value


def text(record: Record, name: str, *, required: bool = True) -> str:
    """Return a text; an absent one is empty where it is not required."""
    value = record.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise DataError(f"expected a text, got {type(value).__name__}", field=name)
    return value


def texts(record: Record, name: str) -> tuple[str, ...]:
    """Return a list of texts."""
    return tuple(text({name: value}, name) for value in sequence(record, name))
