"""Who samples in reinforcement learning: the policy itself, an engine that is given its weights, a prover on a server."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from conftest import log_of
from rl_data import CPU, small
from sparring.errors import SettingsError
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.prompts import layout_for
from sparring.models.roles import Policy
from sparring.rollouts.engine import Completion, Usage
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.training.engine_beside import OtherEngine
from sparring.training.rl import play_update, setup, train_rl
from sparring.training.rl_scores import ProverScores


class Elsewhere:
    """An engine with weights of its own, as a server has, and a count of how often they were replaced."""

    def __init__(self, folder: Path) -> None:
        tokenizer = load_tokenizer(folder)
        self.model = load_causal_model(folder, device=CPU, dtype=torch.float32)
        self.engine = LocalEngine(self.model, tokenizer, layout_for(tokenizer, "plain"))
        self.published = 0

    def publish(self, policy: Policy) -> None:
        self.model.load_state_dict(copy.deepcopy(policy.model.state_dict()))
        self.published += 1


def test_another_engine_that_is_given_the_weights_is_as_good_as_the_policy_itself(tiny_folder, tmp_path):
    settings = small(tiny_folder, learning_rate=1e-2)
    elsewhere = Elsewhere(tiny_folder)
    here = train_rl(settings, tmp_path / "here")
    there = train_rl(settings, tmp_path / "there", other=OtherEngine(elsewhere.engine, elsewhere.publish))
    for name in ("log", "watch"):
        assert log_of(tmp_path / "here", name) == log_of(tmp_path / "there", name)
    assert (here / "model.safetensors").read_bytes() == (there / "model.safetensors").read_bytes()
    # Once per state of the weights, however often it samples
    assert elsewhere.published == 1 + settings.updates


def test_an_engine_with_old_weights_shows_in_the_log(tiny_folder, tmp_path):
    settings = small(tiny_folder, learning_rate=5e-2, rise_updates=0, outcome_weight=1.0, kl=0.0, entropy=1.0)
    stale = OtherEngine(Elsewhere(tiny_folder).engine, lambda policy: None)
    run = setup(settings, tmp_path, stale)
    sizes = []
    for _ in range(2):
        sizes.append(play_update(run)["sampler_kl"])
        run.step += 1
    assert sizes[0] < 1e-6 < 1e-3 < sizes[1]


class Silent:
    """An engine that does not say what it sampled."""

    name, reproducible, usage = "silent", False, Usage()

    def sample(self, prefixes, n, *, limits, seeds, stop=()):
        return [[Completion("a b", (), (), "end")] * n for _ in prefixes]


def test_an_engine_that_tells_no_probabilities_is_refused(tiny_folder, tmp_path):
    run = setup(small(tiny_folder), tmp_path, OtherEngine(Silent(), lambda policy: None))
    with pytest.raises(SettingsError, match="'silent' does not give token ids with log-probabilities"):
        play_update(run)


def test_a_prover_may_be_a_server_and_the_policy_may_not(tiny_folder, tmp_path):
    address = "http://localhost:1/v1"
    server = {"model": "m", "kind": "openai"}
    run = setup(small(tiny_folder, credit="progress", prover=address, server=server), tmp_path)
    assert isinstance(run.scores, ProverScores) and isinstance(run.scores.engine, ServerEngine)
    assert run.scores.engine.url == address and run.scores.engine.kind == "openai"
    with pytest.raises(ValidationError, match="cannot be a server"):
        small(tiny_folder, policy=address)
