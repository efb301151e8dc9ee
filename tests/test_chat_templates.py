"""Prompts by chat templates: the same texts at any time, arguments from settings, and no run that mixes two of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rl_data import small
from sparring.errors import CheckpointError, SettingsError, SparringError
from sparring.labels.command import run_label
from sparring.labels.settings import LabelSettings
from sparring.models.loading import load_tokenizer
from sparring.models.prompts import AdversaryPrompt, Template, layout_for, render_chat
from sparring.settings import load_settings
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl import train_rl
from sparring.training.supervised import train_supervised
from supervised_data import data_file, quick

MESSAGES = "{% for m in messages %}{{ m.content }}{% endfor %}"
CHANGING = {
    "the day": "{{ strftime_now('%d %b %Y %H:%M:%S') }}" + MESSAGES,
    "a draw": "{{ ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] | random }}" + MESSAGES,
    "both": "{{ strftime_now('%A') ~ ([1, 2, 3, 4, 5, 6, 7] | random) }}" + MESSAGES,
    "filler": MESSAGES + "{{ lipsum(1) }}",
}


def with_template(folder: Path, to: Path, template: str) -> Path:
    """Copy a model and give it a chat template."""
    shutil.copytree(folder, to)
    tokenizer = load_tokenizer(to)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(to)
    return to


@pytest.fixture
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder)


@pytest.mark.parametrize("template", CHANGING.values(), ids=CHANGING.keys())
def test_a_template_gives_the_same_text_whenever_it_is_rendered(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    assert len({layout_for(tokenizer, "chat") for _ in range(12)}) == 1
    assert len({tuple(AdversaryPrompt(tokenizer, "chat", "cue").texts) for _ in range(12)}) == 1


def test_the_day_that_a_template_is_told_is_a_setting(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ strftime_now('%d %B %Y, %H') }} " + MESSAGES
    assert layout_for(tokenizer, "chat").before == "26 July 2024, 00 "
    assert (
        layout_for(tokenizer, "chat", template=Template(date="2031-01-02")).before == "02 January 2031, 00 "
    )
    turns = [{"role": "user", "content": "Hi"}]
    assert render_chat(tokenizer, turns, Template(date="2000-02-29")) == "29 February 2000, 00 Hi"


def test_arguments_reach_the_template(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        MESSAGES + "{% if enable_thinking is defined and not enable_thinking %}<no>{% endif %}"
    )
    settings = load_settings(LabelSettings, None, ["style=chat", "template_kwargs.enable_thinking=false"])
    same = load_settings(LabelSettings, None, ["style=chat", "template_kwargs={enable_thinking: false}"])
    assert settings == same
    assert layout_for(tokenizer, "chat", template=settings.template).after == "<no>"
    assert layout_for(tokenizer, "chat").after == ""


@pytest.mark.parametrize(
    "overrides",
    [
        ["template_kwargs={a: 1}"],
        ["style=chat", "template_date=today"],
        ["style=chat", "template_date=2024-02-30"],
        ["style=chat", "template_kwargs=3"],
        ["think_tags=[a, a]"],
        ["think_tags=[a]"],
        ["think=sometimes"],
    ],
)
def test_settings_that_make_no_prompt_are_refused(overrides: list[str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(LabelSettings, None, overrides)


@pytest.mark.parametrize(
    ("template", "arguments", "message"),
    [
        (MESSAGES + "{{ enable_thinking }}", {"enable_thinkng": 1}, "did you mean 'enable_thinking'"),
        (MESSAGES, {"tokenize": True}, "does not use 'tokenize'"),
        (MESSAGES, {"messages": []}, "cannot be used"),
        ("{{ raise_exception('no user here') }}", {}, "no user here"),
        ("{{ messages", {}, "cannot be used"),
        ("{{ nothing.at.all }}", {}, "cannot be used"),
        ("a fixed text", {}, "just once"),
        (MESSAGES + MESSAGES, {}, "just once"),
        ("", {}, "no chat template"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(
    tokenizer: Any, template: str, arguments: dict[str, Any], message: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises((CheckpointError, SettingsError), match=message):
        layout_for(tokenizer, "chat", template=Template(arguments))


def label_run(model: Path, out: Path, data: Path) -> Callable[[bool], object]:
    settings = LabelSettings(policy=str(model), style="chat", problems=2, n_cov=1, n_mc=1, max_new_tokens=8)
    return lambda resume: run_label(settings, out, Console(file=StringIO()))


def aprm_run(model: Path, out: Path, data: Path) -> Callable[[bool], object]:
    settings = AprmSettings(
        backbone=str(model), style="chat", updates=1, prm_warm_steps=1, adversary_warm_steps=0, states_per_update=1,
        samples_per_state=2, max_step_tokens=4,
    )  # fmt: skip
    return lambda resume: train_aprm(settings, out, resume=resume)


def rl_run(model: Path, out: Path, data: Path) -> Callable[[bool], object]:
    settings = small(model, style="chat", credit="outcome", updates=1, max_new_tokens=8)
    return lambda resume: train_rl(settings, out, resume=resume)


def prm_run(model: Path, out: Path, data: Path) -> Callable[[bool], object]:
    settings = quick("prm", model, data, style="chat", epochs=1)
    return lambda resume: train_supervised(settings, out, resume=resume)


@pytest.mark.parametrize("start", [label_run, aprm_run, rl_run, prm_run])
def test_a_run_is_not_resumed_with_other_prompts(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    model = with_template(tiny_folder, tmp_path / "model", "{{ strftime_now('%Y') }} " + MESSAGES)
    run = start(model, tmp_path / "run", data_file(tmp_path))
    run(False)
    run(True)  # nothing has changed: there is nothing left to do

    def another_version(*args: Any, **options: Any) -> str:
        return "now " + render_chat(*args, **options)

    monkeypatch.setattr("sparring.models.prompts.render_chat", another_version)
    with pytest.raises(SparringError, match="prompt"):
        run(True)
