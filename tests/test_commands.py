"""Whole commands on a two-layer model, as a user would call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from sparring.__main__ import COMMANDS, app
from sparring.errors import SettingsError, SparringError
from sparring.models import TINY_POLICY
from sparring.models.loading import resolve_model
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Trace
from sparring.worlds.chain import generate_problems


def sparring(*arguments: str | Path, status: int = 0) -> Result:
    """Run a command as a user would, in this process; the demo, which starts processes, and one more run in their own."""
    with mock.patch.dict(os.environ, {"COLUMNS": "200"}):
        done = CliRunner().invoke(app, [str(word) for word in arguments])
    if status:
        assert isinstance(done.exception, SparringError), done.exception
    else:
        assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done


def in_its_own_process(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sparring", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )
    assert done.returncode == status, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def metrics_of(folder: Path) -> dict[str, dict]:
    written = json.loads((folder / "metrics.json").read_text())
    assert written["settings"] and written["versions"]["torch"] and written["machine"]["cpus"]
    assert {"value", "low", "high", "n", "unit"} == set().union(*written["metrics"].values())
    return written["metrics"]


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM folder made by the command itself."""
    out = tmp_path_factory.mktemp("trained") / "run"
    sparring(
        "train", "aprm", f"backbone={tiny_folder}", "updates=2", "prm_warm_steps=2", "adversary_warm_steps=2",
        "states_per_update=4", "device=cpu", "--out", out,
    )  # fmt: skip
    return out / "prm"


@pytest.mark.parametrize(
    "command", [("attack", "PRM"), ("label", "problems=1"), ("search", "n=[1]", "prm=PRM")]
)
def test_no_evaluation_takes_the_place_of_a_training(prm: Path, command: tuple[str, ...]) -> None:
    before = (prm.parent / "metrics.json").read_bytes()
    words = [word.replace("PRM", str(prm)) for word in command]
    refused = sparring(*words, "--out", prm.parent, status=2)
    assert "holds a finished training, which this would replace: choose another --out" in str(
        refused.exception
    )
    assert (prm.parent / "metrics.json").read_bytes() == before


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    problems = generate_problems(6, steps=(3, 5), seed=5)
    rows = [
        Trace(problem, problem.solution, labels=(1.0,) * len(problem.solution)) for problem in problems[:3]
    ]
    rows += [Trace(p, p.solution[:3], labels=(1.0, 0.0, None)) for p in problems[3:]]
    write_traces(tmp_path / "traces.jsonl", rows)
    return tmp_path / "traces.jsonl"


def test_score(prm, traces, tmp_path):
    done = sparring("score", prm, traces, "--out", tmp_path / "scores.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").open()]
    lengths = [len(json.loads(line)["steps"]) for line in traces.open()]
    assert [len(row["scores"]) for row in rows] == lengths
    assert "6 traces" in done.stdout


def test_eval_processbench_with_a_model_and_with_its_scores_agree(prm, traces, tmp_path):
    sparring("eval", "processbench", traces, "--model", prm, "--out", tmp_path / "a")
    sparring("score", prm, traces, "--out", tmp_path / "scores.jsonl")
    sparring("eval", "processbench", traces, "--scores", tmp_path / "scores.jsonl", "--out", tmp_path / "b")
    a, b = metrics_of(tmp_path / "a"), metrics_of(tmp_path / "b")
    assert a == b and a["processbench.traces.f1"]["n"] == 6


def test_attack(prm, tiny_folder, tmp_path):
    done = sparring(
        "attack", prm, f"backbone={tiny_folder}", "warm_steps=2", "updates=2", "states_per_update=4", "evaluation_states=8",
        "device=cpu", "--out", tmp_path / "attack",
    )  # fmt: skip
    metrics = metrics_of(tmp_path / "attack")
    for adversary in ("rules", "frozen", "trained"):
        assert f"attack.{adversary}.fool_rate" in metrics
    assert metrics["attack.rules.fool_rate"]["n"] == 8
    assert len((tmp_path / "attack" / "attack.jsonl").read_text().splitlines()) == 2
    cases = [json.loads(line) for line in (tmp_path / "attack" / "cases.jsonl").open()]
    assert {case["adversary"] for case in cases} == {"rules", "frozen", "trained"}
    assert all(case["truth"] == "wrong" for case in cases if case["adversary"] == "rules")
    assert "rules" in done.stdout and "accepted" in done.stdout


