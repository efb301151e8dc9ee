"""Our own written form of problems and traces: one JSON object per line.

    {"id", "problem", "answer"?, "solution"?, "meta"?}                                            a problem
    {"id", "problem", "answer"?, "solution"?, "problem_meta"?,
     "steps", "labels"?, "outcome"?, "source"?, "meta"?, "estimates"?}                            a trace

``problem`` is the question's text, ``id`` names the problem (several traces may share it), ``steps`` makes a
record a trace. Labels are numbers from 0 to 1 or null. An estimate is null or {"value", "count", "low", "high"}.
Absent fields and null mean the same.

Contract: what is written reads back equal (tuples inside `meta` come back as lists). Blank lines are ignored, one JSON
array and Parquet are read too; anything else that is no such record is refused with file, line and field. Writing is
atomic.

Not here: other people's formats (`readers.py`), folders and patterns (`sources.py`), what counts as JSON
(`json_files.py`), appending logs (`runs.JsonlLog`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sparring.errors import DataError, Record
from sparring.json_files import kind
from sparring.traces.fields import Fields
from sparring.traces.parquet import Layout, write_records
from sparring.traces.records import Estimate, Problem, Trace
from sparring.traces.sources import record_objects

T = TypeVar("T")

PROBLEM_FIELDS = ("id", "problem", "answer", "solution", "meta")
TRACE_FIELDS = (*PROBLEM_FIELDS, "problem_meta", "steps", "labels", "outcome", "source", "estimates")
LAYOUT: Layout = {
    "id": "text", "problem": "text", "answer": "text", "solution": "texts", "problem_meta": "json", "steps": "texts",
    "labels": "numbers", "outcome": "bool", "source": "text", "meta": "json", "estimates": "estimates",
}  # fmt: skip
"""The columns of our form where it is written as Parquet."""
PROBLEM_LAYOUT: Layout = {name: LAYOUT[name] for name in PROBLEM_FIELDS}
_ESTIMATE_FIELDS = ("value", "count", "low", "high")


def read_traces(path: str | Path) -> list[Trace]:
    """Return the traces of a file in our own form, in order; `readers.stream_traces` gives them one at a time.

    Raises:
        DataError: the file or one of its records cannot be used; names file, line and field.
    """
    return [_placed(record_to_trace, record, path, line) for line, record in record_objects(path)]


def read_problems(path: str | Path) -> list[Problem]:
    """Return the distinct problems of a file in our own form, of problems or traces, in order of appearance.

    Raises:
        DataError: a record cannot be used, or two records give different problems the same id.
    """
    found: dict[str, tuple[int, Problem]] = {}
    for line, record in record_objects(path):
        problem = _placed(record_to_problem, record, path, line)
        first_line, first = found.setdefault(problem.id, (line, problem))
        if first != problem:
            place = f"{'in record' if isinstance(first_line, Record) else 'on line'} {first_line}"
            message = f"id '{problem.id}' already names a different problem, {place}"
            raise DataError(message, file=path, line=line, field="id")
    return [problem for _, problem in found.values()]


def write_traces(path: str | Path, traces: Iterable[Trace]) -> int:
    """Write traces, packed or as Parquet where the name ends so, whole or not at all; return how many.

    Raises:
        DataError: a trace cannot be written as JSON (line: its place in `traces`, from 1).
    """
    return write_records(path, (trace_to_record(trace) for trace in traces), LAYOUT)


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Write problems, packed or as Parquet where the name ends so, whole or not at all; return how many.

    Raises:
        DataError: a problem cannot be written as JSON (line: its place in `problems`, from 1).
    """
    return write_records(path, (problem_to_record(problem) for problem in problems), PROBLEM_LAYOUT)


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
