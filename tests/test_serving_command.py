"""`sparring serve` as a process: where it listens, how it stops, what it logs, and what it refuses before it begins."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from served import QUESTION, STEPS, Served
from sparring.errors import SettingsError
from sparring.models.scorer import load_scorer
from sparring.scorers.door import open_scorer
from sparring.serving.command import _listen, is_own_host, serve, token_of
from sparring.serving.settings import ServeSettings, named
from sparring.settings import load_settings
from sparring.traces.records import Trace
from sparring.worlds.chain import generate_problems

ONE = {"problem": QUESTION, "steps": STEPS}


@contextmanager
def server(prm: Path, *words: str, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its address; its log goes to a file."""
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "sparring", "serve", f"prm={prm}", "port=0", "device=cpu", *words],
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()


def test_a_server_answers_outlives_rude_clients_and_finishes_what_it_accepted(tiny_prm, tmp_path):
    log = tmp_path / "log"
    with server(tiny_prm, "max_body_bytes=30000000", log=log) as (process, url):
        assert httpx.post(f"{url}/v1/score", json=ONE).status_code == 200
        traces = [Trace(one, one.solution) for one in generate_problems(20, steps=(1, 4), seed=0, name="t")]
        expected = load_scorer(tiny_prm, device="cpu").score(traces)
        for address in (url, f"vllm+{url}#{tiny_prm}"):  # our own clients, of this server and of vLLM
            scores = open_scorer(address).score(traces)
            assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(scores, expected, strict=True))
        place = url.removeprefix("http://").split(":")
        whole = json.dumps({"items": [ONE] * 150}).encode()
        head = (
            "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(whole)}\r\n\r\n"
        )
        for sent in (
            b"",
            b"\x00\xff garbage\r\n\r\n",
            head.encode(),
            head.encode() + whole[:50],
            head.encode() + whole,
        ):
            rude = socket.create_connection((place[0], int(place[1])))
            rude.sendall(sent)
            rude.close()
        assert httpx.get(f"{url}/readyz").status_code == 200
        # A request that was read when the server is told to stop is answered before it does.
        with socket.create_connection((place[0], int(place[1]))) as asking:
            asking.sendall(head.encode() + whole)
            assert httpx.get(f"{url}/readyz").status_code == 200  # what was sent before is read by now
            process.send_signal(signal.SIGTERM)
            answer = b""
            while part := asking.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"]) == 150
        assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines[:2]] == ["loaded", "listening"] and lines[-1][
        "event"
    ] == "stopped"
    assert not any(line["level"] == "error" for line in lines), lines
    assert "find d" not in log.read_text()


def test_a_web_page_under_a_name_of_its_own_does_not_reach_a_server_without_a_token(tiny_prm):
    served = Served(tiny_prm, own_host=is_own_host)
    for name in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000", "127.3.2.1:80"):
        assert served.get("/healthz", headers={"host": name}).status_code == 200
    for name in (
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "x@localhost",
        "",
        "::1",
    ):
        for answer in (
            served.get("/", headers={"host": name}),
            served.post("/v1/score", ONE, headers={"host": name}),
        ):
            assert answer.status_code == 421 and answer.json()["error"]["field"] == "host", name


@pytest.mark.parametrize(
    ("words", "asked"),
    [({}, True), ({"token_variable": "SERVE_TOKEN"}, False), ({"allow_open": True}, False)],
)
def test_hosts_are_asked_for_where_there_is_no_token(tiny_prm, monkeypatch, words, asked):
    class Made(Exception):
        pass

    def make(models, settings, *, token, own_host):
        models.close(1.0)
        raise Made(own_host)

    monkeypatch.setenv("SERVE_TOKEN", "abc")
    monkeypatch.setattr("sparring.serving.app.make_app", make)
    monkeypatch.setattr("sparring.serving.logs.start_log", lambda level: None)
    with pytest.raises(Made) as made:
        serve(ServeSettings(prm=str(tiny_prm), port=0, device="cpu", **words))
    assert made.value.args == (is_own_host if asked else None,)


def test_a_server_that_has_stopped_leaves_nothing_for_the_collector_to_look_through(tiny_prm, monkeypatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: sockets[0].close())
    monkeypatch.setattr("sparring.serving.logs.start_log", lambda level: None)
    try:
        serve(ServeSettings(prm=str(tiny_prm), port=0, device="cpu"))
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()


def test_small_answers_do_not_wait_for_an_acknowledgement(tiny_prm):
    async def accepted() -> int:
        options: list[int] = []

        def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            options.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = _listen(ServeSettings(prm=str(tiny_prm), port=0))
        async with await asyncio.start_server(greet, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()
        return options[0]

    assert asyncio.run(accepted()) != 0


def test_names_of_models():
    assert named("models/math") == {"math": "models/math"}
    assert named(("a:models/x", "b:models/x", "http://host:1/v1", "c:http://host/v1")) == {
        "a": "models/x",
        "b": "models/x",
        "v1": "http://host:1/v1",
        "c": "http://host/v1",
    }
    for models in (("a/m", "b/m"), ("x:a", "x:b"), ""):
        with pytest.raises(ValueError, match=r"called|no name"):
            named(models)


def test_others_need_a_token_unless_told_otherwise(monkeypatch):
    for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1"):
        assert token_of(ServeSettings(prm="x", host=host)) is None
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(SettingsError, match="token_variable"):
            token_of(ServeSettings(prm="x", host=host))
        assert token_of(ServeSettings(prm="x", host=host, allow_open=True)) is None
    with pytest.raises(SettingsError, match="not set"):
        token_of(ServeSettings(prm="x", token_variable="SERVE_TOKEN"))
    monkeypatch.setenv("SERVE_TOKEN", "abc")
    assert token_of(ServeSettings(prm="x", host="0.0.0.0", token_variable="SERVE_TOKEN")) == "abc"


def test_a_port_is_free_again_at_once_after_a_server_that_left_its_clients_without_a_word():
    first = _listen(ServeSettings(prm="x", port=0))
    first.listen()
    place = first.getsockname()
    with socket.create_connection(place):
        first.accept()[0].close()  # by the server: the system keeps this end of the connection for a while
        first.close()
        with _listen(ServeSettings(prm="x", port=place[1])) as again:
            again.listen()
            assert again.getsockname() == place


def test_what_cannot_be_served_is_said_in_one_line(tiny_prm, monkeypatch):
    with pytest.raises(SettingsError, match="prm"):
        load_settings(ServeSettings, None, ["prm=[]"])
    with pytest.raises(SettingsError, match="two models"):
        load_settings(ServeSettings, None, ["prm=[a/m,b/m]"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="cannot listen"):
            serve(ServeSettings(prm=str(tiny_prm), port=taken.getsockname()[1]))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SettingsError, match=r"sparring\[serve\]"):
        serve(ServeSettings(prm=str(tiny_prm)))
