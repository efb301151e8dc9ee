"""Step scores: made by a scorer with no work lost when it is killed, or read from score files; checked before any use.

Contract: a score file is JSONL, one trace a line, or one JSON array: ``{"id": "…", "scores": [0.97, 0.12]}`` (ours), or
with the scores of several models, ``{"id": "…", "<model>": […], "<model>": […]}``, of which one is chosen by name. A
record that is not understood, an id that comes twice and a model that some record lacks are refused with their place.

A scorer's rows are appended to a journal beside the result after every batch. A journal of the same scorer is continued,
each row going to the trace whose content it names: where the data was mended since, rows of what is not there any more are
left unused. One of another scorer is refused, one of which most rows would be unused (it is of other data), a damaged one.

Not here: who scores (`scorers/door.py`), what scores are worth.
"""

from __future__ import annotations

import secrets
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from sparring.addresses import is_address
from sparring.compressed import refuse_other_ending
from sparring.errors import DataError, SettingsError, about, did_you_mean, plural
from sparring.evaluation.cases import Rows
from sparring.fingerprints import folder_identity, records_digest
from sparring.journals import Journal, other_job
from sparring.json_files import json_objects, write_jsonl_objects
from sparring.locks import writes
from sparring.pool import Item, Lost, LostError, PoolSettings
from sparring.scorers.door import StepScorer, as_source, open_scorer, record_of
from sparring.scorers.pooled import BATCH, Refused, Row, mapper_of, scoring
from sparring.streams import Places, windows
from sparring.terminal import ProgressBar
from sparring.traces.fields import is_number, shown
from sparring.traces.ids import TraceIds
from sparring.traces.readers import Skipped, stream_traces, traces_with_places
from sparring.traces.records import Trace
from sparring.traces.shown import steps_table
from sparring.traces.sources import refuse_other_kind, refuse_own_input

OWN_KEY = "scores"
DEFAULT_THRESHOLD = 0.5
_LOADED = "loaded "
_TEXTS = frozenset(("problem", "question", "steps"))
"""Fields that a score file does not have."""


# --- score files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The scores of one trace as they stood in the file, unchecked, and where that was."""

    scores: Sequence[Any]
    file: Path
    line: int


def read_scores(paths: Path | Sequence[Path], *, model: str | None = None) -> dict[str, ScoreRow]:
    """Return the rows of one or more score files by trace id.

    Args:
        paths: score files; an id may stand in only one of them, once.
        model: whose scores to take where lines hold several; not needed where there is one.

    Raises:
        DataError: a file cannot be read or is empty, a line is not an object with an id and a list, an id
        twice. SettingsError: several models and none chosen, or one that is not there.
    """
    return dict(score_rows(paths, model))


def score_rows(
    paths: Path | Sequence[Path], model: str | None = None, table: ScoreTable | None = None
) -> Iterator[tuple[str, ScoreRow]]:
    """Yield (trace id, row) of score files; the arguments and errors are those of `read_scores`.

    Args:
        table: takes every row, and thereby knows the ids.
    """
    table = ScoreTable() if table is None else table
    for path in [paths] if isinstance(paths, Path) else paths:
        empty = True
        for number, record in json_objects(path):
            empty = False
            identity = record.get("id")
            if not isinstance(identity, str) or not identity:
                raise DataError("expected the trace's id, a text", file=path, line=number, field="id")
            if (first := table.get(identity)) is not None:
                place = f"{first.file}:{first.line}"
                raise DataError(
                    f"id {identity!r} stands at {place} already", file=path, line=number, field="id"
                )
            row = ScoreRow(_chosen(record, model, path, number), path, number)
            table.add(identity, row)
            yield identity, row
        if empty:
            raise DataError("no scores in this file", file=path)


class ScoreTable:
    """The rows of score files by trace id, with their places."""

    def __init__(self) -> None:
        self._rows, self._lines, self._file_of = Rows(), array("q"), array("q")
        # Each with what its rows are counted in: lines or `Record`s
        self._files: dict[tuple[Path, type[int]], int] = {}
        self._odd: dict[int, Sequence[Any]] = {}  # rows that are no scores: told when they are asked for

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, identity: str, row: ScoreRow) -> None:
        """Take a row whose id is not here yet."""
        fits = all(type(score) in (int, float) and 0 <= score <= 1 for score in row.scores)
        if not fits:
            self._odd[len(self)] = row.scores
        self._rows.add(identity, row.scores if fits else ())
        self._file_of.append(self._files.setdefault((row.file, type(row.line)), len(self._files)))
        self._lines.append(row.line)

    def get(self, identity: str) -> ScoreRow | None:
        """Return the row of an id, None where there is none."""
        place = self._rows.place(identity)
        if place is None:
            return None
        file, counted = list(self._files)[self._file_of[place]]
        scores = self._odd.get(place, self._rows.get(identity) or ())
        return ScoreRow(scores, file, counted(self._lines[place]))


