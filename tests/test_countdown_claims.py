"""What the countdown claims make of their records."""

from __future__ import annotations

import random

import pytest

from claims import countdown_parts as parts
from claims.countdown_rl import LAST, WINDOW, samples_saved
from claims.countdown_search import gain_in_compute
from sparring.statistics import auc
from sparring.traces.records import Trace
from sparring.worlds.countdown import Countdown
from sparring.worlds.world import world_problems


def curve(*levels: float) -> dict[str, list[float]]:
    return {"outcome": [level for level in levels for _ in range(LAST)]}


def test_samples_saved_is_how_much_earlier_the_baseline_s_accuracy_is_reached():
    slow, fast = curve(0.0, 0.05, 0.1), curve(0.1, 0.1, 0.1)
    assert samples_saved(slow, slow) == pytest.approx(2.5 * LAST / (2 * LAST + WINDOW / 2))
    assert samples_saved(fast, slow) == pytest.approx(2.5 * LAST / (WINDOW / 2))
    never = samples_saved(curve(0.0, 0.0, 0.05), slow)
    assert never is not None and never < 0.5
    assert samples_saved(fast, curve(0.0, 0.0, 0.001)) is None


def test_compute_is_read_off_the_baseline_s_curve():
    def record(**points: float) -> dict[str, dict[str, dict[str, float]]]:
        return {"budgets": {n[1:]: {"tokens": 10.0 * int(n[1:]), "accuracy": a} for n, a in points.items()}}

    base = record(n4=0.2, n16=0.4, n64=0.6)
    assert gain_in_compute(record(n4=0.4), base, 4) == pytest.approx(4.0)
    assert gain_in_compute(record(n16=0.5), base, 16) == pytest.approx(2.0)
    assert gain_in_compute(record(n16=0.7), base, 16) is None and gain_in_compute(base, base, 8) is None


def test_a_noisy_truth_has_the_quality_asked_for():
    world = Countdown()
    traces = []
    for problem in world_problems(world, 150, seed=0, name="test"):
        assert problem.solution is not None
        for first in ("good", "bad"):
            step = problem.solution[0]
            if first == "bad":
                made = world.perturb(problem, (), step, random.Random(0), ["arithmetic"])
                assert made is not None
                step = made[1]
            traces.append(Trace(problem, (step,)))
    alive = [world.alive(trace.problem, trace.steps) for trace in traces]
    assert [row[0] for row in parts.Exact(world).score(traces)] == [float(one) for one in alive]
    noisy = parts.Exact(world, 0.85).score(traces)
    assert noisy == parts.Exact(world, 0.85).score(traces)
    assert auc([row[0] for row in noisy], alive) == pytest.approx(0.85, abs=0.06)
