"""What all commands of the command line share: options that mean the same everywhere, and commands that are settings only.

Contract: nothing heavy is imported here, so that `--help` is instant.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import typer
import typer.core

from sparring.errors import SettingsError
from sparring.files import check_output

if TYPE_CHECKING:
    from sparring.settings import Settings

S = TypeVar("S", bound="Settings")

Config = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key=value; they win over the file.")]
Out = Annotated[Path, typer.Option(help="Run directory.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Explain = Annotated[bool, typer.Option("--explain", help="List all settings with their meaning and stop.")]


class Commands(typer.core.TyperGroup):
    """A group of commands that take no option twice (the last one would count without a word) and no empty one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, and refuse its words if one of them says again what another has said.

        Raises:
            SettingsError: an option that takes one value is given twice, or an option is given an empty text: an empty
                place for the output would be the current folder.
        """
        name, command, words = super().resolve_command(ctx, args)
        before_end = words[: words.index("--")] if "--" in words else words
        given = [word.partition("=")[0] for word in before_end]
        options = [one for one in getattr(command, "params", ()) if one.param_type_name == "option"]
        for option in options:
            for word, value in zip(before_end, [*before_end[1:], None], strict=True):
                if not option.is_flag and (
                    (word in option.opts and value == "")
                    or word in [f"{spelling}=" for spelling in option.opts]
                ):
                    raise SettingsError(f"{option.opts[0]} is given an empty text")
            once = not option.is_flag and not option.multiple
            if once and sum(given.count(spelling) for spelling in option.opts) > 1:
                raise SettingsError(f"{option.opts[0]} is given twice")
        return name, command, words


AfterStop = Literal["--resume", "again", "anew"]
"""How a command that was stopped goes on: with `--resume`, called again as it was, or not at all."""


class Job(NamedTuple):
    """What the command at work writes, and how it goes on after a stop."""

    out: Path
    after_stop: AfterStop


jobs: list[Job] = []
"""The one command that this process has begun, for messages about its end (`ending.py`)."""


def begin(out: Path, kind: Literal["file", "folder", "run"] = "run", after_stop: AfterStop = "anew") -> None:
    """Check before any work that the output can be written, and note down what is at work.

    Raises:
        OutputError: it cannot (`files.check_output`).
    """
    check_output(out, kind)
    jobs[:] = [Job(out, after_stop)]


def load(cls: type[S], config: Path | None, overrides: list[str] | None, *, explain: bool) -> S:
    """Return the settings of a file and of `key=value` words; to explain them is to list them all and stop.

    Raises:
        SettingsError: they do not fit the class.
        typer.Exit: they were explained.
    """
    from sparring.settings import describe, load_settings

    if explain:
        typer.echo(describe(cls))
        raise typer.Exit
    return load_settings(cls, config, overrides or [])


class Where(NamedTuple):
    """Where a command writes, and whether it goes on with what is there."""

    out: Path
    resume: bool


Work = tuple[type[S], Callable[[S, Where], object]]


def settings_command(
    app: typer.Typer,
    name: str,
    *,
    out: str,
    kind: Literal["folder", "run"] = "run",
    after_stop: AfterStop = "again",
) -> Callable[[Callable[[], Work[S]]], None]:
    """Register a command that takes settings and a run directory, and nothing else.

    The decorated function has the command's help as its docstring, imports what the command needs, and returns its
    settings' class and the function that does the work.
    """

    def register(work: Callable[[], Work[S]]) -> None:
        def run(
            overrides: Overrides = None,
            config: Config = None,
            out: Out = Path(out),
            resume: Resume = False,
            explain: Explain = False,
        ) -> None:
            cls, function = work()
            settings = load(cls, config, overrides, explain=explain)
            begin(out, kind, after_stop)
            function(settings, Where(out, resume))

        def run_at_once(
            overrides: Overrides = None,
            config: Config = None,
            out: Out = Path(out),
            explain: Explain = False,
        ) -> None:
            run(overrides, config, out, explain=explain)

        app.command(name, help=work.__doc__)(run if after_stop == "--resume" else run_at_once)

    return register
