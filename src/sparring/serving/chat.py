"""`POST /v1/chat/completions`: any OpenAI client gets answers that a PRM has chosen.

    OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="-").chat.completions.create(
        model="tiny-chain-policy:beam:8", messages=[{"role": "user", "content": "mod 13 : …"}])

`model` is a policy, with method and N behind it where the server's own shall not hold: `policy:method:n`. The body's
`sparring` (`extra_body` in OpenAI's client) says the same and more: `{"method", "n", "model", "budget"}`. The problem is
the text of the system and user messages. A conversation in which the assistant has spoken is refused: a PRM judges the
solution of a problem, not a conversation. The answer's `sparring` says what the search found and cost; `usage` counts what
the whole search wrote, all candidates included.

With `stream`, the chosen solution comes step by step once it is known; before that, comments keep the connection alive.
Refused, since they would change the answer and are not done: `n` above 1, tools, other formats than text, logprobs,
penalties, `top_p`. Ignored: fields that change nothing here, such as `user`, `store` or `metadata`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from sparring.errors import did_you_mean
from sparring.serving.errors import NOT_SUPPORTED, RESPONSES, ApiError, or_say
from sparring.serving.models import Models
from sparring.serving.search import MOST_TOKENS, SearchRequest, begun, followed, note, streamed, wish_of
from sparring.serving.searches import Event, Job, Outcome, Searches, Wish, summary
from sparring.serving.settings import SearchMethod, ServeSettings
from sparring.serving.waiting import awaited

_Stop = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class TextPart(_Part):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """A message; only its text is read."""

    role: Literal["system", "developer", "user"]
    content: Annotated[
        str | Annotated[list[TextPart], Field(min_length=1)],
        or_say(
            "a text or parts of type 'text' are expected; images and others are not supported by sparring serve"
        ),
    ]


class StreamOptions(_Part):
    """How a stream ends."""

    include_usage: bool | None = None


class TextFormat(_Part):
    """The only format that there is."""

    type: Literal["text"]


class SearchOptions(BaseModel):
    """What OpenAI's fields have no word for."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    method: SearchMethod | None = None
    n: int | None = Field(None, ge=1)
    """Of the method."""
    model: str | None = None
    """The PRM."""
    budget: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """Tokens that the policy may write."""


class ChatRequest(_Part):
    """What OpenAI's clients send."""

    model: str | None = None
    """`policy`, `policy:method` or `policy:method:n`."""
    messages: list[Message] = Field(min_length=1)
    sparring: SearchOptions = SearchOptions()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=10)
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    """Of a whole solution (`best_of_n` and votes), else of one step."""
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    n: Annotated[Literal[1] | None, NOT_SUPPORTED] = None
    top_p: Annotated[float | None, Field(ge=1, le=1), NOT_SUPPORTED] = None
    presence_penalty: Annotated[float | None, Field(ge=0, le=0), NOT_SUPPORTED] = None
    frequency_penalty: Annotated[float | None, Field(ge=0, le=0), NOT_SUPPORTED] = None
    logprobs: Annotated[Literal[False] | None, NOT_SUPPORTED] = None
    response_format: Annotated[TextFormat | None, NOT_SUPPORTED] = None
    tools: Annotated[Annotated[list[Any], Field(max_length=0)] | None, NOT_SUPPORTED] = None
    functions: Annotated[Annotated[list[Any], Field(max_length=0)] | None, NOT_SUPPORTED] = None


