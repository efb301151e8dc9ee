"""What the tests of the adapters share: a scorer that says what it is told, by the step's text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparring.fingerprints import Identity
from sparring.models.sidecar import Sidecar
from sparring.traces.records import Trace


class Spoken:
    """Scores a step by the number in braces in its text (`so {0.25}`), else 0.5; counts what it was asked."""

    threshold, threshold_rule, overflow = 0.5, "fixed 0.5", "drop_steps"
    identity = Identity("spoken", "spoken", "", "spoken")

    def __init__(self, meaning: str = "correctness", longest: int = 99) -> None:
        self.sidecar = Sidecar.model_validate({"meaning": meaning})
        self.longest = longest
        self.asked: list[Trace] = []

    def score(self, traces: Sequence[Trace], progress: object = None) -> list[list[float]]:
        self.asked += traces
        return [[number(step) for step in trace.steps[: self.longest]] for trace in traces]


class Broken(Spoken):
    """Scores that are no numbers."""

    def score(self, traces: Sequence[Trace], progress: object = None) -> list[list[float]]:
        return [[float("nan")] * len(trace.steps) for trace in traces]


def number(step: str) -> float:
    found = re.search(r"\{([0-9.]+)\}", step)
    return float(found[1]) if found else 0.5
