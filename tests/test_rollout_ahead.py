"""Answers one update ahead: from which weights, beside what, and the same after a kill."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import pytest
import torch

from conftest import log_of
from rl_data import killed_run, small
from sparring.models.fused_lora import fuse
from sparring.rollouts.engine import EngineError
from sparring.rollouts.local import LocalEngine
from sparring.training import rl
from sparring.training.rl import play_update, setup, train_rl
from sparring.training.rl_tasks import Sampler
from sparring.training.run import random_for

LIVELY = {"learning_rate": 2e-2, "rise_updates": 0, "entropy": 1.0, "outcome_weight": 1.0}


def stale(folder: Any, **changes: Any) -> Any:
    return small(folder, **(LIVELY | {"staleness": 1} | changes))


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_an_update_trains_on_answers_of_the_weights_before_the_last_one(tiny_folder, tmp_path, adapter):
    run = setup(stale(tiny_folder, adapter=adapter), tmp_path)
    fresh = Sampler(run.policy, run.tokenizer, run.sampler.layout, run.subject.checker, run.settings)
    expected: list[Any] = []
    taken: list[Any] = []
    take = run.rollouts.take

    def watched(step: int) -> Any:
        groups = take(step)
        taken.append([[answer.completion for answer in group] for group in groups])
        return groups

    run.rollouts.take = watched  # type: ignore[method-assign]
    for step in range(run.settings.updates):
        for ahead in (step, step + 1) if step == 0 else (step + 1,):
            problems = run.subject.draw(random_for(run.settings.seed, ahead, "problems"), 3)
            seed = rl.seed_from(run.settings.seed, ahead, "rollouts")
            answers = fresh.answers(problems, 3, seed)
            expected.append([[answer.completion for answer in group] for group in answers])
        record = play_update(run)
        assert (record["sampler_kl"] < 1e-6) == (step == 0)
        run.step += 1
    assert taken == expected[: run.settings.updates]


def test_the_first_update_is_that_of_fresh_answers(tiny_folder, tmp_path):
    for staleness in (0, 1):
        train_rl(stale(tiny_folder, staleness=staleness, updates=2), tmp_path / str(staleness))
    fresh, ahead = log_of(tmp_path / "0"), log_of(tmp_path / "1")
    assert fresh[0] == ahead[0] and fresh[1] != ahead[1]


def test_answers_are_sampled_while_an_update_is_made(tiny_folder, tmp_path, monkeypatch):
    begun = threading.Event()
    sample, improve = LocalEngine.sample, rl.improve

    def sampling(self: LocalEngine, *arguments: Any, **named: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
        return sample(self, *arguments, **named)

    def improving(*arguments: Any) -> Any:
        assert begun.wait(60)
        begun.clear()
        return improve(*arguments)

    monkeypatch.setattr(LocalEngine, "sample", sampling)
    monkeypatch.setattr(rl, "improve", improving)
    run = setup(stale(tiny_folder), tmp_path)
    for _ in range(3):
        play_update(run)
        run.step += 1


def test_the_same_again_and_after_a_kill(tiny_folder, tmp_path):
    settings = stale(tiny_folder, adapter="lora", updates=6, checkpoint_every=2, watch_every=3)
    first = train_rl(settings, tmp_path / "first")
    killed_run(settings, tmp_path / "killed", updates=3)
    second = train_rl(settings, tmp_path / "killed", resume=True)
    for name in ("log", "watch"):
        assert log_of(tmp_path / "first", name) == log_of(tmp_path / "killed", name)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_frozen_weights_are_shared_with_the_engine_beside(tiny_folder, tmp_path):
    run = setup(stale(tiny_folder, adapter="lora"), tmp_path)
    engine: Any = run.sampler.engine
    own, theirs = dict(engine.model.named_parameters()), dict(run.policy.model.named_parameters())
    assert {name for name in own if own[name] is not theirs[name]} == set(run.policy.parameters())
    assert engine.tokenizer is not run.tokenizer


def test_what_was_kept_for_writing_is_let_go_by_who_wrote(tiny_folder, tmp_path):
    run = setup(stale(tiny_folder, adapter="lora", kl=None), tmp_path)
    engine: Any = run.sampler.engine
    twins = [one for one in engine.model.modules() if hasattr(one, "kept")]
    policys = [one for one in run.policy.model.modules() if hasattr(one, "kept")]
    assert twins and len(twins) == len(policys)
    kept: list[bool] = []
    twins[0].register_forward_hook(lambda layer, *_: kept.append(layer.kept is not None))
    mark = object()  # as if the policy were computing while the thread samples
    for layer in policys:
        layer.kept = mark
    run.rollouts.take(0)
    run.rollouts.values()  # the thread is done
    assert any(kept) and all(layer.kept is None for layer in twins)
    assert all(layer.kept is mark for layer in policys)
    fuse(policys)
    [[answer]] = run.sampler.answers(run.subject.held_out[:1], 1, 0)
    with torch.no_grad():
        run.policy.outputs([(answer.row[0][:1], answer.row[1][:1])])
    assert all(layer.kept is None for layer in policys)


def failing_run(settings: Any, out: Any, fails: Any, monkeypatch: Any) -> int:
    """Run with an engine that is out of order where `fails(prefixes)`; return the update of its checkpoint."""
    sample = LocalEngine.sample

    def failing(self: LocalEngine, prefixes: Any, *arguments: Any, **named: Any) -> Any:
        if fails(prefixes):
            raise EngineError("out of order")
        return sample(self, prefixes, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "sample", failing)
        with pytest.raises(EngineError, match="out of order"):
            train_rl(settings, out)
    step: int = json.loads((out / "checkpoint" / "state.json").read_text())["step"]
    return step


@pytest.mark.parametrize(
    "every", [100, 2]
)  # what comes next is the update that needs the answers, or a checkpoint
def test_what_goes_wrong_beside_is_raised_and_nothing_is_lost(tiny_folder, tmp_path, monkeypatch, every):
    settings = stale(tiny_folder, checkpoint_every=every, watch_every=100)
    train_rl(settings, tmp_path / "whole")
    calls = itertools.count(1)
    assert failing_run(settings, tmp_path / "run", lambda _: next(calls) == 4, monkeypatch) == 2
    assert len(log_of(tmp_path / "run")) == 2
    train_rl(settings, tmp_path / "run", resume=True)
    whole, run = log_of(tmp_path / "whole"), log_of(tmp_path / "run")
    assert run[:2] == whole[:2] and len(run) == settings.updates


def test_nothing_is_lost_where_longer_problems_cannot_be_answered(tiny_folder, tmp_path, monkeypatch):
    settings = stale(tiny_folder, watch_longer=1, watch_every=3, checkpoint_every=100)
    calls = itertools.count(1)  # of one problem: the longer one, at the start and after three updates
    assert failing_run(settings, tmp_path, lambda p: len(p) == 1 and next(calls) == 2, monkeypatch) == 3


def test_a_run_that_is_stopped_needs_no_more_answers(tiny_folder, tmp_path, monkeypatch):
    settings = stale(tiny_folder, watch_every=2, checkpoint_every=100)
    sample, hacked, calls = LocalEngine.sample, "reward hacking", itertools.count(1)

    def failing(self: LocalEngine, *arguments: Any, **named: Any) -> Any:
        if next(calls) == 4:  # the answers of update 3, which the stop after update 2 makes needless
            raise EngineError("out of order")
        return sample(self, *arguments, **named)

    monkeypatch.setattr(LocalEngine, "sample", failing)
    monkeypatch.setattr(rl, "hacked", lambda evaluations: hacked if len(evaluations) == 2 else None)
    train_rl(settings, tmp_path)
    values = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert values["step"] == len(log_of(tmp_path)) == 2 and "ahead" not in values


def test_a_checkpoint_of_fresh_answers_holds_none(tiny_folder, tmp_path):
    run = setup(stale(tiny_folder, staleness=0), tmp_path)
    play_update(run)
    assert run.values() == {}
    assert torch.is_tensor(next(iter(run.policy.parameters().values())))
