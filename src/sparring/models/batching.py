"""Batches of token ids: padding, and batches of similar length within a token budget.

Contract: padding goes to the right, where a causal model never looks, so no attention mask is needed and a neighbour in
the batch cannot change a score. (Sampling pads to the left and masks; that is in `sampling.py`.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

SHORTEST = 0.85
"""Rows shorter than this share of the longest one of a training pass go into the next: padding costs as much as text."""


def shortest_share() -> float:
    """Return `SHORTEST`, and 0 where several processes train: for passes of which nobody counts how many there are.

    Where processes share a backbone (`sharding.py`) each must make as many passes as the others. The trainers' own loops
    count theirs and make up for it (`processes.in_step`); the parts into which `branches.hidden_states` cuts
    one pass are not counted there.
    """
    return 0.0 if torch.distributed.is_available() and torch.distributed.is_initialized() else SHORTEST


def pad_right(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the rows as one (len(rows), longest row) tensor of ids."""
    longest = max(len(row) for row in rows)
    padded = [[*row, *([pad_id] * (longest - len(row)))] for row in rows]
    return torch.tensor(padded, dtype=torch.long, device=device)


def length_sorted_batches(
    lengths: Sequence[int], token_budget: int, *, shortest: float = 0.0
) -> list[list[int]]:
    """Return batches of indices, longest rows first, each with rows × longest row ≤ `token_budget`.

    A row longer than the budget gets a batch of its own. With `shortest`, a batch ends before a row that is shorter than
    this share of its longest one: padding costs more than another pass.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, token_budget // max(1, lengths[order[start]]))
        least = shortest * lengths[order[start]]
        batch = [index for index in order[start : start + size] if lengths[index] >= least]
        batches.append(batch)
        start += len(batch)
    return batches
