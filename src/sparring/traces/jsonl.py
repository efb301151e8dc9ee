"""Our own written form of problems and traces: one JSON object per line.

    {"id", "problem", "answer"?, "solution"?, "meta"?}                                            a problem
    {"id", "problem", "answer"?, "solution"?, "problem_meta"?,
     "steps", "labels"?, "outcome"?, "source"?, "meta"?, "estimates"?}                            a trace

``problem`` is the question's text, ``id`` names the problem (several traces may share it), ``steps`` makes a
record a trace. Labels are numbers from 0 to 1 or null. An estimate is null or {"value", "count", "low", "high"}.
Absent fields and null mean the same.

Contract: what is written reads back equal (tuples inside `meta` come back as lists). Files are UTF-8; blank
lines are ignored; everything else that is not one valid JSON object per line is refused with file and line:
broken or truncated JSON, repeated keys, NaN and numbers too large for a float, half surrogate pairs, unknown
fields. Writing is atomic.

Not here: other people's formats (`readers.py`), appending logs (`runs.JsonlLog`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sparring.errors import DataError, Record
from sparring.runs import atomic_write_text
from sparring.traces.fields import Fields, kind
from sparring.traces.records import Estimate, Problem, Trace

T = TypeVar("T")
_BOM = b"\xef\xbb\xbf"
_JSON_SPACE = " \t\n\r"

DEEPEST = 100
"""Levels of objects and lists that a record may hold."""
PROBLEM_FIELDS = ("id", "problem", "answer", "solution", "meta")
TRACE_FIELDS = (*PROBLEM_FIELDS, "problem_meta", "steps", "labels", "outcome", "source", "estimates")
_ESTIMATE_FIELDS = ("value", "count", "low", "high")


# --- problems and traces ------------------------------------------------------------------------------------


def read_traces(path: str | Path) -> list[Trace]:
    """Return the traces of a file in our own form, in order.

    Raises:
        DataError: the file or one of its records cannot be used; names file, line and field.
    """
    return [_placed(record_to_trace, record, path, line) for line, record in read_jsonl_objects(path)]


def read_problems(path: str | Path) -> list[Problem]:
    """Return the distinct problems of a file in our own form, of problems or traces, in order of appearance.

    Raises:
        DataError: a record cannot be used, or two records give different problems the same id.
    """
    found: dict[str, tuple[int, Problem]] = {}
    for line, record in read_jsonl_objects(path):
        problem = _placed(record_to_problem, record, path, line)
        first_line, first = found.setdefault(problem.id, (line, problem))
        if first != problem:
            message = f"id '{problem.id}' already names a different problem, on line {first_line}"
            raise DataError(message, file=path, line=line, field="id")
    return [problem for _, problem in found.values()]


def write_traces(path: str | Path, traces: Iterable[Trace]) -> int:
    """Write traces so that the file appears whole or not at all; return how many.

    Raises:
        DataError: a trace cannot be written as JSON (line: its place in `traces`, from 1).
    """
    return write_jsonl_objects(path, (trace_to_record(trace) for trace in traces))


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Write problems so that the file appears whole or not at all; return how many.

    Raises:
        DataError: a problem cannot be written as JSON (line: its place in `problems`, from 1).
    """
    return write_jsonl_objects(path, (problem_to_record(problem) for problem in problems))


def problem_to_record(problem: Problem) -> dict[str, Any]:
    """Return the problem in our written form, without the fields that it does not have.

    Raises:
        DataError: the problem's id is blank, so that the record could not be read back.
    """
    if not problem.id.strip():
        raise DataError("a problem needs an id to be written", field="id")
    record: dict[str, Any] = {"id": problem.id, "problem": problem.question}
    if problem.answer is not None:
        record["answer"] = problem.answer
    if problem.solution is not None:
        record["solution"] = list(problem.solution)
    if problem.meta:
        record["meta"] = dict(problem.meta)
    return record


