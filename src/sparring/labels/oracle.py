"""Step labels by an oracle: what a solver writes itself, judged step by step, without a rollout.

The strongest supervised baseline where an exact oracle exists: a PRM trained on the policy's own wrong steps. Labels are 1
before the first wrong step, 0 at it and unknown after it; a step that the oracle cannot decide has none.

Contract: pure functions of solutions and verdicts. Not here: the oracles (a world's, or `oracles.panel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sparring.traces.records import Trace, step_labels
from sparring.traces.verdict import Judge


def judge_traces(traces: Sequence[Trace], judge: Judge) -> list[Trace]:
    """Return the traces with an oracle's labels; how each was found stands in its meta, under `walk`."""
    questions = [(t.problem, t.steps[:place], step) for t in traces for place, step in enumerate(t.steps)]
    verdicts = iter(judge(questions))
    found = []
    for trace in traces:
        labels = step_labels([next(verdicts).truth for _ in trace.steps])
        kind = "wrong step" if 0.0 in labels else "undecided step" if None in labels else "all correct"
        found.append(replace(trace, labels=labels, meta={**trace.meta, "walk": kind}))
    return found
