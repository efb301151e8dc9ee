"""The reference oracle: equivalent rewrites are correct, contradictions wrong, the rest undecided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.oracles import Verdict
from sparring.oracles.reference import is_malformed, judge_against
from sparring.traces.records import Problem

PROBLEM = Problem(id="p", question="He has 24 clips, 4 boxes and 3 dogs.")
ORIGINAL = "She makes 9 * 2 = $<<9*2=18>>18 every day."


def against(original: str, step: str) -> Verdict:
    return judge_against(PROBLEM, (), original, step)


@pytest.mark.parametrize(
    "step",
    [
        ORIGINAL,
        "  she MAKES 9 * 2 = $<<9*2=18>>18   every day",
        "She makes 9 * 2 = $18 every day.",
        "She makes 2 * 9 = $<<2*9=18>>18 every day.",
        "Every day her income is 9 × 2 = 18 dollars.",
        "She makes 9 / 0.5 = $18 every day.",
        "Therefore, she makes 9 * 2 = $18.00 every day.",
        "So she makes $18 = 9 * 2 every day.",
        "She makes 9 * 2 = 18.000000000000004 dollars every day.",
    ],
)
def test_equivalent_rewrites(step: str) -> None:
    assert against(ORIGINAL, step).truth == "correct", against(ORIGINAL, step)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("20% of 50 = 10", "50 * 0.2 = 10"),
        ("24 / 2 = 12", "24 * 1/2 = 12"),
        ("3 * 4 = 12, 12 + 5 = 17", "3 * 4 + 5 = 17"),
        ("10 - 3 + 2 = 9", "2 + 10 - 3 = 9"),
        ("1,000 + 1 = 1,001", "1000 + 1 = 1001"),
        ("10 / 3 = 3.33 clips", "10 / 3 = 3.333 clips"),
        ("0.75*96.00000000000001 = 72.00000000000001", "0.75*96 = 72"),
        ("24 = 48 / 2", "48 / 2 = 24"),
        ("He gets 40% of it", "So he gets 0.40 of it"),
        ("There are 3 dogs", "There are 3.0000000000000004 dogs"),
    ],
)
def test_same_calculation(one: str, other: str) -> None:
    assert against(one, other).truth == "correct"
    assert against(other, one).truth == "correct"


@pytest.mark.parametrize(
    ("original", "step", "reason"),
    [
        (ORIGINAL, "She makes 9 * 2 = $<<9*2=19>>19 every day.", "arithmetic:wrong_result"),
        (ORIGINAL, "She makes 9 * 3 = $<<9*3=27>>27 every day.", "reference:different_operands"),
        (ORIGINAL, "She makes 9 + 2 = $<<9+2=11>>11 every day.", "reference:different_operation"),
        ("He has 36 apples left.", "He has 35 apples left.", "reference:different_number"),
        ("7 / 2 = 3 bags", "7 / 2 = 4 bags", "reference:different_result"),
        (
            "With 3 dogs he needs 4 * 2 = 8 cups",
            "With 5 dogs he needs 4 * 2 = 8 cups",
            "reference:different_number",
        ),
        ("3 * 2 = 6 so 6 + 1 = 7", "3 * 2 = 6 so 6 + 3 = 9", "reference:different_operands"),
        ("He sells 3 * 2 = 6 pens today", "So he sells 3 * 4 = 12 pens", "reference:different_operands"),
        ("He gets 40% of it", "He gets 4% of it", "reference:different_number"),
        ("He pays 3.33 * 2 = 6.66", "He pays 3.33 * 3 = 9.99", "reference:different_operands"),
    ],
)
def test_contradictions(original: str, step: str, reason: str) -> None:
    verdict = against(original, step)
    assert (verdict.truth, verdict.reason) == ("wrong", reason)


@pytest.mark.parametrize(
    ("original", "step", "reason"),
    [
        (ORIGINAL, "The farm has a total area of 3 * 4 = 12 acres.", "reference:incomparable"),
        (ORIGINAL, "She likes eggs.", "reference:incomparable"),
        (ORIGINAL, "She makes 6 * 3 = $18 every day.", "reference:same_result"),
        (ORIGINAL, "She does not make 9 * 2 = $18 every day.", "reference:negation"),
        (ORIGINAL, "She makes 9 * 2 = $18 every day of the 77.", "reference:new_number"),
        ("3 * 2 = 6 so 6 + 1 = 7", "3 * 2 = 6", "reference:part_of_original"),
        ("3 * 2 = 6", "3 * 2 = 6 so 6 + 1 = 7", "reference:goes_on"),
        (
            "In 3 years Ann will be 9 + 3 = 12",
            "In 3 years he will be 18 + 3 = 21",
            "reference:other_quantity",
        ),
        (
            "He runs 3 * 60 = 180 meters a week",
            "He runs 3 * 3 = 9 sprints a week",
            "reference:other_quantity",
        ),
        ("He pays 3.33 * 2 = 6.66", "He pays 3.333 * 2 = 6.666", "reference:rounded_operands"),
        ("She eats at 4+3 = 7:00 pm", "She eats at 3+4 = 7:00 pm", "reference:reordered"),
        ("The share is 40%", "The share is 40", "reference:percent_scale"),
    ],
)
def test_undecided(original: str, step: str, reason: str) -> None:
    verdict = against(original, step)
    assert (verdict.truth, verdict.reason) == ("undecided", reason)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("...", "no_words_or_numbers"),
        ("She makes money. " * 40, "too_long"),
        ("She makes 9 * 2 = 18.\nThen 18 + 2 = 20.", "several_steps"),
        ("Question: She makes 9 * 2 = 18", "prompt_echo"),
        ("Sure, here it is", "prompt_echo"),
        ("9 * 2 = 18 <|im_end|>", "prompt_echo"),
        (ORIGINAL + " " + ORIGINAL, "repeats_original"),
        ("She makes 9 * 3 = 27 every day.", None),
        (ORIGINAL, None),
    ],
)
def test_malformed(step: str, reason: str | None) -> None:
    assert is_malformed(ORIGINAL, step) == reason


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_never_raises(original: str, step: str) -> None:
    assert against(original, step).truth in ("correct", "wrong", "undecided")
    is_malformed(original, step)


@given(st.text(max_size=200))
def test_every_text_agrees_with_itself(text: str) -> None:
    assert against(text, text).truth == "correct"


@pytest.mark.parametrize(
    ("original", "step", "truth", "reason"),
    [
        ("So $x + 3 = 5$", "So $x - 3 = 5$", "wrong", "reference:different_sign"),
        ("Thus $x < 5$.", "Thus $x > 5$.", "wrong", "reference:different_sign"),
        ("So $2x + 3 = 7$", "So $2x + 3 = 8$", "wrong", "reference:different_number"),
        ("Thus $x + 3 = 5$", "This means that $x+3 = 5$", "correct", "reference:same_formula"),
        (r"We get $\frac{x}{2} = 3$", r"We get $\dfrac{x}{2} = 3$", "correct", "reference:same_text"),
        ("So $x^2 = 4$", "So $x^{2} = 4$", "correct", "reference:same_text"),
        ("So $2x = 6$", "So $4x = 12$", "undecided", "reference:rescaled"),
        ("So $2x = 0$", "So $3x = 0$", "undecided", "reference:rescaled"),
        ("So $x < 5$", "So $x \\le 5$", "undecided", "reference:other_formula"),
        ("So $x = 5$", "So $x = -5$", "undecided", "reference:other_formula"),
        ("Since 3*4 = 12, x > 5", "Since 3*4 = 12, x < 5", "undecided", "reference:other_formula"),
        ("So $x$ is even", "So $x$ is odd", "undecided", "reference:incomparable"),
    ],
)
def test_formulas(original: str, step: str, truth: str, reason: str) -> None:
    verdict = against(original, step)
    assert (verdict.truth, verdict.reason) == (truth, reason)


DEALS = Problem(
    id="p",
    question="Tom has 24 clips, 4 boxes and 3 dogs. Ann has 9 pens worth $2. When are 2 hours over?",
    answer="72",
)


@pytest.mark.parametrize(
    ("original", "step", "truth", "reason"),
    [
        ("He walks 3 * 2 = 6 miles", "He walks 3 * 2 = 6 inches", "wrong", "reference:different_unit"),
        ("She is 3 + 4 = 7 years old", "She is 3 + 4 = 7 days old", "wrong", "reference:different_unit"),
        ("He waits 3 hours", "He waits 3 minutes", "wrong", "reference:different_unit"),
        ("He waits 2 * 3 = 6 hours", "He waits 2 * 3 = 6 hrs", "correct", "reference:same_calculation"),
        ("It takes 3 * 2 = 6", "It takes 3 * 2 = 6 hours", "correct", "reference:same_calculation"),
        ("It takes 3 * 2 = 6", "It takes 3 * 2 = 6 weeks", "undecided", "reference:other_unit"),
        ("She pays 9 * 2 = $18", "She pays 9 * 2 = 18 dollars", "correct", "reference:same_calculation"),
        ("He has 24 / 4 = 6 left", "He has 24 / 4 = 6 left. So the final answer is 6.", "undecided",
         "reference:claims_answer"),
        ("So 24 * 3 = 72", "So 24 * 3 = 72. The answer is 72.", "correct", "reference:same_calculation"),
        ("So $24 * 3 = 72$", r"So $24 * 3 = \boxed{72}$", "correct", "reference:same_calculation"),
        ("He has 24 / 4 = 6 left", "Tom has 4 dogs. He has 24 / 4 = 6 left", "undecided",
         "reference:restated_number"),
        ("He has 24 / 4 = 6 left", "He has 24 / 4 = 6, so 6 are left", "correct", "reference:same_calculation"),
        ("Tom sells 24 / 4 = 6 clips", "Ann sells 24 / 4 = 6 clips", "undecided", "reference:other_subject"),
        ("Tom has 24 / 4 = 6 clips", "Tom has 24 / 4 = 6 pens", "undecided", "reference:other_subject"),
        ("It is 24 / 4 = 6 more", "It is 24 / 4 = 6 less", "undecided", "reference:opposite"),
        ("3 * 2 = 6, 5 + 1 = 6 and 7 + 1 = 8", "3 * 2 = 6 and 7 + 1 = 8", "undecided", "reference:other_claims"),
    ],
)  # fmt: skip
def test_what_words_add_or_change(original: str, step: str, truth: str, reason: str) -> None:
    verdict = judge_against(DEALS, (), original, step)
    assert (verdict.truth, verdict.reason) == (truth, reason)


@pytest.mark.parametrize("text", ["3 * 2 = 6 " * 150, "Tom has 24 clips. " * 200])
def test_long_texts_are_read_like_short_ones(text: str) -> None:
    assert judge_against(DEALS, (), text, f"So {text}").truth == "correct"


@pytest.mark.parametrize(
    ("original", "step", "truth"),
    [
        ("1/2 + 1/4 = 3/4", "2/4 + 1/4 = 3/4", "undecided"),
        ("6/12 = 1/2", "3/6 = 1/2", "undecided"),
        ("Of 5 pies 1/2 + 1/4 = 3/4 are eaten", "Of 6 pies 1/2 + 1/4 = 3/4 are eaten", "wrong"),
        ("2 + 2 = 4; six times seven is forty-two", "2 + 2 = 4; six times seven is forty-eight", "undecided"),
        ("He has 2 + 2 = 4 eggs, two dozen in all", "He has 2 + 2 = 4 eggs, three dozen in all", "undecided"),
        ("It is 2*3 = 6, twice as many", "It is 2*3 = 6, three times as many", "undecided"),
        ("There are 10/2 = 5, half of them", "There are 10/2 = 5, a third of them", "undecided"),
        ("It is 2*3 = 6", "It is two times three, 2*3 = 6", "correct"),
        ("Half of 10 is 10/2 = 5", "One half of 10 is 10/2 = 5", "correct"),
    ],
)
def test_fractions_with_the_same_value_and_numbers_in_words(original, step, truth):
    assert judge_against(Problem("p", "How many?"), [], original, step).truth == truth
