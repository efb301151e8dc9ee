"""Another engine writes the adversary's rewrites: with its adapter, one round ahead, and lost without a loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conftest import killed, log_of
from fake_vllm import FakeVllm, vllm  # noqa: F401 - a fixture
from sparring.rollouts.engine import EngineError
from sparring.rollouts.local import LocalEngine
from sparring.training.aprm import play_step, setup, train_aprm
from sparring.training.aprm_settings import AprmSettings

SERVER = {"timeout": 20.0, "retries": 0, "concurrency": 4}


@pytest.fixture
def server(tiny_folder: Path) -> Iterator[FakeVllm]:
    with FakeVllm(tiny_folder) as made:
        yield made


def game(folder: Path, **changes: Any) -> AprmSettings:
    """A game whose adversary changes in every round."""
    usual: dict[str, Any] = {
        "backbone": str(folder), "updates": 4, "prm_warm_steps": 1, "adversary_warm_steps": 1, "states_per_update": 3,
        "samples_per_state": 3, "max_step_tokens": 8, "replayed_states": 1, "checkpoint_every": 2, "adapter": "lora",
        "lora_rank": 4, "adversary_learning_rate": 2e-2, "adversary_entropy": 1.0, "rise_steps": 0, "rise_again": False,
        "device": "cpu", "server": SERVER,
    }  # fmt: skip
    return AprmSettings.model_validate(usual | changes)


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_server_writes_with_every_state_of_the_adapter(tiny_folder, tmp_path, server, staleness):
    settings = game(tiny_folder, sampler=server.url, staleness=staleness, frozen_share=0.34)
    folder = train_aprm(settings, tmp_path / "run")
    assert (folder / "sparring.json").is_file()
    state = server.state
    # One name per state of the weights (the first before the warm starts), each used for sampling and none left behind.
    assert len(state.loads) == len(set(state.loads)) == 1 + settings.updates - staleness
    assert set(state.models) == set(state.loads) and state.requests == {}
    assert not (tmp_path / "run" / "sampler").exists()
    rounds = [record for record in log_of(tmp_path / "run") if record["phase"] == "game"]
    assert [record["rewrites"] for record in rounds] == [
        6.0
    ] * settings.updates  # without those of G as it was
    apart = [record["approx_kl"] for record in rounds]
    assert apart[0] < 1e-6
    assert all(kl < 1e-6 for kl in apart) if staleness == 0 else all(kl > 1e-5 for kl in apart[1:])


def test_vllm_in_this_process_writes_with_the_adapter(vllm, tiny_folder, tmp_path):  # noqa: F811
    settings = game(tiny_folder, sampler=f"vllm:{tiny_folder}", staleness=1)
    train_aprm(settings, tmp_path / "run")
    run = setup(settings, tmp_path / "other")
    engine: Any = run.ahead.engine()
    assert engine._llm.options["max_lora_rank"] == 8 and len(engine._llm.adapters) == 1


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_round_plays_what_the_weights_before_the_last_one_wrote(tiny_folder, tmp_path, adapter):
    """The first round is that of fresh rewrites by each state's own seed, and what comes then is one round old."""
    logs = {}
    for staleness in (0, 1):
        settings = game(tiny_folder, adapter=adapter, staleness=staleness, adversary_seeds="state")
        train_aprm(settings, tmp_path / str(staleness))
        logs[staleness] = [r for r in log_of(tmp_path / str(staleness)) if r["phase"] == "game"]
    fresh, ahead = ({k: v for k, v in logs[kind][0].items() if isinstance(v, float)} for kind in (0, 1))
    assert len(fresh) > 10 and ahead == pytest.approx(fresh, rel=1e-4, abs=1e-6)
    assert logs[1][1] != logs[0][1]
    run = setup(game(tiny_folder, adapter=adapter, staleness=1), tmp_path / "by hand")
    run.step = run.settings.warm_steps
    expected = [[item.ids for item in group] for group in run.ahead.fresh(run.step + 1)]
    play_step(run)
    run.step += 1
    assert [[item.ids for item in group] for group in run.ahead.take(run.step)] == expected


def test_the_same_again_and_after_a_kill(tiny_folder, tmp_path):
    settings = game(tiny_folder, staleness=1, updates=6)
    first = train_aprm(settings, tmp_path / "first")
    fields = settings.model_dump(mode="json", exclude_unset=True)
    words = [f"{name}={json.dumps(value)}" for name, value in fields.items()]
    killed(["train", "aprm", *words, "--out", str(tmp_path / "killed")], 5)
    second = train_aprm(settings, tmp_path / "killed", resume=True)
    assert log_of(tmp_path / "first") == log_of(tmp_path / "killed")
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_an_engine_that_fails_costs_nothing(tiny_folder, tmp_path, monkeypatch):
    settings = game(tiny_folder, staleness=1, checkpoint_every=100)
    train_aprm(settings, tmp_path / "whole")
    sample, calls = LocalEngine.sample, iter(range(100))

    def failing(self: LocalEngine, *arguments: Any, **named: Any) -> Any:
        if next(calls) == 2:
            raise EngineError("out of order")
        return sample(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "sample", failing)
        with pytest.raises(EngineError, match="out of order"):
            train_aprm(settings, tmp_path / "run")
    done = len(log_of(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())["step"] == done == 4
    train_aprm(settings, tmp_path / "run", resume=True)
    whole, run = log_of(tmp_path / "whole"), log_of(tmp_path / "run")
    # What was on its way from older weights is written anew, from the present ones.
    assert len(run) == len(whole) and run[:done] == whole[:done]


def test_a_server_that_is_not_there_is_found_out_before_the_warm_starts(tiny_folder, tmp_path):
    with pytest.raises(EngineError, match=r"nothing usable.*asked for /load_lora_adapter"):
        train_aprm(game(tiny_folder, sampler="http://127.0.0.1:9/v1"), tmp_path)
    assert not log_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adversary": "rules", "staleness": 1}, "rules sample nothing"),
        ({"sampler": "http://localhost:1/v1", "adapter": "full"}, "adapter is full"),
        ({"sampler": "somewhere"}, "vLLM"),
    ],
)
def test_settings_that_do_not_fit(tiny_folder, changes, said):
    with pytest.raises(ValidationError, match=said):
        game(tiny_folder, **changes)
