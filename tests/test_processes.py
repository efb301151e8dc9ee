"""Training in two processes gives the numbers of one; a run goes on with another number of them, and ends when one dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from processes_worker import do
from rl_data import random_prm
from sparring.models.scorer import load_scorer
from sparring.training import processes
from supervised_data import data_file, separable_traces

TIMED = {"seconds", "cpu_seconds", "tokens_per_second", "rollout_wait_seconds"}
# Sums of floats in another order, and what Adam makes of it over some updates
CLOSE = {
    "rel": 2e-3,
    "abs": 2e-5,
}


# --- shares ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 9))
def test_every_item_has_one_process_and_none_has_far_more_to_do(costs, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "process_count", lambda: count)
        dealt = processes.shares(costs)
    assert sorted(index for indices in dealt for index in indices) == list(range(len(costs)))
    loads = [sum(costs[index] for index in indices) for indices in dealt]
    assert max(loads) - min(loads) <= max(costs, default=0.0) + 1e-6
    assert all(indices == sorted(indices) for indices in dealt)


def test_one_process_has_everything_and_changes_nothing():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    processes.sum_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]
    assert processes.spread([3, 1, 2], lambda own: [2 * each for each in own]) == [6, 2, 4]
    assert processes.share([5.0, 1.0]) == [0, 1] and processes.summed({"a": 1}) == {"a": 1}


# --- five commands in two processes ----------------------------------------------------------------------------------


def jobs(base: Path, model: Path) -> dict[str, dict]:
    """Return every job by name: a command and its settings."""
    supervised = {
        "data": str(data_file(base, separable_traces(20))), "backbone": str(model),
        "learning_rate": 3e-3, "batch_traces": 7, "epochs": 1,
        "validation_share": 0.25, "evaluate_every": 3, "checkpoint_every": 2, "lora_rank": 4, "device": "cpu", "seed": 3,
    }  # fmt: skip
    rl = {
        "policy": str(model), "prm": str(random_prm(model, base / "prm")), "credit": "step_sum", "updates": 2,
        "problems_per_update": 3, "samples_per_problem": 3, "max_new_tokens": 12, "watch_problems": 4, "watch_every": 2,
        "checkpoint_every": 1, "minibatches": 2, "baseline": "value", "device": "cpu", "seed": 5,
    }  # fmt: skip
    aprm = {
        "backbone": str(model), "updates": 2, "states_per_update": 5, "samples_per_state": 2, "prm_warm_steps": 1,
        "adversary_warm_steps": 1, "max_step_tokens": 12, "replayed_states": 3, "states_per_pass": 2, "lora_rank": 4,
        "adapter": "lora", "checkpoint_every": 2, "snapshot_every": 2, "device": "cpu", "seed": 5,
    }  # fmt: skip
    short = {"updates": 1, "adversary_warm_steps": 0, "samples_per_state": 3}
    sampled = {"adversary_seeds": "state", "prm_objective": "sampled", "prm_epochs": 2, "frozen_share": 0.4}
    free = {"adapter": "lora", "labels": "outcome", "outcome_noise": "none", "class_balance": "weights"}
    progress = {
        "credit": "progress", "baseline": "group", "prover_rollouts": 2, "updates": 1, "minibatches": 2, "epochs": 2,
        "adapter": "lora", "lora_rank": 4, "tokens_per_pass": 64,
    }  # fmt: skip
    ahead = {"staleness": 1, "adapter": "lora", "baseline": "group", "updates": 3}
    return {
        "prm": {"command": "prm", "settings": supervised | free},
        "orm": {"command": "orm", "settings": supervised},
        "value": {"command": "value", "settings": supervised},
        "rl": {"command": "rl", "settings": rl},
        "prover": {"command": "rl", "settings": {k: v for k, v in rl.items() if k != "prm"} | progress},
        "ahead": {"command": "rl", "settings": rl | ahead},
        "aprm": {"command": "aprm", "settings": aprm},
        "sampled": {"command": "aprm", "settings": aprm | short | sampled},
    }


# Stopped after this update, and gone on with by another number of processes.
RESUMED = {"value": 3, "rl": 2, "ahead": 2, "aprm": 3}
SHARED = ("prm", "prover", "sampled")  # also with the frozen backbone shared among the two processes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Run all jobs in one process and in two, and those of `RESUMED` partly in one and partly in two."""
    base = tmp_path_factory.mktemp("processes")
    every = jobs(base, tiny_folder)
    for name, job in every.items():
        do({**job, "out": str(base / "one" / name)})
    for name, stop in RESUMED.items():
        do({**every[name], "out": str(base / "one-two" / name), "stop": stop})
    lines = [{**job, "out": str(base / "two" / name)} for name, job in every.items()]
    lines += [{**every[name], "out": str(base / "one-two" / name), "resume": True} for name in RESUMED]
    lines += [
        {**every[name], "out": str(base / "two-one" / name), "stop": stop} for name, stop in RESUMED.items()
    ]
    lines += [{**every[name], "out": str(base / "shared" / name), "shared": True} for name in SHARED]
    lines += [{**every["aprm"], "out": str(base / "shared-one" / "aprm"), "shared": True, "stop": 3}]
    file = base / "jobs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "processes_worker.py"), str(file)],
            env=os.environ
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
            | {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)},
            stderr=(base / f"errors{rank}").open("w"),
        )
        for rank in range(2)
    ]
    ended = [process.wait(timeout=1200) for process in started]
    assert ended == [0, 0], (base / "errors0").read_text()[-3000:] + (base / "errors1").read_text()[-3000:]
    for name in RESUMED:
        do({**every[name], "out": str(base / "two-one" / name), "resume": True})
    do({**every["aprm"], "out": str(base / "shared-one" / "aprm"), "resume": True})
    return base


