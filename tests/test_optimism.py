"""OGDA on games whose equilibrium and rate are known; plain gradients on the same games."""

from __future__ import annotations

import math

import pytest
import torch

from optimism import play as play_matrix
from sparring.training.aprm import OptimisticGradient


def play(matrix: torch.Tensor, curvature: float, rate: float, rounds: int, strength: float) -> list[float]:
    """Play min over x, max over y of xᵀMy + c/2(|x|² − |y|²) from ones; return the distances to the equilibrium at 0."""
    x = torch.nn.Parameter(torch.ones(matrix.shape[0], dtype=torch.float64))
    y = torch.nn.Parameter(torch.ones(matrix.shape[1], dtype=torch.float64))
    players = [(OptimisticGradient({"p": p}, strength), torch.optim.SGD([p], lr=rate)) for p in (x, y)]
    distances = []
    for _ in range(rounds):
        value = x @ matrix @ y + curvature / 2 * (x @ x - y @ y)
        x.grad, y.grad = torch.autograd.grad(value, [x, y])
        y.grad = -y.grad  # the second player ascends
        for optimism, optimizer in players:
            optimism.extrapolate()
            optimizer.step()
        distances.append(float((x @ x + y @ y).sqrt().detach()))
    return distances


def ogda_factor(eigenvalue: complex, rate: float) -> float:
    """Return the predicted factor per round: the largest root of z² − (1 − 2ηλ)z − ηλ = 0 for z' = (1 − 2ηλ)z + ηλ z₋₁."""
    b, c = -(1 - 2 * rate * eigenvalue), -rate * eigenvalue
    root = (b * b - 4 * c) ** 0.5
    return max(abs((-b + root) / 2), abs((-b - root) / 2))


@pytest.mark.parametrize("curvature", [0.0, 0.2])
def test_converges_at_the_predicted_linear_rate(curvature):
    rate = 0.1
    matrix = torch.eye(2, dtype=torch.float64)
    distances = play(matrix, curvature, rate, 1200, strength=1.0)
    predicted = ogda_factor(complex(curvature, 1.0), rate)
    measured = (distances[-1] / distances[-401]) ** (1 / 400)
    assert predicted < 1
    assert measured == pytest.approx(predicted, rel=1e-3)
    assert distances[-1] < distances[0] * predicted**1000


def test_plain_simultaneous_gradient_spirals_out_on_the_bilinear_game():
    distances = play(torch.eye(2, dtype=torch.float64), 0.0, 0.1, 300, strength=0.0)
    growth = (distances[-1] / distances[-101]) ** (1 / 100)
    assert growth == pytest.approx(math.sqrt(1 + 0.1**2), rel=1e-6)


def test_first_step_is_plain_and_later_ones_extrapolate():
    p = torch.nn.Parameter(torch.zeros(1))
    optimism = OptimisticGradient({"p": p})
    seen = []
    for gradient in (3.0, 5.0, 4.0):
        p.grad = torch.tensor([gradient])
        optimism.extrapolate()
        seen.append(float(p.grad))
    assert seen == [3.0, 7.0, 3.0]


def test_state_round_trip_continues_alike():
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    first, second = OptimisticGradient({"p": a}), OptimisticGradient({"p": b})
    a.grad = torch.tensor([1.0, 2.0])
    first.extrapolate()
    second.previous = dict(first.previous)
    for p, optimism in ((a, first), (b, second)):
        p.grad = torch.tensor([4.0, 0.0])
        optimism.extrapolate()
    assert a.grad.tolist() == b.grad.tolist() == [7.0, -2.0]


@pytest.mark.parametrize("method", ["plain", "optimistic", "extra"])
def test_in_matrix_games_every_method_converges_at_the_default_regularisation(method):
    """With τ = 0.26; what they do below it is measured by `benchmarks/optimism.py`."""
    assert play_matrix(method, "SGD", 0.26, 1.0, seed=0, rounds=250) < 0.01
