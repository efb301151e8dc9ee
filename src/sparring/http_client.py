"""Asking HTTP servers for JSON: many requests in flight, tries again where that may help, untrusted answers.

Contract: never more than `concurrency` requests are in flight. What may pass (a lost connection, a time-out, status 408,
425, 429 or 5xx, an answer that its reader cannot use) is tried again with exponential back-off, and `Retry-After` is
respected; after `retries` further tries the call fails with a ServerError that names the last reason. The first wait for
a server that fails, and the first for one that is busy, are logged as warnings. A token is never part of an error. A
request that the server refuses as such (400, 413, 422) is a RefusedError at once. An answer's size is bounded, and the
time-out also bounds one that trickles in. Nothing is kept between calls, so that a job is resumable where its caller
journals.

Not here: addresses (`addresses.py`), what is asked and how answers are read (`rollouts/server.py`, `scorers/`,
`judging/`), streaming.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import logging
import math
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import httpx

from sparring.addresses import TOKEN_VARIABLE, Address, checked_token, whole_option
from sparring.errors import SettingsError, SparringError

T = TypeVar("T")
_logger = logging.getLogger(__name__)
MOST_BYTES = 16_000_000
"""Longest answer that is read."""
FIRST_RETRIES = 2
"""Further tries of the first request unless the address says `retries`: a server that is not there is found out soon."""
BUSY = 200
"""Further tries for a server that says that it is busy, and when to come again."""
_PASSING = frozenset((408, 425, 429))
_REFUSED = frozenset((400, 413, 422))


class ServerError(SparringError):
    """A server cannot be used at all: it is gone, refuses everybody, or answers nothing usable after all retries.

    Attributes:
        status: of its answer, where one status ended it.
    """

    status: int | None = None


class RefusedError(SparringError):
    """A server refuses a request as such (400, 413 or 422); asking again would not help.

    Attributes:
        reason: status and the answer, shortened.
        message: what the answer says, in the forms of the servers that are known, else the reason.
        field: that it names.
    """

    def __init__(self, status: int, content: bytes) -> None:
        message, self.field = _message_and_field(content)
        self.reason = f"status {status}: {message or excerpt(content)}"
        self.message = message or self.reason
        super().__init__(self.reason)


class UnusableError(Exception):
    """An answer that cannot be used; raised by whoever reads it, and then the request is tried again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, and how often to try again.

    Attributes:
        timeout: for one answer; connecting takes at most a tenth of it.
        retries: further tries after the first.
        first_wait: before the first further try; doubled each time, with up to half of it taken off at random.
        longest_wait: bound on any wait, also on what `Retry-After` asks for.
        busy: further tries that a server is owed which is only busy (429 or 503 with `Retry-After`).
    """

    timeout: float = 300.0
    retries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    busy: int = 0


class HttpClient:
    """Asks one server.

    Args:
        url: its address, to which paths are added; begins with http:// or https://.
        concurrency: requests in flight.

    Attributes:
        advice: what to say besides of an error, by its status.
        tries: requests sent, retries included.
        lost: how often a connection or an answer was lost: what answers next may be another process.
    """

    def __init__(
        self, url: str, *, concurrency: int = 32, patience: Patience | None = None, token: str | None = None
    ) -> None:
        try:
            named = url.startswith(("http://", "https://")) and bool(httpx.URL(url).host)
        except httpx.InvalidURL:
            named = False
        if not named:
            raise SettingsError(
                f"a server's address begins with http:// or https://, a host follows, got {url!r}"
            )
        if concurrency < 1:
            raise SettingsError(f"concurrency must be at least 1, got {concurrency}")
        self.url, self.concurrency, self.patience = url.rstrip("/"), concurrency, patience or Patience()
        self.first_retries = self.patience.retries
        self.advice: dict[int, str] = {}
        self.tries = self.lost = 0
        self._told: set[str] = set()
        self._token = token or ""
        self._headers = {"Authorization": f"Bearer {checked_token(token)}"} if token else {}

    @classmethod
    def at(cls, address: Address, token: str | None, *, concurrency: int, timeout: int) -> HttpClient:
        """Return the client of an address, whose options `concurrency`, `timeout` and `retries` go before these."""
        options = address.options
        patience = Patience(
            timeout=whole_option(options, "timeout", timeout),
            retries=whole_option(options, "retries", 6, least=0),
            busy=BUSY,
        )
        concurrency = whole_option(options, "concurrency", concurrency)
        client = cls(address.url, concurrency=concurrency, patience=patience, token=token)
        client.first_retries = whole_option(options, "retries", FIRST_RETRIES, least=0)
        client.advice = dict.fromkeys((401, 403), f"; the token is taken from {TOKEN_VARIABLE}")
        return client

    def waiting(self, reason: str, *, busy: bool = False) -> None:
        """Say that the server is waited for: once because it fails, once because it is busy."""
        said = "the server at %s is busy (%s); waiting" if busy else "waiting for the server at %s (%s)"
        if said not in self._told:
            self._told.add(said)
            _logger.warning(said, self.url, reason)

    def without_token(self, text: str) -> str:
        """Return an error's text without the token, which some servers quote."""
        return text.replace(self._token, "***") if self._token else text

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Connections for a number of requests."""
        wait = self.patience.timeout
        timeout = httpx.Timeout(wait, connect=max(1.0, wait / 10), pool=None)
        pool = httpx.Limits(max_connections=self.concurrency)
        headers = {"Accept-Encoding": "identity", **self._headers}
        async with httpx.AsyncClient(
            timeout=timeout, limits=pool, headers=headers, verify=_certificates()
        ) as http:
            yield Session(self, http, asyncio.Semaphore(self.concurrency))

    def get(self, path: str) -> Any:
        """Return the JSON of a small answer.

        Raises:
            ServerError: there is none.
        """

        async def ask() -> Any:
            async with self.session() as session:
                return await session.ask(path, None, json_answer, retries=self.first_retries)

        try:
            return waited(ask())
        except RefusedError as error:
            raise ServerError(f"the server at {self.url} answered with {error.reason}") from None

    def models(self) -> list[Mapping[str, Any]]:
        """Return the entries of `/v1/models` (OpenAI's list), which have an id each.

        Raises:
            ServerError: the answer is something else.
        """
        answer = self.get("/v1/models")
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise ServerError(f"the server at {self.url} lists no models: /v1/models has no list 'data'")
        for index, entry in enumerate(data):
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
                raise ServerError(f"the server at {self.url}: /v1/models: data[{index}].id: expected a text")
        return data

    def chosen(self, entries: Sequence[Mapping[str, Any]], wanted: str | None) -> Mapping[str, Any]:
        """Return the entry of the model that is wanted, or the only one.

        Raises:
            SettingsError: it is not there, or there are several and none is wanted.
        """
        names = [str(entry["id"]) for entry in entries]
        if wanted is None and len(names) != 1:
            raise SettingsError(
                f"the server at {self.url} has {len(names)} models to score with; choose one by ?model=: "
                f"{', '.join(names[:10]) or 'there is none'}"
            )
        for entry in entries:
            if wanted in (None, entry["id"]):
                return entry
        raise SettingsError(
            f"the server at {self.url} has no model {wanted!r} to score with: {', '.join(names[:10])}"
        )


@dataclass(frozen=True, slots=True)
class Session:
    """Open connections to a client's server; `HttpClient.session` makes it."""

    client: HttpClient
    http: httpx.AsyncClient
    gate: asyncio.Semaphore

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[bytes], T],
        *,
        retries: int | None = None,
    ) -> T:
        """Return what `read` makes of the answer, trying again where that may help; without a body it is a GET.

        Raises:
            RefusedError: the server refuses the request.
            ServerError: it answers with another status that will not pass, or with nothing usable after all tries.
        """
        client, patience, reason = self.client, self.client.patience, ""
        retries = patience.retries if retries is None else retries
        failed = busy = 0  # a busy server's tries are not failures
        async with self.gate:
            while True:
                wait: float | None = None
                only_busy = False
                client.tries += 1
                try:
                    status, headers, content = await self._exchange(path, body)
                    if status == 200:
                        return read(content)
                    content = client.without_token(content.decode("utf-8", errors="replace")).encode()
                    if status in _REFUSED:
                        raise RefusedError(status, content)
                    reason = f"status {status}: {_message_and_field(content)[0] or excerpt(content)}"
                    if status not in _PASSING and status < 500:
                        advice = client.advice.get(status, "")
                        failure = ServerError(f"the server at {client.url} answered with {reason}{advice}")
                        failure.status = status
                        raise failure
                    wait = _retry_after(headers.get("retry-after"))
                    only_busy = wait is not None and status in (429, 503) and busy < patience.busy
                except UnusableError as error:
                    reason = client.without_token(f"an answer that cannot be used: {error}")
                except httpx.TimeoutException:
                    reason = f"no answer within {patience.timeout:g} s"
                    client.lost += 1
                except httpx.LocalProtocolError:  # its text may hold a header, and so the token
                    reason = "the request is no valid HTTP"
                    client.lost += 1
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    reason = f"{type(error).__name__}: {error}"
                    client.lost += 1
                if only_busy:
                    busy += 1
                else:
                    failed += 1
                if failed > retries:
                    tries = "one try" if failed + busy == 1 else f"{failed + busy} tries"
                    raise ServerError(
                        f"the server at {client.url} gave nothing usable in {tries}; the last: {reason}"
                    )
                client.waiting(reason, busy=only_busy)
                backoff = patience.first_wait * 2 ** max(0, failed - 1) * random.uniform(0.5, 1.0)
                await asyncio.sleep(min(patience.longest_wait, backoff if wait is None else wait))

    async def _exchange(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, httpx.Headers, bytes]:
        """Return status, headers and body of one answer; the time-out also bounds one that trickles in.

        Nothing is unpacked: a few kilobytes could become gigabytes before their size is known.
        """
        received = bytearray()
        method = "GET" if body is None else "POST"
        async with asyncio.timeout(self.client.patience.timeout) as bound:
            try:
                async with self.http.stream(method, self.client.url + path, json=body) as response:
                    if (packed := response.headers.get("content-encoding", "identity")) != "identity":
                        if response.status_code == 200:
                            raise UnusableError(f"packed ({packed[:40]}), which was not asked for")
                        return response.status_code, response.headers, b""
                    async for chunk in response.aiter_raw():
                        received += chunk
                        if len(received) > MOST_BYTES:
                            raise UnusableError(f"longer than {MOST_BYTES} bytes")
                    return response.status_code, response.headers, bytes(received)
            except asyncio.CancelledError:
                if bound.expired():
                    raise httpx.ReadTimeout("too slow") from None
                raise


