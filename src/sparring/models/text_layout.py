"""Token ids of a trace where neighbouring texts are tokenised together, as model cards of public PRMs do.

A tokenizer may merge the end of one text with the start of the next (``.`` and a line break are one token in Qwen), so a
PRM that was trained on whole texts must read them whole. Positions still come from construction: characters are
followed through the tokenizer's offsets, and no separator is looked for in anybody's text.

Contract: the same as `sparring.traces.spans`, which does the work where every piece is tokenised alone; here the ids of a
prefix are those of the whole trace up to its last scoring position. Special tokens count only in the layout's texts. A
separator that merges with what follows is refused, since its score would look ahead.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparring.errors import CheckpointError, DataError, plural
from sparring.models.sidecar import LayoutFields
from sparring.traces.spans import Encoded, Layout, encode, special_ids


@dataclass(frozen=True, slots=True)
class Piece:
    """A text; special tokens in it count where it is trusted."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """Ids of pieces that were tokenised together.

    Attributes:
        ids: all ids.
        spans: per piece, the half-open range of ids that hold its characters; neighbours share a merged token.
        merged: indices of the pieces whose last token also holds characters of the next piece.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    merged: frozenset[int]


def encode_trace(
    question: str,
    steps: Sequence[str],
    tokenizer: Any,
    layout: LayoutFields,
    *,
    max_length: int | None = None,
    overflow: Literal["refuse", "drop_steps"] = "refuse",
) -> Encoded:
    """Return the token ids of a question and its steps; arguments and errors as in `sparring.traces.spans.encode`.

    Raises:
        CheckpointError: the separator merges with what follows it, or the tokenizer cannot say which characters a token
            holds.
    """
    if layout.is_plain:
        plain = Layout(layout.before, layout.after, layout.separator)
        return encode(question, steps, tokenizer, plain, max_length=max_length, overflow=overflow)
    for index, step in enumerate(steps):
        if not step.strip():
            raise DataError("the step is empty", field=f"steps[{index}]")
    pieces = trace_pieces(question, steps, layout)
    together = {"text": len(pieces), "prompt": 3, "pieces": 0}[layout.tokenization]
    joined = join([pieces[:together], *([piece] for piece in pieces[together:])], tokenizer)
    ids, spans = joined.ids, joined.spans
    # before, question, after, then per step: text, separator, and what comes before the next step
    texts, separators = range(3, len(spans), 3), range(4, len(spans), 3)
    if any(spans[place][0] == spans[place][1] for place in separators):
        raise DataError(
            f"the separator {layout.separator!r} has no token in this tokenizer", field="separator"
        )
    if joined.merged.intersection(separators):
        raise CheckpointError(
            f"the separator {layout.separator!r} shares a token with the text after it, so a score would look ahead; "
            "change the sidecar's layout"
        )
    positions = [spans[place][1] - 1 for place in separators]
    kept = _kept(positions, spans[2][1], max_length, overflow)
    length = positions[kept - 1] + 1 if kept else spans[2][1]
    return Encoded(
        tuple(ids[:length]),
        tuple(spans[place] for place in texts)[:kept],
        tuple(positions[:kept]),
        dropped=len(steps) - kept,
    )


def encode_answer(
    question: str,
    steps: Sequence[str],
    tokenizer: Any,
    layout: LayoutFields,
    *,
    end: str,
    max_length: int | None = None,
    overflow: Literal["refuse", "drop_steps"] = "refuse",
) -> Encoded:
    """Return the ids of question and answer for a log ratio: a step's span are the tokens that its sum runs over.

    The numbers are those of the EurusPRM model card, including its two habits: the sum begins with the last token of the
    header before the answer, and a step that is not the last one ends where the card's count of tokens says, one or two
    tokens into the next step. So the score of such a step is not exactly that of the trace cut after it.

    `end` is the text after the last step, of which there is at least one, and counts towards it; other arguments as in
    `encode_trace`.

    Raises:
        DataError: the trace does not fit (with ``drop_steps``: not even its first step).
    """

    def ids(kept: int) -> Joined:
        return join([[*trace_pieces(question, steps[:kept], layout)[:-2], Piece(end, True)]], tokenizer)

    kept, length = len(steps), len(ids(len(steps)).ids)
    if max_length is not None and length > max_length:
        if overflow == "drop_steps":
            kept = bisect_right(range(1, kept + 1), max_length, key=lambda count: len(ids(count).ids))
        if overflow == "refuse" or kept == 0:
            raise DataError(f"{plural(length, 'token')}, past the limit of {max_length}", field="steps")
    dropped = len(steps) - kept
    steps, whole = steps[:kept], ids(kept)
    pieces = trace_pieces(question, steps, layout)
    first = len(join([[*pieces[:3], Piece(end, True)]], tokenizer).ids) - 2
    last = []
    for count in range(1, kept):
        so_far = trace_pieces(question, steps[:count], layout)[:-2]
        counted = len(join([[*so_far, Piece(end, True), Piece(layout.separator, True)]], tokenizer).ids)
        # The card's index counts from the second token on, and takes two off the prefix.
        last.append(min(counted - 1, len(whole.ids) - 1))
    last.append(whole.spans[-1][1] - 1)
    spans = tuple((first, place + 1) for place in last)
    return Encoded(tuple(whole.ids), spans, tuple(last), dropped=dropped)


