"""Hostile text: every member of the panel answers within its limits, and none dies of it."""

from __future__ import annotations

import importlib.util
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fuzz_targets import PREFIX, QUESTION, STEPS
from sparring.oracles.members import MEMBERS, load_member
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import perturb
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
    "7 = 8 " + "a" * 800,
    "8^9**9**9**9 = 7/13",
    r"$(x+y+z+w)^{99} = 1$",
    r"$((((x+y+z+w)^{9})^{9})^{9})^{9} = x$",
    "n" + "/3" * 400 + " = 1",
    "100" + " + 10%" * 300 + " = 5",
    "((((((((9!)!)!)!)!)!)!)!) = 1",
    "(" * 10_000 + "1 = 1",
    "1 = " + "x + " * 2500 + "1",
    "0." + "3" * 9000 + " * 3 = 1",
    "derivative of" + " " * 9000 + "is 3",
    "1/" * 4000 + "1 = 1",
    "25 () riders - 15 = 10",
    "It costs <<6$---0.5, 4>>4 = 4",
    "=".join(["9^9"] * 2000),
    r"\sqrt{" * 500 + "2" + "}" * 500 + " = 1",
    r"\[ 3^" + "." * 4000 + r" = 1 \]",
    r"\(" * 4000 + "1 = 1",
    "He has 24 - 5 = <<24-5=19>>19 pens left." + " <<1=1>>" * 1000,
    r"The answer is $\boxed{" + "(" * 81 + "x+y+z+w)" + "+1)" * 80 + "}$.",
    "3x" * 4900 + "=1",
    "2^64*" * 1900 + "1=5",
    "if 2+2=5 " * 1000,
    ("1.23*" * 10 + "1.2=1;") * 170,
    "50!*" * 2400 + "1=2",
    "".join(f"{2**i}+{2**i}={2 ** (i + 1)}, " for i in range(90)),
    "-" * 9000 + "1=1",
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
    perturb(_problem(text), (text,), text, random.Random(0))


# --- mutated steps: the short form of `benchmarks/oracle_fuzz.py` ---

MUTATIONS = 100
GUARD = 10.0  # seconds of processor time; usual are thousandths
SEEDS = [
    (
        Problem("p", QUESTION, answer="19"),
        (PREFIX, r"Let $x^2 - 5x + 6 = 0$, so $(x-2)(x-3) = 0$."),
        step,
    )
    for step in STEPS
]


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    place = Path(__file__).resolve().parents[1] / "benchmarks" / "oracle_fuzz.py"
    spec = importlib.util.spec_from_file_location("oracle_fuzz", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["oracle_fuzz"] = module
    spec.loader.exec_module(module)
    return module


def test_every_member_answers_on_mutated_steps(fuzz: ModuleType) -> None:
    members = [load_member(name) for name in PRESENT]
    before = signal.signal(signal.SIGVTALRM, fuzz.interrupt)
    try:
        for question in fuzz.questions(SEEDS, MUTATIONS, seed=7):
            for member in members:
                said, _ = fuzz.timed(member, question, GUARD)
                assert "guard" not in said and ":raised" not in said and ":bad_verdict" not in said, (
                    member.name,
                    said,
                    question.step[:500],
                )
    finally:
        signal.signal(signal.SIGVTALRM, before)
