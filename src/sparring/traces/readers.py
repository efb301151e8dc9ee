"""Read problems and traces in any known format, ours or other people's, from files and data sets (`sources.py`).

Contract: a stream, of which one record is held at a time; where a file has rows and no lines, `line` in errors and in
`Skipped` is the record's place, from 1. A malformed record is refused with file, line and field when it is reached: who
must not begin before all is known to be good goes through the stream twice. Only what a public data set is known to get
wrong (an `Oddity`, named in `formats/`) is left out, and listed in `skipped`. Fields that a foreign format does not need
are ignored.

Adding a format: a function in `formats/` from a record to its traces, and a row in `FORMATS`.

Not here: our own form's reading and writing without these results (`jsonl.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sparring.errors import DataError, did_you_mean
from sparring.streams import Places, text_digest
from sparring.traces.fields import Fields
from sparring.traces.formats import automatic, human, reference
from sparring.traces.formats.common import Oddity, ReadOptions
from sparring.traces.jsonl import TRACE_FIELDS, record_to_problem, record_to_trace
from sparring.traces.records import Problem, Trace
from sparring.traces.samples import read_row
from sparring.traces.sources import shards

Found = Trace | Oddity


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record, or a part of one, that was left out, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Traces in the file's order, and what was left out."""

    traces: list[Trace]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class ProblemsResult:
    """Distinct problems in order of first appearance, and what was left out."""

    problems: list[Problem]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of records.

    Attributes:
        about: one line for help.
        read: a record's trace or traces, or what is odd about it.
        keys: those that tell the format; empty: only by name, never detected.
        problem: a record's problem, where it is not simply that of its first trace.
        allowed: where given, a record with any other key is not detected as this format.
    """

    about: str
    read: Callable[[Fields, ReadOptions], Found | Iterable[Found]]
    keys: Set[str] = frozenset()
    problem: Callable[[Fields, ReadOptions], Problem | Oddity] | None = None
    allowed: Set[str] | None = None

    def recognises(self, keys: Iterable[str]) -> bool:
        """Whether a record with these keys looks like this format."""
        given = frozenset(keys)
        fits = self.allowed is None or given <= self.allowed
        return bool(self.keys) and self.keys <= given and fits

    def traces(self, record: Fields, options: ReadOptions) -> Iterator[Found]:
        """Yield a record's traces and what is odd about it."""
        found = self.read(record, options)
        yield from (found,) if isinstance(found, (Trace, Oddity)) else found

    def problem_of(self, record: Fields, options: ReadOptions) -> Problem | Oddity:
        """Return a record's problem, or what is odd about it."""
        if self.problem is not None:
            return self.problem(record, options)
        first = next(self.traces(record, options))
        return first if isinstance(first, Oddity) else first.problem


FORMATS: dict[str, Format] = {
    "sparring": Format("our own form", lambda record, options: record_to_trace(record.values), {"id", "problem"},
        lambda record, options: record_to_problem(record.values), allowed=frozenset(TRACE_FIELDS)),
    "samples": Format("samples to share, as `label` and `search` write them (`--samples`)",
        lambda record, options: read_row(record), {"sha256", "id", "problem", "steps", "license"}),
    "demo": Format("the solutions of `sparring demo`, with the world's word on every step", automatic.demo,
        {"question", "steps", "truths"}),
    "gsm8k": Format("GSM8K problems with reference solutions", reference.gsm8k, {"question", "answer"},
        allowed={"question", "answer"}),
    "gsm8k_solutions": Format("GSM8K's example model solutions: four traces per problem, with outcomes",
        reference.gsm8k_solutions, {"question", "ground_truth", *reference.GSM8K_MODELS}),
    "math": Format("MATH problems with reference solutions", reference.math, {"problem", "solution", "level"},
        reference.math_problem),
    "math_steps": Format(
        "problems with correct step-split solutions; only by name, since no key says that they are correct",
        reference.math_steps),
    "trl_stepwise": Format("TRL's stepwise supervision: prompt, completions, labels", automatic.trl_stepwise,
        {"prompt", "completions", "labels"}),
    "prm800k": Format("PRM800K, raw labels of both phases", human.prm800k, {"question", "label", "labeler"},
        human.prm800k_problem),
    "math_shepherd": Format("Math-Shepherd: input with tags, label with + and -", automatic.math_shepherd,
        {"input", "label", "task"}),
    "math_aps": Format("MATH-APS, OmegaPRM: solution prefixes with Monte-Carlo values", automatic.math_aps,
        {"question", "reasoning_steps"}, automatic.question_problem),
    "openr": Format("OpenR's form, MATH-APS on the hub: a process with a tag after every step, a label per step",
        automatic.openr, {"question", "process", "label"}, automatic.question_problem),
    "rlhflow": Format("RLHFlow: conversations in which the assistant answers steps with + and -", automatic.rlhflow,
        {"conversations"}),
    "versaprm": Format("VersaPRM: chains of thought with ratings", human.versaprm, {"question", "chain_of_thoughts"},
        human.versaprm_problem),
    "processbench": Format("ProcessBench: steps and the index of the first wrong one", human.processbench,
        {"problem", "steps", "label", "final_answer_correct"}),
    "prmbench": Format("PRMBench: solutions with planted errors of eight classes, and other right ones", human.prmbench,
        {"original_process", "modified_process", "error_steps"}, human.prmbench_problem),
}  # fmt: skip


