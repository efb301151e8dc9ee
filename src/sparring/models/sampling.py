"""Sampling from a causal language model: the prefix is computed once for all of its samples.

    row        prefix …………  a1 b1 a2 b2 …  (room)         one row with two branches, a and b
    a sees     prefix, a    never b, never the room

`PackedRows` stores a prefix once for several continuations and writes into room that grows by blocks; models that are not
`cacheable` are sampled from in `SeparateRows`. With a `PrefixCache`, what was read in one call is not read in the next.

Contract: plain sampling at a temperature (or greedy at 0); finished rows leave the batch. Two sources of randomness:
`sample` takes a generator, so a run can be repeated as a whole; `sample_seeded` takes a seed per prompt and draws the
token at (seed, sample, position) by inverse CDF from a number that depends on these three alone, so a result does not
depend on what else is in the batch (rounding aside: other batch shapes change logits in the last bits, which changes a
token only where the number falls that close to a boundary).

Not here: reading prefixes (`prefix_cache.py`), engines on servers, top-p and penalties (a policy gradient needs samples
from the model's own distribution).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparring.models.batching import length_sorted_batches
from sparring.models.prefix_cache import Ids, PrefixCache, Segment, read, written

_BLOCK = 16  # tokens per branch that room is made for at a time
_MOST_BRANCHES = 8

Choose = Callable[[torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor | None]]
"""From logits (rows, vocabulary), row numbers and position: chosen ids and, where wanted, their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Ids of one continuation and their natural log-probabilities (none where they were not asked for)."""

    ids: list[int]
    log_probabilities: list[float]


def ids_containing(tokenizer: Any, text: str) -> frozenset[int]:
    """Return every token id whose text contains `text`: byte-level tokenizers merge a line break with its neighbours."""
    pieces = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
    return frozenset(index for index, piece in enumerate(pieces) if text in piece)


@torch.inference_mode()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_new_tokens: int,
    stop_ids: Collection[int],
    pad_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    row_budget: int = 256,
) -> list[list[list[int]]]:
    """Return `samples` continuations of each prompt, as lists of ids that end with a stop id unless the limit came first.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, none empty.
        samples: continuations per prompt.
        max_new_tokens: limit per continuation.
        stop_ids: a continuation ends after any of these.
        pad_id: any valid id; it is masked.
        generator: on the model's device (temperature > 0).
        temperature: 0 for greedy.
        row_budget: most continuations in flight at once.
    """

    def choose(
        logits: torch.Tensor, rows: torch.Tensor, position: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if temperature == 0:
            return logits.argmax(dim=-1), None
        probabilities = torch.softmax(logits.float() / temperature, dim=-1)
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0], None

    results: list[list[list[int]]] = [[] for _ in prompts]
    for chunk in _chunks(prompts, max(1, row_budget // samples)):
        rows = _sample_batch(
            model,
            [tuple(prompts[index]) for index in chunk],
            samples=samples,
            limits=[max_new_tokens] * len(chunk),
            ends=lambda ids: ids[-1] in stop_ids,
            pad_id=pad_id,
            choose=choose,
        )
        for position, index in enumerate(chunk):
            results[index] = [row.ids for row in rows[position * samples : (position + 1) * samples]]
    return results


@torch.inference_mode()
def sample_seeded(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int],
    samples: int,
    max_new_tokens: int | Sequence[int],
    ends: Callable[[Sequence[int]], bool],
    pad_id: int,
    temperature: float = 1.0,
    row_budget: int = 256,
    kept: PrefixCache | None = None,
) -> list[list[Sampled]]:
    """Return `samples` continuations of each prompt with log-probabilities; sample j depends on (prompt, its seed, j).

    Args: those of `sample`, and
        seeds: one per prompt, each in [0, 2**63).
        max_new_tokens: limit per continuation, one for all or one per prompt.
        ends: whether a continuation is over, asked after every token.
        temperature: 0 for greedy; log-probabilities are then those of the model's own distribution.
        kept: keys and values of earlier calls with the same weights; those of this one are added.
    """
    texts = [tuple(prompt) for prompt in prompts]
    limits = [max_new_tokens] * len(texts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    device = next(model.parameters()).device
    wide = torch.float32 if device.type == "mps" else torch.float64
    results: list[list[Sampled]] = [[] for _ in prompts]
    for first in range(0, samples, row_budget):
        count = min(row_budget, samples - first)
        for chunk in _apart(texts, max(1, row_budget // count), kept):
            most = max(limits[i] for i in chunk)
            numbers = np.concatenate([uniforms(seeds[i], first + np.arange(count), most) for i in chunk])
            drawn = torch.from_numpy(numbers).to(device=device, dtype=wide)

            def choose(
                logits: torch.Tensor, rows: torch.Tensor, position: int, drawn: torch.Tensor = drawn
            ) -> tuple[torch.Tensor, torch.Tensor | None]:
                scaled = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
                if temperature == 0:
                    chosen = logits.argmax(dim=-1)
                else:
                    cumulative = scaled.exp().to(wide).cumsum(dim=-1)
                    # The first id whose cumulative probability exceeds the number: never one of probability zero.
                    target = drawn[rows, position][:, None] * cumulative[:, -1:]
                    chosen = torch.searchsorted(cumulative, target, right=True)[:, 0]
                    chosen = chosen.clamp(max=logits.shape[-1] - 1)
                return chosen, scaled.gather(1, chosen[:, None])[:, 0]

            found = _sample_batch(
                model,
                [texts[index] for index in chunk],
                samples=count,
                limits=[limits[index] for index in chunk],
                ends=ends,
                pad_id=pad_id,
                choose=choose,
                kept=kept,
            )
            for position, index in enumerate(chunk):
                results[index] += found[position * count : (position + 1) * count]
    if kept is not None:  # only now: a prefix of a later batch may be an old one
        kept.drop_oldest()
    return results


def uniforms(seed: int, samples: NDArray[np.int64], positions: int) -> NDArray[np.float64]:
    """Return numbers in (0, 1), shape (samples, positions), each a function of (seed, sample, position) alone.

    A counter-based generator: the finaliser of SplitMix64 (Steele, Lea and Flood 2014) over the three numbers.
    """
    # One after the other: mixed separately and combined, (seed 1, sample 2) would equal (seed 2, sample 1).
    stream = _mixed(np.full(1, seed, dtype=np.uint64))
    rows = _mixed(stream + samples.astype(np.uint64))
    bits = _mixed(rows[:, None] + np.arange(positions, dtype=np.uint64)[None, :])
    return ((bits >> np.uint64(16)).astype(np.float64) + 0.5) / 2.0**48


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)  # arrays wrap around modulo 2**64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _chunks(prompts: Sequence[Sequence[int]], at_once: int) -> list[list[int]]:
    """Return the prompts' indices in chunks of similar length, at most `at_once` each."""
    longest = max(len(prompt) for prompt in prompts) if prompts else 1
    return [
        batch[start : start + at_once]
        for batch in length_sorted_batches([len(prompt) for prompt in prompts], at_once * longest)
        for start in range(0, len(batch), at_once)
    ]


