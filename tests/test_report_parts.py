"""The parts of a report: escaping, wording of intervals, numbers, plots."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_checks import checked
from sparring.report.page import band, document, element, escape, paragraph, step
from sparring.report.plots import Bar, Curve, bar_panel, curve_panel, smoothed
from sparring.report.run_files import Metric
from sparring.report.wording import (
    Comparison,
    compare,
    duration,
    percent,
    plain,
    points,
    unpaired_difference,
    verdict,
)


@settings(max_examples=200)
@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_any_text_survives_escaping(text: str) -> None:
    page = document(
        "t", paragraph(text), [], [step(text, kind="judged", label=text), element("p", text, title=text)]
    )
    page.encode("utf-8")
    seen = checked(page).seen
    assert [tag for tag, _ in seen if tag == "p"] == ["p", "p"]
    assert "<" not in escape(text)
    assert '"' not in escape(text)


def test_long_text_is_cut_visibly() -> None:
    assert "1000 more characters not shown" in step("a" * 3000)


shares = st.floats(0, 1)


@given(shares, shares, shares, shares)
def test_wording_of_a_difference_always_agrees_with_its_interval(
    a: float, b: float, c: float, d: float
) -> None:
    low, high = sorted((a - b, c - d))
    comparison = Comparison(None, None, Metric((low + high) / 2, low, high, 9, "share"), paired=True)
    words = verdict(comparison)
    assert ("no difference shown" in words) == (low <= 0 <= high)
    assert ("higher" in words) == (low > 0)
    assert ("lower" in words) == (high < 0)


@given(shares, shares, st.floats(0, 0.2), st.floats(0, 0.2))
def test_unpaired_difference_holds_its_value_and_turns_round(
    a: float, b: float, wide: float, other: float
) -> None:
    first, second = Metric(a, a - wide, a + other, 9, ""), Metric(b, b - other, b + wide, 9, "")
    one, two = unpaired_difference(first, second), unpaired_difference(second, first)
    assert one is not None and two is not None
    assert one.low is not None and one.high is not None and two.high is not None
    assert one.low <= one.value <= one.high
    assert one.low == pytest.approx(-two.high)
    # Never narrower than either interval, never wider than both together.
    assert one.high - one.low <= (wide + other) * 2 + 1e-9
    assert one.high - one.low >= wide + other - 1e-9


def test_unpaired_difference_is_newcombes() -> None:
    # Newcombe (1998), table II, contrast (a) 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    one, other = Metric(0.8, 0.69, 0.8769, 70, ""), Metric(0.6, 0.4904, 0.7001, 80, "")
    difference = unpaired_difference(one, other)
    assert difference is not None
    assert difference.value == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.2 - math.hypot(0.8 - 0.69, 0.7001 - 0.6))
    assert difference.high == pytest.approx(0.2 + math.hypot(0.8769 - 0.8, 0.6 - 0.4904))
    assert difference.low == pytest.approx(0.0524, abs=2e-3)
    assert difference.high == pytest.approx(0.3339, abs=2e-3)


def test_a_paired_difference_goes_before_single_intervals() -> None:
    named = {"a": Metric(0.6, 0.5, 0.7, 9, ""), "b": Metric(0.5, 0.4, 0.6, 9, "")}
    assert compare(named, "a", "b").finding == "none shown"
    assert compare({**named, "d": Metric(0.1, 0.05, 0.15, 9, "")}, "a", "b", "d").finding == "more"
    assert compare(named, "a", "gone").finding == "not measured"


def test_numbers_for_people() -> None:
    assert percent(0.5) == "50.0\u202f%"
    assert points(-0.091) == "−9.1"
    assert points(0.0004) == "+0.04"
    assert points(0.0) == "0.0"
    assert plain(76800) == "76\u202f800"
    assert plain(0.123456) == "0.1235"
    assert duration(90) == "1.5\u202fmin"
    assert [band(score) for score in (0.0, 0.19, 0.2, 0.5, 0.99, 1.0)] == [0, 0, 1, 2, 4, 4]


@given(st.lists(st.floats(-1e3, 1e3), max_size=50), st.sampled_from((1, 3, 7, 21)))
def test_smoothing_stays_inside_the_values(values: list[float], window: int) -> None:
    line = smoothed(values, window)
    assert len(line) == len(values)
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for value in line)
    if window == 1:
        assert line == pytest.approx(values, abs=1e-6)


def test_plots_hold_their_numbers_and_their_own_ids() -> None:
    bars = [("group <b>", [Bar("one & two", "aprm", 0.625, 0.5, 0.7), Bar("none", "rules", None)])]
    curves = [Curve("up", "aprm", [(0, 0.1), (1, None), (2, 0.9)]), Curve("empty", "rules", [(0, None)])]
    svg = bar_panel("first", "t < u", bars) + curve_panel("second", "t", curves, x_label="x", window=3)
    checked(svg)
    assert svg.count("62.5\u202f%") == 2  # in the plot and in its description
    assert "not measured" in svg
    assert "<b>" not in svg
    assert 'id="first-' in svg and 'id="second-' in svg
    assert "var(--aprm)" in svg
    assert "http" not in svg
