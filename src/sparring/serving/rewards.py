"""`POST /get_reward`: the remote reward of OpenRLHF (`--remote_rm_url`), one number per solution from its step scores.

    {"query": ["prompt and answer", …], "prompts": ["prompt", …], "labels": […]}
    {"rewards": [0.91, …], "scores": [0.91, …], "extra_logs": {"share_from_first_error": […], "without_step": […]}}

What comes after the prompt is the answer, up to the first of the settings' `stop` texts; it is split into steps, scored,
and the scores become one by the PRM's own rule. The question is the prompt without the chat template's texts around it,
which `question_after` and `question_before` name. `labels` are not read: a PRM needs no reference answer. An answer without
a step is worth 0, and counted in `extra_logs`.

Older clients send `query` alone, in which nobody can tell where the answer begins: that is refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from sparring.errors import plural
from sparring.search.aggregation import AGGREGATIONS, aggregation_for
from sparring.serving.errors import RESPONSES, ApiError, refuse_more
from sparring.serving.models import Models
from sparring.serving.score import checked_trace, scores_of
from sparring.serving.settings import ServeSettings
from sparring.serving.waiting import account_of
from sparring.traces.records import Trace
from sparring.traces.splitting import split_steps


class RewardRequest(BaseModel):
    """What OpenRLHF sends."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)

    query: list[str] = Field(min_length=1)
    """Prompts with their answers."""
    prompts: list[str] | None = None
    """The prompts alone."""
    labels: list[Any] | None = None
    """Not read."""
    model: str | None = None


class RewardAnswer(BaseModel):
    """Rewards in the request's order."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def reward_router(models: Models, settings: ServeSettings) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["scores"])

    @router.post(
        "/get_reward", response_model=RewardAnswer, responses=RESPONSES, summary="OpenRLHF's remote reward."
    )
    async def get_reward(request: Request, body: RewardRequest) -> JSONResponse:
        prm = models.prm(body.model)
        account = account_of(request)
        account.model, account.items = prm.name, len(body.query)
        traces = await asyncio.to_thread(_traces, body, settings)
        places = [index for index, trace in enumerate(traces) if trace is not None]
        kept = [trace for trace in traces if trace is not None]
        account.steps = sum(len(trace.steps) for trace in kept)
        scores: list[list[float]] = []
        if kept:
            scores, _ = await scores_of(request, prm, kept, [f"query[{place}]" for place in places], settings)
        rule = AGGREGATIONS[aggregation_for(prm.scorer)]
        rewards, wrong = [0.0] * len(traces), [1.0] * len(traces)
        for place, row in zip(places, scores, strict=True):
            rewards[place] = rule(row)
            first = next((index for index, one in enumerate(row) if one < prm.scorer.threshold), len(row))
            wrong[place] = 1.0 - first / len(row)
        logs = {"share_from_first_error": wrong, "without_step": [float(trace is None) for trace in traces]}
        return JSONResponse({"rewards": rewards, "scores": rewards, "extra_logs": logs})

    return router


def _traces(body: RewardRequest, settings: ServeSettings) -> list[Trace | None]:
    """Return a trace per answer, None for one without a step.

    Raises:
        ApiError: prompts are missing, a query does not begin with its prompt, or there are too many of anything.
    """
    if body.prompts is None:
        raise ApiError(
            422,
            "prompts are needed to tell where answers begin; older OpenRLHF does not send them",
            field="prompts",
        )
    if len(body.prompts) != len(body.query):
        raise ApiError(
            422,
            f"{plural(len(body.prompts), 'prompt')} for {plural(len(body.query), 'query', 'queries')}",
            field="prompts",
        )
    refuse_more(len(body.query), settings.max_items, "queries (max_items)", "query")
    traces: list[Trace | None] = []
    for index, (query, prompt) in enumerate(zip(body.query, body.prompts, strict=True)):
        place = f"query[{index}]"
        if not query.startswith(prompt):
            raise ApiError(422, f"it does not begin with prompts[{index}]", field=place)
        answer = query[len(prompt) :]
        answer = answer[: min((at for text in settings.stop if (at := answer.find(text)) >= 0), default=None)]
        steps = split_steps(answer)
        question = question_of(prompt, settings.question_after, settings.question_before)
        traces.append(checked_trace(str(index), question, steps, settings, place, place) if steps else None)
    return traces


def question_of(prompt: str, after: str, before: str) -> str:
    """Return the question in a prompt: behind the last `after`, and from there up to the next `before`."""
    if after and after in prompt:
        prompt = prompt.rpartition(after)[2]
    return (prompt.partition(before)[0] if before else prompt).strip()
