"""One verb for every PRM: `scorer.score(traces) -> list[list[float]]`, one number in [0, 1] per step.

Contract: how a checkpoint is read is decided by its sidecar alone. A whole trace is scored in one forward pass; batches
hold traces of similar length; batching never changes a score (equal to scoring alone to 1e-5 in float32). A trace that
does not fit the context is refused, or, with `overflow="drop_steps"`, its last steps are missing from its row and
counted in `dropped_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from sparring.errors import CheckpointError, DataError
from sparring.models.batching import length_sorted_batches, pad_right
from sparring.models.families.heads import load_step_head
from sparring.models.families.log_ratio import LogRatioScorer
from sparring.models.families.text_layout import encode_trace
from sparring.models.loading import (
    check_vocabulary,
    load_causal_model,
    load_label_token_model,
    load_token_classifier,
    load_tokenizer,
    pick_device,
    pick_dtype,
    positions,
    resolve_model,
)
from sparring.models.sidecar import SIDECAR_NAME, Sidecar, read_sidecar
from sparring.traces.records import Trace
from sparring.traces.spans import Encoded

BATCH_TOKENS = 16_384
"""Tokens per forward pass, padding included."""
SHORTEST = 0.9
"""Rows shorter than this share of the longest one of a batch go into the next."""


class TokenHeadScorer:
    """Scores with two or more logits per token, read at each step's scoring position.

    The logits come from a token-classification head, or are those of the label tokens of a causal language model.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        sidecar: Sidecar,
        *,
        batch_tokens: int = BATCH_TOKENS,
        overflow: Literal["refuse", "drop_steps"] = "refuse",
    ) -> None:
        # `load_label_token_model` puts the token that says "correct" first.
        self.correct = 0 if sidecar.head == "label_tokens" else sidecar.correct_label
        if sidecar.head != "label_tokens" and self.correct >= model.config.num_labels:
            raise CheckpointError(
                f"the sidecar's correct_label is {sidecar.correct_label}, the head has {model.config.num_labels} labels"
            )
        self.model, self.tokenizer, self.sidecar = model, tokenizer, sidecar
        self.batch_tokens, self.overflow = batch_tokens, overflow
        self.dropped_steps = 0

    @property
    def threshold(self) -> float:
        """The score below which a step is called wrong, from the sidecar."""
        return self.sidecar.threshold

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
        encoded = [self._encode(trace) for trace in traces]
        scores: list[list[float]] = [[] for _ in traces]
        lengths = [len(item.input_ids) for item in encoded]
        for batch in length_sorted_batches(lengths, self.batch_tokens, shortest=SHORTEST):
            for index, row in zip(batch, self._score_batch([encoded[index] for index in batch]), strict=True):
                scores[index] = row
            if progress is not None:
                progress(len(batch))
        return scores

    def _encode(self, trace: Trace) -> Encoded:
        try:
            encoded = encode_trace(
                trace.problem.question,
                trace.steps,
                self.tokenizer,
                self.sidecar.layout,
                max_length=self.sidecar.max_length,
                overflow=self.overflow,
            )
        except DataError as error:
            raise DataError(
                f"trace of problem '{trace.problem.id}': {error.message}", field=error.field
            ) from None
        self.dropped_steps += encoded.dropped
        return encoded

    @torch.inference_mode()
    def _score_batch(self, rows: Sequence[Encoded]) -> list[list[float]]:
        device = next(self.model.parameters()).device
        ids = pad_right([row.input_ids for row in rows], self.tokenizer.pad_token_id, device)
        logits = self.model(input_ids=ids, use_cache=False).logits.float()
        calibration = self.sidecar.calibration
        scores = []
        for row, row_logits in zip(rows, logits, strict=True):
            log_odds = correct_log_odds(row_logits[list(row.positions)], self.correct)
            scores.append(torch.sigmoid(calibration.scale * log_odds + calibration.shift).tolist())
        return scores


def correct_log_odds(logits: torch.Tensor, correct_label: int) -> torch.Tensor:
    """Return log p(correct) − log p(any other label); logits are (..., labels), one label is read as log-odds itself."""
    if logits.shape[-1] == 1:
        return logits[..., 0]
    others = torch.cat([logits[..., :correct_label], logits[..., correct_label + 1 :]], dim=-1)
    return logits[..., correct_label] - torch.logsumexp(others, dim=-1)


Scorer = TokenHeadScorer | LogRatioScorer


def load_scorer(
    folder: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int = BATCH_TOKENS,
    overflow: Literal["refuse", "drop_steps"] = "refuse",
) -> Scorer:
    """Return the scorer of a checkpoint folder.

    Raises:
        CheckpointError: the folder, its sidecar or its weights are missing, damaged, or do not fit together.
        SettingsError: there is no such device or type here.
    """
    target = pick_device(device)
    return _loaded(Path(resolve_model(folder)), target, pick_dtype(dtype, target), batch_tokens, overflow)


def check_scorer(folder: Path) -> None:
    """Refuse a checkpoint folder that `load_scorer` would refuse by names, shapes or sidecar, reading no weights.

    Raises:
        CheckpointError: as `load_scorer`.
    """
    _loaded(folder, torch.device("meta"), torch.float32, BATCH_TOKENS, "refuse")


def _loaded(
    place: Path,
    device: torch.device,
    dtype: torch.dtype,
    batch_tokens: int,
    overflow: Literal["refuse", "drop_steps"],
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
            f"'{place}': {SIDECAR_NAME} says max_length {sidecar.max_length}, the model has {limit} positions "
            f"(max_position_embeddings): set max_length to {limit} or less"
        )
    return sidecar.model_copy(update={"max_length": limit})
