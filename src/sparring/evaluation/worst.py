"""The worst disagreements of an evaluation: steps where score and label are furthest apart.

Contract: every case appears once, with its worst step; ties keep the order of the data. The records hold all that a page
needs in order to show the trace with coloured steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

from sparring.evaluation.tables import print_scored_traces
from sparring.traces.records import Label, Trace

WORST_FILE = "worst.jsonl"
Judged = tuple[str, Trace, Sequence[float], Sequence[Label]]
"""Id, trace, step scores, step labels."""


def worst_disagreements(cases: Iterable[Judged], count: int = 20) -> list[dict[str, Any]]:
    """Return records of the cases whose score is furthest from the label at some step, worst first."""
    found: list[dict[str, Any]] = []
    for identity, trace, scores, labels in cases:
        gaps = [
            (abs(score - label), step)
            for step, (score, label) in enumerate(zip(scores, labels, strict=True))
            if label is not None
        ]
        if gaps:
            gap, step = max(gaps, key=lambda pair: (pair[0], -pair[1]))
            found.append(
                {
                    "id": identity,
                    "gap": gap,
                    "step": step,
                    "score": scores[step],
                    "label": labels[step],
                    "problem": trace.problem.question,
                    "steps": trace.steps,
                    "scores": list(scores),
                    "labels": list(labels),
                }
            )
    return sorted(found, key=lambda record: -record["gap"])[:count]


def show_worst(
    console: Console,
    records: Sequence[dict[str, Any]],
    traces: dict[str, Trace],
    threshold: float,
    count: int = 3,
) -> None:
    """Say where the worst disagreements are, and show the first few with coloured steps on a terminal."""
    if records:
        console.print(f"worst disagreements ({WORST_FILE}):", highlight=False)
    for record in records[:count]:
        console.print(
            f"  {record['id']}: step {record['step']} scores {record['score']:.3f}, label {record['label']:g}",
            highlight=False,
            markup=False,
        )
        if console.is_terminal:
            print_scored_traces(console, [traces[record["id"]]], [record["scores"]], threshold)
