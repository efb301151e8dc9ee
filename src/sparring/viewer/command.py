"""What `sparring view` does: read runs, write the page, and with `--watch` write it again and again.

Contract: the page appears whole or not at all. Watching ends with Ctrl-C, which is no fault; a run that cannot be read in
the middle of a write is read again in the next round.

Not here: reading runs (`runs.py`), the page (`page.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sparring.errors import SettingsError, SparringError
from sparring.files import atomic_write_text, writing
from sparring.viewer.page import inspector_page
from sparring.viewer.runs import inspector_data


def view(
    runs: Sequence[Path],
    *,
    out: Path,
    data: Sequence[Path] | None = None,
    threshold: Sequence[float] | None = None,
    limit: int = 10_000,
    watch: float | None = None,
) -> Path:
    """Write the step inspector's page of runs and return its path.

    Args:
        data: files of traces, instead of those that the runs name.
        threshold: of the PRMs in order, or one for all.
        watch: write the page again every so many seconds, until the process is stopped.

    Raises:
        SparringError: `out` is there and no HTML, a place is no run, runs do not go together, or the page cannot be
            written.
    """
    console = Console()
    _refuse_other_than_html(out)

    def say(text: str, style: str = "yellow") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def write() -> None:
        shown = inspector_data(runs, data=data or (), thresholds=threshold or (), limit=limit)
        atomic_write_text(out, inspector_page(shown, watch=watch))
        for note in shown.notes if watch is None else ():
            say(note)

    write()
    say(f"page: {out}", "")
    with contextlib.suppress(KeyboardInterrupt):  # this is how watching ends
        while watch is not None:
            time.sleep(watch)
            try:
                write()
            except SparringError as error:
                say(f"not written: {error}")
    return out


def _refuse_other_than_html(out: Path) -> None:
    """Refuse to replace a file that is no page, such as a data file; an empty one holds nothing."""
    if not out.is_file():
        return
    with writing(out), out.open("rb") as file:
        begin = file.read(512)
    if begin and not begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(
        (b"<!doctype html", b"<html")
    ):
        raise SettingsError(f"'{out}' is there and no HTML page: name another file to write")
