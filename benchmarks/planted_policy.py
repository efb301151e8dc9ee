"""Learn to find the planted sequence, with effective rewards or with outcomes only (PAV §3.3, App. B).

The policy is the paper's: a masked autoregressive network (MADE, Germain et al. 2015) over one-hot tokens with three
hidden layers of 128, warm-started by next-token training on samples of a weak prover, then trained by policy gradient:
every step gets ∇log π(a | s) · (return + α · A^μ(s, a)) (PAV eq. 5), with exact A^μ from the world's dynamic program.

Many independent runs (seeds, provers) are trained side by side: every weight has a leading axis of runs, and nothing
mixes them, so a population costs little more than its arithmetic. Hidden units are sorted by what they may see:
sampling a whole response takes each unit once, as much as one forward pass.

Contract: deterministic given the seeds, which alone decide a run (to rounding), whatever stands beside it. Not here:
what is measured and compared (`planted.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from planted_world import Floats, Integers, PlantedWorld
from sparring.settings_shared import seed_from


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a population: its seed, the prover's strength γ, and the weight α of progress (0: outcome only)."""

    seed: int
    strength: float = 10.0
    alpha: float = 1.0


@dataclass(frozen=True, slots=True)
class PlantedTraining:
    """What all runs of a population share; the defaults are the paper's."""

    iterations: int = 10_000
    batch: int = 64
    learning_rate: float = 1e-3
    start_strength: float = 5.0
    """Strength of the prover whose samples the network starts from."""
    start_samples: int = 3200
    """How many, each seen once."""
    rollouts: int = 0
    """Completions per prefix for Q^π; 0 takes the response's own outcome, as unbiased and far cheaper."""


