"""Benchmarks that put something of their own around the package's internals find them there, and see what passes."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import plan_check
import rl_staleness
import serve_load
from speed_rows.stepper import Stepper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they read memory and times from /proc")
SOURCE = Path(__file__).resolve().parents[1] / "src"


@pytest.mark.slow
@pytest.mark.parametrize("job", plan_check.JOBS)
def test_a_plans_check_sees_the_passes_of_every_job(job: str) -> None:
    found = plan_check.measure(job, plan_check.TINY)
    assert found["parts"]["activations"] > 0 and found["estimated_seconds"] > 0 and found["seconds"] > 0
    assert ("logits" in found["parts"]) == job.startswith("aprm")  # of the adversary's passes only


@pytest.mark.slow
def test_updates_are_timed_with_samples_in_time_and_one_update_ahead(
    tmp_path: Path, monkeypatch: Any
) -> None:
    usual, fewer = rl_staleness.settings_of, {"problems_per_update": 2, "samples_per_problem": 2}
    monkeypatch.setattr(rl_staleness, "settings_of", lambda *given: usual(*given).model_copy(update=fewer))
    given = argparse.Namespace(out=tmp_path, updates=4, held_out=2, turns=1)
    rows = rl_staleness.timed(given)
    assert sorted(rows) == ["0", "1"]
    assert all(0 < row["sampling_cpu"] < row["cpu"] for of_arm in rows.values() for row in of_arm)


@pytest.mark.slow
def test_a_stand_in_answers_for_the_served_model(tiny_prm: Path) -> None:
    ((request, steps),) = serve_load.requests_of(plan_check.traces(1), 1)
    options = argparse.Namespace(device="cpu", dtype="float32")

    async def ask(host: str, port: int) -> tuple[int, bytes]:
        client = serve_load.Client(host, port)
        try:
            return await client.ask(request)
        finally:
            client.close()

    with serve_load.served(tiny_prm, options, "--takes", "0") as (_, host, port):
        status, answer = asyncio.run(ask(host, port))
    assert status == 200
    assert json.loads(answer)["results"][0]["scores"] == [0.5] * steps


@pytest.mark.slow
def test_a_step_of_the_game_says_what_the_oracle_took(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "device": "cpu", "prm_warm_steps": 1, "adversary_warm_steps": 0, "updates": 2, "states_per_update": 2,
        "samples_per_state": 2, "place": str(tmp_path / "run"),
    }  # fmt: skip
    game = Stepper(sys.executable, SOURCE, "aprm", settings, tmp_path / "log.txt")
    seconds = [game.step() for _ in range(2)]
    assert game.last["oracle"] > 0 and min(min(one) for one in seconds) > 0
    assert game.close()["peak"] > 0
