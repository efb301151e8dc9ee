"""What clients and workers do wrong: leaving, dawdling, crowding, dying; nobody else notices, and everybody is answered."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from served import QUESTION, STEPS, Served
from sparring.models import TINY_POLICY
from sparring.serving.models import SCORES

ONE = {"problem": QUESTION, "steps": STEPS}


class Connection:
    """A client of an ASGI application that sends what it wants when it wants."""

    def __init__(self, app: Any, path: str = "/v1/score") -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], "client": ("x", 1), "server": ("x", 1),
        }  # fmt: skip

        async def send(message: Any) -> None:
            self.sent.append(dict(message))

        self.task = asyncio.ensure_future(app(scope, self.coming.get, send))

    def say(self, body: bytes, *, more: bool = False) -> None:
        self.coming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        for _ in range(3):  # every listener hears it
            self.coming.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sent[1]["body"])["error"]
        return found


@pytest.fixture
def gated(tiny_prm: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Served, threading.Event, list[int]]:
    """A server whose model waits at a gate, and the sizes of the batches that it computed."""
    served = Served(tiny_prm, body_seconds=0.2, max_requests=2, policy=TINY_POLICY, max_new_tokens=8, n=1)
    batcher = served.models.prm(None).batcher
    compute, gate, sizes = batcher.compute[SCORES], threading.Event(), list[int]()

    def slow(rows: Any) -> Any:
        gate.wait(30)
        sizes.append(len(rows))
        return compute(rows)

    monkeypatch.setitem(batcher.compute, SCORES, slow)
    return served, gate, sizes


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_what_a_client_that_left_asked_for_is_not_computed(gated):
    served, gate, sizes = gated
    batcher = served.models.prm(None).batcher

    async def talk() -> None:
        first = Connection(served.app)
        first.say(json.dumps(ONE).encode())
        await until(lambda: batcher.busy_seconds)
        second = Connection(served.app)
        second.say(json.dumps({"items": [ONE] * 5}).encode())
        waiting = batcher.waiting_tokens
        await until(lambda: batcher.waiting_tokens > waiting)
        second.leave()
        await second.task
        assert second.status == 499
        gate.set()
        await first.task
        assert first.status == 200

    asyncio.run(talk())
    batcher.close()
    assert sizes == [1]


def test_a_client_that_left_a_stream_and_a_body_that_is_too_large_are_logged_and_counted_as_such(
    gated, monkeypatch
):
    served, gate, _ = gated
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("sparring.serving.gate.log", lambda level, event, **fields: lines.append(fields))

    async def talk() -> None:
        one = Connection(served.app, "/v1/search")
        one.say(json.dumps({"problem": QUESTION, "method": "best_of_n", "n": 1}).encode())
        await until(lambda: one.sent)
        assert one.status == 200
        one.leave()
        await one.task

    asyncio.run(talk())
    gate.set()
    assert (lines[-1]["status"], lines[-1]["error"]) == (499, "client_left")
    large = served.post("/v1/score", content=b" " * (served.settings.max_body_bytes + 1))
    assert large.status_code == 413
    text = served.get("/metrics").text
    assert 'sparring_requests_total{path="/v1/search",status="499"} 1.0' in text
    assert 'sparring_requests_total{path="/v1/score",status="413"} 1.0' in text


def test_a_body_that_dawdles_is_given_up(gated):
    served, _, _ = gated

    async def talk() -> Connection:
        slow = Connection(served.app)
        slow.say(b'{"problem"', more=True)
        await slow.task
        gone = Connection(served.app)
        gone.say(b"{", more=True)
        gone.leave()
        await gone.task
        assert gone.status == 499
        return slow

    slow = asyncio.run(talk())
    assert slow.status == 408 and slow.error["type"] == "timeout"


def test_more_requests_than_may_be_at_work_are_told_to_come_again(gated):
    served, gate, _ = gated

    async def talk() -> None:
        working = [Connection(served.app) for _ in range(2)]
        for one in working:
            one.say(json.dumps(ONE).encode())
        await asyncio.sleep(0)
        third = Connection(served.app)
        await third.task
        assert third.status == 429 and dict(third.sent[0]["headers"])[b"retry-after"] == b"1"
        gate.set()
        await asyncio.gather(*(one.task for one in working))
        assert [one.status for one in working] == [200, 200]

    asyncio.run(talk())


def test_a_worker_that_is_lost_costs_a_503_and_no_more(gated, monkeypatch):
    served, gate, _ = gated
    gate.set()
    batcher = served.models.prm(None).batcher
    usual = batcher.compute[SCORES]

    def dies(rows: Any) -> Any:
        monkeypatch.setitem(batcher.compute, SCORES, usual)
        raise SystemExit("lost")

    monkeypatch.setitem(batcher.compute, SCORES, dies)
    lost = served.post("/v1/score", ONE)
    assert lost.status_code == 503 and lost.headers["retry-after"] == "1"
    assert served.post("/v1/score", ONE).status_code == 200
    assert 'sparring_worker_restarts_total{model="prm"} 1.0' in served.get("/metrics").text


def test_a_search_stops_when_its_client_leaves(gated):
    served, _, _ = gated
    policy = served.models.policy(None)
    gate, entered, calls = threading.Event(), threading.Event(), list[int]()
    sample = policy.engine.sample

    def slow(*words: Any, **named: Any) -> Any:
        calls.append(1)
        entered.set()
        gate.wait(30)
        return sample(*words, **named)

    policy.engine.sample = slow

    async def talk() -> None:
        one = Connection(served.app, "/v1/search")
        one.say(json.dumps({"problem": QUESTION, "method": "beam", "n": 2}).encode())
        await until(entered.is_set)
        one.leave()
        await one.task
        gate.set()

    asyncio.run(talk())
    policy.batcher.close()
    assert len(calls) == 1


def test_a_fault_of_an_endpoint_is_a_500_without_its_words(gated, monkeypatch):
    served, _, _ = gated

    def broken(name: object) -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr(type(served.models), "prm", lambda self, name: broken(name))
    response = served.post("/v1/score", ONE)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error" and "secret" not in response.text
