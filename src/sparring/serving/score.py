"""`POST /v1/score`: scores of the steps of one or many solutions, and what follows from them.

    {"items": [{"problem": "1 + 1?", "steps": ["1 + 1 = 2"]}, {"id": "b", "problem": "…", "text": "free text"}]}

One item may stand flat, without `items`. Free text is split into steps by the rules of `traces/splitting.py`, and the
steps come back with their scores.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from sparring.errors import DataError
from sparring.search.aggregation import AGGREGATIONS, aggregation_for
from sparring.serving.errors import RESPONSES, ApiError, from_data_error, refuse_more
from sparring.serving.models import SCORES, Models, Prm
from sparring.serving.settings import ServeSettings
from sparring.serving.waiting import account_of, computed
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Encoded
from sparring.traces.splitting import split_steps

SMALL_BODY = 4096
"""Bytes of a request whose texts are tokenised at once."""
Aggregate = Literal["min", "product", "mean", "last", "soft_min"]
_NOT_BLANK: dict[str, Any] = {"pattern": r"\S"}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class StepsItem(_Request):
    """A solution as steps."""

    id: str | None = None
    """Comes back with the scores."""
    problem: str = Field(json_schema_extra=_NOT_BLANK)
    steps: list[Annotated[str, Field(json_schema_extra=_NOT_BLANK)]] = Field(min_length=1)


class TextItem(_Request):
    """A solution as free text, which is split into steps."""

    id: str | None = None
    """Comes back with the scores."""
    problem: str = Field(json_schema_extra=_NOT_BLANK)
    text: str = Field(json_schema_extra=_NOT_BLANK)


def _form(value: Any) -> str:
    given = value if isinstance(value, dict) else {}
    return "<items>" if "items" in given else "<text>" if "text" in given else "<steps>"


Item = Annotated[
    Annotated[StepsItem, Tag("<steps>")] | Annotated[TextItem, Tag("<text>")], Discriminator(_form)
]


class _Options(_Request):
    model: str | None = None
    """Which PRM; the first one of the server without it."""
    aggregate: Aggregate | None = None
    """From step scores to one score of a solution; without it as the PRM's sidecar says."""
    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    """Score below which a step counts as wrong; without it the PRM's own."""


class ScoreMany(_Options):
    """Several solutions."""

    items: list[Item] = Field(min_length=1)


class ScoreSteps(_Options, StepsItem):
    """One solution as steps."""


class ScoreText(_Options, TextItem):
    """One solution as free text."""


ScoreRequest = Annotated[
    Annotated[ScoreMany, Tag("<items>")]
    | Annotated[ScoreSteps, Tag("<steps>")]
    | Annotated[ScoreText, Tag("<text>")],
    Discriminator(_form),
]


class ScoredItem(BaseModel):
    """Scores of one solution."""

    id: str | None
    steps: list[str]
    scores: list[float] = Field(description="One number in [0, 1] per step.")
    first_error: int | None = Field(description="Index, from 0, of the first step below the threshold.")
    aggregate: float
    tokens: int = Field(description="That the PRM read.")


class ScoreUsage(BaseModel):
    """What a request cost."""

    tokens: int
    seconds: float


class ScoreAnswer(BaseModel):
    """Scores of all solutions of a request, in its order."""

    model: str
    threshold: float
    threshold_rule: str
    aggregate: str
    results: list[ScoredItem]
    usage: ScoreUsage


def score_router(models: Models, settings: ServeSettings) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["scores"])

    @router.post("/v1/score", response_model=ScoreAnswer, responses=RESPONSES, summary="Score steps.")
    async def score(request: Request, body: Annotated[ScoreRequest, Body()]) -> JSONResponse:
        items = body.items if isinstance(body, ScoreMany) else [body]
        prm = models.prm(body.model)
        account = account_of(request)
        account.model, account.items = prm.name, len(items)
        many = isinstance(body, ScoreMany)
        places = [f"items[{index}]" if many else "" for index in range(len(items))]
        traces = _traces(items, places, settings)
        account.steps = sum(len(trace.steps) for trace in traces)
        scores, tokens = await scores_of(request, prm, traces, places, settings)
        threshold = prm.scorer.threshold if body.threshold is None else body.threshold
        aggregate = aggregation_for(prm.scorer) if body.aggregate is None else body.aggregate
        results = [
            {
                "id": item.id,
                "steps": list(trace.steps),
                "scores": row,
                "first_error": next((i for i, one in enumerate(row) if one < threshold), None),
                "aggregate": AGGREGATIONS[aggregate](row),
                "tokens": length,
            }
            for item, trace, row, length in zip(items, traces, scores, tokens, strict=True)
        ]
        own = body.threshold is None
        return JSONResponse(
            {
                "model": prm.name,
                "threshold": threshold,
                "threshold_rule": prm.scorer.sidecar.threshold_rule if own else "given in the request",
                "aggregate": aggregate,
                "results": results,
                "usage": {"tokens": sum(tokens), "seconds": time.monotonic() - account.started},
            }
        )

    return router


async def scores_of(
    request: Request, prm: Prm, traces: list[Trace], places: list[str], settings: ServeSettings
) -> tuple[list[list[float]], list[int]]:
    """Return the scores of traces and the number of tokens of each, computed in batches with those of other requests.

    `places` say where each trace, of at least one, stands in the request.

    Raises:
        ApiError: a trace is too long, the model failed, or its scores are no numbers.
    """

    def encode() -> list[Encoded]:
        return prm.encode(traces, places, settings.max_request_tokens)

    # What is read in a moment is not worth another thread.
    rows = encode() if account_of(request).body_bytes <= SMALL_BODY else await asyncio.to_thread(encode)
    tokens = [len(row.input_ids) for row in rows]
    account_of(request).tokens = sum(tokens)
    scores: list[list[float]] = await computed(
        request, prm.batcher, SCORES, rows, tokens, settings.request_seconds
    )
    for row, trace, place in zip(scores, traces, places, strict=True):
        if len(row) != len(trace.steps) or not all(0.0 <= one <= 1.0 for one in row):  # NaN is not either
            raise ApiError(
                500,
                "the PRM's scores are not one number in [0, 1] per step (a model with NaN in its computation?)",
                type="scores_not_numbers",
                field=place or None,
            )
    return scores, tokens


def _traces(items: list[Any], places: list[str], settings: ServeSettings) -> list[Trace]:
    """Return the traces of a request's items.

    Raises:
        ApiError: too many items or steps, or a text that is empty or no Unicode.
    """
    refuse_more(len(items), settings.max_items, "items (max_items)", "items")
    traces = []
    for index, (item, place) in enumerate(zip(items, places, strict=True)):
        own = isinstance(item, StepsItem)
        steps = tuple(item.steps) if own else split_steps(item.text)
        field = f"{place}.{'steps' if own else 'text'}".strip(".")
        if not steps:
            raise ApiError(422, "there is no step in this text", field=field)
        traces.append(checked_trace(item.id or str(index), item.problem, steps, settings, place, field))
    return traces


def checked_trace(
    name: str, problem: str, steps: tuple[str, ...], settings: ServeSettings, place: str, field: str
) -> Trace:
    """Return a trace of a request.

    Raises:
        ApiError: it has too many steps (said of `field`), or a text that is empty or no Unicode (said below `place`).
    """
    refuse_more(len(steps), settings.max_steps_per_item, "steps (max_steps_per_item)", field)
    try:
        return Trace(Problem(name, problem), steps)
    except DataError as error:
        raise from_data_error(error, place) from None
