"""Countdown: judged and enumerated exactly, against brute force; safe on any text."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import DataError
from sparring.traces.records import Problem
from sparring.worlds.countdown import (
    KINDS,
    LARGEST,
    Countdown,
    Puzzle,
    State,
    combine,
    parse_question,
    state_after,
)
from sparring.worlds.world import World, make_world

WORLDS = [
    Countdown(numbers=(3, 3)),
    Countdown(),
    Countdown(numbers=(5, 5)),
    Countdown(variant="long", steps=(6, 6)),
    Countdown(variant="long", largest=5),
]
worlds = st.sampled_from(WORLDS)
seeds = st.integers(0, 10**6)


def a_problem(world: Countdown, seed: int) -> Problem:
    return world.problem(random.Random(seed), f"p{seed}")


# --- brute force, written without the world's own functions ---------------------------------------------------------


def results(left: int, right: int) -> dict[str, Fraction]:
    found = {"+": Fraction(left + right), "-": Fraction(left - right), "*": Fraction(left * right)}
    if right:
        found["/"] = Fraction(left, right)
    return {sign: value for sign, value in found.items() if value.denominator == 1 and 0 <= value <= 99}


def brute_reaches(table: list[int], target: int) -> bool:
    if len(table) == 1:
        return table[0] == target
    for i, j in permutations(range(len(table)), 2):
        rest = [one for place, one in enumerate(table) if place not in (i, j)]
        if table[i] >= table[j] and any(
            brute_reaches([*rest, int(value)], target) for value in results(table[i], table[j]).values()
        ):
            return True
    return False


def brute_climbs(total: int, table: list[int], stages: list[tuple[list[int], int]], steps_left: int) -> bool:
    """`stages` are those after the present one; `stages[0]` would be next; the present goal is in `stages[-1]`'s place."""
    (_, goal), *later = stages
    for place, number in enumerate(table):
        rest = table[:place] + table[place + 1 :]
        for value in results(max(total, number), min(total, number)).values():
            if steps_left == 2:
                if brute_climbs(int(value), rest, stages, 1):
                    return True
            elif value == goal and (not later or brute_climbs(int(value), [*rest, *later[0][0]], later, 2)):
                return True
    return False


def brute_alive(problem: Problem, puzzle: Puzzle, state: State) -> bool:
    if not puzzle.stages:
        return brute_reaches(list(state.table), puzzle.target)
    if state.missed:
        return False
    later = [(list(stage.arriving), stage.goal) for stage in puzzle.stages[state.stage :]]
    return not later or brute_climbs(state.total or 0, list(state.table), later, len(state.table) - 1)


# --- the contract ---------------------------------------------------------------------------------------------------


def test_it_is_a_world() -> None:
    world: World = Countdown()
    assert world.name == "countdown"
    assert Countdown(numbers=(5, 5)).name == "countdown:numbers=5"
    assert Countdown(variant="long", steps=(6, 10)).name == "countdown:variant=long,steps=6-10"


@settings(deadline=None, max_examples=60)
@given(worlds, seeds)
def test_the_reference_solution_is_right_succeeds_and_stays_alive(world: Countdown, seed: int) -> None:
    problem = a_problem(world, seed)
    steps = problem.solution
    assert steps is not None
    assert all(world.judge(problem, steps[:i], step).truth == "correct" for i, step in enumerate(steps))
    assert all(world.alive(problem, steps[:i]) for i in range(len(steps) + 1))
    assert world.solved(problem, steps) and not world.solved(problem, steps[:-1])
    assert world.answer(problem, steps) == problem.answer and world.answer(problem, steps[:-1]) is None
    assert len(steps) == (world.steps[0] if world.variant == "long" else world.numbers[0] - 1)
    words = {word for part in world.words.values() for word in part}
    assert all(set(text.split(" ")) <= words for text in (problem.question, *steps))


@settings(deadline=None, max_examples=40)
@given(worlds.filter(lambda world: world.numbers[1] < 5), seeds)
def test_alive_agrees_with_brute_force_along_any_play(world: Countdown, seed: int) -> None:
    problem, rng = a_problem(world, seed), random.Random(seed)
    puzzle = parse_question(problem.question)
    state, steps = puzzle.start, 0
    while True:
        if steps or world.variant == "short":
            assert puzzle.alive(state) == brute_alive(problem, puzzle, state)
        if puzzle.done(state):
            break
        state = rng.choice(puzzle.moves(state))[1]
        steps += 1


