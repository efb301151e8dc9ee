"""What all commands of the command line share: the options that mean the same everywhere, and how settings are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from sparring.settings import Settings

S = TypeVar("S", bound="Settings")

Config = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key=value; they win over the file.")]
Out = Annotated[Path, typer.Option(help="Run directory.")]
Explain = Annotated[bool, typer.Option("--explain", help="List all settings with their meaning and stop.")]


def load(cls: type[S], config: Path | None, overrides: list[str] | None) -> S:
    """Return the settings of a file and of `key=value` words.

    Raises:
        SettingsError: they do not fit the class.
    """
    from sparring.settings import load_settings

    return load_settings(cls, config, overrides or [])


def explain_settings(cls: type[Settings]) -> None:
    """Print all settings with their meaning."""
    from sparring.settings import describe

    typer.echo(describe(cls))
