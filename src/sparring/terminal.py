"""What the terminal shows: the one bar of every long job, the one form of every table of results.

Where there is no terminal (a log file, a pipe, a scheduler), a long job says now and then in a line of plain text, on
standard error, how far it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sparring.runs import Metric

LINE_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class ProgressBar(Progress):
    """A bar with what is done, of how much, time gone and to come; a line now and then where there is no terminal.

    Args:
        console: where it is drawn.
        fields: further texts behind it and the line, with rich's `{task.fields[name]}`.
        clock: in seconds, never set back.
    """

    def __init__(self, console: Console, *fields: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            *(TextColumn(field) for field in fields),
            console=console,
            disable=not console.is_terminal,
            get_time=clock,
            # What is said every half minute of how long it will take rests on more than that half minute
            speed_estimate_period=LINE_EVERY if console.is_terminal else 20 * LINE_EVERY,
        )
        self._texts, self._line_at = fields, clock()

    def stop(self) -> None:
        """End the bar; where none was shown, nothing is (older versions of rich end it with an empty line)."""
        if not self.disable:
            super().stop()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Note what has changed of a task (see `rich.progress.Progress.update`)."""
        super().update(task_id, **changes)
        self.tick()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Note that so much more of a task is done."""
        super().advance(task_id, advance)
        self.tick()

    def tick(self) -> None:
        """Say how far the tasks are, where there is no terminal and the last line was long ago."""
        now = self.get_time()
        if not self.disable or self.console.quiet or now - self._line_at < LINE_EVERY:
            return
        self._line_at = now
        if lines := [self._line(task) for task in self.tasks if not task.finished]:
            print("; ".join(lines), file=sys.stderr, flush=True)

    def _line(self, task: Task) -> str:
        done = f"{task.description} {task.completed:.0f}"
        if task.total is not None:
            done += f" of {task.total:.0f}"
        texts = [field.format(task=task) for field in self._texts]
        if task.time_remaining is not None:
            texts.append(f"about {task.time_remaining / 60:.0f} min left")
        return ", ".join([done, *filter(None, texts)])


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


class PartsProgress(ProgressBar):
    """A bar for every part of a job that is at work.

    Args:
        units: how many units of work every part has, by its title.
    """

    def __init__(
        self, console: Console, units: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, clock=clock)
        self._units = units
        self._tasks_of: dict[str, TaskID] = {}

    def done(self, title: str, units: int) -> None:
        """Note that so many units of a part are done; -1: it begins."""
        if units < 0:
            self._tasks_of[title] = self.add_task(title, total=self._units[title])
        else:
            self.update(self._tasks_of[title], completed=units)

    def ended(self, title: str) -> None:
        """Note that a part is done, wherever its last report was."""
        self.remove_task(self._tasks_of.pop(title))
