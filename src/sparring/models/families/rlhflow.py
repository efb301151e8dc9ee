"""RLHFlow's PRMs: a chat in which the user gives one step a turn and the assistant answers + or −.

From the authors' code: the first turn is the question, a space and the first step; earlier answers are always ``+``; the
score is the probability of ``+`` against ``-`` where the assistant's turn begins (position −3 of a chat that ends in an
answer).
"""

from __future__ import annotations

from typing import Any

from sparring.errors import CheckpointError
from sparring.models.families import math_shepherd
from sparring.models.families.source import context
from sparring.models.prompts import render_chat
from sparring.models.sidecar import LayoutFields, Sidecar

_MARKS = ("\ue000", "\ue001", "\ue002", "\ue003")  # private-use characters: no template contains them

write = math_shepherd.write
"""The folder is native as it stands."""


def preset(config: Any, tokenizer: Any) -> Sidecar:
    """Return what the authors' code amounts to, with the texts of the folder's own chat template.

    Raises:
        CheckpointError: there is no chat template, or it does not repeat turns alike.
    """
    first, answer, second, last = _MARKS
    turns = [("user", first), ("assistant", answer), ("user", second), ("assistant", last)]
    text = render_chat(tokenizer, [{"role": role, "content": content} for role, content in turns])
    pieces = []
    for mark in _MARKS:
        piece, found, text = text.partition(mark)
        pieces.append(piece)
        if not found:
            raise CheckpointError("the chat template does not repeat the messages, so it cannot be used here")
    before, to_answer, to_user, to_answer_again = pieces
    if to_answer != to_answer_again:
        raise CheckpointError("the chat template writes later turns otherwise than the first")
    layout = LayoutFields(
        before=before,
        after=" ",
        separator=to_answer,
        between="+" + to_user,
        strip=True,
        tokenization="text",
    )
    labels = (tokenizer.encode("+")[-1], tokenizer.encode("-")[-1])
    return Sidecar(
        head="label_tokens", label_tokens=labels, layout=layout, meaning="value", max_length=context(config)
    )