@settings(deadline=None, max_examples=60)
@given(worlds, seeds)
def test_exactly_the_moves_are_correct(world: Countdown, seed: int) -> None:
    """From a random state, of all calculations with what is there, those that brute force allows are correct."""
    problem, rng = a_problem(world, seed), random.Random(seed)
    puzzle = parse_question(problem.question)
    prefix = problem.solution[: rng.randrange(puzzle.length)] if problem.solution else ()
    state = state_after(puzzle, prefix)
    assert state is not None
    here = [*state.table] if state.total is None else [state.total]
    there = [*state.table]
    expected = set()
    for left in range(LARGEST + 1):
        for right in range(left + 1):
            if state.total is None:
                possible = (
                    there.count(left) and there.count(right) and (left != right or there.count(left) > 1)
                )
            else:
                possible = (left in here and right in there) or (right in here and left in there)
            if possible:
                expected |= {(left, sign, right, int(value)) for sign, value in results(left, right).items()}
    moves = puzzle.moves(state)
    assert {(move.left, move.operation, move.right, move.result) for move, _ in moves} == expected
    for move, after in moves:
        step = f"{move.left} {move.operation} {move.right} = {move.result} : {puzzle.left(after)}"
        assert world.judge(problem, prefix, step).truth == "correct"
        wrong = (
            f"{move.left} {move.operation} {move.right} = {(move.result + 1) % 100} : {puzzle.left(after)}"
        )
        assert world.judge(problem, prefix, wrong).truth == "wrong"
        for told in {
            puzzle.left(after).replace(word, str((int(word) + 1) % 100), 1) for word in map(str, after.table)
        }:
            if told != puzzle.left(after):
                lied = f"{move.left} {move.operation} {move.right} = {move.result} : {told}"
                assert world.judge(problem, prefix, lied).truth == "wrong"


@settings(deadline=None, max_examples=60)
@given(worlds, seeds)
def test_a_written_solution_is_what_a_play_with_slips_is(world: Countdown, seed: int) -> None:
    problem = a_problem(world, seed)
    steps = world.written(problem, random.Random(seed))
    assert steps == world.written(problem, random.Random(seed))
    assert len(steps) == parse_question(problem.question).length
    assert all(world.is_step(step) for step in steps)
    verdicts = [world.judge(problem, steps[:i], step) for i, step in enumerate(steps)]
    mistakes = [verdict.reason.partition(":")[2] for verdict in verdicts if verdict.truth == "wrong"]
    assert not mistakes or mistakes[0] in ("arithmetic", "wrong_operation")
    assert set(mistakes[1:]) <= {"after_mistake"}
    if world.solved(problem, steps):
        assert not mistakes and all(world.alive(problem, steps[:i]) for i in range(len(steps)))


def test_shares_of_useless_plays_and_slips_are_what_the_dials_say() -> None:
    problems = [a_problem(Countdown(), seed) for seed in range(400)]
    rng = random.Random(0)

    def solved(**dials: float) -> float:
        world = Countdown(**dials)  # type: ignore[arg-type]
        return sum(world.solved(problem, world.written(problem, rng)) for problem in problems) / 400

    assert solved(useless=0.0, slips=0.0) == 1.0
    assert 0.62 < solved(useless=0.4, slips=0.0) < 0.70 + 0.05
    assert 0.45 < solved(useless=0.0, slips=0.2) < 0.58


@settings(deadline=None, max_examples=60)
@given(worlds, seeds, st.sampled_from(KINDS))
def test_a_perturbed_step_is_wrong_in_the_way_asked_for(world: Countdown, seed: int, kind: str) -> None:
    problem, rng = a_problem(world, seed), random.Random(seed)
    assert problem.solution is not None
    place = rng.randrange(len(problem.solution))
    prefix, step = problem.solution[:place], problem.solution[place]
    made = world.perturb(problem, prefix, step, rng, [kind])
    if made is not None:
        assert made[0] == kind and made[1] != step and world.is_step(made[1])
        assert world.judge(problem, prefix, made[1]).reason == f"countdown:{kind}"
        assert not world.alive(problem, [*prefix, made[1]])
        if place + 1 < len(problem.solution):
            following = problem.solution[place + 1]
            assert world.judge(problem, [*prefix, made[1]], following).reason == "countdown:after_mistake"
        assert world.perturb(problem, prefix, made[1], rng, KINDS) is None


