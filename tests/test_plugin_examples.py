"""The examples of the adapters run as they are shown, where the packages are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl_data import random_prm
from sparring.models.loading import resolve_model

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place, backbone = tmp_path_factory.mktemp("prms"), Path(resolve_model("tiny-chain-policy"))
    return {
        meaning: str(random_prm(backbone, place / meaning, meaning)) for meaning in ("correctness", "value")
    }


def run(name: str, *words: str, folder: Path) -> str:
    code = str(EXAMPLES / name)
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, code, *words], capture_output=True, text=True, cwd=folder, env=os.environ | quiet
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_dense_rewards(folders, tmp_path):
    shown = run("dense_rewards.py", "--prm", folders["correctness"], folder=tmp_path)
    assert len(shown.splitlines()) == 27 and "12" in shown
    run("dense_rewards.py", "--prm", folders["value"], "--reward", "progress", folder=tmp_path)


@pytest.mark.parametrize("value", [False, True])
def test_trl_grpo(value, folders, tmp_path):
    pytest.importorskip("trl", reason="needs TRL (make plugins)")
    more = ("--value", folders["value"]) if value else ()
    shown = run("trl_grpo.py", "--prm", folders["correctness"], *more, folder=tmp_path)
    assert shown.count("rewards/prm/mean") == 2 and ("step_credit" in shown) == value


def test_its_hub_beam(folders, tmp_path):
    pytest.importorskip("its_hub", reason="needs its_hub (make plugins)")
    shown = run("its_hub_beam.py", "--prm", folders["correctness"], folder=tmp_path)
    assert "(right:" in shown and shown.startswith("mod 13")


def test_lm_eval_best_of_n(folders, tmp_path):
    pytest.importorskip("lm_eval", reason="needs lm-eval (make plugins)")
    shown = run(
        "lm_eval_best_of_n.py",
        "--prm",
        folders["correctness"],
        "--problems",
        "3",
        "--n",
        "2",
        folder=tmp_path,
    )
    assert "exact_match,prm" in shown and "exact_match,first" in shown


def test_inspect_best_of_n(folders, tmp_path, monkeypatch):
    inspect_ai = pytest.importorskip("inspect_ai", reason="needs Inspect (make plugins)")
    from inspect_ai.model import ModelOutput, get_model

    monkeypatch.chdir(EXAMPLES.parent)
    data = tmp_path / "problems.jsonl"
    question = "mod 13 : b is 7 ; c = b + 5 ; find c"
    data.write_text(json.dumps({"id": "1", "problem": question, "answer": "12"}) + "\n")
    said = [ModelOutput.from_content("mockllm/model", f"c = b + 5 , c is {n}") for n in (12, 3)]
    model = get_model("mockllm/model", custom_outputs=said)

    async def counted(text: str) -> int:
        return len(text) // 4

    model.api.count_text_tokens = counted
    [log] = inspect_ai.eval(
        "examples/inspect_best_of_n.py",
        model=model,
        task_args={"prm": folders["correctness"], "data": str(data), "n": 2},
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "success", log.error
    assert [one.reducer for one in log.results.scores] == ["prm_best", "prm_vote", "mean"]
