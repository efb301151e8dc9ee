"""`POST /v1/search`: a policy and a PRM solve a problem together; every step that is scored comes as a server-sent event.

    {"problem": "…", "method": "beam", "n": 8, "budget": 4096, "seed": 1}

    event: step
    data: {"node": 1, "parent": 0, "step": "c = b + 5 = 7 + 5 , c is 12", "score": 0.97, "kept": null}

Events are those of `searches.py`; the last one is `done`, or `error` with the fields of any other error. A request that
cannot be begun is answered with its status and no events.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from sparring.search.settings import MethodSettings
from sparring.serving.errors import FAULT, RESPONSES, ApiError
from sparring.serving.logs import LOGGER
from sparring.serving.models import Models
from sparring.serving.searches import INDEPENDENT, Event, Job, Outcome, Searches, Wish
from sparring.serving.settings import SearchMethod, ServeSettings
from sparring.serving.waiting import account_of

KEEP_ALIVE = 5.0
"""Seconds without an event after which a comment is sent: proxies close connections on which nothing comes."""
MOST_TOKENS = 1_048_576
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class SearchRequest(BaseModel):
    """What is searched for, by whom and how."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    problem: str = Field(json_schema_extra={"pattern": r"\S"})
    model: str | None = None
    """The PRM; the first one without it."""
    policy: str | None = None
    """Who writes; the first one without it."""
    method: SearchMethod | None = None
    n: int | None = Field(None, ge=1)
    """Of the method: solutions, states kept, next steps, walks or particles."""
    budget: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """Tokens that the policy may write, after which the search stops."""
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    """The same seed gives the same answer, where the policy is reproducible."""
    max_new_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """Of a whole solution (`best_of_n` and votes), else of one step."""
    temperature: float | None = Field(None, ge=0, le=10)


def search_router(models: Models, settings: ServeSettings, searches: Searches) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["search"])

    @router.post(
        "/v1/search",
        response_class=StreamingResponse,
        responses={**RESPONSES, 200: {"description": "Events.", "content": {"text/event-stream": {}}}},
        summary="Search, step by step.",
    )
    async def search(request: Request, body: SearchRequest) -> StreamingResponse:
        if not body.problem.strip():
            raise ApiError(422, "the problem is empty", field="problem")
        wish = wish_of(request, models, settings, body)
        await asyncio.to_thread(wish.check)
        job, events = begun(searches, wish)
        followed_events = followed(request, job, events, settings.search_seconds)
        lines = (": searching\n\n" if event is None else _event(*event) async for event in followed_events)
        return streamed(
            request, lines, lambda error: _event("error", {**error.body(), "status": error.status})
        )

    return router


def wish_of(
    request: Request,
    models: Models,
    settings: ServeSettings,
    body: SearchRequest,
    *,
    policy_field: str = "policy",
    stop: tuple[str, ...] | None = None,
) -> Wish:
    """Return what a request asks for, over the server's settings.

    Args:
        policy_field: where the request names the policy.
        stop: texts that end a solution; None: the server's own.

    Raises:
        ApiError: no such model, n is above the limit, or settings that do not fit together.
    """
    method = body.method or settings.method
    n = settings.n if body.n is None else body.n
    if n > settings.max_n:
        raise ApiError(413, f"n is at most {settings.max_n} (max_n)", field="n")
    fields = {name: getattr(settings, name) for name in MethodSettings.model_fields}
    changes = {
        "budget_tokens": body.budget,
        "seed": body.seed,
        "temperature": body.temperature,
        "stop": stop,
        "max_new_tokens" if method in INDEPENDENT else "max_step_tokens": body.max_new_tokens,
    }
    fields |= {name: value for name, value in changes.items() if value is not None}
    account = account_of(request)
    wish = Wish(
        problem=body.problem,
        policy=models.policy(body.policy, policy_field),
        prm=models.prm(body.model),
        method=method,
        n=n,
        settings=MethodSettings.model_validate(fields),
        deadline=account.started + settings.search_seconds,
        last_number=settings.last_number,
    )
    account.model, account.items = f"{wish.policy.name}+{wish.prm.name}", 1
    return wish


def begun(searches: Searches, wish: Wish) -> tuple[Job, asyncio.Queue[Event | None]]:
    """Return a search that was begun, and its events; None is behind the last.

    Raises:
        ApiError: too many are waiting.
    """
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

    def put(event: Event | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(events.put_nowait, event)

    job = searches.start(wish, put)
    job.future.add_done_callback(lambda _: put(None))
    return job, events


async def followed(
    request: Request, job: Job, events: asyncio.Queue[Event | None], seconds: float
) -> AsyncIterator[Event | None]:
    """Yield events as they come, None where there was none for a while; stop the search when nobody listens any more.

    Raises:
        ApiError: the search failed, or time is up.
    """
    account = account_of(request)
    try:
        while True:
            remaining = account.started + seconds - time.monotonic()
            if remaining <= 0:
                raise ApiError(504, f"not done within {seconds:g} s")
            try:
                event = await asyncio.wait_for(events.get(), min(KEEP_ALIVE, remaining))
            except TimeoutError:
                yield None
                continue
            if event is None:
                break
            yield event
        if job.future.cancelled():
            raise ApiError(503, "the server is going down", retry_after=1)
        note(request, job.future.result())
    finally:
        job.stop()


def note(request: Request, outcome: Outcome) -> None:
    """Write what a search has cost where the log finds it."""
    account, spent = account_of(request), outcome.found.spent
    account.tokens = (spent.tokens_generated or 0) + (spent.tokens_scored or 0)
    account.steps = None if outcome.candidate is None else len(outcome.candidate.steps)


def streamed(
    request: Request, lines: AsyncIterator[str], said: Callable[[ApiError], str]
) -> StreamingResponse:
    """Return a stream of lines; an error in the middle, after the status has gone out, ends it as `said`."""

    async def whole() -> AsyncIterator[str]:
        account = account_of(request)
        try:
            async for line in lines:
                yield line
        except Exception as error:
            if not isinstance(error, ApiError):
                fields = {"id": account.id, "path": request.url.path}
                LOGGER.error("fault", exc_info=error, extra={"fields": fields})
            refusal = error if isinstance(error, ApiError) else ApiError(500, FAULT)
            account.error = refusal.type
            yield said(refusal)

    return StreamingResponse(whole(), media_type="text/event-stream", headers=STREAM_HEADERS)


def _event(name: str, fields: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(fields, allow_nan=False)}\n\n"
