"""What is relied on in vLLM, as a server and in this process: against a stand-in, and against the real one where it is.

    export SPARRING_TEST_VLLM=http://localhost:8000/v1 SPARRING_TEST_VLLM_MODEL=models/policy
    python -m pytest tests/test_vllm_contract.py

asks a real server (`scripts/gpu_checks.sh` starts one); SPARRING_TEST_VLLM=here runs vLLM in this process. Real ones round
otherwise: their log-probabilities are compared with those of transformers to 0.05 on average, in float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fake_vllm import FakeVllm, vllm  # noqa: F401 - a fixture
from sparring.models.loading import load_policy
from sparring.models.prompts import layout_for
from sparring.models.roles import Policy
from sparring.rollouts.engine import EngineError, Limits, Prefix, next_steps, repeats
from sparring.rollouts.server import Patience, ServerEngine
from sparring.rollouts.vllm_offline import VllmEngine
from sparring.traces.records import Problem
from sparring.traces.spans import encode

PREFIXES = [
    Prefix(Problem("p", "mod 13 : b is 7 ; find b")),
    Prefix(Problem("q", "mod 13 : b is 7 ; c = b + 9 ; find c"), ("c = b + 9 = 7 + 9 , c is 3",)),
]
REAL, MODEL = os.environ.get("SPARRING_TEST_VLLM"), os.environ.get("SPARRING_TEST_VLLM_MODEL")
RANK = 8


@dataclass
class Met:
    """An engine of vLLM, the policy that it runs, and how far apart their log-probabilities may be on average."""

    engine: Any
    policy: Policy
    apart: float

    def difference(self, groups: Any) -> float:
        """Return the mean difference in log-probability per token between engine and policy."""
        rows, theirs = [], []
        for prefix, group in zip(PREFIXES, groups, strict=True):
            ids = encode(
                prefix.problem.question, prefix.steps, self.engine.tokenizer, self.engine.layout
            ).input_ids
            for one in group:
                assert len(one.token_ids) == len(one.log_probabilities) > 0
                rows.append((tuple(ids), one.token_ids))
                theirs += one.log_probabilities
        with torch.no_grad():
            ours = self.policy.outputs(rows).log_probs
        return float((ours - torch.tensor(theirs)).abs().mean())


@contextmanager
def met(kind: str, tiny: Path) -> Iterator[Met]:
    folder = Path(MODEL or "") if kind.startswith("real") else tiny
    model, tokenizer = load_policy(folder, device=torch.device("cpu"), dtype=torch.float32)
    layout = layout_for(tokenizer, "plain")
    policy = Policy(model, pad_id=tokenizer.pad_token_id or 0, adapter="lora", lora_rank=RANK)
    if kind.endswith("in process"):
        yield Met(
            VllmEngine(f"vllm:{folder}", layout, tokenizer=tokenizer, dtype="float32", lora_rank=RANK),
            policy,
            0.05 if kind.startswith("real") else 1e-4,
        )
        return
    fake = None if kind.startswith("real") else FakeVllm(folder)
    url, name = (fake.url, fake.state.llm.folder) if fake else (str(REAL), str(folder))
    patience = Patience(timeout=120, retries=1)
    engine = ServerEngine(url, name, layout, tokenizer=tokenizer, patience=patience)
    yield Met(engine, policy, 1e-4 if fake else 0.05)
    if fake is not None:
        fake.shutdown()
        fake.server_close()


@pytest.fixture(params=["stand-in server", "stand-in in process", "real server", "real in process"])
def one(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Met]:
    kind = request.param
    if kind == "stand-in in process":
        request.getfixturevalue("vllm")
    if kind.startswith("real") and (MODEL is None or REAL is None or (REAL == "here") != ("process" in kind)):
        pytest.skip("SPARRING_TEST_VLLM and SPARRING_TEST_VLLM_MODEL name no such vLLM")
    with met(kind, tiny_folder) as found:
        yield found


def test_ids_come_back_with_the_probabilities_that_they_were_sampled_with(one):
    groups = one.engine.sample(PREFIXES, 4, limits=Limits(16), seeds=[1, 2])
    assert [len(group) for group in groups] == [4, 4]
    assert one.difference(groups) <= one.apart
    assert all(repeats(group) < 3 for group in groups)  # a seed each
    assert one.engine.usage.tokens_generated == sum(len(c.token_ids) for group in groups for c in group)
    assert one.engine.usage.doubts == []


def test_steps_end_where_the_step_contract_says(one):
    groups = next_steps(one.engine, PREFIXES, 8, limits=Limits(40), seeds=[1, 2])
    tokenizer = one.engine.tokenizer
    for completion in (completion for group in groups for completion in group):
        assert "\n" not in completion.text
        written = tokenizer.decode(completion.token_ids, skip_special_tokens=False)
        finish = "stop" if "\n" in written else "length" if len(completion.token_ids) == 40 else "end"
        assert completion.finish == finish


def test_choices_of_one_request_have_texts_of_their_own(one):
    if isinstance(one.engine, ServerEngine):
        one.engine.choices_per_request = 4
    groups = one.engine.sample(PREFIXES, 4, limits=Limits(16), seeds=[1, 2])
    assert one.difference(groups) <= one.apart and all(repeats(group) < 3 for group in groups)


def test_an_adapter_is_sampled_with_once_it_is_loaded_and_until_it_is_dropped(one, tmp_path):
    names = []
    for scale in (0.05, 0.2):
        with torch.no_grad():
            for name, parameter in one.policy.parameters().items():
                if "lora_B" in name:
                    parameter.normal_(0, scale, generator=torch.Generator().manual_seed(0))
        names.append(f"test-{os.getpid()}-{scale}")
        one.policy.save_adapter(tmp_path / names[-1])
        for _ in range(2):  # the second time it is there already, which is no error
            one.engine.load_adapter(names[-1], tmp_path / names[-1])
        groups = one.engine.sample(PREFIXES, 4, limits=Limits(16), seeds=[1, 2])
        assert one.difference(groups) <= one.apart
    one.engine.load_adapter(names[0], tmp_path / names[0])
    groups = one.engine.sample(PREFIXES, 4, limits=Limits(16), seeds=[1, 2])
    assert one.difference(groups) > 2 * one.apart  # the first adapter again, the policy has the second
    for name in names:
        one.engine.drop_adapter(name)
    if isinstance(one.engine, ServerEngine):
        with pytest.raises(EngineError, match=f"status 404.*{names[0]}"):
            one.engine.sample(PREFIXES, 1, limits=Limits(4), seeds=[1, 2])


def test_an_adapter_that_is_not_there_is_refused(one, tmp_path):
    with pytest.raises(EngineError, match="nothing-here"):
        one.engine.load_adapter("nothing-here", tmp_path / "nothing-here")
