"""OpenRLHF's remote reward as a file: its own executor loads it and asks it, where OpenRLHF is installed."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path

import pytest
import torch

from rl_data import random_prm
from sparring.contrib import openrlhf as adapter
from sparring.errors import DataError, SettingsError
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.traces.records import Problem, Trace

QUESTION = "mod 13 : b is 7 ; c = b + 5 ; find c"
ANSWER = "c = b + 5 = 7 + 5 , c is 12"


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


@pytest.fixture(autouse=True)
def environment(prm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_PRM", str(prm))


def value(prm: Path, *steps: str) -> float:
    return min(load_scorer(prm).score([Trace(Problem("1", QUESTION), steps)])[0])


def test_rewards_and_scores(prm, monkeypatch):
    found = adapter.reward_func([QUESTION + "\n" + ANSWER], [QUESTION], ["12"], other=1)
    assert found["rewards"].tolist() == pytest.approx([value(prm, ANSWER)])
    assert found["scores"].equal(found["rewards"]) and found["extra_logs"]["unscored_steps"] == 0
    monkeypatch.setenv("SPARRING_OUTCOME", "2")
    monkeypatch.setenv("SPARRING_STRIP", "<user>|<end>")
    queries = [f"<user>{QUESTION}<end>{answer}<end>" for answer in (ANSWER, "c is 3")]
    found = adapter.reward_func(queries, [f"<user>{QUESTION}<end>"] * 2, ["12", "12"])
    assert (found["rewards"] - found["scores"]).tolist() == [2.0, 0.0]
    assert found["scores"].tolist() == pytest.approx([value(prm, ANSWER), value(prm, "c is 3")])
    assert found["extra_logs"]["outcome"] == 0.5


def test_what_is_wrong_is_said(monkeypatch):
    with pytest.raises(SettingsError, match="does not hold its prompt"):
        adapter.reward_func(["something"], [QUESTION], [""])
    monkeypatch.setenv("SPARRING_OUTCOME", "much")
    with pytest.raises(SettingsError, match="is a number, got 'much'"):
        adapter.reward_func([QUESTION + ANSWER], [QUESTION], [""])
    monkeypatch.setenv("SPARRING_OUTCOME", "1")
    with pytest.raises(DataError, match="no reference answer"):
        adapter.reward_func([QUESTION + ANSWER], [QUESTION], [""])
    monkeypatch.delenv("SPARRING_PRM")
    with pytest.raises(SettingsError, match="set SPARRING_PRM"):
        adapter.reward_func([QUESTION + ANSWER], [QUESTION], [""])


def test_its_executor_asks_the_file(prm, tiny_folder):
    pytest.importorskip(
        "openrlhf", reason="its executor is tested where OpenRLHF is installed (make plugins)"
    )
    agent = pytest.importorskip("openrlhf.utils.agent")
    tokenizer = load_tokenizer(tiny_folder)
    written = tuple(tokenizer.encode(ANSWER, add_special_tokens=False))

    class Engine:
        async def generate(self, prompt_token_ids, sampling_params, multi_modal_data=None):
            one = types.SimpleNamespace(token_ids=list(written), finish_reason="stop", logprobs=None)
            return types.SimpleNamespace(outputs=[one])

    executor = agent.SingleTurnAgentExecutor(adapter.__file__)
    assert executor.reward_func is not None
    sampling = types.SimpleNamespace(max_tokens=32, logprobs=None)
    found = asyncio.run(executor.execute(QUESTION, "12", sampling, 128, tokenizer, Engine()))
    assert torch.as_tensor(found["reward"]).item() == pytest.approx(value(prm, ANSWER), abs=1e-6)
