"""Skywork-o1-Open-PRM: a value head (`v_head.summary`, one output, sigmoid) read at the line break after every step.

From the authors' code: begin token, question and a line break are tokenised together, every step by itself, and the line
break is its last token. A value head is a native token classifier with one label, so that is what it becomes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from sparring.errors import CheckpointError
from sparring.models.families.source import context, copy_files, filled, source_config, source_weights
from sparring.models.loading import quiet
from sparring.models.sidecar import LayoutFields, Sidecar


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the authors' code amounts to.

    Raises:
        CheckpointError: the tokenizer has no begin token.
    """
    if not tokenizer.bos_token:
        raise CheckpointError("the tokenizer names no begin token, with which Skywork's inputs begin")
    layout = LayoutFields(before=tokenizer.bos_token, after="\n", separator="\n", tokenization="prompt")
    return Sidecar(correct_label=0, layout=layout, meaning="value", max_length=context(config))


def write(source: Path, target: Path) -> None:
    """Write a native token classifier with one label, and the tokenizer."""
    config = source_config(source)
    weights = source_weights(source, _name)
    config.num_labels, config.dtype = 1, weights["score.weight"].dtype if "score.weight" in weights else None
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    with quiet():
        filled(model, weights, source).save_pretrained(target)
    copy_files(source, target, weights=False)


def _name(name: str) -> str | None:
    """Return the native name; the wrapper of older trl versions puts `pretrained_model.` before the backbone's."""
    name = name.removeprefix("pretrained_model.")
    if name.startswith("v_head.summary."):
        return "score." + name.removeprefix("v_head.summary.")
    return None if name.startswith("lm_head.") else name  # no score is read from it
