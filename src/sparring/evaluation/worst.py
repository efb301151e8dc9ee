"""The worst disagreements of an evaluation: where score and label, or choice and truth, are furthest apart.

Contract: every case appears once, with its worst step; ties keep the order of the data. The records hold all that a page
needs in order to show a case with coloured steps (`report/disagreements.py`). At most `MOST_WORST` are kept; how many there
were goes into `metrics.json` as ``extra.worst_of``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sparring.evaluation.tables import print_scored_traces
from sparring.traces.records import Label, Problem, Trace

if TYPE_CHECKING:
    from sparring.evaluation.search_curves import Case  # imports torch

WORST_FILE = "worst.jsonl"
MOST_WORST = 20
Judged = tuple[str, Trace, Sequence[float], Sequence[Label]]
"""Id, trace, step scores, step labels."""


def worst_disagreements(
    cases: Iterable[Judged], threshold: float, count: int = MOST_WORST
) -> list[dict[str, Any]]:
    """Return records of the cases whose score is furthest from the label at some step, worst first.

    `threshold` is that of the scores; it does not decide what is listed, but what a page calls accepted.
    """
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
                    "threshold": threshold,
                    "problem": trace.problem.question,
                    "steps": trace.steps,
                    "scores": list(scores),
                    "labels": list(labels),
                }
            )
    return sorted(found, key=lambda record: -record["gap"])[:count]


def candidate_record(
    steps: Sequence[str], scores: Sequence[float] | None, value: float, answer: str | None
) -> dict[str, Any]:
    """Return one of several solutions of a problem: its steps and scores where known, its total, its answer."""
    return {"answer": answer, "value": value, "steps": list(steps), "scores": scores}


def misled_searches(
    every: Mapping[tuple[str, int], Sequence[Case]], problems: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a record per problem for which some search chose a wrong solution while it had a right one, worst first.

    Of several searches of a problem, the one counts in which the chosen value is furthest above the best right one.

    Args:
        every: cases by (method, N).
        problems: question by id.
    """
    worst: dict[str, dict[str, Any]] = {}
    for (method, n), cases in every.items():
        for case in cases:
            found = case.found
            if found.chosen is None or case.solved or not any(case.right):
                continue
            best = max(
                (index for index, right in enumerate(case.right) if right),
                key=lambda index: found.candidates[index].value,
            )
            picked, right = (
                candidate_record(one.steps, one.scores, one.value, case.answers[index])
                for index, one in ((index, found.candidates[index]) for index in (found.chosen, best))
            )
            gap = picked["value"] - right["value"]
            if case.problem not in worst or gap > worst[case.problem]["gap"]:
                worst[case.problem] = {
                    "id": case.problem,
                    "gap": gap,
                    "note": f"{method}, N = {n}: {sum(case.right)} of {len(case.right)} candidates are right.",
                    "problem": problems[case.problem],
                    "picked": picked,
                    "right": right,
                }
    return sorted(worst.values(), key=lambda record: -record["gap"])


def show_worst(console: Console, records: Sequence[dict[str, Any]], threshold: float, count: int = 3) -> None:
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
            trace = Trace(Problem(record["id"], record["problem"]), tuple(record["steps"]))
            print_scored_traces(console, [trace], [record["scores"]], threshold)
