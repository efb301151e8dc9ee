"""What the terminal shows: the one bar of every long job, the one form of every table of results."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
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


_INTERVALS = {"bootstrap": "bootstrap", "Wilson": "Wilson (shares)", "t": "t: Student's (few cases)"}


def interval_caption(metrics: Iterable[Metric | None], what: str = "percent", over: str = "") -> str:
    """Return what the numbers of a table are and which intervals they have: `percent [95 % interval: Wilson]`."""
    kinds = {metric.interval for metric in metrics if metric is not None}
    said = ", ".join(words for kind, words in _INTERVALS.items() if kind in kinds)
    return f"{what} [95 % interval{' over ' + over if over else ''}{': ' + said if said else ''}]"


def with_interval(metric: Metric | None, scale: float = 1.0, form: str = ".1f") -> Text:
    """Return a number with its interval, which stays on one line; a dash where it is undefined."""
    value, _, interval = ("" if metric is None else metric.text(scale, form)).partition(" ")
    text = Text(value)
    return text.append(f" {interval.replace(' ', '')}", style="dim") if interval else text


def percent(metric: Metric | None) -> Text:
    """Return a fraction as a percentage with its interval."""
    return with_interval(metric, 100)


class PartsProgress:
    """Bars for parts of a job that run at the same time, and how long all of it will take on this machine.

    Args:
        console: where they are drawn; where it is no terminal, a line of text every so many seconds instead.
        plan: every part of the job by its title, with the relative cost of each of its units.
    """

    LINE_EVERY, MEASURED_AFTER = 20.0, 8.0  # seconds

    def __init__(self, console: Console, plan: Mapping[str, Sequence[float]]) -> None:
        self.console = console
        self._plan = {title: [0.0, *itertools.accumulate(costs)] for title, costs in plan.items()}
        self._begun: dict[str, int] = {}
        self._units: dict[str, int] = {}
        self._started: float | None = None
        self._told = False
        self._line_at = time.monotonic()
        self._bar = progress_bar(console)
        self._all = self._bar.add_task("all", total=100)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> PartsProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._bar.__exit__(*details)

    def done(self, title: str, units: int) -> None:
        """Note that so many units of a part are done; -1: it begins."""
        whole = len(self._plan[title]) - 1
        if units < 0:
            self._tasks[title] = self._bar.add_task(title, total=whole)
            return
        if self._started is None:
            self._started = time.monotonic()
        # What an earlier, unfinished start of the same job has done costs nothing now.
        self._begun.setdefault(title, min(units, whole) - 1 if units > 0 else 0)
        self._units[title] = min(units, whole)
        self._bar.update(self._tasks[title], completed=units)

    def ended(self, title: str) -> None:
        """Note that a part is done, wherever its last report was."""
        whole = len(self._plan[title]) - 1
        self._begun.setdefault(title, whole)
        self._units[title] = whole
        self._bar.remove_task(self._tasks.pop(title))

    def tick(self) -> None:
        """Show where all of it is."""
        now = time.monotonic()
        left = self.seconds_left(now)
        if left is not None:
            _, done, whole = self._sums()
            self._bar.update(self._all, completed=round(100 * done / whole))
            if not self._told and now - (self._started or now) > self.MEASURED_AFTER:
                self._told = True
                self.console.print(
                    f"This will take about {_minutes(left)} here, measured on its first updates."
                )
        if not self.console.is_terminal and now - self._line_at > self.LINE_EVERY:
            self._line_at = now
            parts = [
                f"{title} {self._units.get(title, 0)} of {len(self._plan[title]) - 1}"
                for title in self._tasks
            ]
            rest = [] if left is None else [f"about {_minutes(left)} left"]
            self.console.print("; ".join(parts + rest), highlight=False, soft_wrap=True)

    def seconds_left(self, now: float) -> float | None:
        """Return the time that the rest will take at the pace so far; None before anything is done."""
        measured, done, whole = self._sums()
        if self._started is None or measured <= 0:
            return None
        return (whole - done) * (now - self._started) / measured

    def _sums(self) -> tuple[float, float, float]:
        """Return the cost of what was done since the start, of all that is done, and of all."""
        measured = done = 0.0
        for title, units in self._units.items():
            costs = self._plan[title]
            done += costs[units]
            measured += costs[units] - costs[self._begun[title]]
        return measured, done, sum(costs[-1] for costs in self._plan.values())


def _minutes(seconds: float) -> str:
    """Return a duration as people say it."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 1):.0f} seconds"
