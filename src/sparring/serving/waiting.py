"""Waiting for a model or a search on behalf of a client that may leave, with errors that HTTP can say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import Request

from sparring.serving.batcher import Batcher, BatcherError
from sparring.serving.errors import ApiError, from_batcher_error
from sparring.serving.gate import Account

T = TypeVar("T")


def account_of(request: Request) -> Account:
    """Return where a request's costs are written."""
    account: Account = request.scope["account"]
    return account


async def computed(
    request: Request, batcher: Batcher, kind: str, works: Sequence[Any], tokens: Sequence[int], seconds: float
) -> list[Any]:
    """Return the results of works, computed in batches with those of other requests.

    Args:
        request: whose client may leave, which cancels what is still waiting.
        seconds: since the request began, after which it is given up.

    Raises:
        ApiError: 429 the queue is full, 500 the model failed, 503 the worker was lost, and as `awaited`.
    """
    try:
        ticket = batcher.submit(kind, works, tokens, account_of(request).started + seconds)
        return await awaited(request, ticket.future, seconds)
    except BatcherError as error:
        raise from_batcher_error(error) from None


async def awaited(request: Request, future: Future[T], seconds: float) -> T:
    """Return what a future ends with; it is cancelled when nobody waits for it any more.

    Args:
        request: whose client may leave.
        seconds: since the request began, after which it is given up.

    Raises:
        ApiError: 504 time is up, 499 the client left.
    """
    work: asyncio.Future[T] = asyncio.wrap_future(future)
    left: asyncio.Future[Any] = asyncio.ensure_future(_left(request))
    both: list[asyncio.Future[Any]] = [work, left]
    remaining = account_of(request).started + seconds - time.monotonic()
    try:
        await asyncio.wait(both, timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if left.done():
            raise ApiError(499, "the client left")
        raise ApiError(504, f"not done within {seconds:g} s")
    finally:
        work.cancel()
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left


async def _left(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
