"""The game on texts: a whole run on problems from a file, judged by the panel, and its resumption."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import Qwen2Config, Qwen2ForCausalLM

from sparring.errors import DataError, SettingsError
from sparring.models.scorer import load_scorer
from sparring.traces.records import Problem, Trace
from sparring.training.aprm import show_aprm, train_aprm
from sparring.training.aprm_settings import AprmSettings
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


def test_a_prm_that_no_wrong_step_was_shown_to_comes_with_a_warning(backbone, tmp_path):
    (tmp_path / "shy.py").write_text(
        "import re\n"
        "from sparring.oracles import Verdict\n"
        "def judge(problem, prefix, step):\n"
        "    eggs = int(re.search('[0-9]+', problem.question)[0])\n"
        "    known = ([eggs, 3, eggs - 3], [eggs - 3, 2, 2 * (eggs - 3)])\n"
        "    holds = [int(number) for number in re.findall('[0-9]+', step)] in known\n"
        "    return Verdict('correct', 'shy:holds') if holds else Verdict('undecided', 'shy:silent')\n"
    )
    oracle = [f"{tmp_path / 'shy.py'}:judge"]
    console = Console(file=StringIO(), width=200)
    settings = short(backbone, problems_file(tmp_path), oracle=oracle, adversary="rules", prm_warm_steps=1)
    show_aprm(settings, tmp_path / "run", resume=False, console=console)
    assert "rewrites labelled by the oracle: 0;" in console.file.getvalue()
    assert "warning: this PRM has seen correct steps alone" in console.file.getvalue()


def test_solutions_without_a_step_that_is_correct_are_refused_with_the_oracles_reasons(backbone, tmp_path):
    data = tmp_path / "words.jsonl"
    data.write_text(json.dumps({"question": "Why?", "answer": "Because.\nSo it is.\n#### 4"}))
    with pytest.raises(DataError, match=r"calls no step of a solution correct: \d times \w+:\w+"):
        train_aprm(short(backbone, data), tmp_path / "run")
