"""The supervised baselines of the contest: what each is told about the same solutions."""

from __future__ import annotations

import pytest

from claims.baselines import ARMS, MEASURED, LastScore, smoothed, with_values
from sparring.labels.posterior import estimate, exact
from sparring.traces.records import Problem, Trace
from sparring.training.supervised import PrmSettings


def test_labels_are_made_of_the_same_estimates():
    estimates = (estimate(3, 4), estimate(0, 4), None, exact(1.0))
    trace = Trace(Problem("p", "q"), ("a", "b", "c", "d"), estimates=estimates)
    assert with_values(trace, lambda one: float(one.value > 0)).labels == (1.0, 0.0, None, 1.0)
    assert with_values(trace, smoothed).labels == pytest.approx((4 / 6, 1 / 6, None, 1.0))


def test_an_outcome_model_judges_whole_solutions():
    class Scorer:
        def score(self, traces):
            return [[0.1 * (place + 1) for place in range(len(trace.steps))] for trace in traces]

    traces = [Trace(Problem("p", "q"), ("a", "b", "c")), Trace(Problem("p", "q"), ("a",))]
    assert LastScore(Scorer()).score(traces) == [[pytest.approx(0.3)] * 3, [0.1]]


def test_every_arm_is_a_setting_that_exists():
    assert set(MEASURED) < set(ARMS)
    for name, (_, changes) in ARMS.items():
        if name != "orm":
            PrmSettings.model_validate({"data": "x", "backbone": "y", **changes})
