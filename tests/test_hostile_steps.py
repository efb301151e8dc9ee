"""Hostile text: every member of the panel answers within its limits, and none dies of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from sparring.oracles.members import MEMBERS
from sparring.oracles.panel import Panel
from sparring.oracles.sandbox import SandboxLimits
from sparring.traces.records import Problem

PROBLEM = Problem("p", "He has 24 clips, 4 boxes and 3 dogs.", answer="6")
PRESENT = [name for name, place in MEMBERS.items() if importlib.util.find_spec(place.partition(":")[0])]


@pytest.fixture(scope="module")
def everyone() -> Iterator[Panel]:
    with Panel(PRESENT, workers=1, limits=SandboxLimits(seconds=10.0)) as made:
        yield made


HOSTILE = [
    "1" * 10**6 + " + 1 = 2",
    "9^" * 500 + "9 = 1",
    "$9^{9^{9^{9^{9^{9}}}}} = 1$",
    "10^(10^(10^10)) = 5",
    "1e999999999 * 2 = 3",
    "170! = 5, 100000! = 6, ((9!)!)! = 7",
    "nan = 1, inf - inf = 0, NaN + 1 = Infinity",
    "1 / 0 = 0, 0^0 = 1, 0^{-1} = 3, \\frac{1}{0} = \\infty",
    "$\\frac{1}{2 = \\sqrt{ }}}{{ \\left( x = 3$$$",
    "\\begin{align} x &= 1 \\\\ \\end{aligned}" * 50,
    "\\frac{" * 2000,
    "(" * 10000 + "1" + ")" * 10000 + " = 1",
    "+-*/=" * 4000,
    "= = = 3 == 4 =",
    "\u202e3 = 2 + 1\u202c سعر 5 + 5 = 12 ريال",
    "٣ + ٤ = ٨, ３＋４＝８, ⅓ + ½ = 1, 𝟑+𝟒=𝟗",
    "三加四等于八 3 + 4 = 8。价格是５元",
    "\x00\x01\x1b[31m 3 + \x7f 4 = 8 \r\n\t\v\f",
    "\ud800 + 1 = 2 \udfff",
    "x" * 200_000,
    "a = b, " * 20_000,
    "if p then q; " * 3000 + "therefore r",
    "not " * 3000 + "p",
    "x^2 = 4, " * 2000,
    "\\int_0^\\infty e^{-x^2} dx = \\sum_{n=1}^{10^{100}} n!",
    "km/h " * 2000 + "3 m + 4 s = 7 kg",
    "import os; __import__('os').system('false') = 0",
    "sympy.factorint(10**400 + 69) = 1",
    "\\boxed{" * 300 + "6" + "}" * 300,
]


def _problem(text: str) -> Problem:
    """Return a problem of this text; half of a surrogate pair, which a problem refuses, is asked for in its steps only."""
    return Problem("p", "q " + text, text) if "\ud800" not in text else PROBLEM


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_steps_get_a_verdict(everyone: Panel, text: str) -> None:
    for found in (
        everyone.judge_members(PROBLEM, (), text),
        everyone.judge_members(PROBLEM, (text, "3 + 4 = 7"), "So 3 + 5 = 8.", original="So 3 + 4 = 7."),
        everyone.judge_members(_problem(text), (), "So 3 + 4 = 7.", original=text),
    ):
        for verdict in found.values():
            assert not verdict.reason.endswith((":raised", ":bad_verdict")), verdict
            assert verdict.reason != "sandbox:died", verdict