def write_scores(path: Path, scores: Iterable[tuple[str, Sequence[float]]]) -> None:
    """Write (id, scores) pairs in our own form, whole or not at all."""
    write_jsonl_objects(path, ({"id": identity, OWN_KEY: list(row)} for identity, row in scores))


def holds_scores(record: Mapping[str, Any]) -> bool:
    """Whether a record is a row of scores: an id with lists of numbers, and no texts."""
    rows = [value for name, value in record.items() if isinstance(value, list)]
    numbers = any(all(map(is_number, row)) for row in rows)
    return "id" in record and numbers and not _TEXTS & record.keys()


def _chosen(record: Mapping[str, Any], model: str | None, path: Path, line: int) -> Sequence[Any]:
    """Return the list of scores that `model`, or the lack of a choice, means."""
    names = [name for name, value in record.items() if name != "id" and isinstance(value, list)]
    if model is None:
        if OWN_KEY in record:
            model = OWN_KEY
        elif len(names) == 1:
            model = names[0]
        elif names:
            raise SettingsError(
                f"{path}:{line}: scores of several models: choose one of {', '.join(names)} (--scores-model)"
            )
        else:
            raise DataError("expected a list of step scores", file=path, line=line, field=OWN_KEY)
    if model not in record:
        raise SettingsError(f"{path}:{line}: no scores of model {model!r}{did_you_mean(model, names)}")
    if not isinstance(record[model], list):
        raise DataError("expected a list of step scores", file=path, line=line, field=model)
    return list(record[model])


# --- scoring -------------------------------------------------------------------------------------------------------


def checked_scores(scores: Sequence[Any], steps: int, identity: str) -> tuple[float, ...]:
    """Return the scores as floats, one per step and all in [0, 1].

    Raises:
        DataError: another number of them, or one that is null, NaN, not a number or outside [0, 1]; names
        the id.
    """
    if len(scores) != steps:
        raise DataError(
            f"trace {identity!r} has {plural(steps, 'step')} but {plural(len(scores), 'score')}",
            field=OWN_KEY,
        )
    for index, score in enumerate(scores):
        field = f"{OWN_KEY}[{index}]"
        if not is_number(score):
            what = "null" if score is None else f"a {type(score).__name__}"
            raise DataError(f"trace {identity!r}: expected a number, got {what}", field=field)
        if score != score:
            raise DataError(f"trace {identity!r}: the score is NaN", field=field)
        if not 0.0 <= score <= 1.0:
            advice = "scores are probabilities from 0 to 1; raw logits need a sigmoid or softmax first"
            raise DataError(
                f"trace {identity!r}: score {shown(score)} is out of range; {advice}", field=field
            )
    return tuple(float(score) for score in scores)


@contextmanager
def opened(
    model: Path | str | None,
    scorer: StepScorer | None,
    pool: PoolSettings | None,
    console: Console | None,
    *,
    leave_out: bool = False,
) -> Iterator[StepScorer]:
    """Give the scorer of a folder or of a server, in this process or in a pool; one that is loaded stays what it is."""
    if scorer is not None:
        yield scorer
    elif model is None:
        raise SettingsError("give a model to score with")
    elif pool is None:
        yield open_scorer(model)
    else:
        shown_on = console or Console(stderr=True)

        def tell(text: str) -> None:
            shown_on.print(text, highlight=False, markup=False)

        with scoring(model, pool, tell, leave_out=leave_out) as pooled:
            yield pooled


@contextmanager
def located(*data: str | Path, data_format: str = "auto") -> Iterator[None]:
    """Name file and line of a trace that a block refuses, and the files where neither is known."""
    with about(*data):
        try:
            yield
        except DataError as error:
            if error.file is None and isinstance(error.trace, Trace):
                wanted = traces_digest([error.trace])
                with suppress(DataError):  # data of an evaluation that reads it in its own way
                    for file, line, found in (
                        row for one in data for row in traces_with_places(one, data_format)
                    ):
                        if isinstance(found, Trace) and traces_digest([found]) == wanted:
                            error.file, error.line = file, line
                            break
            raise


