"""Servers for tests: each answers and refuses as the real one does, after first misbehaving as told."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", dict[str, Any]], None]


class FakeHttp(ThreadingHTTPServer):
    """Remembers what it was asked; `faults` are used up first, one per POST."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.faults: list[Fault] = []
        self.asked: list[Any] = []
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

    def remember(self, path: str, body: dict[str, Any]) -> None:
        self.asked.append((path, body))

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        """Return status and answer; None: it is gone."""
        raise NotImplementedError

    def get(self, path: str) -> tuple[int, Any]:
        return 404, {"detail": "Not Found"}

    def __enter__(self) -> FakeHttp:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: FakeHttp

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": self.server.models()})
        else:
            self.reply(*self.server.get(self.path))

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.remember(self.path, body)
            server.headers_seen.append(self.headers)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            fault = server.faults.pop(0) if server.faults else None
        try:
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                self.reply(401, {"error": {"message": "no token", "type": "unauthorized"}})
            elif fault is not None:
                fault(self, body)
            elif (answer := server.post(self.path, body)) is not None:
                self.reply(*answer)
            else:
                self.close_connection = True
                self.connection.close()
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
        with contextlib.suppress(ConnectionError):  # who asked may have left
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def busy(seconds: str = "0.01", status: int = 429) -> Fault:
    return lambda handler, body: handler.reply(
        status, {"error": {"message": "the queue is full", "type": "overloaded"}}, Retry_After=seconds
    )


def says(content: bytes, **headers: str) -> Fault:
    return lambda handler, body: handler.reply(200, content, **headers)


