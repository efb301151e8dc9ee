"""What `fuzz.py` feeds from outside of texts and data: model folders, requests to our server, servers that lie to clients.

Contract: as in `fuzz_targets.py`. No socket is opened and nothing is waited for.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fuzz_promises import Made, joined, parts, promise, text
from sparring.errors import SparringError

# --- model folders ---------------------------------------------------------------------------------------------------


def tiny_prm(folder: Path) -> Path:
    """Write a random PRM of a few kilobytes."""
    import torch
    from transformers import LlamaForTokenClassification

    from sparring.models.sidecar import Sidecar, write_sidecar
    from sparring.worlds.chain_model import build_tokenizer, tiny_config

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    LlamaForTokenClassification(tiny_config(len(tokenizer), width=16, layers=1)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_sidecar(folder, Sidecar(max_length=512))
    return folder


@contextmanager
def sidecars(folder: Path) -> Made:
    """Sidecars, configurations, indices and headers of weights, before anything is loaded."""
    from sparring.models.folder_files import check_files, check_token_fields
    from sparring.models.sidecar import read_sidecar, write_sidecar

    prm = tiny_prm(folder / "prm")
    other = folder / "other"
    other.mkdir()
    weights = (prm / "model.safetensors").read_bytes()
    length = int.from_bytes(weights[:8], "little")
    header, numbers = weights[8 : 8 + length], weights[8 + length :]
    kept = {name: (prm / name).read_bytes() for name in ("config.json", "tokenizer_config.json")}

    def run(data: bytes) -> object:
        kind, content = parts(data, 2)
        name = text(kind)
        if name == "sparring.json":
            (other / name).write_bytes(content)
            found = read_sidecar(other)
            write_sidecar(other, found)
            promise(read_sidecar(other) == found, "a sidecar reads back equal")
            return found.head
        for file, usual in kept.items():
            (prm / file).write_bytes(content if file == name else usual)
        for file in (prm / "model.safetensors.index.json", prm / "model.safetensors"):
            file.unlink(missing_ok=True)
        if name == "index":
            (prm / "model.safetensors.index.json").write_bytes(content)
            (prm / "part.safetensors").write_bytes(weights)
        elif name == "file":
            (prm / "model.safetensors").write_bytes(content)
        else:
            head = content if name == "header" else header
            (prm / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + numbers)
        check_files(prm)
        check_token_fields(prm)
        return name

    index = {
        "metadata": {"total_size": 1},
        "weight_map": dict.fromkeys(
            (one for one in json.loads(header) if one != "__metadata__"), "part.safetensors"
        ),
    }
    plain = (prm / "sparring.json").read_bytes()
    fields = {
        "head": "label_tokens",
        "label_tokens": [1, 2],
        "layout": {"before": "Q", "step_prefix": "Step {number}: ", "tokenization": "text"},
    }
    ratio = {
        "head": "log_ratio",
        "log_ratio": {"beta": 0.05, "reference": "reference", "end": "</s>"},
        "calibration": {"scale": 2.0, "shift": -1},
    }
    yield [
        *(joined(name, content) for name, content in kept.items()),
        joined("index", index), joined("header", header), joined("file", weights[: 8 + length + 64]),
        joined("sparring.json", plain), joined("sparring.json", fields), joined("sparring.json", ratio),
    ], run  # fmt: skip


@contextmanager
def models(folder: Path) -> Made:
    """Whole model folders, loaded and asked."""
    from sparring.models.loading import quiet
    from sparring.models.scorer import load_scorer
    from sparring.traces.records import Problem, Trace

    prm = tiny_prm(folder / "prm")
    usual = {path.name: path.read_bytes() for path in prm.iterdir()}
    trace = Trace(Problem("p", "mod 13 : b is 7 ; find b"), ("b is 7", "c is 8"))

    def run(data: bytes) -> object:
        name, content = parts(data, 2)
        for path in prm.iterdir():
            if path.name not in usual:
                path.unlink()
        for file, before in usual.items():
            (prm / file).write_bytes(content if file == text(name) else before)
        if text(name) == "chat_template.jinja":
            (prm / "chat_template.jinja").write_bytes(content)
        with quiet():
            [row] = load_scorer(prm, device="cpu").score([trace])
        promise(len(row) == 2 and all(0.0 <= score <= 1.0 for score in row), "one score from 0 to 1 per step")
        return text(name)

    names = [name for name in usual if not name.endswith((".md", ".safetensors"))]
    yield [joined(name, usual[name]) for name in names], run


# --- servers and clients ---------------------------------------------------------------------------------------------


@contextmanager
def serve(folder: Path) -> Made:
    """Requests to `sparring serve`, in process."""
    from sparring.serving.app import make_app
    from sparring.serving.logs import LOGGER
    from sparring.serving.models import load_models
    from sparring.serving.settings import ServeSettings

    chosen = ServeSettings(
        prm=str(tiny_prm(folder / "prm")), policy="tiny-chain-policy", device="cpu", method="best_of_n", n=1, max_n=2,
        expansions=1, max_steps=1, max_step_tokens=4, max_new_tokens=4, lookahead_steps=0,
        max_request_tokens=4096, max_items=64, max_steps_per_item=64, max_body_bytes=65_536, request_seconds=5.0,
    )  # fmt: skip
    loaded = load_models(chosen)
    app = make_app(loaded, chosen, token="secret")  # noqa: S106 (nobody's)
    loop = asyncio.new_event_loop()
    level = LOGGER.level
    LOGGER.setLevel(logging.CRITICAL + 1)

    async def ask(method: str, path: str, kind: bytes, body: bytes) -> tuple[int, bytes]:
        said: list[Mapping[str, Any]] = []
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given:
                await asyncio.sleep(3600)
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        headers = [(b"content-type", kind), (b"authorization", b"Bearer secret"), (b"host", b"served")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers, "scheme": "http",
            "client": ("c", 1), "server": ("s", 80),
        }  # fmt: skip
        await app(scope, receive, send)
        return said[0]["status"], b"".join(one.get("body", b"") for one in said[1:])

    def run(data: bytes) -> object:
        head, body = parts(data, 2)
        method, _, rest = text(head).partition(" ")
        path, _, kind = rest.partition(" ")
        method = method if method in ("GET", "POST", "PUT", "HEAD") else "POST"
        kind = kind.encode("latin-1", "replace") or b"application/json"
        status, answer = loop.run_until_complete(ask(method, "/" + path.lstrip("/"), kind, body))
        failed = b'"type":"search_failed"' in answer  # a policy that found no solution
        promise(status < 500 or failed, f"a request's fault is not the server's: {status} {answer[:200]!r}")
        if status >= 400 and method != "HEAD":
            told = json.loads(answer)["error"]
            promise(
                isinstance(told["message"], str) and isinstance(told["type"], str), "errors have one form"
            )
        if status == 200 and path == "v1/score":
            scores = [score for result in json.loads(answer)["results"] for score in result["scores"]]
            promise(
                all(isinstance(score, float) and 0.0 <= score <= 1.0 for score in scores),
                "scores are from 0 to 1",
            )
        return path if path in bodies else method, status

    item = {"id": "0", "problem": "mod 13 : b is 7 ; find b", "steps": ["b is 7", "c is 8"]}
    said = [{"role": "user", "content": "mod 13 : b is 7 ; find b"}]
    bodies: dict[str, dict[str, Any]] = {
        "v1/score": {"model": "prm", "items": [item, item | {"id": "1"}]},
        "pooling": {
            "model": "prm",
            "messages": [*said, {"role": "assistant", "content": "b is 7\n\nc is 8"}],
        },
        "get_reward": {
            "query": ["mod 13 : find b\nb is 7"],
            "prompts": ["mod 13 : find b\n"],
            "labels": ["7"],
        },
        "v1/search": {"problem": item["problem"], "n": 1, "method": "best_of_n", "seed": 1},
        "v1/chat/completions": {
            "model": "tiny-chain-policy",
            "messages": said,
            "max_tokens": 4,
            "stream": False,
            "n": 1,
        },
    }
    seeds = [joined(f"POST {path} application/json", body) for path, body in bodies.items()]
    try:
        yield (
            [
                *seeds,
                *(
                    joined(f"GET {path}", b"")
                    for path in ("v1/models", "metrics", "readyz", "openapi.json", "nowhere")
                ),
            ],
            run,
        )
    finally:
        LOGGER.setLevel(level)
        loaded.close(1.0)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@contextmanager
def liars(folder: Path) -> Made:
    """Clients of servers that lie: engines, PRMs, judges."""
    import httpx

    from sparring import http_client
    from sparring.addresses import parse_address
    from sparring.http_client import HttpClient, Patience, Session
    from sparring.rollouts.engine import Limits, Prefix
    from sparring.rollouts.server import ServerEngine
    from sparring.scorers.judge import JudgeScorer
    from sparring.scorers.served import ServedScorer
    from sparring.scorers.sglang import SglangScorer
    from sparring.scorers.vllm import VllmScorer
    from sparring.traces.records import Problem, Trace
    from sparring.traces.spans import Layout

    answers: list[tuple[int, list[tuple[bytes, bytes]], bytes, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status, headers, models, other = answers[0]
        if request.url.path.endswith("/models"):
            return httpx.Response(200, stream=httpx.ByteStream(models))
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(other))

    @asynccontextmanager
    async def session(self: HttpClient) -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), headers=self._headers) as http:
            yield Session(self, http, asyncio.Semaphore(self.concurrency))

    async def at_once(seconds: float, *_: object) -> None:
        promise(0 <= seconds <= 60, f"a wait is bounded: {seconds}")

    prm = tiny_prm(folder / "prm")
    labels = tiny_prm(folder / "labels")
    told = json.loads((labels / "sparring.json").read_text()) | {
        "head": "label_tokens",
        "label_tokens": [1, 2],
    }
    (labels / "sparring.json").write_text(json.dumps(told))
    traces = [
        Trace(Problem(str(number), "mod 13 : b is 7 ; find b"), ("b is 7", "c is 8")) for number in range(2)
    ]

    def sample(kind: Any, choices: int) -> object:
        engine = ServerEngine("http://liar/v1", "m", Layout(), kind=kind, choices_per_request=choices, api_key="secret",
                              patience=Patience(timeout=5.0, retries=1, longest_wait=60.0, busy=2))  # fmt: skip
        found = engine.sample(
            [Prefix(one.problem) for one in traces], 2, limits=Limits(5), seeds=[1, 2], stop=["\n"]
        )
        for one in (one for group in found for one in group):
            promise(
                isinstance(one.text, str)
                and "\n" not in one.text
                and one.finish in ("stop", "length", "end"),
                "a completion",
            )
            promise(all(type(token) is int for token in one.token_ids), "ids are whole numbers")
            promise(
                len(one.log_probabilities) in (0, len(one.token_ids)) or not one.token_ids,
                "a log-probability per token",
            )
        return [len(group) for group in found], len(engine.usage.doubts)

    def score(kind: Any, where: str) -> object:
        rows = kind(parse_address(f"{where}"), token="secret").score(traces)  # noqa: S106 (nobody's)
        for row in rows:
            promise(
                len(row) == 2 and all(isinstance(one, float) and 0.0 <= one <= 1.0 for one in row),
                "scores are from 0 to 1",
            )
        return len(rows)

    clients: dict[str, Callable[[], object]] = {
        **{
            f"engine-{kind}": partial(sample, kind, 1)
            for kind in ("vllm", "llama.cpp", "transformers", "openai")
        },
        "engine-n": partial(sample, "openai", 2),
        "served": partial(score, ServedScorer, "http://liar?retries=1"),
        "vllm": partial(score, VllmScorer, f"vllm+http://liar?retries=1#{prm}"),
        "vllm-labels": partial(score, VllmScorer, f"vllm+http://liar?retries=1#{labels}"),
        "sglang": partial(score, SglangScorer, f"sglang+http://liar?retries=1#{labels}"),
        "judge": partial(score, JudgeScorer, "judge+http://liar?retries=1"),
        "judge-votes": partial(score, JudgeScorer, "judge+http://liar?retries=1&votes=2&preset=critique"),
    }
    before = HttpClient.session, http_client.BUSY, asyncio.sleep
    logger = logging.getLogger("sparring")
    level = logger.level

    def run(data: bytes) -> object:
        head, headers, models, other = parts(data, 4)
        name, _, status = text(head).partition("|")
        lines = [line.partition(b":") for line in headers.splitlines() if b":" in line]
        answers[:] = [(int(status) if re.fullmatch("[2-5][0-9]{2}", status) else 200,
                       [(key.strip() or b"x", value.strip()) for key, _, value in lines], models, other)]  # fmt: skip
        HttpClient.session, http_client.BUSY, asyncio.sleep = session, 2, at_once  # type: ignore[assignment]
        try:
            return name, clients.get(name, clients["served"])()
        except SparringError as error:
            promise("secret" not in str(error), "a token is never part of an error")
            raise
        finally:
            HttpClient.session, http_client.BUSY, asyncio.sleep = before  # type: ignore[assignment]

    ids = [1, 2, 3]
    choice = {
        "text": "b is 7",
        "finish_reason": "stop",
        "token_ids": ids,
        "stop_reason": None,
        "logprobs": {"token_logprobs": [-0.1, -0.2, -0.3]},
    }
    llama = choice | {"logprobs": {"content": [{"id": 5, "logprob": -0.5, "token": "b"}]}}
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    listed: dict[str, Any] = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 64, "root": "m"}]}
    ours = {
        "role": "prm",
        "threshold": 0.5,
        "head": "mlp",
        "meaning": "value",
        "aggregation": "min",
        "fingerprint": "f",
        "threshold_rule": "fixed",
    }
    served = {"model": "prm", "results": [{"id": str(number), "scores": [0.5, 1.0]} for number in range(2)]}
    likely = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -3.0}]
    word = {
        "message": {"content": "Yes. Verdict: correct. Step 2 \\boxed{wrong}"}, "finish_reason": "stop",
        "logprobs": {"content": [{"token": "Yes", "top_logprobs": likely}]},
    }  # fmt: skip
    vectors = [{"index": number, "data": [[0.1, -2.5]] * 19} for number in range(2)]
    seeds = [
        *(
            joined(f"{name}|200", b"", listed, {"model": "m", "choices": [choice], "usage": usage})
            for name in clients
            if name.startswith("engine")
        ),
        joined("engine-n|200", b"", listed, {"model": "m", "choices": [choice, choice], "usage": usage}),
        joined("engine-llama.cpp|200", b"", listed, {"choices": [llama], "usage": usage}),
        joined("served|200", b"", {"data": [{"id": "prm", "sparring": ours}]}, served),
        joined("vllm|200", b"", listed, {"data": vectors}),
        joined(
            "vllm-labels|200", b"", listed, {"data": [one | {"data": [[0.1, 0.9]] * 2} for one in vectors]}
        ),
        joined("sglang|200", b"", listed, {"scores": [[0.6, 0.1], [0.1, 0.5]]}),
        joined("judge|200", b"", listed, {"choices": [word], "usage": usage}),
        joined("judge-votes|200", b"", listed, {"choices": [word], "usage": usage}),
    ]
    errors = [
        {"error": {"message": "'temperature' secret is too long", "field": "items[0]", "param": "seed"}},
        {"object": "error", "message": "context"},
    ]
    moved = b"retry-after: 1\nlocation: http://other"
    for status in (302, 400, 401, 404, 422, 429, 500, 503):
        seeds += [joined(f"judge|{status}", moved, listed, errors[status % 2])]
    for line in (
        b"retry-after: Mon, 30 Nov 2026 14:00:00 +0100",
        b"retry-after: nan",
        b"content-encoding: gzip",
        b"content-encoding: deflate, gzip",
    ):
        body = served if b"retry" in line else gzip.compress(b"0" * 5000, mtime=0)
        seeds.append(
            joined(
                "engine-openai|503" if b"retry" in line else "served|200",
                line,
                {"data": [{"id": "prm", "sparring": ours}]},
                body,
            )
        )
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield seeds, run
    finally:
        logger.setLevel(level)
