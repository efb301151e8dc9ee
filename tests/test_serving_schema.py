"""The OpenAPI document is true: generated requests, valid and broken, get documented answers, and never a 5xx."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # else on first use, parsed for its asserts beside a thread that parses too
import torch
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_data import random_prm
from served import Served
from tiny_tokenizers import SIZES, qwen_tokenizer

EXAMPLES = int(os.environ.get("SPARRING_SCHEMA_EXAMPLES", "6"))
"""Requests per endpoint; a long run sets more."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PATHS = (
    "/v1/score",
    "/pooling",
    "/get_reward",
    "/v1/search",
    "/v1/chat/completions",
    "/v1/models",
    "/readyz",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy and a PRM that read any text."""
    place = tmp_path_factory.mktemp("bytes")
    tokenizer = qwen_tokenizer()
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(place / "policy")
    tokenizer.save_pretrained(place / "policy")
    return place / "policy", random_prm(place / "policy", place / "prm")


@pytest.mark.parametrize("path", PATHS)
def test_generated_requests_get_documented_answers(folders, path):
    policy, prm = folders
    served = Served(
        prm, policy=str(policy), method="best_of_n", n=1, max_n=2, expansions=1, max_steps=1, max_step_tokens=4,
        max_new_tokens=4, lookahead_steps=0,
    )  # fmt: skip
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    [operation] = [one.ok() for one in schema.get_all_operations() if one.ok().path == path]

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )
    def check(case):
        case.validate_response(case.call(), checks=CHECKS)

    check()
