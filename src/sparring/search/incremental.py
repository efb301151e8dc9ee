"""A PRM that reads new steps only: keys and values of the prefixes that it has read are kept.

Contract: scores equal those of `TokenHeadScorer.score` to 1e-5 in float32. What is kept is one piece per step, so
siblings share their prefix; the oldest pieces go once `kept_tokens` are exceeded, and a prefix that has lost a piece is
read anew. Only for PRMs in this process whose every layer attends to all that came before (`supported`): the ids of a
prefix of a trace are then a prefix of its ids (the step contract), and so are the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from sparring.errors import DataError
from sparring.models.batching import length_sorted_batches, pad_right
from sparring.models.decoding import tokens_to_keep
from sparring.models.scorer import TokenHeadScorer, correct_log_odds
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Encoded, encode

Key = tuple[str, tuple[str, ...]]
"""A problem's id and the steps of a prefix."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one reading left.

    Attributes:
        states: keys and values of the tokens that were new: (layers, 2, heads, tokens, width).
        before: the prefix that it continues; None: it begins with the question.
        length: tokens up to its end.
        scores: of all steps up to its end.
    """

    states: torch.Tensor
    before: Key | None
    length: int
    scores: tuple[float, ...]


def supported(scorer: object) -> bool:
    """Tell whether a PRM can be read step by step."""
    # Only the class itself: another one may lay its traces out differently.
    if type(scorer) is not TokenHeadScorer or scorer.overflow != "refuse":
        return False
    if (
        scorer.sidecar.head not in ("token_classification", "label_tokens")
        or not scorer.sidecar.layout.is_plain
    ):
        return False
    config = scorer.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not windowed and hasattr(config, "num_key_value_heads")


class IncrementalScorer:
    """Reads with the model of a scorer, and keeps what it has read.

    Args:
        scorer: a PRM for which `supported` holds.
        kept_tokens: most tokens whose keys and values are kept; without it, as many as `tokens_to_keep` says.
    """

    def __init__(self, scorer: TokenHeadScorer, *, kept_tokens: int | None = None) -> None:
        self.scorer = scorer
        self.kept_tokens = tokens_to_keep(scorer.model) if kept_tokens is None else kept_tokens
        self._pieces: dict[Key, Piece] = {}
        self._tokens = 0

    def read(self, traces: Sequence[Trace]) -> list[tuple[list[float], int]]:
        """Return, per trace, its step scores and how many of its first tokens did not have to be read.

        Raises:
            DataError: a trace does not fit the context; the message names the trace.
        """
        encoded = [self._encode(trace) for trace in traces]
        known = [self._longest(trace) for trace in traces]
        results: list[tuple[list[float], int]] = [([], 0)] * len(traces)
        # Rows that begin at the question read many tokens, the others a step: apart, neither is padded for the other.
        for fresh in (True, False):
            rows = [index for index in range(len(traces)) if (known[index] is None) == fresh]
            lengths = [len(encoded[index].input_ids) for index in rows]
            for batch in length_sorted_batches(lengths, self.scorer.batch_tokens):
                chosen = [rows[place] for place in batch]
                found = self._read_batch(
                    [traces[index] for index in chosen],
                    [encoded[index] for index in chosen],
                    [known[index] for index in chosen],
                )
                for index, result in zip(chosen, found, strict=True):
                    results[index] = result
        self._drop_oldest()
        return results

    def forget(self, problem: Problem) -> None:
        """Forget what was read of a problem."""
        for key in [key for key in self._pieces if key[0] == problem.id]:
            self._tokens -= self._pieces.pop(key).states.shape[-2]

    def _encode(self, trace: Trace) -> Encoded:
        scorer = self.scorer
        try:
            return encode(
                trace.problem.question,
                trace.steps,
                scorer.tokenizer,
                scorer.sidecar.span_layout(),
                max_length=scorer.sidecar.max_length,
            )
        except DataError as error:
            raise DataError(
                f"trace of problem {trace.problem.id!r}: {error.message}", field=error.field
            ) from error

    def _longest(self, trace: Trace) -> Key | None:
        """Return the longest shorter prefix of the trace of which every piece is still there."""
        for length in range(len(trace.steps) - 1, 0, -1):
            key = (trace.problem.id, trace.steps[:length])
            at: Key | None = key
            while at is not None and at in self._pieces:
                at = self._pieces[at].before
            if at is None:
                return key
        return None

    def _past(self, key: Key | None) -> list[torch.Tensor]:
        pieces: list[torch.Tensor] = []
        while key is not None:
            pieces.append(self._pieces[key].states)
            key = self._pieces[key].before
        return pieces[::-1]

    @torch.inference_mode()
    def _read_batch(
        self, traces: Sequence[Trace], encoded: Sequence[Encoded], known: Sequence[Key | None]
    ) -> list[tuple[list[float], int]]:
        model = self.scorer.model
        device = next(model.parameters()).device
        starts = [0 if key is None else self._pieces[key].length for key in known]
        width = max(starts)
        pad_id = self.scorer.tokenizer.pad_token_id
        ids = pad_right(
            [row.input_ids[start:] for row, start in zip(encoded, starts, strict=True)], pad_id, device
        )
        cache = DynamicCache(config=model.config)
        if width:
            parts = self._past(known[0])[0]
            layers, two, heads, _, size = parts.shape
            past = parts.new_zeros(layers, two, len(traces), heads, width, size)
            for row, (key, start) in enumerate(zip(known, starts, strict=True)):
                torch.cat(self._past(key), dim=-2, out=past[:, :, row, :, width - start :])
            for layer in range(layers):
                cache.update(past[layer, 0], past[layer, 1], layer)
        first = torch.tensor(starts, device=device)[:, None]
        columns = torch.arange(width + ids.shape[1], device=device)[None, :]
        logits = model(
            input_ids=ids,
            # Padding lies before the past, where it is hidden, and after the new tokens, where nobody looks.
            attention_mask=(columns >= width - first).long(),
            position_ids=first + torch.arange(ids.shape[1], device=device)[None, :],
            past_key_values=cache,
            use_cache=True,
        ).logits.float()
        states = torch.stack(
            [torch.stack((layer.keys, layer.values))[..., width:, :] for layer in cache.layers]
        )
        calibration = self.scorer.sidecar.calibration
        results = []
        for row, (trace, one, key, start) in enumerate(zip(traces, encoded, known, starts, strict=True)):
            before = () if key is None else self._pieces[key].scores
            places = [position - start for position in one.positions[len(before) :]]
            log_odds = correct_log_odds(logits[row, places], self.scorer.correct)
            new = torch.sigmoid(calibration.scale * log_odds + calibration.shift).tolist()
            scores = (*before, *new)
            length = len(one.input_ids)
            self._keep(trace, Piece(states[:, :, row, :, : length - start].clone(), key, length, scores))
            results.append((list(scores), start))
        return results

    def _keep(self, trace: Trace, piece: Piece) -> None:
        key = (trace.problem.id, trace.steps)
        if (older := self._pieces.pop(key, None)) is not None:
            self._tokens -= older.states.shape[-2]
        self._pieces[key] = piece
        self._tokens += piece.states.shape[-2]

    def _drop_oldest(self) -> None:
        while self._tokens > self.kept_tokens:
            key = next(iter(self._pieces))
            self._tokens -= self._pieces.pop(key).states.shape[-2]
