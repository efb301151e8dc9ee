"""PRMs on vLLM and SGLang: the scores that the folder gives in process, whatever pooler the server was started with."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from fake_scorers import FakeSglang, FakeVllm, says, softmax
from served import Served
from sparring.errors import DataError, SettingsError
from sparring.http_client import ServerError, UnusableError
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Calibration, read_sidecar, write_sidecar
from sparring.scorers.door import open_scorer
from sparring.traces.records import Trace
from test_label_token_head import labelled_folder, traces

EXACT = 1e-6
"""What remains between logits in JSON and in process."""


@pytest.fixture(scope="module")
def classifier(tiny_prm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that classifies tokens, with a calibration, of which servers know nothing."""
    folder = tmp_path_factory.mktemp("classifier") / "prm"
    shutil.copytree(tiny_prm, folder)
    calibration = Calibration(scale=0.7, shift=-0.4)
    write_sidecar(folder, read_sidecar(folder).model_copy(update={"calibration": calibration}))
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label tokens of a causal language model."""
    return labelled_folder(tmp_path_factory.mktemp("labelled") / "prm", "untied")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from sparring import http_client

    monkeypatch.setattr(http_client.random, "uniform", lambda low, high: 0.01)


def vllm_of(folder: Path, **options) -> FakeVllm:
    """vLLM as it would serve a folder, computing with the folder's own model."""
    scorer = load_scorer(folder, device="cpu")
    if scorer.sidecar.label_tokens is None:
        return FakeVllm(lambda ids: scorer.logits([ids])[0].tolist(), **options)
    tag = scorer.encode(traces(1)[0]).input_ids[scorer.encode(traces(1)[0]).positions[0]]
    language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    options.setdefault("step", (tag, list(scorer.sidecar.label_tokens)))
    return FakeVllm(lambda ids: language(torch.tensor([ids])).logits[0].tolist(), **options)


def hard_traces() -> list[Trace]:
    """Among them the separator's token inside a question and inside steps, where it is no step's end."""
    found = traces(7)
    found[2] = replace(found[2], steps=("a is 7 \n b is 1", "c is 2", "c is 2 \n \n a is 7"))
    problem = replace(found[3].problem, question="mod 13 : b is 7 \n b is 7 ; find b")
    found[3] = Trace(problem, ("b is 7", "b is 1"))
    return found


@pytest.mark.parametrize("kind", ["classifier", "labelled"])
def test_vllm_gives_the_folder_s_scores(request, kind):
    folder = request.getfixturevalue(kind)
    expected = load_scorer(folder, device="cpu").score(hard_traces())
    with vllm_of(folder) as server:
        scorer = open_scorer(f"vllm+http://{server.host}/v1?batch=2#{folder}")
        for row, wanted in zip(scorer.score(hard_traces()), expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)
        [(path, body), *_] = server.asked
        assert (path, body["task"], body["model"]) == ("/pooling", "token_classify", "prm")
        assert len(body["input"]) == 2 and body["use_activation"] is False
        assert (scorer.threshold, scorer.sidecar.meaning) == (0.5, "correctness")
        assert scorer.identity.place == f"vllm+http://{server.host}#{folder}"
        key = scorer.identity.key
        server.root = "/models/another"
        assert open_scorer(f"vllm+http://{server.host}#{folder}").identity.key != key


@pytest.mark.parametrize("kind", ["classifier", "labelled"])
def test_a_server_that_gives_probabilities_nevertheless(request, kind):
    folder = request.getfixturevalue(kind)
    expected = load_scorer(folder, device="cpu").score(traces())
    with vllm_of(folder, activation_only=True) as server:
        for batch in (1, 16):
            scorer = open_scorer(f"vllm+http://{server.host}?batch={batch}#{folder}")
            for row, wanted in zip(scorer.score(traces()), expected, strict=True):
                assert row == pytest.approx(wanted, abs=1e-5)


