"""The logic member against its world, where every answer is known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logic_world import FORMS, generate
from sparring.contrib.oracles.logic import judge
from sparring.traces.records import Problem


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_exact_on_its_world(seed: int, length: int) -> None:
    example = generate(seed, length)
    for index, step in enumerate(example.trace.steps):
        prefix = example.trace.steps[:index]
        assert judge(example.trace.problem, prefix, step).truth == "correct"
        for _, fallacy in example.fallacies[index]:
            assert judge(example.trace.problem, prefix, fallacy).truth == "wrong"


def test_the_world_is_a_function_of_its_seed() -> None:
    assert generate(7) == generate(7)
    assert generate(7) != generate(8)
    with pytest.raises(ValueError, match="from 1 to 4"):
        generate(0, 5)


def test_every_form_occurs() -> None:
    names = {
        name
        for seed in range(60)
        for fallacies in generate(seed, 4).fallacies
        for name, _ in sum([fallacies], ())
    }
    assert names == {name for form in FORMS.values() for name, _ in form.fallacies}


@pytest.mark.parametrize(
    ("step", "truth"),
    [
        ("If it rains then the street is wet. It rains. Therefore, the street is wet.", "correct"),
        ("If it rains then the street is wet. The street is wet. Therefore, it rains.", "wrong"),
        ("No cats are dogs. Rex is a dog. So Rex is not a cat.", "correct"),
        ("It is not the case that the lamp is on or the door is open. Hence the lamp is on.", "wrong"),
        ("The lamp is on. The lamp is not on. Therefore the door is open.", "undecided"),
        ("So we multiply 3 by 4.", "undecided"),
        ("Therefore, the answer is 5.", "undecided"),
    ],
)
def test_arguments(step: str, truth: str) -> None:
    assert judge(Problem("p", "What follows?"), (), step).truth == truth


def test_unread_premises_leave_it_open() -> None:
    problem = Problem("p", "Most people, as 3 of them said, like tea. If it rains then the street is wet.")
    found = judge(problem, (), "The street is wet. Therefore, it rains.")
    assert (found.truth, found.reason) == ("undecided", "logic:premises_unread")


@given(st.text(max_size=200))
def test_never_raises(text: str) -> None:
    judge(Problem("p", "All cats are animals."), (text,), "Therefore, " + text)
