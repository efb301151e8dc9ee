"""Policy-gradient arithmetic against hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparring.training.policy_gradient import (
    bernoulli_entropy,
    bernoulli_kl,
    categorical_entropy,
    categorical_kl,
    clipped_surrogate,
    group_advantages,
    normalised_advantages,
    update_size,
)

LOG_ODDS = st.floats(-12, 12)


def test_clipped_surrogate_by_hand():
    # ratios 1.5 and 0.5, clip 0.2: gains are capped at 1.2·A, losses are not.
    log_probs = torch.log(torch.tensor([0.6, 0.2, 0.6, 0.2]))
    old = torch.log(torch.tensor([0.4, 0.4, 0.4, 0.4]))
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    value = clipped_surrogate(log_probs, old, advantages, 0.2)
    assert value.tolist() == pytest.approx([1.2, 0.5, -1.5, -0.8])


def test_clipped_gradient_vanishes_only_where_the_gain_is_capped():
    log_probs = torch.log(torch.tensor([0.6, 0.2, 0.6, 0.2])).requires_grad_()
    old = torch.log(torch.tensor([0.4, 0.4, 0.4, 0.4]))
    clipped_surrogate(log_probs, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2).sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([0.0, 0.5, -1.5, 0.0])


def test_update_size_by_hand():
    log_probs, old = torch.log(torch.tensor([0.6, 0.4, 0.1])), torch.log(torch.tensor([0.4, 0.4, 0.9]))
    approx_kl, clipfrac = update_size(log_probs, old, 0.2, torch.tensor([1.0, 1.0, 0.0]))
    assert approx_kl == pytest.approx((1.5 - 1 - math.log(1.5)) / 2)
    assert clipfrac == pytest.approx(0.5)


def test_group_advantages_leave_one_out_and_ignore_weightless_samples():
    rewards = torch.tensor([[1.0, 0.0, -1.0], [1.0, 5.0, 0.0], [7.0, 7.0, 7.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    advantages = group_advantages(rewards, weights)
    assert advantages[0].tolist() == pytest.approx([1.5, 0.0, -1.5])
    assert advantages[1].tolist() == pytest.approx([1.0, 0.0, -1.0])
    assert advantages[2].tolist() == [0.0, 0.0, 0.0]


@given(st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_group_advantages_do_not_change_with_a_constant(rows):
    rewards = torch.tensor(rows, dtype=torch.float64)
    ones = torch.ones_like(rewards)
    assert torch.allclose(group_advantages(rewards, ones), group_advantages(rewards + 5, ones), atol=1e-9)


def test_normalised_advantages_do_not_change_with_the_scale_of_a_group():
    rewards = torch.tensor([[1.0, 0.0, -1.0], [0.01, 0.0, -0.01], [3.0, 3.0, 3.0], [1.0, 9.0, 0.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    found = normalised_advantages(rewards, weights, floor=0.0)[[0, 1, 3]]
    assert torch.allclose(found[0], torch.tensor([1.5, 0.0, -1.5]) / math.sqrt(2 / 3))
    assert torch.allclose(found[1], found[0], atol=1e-5)
    assert found[2].tolist() == pytest.approx([2.0, 0.0, -2.0])
    assert normalised_advantages(rewards, weights)[2].tolist() == [0.0, 0.0, 0.0]


@given(LOG_ODDS, LOG_ODDS)
def test_bernoulli_forms_agree_with_the_categorical_ones(x, y):
    a, b = torch.tensor([x], dtype=torch.float64), torch.tensor([y], dtype=torch.float64)
    two = torch.stack([a, torch.zeros_like(a)], dim=-1)
    reference = torch.stack([b, torch.zeros_like(b)], dim=-1)
    assert torch.allclose(bernoulli_kl(a, b), categorical_kl(two, reference), atol=1e-9)
    assert torch.allclose(bernoulli_entropy(a), categorical_entropy(two), atol=1e-9)


def test_kl_and_entropy_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert float(categorical_kl(p.log(), q.log())) == pytest.approx(expected, rel=1e-5)
    assert float(categorical_entropy(p.log())) == pytest.approx(math.log(2))
    assert float(categorical_kl(p.log(), p.log())) == 0.0
