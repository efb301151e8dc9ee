"""What all adapters share: texts of trainers as traces, a number per answer, per step, per token, and one of several."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_parts import Broken, Spoken, number
from sparring.contrib.dense import DenseRewards
from sparring.contrib.rewards import RULES, StepRewards, choose, outcomes, text_of
from sparring.errors import DataError, SettingsError, needs
from sparring.labels.posterior import best_of_k
from sparring.training.credit import progress, with_start
from sparring.worlds.chain_model import build_tokenizer

TEXT = "so {0.9}\nthen {0.4}\nend {0.7}"


def test_texts_and_conversations_are_read():
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    chat = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": parts}, {"role": "assistant", "content": "last"}]  # fmt: skip
    assert text_of("plain") == "plain" and text_of(chat) == "last" and text_of(chat, "user") == "ab"
    for bad in (17, [], [{"role": "system", "content": "x"}], [{"role": "user", "content": 3}], ["text"]):
        with pytest.raises(DataError):
            text_of(bad, "user")


def test_values_are_aggregated_scores_and_equal_answers_are_scored_once():
    scorer = Spoken()
    assert StepRewards(scorer).values(["q", "q", "q"], [TEXT, TEXT, ""]) == [0.4, 0.4, 0.0]
    assert len(scorer.asked) == 1 and scorer.asked[0].steps == ("so {0.9}", "then {0.4}", "end {0.7}")
    assert StepRewards(scorer, aggregation="mean").values(["q"], [TEXT]) == [pytest.approx(2 / 3)]
    assert StepRewards(Spoken("value")).values(["q"], [TEXT]) == [0.7]  # a value's last score
    assert StepRewards(scorer, separator="\n\n").rows(["q"], ["a {0.1}\nb\n\nc {0.2}"])[0].tolist() == [
        0.1,
        0.2,
    ]


def test_steps_that_do_not_fit_are_counted_and_a_failed_score_is_an_error():
    rewards = StepRewards(Spoken(longest=2))
    assert rewards.rows(["q"], [TEXT])[0].tolist() == [0.9, 0.4] and rewards.unscored_steps == 1
    with pytest.raises(DataError, match="0 scores"):
        StepRewards(Spoken(longest=0)).rows(["q"], [TEXT])
    with pytest.raises(DataError, match="NaN"):
        StepRewards(Broken()).values(["q"], [TEXT])
    with pytest.raises(DataError, match="question is empty"):
        StepRewards(Spoken()).values([" "], [TEXT])


def test_progress_takes_the_start_from_the_others_of_a_group():
    texts = ["a {0.2}\nb {0.8}", "a {0.6}\nb {0.1}", "", "c {0.3}"]
    found = StepRewards(Spoken("value")).progress(["q", "q", "q", "other"], texts, best_of=3)
    rows = [best_of_k(np.array([number(line) for line in text.split("\n") if line]), 3) for text in texts]
    wanted = [progress([row])[0] if len(row) else row for row in with_start(rows[:3])]
    for one, other in zip(found, [*wanted, np.zeros(1)], strict=True):
        assert one == pytest.approx(other)


def test_outcomes_are_those_of_one_equality():
    right = outcomes(["q"] * 4, ["x\nthe answer is 1/2", "so 3", "", "#### 0.50"], ["0.5", 4, "1", "1/2"])
    assert right == [1.0, 0.0, None, 1.0]
    with pytest.raises(DataError, match="no reference answer"):
        outcomes(["q"], ["x"], [" "])


# --- rewards of tokens -----------------------------------------------------------------------------------------------


def ids_of(text: str) -> tuple[object, tuple[int, ...]]:
    tokenizer = build_tokenizer()
    return tokenizer, (
        *tokenizer.encode(text.replace("\n", " \n "), add_special_tokens=False),
        tokenizer.eos_token_id,
    )


STEPS = "c = b + 5 , c is 12\nd = c * b , d is 6"


class Two(Spoken):
    def __init__(self, first: float, second: float, meaning: str = "correctness") -> None:
        super().__init__(meaning)
        self.row = [first, second]

    def score(self, traces, progress=None):
        return [self.row[: len(trace.steps)] for trace in traces]


@pytest.mark.parametrize(
    ("reward", "meaning", "wanted"),
    [
        ("cost", "correctness", (-0.1, -0.75)),
        ("score", "correctness", (0.9, 0.25)),
        ("progress", "value", (0.0, -0.65)),
    ],
)
def test_a_step_is_paid_on_its_last_token(reward, meaning, wanted):
    tokenizer, ids = ids_of(STEPS)
    row = DenseRewards(Two(0.9, 0.25, meaning), reward=reward).row("q", ids, tokenizer)
    paid = np.flatnonzero(row)
    assert len(row) == len(ids) and row.sum() == pytest.approx(sum(wanted))
    assert row[-1] == pytest.approx(wanted[1])  # the end token belongs to the last step
    if wanted[0]:
        text = tokenizer.decode(ids[: paid[0] + 1])
        assert row[paid[0]] == pytest.approx(wanted[0]) and "c is 12" in text and "d" not in text


def test_an_answer_without_steps_has_no_rewards_and_what_does_not_fit_is_refused():
    tokenizer, ids = ids_of("")
    assert DenseRewards(Two(0.9, 0.2)).row("q", ids, tokenizer).tolist() == [0.0]
    with pytest.raises(SettingsError, match="did you mean 'score'"):
        DenseRewards(Two(0.9, 0.2), reward="scores")  # type: ignore[arg-type]
    for reward, meaning in (("progress", "correctness"), ("cost", "value")):
        with pytest.raises(SettingsError, match="meaning"):
            DenseRewards(Two(0.9, 0.2, meaning), reward=reward)  # type: ignore[arg-type]


# --- one of several --------------------------------------------------------------------------------------------------


def test_the_best_and_the_vote():
    answers = ["so #### 4", "thus #### 5", "hence #### 4.0", "nothing stated at all"]
    assert choose(answers, [0.3, 0.6, 0.4, 0.2]) == 1
    assert choose(answers, [0.3, 0.6, 0.4, 0.2], "weighted_vote") == 2  # 0.3 + 0.4 for 4, its better one
    assert choose(answers, [0.3, 0.6, 0.4, 0.2], "majority") == 0
    assert choose(["a", "b"], [0.1, 0.2], "weighted_vote") == 1  # nobody states an answer
    assert choose(["a", "b"], [0.5, 0.5]) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["#### 1", "#### 2", "none"]), st.floats(0, 1)), min_size=1, max_size=6
    )
)
def test_what_is_chosen_is_there_and_the_best_of_its_kind(pairs):
    answers, values = [text for text, _ in pairs], [value for _, value in pairs]
    for rule in RULES:
        assert 0 <= choose(answers, values, rule) < len(answers)
    assert values[choose(answers, values)] == max(values)


def test_bad_values_choose_nothing():
    for answers, values in (([], []), (["a"], []), (["a"], [float("nan")]), (["a"], [2.0])):
        with pytest.raises(DataError):
            choose(answers, values)
    with pytest.raises(DataError, match="unknown rule"):
        choose(["a"], [0.5], "best")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["trl", "verl", "areal", "inspect_ai", "lm_eval", "its_hub"])
def test_an_adapter_without_its_package_says_what_to_install(name, monkeypatch):
    # Those of a stand-in, from another test, would count as installed.
    for module in [one for one in sys.modules if one.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"sparring.contrib.{name}", raising=False)
    with pytest.raises(ImportError, match=f"sparring.contrib.{name} needs {name}: .*install ") as caught:
        import_module(f"sparring.contrib.{name}")
    assert isinstance(caught.value, ModuleNotFoundError) and isinstance(caught.value, SettingsError)
    command = str(caught.value).partition("pip install ")[2]
    pinned = (Path(__file__).parent / "plugins.txt").read_text(encoding="utf-8").replace("verl ", "verl==")
    assert command in pinned


def test_a_package_of_another_version_is_told_apart():
    with (
        pytest.raises(ImportError, match=r"x cannot use this json \(cannot import name 'nothing'.*: mend it"),
        needs("x", "json", "mend it"),
    ):
        from json import nothing  # noqa: F401
