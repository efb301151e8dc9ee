"""What a validation split says about a scorer: loss, accuracy, AUC and calibration.

Contract: plain numpy on log-odds and targets in [0, 1]; intervals are over problems, since steps of one problem are not
independent: 95 % bootstraps, of fewer than 20 problems Student's with the jackknife's error, cut at what is possible. A
soft target counts as positive from 0.5 on for accuracy and AUC; calibration error and loss use it as it is.

Not here: models, splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.runs import Metric
from sparring.statistics import (
    WeightedAuc,
    auc,
    bootstrap_mean,
    bootstrap_weighted,
    expected_calibration_error,
    platt_scaling,
)

Floats = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """Log-odds, targets, weights in the loss, and the problem of every judged step: four lists of one length."""

    log_odds: Floats
    targets: Floats
    weights: Floats
    groups: Sequence[str]

    @property
    def scores(self) -> Floats:
        """The probabilities."""
        return 1 / (1 + np.exp(-np.clip(self.log_odds, -500, 500)))


def log_loss(log_odds: Floats, targets: Floats) -> Floats:
    """Return the cross-entropy of each probability sigmoid(log_odds) with its target, in nats."""
    return np.logaddexp(0.0, log_odds) - targets * log_odds


def quick_statistics(judged: Judged) -> dict[str, float | None]:
    """Return loss (weighted as in training), accuracy, AUC and calibration error, without intervals."""
    positive = judged.targets >= 0.5
    return {
        "loss": float(np.average(log_loss(judged.log_odds, judged.targets), weights=judged.weights)),
        "accuracy": float(np.mean((judged.log_odds >= 0) == positive)),
        "auc": auc(judged.scores, positive),
        "ece": expected_calibration_error(judged.scores, judged.targets),
    }


def validation_metrics(judged: Judged, raw: Judged, seed: int) -> dict[str, Metric]:
    """Return the final metrics of calibrated scores, with intervals over problems; the loss is not weighted here.

    The AUC is that of the scores before calibration (`raw`): the two halves of `cross_calibrated` have no common scale.
    """
    losses = log_loss(judged.log_odds, judged.targets)
    positive = judged.targets >= 0.5
    right = ((judged.log_odds >= 0) == positive).astype(np.float64)
    scores, size = judged.scores, len(losses)

    def mean(values: Floats, unit: str, bounds: tuple[float, float] | None = None) -> Metric:
        return bootstrap_mean(
            values, clusters=judged.groups, resamples=_RESAMPLES, seed=seed, unit=unit, bounds=bounds
        )

    return {
        "validation.loss": mean(losses, "nats", (0.0, np.inf)),
        "validation.accuracy": mean(right, "fraction"),
        "validation.auc": bootstrap_weighted(
            WeightedAuc(raw.scores, positive),
            size,
            clusters=judged.groups,
            resamples=_RESAMPLES,
            seed=seed,
            unit="fraction",
        ),
        # Without an interval: noise makes a calibration error larger, a resample more so.
        "validation.ece": Metric(expected_calibration_error(scores, judged.targets), n=size, unit="fraction"),
        "validation.share_positive": mean(positive.astype(np.float64), "fraction"),
        "validation.problems": Metric(float(len(set(judged.groups)))),
    }


def cross_calibrated(judged: Judged) -> Judged:
    """Return the same steps with log-odds calibrated on the other half of the problems, for an honest measurement."""
    sides = np.array([sorted(set(judged.groups)).index(group) % 2 for group in judged.groups])
    if len(set(sides.tolist())) < 2:
        return judged
    calibrated = judged.log_odds.copy()
    for side in (0, 1):
        scale, shift = platt_scaling(judged.log_odds[sides != side], judged.targets[sides != side])
        calibrated[sides == side] = scale * judged.log_odds[sides == side] + shift
    return Judged(calibrated, judged.targets, judged.weights, judged.groups)
