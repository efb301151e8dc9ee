"""One verb for every PRM: `scorer.score(traces) -> list[list[float]]`, one number in [0, 1] per step.

Contract: how a checkpoint is read is decided by its sidecar alone. A whole trace is scored in one forward pass; batches
hold traces of similar length; batching never changes a score (equal to scoring alone to 1e-5 in float32). A trace that
does not fit the context is refused, or, with `overflow="drop_steps"`, its last steps are missing from its row and
counted in `dropped_steps`.

Not here: token ids and scoring positions (`traces/spans.py`, `text_layout.py`), loading weights (`loading.py`).
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch

from sparring.errors import CheckpointError, DataError, plural
from sparring.fingerprints import Identity, identity_of
from sparring.models.batching import length_sorted_batches, pad_right
from sparring.models.loading import (
    check_vocabulary,
    load_causal_model,
    load_label_token_model,
    load_step_head,
    load_token_classifier,
    load_tokenizer,
    pick_device,
    pick_dtype,
    positions,
    resolve_model,
)
from sparring.models.prefix_cache import (
    Ids,
    PrefixCache,
    Segment,
    cacheable,
    read,
    tokens_to_keep,
)
from sparring.models.sidecar import SIDECAR_NAME, Sidecar, read_sidecar
from sparring.models.text_layout import UnknownTokens, encode_answer, encode_trace
from sparring.traces.records import Trace
from sparring.traces.spans import Encoded

Overflow = Literal["refuse", "drop_steps"]
BATCH_TOKENS = 16_384
"""Tokens per forward pass, padding included."""
CPU_TOKENS = 2048
"""The same on a CPU, where the states of larger passes leave the caches: 16,384 take the tiny policy 1.5 times as long."""
LOG_RATIO_TOKENS = 1024
"""The same where each token has a number per word of the vocabulary."""
SHORTEST_SCORED = 0.9
"""Rows shorter than this share of the longest one of a batch go into the next.

Not `batching.SHORTEST`, which is of training passes; which rows share a pass decides the last digits of their scores.
"""


class Scorer(ABC):
    """A PRM that scores.

    Args:
        model: in evaluation mode.
        tokenizer: its tokenizer.
        sidecar: how it is read.
        batch_tokens: most tokens per forward pass, padding included.
        overflow: what to do with a trace that does not fit: refuse it, or drop whole last steps and count them.

    Attributes:
        folder: where it was loaded from; None for one that was made in memory.
        unknown: what its tokenizer did not know in the traces so far.
    """

    _encode: Callable[..., Encoded]
    folder: Path | None = None

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        sidecar: Sidecar,
        *,
        batch_tokens: int = BATCH_TOKENS,
        overflow: Overflow = "refuse",
    ) -> None:
        self.model, self.tokenizer, self.sidecar = model, tokenizer, sidecar
        self.batch_tokens, self.overflow, self.dropped_steps = batch_tokens, overflow, 0
        self.unknown = UnknownTokens()

    @property
    def threshold(self) -> float:
        """The score below which a step is called wrong, from the sidecar."""
        return self.sidecar.threshold

    @property
    def threshold_rule(self) -> str:
        """How the threshold was chosen."""
        return self.sidecar.threshold_rule

    @property
    def pass_tokens(self) -> int:
        """Tokens of a pass over whole traces, padding included."""
        on_cpu = next(self.model.parameters()).device.type == "cpu"
        return min(self.batch_tokens, CPU_TOKENS) if on_cpu else self.batch_tokens

    @cached_property
    def identity(self) -> Identity:
        """Who scores; a scorer that was made in memory is never the same as another."""
        if self.folder is not None:
            return identity_of(self.folder)
        token = secrets.token_hex(16)
        return Identity("memory", type(self.model).__name__, token, token)

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return one list of scores per trace.

        Args:
            traces: what to score.
            progress: called after every batch with the number of traces that it held.

        Raises:
            DataError: a trace does not fit the context; the message names the trace.
        """
        encoded = [self.encode(trace) for trace in traces]
        for row in encoded:
            self.unknown.count(row, self.tokenizer, self.sidecar.layout)
        scores: list[list[float]] = [[] for _ in traces]
        lengths = [len(item.input_ids) for item in encoded]
        for batch in length_sorted_batches(lengths, self.pass_tokens, shortest=SHORTEST_SCORED):
            for index, found in zip(batch, self.score_batch([encoded[i] for i in batch]), strict=True):
                scores[index] = found
            if progress is not None:
                progress(len(batch))
        return scores

    def score_batch(self, rows: Sequence[Encoded]) -> list[list[float]]:
        """Return the scores of traces that `encode` made token ids of, computed in one forward pass."""
        return [self._calibrated(log_odds) for log_odds in self._log_odds(rows)]

    def encode(self, trace: Trace) -> Encoded:
        """Return the token ids of a trace and where its steps are scored; counts the steps that do not fit.

        Raises:
            DataError: it does not fit the context, and `overflow` is "refuse".
        """
        sidecar = self.sidecar
        try:
            encoded = self._encode(
                trace.problem.question,
                trace.steps,
                self.tokenizer,
                sidecar.layout,
                max_length=sidecar.max_length,
                overflow=self.overflow,
            )
        except DataError as error:
            raise DataError(
                f"trace of problem '{trace.problem.id}': {error.message}", field=error.field, trace=trace
            ) from None
        self.dropped_steps += encoded.dropped
        return encoded

    def _calibrated(self, log_odds: torch.Tensor) -> list[float]:
        calibration = self.sidecar.calibration
        scores: list[float] = torch.sigmoid(calibration.scale * log_odds + calibration.shift).tolist()
        return scores

    @abstractmethod
    def _log_odds(self, rows: Sequence[Encoded]) -> list[torch.Tensor]:
        """Return, per row, the log-odds that each of its steps is correct."""


