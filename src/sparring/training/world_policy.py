"""Train a tiny policy of any world from nothing: `sparring train world-policy world=countdown:numbers=3-5`.

Next-token training on solutions as the world's author writes them, mistakes included (`World.written`). A dial that is a
range makes one policy for all of it. The model is a native Llama of about 0.1 M parameters, which a core trains in minutes.
States of the policy at earlier updates can be kept beside it as weaker starts (`earlier/000400`).

On request a second phase adds layers and finds replaced words (`tiny_policy.py` says why PRMs need that); the words of each
part of speech (`World.words`) are replaced by their like.

Contract: a pure function of the settings; a Hugging Face folder with a model card and `metrics.json` (success of answers
sampled at temperature 1, and of greedy ones, on problems that were not trained on). Not here: reinforcement learning.
"""

from __future__ import annotations

import copy
import random
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from rich.console import Console

from sparring.files import atomic_directory
from sparring.locks import writes
from sparring.models.checkpoint import write_model
from sparring.models.loading import quiet
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.settings_shared import Seeded, seed_from
from sparring.statistics import proportion
from sparring.training.run import Progress, step_bar
from sparring.training.tiny_policy import (
    Detection,
    hidden_states,
    new_model,
    next_token_loss,
    padded,
    policy_card,
    run_phase,
    with_layers,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer
from sparring.worlds.subject import WorldText
from sparring.worlds.world import World, make_world, world_problems

LONGEST_ANSWER = 160
"""Tokens after which an answer is cut when the policy is measured."""


COMMAND = "sparring train world-policy"


class WorldPolicySettings(Seeded):
    """Settings of `sparring train world-policy`."""

    world: WorldText = "countdown:numbers=3-5"
    """A world with its dials (docs/worlds.md)."""
    updates: int = Field(1800, gt=0)
    """Updates of the first phase: next-token training."""
    detection_updates: int = Field(0, ge=0)
    """Updates of the second phase: half of it next-token training, half finding replaced words."""
    batch: int = Field(256, gt=0)
    """Solutions per update."""
    passes: int = Field(4, gt=0)
    """How often each solution is seen in a phase; writing one costs as much as training on it."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak of a cosine schedule with a short warm-up; the second phase has half of it."""
    width: int = Field(64, gt=0)
    """Hidden size."""
    layers: int = Field(2, gt=0)
    """Layers of the first phase."""
    added_layers: int = Field(1, ge=0)
    """Layers that the second phase adds on top."""
    heads: int = Field(4, gt=0)
    """Attention heads."""
    replaced: float = Field(0.1, gt=0, lt=1)
    """Share of a solution's words that are replaced in the second phase."""
    earlier: list[int] = Field([])
    """Updates of the first phase after which the policy is kept as a weaker one, in `earlier/`; 0 is the untrained one."""
    evaluation_problems: int = Field(500, gt=0)
    """Problems on which success is measured."""

    @property
    def all_updates(self) -> int:
        """Updates of both phases."""
        return self.updates + self.detection_updates


@writes("out", inside=False)
def train_world_policy(settings: WorldPolicySettings, out: Path, progress: Progress | None = None) -> Path:
    """Train the policy and write it to `out` as a Hugging Face folder, with `metrics.json`.

    Raises:
        DivergedError: a loss or a gradient is not finite.
    """
    started = time.perf_counter()
    world = make_world(settings.world)
    tokenizer = build_tokenizer(world)
    model, earlier = learn_language(world, tokenizer, settings, progress)
    if settings.detection_updates:
        model = with_layers(model, settings.added_layers, settings.seed)
        learn_detection(model, world, tokenizer, settings, progress)
    metrics = {
        "training.seconds": Metric(time.perf_counter() - started, unit="s"),
        "policy.parameters": Metric(sum(one.numel() for one in model.parameters())),
        "policy.success": success(model, world, tokenizer, settings, temperature=1.0),
        "policy.greedy_success": success(model, world, tokenizer, settings, temperature=0.0),
    }
    title = f"world {settings.world}"
    with atomic_directory(out) as temporary, quiet():
        write_model(temporary, model, tokenizer, policy_card(title, COMMAND, settings, metrics))
        for update, state in earlier.items():
            folder = temporary / "earlier" / f"{update:06d}"
            folder.mkdir(parents=True)
            card = policy_card(title, COMMAND, settings, {}, f"after {update} updates")
            write_model(folder, state, tokenizer, card)
        write_metrics(temporary, metrics, settings=dump_settings(settings), seed=settings.seed)
    return out


# --- the two phases --------------------------------------------------------------------------------------------------


def learn_language(
    world: World, tokenizer: Any, settings: WorldPolicySettings, progress: Progress | None = None
) -> tuple[Any, dict[int, Any]]:
    """First phase: next-token training from nothing; return the model, and copies from `settings.earlier`."""
    shape = {"width": settings.width, "layers": settings.layers, "heads": settings.heads}
    model = new_model(len(tokenizer), **shape, seed=settings.seed)
    written = Written(world, tokenizer, settings, "language", settings.updates)
    earlier: dict[int, Any] = {}

    def losses(update: int) -> dict[str, torch.Tensor]:
        if update in settings.earlier:
            earlier[update] = copy.deepcopy(model)
        ids, targets = written.batch(update)
        return {"loss": next_token_loss(model, hidden_states(model, ids, _positions(ids)), targets)}

    run_phase(list(model.parameters()), settings.learning_rate, settings.updates, losses, progress)
    return model.eval(), earlier


def learn_detection(
    model: Any, world: World, tokenizer: Any, settings: WorldPolicySettings, progress: Progress | None = None
) -> None:
    """Second phase: go on with next-token training on half of the solutions, find replaced words in the others."""
    torch.manual_seed(seed_from(settings.seed, 1, "weights"))
    generator = torch.Generator().manual_seed(seed_from(settings.seed, 1, "detection"))
    kinds = [(part, settings.replaced) for part in world.words.values()]
    detection = Detection(model.train(), tokenizer, kinds, plain=settings.batch // 2, generator=generator)
    written = Written(world, tokenizer, settings, "detection", settings.detection_updates)

    def losses(update: int) -> dict[str, torch.Tensor]:
        ids, targets = written.batch(update)
        return detection.losses(ids, targets, _positions(ids))

    rate, updates = settings.learning_rate / 2, settings.detection_updates
    run_phase(detection.parameters, rate, updates, losses, progress, settings.updates)
    model.eval()


def _positions(ids: torch.Tensor) -> torch.Tensor:
    return torch.arange(ids.shape[1]).expand_as(ids)


class Written:
    """Solutions of a phase as the world's author writes them, as ids; each is written when it is first needed, and kept."""

    def __init__(
        self, world: World, tokenizer: Any, settings: WorldPolicySettings, phase: str, updates: int
    ) -> None:
        self.world, self.settings, self.phase = world, settings, phase
        self.ids, self.pad, self.end = tokenizer.get_vocab(), tokenizer.pad_token_id, tokenizer.eos_token_id
        self.batches = -(-updates // settings.passes)
        self._rows: dict[int, tuple[list[int], int]] = {}

    def batch(self, update: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and next-token targets of an update, both (solutions, length); the question is no target."""
        first = update % self.batches * self.settings.batch
        rows = [self._row(index) for index in range(first, first + self.settings.batch)]
        return padded([row for row, _ in rows], [start for _, start in rows], self.pad)

    def _row(self, index: int) -> tuple[list[int], int]:
        if index not in self._rows:
            name, seed = f"world-policy-{self.phase}", self.settings.seed
            problem = world_problems(self.world, 1, seed=seed, name=name, start=index)[0]
            steps = self.world.written(problem, random.Random(f"{name}-written/{seed}/{index}"))
            # What `traces.spans.encode` gives, by a look-up per word: ten times as fast.
            asked, *lines = (
                [self.ids[word] for word in text.split(" ")] for text in (problem.question, *steps)
            )
            row = [*asked, self.ids["\n"]]
            start = len(row)
            for line in lines:
                row += [*line, self.ids["\n"]]
            self._rows[index] = [*row, self.end], start
        return self._rows[index]


# --- what it can do --------------------------------------------------------------------------------------------------


def success(
    model: Any, world: World, tokenizer: Any, settings: WorldPolicySettings, temperature: float
) -> Metric:
    """Return the share of answers that succeed, one per problem, with a 95 % interval."""
    problems = world_problems(
        world, settings.evaluation_problems, seed=settings.seed, name="world-policy-evaluation"
    )
    groups = LocalEngine(model, tokenizer, CHAIN_LAYOUT).sample(
        [Prefix(problem) for problem in problems],
        1,
        limits=Limits(LONGEST_ANSWER, temperature, fit=True),
        seeds=[seed_from(settings.seed, index, "evaluation") for index in range(len(problems))],
    )
    solved = [
        group[0].finish != "length" and world.solved(problem, split_completion(group[0].text))
        for problem, group in zip(problems, groups, strict=True)
    ]
    return proportion(sum(solved), len(solved))


def show_world_policy(settings: WorldPolicySettings, out: Path, *, console: Console) -> Path:
    """Train a world's policy with a progress bar; return its folder."""
    with step_bar("world policy", settings.all_updates, console) as progress:
        return train_world_policy(settings, out, progress)
