"""The step contract: from a trace to token ids with one span and one scoring position per step.

Everything that feeds a model goes through `encode`: training, scoring, search, the game and serving. Positions are
known by construction, never found by looking for a separator in the text:

    before · question · after · step 1 · separator · step 2 · separator · …
                                ^^^^^^ span 1         ^ position 1 = last token of the separator

Contract:
- every step has exactly one scoring position, in order; the ids of a prefix of a trace are a prefix of its ids;
- question and steps are untrusted: a special token written in them is read as ordinary characters;
- nothing is cut: a trace that does not fit is refused, or, when asked for, loses whole last steps, and says how many.

Not here: batching and padding (`models/batching.py`), which layout a checkpoint wants (its sidecar).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sparring.errors import DataError, plural


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is needed here."""

    def encode(self, text: str, **options: object) -> list[int]:
        """Return token ids."""
        ...

    def __call__(self, text: list[str], **options: object) -> Mapping[str, Any]:
        """Return the token ids of several texts, as "input_ids"."""
        ...

    def __hash__(self) -> int: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The fixed texts around a question and its steps; they may hold special tokens. Travels in the sidecar."""

    before: str = ""
    after: str = "\n"
    separator: str = "\n"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a trace.

    Attributes:
        input_ids: all ids.
        spans: per step, the half-open range of ids that hold its text (without the separator).
        positions: per step, the index of the id whose hidden state is scored.
        dropped: how many last steps did not fit.
    """

    input_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    positions: tuple[int, ...]
    dropped: int = 0


def encode(
    question: str,
    steps: Sequence[str],
    tokenizer: Tokenizer,
    layout: Layout,
    *,
    max_length: int | None = None,
    overflow: Literal["refuse", "drop_steps"] = "refuse",
) -> Encoded:
    """Return the token ids of a question followed by zero or more steps.

    Args:
        question: the problem's text.
        steps: the steps' texts, in order.
        tokenizer: a Hugging Face tokenizer.
        layout: the texts around them.
        max_length: most ids allowed; None for no limit.
        overflow: what to do past that: raise, or drop whole last steps and count them.

    Raises:
        DataError: a step is empty, the separator has no token, or the trace does not fit (with ``drop_steps``: if not
            even the question with the first step fits).
    """
    separator = trusted_ids(tokenizer, layout.separator)
    if not separator:
        raise DataError(
            f"the separator {layout.separator!r} has no token in this tokenizer", field="separator"
        )
    asked, *bodies = _ids_together(tokenizer, [question, *steps])
    ids = prompt_ids(question, tokenizer, layout, asked)
    spans: list[tuple[int, int]] = []
    positions: list[int] = []
    for index, step in enumerate(steps):
        if not step.strip():
            raise DataError("the step is empty", field=f"steps[{index}]")
        body = bodies[index] or untrusted_ids(tokenizer, step)
        end = len(ids) + len(body)
        if max_length is not None and end + len(separator) > max_length:
            if overflow == "refuse" or index == 0:
                raise DataError(
                    f"step {index + 1} of {len(steps)} ends at token {end + len(separator)}, "
                    f"past the limit of {max_length}",
                    field=f"steps[{index}]",
                )
            break
        spans.append((len(ids), end))
        positions.append(end + len(separator) - 1)
        ids += body + separator
    if max_length is not None and len(ids) > max_length:
        raise DataError(
            f"the question alone has {plural(len(ids), 'token')}, past the limit of {max_length}",
            field="problem",
        )
    return Encoded(tuple(ids), tuple(spans), tuple(positions), dropped=len(steps) - len(positions))


def prompt_ids(question: str, tokenizer: Tokenizer, layout: Layout, known: Sequence[int] = ()) -> list[int]:
    """Return the ids up to where the first step begins; the question's own may be `known`."""
    return [
        *trusted_ids(tokenizer, layout.before),
        *(known or untrusted_ids(tokenizer, question)),
        *trusted_ids(tokenizer, layout.after),
    ]


def trusted_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text of ours, in which special tokens count as such.

    Raises:
        DataError: the tokenizer has no ids for it.
    """
    return list(_trusted_ids(tokenizer, len(tokenizer), text)) if text else []


@functools.lru_cache(maxsize=64)
def _trusted_ids(tokenizer: Tokenizer, tokens: int, text: str) -> tuple[int, ...]:
    # A layout's few texts come with every trace. A tokenizer that got more tokens reads them anew.
    return tuple(_ids(tokenizer, text))


def untrusted_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of anybody's text, in which special tokens are ordinary characters.

    Tokenizers that choose whole pieces of their vocabulary (unigram, words) find special tokens there all the same: such a
    text is taken apart until they do not.

    Raises:
        DataError: the tokenizer has no ids for it, or a special one for a single character.
    """
    ids = _ids(tokenizer, text, split_special_tokens=True)
    if special_ids(tokenizer).isdisjoint(ids):
        return ids
    if len(text) < 2:
        raise DataError(f"the tokenizer reads {text!r} as a special token")
    middle = len(text) // 2
    return untrusted_ids(tokenizer, text[:middle]) + untrusted_ids(tokenizer, text[middle:])


def _ids_together(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return `untrusted_ids` of each text from one call, which costs less; none for a text that needs a closer look."""
    try:
        found = tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
    except Exception:
        return [[] for _ in texts]  # one of them cannot be read: one by one, it is found and named
    special = special_ids(tokenizer)
    return [ids if special.isdisjoint(ids) else [] for ids in found]


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids that no untrusted text may have: of special tokens, but the one for what is unknown."""
    return _special_ids(tokenizer, len(tokenizer))


@functools.lru_cache(maxsize=16)
def _special_ids(tokenizer: Any, tokens: int) -> frozenset[int]:
    known = getattr(tokenizer, "added_tokens_decoder", {})
    special = frozenset(number for number, token in known.items() if token.special)
    return special - {getattr(tokenizer, "unk_token_id", None)}


def _ids(tokenizer: Tokenizer, text: str, **options: object) -> list[int]:
    try:
        return list(tokenizer.encode(text, add_special_tokens=False, **options))
    except Exception as error:
        # Of any type: tokenizers raises plain ones, for a word that a vocabulary lacks say
        reason = " ".join(str(error).split())
        raise DataError(f"the tokenizer cannot read {text[:40]!r}: {reason}") from error
