"""vLLM in this process, against a stand-in with its signatures: prompts, seeds, ends, probabilities, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fake_vllm import LLM, vllm  # noqa: F401 - a fixture
from sparring.errors import DataError, MissingPackageError, SettingsError
from sparring.labels.provers import load_engine, policy_identity
from sparring.labels.settings import LabelSettings
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.rollouts.engine import EngineError, Limits, Prefix
from sparring.rollouts.vllm_offline import VllmEngine
from sparring.serving.settings import named
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, encode
from sparring.worlds.chain_model import CHAIN_LAYOUT

PREFIXES = [
    Prefix(Problem("p", "mod 13 : b is 7 ; find b")),
    Prefix(Problem("q", "mod 13 : b is 7 ; c = b + 9 ; find c"), ("c = b + 9 = 7 + 9 , c is 3",)),
]


@pytest.fixture
def engine(vllm: Any, tiny_folder: Any) -> VllmEngine:  # noqa: F811
    return VllmEngine(f"vllm:{tiny_folder}?max_model_len=80", CHAIN_LAYOUT)


def test_completions_are_what_the_step_contract_says(engine, tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    model = load_causal_model(tiny_folder, device=torch.device("cpu"), dtype=torch.float32)
    limits = Limits(12, temperature=0.7)
    groups = engine.sample(PREFIXES, 5, limits=limits, seeds=[3, 4], stop=("\n",))
    assert [len(group) for group in groups] == [5, 5]
    for prefix, group in zip(PREFIXES, groups, strict=True):
        prompt = list(encode(prefix.problem.question, prefix.steps, tokenizer, CHAIN_LAYOUT).input_ids)
        for one in group:
            ids = list(one.token_ids)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / 0.7
            expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(one.log_probabilities), expected, atol=1e-4)
            whole = tokenizer.decode(ids[:-1] if one.finish == "end" else ids, skip_special_tokens=False)
            assert one.text == whole.split("\n")[0]
            assert one.finish == (
                "stop" if "\n" in whole else "end" if ids[-1] == tokenizer.eos_token_id else "length"
            )
            assert one.finish != "length" or len(ids) == 12
    assert engine.usage.requests == 2
    assert engine.usage.tokens_generated == sum(len(one.token_ids) for group in groups for one in group)


def test_every_completion_has_a_seed_of_its_own_whatever_is_beside_it(engine):
    limits = Limits(8)
    alone = engine.sample(PREFIXES[1:], 2, limits=limits, seeds=[4])
    among = engine.sample(PREFIXES, 4, limits=limits, seeds=[3, 4])
    assert among[1][:2] == alone[0]
    asked = [parameters for _, parameters in engine._llm.asked]
    assert len({one.seed for one in asked[2:]}) == 8
    assert all((one.top_p, one.top_k, one.min_p, one.logprobs) == (1.0, 0, 0.0, 0) for one in asked)
    assert not any(one.skip_special_tokens for one in asked)


def test_stop_texts_do_not_count_in_thinking(engine):
    limits = Limits(8, thinking=("<think>", "</think>"))
    engine.sample(PREFIXES, 1, limits=limits, seeds=[1, 2], stop=("\n",))
    assert [parameters.stop for _, parameters in engine._llm.asked] == [[], ["\n"]]


def test_a_prompt_that_does_not_fit_is_refused_by_name(engine):
    with pytest.raises(DataError, match=r"problem 'q'.*80 positions"):
        engine.sample(PREFIXES, 1, limits=Limits(60), seeds=[1, 2])
    [[one], _] = engine.sample(PREFIXES, 1, limits=Limits(70, fit=True), seeds=[1, 2])
    assert len(one.token_ids) < 70


def test_an_engine_that_dies_or_breaks_off_is_out_of_order(engine, monkeypatch):
    class EngineDeadError(Exception):
        pass

    def dead(*_: Any, **__: Any) -> Any:
        raise EngineDeadError("EngineCore encountered an issue.\nSee stack trace")

    whole = LLM._one

    def aborted(*arguments: Any) -> Any:
        one = whole(*arguments)
        one.finish_reason = "abort"
        return one

    monkeypatch.setattr(LLM, "_one", aborted)
    with pytest.raises(EngineError, match=r"broke a completion off \(abort\)"):
        engine.sample(PREFIXES, 1, limits=Limits(4), seeds=[1, 2])
    monkeypatch.setattr(LLM, "generate", dead)
    with pytest.raises(
        EngineError, match=r"gave up: EngineDeadError: EngineCore encountered an issue. See stack"
    ):
        engine.sample(PREFIXES, 1, limits=Limits(4), seeds=[1, 2])


def test_a_policy_is_named_like_any_other(vllm, tiny_folder):  # noqa: F811
    policy = f"vllm:{tiny_folder}?gpu_memory_utilization=0.5"
    engine = load_engine(policy, LabelSettings(dtype="float32"))
    assert isinstance(engine, VllmEngine) and not engine.reproducible and engine.name == tiny_folder.name
    assert policy_identity(policy) == f"vllm:{policy_identity(str(tiny_folder))}"
    assert named(("vllm:models/p?max_model_len=99", "q:vllm:models/p")) == {
        "p": "vllm:models/p?max_model_len=99",
        "q": "vllm:models/p",
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("?cpu_offload_gb=4", "no such option 'cpu_offload_gb'"),
        ("?max_model_len=many", "max_model_len is a whole number, got 'many'"),
        ("?gpu_memory_utilization=2", "does not start with .*utilization must be less than 1.0"),
    ],
)
def test_options_that_do_not_fit_are_named(vllm, tiny_folder, options, told):  # noqa: F811
    with pytest.raises(SettingsError, match=told):
        VllmEngine(f"vllm:{tiny_folder}{options}", Layout())


def test_without_vllm_the_extra_is_named(tiny_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(MissingPackageError, match=r"vllm.*pip install 'sparring\[vllm\]'"):
        load_engine(f"vllm:{tiny_folder}", LabelSettings())
