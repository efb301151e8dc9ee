"""The game: objectives, rewards, replay, and whole runs on a two-layer model, killed and resumed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from conftest import killed, log_of
from sparring.errors import SettingsError
from sparring.models.branches import BranchedRow
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.roles import Players
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import (
    Place,
    PrmRow,
    ReplayPool,
    Rewrite,
    Rewrites,
    State,
    _utilities,
    fresh_row,
    prm_utility,
    rule_rewrites,
)
from sparring.training.game_tasks import WorldTask, load_task
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.chain_world import ChainWorld

CPU = torch.device("cpu")


def small(folder: Path, **changes: object) -> AprmSettings:
    fields: dict[str, object] = {
        "backbone": str(folder),
        "updates": 4,
        "prm_warm_steps": 3,
        "adversary_warm_steps": 3,
        "states_per_update": 4,
        "samples_per_state": 3,
        "replayed_states": 2,
        "checkpoint_every": 2,
        "device": "cpu",
        "seed": 3,
    }
    return AprmSettings.model_validate(fields | changes)


def rewrite(text: str, truth: str | None) -> Rewrite:
    if truth is None:
        return Rewrite(text, "malformed for the test", None)
    return Rewrite(text, None, Verdict(truth, "test:made"))


STATE = State(
    Problem("p", "mod 13 : b is 7 ; c = b + 9 ; find c", solution=("c = b + 9 = 7 + 9 , c is 3",)), 0
)
REWRITES = Rewrites(
    [STATE],
    [
        [
            rewrite("a", "wrong"),
            rewrite("b", "wrong"),
            rewrite("c", "correct"),
            rewrite("", None),
            rewrite("d", "undecided"),
        ]
    ],
)
SCORED = REWRITES.with_each("score", [0.9, 0.2, 0.7, 0.4])  # of the well-formed ones: a, b, c, d


def test_outcomes_by_hand():
    shares = SCORED.outcome_shares()
    assert shares["fool_rate"] == pytest.approx(1 / 3)
    assert shares["caught"] == pytest.approx(1 / 3)
    assert shares["failed"] == pytest.approx(1 / 3)
    assert shares["miss_rate"] == pytest.approx(1 / 2)
    assert shares["malformed"] == shares["undecided"] == pytest.approx(1 / 5)
    assert [item.outcome() for item in SCORED] == ["fooled", "caught", "failed", "malformed", "undecided"]


def test_rewards_by_hand(tiny_folder):
    settings = small(tiny_folder, reward_fooled=2.0, reward_caught=-0.5, reward_failed=-1.0)
    rewards, weights = SCORED.rewards(settings, torch.Generator(), sampled=False)
    assert rewards[0].tolist() == pytest.approx([0.9 * 2 - 0.1 * 0.5, 0.2 * 2 - 0.8 * 0.5, -1.0, -1.0, 0.0])
    assert weights[0].tolist() == [1, 1, 1, 1, 0]


def test_sampled_rewards_average_to_the_expected_ones(tiny_folder):
    settings = small(tiny_folder)
    generator = torch.Generator().manual_seed(0)
    mean = torch.stack([SCORED.rewards(settings, generator, sampled=True)[0] for _ in range(4000)]).mean(0)
    assert mean[0].tolist() == pytest.approx([0.8, -0.6, -1.0, -1.0, 0.0], abs=0.08)


@pytest.mark.parametrize("pay", ["probability", "rank"])
def test_a_wrong_step_is_paid_between_caught_and_fooled_and_better_the_more_r_accepts_it(tiny_folder, pay):
    settings = small(tiny_folder, adversary_pay=pay)
    scored = REWRITES.with_each("score", [0.9, 1e-7, 0.7, 0.4])
    rewards, weights = scored.rewards(settings, torch.Generator(), sampled=False)
    a, b, correct, malformed, undecided = rewards[0].tolist()
    assert 1 >= a > b >= -1 == correct == malformed and undecided == 0
    assert weights[0].tolist() == [1, 1, 1, 1, 0]
    expected = {"probability": (0.8, -1.0), "rank": (1.0, -1.0)}
    assert (a, b) == pytest.approx(expected[pay], abs=1e-6)


def test_where_r_is_sure_only_probabilities_pay_all_alike(tiny_folder):
    made = Rewrites([STATE], [[rewrite(text, "wrong") for text in "abc"]])
    made = made.with_each("score", [0.002, 0.004, 0.008])
    spread = {}
    for pay in ("probability", "rank"):
        settings = small(tiny_folder, adversary_pay=pay)
        (row,) = made.rewards(settings, torch.Generator(), sampled=False)[0].tolist()
        assert row == sorted(row)
        spread[pay] = row[-1] - row[0]
    assert spread["probability"] < 0.02 and spread["rank"] == 2.0
    ties = Rewrites([STATE], [[rewrite("a", "wrong"), rewrite("b", "wrong")]]).with_each("score", [0.3, 0.3])
    settings = small(tiny_folder, adversary_pay="rank")
    assert ties.rewards(settings, torch.Generator(), sampled=False)[0].tolist() == [[0.0, 0.0]]


def test_kinds_are_counted_by_the_verdict_s_reason():
    group = [
        Rewrite("x", None, Verdict("wrong", "chain:arithmetic")),
        Rewrite("y", None, Verdict("wrong", "chain:wrong_value")),
        Rewrite("", "malformed", None),
        Rewrite("z", None, Verdict("wrong", "chain:arithmetic")),
        Rewrite("c", None, Verdict("correct", "chain:exact")),
    ]
    made = Rewrites([STATE], [group]).with_each("score", [0.9, 0.1, 0.2, 0.8])
    assert made.kind_counts() == {
        "wrong_kinds": {"arithmetic": 2, "wrong_value": 1},
        "fooled_kinds": {"arithmetic": 1, "wrong_value": 0},
    }


def test_rules_make_the_kinds_that_they_know_and_unknown_ones_are_named():
    task = WorldTask(ChainWorld(), kinds=["wrong_value", "arithmetic"])
    states = task.draw(random.Random(0), 20)
    made = rule_rewrites(task, states, 3, random.Random(1))
    assert {item.kind for group in made.groups for item in group} == {"wrong_value", "arithmetic"}
    with pytest.raises(
        SettingsError, match=r"no kind of mistake 'aritmetic'; this task has arithmetic, wrong_"
    ):
        load_task(AprmSettings(rule_kinds=["aritmetic"]))


def prm_gradient(players: Players, rows: list, settings: AprmSettings, pad: int, seed: int) -> torch.Tensor:
    for row in rows:
        row.actions = None
    for parameter in players.parameters("prm").values():
        parameter.grad = None
    prm_utility(players, rows, settings, pad, torch.Generator().manual_seed(seed), warming=False)
    return torch.cat([p.grad.flatten() for n, p in players.parameters("prm").items() if n.startswith("head")])


def test_the_expected_objective_is_the_mean_of_many_sampled_ones():
    torch.manual_seed(0)
    log_odds = torch.randn(12, requires_grad=True)
    truth = torch.rand(12) < 0.5
    row = PrmRow(BranchedRow([1], [[2]]), [Place(column, "fresh", bool(t)) for column, t in enumerate(truth)])

    def gradient(objective: str, seed: int) -> torch.Tensor:
        row.actions = None
        row.drawn = torch.rand(12, generator=torch.Generator().manual_seed(seed))
        utility = _utilities(objective, log_odds, truth, [row], 0.2)
        return torch.autograd.grad(utility.sum(), log_odds)[0]

    expected = gradient("expected", 0)
    draws = torch.stack([gradient("sampled", seed) for seed in range(4000)])
    standard_error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() <= 4.5 * standard_error + 1e-6).all()
    assert expected.abs().max() > 0.1  # something to compare


def test_accumulating_over_passes_changes_nothing(tiny_folder):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(tiny_folder)
    players = Players(load_causal_model(tiny_folder, device=CPU, dtype=torch.float32), adapter="full")
    states = WorldTask(ChainWorld()).draw(random.Random(0), 5)
    made = rule_rewrites(WorldTask(ChainWorld()), states, 2, random.Random(1))
    groups = zip(states, made.members, strict=True)
    rows = [fresh_row(state, members, tokenizer, CHAIN_LAYOUT) for state, members in groups]
    one, many = (prm_gradient(players, rows, small(tiny_folder, states_per_pass=n), 0, 0) for n in (5, 2))
    assert torch.allclose(one, many, atol=1e-6)


def test_positives_keep_the_prm_from_calling_everything_wrong(tiny_folder, tmp_path):
    """Without untouched correct steps "always wrong" is R's best reply; with them it is not."""
    accepted = {}
    for share in (0.0, 0.6):
        settings = small(
            tiny_folder, adversary="rules", updates=24, prm_warm_steps=0, clean_share=share, replay_share=0.1,
            states_per_update=8, prm_learning_rate=6e-3,
        )  # fmt: skip
        train_aprm(settings, tmp_path / str(share))
        last = [json.loads(line) for line in (tmp_path / str(share) / "log.jsonl").open()][-5:]
        accepted[share] = sum(record["prm_accuracy_clean"] or 0.0 for record in last) / len(last)
    assert accepted[0.0] < 0.05
    assert accepted[0.6] > 0.5