def trace_to_record(trace: Trace) -> dict[str, Any]:
    """Return the trace in our written form, without the fields that it does not have.

    Raises:
        DataError: the problem's id is blank, so that the record could not be read back.
    """
    record = problem_to_record(trace.problem)
    if "meta" in record:
        record["problem_meta"] = record.pop("meta")
    record["steps"] = list(trace.steps)
    if trace.labels is not None:
        record["labels"] = list(trace.labels)
    if trace.outcome is not None:
        record["outcome"] = trace.outcome
    if trace.source:
        record["source"] = trace.source
    if trace.meta:
        record["meta"] = dict(trace.meta)
    if trace.estimates is not None:
        record["estimates"] = [None if one is None else asdict(one) for one in trace.estimates]
    return record


def record_to_problem(record: Mapping[str, Any]) -> Problem:
    """Return the problem of a record in our form; a trace's record is checked whole, then gives its problem.

    Raises:
        DataError: a field is missing, unknown or of the wrong type.
    """
    if "steps" in record:
        return record_to_trace(record).problem
    fields = Fields(record)
    fields.refuse_unknown(TRACE_FIELDS)
    for name in record:
        if name not in PROBLEM_FIELDS:
            raise fields.error(name, "only a trace has this field, and this record has no 'steps'")
    return _problem(fields, fields.mapping("meta"))


def record_to_trace(record: Mapping[str, Any]) -> Trace:
    """Return the trace of a record in our form.

    Raises:
        DataError: a field is missing, unknown or of the wrong type.
    """
    fields = Fields(record)
    fields.refuse_unknown(TRACE_FIELDS)
    steps = fields.texts("steps")
    labels = fields.labels("labels", booleans=False, unknown=True) if fields.has("labels") else None
    return Trace(
        problem=_problem(fields, fields.mapping("problem_meta")),
        steps=steps,
        labels=labels,
        outcome=fields.boolean("outcome") if fields.has("outcome") else None,
        source=fields.optional_string("source") or "",
        meta=fields.mapping("meta"),
        estimates=_estimates(fields) if fields.has("estimates") else None,
    )


def _estimates(fields: Fields) -> tuple[Estimate | None, ...]:
    found: list[Estimate | None] = []
    for index, value in enumerate(fields.array("estimates")):
        if value is None:
            found.append(None)
            continue
        name = f"estimates[{index}]"
        if not isinstance(value, dict):
            raise fields.error(name, f"expected an object or null, got {kind(value)}")
        given = Fields(value, name)
        given.refuse_unknown(_ESTIMATE_FIELDS)
        try:
            found.append(
                Estimate(
                    given.share("value"), given.integer("count"), given.share("low"), given.share("high")
                )
            )
        except DataError as error:
            raise fields.error(name, error.message) if error.field == "estimates" else error from error
    return tuple(found)


def _problem(fields: Fields, meta: dict[str, Any]) -> Problem:
    return Problem(
        id=fields.text("id"),
        question=fields.text("problem"),
        answer=fields.optional_string("answer"),
        solution=fields.strings("solution") if fields.has("solution") else None,
        meta=meta,
    )


def _placed(convert: Callable[[dict[str, Any]], T], record: dict[str, Any], path: str | Path, line: int) -> T:
    """Return ``convert(record)``, adding file and line to its DataError."""
    try:
        return convert(record)
    except DataError as error:
        raise error.at(file=path, line=line) from error


# --- JSON lines ---------------------------------------------------------------------------------------------


