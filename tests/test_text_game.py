"""The game on texts: a whole run on problems from a file, judged by the panel, and its resumption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from sparring.errors import SettingsError
from sparring.models.scorer import load_scorer
from sparring.oracles.panel import Panel
from sparring.traces.records import Problem, Trace
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl_refresh import play_on
from sparring.training.rl_settings import RlSettings
from tiny_tokenizers import SIZES, qwen_tokenizer


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A random two-layer model that reads English."""
    folder = tmp_path_factory.mktemp("text") / "backbone"
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def problems_file(folder: Path, first: int = 10) -> Path:
    file = folder / "problems.jsonl"
    lines = [
        {
            "question": f"Janet has {n} eggs. She eats 3 and sells the rest for $2 each. How much does she make?",
            "answer": f"She sells {n} - 3 = {n - 3} eggs.\nShe makes {n - 3} * 2 = {2 * (n - 3)}.\n#### {2 * (n - 3)}",
        }
        for n in range(first, first + 6)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def short(backbone: Path, data: Path, **changes: object) -> AprmSettings:
    fields = {
        "task": "text", "data": str(data), "backbone": str(backbone), "adversary_warm_steps": 1, "prm_warm_steps": 2,
        "updates": 1, "states_per_update": 2, "samples_per_state": 2, "replayed_states": 1, "checkpoint_every": 1,
        "device": "cpu", "seed": 3,
    }  # fmt: skip
    return AprmSettings.model_validate(fields | changes)


def test_a_run_on_texts_ends_in_a_prm_and_is_resumed_with_the_same_problems_only(backbone, tmp_path):
    data, out = problems_file(tmp_path), tmp_path / "run"
    folder = train_aprm(short(backbone, data), out)
    trace = Trace(Problem("p", "Janet has 16 eggs."), ("She eats 3.", "16 - 3 = 13 are left."))
    (row,) = load_scorer(folder).score([trace])
    assert len(row) == 2 and all(0 < score < 1 for score in row)
    before = (folder / "model.safetensors").read_bytes()
    data.write_text(data.read_text() + "\n")  # a blank line is no other problem
    train_aprm(short(backbone, data), out, resume=True)
    assert (folder / "model.safetensors").read_bytes() == before
    problems_file(tmp_path, first=11)
    with pytest.raises(SettingsError, match="data files have changed"):
        train_aprm(short(backbone, data), out, resume=True)


def test_the_game_on_texts_goes_on_with_the_steps_of_a_policy(backbone, tmp_path):
    """Whose problems it began with is not asked."""
    data, out = problems_file(tmp_path), tmp_path / "run"
    train_aprm(short(backbone, data), out)
    data.unlink()
    question = "Janet has 40 eggs. She eats 3 and sells the rest for $2 each. How much does she make?"
    steps = ("She sells 40 - 3 = 37 eggs.", "She makes 37 * 2 = 74.")
    answer = Trace(Problem("q", question, answer="74"), steps, labels=(1.0, 1.0), outcome=True)
    settings = RlSettings(
        task="text", data="not read", prm=str(out / "prm"), credit="soft_min", refresh="game", refresh_steps=1, device="cpu"
    )  # fmt: skip
    with Panel(["arithmetic", "reference"], workers=1) as panel:
        means = play_on(settings, out, [answer], panel, tmp_path / "next")
    assert 0 <= means["prm_accuracy_clean"] <= 1
    assert load_scorer(tmp_path / "next" / "prm").score([answer])
