"""The building blocks of a report page: elements, sections, tables, cards, coloured steps.

Contract: every text that is not `Html` is escaped when it enters an element, so a caller cannot forget it;
markup is balanced because only `element` writes tags. The page is one file: it loads nothing, runs no script
and says so in its content security policy. Not here: what a report says (`demo.py`), plots (`plots.py`), the
look (`style.css`).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

VOID_ELEMENTS = frozenset({"meta", "br", "col", "img"})
STEP_BANDS = 5
LONGEST_TEXT = 2000

# Control characters, lone surrogates, zero-width marks and direction overrides cannot be seen, and can make
# a page invalid or show its text in another order than it is written. The joiners U+200C and U+200D stay:
# Persian and emoji need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


Item = TypeVar("Item")


class Html(str):
    """Text that is already safe markup."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Return `text` as markup that shows exactly that text; invisible characters show as ``⟨U+0000⟩``."""
    visible = INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)
    return Html(html.escape(visible, quote=True))


def element(name: str, /, *children: str, **attributes: str | None) -> Html:
    """Return one element; plain text among the children is escaped, `Html` is kept.

    An attribute that is a Python keyword takes a trailing underscore (``class_``), inner underscores become
    hyphens, and ``None`` leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID_ELEMENTS:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Return the children one after another, escaping those that are plain text."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def paragraph(*children: str, class_: str | None = None, dir_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *children, class_=class_, dir_=dir_)


def section(identifier: str, title: str, *children: str) -> Html:
    """Return a titled section that the table of contents can point to."""
    heading = element("h2", title, id=f"{identifier}-title")
    return element("section", heading, *children, id=identifier, aria_labelledby=f"{identifier}-title")


def details(summary: str, *children: str) -> Html:
    """Return a part that is folded until the reader opens it (works without scripts)."""
    return element("details", element("summary", summary), *children)


def missing(what: str, file: str) -> Html:
    """Return the note that stands where a part of the run is absent."""
    note = ("Not in this run: ", what, " (", element("code", file), ").")
    return paragraph(*note, class_="missing")


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str | None = None
) -> Html:
    """Return a table whose first column names the row; it scrolls sideways on a narrow screen."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=class_,
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def card(label: str, value: str, note: str, tone: str = "plain") -> Html:
    """Return one key number. `tone` is ``plain``, ``good``, ``bad`` or ``none`` (nothing shown)."""
    return element(
        "div",
        element("dt", label),
        element("dd", element("span", value, class_="number"), element("span", note, class_="note")),
        class_=f"card {tone}",
    )


def cards(items: Iterable[Html]) -> Html:
    """Return the key numbers side by side."""
    return element("dl", *items, class_="cards")


def figure(caption: str, panels: Iterable[Html], *behind: Html) -> Html:
    """Return panels side by side (stacked on a phone) with a caption and what stands behind them."""
    grid = element("div", *panels, class_="panels")
    return element("figure", grid, element("figcaption", caption), *behind)


def band(score: float) -> int:
    """Return the colour band of a score in [0, 1]: 0 (surely wrong) to `STEP_BANDS` − 1 (surely correct)."""
    return min(int(score * STEP_BANDS), STEP_BANDS - 1)


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the text, or its beginning and the number of characters that are left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … [{len(text) - longest} more characters not shown]"


def picture(svg: bytes, alternative: str) -> Html:
    """Return an SVG as an image that is part of the page; whatever it holds, an image runs and loads nothing."""
    data = base64.b64encode(svg).decode("ascii")
    return element("img", src=f"data:image/svg+xml;base64,{data}", alt=alternative, class_="picture")


def score_mark(name: str, score: float | None) -> Html:
    """Return a scorer's name with its score, coloured by the score; ``None`` reads *no score*."""
    if score is None:
        return element("span", f"{name} –", class_="score", title=f"{name}: no score")
    title = f"{name}: score {score:.3f} on a scale from 0 (wrong) to 1 (correct)"
    return element(
        "span", f"{name} ", element("b", f"{score:.2f}"), class_=f"score s{band(score)}", title=title
    )


def score_legend() -> Html:
    """Return the key to the colours of scores."""
    edges = [f"{index / STEP_BANDS:.1f}–{(index + 1) / STEP_BANDS:.1f}" for index in range(STEP_BANDS)]
    bands = [element("span", edge, class_=f"score s{index}") for index, edge in enumerate(edges)]
    return element("div", "PRM score, from wrong to correct: ", *bands, class_="legend")


def step(text: str, *marks: Html, kind: str = "plain", label: str = "") -> Html:
    """Return one reasoning step with the marks of its scorers and of the oracle.

    `kind` names the look: ``plain``, ``context`` (given, not judged) or ``judged`` (framed). Plain text is
    shortened.
    """
    name = [element("span", label, class_="step-label")] if label else []
    written = text if isinstance(text, Html) else shortened(text)
    words = element("span", written, class_="words", dir="auto")
    side = [element("span", *marks, class_="marks")] if marks else []
    return element("div", *name, words, *side, class_=f"step {kind}")


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` items, evenly spaced over the sequence, beginning with the first."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def flat(settings: Mapping[str, Any], stem: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value as text) for every value of nested settings."""
    for name, value in settings.items():
        dotted = f"{stem}{name}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{dotted}.")
        elif value is None:
            yield dotted, "not given"
        else:
            yield dotted, shortened(value if isinstance(value, str) else json.dumps(value))


def style() -> Html:
    """Return the style sheet of the reports, ready to stand in the page's head."""
    sheet = resources.files("sparring.report").joinpath("style.css").read_text(encoding="utf-8")
    return Html(f"<style>\n{sheet}</style>")


def document(title: str, header: Html, contents: Sequence[tuple[str, str]], sections: Iterable[Html]) -> str:
    """Return the whole page. `contents` lists (section identifier, title) for the table of contents."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=SECURITY_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        style(),
    )
    links = [element("li", element("a", name, href=f"#{identifier}")) for identifier, name in contents]
    navigation = element("nav", element("ol", *links), aria_label="Contents")
    body = element("body", header, navigation, element("main", *sections))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"