def test_a_classifier_started_with_step_pooling(classifier):
    scorer = load_scorer(classifier, device="cpu")
    encoded = scorer.encode(traces(1)[0])
    tag = encoded.input_ids[encoded.positions[0]]
    with vllm_of(classifier, step=(tag, [0, 1])) as server:
        found = open_scorer(f"vllm+http://{server.host}#{classifier}").score(hard_traces())
    for row, wanted in zip(found, scorer.score(hard_traces()), strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


def test_what_does_not_fit(classifier):
    longest = max(traces(), key=lambda trace: len(trace.steps))
    need = len(load_scorer(classifier, device="cpu").encode(longest).input_ids)
    with vllm_of(classifier, most=need - 1) as server:
        with pytest.raises(DataError, match=rf"'{longest.problem.id}'.*past the limit of {need - 1}"):
            open_scorer(f"vllm+http://{server.host}#{classifier}").score(traces())
        dropping = open_scorer(f"vllm+http://{server.host}#{classifier}", overflow="drop_steps")
        lengths = [len(row) for row in dropping.score(traces())]
        assert dropping.dropped_steps == sum(len(t.steps) for t in traces()) - sum(lengths) > 0
        server.most = 4096
        told = open_scorer(f"vllm+http://{server.host}#{classifier}")
        server.most = 5  # it was started anew with less
        with pytest.raises(DataError, match="maximum context length is 5"):
            told.score(traces(1))


def test_servers_that_are_started_otherwise_are_refused_with_a_reason(classifier, labelled):
    def refused(server: FakeVllm, folder: Path) -> str:
        with server, pytest.raises(ServerError) as caught:
            open_scorer(f"vllm+http://{server.host}?retries=0#{folder}").score(traces(1))
        return str(caught.value)

    assert "returned_token_ids" in refused(vllm_of(labelled, step=None), labelled)
    assert "0 vectors for a prompt" in refused(vllm_of(labelled, step=(0, [3, 4])), labelled)
    short = FakeVllm(lambda ids: [[0.5, 0.1, 0.2]] * (len(ids) - 1))
    assert "another model served, or with another pooler config" in refused(short, classifier)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: a.pop("data"), "data is missing"),
        (lambda a: a["data"].pop(), "data: 1 item for 2 inputs"),
        (lambda a: a["data"][1].update(index=0), r"data\[1\].index: expected 1, got 0"),
        (lambda a: a["data"][1].update(data="AAAA"), r"data\[1\].data: expected list, got str"),
        (lambda a: a["data"][0]["data"].pop(), r"data\[0\].data: \d+ vectors for a prompt"),
        (
            lambda a: [r.__setitem__(1, None) for r in a["data"][0]["data"]],
            r"data\[0\].data\[\d+\]\[1\].*None",
        ),
        (lambda a: [r.pop() for r in a["data"][0]["data"]], "vectors of 1 number, of which number 1"),
        (lambda a: a["data"][0].update(data=[0.5] * len(a["data"][0]["data"])), "expected a list of numbers"),
        (lambda a: [r.__setitem__(0, float("nan")) for r in a["data"][1]["data"]], r"data\[1\].*nan"),
    ],
)
def test_answers_of_another_shape(classifier, change, named):
    with vllm_of(classifier) as server:
        scorer = open_scorer(f"vllm+http://{server.host}?retries=0#{classifier}")
        works = [scorer.prepare(trace) for trace in traces(2)]
        _, answer = server.post("/pooling", scorer.request(works))
        change(answer)
        server.faults = [says(json.dumps(answer).encode())]
        with pytest.raises(ServerError, match=named):
            scorer.score(traces(2))


def test_a_server_without_pooling_is_told_so(classifier):
    with vllm_of(classifier) as server:
        scorer = open_scorer(f"vllm+http://{server.host}#{classifier}")
        scorer.path = "/elsewhere"
        with pytest.raises(ServerError, match=r"status 404.*started for pooling"):
            scorer.score(traces(1))


def test_addresses_without_a_folder_and_heads_that_cannot_be(classifier, labelled, tmp_path):
    with vllm_of(classifier) as server:
        with pytest.raises(SettingsError, match="name the PRM's folder"):
            open_scorer(f"vllm+http://{server.host}")
        with pytest.raises(SettingsError, match="head 'token_classification': SGLang gives"):
            open_scorer(f"sglang+http://{server.host}#{classifier}")
        with pytest.raises(SettingsError, match="no model 'x'"):
            open_scorer(f"vllm+http://{server.host}?model=x#{classifier}")


# --- SGLang ----------------------------------------------------------------------------------------------------------


def sglang_of(folder: Path) -> FakeSglang:
    language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return FakeSglang(
        lambda ids: language(torch.tensor([ids])).logits[0, -1].tolist(), language.config.vocab_size
    )


def test_sglang_gives_the_folder_s_scores_by_one_prefix_per_step(labelled):
    expected = load_scorer(labelled, device="cpu").score(hard_traces())
    with sglang_of(labelled) as server:
        scorer = open_scorer(f"sglang+http://{server.host}#{labelled}")
        for row, wanted in zip(scorer.score(hard_traces()), expected, strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)
        bodies = [body for _, body in server.asked]
        assert sorted(len(body["items"]) for body in bodies) == sorted(len(t.steps) for t in hard_traces())
        assert all(body["query"] and body["apply_softmax"] is False for body in bodies)
        server.info = False
        assert len(open_scorer(f"sglang+http://{server.host}#{labelled}").score(traces(1))) == 1