async def gather(works: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order; after one failure the others are stopped, since their answers are of no use."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def waited(work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result, also where it is called from a notebook, whose loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def field_of(value: Any, key: str, kind: type | tuple[type, ...], place: str = "") -> Any:
    """Return a field of an answer.

    Raises:
        UnusableError: there is none of this type; names it.
    """
    name = f"{place}.{key}" if place else key
    if not isinstance(value, dict) or key not in value:
        raise UnusableError(f"{name} is missing")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise UnusableError(f"{name}: expected {wanted}, got {type(found).__name__}")
    return found


def json_answer(content: bytes) -> Any:
    """Return an answer that is JSON, with texts that are valid Unicode: they go into requests, records and pages.

    Raises:
        UnusableError: it is not.
    """
    try:
        answer = json.loads(content.decode("utf-8-sig"))
        if b"\\u" in content:  # only an escape can make half of a surrogate pair
            json.dumps(answer, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnusableError(f"half of a surrogate pair in it ({excerpt(content)})") from error
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"not JSON ({excerpt(content)})") from error
    return answer


def _message_and_field(content: bytes) -> tuple[str | None, str | None]:
    """Return message and field of an error in the forms of OpenAI's servers and ours."""
    try:
        answer = json_answer(content)
    except UnusableError:
        return None, None
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str) or not isinstance(error, dict):
        return None, None
    field = error.get("field") or error.get("param")
    shown = "".join(character if character.isprintable() else " " for character in message)
    return " ".join(shown.split())[:300] or None, field if isinstance(field, str) else None


def excerpt(content: bytes) -> str:
    """Return the beginning of an answer, for a message."""
    text = " ".join(content[:2000].decode("utf-8", errors="replace").split())
    return repr(text if len(text) <= 200 else text[:197] + "...") if text else "an empty answer"


@cache
def _certificates() -> ssl.SSLContext:
    """The certificates to trust, read once: that takes as long as hundreds of requests."""
    return httpx.create_ssl_context()


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for: a number, or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = (date - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
