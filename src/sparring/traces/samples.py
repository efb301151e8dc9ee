"""Samples to share: the solutions of a run as a Parquet data set with a card, which `datasets.load_dataset(folder)` reads.

    samples/README.md                      the card: licence, how the samples were made, what the columns hold
    samples/data/samples-00000.parquet     a row per solution

Others can then vary the PRM and nothing else: every row has the SHA-256 of its question, answer and steps, and the card has
settings, seed, versions and a digest of all rows. Columns that a run does not have are null, so that sets can be joined.

Contract: the folder appears whole or not at all, and equal samples give equal digests. A row whose hash is not that of its
text is refused when it is read (`readers.FORMATS`, `samples`). Folders of this machine are named by their last part only.
Not here: where samples come from (`labels/`, `evaluation/search.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from sparring.errors import DataError, SettingsError
from sparring.files import atomic_directory, to_json
from sparring.json_files import parse_json
from sparring.runs import source_commit, versions
from sparring.traces.fields import Fields
from sparring.traces.jsonl import record_to_trace, trace_to_record
from sparring.traces.records import Problem, Trace

FOLDER = "samples"
ROWS_PER_FILE = 50_000
MOST_ROWS = 1_000_000
_OURS = ("id", "problem", "answer", "solution", "steps", "labels", "outcome", "source", "estimates")
_OF_SEARCH = ("scores", "value", "method", "n", "repeat", "chosen", "finished")
_COLUMNS = {
    "sha256": "SHA-256 of question, answer and steps",
    "id": "the problem's name",
    "problem": "its question",
    "answer": "its reference answer",
    "solution": "its reference solution, step by step",
    "steps": "the solution's steps",
    "labels": "per step: 1 correct, 0 wrong, null unknown, or a value between",
    "estimates": "per step: value of the prefix by rollouts, with its 95 % interval",
    "outcome": "whether the final answer is right",
    "source": "who wrote the steps",
    "scores": "per step: the PRM's score",
    "value": "the PRM's score of the whole",
    "method": "of the search",
    "n": "N of the search",
    "repeat": "number of the repeat, from 0",
    "chosen": "whether the search chose this candidate",
    "finished": "whether it was written to its end",
    "license": "as on the card",
    "meta": "anything else about the solution, as JSON",
    "problem_meta": "anything else about the problem, as JSON",
}
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,39}")


def content_hash(problem: Problem, steps: Sequence[str]) -> str:
    """Return a SHA-256 of a question, its answer and the steps of a solution."""
    text = json.dumps([problem.question, problem.answer, list(steps)], ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sample_row(trace: Trace, **search: Any) -> dict[str, Any]:
    """Return the row of a solution.

    Args:
        trace: the solution.
        search: `scores`, `value`, `method`, `n`, `repeat`, `chosen` and `finished` of a search's candidate.
    """
    record = trace_to_record(trace)
    row: dict[str, Any] = {name: record.get(name) for name in _OURS}
    row["sha256"] = content_hash(trace.problem, trace.steps)
    row["source"] = public(trace.source) or None
    row["estimates"] = (
        None if trace.estimates is None else [None if one is None else asdict(one) for one in trace.estimates]
    )
    for name in ("meta", "problem_meta"):
        row[name] = json.dumps(to_json(record[name])[0], ensure_ascii=False) if name in record else None
    return row | {name: search.get(name) for name in _OF_SEARCH}


def write_samples(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    command: str,
    settings: Mapping[str, Any],
    license: str = "unknown",
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Write the data set, replacing an older one, and return how many rows it has.

    Args:
        folder: where.
        rows: of `sample_row`.
        command: that made them.
        settings: of the command, with its seed.
        license: name of the licence as the hub writes it (`cc-by-4.0`, `apache-2.0`).
        facts: further lines of the card.

    Raises:
        SettingsError: the licence is no such name.
        DataError: there is no row, or more than `MOST_ROWS`.
        OutputError: the folder cannot be written.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    if not _LICENSE.fullmatch(license):
        raise SettingsError(
            f"a licence is named as on the hub, such as cc-by-4.0 or apache-2.0, got {license!r}"
        )
    table = [{**row, "license": license} for row in islice(rows, MOST_ROWS + 1)]
    if len(table) > MOST_ROWS:
        raise DataError(
            f"more than {MOST_ROWS:,} samples: a data set to share is held in memory; `sparring convert` writes a run's "
            "traces.jsonl as Parquet, however many there are"
        )
    if not table:
        raise DataError("there are no samples to write")
    known = public(settings)
    digest = hashlib.sha256("".join(sorted(row["sha256"] for row in table)).encode("ascii")).hexdigest()
    about = {
        "command": command,
        "settings": known,
        "license": license,
        "digest": digest,
        "versions": versions(),
    }
    schema = _schema().with_metadata({"sparring": json.dumps(about, ensure_ascii=True)})
    with atomic_directory(folder) as draft:
        (draft / "data").mkdir()
        for number, start in enumerate(range(0, len(table), ROWS_PER_FILE)):
            part = pyarrow.Table.from_pylist(table[start : start + ROWS_PER_FILE], schema=schema)
            file = draft / "data" / f"samples-{number:05d}.parquet"
            pyarrow.parquet.write_table(part, file, write_page_checksum=True)
        text = _card(table, command, known, license, digest, dict(facts or {}))
        (draft / "README.md").write_text(text, encoding="utf-8")
    return len(table)


def read_row(record: Fields) -> Trace:
    """Return the trace of a row; what the search knew of it is in its `meta`.

    Raises:
        DataError: a field is ill-typed, or the hash is not that of the text.
    """
    values = {name: record.values[name] for name in _OURS if record.has(name)}
    for name in ("meta", "problem_meta"):
        if record.has(name):
            values[name] = _json_object(record, name)
    found = {name: record.values[name] for name in _OF_SEARCH if record.has(name)}
    if found:
        values["meta"] = {**values.get("meta", {}), **found}
    trace = record_to_trace(values)
    if record.string("sha256") != content_hash(trace.problem, trace.steps):
        raise record.error("sha256", "it is not the hash of question, answer and steps: they were changed")
    return trace


def public(value: Any) -> Any:
    """Return settings with every path of this machine cut to its last part."""
    if isinstance(value, Mapping):
        return {name: public(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(one) for one in value]
    if isinstance(value, (str, Path)):
        text = str(value)
        if PureWindowsPath(text).is_absolute():
            return PureWindowsPath(text).name
        return Path(text).name if text.startswith(("/", "~")) and "\n" not in text else text
    return value


def _json_object(record: Fields, name: str) -> Any:
    try:
        return parse_json(record.string(name), "", None)
    except DataError as error:
        if error.field is not None:
            raise
        raise record.error(name, error.message) from None


def _schema() -> Any:
    import pyarrow as pa

    text, number, whole, yes = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    estimate = pa.struct([("value", number), ("count", whole), ("low", number), ("high", number)])
    types = {
        "solution": pa.list_(text), "steps": pa.list_(text), "labels": pa.list_(number),
        "estimates": pa.list_(estimate), "outcome": yes, "scores": pa.list_(number), "value": number, "n": whole,
        "repeat": whole, "chosen": yes, "finished": yes,
    }  # fmt: skip
    return pa.schema([(name, types.get(name, text)) for name in _COLUMNS])


def _card(
    rows: Sequence[Mapping[str, Any]],
    command: str,
    settings: Mapping[str, Any],
    license: str,
    digest: str,
    facts: Mapping[str, Any],
) -> str:
    right = [row["outcome"] for row in rows if row["outcome"] is not None]
    counted = {
        "solutions": len(rows),
        "different ones": len({row["sha256"] for row in rows}),
        "problems": len({row["id"] for row in rows}),
        "steps": sum(len(row["steps"]) for row in rows),
        "right final answers": f"{sum(right)} of {len(right)} known",
        "seed": settings.get("seed"),
        "digest of all rows": f"`{digest}`",
        **facts,
        "made by": f"Sparring {versions().get('sparring', '')}, commit {source_commit() or 'unknown'}",
    }
    head = yaml.safe_dump(
        {
            "license": license,
            "pretty_name": f"Solutions with steps, by {command}",
            "task_categories": ["text-generation"],
            "tags": ["process-reward-model", "sparring"],
            "configs": [
                {"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}
            ],
        },
        sort_keys=False,
    )
    numbers = "\n".join(f"| {name} | {_cell(value)} |" for name, value in counted.items())
    columns = "\n".join(f"| `{name}` | {about} |" for name, about in _COLUMNS.items())
    shown = json.dumps(to_json(settings)[0], indent=2, ensure_ascii=False)
    indented = "\n".join(f"    {line}" for line in shown.splitlines())
    unlicensed = "" if license != "unknown" else " Nobody has named a licence for these samples."
    return f"""---
{head}---

# Solutions with steps

A row per solution, as `{command}` made them.{unlicensed} The problems keep the licence of the set that they come from.

| | |
|---|---|
{numbers}

```python
from datasets import load_dataset

rows = load_dataset("path/to/this/folder", split="train")
```

The same solutions under another PRM, which is all that then differs:

```python
import sparring as sp

traces = sp.read("path/to/this/folder")  # refuses a row whose text is not that of its hash
scores = sp.load("path/to/a/prm").score(traces)
```

| column | what |
|---|---|
{columns}

Settings:

{indented}
"""


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
