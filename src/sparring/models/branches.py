"""Several continuations of one prefix in one row: the prefix is computed once, and no branch sees another.

    ids        prefix …………  branch 1 ……  branch 2 ……
    positions  0 … p−1      p, p+1 …     p, p+1 …
    sees       itself       prefix, 1    prefix, 2

The game needs a state's correct continuation and a whole group of rewrites of one step, under PRM, adversary and
references; in separate rows most of the work would go into the same prefix again and again.

Contract: hidden states equal those of separate rows (1e-5 in float32). Needs a causal model with positions given by
`position_ids` and an attention that takes a 4-dimensional additive mask (eager and SDPA do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch

from sparring.models.batching import length_sorted_batches, shortest_share

_PREFIX, _PADDING = 0, -1


@dataclass(frozen=True, slots=True)
class BranchedRow:
    """A prefix and its branches, all as token ids; neither the prefix nor a branch is empty."""

    prefix: Sequence[int]
    branches: Sequence[Sequence[int]]

    def branch_ids(self) -> list[int]:
        """Return the ids of all branches, in the packed row's order."""
        return [*chain.from_iterable(self.branches)]

    def ends(self) -> list[int]:
        """Return, per branch, the column of its last id in the packed row."""
        return [len(self.prefix) + length - 1 for length in accumulate(map(len, self.branches))]

    def predicted_at(self) -> list[int]:
        """Return, per id of the branches, the column that predicts it: the one before, of a first id the prefix's last."""
        first = len(self.prefix) - 1
        ends = zip(self.ends(), self.branches, strict=True)
        return [column for end, branch in ends for column in (first, *range(end - len(branch) + 1, end))]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.branches))


@dataclass(frozen=True, slots=True)
class BranchedBatch:
    """Tensors of a batch of rows: ids and positions (rows, length), additive mask (rows, 1, length, length), lengths."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    lengths: list[int]


def collate(
    rows: Sequence[BranchedRow], pad_id: int, device: torch.device, dtype: torch.dtype
) -> BranchedBatch:
    """Return the rows as padded tensors."""
    length = max(len(row) for row in rows)
    ids, positions, segments = [], [], []
    for row in rows:
        padding = length - len(row)
        ids.append([*row.prefix, *row.branch_ids(), *[pad_id] * padding])
        offset = len(row.prefix)
        positions.append(
            [
                *range(offset),
                *(offset + i for branch in row.branches for i in range(len(branch))),
                *[0] * padding,
            ]
        )
        numbered = [number for number, branch in enumerate(row.branches, start=1) for _ in branch]
        segments.append([*[_PREFIX] * offset, *numbered, *[_PADDING] * padding])
    segment = torch.tensor(segments, device=device)
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    same = segment[:, :, None] == segment[:, None, :]
    # Padding sees padding before it, so that no row of the softmax is empty.
    visible = causal & (same | ((segment[:, None, :] == _PREFIX) & (segment[:, :, None] != _PADDING)))
    mask = torch.zeros(visible.shape, dtype=dtype, device=device)
    mask.masked_fill_(~visible, torch.finfo(dtype).min)
    return BranchedBatch(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        mask[:, None],
        [len(row) for row in rows],
    )


def hidden_states(decoder: Any, batch: BranchedBatch) -> torch.Tensor:
    """Return the last hidden states (rows, length, width) of a decoder without its output head; zeros at padding.

    Rows of similar length go through it together: what is padded costs as much as what is text.
    """
    longest = batch.ids.shape[1]
    parts = length_sorted_batches(batch.lengths, len(batch.lengths) * longest, shortest=shortest_share())
    found = []
    for part in parts:
        length, rows = batch.lengths[part[0]], slice(None) if len(parts) == 1 else part
        output = decoder(
            input_ids=batch.ids[rows, :length],
            position_ids=batch.positions[rows, :length],
            attention_mask=batch.mask[rows, :, :length, :length],
            use_cache=False,
        )
        found.append(torch.nn.functional.pad(output.last_hidden_state, (0, 0, 0, longest - length)))
    if len(parts) == 1:
        return found[0]
    order = [row for part in parts for row in part]
    return torch.cat(found)[sorted(range(len(order)), key=order.__getitem__)]


def branch_logits(states: torch.Tensor, rows: Sequence[BranchedRow], output_head: Any) -> torch.Tensor:
    """Return the logits that predict every id of every branch, row by row, branch by branch: (ids, vocabulary).

    Only these places go through the output head: with a vocabulary of 150,000 the head is the largest matrix.
    """
    places = [(index, column) for index, row in enumerate(rows) for column in row.predicted_at()]
    row_index, columns = [index for index, _ in places], [column for _, column in places]
    logits: torch.Tensor = output_head(states[row_index, columns])
    return logits.float()
