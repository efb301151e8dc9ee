"""The simulated pool: exact where it can be, bounded where not; the page of plans is what the command prints."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from page_outputs import WIDTH, matches, sessions
from sparring.__main__ import app
from sparring.errors import SettingsError
from sparring.planning.command import plan
from sparring.planning.settings import PlanSettings
from sparring.planning.simulation import Pool, lengths_of, simulate

ROOT = Path(__file__).parents[1]


def seconds(lengths: list[float], pool: Pool, seed: int = 0) -> float:
    return simulate(lengths, pool, random.Random(seed)).seconds


def test_what_can_be_reckoned_by_hand_comes_out_exactly() -> None:
    assert seconds([1.0, 2.0, 3.0], Pool(engines=1)) == pytest.approx(6)
    assert seconds([1.0] * 9, Pool(engines=4)) == pytest.approx(3)
    assert seconds([3.0, 1.0, 1.0, 1.0], Pool(engines=2)) == pytest.approx(3)
    # two at once on one engine, each as slow as it is alone, or half as fast
    assert seconds([2.0, 2.0], Pool(engines=1, slots=2)) == pytest.approx(2)
    assert seconds([2.0, 2.0], Pool(engines=1, slots=2, step=float)) == pytest.approx(4)
    # the longer one has the engine for itself when the other is done: 2 + 2·1 + 1
    assert seconds([1.0, 3.0], Pool(engines=1, slots=2, step=float)) == pytest.approx(4)
    # results leave in order, and only two are read ahead: the second engine waits for the first one's long task
    assert seconds([4.0, 1.0, 1.0, 1.0], Pool(engines=2, window=2)) == pytest.approx(5)
    assert seconds([4.0, 1.0, 1.0, 1.0], Pool(engines=2, window=3)) == pytest.approx(5)
    assert seconds([4.0, 1.0, 1.0, 1.0], Pool(engines=2)) == pytest.approx(4)
    # a task that was given to a busy engine waits there, though the other has become idle
    assert seconds([5.0, 1.0, 1.0], Pool(engines=2, ahead=1)) == pytest.approx(6)
    # one processor judges, two seconds each
    assert seconds([1.0, 1.0], Pool(engines=2, oracle_seconds=2, oracle_processors=1)) == pytest.approx(5)
    assert seconds([1.0, 1.0], Pool(engines=2, oracle_seconds=2, oracle_processors=2)) == pytest.approx(3)
    assert seconds([1.0, 1.0], Pool(engines=2, slow_share=1, slow_factor=1.5)) == pytest.approx(1.5)
    assert seconds([], Pool(engines=2)) == 0


@given(
    lengths=st.lists(st.floats(0.01, 100), min_size=1, max_size=60),
    engines=st.integers(1, 6),
    slots=st.integers(1, 4),
    ahead=st.integers(0, 2),
    window=st.integers(0, 40),
    failing=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=80)
def test_no_task_is_lost_and_nobody_works_faster_than_possible(
    lengths: list[float], engines: int, slots: int, ahead: int, window: int, failing: bool, seed: int
) -> None:
    between = 20 * max(lengths) if failing else 0.0
    pool = Pool(engines, slots, ahead, window, start=1.0, between_failures=between)
    found = simulate(lengths, pool, random.Random(seed))
    assert len(found.done) == len(lengths)
    assert found.done == sorted(found.done) and found.done[-1] == found.seconds
    assert found.seconds >= max(max(lengths), sum(lengths) / (engines * slots)) * 0.999
    assert 0 <= found.busy <= 1.001
    if not failing:
        assert found.failures == 0
        assert found.busy * found.seconds * engines * slots == pytest.approx(sum(lengths), rel=1e-6)
        assert found.seconds <= sum(lengths) * 1.001
    assert found == simulate(lengths, pool, random.Random(seed))


def test_failures_make_it_longer_and_come_as_often_as_they_should() -> None:
    lengths = [1.0] * 400
    runs = [simulate(lengths, Pool(4, start=2, between_failures=20), random.Random(run)) for run in range(40)]
    assert statistics.mean(run.seconds for run in runs) > 105
    expected = statistics.mean(run.seconds for run in runs) * 4 / 20
    assert statistics.mean(run.failures for run in runs) == pytest.approx(expected, rel=0.15)


def test_failures_that_outrun_the_work_are_refused_in_one_line() -> None:
    with pytest.raises(SettingsError, match="failures outrun the work") as caught:
        simulate([1.0] * 50, Pool(2, start=100, between_failures=1), random.Random(0))
    assert "\n" not in str(caught.value)
    for job in ("label", "prm"):
        with pytest.raises(SettingsError, match="gpu_hours_between_failures"):
            simulated(job, gpu_hours_between_failures=0.01)


def test_lengths_have_the_mean_that_was_asked_for() -> None:
    found = lengths_of(20_000, 100, 0.6, 1e9, random.Random(0))
    assert statistics.mean(found) == pytest.approx(100, rel=0.03)
    assert max(lengths_of(1000, 100, 0.6, 200, random.Random(0))) == 200
    assert lengths_of(3, 100, 0, 200, random.Random(0)) == pytest.approx([100] * 3)


@pytest.mark.parametrize("spread", [0.1, 0.6, 1.2, 2.0])
def test_the_cut_does_not_lower_the_mean(spread: float) -> None:
    found = lengths_of(40_000, 100, spread, 200, random.Random(0))
    assert max(found) <= 200
    assert statistics.mean(found) == pytest.approx(100, rel=0.015)


def simulated(job: Any, **given: Any) -> tuple[float, float]:
    """Seconds of the stages, and of the simulation."""
    words: dict[str, Any] = {"gpus": "8xH100", "simulations": 1, "slow_share": 0.0, "problems": 500} | given
    found = plan("Qwen2.5-7B", PlanSettings(job=job, **words), simulated=True)
    [line] = [line for line in found.lines if line.name == "until the last is done"]
    return found.seconds, line.value


def test_without_misfortune_it_takes_what_the_stages_say_and_with_it_longer() -> None:
    for job in ("prm", "score", "aprm"):
        stages, took = simulated(job, length_spread=0.0)
        assert took == pytest.approx(stages, rel=0.02), job
    stages, took = simulated("rl", length_spread=0.6)
    assert took > 1.3 * stages  # every update waits for its longest answer
    _, overlapped = simulated("rl", length_spread=0.6, staleness=1)
    assert overlapped < took
    _, slow = simulated("score", slow_share=1.0, slow_factor=2.0, length_spread=0.0)
    assert slow == pytest.approx(2 * simulated("score", length_spread=0.0)[1], rel=0.02)


@pytest.mark.parametrize("gpus", ["4xH100", "64xH100"])
def test_the_simulated_engines_have_no_more_than_their_share_of_the_oracle(gpus: str) -> None:
    job = PlanSettings(
        job="label", gpus=gpus, problems=20_000, oracle_processors=1, oracle_seconds=0.01, simulations=1
    )
    found = {line.name: line.value for line in plan("Qwen2.5-7B", job, simulated=True).lines}
    assert found["until the last is done"] == pytest.approx(found["oracle"], rel=0.02)


SHOWN = [
    pytest.param(one, id=one.command[:70])
    for body in sessions((ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"))
    for one in body
]


@pytest.mark.parametrize("one", SHOWN)
def test_the_page_shows_what_the_command_prints(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python scripts/page_outputs.py docs/scaling.md --write` brings the page up to date."""
    monkeypatch.setenv("COLUMNS", WIDTH)
    words = one.command.split()
    output = CliRunner().invoke(app, words[1:]).output
    lines = [line.rstrip() for line in output.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    assert matches(one.output, lines)
