"""What a model reads: the layout of a PRM, and the prompt that asks an adversary for a wrong version of a step.

Contract: fixed texts may hold special tokens, questions and steps may not (they are tokenised as ordinary characters).
Instruction-tuned backbones are addressed through their chat template; base ones get a cue, and learn from a warm start
on rule perturbations what it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sparring.errors import CheckpointError
from sparring.traces.spans import Layout, encode, trusted_ids, untrusted_ids

Style = Literal["plain", "chat"]

_QUESTION, _STEPS, _STEP = "\ue000", "\ue001", "\ue002"  # private-use characters: no template contains them

_ADVERSARY_REQUEST = f"""Problem:
{_QUESTION}

Solution so far:
{_STEPS}

Next step:
{_STEP}

Rewrite the next step so that it contains exactly one mistake that is hard to notice, such as a wrong result, a wrong \
number or a wrong operation. Keep its style and length. Answer with the rewritten step only, on one line."""


def layout_for(tokenizer: Any, style: Style, separator: str = "\n", *, system: str | None = None) -> Layout:
    """Return the layout of a PRM (or a solver) for this tokenizer; `system` is a chat's system message.

    Raises:
        CheckpointError: the style is `chat` and the tokenizer has no chat template.
    """
    if style == "plain":
        return Layout(before=tokenizer.bos_token or "", after="\n", separator=separator)
    before, after = _split(_render_chat(tokenizer, _QUESTION, system), _QUESTION)
    return Layout(before=before, after=after, separator=separator)


class AdversaryPrompt:
    """Turns a state into the ids after which the adversary writes its version of the step.

    Args:
        tokenizer: the backbone's.
        style: `plain` (solution so far, the step, a cue) or `chat` (a request in a user's turn).
        cue: the text that asks for a mistake in `plain` style.
    """

    def __init__(self, tokenizer: Any, style: Style, cue: str) -> None:
        self.tokenizer = tokenizer
        self._layout = layout_for(tokenizer, "plain")
        self._cue = [*untrusted_ids(tokenizer, cue), *trusted_ids(tokenizer, "\n")]
        self._pieces: tuple[str, ...] | None = None
        if style == "chat":
            rest = _render_chat(tokenizer, _ADVERSARY_REQUEST)
            pieces = []
            for mark in (_QUESTION, _STEPS, _STEP):
                piece, rest = _split(rest, mark)
                pieces.append(piece)
            self._pieces = (*pieces, rest)

    def ids(self, question: str, prefix: Sequence[str], step: str) -> list[int]:
        """Return the prompt's token ids."""
        if self._pieces is None:
            encoded = encode(question, [*prefix, step], self.tokenizer, self._layout)
            return [*encoded.input_ids, *self._cue]
        ids: list[int] = []
        texts = (question, "\n".join(prefix) or "(nothing yet)", step)
        for piece, text in zip(self._pieces, texts, strict=False):
            ids += trusted_ids(self.tokenizer, piece) + untrusted_ids(self.tokenizer, text)
        return ids + trusted_ids(self.tokenizer, self._pieces[-1])


def _render_chat(tokenizer: Any, content: str, system: str | None = None) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise CheckpointError("the tokenizer has no chat template; use style 'plain'")
    turns = [] if system is None else [{"role": "system", "content": system}]
    text: str = tokenizer.apply_chat_template(
        [*turns, {"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return text


def _split(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise CheckpointError(
            "the chat template does not repeat the user's message, so it cannot be used here"
        )
    return before, after
