"""Three steps in one place: what a PRM that knows the truth, the place or the solver's habit makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from claims.contest_reward import contrast, shared_words, worth
from sparring.traces.records import Trace
from sparring.worlds.world import judged, make_world, world_problems

WORLD = make_world("chain")
KIND = "wrong_value"


class Scorer:
    """Scores a trace's last step by a function of the trace; steps before it are right."""

    def __init__(self, last: Callable[[Trace], float]) -> None:
        self.last = last

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        return [[1.0] * (len(trace.steps) - 1) + [self.last(trace)] for trace in traces]


@pytest.fixture(scope="module")
def groups() -> list[list[Trace]]:
    """Solutions that look one value up wrongly and carry on with it."""
    found = []
    for problem in world_problems(WORLD, 40, seed=0, name="places"):
        solution = problem.solution or ()
        rng = random.Random(problem.id)
        places = [
            h for h in range(len(solution)) if WORLD.perturb(problem, solution[:h], solution[h], rng, [KIND])
        ]
        if places:
            made = WORLD.perturb(problem, solution[: places[0]], solution[places[0]], rng, [KIND])
            assert made is not None
            found.append([judged(WORLD, Trace(problem, (*solution[: places[0]], made[1])))])
    assert len(found) > 10
    return found


def truth(trace: Trace) -> float:
    *prefix, step = trace.steps
    return float(WORLD.judge(trace.problem, prefix, step).truth == "correct")


@pytest.mark.parametrize(
    ("last", "above_own", "above_other", "accepted"),
    [
        (truth, 1.0, 1.0, (1.0, 0.0, 0.0)),
        (
            lambda trace: 0.2,
            0.5,
            0.5,
            (0.0, 0.0, 0.0),
        ),  # knows the place: all that is written there is doubtful
        (lambda trace: 0.7, 0.5, 0.5, (1.0, 1.0, 1.0)),
    ],
)
def test_places_tell_what_a_prm_knows(
    groups: list[list[Trace]], last: Any, above_own: float, above_other: float, accepted: Sequence[float]
) -> None:
    found = contrast([*groups, *groups], Scorer(last), WORLD, seed=0)
    assert found["places"] == len(groups)  # each once
    assert (found["above_own"], found["above_other"]) == (above_own, above_other)
    assert tuple(found[f"{name}_accepted"] for name in ("right", "own", "other")) == accepted


def test_who_knows_only_the_solvers_own_mistake_takes_another_for_right(groups: list[list[Trace]]) -> None:
    own = {(trace.problem.id, trace.steps) for group in groups for trace in group}
    scorer = Scorer(lambda trace: float((trace.problem.id, trace.steps) not in own))
    found = contrast(groups, scorer, WORLD, seed=0)
    assert (found["above_own"], found["above_other"]) == (1.0, 0.5)
    assert (found["own_accepted"], found["other_accepted"]) == (0.0, 1.0)


def test_without_a_wrong_step_there_is_no_place() -> None:
    problem = world_problems(WORLD, 1, seed=0, name="places")[0]
    right = judged(WORLD, Trace(problem, problem.solution or ()))
    assert contrast([[right]], Scorer(truth), WORLD, seed=0) == {"places": 0}


def test_what_a_policy_is_worth_counts_missing_answers_as_wrong(groups: list[list[Trace]]) -> None:
    problem = world_problems(WORLD, 1, seed=0, name="places")[0]
    traces = [judged(WORLD, Trace(problem, problem.solution or ())), *(t for group in groups for t in group)]
    answers = 2 * len(traces)
    found = worth(traces, answers, Scorer(lambda trace: 0.9), WORLD)
    assert found["sound"] == found["solved"] == 1 / answers and found["empty"] == 0.5
    assert found["fooled"] == found["accepted"] == 1.0
    assert found["kinds"] == {f"chain:{KIND}": len(groups)}


def test_right_steps_that_stop_half_way_are_sound_and_solve_nothing() -> None:
    problem = world_problems(WORLD, 1, seed=0, name="places")[0]
    stopped = judged(WORLD, Trace(problem, (problem.solution or ())[:-1]))
    found = worth([stopped], 1, Scorer(lambda trace: 0.9), WORLD)
    assert (found["sound"], found["right"], found["solved"], found["fooled"]) == (1.0, 0.0, 0.0, 1.0)


def test_words_are_counted_from_the_beginning() -> None:
    assert shared_words("a = b + 1", "a = c + 1") == 2
    assert shared_words("", "a") == shared_words("b", "a") == 0
