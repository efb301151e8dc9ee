"""Thinking kept apart: it is no step, no answer is read from it, and stop texts in it do not count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fake_server import FakeServer
from sparring.labels.command import run_label
from sparring.labels.settings import LabelSettings, ServerSettings
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.rollouts.thinking import layout_of, up_to_stop, without_thinking
from sparring.traces import Problem, read_traces, write_problems
from sparring.traces.spans import Layout
from sparring.training.alignment import step_spans
from tiny_tokenizers import byte_level

TAGS = ("<think>", "</think>")
OPENING = Layout("Q: ", "\nA: <think>\n", "\n")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("<think>\n2 + 2 = 5\n</think>\n2 + 2 = 4\nSo 4", ("2 + 2 = 4", "So 4")),
        ("<think></think>So 4", ("So 4",)),
        ("So 4", ("So 4",)),
        ("<think>first\n#### 5\nnever closed", ()),
        ("<think>a <think> b </think>\n#### 5\n</think>\nSo 4", ("So 4",)),
        ("<think>a <think> b </think>So 4", ("So 4",)),
        ("thought before any tag\n#### 5\n</think>\n\nSo 4", ("So 4",)),
        ("So 4\n<think>is it?\n#### 5</think>\nYes 4", ("So 4", "Yes 4")),
        ("<think>a</think>one\n<think>b</think>two", ("one", "two")),
        ("<think>a</think></think>So 4", ("So 4",)),
        ("a < b, </thin> and <think", ("a < b, </thin> and <think",)),
        ("", ()),
    ],
)
def test_steps_are_what_is_said_outside_of_thinking(text: str, steps: tuple[str, ...]) -> None:
    answer = without_thinking(text, TAGS)
    assert split_completion(answer) == steps
    assert len(answer) == len(text)


def test_a_prompt_may_have_opened_the_block() -> None:
    assert without_thinking("a\n</think>b", TAGS, opened=True).split() == ["b"]
    assert without_thinking("a\n#### 5", TAGS, opened=True).strip() == ""
    assert layout_of(OPENING, ("step",), TAGS).after == "\nA: <think>\n\n</think>\n\n"
    assert layout_of(OPENING, (), TAGS) == layout_of(OPENING, ("step",), None) == OPENING


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", " ", "<", "think>"]), max_size=14),
    st.booleans(),
)
def test_whatever_is_written_places_stay_and_no_tag_is_left(pieces: list[str], opened: bool) -> None:
    text = "".join(pieces)
    answer = without_thinking(text, TAGS, opened=opened)
    assert len(answer) == len(text)
    assert all(one in (other, " ") for one, other in zip(answer, text, strict=True))
    assert TAGS[0] not in answer and TAGS[1] not in answer
    assert without_thinking(answer, TAGS) == answer


def test_stop_texts_inside_thinking_and_right_after_it_do_not_count() -> None:
    text = "<think>\na\n\nb</think>\n\nfirst step\nsecond"
    answer, whole, met = up_to_stop(text, ("\n",), TAGS)
    assert (answer.strip(), whole, met) == ("first step", "<think>\na\n\nb</think>\n\nfirst step", True)
    assert up_to_stop("<think>\na\n", ("\n",), TAGS)[2] is False
    assert up_to_stop(text, ("\n",))[:2] == ("<think>", "<think>")


def test_tokens_of_thinking_belong_to_the_first_step() -> None:
    tokenizer = byte_level([], template="", begin=None, end="<end>")
    text = "<think>\n2 + 3\n</think>\n2 + 3 = 5\nSo 5"
    ids = tokenizer.encode(text, add_special_tokens=False)
    spans = step_spans(tokenizer, ids, text, answer=without_thinking(text, TAGS))
    assert [tokenizer.decode(ids[start:end]).strip() for start, end in spans] == [
        text.rpartition("\n")[0],
        "So 5",
    ]


# --- engines ---------------------------------------------------------------------------------------------------------


class Written:
    """Stands for a model whose samples are known."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.tokenizer, self.text = tokenizer, text

    def __call__(self, model: Any, prompts: Any, *, samples: int, ends: Any, **options: Any) -> Any:
        from sparring.models.sampling import Sampled

        ids = self.tokenizer.encode(self.text, add_special_tokens=False)
        written: list[int] = []
        for token in ids:
            written.append(token)
            if ends(written):
                break
        return [[Sampled(written, [0.0] * len(written))] * samples for _ in prompts]


