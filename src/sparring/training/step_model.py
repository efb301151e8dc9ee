"""The model that supervised training works on: a backbone, one of two heads, LoRA or all weights.

Contract: `log_odds` gives log p(correct) − log p(wrong) at the asked places, for either head; only `parameters()` get
gradients; `export` writes the folder that `load_scorer` reads. There is no dropout. Not here: losses, data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForCausalLM

from sparring.errors import CheckpointError, SettingsError
from sparring.models.batching import pad_right
from sparring.models.checkpoint import token_classifier, write_folder
from sparring.models.loading import (
    checkpoint_activations,
    load_label_token_model,
    load_new_token_classifier,
    positions,
)
from sparring.models.lora import lora_config
from sparring.models.players import CORRECT, LABELS
from sparring.models.scorer import correct_log_odds
from sparring.models.sidecar import Sidecar
from sparring.traces.spans import trusted_ids

_HEADS = ("score", "classifier", "lm_head", "embed_out")


def label_token_ids(tokenizer: Any, texts: Sequence[str]) -> tuple[int, int]:
    """Return the ids of the two label tokens.

    Raises:
        SettingsError: a text is not exactly one token of this tokenizer, or both are the same one.
    """
    found = [trusted_ids(tokenizer, text) for text in texts]
    for text, ids in zip(texts, found, strict=True):
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise SettingsError(
                f"label_tokens: {text!r} must be one token of the backbone's tokenizer, it is {len(ids)}"
                if len(ids) != 1
                else f"label_tokens: the backbone's tokenizer does not know {text!r}"
            )
    if found[0] == found[1]:
        raise SettingsError(f"label_tokens: {texts[0]!r} and {texts[1]!r} are the same token")
    return found[0][0], found[1][0]


class StepModel:
    """A step scorer in training.

    Args:
        backbone: model folder or hub name.
        label_tokens: ids of the tokens that say correct and wrong; None for a token-classification head.
        adapter: `lora` (frozen backbone) or `full`.
        lora_rank: rank of the adapters; their scale alpha is twice the rank.
        lora_targets: names of the linear layers that get adapters, or ``all-linear``.
        device: where to compute.
        dtype: type of frozen weights; trained weights are float32.
        autocast: makes the context of every forward pass (mixed precision).
        pad_id: any valid token id.
        gradient_checkpointing: compute activations again in the backward pass.
    """

    def __init__(
        self,
        backbone: str,
        *,
        label_tokens: tuple[int, int] | None,
        adapter: Literal["lora", "full"],
        lora_rank: int,
        lora_targets: str | list[str],
        device: torch.device,
        dtype: torch.dtype,
        autocast: Callable[[], AbstractContextManager[Any]],
        pad_id: int,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.device, self.autocast, self.pad_id = device, autocast, pad_id
        self.label_tokens = label_tokens
        kept = dtype if adapter == "lora" else torch.float32
        self.model = (
            load_new_token_classifier(backbone, LABELS, device=device, dtype=kept)
            if label_tokens is None
            else load_label_token_model(backbone, label_tokens, device=device, dtype=kept)
        )
        _remove_dropout(self.model)
        if adapter == "lora":
            self.model.requires_grad_(False)
            self.model.add_adapter(lora_config(self.model, lora_rank, lora_targets, exclude=_HEADS))
            for name, parameter in self.model.named_parameters():
                new_head = label_tokens is None and name.split(".")[0] in _HEADS
                parameter.requires_grad_("lora_" in name or new_head)
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()
        else:
            self.model.requires_grad_(True)
        if gradient_checkpointing:
            checkpoint_activations(self.model)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by a stable name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @property
    def config(self) -> Any:
        """The backbone's configuration."""
        return self.model.config

    def log_odds(self, rows: Sequence[Sequence[int]], columns: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the log-odds of "correct" at the columns of every row, row by row: shape (places,).

        Args:
            rows: token ids.
            columns: per row, the positions to read.
        """
        ids = pad_right(rows, self.pad_id, self.device)
        with self.autocast():
            logits = self.model(input_ids=ids, use_cache=False).logits
        row_index = [row for row, places in enumerate(columns) for _ in places]
        column_index = [column for places in columns for column in places]
        read = logits[row_index, column_index].float()
        return correct_log_odds(read, CORRECT if self.label_tokens is None else 0)

    def export(self, folder: Path, tokenizer: Any, sidecar: Sidecar, card: str) -> None:
        """Write the model as a native folder, adapters merged in; the model cannot be trained on afterwards."""
        self.model.float()  # a small adapter would vanish in the rounding of a half-precision sum
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.merge()
        state = {
            name.replace(".base_layer.", "."): tensor.detach().cpu()
            for name, tensor in self.model.state_dict().items()
            if "lora_" not in name
        }
        if self.label_tokens is None:
            model = token_classifier(self.config, state)
        else:
            model = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)
            model.load_state_dict(state)
        write_folder(folder, model.eval(), tokenizer, sidecar, card)


def context_length(config: Any, wanted: int | None) -> int:
    """Return the most tokens of a trace: what is wanted, or what the backbone takes.

    Raises:
        CheckpointError: more is wanted than the backbone takes, or neither says a number.
    """
    limit = positions(config)
    if wanted is None:
        if limit is None:
            raise CheckpointError("the backbone does not say how many tokens it takes: set max_length")
        return limit
    if limit is not None and wanted > limit:
        raise CheckpointError(f"max_length {wanted} is more than the {limit} tokens that the backbone takes")
    return wanted


def _remove_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
