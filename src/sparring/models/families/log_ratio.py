"""Implicit PRMs: scores that are ratios of the likelihoods of two language models (arXiv 2412.01981).

The log-odds of a step are beta · Σ log(p(token) / p_reference(token)) over the answer's tokens up to the step's end, and
the score is their sigmoid, which is what the training objective makes of them.

Contract: numbers are those of the EurusPRM model card, including its two habits: the sum begins with the last token of the
header before the answer, and a step that is not the last one ends where the card's count of tokens says, one or two
tokens into the next step. So the score of such a step is not exactly that of the trace cut after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparring.errors import CheckpointError, DataError
from sparring.models.batching import length_sorted_batches, pad_right
from sparring.models.families.text_layout import Piece, join, trace_pieces
from sparring.models.sidecar import LogRatio, Sidecar
from sparring.traces.records import Trace

BATCH_TOKENS = 1024
"""Tokens per forward pass; each holds a number per word of the vocabulary."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Token ids, the first token whose likelihood counts, and per step the last one."""

    ids: tuple[int, ...]
    first: int
    last: tuple[int, ...]


def encode_answer(trace: Trace, tokenizer: Any, sidecar: Sidecar) -> Answer:
    """Return the ids of a trace and the tokens that its steps' sums run over."""
    layout, end = sidecar.layout, Piece(_log_ratio(sidecar).end, True)
    pieces = trace_pieces(trace.problem.question, trace.steps, layout)
    joined = join([*pieces[:-2], end], tokenizer)
    last = []
    for count in range(1, len(trace.steps)):
        so_far = trace_pieces(trace.problem.question, trace.steps[:count], layout)[:-2]
        counted = len(join([*so_far, end, Piece(layout.separator, True)], tokenizer).ids)
        # The card's index counts from the second token on, and takes two off the prefix.
        last.append(min(counted - 1, len(joined.ids) - 1))
    prompt = len(join([*pieces[:3], end], tokenizer).ids)
    return Answer(tuple(joined.ids), prompt - 2, (*last, joined.spans[-1][1] - 1))


class LogRatioScorer:
    """Scores with a language model and its reference.

    Args:
        model: causal language model.
        reference: the model that it was trained from; the same vocabulary.
        tokenizer: theirs.
        sidecar: with `log_ratio`.
        batch_tokens: tokens per forward pass.
        overflow: what to do with a trace that does not fit: refuse it, or drop whole last steps and count them.
    """

    def __init__(
        self,
        model: Any,
        reference: Any,
        tokenizer: Any,
        sidecar: Sidecar,
        *,
        batch_tokens: int = BATCH_TOKENS,
        overflow: Literal["refuse", "drop_steps"] = "refuse",
    ) -> None:
        if model.config.vocab_size != reference.config.vocab_size:
            raise CheckpointError("the model and its reference have vocabularies of different sizes")
        self.model, self.reference = model, reference
        self.tokenizer, self.sidecar, self.batch_tokens = tokenizer, sidecar, batch_tokens
        self.overflow, self.dropped_steps = overflow, 0

    @property
    def threshold(self) -> float:
        """The score below which a step is called wrong, from the sidecar."""
        return self.sidecar.threshold

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return one list of scores per trace; as `TokenHeadScorer.score`."""
        answers = [self._encode(trace) for trace in traces]
        scores: list[list[float]] = [[] for _ in traces]
        for batch in length_sorted_batches([len(item.ids) for item in answers], self.batch_tokens):
            for index, row in zip(batch, self._score_batch([answers[i] for i in batch]), strict=True):
                scores[index] = row
            if progress is not None:
                progress(len(batch))
        return scores

    def _encode(self, trace: Trace) -> Answer:
        answer = encode_answer(trace, self.tokenizer, self.sidecar)
        while (
            self.overflow == "drop_steps"
            and len(answer.ids) > self.sidecar.max_length
            and len(trace.steps) > 1
        ):
            trace = trace.prefix(len(trace.steps) - 1)
            answer = encode_answer(trace, self.tokenizer, self.sidecar)
            self.dropped_steps += 1
        if len(answer.ids) > self.sidecar.max_length:
            raise DataError(
                f"trace of problem '{trace.problem.id}': {len(answer.ids)} tokens, past the limit of "
                f"{self.sidecar.max_length}",
                field="steps",
            )
        return answer

    @torch.inference_mode()
    def _score_batch(self, answers: Sequence[Answer]) -> list[list[float]]:
        device = next(self.model.parameters()).device
        ids = pad_right([answer.ids for answer in answers], self.tokenizer.pad_token_id, device)
        ratio = token_log_probabilities(self.model, ids) - token_log_probabilities(self.reference, ids)
        beta, calibration = _log_ratio(self.sidecar).beta, self.sidecar.calibration
        rows = []
        for answer, values in zip(answers, ratio.double(), strict=True):
            # `values[i]` belongs to token i + 1
            sums = beta * torch.cumsum(values[answer.first - 1 :], dim=0)
            log_odds = sums[[place - answer.first for place in answer.last]]
            rows.append(torch.sigmoid(calibration.scale * log_odds + calibration.shift).tolist())
        return rows


def token_log_probabilities(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return log p(token | tokens before) of all tokens but the first, shape (rows, tokens − 1)."""
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]
    return chosen - torch.logsumexp(logits, dim=-1)


def _log_ratio(sidecar: Sidecar) -> LogRatio:
    if sidecar.log_ratio is None:
        raise CheckpointError("the sidecar has no log_ratio")
    return sidecar.log_ratio
