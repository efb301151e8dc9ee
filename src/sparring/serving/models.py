"""The models that a server holds, by name: PRMs and policies with their batchers.

Contract: a model belongs to its batcher's thread; request threads only tokenise, one at a time per tokenizer. Searches
reach PRM and policy through the same batchers, so their questions are computed together with those of other requests.

Not here: HTTP (`app.py`), searches (`searches.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, get_args

from sparring.errors import DataError, did_you_mean
from sparring.labels.provers import load_engine
from sparring.labels.settings import SolverSettings
from sparring.models import TINY_POLICY
from sparring.models.scorer import Scorer, TokenHeadScorer, load_scorer
from sparring.rollouts.engine import Completion, Engine, Limits, Prefix
from sparring.serving.batcher import Batcher, Compute
from sparring.serving.errors import ApiError, from_data_error, refuse_more
from sparring.serving.settings import SearchMethod, ServeSettings, named
from sparring.traces.records import Trace, refuse_half_pair
from sparring.traces.spans import Encoded, trusted_ids

T = TypeVar("T")
SCORES, TOKENS, CALL = "scores", "tokens", "call"
"""Kinds of work: scores of traces; logits of all tokens; any function that needs the model to itself."""


class OneAtATime:
    """A tokenizer that several threads may use: a fast one keeps the options of a call in itself."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._lock = tokenizer, threading.Lock()

    def encode(self, text: str, **options: Any) -> Any:
        """Return token ids."""
        with self._lock:
            return self._tokenizer.encode(text, **options)

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """Return what the tokenizer makes of texts."""
        with self._lock:
            return self._tokenizer(*texts, **options)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Prm:
    """A PRM that is served.

    Args:
        scorer: the PRM; its batcher's thread is the only one that computes with it.
    """

    def __init__(self, name: str, scorer: Scorer, *, batch_tokens: int, queue_tokens: int) -> None:
        self.name, self.scorer = name, scorer
        scorer.tokenizer = OneAtATime(scorer.tokenizer)
        compute: dict[str, Compute] = {
            SCORES: scorer.score_batch,
            CALL: lambda calls: [call() for call in calls],
        }
        if isinstance(scorer, TokenHeadScorer):
            compute[TOKENS] = lambda rows: [logits.cpu() for logits in scorer.logits(rows)]
        self.batcher = Batcher(name, compute, batch_tokens=batch_tokens, queue_tokens=queue_tokens)

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
        return trusted_ids(self.scorer.tokenizer, sidecar.layout.separator)[-1]

    def ids_of(self, text: str, *, special: bool, field: str) -> list[int]:
        """Return the token ids of a whole prompt, in which special tokens count as such.

        Args:
            special: whether the tokenizer adds its own.
            field: where it stands in the request.

        Raises:
            ApiError: the tokenizer cannot read it.
        """
        try:
            refuse_half_pair(text, field)
            return list(
                self.scorer.tokenizer.encode(text, add_special_tokens=special, split_special_tokens=False)
            )
        except DataError as error:
            raise from_data_error(error) from None
        except Exception as error:  # tokenizers raises plain ones, for a word that a vocabulary lacks say
            why = " ".join(str(error).split())[:200]
            raise ApiError(422, f"the tokenizer cannot read it: {why}", field=field) from None

    def encode(self, traces: Sequence[Trace], places: Sequence[str], most_tokens: int) -> list[Encoded]:
        """Return the token ids of traces.

        Args:
            places: where each stands in the request.

        Raises:
            ApiError: a trace does not fit the model, or all together are too long.
        """
        rows, tokens = [], 0
        for trace, place in zip(traces, places, strict=True):
            try:
                row = self.scorer.encode(trace)
            except DataError as error:
                # Clients know a trace by its place, not by the name that it has here.
                said = error.message.removeprefix(f"trace of problem '{trace.problem.id}': ")
                message = f"{place}: {said}" if place else said
                raise from_data_error(DataError(message, field=error.field), place) from None
            tokens += len(row.input_ids)
            refuse_more(tokens, most_tokens, "tokens (max_request_tokens)", place or None)
            rows.append(row)
        return rows


