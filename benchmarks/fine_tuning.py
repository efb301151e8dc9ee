"""Teaches a pretrained model to write solutions like given ones: the policy of benchmarks with a real model.

Contract: one epoch of LoRA, 16 solutions per update, the step size falling to zero; the folder has the merged weights. Not
here: policies of a world's own words (`sparring train world-policy`), supervised PRMs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sparring.models.batching import length_sorted_batches
from sparring.models.loading import load_causal_model, load_tokenizer, pick_device
from sparring.models.prompts import layout_for
from sparring.models.roles import Policy
from sparring.traces.spans import encode


def fine_tune(
    backbone: Path,
    solutions: Sequence[tuple[str, Sequence[str]]],
    folder: Path,
    *,
    about: str,
    rate: float = 1e-3,
    device: str = "cpu",
) -> int:
    """Write the taught model to a folder; return how many tokens it read.

    Args:
        backbone: folder of the model.
        solutions: questions with their steps.
        about: what the solutions are of, for the model card.
        rate: the step size at first.
    """
    place, tokenizer = pick_device(device), load_tokenizer(backbone)
    layout = layout_for(tokenizer, "plain")
    policy = Policy(
        load_causal_model(backbone, device=place, dtype=torch.bfloat16),
        pad_id=tokenizer.pad_token_id,
        adapter="lora",
        autocast=lambda: torch.autocast(place.type, torch.bfloat16),
    )
    rows = []
    for question, steps in solutions:
        start = len(encode(question, (), tokenizer, layout).input_ids)
        ids = encode(question, steps, tokenizer, layout).input_ids
        rows.append((ids[:start], (*ids[start:], tokenizer.eos_token_id)))
    trained = list(policy.parameters().values())
    optimizer = torch.optim.AdamW(trained, lr=rate)
    for first in range(0, len(rows), 16):
        batch = rows[first : first + 16]
        total = sum(len(answer) for _, answer in batch)
        for places in length_sorted_batches([len(a) + len(b) for a, b in batch], 1024):
            loss = -policy.outputs([batch[place] for place in places]).log_probs.sum() / total
            loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - first / len(rows))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    name = f"{backbone.name}, fine-tuned on {len(rows)} reference solutions of {about}."
    policy.save(folder, tokenizer, f"{name}\n")
    return sum(len(prompt) + len(answer) for prompt, answer in rows)