def test_undecided_rewrites_train_nobody(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    players = Players(load_causal_model(tiny_folder, device=CPU, dtype=torch.float32), adapter="full")
    (state,) = WorldTask(ChainWorld()).draw(random.Random(0), 1)
    members = [(state.step, False), ("a is 1", None)]
    gradients = []
    for some in (members, members[:1]):
        row = fresh_row(state, some, tokenizer, CHAIN_LAYOUT)
        gradients.append(prm_gradient(players, [row], small(tiny_folder), 0, 0))
    assert torch.allclose(*gradients, atol=1e-6)


def test_pool_is_a_uniform_sample_and_survives_a_round_trip():
    counts = dict.fromkeys(range(20), 0)
    for seed in range(400):
        pool, rng = ReplayPool(5), random.Random(seed)
        for index in range(20):
            problem = Problem(str(index), "q", solution=("s",))
            pool.add(Rewrites([State(problem, 0)], [[rewrite("w", "wrong"), rewrite("u", "undecided")]]), rng)
        assert len(pool) == 5
        for state, members in pool.draw(rng, 5):
            counts[int(state.problem.id)] += 1
            assert members == [("w", False)]
    assert all(60 <= count <= 140 for count in counts.values())  # 100 expected
    again = ReplayPool(5)
    again.load_records(json.loads(json.dumps(pool.records())))
    assert again.records() == pool.records()


def test_step_sizes_rise_again_only_where_they_are_told_to(tiny_folder):
    whole = small(tiny_folder, rise_steps=3, updates=8)
    level = small(tiny_folder, rise_steps=3, updates=8, rise_again=False)
    frozen = small(tiny_folder, rise_steps=3, updates=8, adversary="frozen")
    first = whole.warm_steps
    for player in ("prm", "adversary"):
        assert whole.learning_rate_factor(first, player) < level.learning_rate_factor(first, player) / 2
        assert level.learning_rate_factor(first, player) == frozen.learning_rate_factor(first, player)


def test_defaults_respect_the_bound_of_the_one_step_game(tiny_folder):
    assert AprmSettings().monotone
    weak = {"prm_kl": 0.13, "prm_entropy": 0.0, "adversary_kl": 0.13}
    general = {"prm_objective": "expected", "reward_caught": 0.0}
    assert small(tiny_folder, **general, **weak).monotone  # 1/8 for (1, 0, c)
    assert not small(tiny_folder, prm_objective="log_score", **weak).monotone  # which needs 1/4
    none = {"prm_kl": 0.01, "prm_entropy": 0.0, "adversary_kl": 0.01}
    assert not small(tiny_folder, **general, **none).monotone
    # (1, -1, c): zero-sum, the default
    assert small(tiny_folder, prm_objective="expected", **none).monotone


@pytest.mark.parametrize(
    "changes",
    [{"clean_share": 0.9, "replay_share": 0.2}, {"task": "text"}, {"samples_per_state": 1}, {"updates": -1}],
)
def test_settings_that_make_no_sense_are_refused(tiny_folder, changes):
    with pytest.raises(ValidationError):
        small(tiny_folder, **changes)


@pytest.mark.parametrize(
    ("adapter", "objective"), [("full", "expected"), ("lora", "sampled"), ("full", "log_score")]
)
def test_whole_runs_write_what_they_promise(tiny_folder, tmp_path, adapter, objective):
    settings = small(
        tiny_folder,
        adapter=adapter,
        prm_objective=objective,
        adversary_epochs=2,
        prm_epochs=2,
        snapshot_every=2,
        lora_rank=4,
    )
    folder = train_aprm(settings, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert [record["step"] for record in log] == list(range(1, 11))
    assert [record["phase"] for record in log] == ["warm_prm"] * 3 + ["warm_adversary"] * 3 + ["game"] * 4
    needed = {
        "fool_rate", "caught", "failed", "undecided", "malformed", "prm_accuracy_clean", "prm_accuracy_fresh",
        "prm_accuracy_replayed", "prm_kl", "adversary_kl", "prm_entropy", "adversary_entropy", "approx_kl", "clipfrac",
        "prm_gradient_norm", "adversary_gradient_norm",
    }  # fmt: skip
    assert needed <= log[-1].keys()
    # The reference is the adversary at the game's start
    assert log[6]["adversary_kl"] == pytest.approx(0.0, abs=1e-6)
    assert {"config.json", "model.safetensors", "sparring.json", "README.md", "tokenizer.json"} <= {
        p.name for p in folder.iterdir()
    }
    assert sorted(p.name for p in (tmp_path / "run" / "snapshots").iterdir()) == [
        "000000",
        "000002",
        "000004",
    ]
    assert (
        json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]["training.updates"]["value"]
        == 4
    )
    assert not list((tmp_path / "run").rglob("*.bin")) and not list((tmp_path / "run").rglob("*.pt"))


def test_the_adversary_itself_plays_in_every_round(tiny_folder, tmp_path):
    """However large the frozen adversary's share, one state at least is its own."""
    settings = small(tiny_folder, updates=1, prm_warm_steps=1, adversary_warm_steps=1, frozen_share=0.95)
    train_aprm(settings, tmp_path)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["rewrites"] == settings.samples_per_state


def test_a_run_without_a_step_exports_the_start(tiny_folder, tmp_path):
    settings = small(tiny_folder, updates=0, prm_warm_steps=0, adversary_warm_steps=0)
    assert (train_aprm(settings, tmp_path) / "sparring.json").is_file()
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert metrics["training.tokens_per_second"]["value"] is None


def test_killed_and_resumed_runs_give_the_same_log_and_weights(tiny_folder, tmp_path):
    settings = small(
        tiny_folder,
        frozen_share=0.5,
        log_kinds=True,
        adversary_pay="rank",
        adversary_advantage="normalised",
        rule_kinds=["arithmetic"],
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_aprm(settings, whole)
    pairs = [f"{key}={value}" for key, value in settings.model_dump(exclude_unset=True).items()]
    killed(["train", "aprm", *pairs, "--out", str(broken)], 3)  # in the warm start, past a checkpoint

    def stop_in_the_game(step: int, record: dict) -> None:
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_aprm(settings, broken, resume=True, progress=stop_in_the_game)
    train_aprm(settings, broken, resume=True)
    assert log_of(broken) == log_of(whole)
    game = [record for record in log_of(whole) if record["phase"] == "game"]
    assert all(record["rewrites"] == 2 * 3 for record in game)  # half of the 4 states are the frozen one's
    assert all(record["fooled_kinds"].keys() == record["wrong_kinds"].keys() for record in game)
    one, other = ((folder / "prm" / "model.safetensors").read_bytes() for folder in (whole, broken))
    assert one == other


def test_a_run_without_a_checkpoint_begins_anew_and_says_so(tiny_folder, tmp_path, caplog):
    settings = small(tiny_folder, updates=1)

    def stop(step, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_aprm(settings, tmp_path / "run", progress=stop)
    assert not (tmp_path / "run" / "checkpoint").exists() and not caplog.records
    steps = []
    train_aprm(settings, tmp_path / "run", resume=True, progress=lambda step, record: steps.append(step))
    assert steps[0] == 1 and "holds no checkpoint yet" in caplog.text
