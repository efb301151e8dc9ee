"""Shared fixture: a random two-layer model of the chain world."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch
from transformers import LlamaForCausalLM

from sparring.worlds.chain_model import build_tokenizer, tiny_config

torch.set_num_threads(1)
# A busy machine is no failure: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random two-layer policy and its tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(len(tokenizer), width=32, layers=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