def read_jsonl_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for every line that is not blank; one line is held at a time.

    Raises:
        DataError: no such file, not UTF-8, or a line that is not one valid JSON object; on reaching it.
    """
    for line, raw in enumerate(_raw_lines(path), start=1):
        text = decoded(raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw, path, line)
        if text.strip():
            value = parse_json(text, path, line)
            if not isinstance(value, dict):
                raise DataError(f"expected one JSON object per line, got {kind(value)}", file=path, line=line)
            yield line, value


def json_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) from JSON lines, or (`Record`, object) from a file that is one JSON array.

    Raises:
        DataError: the file cannot be read, or something in it is not an object; names the line or the record.
    """
    first = next((begun for raw in _raw_lines(path) if (begun := raw.removeprefix(_BOM).strip())), b"")
    if not first.startswith(b"["):
        yield from read_jsonl_objects(path)
        return
    text = decoded(b"".join(_raw_lines(path)).removeprefix(_BOM), path, None)
    yield from _array(text, path)


def _array(text: str, path: str | Path) -> list[tuple[Record, dict[str, Any]]]:
    """Return the objects of a JSON array with their places."""
    found: list[tuple[Record, dict[str, Any]]] = []
    end = _space(text, 0) + 1
    while not (not found and text[_space(text, end) :].startswith("]")):
        place = Record(len(found) + 1)
        value, end = _value_at(text, _space(text, end), path, place)
        if not isinstance(value, dict):
            raise DataError(f"expected an object, got {kind(value)}", file=path, line=place)
        found.append((place, value))
        end = _space(text, end)
        if not text[end:].startswith(","):
            break
        end += 1
    end = _space(text, end)
    if end == len(text):
        raise DataError(f"the JSON ends in the middle: cut off after record {len(found)}", file=path)
    if text[end] != "]":
        raise DataError(f"not valid JSON: {text[end]!r} after record {len(found)}", file=path)
    if _space(text, end + 1) < len(text):
        raise DataError("not valid JSON: Extra data behind the array", file=path)
    return found


def _value_at(text: str, start: int, path: str | Path, place: int) -> tuple[Any, int]:
    """Return the strictly read JSON value that begins at a place of the text, and where it ends."""
    end = start

    def read() -> Any:
        nonlocal end
        value, end = _DECODER.raw_decode(text, start)
        return value

    value = _strictly(read, text, path, place)
    _refuse_odd(text[start:end], value, path, place)
    return value, end


def _space(text: str, start: int) -> int:
    while start < len(text) and text[start] in _JSON_SPACE:
        start += 1
    return start


