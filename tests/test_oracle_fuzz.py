"""Mutated steps: no member raises, and none takes long; the short form of `benchmarks/oracle_fuzz.py`."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sparring.oracles.members import MEMBERS, Question, load_member
from sparring.traces.records import Problem

MUTATIONS = 200
GUARD = 10.0  # seconds of processor time; usual are thousandths
PRESENT = [name for name, place in MEMBERS.items() if importlib.util.find_spec(place.partition(":")[0])]
PREFIX = (
    "Tom has 3 boxes of 8 pens, so he has 3 * 8 = <<3*8=24>>24 pens.",
    r"Let $x^2 - 5x + 6 = 0$, so $(x-2)(x-3) = 0$.",
)
STEPS = [
    (
        Problem("p", "Tom has 3 boxes of 8 pens and gives 5 away. How many has he left?", answer="19"),
        PREFIX,
        step,
    )
    for step in (
        "He has 24 - 5 = <<24-5=19>>19 pens left, about 79% of them.",
        r"So $x = \frac{5 \pm \sqrt{25 - 24}}{2} = 2.5 \pm 0.5$, that is $x = 2$ or $x = 3$.",
        r"\begin{align*} (a+b)^2 &= a^2 + 2ab + b^2 \\ &= 49 \end{align*} since $a + b = 7$.",
        "It is 3:45 pm + 2 hours = 5:45 pm, and 17 is prime. If it rains, the street is wet; it rains.",
        r"The derivative of $x^3$ is $3x^2$, and \(\int_0^1 2x\,dx = 1\). The final answer is \boxed{19}.",
        "5 ft 6 in + 8 in = 6 ft 2 in; $3.50 * 4 = $14; 20% of 50 is 10; 12:8 = 3:2",
    )
]
HOSTILE = [
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
    STEPS[0][2] + " <<1=1>>" * 1000,
    r"The answer is $\boxed{" + "(" * 81 + "x+y+z+w)" + "+1)" * 80 + "}$.",
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
    asked = [
        *fuzz.questions(STEPS, MUTATIONS, seed=7),
        *(
            Question(STEPS[0][0], PREFIX, original, text)
            for text in HOSTILE
            for original in (None, STEPS[0][2])
        ),
    ]
    before = signal.signal(signal.SIGVTALRM, fuzz.interrupt)
    try:
        for question in asked:
            for member in members:
                said, _ = fuzz.timed(member, question, GUARD)
                assert "guard" not in said and ":raised" not in said and ":bad_verdict" not in said, (
                    member.name,
                    said,
                    question.step[:500],
                )
    finally:
        signal.signal(signal.SIGVTALRM, before)