def chat_router(models: Models, settings: ServeSettings, searches: Searches) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["search"])

    @router.post(
        "/v1/chat/completions",
        responses={
            **RESPONSES,
            200: {
                "description": "OpenAI's chat completion, or its chunks.",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
        },
        summary="Answers chosen by a PRM, for OpenAI's clients.",
        response_model=None,
    )
    async def chat(request: Request, body: ChatRequest) -> JSONResponse | StreamingResponse:
        wish = _wish(request, body, models, settings)
        await asyncio.to_thread(wish.check)
        job, events = begun(searches, wish)
        head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": _name(wish)}
        if body.stream:
            chunks = _chunks(request, body, job, events, head, settings)
            return streamed(request, chunks, lambda error: _data(error.body()))
        try:
            outcome = await awaited(request, job.future, settings.search_seconds)
        finally:
            job.stop()
        note(request, outcome)
        if outcome.candidate is None:
            raise nothing(outcome)
        message = {"role": "assistant", "content": settings.separator.join(outcome.candidate.steps)}
        choice = {"index": 0, "message": message, "finish_reason": _reason(outcome), "logprobs": None}
        answer = {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(outcome)}
        return JSONResponse({**answer, "sparring": summary(wish, outcome)})

    return router


def nothing(outcome: Outcome) -> ApiError:
    """Return the error of a search without a solution."""
    return ApiError(
        500,
        f"no solution was found: {dict(outcome.found.counts) or 'the budget was spent'}",
        type="search_failed",
    )


def _wish(request: Request, body: ChatRequest, models: Models, settings: ServeSettings) -> Wish:
    texts = [
        one.content if isinstance(one.content, str) else "".join(part.text for part in one.content)
        for one in body.messages
    ]
    problem = "\n\n".join(text.strip() for text in texts if text.strip())
    if not problem or body.messages[-1].role != "user":
        raise ApiError(422, "the last message is the user's, and not empty", field="messages")
    policy, method, n = _model(body.model)
    tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    search = SearchRequest(
        problem=problem,
        model=body.sparring.model,
        policy=policy,
        method=body.sparring.method or method,
        n=body.sparring.n or n,
        budget=body.sparring.budget,
        seed=body.seed,
        max_new_tokens=tokens,
        temperature=body.temperature,
    )
    stop = (body.stop,) if isinstance(body.stop, str) else None if body.stop is None else tuple(body.stop)
    return wish_of(request, models, settings, search, policy_field="model", stop=stop)


def _model(name: str | None) -> tuple[str | None, SearchMethod | None, int | None]:
    """Return policy, method and N of a model's name.

    Raises:
        ApiError: no such method, or N is no number.
    """
    if name is None:
        return None, None, None
    policy, _, rest = name.partition(":")
    method, colon, n = rest.partition(":")
    methods = get_args(SearchMethod)
    if method and method not in methods:
        raise ApiError(404, f"no method {method[:40]!r}{did_you_mean(method[:40], methods)}", field="model")
    if colon and not (n.isascii() and n.isdigit() and int(n[:9]) > 0 and len(n) <= 9):
        raise ApiError(404, f"{n[:40]!r} is no number of solutions", field="model")
    return policy, method or None, int(n) if colon else None  # type: ignore[return-value]


def _name(wish: Wish) -> str:
    return f"{wish.policy.name}:{wish.method}:{wish.n}"


def _reason(outcome: Outcome) -> str:
    return "stop" if outcome.candidate is not None and outcome.candidate.finished else "length"


def _usage(outcome: Outcome) -> dict[str, int]:
    spent = outcome.found.spent
    prompt, completion = spent.tokens_prefilled or 0, spent.tokens_generated or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


async def _chunks(
    request: Request,
    body: ChatRequest,
    job: Job,
    events: asyncio.Queue[Event | None],
    head: dict[str, Any],
    settings: ServeSettings,
) -> AsyncIterator[str]:
    """Yield OpenAI's chunks: the chosen solution step by step, once it is known."""

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _data({**head, "object": "chat.completion.chunk", "choices": [choice], **more})

    usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    async for event in followed(request, job, events, settings.search_seconds):
        if event is None:
            yield ": searching\n\n"
    outcome = job.future.result()
    if outcome.candidate is None:
        raise nothing(outcome)
    yield chunk({"role": "assistant", "content": ""})
    for index, step in enumerate(outcome.candidate.steps):
        yield chunk({"content": step if index == 0 else settings.separator + step})
    yield chunk({}, _reason(outcome), sparring=summary(job.wish, outcome))
    if usage:
        yield _data({**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(outcome)})
    yield "data: [DONE]\n\n"


def _data(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields, allow_nan=False)}\n\n"
