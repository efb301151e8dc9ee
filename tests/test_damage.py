"""Runs that were broken off record what an unbroken one does; damaged ones are refused in a line, or end the same."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from damage import RUBBISH, Prepared, comparable, prepared, runs, stopped, trials
from sparring.errors import CheckpointError, DataError, SettingsError, SparringError
from sparring.models.checkpoint import write_model
from sparring.training.part import DivergedError, Divergence
from sparring.training.states import load_state, save_state

COMMANDS = ("train aprm", "train prm", "train rl", "label", "score", "eval processbench")


@pytest.fixture(scope="module")
def made(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """Give a command's runs, made once."""
    folder = tmp_path_factory.mktemp("made")
    known = runs(folder, tiny_folder)
    return functools.cache(lambda command: prepared(known[command], folder / command))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_broken_off_twice_leaves_the_files_of_an_unbroken_one(made, tmp_path, command):
    one = made(command)
    shutil.copytree(one.unfinished, tmp_path / "broken")
    stopped(one.run, tmp_path / "broken", 0)
    one.run.make(tmp_path / "broken", None)
    found = comparable(tmp_path / "broken")
    assert found.keys() == one.expected.keys()
    assert not [name for name in found if found[name] != one.expected[name]]
    text = b"".join(path.read_bytes() for path in (tmp_path / "broken").rglob("*.json*"))
    assert str(tmp_path).encode() not in text


