"""What all readers share: entry points, detection, bad records, fuzzing; and real samples, where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from format_records import RECORDS, Record, jsonl
from real_data import sample
from sparring.errors import DataError
from sparring.traces import ReadOptions, read_problems_as, read_traces, read_traces_as, write_traces
from sparring.traces.formats.common import question_id
from sparring.traces.readers import FORMATS, detect_format


def test_every_format_has_a_record_here() -> None:
    assert RECORDS.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_problem_of_a_record_is_the_problem_of_its_traces(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path, RECORDS[name], RECORDS[name])
    options = ReadOptions(prmbench_process="original")
    (problem,) = read_problems_as(path, name, options).problems
    traces = read_traces_as(path, name, options).traces
    assert traces
    assert all(trace.problem == problem for trace in traces)


@pytest.mark.parametrize("name", FORMATS)
def test_everything_read_can_be_written_in_our_form(tmp_path: Path, name: str) -> None:
    traces = read_traces_as(jsonl(tmp_path, RECORDS[name]), name).traces
    write_traces(tmp_path / "ours.jsonl", traces)
    assert read_traces(tmp_path / "ours.jsonl") == traces
    assert read_traces_as(tmp_path / "ours.jsonl").traces == traces


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_detected_but_for_the_one_that_cannot_be(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path, RECORDS[name])
    if name == "math_steps":
        with pytest.raises(
            DataError, match=r"records\.jsonl:1: no format has the keys problem, steps: name the"
        ):
            read_traces_as(path)
    else:
        assert detect_format(RECORDS[name]) == name
        assert read_traces_as(path) == read_traces_as(path, name)
        assert read_problems_as(path) == read_problems_as(path, name)


def test_an_ambiguous_record_is_not_guessed() -> None:
    with pytest.raises(DataError, match=r"fit several formats \(math_aps, versaprm\): name the format"):
        detect_format([*RECORDS["versaprm"], *RECORDS["math_aps"]])


def test_detection_needs_a_record(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no record"):
        read_traces_as(jsonl(tmp_path))
    assert read_traces_as(jsonl(tmp_path), "gsm8k").traces == []


@pytest.mark.parametrize("read_as", [read_traces_as, read_problems_as])
def test_an_unknown_format_names_the_nearest(tmp_path: Path, read_as: Callable[..., object]) -> None:
    with pytest.raises(DataError, match=r"unknown format 'gms8k' \(did you mean 'gsm8k'\?\)"):
        read_as(jsonl(tmp_path, RECORDS["gsm8k"]), "gms8k")


def test_an_unknown_meaning_is_refused() -> None:
    with pytest.raises(ValidationError, match="neutral"):
        ReadOptions(neutral="positive")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_one_json_array_is_read_like_lines(tmp_path: Path, name: str) -> None:
    lines = jsonl(tmp_path, RECORDS[name], RECORDS[name])
    array = tmp_path / "records.json"
    array.write_text("\n \n" + json.dumps([RECORDS[name]] * 2, indent=1), encoding="utf-8")
    assert read_traces_as(array, name).traces == read_traces_as(lines, name).traces


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps([RECORDS["gsm8k"], 3]), r"x\.json:2: expected an object, got a number"),
        (
            '[{"question": "q?", "answer": "a\\n#### 1"}, {}]',
            r"x\.json:2: field 'question': the field is missing",
        ),
        ("[{}", r"x\.json: the JSON ends in the middle"),
        ('[{"a": 1}]\n{"b": 2}', r"x\.json: not valid JSON: Extra data"),
        (b"[\xff]", r"x\.json: not UTF-8"),
        (
            '{\n "a": 1\n}',
            r"x\.json:1: the JSON ends in the middle: cut off, or an object spread over several lines",
        ),
    ],
)
def test_bad_arrays_are_refused_with_the_records_place(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_traces_as(path, "gsm8k")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_traces_as(tmp_path / "none.json")
    with pytest.raises(DataError, match="the folder holds neither"):
        read_problems_as(tmp_path)


def test_problems_that_differ_under_one_id_are_counted(tmp_path: Path) -> None:
    other = {**RECORDS["gsm8k"], "answer": "5 + 5 = 10\n#### ten"}
    result = read_problems_as(jsonl(tmp_path, RECORDS["gsm8k"], RECORDS["gsm8k"], other), "gsm8k")
    assert [problem.answer for problem in result.problems] == ["10"]
    (entry,) = result.skipped
    assert (entry.line, entry.reason) == (3, "differs from record 1 of the same problem in answer, solution")


def test_question_ids_depend_on_the_text_alone() -> None:
    assert question_id(" a? ") == question_id("a?") != question_id("b?")


BAD: list[tuple[str, list[Any], Any, str]] = [
    ("gsm8k", ["question"], None, "question"),
    ("gsm8k", ["question"], " ", "question"),
    ("gsm8k", ["answer"], "no mark", "answer"),
    ("gsm8k", ["answer"], "#### 5", "answer"),
    ("gsm8k", ["answer"], "a\n####", "answer"),
    ("gsm8k_solutions", ["6b_finetuning"], "text", "6b_finetuning"),
    ("gsm8k_solutions", ["6b_finetuning", "is_correct"], 1, "6b_finetuning.is_correct"),
    ("gsm8k_solutions", ["175b_verification", "solution"], "", "175b_verification.solution"),
    ("gsm8k_solutions", ["ground_truth"], "a\n5", "ground_truth"),
    ("math", ["solution"], None, "solution"),
    ("math", ["solution"], ["a"], "solution"),
    ("math", ["answer"], True, "answer"),
    ("math_steps", ["steps"], [], "steps"),
    ("math_steps", ["steps", 1], "", "steps[1]"),
    ("trl_stepwise", ["labels"], [True], "labels"),
    ("trl_stepwise", ["labels", 1], None, "labels[1]"),
    ("trl_stepwise", ["labels", 1], 1.01, "labels[1]"),
    ("trl_stepwise", ["labels", 1], "1", "labels[1]"),
    ("trl_stepwise", ["completions", 0], 1, "completions[0]"),
    ("prm800k", ["question"], "text", "question"),
    ("prm800k", ["question", "problem"], None, "question.problem"),
    ("prm800k", ["label", "steps"], {}, "label.steps"),
    ("prm800k", ["label", "steps", 1], None, "label.steps[1]"),
    ("prm800k", ["label", "steps", 0, "chosen_completion"], 2, "label.steps[0].chosen_completion"),
    ("prm800k", ["label", "steps", 0, "chosen_completion"], -1, "label.steps[0].chosen_completion"),
    ("prm800k", ["label", "steps", 0, "chosen_completion"], False, "label.steps[0].chosen_completion"),
    ("prm800k", ["label", "steps", 0, "completions", 1, "rating"], 2, "label.steps[0].completions[1].rating"),
    ("prm800k", ["label", "steps", 0, "completions", 1, "text"], "", "label.steps[0].completions[1].text"),
    (
        "prm800k",
        ["label", "steps", 0, "completions", 0, "flagged"],
        1,
        "label.steps[0].completions[0].flagged",
    ),
    ("prm800k", ["label", "steps", 1, "human_completion"], {}, "label.steps[1].human_completion.text"),
    ("math_shepherd", ["label"], "1 + 1 - 0? Step 1: 1 + 2 = 2 +", "label"),
    ("math_shepherd", ["label"], "1 + 1 - 0? Step 1: 1 + 1 = 2 *", "label"),
    ("math_shepherd", ["input"], " Step 1: a ки", "label"),
    ("math_shepherd", ["label"], RECORDS["math_shepherd"]["label"] + " more", "label"),
    ("math_aps", ["reasoning_steps"], [], "reasoning_steps"),
    ("math_aps", ["reasoning_steps", 1, "mc_value"], 1.5, "reasoning_steps[1].mc_value"),
    ("math_aps", ["reasoning_steps", 1, "mc_value"], True, "reasoning_steps[1].mc_value"),
    ("math_aps", ["reasoning_steps", 1, "solution_prefix"], "Let", "reasoning_steps[1].solution_prefix"),
    ("versaprm", ["chain_of_thoughts", 0, "steps"], [], "chain_of_thoughts[0].labels"),
    ("versaprm", ["chain_of_thoughts", 0, "labels", 0], 2, "chain_of_thoughts[0].labels[0]"),
    ("versaprm", ["chain_of_thoughts", 0, "labels", 0], None, "chain_of_thoughts[0].labels[0]"),
    ("versaprm", ["chain_of_thoughts", 0, "augs", 0, "aug_idx"], 4, "chain_of_thoughts[0].augs[0].aug_idx"),
    ("versaprm", ["chain_of_thoughts", 0, "augs", 0, "aug_type"], 5, "chain_of_thoughts[0].augs[0].aug_type"),
    ("processbench", ["label"], 2, "label"),
    ("processbench", ["label"], -2, "label"),
    ("processbench", ["label"], 10**400, "label"),
    ("processbench", ["label"], True, "label"),
    ("processbench", ["label"], 0.0, "label"),
    ("processbench", ["steps"], "text", "steps"),
    ("processbench", ["final_answer_correct"], "yes", "final_answer_correct"),
    ("prmbench", ["modified_process"], [], "modified_process"),
    ("prmbench", ["modified_process", 0], 1, "modified_process[0]"),
    ("prmbench", ["error_steps"], "1", "error_steps"),
    ("prmbench", ["error_steps", 0], "1", "error_steps[0]"),
    ("prmbench", ["modified_question"], "", "modified_question"),
    ("sparring", ["labels"], [2], "labels[0]"),
    ("sparring", ["extra"], 1, "extra"),
]


@pytest.mark.parametrize(("name", "place", "value", "field"), BAD)
def test_malformed_records_are_refused_with_file_line_and_field(
    tmp_path: Path, name: str, place: list[Any], value: Any, field: str
) -> None:
    damaged = deepcopy(RECORDS[name])
    inner: Any = damaged
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = jsonl(tmp_path, RECORDS[name], damaged)
    with pytest.raises(DataError) as caught:
        read_traces_as(path, name)
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(path), 2, field)


# --- anything at all ----------------------------------------------------------------------------------------

words = st.sampled_from(["", " ", "a", "#### 1", "ки", "q? Step 1: a ки", "\\boxed{1}"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 2) | words
keys = st.sampled_from(["text", "steps", "a"])
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a record."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, inner in items for found in places(inner, (*path, key))]


@st.composite
def damaged_records(draw: st.DrawFn, name: str) -> Record:
    """Return the format's record with a few values, anywhere in it, replaced or removed."""
    record = deepcopy(RECORDS[name])
    for _ in range(draw(st.integers(1, 3))):
        candidates = places(record)
        if not candidates:
            break
        *outer, last = draw(st.sampled_from(candidates))
        inner: Any = record
        for key in outer:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(junk)
        else:
            del inner[last]
    return record


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_a_data_error_escapes_from_any_record(tmp_path: Path, name: str, data: st.DataObject) -> None:
    record = data.draw(damaged_records(name) | st.dictionaries(st.sampled_from(sorted(RECORDS[name])), junk))
    path = jsonl(tmp_path, record)
    for read_as in (read_traces_as, read_problems_as):
        for form in (name, "auto"):
            try:
                result = read_as(path, form, ReadOptions(prmbench_process="both"))
            except DataError as error:
                assert (error.file, error.line) == (str(path), 1)
            else:
                write_traces(tmp_path / "ours.jsonl", getattr(result, "traces", []))


