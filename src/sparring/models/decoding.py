"""Rows of continuations that grow token by token: where their keys and values lie, and which of them are kept.

    states    prefix …………  a1 b1 a2 b2 …  (room)         one row with two branches, a and b
    a sees    prefix, a    never b, never the room

Contract: logits equal those of one pass over the whole text, rounding aside. `PackedRows` computes and stores a prefix
once for several branches and writes into room that grows by blocks; it needs a model whose every layer attends to all
that came before, with rotary positions and SDPA. `SeparateRows` takes any other causal language model of transformers.
`KeptStates` hands the keys and values of one call to the next, as long as the weights are the same.

Not here: which token is chosen and when a continuation is over (`sampling.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Ids = tuple[int, ...]
KEPT_TOKENS = 65_536
"""Tokens whose keys and values are kept at a time."""
KEPT_BYTES = 2**31
"""Bytes that they may take: of a large model, far fewer tokens are kept."""
_BLOCK = 16  # tokens per branch that room is made for at a time
_MOST_BRANCHES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """Keys and values of a text's last tokens, (layers, 2, heads, tokens, width), and the text that they continue."""

    states: torch.Tensor
    before: Ids


class KeptStates:
    """Keys and values by text; texts share what they have in common.

    Args:
        most_tokens: beyond these the oldest pieces go; a text that lost one is read anew.
    """

    def __init__(self, most_tokens: int = KEPT_TOKENS) -> None:
        self.most_tokens = most_tokens
        self._pieces: dict[Ids, Piece] = {}
        self._lengths: Counter[int] = Counter()
        self._tokens = 0

    def longest(self, prompt: Ids) -> Ids:
        """Return the longest proper beginning of the prompt of which everything is kept."""
        for length in sorted((length for length in self._lengths if length < len(prompt)), reverse=True):
            key = at = prompt[:length]
            while at in self._pieces:
                at = self._pieces[at].before
            if not at:
                return key
        return ()

    def path(self, text: Ids) -> list[torch.Tensor]:
        """Return the pieces of a text that `longest` gave, from its beginning."""
        pieces: list[torch.Tensor] = []
        while text:
            pieces.append(self._pieces[text].states)
            text = self._pieces[text].before
        return pieces[::-1]

    def keep(self, text: Ids, piece: Piece) -> None:
        """Keep the piece that ends a text."""
        if text in self._pieces:
            self._drop(text)
        self._pieces[text] = piece
        self._lengths[len(text)] += 1
        self._tokens += piece.states.shape[-2]

    def drop_oldest(self) -> None:
        """Let the oldest pieces go until no more than `most_tokens` are left."""
        while self._tokens > self.most_tokens:
            self._drop(next(iter(self._pieces)))

    def _drop(self, text: Ids) -> None:
        self._tokens -= self._pieces.pop(text).states.shape[-2]
        self._lengths[len(text)] -= 1
        if not self._lengths[len(text)]:
            del self._lengths[len(text)]


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


class PackedRows:
    """Rows of `branches` continuations each; a continuation is a slot, numbered row by row.

    Args:
        model: for which `packable` holds of a cache that it made.
        states: keys and values of the prefixes and room, (layers, 2, rows, heads, columns, width).
        used: columns of the prefixes.
        visible: which columns hold a row's prefix, (rows, columns).
        positions: of each row's next token.
        branches: continuations per row.
    """

    def __init__(
        self,
        model: Any,
        states: torch.Tensor,
        used: int,
        visible: torch.Tensor,
        positions: torch.Tensor,
        branches: int,
    ) -> None:
        self.model, self.states, self.prefix, self.used = model, states, used, used
        self.mask = visible[:, None, None, :].repeat(1, 1, branches, 1)
        self.positions, self.branches = positions, branches

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token per slot, and return the logits of the next ones, (slots, vocabulary)."""
        room = self.states.shape[-2]
        if self.used + self.branches > room:
            more = max(_BLOCK * self.branches, room // 8)
            self.states = torch.nn.functional.pad(self.states, (0, 0, 0, more))
            self.mask = torch.nn.functional.pad(self.mask, (0, more))
        # A branch sees its own new column, and not those of its neighbours.
        self.mask[:, 0].diagonal(self.used, 1, 2).fill_(True)
        output = self.model(
            input_ids=tokens.view(-1, self.branches),
            attention_mask=self.mask,
            position_ids=self.positions[:, None].expand(-1, self.branches),
            past_key_values=_cache(self.states, self.used),
            use_cache=True,
        )
        self.used += self.branches
        self.positions = self.positions + 1
        logits: torch.Tensor = output.logits.flatten(0, 1)
        return logits

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self.states = self.states.index_select(2, rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]

    def written(self, row: int) -> list[torch.Tensor]:
        """Return, per branch of a row, the keys and values of what it has read after the prefix."""
        states = self.states[:, :, row, :, self.prefix : self.used].clone()
        return [states[..., branch :: self.branches, :] for branch in range(self.branches)]


class SeparateRows:
    """One row per continuation, with the cache that the model made for itself."""

    branches = 1

    def __init__(
        self, model: Any, cache: Any, mask: torch.Tensor, positions: torch.Tensor, samples: int
    ) -> None:
        cache.batch_repeat_interleave(samples)
        self.model, self.cache = model, cache
        self.mask = mask.repeat_interleave(samples, dim=0)
        self.positions = positions.repeat_interleave(samples)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token per row, and return the logits of the next ones, (rows, vocabulary)."""
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=-1)
        output = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.positions = self.positions + 1
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