def read_traces_as(data: str | Path, format: str = "auto", options: ReadOptions | None = None) -> ReadResult:
    """Return all traces of the data in the named format; ``auto`` goes by the first record's keys.

    Raises:
        DataError: no such format, the format cannot be told, or a record cannot be used.
    """
    skipped: list[Skipped] = []
    return ReadResult(list(stream_traces(data, format, options, skipped.append)), skipped)


def stream_traces(
    data: str | Path,
    format: str = "auto",
    options: ReadOptions | None = None,
    skip: Callable[[Skipped], object] = lambda _: None,
) -> Iterator[Trace]:
    """Yield the same traces one at a time; `skip` is told what is left out.

    Raises:
        DataError: as `read_traces_as`, on reaching what is wrong.
    """
    for file, line, found in traces_with_places(data, format, options):
        if isinstance(found, Oddity):
            skip(Skipped(file, line, found.reason))
        else:
            yield found


def traces_with_places(
    data: str | Path, format: str = "auto", options: ReadOptions | None = None
) -> Iterator[tuple[str, int, Found]]:
    """Yield (file, line, trace or what is odd about it) for everything that the records of the data give.

    Raises:
        DataError: as `stream_traces`.
    """
    chosen = ReadOptions() if options is None else options
    for file, line, layout, record in _records(data, format):
        try:
            yield from ((file, line, found) for found in layout.traces(Fields(record), chosen))
        except DataError as error:
            raise error.at(file=file, line=line) from error


def read_problems_as(
    data: str | Path, format: str = "auto", options: ReadOptions | None = None
) -> ProblemsResult:
    """Return the distinct problems of the data in the named format; ``auto`` goes by the first record's keys.

    Where records of one problem differ (its answer is given here and not there), the first one counts and the
    others are listed in `skipped`.

    Raises:
        DataError: no such format, the format cannot be told, or a record cannot be used.
    """
    problems: dict[str, tuple[int, Problem]] = {}
    skipped: list[Skipped] = []
    for file, line, found in _problems_with_places(data, format, options):
        if isinstance(found, Oddity):
            skipped.append(Skipped(file, line, found.reason))
            continue
        first_line, first = problems.setdefault(found.id, (line, found))
        if found != first:
            reason = f"differs from record {first_line} of the same problem in {_difference(first, found)}"
            skipped.append(Skipped(file, line, reason))
    return ProblemsResult([problem for _, problem in problems.values()], skipped)


def stream_problems(
    data: str | Path,
    format: str = "auto",
    options: ReadOptions | None = None,
    skip: Callable[[Skipped], object] = lambda _: None,
) -> Iterator[Problem]:
    """Yield the same problems one at a time; `skip` is told what is left out. 24 bytes are held per problem.

    Raises:
        DataError: as `read_problems_as`, on reaching what is wrong.
    """
    contents = Places()
    for file, line, found in _problems_with_places(data, format, options):
        if isinstance(found, Oddity):
            skip(Skipped(file, line, found.reason))
            continue
        known, content = len(contents), _content(found)
        if contents.setdefault(found.id, content) != content:
            skip(Skipped(file, line, "differs from an earlier record of the same problem"))
        elif len(contents) > known:
            yield found


def _problems_with_places(
    data: str | Path, format: str, options: ReadOptions | None
) -> Iterator[tuple[str, int, Problem | Oddity]]:
    """Yield (file, line, problem or what is odd about it) for every record."""
    chosen = ReadOptions() if options is None else options
    for file, line, layout, record in _records(data, format):
        try:
            yield file, line, layout.problem_of(Fields(record), chosen)
        except DataError as error:
            raise error.at(file=file, line=line) from error


def holds_traces(keys: Iterable[str]) -> bool:
    """Whether a record with these keys looks like a known format."""
    return any(layout.recognises(keys) for layout in FORMATS.values())


def detect_format(keys: Iterable[str]) -> str:
    """Return the name of the one format that a record with these keys fits.

    Raises:
        DataError: no format fits, or more than one.
    """
    given = sorted(keys)
    fitting = [name for name, layout in FORMATS.items() if layout.recognises(given)]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(given[:12])
    if fitting:
        raise DataError(f"keys {shown} fit several formats ({', '.join(fitting)}): name the format")
    raise DataError(f"no format has the keys {shown}: name the format (known: {', '.join(sorted(FORMATS))})")


def _records(data: str | Path, format: str) -> Iterator[tuple[str, int, Format, dict[str, Any]]]:
    """Yield (file, line, layout, record) for every record; all files are of one format."""
    if format != "auto" and format not in FORMATS:
        raise DataError(f"unknown format '{format}'" + did_you_mean(format, [*FORMATS, "auto"]), file=data)
    name = format
    for shard in shards(data):
        for line, record in shard.records():
            if name == "auto":
                try:
                    name = detect_format(record)
                except DataError as error:
                    raise error.at(file=shard.name, line=line) from error
            yield shard.name, line, FORMATS[name], record
    if name == "auto":
        raise DataError("the file holds no record to tell the format by", file=data)


def _content(problem: Problem) -> int:
    """Return 64 bits that stand for all that a problem holds."""
    held = [problem.question, problem.answer, problem.solution, dict(problem.meta)]
    text = json.dumps(held, sort_keys=True, default=repr)
    return int.from_bytes(text_digest(text)[:8], "big", signed=True)


def _difference(one: Problem, other: Problem) -> str:
    return ", ".join(
        field.name for field in fields(Problem) if getattr(one, field.name) != getattr(other, field.name)
    )
