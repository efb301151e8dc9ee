"""What the terminal shows: the one bar of every long job, the one form of every table of results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
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


class PartsProgress:
    """A bar for every part of a job that is at work; where there is no terminal, a line of text every so many seconds.

    Args:
        console: where they are drawn.
        units: how many units of work every part has, by its title.
    """

    LINE_EVERY = 20.0  # seconds

    def __init__(self, console: Console, units: Mapping[str, int]) -> None:
        self.console, self._units = console, units
        self._line_at = time.monotonic()
        self._bar = progress_bar(console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> PartsProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._bar.__exit__(*details)

    def done(self, title: str, units: int) -> None:
        """Note that so many units of a part are done; -1: it begins."""
        if units < 0:
            self._tasks[title] = self._bar.add_task(title, total=self._units[title])
        else:
            self._bar.update(self._tasks[title], completed=units)

    def ended(self, title: str) -> None:
        """Note that a part is done, wherever its last report was."""
        self._bar.remove_task(self._tasks.pop(title))

    def tick(self) -> None:
        """Say where the parts are, where there is no terminal."""
        now = time.monotonic()
        if not self.console.is_terminal and now - self._line_at > self.LINE_EVERY:
            self._line_at = now
            parts = [f"{one.description} {one.completed:.0f} of {one.total:.0f}" for one in self._bar.tasks]
            self.console.print("; ".join(parts), highlight=False, soft_wrap=True)
