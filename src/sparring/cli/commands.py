"""Commands from rows of a table: arguments, `key=value` settings, shared options, and what every command does with them.

    sparring NAME [ARGUMENTS] [key=value …] [--config FILE] [--out PLACE] [options of its own] [--resume] [--explain]

Contract: nothing heavy is imported before a command needs it, so that `--help` is instant. The place of the output is
checked before any work. Settings that are bad, explained (`--explain`) or given twice never reach the command.

Not here: which commands there are (`__main__.py`), how the process ends (`ending.py`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import typer
import typer.core

from sparring import launched
from sparring.errors import SettingsError
from sparring.files import check_output

AfterStop = Literal["--resume", "again", "anew"]
"""How a command that was stopped goes on: with `--resume`, called again as it was, or not at all."""


class Command(NamedTuple):
    """One row of the table.

    Attributes:
        name: as it is called, after the group's name where it is in one.
        help: what it does.
        run: ``module:function`` below `sparring`; called with the arguments, and by name with `settings`, `out`, the own
            options, and `resume`.
        settings: ``module:class``, empty for a command without settings.
        out: default of ``--out``, with the name's last word put in, where `target` is no other argument or option.
        kind: what is written.
        after_stop: how it goes on after a stop; with ``--resume`` it has that option.
        arguments: its own, in order (`argument`).
        options: its own (`option`).
        target: the argument or option that says where to write; empty for a command that writes nothing.
        unwritten: the option with which it writes nothing.
        from_options: whether the settings are its own arguments and options, and not ``key=value``.
        progress: whether it takes a `console` to show its progress on.
        says: what is said of the value that it returns.
        pool: whether it can be done by a pool of actors; it is then called with `pool`, the settings of one or None.
    """

    name: str
    help: str
    run: str
    settings: str = ""
    out: str = "runs/{}"
    kind: Literal["file", "folder", "run"] = "run"
    after_stop: AfterStop = "again"
    arguments: tuple[inspect.Parameter, ...] = ()
    options: tuple[inspect.Parameter, ...] = ()
    target: str = "out"
    unwritten: str = ""
    from_options: bool = False
    progress: bool = False
    says: str = ""
    pool: bool = False


def argument(
    name: str, help: str, type_: Any = Path, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """Return an argument of a command: a value that is recognised by its place."""
    annotation = Annotated[type_, typer.Argument(help=help)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def option(
    name: str, type_: Any, default: Any, help: str, *spelling: str, **limits: Any
) -> inspect.Parameter:
    """Return an option of a command; without a spelling it is ``--name``."""
    annotation = Annotated[type_, typer.Option(*spelling, help=help, **limits)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def flag(name: str, help: str, spelling: str = "", **more: Any) -> inspect.Parameter:
    """Return an option that is given or not; without a spelling it is ``--name``."""
    return option(name, bool, False, help, spelling or "--" + name.replace("_", "-"), **more)


OVERRIDES = argument("overrides", "Settings as key=value; they win over the file.", list[str] | None, None)
CONFIG = option("config", Path | None, None, "YAML file of settings.")
RESUME = flag("resume", "Go on from the last checkpoint in --out.")
POOL = (
    option(
        "engine",
        str,
        "here",
        "Who does the work: this process (here), or a pool of Ray actors (ray).",
        "--engine",
    ),
    option(
        "pool",
        list[str] | None,
        None,
        "Of --engine ray, as name=value: actors, cpus_per_actor, gpus_per_actor, address, in_flight, deaths, "
        "seconds_per_item (docs/engines.md).",
        "--pool",
    ),
)


class Group(typer.core.TyperGroup):
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
        with_value = [
            one
            for one in getattr(command, "params", ())
            if one.param_type_name == "option" and not one.is_flag
        ]
        for option in with_value:
            for word, value in zip(before_end, [*before_end[1:], None], strict=False):
                if (word in option.opts and value == "") or (word[-1:] == "=" and word[:-1] in option.opts):
                    raise SettingsError(f"{option.opts[0]} is given an empty text")
            if not option.multiple and sum(given.count(spelling) for spelling in option.opts) > 1:
                raise SettingsError(f"{option.opts[0]} is given twice")
        return name, command, words


class Job(NamedTuple):
    """What the command at work writes, and how it goes on after a stop."""

    out: Path
    after_stop: AfterStop


jobs: list[Job] = []
"""The one command that this process has begun, for messages about its end (`ending.py`)."""


def command_line(help: str, groups: dict[str, str], table: Iterable[Command]) -> typer.Typer:
    """Return the command line of a table.

    Args:
        groups: help of every group of commands by its name.
    """
    _import_help()
    app = typer.Typer(cls=Group, help=help, no_args_is_help=True, pretty_exceptions_enable=False)
    within = {"": app}
    for name, said in groups.items():
        within[name] = typer.Typer(cls=Group, help=said, no_args_is_help=True)
        app.add_typer(within[name], name=name)
    for row in table:
        group, _, name = row.name.rpartition(" ")
        within[group].command(name, help=row.help)(function_of(row))
    return app


def _import_help() -> None:
    """Import what typer shows help with, without Markdown and tracebacks: these take a third of the time of `--help`.

    Neither is used here (`rich_markup_mode` is rich, `pretty_exceptions_enable` off), and whoever else asks for them gets
    the real ones.
    """
    unused = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
    stand_ins = {place: ModuleType(place) for place in unused if place not in sys.modules}
    for place, module in stand_ins.items():
        setattr(module, unused[place], type(unused[place], (), {}))
    sys.modules.update(stand_ins)
    try:
        import_module("typer.rich_utils")
    finally:
        for place in stand_ins:
            del sys.modules[place]


def function_of(row: Command) -> Any:
    """Return the function that typer makes the command of: it takes the row's parameters and runs it."""
    shared = bool(row.settings) and not row.from_options
    written = "JSONL of scores to write." if row.kind == "file" else "Run directory."
    place = Path(row.out.format(row.name.rpartition(" ")[2]))
    has_out = row.target == "out" and all(one.name != "out" for one in (*row.arguments, *row.options))
    parameters = [
        *row.arguments,
        *((OVERRIDES, CONFIG) if shared else ()),
        *((option("out", Path, place, written),) if has_out else ()),
        *row.options,
        *(POOL if row.pool else ()),
        *((RESUME,) if row.after_stop == "--resume" else ()),
        *((explaining(row),) if shared else ()),
    ]

    def run(**given: Any) -> None:
        written = [given.pop(name, None) for name in ("config", "overrides")] if shared else None
        given.pop("explain", None)  # done before
        words = [given.pop(name) for name in ("engine", "pool")] if row.pool else None
        named = dict(given)
        if written is not None:
            from sparring.settings import load_settings

            config, overrides = written
            named["settings"] = load_settings(imported(row.settings), config, overrides or [])
        if row.target and not given.get(row.unwritten):
            check_output(given[row.target], row.kind)
            if row.kind == "run" and row.run.startswith(("evaluation.", "progress.")):
                imported("runs:keep_trained")(given[row.target])
            jobs[:] = [Job(given[row.target], row.after_stop)]
        if row.from_options:
            from sparring.settings import parse_settings

            values = {name: plain(value) for name, value in given.items() if value is not None}
            named = {"out": given["out"]}
            del values["out"]
            named["settings"] = parse_settings(imported(row.settings), values, "command line")
        if words is not None:
            named["pool"] = imported("pool.settings:pool_settings")(*words)
        if row.progress:
            from rich.console import Console

            named["console"] = Console(stderr=True, quiet=launched.rank() > 0)
        first = [] if row.from_options else [named.pop(one.name) for one in row.arguments]
        result = imported(row.run)(*first, **named)
        if row.says:
            typer.echo(row.says.format(result))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def imported(place: str) -> Any:
    """Return what ``module:name`` below `sparring` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"sparring.{module}"), name)


def explaining(row: Command) -> inspect.Parameter:
    """Return the option that lists a command's settings and stops, whatever else is given or missing."""

    def explain(wanted: bool) -> None:
        if wanted:
            from sparring.settings import describe

            typer.echo(describe(imported(row.settings)))
            raise typer.Exit

    said = "List all settings with their meaning and stop."
    return flag("explain", said, is_eager=True, callback=explain)


def plain(value: Any) -> Any:
    """Return an option's value as settings are written, with texts for paths."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
