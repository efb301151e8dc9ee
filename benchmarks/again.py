"""Results computed again from the raw numbers that stand in a results file, without running anything.

    python benchmarks/planted.py --again        (also rl_chain.py, trl_equivalence.py, rl_real.py, demo.py)

Contract: only `metrics` and `intervals` of the file change; its commit, machine and settings stay those of the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparring.files import atomic_write_json
from sparring.runs import Metric


def read_results(path: Path) -> dict[str, Any]:
    """Return what a results file holds."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def replace_metrics(
    path: Path, metrics: Mapping[str, Metric], extra: Mapping[str, Any] | None = None
) -> None:
    """Write the metrics into a results file in place of those that are there; `extra` is added to its own."""
    content = read_results(path)
    before = content["metrics"]
    content["metrics"] = {
        name: {key: value for key, value in asdict(one).items() if key != "interval"}
        for name, one in metrics.items()
    }
    content["intervals"] = {name: one.interval for name, one in metrics.items() if one.interval}
    content["extra"] |= extra or {}
    moved = [n for n, one in metrics.items() if n in before and not _close(one.value, before[n]["value"])]
    if moved or set(before) != set(metrics):
        print(f"values that differ: {moved}; names that differ: {sorted(set(before) ^ set(metrics))}")
    atomic_write_json(path, content)


def _close(one: float | None, other: float | None) -> bool:
    return one == other or (
        one is not None and other is not None and abs(one - other) <= 1e-3 * max(1, abs(one))
    )