def trace_pieces(question: str, steps: Sequence[str], layout: LayoutFields) -> list[Piece]:
    """Return before, question, after, and for every step its text, its separator and the text before the next one."""
    pieces = [
        Piece(layout.before, True),
        Piece(question.strip() if layout.strip else question, False),
        Piece(layout.after, True),
    ]
    for number, step in enumerate(steps, start=1):
        text = step.strip() if layout.strip else step
        prefix = layout.step_prefix.replace("{number}", str(number))
        following = layout.between if number < len(steps) else ""
        pieces += [
            Piece(text if text.startswith(prefix) else prefix + text, False),
            Piece(layout.separator, True),
            Piece(following, True),
        ]
    return pieces


def join(groups: Sequence[Sequence[Piece]], tokenizer: Any) -> Joined:
    """Tokenise the pieces of a group as one text, except that special tokens in trusted ones stand by themselves.

    Raises:
        CheckpointError: the tokenizer gives no offsets (it is not a fast one).
        DataError: it finds a special token in the characters of an untrusted text.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError("this layout needs a fast tokenizer (tokenizer.json)")
    special: dict[str, int] = tokenizer.get_added_vocab()
    words = "|".join(re.escape(text) for text in sorted(special, key=len, reverse=True))
    pattern = re.compile(words or "(?!)")
    ids: list[int] = []
    spans: list[tuple[int, int]] = [(-1, -1)] * sum(map(len, groups))
    merged: set[int] = set()
    run: list[tuple[int, str]] = []  # pieces' numbers and texts that are tokenised together next

    def grow(index: int, start: int, end: int) -> None:
        spans[index] = (start if spans[index][0] < 0 else spans[index][0], end)

    def flush() -> None:
        if text := "".join(part for _, part in run):
            found = tokenizer(
                text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
            )
            if not special_ids(tokenizer).isdisjoint(found["input_ids"]):
                raise DataError(f"the tokenizer reads a special token in {text[:40]!r}")
            base, begin = len(ids), 0
            lows, highs = zip(*found["offset_mapping"], strict=True)
            ids.extend(found["input_ids"])
            for index, part in run:
                end = begin + len(part)
                first, stop = bisect_right(highs, begin), bisect_left(lows, end)
                if first < stop and part:
                    grow(index, base + first, base + stop)
                    if highs[stop - 1] > end:
                        merged.add(index)
                begin = end
        run.clear()

    index = 0
    for group in groups:
        for piece in group:
            begin = 0
            for match in pattern.finditer(piece.text) if piece.trusted else ():
                run.append((index, piece.text[begin : match.start()]))
                flush()
                grow(index, len(ids), len(ids) + 1)
                ids.append(special[match[0]])
                begin = match.end()
            run.append((index, piece.text[begin:]))
            index += 1
        flush()
    place = 0
    for index, (start, end) in enumerate(spans):
        spans[index] = (place, place) if start < 0 else (start, end)
        place = spans[index][1]
    return Joined(ids, spans, frozenset(merged))


def _kept(
    positions: Sequence[int], prompt: int, max_length: int | None, overflow: Literal["refuse", "drop_steps"]
) -> int:
    """Return how many steps fit, or refuse."""
    if max_length is None:
        return len(positions)
    if prompt > max_length:
        raise DataError(
            f"the question alone has {plural(prompt, 'token')}, past the limit of {max_length}",
            field="problem",
        )
    kept = sum(position < max_length for position in positions)
    if kept < len(positions) and (overflow == "refuse" or kept == 0):
        raise DataError(
            f"step {kept + 1} of {len(positions)} ends at token {positions[kept] + 1}, past the limit of {max_length}",
            field=f"steps[{kept}]",
        )
    return kept


class UnknownTokens:
    """How many tokens of how many traces stand for what the tokenizer does not know: to the model they are all alike."""

    tokens = traces = 0

    def count(self, encoded: Encoded, tokenizer: Any, layout: Layout | LayoutFields) -> None:
        """Count those of a trace; none where the layout's own texts hold the token that stands for the unknown."""
        unknown = getattr(tokenizer, "unk_token_id", None)
        if unknown is None or tokenizer.unk_token in layout.before + layout.after + layout.separator:
            return
        met = encoded.input_ids.count(unknown)
        self.tokens, self.traces = self.tokens + met, self.traces + (met > 0)

    def __str__(self) -> str:
        """Say it in a line; empty where there is none."""
        if not self.tokens:
            return ""
        tokens = f"{self.tokens} token{'s' * (self.tokens > 1)} in {self.traces} of the traces"
        return f"the PRM's tokenizer does not know {tokens}: it reads all that it does not know as the same"
