"""What holds for every request before an endpoint sees it: host, token, bounds of body and time, log line, form of errors.

Contract: the body is read whole here, within `max_body_bytes` and `body_seconds`, so that no endpoint waits for a slow
client while it holds anything. Tokens are compared in constant time. An error that nobody foresaw becomes a 500 without
its text, which stands in the log.

Not here: limits in items, steps and tokens, which need the body's meaning (`score.py`).
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparring.serving.errors import FAULT, TYPES, ApiError
from sparring.serving.logs import LOGGER, log
from sparring.serving.metrics import Metrics
from sparring.serving.settings import ServeSettings

_PROCESS, _numbers = secrets.token_hex(4), itertools.count(1)
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked again and again, so not logged."""
OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
"""Answered without a token: what machines ask, and the pages, on which one can be typed."""
DRAINED = 8
"""A body that is too large is read on for so many times the limit, so that the client gets to read why."""


@dataclass(slots=True)
class Account:
    """What one request has cost; endpoints write it, log and metrics read it."""

    id: str
    started: float = field(default_factory=time.monotonic)
    body_bytes: int = 0
    status: int = 0
    model: str | None = None
    items: int | None = None
    steps: int | None = None
    tokens: int | None = None
    error: str | None = None
    complete: bool = False


class Gate:
    """ASGI middleware around the whole application.

    Args:
        token: that clients must send; None: all may ask.
        paths: that are counted by their names; others together.
        own_host: whether a `Host` header means this server; None: it is not asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        token: str | None,
        metrics: Metrics,
        paths: Iterable[str],
        own_host: Callable[[str], bool] | None,
    ) -> None:
        self.app, self.settings, self.metrics, self.own_host = app, settings, metrics, own_host
        self.token = None if token is None else token.encode()
        self.at_work = 0
        self.paths = frozenset(paths)
        metrics.at_work.set_function(lambda: self.at_work)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        account = Account(_request_id(scope))
        scope["account"] = account
        self.at_work += 1

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                account.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", account.id.encode())]
            await send(message)
            account.complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            self._admit(scope)
            body = await self._body(receive, account)
            await self.app(scope, _again(body, receive), sending)
            if not account.complete:  # a stream to which nobody listens is ended without an error
                account.status, account.error = 499, TYPES[499]
        except ApiError as error:
            if not account.status:
                await _answer(error, account, scope, receive, sending)
        except Exception as error:
            LOGGER.error("fault", exc_info=error, extra={"fields": {"id": account.id, "path": scope["path"]}})
            if account.status:
                raise  # in the middle of an answer: uvicorn cuts the connection, which the client sees
            await _answer(ApiError(500, FAULT), account, scope, receive, sending)
        finally:
            self.at_work -= 1
            self._close(scope, account)

    def _admit(self, scope: Scope) -> None:
        path = scope["path"]
        if self.own_host is not None and not self.own_host(
            dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        ):
            raise ApiError(
                421,
                "the Host header is no loopback name: without a token ask at localhost or 127.0.0.1, or start the "
                "server with token_variable or allow_open=true",
                field="host",
            )
        if self.token is not None and path not in OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"")
            kind, _, token = given.partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.token):
                raise ApiError(401, "a bearer token is needed: Authorization: Bearer …")
        if self.at_work > self.settings.max_requests and scope["method"] == "POST":
            raise ApiError(429, "too many requests are at work", retry_after=1)

    async def _body(self, receive: Receive, account: Account) -> bytes:
        limit, total, parts = self.settings.max_body_bytes, 0, []
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ApiError(499, "the client left")
                    part = message.get("body", b"")
                    total += len(part)
                    if total <= limit:
                        parts.append(part)
                    if not message.get("more_body", False) or total > DRAINED * limit:
                        break
        except TimeoutError:
            raise ApiError(408, f"the body did not come within {self.settings.body_seconds:g} s") from None
        finally:
            account.body_bytes = total
        if total > limit:
            raise ApiError(413, f"the body is larger than {limit} bytes (max_body_bytes)")
        return b"".join(parts)

    def _close(self, scope: Scope, account: Account) -> None:
        seconds = time.monotonic() - account.started
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.finished(path, account.status or 499, seconds)
        quiet = path in QUIET and account.status < 500
        log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            id=account.id,
            method=scope["method"],
            path=scope["path"][:200],
            status=account.status or 499,
            seconds=round(seconds, 6),
            body_bytes=account.body_bytes,
            model=account.model,
            items=account.items,
            steps=account.steps,
            tokens=account.tokens,
            error=account.error,
        )


async def _answer(error: ApiError, account: Account, scope: Scope, receive: Receive, send: Send) -> None:
    account.error = error.type
    await JSONResponse(error.body(), error.status, error.headers())(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, then what comes."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def _request_id(scope: Scope) -> str:
    given: Any = dict(scope["headers"]).get(b"x-request-id", b"")
    text = given.decode("latin-1")
    return text if re.fullmatch(r"[\w.:-]{1,64}", text, re.ASCII) else f"{_PROCESS}-{next(_numbers)}"
