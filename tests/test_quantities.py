"""The quantities oracle: what it finds, what it must leave alone, hostile text; units, constants, number words."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles.quantities import CONSTANTS, factors_of, judge, numbers_in
from sparring.oracles.units import UNITS, conversion_factors
from sparring.traces.records import Problem

MARBLES = Problem(
    id="m", question="Natalia sold 1250 marbles in May and half as many in June. How many in all?"
)


@pytest.mark.parametrize(
    ("problem", "prefix", "step", "kind"),
    [
        (MARBLES, (), "In June she sold 1350 / 2 = 675 marbles.", "miscopied_number"),
        (MARBLES, (), "In June she sold 1520 / 2 = 760 marbles.", "miscopied_number"),
        (MARBLES, ("In June she sold 1250 / 2 = 625.",), "In all 1250 + 652 = 1902.", "miscopied_number"),
        (MARBLES, (), "In June she sold 7719 / 3 = 2573 marbles.", "unfounded_number"),
        (MARBLES, (), "She has 3 kg + 5 meters = 8.", "incompatible_units"),
        (MARBLES, (), "That takes 2 hours + 3 dollars = 5.", "incompatible_units"),
    ],
)
def test_finds(problem: Problem, prefix: tuple[str, ...], step: str, kind: str) -> None:
    verdict = judge(problem, prefix, step)
    assert (verdict.truth, verdict.reason) == ("wrong", f"quantities:{kind}")
    assert verdict.span is not None
    assert 0 <= verdict.span[0] < verdict.span[1] <= len(step)


@pytest.mark.parametrize(
    ("question", "prefix", "step"),
    [
        ("A dozen eggs cost $3.", (), "One egg costs 3 / 12 = 0.25."),
        ("He works two hundred fifty days.", (), "That is 250 * 2 = 500."),
        ("She ran for an hour and a half.", (), "That is 1.5 * 60 = 90 minutes."),
        ("It is 20% off the price of $45.", (), "He pays 45 * 0.8 = 36."),
        ("It is 20% more than $45.", (), "He pays 45 * 1.2 = 54."),
        ("It holds 7 cups a day.", (), "In 52 weeks, 7 * 365 = 2555."),
        ("The house costs $400 000.", (), "The fee is 400000 * 0.05 = 20000."),
        ("The bus leaves at 8:25.", (), "He waits 825 - 800 = 25."),
        ("He has 12 boxes of 144.", (), "12 * 144 = 1700 + 28 = 1728."),
        ("There were 1250 of them.", (), "If there were 1350 of them, 1350 / 2 = 675."),
        ("There were 1250 of them.", (), "He adds 100 for luck. 1350 / 2 = 675."),
        ("There were 1250 of them and 100 more.", (), "Now 1350 / 2 = 675."),
        ("Let $x = 1250$.", (), "So 1350 / 2 = 675."),
        (r"Find all $x$ with $x^2 = 9$.", ("So $x = 3$.",), "So $x = -3$."),
        ("It takes 3 hours and 20 minutes.", (), "3 hours + 20 minutes = 200 minutes"),
        ("He buys 3 cups and pays 5 dollars.", (), "3 cups * 5 dollars = 15"),
    ],
)
def test_leaves_alone(question: str, prefix: tuple[str, ...], step: str) -> None:
    assert judge(Problem(id="q", question=question), prefix, step).truth == "undecided"


def test_never_confirms() -> None:
    verdict = judge(MARBLES, (), "In June she sold 1250 / 2 = 625 marbles.")
    assert (verdict.truth, verdict.reason) == ("undecided", "quantities:numbers_founded")


def test_every_unit_agrees_with_pint() -> None:
    pint = pytest.importorskip("pint", reason="pint checks the table of units")
    registry = pint.UnitRegistry()
    base = {"time": "second", "length": "meter", "mass": "gram", "volume": "liter"}
    for unit in set(UNITS.values()):
        if unit.dimension == "money":
            continue
        size = registry.Quantity(1, unit.name).to(base[unit.dimension]).magnitude
        assert float(unit.factor) == pytest.approx(size, rel=1e-12), unit


def test_conversions() -> None:
    assert {60, 3600, 24, 7} <= conversion_factors(frozenset(("time",)))
    assert factors_of("three apples") == {Fraction(100)}
    assert Fraction(12) in factors_of("5 feet")
    assert 365 in CONSTANTS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("two hundred fifty", 250),
        ("twenty-five", 25),
        ("three thousand two hundred", 3200),
        ("two and a half", Fraction(5, 2)),
        ("three-fourths", Fraction(3, 4)),
        ("twice", 2),
        ("a dozen", 12),
        ("6 million", 6),
    ],
)
def test_number_words(text: str, value: Fraction) -> None:
    assert value in numbers_in(text)[0]


def test_what_a_percentage_implies() -> None:
    written, implied = numbers_in("30% off")
    assert written == {30}
    assert {Fraction(30), Fraction(3, 10), Fraction(7, 10), Fraction(13, 10), Fraction(70)} <= implied


@given(
    st.integers(2, 9999),
    st.integers(2, 9999),
    st.sampled_from("+-*/"),
    st.sampled_from(["{a} and {b}", "{b}, {a}"]),
)
def test_given_numbers_are_never_wrong(a: int, b: int, sign: str, question: str) -> None:
    problem = Problem(id="p", question="He has " + question.format(a=a, b=b) + " of them.")
    result = (
        Fraction(a) * b
        if sign == "*"
        else Fraction(a) / b
        if sign == "/"
        else Fraction(a + b if sign == "+" else a - b)
    )
    assert judge(problem, (), f"That is {a:,} {sign} {b} = {result}.").truth == "undecided"
    assert judge(problem, (f"So there are {a}.",), f"{b} {sign} {a} = {result}").truth == "undecided"


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=80), max_size=3), st.text(max_size=300))
def test_never_raises(question: str, prefix: list[str], step: str) -> None:
    problem = Problem(id="p", question="Q" + question)
    assert judge(problem, tuple(prefix), step).reason.startswith("quantities:")


def test_importing_a_member_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from sparring.oracles import quantities; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
