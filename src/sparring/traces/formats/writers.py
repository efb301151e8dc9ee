"""Traces in other people's layouts: TRL's stepwise supervision and Math-Shepherd.

Both know two labels and no unknown ones: a label counts as right from `threshold` on, and a trace ends before its first
step without a label. What such a layout cannot hold is not written but told (`Oddity`); what it can hold reads back
through `automatic.py` with the same labels.

Not here: files and counting (`convert.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sparring.traces.formats.common import Oddity
from sparring.traces.jsonl import trace_to_record
from sparring.traces.records import Trace

_TAG = "ки"
_HEADING = re.compile(r"step \d+:", re.IGNORECASE)
_FIRST_STEP = re.compile(r"step 1:", re.IGNORECASE)

Record = dict[str, Any]


def sparring_record(trace: Trace, threshold: float) -> Record | Oddity:
    """Return the trace in our own form; nothing is lost."""
    return trace_to_record(trace)


def trl_stepwise_record(trace: Trace, threshold: float) -> Record | Oddity:
    """Return `prompt`, `completions` and boolean `labels`; answer, outcome and estimates have no place."""
    labels = _signs(trace, threshold)
    if isinstance(labels, Oddity):
        return labels
    steps = list(trace.steps[: len(labels)])
    return {"prompt": trace.problem.question, "completions": steps, "labels": labels}


def math_shepherd_record(trace: Trace, threshold: float) -> Record | Oddity:
    """Return `input` with a tag after every step, `label` with a sign in each tag's place, and `task`.

    Steps get headings (``Step 1: …``) unless all have one; without them nobody could tell the question from the steps.
    """
    labels = _signs(trace, threshold)
    if isinstance(labels, Oddity):
        return labels
    steps = list(trace.steps[: len(labels)])
    question = trace.problem.question.strip()
    if not all(_HEADING.match(step) for step in steps) or not _FIRST_STEP.match(steps[0]):
        steps = [f"Step {number}: {step}" for number, step in enumerate(steps, start=1)]
    if any(_TAG in text for text in (question, *steps)):
        return Oddity(f"the text holds the tag '{_TAG}'")
    if len(_FIRST_STEP.findall(steps[0])) > 1:
        return Oddity("the first step holds 'Step 1:' twice")

    def written(marks: list[str]) -> str:
        return question + " " + "\n".join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))

    signs = ["+" if label else "-" for label in labels]
    task = trace.problem.meta.get("task")
    return {
        "input": written([_TAG] * len(steps)),
        "label": written(signs),
        "task": task if isinstance(task, str) else "sparring",
    }


WRITERS: Mapping[str, Callable[[Trace, float], Record | Oddity]] = {
    "sparring": sparring_record,
    "trl_stepwise": trl_stepwise_record,
    "math_shepherd": math_shepherd_record,
}


def _signs(trace: Trace, threshold: float) -> list[bool] | Oddity:
    """Return whether each step is right, up to the first step that has no label."""
    signs: list[bool] = []
    for label in trace.labels or ():
        if label is None:
            break
        signs.append(label >= threshold)
    return signs or Oddity("the first step has no label")