def test_demo(tiny_folder, tmp_path):
    sizes = [
        f"policy={tiny_folder}", "prm_warm_steps=2", "adversary_warm_steps=2", "updates=5", "states_per_update=4",
        "attack_updates=2", "problems=6", "best_of_n=3",
    ]  # fmt: skip
    out = tmp_path / "demo"
    done = in_its_own_process("demo", *sizes, "--out", out)
    assert str(out / "report.html") in done.stdout
    page = (out / "report.html").read_text()
    assert '<img class="picture"' in page and "exploitability" in page.lower()
    metrics = metrics_of(out)
    for split in ("in_distribution", "longer"):
        for method in (
            "greedy",
            "random",
            "majority",
            "rules_prm",
            "frozen_prm",
            "aprm",
            "ceiling",
            "oracle",
        ):
            assert metrics[f"best_of_n.{split}.{method}.accuracy"]["n"] == 6
        assert f"step_error.{split}.aprm.f1" in metrics
    assert {f"attack.{m}.trained.fool_rate" for m in ("rules_prm", "frozen_prm", "aprm")} <= metrics.keys()
    # The rules know one kind, in the trainings and in the attacks; what is accepted is counted for all six.
    assert json.loads((out / "frozen_prm" / "metrics.json").read_text())["settings"]["rule_kinds"] == [
        "arithmetic"
    ]
    known = metrics["kinds.rules_prm.known.accepted"]["n"]
    assert (known, metrics["kinds.rules_prm.arithmetic.accepted"]["n"]) == (6, 6)
    assert 6 < metrics["kinds.rules_prm.unlisted.accepted"]["n"] <= 5 * 6
    assert "frozen generator" in page and "Wrong steps accepted" in page
    matrix = json.loads((out / "cross_play.json").read_text())
    assert len(matrix["fool_rate"]) == len(matrix["prm_updates"]) == 6
    verified = sparring("report", out, "--verify")
    assert ", 0 differences" in verified.stdout and "best_of_n" not in verified.stdout
    # Called again it goes on from what is there, with the same numbers.
    again = sparring("demo", *sizes, "--out", out)
    assert "Report" in again.stdout
    later = metrics_of(out)
    assert later.keys() == metrics.keys()
    # Time and memory are those of the last process.
    measured = [name for name in metrics if not name.startswith("training.")]
    assert {name: later[name] for name in measured} == {name: metrics[name] for name in measured}


def test_chain_policy_command(tmp_path):
    sparring(
        "train",
        "chain-policy",
        "problems=64",
        "detection_problems=64",
        "width=32",
        "layers=2",
        "evaluation_problems=5",
        "--out",
        tmp_path / "p",
    )
    assert "policy.longer.greedy_accuracy" in metrics_of(tmp_path / "p")
    assert (tmp_path / "p" / "model.safetensors").exists()


def test_the_shipped_policy_is_there_and_small():
    folder = Path(resolve_model(TINY_POLICY))
    assert (folder / "config.json").exists() and (folder / "README.md").exists()
    assert (folder / "model.safetensors").stat().st_size <= 4_000_000


@pytest.mark.parametrize("command", [("demo",), ("train", "aprm"), ("train", "chain-policy")])
def test_explain_lists_every_setting(command):
    assert "seed" in sparring(*command, "--explain").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "nowhere", "x.jsonl"), "x.jsonl"),
        (("train", "aprm", "updates=ten"), "updates"),
        (("train", "aprm", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("train", "aprm", "task=text", "data=nowhere.jsonl"), "nowhere.jsonl"),
        (("train", "aprm", "backbone=./nowhere"), "nowhere"),
        (("train", "aprm", "trackers=[tensorbord]"), "tensorbord"),
        (("eval", "processbench", "nowhere.json", "--scores", "x"), "nowhere.json"),
    ],
)
def test_bad_input_is_named(arguments, message, tmp_path):
    done = sparring(*arguments, "--out", tmp_path / "out", status=2)
    assert message in str(done.exception) and "\n" not in str(done.exception)


def test_a_process_ends_with_one_clear_line(tmp_path):
    done = in_its_own_process("convert", "nowhere.jsonl", tmp_path / "out.jsonl", status=2)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "nowhere.jsonl" in error


@pytest.mark.parametrize(
    "name", [row.name for row in COMMANDS if row.name != "doctor"]
)  # needs no more words
def test_a_command_can_be_called_without_a_word(name, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise SettingsError("called")

    monkeypatch.setattr("sparring.cli.commands.check_output", stop)
    done = CliRunner().invoke(app, name.split())
    assert isinstance(done.exception, SettingsError | SystemExit), done.exception
    assert done.exit_code != 0
