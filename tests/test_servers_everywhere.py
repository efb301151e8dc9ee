"""Commands that take a PRM take a server's address: what they write names it, and they go on only with the same model."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from conftest import log_of
from fake_scorers import FakeJudge, FakeSparring, dies
from rl_data import small
from sparring.__main__ import app
from sparring.errors import CheckpointError, SettingsError
from sparring.evaluation.attack import AttackSettings, run_attack
from sparring.evaluation.calibration import CalibrationSettings
from sparring.evaluation.search import SearchSettings, run_search_command
from sparring.models.loading import resolve_model
from sparring.settings import load_settings
from sparring.training.rl import train_rl
from test_processbench_command import write_data


@pytest.fixture
def server():
    with FakeSparring() as found:
        found.longest = 1000
        yield found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "one.json", (1, ["a", "wrong", "b"]), (-1, ["a", "b"]), (0, ["wrong"]))


def call(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        if status == 0:
            raise done.exception
        return str(done.exception)
    assert done.exit_code == status, done.output
    return done.output


def test_score(server, data, tmp_path):
    out = tmp_path / "scores.jsonl"
    said = call("score", f"http://{server.host}", data, "--out", out)
    rows = [json.loads(line)["scores"] for line in out.read_text().splitlines()]
    assert rows == [[0.9, 0.1, 0.9], [0.9, 0.9], [0.1]]
    assert f"scored by http://{server.host}, model prm (f1)" in " ".join(said.split())
    assert "did you mean" in call("score", "htp://x", data, "--out", out, status=2)


def test_score_by_a_judge_says_what_it_cost(data, tmp_path):
    with FakeJudge() as judge:
        said = call(
            "score", f"judge+http://{judge.host}/v1?votes=2", data, "--out", tmp_path / "scores.jsonl"
        )
    assert "completion tokens: " in " ".join(said.split()) and "votes: 10" in " ".join(said.split())
    assert next(json.loads(line)["scores"] for line in (tmp_path / "scores.jsonl").open()) == [1.0, 0.0, 1.0]


def test_a_broken_off_run_goes_on_with_the_same_model_and_refuses_another(server, tmp_path):
    data = write_data(tmp_path / "many.json", *[(-1, ["a", f"b{i}"]) for i in range(70)])
    words = ("--out", tmp_path / "scores.jsonl")
    # The first 64 traces
    answered = [lambda handler, body: handler.reply(*server.post("/v1/score", body))] * 4
    server.faults = [*answered, dies]
    said = call("score", f"http://{server.host}?retries=0", data, *words, status=1)
    assert "nothing usable" in said and not (tmp_path / "scores.jsonl").exists()
    with FakeSparring(fingerprint="f2") as other, FakeSparring() as moved:
        kept = (tmp_path / "scores.jsonl.partial").read_bytes()
        call("score", f"http://{moved.host}", data, *words)
        assert sum(len(body["items"]) for _, body in moved.asked) == 6
        (tmp_path / "scores.jsonl.partial").write_bytes(kept)
        said = call("score", f"http://{other.host}", data, *words, status=2)
        assert "scores.jsonl.partial belongs to another job; what differs: scorer" in said
        assert not other.asked and (tmp_path / "scores.jsonl.partial").read_bytes() == kept


@pytest.mark.parametrize("name", ["processbench", "calibration", "bon"])
def test_evaluations_name_the_server(server, data, tmp_path, name):
    out = tmp_path / name
    place = f"http://{server.host}"
    words = [data, "--model", place] if name == "processbench" else [f"data=[{data}]", f"model={place}"]
    if name == "bon":
        words[0] = f"data=[{answers(tmp_path)}]"
    call("eval", name, *words, "--out", out)
    written = json.loads((out / "metrics.json").read_text())
    assert written["settings"]["model"] == place
    assert written["extra"]["scorer"] == {"place": place, "model": "prm", "fingerprint": "f1"}
    if name == "processbench":
        assert written["settings"]["threshold_rule"] == "from sidecar: best F1 on x"
        assert written["metrics"]["processbench.one.f1"]["value"] == 1.0


def answers(folder: Path) -> Path:
    file = folder / "bon.jsonl"
    rows = [
        {"id": "p", "problem": "q", "answer": "3", "steps": [step, "The answer is 3."], "outcome": True}
        for step in ("wrong", "a")
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_what_needs_the_folder_says_so(server, data):
    with pytest.raises(SettingsError, match="store changes a sidecar, and a server keeps its own"):
        load_settings(
            CalibrationSettings, None, [f"data=[{data}]", "model=http://x", "store=true", "fit_on=one"]
        )
    with pytest.raises(CheckpointError, match="is an address, and this needs the model itself"):
        resolve_model("http://localhost:8000")


def test_search_goes_on_with_the_same_model_only(server, tiny_folder, tmp_path):
    def run(place: FakeSparring) -> dict:
        given = [
            f"prm=http://{place.host}",
            "problems=3",
            "n=[2]",
            "expansions=2",
            "device=cpu",
            "max_steps=3",
        ]
        given += [f"policy={tiny_folder}", "max_step_tokens=6", "max_new_tokens=18", "chain_steps=[1,2]"]
        settings = load_settings(SearchSettings, None, given)
        return run_search_command(settings, tmp_path, console=Console(file=StringIO()))

    run(server)
    asked = len(server.asked)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["extra"]["scorers"]["prm"]["fingerprint"] == "f1" and asked > 0
    with FakeSparring() as moved, FakeSparring(fingerprint="f2") as other:
        run(moved)
        assert not moved.asked  # every problem was in the journal
        with pytest.raises(SettingsError, match="what differs: prm"):
            run(other)


def test_a_prefix_that_the_server_refuses_does_not_end_a_search(server, tiny_folder, tmp_path):
    server.longest = 1
    given = [f"prm=http://{server.host}", f"policy={tiny_folder}", "problems=4", "n=[2]", "device=cpu"]
    given += ["max_steps=4", "max_step_tokens=6", "max_new_tokens=24", "chain_steps=[2,3]", "methods=[beam]"]
    shown = StringIO()
    run_search_command(
        load_settings(SearchSettings, None, given), tmp_path, console=Console(file=shown, width=200)
    )
    assert "independent" in shown.getvalue()


def test_reinforcement_learning_resumes_with_the_same_model_only(server, tiny_folder, tmp_path):
    def settings(place: FakeSparring, updates: int):
        address = f"http://{place.host}"
        return small(tiny_folder, credit="progress", prm=address, gate=address, updates=updates)

    server.told = server.told | {"meaning": "value"}
    with pytest.raises(SettingsError, match="a gate takes scores whose meaning is 'correctness'"):
        train_rl(settings(server, 2), tmp_path / "gate")
    with FakeSparring(meaning="value") as value, FakeSparring(meaning="value", fingerprint="f2") as other:
        for one in (value, other):
            one.longest = 1000

        def alone(place, updates):
            return settings(place, updates).model_copy(update={"gate": "none"})

        train_rl(alone(server, 4), tmp_path / "whole")
        train_rl(alone(server, 4), tmp_path / "whole", resume=True)
        train_rl(alone(value, 4), tmp_path / "whole", resume=True)  # the same model at another address
        with pytest.raises(SettingsError, match=r"a server scores with another model.*f1.*f2"):
            train_rl(alone(other, 4), tmp_path / "whole", resume=True)
    written = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert written["extra"]["scorers"]["prm"]["model"] == "prm"
    assert len(log_of(tmp_path / "whole")) == 4


def test_an_attack(server, tiny_folder, tmp_path):
    chosen = AttackSettings(
        backbone=str(tiny_folder), warm_steps=1, updates=1, states_per_update=2, evaluation_states=6, curve_points=1,
        device="cpu", probes=False,
    )  # fmt: skip
    run_attack(f"http://{server.host}", chosen, tmp_path, console=Console(quiet=True))
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["settings"]["prm"] == f"http://{server.host}"
    assert written["extra"]["scorer"]["fingerprint"] == "f1"
    assert written["metrics"]["attack.rules.fool_rate"]["value"] == 1.0
