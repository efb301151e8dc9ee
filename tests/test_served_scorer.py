"""Scores from `sparring serve`: every trace gets its own or the call fails, whatever the server does."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_scorers import FakeSparring, busy, dies, says
from sparring.addresses import is_address, parse_address
from sparring.errors import DataError, SettingsError, SparringError
from sparring.http_client import ServerError
from sparring.scorers.door import as_source, open_scorer
from sparring.traces.records import Problem, Trace

QUICK = "retries=2&timeout=60"


@pytest.fixture
def server(monkeypatch):
    quick_waits(monkeypatch)
    with FakeSparring() as found:
        yield found


def quick_waits(monkeypatch) -> None:
    from sparring import http_client

    backoff = http_client.random.uniform
    monkeypatch.setattr(http_client.random, "uniform", lambda low, high: backoff(low, high) * 0.01)


def traces(count: int, steps: int = 2) -> list[Trace]:
    return [
        Trace(
            Problem(f"p{i}", f"What is {i}?"),
            tuple(f"step {k} wrong" if k == i % steps else f"step {k}" for k in range(steps)),
        )
        for i in range(count)
    ]


def test_scores_order_identity_and_threshold(server):
    scorer = open_scorer(f"http://{server.host}/v1?batch=3&concurrency=2")
    told = []
    rows = scorer.score(traces(20), told.append)
    assert rows == [[0.1, 0.9] if i % 2 == 0 else [0.9, 0.1] for i in range(20)]
    assert sum(told) == 20 and len(server.asked) == 7 and server.most_in_flight <= 2
    assert (scorer.threshold, scorer.threshold_rule) == (0.4, "best F1 on x")
    assert (scorer.sidecar.meaning, scorer.sidecar.aggregation) == ("correctness", "product")
    assert scorer.identity.record() == {
        "place": f"http://{server.host}",
        "model": "prm",
        "fingerprint": "f1",
    }
    assert open_scorer(f"http://{server.host}", threshold=0.7).threshold == 0.7
    assert scorer.score([]) == []


def test_the_same_model_at_another_address_is_the_same_and_another_is_not(server):
    key = open_scorer(f"http://{server.host}").identity.key
    with FakeSparring() as moved, FakeSparring(fingerprint="f2") as other:
        assert open_scorer(f"http://{moved.host}").identity.key == key
        assert open_scorer(f"http://{other.host}").identity.key != key


def test_a_busy_server_is_waited_for_longer_than_a_broken_one(server):
    server.faults = [busy() for _ in range(12)]
    assert len(open_scorer(f"http://{server.host}?{QUICK}").score(traces(3))) == 3


def test_a_busy_server_is_told_once_and_one_that_fails_then_too(server, caplog):
    server.faults = [busy(status=503), busy(), dies, busy(), dies]
    assert len(open_scorer(f"http://{server.host}?{QUICK}").score(traces(1))) == 1
    told = [record.getMessage() for record in caplog.records if record.name == "sparring.http_client"]
    assert told[0] == f"the server at http://{server.host} is busy (status 503: the queue is full); waiting"
    assert len(told) == 2 and told[1].startswith(f"waiting for the server at http://{server.host} (")


def test_a_server_that_dies_in_the_middle_is_asked_again(server):
    server.faults = [dies, dies]
    assert open_scorer(f"http://{server.host}?{QUICK}").score(traces(1)) == [[0.1, 0.9]]
    server.faults = [dies] * 3
    with pytest.raises(ServerError, match="nothing usable in 3 tries"):
        open_scorer(f"http://{server.host}?{QUICK}").score(traces(1))


def test_one_that_comes_back_with_another_model_is_refused(server):
    scorer = open_scorer(f"http://{server.host}?{QUICK}")

    def replaced(handler, body):
        server.told = server.told | {"fingerprint": "f2"}
        dies(handler, body)

    server.faults = [replaced]
    with pytest.raises(ServerError, match=r"another one now.*f1.*f2"):
        scorer.score(traces(1))


def test_what_is_refused_names_the_trace_and_the_others_are_not_blamed(server):
    long = Trace(Problem("long one", "?"), ("a", "b", "c", "d", "e"))
    scorer = open_scorer(f"http://{server.host}?batch=8")
    with pytest.raises(DataError, match=r"steps\[4\].*'long one'.*past the limit of 100"):
        scorer.score([*traces(3), long, *traces(3)])
    dropping = open_scorer(f"http://{server.host}?batch=8", overflow="drop_steps")
    rows = dropping.score([*traces(3), long])
    assert [len(row) for row in rows] == [2, 2, 2, 4] and dropping.dropped_steps == 1
    server.longest = 0
    with pytest.raises(DataError, match="'p0'"):
        dropping.score(traces(1))


def test_a_server_that_refuses_everything_is_not_asked_for_everything(server):
    server.longest = 1
    with pytest.raises(DataError, match="past the limit"):
        open_scorer(f"http://{server.host}?batch=2&concurrency=2").score(traces(100))
    assert len(server.asked) < 20


def test_a_token_is_sent_asked_for_and_never_shown(server, monkeypatch):
    server.token = "secret"
    with pytest.raises(ServerError, match="SPARRING_TOKEN"):
        open_scorer(f"http://{server.host}").score(traces(1))
    with pytest.raises(ServerError) as caught:
        open_scorer(f"http://{server.host}", token="false").score(traces(1))
    assert "false" not in str(caught.value)
    monkeypatch.setenv("SPARRING_TOKEN", "secret")
    assert len(open_scorer(f"http://{server.host}").score(traces(1))) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: a.pop("model"), "model is missing"),
        (lambda a: a.update(model="other"), "answered by 'other'"),
        (lambda a: a.pop("results"), "results is missing"),
        (lambda a: a.update(results=None), "results: expected list, got NoneType"),
        (lambda a: a["results"].pop(), "results: 1 for 2 items"),
        (lambda a: a["results"].reverse(), r"results\[0\].id: expected '0', got '1'"),
        (
            lambda a: a["results"][1].update(steps=["other", "steps"]),
            r"results\[1\].steps: not the steps that",
        ),
        (lambda a: a["results"][1].update(steps=None), r"results\[1\].steps: not the steps that"),
        (lambda a: a["results"][1].pop("scores"), r"results\[1\].scores is missing"),
        (lambda a: a["results"][1]["scores"].pop(), r"results\[1\].scores: 1 score for 2 steps"),
        (lambda a: a["results"][1]["scores"].__setitem__(1, None), r"results\[1\].scores\[1\].*None"),
        (lambda a: a["results"][1]["scores"].__setitem__(0, float("nan")), r"results\[1\].scores\[0\].*nan"),
        (lambda a: a["results"][1]["scores"].__setitem__(0, 1.5), r"results\[1\].scores\[0\].*1\.5"),
        (lambda a: a["results"][1]["scores"].__setitem__(0, True), r"results\[1\].scores\[0\].*True"),
        (lambda a: a["results"][1]["scores"].__setitem__(0, "0.5"), r"results\[1\].scores\[0\].*'0.5'"),
    ],
)
def test_an_answer_of_another_shape_is_never_used_and_the_field_named(server, change, named):
    scorer = open_scorer(f"http://{server.host}?retries=1")
    asked = traces(2)
    _, answer = server.post("/v1/score", scorer.request([scorer.prepare(trace) for trace in asked]))
    change(answer)
    server.faults = [says(json.dumps(answer).encode())] * 2
    with pytest.raises(ServerError, match=named):
        scorer.score(asked)
    server.faults = [says(json.dumps(answer).encode())]  # once: it is asked again
    assert scorer.score(asked) == [[0.1, 0.9], [0.9, 0.1]]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "results", "id", "scores", "error"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(answer=JSON, status=st.sampled_from([200, 200, 200, 400, 404, 422, 500]))
def test_whatever_a_server_says_there_are_right_scores_or_an_error(answer, status):
    with pytest.MonkeyPatch.context() as patch:
        quick_waits(patch)
        server, scorer = _shared()
        server.faults = [lambda handler, body: handler.reply(status, answer)]
        try:
            assert scorer.score(traces(1)) == [[0.1, 0.9]]
        except SparringError as error:
            assert str(error) and len(str(error)) < 1000
        server.faults = []


_made: list = []


def _shared():
    if not _made:
        server = FakeSparring()
        _made.extend((server, open_scorer(f"http://{server.host}?retries=1")))
    return _made


def test_an_answer_without_end_is_not_read_to_its_end(server, monkeypatch):
    monkeypatch.setattr("sparring.http_client.MOST_BYTES", 1000)
    server.faults = [says(b" " * 5000)] * 3
    with pytest.raises(ServerError, match="longer than 1000 bytes"):
        open_scorer(f"http://{server.host}?{QUICK}").score(traces(1))


def test_several_calls_at_once(server):
    scorer = open_scorer(f"http://{server.host}")
    found: list = [None] * 4

    def call(place):
        found[place] = scorer.score(traces(4))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [scorer.score(traces(4))] * 4


def test_which_model(server):
    server.names = ["a", "b"]
    with pytest.raises(SettingsError, match=r"2 models to score with.*: a, b"):
        open_scorer(f"http://{server.host}")
    assert open_scorer(f"http://{server.host}?model=b").identity.model == "b"
    assert open_scorer(f"http://{server.host}", model="a").identity.model == "a"
    with pytest.raises(SettingsError, match="no model 'tiny'"):
        open_scorer(f"http://{server.host}", model="tiny")


def test_a_server_that_is_another_or_none(server, monkeypatch):
    monkeypatch.setattr(server, "models", lambda: [{"id": "m", "owned_by": "vllm"}])
    with pytest.raises(SettingsError, match=r"not `sparring serve`.*vllm\+http"):
        open_scorer(f"http://{server.host}")
    for wrong in ([{"name": "m"}], [1]):
        monkeypatch.setattr(server, "models", lambda wrong=wrong: wrong)
        with pytest.raises(ServerError, match=r"data\[0\]"):
            open_scorer(f"http://{server.host}")
    monkeypatch.undo()
    server.told = server.told | {"threshold": 7}
    with pytest.raises(ServerError, match=r"sparring\.threshold"):
        open_scorer(f"http://{server.host}")
    server.server_close()
    server.shutdown()
    with pytest.raises(ServerError, match="nothing usable in 3 tries"):
        quick_waits(monkeypatch)
        open_scorer(f"http://{server.host}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://x", "no such kind of server"),
        ("vlm+http://x", r"did you mean 'vllm\+http'"),
        ("http://", "a host follows"),
        ("http://user:word@host", "no name or password"),
        ("http://host:port", "is no address"),
        ("http://[::1", "is no address"),
        ("http://host?batch", "name=value"),
        ("http://host?batch=1&batch=2", "given twice"),
        ("http://host?batch=", "is empty"),
        ("http://host?butch=1", "unknown option 'butch'.*'batch'"),
        ("http://host?batch=0", "from 1 on"),
        ("http://host?timeout=1e9", "whole number"),
        ("http://host#folder", "names a folder"),
    ],
)
def test_addresses_that_are_none(address, said):
    with pytest.raises(SettingsError, match=said):
        open_scorer(address)


def test_addresses_and_folders():
    assert is_address("vllm+https://h") and not is_address("models/prm") and not is_address("C:/prm")
    found = parse_address("vllm+https://h:8/base/v1/?model=a%20b#models/prm")
    assert (found.kind, found.url, found.folder) == ("vllm", "https://h:8/base", "models/prm")
    assert found.options == {"model": "a b"}
    assert as_source("http://h//x") == "http://h//x" and as_source("a//b").name == "b"
    with pytest.raises(SettingsError, match="belongs to a server"):
        open_scorer("models/prm", model="x")
    with pytest.raises(SettingsError, match="0 to 1"):
        open_scorer("models/prm", threshold=2.0)


@pytest.mark.parametrize(
    ("retries", "tries"), [("", "3 tries"), ("?retries=0", "one try"), ("?retries=4", "5 tries")]
)
@pytest.mark.parametrize("kind", ["", "judge+"])
def test_retries_count_for_the_first_question_too(monkeypatch, caplog, kind, retries, tries):
    quick_waits(monkeypatch)
    with FakeSparring() as gone:
        host = gone.host
    with pytest.raises(ServerError, match=f"nothing usable in {tries}; "):
        open_scorer(f"{kind}http://{host}{retries}")
    waiting = [record.getMessage() for record in caplog.records if "waiting for" in record.getMessage()]
    assert len(waiting) == (tries != "one try") and all(
        f"http://{host} (ConnectError" in one for one in waiting
    )


@pytest.mark.parametrize("token", ["secret\n", "sec ret", "\x00secret", "secrét"])
def test_a_token_that_cannot_be_sent_is_refused_unshown(server, monkeypatch, token):
    with pytest.raises(SettingsError, match=r"^the token holds white space") as given:
        open_scorer(f"http://{server.host}", token=token)
    if "\x00" not in token:
        monkeypatch.setenv("SPARRING_TOKEN", token)
        with pytest.raises(SettingsError, match=r"^SPARRING_TOKEN holds white space") as found:
            open_scorer(f"judge+http://{server.host}")
        assert "sec" not in str(found.value)
    assert "sec" not in str(given.value)


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_an_error_is_told_in_its_own_words_without_the_token(server, status):
    answer = {"error": {"message": "no key 'hushhush' …\n\x1b[31mhere", "type": "x"}}
    server.faults = [lambda handler, body: handler.reply(status, answer)] * 9
    with pytest.raises(SparringError, match=r"no key '\*\*\*' … \[31mhere") as caught:
        open_scorer(f"http://{server.host}?{QUICK}", token="hushhush").score(traces(1))
    assert "hushhush" not in str(caught.value) and "\\u" not in str(caught.value)
    server.faults = [says(b"hushhush is not JSON")] * 9
    with pytest.raises(SparringError, match=r"not JSON \('\*\*\* is not JSON'\)"):
        open_scorer(f"http://{server.host}?{QUICK}", token="hushhush").score(traces(1))
    judge = open_scorer(f"judge+http://{server.host}?model=m", token="hushhush")
    assert "hushhush" not in repr(vars(judge)["judge"])
