"""Words that license results: none makes a false result right unless it hedges that very number, within its rounding."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

import sparring.oracles
from sparring.oracles.algebra import judge as judge_algebra
from sparring.oracles.arithmetic import judge_text
from sparring.oracles.members import Question, ask, load_member
from sparring.oracles.panel import combine
from sparring.traces.records import Problem

PROBLEM = Problem("p", "Each of 17 tables costs 23 dollars. How much do they cost?")
STEP = "The tables cost 17 * 23 = 391 dollars."
FALSE_RESULTS = ("392", "381", "319", "3911", "39.1")
FRAMES = (
    "The {} one: {}",
    "Mr. {} counts. {}",
    "For the second {}, {}",
    "It is {} {}",
    "Nearly all {} people agree that {}",
)
INSIDE = (
    ("tables", "{} tables"),
    ("tables", "tables {}"),
    ("dollars.", "dollars {}."),
    ("dollars.", "dollars for the {} page."),
    ("dollars.", "dollars (the {} one)."),
    ("cost 17", "cost {} 17"),
)
MEMBERS = [load_member(name) for name in ("arithmetic", "reference")]


def trigger_words() -> list[str]:
    """Return all words in all word lists and patterns of the oracles, so that a new excuse is tried too."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(sparring.oracles.__path__, "sparring.oracles."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, re.Pattern):
                found |= set(re.findall(r"[a-z]{2,}", value.pattern))
            elif isinstance(value, frozenset | dict):
                found |= {word for word in value if isinstance(word, str)}
    return sorted(word for word in found if len(word) < 25 and not re.search(r"[\s\d=<>$]", word))


def framed(word: str) -> Iterator[tuple[str, str]]:
    """Yield (true, false) steps with a word in many places, never beside the result."""
    for number, false in enumerate(FALSE_RESULTS):
        wrong = STEP.replace("391", false)
        for frame in FRAMES[number::5]:
            yield frame.format(word, STEP), frame.format(word, wrong)
        old, new = INSIDE[(number + len(word)) % len(INSIDE)]
        yield STEP.replace(old, new.format(word)), wrong.replace(old, new.format(word))


def panel_says(original: str | None, step: str) -> str:
    question = Question(PROBLEM, (), original, step)
    verdicts = {member.name: ask(member, question) for member in MEMBERS}
    return combine(verdicts, compared=original is not None).truth


def test_no_trigger_word_makes_a_false_result_right() -> None:
    words = trigger_words()
    assert {"about", "round", "nearly", "mod", "if", "percent", "clock", "each", "hours"} <= set(words)
    found: Counter[str] = Counter()
    for word in words:
        rng = random.Random(word)
        tried = rng.choice(list(framed(word)))
        for original in (None, rng.choice((STEP, tried[0]))):
            truth = panel_says(original, tried[1])
            assert truth != "correct", (word, tried[1], original)
            found[f"{'against ' if original else ''}{truth}"] += 1
    assert found["against undecided"] < 0.05 * (found["against wrong"] + found["against undecided"])


@pytest.mark.parametrize(
    ("step", "truth"),
    [
        ("The round table costs 400 - 240 = 200 dollars.", "wrong"),
        ("In the second round he won 400 - 240 = 200 points.", "wrong"),
        ("The house around the corner costs 400 - 240 = 200 dollars.", "wrong"),
        ("It costs 400 - 240 = 200 dollars around the corner.", "wrong"),
        ("It costs 400 - 240 = 200~dollars.", "wrong"),
        ("16 * 3 = 50 rounded corners", "wrong"),
        ("16 * 3 = about 50", "correct"),
        ("16 * 3 = $50 (rounded to the nearest ten)", "correct"),
        ("400 - 240 = 200 dollars rounded to the nearest hundred", "correct"),
        ("400 - 240 ≈ 200", "undecided"),
        ("1234 * 1 ≈ 1230", "correct"),
        ("1234 * 1 ≈ 1236", "undecided"),
        ("1234 * 1 ≈ 1500", "wrong"),
        ("10 / 3 = 3 (approximately)", "correct"),
        ("nearly 48 * 1 = 50", "undecided"),
        ("3 + 4 = 7 = 8", "wrong"),
        ("It is <<156=157>>157", "wrong"),
        ("51 is prime, if anything, and 3 + 4 = 7", "undecided"),
        ("3 + 4 = 7 and not 5 - 1 > 8", "undecided"),
        ("15 = 5 + 5 and 3 + 4 = 7", "undecided"),
    ],
)
def test_hedges_and_links(step: str, truth: str) -> None:
    assert judge_text(step).truth == truth, judge_text(step)


