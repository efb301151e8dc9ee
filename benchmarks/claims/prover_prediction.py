"""Can the gain from a prover be predicted before training? Theorem 3.1's terms against the gain, with every value exact.

Twenty provers per random planted world: several strengths, with and without noise of their own, and the base policy's best
of K. Each is given to the base policy as progress reward; the gain is the success over the first updates minus that of the
outcome alone, at the same step size (the theorem's setting) and at the same KL. A predictor sees only the base policy and
the prover before any update; its record is the rank correlation (Spearman) with the gain over the provers of one world.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from claims.harness import Aim, Claim, Experiment, Point, Record
from claims.prover_strength import BASES, STEPS, kl_step, random_case
from pav_theorem import Floats, alignment, distinguishability, natural_gradient_step
from planted_world import PlantedWorld

STRENGTHS = (2, 5, 10, 20, 50, 100, 1000)
BEST_OF = (1, 2, 4, 16, 64, 1024)
HORIZONS = (1, 5, 20)
PREDICTORS = {
    "sum": "distinguishability + alignment (the bound of Theorem 3.1)",
    "distinguishability": "E Var_π A^μ",
    "alignment": "E Cov_π(A^π, A^μ): the exact first-order gain, up to what all provers share",
    "scaled_alignment": "alignment divided by the root of the effective reward's variance: first-order gain per nat",
    "strength": "the prover's own success rate",
}


def provers(world: PlantedWorld, base: Floats, seed: int) -> list[tuple[Floats, float]]:
    """Return every prover's (Q, success from the start)."""
    random = np.random.default_rng([seed, 2])
    found = []
    for strength in STRENGTHS:
        for noise in (0.0, 2.0):
            table = np.broadcast_to(world.prover(strength), base.shape)
            noisy = table * np.exp(random.normal(0.0, noise, size=table.shape))
            action, state = world.values(noisy / noisy.sum(axis=2, keepdims=True))
            found.append((action, float(state[0, 0])))
    action, state = world.values(base)
    found += [(1 - (1 - action) ** k, float(1 - (1 - state[0, 0]) ** k)) for k in BEST_OF]
    return found


def predictions(world: PlantedWorld, base: Floats, action: Floats, strength: float) -> dict[str, float]:
    """Return what every predictor says of a prover."""
    own, _ = world.values(base)
    visits = world.visits(base)
    spread = float((visits * distinguishability(base, action)).sum())
    agreement = float((visits * alignment(base, action, own)).sum())
    own_spread = float((visits * distinguishability(base, own)).sum())
    whole = own_spread + 2 * agreement + spread
    return {
        "sum": spread + agreement,
        "distinguishability": spread,
        "alignment": agreement,
        "scaled_alignment": (own_spread + agreement) / max(whole, 1e-300) ** 0.5,
        "strength": strength,
    }


def gains(
    world: PlantedWorld, base: Floats, action: Floats | None, step: str, settings: Mapping[str, Any]
) -> list[float]:
    """Return the mean success rate over the first updates, for every horizon."""
    rates, policy = [], base
    for _ in range(max(HORIZONS)):
        values, _ = world.values(policy)
        reward = values if action is None else values + action  # A and Q differ by a number per state
        if step == "KL":
            policy = kl_step(world, policy, reward, settings["nats"])
        else:
            policy = natural_gradient_step(policy, reward, settings["step_size"])
        rates.append(world.success(policy))
    return [float(np.mean(rates[:horizon])) for horizon in HORIZONS]


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank. 0 where one does not vary."""

    def ranks(values: Floats) -> Floats:
        return np.array([np.sum(values < v) + 0.5 * (np.sum(values == v) - 1) for v in values])

    first, second = ranks(one), ranks(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> Record:
    """Return a predictor's correlations, by base, kind of step and horizon."""
    found: dict[str, Any] = {}
    for base in BASES:
        world, policy = random_case(seed, base)
        known = provers(world, policy, seed)
        said = np.array([predictions(world, policy, *one)[arm] for one in known])
        for step in STEPS:
            real = np.array([gains(world, policy, action, step, settings) for action, _ in known])
            for place, horizon in enumerate(HORIZONS):
                found[f"{base} {step} {horizon}"] = round(
                    rank_correlation(said, np.round(real[:, place], 9)), 4
                )
    return {"correlation": found}


def correlation(record: Record, base: int, step: str, updates: int) -> float:
    """Return the predictor's rank correlation with the gain."""
    return float(record["correlation"][f"{base} {step} {updates}"])


def _same_size(point: Point) -> bool:
    return bool(point["step"] == "size")


def _same_kl(point: Point) -> bool:
    return bool(point["step"] == "KL")


READINGS = {"base": BASES, "step": STEPS, "updates": HORIZONS}
REGIONS = {"at the same step size": _same_size, "at the same KL": _same_kl}
EXPERIMENT = Experiment(
    name="prover_prediction",
    run=run,
    arms=PREDICTORS,
    seeds=10,
    settings={"step_size": 0.5, "nats": 0.2},
    minutes=0.3,
    expectation=(
        "The exact first-order gain of a small step is alignment plus a term that all provers share, so alignment should "
        "predict a single small step nearly perfectly; the sum counts distinguishability that the policy's own values need "
        "not agree with, and should do worse where strong provers are many. If the sum predicted better than alignment, "
        "the first-order view would be of no use for real steps."
    ),
    caveats=(
        "Rank correlations over one family of worlds; estimates of the terms from logged values are noisier.",
    ),
)
CLAIMS = (
    Claim(
        "theorem-predicts",
        "Distinguishability plus alignment, known before training, predict which prover gains most (rank correlation)",
        Aim(0.8, "ρ"),
        ours="sum",
        value=correlation,
        readings=READINGS,
        regions=REGIONS,
    ),
    Claim(
        "theorem-beats-strength",
        "Distinguishability plus alignment predict the best prover better than its own success rate does",
        Aim(0.1, "ρ"),
        ours="sum",
        baselines=("strength",),
        value=correlation,
        readings=READINGS,
        regions=REGIONS,
    ),
    Claim(
        "alignment-beats-theorem",
        "Alignment alone predicts the best prover better than the sum, and than its success rate",
        Aim(0.1, "ρ"),
        ours="alignment",
        baselines=("sum", "strength"),
        value=correlation,
        readings=READINGS,
        regions=REGIONS,
    ),
)
