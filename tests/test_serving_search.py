"""`/v1/search` and `/v1/chat/completions`: results of `run_search`, events that make a tree, OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from served import QUESTION, Served
from sparring.labels.provers import load_engine
from sparring.labels.settings import SolverSettings
from sparring.models import TINY_POLICY
from sparring.models.scorer import load_scorer
from sparring.search.budget import Spent
from sparring.search.driver import Candidate, Found, run_search
from sparring.search.settings import MethodSettings
from sparring.serving.models import CALL, SCORES
from sparring.serving.searches import PROBLEM, choose
from sparring.traces.records import Problem

SMALL = {"expansions": 2, "max_steps": 6, "max_step_tokens": 30, "max_new_tokens": 80, "lookahead_steps": 1}


@pytest.fixture(scope="module")
def served(tiny_prm: Path) -> Served:
    return Served(tiny_prm, policy=(TINY_POLICY, f"second:{TINY_POLICY}"), n=3, max_n=16, **SMALL)


def events(response: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("method", ["best_of_n", "beam", "particles", "puct"])
def test_a_search_finds_what_it_finds_in_process(served, tiny_prm, method):
    told = events(served.post("/v1/search", {"problem": QUESTION, "method": method, "n": 3, "seed": 5}))
    solutions = [fields for name, fields in told if name == "solution"]
    settings = SolverSettings(device="cpu")
    [found] = run_search(
        "independent" if method == "best_of_n" else method,
        [Problem(PROBLEM, QUESTION)],
        load_engine(TINY_POLICY, settings),
        load_scorer(tiny_prm, device="cpu"),
        MethodSettings(**SMALL, seed=5),
        n=3,
    )
    assert [one["steps"] for one in solutions] == [list(one.steps) for one in found.candidates]
    assert [one["value"] for one in solutions] == pytest.approx(
        [one.value for one in found.candidates], abs=1e-5
    )
    assert [one["chosen"] for one in solutions].index(True) == found.chosen
    assert told[-1][0] == "done"
    done = told[-1][1]
    assert done["usage"]["tokens_generated"] == found.spent.tokens_generated
    assert done["usage"]["tokens_scored"] == found.spent.tokens_scored
    assert done["steps"] == list(found.candidates[found.chosen].steps) and done["method"] == method


def test_events_make_a_tree_in_which_every_node_is_decided_in_the_end(served):
    told = events(
        served.post(
            "/v1/search",
            {"problem": QUESTION, "method": "beam", "n": 2, "policy": "second", "temperature": 3.0},
        )
    )
    nodes: dict[int, dict[str, Any]] = {0: {"parent": None, "step": None, "kept": True}}
    for name, fields in told:
        if name == "step":
            assert fields["parent"] in nodes, "a parent comes before its children"
            assert 0 <= fields["score"] <= 1
            before = nodes.get(fields["node"])
            assert before is None or (before["kept"] is None and before["step"] == fields["step"])
            nodes[fields["node"]] = fields
    assert all(isinstance(one["kept"], bool) for one in nodes.values())
    assert {True, False} == {one["kept"] for one in nodes.values()}
    for name, fields in told:
        if name == "solution":
            path, at = [], fields["node"]
            while at:
                assert nodes[at]["kept"]
                path.append(nodes[at]["step"])
                at = nodes[at]["parent"]
            assert path[::-1] == fields["steps"]
    assert [name for name, _ in told].count("done") == 1
    assert any(name == "progress" and fields["tokens_generated"] > 0 for name, fields in told)


def candidate(value: float, *, finished: bool = True) -> Candidate:
    return Candidate(("a",), finished, (value,), value)


def test_votes():
    values = [candidate(0.9), candidate(0.5), candidate(0.3), candidate(0.95, finished=False), candidate(0.2)]
    found = Found("p", 0, tuple(values), Spent(), {}, None, 0.0)
    answers = ["1", "2", "2.0", None, "2"]
    assert choose("best_of_n", found, answers) == 0
    assert choose("majority", found, answers) == 1
    assert choose("weighted_vote", found, answers) == 1
    assert choose("weighted_vote", found, ["1", "2", "3", None, "2"]) == 0
    assert choose("weighted_vote", found, [None] * 5) == 0
    assert choose("majority", Found("p", None, (), Spent(), {}, None, 0.0), []) is None


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"problem": " "}, 422, "problem"),
        ({"problem": None}, 422, "problem"),
        ({"method": "best"}, 422, "method"),
        ({"n": 0}, 422, "n"),
        ({"n": 17}, 413, "n"),
        ({"seed": -1}, 422, "seed"),
        ({"policy": "other"}, 404, "policy"),
        ({"model": "other"}, 404, "model"),
        ({"bogus": 1}, 422, "bogus"),
    ],
)
def test_a_search_that_cannot_be_begun_is_refused(served, change, status, field):
    response = served.post("/v1/search", {"problem": QUESTION} | change)
    assert response.status_code == status, response.text
    assert response.json()["error"]["field"] == field


def test_what_a_model_cannot_read_is_refused_before_anything_is_written(served, monkeypatch):
    monkeypatch.setattr(served.models.policy(None), "batcher", None)
    long = served.post("/v1/search", {"problem": "b is 7 ; " * 500})
    assert long.status_code == 422 and "past the limit of 300 of the PRM" in long.json()["error"]["message"]
    # A policy with less room than the PRM.
    monkeypatch.setattr(served.models.policy(None).engine.model.config, "max_position_embeddings", 20)
    long = served.post("/v1/search", {"problem": QUESTION + " ; find c" * 5})
    assert long.status_code == 422 and "past the limit of 20 of the policy" in long.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": [{"type": "function"}]}, "tools: not supported by sparring serve"),
        ({"top_p": 0.5}, "top_p: not supported by sparring serve"),
        ({"logprobs": True}, "logprobs: not supported by sparring serve"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0].content: a text or parts of type 'text' are expected; images and others are not supported by "
         "sparring serve"),
    ],
)  # fmt: skip
def test_what_a_chat_cannot_have_is_said(served, change, message):
    body = {"messages": [{"role": "user", "content": QUESTION}]} | change
    response = served.post("/v1/chat/completions", body)
    assert response.status_code == 422 and response.json()["error"]["message"] == message


def test_a_search_that_fails_ends_with_an_error(served, tiny_prm, monkeypatch):
    batcher = served.models.prm(None).batcher
    for kind, broken in ((SCORES, lambda rows: 1 / 0), (CALL, lambda calls: 1 / 0)):
        monkeypatch.setitem(batcher.compute, kind, broken)
    told = events(served.post("/v1/search", {"problem": QUESTION}))
    assert told[-1][0] == "error" and told[-1][1]["error"]["type"] == "model_failed"
    nan = float("nan")
    monkeypatch.setitem(batcher.compute, CALL, lambda calls: [[([nan] * 40, 0)] * 3 for _ in calls])
    told = events(served.post("/v1/search", {"problem": QUESTION}))
    assert told[-1][0] == "error" and told[-1][1]["status"] == 500
    without = Served(tiny_prm)
    response = without.post("/v1/search", {"problem": QUESTION})
    assert response.status_code == 404 and response.json()["error"]["code"] == "no_policy"


def test_too_many_searches_are_refused_and_late_ones_given_up(tiny_prm, monkeypatch):
    served = Served(tiny_prm, policy=TINY_POLICY, searches=1, searches_waiting=0, search_seconds=0.5, **SMALL)
    gate = threading.Event()
    batcher = served.models.policy(None).batcher
    monkeypatch.setattr(batcher, "compute", {}.__class__())  # anything is a KeyError, after the gate

    class Slow(dict):
        def __missing__(self, kind):
            gate.wait(30)
            return lambda works: 1 / 0

    monkeypatch.setattr(batcher, "compute", Slow())
    body = {"messages": [{"role": "user", "content": QUESTION}]}

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        first = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
        while not batcher.busy_seconds:
            await asyncio.sleep(0.001)
        return await client.post("/v1/search", json={"problem": QUESTION}), await first

    refused, late = served.run(talk)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert late.status_code == 504 and late.json()["error"]["type"] == "timeout"
    gate.set()


def client_of(served: Served) -> openai.AsyncOpenAI:
    transport = httpx.ASGITransport(served.app)
    return openai.AsyncOpenAI(
        base_url="http://served/v1",
        api_key="-",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    )


def test_the_openai_client_gets_the_chosen_solution(served):
    async def talk() -> tuple[Any, Any, list[Any]]:
        client = client_of(served)
        messages: Any = [
            {"role": "system", "content": " "},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ]
        models = await client.models.list()
        whole = await client.chat.completions.create(
            model=f"{TINY_POLICY}:beam:2", messages=messages, seed=1, temperature=1.0, max_tokens=30
        )
        stream = await client.chat.completions.create(
            model=TINY_POLICY,
            messages=messages,
            seed=1,
            max_tokens=30,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"sparring": {"method": "beam", "n": 2}},
        )
        return models, whole, [chunk async for chunk in stream]

    models, whole, chunks = asyncio.run(talk())
    assert {one.id for one in models.data} == {"prm", TINY_POLICY, "second"}
    [choice] = whole.choices
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert whole.model == f"{TINY_POLICY}:beam:2" and whole.usage.completion_tokens > 0
    assert whole.sparring["method"] == "beam" and whole.sparring["candidates"] <= 2
    assert choice.message.content == "\n".join(whole.sparring["steps"])
    assert len(whole.sparring["scores"]) == len(whole.sparring["steps"])
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == choice.message.content
    assert len(texts) == len(whole.sparring["steps"]) + 2
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == choice.finish_reason


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": f"{TINY_POLICY}:beem"}, openai.NotFoundError),
        ({"model": f"{TINY_POLICY}:beam:x"}, openai.NotFoundError),
        ({"messages": []}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "user", "content": " "}]}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "assistant", "content": "a"}]}, openai.UnprocessableEntityError),
        ({"n": 2}, openai.UnprocessableEntityError),
        ({"stop": ["a", ""]}, openai.UnprocessableEntityError),
        ({"top_p": 0.5}, openai.UnprocessableEntityError),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.UnprocessableEntityError),
        ({"response_format": {"type": "json_object"}}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "user", "content": "b is 7 ; " * 500}]}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "user", "content": "b is 7 ; " * 500}], "stream": True}, openai.APIError),
    ],
)
def test_the_openai_client_gets_its_own_errors(served, change, error):
    async def talk() -> None:
        asked: Any = {"model": TINY_POLICY, "messages": [{"role": "user", "content": QUESTION}]} | change
        answer = await client_of(served).chat.completions.create(**asked)
        async for _ in answer:
            pass

    with pytest.raises(error):
        asyncio.run(talk())
