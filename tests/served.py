"""A served PRM for tests: an application without a socket, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from sparring.serving.app import make_app
from sparring.serving.models import Models, load_models
from sparring.serving.settings import ServeSettings

T = TypeVar("T")
QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
STEPS = ["c = b + 5 = 7 + 5 , c is 12", "d = c * b = 12 * 7 , d is 6"]


class Served:
    """An application and its models.

    Args:
        prm: folder.
        token: that clients must send.
        own_host: as of `make_app`.
        settings: others than the defaults.
    """

    def __init__(
        self,
        prm: Path,
        token: str | None = None,
        own_host: Callable[[str], bool] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = ServeSettings(prm=str(prm), device="cpu", **settings)
        self.models: Models = load_models(self.settings)
        self.app = make_app(self.models, self.settings, token=token, own_host=own_host)

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://served",
            **options,
        )

    def run(self, talk: Callable[[httpx.AsyncClient], Awaitable[T]], **options: Any) -> T:
        """Return what a conversation with the application returns."""

        async def talking() -> T:
            async with self.client(**options) as client:
                return await asyncio.wait_for(talk(client), 60)

        return asyncio.run(talking())

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        async def talk(client: httpx.AsyncClient) -> httpx.Response:
            return await client.post(path, **({"json": body} if body is not None else {}), **options)

        return self.run(talk)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.run(lambda client: client.get(path, **options))
