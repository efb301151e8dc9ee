"""The application: endpoints behind one gate, made from models and settings, without a socket.

    app = make_app(load_models(settings), settings)          # any ASGI server, or httpx.ASGITransport in a test

Contract: every answer that is an error has the form of `errors.py`, unknown paths and methods included.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, TypeAdapter

from sparring.errors import DataError
from sparring.json_files import distinct
from sparring.runs import versions
from sparring.serving.chat import chat_router
from sparring.serving.errors import RESPONSES, ApiError, from_validation
from sparring.serving.gate import Gate
from sparring.serving.metrics import Metrics
from sparring.serving.models import Models, Prm
from sparring.serving.pooling import pooling_router
from sparring.serving.rewards import reward_router
from sparring.serving.score import score_router
from sparring.serving.search import search_router
from sparring.serving.searches import Searches
from sparring.serving.settings import ServeSettings
from sparring.serving.waiting import account_of
from sparring.viewer.page import endpoints_page, inspector_page


class State(BaseModel):
    """Whether the server is well."""

    status: str
    reason: str | None = None


def make_app(
    models: Models,
    settings: ServeSettings,
    *,
    token: str | None = None,
    own_host: Callable[[str], bool] | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        token: that clients must send; None: all may ask.
        own_host: whether a `Host` header means this server, where others are refused.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        searches.close()
        await asyncio.to_thread(models.close, settings.shutdown_seconds)

    searches = Searches(models, settings)
    app = FastAPI(
        title="Sparring",
        version=versions().get("sparring", "0"),
        description="Scores of reasoning steps by process reward models, and searches with them.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
    )
    # The gate checks the token before any of this; here it is for the document, whose page then asks for one.
    guarded = [Depends(HTTPBearer(auto_error=False))] if token is not None else []
    asked = [*guarded, Depends(_refuse_repeated_keys)]
    app.include_router(score_router(models, settings), dependencies=asked)
    app.include_router(search_router(models, settings, searches), dependencies=asked)
    app.include_router(chat_router(models, settings, searches), dependencies=asked)
    app.include_router(pooling_router(models, settings), dependencies=asked)
    app.include_router(reward_router(models, settings), dependencies=asked)
    app.include_router(_models_router(models), dependencies=guarded)
    app.include_router(_health_router(models, settings))
    metrics = Metrics(models, searches)

    page = inspector_page([], live=True, token=token is not None)
    endpoints = endpoints_page()

    @app.get("/", tags=["page"], summary="The step inspector, live.", response_class=HTMLResponse)
    async def inspector() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/docs", include_in_schema=False)
    async def documented() -> HTMLResponse:
        return HTMLResponse(endpoints)

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Counts for Prometheus.",
        response_class=PlainTextResponse,
        dependencies=guarded,
    )
    async def counts() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(ApiError, _error_answer)
    app.add_exception_handler(RequestValidationError, _invalid_body)
    for status in (400, 404, 405):
        app.add_exception_handler(status, _no_endpoint)
    paths = {*app.openapi()["paths"], "/docs", "/openapi.json"}
    app.add_middleware(Gate, settings=settings, token=token, metrics=metrics, paths=paths, own_host=own_host)
    return app


async def _refuse_repeated_keys(request: Request) -> None:
    """Raise ApiError where a body gives a key twice: FastAPI reads bodies without asking, and the last would count."""
    with suppress(ValueError, RecursionError):  # what is no JSON is told by FastAPI
        try:
            json.loads(await request.body(), object_pairs_hook=distinct)
        except DataError as error:
            key = str(error.field)[:80].encode(errors="replace").decode()
            raise ApiError(422, f"{key}: {error.message}", field=key) from None


def _models_router(models: Models) -> APIRouter:
    router = APIRouter(tags=["models"])
    created = int(time.time())

    @router.get(
        "/v1/models",
        summary="Which models are served.",
        responses={status: RESPONSES[status] for status in (401, 421)},
    )
    async def listed() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [
                {"id": one.name, "object": "model", "created": created, "owned_by": "sparring"}
                | ({"max_model_len": one.described["max_tokens"]} if isinstance(one, Prm) else {})
                | {"sparring": one.described}
                for one in models.all
            ],
        }

    return router


def _health_router(models: Models, settings: ServeSettings) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process answers.")
    async def alive() -> State:
        return State(status="ok")

    @router.get(
        "/readyz",
        summary="Whether requests would be taken.",
        response_model=State,
        responses={503: {"model": State}},
    )
    async def ready() -> JSONResponse:
        for name, batcher in models.batchers.items():
            if batcher.closed:
                return JSONResponse({"status": "closing", "reason": "the server is going down"}, 503)
            if batcher.busy_seconds > settings.request_seconds:
                reason = f"{name} has been at one batch for {batcher.busy_seconds:.0f} s"
                return JSONResponse({"status": "stuck", "reason": reason}, 503)
        return JSONResponse({"status": "ok", "reason": None})

    return router


async def _error_answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    account_of(request).error = error.type
    return JSONResponse(error.body(), error.status, error.headers())


async def _invalid_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "")
    if account_of(request).body_bytes and "json" not in kind.lower():
        message = f"the content-type must be application/json{f', not {kind[:80]}' if kind else ''}"
        return await _error_answer(request, ApiError(422, message, field="content-type"))
    form = request.scope["route"].body_field.field_info.annotation
    return await _error_answer(request, from_validation(error.errors(), _fields(form)))


@functools.cache  # a schema takes milliseconds, in which nobody else is answered
def _fields(form: Any) -> frozenset[str]:
    """Return the names of all fields that a body of this type may have, at any depth."""
    schema = TypeAdapter(form).json_schema()
    parts = (schema, *schema.get("$defs", {}).values())
    return frozenset(name for part in parts for name in part.get("properties", ()))


async def _no_endpoint(request: Request, error: Exception) -> JSONResponse:
    """Answer what no endpoint has seen."""
    status, path = getattr(error, "status_code", 400), request.url.path[:80]
    answers = {
        400: ApiError(400, "the body cannot be read as JSON"),
        404: ApiError(404, f"there is no {path!r} here; /docs lists what there is"),
        405: ApiError(405, f"{path} does not take {request.method}"),
    }
    answer = await _error_answer(request, answers[status])
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