def same(one: Path, other: Path) -> None:
    """Check that two runs have the same logs, metrics and weights, up to the order of sums of floats."""
    for log in sorted(one.glob("*.jsonl")):
        rows = [
            [
                {k: v for k, v in json.loads(line).items() if k not in TIMED}
                for line in file.read_text().splitlines()
            ]
            for file in (log, other / log.name)
        ]
        assert len(rows[0]) == len(rows[1])
        for mine, theirs in zip(*rows, strict=True):
            assert_close(mine, theirs, log.name)
    written = [json.loads((folder / "metrics.json").read_text())["metrics"] for folder in (one, other)]
    for metrics in written:
        for timed in [name for name in metrics if name.endswith(("seconds", "per_second", "memory"))]:
            del metrics[timed]
    assert_close(*written, "metrics")
    for folder in ("model", "policy", "prm"):
        if (one / folder).is_dir():
            mine, theirs = (load_file(run / folder / "model.safetensors") for run in (one, other))
            assert mine.keys() == theirs.keys()
            for name, tensor in mine.items():
                torch.testing.assert_close(
                    theirs[name], tensor, rtol=1e-2, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
                )


def assert_close(mine: object, theirs: object, where: str) -> None:
    """Check that JSON values are equal, floats nearly."""
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), where
        for key, value in mine.items():
            assert_close(value, theirs[key], f"{where}: {key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), where
        for one, other in zip(mine, theirs, strict=True):
            assert_close(one, other, where)
    elif isinstance(mine, float) and isinstance(theirs, float):
        counted = any(name in where for name in ("auc", "accuracy", "ece"))  # one case more or less on a side
        assert theirs == pytest.approx(mine, **(CLOSE | {"abs": 0.02} if counted else CLOSE)), where
    else:
        assert mine == theirs, where


@pytest.mark.parametrize("name", ["prm", "orm", "value", "rl", "prover", "ahead", "aprm", "sampled"])
def test_two_processes_give_the_numbers_of_one(runs, name):
    same(runs / "one" / name, runs / "two" / name)
    assert not list((runs / "two" / name).rglob(".lock"))


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("way", ["one-two", "two-one"])
def test_a_run_goes_on_with_another_number_of_processes(runs, name, way):
    same(runs / "one" / name, runs / way / name)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_backbone_gives_the_numbers_of_a_whole_one(runs, name):
    same(runs / "one" / name, runs / "shared" / name)


def test_what_was_written_with_a_shared_backbone_is_read_by_one_process(runs):
    same(runs / "one" / "aprm", runs / "shared-one" / "aprm")
    one, other = (load_scorer(runs / way / "prm" / "model") for way in ("one", "shared"))
    traces = separable_traces(4)
    for mine, theirs in zip(one.score(traces), other.score(traces), strict=True):
        assert theirs == pytest.approx(mine, abs=1e-4)


# --- one process ends ------------------------------------------------------------------------------------------------


def words(settings: dict[str, object]) -> list[str]:
    """Return settings as words of the command line."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def own_lines(text: str) -> list[str]:
    """Return the lines that are Sparring's, not the launcher's."""
    return [line for line in text.splitlines() if line.startswith("error:") or "--resume" in line]


def test_a_killed_process_ends_the_run_in_one_line_and_it_goes_on_to_the_same_result(tiny_folder, tmp_path):
    settings = jobs(tmp_path, tiny_folder)["prm"]["settings"] | {"epochs": 3}
    do({"command": "prm", "settings": settings, "out": str(tmp_path / "whole")})
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    program = [str(Path(__file__).parent / "killed_at.py"), "sparring.training.run:TrainingRun.log", "5"]
    command = ["train", "prm", *words(settings), "--out", str(out)]
    done = subprocess.run(
        [*launch, "--main_process_port", "0", *program, *command],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "KILLED_RANK": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    said = own_lines(done.stderr)
    assert len(said) == 1 and "--resume" in said[0], done.stderr
    assert not (out / "model").exists()
    do({"command": "prm", "settings": settings, "out": str(out), "resume": True})
    same(tmp_path / "whole", out)


def test_an_error_that_all_processes_meet_is_told_once(tiny_folder, tmp_path):
    settings = jobs(tmp_path, tiny_folder)["prm"]["settings"] | {"data": str(tmp_path / "none.jsonl")}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "sparring", "train", "prm", *words(settings), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *command], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert len(own_lines(done.stderr)) == 1 and "none.jsonl" in own_lines(done.stderr)[0], done.stderr
