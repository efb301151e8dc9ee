"""Are scores probabilities? Calibration error, reliability, and the two numbers that mend them (Platt 1999).

Contract: pure functions of scores in [0, 1] and labels in [0, 1]. The map is score → sigmoid(scale · logit(score) + shift),
which is what a sidecar can hold; scale stays positive, so that the order of scores, and every AUC, is untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparring.errors import DataError
from sparring.statistics import Floats, finite

_EDGE = 1e-6  # scores of exactly 0 or 1 have no finite logit
_LEAST_SCALE = 1e-3
_PRIOR = 1.0  # strength of the pull towards (1, 0): one case's worth, so that separable cases have a solution


@dataclass(frozen=True, slots=True)
class PlattMap:
    """score → sigmoid(scale · logit(score) + shift)."""

    scale: float
    shift: float

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the mapped scores."""
        return sigmoid(self.scale * logit(scores) + self.shift)


def logit(scores: ArrayLike) -> Floats:
    """Return log-odds; scores closer than 10⁻⁶ to 0 or 1 are taken at that distance."""
    inner = np.clip(finite(scores), _EDGE, 1 - _EDGE)
    return np.log(inner) - np.log1p(-inner)


def sigmoid(numbers: Floats) -> Floats:
    """Return 1 / (1 + e^−x) without overflow."""
    return np.exp(-np.logaddexp(0.0, -numbers))


def brier(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the squared error of every case; its mean is the Brier score."""
    return (finite(scores) - finite(labels)) ** 2


def fit_platt(scores: ArrayLike, labels: ArrayLike, *, iterations: int = 100) -> PlattMap:
    """Return the map with the highest likelihood of the labels (soft ones count as shares), by damped Newton steps.

    Raises:
        DataError: only one kind of label.
    """
    inputs, targets = logit(scores), finite(labels)
    if len(targets) == 0 or targets.min() >= 0.5 or targets.max() < 0.5:
        raise DataError("calibration needs steps that are right and steps that are wrong, there is one kind")
    design = np.stack([inputs, np.ones_like(inputs)], axis=1)
    start = np.array([1.0, 0.0])

    def loss(weights: Floats) -> float:
        odds = design @ weights
        cost = np.logaddexp(0.0, odds) - targets * odds
        return float(cost.sum() + _PRIOR * ((weights - start) ** 2).sum() / 2)

    weights, value = start, loss(start)
    for _ in range(iterations):
        chances = sigmoid(design @ weights)
        gradient = design.T @ (chances - targets) + _PRIOR * (weights - start)
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design + _PRIOR * np.eye(2)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-8 and loss(weights - size * step) > value:
            size /= 2
        moved = weights - size * step
        if value - loss(moved) < 1e-10:
            break
        weights, value = moved, loss(moved)
    if weights[0] < _LEAST_SCALE:  # scores that are wrong way round: all that can be learned is the share
        share = (targets.sum() + 0.5) / (len(targets) + 1)
        return PlattMap(_LEAST_SCALE, float(np.log(share / (1 - share))))
    return PlattMap(float(weights[0]), float(weights[1]))
