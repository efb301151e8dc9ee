"""What is evaluation_log during reinforcement learning, and what counts as reward hacking."""

from __future__ import annotations

import numpy as np
import pytest

from rl_data import answer, evaluations_of
from sparring.training.rl_monitors import hacked, off_topic_steps, repeated_steps, text_statistics


def test_text_marks_by_hand():
    answers = [
        answer("c = b", "C =  B", "zebra"),
        answer("c is 3", finish="length"),
        answer(tokens=1),
        answer("mod 13"),
    ]
    answers[2].unreadable = True
    marks = text_statistics(answers)
    assert marks["steps_per_answer"] == pytest.approx(5 / 4)
    assert marks["tokens_per_step"] == pytest.approx((7 + 3 + 3) / 5)
    assert marks["empty"] == marks["truncated"] == marks["unreadable"] == pytest.approx(1 / 4)
    assert marks["repeated"] == marks["off_topic"] == pytest.approx(1 / 5)
    assert repeated_steps(["a", "a", "A "]) == 2
    assert off_topic_steps("two cats", ["dogs", "more dogs", "cats"]) == 1


@pytest.mark.parametrize(
    ("rights", "rewards", "stops"),
    [
        ((0.5, 0.6, 0.4, 0.35), (0.5, 0.6, 0.8, 0.9), True),
        ((0.5, 0.6, 0.4, 0.58), (0.5, 0.6, 0.8, 0.9), False),  # recovered
        ((0.5, 0.6, 0.4), (0.5, 0.6, 0.8), False),  # one evaluation is not enough
        ((0.5, 0.6, 0.4, 0.35), (0.5, 0.6, 0.6, 0.6), False),  # accuracy falls, the reward does not rise
        ((0.5, 0.6, 0.7, 0.8), (0.5, 0.6, 0.8, 0.9), False),  # as it should be
    ],
)
def test_hacking_is_a_reward_that_rises_while_accuracy_falls(rights, rewards, stops):
    reason = hacked(evaluations_of(rights, rewards))
    assert (reason is not None) == stops
    if reason:
        assert "since update 1" in reason and "60 held-out problems" in reason


def test_without_a_prm_nothing_can_be_hacked():
    records = evaluations_of((0.9, 0.1, 0.1, 0.1), (0, 1, 2, 3))
    assert hacked([record | {"rewards": None} for record in records]) is None


def test_noise_alone_hardly_ever_stops_a_run():
    rng = np.random.default_rng(0)
    stops = 0
    for _ in range(60):
        evaluations = [
            {"update": t, "accuracy": float(right.mean()), "right": right, "rewards": rng.random(32)}
            for t, right in enumerate(rng.integers(0, 2, (6, 32)))
        ]
        stops += any(hacked(evaluations[:end]) is not None for end in range(3, 7))
    assert stops <= 2
