"""Train the tiny policy of the chain world from generated problems: `sparring train chain-policy`.

First, next-token training on correct solutions, easiest problems first. Positions get random gaps at the ends of
definitions and steps, so that distances beyond the training lengths have been seen and longer chains are not out of reach.

Second, replaced-token detection beside it (as ELECTRA is pretrained): in copies of solutions some words are replaced by
random words of the same kind, and two heads that are thrown away afterwards tell which words, and which steps at their end.
A language model that has only ever seen correct text computes what comes next, but has no feature for "this is not what
should stand here"; large models have it from their corpus, and PRMs start from it. No error taxonomy and no oracle is
involved.

Contract: one pass over generated data, no validation set needed (every problem is new); a Hugging Face folder with a
model card that states what was measured. Not here: anything that a larger model would need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from transformers import LlamaForCausalLM

from sparring.files import atomic_directory
from sparring.models.batching import pad_right
from sparring.models.loading import quiet
from sparring.runs import Metric, write_metrics
from sparring.settings import Settings, dump_settings
from sparring.traces.records import Problem
from sparring.traces.spans import encode
from sparring.training.state import seed_for
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    MODULUS,
    NAMES,
    OPERATIONS,
    generate_problems,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer, tiny_config

_IGNORED = -100


class ChainPolicySettings(Settings):
    """Settings of `sparring train chain-policy`."""

    problems: int = Field(144_000, gt=0)
    """Problems to train on, each seen once."""
    detection_problems: int = Field(88_000, ge=0)
    """Problems of the second phase."""
    language_share: float = Field(0.4, gt=0, lt=1)
    """Share of the second phase's problems that go on with next-token training, so that the policy stays one."""
    replaced: float = Field(0.08, gt=0, lt=1)
    """Share of a solution's words that are replaced in the second phase."""
    batch: int = Field(32, gt=0)
    """Problems per update."""
    learning_rate: float = Field(4e-3, gt=0)
    """Peak of a cosine schedule with a short warm-up."""
    width: int = Field(96, gt=0)
    """Hidden size."""
    layers: int = Field(4, gt=0)
    """Layers."""
    heads: int = Field(4, gt=0)
    """Attention heads."""
    largest_gap: int = Field(8, ge=0)
    """Positions skipped at most after a definition or step in training; 0 turns gaps off."""
    evaluation_problems: int = Field(500, gt=0)
    """Held-out problems per split for the measured accuracy."""
    seed: int = Field(0, ge=0)
    """All randomness derives from it."""

    @property
    def updates(self) -> int:
        """Updates of both phases."""
        return self.problems // self.batch + self.detection_problems // self.batch


