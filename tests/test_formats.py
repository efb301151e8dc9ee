"""What each format's reader makes of small records, and of the oddities of the public sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from format_records import RECORDS, Record, candidate, jsonl, prm800k, shepherd, state
from sparring.traces import Problem, ReadOptions, Trace, question_id, read_problems_as, read_traces_as


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Trace]]:
    """Return a function that reads records through a file and requires that nothing is skipped."""

    def through_a_file(name: str, *records: Record, **options: Any) -> list[Trace]:
        result = read_traces_as(jsonl(tmp_path, *records), name, ReadOptions(**options))
        assert result.skipped == []
        return result.traces

    return through_a_file


def skipped(folder: Path, name: str, record: Record, **options: Any) -> list[str]:
    return [
        entry.reason for entry in read_traces_as(jsonl(folder, record), name, ReadOptions(**options)).skipped
    ]


def test_gsm8k(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("gsm8k", RECORDS["gsm8k"])
    steps = ("2 + 3 = <<2+3=5>>5 eggs.", "5 * 2 = <<5*2=10>>10.")
    problem = Problem(question_id("How many?"), "How many?", "10", steps)
    assert trace == Trace(problem, steps, (1.0, 1.0), True, "reference")


def test_gsm8k_without_annotations(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("gsm8k", RECORDS["gsm8k"], keep_annotations=False)
    assert trace.steps == trace.problem.solution == ("2 + 3 = 5 eggs.", "5 * 2 = 10.")


def test_gsm8k_solutions(read: Callable[..., list[Trace]]) -> None:
    traces = read("gsm8k_solutions", RECORDS["gsm8k_solutions"])
    assert [(trace.source, trace.outcome, trace.meta.get("answer")) for trace in traces] == [
        ("6b_finetuning", False, "6"),
        ("6b_verification", True, "5"),
        ("175b_finetuning", False, None),
        ("175b_verification", True, "5"),
    ]
    assert traces[0].steps == ("2 * 3 = <<2*3=6>>6", "A: 6")
    assert traces[0].labels is None
    assert traces[0].problem == Problem(question_id("How many?"), "How many?", "5", ("2 + 3 = <<2+3=5>>5",))


def test_math(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("math", RECORDS["math"])
    assert trace.problem.answer == r"\frac{1}{2}"
    assert trace.steps == trace.problem.solution == ("We divide.", "So $\\boxed{\\frac{1}{2}}$.")
    assert trace.problem.meta == {"level": "Level 1", "subject": "Algebra"}
    assert (trace.labels, trace.outcome) == ((1.0, 1.0), True)


def test_math_prefers_its_answer_field_and_its_id(tmp_path: Path) -> None:
    records = [{**RECORDS["math"], "answer": 0.5, "unique_id": "a"}, {"problem": "2 + 2?", "answer": "4"}]
    first, second = read_problems_as(jsonl(tmp_path, *records), "math").problems
    assert (first.id, first.answer) == ("a", "0.5")
    assert (second.answer, second.solution) == ("4", None)


def test_math_steps(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("math_steps", RECORDS["math_steps"])
    assert trace.steps == trace.problem.solution == ("60 * 7 = 420", "So \\boxed{420}")
    assert (trace.problem.answer, trace.labels, trace.outcome) == ("420", (1.0, 1.0), True)


def test_trl_stepwise_takes_booleans_and_numbers(read: Callable[..., list[Trace]]) -> None:
    soft = {**RECORDS["trl_stepwise"], "labels": [0.25, 1]}
    assert [trace.labels for trace in read("trl_stepwise", RECORDS["trl_stepwise"], soft)] == [
        (1, 0),
        (0.25, 1),
    ]


def test_prm800k_main_trace_and_alternatives(read: Callable[..., list[Trace]]) -> None:
    main, *others = read("prm800k", RECORDS["prm800k"])
    assert main.steps == ("Add.", "2 + 2 = 4", "So 4.")
    assert main.labels == (1.0, 1.0, 1.0)
    assert main.outcome is True
    assert main.meta["finish_reason"] == "solution"
    assert main.meta["role"] == "chosen"
    assert [(trace.steps, trace.labels) for trace in others] == [
        (("Guess.",), (0.0,)),
        (("Add.", "2 + 2 = 5"), (1.0, 0.0)),
        (("Add.", "2 + 2 = 4", "So 4!"), (1.0, 1.0, 1.0)),
        (("Add.", "2 + 2 = 4", "Hm."), (1.0, 1.0, None)),
    ]
    assert {trace.outcome for trace in others} == {None}
    assert {trace.meta["role"] for trace in others} == {"alternative"}


@pytest.mark.parametrize(("neutral", "label"), [("correct", 1.0), ("wrong", 0.0), ("unknown", None)])
def test_prm800k_neutral_is_a_setting(
    read: Callable[..., list[Trace]], neutral: str, label: float | None
) -> None:
    (main,) = read("prm800k", RECORDS["prm800k"], neutral=neutral, alternatives=False)
    assert main.labels == (label, 1.0, 1.0)


def test_prm800k_human_steps_are_a_setting(read: Callable[..., list[Trace]]) -> None:
    (main,) = read("prm800k", RECORDS["prm800k"], human_steps="unknown", alternatives=False)
    assert main.labels == (1.0, None, 1.0)


def test_prm800k_labels_after_a_chosen_error_are_unknown(read: Callable[..., list[Trace]]) -> None:
    states = [state([candidate(text, rating)], 0) for text, rating in (("a", 1), ("b", -1), ("c", 1))]
    (main,) = read("prm800k", prm800k(states))
    assert main.labels == (1.0, 0.0, None)


def test_prm800k_found_error_ends_with_the_first_candidate(read: Callable[..., list[Trace]]) -> None:
    states = [state([candidate("a", 1)], 0), state([candidate("wrong", -1), candidate("right", 1)], None)]
    main, other = read("prm800k", prm800k(states, "found_error"))
    assert (main.steps, main.labels, main.outcome) == (("a", "wrong"), (1.0, 0.0), None)
    assert (other.steps, other.labels) == (("a", "right"), (1.0, 1.0))


def test_prm800k_outcome_needs_a_chosen_last_step(read: Callable[..., list[Trace]]) -> None:
    (main,) = read("prm800k", prm800k([state([candidate("a", 1)], None)], "solution"))
    assert main.outcome is None


def test_prm800k_empty_last_state(read: Callable[..., list[Trace]]) -> None:
    (main,) = read("prm800k", prm800k([state([candidate("a", None)], 0), state(None, None)], "give_up"))
    assert (main.steps, main.labels, main.outcome) == (("a",), (None,), None)


def test_prm800k_states_without_context_are_counted(tmp_path: Path) -> None:
    states = [state([candidate("a", -1)], None), state([candidate("b", 1)], 0), state(None, None)]
    result = read_traces_as(jsonl(tmp_path, prm800k(states)), "prm800k")
    assert [trace.steps for trace in result.traces] == [("a",)]
    assert [entry.reason for entry in result.skipped] == [
        "label.steps[1] follows label.steps[0], which has no chosen step"
    ]
    assert skipped(tmp_path, "prm800k", prm800k([])) == ["no step was labelled"]


def test_math_shepherd(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("math_shepherd", RECORDS["math_shepherd"])
    assert trace.problem.question == "1 + 1 - 0?"
    assert trace.steps == ("Step 1: 1 + 1 = 2", "Step 2: 2 - 0 = 2 The answer is: 2")
    assert (trace.labels, trace.outcome) == ((1.0, 0.0), False)
    assert trace.problem.meta == {"task": "GSM8K"}


def test_math_shepherd_unlabelled_end(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("math_shepherd", shepherd("q? ", "Step 1: a ки\nStep 2: b", "+"))
    assert (trace.steps, trace.labels, trace.outcome) == (("Step 1: a", "Step 2: b"), (1.0, None), None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (shepherd("q? ", "Step 1: a", ""), "no step is labelled"),
        (shepherd("q? ", "a ки\nb ки", "+-"), "there is no 'Step 1:' after the question"),
        (shepherd("q? ", "and ки r? Step 1: b ки", "+-"), "a label stands inside the question"),
    ],
)
def test_math_shepherd_oddities_are_counted(tmp_path: Path, record: Record, reason: str) -> None:
    assert skipped(tmp_path, "math_shepherd", record) == [reason]
    result = read_problems_as(jsonl(tmp_path, record), "math_shepherd")
    assert (result.problems, [entry.reason for entry in result.skipped]) == ([], [reason])


def test_math_aps_gives_a_trace_per_leaf(read: Callable[..., list[Trace]]) -> None:
    traces = read("math_aps", RECORDS["math_aps"])
    assert [(trace.steps, trace.labels) for trace in traces] == [
        (("Let x = 2", "So 2"), (0.5, 1.0)),  # 0.5: the mean of the two equal prefixes
        (("Let x = 26",), (0.0,)),  # continues "Let x = 2", but not at a white space
    ]
    assert traces[0].meta == {"root_value": 0.5}
    assert traces[0].problem.answer == "2"


def test_math_aps_prefixes_may_leave_out_the_question(read: Callable[..., list[Trace]]) -> None:
    prefixes = [{"solution_prefix": text, "mc_value": value} for text, value in (("a\n\nb", 1), ("a", 0.5))]
    (trace,) = read("math_aps", {"question": "q?", "reasoning_steps": prefixes})
    assert (trace.steps, trace.labels, trace.meta) == (("a", "b"), (0.5, 1.0), {})


def test_math_aps_bare_root_is_counted(tmp_path: Path) -> None:
    record = {"question": "q?", "reasoning_steps": [{"solution_prefix": "q?\n", "mc_value": 0.5}]}
    assert skipped(tmp_path, "math_aps", record) == ["no prefix goes beyond the question"]


def test_versaprm(read: Callable[..., list[Trace]]) -> None:
    main, other = read("versaprm", RECORDS["versaprm"])
    assert (main.steps, main.labels) == (("Add.", "So 5.", "Yes 5."), (1.0, 0.0, None))
    assert (other.steps, other.labels) == (("Add.", "So 4."), (1.0, 1.0))
    assert main.problem.answer == "4"
    assert main.problem.solution == ("Add.", "So \\boxed{4}")
    assert read("versaprm", RECORDS["versaprm"], alternatives=False) == [main]


def test_versaprm_alternatives_to_a_first_step_and_missing_labels(tmp_path: Path) -> None:
    first = {"steps": [], "labels": [], "augs": [{"aug_step": "a", "aug_idx": 0, "aug_type": 0}]}
    record = {"question": "q?", "answer": "B", "chain_of_thoughts": [first, {"steps": ["a"], "labels": None}]}
    result = read_traces_as(jsonl(tmp_path, record), "versaprm", ReadOptions(neutral="unknown"))
    assert [(trace.steps, trace.labels) for trace in result.traces] == [(("a",), (None,))]
    assert [entry.reason for entry in result.skipped] == ["chain_of_thoughts[1] has no labels"]
    assert result.traces[0].problem.answer == "B"


@pytest.mark.parametrize(("label", "labels"), [(-1, (1, 1, 1)), (0, (0, None, None)), (2, (1, 1, 0))])
def test_processbench(read: Callable[..., list[Trace]], label: int, labels: tuple[float | None, ...]) -> None:
    record = {**RECORDS["processbench"], "steps": ["a", "b", "c"], "label": label}
    (trace,) = read("processbench", record)
    assert trace == Trace(Problem("math-0", "2 + 2?"), ("a", "b", "c"), labels, False, "some-model")
    assert trace.first_error == label


def test_prmbench(read: Callable[..., list[Trace]]) -> None:
    (modified,) = read("prmbench", RECORDS["prmbench"])
    assert modified.labels == (0.0, 0.0, 1.0)
    assert modified.problem.question == "2 + 2 ?"
    assert modified.meta == {"idx": "prm_test_0", "classification": "circular", "reason": "because"}
    (original,) = read("prmbench", RECORDS["prmbench"], prmbench_process="original")
    assert (original.steps, original.labels, original.source) == (("2 + 2 = 4",), (1.0,), "reference")
    assert read("prmbench", RECORDS["prmbench"], prmbench_process="both") == [original, modified]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"error_steps": [1, 4]}, "error_steps names a step that does not exist"),
        ({"error_steps": [0]}, "error_steps names a step that does not exist"),
        ({"error_steps": []}, "error_steps names no step"),
        ({"error_steps": None}, "error_steps names no step"),
        ({"modified_process": ["a", "", "c"]}, "step 2 of modified_process is empty"),
    ],
)
def test_prmbench_oddities_are_counted(tmp_path: Path, change: Record, reason: str) -> None:
    path = jsonl(tmp_path, RECORDS["prmbench"], {**RECORDS["prmbench"], **change})
    result = read_traces_as(path, "prmbench")
    assert len(result.traces) == 1
    (entry,) = result.skipped
    assert (entry.file, entry.line, entry.reason) == (str(path), 2, reason)
    assert skipped(tmp_path, "prmbench", {**RECORDS["prmbench"], **change}, prmbench_process="original") == []