class MaskedPolicies(torch.nn.Module):
    """A population of MADE networks over responses of a planted world.

    Args:
        world: gives length and vocabulary.
        seeds: of the initial weights, one per network.
        width: hidden units per layer.
        layers: hidden layers.
    """

    def __init__(
        self, world: PlantedWorld, seeds: Sequence[int], *, width: int = 128, layers: int = 3
    ) -> None:
        super().__init__()
        self.length, self.vocabulary = world.length, world.vocabulary
        # A unit of degree d sees the first d tokens; sorted, so that what is known after d tokens is a slice.
        degrees = torch.sort(torch.arange(width) % (world.length - 1) + 1).values
        self.known = [int((degrees <= seen).sum()) for seen in range(world.length)]
        inputs = torch.arange(world.length).repeat_interleave(world.vocabulary) + 1
        masks = [inputs[:, None] <= degrees]
        masks += [degrees[:, None] <= degrees] * (layers - 1)
        masks += [degrees[:, None] < inputs]
        self.masks = [mask.float() for mask in masks]
        generators = [torch.Generator().manual_seed(seed_from(seed, 0, "planted-weights")) for seed in seeds]
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        for mask in self.masks:
            rows, columns = mask.shape
            drawn = torch.stack([torch.rand(rows, columns, generator=generator) for generator in generators])
            self.weights.append(torch.nn.Parameter((2 * drawn - 1) * rows**-0.5))
            self.biases.append(torch.nn.Parameter(torch.zeros(len(seeds), 1, columns)))

    def log_probabilities(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return log π of every token given those before it, the shape of `tokens`: (runs, responses, length)."""
        hidden = torch.nn.functional.one_hot(tokens, self.vocabulary).float().flatten(2)
        last = len(self.masks) - 1
        for layer, (weight, bias, mask) in enumerate(zip(self.weights, self.biases, self.masks, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight * mask)
            hidden = hidden.relu() if layer < last else hidden
        logits = hidden.view(*tokens.shape, self.vocabulary)
        chosen: torch.Tensor = logits.log_softmax(dim=3).gather(3, tokens[..., None]).squeeze(3)
        return chosen

    @torch.no_grad()
    def sample(
        self, uniforms: torch.Tensor, given: torch.Tensor | None = None, start: int = 0
    ) -> torch.Tensor:
        """Return sampled tokens (runs, responses, length), the first `start` of them taken from `given`.

        Args:
            uniforms: numbers in [0, 1), the shape of the result; each token is the inverse of its distribution there.
            given: tokens of that shape; needed where `start` > 0.
            start: how many tokens are given.
        """
        runs, responses, _ = uniforms.shape
        tokens = torch.zeros(uniforms.shape, dtype=torch.long) if given is None else given.clone()
        shown = torch.zeros(runs, responses, self.length * self.vocabulary)
        hidden = [shown, *(torch.zeros(runs, responses, self.known[-1]) for _ in self.masks[1:])]
        for position in range(self.length):
            known, before = self.known[position], self.known[position - 1] if position else 0
            for layer in range(len(self.masks) - 1):
                inputs = position * self.vocabulary if layer == 0 else known
                weight = self.weights[layer][:, :inputs, before:known]
                bias = self.biases[layer][:, :, before:known]
                hidden[layer + 1][:, :, before:known] = torch.baddbmm(
                    bias, hidden[layer][:, :, :inputs], weight
                ).relu()
            if position >= start:
                columns = slice(position * self.vocabulary, (position + 1) * self.vocabulary)
                logits = torch.baddbmm(
                    self.biases[-1][:, :, columns],
                    hidden[-1][:, :, :known],
                    self.weights[-1][:, :known, columns],
                )
                limits = logits.softmax(dim=2).cumsum(dim=2)
                bar = uniforms[:, :, position, None] * limits[:, :, -1:]
                tokens[:, :, position] = (bar >= limits).sum(dim=2).clamp(max=self.vocabulary - 1)
            chosen = tokens[:, :, position, None] + position * self.vocabulary
            shown.scatter_(2, chosen, 1.0)
        return tokens


class Population:
    """Runs side by side: networks, their random streams, and the exact values of their provers."""

    def __init__(self, world: PlantedWorld, runs: Sequence[Run], training: PlantedTraining) -> None:
        self.world, self.runs, self.training = world, runs, training
        self.policies = MaskedPolicies(world, [run.seed for run in runs])
        self.optimizer = torch.optim.Adam(self.policies.parameters(), lr=training.learning_rate)
        self.streams = [
            torch.Generator().manual_seed(seed_from(run.seed, 0, "planted-samples")) for run in runs
        ]
        self.prover_values = np.stack([world.values(world.prover(run.strength))[1] for run in runs])
        self.alphas = np.array([run.alpha for run in runs])[:, None, None]

    def start(self) -> None:
        """Warm-start: one pass of next-token training over samples of the weak prover, a data set per seed."""
        world, training = self.world, self.training
        table = world.prover(training.start_strength)
        data = np.stack(
            [
                world.sample(
                    table,
                    training.start_samples,
                    np.random.default_rng(seed_from(run.seed, 0, "planted-start")),
                )
                for run in self.runs
            ]
        )
        for begin in range(0, training.start_samples, training.batch):
            tokens = data[:, begin : begin + training.batch]
            self._step(tokens, world.counted(tokens))

    def train(self, observe: Callable[[int], None], every: int) -> None:
        """Do all policy-gradient iterations; `observe(iteration)` is called at 0, every `every`, and at the end."""
        observe(0)
        for iteration in range(1, self.training.iterations + 1):
            tokens = self.policies.sample(self._uniforms(self.training.batch))
            self._step(tokens.numpy(), self.rewards(tokens))
            if iteration % every == 0 or iteration == self.training.iterations:
                observe(iteration)

    def rewards(self, tokens: torch.Tensor) -> Floats:
        """Return what multiplies ∇log π of every step: Q̂^π + α · A^μ, 0 after the end token; (runs, responses, length)."""
        world, sampled = self.world, tokens.numpy()
        states = world.states(sampled)
        run = np.arange(len(self.runs))[:, None, None]
        values = self.prover_values[run, np.arange(world.length + 1), states]
        # The immediate advantage of each step: its sum over later steps would be the outcome again.
        progress = values[..., 1:] - values[..., :-1]
        returns = self._returns(tokens, world.outcomes(sampled))
        return (returns + self.alphas * progress) * world.counted(sampled)

    def _returns(self, tokens: torch.Tensor, outcomes: Floats) -> Floats:
        """Return the estimate of Q^π for every prefix with at least one token."""
        returns = np.repeat(outcomes[..., None], self.world.length, axis=2)
        rollouts = self.training.rollouts
        for known in range(1, self.world.length if rollouts else 1):
            prefixes = tokens.repeat_interleave(rollouts, dim=1)
            completed = self.policies.sample(self._uniforms(prefixes.shape[1]), prefixes, known).numpy()
            found = self.world.outcomes(completed)
            returns[..., known - 1] = found.reshape(*outcomes.shape, rollouts).mean(axis=2)
        return returns

    def sample(self, responses: int, purpose: str) -> Integers:
        """Return (runs, responses, length) tokens of the present policies, from streams of their own per purpose."""
        uniforms = [
            torch.rand(
                responses,
                self.world.length,
                generator=torch.Generator().manual_seed(seed_from(run.seed, 0, purpose)),
            )
            for run in self.runs
        ]
        tokens: Integers = self.policies.sample(torch.stack(uniforms)).numpy()
        return tokens

    def _uniforms(self, responses: int) -> torch.Tensor:
        shape = (responses, self.world.length)
        return torch.stack([torch.rand(shape, generator=stream) for stream in self.streams])

    def _step(self, tokens: Integers, weights: Floats) -> None:
        """Ascend Σ_steps weight · log π, averaged over responses."""
        log_probabilities = self.policies.log_probabilities(torch.from_numpy(tokens))
        gains = torch.from_numpy(weights).float() * log_probabilities
        self.optimizer.zero_grad()
        (-gains.sum(dim=2).mean(dim=1).sum()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
