"""The ledger world: what it tells is right, its oracle is exact, and every rule's mistake is the kind that it says."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger_world.sentences import ACT_TABLE, FORM_SETS, IDLE, ROLE_TABLE, vocabulary
from ledger_world.story import LONGEST_QUESTION, LONGEST_STEP, read_question, read_step
from ledger_world.world import KINDS, Ledger
from sparring.errors import DataError
from sparring.traces.records import Problem

SEEDS = st.integers(0, 100_000)
ANY = Ledger(steps=(1, 7), forms="abc", distractors=3)
SHOP = (
    "Mia buys 3 apples for 40 cents each . She buys 2 dozen eggs . Each egg costs 10 cents . Tom is 9 years old . "
    "Mia gets 20 percent off . Mia pays with 5 dollars . How much does Mia get back ?"
)
FIRST = "Mia pays 3 * 40 = 120 cents for the apples ."
EGGS = ("In single pieces , Mia buys 2 * 12 = 24 eggs .", "The eggs cost Mia 24 * 10 = 240 cents .")
TOTAL = "For all goods Mia pays 120 + 240 = 360 cents ."
OFF = "Mia saves 360 * 20 / 100 = 72 cents ."
BILL = "In the end Mia pays 360 - 72 = 288 cents ."
BACK = "Mia gets 5 * 100 - 288 = 212 cents back ."
SOLUTION = (FIRST, *EGGS, TOTAL, OFF, BILL, BACK)
BAGS = (
    "Ben has 3 boxes with 8 balls each . He also has 2 loose balls . 5 of the balls of Ben are broken . "
    "Ben puts them all in bags of 4 . How many bags does Ben need ?"
)


def problem(question: str) -> Problem:
    return Problem("p", question)


def judged(question: str, prefix: tuple[str, ...], step: str) -> tuple[str, str]:
    verdict = Ledger().judge(problem(question), prefix, step)
    return verdict.truth, verdict.reason.removeprefix("ledger:")


@given(SEEDS, st.sampled_from([*FORM_SETS, "abc"]), st.integers(0, 4), st.booleans(), st.integers(1, 3))
def test_reference_solutions_are_correct_in_all_forms(seed, forms, distractors, units, size):
    world = Ledger(steps=(1, 6), forms=forms, distractors=distractors, units=units, size=size)
    made = world.problem(random.Random(seed), "p")
    assert made.solution is not None and world.steps[0] <= len(made.solution) <= world.steps[1]
    for index, step in enumerate(made.solution):
        assert world.judge(made, made.solution[:index], step).truth == "correct"
    assert world.solved(made, made.solution) and world.answer(made, made.solution) == made.answer
    assert all(world.alive(made, made.solution[:index]) for index in range(len(made.solution) + 1))
    known = {word for words in world.words.values() for word in words}
    assert {word for text in (made.question, *made.solution) for word in text.split(" ")} <= known


@given(SEEDS, st.sampled_from(KINDS))
def test_every_perturbation_is_wrong_and_of_its_kind(seed, kind):
    rng = random.Random(seed)
    made = ANY.problem(rng, "p")
    assert made.solution is not None
    known = {word for words in ANY.words.values() for word in words}
    for index, step in enumerate(made.solution):
        found = ANY.perturb(made, made.solution[:index], step, rng, [kind])
        if found is not None:
            verdict = ANY.judge(made, made.solution[:index], found[1])
            assert (found[0], verdict.truth, verdict.reason) == (kind, "wrong", f"ledger:{kind}")
            assert ANY.is_step(found[1]) and set(found[1].split(" ")) <= known


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_possible_somewhere(kind):
    rng = random.Random(kind)
    for _ in range(60):
        made = ANY.problem(rng, "p")
        assert made.solution is not None
        for index, step in enumerate(made.solution):
            if ANY.perturb(made, made.solution[:index], step, rng, [kind]):
                return
    pytest.fail(kind)


def test_a_story_by_hand():
    story = read_question(SHOP)
    assert [(one.name, one.value) for one in story.quantities.values() if one.tree is not None] == [
        ("cost Mia apples", 120),
        ("number Mia eggs", 24),
        ("cost Mia eggs", 240),
        ("total Mia", 360),
        ("off Mia", 72),
        ("bill Mia", 288),
        ("change Mia", 212),
    ]
    made = problem(SHOP)
    assert Ledger().alive(made, SOLUTION) and Ledger().solved(made, SOLUTION)
    assert Ledger().answer(made, SOLUTION) == "212 cents"
    assert Ledger().answer(made, SOLUTION[:-1]) is None and not Ledger().solved(made, ())


@pytest.mark.parametrize(
    "step",
    [
        "The apples cost Mia 40 * 3 = 120 cents .",  # operands swapped, other words
        "For the apples , Mia pays 3 times 40 or 120 cents .",
        "Mia pays 3 * 40 = 1 dollar and 20 cents for the apples .",
        "Mia pays 3 * 0.40 = 1.20 dollars for the apples .",
        "Buying apples costs Mia 120 cents ( 40 times 3 ) .",
        "The eggs cost Mia 2 * 12 * 10 = 240 cents .",  # two steps in one
        "For all goods Mia pays 3 * 40 + 2 * 12 * 10 = 360 cents .",
        "For all goods Mia pays 10 * ( 2 * 12 ) + 120 = 360 cents .",
    ],
)
def test_equivalent_steps_are_correct(step):
    assert judged(SHOP, (FIRST,), step) == ("correct", "exact")


@pytest.mark.parametrize(
    "step",
    [
        "Mia saves 20 percent of 360 or 72 cents .",
        "In the end Mia pays 360 - 20 * 360 / 100 = 288 cents .",
        "In the end Mia pays 3.60 - 0.72 = 2.88 dollars .",
        "Mia gets 5 - 2.88 = 2.12 dollars back .",
    ],
)
def test_equivalent_later_steps_are_correct(step):
    assert judged(SHOP, SOLUTION[:-1], step) == ("correct", "exact")


@pytest.mark.parametrize(
    ("prefix", "step", "kind"),
    [
        (0, "Mia pays 3 * 40 = 130 cents for the apples .", "arithmetic"),
        (0, "Mia pays 3 * 40 = 120 dollars for the apples .", "wrong_unit"),
        (0, "Mia pays 3 + 40 = 43 cents for the apples .", "wrong_operation"),
        (0, "Mia pays 4 * 40 = 160 cents for the apples .", "off_by_one"),
        (0, "Mia pays 9 * 40 = 360 cents for the apples .", "distractor"),
        (0, "Mia pays 3 * 10 = 30 cents for the apples .", "wrong_quantity"),
        (0, "Tom pays 3 * 40 = 120 cents for the apples .", "wrong_reference"),
        (0, "Mia pays 3 * 40 = 120 cents for the eggs .", "wrong_reference"),
        (0, "Mia pays 3 * 40 = 100 cents for the apples .", "rounding"),
        (1, "The eggs cost Mia 2 * 10 = 20 cents .", "skipped_step"),
        (1, "In single pieces , Mia buys 2 * 10 = 20 eggs .", "unconverted"),
        (3, "For all goods Mia pays 120 + 240 + 240 = 600 cents .", "double_counting"),
        (3, "In the end Mia pays 360 - 72 = 288 cents .", "skipped_step"),  # 72 has not been stated
        (4, "Mia saves 360 * 80 / 100 = 288 cents .", "wrong_percent"),
        (5, "In the end Mia pays 360 - 20 = 340 cents .", "wrong_percent"),
        (6, "Mia gets 5 * 100 - 360 = 140 cents back .", "missing_condition"),
        (6, "Mia gets 5 - 288 = 212 cents back .", "unconverted"),
        (6, "Mia gets 7 * 77 - 5 = 534 cents back .", "wrong_calculation"),  # no rule knows it
        (0, "So Mia has 7 * 7 = 49 cents in all .", "unmapped"),
    ],
)
def test_mistakes_by_hand(prefix, step, kind):
    truth = "undecided" if kind == "unmapped" else "wrong"
    assert judged(SHOP, SOLUTION[:prefix], step) == (truth, kind)


def test_rounding_up_and_down():
    prefix = (
        "Ben has 3 * 8 = 24 balls in the boxes .",
        "With these Ben has 24 + 2 = 26 balls .",
        "Ben has 26 - 5 = 21 balls that are not broken .",
    )
    assert Ledger().alive(problem(BAGS), prefix)
    assert judged(BAGS, prefix, "Ben needs 21 / 4 rounded up = 6 bags .") == ("correct", "exact")
    assert judged(BAGS, prefix, "Ben needs 21 / 4 rounded down = 5 bags .") == ("wrong", "rounding")
    assert judged(BAGS, prefix, "Ben needs 21 / 4 = 6 bags .") == ("wrong", "rounding")
    assert judged(BAGS, prefix, "Ben needs 26 / 4 rounded up = 7 bags .") == ("wrong", "missing_condition")


def test_a_step_on_a_mistake_is_wrong_and_a_useless_one_is_not():
    wrong = "Mia pays 3 * 40 = 130 cents for the apples ."
    assert judged(SHOP, (wrong, *EGGS), "For all goods Mia pays 130 + 240 = 370 cents .")[0] == "wrong"
    other = SHOP.replace("Tom is 9 years old .", "Tom buys 2 pens for 15 cents each .")
    assert judged(other, (), "Tom pays 2 * 15 = 30 cents for the pens .") == ("correct", "exact")
    assert judged(SHOP, (), "In the end Tom pays 3 * 12 = 36 cents .") == ("wrong", "invented")


def test_true_words_that_the_oracle_does_not_know_are_undecided():
    assert judged(SHOP, SOLUTION[:4], "In the end Mia pays 360 * 80 / 100 = 288 cents .") == (
        "undecided",
        "other_way",
    )
    assert judged(SHOP, (), "Mia pays 3 * 40 + 0 = 120 cents for the apples .")[1] == "other_way"
    assert judged(SHOP, (), "Mia pays 4 * 30 = 120 cents for the apples .") == ("wrong", "wrong_calculation")
    assert judged(SHOP, (), "So Mia pays 3 * 40 = 120 cents .") == ("undecided", "other_words")
    assert judged(SHOP, (), "So Mia pays 3 * 40 = 125 cents .") == ("wrong", "arithmetic")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Mia pays 120 cents for the apples .",
        "Mia pays 3 * = 120 cents for the apples .",
        "Mia pays 3 * 40 = 120 cents for the apples",
        "Mia pays 3 * 40 = 120 cents for the apples . Tom too .",
        "Mia pays 3 * 40 = 120 cents = 120 cents for the apples .",
        "Mia  pays 3 * 40 = 120 cents for the apples .",
        "Mia pays 3 ** 40 = 120 cents for the apples .",
        "Mia pays 03 * 40 = 120 cents for the apples .",
        FIRST + "\n",
        "word " * LONGEST_STEP + FIRST,
        "( " * 40 + "3 .",
        "Mia pays " + "9" * 5000 + " * 40 = 120 cents for the apples .",
    ],
)
def test_what_is_not_a_step_is_malformed(text):
    assert not Ledger().is_step(text)
    assert judged(SHOP, (), text) == ("wrong", "malformed")


WORDS = sorted({word for words in vocabulary().values() for word in words})


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)))
@example("Mia pays 3 / 0 = 120 cents for the apples .")
@example("Mia pays 3 / ( 3 - 3 ) = 1.05 dollars and 2 cents for the apples .")
def test_any_text_is_judged(text):
    verdict = Ledger().judge(problem(SHOP), (text, FIRST), text)
    assert verdict.truth != "correct" and (verdict.reason == "ledger:malformed") == (
        not Ledger().is_step(text)
    )
    with contextlib.suppress(DataError):
        read_question(text)


@given(SEEDS, st.data())
def test_a_word_changed_never_makes_a_false_amount_true(seed, data):
    made = ANY.problem(random.Random(seed), "p")
    assert made.solution is not None
    index = data.draw(st.integers(0, len(made.solution) - 1))
    words = made.solution[index].split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(st.sampled_from(WORDS))
    verdict = ANY.judge(made, made.solution[:index], " ".join(words))
    story = read_question(made.question)
    if verdict.truth == "correct":
        claim = read_step(" ".join(words))
        assert claim is not None
        true = {one.value for one in story.quantities.values() if one.role}
        factors = (1, 60, 100, 1000)
        stated = claim.statement.amount.smallest
        assert stated is not None and any(value * by == stated[0] for value in true for by in factors)


@given(SEEDS)
def test_the_author_makes_mistakes_that_are_calculated_on(seed):
    world = Ledger(steps=(2, 5), habits=0.6, habit_rate=1.0)
    made = world.problem(random.Random(seed), "p")
    written = world.written(made, random.Random(seed))
    assert all(world.is_step(step) for step in written) and made.solution is not None
    assert len(written) == len(made.solution)
    exact = replace(world, habits=0.0)
    assert exact.alive(made, exact.written(made, random.Random(seed)))


def test_problems_are_a_function_of_dials_and_generator():
    world = Ledger()
    one, two = (world.problem(random.Random("x"), "p") for _ in range(2))
    assert one == two and world.name == "ledger"
    assert Ledger(steps=(2, 5), forms="ac", units=False).name == "ledger:steps=2-5,forms=ac,units=false"


@pytest.mark.parametrize(
    "dials",
    [
        {"steps": (0, 2)},
        {"steps": (3, 2)},
        {"steps": (1, 9)},
        {"forms": "d"},
        {"forms": "aa"},
        {"distractors": 9},
        {"size": 0},
        {"habits": 2.0},
    ],
)
def test_dials_out_of_range_are_refused(dials):
    with pytest.raises(ValueError, match=r"ledger|forms|habits"):
        Ledger(**dials)


@pytest.mark.parametrize(
    "question",
    [
        "What is 2 + 2 ?",
        "Mia buys 3 apples for 40 cents each .",
        "How much does Mia pay in the end ?",
        "She buys 3 apples for 40 cents each . How much does Mia pay for the apples ?",
        "Mia has a coupon for 20 cents off . How much does Mia pay in the end ?",
        "Mia buys 3 apples for 40 cents each . Mia buys 3 apples for 40 cents each . How much does Mia pay for all goods ?",
        "Mia buys 3 apples for 40 cents each . He gets 10 percent off . How much does Mia pay in the end ?",
        "word " * (LONGEST_QUESTION + 1),
        "Mia runs 2 laps of 5 minutes each . Mia shares them out to 2 children . How long does Mia run ?",
        "Ben has 3 boxes with 4 pens each . He shares them out to 0 children . How many pens does Ben have ?",
    ],
)
def test_other_questions_are_refused(question):
    with pytest.raises(DataError):
        Ledger().judge(problem(question), (), FIRST)


def test_every_fact_and_role_is_told_somewhere():
    world = Ledger(steps=(1, 8), forms="ab", distractors=4)
    left, roles = set(ACT_TABLE), set(ROLE_TABLE)
    for seed in range(400):
        made = world.problem(random.Random(seed), "p")
        story = read_question(made.question)
        roles -= {one.role for one in story.quantities.values()}
        left -= {
            name for name in left if name in IDLE or any(_tells(form, made.question) for form in _forms(name))
        }
        if not left and not roles:
            return
    assert not left and not roles


def _forms(name: str) -> list[tuple[str, ...]]:
    return [form for forms in ACT_TABLE[name].facts.values() for form in forms]


def _tells(form: tuple[str, ...], question: str) -> bool:
    fixed = [word for word in form if word[0] != "{"]
    words = iter(question.split(" "))
    return all(word in words for word in fixed)
