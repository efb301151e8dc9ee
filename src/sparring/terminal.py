"""Progress on a terminal: the one bar that every long job shows."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