@pytest.mark.parametrize("opened", [False, True])
def test_the_first_step_comes_after_the_thinking(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    from sparring.models.loading import load_causal_model, pick_device

    tokenizer = byte_level([], template="", begin=None, end="<end>")
    text = "\n2 + 2 = 5\n</think>\n\n2 + 2 = 4\nSo 4"
    monkeypatch.setattr(
        "sparring.rollouts.local.sample_seeded", Written(tokenizer, text if opened else "<think>" + text)
    )
    model = load_causal_model(tiny_folder, device=pick_device("cpu"), dtype=None)
    engine = LocalEngine(model, tokenizer, OPENING if opened else Layout())
    limits = Limits(40, thinking=TAGS)
    [[one]] = engine.sample([Prefix(Problem("1", "2 + 2?"))], 1, limits=limits, seeds=[1], stop=("\n",))
    assert (one.text.strip(), one.finish) == ("2 + 2 = 4", "stop")
    assert one.whole is not None and one.whole.endswith("</think>\n\n2 + 2 = 4")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_is_not_told_to_stop_while_the_policy_thinks(server: FakeServer) -> None:
    server.answer = lambda body: {
        "choices": [{"text": f"<think>\n{body['seed']}\n</think>\nfirst\nsecond", "finish_reason": "stop"}]
    }
    engine = ServerEngine(server.url, "m", Layout())
    limits = Limits(40, thinking=TAGS)
    [[one]] = engine.sample([Prefix(Problem("1", "2 + 2?"))], 1, limits=limits, seeds=[1], stop=("\n",))
    assert (one.text.strip(), one.finish) == ("first", "stop")
    assert engine.usage.doubts == []
    engine.sample([Prefix(Problem("1", "2 + 2?"), ("a",))], 1, limits=limits, seeds=[1], stop=("\n",))
    assert ["stop" in body for body in server.asked] == [False, True]


@pytest.mark.parametrize("think", ["steps", "apart"])
def test_labels_of_a_policy_that_thinks(server: FakeServer, tmp_path: Path, think: str) -> None:
    """It thinks of a wrong answer, and states the right one: the other way round where it never comes to an end."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        thought = f"<think>\nis it {body['seed']}?\n#### 5\n"
        return {
            "choices": [
                {
                    "text": thought
                    if "endless" in body["prompt"]
                    else thought + "</think>\n2 + 2 = 4\n#### 4",
                    "finish_reason": "stop",
                }
            ]
        }

    server.answer = answer
    write_problems(tmp_path / "p.jsonl", [Problem("a", "2 + 2?", "4"), Problem("b", "endless", "5")])
    settings = LabelSettings(
        policy=server.url, data=str(tmp_path / "p.jsonl"), n_cov=1, n_mc=2, think=think, server=ServerSettings(retries=0)
    )  # fmt: skip
    run_label(settings, tmp_path / "run", Console(file=StringIO()))
    traces = read_traces(tmp_path / "run" / "traces.jsonl")
    counts = json.loads((tmp_path / "run" / "metrics.json").read_text())["extra"]["counts"]
    if think == "apart":
        [trace] = traces
        assert trace.steps == ("2 + 2 = 4", "#### 4") and trace.outcome is True
        assert trace.meta["written"].startswith("<think>\nis it")
        assert counts["solution empty"] == 1
    else:
        assert [trace.steps[0] for trace in traces] == ["<think>", "<think>"]
        assert "written" not in traces[0].meta
