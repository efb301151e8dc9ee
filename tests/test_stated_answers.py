"""Finding the answer that a solution states: whatever stands behind it, and numbers as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparring
from sparring.oracles.equality import compare_answers
from sparring.traces.answers import LONGEST, stated_answer

STATED = [
    ("#### 18\nI hope this helps!", "18"), ("#### 18\n\nQuestion: How many?\n#### 7", "18"),
    ("#### 18\n\nProblem: How many?\nAnswer: 7", "18"), ("The answer is 42. Check: 42 - 2 = 40.", "42"),
    ("So \\boxed{3}. Then finally \\boxed 5", "5"), ("\\boxed 55", "55"), ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("\\fbox{4} and done", "4"), ("Answer: 18", "18"), ("A: 18", "18"), ("**Answer:** 18", "18"),
    ("**Answer: 18**", "18"), ("Final Answer: The final answer is $18$. I hope it is correct.", "18"),
    ("So the answer is therefore 18", "18"), ("3+4=7\n\n= 18", "18"), ("That makes 10-15 apples", None),
    ("It is −5", "−5"), ("It was 1 200", "1 200"), ("He ate 1/2", "1/2"), ("total 3 1/2", "3 1/2"),
    ("We meet at 10:30", "10:30"), ("about 1.0e6", "1.0e6"), ("there are 1 million", "1 million"),
    ("It costs $1,200.50 in all.", "$1,200.50"), ("That is 25%", "25%"), ("so we get x^2", None),
    ("She has 3 + 4 = 7 apples", "7"), ("no idea", None), ("", None),
    ("The answer is $\\frac{1}{2}$.", "\\frac{1}{2}"), ("The answer is blue.", "blue"), ("The answer is \\(\\).", None),
    ("The final answer is\n\\[ 29 \\]\nThanks", "29"), ("Therefore the answer is: $x+1$.", "x+1"),
    ("The answer is not 42. It is 43.", "43"), ("If the answer is 42 then fine. We got 41.", "41"),
    ("so $x = \\frac{1}{2}$.", "\\frac{1}{2}"), ("x=\\boxed{3} or x=\\boxed{4}", "3, 4"), ("The answer is B.", "B"),
    ("The answer is (B).", "(B)"), ("The answer is B. 42", "B. 42"), ("18 is the answer", "18"),
    ("#### 18 I hope this helps", "18"), ("The answer is 3.5. Good", "3.5"),
    ("The answer is 29 dollars, which is it.", "29 dollars, which is it"), ("### Answer\n18", "18"),
    ("Final answer: **18**\nLet me know!", "18"), ("Question: what is 3+4?\nAnswer: 7", "7"),
    ("She sold 7 clips.\nI hope this helps!", "7"), ("The answer is \\$5.", "\\$5"), ("the area is 18 m^2", "18"),
    ("Answer:\n18", "18"), ("The answer is $18$ dollars.", "18 dollars"), ("The answer is 1,234.", "1,234"),
    ("The answer is: \\boxed{7}. Check 8.", "7"), ("#### $18", "$18"), ("Thus, answer = 12", "12"),
    ("The answer to the question is 12.", "12"), ("Hence the answer is 5 or 6.", "5 or 6"),
    ("He has 5 apples left (3 red, 2 green)", "5"), ("I get 3×4", None), ("It is 2x", None),
    ("step 3) yields 12", "12"), ("so 5 km", "5"), ("speed of 60 mph.", "60"), ("She is 12-years-old", "12"),
    ("That's 10–15.", None), ("from 10 to 15", None), ("The total is 1,234,567", "1,234,567"),
    ("Assistant: the answer is 9\nUser: another one 8", "9"), ("\\[ x = 2 \\]", "2"),
    ("answer is $-\\frac{3}{4}$", "-\\frac{3}{4}"), ("-5", "-5"), ("it is -5", "-5"), ("8 - 5", None),
    ("\\boxed{}", None),
    ("The answer is 10:30 a.m. They leave then.", "10:30 a.m."),
    ("total: 45", "45"), ("A=4", "4"), ("Step 1: do it", None), ("## Answer: 42", "42"), ("needs 2½ cups", "2½"),
    ("The answer is $1.5 \\times 10^{3}$ meters.", "1.5 \\times 10^{3} meters"), ("Room 5B", None), ("#### -18", "-18"),
    ("We have 18 as our answer.", "18"), ("**Final Answer**\n\n42", "42"), ("value 10^3", None), ("$\\boxed -3$", "-3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), STATED)
def test_stated_answers(text, answer):
    assert stated_answer(text.split("\n")) == stated_answer(text) == answer


FORMS = ["#### {}", "The answer is {}.", "Answer: {}", "**Final Answer:** {}", "\\boxed{{{}}}", "\\boxed {}",
         "so the answer is ${}$.", "The final answer is \\({}\\).", "A: {}", "Therefore, the answer is:\n\\[{}\\]",
         "So {} is the answer."]  # fmt: skip
BEHIND = ["", "\nI hope this helps!", "\n\nQuestion: Tom has 3 pens and 4 pencils.\n#### 7", "\n---\nThank you.",
          "\n\n### Problem 2: What is 2+2?\nAnswer: 4", "\nCheck: 3 + 4 = 7, as it should be.",
          " Let me know if you have questions!", "\n\nUser: and 5?\nThe answer is 5."]  # fmt: skip


@given(
    st.sampled_from(FORMS),
    st.sampled_from(BEHIND),
    st.integers(8, 10**9),
    st.sampled_from(["", "First 2 + 2 = 4.\n"]),
)
@settings(deadline=None)
def test_text_behind_an_answer_does_not_lose_it(form, behind, number, before):
    text = before + form.format(number) + behind
    found = sparring.stated_answer(text)
    assert found is not None and compare_answers(str(number), found) == "equal"
    assert stated_answer(text, last_number=False) == found


WHOLE = st.one_of(
    st.integers(0, 10**9).map(str),
    st.integers(1000, 10**9).map("{:,}".format),
    st.integers(1, 999).map("−{}".format),
    st.builds("{}/{}".format, st.integers(1, 99), st.integers(2, 99)),
    st.builds("{} 1/{}".format, st.integers(1, 99), st.integers(2, 9)),
    st.builds("{}:{:02d}".format, st.integers(1, 12), st.integers(0, 59)),
    st.builds("{}.{}e{}".format, st.integers(1, 9), st.integers(0, 9), st.integers(1, 9)),
    st.integers(1, 99).map("{} million".format),
    st.integers(1, 99).map("{}%".format),
    st.integers(1, 999).map("{} 500".format),
    st.integers(0, 10**8).map(lambda cents: f"${cents // 100}.{cents % 100:02d}"),
)


@given(
    WHOLE, st.sampled_from(["That makes {}.", "so it is {}", "{}", "In all they need {} of them.", "x = {}"])
)
def test_the_last_number_is_read_as_a_whole(number, sentence):
    assert stated_answer(["First 2 + 2 = 4.", sentence.format(number)]) == number


PARTS = ["{}-{}", "{}–{}", "x^{}{}", "{}x + {}", "{} to {}", "{}*{}", "a_{}{}", "{} × {}"]


@given(st.integers(2, 99), st.integers(2, 99), st.sampled_from(PARTS))
def test_a_part_of_something_larger_is_no_number(one, other, form):
    assert stated_answer([f"We have {form.format(one, other)}"]) is None


@given(st.lists(st.text(max_size=60), max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_text_has_an_answer_or_none(steps):
    found = stated_answer(steps)
    assert found is None or 0 < len(found) <= LONGEST


def test_several_boxes():
    assert (
        stated_answer(r"First \boxed{3}. Then, after a long consideration of the matter, \boxed{4}.") == "4"
    )
    assert stated_answer(r"So $x=\boxed{3}$ or $x=\boxed{4}$.") == "3, 4"
    assert stated_answer(r"\boxed{3} \boxed{3}") == "3"
