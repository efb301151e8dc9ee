"""Exact expression evaluation: agreement with Fraction arithmetic, notations, bounds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles.reading import MAX_CHARACTERS, TooLargeError, UndefinedError, UnreadableError, tokenize
from sparring.oracles.values import (
    MAX_BITS,
    bits,
    calculate,
    is_float_noise,
    show,
    value_of,
    without_float_noise,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("2 ^ 3 ^ 2", 512),
        ("-3^2", -9),
        ("2 * -3", -6),
        ("7 - - 2", 9),
        ("12 ÷ 4 × 3", 9),
        ("3 x 4", 12),
        ("3x4", 12),
        ("2**10", 1024),
        ("20%", Fraction(1, 5)),
        ("20% of 50", 10),
        ("1/2 of 30", 15),
        ("1,234,567 + 1", 1234568),
        ("$1,200.50", Fraction("1200.5")),
        (".5 + .25", Fraction(3, 4)),
        ("½ + 2½", 3),
        ("2 1/2 + 1/2", 3),
        ("5 − 2", 3),
        ("5! * 1", 120),
        (r"\frac{14}{2} + \dfrac{1}{2}", Fraction(15, 2)),
        (r"\frac{\frac{1}{2}}{3}", Fraction(1, 6)),
        (r"\frac12", Fraction(1, 2)),
        (r"3 \times 4 \div 2 \cdot 5", 30),
        (r"\left( 2 + 3 \right)(4)", 20),
        (r"\$20 - \$13.00", 7),
        (r"50\%", Fraction(1, 2)),
        ("1{,}000 + 1", 1001),
        (r"10^{4}", 10000),
    ],
)
def test_notations(text: str, value: Fraction) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 +",
        "(2",
        "2)",
        "x + 1",
        "2x",
        "3 apples",
        "2 3",
        "1 = 1",
        "f(2)",
        "0730",
        "13,2000",
        "3:30",
        r"\sqrt[3]{4}",
        r"\sqrt{-4}",
    ],
)
def test_what_is_no_number_expression(text: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        calculate(tokenize(text))
    assert refused.type is UnreadableError


@pytest.mark.parametrize("text", ["1/0", "0^-1", "1/(2-2)"])
def test_division_by_zero(text: str) -> None:
    with pytest.raises(UndefinedError):
        calculate(tokenize(text))


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "2^100000",
        "401! * 1",
        "9" * 61,
        "(" * 65 + "1" + ")" * 65,
        "1" + "+1" * 401,
        "*".join(["9" * 60] * 120),
        "1+" * 600_000 + "1",
        "(" * 1_000_000,
    ],
)
def test_beyond_the_bounds(text: str) -> None:
    with pytest.raises(TooLargeError):
        calculate(tokenize(text))


def test_bounds_are_inclusive() -> None:
    assert value_of("9" * 60) == 10**60 - 1
    assert value_of("(" * 64 + "1" + ")" * 64) == 1
    assert value_of("1" + "+1" * 400) == 401


numbers = st.one_of(
    st.integers(0, 9999).map(str),
    st.decimals(0, 999, places=2, allow_nan=False, allow_infinity=False).map(str),
)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, Fraction]:
    """A fully bracketed expression and its value, computed by Fraction alone."""
    if depth == 0 or draw(st.booleans()):
        text = draw(numbers)
        return text, Fraction(text)
    left, one = draw(expressions(depth=depth - 1))
    right, other = draw(expressions(depth=depth - 1))
    sign = draw(st.sampled_from("+-*/×÷"))
    space = draw(st.sampled_from(("", " ")))
    if sign in "/÷" and other == 0:
        sign = "+"
    value = {"+": lambda: one + other, "-": lambda: one - other}.get(
        sign, lambda: one * other if sign in "*×" else one / other
    )()
    return f"({left}){space}{sign}{space}({right})", value


@given(expressions())
def test_agrees_with_fractions(case: tuple[str, Fraction]) -> None:
    text, value = case
    assert value_of(text) == value


@given(
    st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 99)), min_size=1, max_size=8),
    st.integers(0, 99),
)
def test_precedence_agrees_with_python(rest: list[tuple[str, int]], first: int) -> None:
    text = str(first) + "".join(f" {sign} {number}" for sign, number in rest)
    terms = [Fraction(first)]
    for sign, number in rest:
        if sign == "*":
            terms[-1] *= number
        elif sign == "/":
            terms[-1] /= number
        else:
            terms.append(Fraction(number if sign == "+" else -number))
    assert value_of(text) == sum(terms)


@given(st.text(alphabet="0123456789+-*/^().,% x!½$\\frac{}=of", max_size=200))
def test_random_text_never_raises_and_values_are_bounded(text: str) -> None:
    value = value_of(text)
    assert value is None or bits(value) <= MAX_BITS + 200


def test_longest_text_is_read() -> None:
    assert value_of(" " * (MAX_CHARACTERS - 1) + "1") == 1
    assert value_of(" " * MAX_CHARACTERS + "1") is None


def test_show() -> None:
    assert [show(Fraction(text)) for text in ("24", "1/4", "1/3", "-7/2")] == ["24", "0.25", "1/3", "-3.5"]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("99.00000000000001", "99"),
        ("0.30000000000000004", "0.3"),
        ("2.6999999999999997", "2.7"),
        ("26.666666666666668", "26.666666666666668"),
        ("1.23456789", "1.23456789"),
        ("0.000001", "0.000001"),
        ("100.0000001", "100.0000001"),
    ],
)
def test_without_float_noise(text: str, short: str) -> None:
    assert without_float_noise(Fraction(text)) == Fraction(short)


@given(st.integers(1, 10**4), st.integers(0, 2))
def test_sums_in_binary_floating_point_lose_only_their_noise(units: int, places: int) -> None:
    exact = Fraction(units, 10**places)
    assert without_float_noise(Fraction(repr(float(exact) + 0.1))) == exact + Fraction(1, 10)
    assert without_float_noise(exact) == exact


@pytest.mark.parametrize(
    ("text", "other", "noise"),
    [
        ("26.666666666666668", Fraction(80, 3), True),
        ("26.66", Fraction(80, 3), False),
        ("26.666666666667", Fraction(27), False),
        ("100000000000001", Fraction(10**14), False),
    ],
)
def test_float_noise_needs_digits_and_agreement(text: str, other: Fraction, noise: bool) -> None:
    assert is_float_noise(tokenize(text), Fraction(text), other) is noise
