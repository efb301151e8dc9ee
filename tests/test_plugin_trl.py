"""TRL's GRPOTrainer with our rewards and our step credit: the real package, on a two-layer model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

trl = pytest.importorskip("trl", reason="the adapter is tested where TRL is installed (make plugins)")
datasets = pytest.importorskip("datasets", reason="TRL takes data sets (make plugins)")

from rl_data import random_prm
from sparring.contrib.trl import StepCreditTrainer, outcome_reward, prm_reward, progress_reward
from sparring.errors import DataError
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.traces.records import Problem, Trace
from sparring.training.credit import progress, with_start
from sparring.training.rl_scores import best_of_k
from sparring.worlds.chain import generate_problems

QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
RIGHT, WRONG = "c = b + 5 = 7 + 5 , c is 12\nd = c * b = 12 * 7 , d is 6", "c = b + 5 = 7 + 5 , c is 1"


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


@pytest.fixture(scope="module")
def value(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("value") / "value", meaning="value")


def rows(folder: Path, *answers: str) -> list[np.ndarray]:
    traces = [Trace(Problem("1", QUESTION), tuple(text.split("\n"))) for text in answers]
    return [np.array(row) for row in load_scorer(folder).score(traces)]


def test_rewards_are_those_of_our_own_rules(prm, value):
    answers = [RIGHT, WRONG, "", RIGHT]
    prompts = [QUESTION] * 4
    first, second, third = rows(prm, RIGHT, WRONG, RIGHT)
    assert prm_reward(prm)(prompts, answers) == [first.min(), second.min(), 0.0, third.min()]
    assert prm_reward(prm, aggregation="mean")(prompts, [WRONG] * 4) == pytest.approx([second.mean()] * 4)
    found = progress_reward(value, best_of=2)(prompts, answers)
    values = with_start(
        [best_of_k(row, 2) for row in (*rows(value, RIGHT, WRONG), np.zeros(0), *rows(value, RIGHT))]
    )
    wanted = [min(0, 0) if len(row) == 0 else float(progress([row])[0].clip(max=0).sum()) for row in values]
    assert found == pytest.approx(wanted) and max(found) <= 0
    outcome = outcome_reward(last_number=True)
    assert outcome(prompts, answers, answer=["6", 5, "6", 6]) == [1.0, 0.0, 0.0, 1.0]


def test_conversations_and_other_columns_are_read(prm):
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": QUESTION}]
    said = [{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}]
    plain = prm_reward(prm)([QUESTION], [RIGHT])
    assert prm_reward(prm)([chat], [said]) == plain
    assert prm_reward(prm, question="q")(["Please solve: " + QUESTION], [RIGHT], q=[QUESTION]) == plain
    with pytest.raises(DataError, match="conversation"):
        prm_reward(prm)([17], [RIGHT])
    with pytest.raises(DataError, match="no reference answer"):
        outcome_reward()([QUESTION], [RIGHT], answer=[None])


class Broken:
    threshold, threshold_rule = 0.5, ""

    def score(self, traces, progress=None):
        return [[float("nan")] * len(trace.steps) for trace in traces]


def test_a_failed_score_is_never_a_reward():
    with pytest.raises(DataError, match="NaN"):
        prm_reward(Broken())([QUESTION], [RIGHT])


def problems():
    found = generate_problems(8, steps=(2, 3), seed=3)
    text = [one.question + " \n" for one in found]
    return datasets.Dataset.from_dict(
        {"prompt": text, "question": [one.question for one in found], "answer": [one.answer for one in found]}
    )


def config(out: Path, **changes: object):
    fields = {
        "output_dir": str(out), "max_steps": 2, "per_device_train_batch_size": 4, "num_generations": 4,
        "max_completion_length": 24, "report_to": [], "use_cpu": True, "logging_steps": 1, "save_strategy": "no",
        "beta": 0.0, "bf16": False, "learning_rate": 1e-2, "disable_tqdm": True,
    }  # fmt: skip
    return trl.GRPOConfig(**(fields | changes))


def weights(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    return next(AutoModelForCausalLM.from_pretrained(folder).parameters()).detach().clone()


def test_grpo_takes_two_steps_with_all_three_rewards(tiny_folder, prm, value, tmp_path):
    trainer = trl.GRPOTrainer(
        model=str(tiny_folder),
        reward_funcs=[
            outcome_reward(question="question"),
            prm_reward(prm, question="question"),
            progress_reward(value, question="question"),
        ],
        args=config(tmp_path),
        train_dataset=problems(),
        processing_class=load_tokenizer(tiny_folder),
    )
    trainer.train()
    log = [line for line in trainer.state.log_history if "reward" in line]
    assert len(log) == 2 and all(name in log[0] for name in ("rewards/outcome/mean", "rewards/prm/mean"))
    assert any("progress_lost" in name for name in log[0])
    assert not torch.equal(next(trainer.model.parameters()).detach().cpu(), weights(tiny_folder))


@pytest.mark.parametrize("rule", ["progress", "step_sum"])
def test_step_credit_reaches_the_loss(rule, tiny_folder, prm, value, tmp_path):
    trainer = StepCreditTrainer(
        model=str(tiny_folder),
        reward_funcs=[outcome_reward(question="question")],
        args=config(tmp_path),
        train_dataset=problems(),
        processing_class=load_tokenizer(tiny_folder),
        step_credit=value if rule == "progress" else prm,
        rule=rule,
        weight=0.5,
        question="question",
    )
    seen = []
    inner = trainer._generate_and_score_completions

    def watched(inputs):
        output = inner(inputs)
        seen.append({name: one.clone() for name, one in output.items() if isinstance(one, torch.Tensor)})
        return output

    trainer._generate_and_score_completions = watched
    trainer.train()
    assert len([line for line in trainer.state.log_history if "step_credit/mean" in line]) == 2
    for output in seen:
        assert output["advantages"].shape == output["completion_ids"].shape
        outside = output["advantages"][~output["completion_mask"].bool()]
        own = output["advantages"][output["completion_mask"].bool()]
        assert (
            own.unique().numel() > 1
            and bool(torch.isfinite(own).all())
            and bool(torch.isfinite(outside).all())
        )
    assert not torch.equal(next(trainer.model.parameters()).detach().cpu(), weights(tiny_folder))


def test_a_prm_that_means_something_else_is_refused(tiny_folder, prm, tmp_path):
    with pytest.raises(Exception, match="value"):
        StepCreditTrainer(
            model=str(tiny_folder), reward_funcs=[outcome_reward()], args=config(tmp_path), train_dataset=problems(),
            processing_class=load_tokenizer(tiny_folder), step_credit=prm, rule="progress",
        )  # fmt: skip
