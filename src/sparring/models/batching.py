"""Batches of token ids: padding, and batches of similar length within a token budget.

Contract: padding goes to the right, where a causal model never looks, so no attention mask is needed and a neighbour in
the batch cannot change a score. (Sampling pads to the left and masks; that is in `sampling.py`.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def pad_right(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the rows as one (len(rows), longest row) tensor of ids."""
    longest = max(len(row) for row in rows)
    padded = [[*row, *([pad_id] * (longest - len(row)))] for row in rows]
    return torch.tensor(padded, dtype=torch.long, device=device)


def length_sorted_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Return batches of indices, longest rows first, each with rows × longest row ≤ `token_budget`.

    A row longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, token_budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
