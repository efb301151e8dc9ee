"""Sparring from Python, in a notebook or in three lines: score steps, read files of traces, see a run as a table.

    import sparring as sp
    prm = sp.load("runs/demo/aprm/prm")        # or the address of a server: "http://localhost:8000"
    prm.score("What is 2 + 2 * 3?", ["2 * 3 = 6", "2 + 6 = 9"])

Contract: what `load` returns scores like the scorer that it holds, and stands in for it everywhere. A score that could not
be made is an error, never a number; a row that is shorter than its trace (`overflow="drop_steps"`) comes with a warning.
Torch and pandas are imported when something needs them. Not here: who scores
(`scorers/door.py`), what files hold (`traces/readers.py`), how scores look (`traces/shown.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from sparring.errors import DataError, SettingsError, install_extra, needs, plural
from sparring.evaluation.scores import DEFAULT_THRESHOLD, checked_scores
from sparring.fingerprints import records_digest
from sparring.json_files import read_jsonl_objects
from sparring.runs import METRICS_FILE, read_metrics
from sparring.scorers.door import Overflow, StepScorer, open_scorer
from sparring.search.aggregation import AGGREGATIONS, aggregation_for
from sparring.traces.jsonl import trace_to_record
from sparring.traces.readers import Skipped, read_traces_as
from sparring.traces.records import Problem, Trace
from sparring.traces.shown import ScoredTrace
from sparring.traces.splitting import split_steps

ROW_FILES = ("traces.jsonl", "cases.jsonl", "log.jsonl")
"""What a run's rows are made of: the first of these that it has."""
_SHOWN = 5


def load(
    source: str | Path,
    *,
    model: str | None = None,
    token: str | None = None,
    threshold: float | None = None,
    device: str = "auto",
    dtype: str = "auto",
    overflow: Overflow = "refuse",
) -> Prm:
    """Return the PRM of a folder or of a server, ready to score (`scorers.door.open_scorer`).

    Args:
        source: a PRM's folder, or the address of a server that scores.
        model: its name on a server.
        token: for the server; by default what `SPARRING_TOKEN` holds.
        threshold: below which a step counts as wrong, instead of the PRM's own.
        overflow: what to do with a trace that does not fit: refuse it, or leave whole last steps out of its row.

    Raises:
        SettingsError: no such kind of server, device or model.
        CheckpointError: a folder cannot be loaded.
    """
    options = {"model": model, "token": token, "threshold": threshold, "device": device, "dtype": dtype}
    return Prm(open_scorer(source, overflow=overflow, **options))  # type: ignore[arg-type]


