"""Reinforcement learning: what is rewarded and what is not, gradients against formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rl_data import CPU, answer, random_prm, small
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.roles import Policy
from sparring.training.rl import (
    batches_of,
    give_credit,
    improve,
    log_probs_before,
    objective,
    play_update,
    setup,
)
from sparring.training.rl_scores import Answer, load_prm_scores, values_of
from sparring.training.rl_settings import RlSettings


@pytest.fixture(scope="module")
def value_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("value") / "value", "value")


def test_tokens_carry_the_outcome_and_their_step(tiny_folder, value_folder, tmp_path):
    run = setup(small(tiny_folder, max_new_tokens=20, credit="progress", prm=str(value_folder)), tmp_path)
    whole, other = answer("a b", "c d", outcome=1.0), answer("a b")
    give_credit([[whole, other]], run.scores, run.settings, 0)
    group = [whole, other]
    rows = values_of(run.scores, run.scores.rows([group], 0)[0], group, run.settings, best_of=4)
    steps = np.diff(rows[0])
    assert whole.advantages.tolist() == pytest.approx([1 + steps[0]] * 2 + [1 + steps[1]] * 3)
    assert len(other.advantages) == 3
    # Above the value of the prefix instead of the group's mean, which may go together with progress.
    settings = run.settings.model_copy(update={"baseline": "prefix", "process_weight": 2.0})
    give_credit([group], run.scores, settings, 0)
    own = values_of(run.scores, run.scores.rows([group], 0)[0], group, settings)[0]
    wanted = [1 - own[h] + 2.0 * steps[h] for h in (0, 0, 1, 1, 1)]
    assert whole.advantages.tolist() == pytest.approx(wanted)
    give_credit([group], run.scores, settings.model_copy(update={"credit": "outcome"}), 0)
    assert whole.advantages.tolist() == pytest.approx([1 - own[h] for h in (0, 0, 1, 1, 1)])


@pytest.mark.parametrize("cut_answers", ["penalised", "failed", "left_out"])
def test_a_cut_answer_is_penalised_or_failed_or_left_out(tiny_folder, tmp_path, monkeypatch, cut_answers):
    run = setup(small(tiny_folder, cut_answers=cut_answers), tmp_path)
    groups = [
        [answer("x", outcome=1.0), answer("y"), answer("z", finish="length")],
        [answer(finish="length")] * 3,
    ]
    monkeypatch.setattr(run.sampler, "answers", lambda problems, samples, seed: groups)
    seen = []
    monkeypatch.setattr(
        "sparring.training.rl.improve", lambda run, answers: seen.extend(answers) or {"trained_tokens": 0}
    )
    record = play_update(run)
    assert record["truncated"] == pytest.approx(4 / 6)
    advantages = [item.advantages[0] for item in seen]
    if cut_answers == "left_out":
        assert [item.steps for item in seen] == [("x",), ("y",)]
        assert advantages == pytest.approx([1.0, -1.0])  # the cut one is in no baseline
    else:
        assert seen == [item for group in groups for item in group]
        wanted = [1.0, -0.5, -0.5] if cut_answers == "failed" else [1.5, 0.0, -1.5]
        assert advantages == pytest.approx([*wanted, 0.0, 0.0, 0.0])


def test_where_nothing_succeeds_an_answer_that_does_not_end_costs_more_than_one_that_ends(
    tiny_folder, value_folder, tmp_path
):
    run = setup(small(tiny_folder, credit="progress", prm=str(value_folder), gate="oracle"), tmp_path)
    group = [answer("a"), answer("a", "b", finish="length")]
    group[0].truths, group[1].truths = ("correct",), ("correct", "wrong")
    give_credit([group], run.scores, run.settings, 0)
    ended, cut = (item.advantages for item in group)
    assert ended.max() > cut.max() and cut.max() < -0.5
    assert all(item.outcome == 0 for item in group)


def test_the_value_of_a_cut_answer_is_known_to_be_nothing(tiny_folder, value_folder):
    settings = small(tiny_folder, credit="progress", prm=str(value_folder), best_of=1)
    source = load_prm_scores(settings, value_folder)
    group = [answer("a", "b", finish=finish) for finish in ("end", "length")]
    found = values_of(source, [np.array([0.5, 0.75])] * 2, group, settings)
    assert [row.tolist() for row in found] == [[0.5, 0.5, 0.75], [0.5, 0.5, 0.0]]


def policy_of(folder: Path, **options: object) -> Policy:
    model = load_causal_model(folder, device=CPU, dtype=torch.float32)
    return Policy(model, pad_id=0, **({"adapter": "full"} | options))


def gradients(policy: Policy, answers: list[Answer], settings: RlSettings) -> torch.Tensor:
    loss, _ = objective(policy, answers, settings)
    named = policy.parameters()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def with_advantages(*pairs: tuple[Answer, list[float]]) -> list[Answer]:
    for item, values in pairs:
        item.advantages = np.array(values)
    return [item for item, _ in pairs]


def test_the_gradient_is_that_of_reinforce_and_padding_and_prompts_have_no_part_in_it(tiny_folder):
    policy = policy_of(tiny_folder)
    settings = small(tiny_folder, kl=0.0, objective="reinforce")
    short, long = answer("a"), answer("a", "b", "c")
    pairs = [(short, [1.0, -0.5, 2.0]), (long, [0.3, 0, 0, 0, 0, 0, -1.0])]
    for item, _ in pairs:  # the log-probabilities that an engine on these weights reports
        out = policy.outputs([(item.prompt, item.completion.token_ids)])
        object.__setattr__(item.completion, "log_probabilities", tuple(out.log_probs.tolist()))
    together = gradients(policy, with_advantages(*pairs), settings)
    alone = sum(gradients(policy, with_advantages(pair), settings) for pair in pairs)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)  # padding has no part

    by_hand = torch.zeros(())
    for item, values in pairs:
        ids = torch.tensor([[*item.prompt, *item.completion.token_ids]])
        log_probs = torch.log_softmax(policy.model(input_ids=ids).logits[0], dim=-1)
        for place, value in enumerate(values):
            column = len(item.prompt) + place
            by_hand = by_hand - value * log_probs[column - 1, ids[0, column]]
    wanted = torch.autograd.grad(by_hand, list(policy.parameters().values()))
    torch.testing.assert_close(together, torch.cat([g.flatten() for g in wanted]), atol=1e-5, rtol=1e-4)


def test_without_advantages_there_is_no_gradient_and_the_rest_pulls_to_the_reference(tiny_folder):
    policy = policy_of(tiny_folder)
    item = with_advantages((answer("a", "b"), [0.0] * 5))
    settings = small(tiny_folder, kl=1.0)
    assert gradients(policy, item, settings).abs().max() < 1e-6  # it is the reference: KL is at its minimum
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter += 0.05 * torch.randn_like(parameter)
    before = objective(policy, item, settings)[1]["kl_per_token"]
    optimizer = torch.optim.SGD(policy.parameters().values(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        objective(policy, item, settings)[0].backward()
        optimizer.step()
    assert 0 < objective(policy, item, settings)[1]["kl_per_token"] < before


def test_ratios_are_per_token_and_clipped(tiny_folder):
    policy = policy_of(tiny_folder)
    item = answer("a")
    out = policy.outputs([(item.prompt, item.completion.token_ids)])
    # The policy is now twice as likely to write each token as the one that sampled it was.
    sampled = tuple((out.log_probs - np.log(2.0)).tolist())
    object.__setattr__(item.completion, "log_probabilities", sampled)
    item.advantages = np.array([1.0, -1.0, 0.0])
    own = {"kl": 0.0, "sampler_cap": None}
    _, clipped = objective(policy, [item], small(tiny_folder, **own))
    _, plain = objective(policy, [item], small(tiny_folder, **own, objective="reinforce"))
    assert clipped["policy_loss"] == pytest.approx(-(1.2 - 2.0), abs=1e-4)
    assert plain["policy_loss"] == pytest.approx(0.0, abs=1e-4)
    assert clipped["clipfrac"] == pytest.approx(3.0)


@pytest.mark.parametrize("kind", ["ppo", "reinforce"])
def test_what_the_sampler_rounds_otherwise_weighs_tokens_and_clips_none(tiny_folder, kind):
    policy = policy_of(tiny_folder)
    item = answer("a")
    row = (item.prompt, item.completion.token_ids)
    log_probs = policy.outputs([row]).log_probs.detach()
    item.advantages = np.array([1.0, -1.0, 2.0])
    # The sampler wrote the tokens with 1/1.5, 1/4 and 2 times the policy's probability; at most 2 counts.
    sampler = log_probs - torch.log(torch.tensor([1.5, 4.0, 0.5]))
    object.__setattr__(item.completion, "log_probabilities", tuple(sampler.tolist()))
    settings = small(tiny_folder, kl=0.0, objective=kind)
    _, sums = objective(policy, [item], settings)
    assert sums["policy_loss"] == pytest.approx(-(1.5 * 1.0 - 2.0 * 1.0 + 0.5 * 2.0), abs=1e-4)
    assert sums["clipfrac"] == 0.0 and sums["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert sums["sampler_kl"] == pytest.approx(sum(r - 1 - np.log(r) for r in (1.5, 4.0, 0.5)), abs=1e-4)
    found = gradients(policy, [item], settings)
    by_hand = -(policy.outputs([row]).log_probs * torch.tensor([1.5, -2.0, 1.0])).sum()
    wanted = torch.autograd.grad(by_hand, list(policy.parameters().values()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in wanted]), atol=1e-5, rtol=1e-4)
    # After the policy has moved, its own ratio is on top of that: e^0.1 here, inside the clip.
    moved = objective(policy, [item], settings, {row: (log_probs - 0.1).tolist()})[1]
    weights = np.minimum(np.exp(-0.1) * np.array([1.5, 4.0, 0.5]), 2.0)
    assert moved["policy_loss"] == pytest.approx(-float(np.exp(0.1) * weights @ item.advantages), abs=1e-4)


def test_several_steps_per_update_are_compared_with_the_policy_before_all_of_them(tiny_folder, tmp_path):
    settings = small(tiny_folder, epochs=2, minibatches=2, learning_rate=0.01, rise_updates=0, kl=0.0)
    run = setup(settings, tmp_path)
    answers = with_advantages((answer("a"), [1.0] * 3), (answer("b", "c"), [1.0, 1.0, 0.0, 0.0, -1.0]))
    before = log_probs_before(run, answers)
    assert before.keys() == {one.row for one in answers}
    seen = []
    run_objective = objective

    def watched(policy, chosen, settings, given):
        assert given == before
        seen.append(policy.version)
        return run_objective(policy, chosen, settings, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparring.training.rl.objective", watched)
        record = improve(run, answers)
    assert len(set(seen)) == 4 and record["approx_kl"] > 0


def test_the_engine_samples_with_the_weights_and_the_distribution_that_are_trained(tiny_folder, tmp_path):
    for changes in ({"temperature": 0.7}, {"adapter": "lora", "lora_rank": 4, "learning_rate": 0.05}):
        run = setup(small(tiny_folder, **changes), tmp_path)
        for _ in range(2):  # also after the weights have moved
            answers = [a for g in run.sampler.answers(run.subject.held_out, 3, 1) for a in g]
            out = run.policy.outputs([(a.prompt, a.completion.token_ids) for a in answers])
            engine = [x for a in answers for x in a.completion.log_probabilities]
            assert out.log_probs.tolist() == pytest.approx(engine, abs=1e-4)
            for place, item in enumerate(answers):
                item.advantages = np.full(len(item.completion.token_ids), (-1.0) ** place)
            record = improve(run, answers)
            assert record["sampler_kl"] < 1e-6 and record["gradient_norm"] > 0


def test_an_adapter_learns_and_its_reference_stays(tiny_folder, tmp_path):
    policy = policy_of(tiny_folder, adapter="lora", lora_rank=4)
    rows = [((4, 5, 6), (7, 8, 9))]
    start = policy.reference_logits(rows)
    torch.testing.assert_close(policy.outputs(rows).logits.detach(), start)
    assert all("lora_" in name for name in policy.parameters())
    settings = small(tiny_folder, kl=0.1)
    optimizer = torch.optim.SGD(policy.parameters().values(), lr=1.0)
    objective(policy, with_advantages((answer("a"), [1.0, 1.0, 1.0])), settings)[0].backward()
    optimizer.step()
    torch.testing.assert_close(policy.reference_logits(rows), start)
    moved = policy.outputs(rows).logits.detach()
    assert (moved - start).abs().max() > 1e-4
    policy.save(tmp_path / "merged", load_tokenizer(tiny_folder), "")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    found = merged(input_ids=torch.tensor([[4, 5, 6, 7, 8, 9]])).logits[0, 2:5]
    torch.testing.assert_close(found, moved, atol=1e-4, rtol=1e-4)


def test_a_value_function_learns_the_returns_and_moves_nothing_else(tiny_folder, tmp_path):
    settings = small(
        tiny_folder, baseline="value", learning_rate=1e-9, value_learning_rate=0.1, rise_updates=0
    )
    run = setup(settings, tmp_path)
    answers = with_advantages((answer("a"), [1.0] * 3), (answer("b", "c"), [1.0, 1.0, 0.0, 0.0, 0.0]))
    losses = [improve(run, answers)["value_loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    body = [p.grad for name, p in run.policy.parameters().items() if not name.startswith("value.")]
    assert all(gradient is None for gradient in body)  # cleared
    objective(run.policy, answers, settings)[0].backward()
    # With the advantage taken out only the value's loss is left, and it reaches its own head alone.
    run.parts["policy"].optimizer.zero_grad()
    out = run.policy.outputs([(a.prompt, a.completion.token_ids) for a in answers])
    out.values.sum().backward()
    assert all((p.grad is None) != name.startswith("value.") for name, p in run.policy.parameters().items())


def test_equal_answers_count_as_often_as_they_are_there(tiny_folder):
    policy = policy_of(tiny_folder)
    settings = small(tiny_folder, kl=0.5, entropy=0.1)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter += 0.01 * torch.randn_like(parameter)
    pairs = [(answer("a"), [1.0] * 3), (answer("b", "c"), [0.5] * 5), (answer("a"), [-2.0, 0.0, 1.0])]
    assert pairs[0][0].row == pairs[2][0].row
    together = gradients(policy, with_advantages(*pairs), settings)
    alone = sum(gradients(policy, with_advantages(pair), settings) for pair in pairs)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    sums = [
        objective(policy, with_advantages(*chosen), settings)[1] for chosen in (pairs, *([p] for p in pairs))
    ]
    for name, value in sums[0].items():
        assert value == pytest.approx(sum(part[name] for part in sums[1:]), rel=1e-4, abs=1e-4), name


def test_answers_that_share_a_row_have_the_gradient_of_separate_rows(tiny_folder):
    settings = small(tiny_folder, kl=0.5, entropy=0.1)
    pairs = [
        (answer("a"), [1.0] * 3), (answer("b", "c"), [0.5] * 5), (answer("d", "e", "f"), [-2.0] * 7),
        (replace(answer("a", "b"), prompt=(7, 8, 9, 10)), [1.0, 0.0, 0.0, -1.0, 1.0]),
    ]  # fmt: skip
    for item, _ in pairs:  # answers to one problem are not all alike
        ids = tuple(token + len(item.steps) for token in item.completion.token_ids)
        object.__setattr__(item.completion, "token_ids", ids)
    found = {}
    for branches in (1, 2, 4):
        policy = policy_of(tiny_folder, value_head=True, branches=branches)
        rows = [item.row for item, _ in pairs]
        assert [len(group) for group in policy.in_rows(rows)] == {1: [1] * 4, 2: [2, 1, 1], 4: [3, 1]}[
            branches
        ]
        with torch.no_grad():
            policy.value_head.weight.fill_(0.1)
            next(iter(policy.parameters().values())).add_(0.01)
        found[branches] = (gradients(policy, with_advantages(*pairs), settings), policy.outputs(rows).values)
    for branches in (2, 4):
        for one, other in zip(found[branches], found[1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_batches_keep_answers_that_share_a_row_together(tiny_folder):
    policy = policy_of(tiny_folder, branches=2)
    prompts = [(4, 5, 6), (4, 7), (4, 5, 6), (4, 7), (4, 5, 6)]
    rows = [(prompt, tuple(range(5, 6 + place))) for place, prompt in enumerate(prompts)]
    batches = batches_of(policy, rows, 8)
    assert sorted(row for batch in batches for row in batch) == sorted(rows)
    assert sorted(len(unit) for batch in batches for unit in policy.in_rows(batch)) == [1, 2, 2]
    alone = policy_of(tiny_folder)
    assert [row for batch in batches_of(alone, rows, 1) for row in batch] == sorted(
        rows, key=lambda row: -sum(map(len, row))
    )
