"""Exact values of random expressions, in prose and in LaTeX, against SymPy's own arithmetic, which never reads a text."""

from __future__ import annotations

import re
from typing import Any

import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from sparring.oracles.arithmetic import judge
from sparring.oracles.equality import compare_answers
from sparring.traces.records import Problem

PROBLEM = Problem("p", "Compute.")
Shown = tuple[Any, str, str, int]
"""SymPy's value, the expression in prose and in LaTeX, and how tightly its outermost sign binds."""


def number(value: int) -> Shown:
    return sympy.Integer(value), str(value), str(value), 9


def decimal(digits: int) -> Shown:
    text = f"{digits // 100}.{digits % 100:02}"
    return sympy.Rational(digits, 100), text, text, 9


def combined(sign: str, one: Shown, other: Shown) -> Shown:
    """Return an expression of two; brackets stand where the usual precedence needs them, and only there."""
    binds = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}[sign]

    def within(part: Shown, place: int, least: int) -> str:
        return f"({part[place]})" if part[3] < least else part[place]

    values = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "^": lambda a, b: a**b,
    }
    value = values[sign](one[0], other[0])
    right = binds + (sign in "-/")
    prose = f"{within(one, 1, binds + (sign == '^'))} {sign} {within(other, 1, right)}"
    if sign == "/":
        return value, prose, rf"\frac{{{one[2]}}}{{{other[2]}}}", 2
    if sign == "^":
        return value, prose.replace(" ", ""), f"{within(one, 2, 9)}^{{{other[2]}}}", 3
    latex = f"{within(one, 2, binds)} {sign.replace('*', chr(92) + 'cdot')} {within(other, 2, right)}"
    return value, prose, latex, binds


LEAVES = st.one_of(st.integers(0, 99).map(number), st.integers(1, 2000).map(decimal))
POWERS = st.builds(combined, st.just("^"), st.integers(2, 12).map(number), st.integers(0, 4).map(number))
EXPRESSIONS = st.recursive(
    LEAVES | POWERS, lambda inner: st.builds(combined, st.sampled_from("+-*/"), inner, inner), max_leaves=5
).filter(lambda shown: shown[0].is_Rational and abs(shown[0].p) < 10**15 and shown[0].q < 10**9)
RANGE = re.compile(r"[\d.]+ - [\d.]+")
"""A number and a larger one: an answer that is a range, by the equality's own rule."""


def written(value: Any) -> str:
    return str(value.p) if value.q == 1 else f"{value.p}/{value.q}"


@given(EXPRESSIONS, st.integers(1, 50))
def test_equality_knows_the_value(shown: Shown, off: int) -> None:
    value, prose, latex, _ = shown
    assume(value >= 0 or not RANGE.fullmatch(prose))
    for text in (prose, f"${latex}$"):
        assert compare_answers(text, written(value)) != "different", text
        assert compare_answers(text, written(value + off)) != "equal", text
        assert compare_answers(text, written(value + sympy.Rational(off, 7))) != "equal", text
    assert compare_answers(f"${latex}$", f"${latex}$") == "equal"


@given(EXPRESSIONS.filter(lambda shown: shown[3] < 9), st.integers(1, 50))
def test_the_arithmetic_oracle_knows_it_too(shown: Shown, off: int) -> None:
    value, prose, latex, _ = shown
    for text in (f"{prose} = {{}}.", rf"So ${latex} = {{}}$."):
        right = judge(PROBLEM, (), text.replace("{}", written(value)))
        assert right.truth != "wrong", (text, right)
        if value.q == 1:
            wrong = judge(PROBLEM, (), text.replace("{}", written(value + off)))
            assert wrong.truth != "correct", (text, wrong)


def test_most_of_them_are_understood() -> None:
    """Else the properties above would hold of a reader that never says anything."""
    known = {"equal": 0, "correct": 0, "wrong": 0}

    @given(EXPRESSIONS.filter(lambda shown: shown[3] < 9 and shown[0].q == 1))
    def count(shown: Shown) -> None:
        value, prose, latex, _ = shown
        known["equal"] += compare_answers(f"${latex}$", written(value)) == "equal"
        known["correct"] += judge(PROBLEM, (), f"{prose} = {value}.").truth == "correct"
        known["wrong"] += judge(PROBLEM, (), f"{prose} = {value + 3}.").truth == "wrong"

    count()
    assert min(known.values()) > 50, known
