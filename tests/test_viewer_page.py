"""The step inspector in a real browser: clicks, filters, keys, thresholds, hostile text; no errors, no requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import SettingsError
from sparring.report.formulas import _FORMULA, formulas_of, visible
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from sparring.viewer.command import view
from sparring.viewer.data import InspectorCase, InspectorData, Prm, Solution, Variant
from sparring.viewer.page import _embedded, inspector_page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "</script><script>window.hurt=1</script><img src=x onerror=window.hurt=1>\"'&\u202etxet\u2028<!--"
LABELS = {-1: (1.0, 1.0, 1.0), 0: (0.0, None, None), 1: (1.0, 0.0, None), 2: (1.0, 1.0, 0.0)}


def case(number: int, first: int, a: list[float], b: list[float], **more: Any) -> InspectorCase:
    steps = [f"case {number} says $x^{place}$" for place in range(3)]
    return InspectorCase(
        f"case-{number}",
        f"Problem number {number}",
        [Solution(steps, [a, b], LABELS[first], first)],
        tags={"subset": ["even" if number % 2 == 0 else "odd"]},
        **more,
    )


CASES = [
    case(0, -1, [0.9, 0.9, 0.9], [0.9, 0.2, 0.9]),  # A right, B alarm
    case(1, 1, [0.9, 0.1, 0.9], [0.9, 0.1, 0.9]),  # both right
    case(2, 2, [0.9, 0.9, 0.7], [0.9, 0.9, 0.1]),  # A misses, B right
    case(3, -1, [0.45, 0.9, 0.9], [0.8, 0.9, 0.9]),  # A alarm, B right
    case(4, 0, [0.2, 0.9, 0.9], [0.9, 0.1, 0.9]),  # A right, B misses
]
DATA = InspectorData(
    "A against B", "two runs", [Prm("first", 0.5, "fixed 0.5"), Prm("second", 0.5)], CASES, notes=["a note"]
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not here (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as player:
        found = player.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a page from disk; in the end there must have been no error, no message and no request but for itself."""
    trouble: list[str] = []
    contexts = []

    def open_page(data: InspectorData, width: int = 1200, height: int = 800, **options: Any) -> Any:
        file = tmp_path / "inspector.html"
        file.write_text(inspector_page(data, **options), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda one: trouble.append(one.url) if one.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def soon(locator: Any) -> Any:
    """Return what waits for a condition without evaluating text, which the page's policy forbids."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)  # the machine may be busy
    return expect(locator)


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#rows .name").all_text_contents()]


# --- the text of the page, without a browser ---


def test_a_page_loads_nothing_and_says_so_in_its_policy():
    text = inspector_page(DATA)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert (
        "default-src 'none'" in policy and "connect-src 'none'" in policy and "trusted-types 'none'" in policy
    )
    assert "unsafe" not in policy and policy.count("sha256-") == 2
    assert not re.search(r"<script[^>]*src|<link|@import|url\(|<img|<iframe", text)
    assert inspector_page(DATA) == text  # the same data, the same bytes
    live = inspector_page([], live=True)
    assert "connect-src 'self'" in live and '"live":true' in live


def test_no_text_can_end_the_element_that_holds_the_data():
    hurt = replace(
        CASES[0], id=HOSTILE, question=HOSTILE + "\ud800", notes=[HOSTILE], tags={HOSTILE: [HOSTILE]}
    )
    text = inspector_page(replace(DATA, title=HOSTILE, cases=[hurt], notes=[HOSTILE]))
    assert text.count("</script>") == 2 and "<img" not in text and "<!--" not in text
    held = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert held.isascii() and json.loads(held)["cases"][0]["question"] == HOSTILE + "\ud800"


def test_formulas_are_set_and_past_a_number_they_stay_as_they_are(monkeypatch):
    held = json.loads(re.search(r'id="data">(.*?)</script>', inspector_page(DATA), re.DOTALL)[1])
    assert held["formulas"]["ix^2"] == [["mrow", 0, "", ["msup", 0, "", ["mi", 0, "x"], ["mn", 0, "2"]]]]
    monkeypatch.setattr("sparring.viewer.page.MOST_FORMULAS", 1)
    held = json.loads(re.search(r'id="data">(.*?)</script>', inspector_page(DATA), re.DOTALL)[1])
    assert len(held["formulas"]) == 1 and held["notes"][-1] == "shown as written: 2 more formulas"


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_comes_back_from_the_page_as_it_was(value):
    held = _embedded(value)
    assert held.isascii() and not set("<>&") & set(held) and json.loads(held) == value


# --- in Chromium ---


FORMULAS = [
    "costs $5 and $6 each", "$x$ and $y$", r"\$5 $a$", "$ a$ $b $", "$a$5", "$$x$$ and $$ y $$", r"\[a\nb\] \(c\)", "$a",
    r"$a\$b$", "$a\nb$", "$$$x$$$", "$" * 50, r"\(\(x\)\)", "$x$$y$", "a$b$c", "$" + "x" * 401 + "$", r"$\text{two words}$",
]  # fmt: skip
HIDDEN = "a\x00\x1b\u00ad\u061c\u200b\u200c\u200d\u200f\u2028\u202e\u2066\ufeff\ufffc\ufffd\uffff\U000e0041é漢\t\n\x85"


def test_the_page_reads_formulas_and_hidden_characters_as_reports_do(opened):
    page = opened(DATA)
    for text in FORMULAS:
        found = page.evaluate(
            "t => [...t.matchAll(FORMULA)].map(m => m.slice(1).find(s => s !== undefined))", text
        )
        # Prose between dollars is matched too; the page then finds no formula of that source.
        assert {source for _, source, _ in formulas_of(text)} <= set(found), text
        assert found == [match[match.lastgroup] for match in _FORMULA.finditer(text)], text
    assert page.evaluate("t => visible(t)", HIDDEN) == visible(HIDDEN)


def test_cases_are_read_by_clicks_and_keys(opened):
    page = opened(DATA)
    assert (
        names(page) == [f"case-{number}" for number in range(5)] and page.title() == "A against B · Sparring"
    )
    assert page.locator("#detail h2").text_content() == "case-0"
    page.locator(".row").nth(3).click()
    assert page.locator("#detail h2").text_content() == "case-3"
    for key, expected in (("j", 4), ("k", 3), ("ArrowUp", 2), ("ArrowDown", 3), ("g", 0), ("G", 4), ("j", 4)):
        page.keyboard.press(key)
        assert page.locator("#detail h2").text_content() == f"case-{expected}", key
    page.keyboard.press("?")
    assert page.locator("#help").is_visible() and "next case" in page.locator("#help").text_content()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("number 2 jk")
    soon(page.locator("#count")).to_have_text("0 of 5 cases")
    page.locator("#query").fill("SAYS case-2")
    soon(page.locator(".row")).to_have_count(1)
    assert names(page) == ["case-2"] and page.locator("#count").text_content() == "1 of 5 cases"
    page.keyboard.press("Escape")
    page.keyboard.press("e")  # the first wrong step comes into view
    assert "flash" in page.locator("#step-2").get_attribute("class")


def test_the_first_wrong_step_by_label_and_by_each_prm(opened):
    page = opened(DATA)
    page.locator(".row").nth(4).click()
    cells = page.locator(".firsts tr").all_text_contents()
    assert cells == ["labelstep 1", "A: firststep 1✓scores 0.200", "B: secondstep 2✗scores 0.100"]
    assert page.locator("#step-0 .firstmark").text_content() == "first wrong: label, A"
    assert page.locator("#step-0 .apart").all_text_contents() == ["✗ B accepts a wrong step"]
    assert page.locator("#step-1 math").count() == 1 and page.locator(".plot").count() == 2


def test_filters_and_orders(opened):
    page = opened(DATA)
    for chosen, expected in {
        "wrong": [2, 3], "miss": [2], "alarm": [3], "right": [0, 1, 4], "apart": [0, 2, 3, 4],
        "onlyA": [0, 4], "onlyB": [2, 3], "flagged": [1, 3, 4], "all": [0, 1, 2, 3, 4],
    }.items():  # fmt: skip
        page.select_option("#outcome", chosen)
        assert names(page) == [f"case-{number}" for number in expected], chosen
    page.select_option("#sort", "gap")
    assert names(page)[:2] == ["case-2", "case-3"]
    page.select_option("#focus", "1")
    assert names(page)[:2] == ["case-4", "case-0"]
    page.select_option("#outcome", "alarm")
    assert names(page) == ["case-0"]
    page.select_option("#outcome", "all")
    page.select_option("#sort", "apart")
    assert names(page)[0] in ("case-0", "case-4")
    page.select_option("#facet-subset", "odd")
    assert sorted(names(page)) == ["case-1", "case-3"]


def test_the_threshold_moves_colours_outcomes_and_numbers_and_goes_back(opened):
    page = opened(DATA)
    page.select_option("#outcome", "wrong")
    page.evaluate("setThreshold(0, 0.75)")
    soon(page.locator(".row")).to_have_count(1)
    assert names(page) == ["case-3"]
    page.locator("#threshold-0").fill("0.4")
    soon(page.locator("#rows .name")).to_have_text("case-2")
    page.reload()  # what was set is kept in the address
    assert page.locator("#threshold-0").input_value() == "0.4" and names(page) == ["case-2"]
    page.keyboard.press("]")
    soon(page.locator(".threshold output").first).to_have_text("0.410")
    page.locator("#tab-numbers").click()
    row = page.locator("#numbers tbody tr").nth(0).text_content()
    assert row.replace("\u202f", "") == "A: first0.41080.0%66.7%100.0%10"
    page.locator("#tab-cases").click()
    page.locator(".threshold button").first.click()
    soon(page.locator(".row")).to_have_count(2)


def test_variants_of_a_step_with_their_scores(opened):
    variants = [
        Variant(1, "rules", "a wrong step", "wrong", "arithmetic:wrong_result", [0.9, 0.1]),
        Variant(1, "trained", "still right", "correct", "", [0.3, 0.9]),
    ]
    alone = InspectorCase("state", "q", [Solution(["given", "original"])], variants=variants)
    page = opened(replace(DATA, cases=[alone]))
    shown = page.locator(".variants .step")
    assert shown.count() == 2 and "✗ A is fooled" in shown.nth(0).text_content()
    assert "arithmetic:wrong_result" in shown.nth(0).text_content()
    assert "✗ A rejects a correct step" in shown.nth(1).text_content()
    page.select_option("#outcome", "miss")
    assert names(page) == ["state"]


def test_hostile_text_stays_text(opened):
    steps = [HOSTILE, "word " * 20_000, "\u202eevil\u2066", "$" * 5000, "$\\href{javascript:alert(1)}{x}$"]
    cases = [
        InspectorCase(HOSTILE, HOSTILE, [Solution(steps, [[0.1] * 5, [0.9] * 5], [1.0] * 5, -1, answer=HOSTILE)],
                      tags={HOSTILE: [HOSTILE], "b": ["2"]}, notes=[HOSTILE]),
        InspectorCase("__proto__", "constructor", [Solution(["toString"], [[0.5], [0.5]])], tags={"__proto__": ["x"]}),
    ]  # fmt: skip
    page = opened(replace(DATA, title=HOSTILE, source=HOSTILE, cases=cases, notes=[HOSTILE]))
    assert page.evaluate("window.hurt") is None and page.locator("img, iframe, script[src]").count() == 0
    assert (
        page.locator("#step-0 .words")
        .text_content()
        .startswith("</script><script>window.hurt=1</script><img")
    )
    assert "⟨U+202E⟩txet⟨U+2028⟩" in page.locator("#step-0").text_content()
    assert "⟨U+202E⟩evil⟨U+2066⟩" in page.locator("#step-2").text_content()
    more = page.locator("#step-1 .words button")
    assert "more characters" in more.text_content()
    more.click()
    assert "80000 more characters not on this page" in page.locator("#step-1").text_content()
    page.keyboard.press("j")
    assert page.locator("#detail h2").text_content() == "__proto__"


def test_the_browser_itself_refuses_markup_from_text_and_any_connection(browser, tmp_path):
    (tmp_path / "page.html").write_text(inspector_page(DATA), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    for attempt, refused in (
        ("document.body.innerHTML = '<b>x</b>'", "TrustedHTML"),
        ("fetch('https://example.com/')", "Failed to fetch|Content Security Policy"),
    ):
        with pytest.raises(Exception, match=refused):
            page.evaluate(attempt)
    page.close()


def test_thousands_of_cases_stay_fluid(opened):
    many = [replace(CASES[number % 5], id=f"case-{number}") for number in range(5000)]
    page = opened(replace(DATA, cases=many))
    assert page.locator("#count").text_content() == "5,000 cases" and page.locator(".row").count() < 60
    started = time.perf_counter()
    page.select_option("#outcome", "miss")
    assert page.locator("#count").text_content() == "1,000 of 5,000 cases"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("G")
    assert page.locator("#detail h2").text_content() == "case-4997"
    assert page.locator(".row[aria-selected=true]").is_visible()
    assert time.perf_counter() - started < 10  # a bound against something quadratic, not a measurement


def test_on_a_phone_list_and_case_come_one_after_the_other(opened):
    page = opened(DATA, 390, 844)
    assert not page.locator("#detail").is_visible() and not page.locator("#sort").is_visible()
    page.locator("#more").click()
    assert page.locator("#sort").is_visible()
    page.locator(".row").nth(2).click()
    assert page.locator("#detail h2").text_content() == "case-2" and not page.locator("#list").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".back").click()
    assert page.locator("#list").is_visible()


def test_only_a_page_is_replaced_by_a_page(tmp_path: Path) -> None:
    data, page = tmp_path / "traces.jsonl", tmp_path / "page.html"
    write_traces(data, [Trace(Problem("p", "q"), ("one",), (1.0,))])
    before = data.read_bytes()
    with pytest.raises(SettingsError, match="no HTML page"):
        view([data], out=data)
    assert data.read_bytes() == before
    page.touch()
    for _ in range(2):
        assert view([data], out=page).read_text().startswith("<!DOCTYPE html>")
