"""Checkpoints of TRL's `PRMTrainer`: native token classifiers, label 1 is "correct".

From its tokenisation: begin token if there is one, the prompt, then every step and a line break, each tokenised by itself;
the label stands at the separator's last token. Another `step_separator` than the default goes into the sidecar's layout.
"""

from __future__ import annotations

from typing import Any

from sparring.errors import CheckpointError
from sparring.models.families import math_shepherd
from sparring.models.families.source import context
from sparring.models.sidecar import LayoutFields, Sidecar

write = math_shepherd.write
"""The folder is native as it stands."""


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the trainer does.

    Raises:
        CheckpointError: the head does not have two labels.
    """
    if config.num_labels != 2:
        raise CheckpointError(f"the head has {config.num_labels} labels, a PRMTrainer checkpoint has 2")
    layout = LayoutFields(before=tokenizer.bos_token or "", after="", separator="\n")
    return Sidecar(layout=layout, max_length=context(config))
