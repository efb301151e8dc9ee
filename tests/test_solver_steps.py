"""A solver's own wrong steps as states of the game: where they are, what is drawn there, and a whole run."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from sparring.errors import DataError
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings, GameSettings
from sparring.training.game import rule_rewrites
from sparring.training.game_tasks import SolverTask, load_task
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged

TASK = load_task(GameSettings(rule_kinds=["arithmetic"]))


def solved(problem: Problem, wrong: dict[int, str]) -> Trace:
    """Return the reference solution with some steps replaced, judged."""
    assert problem.solution is not None
    return judged(
        ChainWorld(), Trace(problem, tuple(wrong.get(i, step) for i, step in enumerate(problem.solution)))
    )


def traces() -> list[Trace]:
    found = []
    for problem in generate_problems(6, steps=(3, 4), seed=5):
        other = problem.solution[1].rpartition(" ")[0]
        value = problem.solution[1].rpartition(" ")[2]
        wrong = [f"{other} {(int(value) + shift) % 13}" for shift in (1, 2, 1)]
        found += [solved(problem, {}), *(solved(problem, {1: text}) for text in wrong)]
    return found


def test_a_pit_is_a_correct_prefix_with_the_different_wrong_steps_that_followed_it():
    task = SolverTask(TASK, traces(), share=1.0)
    assert len(task.pits) == 6
    for state in task.draw(random.Random(0), 20):
        assert state.index == 1 and state.step == state.solution[1]
    made = rule_rewrites(task, task.pits, 4, random.Random(1))
    assert [len(group) for group in made.groups] == [2] * 6  # one of the three was written twice
    assert all(item.kind == "solver" and item.truth is False for group in made.groups for item in group)


def test_other_states_come_from_the_task_around():
    task = SolverTask(TASK, traces(), share=0.5)
    states = task.draw(random.Random(0), 400)
    own = [state for state in states if state.problem.id.startswith("chain-5")]
    assert 150 < len(own) < 250
    others = [state for state in states if state not in own]
    made = rule_rewrites(task, others[:20], 2, random.Random(1))
    assert {item.kind for group in made.groups for item in group} == {"arithmetic"}


def test_without_a_reference_another_solution_shows_the_correct_step():
    bare = [replace(trace, problem=replace(trace.problem, solution=None)) for trace in traces()]
    task = SolverTask(TASK, bare, share=1.0)
    assert [state.solution for state in task.pits] == [
        state.solution[:2] for state in SolverTask(TASK, traces(), 1.0).pits
    ]
    wrong_only = [trace for trace in bare if trace.first_error == 1]
    with pytest.raises(DataError, match="first wrong step with a known correct one"):
        SolverTask(TASK, wrong_only, share=1.0)
    left = SolverTask(TASK, [*wrong_only, *traces()[:4]], share=1.0).left_out
    assert sum(left.values()) > 0


def test_the_digest_changes_with_the_steps():
    one, other = traces(), traces()[:-4]
    assert SolverTask(TASK, one, 1.0).digest == SolverTask(TASK, one, 0.5).digest
    assert SolverTask(TASK, one, 1.0).digest != SolverTask(TASK, other, 1.0).digest


def test_a_whole_run_learns_from_them(tiny_folder, tmp_path):
    write_traces(tmp_path / "own.jsonl", traces())
    settings = AprmSettings(
        backbone=str(tiny_folder), solver_steps=str(tmp_path / "own.jsonl"), adversary="rules", updates=2,
        prm_warm_steps=1, states_per_update=4, samples_per_state=2, device="cpu",
    )  # fmt: skip
    assert (train_aprm(settings, tmp_path / "run") / "sparring.json").is_file()
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["rewrites"] <= 8
