"""Rule perturbations: different, consistent where promised, and wrong by the reference oracle."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from real_data import sample
from sparring.oracles.arithmetic import judge_text
from sparring.oracles.perturbations import PERTURBATIONS, perturb, style_of
from sparring.oracles.reference import judge_against
from sparring.traces.records import Problem

RECOMPUTED = (
    "off_by_one", "wrong_operand", "wrong_operation", "wrong_reference", "wrong_value_carried", "sign_error",
    "skipped_operand", "swapped_operands", "unit_slip", "percent_slip",
)  # fmt: skip
COMPUTABLE_TEXT = sorted(
    name for name, kind in PERTURBATIONS.items() if "text" in kind.computable and kind.generators("text")
)
PROBLEM = Problem(
    id="p", question="Tom has 14 boxes of 25 pens, sells 40% and buys 6 more for $1,200.", answer="12345"
)
PREFIX = ("He sold 5 + 6 = 11 pens.", "So 11 * 3 = <<11*3=33>>33 hours went by.")


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
                (f"33 + {third}", 33 + third),
            ]
        )
    )
    annotation = f"<<{text.replace(' ', '')}={value}>>" if draw(st.booleans()) else ""
    return f"So Tom has {text} = {annotation}{value} pens, which makes {value} in all."


@st.composite
def equations(draw: st.DrawFn) -> str:
    """A LaTeX step with unknowns."""
    a, b, c = draw(st.integers(2, 9)), draw(st.integers(11, 49)), draw(st.integers(51, 99))
    formula = draw(
        st.sampled_from(
            [
                rf"{a}x - {b} = {c}",
                rf"x^2 + {b}x = {c} - y",
                rf"\frac{{x + {b}}}{{{a}}} = {c}",
                rf"\sqrt{{x + {b}}} = {c}",
                rf"(x - y)^2 = {c}",
                rf"y = \pm {c}",
            ]
        )
    )
    return f"Dividing both sides gives us ${formula}$."


@given(steps(), st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 2**32))
def test_every_kind_differs_and_depends_on_the_seed_alone(step: str, kind: str, seed: int) -> None:
    made, again = (perturb(PROBLEM, PREFIX, step, random.Random(seed), kinds=(kind,)) for _ in range(2))
    assert made == again
    assert made is None or (made[0] == kind and made[1] != step)


@given(steps(), st.sampled_from(COMPUTABLE_TEXT), st.integers(0, 2**32))
def test_computable_kinds_are_found(step: str, kind: str, seed: int) -> None:
    made = perturb(PROBLEM, PREFIX, step, random.Random(seed), kinds=(kind,))
    assert made is None or judge_against(PROBLEM, PREFIX, step, made[1]).truth == "wrong", made


@given(steps(), st.sampled_from(RECOMPUTED), st.integers(0, 2**32))
def test_recomputed_kinds_keep_the_arithmetic_right(step: str, kind: str, seed: int) -> None:
    made = perturb(PROBLEM, PREFIX, step, random.Random(seed), kinds=(kind,))
    assert made is None or judge_text(made[1]).truth != "wrong", made


@given(steps(), st.integers(0, 2**32))
def test_slips_keep_text_and_annotation_together(step: str, seed: int) -> None:
    made = perturb(PROBLEM, (), step, random.Random(seed), kinds=("arithmetic_slip",))
    assert made is not None
    assert judge_text(made[1]).truth in ("wrong", "undecided")
    if ">>" in made[1]:
        inside, printed = made[1].split("=")[-1].split(">>")
        assert printed.startswith(inside)


@given(st.one_of(steps(), equations()), st.integers(0, 2**32))
def test_by_default_only_computable_kinds_are_made(step: str, seed: int) -> None:
    made = perturb(PROBLEM, PREFIX, step, random.Random(seed))
    assert made is None or style_of(step) in PERTURBATIONS[made[0]].computable


@given(equations(), st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 2**32))
def test_latex_kinds_change_one_formula(step: str, kind: str, seed: int) -> None:
    made = perturb(PROBLEM, ("Thus $x = 7$ and $z = 2$.",), step, random.Random(seed), kinds=(kind,))
    if made is None:
        return
    assert made[1] != step
    if kind == "contradiction":
        assert made[1].endswith(step)
    else:
        assert made[1].startswith("Dividing both sides gives us $")
        assert made[1].endswith("$.")


LATEX_CASES = [
    ("sign_error", "We get $2x - 3 = 7$.", {"We get $2x + 3 = 7$."}),
    ("sign_error", "We get $(x - 3)^2 = 7$.", None),  # inside brackets the claim may stay true
    ("sign_error", "We get $x + 0 = 7$.", None),
    ("sign_error", "Suppose that $2x - 3 = 7$.", None),
    ("flipped_inequality", "So $x < 3$.", {"So $x > 3$."}),
    ("flipped_inequality", r"So $x \le 3$.", {"So $x > 3$."}),
    ("flipped_inequality", "So $1 < x < 3$.", None),
    ("dropped_case", r"So $x = \pm 3$.", {"So $x = 3$."}),
    ("dropped_case", r"So $x = 2 \pm 3$.", {"So $x = 2 + 3$."}),
    ("dropped_case", "So $x = 2$ or $x = -5$.", {"So $x = 2$.", "So $x = -5$."}),
    ("dropped_case", "So $x = a + b$ or $x = b + a$.", None),  # two ways of writing, not two cases
    ("false_law", r"So $y = \sqrt{x + 4}$.", {r"So $y = \sqrt{x} + \sqrt{4}$."}),
    ("false_law", "So $y = (a - b)^2$.", {"So $y = (a^2 - b^2)$."}),
    ("false_law", r"So $y = \sqrt{x + 0}$.", None),
    ("arithmetic_slip", "So $x + y = 41$.", "any other"),
    ("off_by_one", "So $2x = 0$.", None),  # true of the same x whatever the factor is
    ("off_by_one", "So $5x = 40$.", {"So $6x = 40$.", "So $4x = 40$."}),
    ("wrong_operand", "So $3x = 40$.", {"So $17x = 40$.", "So $5x = 40$."}),
    ("wrong_reference", "So $3x = 40$.", {"So $3y = 40$.", "So $3z = 40$."}),
    ("contradiction", "So $3x = 40$.", "any other"),
]


@pytest.mark.parametrize(("kind", "step", "expected"), LATEX_CASES)
def test_latex_kinds_by_hand(kind: str, step: str, expected: set[str] | str | None) -> None:
    problem = Problem(id="p", question="Find $x$ and $y$ if there are $17$.")
    made = {
        None if found is None else found[1]
        for seed in range(20)
        for found in [perturb(problem, ("Thus $z = 5$.",), step, random.Random(seed), kinds=(kind,))]
    }
    if expected == "any other":
        assert len(made) > 1 and step not in made and None not in made
    else:
        assert made == ({None} if expected is None else expected)


def test_contradiction_repeats_an_earlier_result_wrongly() -> None:
    step = "Then 33 / 3 = 11 days."
    for seed in range(10):
        made = perturb(PROBLEM, PREFIX[1:], step, random.Random(seed), kinds=("contradiction",))
        assert made is not None
        assert made[1].startswith("So ") and made[1].endswith(f" hours went by. {step}")
        assert made[1].split()[1] != "33" and "*" not in made[1]


def test_premature_answer_needs_another_answer() -> None:
    step = "He has 14 * 25 = <<14*25=350>>350 pens."
    made = perturb(PROBLEM, (), step, random.Random(0), kinds=("premature_answer",))
    assert made == ("premature_answer", f"{step} So the final answer is 350.")
    for answer in (None, "350", "$350", "35000", "3.50", "many"):
        other = Problem(id="p", question="?", answer=answer)
        assert perturb(other, (), step, random.Random(0), kinds=("premature_answer",)) is None


def test_skipped_step_is_the_next_one_where_it_needs_this_one() -> None:
    solution = ("He has 14 * 25 = 350 pens.", "He keeps 350 - 11 = 339.", "Then 6 + 7 = 13 days pass.")
    problem = Problem(id="p", question="14 boxes of 25, minus 11.", solution=solution)

    def made(place: int, prefix: tuple[str, ...]) -> tuple[str, str] | None:
        return perturb(problem, prefix, solution[place], random.Random(0), kinds=("skipped_step",))

    assert made(0, ()) == ("skipped_step", solution[1])
    assert made(1, solution[:1]) is None  # the third does not use 339
    assert made(2, solution[:2]) is None  # there is no fourth
    assert made(0, ("Something else.",)) is None


def test_wrong_unit_is_of_the_same_dimension() -> None:
    made = perturb(PROBLEM, (), "It takes 3 * 4 = 12 hours.", random.Random(0), kinds=("wrong_unit",))
    assert made is not None
    assert made[1].split()[-1].rstrip(".") in {"seconds", "minutes", "days", "weeks", "months", "years"}
    assert perturb(PROBLEM, (), "So $11m = 11$.", random.Random(0), kinds=("wrong_unit",)) is None


@pytest.mark.parametrize(
    ("step", "style"),
    [
        ("She pays $5 + $6 = $11 for $2 more.", "text"),
        ("She has 48/2 = <<48/2=24>>24 clips.", "text"),
        ("So $x = 3$.", "latex"),
        (r"So \frac{1}{2} of it.", "latex"),
        (r"Thus \(x\) is 3.", "latex"),
        ("It costs $5 and $6.", "text"),
    ],
)
def test_style(step: str, style: str) -> None:
    assert style_of(step) == style


def test_taxonomy_is_consistent() -> None:
    for kind in PERTURBATIONS.values():
        assert kind.generators("text") or kind.generators("latex")
        assert all(kind.generators(style) for style in kind.computable)


def test_later_mentions_follow_the_result() -> None:
    made = perturb(
        PROBLEM, (), "14 * 25 = 350 pens, and 350 is a lot.", random.Random(0), kinds=("off_by_one",)
    )
    assert made is not None
    assert "350" not in made[1]


def test_a_step_never_only_repeats_another_of_its_calculations() -> None:
    step = "17 + 10 = 27 and 17 - 10 = 7."
    for seed in range(20):
        made = perturb(PROBLEM, (), step, random.Random(seed), kinds=("sign_error",))
        assert made is None


def test_step_without_calculation() -> None:
    made = perturb(PROBLEM, (), "Tom has 14 boxes.", random.Random(0))
    assert made is not None
    assert made[0] == "misstated_number"
    assert perturb(PROBLEM, (), "Tom has boxes.", random.Random(0)) is None
    assert perturb(PROBLEM, (), "What if Tom has 14 boxes?", random.Random(0)) is None


def test_unknown_kind() -> None:
    with pytest.raises(KeyError):
        perturb(PROBLEM, (), "1 + 1 = 2", random.Random(0), kinds=("nonsense",))


FORMULA_TEXT = st.text(alphabet="$\\()[]{}=+-<>^_ 0123xyz.orpmsqtfac\n", max_size=120)


@given(st.one_of(st.text(max_size=200), FORMULA_TEXT), st.integers(0, 2**32))
def test_any_text_never_raises(text: str, seed: int) -> None:
    for kind in PERTURBATIONS.values():
        made = kind(PROBLEM, (text,), text, random.Random(seed))
        assert made is None or isinstance(made, str)


@pytest.mark.parametrize("text", ["\\(" * 50_000, "$" * 100_001, "1 " * 50_000, "$x=" * 30_000, "9" * 10**6])
def test_huge_text_is_left_alone(text: str) -> None:
    for kind in PERTURBATIONS.values():
        kind(PROBLEM, (), text, random.Random(0))


def test_judged_wrong_on_real_steps() -> None:
    judged: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    with sample("gsm8k/train.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line, _ in zip(file, range(60), strict=False)]
    for record in records:
        problem = Problem(id="p", question=record["question"])
        solution = [line for line in record["answer"].split("\n") if line.strip()][:-1]
        for index, step in enumerate(solution):
            for kind in COMPUTABLE_TEXT:
                made = PERTURBATIONS[kind](problem, solution[:index], step, random.Random(index))
                if made is not None:
                    judged[kind] += 1
                    wrong[kind] += judge_against(problem, solution[:index], step, made).truth == "wrong"
    assert judged.total() > 1000
    assert wrong.total() / judged.total() >= 0.99
    assert all(judged[kind] - wrong[kind] <= 0.03 * judged[kind] + 1 for kind in judged)