def scorer_name(model: Path | str | None, scorer: StepScorer) -> str:
    """Return what a journal must agree in to be continued; a scorer of no folder and no server never agrees."""
    if model is None:
        return _LOADED + secrets.token_hex(16)
    return scorer.identity.key if is_address(model) else folder_identity(Path(model))


def who_scored(scorer: StepScorer) -> str:
    """Return who scored, for people: address, model and fingerprint, and what it has cost where that is counted."""
    identity, cost = scorer.identity, record_of(scorer).get("cost", {})
    who = f"{identity.place}, model {identity.model} ({identity.fingerprint or 'no fingerprint'})"
    return ", ".join([who, *(f"{name.replace('_', ' ')}: {count}" for name, count in cost.items())])


def stream_scores(
    scorer: StepScorer,
    traces: Callable[[], Iterable[Trace]],
    *,
    journal: Path,
    scorer_name: str,
    limit: int | None = None,
    batch: int | None = None,
    console: Console | None = None,
    total: int | None = None,
    leave_out: bool = False,
) -> Iterator[tuple[Trace, tuple[float, ...] | Lost | Refused]]:
    """Yield each trace with its step scores, in order, continuing from `journal` where it fits; the caller removes it.

    Args:
        scorer: the model, or a pool of it.
        traces: gives the stream of what to score; called once, and once more where there is a journal to continue.
        journal: where finished rows are kept until the result is written.
        scorer_name: identifies the scorer, so that a journal of another one is refused.
        limit: of the traces, as it was asked for; a journal with another one is refused.
        batch: traces that are scored together, `BATCH` by default: a trace's last digits may hang on what is beside it.
        console: where progress is shown (stderr by default).
        total: how many traces it has, where that is known.
        leave_out: yield `Refused` for a trace that the scorer refuses, as it does too long ones, and go on.

    Raises:
        SettingsError: the journal is of another scorer or limit, or of other data.
        DataError: the scorer refuses a trace, its answer does not fit the traces (a wrong count, a value outside [0, 1]),
            or a line of the journal is damaged.
    """
    console = console or Console(stderr=True)
    header = {"scorer": scorer_name, "limit": limit}
    with Journal(journal, header, lambda record: record["trace"], worthless=_of_nobody) as kept:
        if kept.found:
            used, here = 0, Places()
            for key in (traces_digest([trace]) for trace in traces()):
                if key in kept.found:
                    used += 1
                    here.setdefault(key, used)
            gone = len(kept.found) - len(here)
            # Mended data keeps most rows; those that it does not keep are lost once the result is written.
            if gone > len(here):
                raise other_job(journal, ["traces"])
            of = "" if total is None else f" of {total:,}"
            text = f"continuing: {used:,}{of} traces scored already"
            if gone:
                text += f"; the data differ from those it began with: {gone:,} more are not used"
            console.print(text, highlight=False, soft_wrap=True)

        def known(item: Item[Trace]) -> Row | None:
            record = kept.found.get(item.key)
            return (
                None if record is None else checked_scores(record["scores"], len(item.value.steps), item.name)
            )

        def keep(item: Item[Trace], row: Row) -> None:
            if isinstance(row, Refused):
                return  # found out again at once
            scores = checked_scores(row, len(item.value.steps), item.name)
            kept.add({"id": item.name, "trace": item.key, "scores": scores})

        items = (Item(traces_digest([trace]), trace.problem.id, trace) for trace in traces())
        mapper = mapper_of(scorer, leave_out=leave_out)
        if (unknown := getattr(scorer, "unknown", None)) is not None:
            unknown.tokens = unknown.traces = 0
        with ProgressBar(console, "{task.fields[status]}") as progress:
            task = progress.add_task("scoring", total=total, status="")
            found = mapper.map(windows(items, batch or BATCH), known=known, keep=keep)
            for done, (item, row) in enumerate(found, start=1):
                if done % BATCH == 0 or done == total:
                    progress.update(task, completed=done, status=mapper.status)
                yield item.value, row if isinstance(row, (Lost, Refused)) else tuple(map(float, row))
        if unknown is not None and unknown.tokens:
            console.print(str(unknown), style="yellow", highlight=False, soft_wrap=True)


def _of_nobody(job: Any) -> bool:
    """Whether a journal was begun with a scorer that no later process can have."""
    return isinstance(job, dict) and str(job.get("scorer")).startswith(_LOADED)


def traces_digest(traces: Iterable[Trace]) -> str:
    """Return a SHA-256 of what a scorer sees: ids, questions and steps, in order."""
    return records_digest([trace.problem.id, trace.problem.question, *trace.steps] for trace in traces)


# --- the command ---------------------------------------------------------------------------------------------------