def dies(handler: Handler, body: dict[str, Any]) -> None:
    """The process ends in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model": "prm", "resu')
    handler.close_connection = True


class FakeSparring(FakeHttp):
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


class FakeVllm(FakeHttp):
    """vLLM with a PRM: `/pooling` as its sources of November 2026 have it, with the fields, defaults and refusals.

    Args:
        logits: of all tokens of a prompt (rows of labels, or of the vocabulary for STEP pooling).
        step: `step_tag_id` and `returned_token_ids` of STEP pooling; None for a head that classifies tokens.
        activation_only: an older server, which does not know `use_activation` and ignores it.
    """

    def __init__(
        self,
        logits: Callable[[list[int]], list[list[float]]],
        *,
        step: tuple[int, list[int]] | None = None,
        most: int = 4096,
        activation_only: bool = False,
    ) -> None:
        super().__init__()
        self.logits, self.step, self.most, self.activation_only = logits, step, most, activation_only
        self.name, self.root = "prm", "/models/prm"

    def models(self) -> list[dict[str, Any]]:
        entry = {"id": self.name, "object": "model", "created": 1, "owned_by": "vllm", "root": self.root}
        return [entry | {"parent": None, "max_model_len": self.most, "permission": []}]

    @staticmethod
    def refusal(message: str, param: str | None = None) -> tuple[int, Any]:
        error = {"message": message, "type": "BadRequestError", "param": param, "code": 400}
        return 400, {"error": error}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path != "/pooling":
            return 404, {"detail": "Not Found"}
        if body.get("model") not in (None, self.name):
            message = f"The model `{body['model']}` does not exist."
            return 404, {
                "error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
            }
        for name in ("normalize", "softmax", "activation"):
            if name in body:
                return self.refusal(f"Parameter `{name}` was removed; use `use_activation` instead.", name)
        if body.get("task") not in (None, "token_classify"):
            return self.refusal(f"Unsupported task: {body['task']!r} Supported tasks: ('token_classify',)")
        given = body["input"]
        prompts = [given] if given and isinstance(given[0], int) else given
        data = []
        for index, ids in enumerate(prompts):
            if len(ids) > self.most:
                return self.refusal(
                    f"This model's maximum context length is {self.most} tokens. However, your request has {len(ids)} "
                    "input tokens. Please reduce the length of the input messages.",
                    "input_tokens",
                )
            vectors = self.logits(ids)
            if self.step is not None:
                tag, returned = self.step
                vectors = [[row[one] for one in returned] for row in vectors]
                vectors = [row for row, one in zip(vectors, ids, strict=True) if one == tag]
            if self.activation_only or body.get("use_activation") is not False:
                vectors = [softmax(row) for row in vectors]
            data.append({"index": index, "object": "pooling", "data": vectors})
        count = sum(map(len, prompts))
        usage = {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0}
        answer = {"id": "pool-1", "object": "list", "created": 1, "model": self.name, "data": data}
        return 200, answer | {"usage": usage}


def softmax(row: list[float]) -> list[float]:
    most = max(row)
    weights = [math.exp(one - most) for one in row]
    return [one / sum(weights) for one in weights]


class FakeSglang(FakeHttp):
    """SGLang with a causal language model: `/v1/score` as its sources have it, items scored one by one.

    Args:
        logits: of the next token after a prompt, over the vocabulary.
    """

    def __init__(self, logits: Callable[[list[int]], list[float]], vocabulary: int) -> None:
        super().__init__()
        self.logits, self.vocabulary, self.delimiter = logits, vocabulary, None
        self.info = True

    def models(self) -> list[dict[str, Any]]:
        return [{"id": "prm", "object": "model", "owned_by": "sglang", "root": "prm", "max_model_len": 4096}]

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/get_server_info" and self.info:
            return 200, {"model_path": "prm", "multi_item_scoring_delimiter": self.delimiter}
        return 404, {"detail": "Not Found"}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path != "/v1/score":
            return 404, {"detail": "Not Found"}
        query, items, labels = body.get("query"), body.get("items"), body.get("label_token_ids")
        error = None
        if labels is None:
            error = "label_token_ids must be provided"
        elif not (isinstance(query, list) and isinstance(items, list) and isinstance(items[0], list)):
            error = "Invalid combination of query/items types for score_request."
        elif any(one >= self.vocabulary for one in labels):
            error = f"Token ID {max(labels)} is out of vocabulary (vocab size: {self.vocabulary})"
        if error is not None:
            return 400, {"object": "error"} | FakeVllm.refusal(error)[1]["error"]
        scores = []
        for item in items:
            probabilities = softmax(self.logits(item + query if body.get("item_first") else query + item))
            row = [probabilities[one] for one in labels]
            scores.append([one / sum(row) for one in row] if body.get("apply_softmax") else row)
        return 200, {"scores": scores, "model": body["model"], "usage": None, "object": "scoring"}


class FakeJudge(FakeHttp):
    """An OpenAI-compatible chat server; as judge it calls a step wrong that has "wrong" in it.

    Attributes:
        says: the answer to a request's last message; None: a refusal to speak (`content` is null).
        logprobs: tokens of the answer with alternatives, or None where the server tells none.
        refuses: parameters that it does not take.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.names = ["judge-model"]
        self.says: Callable[[str, dict[str, Any]], str | None] = yes_or_no
        self.logprobs: Callable[[str], list[dict[str, Any]] | None] = lambda text: None
        self.refuses: set[str] = set()
        self.finish = "stop"
        self.longest = 100_000

    def models(self) -> list[dict[str, Any]]:
        return [{"id": name, "object": "model", "created": 1, "owned_by": "someone"} for name in self.names]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": "no such place", "type": "invalid_request_error"}}
        for name in sorted(self.refuses & body.keys()):
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            error = {"message": message, "type": "invalid_request_error", "param": name}
            return 400, {"error": error | {"code": "unsupported"}}
        asked = body["messages"][-1]["content"]
        if len(asked) > self.longest:
            return FakeVllm.refusal("This model's maximum context length is 10 tokens.")
        text = self.says(asked, body)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": self.finish,
            "logprobs": None,
        }
        if body.get("logprobs") and text is not None and (tokens := self.logprobs(text)) is not None:
            choice["logprobs"] = {"content": tokens}
        usage = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        return 200, answer | {"choices": [choice], "usage": usage}


def judged_step(asked: str) -> str:
    """The step that is asked about, in the presets' messages."""
    return asked.partition("which is to be judged:\n")[2].partition("\n\n")[0]


def yes_or_no(asked: str, body: dict[str, Any]) -> str:
    return "No" if "wrong" in judged_step(asked) else "Yes"
