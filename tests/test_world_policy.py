"""Training a tiny policy of any world."""

from __future__ import annotations

import random

import pytest
import torch

from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.traces.spans import encode
from sparring.training.world_policy import (
    WorldPolicySettings,
    Written,
    learn_language,
    success,
    train_world_policy,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer
from sparring.worlds.world import make_world, world_problems

SMALL = {"updates": 6, "batch": 8, "width": 16, "layers": 1, "heads": 2, "evaluation_problems": 4}


@pytest.mark.parametrize("world", ["countdown:numbers=3-4", "chain"])
def test_a_policy_of_each_world_and_its_earlier_states(tmp_path, world):
    settings = WorldPolicySettings.model_validate(
        {**SMALL, "world": world, "detection_updates": 3, "earlier": [0, 4]}
    )
    folder = train_world_policy(settings, tmp_path / "policy")
    tokenizer = load_tokenizer(folder)
    assert len(tokenizer) == len(build_tokenizer(make_world(world)))
    layers, norms = {}, []
    for place in (folder, folder / "earlier" / "000000", folder / "earlier" / "000004"):
        model = load_causal_model(str(place), device=torch.device("cpu"), dtype=torch.float32)
        layers[place.name] = model.config.num_hidden_layers
        norms.append(float(model.model.embed_tokens.weight.detach().sum()))
    assert layers == {"policy": 2, "000000": 1, "000004": 1} and len(set(norms)) == 3
    again = train_world_policy(settings, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_ids_are_those_of_the_step_contract_and_the_question_is_no_target():
    world = make_world("countdown:numbers=3-5")
    tokenizer, settings = build_tokenizer(world), WorldPolicySettings.model_validate({**SMALL, "passes": 2})
    written = Written(world, tokenizer, settings, "language", settings.updates)
    ids, targets = written.batch(1)
    assert torch.equal(ids, written.batch(4)[0]) and not torch.equal(ids, written.batch(2)[0])
    name = "world-policy-language"
    problems = world_problems(world, 8, seed=settings.seed, name=name, start=8)
    for row, target, index, problem in zip(ids, targets, range(8, 16), problems, strict=True):
        steps = world.written(problem, random.Random(f"{name}-written/{settings.seed}/{index}"))
        encoded = encode(problem.question, steps, tokenizer, CHAIN_LAYOUT)
        expected = [*encoded.input_ids, tokenizer.eos_token_id]
        assert row[: len(expected)].tolist() == expected and set(row[len(expected) :].tolist()) <= {0}
        start = encoded.spans[0][0]
        told = target[target >= 0].tolist()
        assert told == expected[start:] and (target[: start - 1] < 0).all()


def test_it_learns_and_success_is_measured():
    settings = WorldPolicySettings.model_validate(
        {
            "world": "countdown:numbers=3,largest=4,useless=0,slips=0",
            "updates": 80,
            "batch": 32,
            "passes": 1,
            "width": 32,
            "layers": 1,
            "evaluation_problems": 40,
        }
    )
    world = make_world(settings.world)
    tokenizer = build_tokenizer(world)
    losses: list[float] = []
    model, _ = learn_language(world, tokenizer, settings, lambda _, found: losses.append(found["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    found = success(model, world, tokenizer, settings, temperature=1.0)
    assert found.n == 40 and found.low is not None
