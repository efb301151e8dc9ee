"""EurusPRM and other implicit PRMs: beta times the log ratio of a policy and its reference, summed along the answer.

From the model card: a chat of question and answer, steps joined by a blank line, beta 0.001, sums read at the steps' last
tokens. The reference model travels in a folder of its own inside the checkpoint.
"""

from __future__ import annotations

from typing import Any

from sparring.errors import CheckpointError
from sparring.models.families import math_shepherd
from sparring.models.families.source import context
from sparring.models.prompts import layout_for, render_chat
from sparring.models.sidecar import LayoutFields, LogRatio, Sidecar

BETA = 0.001
_QUESTION, _ANSWER = "\ue000", "\ue001"

write = math_shepherd.write
"""The folder is native as it stands."""


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the model card amounts to.

    Raises:
        CheckpointError: there is no chat template, or it does not end an answer as the generation prompt begins it.
    """
    chat = layout_for(tokenizer, "chat")
    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    text = render_chat(tokenizer, turns)
    header, _, end = text.partition(_ANSWER)
    if header != chat.before + _QUESTION + chat.after or not end.strip():
        raise CheckpointError("the chat template begins or ends answers in a way that is not understood")
    layout = LayoutFields(before=chat.before, after=chat.after, separator="\n\n", tokenization="text")
    return Sidecar(
        head="log_ratio",
        log_ratio=LogRatio(beta=BETA, end=end.strip()),
        layout=layout,
        meaning="value",
        max_length=context(config),
    )