# --- real samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form", "traces", "problems"),
    [
        ("gsm8k/test.jsonl", "gsm8k", 1319, 1319),
        ("gsm8k/example_model_solutions.jsonl", "gsm8k_solutions", 2640, 660),
        ("math/math500_test.jsonl", "math", 500, 500),
        ("math/train_traces.jsonl", "math_steps", 401, 401),
        ("processbench/gsm8k.json", "processbench", 200, 200),
        ("processbench/math.json", "processbench", 500, 500),
        ("formats/samples_math-aps.jsonl", "math_aps", 124, 3),
        ("formats/samples_math-shepherd.jsonl", "math_shepherd", 7, 7),
        ("formats/samples_prm800k.jsonl", "prm800k", 36, 6),
        ("formats/versaprm_prm800k_phase2_eval_small.json", "versaprm", 44, 11),
    ],
)
def test_real_samples_are_read_whole(name: str, form: str, traces: int, problems: int) -> None:
    path = sample(name)
    read, found = read_traces_as(path, form), read_problems_as(path, form)
    assert (len(read.traces), len(found.problems)) == (traces, problems)
    assert (read.skipped, found.skipped) == ([], [])
    if form != "math_steps":
        assert read_traces_as(path) == read


def test_real_prmbench_is_read_but_for_its_oddities() -> None:
    read = skipped_lines = 0
    for path in sorted(sample("prmbench").glob("*.jsonl")):
        result = read_traces_as(path)
        assert all(trace.labels is not None and 0.0 in trace.labels for trace in result.traces)
        read, skipped_lines = read + len(result.traces), skipped_lines + len(result.skipped)
    assert (read, skipped_lines) == (696, 22)


def test_real_math_answers_are_the_boxed_ones(tmp_path: Path) -> None:
    path = sample("math/math500_test.jsonl")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    stripped = [{key: value for key, value in record.items() if key != "answer"} for record in records]
    boxed = read_problems_as(jsonl(tmp_path, *stripped), "math").problems
    given = read_problems_as(path).problems
    assert [problem.answer for problem in boxed] == [problem.answer for problem in given]


def test_real_math_shepherd_keeps_its_whole_text() -> None:
    path = sample("formats/samples_math-shepherd.jsonl")
    traces = read_traces_as(path).traces
    for line, trace in zip(path.read_text(encoding="utf-8").splitlines(), traces, strict=True):
        text = json.loads(line)["input"].replace("ки", " ")
        assert "".join(text.split()) == "".join("".join((trace.problem.question, *trace.steps)).split())
