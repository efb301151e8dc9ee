"""`/v1/score`, `/v1/models`, health: contract, limits, and errors that name the field."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from served import QUESTION, STEPS, Served
from sparring.models.scorer import load_scorer
from sparring.serving.app import _fields
from sparring.serving.models import SCORES
from sparring.traces.records import Problem, Trace
from sparring.worlds.chain import generate_problems


@pytest.fixture(scope="module")
def served(tiny_prm: Path) -> Served:
    return Served(
        tiny_prm,
        max_items=8,
        max_steps_per_item=10,
        max_request_tokens=900,
        queue_tokens=2000,
        max_body_bytes=20_000,
    )


def error(response: httpx.Response, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "field", "code"}
    return body["error"]


def test_scores_are_those_of_the_folder(served, tiny_prm):
    expected = load_scorer(tiny_prm, device="cpu").score([Trace(Problem("-", QUESTION), tuple(STEPS))])[0]
    response = served.post(
        "/v1/score", {"problem": QUESTION, "steps": STEPS, "threshold": expected[1] + 1e-6}
    )
    assert response.status_code == 200, response.text
    answer = response.json()
    [result] = answer["results"]
    assert result["scores"] == pytest.approx(expected, abs=1e-6)
    first = next(i for i, one in enumerate(expected) if one < expected[1] + 1e-6)
    assert (result["id"], result["steps"], result["first_error"]) == (None, STEPS, first)
    assert result["aggregate"] == min(result["scores"]) and answer["aggregate"] == "min"
    assert answer["model"] == "prm" and answer["threshold_rule"] == "given in the request"
    assert answer["usage"]["tokens"] == result["tokens"] > len(QUESTION.split())
    assert answer["usage"]["seconds"] > 0


def test_many_requests_at_once_give_the_scores_of_each_alone(served, tiny_prm):
    problems = generate_problems(12, steps=(1, 4), seed=3, name="test")
    expected = load_scorer(tiny_prm, device="cpu").score([Trace(one, one.solution) for one in problems])

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = (
            client.post(
                "/v1/score", json={"problem": one.question, "text": "\n".join(one.solution), "id": one.id}
            )
            for one in problems
        )
        return await asyncio.gather(*asked)

    responses = served.run(talk)
    for one, row, response in zip(problems, expected, responses, strict=True):
        [result] = response.json()["results"]
        assert result["id"] == one.id and result["steps"] == list(one.solution)
        assert result["scores"] == pytest.approx(row, abs=1e-5)


def test_items_come_back_in_order_with_their_ids(served):
    items = [{"id": f"n{n}", "problem": QUESTION, "steps": STEPS[: 1 + n % 2]} for n in range(5)]
    answer = served.post("/v1/score", {"items": items, "aggregate": "mean", "model": "prm"}).json()
    assert [one["id"] for one in answer["results"]] == [f"n{n}" for n in range(5)]
    assert [len(one["scores"]) for one in answer["results"]] == [1, 2, 1, 2, 1]
    assert all(
        one["aggregate"] == pytest.approx(sum(one["scores"]) / len(one["scores"]))
        for one in answer["results"]
    )


ONE = {"problem": QUESTION, "steps": STEPS}
REFUSED = [
    ({}, 422, "problem"),
    ({"problem": QUESTION}, 422, "steps"),
    ({"problem": QUESTION, "steps": []}, 422, "steps"),
    ({"problem": QUESTION, "steps": STEPS, "text": "a"}, 422, "steps"),
    ({"problem": QUESTION, "steps": ["a is 1", "  "]}, 422, "steps[1]"),
    ({"problem": QUESTION, "steps": ["a is 1", 7]}, 422, "steps[1]"),
    ({"problem": QUESTION, "steps": "a is 1"}, 422, "steps"),
    ({"problem": QUESTION, "text": " \n "}, 422, "text"),
    ({"problem": " ", "steps": STEPS}, 422, "problem"),
    ({"problem": "a \ud800", "steps": STEPS}, 422, "problem"),
    ({**ONE, "id": "\udc00"}, 422, "id"),
    ({**ONE, "threshold": 2}, 422, "threshold"),
    ({**ONE, "threshold": "0.5"}, 422, "threshold"),
    ({**ONE, "aggregate": "max"}, 422, "aggregate"),
    ({**ONE, "modle": "prm"}, 422, "modle"),
    ({**ONE, "model": "prn"}, 404, "model"),
    ({"items": []}, 422, "items"),
    ({"items": [ONE, {**ONE, "steps": [""]}]}, 422, "items[1].steps[0]"),
    ({"items": [ONE, {"problem": 3, "text": "a"}]}, 422, "items[1].problem"),
    ({"items": [ONE] * 9}, 413, "items"),
    ({"items": [ONE, {**ONE, "steps": ["a is 1"] * 11}]}, 413, "items[1].steps"),
    ({**ONE, "steps": ["a is 1 " * 120]}, 422, "steps[0]"),
    ({"items": [{**ONE, "steps": ["a is 1 " * 33]}] * 8}, 413, "items[7]"),
    ([1], 422, None),
    ("text", 422, None),
    (None, 422, None),
]


@pytest.mark.parametrize(("body", "status", "field"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_what_cannot_be_scored_is_refused_with_its_field(served, body, status, field):
    content = json.dumps(body).encode()
    told = error(
        served.post("/v1/score", content=content, headers={"content-type": "application/json"}), status
    )
    assert told["field"] == field, told
    assert "Traceback" not in str(told) and "\n" not in str(told["message"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"a":' * 50_000, b"9" * 6000, b"", b"NaN"])
def test_what_is_no_json_is_refused(served, content):
    response = served.post("/v1/score", content=content, headers={"content-type": "application/json"})
    error(response, 413 if len(content) > 20_000 else response.status_code)
    assert response.status_code in (400, 413, 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"problem": "a", "problem": "b", "steps": ["c"]}', "problem"),
        (b'{"items": [{"problem": "a", "steps": ["b"], "steps": ["c"]}]}', "steps"),
        (rb'{"\ud800": 1, "\ud800": 2}', "?"),
    ],
)
def test_a_key_that_comes_twice_is_refused_by_name(served, body, field):
    response = served.post("/v1/score", content=body, headers={"content-type": "application/json"})
    told = error(response, 422)
    assert told["field"] == field and told["message"] == f"{field}: the key is given twice"


SAID = [
    (
        {"problem": QUESTION, "stepz": STEPS},
        "unknown field 'stepz' (did you mean 'steps'?) (and 1 more problem)",
    ),
    ({**ONE, "text": "a"}, "steps: give steps or text, not both"),
    ({"items": [ONE], "problem": "a"}, "problem: does not go with the other fields here"),
    ({**ONE, "threshold": float("nan")}, "threshold: must be a finite number"),
]


@pytest.mark.parametrize(("body", "message"), SAID, ids=["unknown", "both", "flat and items", "NaN"])
def test_what_is_said(served, body, message):
    content = json.dumps(body).encode()
    response = served.post("/v1/score", content=content, headers={"content-type": "application/json"})
    assert error(response, 422)["message"] == message


def test_what_may_be_misspelt_is_looked_up_once(served):
    made = set()
    for _ in range(2):
        error(served.post("/v1/score", {"problem": QUESTION, "stepz": STEPS}), 422)
        made.add(_fields.cache_info().misses)
    assert len(made) == 1 and made != {0}


def test_an_item_is_named_by_its_place_and_other_types_of_content_are_refused(served):
    told = error(served.post("/v1/score", {"items": [{**ONE, "steps": ["a is 1 " * 120]}]}), 422)
    assert str(told["message"]).startswith("items[0]: step 1 of 1 ends at token")
    told = error(
        served.post("/v1/score", content=json.dumps(ONE).encode(), headers={"content-type": "text/plain"}),
        422,
    )
    assert told["message"] == "the content-type must be application/json, not text/plain"


def test_the_page_of_endpoints_loads_nothing(served):
    page = served.get("/docs")
    assert page.status_code == 200 and "connect-src 'self'" in page.text and "default-src 'none'" in page.text
    assert "://" not in page.text and "src=" not in page.text.replace("-src", "")


def test_deep_nesting_is_no_fault(tiny_prm):
    served = Served(tiny_prm)
    content = b'{"problem":' + b"[" * 100_000
    error(served.post("/v1/score", content=content, headers={"content-type": "application/json"}), 400)


def test_unknown_places_and_methods_have_the_same_form(served):
    assert error(served.get("/v2/score"), 404)["type"] == "not_found"
    assert error(served.get("/v1/score"), 405)["type"] == "method_not_allowed"


def test_a_failing_model_and_scores_that_are_no_numbers_are_errors_never_zeros(served, monkeypatch):
    batcher = served.models.prm(None).batcher

    def broken(rows):
        raise RuntimeError("a secret of the machine")

    monkeypatch.setitem(batcher.compute, SCORES, broken)
    told = error(served.post("/v1/score", ONE), 500)
    assert told["type"] == "model_failed" and "secret" not in str(told)
    monkeypatch.setitem(
        batcher.compute, SCORES, lambda rows: [[float("nan")] * len(row.positions) for row in rows]
    )
    assert error(served.post("/v1/score", ONE), 500)["type"] == "scores_not_numbers"
    monkeypatch.undo()
    assert served.post("/v1/score", ONE).status_code == 200


def test_a_request_that_takes_too_long_and_a_full_queue(tiny_prm, monkeypatch):
    served = Served(tiny_prm, request_seconds=0.3, max_request_tokens=60, queue_tokens=60)
    batcher = served.models.prm(None).batcher
    compute, shut = batcher.compute[SCORES], __import__("threading").Event()

    def slow(rows):
        shut.wait(30)
        return compute(rows)

    monkeypatch.setitem(batcher.compute, SCORES, slow)

    async def talk(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        first = asyncio.ensure_future(client.post("/v1/score", json=ONE))
        while not batcher.waiting_tokens:
            await asyncio.sleep(0.001)
        return await client.post("/v1/score", json=ONE), await first

    full, late = served.run(talk)
    assert error(full, 429)["type"] == "overloaded"
    assert int(full.headers["retry-after"]) >= 1
    assert error(late, 504)["type"] == "timeout"
    shut.set()
    while batcher.waiting_tokens:
        pass
    assert served.post("/v1/score", ONE).status_code == 200


def test_models_and_health(served, tiny_prm):
    [model] = served.get("/v1/models").json()["data"]
    assert model["id"] == "prm" and model["object"] == "model"
    assert model["sparring"]["role"] == "prm" and model["sparring"]["head"] == "token_classification"
    assert model["sparring"]["threshold"] == 0.5 and model["sparring"]["max_tokens"] == 300
    assert model["sparring"]["threshold_rule"] == "fixed 0.5" and len(model["sparring"]["fingerprint"]) == 64
    assert served.get("/healthz").json()["status"] == "ok"
    assert served.get("/readyz").status_code == 200
    assert served.get("/openapi.json").status_code == 200
    page = served.get("/")
    assert page.headers["content-type"].startswith("text/html") and "connect-src 'self'" in page.text
    closing = Served(tiny_prm)
    closing.models.close(1.0)
    assert closing.get("/readyz").status_code == 503
    told = error(closing.post("/v1/score", ONE), 503)
    assert told["type"] == "unavailable"


def test_only_who_has_the_token_may_ask(tiny_prm):
    served = Served(tiny_prm, token="s3cret-ü")
    assert error(served.post("/v1/score", ONE), 401)["type"] == "unauthorized"
    assert error(served.get("/v1/models", headers={"authorization": "Bearer wrong"}), 401)
    assert all(served.get(path).status_code == 200 for path in ("/", "/healthz", "/docs"))
    document = served.get("/openapi.json").json()
    assert document["paths"]["/v1/score"]["post"]["security"] == [{"HTTPBearer": []}]
    right = {"authorization": "Bearer s3cret-ü".encode()}
    assert served.post("/v1/score", ONE, headers=right).status_code == 200
