"""Converts data made for TRL's `PRMTrainer` and OpenRLHF's `train_prm` to our own form: `sparring migrate`.

Contract: reads JSON lines, one JSON array, or Parquet (which both projects use); a record that cannot be used is refused
with file, line and field, or, with `on_bad=skip`, left out and counted by reason; the output appears whole or not at all.
Not here: their options for training, which `docs/training.md` maps one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sparring.errors import DataError
from sparring.traces.fields import Fields
from sparring.traces.formats.automatic import trl_stepwise
from sparring.traces.formats.common import ReadOptions
from sparring.traces.formats.openrlhf import MigrateSettings, openrlhf_trace
from sparring.traces.jsonl import json_objects, write_traces
from sparring.traces.records import Trace


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was written, and what was left out: reason → how often, and where first."""

    traces: int
    steps: int
    wrong: int
    unlabelled: int
    skipped: dict[str, tuple[int, str]]


def migrate(source: Path, out: Path, settings: MigrateSettings) -> Migrated:
    """Write the traces of `source` to `out` in our own form.

    Raises:
        DataError: a file cannot be read or written, a record cannot be used (`on_bad=refuse`), or none can.
    """
    counts: Counter[str] = Counter()
    first_places: dict[str, str] = {}
    traces: list[Trace] = []
    for line, record in _records(source):
        try:
            traces.append(_trace(Fields(record), settings))
        except DataError as error:
            if settings.on_bad == "refuse":
                raise error.at(file=source, line=line) from None
            reason = f"field '{error.field}': {error.message}"
            counts[reason] += 1
            first_places.setdefault(reason, f"{source}:{line}")
    if not traces:
        raise DataError("no record could be used" if counts else "no records in this file", file=source)
    write_traces(out, traces)
    labels = [label for trace in traces for label in trace.labels or (None,) * len(trace.steps)]
    return Migrated(
        traces=len(traces),
        steps=len(labels),
        wrong=sum(label is not None and label < 0.5 for label in labels),
        unlabelled=sum(label is None for label in labels),
        skipped={reason: (count, first_places[reason]) for reason, count in counts.most_common()},
    )


def show_migration(
    source: Path, out: Path, settings: MigrateSettings, console: Console | None = None
) -> None:
    """Migrate, and say what was written and what was left out."""
    done, console = migrate(source, out, settings), console or Console()
    console.print(
        f"{done.traces} traces, {done.steps} steps ({done.wrong} wrong, {done.unlabelled} without a label): "
        f"{escape(str(out))}",
        highlight=False,
        soft_wrap=True,
    )
    for reason, (count, place) in done.skipped.items():
        console.print(f"left out: {count} × {escape(reason)}, first at {escape(place)}", style="yellow")


def _trace(record: Fields, settings: MigrateSettings) -> Trace:
    if settings.source == "openrlhf":
        return openrlhf_trace(record, settings)
    return trl_stepwise(record, ReadOptions())


def _records(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line or row from 1, record)."""
    if source.suffix != ".parquet":
        yield from json_objects(source)
        return
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        file = pyarrow.parquet.ParquetFile(source)
        rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except FileNotFoundError:
        raise DataError("no such file", file=source) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"the Parquet file holds a text that is not UTF-8 ({error.reason})", file=source
        ) from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read the Parquet file: {reason}", file=source) from None
