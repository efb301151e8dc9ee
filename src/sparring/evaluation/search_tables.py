"""Tables of `sparring search` for the terminal: accuracy with costs, and differences to plain sampling.

Contract: two tables instead of one, so that each fits into 80 columns; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from sparring.evaluation.search_curves import BASELINES
from sparring.runs import Metric
from sparring.terminal import interval_caption, percent, results_table

COSTS = {"tokens_generated": "written", "tokens_scored": "scored", "flops": "FLOPs"}


def accuracy_table(
    metrics: Mapping[str, Metric], names: Sequence[str], sizes: Sequence[int], title: str
) -> Table:
    """Return accuracies in percent, and mean costs per problem."""
    caption = f"{interval_caption(metrics.values(), over='problems')}; tokens and FLOPs per problem"
    caption += "; work: independent solutions\nwith as many tokens written"
    table = results_table(title, caption, "method", "N", "work", "accuracy", *COSTS.values())
    for name, n, key in _measured(metrics, names, sizes):
        work = metrics.get(f"{key}.work", Metric(float(n))).value
        costs = (metrics[f"{key}.{cost}"].value for cost in COSTS)
        shown = ("–" if cost is None else f"{cost:.3g}" for cost in costs)
        table.add_row(
            name,
            str(n),
            "–" if work is None else f"{work:.3g}",
            percent(metrics[f"{key}.accuracy"]),
            *shown,
        )
    return table


def difference_table(metrics: Mapping[str, Metric], names: Sequence[str], sizes: Sequence[int]) -> Table:
    """Return the differences to every baseline with as many samples, and at the same cost, where there are any."""
    headings = [
        f"− {line.replace('_', ' ')},\n{when}" for line in BASELINES for when in ("same N", "same cost")
    ]
    caption = "points (p-value); at the same N where the work is the same"
    table = results_table("Differences to plain sampling", caption, "method", "N", *headings)
    for name, n, key in _measured(metrics, names, sizes):
        cells = [
            _difference(metrics, f"{key}.minus_{line}{suffix}")
            for line in BASELINES
            for suffix in ("", "_at_equal_cost")
        ]
        if any(cells):
            table.add_row(name, str(n), *(cell or Text("–") for cell in cells))
    return table


def _measured(
    metrics: Mapping[str, Metric], names: Sequence[str], sizes: Sequence[int]
) -> Iterator[tuple[str, int, str]]:
    """Yield (name, N, beginning of the metrics' names) for what was measured, each once."""
    for name in dict.fromkeys(names):
        for n in sorted(sizes):
            key = f"search.{name}.n_{n}"
            if f"{key}.accuracy" in metrics:
                yield name, n, key


def _difference(metrics: Mapping[str, Metric], key: str) -> Text | None:
    """Return a difference in percentage points with its p-value, None where there is none."""
    metric = metrics.get(key)
    if metric is None or metric.value is None:
        return None
    return Text(f"{100 * metric.value:+.1f} ({metrics[f'{key}.p_value'].value:.3f})")
