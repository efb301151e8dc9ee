"""What each format's reader makes of small records, and of the oddities of the public sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from format_records import RECORDS, Record, candidate, jsonl, prm800k, shepherd, state
from sparring.errors import DataError
from sparring.traces import Problem, ReadOptions, Trace, read_problems_as, read_traces_as
from sparring.traces.formats.common import question_id


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


def test_math_aps_as_a_tree(read: Callable[..., list[Trace]]) -> None:
    leaf = {"text": "So 2", "mc_value": 1.0, "children": []}
    inner = {
        "text": "Let x = 2\n",
        "mc_value": 0.5,
        "children": [leaf, {**leaf, "text": "So 3", "mc_value": 0}],
    }
    tree = {
        "text": "What is x?",
        "mc_value": 0.25,
        "children": [inner, {**leaf, "text": "x = 2", "mc_value": 0.75}],
    }
    traces = read("math_aps", {"question": "What is x?", "final_answer": "2", "reasoning_steps": tree})
    assert [(trace.steps, trace.labels) for trace in traces] == [
        (("Let x = 2", "So 2"), (0.5, 1.0)),
        (("Let x = 2", "So 3"), (0.5, 0.0)),
        (("x = 2",), (0.75,)),
    ]
    assert {trace.meta["root_value"] for trace in traces} == {0.25}


@pytest.mark.parametrize(
    ("process", "label", "steps"),
    [
        ("Add. \n\n\n\n\n So 4. \n\n\n\n\n", ["+", "-"], ("Add.", "So 4.")),
        ("Add. \n\n\n\n\n So 4.", ["+", "-"], ("Add.", "So 4.")),
        ("We add.\n\nTwo and two.\n\nSo 4. \n\n\n\n\n", ["-"], ("We add.\n\nTwo and two.\n\nSo 4.",)),
        ("We add.\n\nTwo and two.\n\nSo 4.", ["-"], ("We add.\n\nTwo and two.\n\nSo 4.",)),
        ("Step 1: Add. ки\nStep 2: So 4. ки", ["+", "-"], ("Step 1: Add.", "Step 2: So 4.")),
        ("Add. ки", [0], ("Add.",)),
        ("Add.\r\n\r\n\r\n\r\n\r\nSo 4.\r\n\r\n\r\n\r\n\r\n", ["+", "-"], ("Add.", "So 4.")),
        ("Add. च So 4. च", [1, 0], ("Add.", "So 4.")),
        ("Add. च", ["-"], ("Add.",)),
        ("Add. <step> So 4. <step>", [True, False], ("Add.", "So 4.")),
        ("Add.\n\nSo 4.", [1.0, 0.25], ("Add.", "So 4.")),
        ("So x = [4]", [0.0], ("So x = [4]",)),
        ("So 4", ["-"], ("So 4",)),
    ],
)
def test_openr(
    read: Callable[..., list[Trace]], process: str, label: list[Any], steps: tuple[str, ...]
) -> None:
    (trace,) = read("auto", {"question": "2 + 2?", "process": process, "label": label})
    assert trace.steps == steps
    assert trace.labels is not None
    assert trace.labels[-1] == {"-": 0.0}.get(label[-1], label[-1])
    assert trace.problem == Problem(question_id("2 + 2?"), "2 + 2?")


def test_openr_unlabelled_end(read: Callable[..., list[Trace]]) -> None:
    (trace,) = read("openr", {"question": "q?", "process": "a ки b ки c", "label": ["+", "-"]})
    assert (trace.steps, trace.labels) == (("a", "b", "c"), (1.0, 0.0, None))


@pytest.mark.parametrize(
    ("process", "label", "reason"),
    [
        ("Add. \n\n\n\n\n So 4. \n\n\n\n\n", ["+"], "its labels and step tags differ in number"),
        ("Add. \n\n\n\n\n So 4. \n\n\n\n\n", ["+", "-", "-"], "its labels and step tags differ in number"),
        ("Add. So 4.", ["+", "-"], "its labels and step tags differ in number"),
        ("Add. ки ки", ["+", "-"], "step 2 of process is empty"),
    ],
)
def test_openr_oddities_are_counted(tmp_path: Path, process: str, label: list[str], reason: str) -> None:
    assert skipped(tmp_path, "openr", {"question": "q?", "process": process, "label": label}) == [reason]


def test_rlhflow(read: Callable[..., list[Trace]], tmp_path: Path) -> None:
    (trace,) = read("rlhflow", RECORDS["rlhflow"])
    assert trace.problem.question == "What is 2 + 2?"
    assert (trace.steps, trace.labels) == (("Step 1: 2 + 2 = 4", "Step 2: The answer is: 5"), (1.0, 0.0))
    unmarked = {
        "conversations": [{"role": "user", "content": "2 + 2? Add."}, {"role": "assistant", "content": "+"}]
    }
    assert skipped(tmp_path, "rlhflow", unmarked) == ["there is no 'Step 1:' after the question"]


def test_a_prompt_may_be_a_conversation(read: Callable[..., list[Trace]]) -> None:
    record = {**RECORDS["trl_stepwise"], "prompt": [{"role": "user", "content": "1 + 1?"}]}
    assert read("trl_stepwise", record) == read("trl_stepwise", RECORDS["trl_stepwise"])


def test_versaprm_as_it_lies_on_the_hub(read: Callable[..., list[Trace]]) -> None:
    record = {
        "id": "7", "cot_id": 0, "question": "What is 2 + 2?\nA. 4\nB. 5", "answer": "A",
        "chain_of_thoughts": repr(["It's \"2 + 2\".", "So B.", "Yes."]), "labels": "[1, -1, -1]",
        "parsed_answer_correctness": False,
    }  # fmt: skip
    (trace,) = read("auto", record)
    assert (trace.steps, trace.labels) == (('It\'s "2 + 2".', "So B.", "Yes."), (1.0, 0.0, None))
    assert (trace.outcome, trace.problem.answer) == (False, "A")
    as_lists = {**record, "chain_of_thoughts": ['It\'s "2 + 2".', "So B.", "Yes."], "labels": [1, -1, -1]}
    assert read("auto", as_lists) == [trace]


@pytest.mark.parametrize("text", ["__import__('os')", "[" * 5000, "1", "[1, 2", "['a'] * 10**9", "{}"])
def test_versaprm_lists_are_read_as_literals(tmp_path: Path, text: str) -> None:
    record = {"question": "q?", "chain_of_thoughts": text, "labels": "[1]"}
    with pytest.raises(DataError):
        read_traces_as(jsonl(tmp_path, record), "versaprm")


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
