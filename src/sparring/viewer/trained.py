"""The curves of a training run, finished or not: `train aprm`, `prm`, `orm`, `value` and `rl`.

Contract: curves come from the logs alone, so they can be drawn while the run goes on; a record that a crash cut off is left
out. At most `MOST_POINTS` points of a curve are kept, evenly spaced, its last among them.

Not here: what the measures mean (`docs/training.md`, `docs/rl.md`), other runs (`runs.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparring.errors import DataError
from sparring.traces.fields import finite_number
from sparring.viewer.data import Curve, InspectorData

LOGS = {
    "log.jsonl": "training",
    "watch.jsonl": "evaluation",
    "attack.jsonl": "attack",
}
"""Logs of a training run, and what their charts are called."""
STEPS = ("step", "update")
NO_MEASURE = {"step", "update", "epoch", "samples"}
MOST_POINTS = 1000


def training_data(runs: Sequence[Path]) -> InspectorData:
    """Return the page of the curves of one training run, or of several over one another.

    Raises:
        DataError: a log holds a line that is no record.
    """
    curves = [curve for run in runs for curve in curves_of(run)]
    names = ", ".join(run.name for run in runs)
    begun = any((run / name).is_file() for run in runs for name in LOGS)
    notes = ["The logs hold no record yet."] if begun and not curves else []
    return InspectorData(f"Training: {names}", ", ".join(map(str, runs)), curves=curves, notes=notes)


def curves_of(run: Path, logs: Mapping[str, str] = LOGS) -> list[Curve]:
    """Return the curves of a run, a chart for each log; a measure that is never a number has none."""
    found: list[Curve] = []
    for name, chart in logs.items():
        file = run / name
        if not file.is_file():
            continue
        columns: dict[str, tuple[list[float], list[float]]] = {}
        for number, record in enumerate(_records(file), start=1):
            step = next((finite_number(record.get(key)) for key in STEPS if key in record), None)
            x = float(number) if step is None else step
            for key, value in record.items():
                y = finite_number(value)
                if key not in NO_MEASURE and y is not None:
                    xs, ys = columns.setdefault(key, ([], []))
                    xs.append(x)
                    ys.append(y)
        found += [Curve(run.name, chart, key, thinned(xs), thinned(ys)) for key, (xs, ys) in columns.items()]
    return found


def thinned(values: Sequence[float]) -> list[float]:
    """Return at most `MOST_POINTS` values, evenly spaced, the first and the last among them."""
    if len(values) <= MOST_POINTS:
        return list(values)
    last = len(values) - 1
    return [values[place * last // (MOST_POINTS - 1)] for place in range(MOST_POINTS)]


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log that may be written to; its last line may be cut off."""
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise DataError("not a record of a log", file=file, line=number)
        yield record
