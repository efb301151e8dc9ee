"""The answer member: how people write the same answer, and what is not the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles.equality import judge
from sparring.traces.records import Problem


def truth(answer: str | None, step: str) -> str:
    return judge(Problem("p", "How much?", answer), (), step).truth


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ("18", "#### 18"),
        ("18", r"So we get \boxed{18}."),
        ("1,200", r"\boxed{\$1200}"),
        ("0.5", r"\boxed{\frac12}"),
        ("\\frac{3}{4}", r"The answer is $0.75$."),
        ("70", "The final answer is: 70%."),
        ("12", r"\boxed{12\text{ cm}}"),
        (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
        ("x=3", r"\boxed{3}"),
        ("(1,2)", r"\boxed{(1, 2)}"),
        ("5", "The answer is 5 dollars."),
    ],
)
def test_the_same_answer(answer: str, step: str) -> None:
    assert truth(answer, step) == "correct"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ("18", "#### 19"),
        ("18", r"\boxed{-18}"),
        (r"\frac{3}{4}", r"\boxed{\frac{4}{3}}"),
        ("x^2+1", r"\boxed{x^2-1}"),
        ("2^{9^{9}}", r"\boxed{9^{9^{9}}}"),
        (r"(x+y+z)^{99}", r"\boxed{(x+y-z)^{99}}"),
    ],
)
def test_another_answer(answer: str, step: str) -> None:
    assert truth(answer, step) == "wrong"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        ("18", "So she has 19 left."),
        (None, "#### 19"),
        ("0.7", r"\boxed{70\%}"),
        ("3.14", r"\boxed{\pi}"),
        ("\\text{blue}", r"\boxed{7}"),
        ("3", r"Either \boxed{3} or \boxed{4}."),
        ("3", r"The answer is not \boxed{4}."),
        ("9^{9^{9}}+1", r"\boxed{9^{9^{9}}}"),
        ("1", r"\boxed{" + "9" * 2000 + "}"),
    ],
)
def test_undecided(answer: str | None, step: str) -> None:
    assert truth(answer, step) == "undecided"


@given(st.integers(-(10**6), 10**6), st.integers(1, 99))
def test_numbers(number: int, off: int) -> None:
    assert truth(str(number), f"#### {number:,}") == "correct"
    assert truth(str(number), f"#### {number + off}") != "correct"
