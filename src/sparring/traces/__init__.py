"""Problems and traces: the two records that flow through everything, and how they come in and go out.

- `records`: `Problem`, `Trace`, what a label means.
- `jsonl`: our own written form, one JSON object per line.
- `readers`: public data sets in their own layouts (`formats/`), by name or detected; `convert` writes some of them.
- `sources`: what is read: files, also packed, Parquet, shards, data sets; `ids` names them.
- `verdict`: what an oracle says of a step, in three values.
- `splitting`: free text into steps.
- `boxed`: the final answer of MATH-style solutions.
- `spans`: the step contract: from a trace to token ids with one scoring position per step.

What is imported from here is what the documentation uses. Imports nothing of the package but errors, settings and JSON.
"""

from sparring.traces.formats.common import ReadOptions
from sparring.traces.jsonl import read_problems, read_traces, write_problems, write_traces
from sparring.traces.readers import read_problems_as, read_traces_as, stream_traces
from sparring.traces.records import Problem, Trace

__all__ = [
    "Problem",
    "ReadOptions",
    "Trace",
    "read_problems",
    "read_problems_as",
    "read_traces",
    "read_traces_as",
    "stream_traces",
    "write_problems",
    "write_traces",
]