class TokenHeadScorer(Scorer):
    """Scores with two or more logits per token, read at each step's scoring position.

    The logits come from a token-classification head, or are those of the label tokens of a causal language model.
    """

    _encode = staticmethod(encode_trace)

    @property
    def correct(self) -> int:
        """Index of the logit that says "correct"."""
        # `load_label_token_model` puts the token that does so first.
        return 0 if self.sidecar.head == "label_tokens" else self.sidecar.correct_label

    @torch.inference_mode()
    def logits(self, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return, per row of token ids, the labels' logits at every token: (tokens, labels), float32.

        The labels of label tokens are "correct" and "wrong"; calibration is not applied.
        """
        device = next(self.model.parameters()).device
        ids = pad_right(rows, self.tokenizer.pad_token_id, device)
        logits = self.model(input_ids=ids, use_cache=False).logits.float()
        return [of_row[: len(row)] for row, of_row in zip(rows, logits, strict=True)]

    @torch.inference_mode()
    def _log_odds(self, rows: Sequence[Encoded]) -> list[torch.Tensor]:
        logits = self.logits([row.input_ids for row in rows])
        return [
            correct_log_odds(of_row[list(row.positions)], self.correct)
            for row, of_row in zip(rows, logits, strict=True)
        ]

    # --- reading new steps only, as a search does -----------------------------------------------------------------

    def prefix_cache(self, tokens: int | None = None) -> PrefixCache | None:
        """Return an empty cache for `score_new`; None for a PRM that always has to read whole traces.

        Args:
            tokens: most tokens that are kept; without it, as many as `tokens_to_keep` says.
        """
        # The ids of a prefix of a trace are a prefix of its ids (the step contract), and so are the states. Only in this
        # class itself: another one may lay its traces out differently.
        plain = type(self) is TokenHeadScorer and self.sidecar.layout.is_plain and self.sidecar.head != "mlp"
        if not plain or self.overflow != "refuse" or not cacheable(self.model):
            return None
        return PrefixCache(tokens_to_keep(self.model) if tokens is None else tokens)

    @torch.inference_mode()
    def score_new(self, traces: Sequence[Trace], cache: PrefixCache) -> list[tuple[list[float], int]]:
        """Return, per trace, its scores and how many of its first tokens did not have to be read.

        Scores equal those of `score` to 1e-5 in float32. A step keeps the score that it got when it was read.

        Raises:
            DataError: a trace does not fit the context; the message names the trace.
        """
        rows = [self.encode(trace) for trace in traces]
        known = [self._known(row, cache) for row in rows]
        results: list[tuple[list[float], int]] = [([], 0)] * len(rows)
        # Rows that begin at the question read many tokens, the others a step: apart, neither is padded for the other.
        for fresh in (True, False):
            places = [place for place, key in enumerate(known) if (not key) == fresh]
            lengths = [len(rows[place].input_ids) for place in places]
            most = self.pass_tokens if fresh else self.batch_tokens
            for batch in length_sorted_batches(lengths, most):
                chosen = [places[index] for index in batch]
                texts, keys = [rows[place].input_ids for place in chosen], [known[place] for place in chosen]
                found = read(self.model, texts, keys, cache, pad_id=self.tokenizer.pad_token_id)
                for index, (place, text, key) in enumerate(zip(chosen, texts, keys, strict=True)):
                    scores = dict(cache.segments[key].scores) if key else {}
                    new = [position for position in rows[place].positions if position >= len(key)]
                    # The last column of the logits belongs to the last token of every text.
                    logits = found.logits[index, [position - len(text) for position in new]].float()
                    log_odds = correct_log_odds(logits, self.correct)
                    scores |= zip(new, self._calibrated(log_odds), strict=True)
                    results[place] = [scores[position] for position in rows[place].positions], len(key)
                    if found.states is not None:
                        cache.keep(text, Segment(found.segment(index, len(text) - len(key)), key, scores))
        cache.drop_oldest()
        return results

    def _known(self, row: Encoded, cache: PrefixCache) -> Ids:
        """Return the longest kept beginning of a trace that ends with a step; of it every step has a score."""
        key = cache.longest(row.input_ids, (position + 1 for position in reversed(row.positions[:-1])))
        # Steps of another trace may make the same ids and end elsewhere.
        whole = key and all(p in cache.segments[key].scores for p in row.positions if p < len(key))
        return key if whole else ()


class LogRatioScorer(Scorer):
    """Scores of an implicit PRM: ratios of the likelihoods of two language models (arXiv 2412.01981).

    The log-odds of a step are beta · Σ log(p(token) / p_reference(token)) over the answer's tokens up to the step's
    end, and the score is their sigmoid, which is what the training objective makes of them.

    Args:
        reference: the model that `model` was trained from; the same vocabulary.
    """

    def __init__(
        self, model: Any, reference: Any, tokenizer: Any, sidecar: Sidecar, *, overflow: Overflow = "refuse"
    ) -> None:
        super().__init__(model, tokenizer, sidecar, batch_tokens=LOG_RATIO_TOKENS, overflow=overflow)
        if model.config.vocab_size != reference.config.vocab_size:
            raise CheckpointError("the model and its reference have vocabularies of different sizes")
        if sidecar.log_ratio is None:
            raise CheckpointError("the sidecar has no log_ratio")
        self.reference, self.log_ratio = reference, sidecar.log_ratio
        self._encode = partial(encode_answer, end=self.log_ratio.end)

    @torch.inference_mode()
    def _log_odds(self, rows: Sequence[Encoded]) -> list[torch.Tensor]:
        device = next(self.model.parameters()).device
        ids = pad_right([row.input_ids for row in rows], self.tokenizer.pad_token_id, device)
        ratios = token_log_probabilities(self.model, ids) - token_log_probabilities(self.reference, ids)
        log_odds = []
        for row, ratio in zip(rows, ratios.double(), strict=True):
            first = row.spans[0][0]  # `ratio[i]` belongs to token i + 1
            sums = self.log_ratio.beta * torch.cumsum(ratio[first - 1 :], dim=0)
            log_odds.append(sums[[position - first for position in row.positions]])
        return log_odds


def correct_log_odds(logits: torch.Tensor, correct_label: int) -> torch.Tensor:
    """Return log p(correct) − log p(any other label); logits are (..., labels), one label is read as log-odds itself."""
    if logits.shape[-1] == 1:
        return logits[..., 0]
    others = torch.cat([logits[..., :correct_label], logits[..., correct_label + 1 :]], dim=-1)
    return logits[..., correct_label] - torch.logsumexp(others, dim=-1)


def token_log_probabilities(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return log p(token | tokens before) of all tokens but the first, shape (rows, tokens − 1)."""
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]
    return chosen - torch.logsumexp(logits, dim=-1)