class Prm:
    """A step scorer for people: takes texts beside traces, and shows what it found.

    Everything else that its scorer has (`threshold`, `identity`, `sidecar`, …) is here too, so that it can be given
    wherever a scorer is taken.

    Args:
        scorer: from `open_scorer` or `load_scorer`.
    """

    def __init__(self, scorer: StepScorer) -> None:
        self.scorer = scorer

    def __getattr__(self, name: str) -> Any:
        if name == "scorer":  # a copy that is not yet filled
            raise AttributeError(name)
        return getattr(self.scorer, name)

    @overload
    def score(self, problem: str | Problem, steps: Sequence[str] | str) -> list[float]: ...
    @overload
    def score(
        self, problem: Sequence[Trace], steps: None = None, *, progress: Callable[[int], None] | None = None
    ) -> list[list[float]]: ...
    def score(
        self,
        problem: str | Problem | Sequence[Trace],
        steps: Sequence[str] | str | None = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[float] | list[list[float]]:
        """Return a number in [0, 1] per step of one solution, or of every trace.

        Args:
            problem: the question; or traces.
            steps: the solution's steps; one text is split (`traces.splitting.split_steps`).
            progress: of traces: told how many are done after every batch.

        Raises:
            DataError: something cannot be scored; names it.
        """
        if isinstance(problem, (str, Problem)):
            return list(self.trace(problem, steps or ()).scores)
        if steps is not None:
            raise SettingsError("traces hold their steps: give a question and steps, or traces alone")
        traces = list(problem)
        return [
            list(row)
            for row in self._checked(traces, self.scorer.score(traces) if progress is None else
                                     self.scorer.score(traces, progress))
        ]  # fmt: skip

    def trace(self, problem: str | Problem, steps: Sequence[str] | str) -> ScoredTrace:
        """Return a solution with its scores, which shows itself with coloured steps in a terminal and a notebook.

        Args:
            steps: the solution's steps; one text is split.
        """
        return self.traces([as_trace(problem, steps)])[0]

    def traces(self, traces: Iterable[Trace]) -> list[ScoredTrace]:
        """Return traces with their scores."""
        given = list(traces)
        rule = aggregation_for(self.scorer)
        threshold = self.scorer.threshold
        scored = partial(
            ScoredTrace,
            threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
            threshold_rule=self.scorer.threshold_rule,
            aggregation=rule,
        )
        return [
            scored(trace, row, value=AGGREGATIONS[rule](row))
            for trace, row in zip(given, self._checked(given, self.scorer.score(given)), strict=True)
        ]

    def _checked(self, traces: Sequence[Trace], rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
        if len(rows) != len(traces):
            raise DataError(
                f"the scorer returned {plural(len(rows), 'row')} for {plural(len(traces), 'trace')}"
            )
        may_drop = getattr(self.scorer, "overflow", "refuse") == "drop_steps"
        checked = [
            checked_scores(row, len(row) if may_drop and row else len(trace.steps), trace.problem.id)
            for trace, row in zip(traces, rows, strict=True)
        ]
        lost = [len(trace.steps) - len(row) for trace, row in zip(traces, checked, strict=True)]
        if any(lost):
            what = (
                f"{plural(sum(lost), 'last step')} of {sum(map(bool, lost))} of {plural(len(lost), 'trace')}"
            )
            warnings.warn(
                f"too long for the PRM, and without a score: {what}; rows are shorter", stacklevel=3
            )
        return checked

    def __repr__(self) -> str:
        reading = self.scorer.sidecar
        threshold = self.scorer.threshold
        return (
            f"<PRM {self.scorer.identity.model} at {self.scorer.identity.place}: scores mean {reading.meaning}, threshold "
            f"{DEFAULT_THRESHOLD if threshold is None else threshold:.4g}>"
        )


def as_trace(problem: str | Problem, steps: Sequence[str] | str) -> Trace:
    """Return a question and a solution as a trace; a question without a record of its own is named by its text.

    Raises:
        DataError: the question or a step is empty, or there is no step.
    """
    if isinstance(problem, str):
        problem = Problem("question-" + records_digest([problem])[:12], problem)
    return Trace(problem, split_steps(steps) if isinstance(steps, str) else tuple(steps))


# --- files of traces -------------------------------------------------------------------------------------------------


class Traces(list[Trace]):
    """Traces of a file, and what of it was left out.

    Attributes:
        skipped: records that the data set is known to get wrong, each with its place and reason.
    """

    def __init__(self, traces: Iterable[Trace], skipped: Iterable[Skipped] = ()) -> None:
        super().__init__(traces)
        self.skipped = list(skipped)

    @property
    def problems(self) -> list[Problem]:
        """The distinct problems, in order of appearance."""
        return list({trace.problem.id: trace.problem for trace in self}.values())

    def _repr_html_(self) -> str:
        shown = "<hr>".join(trace._repr_html_() for trace in self[:_SHOWN])
        more = len(self) - _SHOWN
        return shown + (f"<p>and {plural(more, 'more trace')}</p>" if more > 0 else "")


def read(source: str | Path, format: str = "auto") -> Traces:
    """Return the traces of a file in any format that is known, of a run that wrote some, or of a folder of shards.

    Args:
        source: what `traces.sources` reads: JSON lines, a JSON array or Parquet, also packed; a folder, a pattern, `hf:…`.
        format: a name in `traces.readers.FORMATS`; ``auto`` goes by the first record's fields.

    Raises:
        DataError: the format cannot be told, or a record cannot be used; names file, line and field.
    """
    found = read_traces_as(source, format)
    return Traces(found.traces, found.skipped)


# --- tables ----------------------------------------------------------------------------------------------------------


def frame(source: str | Path | Iterable[Trace | ScoredTrace], what: str | None = None) -> Any:
    """Return a pandas table of a run, a file of JSON lines, or traces: one row per step where records have steps.

    A column of a record that has one entry per step is spread over its rows; everything else is repeated; `step` counts
    from 0. A training run gives a row per update.

    Args:
        source: a run's directory, a JSONL file (scores of `sparring score`, say), traces, or scored traces.
        what: of a run: ``metrics`` for its numbers with intervals, or a file's name; by default `ROW_FILES`.

    Raises:
        SettingsError: pandas is not installed.
        DataError: there is no such file, or it cannot be read.
    """
    with needs("a table", "pandas", install_extra("pandas")):
        import pandas
    return pandas.DataFrame(_rows(source, what))


def _rows(source: str | Path | Iterable[Trace | ScoredTrace], what: str | None) -> list[dict[str, Any]]:
    if not isinstance(source, (str, Path)):
        return [row for one in source for row in step_rows(_record(one))]
    path = Path(source)
    if path.is_dir():
        if what == "metrics":
            columns = ("value", "low", "high", "n", "unit")
            return [
                {"name": name, **{column: getattr(one, column) for column in columns}}
                for name, one in read_metrics(path / METRICS_FILE).items()
            ]
        names = [name for name in ROW_FILES if (path / name).is_file()] if what is None else [what]
        if not names:
            wanted = ", ".join(ROW_FILES)
            raise DataError(f"the run holds none of {wanted}: name a file, or 'metrics'", file=path)
        if Path(names[0]).is_absolute() or ".." in Path(names[0]).parts:
            raise SettingsError(f"{names[0]!r} is not a file of the run {path}: name its file alone")
        path /= names[0]
    elif what is not None:
        raise SettingsError(f"{path} is no run's directory, so {what!r} cannot be found in it")
    return [row for _, record in read_jsonl_objects(path, loose=True) for row in step_rows(record)]


def _record(one: Trace | ScoredTrace) -> dict[str, Any]:
    if isinstance(one, Trace):
        return trace_to_record(one)
    missing = [None] * (len(one.steps) - len(one.scores))
    scored = {"scores": [*one.scores, *missing], "threshold": one.threshold, "value": one.value}
    return {**trace_to_record(one.trace), **scored}


_SINGULAR = {
    "steps": "text",
    "scores": "score",
    "labels": "label",
    "estimates": "estimate",
    "verdicts": "verdict",
}


def step_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per step of a record: the entries of its lists that are as long as its steps; one row without steps."""
    steps = record.get("steps", record.get("scores"))
    if not isinstance(steps, list) or not steps:
        return [dict(record)]
    spread = {
        name: value for name, value in record.items() if isinstance(value, list) and len(value) == len(steps)
    }
    kept = {name: value for name, value in record.items() if name not in spread}
    rows = []
    for place in range(len(steps)):
        row = {**kept, "step": place}
        for name, value in spread.items():
            entry = value[place]
            if name == "estimates":
                row |= {f"estimate_{key}": of for key, of in (entry or {}).items()}
            else:
                row[_SINGULAR.get(name, name)] = entry
        rows.append(row)
    return rows
