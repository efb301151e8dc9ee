"""Tables for people: ProcessBench results, and traces with coloured step scores.

Contract: text from data and models is shown as text: markup in it has no effect, and control characters,
which could steer the terminal, are replaced.

Not here: numbers (`processbench.py`), HTML (`report/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sparring.evaluation.processbench import AVERAGES, MEASURES, Case, Threshold
from sparring.runs import Metric
from sparring.terminal import interval_caption, percent, results_table
from sparring.traces.records import Trace

HEADINGS = {
    "f1": "F1",
    "accuracy_erroneous": "acc. erroneous",
    "accuracy_correct": "acc. correct",
    "step_auc": "step AUC",
    "solution_auc": "solution AUC",
}


def processbench_table(
    metrics: Mapping[str, Metric], subsets: Mapping[str, Sequence[Case]], threshold: Threshold
) -> Table:
    """Return the table of one evaluation: percentages with intervals, case counts, threshold and its rule."""
    title = f"ProcessBench, threshold {threshold.value:.4g} ({threshold.rule})"
    caption = f"{interval_caption(metrics.values())}; n: erroneous + correct cases"
    table = results_table(title, caption, "subset", "n", *(HEADINGS[measure] for measure in MEASURES))
    everything = [case for cases in subsets.values() for case in cases]
    for name in (*subsets, *(AVERAGES if len(subsets) > 1 else ())):
        cases = subsets.get(name, everything)
        erroneous = sum(case.first_error >= 0 for case in cases)
        cells = [percent(metrics[f"processbench.{name}.{measure}"]) for measure in MEASURES]
        if name == AVERAGES[0]:
            table.add_section()
        table.add_row(Text(name), f"{erroneous} + {len(cases) - erroneous}", *cells)
    return table


def print_scored_traces(
    console: Console, traces: Sequence[Trace], rows: Sequence[Sequence[float]], threshold: float
) -> None:
    """Print each trace with its scores: red below the threshold, yellow up to halfway above, else green."""
    for trace, row in zip(traces, rows, strict=True):
        table = Table(title=plain(trace.problem.id), caption=plain(trace.problem.question), show_header=False)
        table.add_column(justify="right")
        table.add_column(justify="right")
        table.add_column()
        for index, (step, score) in enumerate(zip(trace.steps, row, strict=True)):
            table.add_row(str(index), Text(f"{score:.3f}", style=colour(score, threshold)), plain(step))
        console.print(table)


def colour(score: float, threshold: float) -> str:
    """Return the colour that a score is shown in."""
    if score < threshold:
        return "red"
    return "yellow" if score < (1 + threshold) / 2 else "green"


def plain(text: str) -> Text:
    """Return text to be shown as it is, with a replacement for each control character but the line break."""
    return Text("".join(mark if mark.isprintable() or mark == "\n" else "\ufffd" for mark in text))
