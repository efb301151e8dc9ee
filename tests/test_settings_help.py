"""The help made from settings: every field with its type in words, its default and its docstring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from sparring.settings import Settings, describe, load_settings, setting_rows, type_name


class Optimizer(Settings):
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the first
    and second moment."""


class Phase(Settings):
    optimizer: Optimizer = Optimizer(betas=(0.5, 0.6))
    length: int = 1


class Training(Settings):
    updates: int = Field(default=300, ge=1)
    """Number of updates."""
    optimizer: Optimizer = Optimizer(learning_rate=0.5)
    """How steps are taken."""
    phase: Phase = Phase(optimizer=Optimizer(learning_rate=0.25))
    adversary: Literal["rules", "frozen", "trained"] = "trained"
    out: Path = Path("runs/first")
    limit: int | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    sizes: tuple[int, ...] = (64, 32)


def test_help_has_every_field_with_type_default_and_docstring() -> None:
    rows = {row.name: row for row in setting_rows(Training)}
    assert list(rows)[:4] == ["updates", "optimizer", "optimizer.learning_rate", "optimizer.betas"]
    assert rows["updates"].help == "Number of updates."
    assert rows["optimizer"].help == "How steps are taken."
    assert rows["optimizer.betas"].help == "Decay of the first and second moment."
    assert rows["optimizer.learning_rate"].default == "0.5"
    assert rows["phase.optimizer.learning_rate"].default == "0.25"
    assert rows["out"].default == '"runs/first"'
    assert rows["limit"].default == "null"
    text = describe(Training)
    assert "updates: whole number = 300\n    Number of updates." in text
    assert "optimizer: group\n" in text


def test_help_marks_required_settings() -> None:
    class Needy(Settings):
        seed: int

    assert describe(Needy) == "seed: whole number (required)"


def test_every_default_in_the_help_is_a_value_that_the_loader_accepts() -> None:
    for row in setting_rows(Training):
        if row.type != "group":
            assert load_settings(Training, None, [f"{row.name}={row.default}"]) == Training(), row.name


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (list[str], "list of (text)"),
        (tuple[int, ...], "list of (whole number)"),
        (dict[str, bool], "mapping of names to (true or false)"),
        (Literal["a", 1, None], "'a' or 1 or null"),
        (list[Annotated[int, Field(gt=0)]], "list of (whole number)"),
        (bytes, "bytes"),
    ],
)
def test_type_names_need_no_python(annotation: Any, words: str) -> None:
    assert type_name(annotation) == words
