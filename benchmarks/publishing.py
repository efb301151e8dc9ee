"""What benchmarks publish: `NAME.json` (the layout of metrics.json) and `NAME.md` (its tables) in the results folder.

`scripts/verify_results.py` computes both again from the raw records in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparring.files import atomic_write_text
from sparring.runs import Metric, write_metrics
from sparring.statistics import mean_over_runs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("SPARRING_DATA", ROOT.parent / "shared" / "data"))
"""Folder of data sets, with gsm8k/, math/, processbench/, prmbench/."""


def command_line(header: str | None) -> argparse.ArgumentParser:
    """Return a parser that says a header's first line and knows where results go."""
    parser = argparse.ArgumentParser(description=(header or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    return parser


def publish(
    results: Path,
    name: str,
    metrics: Mapping[str, Metric],
    page: str,
    *,
    settings: Mapping[str, Any],
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the numbers and the page, and print the page."""
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results) as folder:
        written = write_metrics(folder, metrics, settings=settings, seed=seed, extra=extra)
        written.replace(results / f"{name}.json")
    atomic_write_text(results / f"{name}.md", page)
    print(page)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, ["---"] * len(heads), *rows))


def log_table(
    heads: Sequence[str], log: Sequence[Mapping[str, Any]], columns: Sequence[str], size: int, form: str
) -> str:
    """Return a training log as a table, averaged over blocks of so many updates; `heads` are those before the columns.

    Args:
        heads: the first names the column with the numbers of the first and the last update of a block.
        log: of the training, with `update` or `step`.
        columns: of the log; a dash where a block has no value.
        size: updates in a block.
        form: of numbers.
    """
    rows = []
    for block in (log[start : start + size] for start in range(0, len(log), size)):
        first, last = (one.get("update", one.get("step")) for one in (block[0], block[-1]))
        cells = []
        for name in columns:
            values = [record[name] for record in block if record.get(name) is not None]
            cells.append(f"{sum(values) / len(values):{form}}" if values else "–")
        rows.append([f"{first}–{last}", *cells])
    return table([*heads, *(name.replace("_", " ") for name in columns)], rows)


def over_seeds(values: Sequence[float], form: str = ".1f", unit: str = "") -> str:
    """Return the mean over seeds with Student's interval, and the range over them."""
    mean = mean_over_runs(values, unit=unit).text(form=form)
    return f"{mean} ({min(values):{form}} to {max(values):{form}})"


def shown(metric: Metric | None, scale: float = 100.0, digits: int = 1) -> str:
    """Return a metric with its interval; a dash where there is none."""
    return "–" if metric is None else metric.text(scale, f".{digits}f")


def json_lines(file: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
