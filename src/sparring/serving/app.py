"""The application: endpoints behind one gate, made from models and settings, without a socket.

    app = make_app(load_models(settings), settings)          # any ASGI server, or httpx.ASGITransport in a test

Contract: every answer that is an error has the form of `errors.py`, unknown paths and methods included.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from sparring.runs import versions
from sparring.serving.chat import chat_router
from sparring.serving.errors import RESPONSES, ApiError, from_validation
from sparring.serving.gate import Gate
from sparring.serving.metrics import TEXT, Metrics
from sparring.serving.models import Models
from sparring.serving.pooling import pooling_router
from sparring.serving.rewards import reward_router
from sparring.serving.score import score_router
from sparring.serving.search import search_router
from sparring.serving.searches import Searches
from sparring.serving.settings import ServeSettings
from sparring.serving.waiting import account_of, in_thread
from sparring.viewer.page import endpoints_page, inspector_page

DESCRIPTION = "Scores of reasoning steps by process reward models, and searches with them."


class State(BaseModel):
    """Whether the server is well."""

    status: str
    reason: str | None = None


def make_app(models: Models, settings: ServeSettings, *, token: str | None = None) -> FastAPI:
    """Return the application.

    Args:
        models: that it serves; closed with it.
        settings: its limits.
        token: that clients must send; None: all may ask.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        searches.close()
        await in_thread(lambda: models.close(settings.shutdown_seconds))

    searches = Searches(models, settings)
    app = FastAPI(
        title="Sparring",
        version=versions().get("sparring", "0"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
    )
    # The gate checks the token before any of this; here it is for the document, whose page then asks for one.
    guarded = [Depends(HTTPBearer(auto_error=False))] if token is not None else []
    app.include_router(score_router(models, settings), dependencies=guarded)
    app.include_router(search_router(models, settings, searches), dependencies=guarded)
    app.include_router(chat_router(models, settings, searches), dependencies=guarded)
    app.include_router(pooling_router(models, settings), dependencies=guarded)
    app.include_router(reward_router(models, settings), dependencies=guarded)
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
        return Response(metrics.text(), media_type=TEXT)

    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(RequestValidationError, _refused)
    for status in (400, 404, 405):
        app.add_exception_handler(status, _not_reached)
    paths = {*app.openapi()["paths"], "/docs", "/openapi.json"}
    app.add_middleware(Gate, settings=settings, token=token, metrics=metrics, paths=paths)
    return app


def _models_router(models: Models) -> APIRouter:
    router = APIRouter(tags=["models"])
    created = int(time.time())

    @router.get("/v1/models", summary="Which models are served.", responses={401: RESPONSES[401]})
    async def listed() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": created,
                    "owned_by": "sparring",
                    "max_model_len": prm.described["max_tokens"],
                    "sparring": prm.described,
                }
                for name, prm in models.prms.items()
            ]
            + [
                {
                    "id": name,
                    "object": "model",
                    "created": created,
                    "owned_by": "sparring",
                    "sparring": policy.described,
                }
                for name, policy in models.policies.items()
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


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    account_of(request).error = error.type
    return JSONResponse(error.body(), error.status, error.headers())


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    kind = request.headers.get("content-type", "")
    if account_of(request).body_bytes and "json" not in kind.lower():
        message = f"the content-type must be application/json{f', not {kind[:80]}' if kind else ''}"
        return await _told(request, ApiError(422, message, field="content-type"))
    known = _fields(request.app.openapi(), request.url.path)
    return await _told(request, from_validation(error.errors(), known))


def _fields(document: dict[str, Any], path: str) -> set[str]:
    """Return the names of all fields that a path's body may have, at any depth."""
    schemas = document.get("components", {}).get("schemas", {})
    waiting: list[Any] = [document["paths"].get(path, {}).get("post", {}).get("requestBody")]
    found, seen = set[str](), set[str]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            found |= set(one.get("properties", ()))
            waiting += one.values()
            name = str(one.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in seen:
                seen.add(name)
                waiting.append(schemas[name])
    return found


async def _not_reached(request: Request, error: Exception) -> JSONResponse:
    """Answer what no endpoint has seen."""
    status, path = getattr(error, "status_code", 400), request.url.path[:80]
    told = {
        400: ApiError(400, "the body cannot be read as JSON"),
        404: ApiError(404, f"there is no {path!r} here; /docs lists what there is"),
        405: ApiError(405, f"{path} does not take {request.method}"),
    }
    answer = await _told(request, told[status])
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
