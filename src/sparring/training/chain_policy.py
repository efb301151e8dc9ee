"""Train the tiny policy of the chain world from generated problems: `sparring train chain-policy`.

First, next-token training on correct solutions, easiest problems first. Positions get random gaps at the ends of
definitions and steps, so that distances beyond the training lengths have been seen and longer chains are not out of reach.

Second, with added layers, next-token training goes on with text whose author makes habitual mistakes
(`worlds.chain_world`), and beside it replaced words are found in correct solutions (`tiny_policy.py` says why).

Contract: one pass over generated data, no validation set needed (every problem is new); a Hugging Face folder with a
model card that states what was measured. Not here: anything that a larger model would need.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from rich.console import Console

from sparring.errors import SettingsError, plural
from sparring.files import atomic_directory
from sparring.locks import writes
from sparring.models.checkpoint import write_model
from sparring.models.loading import load_causal_model, quiet
from sparring.runs import Metric, write_metrics
from sparring.settings import MANY, dump_settings
from sparring.settings_shared import Seeded, seed_from
from sparring.traces.records import Problem
from sparring.traces.spans import encode
from sparring.training.run import Progress, step_bar
from sparring.training.tiny_policy import (
    IGNORED,
    Detection,
    hidden_states,
    new_model,
    next_token_loss,
    padded,
    policy_card,
    run_phase,
    with_layers,
)
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    MODULUS,
    NAMES,
    OPERATIONS,
    generate_problems,
    parse_question,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer
from sparring.worlds.chain_world import habitual_solution

LARGEST_GAP = 8
"""Positions skipped at most after a definition or step in training."""
NUMBERS_REPLACED = 0.16
"""Share of a solution's numbers that are replaced in the second phase: they are the hardest to check."""


