"""Which tokens of an answer belong to which of its steps, by character offsets.

A PRM and a policy may cut the same text into different tokens, so what they share is the text: steps are ranges of its
characters, and a token belongs to the step in whose range its first visible character lies. Separators, and the end
token, belong to the step that they end: to stop there was part of writing it.

Contract: pure functions of a tokenizer's decoding, the ids that were sampled (never ids made again from the text, which
may differ), and the text. Spans are half-open, in order, without overlap, and cover the whole answer where it has a step.
A step that shares all its tokens with an earlier one has an empty span.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from sparring.rollouts.engine import SEPARATOR

Piece = Callable[[int], str]
"""The text of a single token."""

_BROKEN = "\ufffd"  # what decoding gives for a part of a character's bytes


def step_spans(
    tokenizer: Any,
    token_ids: Sequence[int],
    text: str,
    separator: str = SEPARATOR,
    *,
    answer: str | None = None,
    piece: Piece | None = None,
) -> list[tuple[int, int]]:
    """Return the range of tokens of every step of an answer.

    Args:
        tokenizer: the policy's.
        token_ids: the answer's ids as they were sampled; those after the text's end (an end token) go to the last step.
        text: the answer's text.
        separator: what is between steps; steps are those of `rollouts.engine.split_completion`.
        answer: the text with its thinking blanked out, where there is any; the first step's tokens begin with the thinking.
        piece: decodes a single id, where that is remembered.
    """
    starts = step_starts(text if answer is None else answer, separator)
    if not starts:
        return []
    ends = token_ends(tokenizer, token_ids, text, piece)
    first_visible = []
    for begin, end in pairwise([0, *ends]):
        visible = next((place for place in range(begin, end) if not text[place].isspace()), begin)
        first_visible.append(visible if begin < end else begin)
    # The first step begins where the answer does, whatever white space comes before it.
    owners = [max(0, bisect_right(starts, place) - 1) for place in first_visible]
    # After the text there is nothing of any other step; and an owner never goes back.
    owners = [
        len(starts) - 1 if place >= len(text) else owner
        for place, owner in zip(first_visible, owners, strict=True)
    ]
    return [(bisect_right(owners, step - 1), bisect_right(owners, step)) for step in range(len(starts))]


def pieces_of(tokenizer: Any) -> Piece:
    """Return the decoder of single ids that remembers what it has decoded."""
    return cache(lambda index: str(tokenizer.decode([index], skip_special_tokens=False)))


def step_starts(text: str, separator: str = SEPARATOR) -> list[int]:
    """Return where each step begins: the first visible character of every piece that has one."""
    starts, place = [], 0
    for piece in text.split(separator):
        if piece.strip():
            starts.append(place + len(piece) - len(piece.lstrip()))
        place += len(piece) + len(separator)
    return starts


def token_ends(tokenizer: Any, token_ids: Sequence[int], text: str, piece: Piece | None = None) -> list[int]:
    """Return, per token, how many characters of the text are written once it is there; never falling, at most all.

    Tokens are read one by one where their texts add up to the whole; where they do not (a character of several tokens,
    say), every beginning of the ids is decoded, and what it shares with the text counts.
    """
    pieces = [*map(piece or pieces_of(tokenizer), token_ids)]
    found = _added_up(pieces, text)
    if found is not None:
        return found
    ends: list[int] = []
    for count in range(1, len(token_ids) + 1):
        so_far = tokenizer.decode(token_ids[:count], skip_special_tokens=False).rstrip(_BROKEN)
        shared = len(so_far) if text.startswith(so_far) else _shared(so_far, text)
        ends.append(max(shared, ends[-1] if ends else 0))
    return ends


def _added_up(pieces: Sequence[str], text: str) -> list[int] | None:
    """Return the ends of pieces that make up the text one after the other, a space between two allowed; else None."""
    ends, place = [], 0
    for piece in pieces:
        if place == len(text):  # the end token
            ends.append(place)
            continue
        if not text.startswith(piece, place):
            if not text.startswith(" " + piece, place):
                return None
            place += 1
        place += len(piece)
        ends.append(place)
    return ends if place == len(text) else None


def _shared(one: str, other: str) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
