"""AReaL's process rewards with our PRM, against its interface as pinned (`areal_stand_in.py`)."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import pytest
import torch

import areal_stand_in
from plugin_parts import Broken, Spoken
from rl_data import random_prm
from sparring.contrib.dense import DenseRewards
from sparring.errors import DataError, SettingsError
from sparring.models.loading import load_tokenizer

if importlib.util.find_spec("areal") is None:
    areal_stand_in.install()
areal = pytest.importorskip("sparring.contrib.areal", reason="this AReaL has no process rewards yet")

QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
ANSWER = "c = b + 5 = 7 + 5 , c is 12 \n d = c * b = 12 * 7 , d is 6"


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


def turn(tokenizer, text: str, *, carried: bool = True, question: str = QUESTION):
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    response = types.SimpleNamespace(output_tokens=ids, tokenizer=tokenizer if carried else None)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": question}]
    return types.SimpleNamespace(messages=messages, model_response=response)


def test_a_turn_has_a_reward_for_every_token(tiny_folder, prm):
    tokenizer = load_tokenizer(tiny_folder)
    scorer = areal.SparringScorer(source=str(prm), weight=0.5)
    turns = [turn(tokenizer, ANSWER), turn(tokenizer, "c is 12"), turn(tokenizer, "")]
    found = areal_stand_in.run(scorer, turns)
    for one, row in zip(turns, found, strict=True):
        wanted = 0.5 * DenseRewards(prm).row(QUESTION, one.model_response.output_tokens, tokenizer)
        assert row.tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert torch.count_nonzero(found[0]) == 2 and not found[2].any()
    without = areal.SparringScorer(source=str(prm), weight=0.5, tokenizer=str(tiny_folder))
    [row] = areal_stand_in.run(without, [turn(tokenizer, ANSWER, carried=False)])
    assert row.equal(found[0])


def test_failures_are_raised_and_never_zeros(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    with pytest.raises(DataError, match="NaN"):
        areal_stand_in.run(areal.SparringScorer(source=Broken()), [turn(tokenizer, ANSWER)])
    with pytest.raises(DataError, match="tokenizer"):
        areal_stand_in.run(areal.SparringScorer(source=Spoken()), [turn(tokenizer, ANSWER, carried=False)])
    with pytest.raises(SettingsError, match="unknown reward"):
        areal.SparringScorer(source=Spoken(), reward="both")