@pytest.mark.parametrize("state", ["unfinished", "finished"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_run_is_refused_or_ends_the_same(made, tmp_path, command, state):
    one = made(command)
    for file, how, came in trials(one, getattr(one, state), tmp_path / "trial", 3, command):
        assert came in ("refused", "the same"), f"{file}: {how}"


@pytest.fixture(scope="module")
def unfinished(made) -> Path:
    return made("train prm").unfinished


def test_best_weights_of_another_update_are_refused(made, tmp_path):
    one = made("train prm")
    shutil.copytree(one.unfinished, tmp_path / "run")
    tensors, values = load_state(tmp_path / "run" / "best")
    save_state(tmp_path / "run" / "best", tensors, values | {"step": 0})
    with pytest.raises(CheckpointError, match="does not hold the weights of update"):
        one.run.make(tmp_path / "run", None)


@pytest.mark.parametrize("name", RUBBISH)
def test_a_state_that_is_something_else_is_refused_by_its_name(unfinished, tmp_path, name):
    for file in ("state.json", "state.safetensors"):
        folder = tmp_path / file
        folder.mkdir()
        for path in (unfinished / "checkpoint").iterdir():
            (folder / path.name).write_bytes(RUBBISH[name] if path.name == file else path.read_bytes())
        with pytest.raises(CheckpointError, match=rf"{file}' .*start anew in another --out"):
            load_state(folder)


@pytest.mark.parametrize("key", ["step", "best_loss", "settings", "digest", "kind", "logs", "tensors_digest"])
@pytest.mark.parametrize("value", [1_000_000, None, "x", [], {}])
def test_no_value_of_a_state_can_be_changed(unfinished, tmp_path, key, value):
    for path in (unfinished / "checkpoint").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(CheckpointError, match="was changed since it was written"):
        load_state(tmp_path)
    del content[key]
    (tmp_path / "state.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="was changed since it was written"):
        load_state(tmp_path)


def _drop(group):
    return lambda tensors, values: tensors.pop(group)


def _tensor(change):
    def edit(tensors, values):
        name = sorted(tensors["model"])[0]
        tensors["model"][name] = change(tensors["model"][name])

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_drop("model"), "is missing"),
        (lambda tensors, values: tensors["model"].pop(sorted(tensors["model"])[0]), "is missing"),
        (lambda tensors, values: tensors["model"].update(x=torch.zeros(1)), "'x' is not one of this model"),
        (lambda tensors, values: tensors["model_optimizer"].popitem(), "the optimiser's tensors of model"),
        (
            lambda tensors, values: tensors["model_optimizer"].update({"x/step": torch.zeros(())}),
            "of model 'x'",
        ),
        (_tensor(lambda tensor: tensor[None]), r"is \(1, "),
        (_tensor(lambda tensor: tensor.double()), "float64"),
        (_tensor(lambda tensor: tensor * float("nan")), "not finite"),
        (lambda tensors, values: values.pop("best_step"), "not of this kind of run"),
        (lambda tensors, values: values.pop("logs"), "not of this kind of run"),
        (lambda tensors, values: values.update(settings=3), "not of this kind of run"),
        (lambda tensors, values: values["logs"]["log.jsonl"].update(bytes=10**6), r"log\.jsonl' ends after"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(made, unfinished, tmp_path, edit, words):
    shutil.copytree(unfinished, tmp_path / "run")
    tensors, values = load_state(unfinished / "checkpoint")
    edit(tensors, values)
    save_state(tmp_path / "run" / "checkpoint", tensors, values)
    with pytest.raises(CheckpointError, match=words):
        made("train prm").run.make(tmp_path / "run", None)


def test_a_run_whose_log_is_gone_is_still_one(made, unfinished, tmp_path, tiny_folder):
    from sparring.training.supervised import train_supervised
    from supervised_data import data_file, quick

    shutil.copytree(unfinished, tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"log\.jsonl' ends after 0 of"):
        made("train prm").run.make(tmp_path / "run", None)
    with pytest.raises(SettingsError, match="already holds a run"):
        train_supervised(quick("prm", tiny_folder, data_file(tmp_path)), tmp_path / "run")


# --- divergence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rate"), [("prm", 1e6), ("orm", 1e5), ("value", 100.0)])
def test_supervised_training_says_when_it_has_diverged(tiny_folder, tmp_path, kind, rate):
    from sparring.training.supervised import train_supervised
    from supervised_data import data_file, quick

    settings = quick(kind, tiny_folder, data_file(tmp_path), learning_rate=rate, epochs=1, warmup_share=0.0)
    with pytest.raises(DivergedError, match=r"has diverged at update [12]: .*Nothing was exported"):
        train_supervised(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists() and not (tmp_path / "run" / "checkpoint").exists()


def test_the_other_trainers_say_it_too(tiny_folder, tmp_path):
    import rl_data
    from sparring.evaluation.attack import AttackSettings, attack
    from sparring.models.scorer import load_scorer
    from sparring.training.aprm import AprmSettings, train_aprm
    from sparring.training.chain_policy import ChainPolicySettings, train_chain_policy
    from sparring.training.game_tasks import load_task
    from sparring.training.rl import train_rl

    game = {"backbone": str(tiny_folder), "states_per_update": 2, "samples_per_state": 2, "device": "cpu"}
    aprm = {**game, "prm_warm_steps": 1, "adversary_warm_steps": 1, "updates": 1, "rise_steps": 0}
    prm = rl_data.random_prm(tiny_folder, tmp_path / "prm")
    attacked = AttackSettings.model_validate(
        {**game, "warm_steps": 2, "updates": 1, "evaluation_states": 2, "adversary_learning_rate": 1e6}
    )
    chain = {
        "problems": 64,
        "learning_rate": 1e6,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "detection_problems": 0,
    }

    def aprm_with(**changes: float) -> object:
        return train_aprm(
            AprmSettings.model_validate(aprm | changes), tmp_path / f"aprm{len(changes)}{list(changes)}"
        )

    for what, work in {
        "prm": lambda: aprm_with(prm_learning_rate=1e6),
        "adversary": lambda: aprm_with(adversary_learning_rate=1e6),
        "policy": lambda: train_rl(
            rl_data.small(tiny_folder, learning_rate=1e6, rise_updates=0), tmp_path / "rl"
        ),
        "adversary ": lambda: attack(
            load_scorer(prm), load_task(attacked), attacked, tmp_path / "attack.jsonl"
        ),
        "policy ": lambda: train_chain_policy(ChainPolicySettings.model_validate(chain), tmp_path / "chain"),
    }.items():
        with pytest.raises(DivergedError, match=f"training of the {what.strip()} has diverged"):
            work()
    assert {path.parent.name for path in tmp_path.rglob("*.safetensors")} == {"prm"}


def test_weights_may_grow_in_reason_and_must_stay_finite(tmp_path):
    weight = torch.nn.Parameter(torch.full((50,), 0.1))
    guard = Divergence("model", [weight])
    still = torch.optim.SGD([weight], lr=0.0)
    for factor in (1.0, 30.0, -90.0):
        weight.data.fill_(0.1 * factor)
        guard.step(still, 1, 1.0)
    for value in (20.0, 1e6, float("inf"), float("nan")):
        weight.data[3] = value * 50
        with pytest.raises(DivergedError):
            guard.step(still, 1, 1.0)
    weight.data.fill_(0.1)
    for norm in (float("nan"), float("inf")):
        with pytest.raises(DivergedError, match="update 7"):
            guard.step(still, 7, norm)
    weight.grad = torch.ones(50)
    with pytest.raises(DivergedError, match="larger than any number"):
        guard.step(torch.optim.Adam([weight], lr=1e38), 1, 1.0)
    model = torch.nn.Linear(2, 2)
    model.weight.data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="'weight' are not finite"):
        write_model(tmp_path / "x", model, None, "")
    assert not (tmp_path / "x").exists()
    assert issubclass(DivergedError, SparringError) and issubclass(DataError, SparringError)
