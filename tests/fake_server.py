"""A completions server for tests: answers like one, after first misbehaving as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer(ThreadingHTTPServer):
    """Answers like a completions server, after first misbehaving as told; remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Callable[[Handler, dict[str, Any]], None]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers_seen: list[Any] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = plain_answer
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.headers_seen.append(self.headers)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = server.faults.pop(0) if server.faults else None
        try:
            if fault is not None:
                fault(self, body)
            else:
                self.reply(200, json.dumps(server.answer(body)).encode())
        finally:
            with server.lock:
                server.in_flight -= 1

    def reply(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def plain_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Text that tells the seed and, in other letters than those of an echo, the prompt: tests see where it belongs."""
    choices = [
        {"text": f"{body['seed']}|{str(body['prompt']).swapcase()}|{i}", "finish_reason": "stop"}
        for i in range(body.get("n", 1))
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 3 * len(choices)}}


def status(code: int, **headers: str) -> Callable[[Handler, dict[str, Any]], None]:
    return lambda handler, body: handler.reply(code, b'{"error": "no"}', **headers)


def says(content: bytes) -> Callable[[Handler, dict[str, Any]], None]:
    return lambda handler, body: handler.reply(200, content)
