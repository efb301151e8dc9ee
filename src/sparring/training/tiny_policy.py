"""Pieces of which tiny policies are trained from nothing (`chain_policy.py`, `world_policy.py`).

A language model that has only ever seen correct text computes what comes next, but has no feature for "this is not what
should stand here"; large models have it from their corpus, and PRMs start from it. So a second phase adds layers that begin
as the identity and, beside next-token training, learns replaced-token detection (as ELECTRA is pretrained): in copies of
solutions some words are replaced by others of the same kind, and two heads that are thrown away afterwards tell which
words, and which steps at their end. The added layers can compare what the lower ones expected with what stands there. No
error taxonomy and no oracle is involved.

Not here: whose problems, and who writes their solutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import LlamaForCausalLM

from sparring.models.batching import pad_right
from sparring.runs import Metric
from sparring.settings_shared import Seeded, seed_from
from sparring.training.part import Divergence
from sparring.training.run import Progress
from sparring.worlds.chain_model import tiny_config

IGNORED = -100
"""Target of a position that no loss counts."""
Kinds = Sequence[tuple[Sequence[str], float]]
"""Words of one kind, and the share of them that is replaced."""


# --- phases and their losses -----------------------------------------------------------------------------------------


def new_model(vocabulary: int, *, width: int, layers: int, heads: int, seed: int) -> Any:
    """Return a native Llama with random weights."""
    torch.manual_seed(seed_from(seed, 0, "weights"))
    return LlamaForCausalLM(tiny_config(vocabulary, width=width, layers=layers, heads=heads))


def run_phase(
    parameters: Sequence[torch.nn.Parameter],
    rate: float,
    updates: int,
    losses: Callable[[int], dict[str, torch.Tensor]],
    progress: Progress | None,
    first: int = 0,
) -> None:
    """Make the updates of a phase of training that begins after `first` others; the losses of an update are added up."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    divergence = Divergence("policy", parameters)
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(update, updates)
        found = losses(update)
        optimizer.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        divergence.step(optimizer, first + update + 1, norm)
        if progress is not None:
            progress(first + update + 1, {name: float(loss.detach()) for name, loss in found.items()})


def schedule(update: int, updates: int) -> float:
    """Return the learning rate's factor: 50 updates of warm-up, then a cosine down to 5 %."""
    warm = min(1.0, (update + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * update / updates)))


def hidden_states(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states at positions that may jump, (rows, length, width)."""
    # The explicit mask matters: without one, transformers takes a jump in the positions for the start of another packed
    # text and hides everything before it.
    mask = torch.ones_like(ids)
    states: torch.Tensor = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return states


def next_token_loss(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the targets that count."""
    counted = targets != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(states)[counted], targets[counted])


