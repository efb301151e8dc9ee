"""The models that a server holds, by name: PRMs with their batchers.

Contract: a model belongs to its batcher's thread; request threads only tokenise, one at a time per tokenizer (a fast
tokenizer keeps its options in itself, so two threads would change them under each other). Scores that are no numbers in
[0, 1] are an error, never passed on.

Not here: HTTP (`app.py`), policies and searches (`searches.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from sparring.errors import DataError, did_you_mean
from sparring.models.scorer import Scorer, TokenHeadScorer, load_scorer
from sparring.serving.batcher import Batcher, Compute
from sparring.serving.errors import ApiError, from_data_error
from sparring.serving.settings import ServeSettings, named
from sparring.traces.records import Trace, refuse_half_pair
from sparring.traces.spans import Encoded, trusted_ids

T = TypeVar("T")
SCORES, TOKENS, CALL = "scores", "tokens", "call"
"""Kinds of work: scores of traces; logits of all tokens; any function that needs the model to itself."""


class Prm:
    """A PRM that is served.

    Args:
        name: under which clients ask for it.
        scorer: the PRM; its batcher's thread is the only one that computes with it.
        batch_tokens: tokens per forward pass.
        queue_tokens: tokens that may wait.
    """

    def __init__(self, name: str, scorer: Scorer, *, batch_tokens: int, queue_tokens: int) -> None:
        self.name, self.scorer = name, scorer
        self.reading = threading.Lock()
        compute: dict[str, Compute] = {
            SCORES: scorer.score_batch,
            CALL: lambda calls: [call() for call in calls],
        }
        if isinstance(scorer, TokenHeadScorer):
            compute[TOKENS] = lambda rows: [logits.cpu() for logits in scorer.logits(rows)]
        self.batcher = Batcher(
            name,
            compute,
            batch_tokens=batch_tokens,
            queue_tokens=queue_tokens,
        )

    @cached_property
    def described(self) -> dict[str, Any]:
        """What `/v1/models` says of it."""
        sidecar = self.scorer.sidecar
        return {
            "role": "prm",
            "head": sidecar.head,
            "meaning": sidecar.meaning,
            "aggregation": sidecar.aggregation,
            "threshold": sidecar.threshold,
            "threshold_rule": sidecar.threshold_rule,
            "max_tokens": sidecar.max_length,
            "fingerprint": self.scorer.identity.fingerprint,
        }

    @cached_property
    def vocabulary(self) -> int:
        """How many token ids the model has."""
        return int(self.scorer.model.get_input_embeddings().num_embeddings)

    @cached_property
    def step_tag(self) -> int | None:
        """The token at which a PRM of label tokens is read, as vLLM's STEP pooling knows it; None for other heads."""
        sidecar = self.scorer.sidecar
        if sidecar.head != "label_tokens":
            return None
        with self.reading:
            return trusted_ids(self.scorer.tokenizer, sidecar.layout.separator)[-1]

    def ids_of(self, text: str, *, special: bool, field: str) -> list[int]:
        """Return the token ids of a whole prompt, in which special tokens count as such.

        Args:
            text: the prompt.
            special: whether the tokenizer adds its own.
            field: where it stands in the request.

        Raises:
            ApiError: the tokenizer cannot read it.
        """
        try:
            refuse_half_pair(text, field)
            with self.reading:
                return list(
                    self.scorer.tokenizer.encode(text, add_special_tokens=special, split_special_tokens=False)
                )
        except DataError as error:
            raise from_data_error(error) from None
        except (
            Exception
        ) as error:  # of any type: tokenizers raises plain ones, for a word that a vocabulary lacks say
            raise ApiError(
                422, f"the tokenizer cannot read it: {' '.join(str(error).split())[:200]}", field=field
            ) from None

    def encode(self, traces: Sequence[Trace], places: Sequence[str], most_tokens: int) -> list[Encoded]:
        """Return the token ids of traces.

        Args:
            traces: of one request.
            places: where each stands in the request.
            most_tokens: of all together.

        Raises:
            ApiError: a trace does not fit the model, or all together are too long.
        """
        rows, tokens = [], 0
        for trace, place in zip(traces, places, strict=True):
            try:
                with self.reading:
                    row = self.scorer.encode(trace)
            except DataError as error:
                raise from_data_error(error, place) from None
            tokens += len(row.input_ids)
            if tokens > most_tokens:
                raise ApiError(
                    413,
                    f"the request has more than {most_tokens} tokens (max_request_tokens)",
                    field=place or None,
                )
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Models:
    """All that a server holds."""

    prms: dict[str, Prm]

    def prm(self, name: str | None) -> Prm:
        """Return the PRM of a name, the first one without a name.

        Raises:
            ApiError: there is none of this name.
        """
        return _chosen(self.prms, name, "PRM", "model")

    def close(self, seconds: float) -> None:
        """Finish what was accepted, and take nothing more."""
        for prm in self.prms.values():
            prm.batcher.close(seconds)


def _chosen(models: dict[str, T], name: str | None, what: str, field: str) -> T:
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise ApiError(
            404,
            f"no {what} is called {name[:80]!r} here{did_you_mean(name[:80], models)}",
            field=field,
            code="model_not_found",
        )
    return models[name]


def load_models(settings: ServeSettings, told: Callable[[str], None] = lambda _: None) -> Models:
    """Return the models that settings name.

    Args:
        settings: of the server.
        told: each model's name when it is loaded.

    Raises:
        CheckpointError: a folder cannot be loaded.
        SettingsError: there is no such device or type here.
    """
    prms = {}
    for name, place in named(settings.prm).items():
        scorer = load_scorer(
            place, device=settings.device, dtype=settings.dtype, batch_tokens=settings.batch_tokens
        )
        prms[name] = Prm(
            name,
            scorer,
            # A scorer that knows better how much it can take at once keeps its own bound.
            batch_tokens=min(settings.batch_tokens, scorer.batch_tokens),
            queue_tokens=settings.queue_tokens,
        )
        told(name)
    return Models(prms)
