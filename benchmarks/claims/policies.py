"""Policies that claims share, each made once in minutes: the shipped one, and solvers and backbones for turned dials.

Modulo 97 the chain world's answers are hardly hit by luck, but the shipped policy has never seen such numbers. A *grown*
policy starts from its weights, which can look values up and keep a solution's form, gets a word for every word of the other
world, and learns its arithmetic from text of the world's author; new numbers make all numbers begin as points on circles,
which is what models of modular addition come to (Nanda et al. 2023). Half of a backbone's text holds replaced words to
find, as the shipped policy's second phase has (`training/tiny_policy.py`).

`POLICIES` says which worlds each policy is measured in (in distribution first) and how it is made. Solver and backbone have
different seeds and authors: the solver's author has habits that the backbone's text does not show.

    PYTHONPATH=src:benchmarks python -m claims.policies FOLDER [NAME ...]

Countdown's policy is made from nothing by `sparring train world-policy`.

Contract: a folder is a pure function of the name.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from claims.harness import made_once
from sparring.files import atomic_write_json
from sparring.models import TINY_POLICY
from sparring.models.checkpoint import write_model
from sparring.models.loading import load_causal_model, load_tokenizer, quiet, resolve_model
from sparring.settings_shared import seed_from
from sparring.training.chain_policy import curriculum, gapped_positions, solution_batch
from sparring.training.tiny_policy import Detection, hidden_states, next_token_loss, run_phase
from sparring.training.world_policy import WorldPolicySettings, train_world_policy
from sparring.worlds.chain_model import build_tokenizer, tiny_config
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import World, make_world, world_problems

HARD = "modulus=97,constants=9,names=26"
"""Dials of the chain world in which luck is below one percent."""


@dataclass(frozen=True, slots=True)
class Grown:
    """How a policy grows from the shipped one.

    Attributes:
        world: whose author writes the text.
        seed: of text and new words.
        updates: so many, of `batch` solutions each.
        detection: half of the solutions have replaced words, and which they are is learned beside the text.
    """

    world: str
    seed: int
    updates: int
    detection: bool = False
    batch: int = 32
    learning_rate: float = 2e-3


_CHAIN = ("chain", "chain:steps=6-8")
_HARD = (f"chain:{HARD}", f"chain:{HARD},steps=6-8")
_COUNTDOWN = ("countdown:numbers=3", "countdown", "countdown:numbers=5")
Recipe = Grown | Mapping[str, object] | None
POLICIES: Mapping[str, tuple[tuple[str, ...], Recipe]] = {
    "tiny": (_CHAIN, None),
    "countdown": (_COUNTDOWN, {"world": "countdown:numbers=3-5", "updates": 2000, "batch": 128}),
    "solver-97": (_HARD, Grown(f"chain:{HARD}", seed=1, updates=600)),
    "stronger-solver-97": (_HARD, Grown(f"chain:{HARD}", seed=2, updates=800)),
    "backbone-97": (
        _HARD,
        Grown(f"chain:{HARD},habits=0", seed=3, updates=800, detection=True),
    ),
    "backbone-13": (_CHAIN, Grown("chain:habits=0", seed=3, updates=800, detection=True)),
}
"""Name → worlds to measure it in, and how it is made; None: the shipped one, a mapping: `train world-policy`."""


def policy_folder(name: str, folder: Path) -> str:
    """Return what loads the policy: its folder in `folder`, made if it is not there."""
    recipe = POLICIES[name][1]
    if recipe is None:
        return TINY_POLICY

    def make(draft: Path) -> None:
        if isinstance(recipe, Grown):
            grow(recipe, draft / "model")
        else:
            train_world_policy(WorldPolicySettings.model_validate(recipe), draft / "model")

    return str(made_once(folder / f"policy-{name}", make) / "model")


def grow(recipe: Grown, out: Path) -> None:
    """Train a grown policy and write its folder; the losses go to standard output."""
    torch.set_num_threads(1)
    started = time.process_time()
    world = make_world(recipe.world)
    assert isinstance(world, ChainWorld)
    tokenizer = build_tokenizer(world)
    model = with_words(world, tokenizer, recipe.seed).train()
    torch.manual_seed(seed_from(recipe.seed, "grown"))
    generator = torch.Generator().manual_seed(seed_from(recipe.seed, "words"))
    kinds = [(world.words["operations"], 0.04), (world.words["names"], 0.04), (world.words["numbers"], 0.16)]
    detection = Detection(model, tokenizer, kinds, plain=recipe.batch // 2, generator=generator)

    def losses(update: int) -> dict[str, torch.Tensor]:
        first = update * recipe.batch
        now = replace(world, steps=curriculum(update / recipe.updates))
        problems = world_problems(now, recipe.batch, seed=recipe.seed, name="grown", start=first)
        author = random.Random(f"grown/{recipe.seed}/{update}")
        written = [replace(problem, solution=world.written(problem, author)) for problem in problems]
        ids, targets = solution_batch(written, tokenizer)
        positions = gapped_positions(ids, tokenizer, generator)
        if not recipe.detection:
            return {"loss": next_token_loss(model, hidden_states(model, ids, positions), targets)}
        return detection.losses(ids, targets, positions)

    def progress(update: int, found: Mapping[str, float]) -> None:
        if update % 100 == 0:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"{update}: {shown}, {time.process_time() - started:.0f} CPU s", flush=True)

    parameters = detection.parameters if recipe.detection else list(model.parameters())
    run_phase(parameters, recipe.learning_rate, recipe.updates, losses, progress)
    out.mkdir(parents=True)
    with quiet():
        write_model(out, model.eval(), tokenizer, f"# A policy of {recipe.world}\n\nGrown by {recipe}.\n")
    atomic_write_json(
        out / "made.json", {"recipe": str(recipe), "cpu_seconds": time.process_time() - started}
    )


def with_words(world: World, tokenizer: Any, seed: int) -> Any:
    """Return the shipped policy with the world's words: known ones as they are, numbers on circles if one is new."""
    shipped = resolve_model(TINY_POLICY)
    old = load_causal_model(shipped, device=torch.device("cpu"), dtype=torch.float32)
    known: dict[str, int] = load_tokenizer(shipped).get_vocab()
    weights = old.state_dict()
    table = weights["model.embed_tokens.weight"]
    width = table.shape[1]
    generator = torch.Generator().manual_seed(seed_from(seed, "new words"))
    mean, spread = table.mean(0), table.std(0)
    grown = mean + spread * torch.randn(len(tokenizer), width, generator=generator)
    words: dict[str, int] = tokenizer.get_vocab()
    for word, index in words.items():
        if word in known:
            grown[index] = table[known[word]]
    if not all(word in known for word in world.words["numbers"]):
        _on_circles(grown, [words[word] for word in world.words["numbers"]], mean, spread, generator)
    config = old.config
    model = LlamaForCausalLM(
        tiny_config(
            len(tokenizer),
            width=width,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
        )
    )
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in weights:
            weights[name] = grown
    model.load_state_dict(weights)
    return model


def _on_circles(
    table: torch.Tensor, rows: list[int], mean: torch.Tensor, spread: torch.Tensor, generator: torch.Generator
) -> None:
    """Put the numbers' rows, in order, on as many circles as the width has room for, each of another frequency."""
    count, width = len(rows), table.shape[1]
    turns = torch.randperm(count // 2, generator=generator)[: width // 2] + 1
    angles = 2 * math.pi * torch.arange(count)[:, None] * turns / count
    circles = math.sqrt(2) * torch.cat([angles.cos(), angles.sin()], dim=1)[:, :width]
    here = circles.shape[1]
    table[rows, :here] = mean[:here] + spread[:here] * circles


def main(folder: str, *names: str) -> None:
    """Make the named policies (all, without a name) in a folder."""
    for name in names or POLICIES:
        print(f"{name}: {policy_folder(name, Path(folder))}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