def begin(
    model: Any,
    prompts: Sequence[Ids],
    *,
    samples: int,
    max_new_tokens: int,
    pad_id: int,
    kept: KeptStates | None = None,
) -> tuple[PackedRows | SeparateRows, torch.Tensor]:
    """Read the prompts; return rows for `samples` continuations of each, and the logits of their first tokens.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, none empty; one whose beginning is kept is padded for one that is read whole, so better apart.
        samples: continuations per prompt, the slots of one prompt next to each other.
        max_new_tokens: most tokens that are read.
        pad_id: any valid id; it is masked.
        kept: where states are taken from, and where those of the prompts go.
    """
    device = next(model.parameters()).device
    known = [kept.longest(prompt) if kept is not None else () for prompt in prompts]
    new = [prompt[len(key) :] for prompt, key in zip(prompts, known, strict=True)]
    width, past = max(map(len, new)), max(map(len, known))
    # Padding on the left, so that all rows continue at the same column; rows with a past have some before it, too.
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in new], device=device)
    missing = torch.tensor([[past - len(key), width - len(row)] for key, row in zip(known, new, strict=True)])
    missing = missing.to(device)
    columns = torch.arange(past + width, device=device)[None, :]
    visible = torch.where(columns < past, columns >= missing[:, :1], columns - past >= missing[:, 1:])
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    positions = (lengths[:, None] - width + torch.arange(width, device=device)[None, :]).clamp(min=0)
    branches = _branches(samples, max_new_tokens, past + width)
    room = past + width + branches * min(max_new_tokens, _BLOCK)
    shared: dict[str, Any] = {"input_ids": ids, "position_ids": positions, "use_cache": True}
    if kept is not None and past:
        states = _past([kept.path(key) for key in known], past, room)
        seen = torch.nn.functional.pad(visible, (0, room - past - width))[:, None, None, :].repeat(
            1, 1, width, 1
        )
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        seen[..., past : past + width] &= causal
        seen[:, 0].diagonal(past, 1, 2).fill_(
            True
        )  # padding sees itself, so that no row of the softmax is empty
        cache: Any = _cache(states, past)
        output = model(**shared, attention_mask=seen, past_key_values=cache, logits_to_keep=1)
    else:
        output = model(**shared, attention_mask=visible.long(), logits_to_keep=1)
        cache = output.past_key_values
        logits = output.logits[:, -1].repeat_interleave(samples, dim=0)
        if not packable(model, cache):
            return SeparateRows(model, cache, visible.long(), lengths, samples), logits
        read = torch.stack([torch.stack((layer.keys, layer.values)) for layer in cache.layers])
        states = torch.nn.functional.pad(read, (0, 0, 0, room - width))
    if kept is not None:
        fresh = states[:, :, :, :, past : past + width].clone()
        for row, (prompt, key, ids_read) in enumerate(zip(prompts, known, new, strict=True)):
            kept.keep(prompt, Piece(fresh[:, :, row, :, width - len(ids_read) :], key))
    visible = torch.nn.functional.pad(visible, (0, room - past - width))
    if samples > branches:
        times = samples // branches
        states = states.repeat_interleave(times, dim=2)
        visible, lengths = visible.repeat_interleave(times, dim=0), lengths.repeat_interleave(times)
    rows = PackedRows(model, states, past + width, visible, lengths, branches)
    return rows, output.logits[:, -1].repeat_interleave(samples, dim=0)


def tokens_to_keep(model: Any) -> int:
    """Return how many tokens' keys and values to keep: at most `KEPT_TOKENS`, and what fits into `KEPT_BYTES`."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * int(config.num_hidden_layers * heads * size)
    return min(KEPT_TOKENS, KEPT_BYTES // (values * int(next(model.parameters()).element_size())))


def packable(model: Any, cache: Any) -> bool:
    """Tell whether rows can be packed: rotary positions, SDPA, full attention, and keys and values of one shape."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa" or getattr(config, "rope_parameters", None) is None:
        return False
    layers = getattr(cache, "layers", ())
    shapes = {
        (states.shape, states.dtype, states.device)
        for layer in layers
        if type(layer) is DynamicLayer
        for states in (layer.keys, layer.values)
    }
    return len(shapes) == 1 and all(type(layer) is DynamicLayer for layer in layers)


def _branches(samples: int, max_new_tokens: int, prefix: int) -> int:
    """Return how many samples share a row: they read each other's columns in vain, and the prefix only once."""
    most = min(_MOST_BRANCHES, samples, max(1, 2 * prefix // max_new_tokens))
    return next(branches for branches in range(most, 0, -1) if samples % branches == 0)


def _past(paths: Sequence[Sequence[torch.Tensor]], width: int, room: int) -> torch.Tensor:
    """Return states with each row's pieces at the end of the first `width` columns, and zeros elsewhere."""
    some = next(piece for pieces in paths for piece in pieces)
    layers, two, heads, _, size = some.shape
    states = some.new_zeros(layers, two, len(paths), heads, room, size)
    for row, pieces in enumerate(paths):
        column = width - sum(piece.shape[-2] for piece in pieces)
        for piece in pieces:
            states[:, :, row, :, column : column + piece.shape[-2]] = piece
            column += piece.shape[-2]
    return states


def _cache(states: torch.Tensor, used: int) -> Cache:
    return Cache(layers=[_Columns(layer, used) for layer in states])
