"""What `sparring convert` does: read traces in any known format, write them in ours or in another's.

Contract: the output appears whole or not at all; what is left out or cut is counted by its reason and returned, never
silent. Not here: the layouts themselves (`formats/`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from sparring.errors import DataError, SettingsError, did_you_mean
from sparring.traces.formats.common import Oddity, ReadOptions
from sparring.traces.formats.writers import WRITERS
from sparring.traces.jsonl import write_jsonl_objects
from sparring.traces.readers import read_traces_as


def convert(
    source: Path,
    target: Path,
    *,
    to: str,
    data_format: str = "auto",
    threshold: float = 0.5,
    options: ReadOptions | None = None,
) -> tuple[int, Counter[str]]:
    """Convert a file of traces; return how many were written, and what was left out or cut and why.

    Args:
        source: file of traces.
        target: JSONL to write.
        to: a name of `WRITERS`.
        data_format: the source's format, ``auto`` or a name of `FORMATS`.
        threshold: label from which on a step counts as right, where the target knows only two labels.
        options: what the source's format leaves open.

    Raises:
        SettingsError: no such target format, or a threshold outside [0, 1].
        DataError: the source cannot be used, or nothing of it can be written.
    """
    if to not in WRITERS:
        raise SettingsError(f"unknown target format '{to}'{did_you_mean(to, WRITERS)}")
    if not 0.0 <= threshold <= 1.0:
        raise SettingsError(f"a threshold is a number from 0 to 1, got {threshold}")
    read = read_traces_as(source, data_format, options)
    told = Counter(f"left out: {skipped.reason}" for skipped in read.skipped)
    records = []
    for trace in read.traces:
        record = WRITERS[to](trace, threshold)
        if isinstance(record, Oddity):
            told[f"left out: {record.reason}"] += 1
            continue
        records.append(record)
        known = [label is not None for label in trace.labels or ()]
        if to != "sparring" and not all(known):
            told["cut before the first step without a label"] += 1
    if not records:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in told.items()) or "it holds no trace"
        raise DataError(f"nothing can be written as {to}: {reasons}", file=source)
    return write_jsonl_objects(target, records), told


def show_conversion(source: Path, target: Path, *, to: str, data_format: str, threshold: float) -> None:
    """Convert, and say what was written and what was left out."""
    written, left_out = convert(source, target, to=to, data_format=data_format, threshold=threshold)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{written} traces: {target}")
    for reason, count in left_out.items():
        console.print(f"  {reason}: {count}")
