"""What the terminal shows: the one bar of every long job, the one form of every table of results."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sparring.runs import Metric


def progress_bar(console: Console, *fields: str) -> Progress:
    """Return a bar with what is done, of how much, time gone and to come; nothing where there is no terminal.

    Args:
        console: where it is drawn.
        fields: further texts behind it, with rich's `{task.fields[name]}`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *(TextColumn(field) for field in fields),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def results_table(title: str, caption: str, name: str, *headings: str) -> Table:
    """Return an empty table whose rows begin with a name; on a narrow terminal cells take more lines, and none is cut."""
    table = Table(title=Text(title), caption=Text(caption), box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column(name, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def with_interval(metric: Metric | None, scale: float = 1.0, form: str = ".1f") -> Text:
    """Return a number with its interval, which stays on one line; a dash where it is undefined."""
    value, _, interval = ("" if metric is None else metric.text(scale, form)).partition(" ")
    text = Text(value)
    return text.append(f" {interval.replace(' ', '')}", style="dim") if interval else text


def percent(metric: Metric | None) -> Text:
    """Return a fraction as a percentage with its interval."""
    return with_interval(metric, 100)
