"""The panel: its rules, its cache and the wiring into tasks."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sparring.errors import SettingsError
from sparring.oracles.arithmetic import judge_text
from sparring.oracles.members import CORE, MEMBERS
from sparring.oracles.panel import CONFLICT, Panel, combine
from sparring.oracles.perturbations import perturb
from sparring.oracles.reference import judge_against
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import rule_rewrites
from sparring.training.game_tasks import TextTask, WorldTask, load_task
from sparring.worlds.chain_world import ChainWorld

DOCS = Path(__file__).resolve().parents[1] / "docs"
PROBLEM = Problem("p", "He has 24 clips, 4 boxes and 3 dogs.", answer="6")
ORIGINAL = "She makes 9 * 2 = $<<9*2=18>>18 every day."
PRESENT = [name for name, place in MEMBERS.items() if importlib.util.find_spec(place.partition(":")[0])]


def correct(reason: str, span: tuple[int, int] | None = (0, 5)) -> Verdict:
    return Verdict("correct", reason, "", span)


def wrong(reason: str, span: tuple[int, int] | None = (0, 5)) -> Verdict:
    return Verdict("wrong", reason, "", span)


def undecided(reason: str) -> Verdict:
    return Verdict("undecided", reason)


NOTHING = {name: undecided(f"{name}:nothing_to_check") for name in MEMBERS}


ALONE = [
    # wrong
    ({"arithmetic": wrong("arithmetic:wrong_result")}, "wrong", "arithmetic:wrong_result"),
    ({"preconditions": wrong("preconditions:x"), "algebra": wrong("algebra:y")}, "wrong", "algebra:y"),
    ({"own.py:judge": wrong("own:x"), "logic": wrong("logic:y")}, "wrong", "logic:y"),
    ({"quantities": wrong("quantities:x"), "arithmetic": correct("a:b")}, "wrong", "quantities:x"),
    ({"arithmetic": undecided("sandbox:timeout"), "algebra": wrong("algebra:y")}, "wrong", "algebra:y"),
    # conflict
    ({"arithmetic": wrong("arithmetic:x"), "algebra": correct("algebra:y")}, "undecided", CONFLICT),
    ({"arithmetic": wrong("arithmetic:x", None), "algebra": correct("algebra:y")}, "undecided", CONFLICT),
    ({"arithmetic": wrong("a:x", (0, 5)), "algebra": correct("algebra:y", (5, 9))}, "wrong", "a:x"),
    ({"arithmetic": wrong("a:x"), "algebra": correct("b:y"), "quantities": wrong("q:z")}, "wrong", "q:z"),
    # correct
    ({"arithmetic": correct("arithmetic:a")}, "correct", "arithmetic:a"),
    ({"arithmetic": undecided("arithmetic:not_numeric"), "algebra": correct("b:a")}, "correct", "b:a"),
    ({"arithmetic": correct("a:a"), "algebra": undecided("algebra:unread")}, "correct", "a:a"),
    ({"arithmetic": correct("a:a"), "quantities": undecided("quantities:numbers_founded")}, "correct", "a:a"),
    ({"arithmetic": undecided("arithmetic:not_numeric"), "answer": correct("answer:a")}, "undecided",
     "arithmetic:not_numeric"),
    ({"arithmetic": undecided("arithmetic:not_numeric"), "own.py:judge": correct("own:a")}, "undecided",
     "arithmetic:not_numeric"),
    ({"own.py:judge": correct("own:a")}, "correct", "own:a"),
    ({"arithmetic": correct("a:a"), "quantities": undecided("quantities:unknown")}, "undecided",
     "quantities:unknown"),
    ({"arithmetic": correct("a:a"), "logic": undecided("sandbox:died")}, "undecided", "sandbox:died"),
    ({"quantities": correct("quantities:a"), "preconditions": correct("preconditions:b")}, "undecided",
     "arithmetic:nothing_to_check"),
    ({}, "undecided", "arithmetic:nothing_to_check"),
]  # fmt: skip
BESIDE_THE_ORIGINAL = [
    ({"reference": wrong("reference:x"), "arithmetic": correct("a:b")}, "wrong", "reference:x"),
    ({"reference": wrong("reference:x"), "answer": correct("answer:y")}, "undecided", CONFLICT),
    ({"reference": correct("reference:z"), "logic": wrong("logic:y")}, "undecided", CONFLICT),
    ({"reference": correct("reference:same_text"), "logic": wrong("l:y")}, "correct", "reference:same_text"),
    ({"reference": correct("r:z"), "arithmetic": undecided("arithmetic:rounded")}, "correct", "r:z"),
    ({"reference": undecided("reference:z"), "arithmetic": correct("a:a")}, "undecided", "reference:z"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "compared", "truth", "reason"),
    [
        (said, compared, *expected)
        for compared, rows in ((False, ALONE), (True, BESIDE_THE_ORIGINAL))
        for said, *expected in rows
    ],
)
def test_the_rules(said: dict[str, Verdict], compared: bool, truth: str, reason: str) -> None:
    verdict = combine(NOTHING | said, compared=compared)
    assert (verdict.truth, verdict.reason) == (truth, reason)


def test_guards_alone_confirm_nothing() -> None:
    assert combine({"quantities": correct("quantities:a")}).reason == "panel:nothing_confirmed"


VERDICTS = st.builds(
    Verdict,
    st.sampled_from(["correct", "wrong", "undecided"]),
    st.sampled_from(["m:nothing_to_check", "m:doubt", "sandbox:timeout"]),
    st.just(""),
    st.sampled_from([None, (0, 4), (3, 8), (8, 9)]),
)


@given(st.dictionaries(st.sampled_from([*MEMBERS, "own.py:judge"]), VERDICTS, min_size=1), st.booleans())
def test_no_truth_comes_from_nowhere(said: dict[str, Verdict], compared: bool) -> None:
    """A truth was said by a member; correct never stands against a wrong; order does not decide it."""
    verdict = combine(said, compared=compared)
    truths = {one.truth for one in said.values()}
    assert verdict.truth == "undecided" or verdict in said.values()
    assert verdict.truth != "correct" or "wrong" not in truths
    backwards = dict(reversed(said.items()))
    assert combine(backwards, compared=compared).truth == verdict.truth


# --- through the sandbox -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    with Panel(["arithmetic", "reference"], workers=1) as made:
        yield made


STEPS = [
    ORIGINAL,
    "He puts 24 clips into 4 boxes, so 24 / 4 = 6 clips each.",
    "The rest is 24 - 3 * 4 = 24 - 12 = 12.",
    "So 20% of 24 is 0.2 * 24 = 4.8 clips.",
    "Let x = 3, then 2x + 4 = 10.",
    "There are 3 dogs and 4 boxes.",
]


def test_the_default_members_judge_as_the_functions_do(panel: Panel) -> None:
    rng = random.Random(0)
    made = [perturb(PROBLEM, (), step, rng) for step in STEPS for _ in range(40)]
    texts = sorted({text for perturbed in made if perturbed for text in (perturbed[1],)} | set(STEPS))
    asked = [(PROBLEM, (), original, text) for original in STEPS for text in texts]
    assert panel.judge_against_many(asked) == [judge_against(*item) for item in asked]
    steps = [(PROBLEM, (), text) for text in texts]
    assert [verdict.truth for verdict in panel.judge_many(steps)] == [
        judge_text(text).truth for text in texts
    ]


def test_members_speak_for_themselves(panel: Panel) -> None:
    found = panel.judge_members(PROBLEM, (), "9 * 2 = 19", original=ORIGINAL)
    assert {name: verdict.reason for name, verdict in found.items()} == {
        "arithmetic": "arithmetic:wrong_result",
        "reference": "arithmetic:wrong_result",
    }
    assert panel.judge_members(PROBLEM, (), "9 * 2 = 18")["reference"].reason == "reference:no_original"


def test_who_would_call_the_original_wrong_has_no_say(tmp_path: Path) -> None:
    file = tmp_path / "sevens.py"
    file.write_text(
        "from sparring.oracles import Verdict\n"
        "def judge(problem, prefix, step):\n"
        "    return Verdict('wrong' if '7' in step else 'correct', 'sevens:seven')\n",
        encoding="utf-8",
    )
    with Panel([str(file)], workers=1) as panel:
        assert panel.judge(PROBLEM, (), "7").truth == "wrong"
        assert panel.judge_against(PROBLEM, (), "8", "7").truth == "wrong"
        fails = panel.judge_against(PROBLEM, (), "70", "7")
    assert (fails.truth, fails.reason) == ("undecided", "sevens:original_fails")


def test_verdicts_are_cached_by_content_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with Panel(["arithmetic"], workers=1, cached=2) as panel:
        asked: list[str] = []
        inner = panel._sandbox.verdicts
        monkeypatch.setattr(
            panel._sandbox, "verdicts", lambda questions: asked.extend(questions) or inner(questions)
        )
        one, two, three = ((PROBLEM, ("a",), f"{n} + 1 = {n + 1}") for n in (1, 2, 3))
        first = panel.judge_many([one, two, one])
        assert len(asked) == 2 and first[0] is first[2]
        assert panel.judge(Problem("other id", PROBLEM.question, PROBLEM.answer), ("a",), one[2]) == first[0]
        assert len(asked) == 2
        panel.judge_many([one, three])  # `two` is now the one least recently used, and forgotten
        panel.judge_many([one, three])
        assert len(asked) == 3
        panel.judge(*two)
        assert len(asked) == 4
        for other in (
            (Problem("p", "Another question", "6"), ("a",), one[2]),
            (Problem("p", PROBLEM.question, "7"), ("a",), one[2]),
            (PROBLEM, ("b",), one[2]),
            (PROBLEM, ("a", "b"), one[2]),
        ):
            panel.judge(*other)
        assert len(asked) == 8


def test_threads_may_share_a_panel(panel: Panel) -> None:
    found: dict[int, list[Verdict]] = {}

    def work(number: int) -> None:
        found[number] = panel.judge_many([(PROBLEM, (), f"{n} + {number} = {n + 3}") for n in range(60)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(6):
        assert {verdict.truth for verdict in found[number]} == {"correct" if number == 3 else "wrong"}


# --- settings and tasks --------------------------------------------------------------------------------------


def test_unknown_members_are_refused() -> None:
    with pytest.raises(ValidationError, match="did you mean 'reference'"):
        AprmSettings(oracle=["referense"])
    with pytest.raises(ValidationError, match="at least one"):
        AprmSettings(oracle=[])
    assert AprmSettings(oracle=["logic", "my_oracle.py:judge", "a.b:c"]).oracle[1] == "my_oracle.py:judge"
    with pytest.raises(SettingsError, match="'logic' is given twice"):
        Panel(["contrib.logic", "logic"])


def test_contrib_oracles_are_switched_on_by_name() -> None:
    derivative = r"$\frac{d}{dx}(x^3) = 3x^2$"
    with Panel(["arithmetic", "algebra", "contrib.calculus"], workers=1) as panel:
        assert panel.members == ("arithmetic", "algebra", "calculus")
        assert panel.judge(PROBLEM, (), derivative).reason == "calculus:derivative_holds"
        assert (
            panel.judge(PROBLEM, (), derivative.replace("3x^2", "3x")).reason == "calculus:wrong_derivative"
        )
    assert "calculus" not in CORE


def test_the_text_task_is_judged_by_the_panel(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    solution = ["6 / 2 = 3 dogs.", "She is glad.", "3 + 4 = 7 cats."]
    data.write_text(
        json.dumps({"id": "1", "problem": "How many?", "solution": solution}) + "\n", encoding="utf-8"
    )
    strict = tmp_path / "strict.py"
    strict.write_text(
        "from sparring.oracles import Verdict\n"
        "def judge(problem, prefix, step):\n"
        "    return Verdict('correct' if 'cats' in step else 'wrong', 'strict:cats')\n",
        encoding="utf-8",
    )
    task = load_task(AprmSettings(task="text", data=str(data)))
    assert isinstance(task, TextTask) and len(task.states) == 2 and task.left_out.total() == 1
    own = load_task(AprmSettings(task="text", data=str(data), oracle=[str(strict)]))
    assert isinstance(own, TextTask) and [state.index for state in own.states] == [2]
    [state] = own.states
    truths = [v.truth for v in own.judge_many([(state, "3 + 4 = 8 cats."), (state, "3 + 4 = 7 dogs.")])]
    assert truths == ["correct", "wrong"]


def test_a_whole_batch_of_rewrites_is_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = WorldTask(ChainWorld())
    calls: list[int] = []
    inner = task.judge_many
    monkeypatch.setattr(task, "judge_many", lambda pairs: calls.append(len(pairs)) or inner(pairs))
    made = rule_rewrites(task, task.draw(random.Random(0), 5), 3, random.Random(1))
    assert calls == [sum(len(group) for group in made.groups)] and calls[0] > 5
    assert all(item.truth is False for group in made.groups for item in group)


def test_the_oracle_of_the_documentation_works(tmp_path: Path) -> None:
    page = (DOCS / "oracles.md").read_text(encoding="utf-8")
    [code] = [
        code for code in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "def judge" in code
    ]
    assert len(code.splitlines()) <= 30
    file = tmp_path / "ohm.py"
    file.write_text(code, encoding="utf-8")
    circuit = Problem("p", "A lamp of 4 Ω is connected to 12 V. What current flows?")
    with Panel([f"{file}:judge"], workers=1) as panel:
        right = panel.judge(circuit, (), "With U = 12 V and R = 4 Ω, the current is I = 3 A.")
        slip = panel.judge(circuit, (), "With U = 12 V and R = 4 Ω, the current is I = 48 A.")
        other = panel.judge(circuit, (), "The lamp is connected to 12 V.")
    assert (right.truth, slip.truth, other.truth) == ("correct", "wrong", "undecided")
    assert other.reason == "ohm:nothing_to_check" and "3 A" in slip.detail
    assert 'oracle: ["ohm.py:judge"]' in page
    step = "U = 12 V, R = 4 Ω, I = 3 A"
    assert step in page
    for beside, reason in (
        (["reference", "answer"], "ohm:law_holds"),
        (["arithmetic"], "arithmetic:not_numeric"),
        (["algebra"], "algebra:unread"),
    ):
        with Panel([*beside, f"{file}:judge"], workers=1) as panel:
            assert panel.judge(circuit, (), step).reason == reason
            assert panel.judge(circuit, (), step.replace("3 A", "48 A")).truth == "wrong"
