"""An engine beside the policy in reinforcement learning: it is given the adapter, watched, and lost without a loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from conftest import log_of
from fake_vllm import FakeVllm, vllm  # noqa: F401 - a fixture
from rl_data import small
from sparring.errors import SettingsError
from sparring.rollouts.engine import EngineError
from sparring.training.rl import play_update, setup, train_rl

SERVER = {"timeout": 20.0, "retries": 0, "concurrency": 4}


@pytest.fixture
def server(tiny_folder: Path) -> Iterator[FakeVllm]:
    with FakeVllm(tiny_folder) as made:
        yield made


def beside(folder: Path, sampler: str, **changes: Any) -> Any:
    lora: dict[str, Any] = {
        "adapter": "lora",
        "lora_rank": 4,
        "learning_rate": 2e-2,
        "rise_updates": 0,
        "max_new_tokens": 20,
    }
    lora |= {"problems_per_update": 2, "samples_per_problem": 2, "watch_problems": 2}
    return small(folder, **(lora | {"sampler": sampler, "server": SERVER} | changes))


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_server_samples_with_every_state_of_the_adapter(tiny_folder, tmp_path, server, staleness):
    settings = beside(tiny_folder, server.url, staleness=staleness, outcome_weight=1.0, entropy=1.0)
    folder = train_rl(settings, tmp_path / "run")
    state = server.state
    assert (folder / "model.safetensors").is_file()
    # One name per state of the weights, each used for sampling and none left behind.
    trained = [record for record in log_of(tmp_path / "run") if record["trained_tokens"]]
    assert len(state.loads) == len(set(state.loads)) == 1 + len(trained) - staleness > 2
    assert set(state.models) == set(state.loads) and state.requests == {}
    assert not (tmp_path / "run" / "sampler").exists()
    apart = [record["sampler_kl"] for record in trained]
    assert trained[0]["step"] == 1 and apart[0] < 1e-6
    assert all(kl < 1e-6 for kl in apart) if staleness == 0 else all(kl > 1e-4 for kl in apart[1:])


def test_vllm_in_this_process_samples_with_the_adapter(vllm, tiny_folder, tmp_path):  # noqa: F811
    settings = beside(tiny_folder, f"vllm:{tiny_folder}", staleness=1)
    train_rl(settings, tmp_path / "run")
    run = setup(settings, tmp_path / "other")
    run.sampler.in_step()
    engine: Any = run.sampler.engine
    assert engine._llm.options["max_lora_rank"] == 8 and len(engine._llm.adapters) == 1
    play_update(run)
    run.sampler.in_step()
    assert len(engine._llm.adapters) == 1


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_server_that_dies_in_an_update_costs_nothing(tiny_folder, tmp_path, server, staleness):
    settings = beside(
        tiny_folder, server.url, staleness=staleness, checkpoint_every=9, updates=3, watch_every=3
    )
    train_rl(settings, tmp_path / "undisturbed")
    server.state.break_after, server.state.models[:] = len(server.state.models) // 2, []
    with pytest.raises(EngineError, match=f"server at {server.url} gave nothing usable"):
        train_rl(settings, tmp_path / "run")
    done = len(log_of(tmp_path / "run"))
    assert 0 < done < settings.updates
    values = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert values["step"] == done  # all that was finished is kept, though no checkpoint was due
    again = FakeVllm(tiny_folder)  # restarted elsewhere, without adapters
    try:
        train_rl(settings.model_copy(update={"sampler": again.url}), tmp_path / "run", resume=True)
    finally:
        again.shutdown()
        again.server_close()
    for name in ("log", "watch"):
        run, undisturbed = log_of(tmp_path / "run", name), log_of(tmp_path / "undisturbed", name)
        # What was on its way from older weights is sampled anew, from the present ones.
        same = len(run) if staleness == 0 else done if name == "log" else 1
        assert len(run) == len(undisturbed) and run[:same] == undisturbed[:same]


def test_a_server_that_takes_no_adapters_is_refused_with_what_to_do(tiny_folder, tmp_path, server):
    server.state.runtime_updating = False
    with pytest.raises(
        EngineError, match=r"status 404.*load_lora_adapter.; is it vLLM, started with --enable-lora"
    ):
        train_rl(beside(tiny_folder, server.url), tmp_path)


def test_an_adapter_that_the_server_cannot_load_is_named(tiny_folder, tmp_path, server):
    with pytest.raises(EngineError, match="LoRA rank 32 is greater than max_lora_rank 16"):
        train_rl(beside(tiny_folder, server.url, lora_rank=32), tmp_path)
    server.state.llm.options["max_lora_rank"] = 64
    run = setup(beside(tiny_folder, server.url, lora_rank=32), tmp_path / "other")
    run.sampler.in_step()  # a refused adapter is not taken for a loaded one


def test_other_weights_than_those_that_were_given_are_noticed(tiny_folder, tmp_path, server):
    def spoil(model: Any) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    torch.manual_seed(0)
    server.state.spoil = spoil
    with pytest.raises(
        EngineError, match=r"samples from other weights than it was given: .* differ by .* on average"
    ):
        train_rl(beside(tiny_folder, server.url), tmp_path / "run")
    # Not left there to be found by the next run
    assert len(server.state.loads) == 1 and server.state.requests == {}


def test_a_killed_run_finds_its_adapter_again(tiny_folder, tmp_path, server):
    run = setup(beside(tiny_folder, server.url), tmp_path / "run")
    run.sampler.in_step()
    [name] = server.state.loads
    again = setup(beside(tiny_folder, server.url), tmp_path / "run")
    again.sampler.in_step()  # already loaded, and its name says that it is this one
    assert server.state.loads == [name]


@pytest.mark.parametrize("ends", ["trains", "closes"])
def test_adapters_of_a_killed_run_are_dropped_at_the_server(tiny_folder, tmp_path, server, ends):
    settings = beside(tiny_folder, server.url, outcome_weight=1.0, entropy=1.0)
    run = setup(settings, tmp_path / "run")
    run.sampler.in_step()
    play_update(run)
    run.sampler.in_step()  # and is killed here
    [old] = server.state.requests
    assert old == server.state.loads[-1] != server.state.loads[0]
    again = setup(settings, tmp_path / "run")
    if ends == "trains":
        again.sampler.in_step()  # the weights of the start, as after a resume from an older checkpoint
        assert list(server.state.requests) == [server.state.loads[0]]
        assert [one.name for one in (tmp_path / "run" / "sampler").iterdir()] == list(server.state.requests)
    again.sampler.close()
    assert not server.state.requests and not (tmp_path / "run" / "sampler").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": "full"}, "set adapter=lora"),
        ({"sampler": "models/policy"}, "address of a vLLM server"),
        ({"staleness": 2}, "staleness"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tiny_folder, changes, told):
    with pytest.raises(ValidationError, match=told):
        small(tiny_folder, **({"adapter": "lora", "sampler": "http://localhost:1/v1"} | changes))


def test_a_key_that_is_not_set_is_named(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    settings = beside(tiny_folder, "http://localhost:1/v1", server=SERVER | {"key_variable": "NO_SUCH_KEY"})
    with pytest.raises(SettingsError, match="NO_SUCH_KEY"):
        setup(settings, tmp_path)
