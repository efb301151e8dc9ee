"""Claims that need a GPU and a real model: a miniature on a random two-layer model, and what is said to be lacking."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import run_claims
from claims import gsm8k_game, ledger_smollm2, real_models
from fake_scorers import FakeJudge
from sparring.errors import DataError
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from tiny_tokenizers import SIZES, qwen_tokenizer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    sizes = {**SIZES, "max_position_embeddings": 1024}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Data sets in the layout of the real ones."""
    problems = [
        {
            "question": f"Janet has {n} eggs. She eats 3 and sells the rest for $2 each. How much does she make?",
            "answer": f"She sells {n} - 3 = {n - 3} eggs.\nShe makes {n - 3} * 2 = {2 * (n - 3)}.\n#### {2 * (n - 3)}",
        }
        for n in range(10, 40)
    ]
    steps = [["2 + 2 = 4", "so 4"], ["2 + 2 = 5", "so 5"]]
    cases = [
        {"id": f"c-{n}", "generator": "g", "problem": "2 + 2?", "steps": steps[n % 2], "label": -(1 - n % 2)}
        for n in range(6)
    ]
    cases = [{**case, "final_answer_correct": case["label"] < 0} for case in cases]
    planted = {
        "original_question": "2 + 2?", "modified_question": "2 + 2 ?", "original_process": steps[0],
        "modified_process": steps[1], "error_steps": [1], "reason": "-", "classification": "circular", "idx": "p",
    }  # fmt: skip
    folder = tmp_path / "data"
    for name in ("gsm8k", "processbench", "prmbench"):
        (folder / name).mkdir(parents=True)
    (folder / "gsm8k" / "train.jsonl").write_text("\n".join(map(json.dumps, problems)))
    for half in ("gsm8k", "math"):
        (folder / "processbench" / f"{half}.json").write_text(json.dumps(cases))
    (folder / "prmbench" / "circular.jsonl").write_text(json.dumps(planted))
    return folder


@pytest.fixture
def here(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the experiments where things are."""
    monkeypatch.setenv(real_models.BACKBONE, str(model))
    monkeypatch.setenv(real_models.DEVICE, "cpu")
    monkeypatch.setattr(real_models, "DATA", data)
    monkeypatch.setattr(gsm8k_game, "DATA", data)


def miniature(experiment, arm: str, folder: Path):
    (point,) = experiment.points_of("reduced")
    settings = experiment.cell(arm, 0, point, "reduced").settings
    assert experiment.lacks(arm, settings) == ""
    (folder / arm).mkdir(parents=True)
    return experiment.run(arm, 0, settings, folder / arm)


@pytest.mark.usefixtures("here")
def test_arms_on_real_text_are_trained_and_measured(tmp_path, monkeypatch):
    made = gsm8k_game.solved
    problem = Problem("p", "2 + 3?", "5", ("2 + 3 = 5",))
    own = tmp_path / "own.jsonl"
    write_traces(own, [Trace(problem, ("2 + 3 = 6",), labels=(0.0,), outcome=False)])
    monkeypatch.setattr(gsm8k_game, "solved", lambda part, *rest: own if part == "own" else made(part, *rest))
    with FakeJudge() as judge:
        monkeypatch.setenv(gsm8k_game.JUDGE, f"judge+http://{judge.host}/v1")
        for arm in ("level", "own steps", "zero-shot"):
            record = miniature(gsm8k_game.EXPERIMENT, arm, tmp_path / "runs")
            for claim in gsm8k_game.CLAIMS:
                claim.value(record)
            assert 0 <= record["best_of"]["best"] <= record["best_of"]["pass"] <= 1
            assert len(record["per_problem"]["best"]) == record["candidates"]["problems"]
            assert {"best.math.f1", "fixed.gsm8k.step_auc"} <= record["processbench"].keys()
            assert record["prmbench"]["step_auc"] is not None
            assert record["attack"]["rules.fool_rate"] is not None
            assert ("training" in record) == (arm != "zero-shot")
    assert record["cost"]["votes"] > 0  # the judge's
    folders = {path.name.partition("-")[0] for path in (tmp_path / "runs").iterdir()}
    assert folders == {"level", "own steps", "zero", "parts", "heldout"}  # shared: made once


@pytest.mark.usefixtures("here")
def test_the_parts_of_the_problems_do_not_overlap(tmp_path):
    parts = gsm8k_game.parts_of({"heldout": 5, "own": 7, "problems": None}, tmp_path)
    found = {path.stem: path.read_text().splitlines() for path in parts.glob("*.jsonl")}
    assert {name: len(lines) for name, lines in found.items()} == {"heldout": 5, "own": 7, "game": 18}
    assert len({json.loads(line)["problem"] for lines in found.values() for line in lines}) == 30


@pytest.mark.usefixtures("here")
def test_the_ledger_is_taught_to_a_pretrained_model_and_played(tmp_path):
    record = miniature(ledger_smollm2.EXPERIMENT, "level", tmp_path)
    for claim in ledger_smollm2.CLAIMS:
        claim.value(record)
    assert record["id"]["random"] == 0.0  # a random model solves nothing
    (policy,) = tmp_path.glob("policy-*")
    assert {path.name for path in policy.iterdir()} == {"model", "rounds.json"}
    (policy / "model").rename(policy / "round-0")  # as where no round came to the share asked for
    with pytest.raises(DataError, match="solves 0% after all rounds"):
        miniature(ledger_smollm2.EXPERIMENT, "rules", tmp_path)


def test_what_is_lacking_is_told_in_one_line(model, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(real_models.BACKBONE, raising=False)
    name = "Qwen2.5-Coder-1.5B-Instruct"
    words = ["--full", "--records", str(tmp_path / "records"), "--results", str(tmp_path)]
    assert run_claims.main([*words, "--only", "gsm8k-game", "--arms", "level", "--seeds", "0", "2"]) == 1
    said = f"2 runs left out: gsm8k-game: SPARRING_BACKBONE is to name the folder of {name}\n"
    printed = capsys.readouterr()
    assert printed.err == said
    assert "0 of 18 runs to do" in printed.out
    assert run_claims.main([*words, "--list"]) == 0
    assert "gsm8k-game: needs a GPU and is run where it is named" in capsys.readouterr().out
    assert run_claims.main([*words, "--only", "gsm8k-game", "--arms", "levle"]) == 2
    assert capsys.readouterr().err == "error: no arm levle in what is to be run\n"

    monkeypatch.setenv(real_models.BACKBONE, str(tmp_path))
    assert "no model folder" in real_models.lacks(name)
    monkeypatch.setenv(real_models.BACKBONE, str(model))
    assert "the folder is called 'tiny'" in real_models.lacks(name)
    assert real_models.lacks(real_models.STAND_IN) == ""
    monkeypatch.setattr(real_models, "DATA", tmp_path)
    assert real_models.lacks(real_models.STAND_IN, ["gsm8k/train.jsonl"]).endswith("has no gsm8k/train.jsonl")
    monkeypatch.delenv(gsm8k_game.JUDGE, raising=False)
    assert "SPARRING_JUDGE" in gsm8k_game.lacking("zero-shot", {"backbone": real_models.STAND_IN})


def test_the_script_says_how_it_is_called():
    script = ROOT / "scripts" / "gpu_claims.sh"
    done = subprocess.run(["bash", str(script), "out"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: scripts/gpu_claims.sh OUT BACKBONE DATA [ARM [SEED]]" in done.stderr