def test_sglang_refused(labelled):
    with sglang_of(labelled) as server:
        scorer = open_scorer(f"sglang+http://{server.host}?retries=0#{labelled}")
        for scores, named in (
            ([[0.5, 0.1]], "scores: 1 for"),
            ([[0.5, 0.0]] * len(traces(1)[0].steps), r"scores\[0\]: expected two probabilities above 0"),
            ([[0.5]] * len(traces(1)[0].steps), r"scores\[0\]: expected two"),
            ([None] * len(traces(1)[0].steps), r"scores\[0\]: expected a list"),
        ):
            server.faults = [says(json.dumps({"scores": scores}).encode())]
            with pytest.raises(ServerError, match=named):
                scorer.score(traces(1))
        server.vocabulary = 2
        with pytest.raises(DataError, match="out of vocabulary"):
            scorer.score(traces(1))
        server.delimiter = 5
        with pytest.raises(SettingsError, match="multi-item-scoring-delimiter"):
            open_scorer(f"sglang+http://{server.host}#{labelled}")


# --- our own server --------------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path):
    """`sparring serve` on a socket."""
    served = Served(folder)
    server = uvicorn.Server(uvicorn.Config(served.app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        served.models.close(5)


@pytest.mark.parametrize("kind", ["classifier", "labelled"])
def test_sparring_serve_in_both_its_languages(request, kind):
    folder = request.getfixturevalue(kind)
    own = load_scorer(folder, device="cpu")
    expected = own.score(hard_traces())
    with running(folder) as host:
        for address in (f"http://{host}?batch=3", f"vllm+http://{host}?batch=3#{folder}"):
            scorer = open_scorer(address)
            for row, wanted in zip(scorer.score(hard_traces()), expected, strict=True):
                assert row == pytest.approx(wanted, abs=1e-5)
        served = open_scorer(f"http://{host}", overflow="drop_steps")
        assert served.identity.fingerprint == own.identity.fingerprint
        assert (served.threshold, served.threshold_rule) == (own.threshold, own.threshold_rule)
        long = Trace(traces(1)[0].problem, ("a is 7",) * 200)
        [row] = served.score([long])
        kept = load_scorer(folder, device="cpu", overflow="drop_steps").score([long])[0]
        assert row == pytest.approx(kept, abs=1e-5) and served.dropped_steps == 200 - len(kept)
        with pytest.raises(DataError, match="past the limit"):
            open_scorer(f"http://{host}").score([long])


def test_softmax_of_the_fake_is_that_of_torch():
    row = [0.3, -2.0, 7.5]
    assert softmax(row) == pytest.approx(torch.softmax(torch.tensor(row), 0).tolist(), abs=EXACT)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_answer_gives_scores_or_is_unusable(data, vllm_scorer, sglang_scorer):
    """What a server answers is anybody's: it never becomes a number that is no score, nor another error."""
    scorer = data.draw(st.sampled_from([vllm_scorer, sglang_scorer]))
    works = [scorer.prepare(trace) for trace in traces(1)]
    count = len(works[0].encoded.input_ids), len(works[0].encoded.positions)
    leaf = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
    vectors = st.lists(
        leaf | st.lists(leaf, max_size=3) | st.just([0.25, 0.75]) | st.just([-1.5, 2.0]),
        max_size=max(count),
    ) | st.sampled_from(count).flatmap(lambda n: st.lists(st.just([0.2, 0.7]), min_size=n, max_size=n))
    item = st.fixed_dictionaries({}, optional={"index": st.just(0) | leaf, "data": vectors | leaf})
    answer = data.draw(
        leaf
        | st.fixed_dictionaries(
            {}, optional={"data": st.lists(item, max_size=2) | leaf, "scores": vectors | leaf}
        )
    )
    try:
        [row] = scorer.rows(answer, works)
    except UnusableError as error:
        assert 0 < len(str(error)) < 1000
    else:
        assert len(row) == count[1] and all(0.0 <= one <= 1.0 for one in row)


@pytest.fixture(scope="module")
def vllm_scorer(classifier):
    with FakeVllm(lambda ids: []) as server:
        yield open_scorer(f"vllm+http://{server.host}#{classifier}")


@pytest.fixture(scope="module")
def sglang_scorer(labelled):
    with FakeSglang(lambda ids: [], 100) as server:
        yield open_scorer(f"sglang+http://{server.host}#{labelled}")
