"""Interfaces of others: vLLM's `/pooling`, OpenRLHF's `/get_reward`, Prometheus, and the log."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from served import QUESTION, STEPS, Served
from sparring.models.scorer import load_scorer
from sparring.serving.logs import start_log
from sparring.serving.models import SCORES
from sparring.traces.records import Problem, Trace
from test_label_token_head import labelled_folder

TRACE = Trace(Problem("-", QUESTION), tuple(STEPS))
PROMPT = {"task": "token_classify", "input": QUESTION + " \n " + STEPS[0]}


@pytest.fixture(scope="module")
def served(tiny_prm: Path) -> Served:
    return Served(
        tiny_prm, max_items=8, stop=("<|end|>",), question_after="<|user|>", question_before="<|assistant|>"
    )


def test_pooling_gives_a_vector_per_token_at_whose_positions_the_scores_are(served, tiny_prm):
    scorer = load_scorer(tiny_prm, device="cpu")
    row = scorer.encode(TRACE)
    ids = list(row.input_ids)
    answer = served.post(
        "/pooling", {"task": "token_classify", "input": [ids, ids[:5]], "model": "prm"}
    ).json()
    assert answer["object"] == "list" and answer["id"].startswith("pool-") and answer["model"] == "prm"
    assert answer["usage"] == {
        "prompt_tokens": len(ids) + 5,
        "total_tokens": len(ids) + 5,
        "completion_tokens": 0,
    }
    first, second = answer["data"]
    assert (first["index"], first["object"], second["index"]) == (0, "pooling", 1)
    assert len(first["data"]) == len(ids) and len(second["data"]) == 5
    [scores] = scorer.score([TRACE])
    correct = scorer.sidecar.correct_label
    assert [first["data"][at][correct] for at in row.positions] == pytest.approx(scores, abs=1e-5)
    assert all(sum(vector) == pytest.approx(1) for vector in first["data"])
    with torch.no_grad():
        logits = scorer.model(input_ids=torch.tensor([ids])).logits[0]
    raw = served.post("/pooling", {"input": ids, "use_activation": False}).json()["data"][0]["data"]
    assert np.allclose(raw, logits.numpy(), atol=1e-5)
    coded = served.post("/pooling", {"input": ids, "encoding_format": "base64"}).json()["data"][0]["data"]
    numbers = np.frombuffer(base64.b64decode(coded), "<f4").reshape(len(ids), -1)
    assert np.allclose(numbers, first["data"], atol=1e-6)


def test_pooling_reads_texts_with_their_special_tokens(served, tiny_prm):
    tokenizer = load_scorer(tiny_prm, device="cpu").tokenizer
    texts = [QUESTION, STEPS[0]]
    ids = [tokenizer.encode(text, add_special_tokens=True) for text in texts]
    by_text = served.post("/pooling", {"input": texts, "user": "me", "priority": 3, "anything": 1}).json()[
        "data"
    ]
    by_ids = served.post("/pooling", {"input": ids}).json()["data"]
    assert [len(one["data"]) for one in by_text] == [len(one) for one in ids]
    assert np.allclose(by_text[0]["data"], by_ids[0]["data"], atol=1e-5)
    one = served.post("/pooling", {"input": texts[0], "add_special_tokens": False}).json()["data"]
    assert len(one) == 1


def test_pooling_of_label_tokens_gives_a_vector_per_step(tmp_path):
    folder = labelled_folder(tmp_path / "labels", "tied")
    scorer = load_scorer(folder, device="cpu")
    row = scorer.encode(TRACE)
    served = Served(folder)
    [item] = served.post("/pooling", {"input": list(row.input_ids)}).json()["data"]
    tag = row.input_ids[row.positions[0]]
    tags = [at for at, one in enumerate(row.input_ids) if one == tag]
    assert len(item["data"]) == len(tags) and all(len(vector) == 2 for vector in item["data"])
    [scores] = scorer.score([TRACE])
    assert [item["data"][tags.index(at)][0] for at in row.positions] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"input": []}, 422, "input"),
        ({"input": [[]]}, 422, "input[0]"),
        ({"input": ""}, 422, "input"),
        ({"input": [[1, 10**6]]}, 422, "input[0]"),
        ({"input": [[1, -1]]}, 422, None),
        ({"input": [1] * 301}, 422, "input"),
        ({"input": ["a"] * 9}, 413, "input"),
        ({"input": "\ud800"}, 422, None),
        ({"input": {"a": 1}}, 422, None),
        ({"task": "embed"}, 422, "task"),
        ({"task": "reward"}, 422, "task"),
        ({"normalize": True}, 422, "normalize"),
        ({"dimensions": 3}, 422, "dimensions"),
        ({"truncate_prompt_tokens": 4}, 422, "truncate_prompt_tokens"),
        ({"messages": [{"role": "user", "content": "a"}]}, 422, "messages"),
        ({"encoding_format": "bytes"}, 422, "encoding_format"),
        ({"model": "other"}, 404, "model"),
    ],
)
def test_pooling_refuses_what_it_would_get_wrong(served, change, status, field):
    content = json.dumps(PROMPT | change)
    response = served.post("/pooling", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    told = response.json()["error"]
    assert field is None or told["field"] == field, told


def test_pooling_says_what_an_input_may_be(served):
    response = served.post("/pooling", {"input": [1, -2]})
    assert response.json()["error"]["message"] == (
        "input: a text, texts, token ids (whole numbers from 0) or lists of token ids are expected"
    )


def test_rewards_are_the_aggregated_scores_of_the_answer_s_steps(served, tiny_prm):
    prompt = f"<|system|>be brief<|user|>{QUESTION}<|assistant|>"
    queries = [f"{prompt}{STEPS[0]}\n{STEPS[1]}<|end|> and more", prompt, f"{prompt}{STEPS[0]}"]
    body = {"query": queries, "prompts": [prompt] * 3, "labels": ["6", "6", "6"]}
    response = served.post("/get_reward", body)
    assert response.status_code == 200, response.text
    answer = response.json()
    both = load_scorer(tiny_prm, device="cpu").score([TRACE, TRACE.prefix(1)])
    assert answer["rewards"] == pytest.approx([min(both[0]), 0.0, min(both[1])], abs=1e-5)
    assert answer["scores"] == answer["rewards"]
    assert answer["extra_logs"]["without_step"] == [0.0, 1.0, 0.0]
    assert all(len(values) == 3 for values in answer["extra_logs"].values())
    only_empty = served.post("/get_reward", {"query": [prompt], "prompts": [prompt]}).json()
    assert only_empty["rewards"] == [0.0]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"prompts": None}, 422, "prompts"),
        ({"prompts": []}, 422, "prompts"),
        ({"prompts": ["other"]}, 422, "query[0]"),
        ({"prompts": [""]}, 422, "query[0].problem"),
        ({"query": []}, 422, "query"),
        ({"query": "text"}, 422, "query"),
        ({"query": ["p a"] * 9, "prompts": ["p"] * 9}, 413, "query"),
    ],
)
def test_rewards_refuse_what_cannot_be_taken_apart(served, change, status, field):
    response = served.post("/get_reward", {"query": ["p a is 1"], "prompts": ["p"]} | change)
    assert response.status_code == status, response.text
    assert response.json()["error"]["field"] == field


def test_metrics_count_what_happened(tiny_prm, monkeypatch):
    served = Served(tiny_prm)
    one = {"problem": QUESTION, "steps": STEPS}
    tokens = served.post("/v1/score", one).json()["usage"]["tokens"]
    served.post("/v1/score", {})
    served.get("/nowhere/at/all")
    monkeypatch.setitem(served.models.prm(None).batcher.compute, SCORES, lambda rows: 1 / 0)
    assert served.post("/v1/score", one).status_code == 500
    response = served.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["sparring_requests_total", "/v1/score", "200"] == 1
    assert samples["sparring_requests_total", "/v1/score", "422"] == 1
    assert samples["sparring_requests_total", "/v1/score", "500"] == 1
    assert samples["sparring_requests_total", "404", "other"] == 1
    assert samples["sparring_tokens_total", "prm", "scores"] == tokens
    assert samples["sparring_rows_total", "prm", "scores"] == 1
    assert samples["sparring_model_failures_total", "prm"] == 1
    assert samples["sparring_queue_tokens", "prm"] == 0
    assert samples["sparring_requests_at_work",] == 1  # this one


def test_the_log_says_what_a_request_cost_and_never_what_it_said(tiny_prm, monkeypatch):
    stream = io.StringIO()
    loggers = [logging.getLogger(name) for name in ("sparring.serving", "uvicorn")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    start_log("info", stream)
    try:
        served = Served(tiny_prm, token="very-secret")
        auth = {"authorization": "Bearer very-secret", "x-request-id": "mine-1"}
        items = [{"problem": QUESTION, "steps": STEPS, "id": "private"}]
        answer = served.post("/v1/score", {"items": items}, headers=auth)
        assert answer.headers["x-request-id"] == "mine-1"
        served.post("/v1/score", {"items": items, "odd": QUESTION}, headers=auth)
        served.post("/v1/score?secret=1", {"items": items}, headers={"x-request-id": "bad id\n"})
        served.get("/healthz")
        monkeypatch.setitem(served.models.prm(None).batcher.compute, SCORES, lambda rows: 1 / 0)
        served.post("/v1/score", {"items": items}, headers=auth)
    finally:
        for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)
    text = stream.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines] == ["request", "request", "request", "model failed", "request"]
    first = lines[0]
    assert first["id"] == "mine-1" and first["status"] == 200 and first["path"] == "/v1/score"
    assert (first["items"], first["steps"], first["model"]) == (1, 2, "prm")
    assert first["tokens"] > 0 and first["seconds"] > 0 and first["body_bytes"] > 100
    assert [line["status"] for line in lines if line["event"] == "request"] == [200, 422, 401, 500]
    assert "ZeroDivisionError" in lines[3]["error"]
    for secret in ("very-secret", "private", "mod 13", "secret=1"):
        assert secret not in text