class Detection:
    """Next-token training on some solutions, and finding replaced words in the others.

    Args:
        model: with the layers that it learns in.
        tokenizer: has each word as one id.
        kinds: which words are replaced, and by what.
        plain: so many solutions of an update are for next-token training.
        generator: of what is replaced.
    """

    def __init__(
        self, model: Any, tokenizer: Any, kinds: Kinds, *, plain: int, generator: torch.Generator
    ) -> None:
        self.model, self.tokenizer, self.kinds = model, tokenizer, kinds
        self.plain, self.generator = plain, generator
        self.heads = torch.nn.Linear(model.config.hidden_size, 2)  # of words, and of steps
        self._line_break = tokenizer.convert_tokens_to_ids("\n")

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained: the model, and the heads."""
        return [*self.model.parameters(), *self.heads.parameters()]

    def losses(
        self, ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return both losses of an update's solutions, all (solutions, length)."""
        shown, replaced = replaced_by_kind(ids, targets, self.tokenizer, self.kinds, self.generator)
        plain, others = slice(None, self.plain), slice(self.plain, None)
        shown[plain] = ids[plain]
        states = hidden_states(self.model, shown, positions)
        return {
            "loss": next_token_loss(self.model, states[plain], targets[plain]),
            "detection_loss": self._loss(states[others], ids[others], targets[others], replaced[others]),
        }

    def _loss(
        self, states: torch.Tensor, ids: torch.Tensor, targets: torch.Tensor, replaced: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted loss of telling replaced words (at the word) and steps that hold one (at the line break)."""
        solution = targets.roll(1, dims=1) != IGNORED  # the words of the solution themselves
        solution[:, 0] = False
        logits = self.heads(states)
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        words = loss(logits[..., 0][solution], replaced[solution].float())
        ends = solution & (ids == self._line_break)
        so_far = replaced.long().cumsum(dim=1)
        # Replaced words up to this line break, less those up to the one before it.
        at_ends = so_far * ends
        before = torch.cat([torch.zeros_like(at_ends[:, :1]), at_ends[:, :-1]], dim=1).cummax(dim=1).values
        steps = loss(logits[..., 1][ends], (so_far > before)[ends].float())
        return 4 * words + 2 * steps


# --- batches ---------------------------------------------------------------------------------------------------------


def padded(
    rows: Sequence[Sequence[int]], starts: Sequence[int], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as ids and next-token targets, both (rows, length); what is before a row's start is no target."""
    ids = pad_right(rows, pad_id)
    targets = torch.full_like(ids, IGNORED)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        targets[index, start - 1 : len(row) - 1] = ids[index, start : len(row)]
    return ids, targets


def replaced_by_kind(
    ids: torch.Tensor,
    targets: torch.Tensor,
    tokenizer: Any,
    kinds: Kinds,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids with random solution words replaced by others of their kind, and where that happened (rows, length).

    Half of the replacements stand elsewhere in the same problem: mixing up two values is the hardest mistake to see.

    Args:
        ids: of problems with solutions, (rows, length).
        targets: the solutions' words, one place to the left.
        tokenizer: has each word as one id.
        kinds: the words of each kind, and the share of them that is replaced.
        generator: of the randomness.
    """
    shown, replaced = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
    solution = targets.roll(1, dims=1) != IGNORED
    solution[:, 0] = False
    for words, wanted in kinds:
        members = torch.tensor(tokenizer.convert_tokens_to_ids(list(words)))
        of_kind = torch.isin(ids, members)
        random_word = members[torch.randint(len(members), ids.shape, generator=generator)]
        present = torch.where(of_kind.any(dim=1, keepdim=True), of_kind, True).float()
        columns = torch.multinomial(present, ids.shape[1], replacement=True, generator=generator)
        near = torch.rand(ids.shape, generator=generator) < 0.5
        other = torch.where(near, ids.gather(1, columns), random_word)
        place = solution & of_kind & (other != ids) & (torch.rand(ids.shape, generator=generator) < wanted)
        shown[place], replaced = other[place], replaced | place
    return shown, replaced


# --- layers and card -------------------------------------------------------------------------------------------------


def with_layers(model: Any, added: int, seed: int) -> Any:
    """Return a native Llama with further layers on top that begin as the identity."""
    torch.manual_seed(seed_from(seed, 1, "layers"))
    config = model.config
    grown = LlamaForCausalLM(
        tiny_config(
            config.vocab_size,
            width=config.hidden_size,
            layers=config.num_hidden_layers + added,
            heads=config.num_attention_heads,
        )
    )
    grown.load_state_dict(model.state_dict(), strict=False)
    for layer in grown.model.layers[config.num_hidden_layers :]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return grown


def policy_card(
    world: str, command: str, settings: Seeded, metrics: Mapping[str, Metric], note: str = ""
) -> str:
    """Return the model card of a policy trained on a world's problems: how it was made and what was measured.

    Args:
        world: as it stands in the title.
        command: that trains it.
        settings: of the run; those at their defaults are left out.
        metrics: what was measured.
        note: put in where it tells which state of the run this is.
    """
    rows = "\n".join(
        f"| {name} | {metric.value:{',' if isinstance(metric.value, int) else '.3f'}}"
        + (f" ({metric.low:.3f} to {metric.high:.3f}, n = {metric.n})" if metric.low is not None else "")
        + " |"
        for name, metric in metrics.items()
    )
    given = " ".join(
        f"{name}={value}".replace(" ", "")
        for name, value in settings.model_dump().items()
        if value != type(settings).model_fields[name].default
    )
    return f"""---
library_name: transformers
license: apache-2.0
---

# Tiny policy of the {world}

A native Llama, trained from scratch on generated problems{f", {note}," if note else ""} with

    {command} --out FOLDER {given}

| | |
|---|---|
{rows}
"""
