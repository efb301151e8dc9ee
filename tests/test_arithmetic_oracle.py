"""The arithmetic oracle: what it confirms, what it catches, what it must leave alone, and hostile text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles import Verdict
from sparring.oracles.arithmetic import judge as judge_step
from sparring.traces.records import Problem

PROBLEM = Problem(id="p", question="How many?")


def judge(step: str) -> Verdict:
    return judge_step(PROBLEM, (), step)


@pytest.mark.parametrize(
    "step",
    [
        "48/2 = 24 clips",
        "3 apples * $2 = $6",
        "5 hours + 2 hours = 7 hours",
        "20% of 50 = 10",
        "10/3 = 3.33",
        "2/3 = 66.67%",
        "200/3 = 66.66",
        "10/3 ≈ 3",
        "He makes 9 * 2 = $<<9*2=18>>18 every day.",
        "Total cost = 5 + 3 = 8",
        "x = 3 * 4 = 12",
        "There are 30/5=6 and 4+4=8",
        r"\[ 4 \text{ cookies/day} \times 5 \text{ days} = 20 \text{ cookies} \]",
        r"\[ 8.75 \text{ (gain)} - (-6.25 \text{ (loss)}) = 8.75 + 6.25 = 15 \]",
        "3 times 4 is 12",
        "2 1/2 + 1/2 = 3",
        r"Total = 5000 + 10000 = \boxed{15000}.",
        "Three people eat: 3 people * 3 eggs/person/day = 9 eggs/day.",
        "His age is 11/18*162 = <<11/18*162=99.00000000000001>>99 years.",
        "580/110 = <<580/110=5.2727272727272725>>5.27 bags",
        "2000 / 75 = 26.666666666666668 flagstones",
        "350000 * 0.05 = 17500.0",
    ],
)
def test_confirms(step: str) -> None:
    assert judge(step).truth == "correct", judge(step)


@pytest.mark.parametrize(
    ("step", "detail"),
    [
        ("48/2 = 25 clips", "48/2 is 24, not 25"),
        ("She makes 9 * 2 = $<<9*2=19>>19 every day.", "9*2 is 18, not 19"),
        ("9*2 = <<9*2=18>>17", "9*2 is 18, not 17"),
        ("3x4=13", "3*4 is 12, not 13"),
        ("10/3 = 3.43", "10/3 is 10/3, not 3.43"),
        ("5000 + 10000 + 30000 = \\boxed{43000}", "5000+10000+30000 is 45000, not 43000"),
        ("If he had 70, then it has 7 * 70 - 40 = 470 - 40 = 430", "7*70-40 is 450, not 430"),
        (r"\frac{14}{2} = 8", "((14)/(2)) is 7, not 8"),
        ("20% of the 50 students = 11", "20% of 50 is 10, not 11"),
        ("2000 / 75 = 26.766666666666668", "2000/75 is 80/3, not 6691666666666667/250000000000000"),
        ("8 packs of 5 bags * $4 = $150", "5*4 is 20, not 150"),
        ("2 degrees/10 minutes * 30 minutes = 60 degrees", "2/10*30 is 6, not 60"),
        ("9*2 = <<9*2=18>>17 dogs", "9*2 is 18, not 17"),
        ("$194/meter × 490 meters = $94,860", "194*490 is 95060, not 94860"),
    ],
)
def test_catches(step: str, detail: str) -> None:
    verdict = judge(step)
    assert verdict.truth == "wrong"
    assert verdict.reason == "arithmetic:wrong_result"
    assert verdict.detail == detail
    assert verdict.span is not None
    assert 0 <= verdict.span[0] < verdict.span[1] <= len(step)


@pytest.mark.parametrize(
    "step",
    [
        "x = 3",
        "2x+1=7",
        "2x - 5 = 11",
        "5G + 2 = 102",
        "A + (A + 2) + 3 = 19",
        "if 2+2=5",
        "2 + 2 = 5 is wrong",
        "Suppose 2 + 2 = 5",
        "2 + 2 ≠ 5",
        "2 + 2 is not 5",
        "1 hour = 60 minutes",
        "2 pizzas = 2 * 8 slices",
        "7 / 2 = 3 bags",
        "3 hours + 30 minutes = 3.5 hours",
        "5 + 3 = 8 * 2 = 16",
        "25 / 1/3 = 75",
        "17 = 1 \\pmod{4}",
        "the last digit of 11^2 is 1",
        "f(5) = 5 + 2",
        "He leaves at 9:00 - 1:30 = 7:30",
        "the original number of bikes + 12 - 18 = 45",
        "½ of the cake = 4 slices",
        "3.33 * 3 = 10",
        "no number here",
        "1,2,3 + 4 = 10",
        r"\frac{1}{2}PQ = 56",
        r"6 + 4a = 18",
        "The fee is $350 000 x 5/100 = $<<350000*5/100=17500.0>>17 500.",
        "The share is <<3/4=3/4>>3/4",
        "37 / 3 = 12.0 boxes",
        "So over the 10 minutes Hani did seven*10 = 70 situps.",
        "72 * 1 / three = 24",
        "24-1-three = 20",
    ],
)
def test_leaves_alone(step: str) -> None:
    assert judge(step).truth != "wrong", judge(step)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("He buys apples.", "arithmetic:nothing_to_check"),
        ("2x + 1 = 7", "arithmetic:not_numeric"),
        ("9**9**9 = 3", "arithmetic:too_large"),
        ("7 / 2 = 3 bags", "arithmetic:unmarked_rounding"),
        ("if 2+2=5", "arithmetic:hypothetical"),
        ("3 * 4 = 12 and 2x = 7", "arithmetic:not_numeric"),
    ],
)
def test_reasons_of_undecided(step: str, reason: str) -> None:
    assert (judge(step).truth, judge(step).reason) == ("undecided", reason)


@given(st.integers(0, 9999), st.integers(1, 9999), st.sampled_from("+-*"), st.integers(-50, 50))
def test_true_and_false_equations(one: int, other: int, sign: str, slip: int) -> None:
    value = {"+": one + other, "-": one - other, "*": one * other}[sign]
    verdict = judge(f"So he has {one} {sign} {other} = {value + slip} pencils.")
    assert verdict.truth == ("correct" if slip == 0 else "wrong") or (
        verdict.reason in ("arithmetic:precedence", "arithmetic:unit_or_percent_scale")
    )


@given(st.text(max_size=300))
def test_any_text_never_raises(text: str) -> None:
    assert judge(text).truth in ("correct", "wrong", "undecided")


@given(st.text(alphabet="0123456789+-*/=()<>.,%$x \n{}\\fraclety≈~!&", max_size=300))
def test_text_of_signs_never_raises(text: str) -> None:
    verdict = judge(text)
    assert verdict.span is None or 0 <= verdict.span[0] <= verdict.span[1] <= len(text)


@pytest.mark.parametrize(
    "step",
    [
        "3.2e5 + 1e4 = 330000",
        r"3.2 \times 10^5 = 320000",
        r"2\frac{1}{2} + \frac12 = 3",
        r"\binom{5}{2} = 10",
        r"\sqrt{3^2 + 4^2} = 5",
        r"\sqrt{8} = 2\sqrt{2}",
        r"4\pi + 5\pi = 9\pi",
        "2 hours + 30 minutes = 150 minutes",
        "5 + 3 = 8 = 2 * 4",
        "5 cm * 4 cm = 20 cm^2",
        "5² = 25",
        "10/3 is about 3.33",
        "10 + 5 < 20",
        "90 minutes = 1.5 hours",
        r"17 \equiv 2 \pmod{5}",
        "He needs 6 pens because 8 - 2 = <<8-2=6>>6",
    ],
)
def test_confirms_what_people_write(step: str) -> None:
    assert judge(step).truth == "correct", judge(step)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("3.2e5 + 1e4 = 340000", "wrong_result"),
        (r"2\frac{1}{2} + \frac12 = 4", "wrong_result"),
        (r"\binom{5}{2} = 12", "wrong_result"),
        (r"\sqrt{3^2 + 4^2} = 7", "wrong_result"),
        (r"\sqrt{8} = 3\sqrt{2}", "wrong_result"),
        (r"4\pi + 5\pi = 10\pi", "wrong_result"),
        ("2 hours + 30 minutes = 140 minutes", "wrong_result"),
        ("5 + 3 = 8 = 2 * 5", "wrong_result"),
        ("Here 5 < 3", "wrong_result"),
        ("Since 7*8 = 56 > 60, they fit", "wrong_result"),
        ("The number 51 is prime", "wrong_property"),
        ("117 is divisible by 7", "wrong_property"),
        (r"\gcd(12, 18) = 4", "wrong_property"),
        (r"17 \equiv 3 \pmod{5}", "wrong_congruence"),
        ("120 minutes = 3 hours", "wrong_conversion"),
        ("He needs 7 pens because 8 - 2 = <<8-2=6>>6", "wrong_reason"),
    ],
)
def test_catches_what_people_write(step: str, kind: str) -> None:
    verdict = judge(step)
    assert (verdict.truth, verdict.reason) == ("wrong", f"arithmetic:{kind}")
    assert verdict.span is not None and 0 <= verdict.span[0] < verdict.span[1] <= len(step)


@pytest.mark.parametrize(
    "step",
    [
        r"\sqrt[3]{\frac{1}{8}} = \frac{1}{2}",
        "2(2e+9) = 17e-8",
        r"2 * 6 = 2^6 + 6^2 = 100",
        "the mean of the five terms in 6+16+26+36+46 is 26",
        r"\frac{8\text{ miles}}{1 \text{ hour}} = 1",
        "7/12 / 1/12 = 7 days",
        "If 5 < 3 then we are done",
        "5 < 3 is a contradiction",
        "5 feet < 3 yards",
        r"\pi \cdot 10^2 = 314",
        "He runs 3:45 + 2 minutes = 5:45",
        "If 51 is prime, we stop",
        "is 51 is prime?",
        "1 inch = 4 feet",
        "1 week = 5 days",
        "He gives 3 apples to every child because 4 * 2 = 8",
        "2:30 = 3:10",
        r"the eleventh term (a_{11} = 361)",
        "3:45 pm + 2 hours = 5:45 pm",
        "from 8:30 to 11:15 is 2 hours 45 minutes",
    ],
)
def test_other_readings(step: str) -> None:
    assert judge(step).truth != "wrong", judge(step)


def test_hostile_facts() -> None:
    for step in (
        ":" * 9000,
        "1:1" * 3000,
        " is prime" * 1000,
        "because " * 1200,
        "1 + 1 = " * 1200,
        "gcd(1," * 1500,
        "999,999,999,999,999,989 is prime",
    ):
        assert judge(step).truth != "correct"


@pytest.mark.parametrize(
    ("step", "truth", "reason"),
    [
        (r"$9\cdot 8\cdot 10\cdot 7! = 10!.$", "correct", "calculations_hold"),
        (r"Then $a + b = ab \sqrt{15} = -\frac{\sqrt{15}}{5}.$", "undecided", "not_numeric"),
        (r"\begin{align*} -10 + ab &= -16 \\ -2 a &= 6 \end{align*}", "undecided", "not_numeric"),
        (r"\begin{align*} x &= 5 + 3 \\ &- 2 \\ &= 7 \end{align*}", "wrong", "wrong_result"),
        ("So 56k–21+53>200", "undecided", "two_numbers_side_by_side"),
        (r"$21m + 6 \equiv 2 \pmod 7$", "undecided", "nothing_to_check"),
        (r"$20 \equiv 3 \pmod 7$", "wrong", "wrong_congruence"),
        ("The total is >=200 because 200 / 5 =<<200/5=40>>40", "correct", "calculations_hold"),
        ("So there are 20 - 10 = <<20-10=13>>13 roses that are not red", "wrong", "wrong_result"),
        ("By mistake she writes 20 - 10 = <<20-10=13>>13", "undecided", "hypothetical"),
        ("He won 5 more rounds than Ann so 15 - 5 = 100 rounds", "wrong", "wrong_result"),
        ("That is 15 - 5 = about 100", "wrong", "wrong_result"),
        ("That is 70 - 3 = about 100", "undecided", "rough_approximation"),
        ("He ran 8 / 3 = 2.67 rounds to 3", "correct", "calculations_hold"),
        ("It is 12 rather than 15 - 5 = 100", "undecided", "hypothetical"),
        ("5 more than half of 20 is 15", "undecided", "nothing_to_check"),
    ],
)
def test_readings_of_solutions(step: str, truth: str, reason: str) -> None:
    verdict = judge(step)
    assert (verdict.truth, verdict.reason) == (truth, f"arithmetic:{reason}")