def write_jsonl_objects(path: str | Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write one object per line so that the file appears whole or not at all; return how many.

    Raises:
        DataError: a value is not JSON (line: its place in `records`, from 1). OutputError: the file cannot be written.
    """
    lines: list[str] = []
    for number, record in enumerate(records, start=1):
        try:
            plain = dict(record)
            _refuse_not_json(plain, "")
            line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
            line.encode()
        except DataError as error:
            raise error.at(file=path, line=number) from error
        except UnicodeEncodeError as error:
            raise DataError(_HALF_PAIR, file=path, line=number) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"cannot be written as JSON: {error}", file=path, line=number) from error
        lines.append(line + "\n")
    atomic_write_text(path, "".join(lines))
    return len(lines)


def decoded(raw: bytes, path: str | Path, line: int | None) -> str:
    """Return UTF-8 bytes as text, or raise DataError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        known = next((advice for start, advice in _OTHER_FILES.items() if raw.startswith(start)), None)
        message = known or f"not UTF-8 text (byte {error.start + 1}): convert the file to UTF-8"
        raise DataError(message, file=path, line=line) from error
    if text.startswith("PAR1"):
        raise DataError(_OTHER_FILES[b"PAR1"], file=path, line=line)
    return text


_OTHER_FILES = {
    b"\x1f\x8b": "the file is compressed: unpack it first (gunzip)",
    b"BZh": "the file is compressed: unpack it first (bunzip2)",
    b"\xfd7zXZ": "the file is compressed: unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "the file is compressed: unpack it first (unzstd)",
    b"PK\x03\x04": "the file is an archive: unpack it first (unzip)",
    b"PAR1": "a Parquet file, which only `sparring migrate` reads, by its ending",
    b"\xff\xfe": "the file is UTF-16 text: convert it to UTF-8",
    b"\xfe\xff": "the file is UTF-16 text: convert it to UTF-8",
}
"""What the first bytes of a file that is no UTF-8 text say of it."""


def parse_json(text: str, path: str | Path, line: int | None, *, constants: bool = False) -> Any:
    """Return the value of a JSON text, strictly; `constants` lets NaN and Infinity stand, as in files of other programs.

    Raises:
        DataError: broken or cut off, a repeated key, NaN or infinity, half a surrogate pair, nested too deep.
    """
    value = _strictly(
        lambda: json.loads(text, **_STRICT | ({"parse_constant": float} if constants else {})),
        text,
        path,
        line,
    )
    _refuse_odd(text, value, path, line)
    return value


def _refuse_odd(text: str, value: Any, path: str | Path, line: int | None) -> None:
    _refuse_deep(text, path, line)
    try:
        if "\\ud" in text.lower():  # only an escape can make half a pair: the bytes are valid UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(_HALF_PAIR, file=path, line=line) from error


def _strictly(read: Callable[[], Any], text: str, path: str | Path, line: int | None) -> Any:
    """Return what is read, with every fault of JSON as a DataError."""
    try:
        return read()
    except DataError as error:
        raise error.at(file=path, line=line) from error
    except json.JSONDecodeError as error:
        raise DataError(_broken(error, text), file=path, line=line) from error
    except RecursionError as error:
        raise DataError(_TOO_DEEP, file=path, line=line) from error
    except ValueError as error:  # an integer with thousands of digits
        raise DataError(f"not usable JSON: {error}", file=path, line=line) from error


_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def _refuse_deep(text: str, path: str | Path, line: int | None) -> None:
    """Raise DataError where the brackets of a valid JSON text are nested too deeply: code further down is recursive."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise DataError(_TOO_DEEP, file=path, line=line)


_TOO_DEEP = f"the JSON is nested more than {DEEPEST} levels deep"
_HALF_PAIR = "a text holds half of a surrogate pair, which is not valid Unicode"


def refuse_pipe(path: str | Path) -> None:
    """Raise DataError where a file cannot be read more than once, as readers do, or the path can be no file's."""
    if "\0" in str(path):
        raise DataError("a path holds no NUL character", file=path)
    file = Path(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise DataError("it is a pipe or a device: write what it holds to a file first", file=path)


def _raw_lines(path: str | Path) -> Iterator[bytes]:
    """Yield the file's lines; only a line feed ends one, so that texts may hold other Unicode line ends."""
    refuse_pipe(path)
    try:
        with Path(path).open("rb") as file:
            yield from file
    except FileNotFoundError as error:
        raise DataError("no such file", file=path) from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", file=path) from error


def _broken(error: json.JSONDecodeError, text: str) -> str:
    cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if cut_off:
        return "the JSON ends in the middle: cut off, or an object spread over several lines"
    return f"not valid JSON: {error.msg} (column {error.colno})"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise DataError("the key is given twice", field=key)
        values[key] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise DataError(f"{name} is not a JSON number: write null, or leave the field out")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DataError(f"the number {text[:40]} is too large for a float")
    return value


_STRICT: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_constant": _refuse_constant,
    "parse_float": _finite_float,
}
_DECODER = json.JSONDecoder(**_STRICT)


def _refuse_not_json(value: object, field: str) -> None:
    """Raise DataError at the first thing that JSON has no word for, or that would not read back."""
    if value is None or isinstance(value, (bool, str, int)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{value} is not a JSON number", field=field)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DataError(f"a key of a JSON object is a text, got {key!r}", field=field)
            _refuse_not_json(item, f"{field}.{key}" if field else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_not_json(item, f"{field}[{index}]")
    else:
        raise DataError(f"cannot write a {type(value).__name__} as JSON", field=field)
