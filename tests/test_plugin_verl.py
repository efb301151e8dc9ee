"""verl's reward manager with rewards per step: verl's own classes, without its trainer."""

from __future__ import annotations

import asyncio
import copy
import pickle
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl", reason="the adapter is tested where verl is installed (make plugins)")
base = pytest.importorskip("verl.experimental.reward_loop.reward_manager.base")
imports = pytest.importorskip("verl.utils.import_utils")
verl = pytest.importorskip("verl")
omegaconf = pytest.importorskip("omegaconf")
np = pytest.importorskip("numpy")

from rl_data import random_prm
from sparring.contrib.dense import DenseRewards
from sparring.contrib.verl import DenseReward, StepRewardManager, compute_score
from sparring.errors import DataError, SettingsError
from sparring.models.loading import load_tokenizer

QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
ANSWERS = ["c = b + 5 = 7 + 5 , c is 12 \n d = c * b = 12 * 7 , d is 6", "d is 5"]


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


def config(prm: object, *, dense: bool = True, **changes: object):
    return omegaconf.OmegaConf.create(
        {
            "reward": {
                "sparring": {"source": str(prm), **changes},
                "reward_model": {"enable": dense, "enable_resource_pool": False, "model_path": "models/prm"},
            }
        }
    )


def batch(tokenizer) -> object:
    prompts = torch.zeros(2, 3, dtype=torch.long)
    rows = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in ANSWERS]
    width = max(map(len, rows)) + 2
    responses = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * (3 + len(row)) + [0] * (width - len(row)) for row in rows])
    fields = {
        "raw_prompt": np.array([[{"role": "user", "content": QUESTION}]] * 2 + [None], dtype=object)[:2],
        "data_source": np.array(["chain"] * 2, dtype=object),
        "reward_model": np.array([{"ground_truth": "6"}] * 2, dtype=object),
        "extra_info": np.array([{"q": QUESTION}] * 2, dtype=object),
    }
    tensors = {"prompts": prompts, "responses": responses, "attention_mask": mask}
    return verl.DataProto.from_dict(tensors=tensors, non_tensors=fields)


def manager(tiny_folder: Path, prm: Path, **changes: object) -> StepRewardManager:
    return StepRewardManager(config(prm, **changes), load_tokenizer(tiny_folder), compute_score)


def scored(made: StepRewardManager, data) -> list[dict]:
    return [
        made.loop.run_until_complete(made.run_single(data[place : place + 1])) for place in range(len(data))
    ]


@pytest.fixture(autouse=True)
def loop():
    asyncio.set_event_loop(asyncio.new_event_loop())


def test_every_step_is_paid_on_its_last_token_and_the_outcome_at_the_end(tiny_folder, prm):
    tokenizer = load_tokenizer(tiny_folder)
    data = batch(tokenizer)
    made = manager(tiny_folder, prm, process_weight=0.5, outcome_weight=2.0, question="q")
    found = scored(made, data)
    table = type(made).assemble_rm_scores(data, [one["reward_score"] for one in found])
    assert table.shape == data.batch["responses"].shape and table.dtype == torch.float32
    for place, (text, outcome) in enumerate(zip(ANSWERS, (1.0, 0.0), strict=True)):
        ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        wanted = 0.5 * DenseRewards(prm).row(QUESTION, ids, tokenizer)
        wanted[-1] += 2.0 * outcome
        assert table[place, : len(ids)].tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
        assert not table[place, len(ids) :].any()
        assert found[place]["reward_extra_info"]["acc"] == outcome
        assert float(found[place]["reward_score"]) == pytest.approx(float(wanted.sum()))
    assert sum(map(bool, table[0].tolist())) == 2


def test_the_question_is_the_users_last_message(tiny_folder, prm):
    data = batch(load_tokenizer(tiny_folder))
    one, other = (scored(manager(tiny_folder, prm, **given), data) for given in ({}, {"question": "q"}))
    assert [a["reward_score"].row for a in one] == [b["reward_score"].row for b in other]


def test_a_dense_reward_travels_between_processes():
    reward = DenseReward([0.0, -0.5, 1.0])
    for copied in (pickle.loads(pickle.dumps(reward)), copy.deepcopy(reward)):
        assert copied == 0.5 and copied.row == [0.0, -0.5, 1.0]


def test_verl_finds_manager_and_reward_function_by_their_places():
    assert imports.load_extern_object("pkg://sparring.contrib.verl", "StepRewardManager") is StepRewardManager
    assert imports.load_extern_object("pkg://sparring.contrib.verl", "compute_score") is compute_score
    assert issubclass(StepRewardManager, base.RewardManagerBase)
    assert compute_score("gsm8k", "so\n#### 4.0", "4") == 1.0 and compute_score("gsm8k", "no", "4") == 0.0


def test_what_would_lose_the_steps_is_refused(tiny_folder, prm):
    tokenizer = load_tokenizer(tiny_folder)
    with pytest.raises(SettingsError, match="one number per answer"):
        StepRewardManager(config(prm, dense=False), tokenizer, compute_score)
    StepRewardManager(config(prm, dense=False, scalar=True), tokenizer, compute_score)
    with pytest.raises(SettingsError, match="source is needed"):
        StepRewardManager(config(prm, sorce="x"), tokenizer, compute_score)
    data = batch(tokenizer)
    with pytest.raises(DataError, match="where its parts stand"):
        StepRewardManager.assemble_rm_scores(data, [0.5, 0.5])
