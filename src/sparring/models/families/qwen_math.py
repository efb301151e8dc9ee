"""Qwen2.5-Math-PRM: two linear layers with ReLU read at `<extra_0>`, the probability of class 1.

From the model card: a chat with a system request, the question, and an answer in which `<extra_0>` follows every step;
softmax over two classes at each `<extra_0>`. The head (`score.0`, `score.2`) has no native class in transformers, so the
backbone becomes a native `Qwen2Model` and the head a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModel

from sparring.errors import CheckpointError
from sparring.models.families.heads import HEAD_FILE, head_layers
from sparring.models.families.source import context, copy_files, filled, source_config, source_weights
from sparring.models.loading import quiet
from sparring.models.prompts import layout_for
from sparring.models.sidecar import LayoutFields, Sidecar

SEPARATOR = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
_HEAD = "head/"
_LAYERS = {"score.0.": "0.", "score.2.": "1."}


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the model card amounts to.

    Raises:
        CheckpointError: the tokenizer has no chat template or does not know `<extra_0>`.
    """
    if SEPARATOR not in tokenizer.get_added_vocab():
        raise CheckpointError(f"the tokenizer has no token {SEPARATOR}: is this a Qwen2.5-Math-PRM?")
    chat = layout_for(tokenizer, "chat", system=SYSTEM)
    layout = LayoutFields(before=chat.before, after=chat.after, separator=SEPARATOR, tokenization="text")
    return Sidecar(head="mlp", correct_label=1, layout=layout, max_length=context(config))


def write(source: Path, target: Path) -> None:
    """Write the backbone as `Qwen2Model`, the head beside it, and the tokenizer."""
    config = source_config(source)
    weights = source_weights(source, _name)
    head = {name.removeprefix(_HEAD): weights.pop(name) for name in list(weights) if name.startswith(_HEAD)}
    head_layers(head, config.hidden_size)
    config.dtype = next(iter(weights.values())).dtype if weights else None
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    with quiet():
        filled(model, weights, source).save_pretrained(target)
    save_file(head, target / HEAD_FILE)
    copy_files(source, target, weights=False)


def _name(name: str) -> str | None:
    """Return the native name in the backbone, or `head/` and the name in the head's file."""
    if name.startswith("lm_head."):  # no score is read from it
        return None
    heads = (_HEAD + new + name.removeprefix(old) for old, new in _LAYERS.items() if name.startswith(old))
    return next(heads, name.removeprefix("model."))
