"""The engine on servers: against a server that misbehaves in every way, and against a real one."""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from fake_server import FakeServer, Handler, says, status
from sparring.errors import DataError, SettingsError
from sparring.models.loading import load_tokenizer
from sparring.rollouts.engine import EngineError, Limits, Prefix
from sparring.rollouts.server import Patience, ServerEngine
from sparring.traces.records import Problem
from sparring.traces.spans import Layout
from sparring.worlds.chain_model import CHAIN_LAYOUT

QUICK = Patience(timeout=60.0, retries=3, first_wait=0.01, longest_wait=0.05)
LIMITS = Limits(8)


def hangs_up(handler: Handler, body: dict[str, Any]) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def breaks_off(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def trickles(handler: Handler, body: dict[str, Any]) -> None:
    """A byte now and then: no single read ever times out."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass


def never_stops(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 1_000_000)
    except OSError:
        pass


def one_choice(**fields: Any) -> bytes:
    return json.dumps({"choices": [{"text": "x", "finish_reason": "stop"} | fields]}).encode()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.shutdown()
    made.server_close()


def engine_of(server: FakeServer, **options: Any) -> ServerEngine:
    return ServerEngine(server.url, "m", Layout(), **({"patience": QUICK} | options))


def prefixes(count: int) -> list[Prefix]:
    return [Prefix(Problem(str(i), f"question {i}"), ("step",) * i) for i in range(count)]


def test_completions_come_back_in_their_places_each_with_its_own_seed(server):
    engine = engine_of(server, concurrency=5)
    groups = engine.sample(prefixes(6), 4, limits=Limits(8, 0.7), seeds=list(range(6)), stop=("\n",))
    # Cut at the line break after the question
    assert [[c.text.split("|")[1] for c in group] for group in groups] == [
        [f"QUESTION {i}"] * 4 for i in range(6)
    ]
    assert len({body["seed"] for body in server.asked}) == 24
    assert server.most_in_flight <= 5
    assert (engine.usage.requests, engine.usage.tokens_generated, engine.usage.tokens_prefilled) == (
        24,
        72,
        240,
    )
    [body] = [b for b in server.asked if b["prompt"].startswith("question 2")][:1]
    assert body["prompt"] == "question 2\nstep\nstep\n"
    assert (body["max_tokens"], body["temperature"], body["stop"], body["model"]) == (8, 0.7, ["\n"], "m")
    assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, 0, 0.0)
    again = engine.sample(prefixes(6), 4, limits=Limits(8, 0.7), seeds=list(range(6)), stop=("\n",))
    assert again == groups
    assert sorted(b["seed"] for b in server.asked[:24]) == sorted(b["seed"] for b in server.asked[24:])


def test_several_choices_per_request(server):
    groups = engine_of(server, choices_per_request=3).sample(prefixes(2), 7, limits=LIMITS, seeds=[1, 2])
    assert [len(group) for group in groups] == [7, 7]
    assert sorted(body.get("n", 1) for body in server.asked) == [1, 1, 3, 3, 3, 3]


def test_a_tokenizer_makes_prompts_of_ids(server, tiny_folder):
    server.answer = lambda body: {"choices": [{"text": "x", "finish_reason": "length"}]}
    tokenizer = load_tokenizer(tiny_folder)
    engine = ServerEngine(server.url, "m", CHAIN_LAYOUT, tokenizer=tokenizer, patience=QUICK)
    engine.sample([Prefix(Problem("p", "find a"), ("a is 7",))], 1, limits=LIMITS, seeds=[1])
    assert tokenizer.decode(server.asked[0]["prompt"]) == "find a \n a is 7 \n"
    with pytest.raises(DataError, match="empty"):
        engine.sample([Prefix(Problem("p", "find a"), (" ",))], 1, limits=LIMITS, seeds=[1])


PASSING = {
    "500": status(500),
    "503": status(503),
    "429 now": status(429, Retry_After="0"),
    "429 at no date": status(429, Retry_After="Mon, 30 Nov 2026 14:00:00 +99999999999999999999"),
    "429 at a date": status(429, Retry_After=formatdate(0, usegmt=True)),
    "429 nonsense": status(429, Retry_After="soon"),
    "hangs up": hangs_up,
    "breaks off": breaks_off,
    "trickles": trickles,
    "endless": never_stops,
    "not JSON": says(b"<html>"),
    "empty": says(b""),
    "not UTF-8": says(b"\xff\xfe\x00"),
    "deep": says(b"[" * 200_000),
    "a list": says(b"[]"),
    "no choices": says(b"{}"),
    "choices no list": says(b'{"choices": {"0": 1}}'),
    "too few choices": says(b'{"choices": []}'),
    "too many choices": says(json.dumps({"choices": [{"text": "x", "finish_reason": "stop"}] * 2}).encode()),
    "choice no object": says(b'{"choices": [7]}'),
    "text no text": says(one_choice(text=7)),
    "no finish": says(one_choice(finish_reason=None)),
    "packed": says(
        gzip.compress(b'{"choices": [{"text": "x", "finish_reason": "stop"}]}'),
        **{"Content-Encoding": "gzip"},
    ),
    "half a pair": says(b'{"choices": [{"text": "\\ud800", "finish_reason": "stop"}]}'),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_is_tried_again(server, fault):
    server.faults = [fault, fault]
    ends_late = fault in (trickles, never_stops)  # on a busy machine the answer after them may be late, too
    patience = Patience(timeout=0.5, retries=20, first_wait=0.01, longest_wait=0.05) if ends_late else QUICK
    engine = engine_of(server, patience=patience)
    [[completion]] = engine.sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    assert "|QUESTION 0" in completion.text
    assert engine.usage.requests >= 3 if ends_late else engine.usage.requests == 3
    assert server.asked[0] == server.asked[2]


def test_a_server_that_stays_out_of_order_ends_the_call_with_the_reason(server):
    server.faults = [status(500)] * 100
    with pytest.raises(EngineError, match=r"4 tries; the last: status 500"):
        engine_of(server).sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    assert len(server.asked) == 4


def test_a_server_that_is_not_there():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with pytest.raises(EngineError, match=r"4 tries; the last: ConnectError"):
            ServerEngine(url, "m", Layout(), patience=QUICK).sample(
                prefixes(3), 2, limits=LIMITS, seeds=[1] * 3
            )


def test_a_slow_server_is_not_waited_for_without_end(server):
    server.faults = [lambda handler, body: time.sleep(1.0)] * 2
    patience = Patience(timeout=0.2, retries=1, first_wait=0.01, longest_wait=0.05)
    with pytest.raises(EngineError, match=r"no answer within 0\.2 s"):
        engine_of(server, patience=patience).sample(prefixes(1), 1, limits=LIMITS, seeds=[1])


@pytest.mark.parametrize(
    ("code", "kind"), [(400, DataError), (422, DataError), (401, EngineError), (404, EngineError)]
)
def test_what_will_not_pass_is_not_tried_again(server, code, kind):
    server.faults = [status(code)]
    with pytest.raises(kind, match=f"status {code}"):
        engine_of(server).sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    assert len(server.asked) == 1


def test_waits_grow_are_bounded_and_follow_retry_after(server, monkeypatch):
    waits: list[float] = []

    async def no_sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("sparring.http_client.asyncio.sleep", no_sleep)
    server.faults = [status(500)] * 4 + [status(429, Retry_After="3"), status(429, Retry_After="1e9")]
    patience = Patience(timeout=5, retries=6, first_wait=1.0, longest_wait=5.0)
    engine_of(server, patience=patience).sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    for wait, full in zip(waits[:4], (1, 2, 4, 5), strict=True):
        assert full / 2 <= wait <= full
    assert waits[4:] == [3.0, 5.0]


def test_an_api_key_is_sent_and_never_shown(server):
    server.faults = [status(403)]
    with pytest.raises(EngineError) as caught:
        engine_of(server, api_key="secret").sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    assert server.headers_seen[0]["Authorization"] == "Bearer secret"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "kind", "stop", "finish"),
    [
        ({"finish_reason": "length"}, "vllm", ("\n",), "length"),
        ({"finish_reason": "stop", "stop_reason": "\n"}, "vllm", ("\n",), "stop"),
        ({"finish_reason": "stop", "stop_reason": None}, "vllm", ("\n",), "end"),
        ({"finish_reason": "stop"}, "llama.cpp", ("\n",), "stop"),
        ({"finish_reason": "stop"}, "llama.cpp", (), "end"),
        ({"finish_reason": "stop", "text": "x\ny"}, "transformers", ("\n",), "stop"),
        ({"finish_reason": "stop"}, "transformers", ("\n",), "end"),
    ],
)
def test_how_a_completion_finished(server, fields, kind, stop, finish):
    server.answer = lambda body: json.loads(one_choice(**fields))
    [[completion]] = engine_of(server, kind=kind).sample(prefixes(1), 1, limits=LIMITS, seeds=[1], stop=stop)
    assert (completion.text, completion.finish) == ("x", finish)


@pytest.mark.parametrize(
    ("fields", "ids", "values"),
    [
        ({"token_ids": [3, 4], "logprobs": {"token_logprobs": [-0.5, 0.0]}}, (3, 4), (-0.5, 0.0)),
        ({"logprobs": {"content": [{"id": 3, "logprob": -1.0}]}}, (3,), (-1.0,)),
        ({"logprobs": {"token_logprobs": [-0.5]}}, (), (-0.5,)),
        ({"token_ids": [3], "logprobs": {"token_logprobs": [-0.5, -1]}}, (3,), ()),
        ({"logprobs": {"token_logprobs": [None, "x"]}}, (), ()),
        ({"token_ids": [True, -1], "logprobs": {"token_logprobs": [5.0]}}, (), ()),
        ({"token_ids": "3", "logprobs": 7}, (), ()),
        ({"logprobs": {"content": [7]}}, (), ()),
    ],
)
def test_log_probabilities_are_taken_where_they_are_given_in_a_known_form(server, fields, ids, values):
    server.answer = lambda body: json.loads(one_choice(**fields))
    [[completion]] = engine_of(server).sample(prefixes(1), 1, limits=LIMITS, seeds=[1])
    assert (completion.token_ids, completion.log_probabilities) == (ids, values)
    [[scaled]] = engine_of(server).sample(prefixes(1), 1, limits=Limits(8, 0.5), seeds=[1])
    assert scaled.log_probabilities == ()  # they are not those of the distribution that was sampled from


def test_it_works_inside_a_running_loop(server):
    import asyncio

    async def notebook() -> int:
        return len(engine_of(server).sample(prefixes(2), 1, limits=LIMITS, seeds=[1, 2]))

    assert asyncio.run(notebook()) == 2


@pytest.mark.parametrize(
    ("url", "options"),
    [("localhost:8000", {}), ("http://", {}), ("https:///v1", {}), ("http://x:port/v1", {}),
     ("http://x/v1", {"concurrency": 0}),
     ("http://x/v1", {"choices_per_request": 0}),
     ("http://x/v1", {"kind": "transformers", "choices_per_request": 2})],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(url, options):
    with pytest.raises(SettingsError):
        ServerEngine(url, "m", Layout(), **options)


# --- servers that do otherwise than they are asked, and honest ones that look like them ---------------------------------

Body = dict[str, Any]
TWICE = Patience(timeout=60.0, retries=1, first_wait=0.01, longest_wait=0.05)
CHAT = Layout("<|user|>\n", "<|end|>\n<|assistant|>\n", "\n")


def words(body: Body, seed: object) -> str:
    rng = random.Random(f"{seed}/{body['prompt']}")
    return "\n".join(" ".join(rng.choices(["so", "a", "is", "3", "then", "b", "7"], k=6)) for _ in range(3))


def answer(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": "stop"} for text in texts]} | fields


def sample(
    server: FakeServer, *, steps: tuple[str, ...] = (), stop: tuple[str, ...] = (), **options: Any
) -> list[str]:
    engine = ServerEngine(server.url, "m", CHAT, patience=TWICE, **options)
    prefixes = [Prefix(Problem(str(i), f"What is {i} + {i}?"), steps) for i in range(3)]
    groups = engine.sample(prefixes, 4, limits=Limits(20), seeds=[1, 2, 3], stop=stop)
    assert [len(group) for group in groups] == [4, 4, 4]
    return engine.usage.doubts


COPIES: dict[str, Callable[[Body], dict[str, Any]]] = {
    "one text for all": lambda body: answer("The answer is 4"),
    "a text per prompt": lambda body: answer(words(body, "always")),
    "a seed of its own": lambda body: answer(words(body, body["temperature"])),
    "a model's name and one text": lambda body: answer("4", model="m", system_fingerprint="f"),
}


@pytest.mark.parametrize("behaviour", COPIES.values(), ids=COPIES.keys())
def test_a_server_that_ignores_seeds_is_doubted(
    server: FakeServer, behaviour: Callable[[Body], dict[str, Any]]
) -> None:
    server.answer = behaviour
    [doubt] = sample(server)
    assert "one text for different seeds" in doubt
    assert len(server.asked) == 12 + 2


def test_n_choices_of_one_text_are_doubted(server: FakeServer) -> None:
    server.answer = lambda body: answer(*[words(body, "always")] * body.get("n", 1))
    [doubt] = sample(server, choices_per_request=4)
    assert "one text for different seeds" in doubt


@pytest.mark.parametrize("choices", [2, 4])
def test_choices_of_a_request_that_are_copies_are_doubted(server: FakeServer, choices: int) -> None:
    server.answer = lambda body: answer(*[words(body, body["seed"])] * body.get("n", 1))
    [doubt] = sample(server, choices_per_request=choices)
    assert "all choices of a request one text" in doubt and "choices_per_request=1" in doubt


def test_choices_of_their_own_are_not_doubted(server: FakeServer) -> None:
    server.answer = lambda body: answer(*[words(body, (body["seed"], i)) for i in range(body.get("n", 1))])
    assert sample(server, choices_per_request=4) == []


def test_choices_that_are_alike_since_the_policy_is_sure_are_not_doubted(server: FakeServer) -> None:
    server.answer = lambda body: answer(
        *[
            words(body, (body["seed"], i) if body["temperature"] > 1 else "always")
            for i in range(body.get("n", 1))
        ]
    )
    assert sample(server, choices_per_request=2) == []


HONEST: dict[str, Callable[[Body], dict[str, Any]]] = {
    "samples": lambda body: answer(words(body, body["seed"])),
    "is sure of itself": lambda body: answer(
        words(body, body["seed"] if body["temperature"] > 1 else "always")
    ),
    "restates the question": lambda body: answer(
        words(body, body["seed"])
        if "story" in body["prompt"]
        else body["prompt"].removeprefix(CHAT.before).removesuffix(CHAT.after) + f"\n{body['seed']}"
    ),
}


@pytest.mark.parametrize("behaviour", HONEST.values(), ids=HONEST.keys())
def test_an_honest_server_is_not_doubted(
    server: FakeServer, behaviour: Callable[[Body], dict[str, Any]]
) -> None:
    server.answer = behaviour
    assert sample(server) == []
    assert len(server.asked) <= 12 + 2


def test_greedy_copies_are_no_doubt(server: FakeServer) -> None:
    server.answer = lambda body: answer("The answer is 4")
    engine = ServerEngine(server.url, "m", CHAT, patience=TWICE)
    engine.sample([Prefix(Problem("1", "2 + 2?"))], 4, limits=Limits(20, temperature=0.0), seeds=[1])
    assert engine.usage.doubts == []
    assert len(server.asked) == 4


def plain(body: Body) -> str:
    return str(body["prompt"].replace("<|user|>", "").replace("<|end|>", "").replace("<|assistant|>", ""))


ECHOES: dict[str, Callable[[Body], str]] = {
    "all of the prompt": lambda body: body["prompt"],
    "without special tokens": plain,
    "white space run together": lambda body: " ".join(plain(body).split()) + " ",
    "after a start token": lambda body: "<s> " + body["prompt"],
}


@pytest.mark.parametrize("steps", [(), ("first 1", "then 2")])
@pytest.mark.parametrize("stop", [(), ("\n",)])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
def test_a_server_that_repeats_the_prompt_is_refused(
    server: FakeServer, echo: Callable[[Body], str], stop: tuple[str, ...], steps: tuple[str, ...]
) -> None:
    server.answer = lambda body: answer(echo(body) + words(body, body["seed"]))
    with pytest.raises(EngineError, match="repeats the prompt"):
        sample(server, steps=steps, stop=stop)


def test_a_server_that_ignores_n_is_told_of(server: FakeServer) -> None:
    server.answer = lambda body: answer(words(body, body["seed"]))
    with pytest.raises(EngineError, match=r"ignore `n`.*choices_per_request=1"):
        sample(server, choices_per_request=4)


def test_what_comes_after_a_stop_text_is_left_out_and_told_of(server: FakeServer) -> None:
    server.answer = lambda body: answer(f"step {body['seed']}\nand more")
    [doubt] = sample(server, stop=("\n",))
    assert "writes on after stop texts" in doubt
    server.answer = lambda body: answer(f"step {body['seed']}\n")
    assert sample(server, stop=("\n",)) == []


def test_more_tokens_than_asked_for_count_as_cut(server: FakeServer) -> None:
    server.answer = lambda body: answer(words(body, body["seed"]), usage={"completion_tokens": 300})
    engine = ServerEngine(server.url, "m", CHAT, patience=TWICE)
    [[one, other]] = engine.sample([Prefix(Problem("1", "2 + 2?"))], 2, limits=Limits(20), seeds=[1])
    assert (one.finish, other.finish) == ("length", "length")
    [doubt] = engine.usage.doubts
    assert "wrote 300 tokens where at most 20" in doubt


def test_empty_answers_to_questions_are_doubted_but_not_the_end_of_a_solution(server: FakeServer) -> None:
    server.answer = lambda body: answer("")
    [doubt] = sample(server)
    assert "empty texts" in doubt
    assert sample(server, steps=("The answer is 4",)) == []


def test_several_models_behind_one_name_are_doubted(server: FakeServer) -> None:
    server.answer = lambda body: answer(words(body, body["seed"]), model=f"m-{body['seed'] % 2}")
    [doubt] = sample(server)
    assert "several models: m-0, m-1" in doubt
