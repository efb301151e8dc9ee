"""Our written form: round trips, atomic writing, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import DataError, SparringError
from sparring.json_files import read_json_object, read_jsonl_objects, write_jsonl_objects
from sparring.traces.jsonl import (
    problem_to_record,
    read_problems,
    read_traces,
    record_to_problem,
    record_to_trace,
    trace_to_record,
    write_problems,
    write_traces,
)
from sparring.traces.records import Problem, Trace

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda text: text.strip())
any_text = st.text(st.characters(codec="utf-8"), max_size=30)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
metas = st.dictionaries(any_text, json_values, max_size=3)
problems = st.builds(
    Problem,
    id=words,
    question=words,
    answer=st.none() | any_text,
    solution=st.none() | st.lists(words, max_size=3).map(tuple),
    meta=metas,
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    steps = tuple(draw(st.lists(words, min_size=1, max_size=4)))
    label = st.none() | st.floats(0, 1)
    labels = draw(st.none() | st.lists(label, min_size=len(steps), max_size=len(steps)).map(tuple))
    outcome, source = draw(st.none() | st.booleans()), draw(any_text)
    return Trace(draw(problems), steps, labels, outcome, source, draw(metas))


TRACE = {"id": "p1", "problem": "1 + 1?", "steps": ["1 + 1 = 2"]}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@settings(max_examples=40)
@given(traces())
def test_a_trace_survives_its_record_and_json(trace: Trace) -> None:
    assert record_to_trace(json.loads(json.dumps(trace_to_record(trace)))) == trace


@settings(max_examples=40)
@given(problems)
def test_a_problem_survives_its_record_and_json(problem: Problem) -> None:
    assert record_to_problem(json.loads(json.dumps(problem_to_record(problem)))) == problem


@settings(max_examples=40)
@given(traces())
def test_a_trace_record_also_gives_its_problem(trace: Trace) -> None:
    assert record_to_problem(trace_to_record(trace)) == trace.problem


def test_line_ends_of_unicode_stay_inside_a_text(tmp_path: Path) -> None:
    trace = Trace(Problem("p", "q\u2028r\x85s"), ("a\u2029b\x0bc\r\nd",))
    write_traces(tmp_path / "t.jsonl", [trace])
    assert read_traces(tmp_path / "t.jsonl") == [trace]


def test_absent_fields_are_not_written() -> None:
    assert trace_to_record(Trace(Problem("p", "q"), ("s",))) == {"id": "p", "problem": "q", "steps": ["s"]}


def test_both_metas_are_kept_apart() -> None:
    record = trace_to_record(Trace(Problem("p", "q", meta={"of": "problem"}), ("s",), meta={"of": "trace"}))
    assert record["problem_meta"] == {"of": "problem"}
    assert record["meta"] == {"of": "trace"}


def test_problems_of_a_trace_file_are_given_once_in_order(tmp_path: Path) -> None:
    first, second = Problem("a", "1?"), Problem("b", "2?")
    batch = [Trace(problem, ("s",)) for problem in (first, second, first)]
    write_traces(tmp_path / "t.jsonl", batch)
    assert read_problems(tmp_path / "t.jsonl") == [first, second]


def test_problems_survive_a_file(tmp_path: Path) -> None:
    batch = [Problem("a", "1?", "1", ("s",), {"level": 3}), Problem("b", "ки?")]
    assert write_problems(tmp_path / "p.jsonl", batch) == 2
    assert read_problems(tmp_path / "p.jsonl") == batch


def test_one_id_for_two_problems_is_refused(tmp_path: Path) -> None:
    write_problems(tmp_path / "p.jsonl", [Problem("a", "1?"), Problem("a", "2?")])
    with pytest.raises(DataError, match=r"p\.jsonl:2: field 'id': .*different problem, on line 1"):
        read_problems(tmp_path / "p.jsonl")
    array = [problem_to_record(Problem("a", question)) for question in ("1?", "1?", "2?")]
    (tmp_path / "p.json").write_text(json.dumps(array))
    with pytest.raises(
        DataError, match=r"p\.json:3: .*different problem, in record 1 \(record 3 of the JSON"
    ):
        read_problems(tmp_path / "p.json")


def test_blank_lines_bom_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert list(read_jsonl_objects(path)) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "ends in the middle"),
        ('{"a": "x', "ends in the middle"),
        ("{", "ends in the middle"),
        ("{'a': 1}", "not valid JSON"),
        ('{"a": 1} {"a": 2}', "not valid JSON: Extra data"),
        ("[1, 2]", "one JSON object per line, got a list"),
        ("3", "got a number"),
        ("null", "got null"),
        ('{"a": 1, "a": 2}', "field 'a': the key is given twice"),
        ('{"b": {"a": 1, "a": 1}}', "the key is given twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "too large for a float"),
        ('{"a": ' + "9" * 5000 + "}", r"a whole number has more than 4300 digits, the most that are read$"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested more than 100 levels"),
        (r'{"a": "\ud800"}', "surrogate"),
        (r'{"\uDC00": 1}', "surrogate"),
        (b'{"a": "\xff"}', r"not UTF-8 text \(byte 8\)"),
        (b'{"a": "\xd0', "not UTF-8"),
    ],
)
def test_bad_lines_are_refused_with_their_place(tmp_path: Path, line: str | bytes, message: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path / "bad.jsonl", b'{"ok": true}\n\n' + raw + b"\n")
    with pytest.raises(DataError, match=rf"bad\.jsonl:3: .*{message}"):
        list(read_jsonl_objects(path))


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", r'{"a": "\ud83d\ude00"}')
    assert list(read_jsonl_objects(path)) == [(1, {"a": "😀"})]


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        list(read_jsonl_objects(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="cannot read the file"):
        list(read_jsonl_objects(tmp_path))


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"problem": None}, "problem", "expected a text, got null"),
        ({"problem": " "}, "problem", "the text is empty"),
        ({"id": 7}, "id", "expected a text, got a number"),
        ({"id": ""}, "id", "the text is empty"),
        ({"answer": 2}, "answer", "expected a text, got a number"),
        ({"solution": "1 + 1"}, "solution", "expected a list, got a text"),
        ({"solution": [""]}, r"solution\[0\]", "empty"),
        ({"steps": []}, "steps", "the list is empty"),
        ({"steps": ["a", "\n"]}, r"steps\[1\]", "the text is empty"),
        ({"steps": ["a", 3]}, r"steps\[1\]", "expected a text"),
        ({"steps": "a"}, "steps", "expected a list"),
        ({"labels": [1, 0]}, "labels", "2 labels for 1 step"),
        ({"labels": [1.5]}, r"labels\[0\]", "a number from 0 to 1 or null, got 1.5"),
        ({"labels": [True]}, r"labels\[0\]", "got true"),
        ({"labels": [10**400]}, r"labels\[0\]", "got a number"),
        ({"labels": [float("nan")]}, r"labels\[0\]", "a label is"),
        ({"labels": 1}, "labels", "expected a list"),
        ({"outcome": 1}, "outcome", "expected true or false, got a number"),
        ({"source": []}, "source", "expected a text, got a list"),
        ({"meta": [1]}, "meta", "expected an object, got a list"),
        ({"problem_meta": "x"}, "problem_meta", "expected an object"),
        ({"lables": [1]}, "lables", r"unknown field \(did you mean 'labels'\?\)"),
    ],
)
def test_bad_fields_are_refused_by_name(change: dict[str, object], field: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"^field '{field}': .*{message}"):
        record_to_trace({**TRACE, **change})


@pytest.mark.parametrize("name", ["id", "problem", "steps"])
def test_missing_fields_are_refused(tmp_path: Path, name: str) -> None:
    record = {key: value for key, value in TRACE.items() if key != name}
    path = write(tmp_path / "t.jsonl", json.dumps(record))
    with pytest.raises(DataError, match=rf"t\.jsonl:1: field '{name}': the field is missing"):
        read_traces(path)


def test_a_problem_with_a_traces_field_is_refused() -> None:
    with pytest.raises(DataError, match="field 'outcome': only a trace has this field"):
        record_to_problem({"id": "p", "problem": "q", "outcome": True})


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"a": {1}}, r"field 'meta.a': cannot write a set"),
        ({"a": [b"x"]}, r"field 'meta.a\[0\]': cannot write a bytes"),
        ({"a": float("inf")}, "field 'meta.a': inf is not a JSON number"),
        ({3: 1}, "field 'meta': a key of a JSON object is a text"),
        ({"a": "\ud800"}, "surrogate"),
    ],
)
def test_what_would_not_read_back_is_not_written(
    tmp_path: Path, meta: dict[str, object], message: str
) -> None:
    path = tmp_path / "t.jsonl"
    write_traces(path, [Trace(Problem("old", "q"), ("s",))])
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        write_traces(path, [Trace(Problem("p", "q"), ("s",)), Trace(Problem("p", "q"), ("s",), meta=meta)])
    assert caught.value.line == 2
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_endless_nesting_is_not_written(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(DataError, match="cannot be written as JSON"):
        write_jsonl_objects(tmp_path / "t.jsonl", [{"a": loop}])


def test_a_blank_id_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="field 'id'"):
        write_problems(tmp_path / "t.jsonl", [Problem(" ", "q")])


def test_tuples_in_meta_come_back_as_lists(tmp_path: Path) -> None:
    write_traces(tmp_path / "t.jsonl", [Trace(Problem("p", "q"), ("s",), meta={"a": (1, 2)})])
    assert read_traces(tmp_path / "t.jsonl")[0].meta == {"a": [1, 2]}


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(SparringError, match="folder"):
        write_problems(tmp_path, [])


LINE = (
    json.dumps({**TRACE, "labels": [None], "meta": {"a": [1.5, "ки"]}}, ensure_ascii=False) + "\n"
).encode()
damaged_lines = st.builds(
    lambda start, length, new: LINE[:start] + new + LINE[start + length :],
    start=st.integers(0, len(LINE)),
    length=st.integers(0, 9),
    new=st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"]", b"\n", b"\\ud8", b"NaN", b"1e999"]),
)


@settings(max_examples=40)
@given(raw=st.binary(max_size=200) | damaged_lines)
def test_only_a_data_error_escapes_from_any_bytes(
    raw: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz") / "x.jsonl", raw)
    for read in (read_traces, read_problems):
        try:
            read(path)
        except DataError as error:
            assert error.file == str(path)
            array = raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
            assert error.line is not None or array


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*TRACE, "labels", "meta", "outcome", "solution", "x"]), json_values))
def test_only_a_data_error_escapes_from_any_record(record: dict[str, object]) -> None:
    for convert in (record_to_trace, record_to_problem):
        try:
            convert(record)
        except DataError as error:
            assert error.field is not None


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("\n")
    with pytest.raises(
        DataError, match=r"config\.json: empty, where JSON should stand: copy or download it again"
    ):
        read_json_object(tmp_path / "config.json")