@writes("out", inside=False)
def score_file(
    model: Path | str | None,
    data: Path,
    *,
    out: Path,
    data_format: str = "auto",
    limit: int | None = None,
    show: int = 5,
    scorer: StepScorer | None = None,
    console: Console | None = None,
    pool: PoolSettings | None = None,
    allow_missing: bool = False,
) -> dict[str, int]:
    """Score the steps of traces and write a score file; a row's id is the trace's (`traces.ids`).

    The data is gone through twice: first to find what is wrong with it, and which ids are shared, before hours of
    scoring. Neither traces nor scores are held: of each trace 40 bytes are, and a window of them.

    Args:
        model: checkpoint folder, or a server's address; either this or `scorer`, a loaded one.
        data: traces in our own form, or in another format that is known (`traces.sources`).
        out: score file to write, packed if its name ends in ``.gz`` or ``.zst``.
        data_format: a name from `sparring.traces.FORMATS`, or ``auto``.
        limit: score only the first so many traces.
        show: how many scored traces to show on a terminal.
        allow_missing: leave out and count traces that the model refuses, as it does too long ones.

    Returns:
        How many ``traces`` and ``steps`` were scored.

    Raises:
        SettingsError, DataError, CheckpointError: arguments, traces, scores or model cannot be used.
        LostError: actors of a pool died of some traces; the file has all others, and the journal is left.
    """
    if (model is None) == (scorer is None):
        raise SettingsError("give a model to score with")
    if limit is not None and limit < 1:
        raise SettingsError(f"a limit must be at least 1, got {limit}")
    refuse_other_ending(out)
    journal = out.with_name(out.name + ".partial")
    for written in (out, journal):
        refuse_own_input(written, data)
    refuse_other_kind(out, holds_scores, "score file")
    console = console or Console()
    ids, skipped = TraceIds(), Counter[str]()

    def skip(one: Skipped) -> None:
        skipped[one.reason] += 1

    def seen() -> Iterator[Trace]:
        for number, trace in enumerate(stream_traces(data, data_format, skip=skip)):
            if limit is None or number < limit:  # what follows the limit is only checked
                ids.see(trace.problem.id)
                yield trace

    def again() -> Iterable[Trace]:
        return islice(stream_traces(data, data_format), limit)

    for _ in seen():
        pass
    if not len(ids):
        raise DataError("no traces in this file", file=data)
    for trace in again() if ids.may_clash else ():
        ids.check(trace.problem.id)  # raises before hours of scoring, not after
    model = None if model is None else as_source(model)
    counts = {"traces": 0, "steps": 0}
    examples: list[tuple[Trace, tuple[float, ...]]] = []
    lost: list[Lost] = []
    refused: list[str] = []
    with (
        opened(model, scorer, pool, console, leave_out=allow_missing) as scorer,
        located(data, data_format=data_format),
    ):
        scored = stream_scores(
            scorer, again, journal=journal, scorer_name=scorer_name(model, scorer), limit=limit, total=len(ids),
            leave_out=allow_missing,
        )  # fmt: skip

        def named() -> Iterator[tuple[str, tuple[float, ...]]]:
            named_as = ids.names()
            for trace, row in scored:
                name = named_as(trace.problem.id)
                if isinstance(row, Lost):
                    lost.append(replace(row, name=name))
                    continue
                if isinstance(row, Refused):
                    refused.append(row.why)
                    continue
                counts["traces"] += 1
                counts["steps"] += len(row)
                if len(examples) < show and console.is_terminal:
                    examples.append((trace, row))
                yield name, row
            if refused and not counts["traces"]:
                raise DataError(f"no trace can be scored; the first: {refused[0]}")

        write_scores(out, named())
        if lost:
            raise LostError(
                lost, f"{out} has the other {counts['traces']}; the same command tries these again"
            )
    journal.unlink(missing_ok=True)
    if console.is_terminal:
        threshold = DEFAULT_THRESHOLD if scorer.threshold is None else scorer.threshold
        for trace, row in examples:
            console.print(steps_table(trace, row, threshold))
    console.print(
        f"{plural(counts['traces'], 'trace')}, {plural(counts['steps'], 'step')} scored: {out}",
        highlight=False,
    )
    if is_address(model):
        console.print(f"scored by {who_scored(scorer)}", highlight=False, markup=False)
    if refused:
        console.print(
            f"{plural(len(refused), 'trace')} left out; the first: {refused[0]}", style="yellow", markup=False
        )
    if skipped:
        console.print(f"{plural(skipped.total(), 'record')} skipped: {next(iter(skipped))} …", style="yellow")
    return counts
