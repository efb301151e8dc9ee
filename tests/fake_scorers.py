"""Servers that score, for tests: each answers and refuses as the real one does, after first misbehaving as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", dict[str, Any]], None]


class FakeScorer(ThreadingHTTPServer):
    """Remembers what it was asked; `faults` are used up first, one per POST."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers_seen: list[Any] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.token: str | None = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def models(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and answer."""
        raise NotImplementedError

    def __enter__(self) -> FakeScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: FakeScorer

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": self.server.models()})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append((self.path, body))
            server.headers_seen.append(self.headers)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = server.faults.pop(0) if server.faults else None
        try:
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                self.reply(401, {"error": {"message": "no token", "type": "unauthorized"}})
            elif fault is not None:
                fault(self, body)
            else:
                self.reply(*server.post(self.path, body))
        finally:
            with server.lock:
                server.in_flight -= 1

    def reply(self, status: int, answer: Any, **headers: str) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def busy(seconds: str = "0.01", status: int = 429) -> Fault:
    return lambda handler, body: handler.reply(
        status, {"error": {"message": "the queue is full", "type": "overloaded"}}, Retry_After=seconds
    )


def says(content: bytes) -> Fault:
    return lambda handler, body: handler.reply(200, content)


def dies(handler: Handler, body: dict[str, Any]) -> None:
    """The process ends in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model": "prm", "resu')
    handler.close_connection = True


class FakeSparring(FakeScorer):
    """`sparring serve` with one PRM: a step's score is 0.9, with "wrong" in it 0.1; takes four steps."""

    def __init__(self, port: int = 0, **told: Any) -> None:
        super().__init__(port)
        self.told = {
            "role": "prm",
            "head": "token_classification",
            "meaning": "correctness",
            "aggregation": "product",
            "threshold": 0.4,
            "threshold_rule": "best F1 on x",
            "max_tokens": 100,
            "fingerprint": "f1",
            **told,
        }
        self.names = ["prm"]
        self.longest = 4

    def models(self) -> list[dict[str, Any]]:
        policy = {"id": "tiny", "object": "model", "sparring": {"role": "policy"}}
        return [*({"id": name, "object": "model", "sparring": self.told} for name in self.names), policy]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path != "/v1/score":
            return 404, {"error": {"message": "no such place", "type": "not_found"}}
        for index, item in enumerate(body["items"]):
            if len(item["steps"]) > self.longest:
                error = {
                    "message": f"step {self.longest + 1} ends at token 200, past the limit of 100",
                    "type": "invalid_request",
                    "field": f"items[{index}].steps[{self.longest}]",
                    "code": None,
                }
                return 422, {"error": error}
        results = [self.result(item) for item in body["items"]]
        return 200, {"model": body.get("model", "prm"), "results": results, "usage": {"tokens": 1}}

    def result(self, item: dict[str, Any]) -> dict[str, Any]:
        scores = [0.1 if "wrong" in step else 0.9 for step in item["steps"]]
        return {"id": item.get("id"), "steps": item["steps"], "scores": scores, "tokens": 1}
