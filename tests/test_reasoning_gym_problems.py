"""`scripts/reasoning_gym_problems.py`: seeded problems without repeats, and refusals that say what to do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import DataError, SettingsError
from sparring.traces.jsonl import read_problems
from sparring.traces.readers import read_problems_as

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "reasoning_gym_problems.py"
SUMS = ["min_terms=2", "max_terms=3", "min_digits=1", "max_digits=1"]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reasoning_gym_problems", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _script()
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed (an extra)"
)


def written(out: Path, *more: str, seed: int = 0, count: int = 30) -> bytes:
    given = ["chain_sum", *SUMS, "--count", str(count), "--seed", str(seed), "--out", str(out), *more]
    assert script.main(given) == 0
    return out.read_bytes()


@needs_package
def test_a_file_reads_back_with_right_answers_and_no_question_twice(tmp_path: Path) -> None:
    written(tmp_path / "a" / "sums.jsonl", "--template", "Q: {question}\nIn steps, please.")
    problems = read_problems(tmp_path / "a" / "sums.jsonl")
    assert len(problems) == 30
    assert len({problem.question for problem in problems}) == 30
    assert read_problems_as(tmp_path / "a" / "sums.jsonl", "auto").problems == problems
    for problem in problems:
        assert problem.question.startswith("Q: State")
        assert problem.question.endswith("=\nIn steps, please.")
        terms = (
            problem.question.partition(":")[2]
            .partition(":")[2]
            .partition("=")[0]
            .replace("- ", "-")
            .replace("+ ", "+")
        )
        assert sum(map(int, terms.split())) == int(problem.answer or "")


@needs_package
def test_the_seed_decides_and_a_longer_file_begins_like_a_shorter_one(tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl")
    assert written(tmp_path / "same.jsonl") == one
    assert written(tmp_path / "other.jsonl", seed=1) != one
    assert written(tmp_path / "longer.jsonl", count=40).startswith(one)


@needs_package
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["chain_sums"], "did you mean 'chain_sum'"),
        (["chain_sum", "min_term=2"], "min_term"),
        (["chain_sum", "min_terms=0"], "min_terms must be positive"),
        (["chain_sum", "seed=3"], "--seed"),
        (["chain_sum", "min_terms"], "name=value"),
        (["chain_sum", "min_terms=[1"], "YAML"),
        (["chain_sum", "--template", "no place"], "{question}"),
        (["chain_sum", "--count", "0"], "--count"),
        (["chain_sum", *SUMS, "max_terms=2", "--count", "300"], "200 different|different questions"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], message: str) -> None:
    out = tmp_path / "no.jsonl"
    count = [] if "--count" in given else ["--count", "5"]
    assert script.main([*given, *count, "--out", str(out)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert any(part in shown for part in message.split("|"))
    assert not out.exists()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", None)
    with pytest.raises(SettingsError, match=r"pip install 'sparring\[reasoning-gym\]'"):
        script.draw_problems("chain_sum", 1, seed=0)


def test_a_task_without_reference_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_task", lambda *_: [{"question": "any plan?", "answer": None}] * 20)
    with pytest.raises(DataError, match="no reference answer"):
        script.draw_problems("plans", 1, seed=0)


def test_a_question_with_braces_of_its_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_task", lambda *_: [{"question": " {0} {x} ", "answer": " 4 "}] * 20)
    found = script.draw_problems("any", 1, seed=0, template="Do {this}: {question}")[0]
    assert (found.question, found.answer) == ("Do {this}: {0} {x}", "4")


@settings(max_examples=200)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_option_text_is_read_or_refused(given: list[str]) -> None:
    try:
        options = script.parse_options(given)
    except SettingsError:
        return
    assert len(options) <= len(given)
    assert all(name.isidentifier() for name in options)