def test_every_kind_can_be_made() -> None:
    for world in WORLDS:
        made = set()
        for seed in range(30):
            problem, rng = a_problem(world, seed), random.Random(seed)
            assert problem.solution is not None
            for kind in KINDS:
                found = world.perturb(problem, (), problem.solution[0], rng, [kind])
                made |= {found[0]} if found else set()
        assert made == set(KINDS)


@settings(deadline=None, max_examples=150)
@given(worlds, st.one_of(st.text(), st.text("0123456789 +-*/=:make with", max_size=60)), st.data())
def test_any_text_is_judged(world: Countdown, text: str, data: st.DataObject) -> None:
    problem = a_problem(world, 3)
    prefix = [text] if data.draw(st.booleans()) else []
    verdict = world.judge(problem, prefix, text)
    assert verdict.truth in ("correct", "wrong") and verdict.reason.startswith("countdown:")
    assert world.is_step(text) or verdict.truth == "wrong"
    world.alive(problem, [text])
    world.solved(problem, [text] * 7)
    world.answer(problem, [text])
    assert world.perturb(problem, prefix, text, random.Random(0), KINDS) is None or verdict.truth == "correct"
    with pytest.raises(DataError):
        world.judge(Problem(id="x", question=f"? {text}"), [], text)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("8 - 5 = 3 : 7 4 3", "exact"),
        ("8 - 5 = 4 : 7 4 4", "arithmetic"),
        ("8 - 5 = 13 : 13 7 4", "wrong_operation"),
        ("8 - 6 = 2 : 7 4 2", "absent_number"),
        ("8 - 8 = 0 : 7 5 4 0", "absent_number"),
        ("5 - 8 = 3 : 7 4 3", "not_allowed"),
        ("8 / 5 = 1 : 7 4 1", "not_allowed"),
        ("8 - 5 = 3 : 4 7 3", "number_changed"),
        ("8 - 5 = 3 : 7 4", "number_lost"),
        ("8 - 5 = 3 : 7 5 4 3", "number_kept"),
        ("8 - 5 = 3 : 3 with 7 4", "number_kept"),
        ("8 - 5 = 3", "malformed"),
        ("08 - 5 = 3 : 7 4 3", "malformed"),
    ],
)
def test_kinds_of_mistakes(step: str, kind: str) -> None:
    problem = Problem(id="x", question="make 24 from 8 7 5 4")
    assert Countdown().judge(problem, (), step).reason == f"countdown:{kind}"


def test_the_examples_of_the_header() -> None:
    short, world = Problem(id="x", question="make 24 from 8 7 5 4"), Countdown()
    steps = ("8 - 7 = 1 : 5 4 1", "5 - 4 = 1 : 1 1")
    assert world.judge(short, steps[:1], steps[1]).truth == "correct"
    assert world.alive(short, steps[:1]) and not world.alive(short, steps)
    long = Problem(id="y", question="start 12 with 3 ; 5 2 make 19 ; 9 4 make 7")
    climb = (
        "12 + 5 = 17 : 17 with 3 2 make 19",
        "17 + 2 = 19 : 19 with 9 4 3 make 7",
        "19 - 9 = 10 : 10 with 4 3 make 7",
        "10 - 3 = 7 : 7 with 4",
    )
    assert world.solved(long, climb)
    missed = (*climb[:1], "17 - 2 = 15 : 15 with 9 4 3 make 7")
    assert world.judge(long, climb[:1], missed[1]).truth == "correct" and not world.alive(long, missed)


def test_dials_out_of_range_are_refused() -> None:
    for dials in (
        {"numbers": (3, 7)},
        {"steps": (6, 7)},
        {"largest": 3},
        {"useless": 1.0},
        {"slips": -0.1},
        {"variant": "x"},
    ):
        with pytest.raises(ValueError, match=next(iter(dials))):
            Countdown(**dials)  # type: ignore[arg-type]


def test_a_dial_of_the_other_variant_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(
        ValueError, match=r"steps: without effect in countdown's short variant.* numbers, largest"
    ):
        make_world("countdown:steps=2")
    with pytest.raises(
        ValueError, match=r"numbers: without effect in countdown's long variant.* steps, largest"
    ):
        make_world("countdown:variant=long,numbers=5")


def test_combine_is_symmetric_only_where_arithmetic_is() -> None:
    assert combine(8, "-", 5) == 3 and combine(5, "-", 8) is None and combine(5, "+", 8) is None
    assert combine(8, "/", 0) is None and combine(99, "+", 1) is None and combine(9, "/", 3) == 3
