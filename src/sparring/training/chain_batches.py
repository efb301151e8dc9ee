"""Batches for training the tiny policy of the chain world: pure functions of problems and random generators.

Ids with next-token targets, positions with random gaps, replaced words, an author's habits, and the two schedules (of
lengths and of the learning rate). Not here: models and losses (`chain_policy.py`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from sparring.models.batching import pad_right
from sparring.traces.records import Problem
from sparring.traces.spans import encode
from sparring.worlds.chain import IN_DISTRIBUTION, MODULUS, NAMES, OPERATIONS, parse_question
from sparring.worlds.chain_habits import habitual_solution
from sparring.worlds.chain_model import CHAIN_LAYOUT

IGNORED = -100
"""Target of a position that no loss counts."""


def solution_batch(problems: Sequence[Problem], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and next-token targets, both (problems, length); only the solution and its end are targets."""
    rows, starts = [], []
    for problem in problems:
        assert problem.solution is not None
        encoded = encode(problem.question, problem.solution, tokenizer, CHAIN_LAYOUT)
        rows.append([*encoded.input_ids, tokenizer.eos_token_id])
        starts.append(encoded.spans[0][0])
    ids = pad_right(rows, tokenizer.pad_token_id)
    targets = torch.full_like(ids, IGNORED)
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


def replace_words(
    ids: torch.Tensor,
    targets: torch.Tensor,
    tokenizer: Any,
    share: float,
    number_share: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids with random solution words replaced by others of their kind, and where that happened (rows, length).

    Half of the replacements stand elsewhere in the same problem: mixing up two values is the hardest mistake to see.
    """
    numbers = [str(value) for value in range(MODULUS)]
    kinds = [(list(OPERATIONS), share), (list(NAMES), share), (numbers, number_share)]
    shown, replaced = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
    solution = targets.roll(1, dims=1) != IGNORED
    solution[:, 0] = False
    for words, wanted in kinds:
        members = torch.tensor(tokenizer.convert_tokens_to_ids(words))
        of_kind = torch.isin(ids, members)
        random_word = members[torch.randint(len(members), ids.shape, generator=generator)]
        present = torch.where(of_kind.any(dim=1, keepdim=True), of_kind, True).float()
        columns = torch.multinomial(present, ids.shape[1], replacement=True, generator=generator)
        near = torch.rand(ids.shape, generator=generator) < 0.5
        other = torch.where(near, ids.gather(1, columns), random_word)
        place = solution & of_kind & (other != ids) & (torch.rand(ids.shape, generator=generator) < wanted)
        shown[place], replaced = other[place], replaced | place
    return shown, replaced


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


def schedule(update: int, updates: int) -> float:
    """Return the learning rate's factor: 50 updates of warm-up, then a cosine down to 5 %."""
    warm = min(1.0, (update + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * update / updates)))
