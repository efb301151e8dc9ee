"""Sampling from a causal language model: the prefix is computed once for all of its samples.

Contract: plain sampling at a temperature (or greedy at 0) from an explicit random generator, so a run can be repeated;
finished rows leave the batch. Not here: engines on servers, top-p and penalties (a policy gradient needs samples from the
model's own distribution).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from sparring.models.batching import length_sorted_batches


def ids_containing(tokenizer: Any, text: str) -> frozenset[int]:
    """Return every token id whose text contains `text`: byte-level tokenizers merge a line break with its neighbours."""
    pieces = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
    return frozenset(index for index, piece in enumerate(pieces) if text in piece)


@torch.inference_mode()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_new_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    row_budget: int = 256,
) -> list[list[list[int]]]:
    """Return `samples` continuations of each prompt, as lists of ids that end with a stop id unless the limit came first.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, none empty.
        samples: continuations per prompt.
        max_new_tokens: limit per continuation.
        stop_ids: a continuation ends after any of these.
        pad_id: any valid id; it is masked.
        generator: on the model's device (temperature > 0).
        temperature: 0 for greedy.
        row_budget: most continuations in flight at once.
    """
    results: list[list[list[int]]] = [[] for _ in prompts]
    at_once = max(1, row_budget // samples)
    longest = max(len(prompt) for prompt in prompts)
    for batch in length_sorted_batches([len(prompt) for prompt in prompts], at_once * longest):
        for chunk_start in range(0, len(batch), at_once):
            chunk = batch[chunk_start : chunk_start + at_once]
            rows = _sample_batch(
                model,
                [prompts[index] for index in chunk],
                samples=samples,
                max_new_tokens=max_new_tokens,
                stop_ids=stop_ids,
                pad_id=pad_id,
                generator=generator,
                temperature=temperature,
            )
            for position, index in enumerate(chunk):
                results[index] = rows[position * samples : (position + 1) * samples]
    return results


def _sample_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_new_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    generator: torch.Generator,
    temperature: float,
) -> list[list[int]]:
    device = next(model.parameters()).device
    width = max(len(prompt) for prompt in prompts)
    # Padding on the left, so that all rows continue at the same column.
    ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    mask = (torch.arange(width, device=device)[None, :] >= (width - lengths)[:, None]).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
    )
    cache = output.past_key_values
    cache.batch_repeat_interleave(samples)
    logits = output.logits[:, -1].repeat_interleave(samples, dim=0)
    mask = mask.repeat_interleave(samples, dim=0)
    position = lengths.repeat_interleave(samples)[:, None]
    stops = torch.tensor(sorted(stop_ids), device=device)

    finished: list[list[int]] = [[] for _ in range(len(prompts) * samples)]
    alive = torch.arange(len(finished), device=device)
    for step in range(max_new_tokens):
        chosen = _choose(logits, temperature, generator)
        for row, token in zip(alive.tolist(), chosen.tolist(), strict=True):
            finished[row].append(token)
        going = ~torch.isin(chosen, stops)
        if step + 1 == max_new_tokens or not bool(going.any()):
            break
        # Finished rows leave once they are worth the copy of the cache.
        if int(going.sum()) <= 0.75 * len(going) or len(going) <= 8:
            keep = going.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            alive, chosen, mask, position = alive[keep], chosen[keep], mask[keep], position[keep]
            pending = torch.zeros(len(keep), dtype=torch.bool, device=device)
        else:
            pending = ~going
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=-1)
        output = model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits, position = output.logits[:, -1], position + 1
        if bool(pending.any()):
            # A finished row that has not left yet is forced to stop again; what it adds is cut off below.
            logits = logits.masked_fill(pending[:, None], float("-inf"))
            logits[pending, stops[0]] = 0.0
    return [_up_to_stop(row, stop_ids) for row in finished]


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _up_to_stop(row: list[int], stop_ids: Collection[int]) -> list[int]:
    for index, token in enumerate(row):
        if token in stop_ids:
            return row[: index + 1]
    return row