class Policy:
    """A policy that writes solutions for searches.

    Args:
        engine: its batcher's thread is the only one that samples with it.
        rows: completions in one call of the engine.
    """

    def __init__(self, name: str, engine: Any, *, rows: int) -> None:
        self.name, self.engine = name, engine
        if getattr(engine, "tokenizer", None) is not None:
            engine.tokenizer = OneAtATime(engine.tokenizer)
        self._kept = ExitStack()
        # Searches come back to prefixes that they have just written, and several users to one question.
        self._kept.enter_context(getattr(engine, "keeping", nullcontext)())
        # Bounded by the searches that may run, not by tokens.
        self.batcher = Batcher(name, _Sampling(engine), batch_tokens=rows, queue_tokens=2**62)

    @property
    def described(self) -> dict[str, Any]:
        """What `/v1/models` says of it."""
        return {
            "role": "policy",
            "methods": list(get_args(SearchMethod)),
            "reproducible": self.engine.reproducible,
        }


class _Sampling(dict[tuple[int, Limits, tuple[str, ...]], Compute]):
    """What samples, per number of completions, limits and stop texts: calls that agree in them are made as one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __missing__(self, kind: tuple[int, Limits, tuple[str, ...]]) -> Compute:
        n, limits, stop = kind

        def sample(works: Sequence[tuple[Prefix, int]]) -> list[list[Completion]]:
            prefixes, seeds = [prefix for prefix, _ in works], [seed for _, seed in works]
            return self.engine.sample(prefixes, n, limits=limits, seeds=seeds, stop=stop)

        return sample


@dataclass(frozen=True)
class Models:
    """All that a server holds."""

    prms: dict[str, Prm]
    policies: dict[str, Policy]

    def prm(self, name: str | None) -> Prm:
        """Return the PRM of a name, the first one without a name.

        Raises:
            ApiError: there is none of this name.
        """
        return _chosen(self.prms, name, "PRM", "model")

    def policy(self, name: str | None, field: str = "policy") -> Policy:
        """Return the policy of a name, the first one without a name.

        Raises:
            ApiError: there is none of this name, or none at all.
        """
        if not self.policies:
            raise ApiError(
                404, "this server has no policy that writes solutions (setting `policy`)", code="no_policy"
            )
        return _chosen(self.policies, name, "policy", field)

    @property
    def all(self) -> list[Prm | Policy]:
        """PRMs, then policies."""
        return [*self.prms.values(), *self.policies.values()]

    @property
    def batchers(self) -> dict[str, Batcher]:
        """The batchers by their models' names."""
        return {one.name: one.batcher for one in self.all}

    def close(self, seconds: float) -> None:
        """Finish what was accepted, and take nothing more."""
        deadline = time.monotonic() + seconds
        for batcher in self.batchers.values():
            batcher.close(max(0.0, deadline - time.monotonic()))


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


def load_models(settings: ServeSettings, loaded: Callable[[str], None] = lambda _: None) -> Models:
    """Return the models that settings name.

    Args:
        loaded: each model's name when it is loaded.

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
            batch_tokens=min(settings.batch_tokens, scorer.pass_tokens),
            queue_tokens=settings.queue_tokens,
        )
        loaded(name)
    policies = {}
    solving = SolverSettings.model_validate(
        {field: getattr(settings, field) for field in SolverSettings.model_fields if hasattr(settings, field)}
        | {"policy": TINY_POLICY}
    )
    for name, place in named(settings.policy).items():
        engine: Any = load_engine(place, solving)
        # Layouts are made for steps that end with a line break.
        engine.layout = replace(engine.layout, separator=settings.separator)
        policies[name] = Policy(name, engine, rows=settings.row_budget)
        loaded(name)
    return Models(prms, policies)
