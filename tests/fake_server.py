"""A completions server for tests: answers like one, after first misbehaving as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_scorers import FakeHttp, Fault, Handler, says

__all__ = ["FakeServer", "Handler", "plain_answer", "says", "status"]


class FakeServer(FakeHttp):
    """Answers `answer` of a request's body; `asked` holds the bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = plain_answer

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def remember(self, path: str, body: dict[str, Any]) -> None:
        self.asked.append(body)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, self.answer(body)


def plain_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Text that tells the seed and, in other letters than those of an echo, the prompt: tests see where it belongs."""
    choices = [
        {"text": f"{body['seed']}|{str(body['prompt']).swapcase()}|{i}", "finish_reason": "stop"}
        for i in range(body.get("n", 1))
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 3 * len(choices)}}


def status(code: int, **headers: str) -> Fault:
    return lambda handler, body: handler.reply(code, b'{"error": "no"}', **headers)
