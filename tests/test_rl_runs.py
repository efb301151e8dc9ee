"""Whole runs of reinforcement learning: what they write, resuming, settings, problems."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from conftest import log_of
from rl_data import evaluations_of, killed_run, random_prm, small
from sparring.errors import DataError, SettingsError
from sparring.rollouts.engine import Completion
from sparring.settings import load_settings
from sparring.training.rl import train_rl
from sparring.training.rl_monitors import text_statistics
from sparring.training.rl_scores import Answer
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import judge_steps, load_subject
from sparring.training.states import load_state, save_state

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "chain-rl.yaml"


@pytest.fixture(scope="module")
def prm_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


@pytest.mark.parametrize(
    "changes",
    [
        {"credit": "progress", "epochs": 2, "minibatches": 2, "entropy": 0.01, "watch_longer": 3},
        {"credit": "soft_min", "prm": "prm", "baseline": "value", "adapter": "lora", "lora_rank": 4},
        {"credit": "step_sum", "prm": "prm", "outcome_weight": 0.0, "objective": "reinforce"},
        {"credit": "outcome", "baseline": "prefix", "gate": "prm", "kl": None, "answers_per_row": 3},
    ],
    ids=lambda changes: changes["credit"],
)
def test_runs_write_what_they_promise(tiny_folder, prm_folder, tmp_path, changes):
    changes = changes | {name: str(prm_folder) for name in ("prm", "gate") if name in changes}
    out = tmp_path / "run"
    folder = train_rl(small(tiny_folder, **changes, max_new_tokens=48), out)
    records, evaluation_log = log_of(out), log_of(out, "watch")
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert [record["update"] for record in evaluation_log] == [0, 2, 4]
    assert records[-1]["samples"] == 36 and evaluation_log[-1]["samples"] == 36
    if "kl" in changes:  # no reference: nothing to be near to
        assert "kl_per_token" not in records[0] and evaluation_log[0]["kl_per_token"] is None
    else:
        assert evaluation_log[0]["kl_per_token"] == pytest.approx(0.0, abs=1e-6)
    assert (evaluation_log[0]["reward"] is not None) == ("prm" in changes)
    wrong = [record["steps_wrong"] for record in (*records, *evaluation_log) if record["empty"] < 1]
    assert wrong and all(0 <= share <= 1 for share in wrong)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    written = json.loads((out / "metrics.json").read_text())
    assert written["metrics"]["rl.updates"]["value"] == 4
    assert written["metrics"]["rl.end.accuracy"]["high"] is not None
    assert written["extra"]["stopped"] is None
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pt"))


def test_a_hacked_run_stops_saves_and_says_why(tiny_folder, prm_folder, tmp_path, monkeypatch):
    seen = iter(evaluations_of((0.9, 0.2, 0.1), (0.1, 0.8, 0.9)))
    monkeypatch.setattr("sparring.training.rl.evaluate", lambda run: next(seen))
    settings = small(tiny_folder, credit="soft_min", prm=str(prm_folder), updates=40)
    folder = train_rl(settings, tmp_path)
    assert len(log_of(tmp_path)) == 4 and folder.is_dir() and (tmp_path / "checkpoint").is_dir()
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["extra"]["stopped"].startswith("reward hacking")
    assert written["metrics"]["rl.stopped_for_hacking"]["value"] == 1.0
    train_rl(settings, tmp_path, resume=True)  # still stopped
    assert len(log_of(tmp_path)) == 4


def test_killed_and_resumed_runs_give_the_same_logs_and_weights(tiny_folder, tmp_path):
    settings = small(tiny_folder, updates=7, watch_every=3, credit="progress", baseline="value")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_rl(settings, whole)
    killed_run(settings, broken, updates=3)  # past a checkpoint and an evaluation
    train_rl(settings, broken, resume=True)
    assert log_of(broken) == log_of(whole)
    assert log_of(broken, "watch") == log_of(whole, "watch")
    one, other = ((folder / "policy" / "model.safetensors").read_bytes() for folder in (whole, broken))
    assert one == other


def test_a_run_with_other_settings_or_some_that_are_gone_is_refused_by_their_names(tiny_folder, tmp_path):
    settings = small(tiny_folder, updates=1, checkpoint_every=1)
    train_rl(settings, tmp_path)
    tensors, values = load_state(tmp_path / "checkpoint")
    for then, message in (
        ({"refresh": "labels"}, "settings: refresh was 'labels', is None$"),
        ({"clip": 0.3}, r"settings: clip was 0\.3, is 0\.2$"),
    ):
        save_state(tmp_path / "checkpoint", tensors, values | {"settings": values["settings"] | then})
        with pytest.raises(SettingsError, match=message):
            train_rl(settings, tmp_path, resume=True)
    before = {name: value for name, value in values["settings"].items() if name != "cut_answers"}
    save_state(tmp_path / "checkpoint", tensors, values | {"settings": before})
    with pytest.raises(SettingsError, match="cut_answers was 'left_out', is 'penalised'"):
        train_rl(settings, tmp_path, resume=True)


def test_scores_can_be_given_instead_of_what_the_settings_name(tiny_folder, tmp_path):
    asked = []

    class Nothing:
        unscored_steps, scores_start = 0, True

        def rows(self, groups, seed):
            asked.append(len(groups))
            return [[np.zeros(len(one.steps) + bool(one.steps)) for one in group] for group in groups]

        def rewards(self, solutions):
            return None

    train_rl(small(tiny_folder, updates=2, credit="progress"), tmp_path, scores=Nothing())
    assert asked == [3, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "text"}, "needs `data`"),
        ({"credit": "soft_min"}, "needs `prm`"),
        ({"prover": "x"}, "credit: progress"),
        ({"gate": "oracle"}, "a gate closes values"),
        ({"baseline": "prefix", "credit": "soft_min", "prm": "x"}, "takes a value model"),
        ({"baseline": "prefix", "outcome_weight": 0.0, "credit": "progress"}, "outcome_weight is 0"),
        ({"credit": "progress", "prover": "x", "prm": "y"}, "values from"),
        ({"outcome_weight": 0.0}, "nothing to learn"),
        ({"task": "text", "data": "x", "watch_longer": 2}, "chain world"),
        ({"chain_steps": (5, 3)}, "from 1 to 10"),
        ({"samples_per_problem": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tiny_folder, changes, message):
    with pytest.raises(ValidationError, match=message):
        small(tiny_folder, **changes)


def test_held_out_problems_are_never_drawn(tiny_folder, tmp_path):
    file = tmp_path / "problems.jsonl"
    lines = [
        {"question": f"How much is {n} and {n}?", "answer": f"It is twice.\n#### {2 * n}"} for n in range(30)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    settings = small(tiny_folder, task="text", data=str(file), data_format="gsm8k")
    subject = load_subject(settings)
    held_out = {problem.question for problem in subject.held_out}
    drawn = {p.question for seed in range(40) for p in subject.draw(random.Random(seed), 5)}
    assert len(held_out) == 4 and len(drawn) == 26 and not held_out & drawn
    assert subject.checker.judge([(subject.held_out[0], [f"#### {subject.held_out[0].answer}"])]) == [True]
    with pytest.raises(DataError, match="too few"):
        load_subject(small(tiny_folder, task="text", data=str(file), data_format="gsm8k", watch_problems=29))


def test_the_commented_config_is_the_defaults_and_explains_every_value():
    assert load_settings(RlSettings, CONFIG) == RlSettings()
    text = CONFIG.read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    unwritten = {
        "data", "data_format", "max_problems", "lora_rank", "lora_targets", "prm", "prover", "server",
        "device", "dtype", "trackers", "gate_oracle", "stop", "template_date", "template_kwargs", "think", "think_tags",
        "attention", "gradient_checkpointing", "optimizer_bits",
    }  # fmt: skip
    assert RlSettings.model_fields.keys() - written.keys() == unwritten
    values = [line for line in text.splitlines() if re.match(r"[a-z_]+:", line)]
    assert all(re.search(r"\s#\s\S", line) for line in values)
    assert "sparring train rl --config configs/chain-rl.yaml --out " in text


def test_a_run_on_other_problems_is_not_resumed(tiny_folder, tmp_path):
    file = tmp_path / "problems.jsonl"

    def write(first: int) -> None:
        lines = [
            {
                "question": f"mod 13 : b is {n % 13} ; c = b + {n // 13} ; find c",
                "answer": f"c is {n}\n#### {n}",
            }
            for n in range(first, first + 10)
        ]
        file.write_text("\n".join(json.dumps(line) for line in lines))

    write(0)
    settings = small(tiny_folder, task="text", data=str(file), data_format="gsm8k", updates=1)
    train_rl(settings, tmp_path / "run")
    train_rl(settings, tmp_path / "run", resume=True)
    write(1)
    with pytest.raises(SettingsError, match="data files have changed"):
        train_rl(settings, tmp_path / "run", resume=True)


def test_for_texts_the_panel_is_the_gates_oracle(tiny_folder, tmp_path):
    file = tmp_path / "problems.jsonl"
    lines = [
        {"question": f"How much is {n} + {n}?", "answer": f"It is twice.\n#### {2 * n}"} for n in range(9)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    text = {"task": "text", "data": str(file), "data_format": "gsm8k", "credit": "progress"}
    assert load_subject(small(tiny_folder, **text)).judge is None
    subject = load_subject(small(tiny_folder, **text, gate="oracle"))
    problem = subject.held_out[0]
    answers = [Answer(problem, (), Completion("", (), (), "end"), ("3 + 4 = 8", "3 + 4 = 7", "so"), [])]
    judge_steps(answers, subject.judge)
    assert answers[0].truths == ("wrong", "correct", "undecided")
    assert text_statistics(answers)["steps_wrong"] == pytest.approx(1 / 3)
