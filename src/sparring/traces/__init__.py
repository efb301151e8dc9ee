"""Problems and traces: the two records that flow through everything, and how they come in and go out.

- `records`: `Problem`, `Trace`, what a label means.
- `jsonl`: our own written form, one JSON object per line.
- `readers`: public data sets in their own layouts (`formats/`), by name or detected.
- `verdict`: what an oracle says of a step, in three values.
- `splitting`: free text into steps.
- `boxed`: the final answer of MATH-style solutions.
- `spans`: the step contract: from a trace to token ids with one scoring position per step.

Imports nothing of the package but errors, settings and runs.
"""

from sparring.traces.boxed import last_boxed
from sparring.traces.formats.common import ReadOptions, question_id
from sparring.traces.jsonl import (
    problem_to_record,
    read_jsonl_objects,
    read_problems,
    read_traces,
    record_to_problem,
    record_to_trace,
    trace_to_record,
    write_jsonl_objects,
    write_problems,
    write_traces,
)
from sparring.traces.readers import (
    FORMATS,
    Format,
    ProblemsResult,
    ReadResult,
    Skipped,
    detect_format,
    read_problems_as,
    read_traces_as,
)
from sparring.traces.records import Estimate, Label, Problem, Trace, labels_from_first_error
from sparring.traces.splitting import Strategy, split_steps

__all__ = [
    "FORMATS",
    "Estimate",
    "Format",
    "Label",
    "Problem",
    "ProblemsResult",
    "ReadOptions",
    "ReadResult",
    "Skipped",
    "Strategy",
    "Trace",
    "detect_format",
    "labels_from_first_error",
    "last_boxed",
    "problem_to_record",
    "question_id",
    "read_jsonl_objects",
    "read_problems",
    "read_problems_as",
    "read_traces",
    "read_traces_as",
    "record_to_problem",
    "record_to_trace",
    "split_steps",
    "trace_to_record",
    "write_jsonl_objects",
    "write_problems",
    "write_traces",
]
