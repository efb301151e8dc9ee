"""Provers where the gradient is estimated from samples: the planted network, strong and weak provers, Q in place of A.

The paper's setting (`planted_policy.py`): a masked network, warm-started from a weak prover, then policy gradient from 64
responses per update, no baseline. Here Q and A differ: their gradients have the same mean, but Q's noise is that of a
reward that is never zero; summed over the steps to come, Q rewards staying where a strong prover succeeds from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from claims.harness import Aim, Claim, Experiment, Record, Reduced, product
from planted_policy import PlantedTraining, Population, Run
from planted_world import Floats, PlantedWorld

WORLD = PlantedWorld()
ARMS = {
    "outcome": "the outcome alone",
    "progress": "outcome + progress A^μ of the step",
    "q": "outcome + Q^μ of the step",
    "q_summed": "outcome + Q^μ of the step and of all later ones",
    "progress_summed": "outcome + A^μ of the step and of all later ones: the outcome with a baseline",
}


class ProverRewards(Population):
    """Runs whose process reward is progress or Q, of the step alone or summed over the steps to come."""

    kind = "progress"

    def rewards(self, tokens: torch.Tensor) -> Floats:
        """Return what multiplies ∇log π of every step; (runs, responses, length)."""
        if self.kind == "progress":
            return super().rewards(tokens)
        sampled = tokens.numpy()
        counted = self.world.counted(sampled)
        run = np.arange(len(self.runs))[:, None, None]
        values = self.prover_values[run, np.arange(self.world.length + 1), self.world.states(sampled)]
        process = values[..., 1:] if self.kind.startswith("q") else values[..., 1:] - values[..., :-1]
        process = process * counted
        if self.kind.endswith("summed"):
            process = np.cumsum(process[..., ::-1], axis=2)[..., ::-1]
        returns = self._returns(tokens, self.world.outcomes(sampled))
        return (returns + self.alphas * process) * counted


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> Record:
    """Return accuracy on fresh responses along the updates."""
    torch.set_num_threads(1)
    chosen = Run(seed, float(settings.get("prover", 10.0)), 0.0 if arm == "outcome" else 1.0)
    population = ProverRewards(WORLD, [chosen], PlantedTraining(iterations=settings["updates"]))
    population.kind = "progress" if arm == "outcome" else arm
    population.start()
    curve: list[list[float]] = []

    def observe(iteration: int) -> None:
        responses = population.sample(settings["responses"], f"planted-test-{iteration}")
        curve.append([iteration, float(WORLD.outcomes(responses).mean())])

    population.train(observe, settings["every"])
    return {"curve": curve}


def mean_accuracy(record: Record) -> float:
    """Return the accuracy averaged over the run, in percent."""
    return 100 * float(np.mean([accuracy for _, accuracy in record["curve"]]))


def last_accuracy(record: Record) -> float:
    """Return the accuracy over the last fifth of the run, in percent."""
    rows = record["curve"]
    return 100 * float(np.mean([accuracy for _, accuracy in rows[-max(1, len(rows) // 5) :]]))


EXPERIMENT = Experiment(
    name="prover_samples",
    run=run,
    arms=ARMS,
    points=product(prover=(5, 10, 100, 1000)),
    seeds=5,
    settings={"updates": 400, "every": 20, "responses": 1000},
    minutes=0.2,
    reduced=Reduced(points=product(prover=(10, 100)), seeds=3),
    depends={"outcome": ()},
    expectation=(
        "Outcomes alone stay at 0 % for hundreds of updates here, so any progress wins; the question is which prover and "
        "which form. Q of the step alone should learn like progress, only with more noise; summed Q of a nearly perfect "
        "prover should pay for not ending, and learn nothing. If summed Q learned as well, the paper's warning would "
        "not be about this world."
    ),
    caveats=(
        "One planted sequence, the paper's; the seeds are those of networks and samples.",
        "Responses have a fixed length and ending early is fatal, so idle steps gain nothing, which in texts are what "
        "a summed Q pays for.",
    ),
)
REGIONS = {
    "everywhere": lambda point: True,
    "strong provers (γ ≥ 100)": lambda point: point["prover"] >= 100,
}
CLAIMS = (
    Claim(
        "planted-progress",
        "Progress learns from samples what outcomes alone do not reach (accuracy over 400 updates)",
        Aim(6.0),
        ours="progress",
        baselines=("outcome", "progress_summed"),
        value=mean_accuracy,
        regions=REGIONS,
    ),
    Claim(
        "planted-a-beats-q",
        "Progress A learns better than Q, of the step or summed",
        Aim(6.0),
        ours="progress",
        baselines=("q", "q_summed"),
        value=mean_accuracy,
        regions=REGIONS,
    ),
    Claim(
        "planted-q-collapses",
        "With Q summed the policy ends no better than with the outcome alone",
        Aim(-1.0, none=-1.0),
        ours="q_summed",
        baselines=("outcome",),
        value=last_accuracy,
        lower_is_better=True,
        regions=REGIONS,
    ),
)
