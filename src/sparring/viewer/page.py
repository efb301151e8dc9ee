"""The step inspector as one self-contained page: opens from disk, needs no server and asks for nothing.

    atomic_write_text(path, inspector_page(data))

Contract: the page is a function of the data. Its content security policy allows its own script and style by their
digests, no other resource, no connection (live: to its own server only) and no markup from text (trusted types: none).
Data stands in it as one JSON element in which no character can end the element; the script shows texts as text. Formulas
are set here (`report/formulas.py`) and go into the page as trees of known elements; past the first `MOST_FORMULAS`
different ones they stay as they are written, which a note says.

Not here: what is shown (`data.py`), how it behaves (`inspector.js`, on a server also `live.js`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jinja2

from sparring.errors import plural
from sparring.report.formulas import Html, MathElement, formulas_of, mathml_tree
from sparring.viewer.data import InspectorCase, InspectorData, plain, texts

MOST_FORMULAS = 10_000
"""Different formulas that are set; each takes about half a millisecond."""
LIVE_TITLE = "Step inspector"


def inspector_page(
    cases: InspectorData | Sequence[InspectorCase],
    *,
    live: bool = False,
    token: bool = True,
    watch: float | None = None,
) -> str:
    """Return the page.

    Args:
        cases: what it shows; of a server that has nothing to show yet, an empty list.
        live: whether it is served by `sparring serve`: it then has forms that score and search.
        token: whether that server asks for a token: there is a field for it then.
        watch: seconds after which it loads itself anew, where its file is rewritten.
    """
    data = cases if isinstance(cases, InspectorData) else InspectorData(LIVE_TITLE, cases=cases)
    formulas, left_out = _formulas(data)
    if left_out:
        data = replace(data, notes=[*data.notes, f"shown as written: {plural(left_out, 'more formula')}"])
    content = {**plain(data), "formulas": formulas, "live": live, "token": token, "watch": watch}
    script = _file("inspector.js") + (_file("live.js") if live else "") + "start();\n"
    style = _report_style() + _file("inspector.css")
    server = "'self'" if live else "'none'"
    policy = _policy(script, style, server)
    return _template("inspector.html").render(
        title=data.title, policy=Html(policy), style=Html(style), script=Html(script), data=_embedded(content)
    )


def endpoints_page() -> str:
    """Return the page of a server's endpoints, drawn from its own `/openapi.json`, on which each can be tried."""
    script, style = _file("endpoints.js"), _report_style()
    return _template("endpoints.html").render(
        policy=Html(_policy(script, style, "'self'")), style=Html(style), script=Html(script)
    )


def _policy(script: str, style: str, server: str) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        f"connect-src {server}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _embedded(content: Any) -> Html:
    """Return JSON that can stand inside of a script element: in ASCII, with ``<``, ``>`` and ``&`` as escapes."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Html(text)


def _formulas(data: InspectorData) -> tuple[dict[str, list[Any]], int]:
    """Return the formulas of all texts by ``i`` or ``b`` and their source, and how many more there are."""
    found: dict[str, list[Any]] = {}
    tried: set[tuple[str, str]] = set()
    for text in texts(data):
        for _, source, display in formulas_of(text):
            if (display, source) in tried:
                continue
            tried.add((display, source))
            if len(tried) <= MOST_FORMULAS and (tree := mathml_tree(source, display=display)) is not None:
                found[display[0] + source] = [_element(element) for element in tree]
    return found, max(0, len(tried) - MOST_FORMULAS)


def _element(element: MathElement) -> list[Any]:
    """Return an element as ``[tag, attributes or 0, text, children…]``; what stands behind it becomes a text child."""
    inside: list[Any] = []
    for child in element.children:
        inside += [_element(child), child.tail] if child.tail.strip() else [_element(child)]
    return [element.tag, dict(element.attributes) or 0, element.text, *inside]


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _report_style() -> str:
    return (files("sparring.report") / "templates" / "style.css").read_text(encoding="utf-8")


def _file(name: str) -> str:
    return (files("sparring.viewer") / name).read_text(encoding="utf-8")


@functools.cache
def _template(name: str) -> jinja2.Template:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_file(name))