def load_scorer(
    folder: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int = BATCH_TOKENS,
    overflow: Overflow = "refuse",
) -> Scorer:
    """Return the scorer of a checkpoint folder.

    Raises:
        CheckpointError: the folder, its sidecar or its weights are missing, damaged, or do not fit together.
        SettingsError: there is no such device or type here.
    """
    target, place = pick_device(device), Path(resolve_model(folder))
    scorer = _loaded(place, target, pick_dtype(dtype, target), batch_tokens, overflow)
    scorer.folder = place
    return scorer


def check_scorer(folder: Path) -> None:
    """Refuse a checkpoint folder that `load_scorer` would refuse by names, shapes or sidecar, reading no weights.

    Raises:
        CheckpointError: as `load_scorer`.
    """
    _loaded(folder, torch.device("meta"), torch.float32, BATCH_TOKENS, "refuse")


def _loaded(
    place: Path, device: torch.device, dtype: torch.dtype, batch_tokens: int, overflow: Overflow
) -> Scorer:
    sidecar = read_sidecar(place)
    tokenizer = load_tokenizer(place)
    model: Any
    if sidecar.head == "mlp":
        model = load_step_head(place, device=device, dtype=dtype)
    elif sidecar.label_tokens is not None:
        model = load_label_token_model(place, sidecar.label_tokens, device=device, dtype=dtype)
    elif sidecar.log_ratio is not None:
        model = load_causal_model(place, device=device, dtype=dtype)
    else:
        model = load_token_classifier(place, device=device, dtype=dtype)
    check_vocabulary(model, tokenizer, place)
    sidecar = _within(positions(model.config), sidecar, place)
    if sidecar.head in ("token_classification", "mlp") and sidecar.correct_label >= model.config.num_labels:
        raise CheckpointError(
            f"the sidecar's correct_label is {sidecar.correct_label}, the head has "
            f"{plural(model.config.num_labels, 'label')}"
        )
    if sidecar.log_ratio is None:
        return TokenHeadScorer(model, tokenizer, sidecar, batch_tokens=batch_tokens, overflow=overflow)
    reference = load_causal_model(place / sidecar.log_ratio.reference, device=device, dtype=dtype)
    _within(positions(reference.config), sidecar, place / sidecar.log_ratio.reference)
    return LogRatioScorer(model, reference, tokenizer, sidecar, overflow=overflow)


def _within(limit: int | None, sidecar: Sidecar, place: Path) -> Sidecar:
    """Return the sidecar with a length that the model takes; one that is given and too large is refused."""
    if limit is None or sidecar.max_length <= limit:
        return sidecar
    if "max_length" in sidecar.model_fields_set:
        raise CheckpointError(
            f"'{place}': {SIDECAR_NAME} says max_length {sidecar.max_length}, the model has {plural(limit, 'position')} "
            f"(max_position_embeddings): set max_length to {limit} or less"
        )
    return sidecar.model_copy(update={"max_length": limit})
