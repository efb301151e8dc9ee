"""Rule perturbations: different, consistent where promised, and wrong by the reference oracle."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles import PERTURBATIONS, judge_against, perturb
from sparring.oracles.arithmetic import judge_text
from sparring.traces.records import Problem

DATA = Path(os.environ.get("SPARRING_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"))
RECOMPUTED = (
    "off_by_one", "wrong_operand", "wrong_operation", "wrong_value_carried", "skipped_operand",
    "swapped_operands", "unit_slip", "percent_slip",
)  # fmt: skip
PROBLEM = Problem(id="p", question="Tom has 14 boxes of 25 pens, sells 40% and buys 6 more for $1,200.")


@st.composite
def steps(draw: st.DrawFn) -> str:
    """A GSM8K-like step with a true calculation, with or without its annotation."""
    one, other, third = draw(st.integers(11, 99)), draw(st.integers(2, 9)), draw(st.integers(2, 50))
    text, value = draw(
        st.sampled_from(
            [
                (f"{one} * {other}", one * other),
                (f"{one}-{other}", one - other),
                (f"{one} + {other} + {third}", one + other + third),
                (f"{one * other} / {other}", one),
                (f"{one} * 60", one * 60),
                (f"0.4 * {one * 10}", 4 * one),
            ]
        )
    )
    annotation = f"<<{text.replace(' ', '')}={value}>>" if draw(st.booleans()) else ""
    return f"So Tom has {text} = {annotation}{value} pens, which makes {value} in all."


@given(steps(), st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 2**32))
def test_every_kind_differs_and_is_wrong(step: str, kind: str, seed: int) -> None:
    made = perturb(PROBLEM, ("He sold 11 pens.",), step, random.Random(seed), kinds=(kind,))
    if made is None:
        return
    assert made[0] == kind
    assert made[1] != step
    assert judge_against(PROBLEM, (), step, made[1]).truth != "correct"


@given(steps(), st.sampled_from(RECOMPUTED), st.integers(0, 2**32))
def test_recomputed_kinds_keep_the_arithmetic_right(step: str, kind: str, seed: int) -> None:
    made = perturb(PROBLEM, ("He sold 11 pens.",), step, random.Random(seed), kinds=(kind,))
    assert made is None or judge_text(made[1]).truth != "wrong", made


@given(steps(), st.integers(0, 2**32))
def test_slips_keep_text_and_annotation_together(step: str, seed: int) -> None:
    made = perturb(PROBLEM, (), step, random.Random(seed), kinds=("arithmetic_slip",))
    assert made is not None
    assert judge_text(made[1]).truth in ("wrong", "undecided")
    if ">>" in made[1]:
        inside, printed = made[1].split("=")[-1].split(">>")
        assert printed.startswith(inside)


def test_same_seed_same_text() -> None:
    step = "He has 14 * 25 = <<14*25=350>>350 pens."
    made = [perturb(PROBLEM, (), step, random.Random(3)) for _ in range(2)]
    assert made[0] == made[1] is not None


def test_later_mentions_follow_the_result() -> None:
    made = perturb(
        PROBLEM, (), "14 * 25 = 350 pens, and 350 is a lot.", random.Random(0), kinds=("off_by_one",)
    )
    assert made is not None
    assert "350" not in made[1]


def test_step_without_calculation() -> None:
    made = perturb(PROBLEM, (), "Tom has 14 boxes.", random.Random(0))
    assert made is not None
    assert made[0] == "misstated_number"
    assert perturb(PROBLEM, (), "Tom has boxes.", random.Random(0)) is None


def test_unknown_kind() -> None:
    with pytest.raises(KeyError):
        perturb(PROBLEM, (), "1 + 1 = 2", random.Random(0), kinds=("nonsense",))


@given(st.text(max_size=200), st.integers(0, 2**32))
def test_any_text_never_raises(text: str, seed: int) -> None:
    made = perturb(PROBLEM, (text,), text, random.Random(seed))
    assert made is None or made[1] != text


@pytest.mark.skipif(not (DATA / "gsm8k" / "train.jsonl").is_file(), reason=f"GSM8K is not at {DATA}")
def test_judged_wrong_on_real_steps() -> None:
    rng, judged, wrong = random.Random(0), 0, 0
    with (DATA / "gsm8k" / "train.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line, _ in zip(file, range(150), strict=False)]
    for record in records:
        problem = Problem(id="p", question=record["question"])
        solution = [line for line in record["answer"].split("\n") if line.strip()][:-1]
        for index, step in enumerate(solution):
            made = perturb(problem, solution[:index], step, rng)
            if made is not None:
                judged += 1
                wrong += judge_against(problem, solution[:index], step, made[1]).truth == "wrong"
    assert judged > 300
    assert wrong / judged >= 0.99
