"""KV cache of prefixes: keys and values of texts that were read, so that a text that grew is read from where it grew.

    columns    …… kept past | …… new ids | room        each row's past and new ids stand at the end of their part

Contract: logits equal those of one pass over the whole text, rounding aside, as long as the weights are the same. Only for
models whose every layer attends to all that came before, with rotary positions and SDPA (`cacheable`): of others, nothing
is kept. Sampling (`sampling.py`) and scoring (`TokenHeadScorer.score_new`) read through `read`.

Not here: several continuations in one row of a training batch, without a cache (`branches.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

Ids = tuple[int, ...]
KEPT_TOKENS = 65_536
"""Tokens whose keys and values are kept at a time."""
KEPT_BYTES = 2**31
"""Bytes that they may take: of a large model, far fewer tokens are kept."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What is kept of a text's end.

    Attributes:
        states: keys and values of its last tokens, (layers, 2, heads, tokens, width).
        before: the text that they continue.
        scores: step scores of the whole text by the place of the token that they were read at.
    """

    states: torch.Tensor
    before: Ids
    scores: Mapping[int, float] = field(default_factory=dict)


class PrefixCache:
    """Segments by the text that they end; texts share what they have in common.

    Args:
        most_tokens: beyond these the oldest segments go; a text that lost one is read anew.
    """

    def __init__(self, most_tokens: int = KEPT_TOKENS) -> None:
        self.most_tokens = most_tokens
        self.tokens = 0
        self.segments: dict[Ids, Segment] = {}
        self._lengths: Counter[int] = Counter()

    def longest(self, text: Ids, lengths: Iterable[int] | None = None) -> Ids:
        """Return the longest proper beginning of the text of which everything is kept.

        Args:
            text: token ids.
            lengths: where it may end, longest first; without it, anywhere.
        """
        if lengths is None:
            lengths = sorted((length for length in self._lengths if length < len(text)), reverse=True)
        for length in lengths:
            key = at = text[:length]
            while at in self.segments:
                at = self.segments[at].before
            if not at:
                return key
        return ()

    def path(self, text: Ids) -> list[torch.Tensor]:
        """Return the keys and values of a text that `longest` gave, segment by segment from its beginning."""
        states: list[torch.Tensor] = []
        while text:
            states.append(self.segments[text].states)
            text = self.segments[text].before
        return states[::-1]

    def keep(self, text: Ids, segment: Segment) -> None:
        """Keep the segment that ends a text."""
        if text in self.segments:
            self._drop(text)
        self.segments[text] = segment
        self._lengths[len(text)] += 1
        self.tokens += segment.states.shape[-2]

    def forget(self, beginning: Sequence[int]) -> None:
        """Let go of all texts that begin with these ids."""
        start = tuple(beginning)
        for text in [text for text in self.segments if text[: len(start)] == start]:
            self._drop(text)

    def drop_oldest(self) -> None:
        """Let the oldest segments go until no more than `most_tokens` are left."""
        while self.tokens > self.most_tokens:
            self._drop(next(iter(self.segments)))

    def _drop(self, text: Ids) -> None:
        self.tokens -= self.segments.pop(text).states.shape[-2]
        self._lengths[len(text)] -= 1
        if not self._lengths[len(text)]:
            del self._lengths[len(text)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one forward pass over new ids gave; the last column belongs to the last token of every text.

    Attributes:
        logits: (rows, columns that were asked for, …).
        visible: which columns hold a row's text, (rows, columns).
        past: columns of the kept past; the new ids come after them.
        states: keys and values, (layers, 2, rows, heads, columns and room, width); None where the model is not cacheable.
        cache: the model's own cache, None where a past was given.
    """

    logits: torch.Tensor
    visible: torch.Tensor
    past: int
    states: torch.Tensor | None
    cache: Any = None

    def segment(self, row: int, tokens: int) -> torch.Tensor:
        """Return keys and values of a row's last tokens that were read, (layers, 2, heads, tokens, width)."""
        assert self.states is not None
        end = self.visible.shape[1]
        return self.states[:, :, row, :, end - tokens : end].clone()


