"""Servers that do otherwise than they are asked, and honest ones that look like them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fake_server import FakeServer
from sparring.rollouts.engine import EngineError, Limits, Prefix
from sparring.rollouts.server import Patience, ServerEngine
from sparring.traces.records import Problem
from sparring.traces.spans import Layout

Body = dict[str, Any]
QUICK = Patience(timeout=2.0, retries=1, first_wait=0.01, longest_wait=0.05)
CHAT = Layout("<|user|>\n", "<|end|>\n<|assistant|>\n", "\n")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.shutdown()
    made.server_close()


def words(body: Body, seed: object) -> str:
    rng = random.Random(f"{seed}/{body['prompt']}")
    return "\n".join(" ".join(rng.choices(["so", "a", "is", "3", "then", "b", "7"], k=6)) for _ in range(3))


def answer(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": "stop"} for text in texts]} | fields


def sample(
    server: FakeServer, *, steps: tuple[str, ...] = (), stop: tuple[str, ...] = (), **options: Any
) -> list[str]:
    engine = ServerEngine(server.url, "m", CHAT, patience=QUICK, **options)
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
    engine = ServerEngine(server.url, "m", CHAT, patience=QUICK)
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
    engine = ServerEngine(server.url, "m", CHAT, patience=QUICK)
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
