"""The step inspector on a server: a pasted solution is scored, a problem is searched, and errors are said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from sparring.viewer.page import endpoints_page, inspector_page
from test_viewer_page import browser, soon

__all__ = ["browser"]
HOSTILE = "<img src=x onerror=window.hurt=1>"
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("step", {"node": 1, "parent": 0, "step": "a first step", "score": 0.9, "kept": None}),
    ("step", {"node": 2, "parent": 0, "step": HOSTILE, "score": 0.2, "kept": None}),
    ("step", {"node": 1, "parent": 0, "step": "a first step", "score": 0.9, "kept": True}),
    ("progress", {"tokens_generated": 9, "nodes": 2, "seconds": 0.1}),
    ("step", {"node": 3, "parent": 1, "step": "the end is 7", "score": 0.8, "kept": True}),
    ("step", {"node": 2, "parent": 0, "step": HOSTILE, "score": 0.2, "kept": False}),
    ("solution", {"index": 0, "node": 3, "steps": ["a first step", "the end is 7"], "scores": [0.9, 0.8],
                  "value": 0.8, "finished": True, "answer": "7", "chosen": True}),
    ("done", {"answer": "7", "usage": {"tokens_generated": 9}}),
]  # fmt: skip


ITEM = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
BODY = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}},
    "required": ["items"],
}
DOCUMENT = {
    "paths": {
        "/v1/score": {
            "post": {
                "summary": "Score <steps>.",
                "security": [{}],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}
                },
                "responses": {"200": {"description": "Scores."}},
            }
        }
    },
    "components": {"schemas": {"Item": ITEM, "Body": BODY}},
}


class Server(BaseHTTPRequestHandler):
    """Answers as `sparring serve` does; keeps what it was asked."""

    asked: ClassVar[list[tuple[str, Any, str | None]]] = []

    def do_GET(self) -> None:
        if self.path == "/":
            self.send(200, "text/html; charset=utf-8", inspector_page([], live=True))
        elif self.path == "/open":
            self.send(200, "text/html; charset=utf-8", inspector_page([], live=True, token=False))
        elif self.path == "/docs":
            self.send(200, "text/html; charset=utf-8", endpoints_page())
        elif self.path == "/openapi.json":
            self.json(200, DOCUMENT)
        elif self.path == "/v1/models":
            prm = {"id": "tiny-prm", "sparring": {"role": "prm", "threshold": 0.4, "threshold_rule": "fixed"}}
            self.json(
                200,
                {
                    "data": [
                        prm,
                        {"id": "solver", "sparring": {"role": "policy", "methods": ["best_of_n", "beam"]}},
                    ]
                },
            )
        else:
            self.send(204, "text/plain", "")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body, self.headers["Authorization"]))
        if self.path == "/v1/search":
            text = "".join(f"event: {name}\ndata: {json.dumps(fields)}\n\n" for name, fields in EVENTS)
            self.send(200, "text/event-stream", text)
        elif not body["items"][0]["text"].strip():
            self.json(
                422, {"error": {"message": f"items[0].text: the text is empty {HOSTILE}", "type": "invalid"}}
            )
        else:
            steps = body["items"][0]["text"].split("\n\n")
            result = {"id": None, "steps": steps, "scores": [0.9, 0.3][: len(steps)], "first_error": 1}
            answer = {
                "model": "tiny-prm",
                "threshold": 0.4,
                "threshold_rule": "fixed 0.4",
                "results": [result],
            }
            self.json(200, answer)

    def json(self, status: int, content: Any) -> None:
        self.send(status, "application/json", json.dumps(content))

    def send(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    trouble: list[str] = []
    found = browser.new_page()
    found.on("pageerror", lambda error: trouble.append(str(error)))
    found.on("request", lambda one: trouble.append(one.url) if not one.url.startswith(address) else None)
    found.goto(f"{address}/")
    yield found
    found.close()
    server.shutdown()
    server.server_close()
    assert trouble == []


def test_a_pasted_solution_is_scored_and_shown_as_a_case(page):
    assert page.locator("#try").is_visible()
    soon(page.locator("#model option")).to_have_text("tiny-prm")
    page.locator("#problem").fill("How many?")
    page.locator("#solution").fill("one\n\ntwo")
    page.locator("#token").fill("secret")
    page.get_by_role("button", name="Score").click()
    soon(page.locator("#detail h2")).to_have_text("pasted 1")
    assert page.locator(".firsts tr").all_text_contents() == ["tiny-prmstep 2scores 0.300"]
    assert Server.asked == [
        (
            "/v1/score",
            {"model": "tiny-prm", "items": [{"problem": "How many?", "text": "one\n\ntwo"}]},
            "Bearer secret",
        )
    ]
    assert page.locator(".threshold output").text_content() == "0.400"
    page.get_by_role("button", name="Try this problem").click()
    assert page.locator("#solution").input_value() == "one\n\ntwo"


def test_a_search_is_drawn_as_a_tree(page):
    page.locator("#problem").fill("How many?")
    page.select_option("#method", "beam")
    assert not page.locator("#policy").is_visible()  # there is only one
    page.get_by_role("button", name="Search", exact=True).click()
    soon(page.locator("#detail h2")).to_have_text("searched 1")
    assert (
        page.locator(".tree .node:not(.root)").count() == 3
        and page.locator(".tree .node.pruned").count() == 1
    )
    assert "3 steps looked at, 2 kept, 1 pruned" in page.locator(".tree").text_content()
    page.locator(".tree .node.pruned").click()
    assert HOSTILE in page.locator(".told").text_content() and page.evaluate("window.hurt") is None
    assert page.locator(".tree .node.chosen").count() == 2
    [(path, body, _)] = Server.asked
    assert page.locator("#detail .small").first.text_content() == "Answer: 7"
    assert (path, body["policy"], body["model"]) == ("/v1/search", "solver", "tiny-prm")
    assert (body["method"], body["n"], body["problem"]) == ("beam", 4, "How many?")


def test_it_opens_on_the_form_again_and_asks_for_a_token_only_where_one_is_needed(page):
    address = page.url.partition("#")[0]
    page.goto(address + "#view=cases")
    page.reload()
    soon(page.locator("#try")).to_be_visible()
    assert page.locator("#token").is_visible()
    page.goto(address + "open")
    soon(page.locator("#try")).to_be_visible()
    assert not page.locator("#token").is_visible()


def test_the_page_of_endpoints_lists_them_and_asks_only_its_own_server(page):
    page.goto(page.url.partition("#")[0] + "docs")
    soon(page.locator("summary").first).to_have_text("POST /v1/score Score <steps>.")
    page.locator("summary").first.click()
    field = page.locator("textarea")
    assert json.loads(field.input_value()) == {"items": [{"text": "…"}]}
    page.locator("#token").fill("secret")
    page.get_by_role("button", name="Send").click()
    soon(page.locator("pre").first).to_contain_text("200")
    assert Server.asked == [("/v1/score", {"items": [{"text": "…"}]}, "Bearer secret")]


def test_an_error_of_the_server_is_said_as_text(page):
    page.locator("#problem").fill("How many?")
    page.get_by_role("button", name="Score").click()
    soon(page.locator("#said")).to_contain_text("the text is empty <img")
    assert page.evaluate("window.hurt") is None
    assert page.get_by_role("button", name="Score").is_enabled()