def _apart(prompts: Sequence[Ids], at_once: int, kept: PrefixCache | None) -> list[list[int]]:
    """Return chunks as `_chunks` does, prompts that are read from their beginning apart from the others."""
    begun = [kept is not None and bool(kept.longest(prompt)) for prompt in prompts]
    parts = [[index for index, one in enumerate(begun) if one == kind] for kind in (False, True)]
    return [
        [part[place] for place in chunk]
        for part in parts
        for chunk in _chunks([prompts[index] for index in part], at_once)
    ]


def _sample_batch(
    model: Any,
    prompts: Sequence[Ids],
    *,
    samples: int,
    limits: Sequence[int],
    ends: Callable[[Sequence[int]], bool],
    pad_id: int,
    choose: Choose,
    kept: PrefixCache | None = None,
) -> list[Sampled]:
    max_new_tokens = max(limits)
    rows, logits = begin(
        model, prompts, samples=samples, max_new_tokens=max_new_tokens, pad_id=pad_id, kept=kept
    )
    found = [Sampled([], []) for _ in range(len(prompts) * samples)]
    over = [False] * len(found)
    alive = torch.arange(len(found), device=logits.device).view(-1, rows.branches)

    def leave(going: Sequence[Sequence[int]], leaving: Sequence[int]) -> None:
        if kept is None or isinstance(rows, SeparateRows):
            return
        for row in leaving:
            for slot, states in zip(going[row], rows.written(row), strict=True):
                prompt, read = prompts[slot // samples], found[slot].ids[:-1]
                if read:
                    kept.keep((*prompt, *read), Segment(states[..., : len(read), :], prompt))

    for step in range(max_new_tokens):
        chosen, log_probabilities = choose(logits, alive.flatten(), step)
        slots = alive.tolist()
        values = [None] * len(chosen) if log_probabilities is None else log_probabilities.tolist()
        for slot, token, log_probability in zip(chain(*slots), chosen.tolist(), values, strict=True):
            if over[slot]:  # a finished one whose row has not left yet: what it goes on to write is nobody's
                continue
            found[slot].ids.append(token)
            if log_probability is not None:
                found[slot].log_probabilities.append(log_probability)
            over[slot] = ends(found[slot].ids) or step + 1 == limits[slot // samples]
        done = [all(over[slot] for slot in row) for row in slots]
        if step + 1 == max_new_tokens or all(done):
            leave(slots, range(len(slots)))
            break
        # Finished rows leave once they are worth the copy of the others; one at its own limit may have no position left.
        left = len(done) - sum(done)
        spent = any(step + 1 == limits[row[0] // samples] for row in slots)
        if left < len(done) and (left <= 0.75 * len(done) or len(done) <= 8 or spent):
            leave(slots, [row for row, one in enumerate(done) if one])
            stay = torch.tensor([row for row, one in enumerate(done) if not one], device=alive.device)
            rows.select(stay)
            alive, chosen = alive[stay], chosen.view(-1, rows.branches)[stay].flatten()
        logits = rows.read(chosen)
    return found


# --- rows that grow token by token -------------------------------------------------------------------------------------


def begin(
    model: Any,
    prompts: Sequence[Ids],
    *,
    samples: int,
    max_new_tokens: int,
    pad_id: int,
    kept: PrefixCache | None = None,
) -> tuple[PackedRows | SeparateRows, torch.Tensor]:
    """Read the prompts; return rows for `samples` continuations of each, and the logits of their first tokens.

    The slots of one prompt stand next to each other. `kept` is where states are taken from, and where those of the prompts
    go.
    """
    known = [kept.longest(prompt) if kept is not None else () for prompt in prompts]
    read_columns = max(map(len, known)) + max(
        len(prompt) - len(key) for prompt, key in zip(prompts, known, strict=True)
    )
    branches = _branches(samples, max_new_tokens, read_columns)
    room = branches * min(max_new_tokens, _BLOCK)
    found = read(model, prompts, known, kept, pad_id=pad_id, columns=read_columns + room, logits_to_keep=1)
    logits = found.logits[:, -1].repeat_interleave(samples, dim=0)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=logits.device)
    if found.states is None:
        return SeparateRows(model, found.cache, found.visible.long(), lengths, samples), logits
    if kept is not None:
        for row, (prompt, key) in enumerate(zip(prompts, known, strict=True)):
            kept.keep(prompt, Segment(found.segment(row, len(prompt) - len(key)), key))
    states, visible = found.states, torch.nn.functional.pad(found.visible, (0, room))
    if samples > branches:
        times = samples // branches
        states, visible = states.repeat_interleave(times, dim=2), visible.repeat_interleave(times, dim=0)
        lengths = lengths.repeat_interleave(times)
    return PackedRows(model, states, read_columns, visible, lengths, branches), logits


class PackedRows:
    """Rows of `branches` continuations each; a continuation is a slot, numbered row by row.

    Args:
        model: for which `prefix_cache.cacheable` holds.
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
            past_key_values=written(self.states, self.used),
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


def _branches(samples: int, max_new_tokens: int, prefix: int) -> int:
    """Return how many samples share a row: they read each other's columns in vain, and the prefix only once."""
    most = min(_MOST_BRANCHES, samples, max(1, 2 * prefix // max_new_tokens))
    return next(branches for branches in range(most, 0, -1) if samples % branches == 0)