def train_chain_policy(
    settings: ChainPolicySettings, out: Path, progress: Callable[[int, dict[str, Any]], None] | None = None
) -> Path:
    """Train the policy and write it to `out` as a Hugging Face folder, with `metrics.json`."""
    torch.manual_seed(seed_for(settings.seed, 0, "weights"))
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(
        tiny_config(len(tokenizer), width=settings.width, layers=settings.layers, heads=settings.heads)
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    updates = max(1, settings.problems // settings.batch)
    gaps = torch.Generator().manual_seed(seed_for(settings.seed, 0, "gaps"))
    started = time.perf_counter()
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * schedule(update, updates)
        steps = curriculum(update / updates)
        problems = generate_problems(
            settings.batch,
            steps=steps,
            seed=settings.seed,
            start=update * settings.batch,
            name="policy-train",
        )
        ids, targets = solution_batch(problems, tokenizer)
        positions = gapped_positions(ids, tokenizer, settings.largest_gap, gaps)
        # The explicit mask matters: without one, transformers takes a jump in the positions for the start of another
        # packed text and hides everything before it.
        logits = model(
            input_ids=ids, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=False
        ).logits
        counted = targets != _IGNORED
        loss = torch.nn.functional.cross_entropy(logits[counted], targets[counted])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if progress is not None:
            progress(update + 1, {"loss": float(loss.detach()), "updates": updates})
    if settings.detection_problems:
        learn_detection(model, tokenizer, settings, progress)
    seconds = time.perf_counter() - started

    write_policy(model, tokenizer, settings, seconds, out)
    return out


def write_policy(
    model: Any, tokenizer: Any, settings: ChainPolicySettings, seconds: float, out: Path
) -> None:
    """Measure the policy and write its folder."""
    metrics = {"training.seconds": Metric(seconds, unit="s")}
    for name, steps in (("in_distribution", IN_DISTRIBUTION), ("longer", LONGER)):
        metrics[f"policy.{name}.greedy_accuracy"] = greedy_accuracy(model, tokenizer, steps, settings)
    with atomic_directory(out) as temporary, quiet():
        model.save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(_card(settings, metrics), encoding="utf-8")
        write_metrics(temporary, metrics, settings=dump_settings(settings), seed=settings.seed)


def learn_detection(
    model: Any,
    tokenizer: Any,
    settings: ChainPolicySettings,
    progress: Callable[[int, dict[str, Any]], None] | None = None,
) -> None:
    """Second phase: go on with next-token training on some problems, find replaced words in the others."""
    torch.manual_seed(seed_for(settings.seed, 1, "weights"))
    heads = torch.nn.Linear(model.config.hidden_size, 2)  # of words, and of steps
    parameters = [*model.parameters(), *heads.parameters()]
    line_break = tokenizer.convert_tokens_to_ids("\n")
    rate = settings.learning_rate / 2
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    updates = max(1, settings.detection_problems // settings.batch)
    random_ids = torch.Generator().manual_seed(seed_for(settings.seed, 1, "detection"))
    first_update = settings.problems // settings.batch
    language_rows = max(1, round(settings.batch * settings.language_share))
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(update, updates)
        problems = generate_problems(
            settings.batch,
            steps=(1, IN_DISTRIBUTION[1]),
            seed=settings.seed,
            start=update * settings.batch,
            name="policy-detection",
        )
        ids, targets = solution_batch(problems, tokenizer)
        positions = gapped_positions(ids, tokenizer, settings.largest_gap, random_ids)
        shown, replaced = replace_words(ids, targets, tokenizer, settings.replaced, random_ids)
        shown[:language_rows] = ids[:language_rows]
        states = model.base_model(
            input_ids=shown, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=False
        ).last_hidden_state
        predicted, wanted = model.lm_head(states[:language_rows]), targets[:language_rows]
        counted = wanted != _IGNORED
        language_loss = torch.nn.functional.cross_entropy(predicted[counted], wanted[counted])
        detection_loss = _detection_loss(
            heads,
            states[language_rows:],
            ids[language_rows:],
            targets[language_rows:],
            replaced[language_rows:],
            line_break,
        )
        optimizer.zero_grad()
        (language_loss + detection_loss).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if progress is not None:
            losses = {"loss": float(language_loss.detach()), "detection_loss": float(detection_loss.detach())}
            progress(first_update + update + 1, losses)


def _detection_loss(
    heads: torch.nn.Linear,
    states: torch.Tensor,
    ids: torch.Tensor,
    targets: torch.Tensor,
    replaced: torch.Tensor,
    line_break: int,
) -> torch.Tensor:
    """Return the weighted loss of telling replaced words (at the word) and steps that hold one (at the line break)."""
    solution = targets.roll(1, dims=1) != _IGNORED  # the words of the solution themselves
    solution[:, 0] = False
    logits = heads(states)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    words = loss(logits[..., 0][solution], replaced[solution].float())
    ends = solution & (ids == line_break)
    so_far = replaced.long().cumsum(dim=1)
    # Replaced words up to this line break, less those up to the one before it.
    at_ends = so_far * ends
    before = torch.cat([torch.zeros_like(at_ends[:, :1]), at_ends[:, :-1]], dim=1).cummax(dim=1).values
    steps = loss(logits[..., 1][ends], (so_far > before)[ends].float())
    return 4 * words + 2 * steps


def replace_words(
    ids: torch.Tensor, targets: torch.Tensor, tokenizer: Any, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids with random solution words replaced by others of their kind, and where that happened (rows, length)."""
    kinds = [list(OPERATIONS), list(NAMES), [str(value) for value in range(MODULUS)]]
    shown, replaced = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
    solution = targets.roll(1, dims=1) != _IGNORED
    solution[:, 0] = False
    chosen = solution & (torch.rand(ids.shape, generator=generator) < share)
    for words in kinds:
        members = torch.tensor(tokenizer.convert_tokens_to_ids(words))
        place = chosen & torch.isin(ids, members)
        shift = torch.randint(1, len(members), ids.shape, generator=generator)
        index = torch.searchsorted(members.sort().values, ids).clamp(max=len(members) - 1)
        other = members.sort().values[(index + shift) % len(members)]
        shown[place], replaced = other[place], replaced | place
    return shown, replaced


def curriculum(progress: float) -> tuple[int, int]:
    """Return the range of chain lengths at this share of the training: looking up is learned on short chains first."""
    if progress < 0.15:
        return 1, 2
    if progress < 0.3:
        return 1, 3
    return 1, IN_DISTRIBUTION[1]


def schedule(update: int, updates: int) -> float:
    """Return the learning rate's factor: 50 updates of warm-up, then a cosine down to 5 %."""
    warm = min(1.0, (update + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * update / updates)))


def solution_batch(problems: Sequence[Problem], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and next-token targets, both (problems, length); only the solution and its end are targets."""
    rows, starts = [], []
    for problem in problems:
        assert problem.solution is not None
        encoded = encode(problem.question, problem.solution, tokenizer, CHAIN_LAYOUT)
        rows.append([*encoded.input_ids, tokenizer.eos_token_id])
        starts.append(encoded.spans[0][0])
    ids = pad_right(rows, tokenizer.pad_token_id)
    targets = torch.full_like(ids, _IGNORED)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        targets[index, start - 1 : len(row) - 1] = ids[index, start : len(row)]
    return ids, targets


def gapped_positions(
    ids: torch.Tensor, tokenizer: Any, largest_gap: int, generator: torch.Generator
) -> torch.Tensor:
    """Return positions that jump ahead at random after definitions and steps; how far is drawn per row."""
    plain = torch.arange(ids.shape[1]).expand_as(ids)
    ends = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids([";", "\n"])))
    reach = torch.randint(0, largest_gap + 1, (len(ids), 1), generator=generator)
    jumps = (torch.rand(ids.shape, generator=generator) * (reach + 1)).long() * ends
    return plain + jumps.cumsum(dim=1)


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
    right = (
        (model(input_ids=ids, use_cache=False).logits.argmax(-1) == targets) | (targets == _IGNORED)
    ).all(1)
    share, n = float(right.float().mean()), len(problems)
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return Metric(share, low=max(0.0, share - half), high=min(1.0, share + half), n=n)


def _card(settings: ChainPolicySettings, metrics: dict[str, Metric]) -> str:
    rows = "\n".join(
        f"| {name} | {metric.value:.3f}"
        + (f" ({metric.low:.3f} to {metric.high:.3f}, n = {metric.n})" if metric.low is not None else "")
        + " |"
        for name, metric in metrics.items()
    )
    return f"""---
library_name: transformers
license: apache-2.0
---

# Tiny policy of the chain-arithmetic world

A native Llama, trained from scratch on generated problems with

    sparring train chain-policy --out FOLDER problems={settings.problems} \\
        detection_problems={settings.detection_problems} seed={settings.seed}

| | |
|---|---|
{rows}
"""