def read(
    model: Any,
    texts: Sequence[Ids],
    known: Sequence[Ids],
    cache: PrefixCache | None,
    *,
    pad_id: int,
    columns: int = 0,
    **options: Any,
) -> Reading:
    """Read each text from where its kept beginning ends.

    Args:
        model: in evaluation mode, with an output head.
        texts: token ids, none empty; one whose beginning is kept is padded for one that is read whole, so better apart.
        known: per text a proper beginning that is wholly kept, empty where there is none.
        cache: where it is kept.
        pad_id: any valid id; it is masked.
        columns: in all, room for more tokens included; the states never have fewer than were read.
        options: for the model's forward pass.
    """
    device = next(model.parameters()).device
    new = [text[len(key) :] for text, key in zip(texts, known, strict=True)]
    width, past = max(map(len, new)), max(map(len, known))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in new], device=device)
    missing = torch.tensor([[past - len(key), width - len(row)] for key, row in zip(known, new, strict=True)])
    missing = missing.to(device)
    numbers = torch.arange(past + width, device=device)[None, :]
    visible = torch.where(numbers < past, numbers >= missing[:, :1], numbers - past >= missing[:, 1:])
    lengths = torch.tensor([len(text) for text in texts], device=device)
    positions = (lengths[:, None] - width + torch.arange(width, device=device)[None, :]).clamp(min=0)
    inputs: dict[str, Any] = {"input_ids": ids, "position_ids": positions, "use_cache": True, **options}
    room = max(columns - past - width, 0)
    if cache is None or not past:
        own = DynamicCache(config=model.config) if cacheable(model) else None
        output = model(**inputs, attention_mask=visible.long(), past_key_values=own)
        states = None
        if own is None:
            own = output.past_key_values
        elif _alike(own):
            states = torch.stack([torch.stack((layer.keys, layer.values)) for layer in own.layers])
            states = torch.nn.functional.pad(states, (0, 0, 0, room))
        return Reading(output.logits, visible, past, states, own)
    states = _past([cache.path(key) for key in known], past, past + width + room)
    seen = torch.nn.functional.pad(visible, (0, room))[:, None, None, :].repeat(1, 1, width, 1)
    seen[..., past : past + width] &= torch.ones(width, width, dtype=torch.bool, device=device).tril()
    seen[:, 0].diagonal(past, 1, 2).fill_(True)  # padding sees itself: no row of the softmax is empty
    output = model(**inputs, attention_mask=seen, past_key_values=written(states, past))
    return Reading(output.logits, visible, past, states)


def cacheable(model: Any) -> bool:
    """Tell whether states can be kept: rotary positions, SDPA, and every layer attends to all that came before."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    rotary = getattr(config, "rope_parameters", None) is not None
    return config._attn_implementation == "sdpa" and rotary and kinds == {"full_attention"} and not windowed


def tokens_to_keep(model: Any) -> int:
    """Return how many tokens' keys and values to keep: at most `KEPT_TOKENS`, and what fits into `KEPT_BYTES`."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * int(config.num_hidden_layers * heads * size)
    return min(KEPT_TOKENS, KEPT_BYTES // (values * int(next(model.parameters()).element_size())))


def written(states: torch.Tensor, used: int) -> Cache:
    """Return states (layers, 2, rows, heads, columns, width) as a model's cache that is written behind `used` columns."""
    return Cache(layers=[_Columns(layer, used) for layer in states])


class _Columns(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values (rows, heads, columns, width), of which the first `used` columns are written."""

    def __init__(self, states: torch.Tensor, used: int) -> None:
        super().__init__()
        self.keys, self.values, self.used = states[0], states[1], used
        self.dtype, self.device, self.is_initialized = states.dtype, states.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns, and return all of them, room included: the mask hides it."""
        stop = self.used + key_states.shape[-2]
        self.keys[:, :, self.used : stop] = key_states
        self.values[:, :, self.used : stop] = value_states
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the columns that are written."""
        return self.used


def _alike(cache: Any) -> bool:
    """Tell whether a model's cache holds keys and values of one shape in layers that keep them all."""
    layers = getattr(cache, "layers", ())
    shapes = {
        (states.shape, states.dtype, states.device)
        for layer in layers
        if type(layer) is DynamicLayer
        for states in (layer.keys, layer.values)
    }
    return len(shapes) == 1 and all(type(layer) is DynamicLayer for layer in layers)


def _past(paths: Sequence[Sequence[torch.Tensor]], width: int, columns: int) -> torch.Tensor:
    """Return states with each row's segments at the end of the first `width` columns, and zeros elsewhere."""
    some = next(states for path in paths for states in path)
    layers, two, heads, _, size = some.shape
    found = some.new_zeros(layers, two, len(paths), heads, columns, size)
    for row, path in enumerate(paths):
        column = width - sum(states.shape[-2] for states in path)
        for states in path:
            found[:, :, row, :, column : column + states.shape[-2]] = states
            column += states.shape[-2]
    return found
