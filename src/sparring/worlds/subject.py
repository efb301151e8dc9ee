"""Settings that say what problems a command works on: a world's, or those of a file.

Contract: a world's text is checked and written in its shortest form, so that equal worlds are equal settings. `chain_steps`
is the chain world's dial `steps` as a setting of its own. Not here: what a command does with the problems.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sparring.settings import MANY, Settings
from sparring.worlds.chain import IN_DISTRIBUTION
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import WORLDS, World, make_world

TEXT = "text"
"""The task of problems in a file."""


def _checked_world(text: str) -> str:
    return make_world(text).name


def _checked_task(text: str) -> str:
    if text == TEXT:
        return text
    try:
        return make_world(text).name
    except ValueError as error:
        worlds = ", ".join(WORLDS)
        raise ValueError(
            f"{error}; a task is '{TEXT}' or a world ({worlds}), with dials or without"
        ) from None


WorldText = Annotated[str, AfterValidator(_checked_world)]
"""A world as `make_world` reads it."""
TaskText = Annotated[str, AfterValidator(_checked_task)]
"""A world, or `text`."""


def world_of(task: str, chain_steps: tuple[int, int] = IN_DISTRIBUTION) -> World:
    """Return the world of a task; `chain_steps`, unless at its default, sets the chain world's dial `steps`.

    Raises:
        ValueError: there is no such world, or `chain_steps` does not fit it.
    """
    world = make_world(task)
    if chain_steps == IN_DISTRIBUTION:
        return world
    if not isinstance(world, ChainWorld) or world.steps not in (IN_DISTRIBUTION, chain_steps):
        raise ValueError(
            f"chain_steps belongs to the chain world without its dial 'steps', not to {world.name}"
        )
    return replace(world, steps=chain_steps)


class Subject(Settings):
    """Problems to train on: those of an endless world, or of a file."""

    task: TaskText = "chain"
    """Where problems come from: an endless world, exactly judged (`chain`, or with dials `chain:modulus=97,steps=6-8`;
    docs/worlds.md), or a file (`text`)."""
    data: str | None = None
    """File of problems (text task): with correct step-by-step solutions for a game, with answers for `train rl`."""
    data_format: str = "auto"
    """Format of `data`: `auto`, or a name from docs/data-formats.md."""
    max_problems: int | None = Field(None, gt=0, le=MANY)
    """Use only the first so many problems of `data`."""

    @model_validator(mode="after")
    def _check_subject(self) -> Self:
        if self.task == TEXT and self.data is None:
            raise ValueError("the text task needs `data`")
        return self