class ChainPolicySettings(Seeded):
    """Settings of `sparring train chain-policy`."""

    start: str | None = None
    """Folder of a policy that has been through the first phase: go on from it with the second one."""
    problems: int = Field(144_000, gt=0, le=MANY)
    """Problems of the first phase, each seen once."""
    detection_problems: int = Field(128_000, ge=0, le=MANY)
    """Problems of the second phase."""
    first_detection_problem: int = Field(0, ge=0, le=MANY)
    """Number of the second phase's first problem, for going on with problems that have not been seen."""
    habits: float = Field(0.12, ge=0, lt=1)
    """Share of the pairs of a sign and a right operand that the second phase's author often misreads; 0 for none."""
    habit_rate: float = Field(0.7, ge=0, le=1)
    """How often a misread pair is misread."""
    replaced: float = Field(0.04, gt=0, lt=1)
    """Share of a solution's signs and names that are replaced in the second phase."""
    batch: int = Field(32, gt=0)
    """Problems per update."""
    learning_rate: float = Field(4e-3, gt=0)
    """Peak of a cosine schedule with a short warm-up."""
    width: int = Field(96, gt=0)
    """Hidden size."""
    layers: int = Field(4, gt=0)
    """Layers of the first phase."""
    added_layers: int = Field(2, ge=0)
    """Layers that the second phase adds on top."""
    heads: int = Field(4, gt=0)
    """Attention heads."""
    evaluation_problems: int = Field(500, gt=0)
    """Held-out problems per split for the measured accuracy."""

    @property
    def updates(self) -> int:
        """Updates of all phases that are run."""
        return self.first_phase_updates + self.detection_problems // self.batch

    @property
    def first_phase_updates(self) -> int:
        """Updates of the first phase; none when it has been run before."""
        return max(1, self.problems // self.batch) if self.start is None else 0


@writes("out", inside=False)
def train_chain_policy(settings: ChainPolicySettings, out: Path, progress: Progress | None = None) -> Path:
    """Train the policy and write it to `out` as a Hugging Face folder, with `metrics.json`.

    Raises:
        CheckpointError: the folder to start from cannot be loaded.
        SettingsError: it is of another shape than the settings say.
    """
    started = time.perf_counter()
    tokenizer = build_tokenizer()
    if settings.start is None:
        model = learn_language(tokenizer, settings, progress)
    else:
        model = load_causal_model(settings.start, device=torch.device("cpu"), dtype=torch.float32).train()
        if model.config.num_hidden_layers != settings.layers or model.config.vocab_size != len(tokenizer):
            raise SettingsError(
                f"{settings.start} has {plural(model.config.num_hidden_layers, 'layer')} and "
                f"{model.config.vocab_size} words, "
                f"not layers={settings.layers} and {len(tokenizer)} words"
            )
    if settings.detection_problems:
        model = with_layers(model, settings.added_layers, settings.seed)
        learn_detection(model, tokenizer, settings, progress)
    metrics = {"training.seconds": Metric(time.perf_counter() - started, unit="s")}
    for name, steps in (("in_distribution", IN_DISTRIBUTION), ("longer", LONGER)):
        metrics[f"policy.{name}.greedy_accuracy"] = greedy_accuracy(model, tokenizer, steps, settings)
    card = policy_card("chain-arithmetic world", "sparring train chain-policy", settings, metrics)
    with atomic_directory(out) as temporary, quiet():
        write_model(temporary, model, tokenizer, card)
        write_metrics(temporary, metrics, settings=dump_settings(settings), seed=settings.seed)
    return out


# --- the two phases --------------------------------------------------------------------------------------------------


def learn_language(tokenizer: Any, settings: ChainPolicySettings, progress: Progress | None = None) -> Any:
    """First phase: next-token training from nothing on correct solutions; return the model."""
    shape = {"width": settings.width, "layers": settings.layers, "heads": settings.heads}
    model = new_model(len(tokenizer), **shape, seed=settings.seed)
    updates = settings.first_phase_updates
    gaps = torch.Generator().manual_seed(seed_from(settings.seed, 0, "gaps"))

    def losses(update: int) -> dict[str, torch.Tensor]:
        steps, start = curriculum(update / updates), update * settings.batch
        problems = generate_problems(
            settings.batch, steps=steps, seed=settings.seed, start=start, name="policy-train"
        )
        ids, targets = solution_batch(problems, tokenizer)
        states = hidden_states(model, ids, gapped_positions(ids, tokenizer, gaps))
        return {"loss": next_token_loss(model, states, targets)}

    run_phase(list(model.parameters()), settings.learning_rate, updates, losses, progress)
    return model


def learn_detection(
    model: Any, tokenizer: Any, settings: ChainPolicySettings, progress: Progress | None = None
) -> None:
    """Second phase: go on with next-token training on some problems, find replaced words in the others."""
    torch.manual_seed(seed_from(settings.seed, 1, "weights"))
    generator = torch.Generator().manual_seed(seed_from(settings.seed, 1, "detection"))
    numbers = [str(value) for value in range(MODULUS)]
    kinds = [
        (list(OPERATIONS), settings.replaced),
        (list(NAMES), settings.replaced),
        (numbers, NUMBERS_REPLACED),
    ]
    # Half of the problems go on with next-token training, so that the policy stays one.
    plain = max(1, round(settings.batch / 2))
    detection = Detection(model, tokenizer, kinds, plain=plain, generator=generator)

    def losses(update: int) -> dict[str, torch.Tensor]:
        problems = generate_problems(
            settings.batch,
            steps=(1, IN_DISTRIBUTION[1]),
            seed=settings.seed,
            start=settings.first_detection_problem + update * settings.batch,
            name="policy-detection",
        )
        author = random.Random(f"habits/{settings.seed}/{update}")
        problems[:plain] = with_habits(problems[:plain], settings.habits, settings.habit_rate, author)
        ids, targets = solution_batch(problems, tokenizer)
        positions = gapped_positions(ids, tokenizer, generator)
        return detection.losses(ids, targets, positions)

    updates = max(1, settings.detection_problems // settings.batch)
    first = settings.first_phase_updates
    run_phase(detection.parameters, settings.learning_rate / 2, updates, losses, progress, first)


# --- batches ---------------------------------------------------------------------------------------------------------


def solution_batch(problems: Sequence[Problem], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and next-token targets, both (problems, length); only the solution and its end are targets."""
    rows, starts = [], []
    for problem in problems:
        assert problem.solution is not None
        encoded = encode(problem.question, problem.solution, tokenizer, CHAIN_LAYOUT)
        rows.append([*encoded.input_ids, tokenizer.eos_token_id])
        starts.append(encoded.spans[0][0])
    return padded(rows, starts, tokenizer.pad_token_id)


def gapped_positions(ids: torch.Tensor, tokenizer: Any, generator: torch.Generator) -> torch.Tensor:
    """Return positions that jump ahead at random after definitions and steps; how far is drawn per row."""
    plain = torch.arange(ids.shape[1]).expand_as(ids)
    ends = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids([";", "\n"])))
    reach = torch.randint(0, LARGEST_GAP + 1, (len(ids), 1), generator=generator)
    jumps = (torch.rand(ids.shape, generator=generator) * (reach + 1)).long() * ends
    return plain + jumps.cumsum(dim=1)


def with_habits(problems: Sequence[Problem], share: float, rate: float, rng: random.Random) -> list[Problem]:
    """Return the problems with solutions as an author with habitual mistakes writes them."""
    return [
        replace(problem, solution=habitual_solution(parse_question(problem.question), share, rate, rng))
        for problem in problems
    ]


def curriculum(progress: float) -> tuple[int, int]:
    """Return the range of chain lengths at this share of the training: looking up is learned on short chains first."""
    if progress < 0.15:
        return 1, 2
    if progress < 0.3:
        return 1, 3
    return 1, IN_DISTRIBUTION[1]


# --- what it can do --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def greedy_accuracy(
    model: Any, tokenizer: Any, steps: tuple[int, int], settings: ChainPolicySettings
) -> Metric:
    """Return the share of held-out problems solved by greedy decoding, with a 95 % interval.

    Greedy decoding reproduces the whole reference solution iff every next token is the most likely one given the
    reference so far, so one teacher-forced pass suffices (equivalent solutions are never written: the order is fixed).
    """
    problems = generate_problems(
        settings.evaluation_problems, steps=steps, seed=settings.seed, name="policy-evaluation"
    )
    ids, targets = solution_batch(problems, tokenizer)
    right = ((model(input_ids=ids, use_cache=False).logits.argmax(-1) == targets) | (targets == IGNORED)).all(
        1
    )
    share, n = float(right.float().mean()), len(problems)
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return Metric(share, low=max(0.0, share - half), high=min(1.0, share + half), n=n)


def show_chain_policy(settings: ChainPolicySettings, out: Path, *, console: Console) -> Path:
    """Train the chain world's policy with a progress bar; return its folder."""
    with step_bar("chain policy", settings.updates, console) as progress:
        return train_chain_policy(settings, out, progress)
