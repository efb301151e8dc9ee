"""Math-Shepherd: a causal language model that answers + or − at the tag ` ки` after every step.

From the model card: one text, the question, a space, then lines ``Step n: … ки``; at each tag the probability of ``+``
against ``-``, both as they are tokenised after a space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparring.errors import CheckpointError
from sparring.models.families.source import begin_text, context, copy_files, source_config
from sparring.models.sidecar import LayoutFields, Sidecar


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the model card amounts to.

    Raises:
        CheckpointError: `+` or `-` is not one token.
    """
    labels = tokenizer.encode("+ -", add_special_tokens=False)
    if len(labels) != 2:
        raise CheckpointError(f"the tokenizer needs {len(labels)} tokens for '+ -', not 2")
    layout = LayoutFields(
        before=begin_text(tokenizer),
        after=" ",
        separator=" ки",
        between="\n",
        step_prefix="Step {number}: ",
        tokenization="text",
    )
    return Sidecar(
        head="label_tokens",
        label_tokens=(labels[0], labels[1]),
        layout=layout,
        meaning="value",
        max_length=context(config),
    )


def write(source: Path, target: Path) -> None:
    """Copy the folder: it is native as it stands."""
    source_config(source)
    copy_files(source, target, weights=True)