@pytest.mark.parametrize(
    ("original", "step", "truth"),
    [
        ("It is 16 * 3 = 48", "It is 16 * 3 = about 50", "undecided"),
        ("It is 2.5 + 2.26 = 4.76", "It is 2.5 + 2.26 = 4.8", "undecided"),
        ("It is 10 / 3 = 3.3", "It is 10 / 3 = 3.33", "correct"),
        ("It is 10 / 3 = 3.333", "It is 10 / 3 = 3.33", "correct"),
        ("It is 10 / 3 = 3.33", "It is 10 / 3 = 3.3", "undecided"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $<<18*10=182>>180", "wrong"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $<<18*9=162>>180", "wrong"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $<<20*9=180>>180", "undecided"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $180", "correct"),
        ("It is $18 x 10 = $180", "It is $18 x 10 = $<<18*10=182>>180", "wrong"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $<<180=182>>180", "wrong"),
        ("It is $18 x 10 = $<<18*10=180>>180", "It is $18 x 10 = $<<18*11>>180", "wrong"),
        ("It is 42 / 3 + 16 = 14 + 16 = 30", "It is 42 / 3 + 16 = 14 + 16 = <<42/3+16=30>>30", "undecided"),
        ("It is 42 / 3 + 16 = 14 + 16 = 30", "It is 42 / 3 + 16 = 14 + 16 = <<45/3+16=30>>30", "wrong"),
        ("It is $120 x 20% = $24", "It is $120 x 20% = $<<120*20*.01=24>>24", "undecided"),
        ("It is .30*80 = 24", "It is .30*80 = <<40*.01*60=24>>24", "undecided"),
        ("It costs $180", "It costs $<<182>>180", "wrong"),
        ("It costs $180", "It costs $<<18*10=180>>180", "undecided"),
        ("It is $18 x 10 = $180", "It is $18 x 10 = $<<20*9=180>>180", "undecided"),
    ],
)
def test_rounding_and_annotations_beside_the_original(original: str, step: str, truth: str) -> None:
    assert panel_says(original, step) == truth


@pytest.mark.parametrize("step", ["$0.5 \\cdot 3 = 1.52$", "$|x - 3| = x - 3$", "$2.5 + 1.5 = 4.03$"])
def test_algebra_confirms_no_near_miss(step: str) -> None:
    assert judge_algebra(PROBLEM, (), step).truth != "correct"


@pytest.mark.parametrize(
    ("original", "step"),
    [
        ("It is 3 cm * 4 cm = 12 cm^2", "It is 3 cm * 4 cm = 12 cm"),
        ("It is 3 ft * 2 ft * 4 ft = 24 cubic ft", "It is 3 ft * 2 ft * 4 ft = 24 square ft"),
        ("It is 12 cm / 3 cm = 4", "It is 12 cm / 3 cm = 4 cm"),
        ("It is 12 cm^2 / 4 cm = 3 cm", "It is 12 cm^2 / 4 cm = 3 cm^2"),
        ("It is $5 + $5 = $10", "It is $5 + $5 = 10 cents"),
        ("It is $5 * 3 = $15", "It is $5 * 3 = 15 cents"),
        ("It is 10 cents * 20 = 200 cents", "It is 10 cents * 20 = $200"),
        ("It is 2 hours + 3 hours = 5 hours", "It is 2 hours + 3 minutes = 5 hours"),
        ("It is 2 hours + 3 = 5 hours", "It is 2 hours + 3 = 5 minutes"),
        ("It is 5 hours * 3 = 15 hours", "It is 5 hours * 3 = 15 minutes"),
        ("It is 3 kg + 4 kg = 7 kg", "It is 3 kg + 4 kg = 7 miles"),
        ("It is $5*3 = $15", "It is 5*3 = 15 cents"),
    ],
)
def test_units_do_not_change_in_silence(original: str, step: str) -> None:
    assert panel_says(original, original) == "correct"
    assert judge_text(original).truth == "correct"
    assert panel_says(original, step) != "correct"
    if "5*3 =" not in step:
        assert judge_text(step).truth != "correct"


@pytest.mark.parametrize(
    "step",
    [
        "2 hours * 60 = 120 minutes",
        "3 hours * 60 minutes = 180 minutes",
        "2 days * 24 * 60 = 2880 minutes",
        "10 cents * 20 = $2",
        "$2.75 + 50 cents = $3.25",
        "$5 per ticket * 3 tickets = $15",
        "$5/hour * 3 hours = $15",
        "$3 + 4 = 7$ cents",
        "3 cm * 4 cm = 12 square cm",
    ],
)
def test_units_that_fit_are_confirmed(step: str) -> None:
    assert judge_text(step).truth == "correct", judge_text(step)


@pytest.mark.parametrize(
    ("step", "truth"),
    [
        ("x/x = 1 for x = 0", "wrong"),
        (r"$\frac{2t}{t} = 2$ where $t = 0$", "wrong"),
        (r"Since $a = b$, $\frac{a^2-b^2}{a-b} = a+b$.", "wrong"),
        ("x/x = 1 when x is zero", "wrong"),
        (r"$\frac{x^2-1}{x-1} = x+1$, so at $x = 1$ there is a hole", "undecided"),
        ("x/x = 1 for x = 2", "correct"),
        ("2x/x = 2, so x = 0", "correct"),
    ],
)
def test_no_divisor_is_zero_where_the_step_says_so(step: str, truth: str) -> None:
    verdicts = {
        name: ask(load_member(name), Question(PROBLEM, (), None, step))
        for name in ("algebra", "preconditions")
    }
    assert combine(verdicts).truth == truth, verdicts
