"""Where the scores of an evaluation come from: a checkpoint folder, a loaded scorer, or score files.

Contract: every trace gets its checked scores or is refused or, where allowed, left out and counted; nothing is guessed. A
threshold never comes without the rule that chose it. A killed run goes on from its journal when it is started again with
the same model and traces.

Not here: score files and scorers themselves (`scores.py`), what the scores are worth.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, model_validator

from sparring.addresses import is_address
from sparring.compressed import bare_name
from sparring.errors import DataError, SettingsError, about, names_of, plural
from sparring.evaluation.cases import Rows
from sparring.evaluation.outcome import JOURNAL_FILE
from sparring.evaluation.scores import (
    DEFAULT_THRESHOLD,
    ScoreTable,
    checked_scores,
    located,
    opened,
    score_rows,
    scorer_name,
    stream_scores,
)
from sparring.pool import Lost, LostError, PoolSettings
from sparring.scorers.door import Source, StepScorer, record_of
from sparring.scorers.pooled import Refused
from sparring.settings import LARGEST_SEED, Settings
from sparring.statistics import RESAMPLES
from sparring.traces.ids import TraceIds
from sparring.traces.readers import stream_traces
from sparring.traces.records import Trace


class ScoredSettings(Settings):
    """What every evaluation of step scores asks for."""

    data: list[Path] = Field([])
    """Files of traces, in any format that is known; each is a subset, also a folder of shards or a pattern."""
    model: Source | None = None
    """PRM to score with: its folder, or a server's address (docs/serving.md)."""
    scores: list[Path] = Field([])
    """Score files, instead of a model."""
    scores_model: str | None = None
    """Whose scores to take from files that hold several models'."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Scores below it count as wrong; by default the checkpoint's own, else 0.5."""
    allow_missing: bool = False
    """Leave traces without scores out, also those that the model refuses, as it does too long ones; and count them."""
    resamples: int = Field(RESAMPLES, gt=0)
    """Bootstrap draws."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _check_source(self) -> ScoredSettings:
        if not self.data:
            raise ValueError("give data: at least one file")
        if self.model is not None and self.scores:
            raise ValueError("give a model or scores, not both")
        return self


@dataclass(frozen=True, slots=True)
class Threshold:
    """Steps that score below `value` count as wrong; `rule` says how the value was chosen."""

    value: float
    rule: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise SettingsError(f"a threshold is a number from 0 to 1, got {self.value}")


def chosen_threshold(fixed: float | None, from_sidecar: float | None, sidecar_rule: str = "") -> Threshold:
    """Return the threshold given by hand, else the checkpoint's own (with the rule it names), else 0.5."""
    if fixed is None and from_sidecar is not None:
        return Threshold(from_sidecar, f"from sidecar: {sidecar_rule}" if sidecar_rule else "from sidecar")
    value = DEFAULT_THRESHOLD if fixed is None else fixed
    return Threshold(value, f"fixed {value:g}")


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores by trace id, ids without any, how many rows belong to no trace, the threshold with its rule, for records who
    scored where that was a server, and why the first of the ids has none where that is known."""

    rows: Rows
    missing: list[str]
    unused: int
    threshold: Threshold
    who: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


class Traces(Protocol):
    """What is scored: traces by id, gone through as often as needed, and how many there are."""

    def __len__(self) -> int: ...

    def items(self) -> Iterable[tuple[str, Trace]]:
        """Give (id, trace) of every trace, in order."""
        ...


def left_out_notes(skipped: int, missing: int, why: str = "", *, without: str = "scores") -> list[str]:
    """Say what an evaluation left out, a line each: records that its reader skipped, and cases without scores.

    Args:
        why: of the first case, where that is known.
        without: what such cases lack.
    """
    notes = [f"{plural(skipped, 'record')} skipped: left out of every number above"] if skipped else []
    reason = f"; the first: {why}" if why else ""
    if missing:
        notes.append(f"{plural(missing, 'case')} without {without}: left out of every number above{reason}")
    return notes


def scored(
    traces: Traces,
    settings: ScoredSettings,
    out: Path,
    scorer: StepScorer | None = None,
    pool: PoolSettings | None = None,
) -> Scored:
    """Return the scores of traces from wherever the settings say.

    Args:
        traces: by id.
        settings: say whose scores, and the threshold.
        out: the run directory, where the journal is.
        scorer: a loaded scorer, in place of the settings' model.
        pool: score with the model in a pool of actors.

    Raises:
        SettingsError: neither a model nor scores. DataError: scores that do not fit, or missing ones.
        CheckpointError: the model cannot be loaded.
    """
    if settings.scores:
        rows, missing, unused = scores_from_files(
            traces, settings.scores, settings.scores_model, allow_missing=settings.allow_missing
        )
        return Scored(rows, missing, unused, chosen_threshold(settings.threshold, None))
    if scorer is None and settings.model is None:
        raise SettingsError(
            "neither `model` nor `scores` is given: name a PRM to score with, or the scores that one has given"
        )
    leave_out = settings.allow_missing
    with opened(settings.model, scorer, pool, None, leave_out=leave_out) as scorer, located(*settings.data):
        rule = str(getattr(scorer, "threshold_rule", ""))
        threshold = chosen_threshold(settings.threshold, scorer.threshold, rule)
        made = stream_scores(
            scorer,
            lambda: (trace for _, trace in traces.items()),
            journal=out / JOURNAL_FILE,
            scorer_name=scorer_name(settings.model, scorer),
            limit=getattr(settings, "limit", None),
            total=len(traces),
            leave_out=leave_out,
        )
        rows, lost, refused = Rows(), [], dict[str, str]()
        for (identity, _), (_, row) in zip(traces.items(), made, strict=True):
            if isinstance(row, Lost):
                lost.append(replace(row, name=identity))
            elif isinstance(row, Refused):
                refused[identity] = row.why
            else:
                rows.add(identity, row)
        if refused and not rows:
            raise DataError(f"no trace can be scored; the first: {next(iter(refused.values()))}")
    if lost:
        raise LostError(lost, "All others are scored; the same command tries these again")
    who = {"scorer": record_of(scorer)} if is_address(settings.model) else {}
    return Scored(rows, list(refused), 0, threshold, who, next(iter(refused.values()), ""))


def scores_from_files(
    traces: Traces,
    files: Sequence[Path],
    model: str | None = None,
    *,
    allow_missing: bool = False,
) -> tuple[Rows, list[str], int]:
    """Return the scores in files by trace id, the ids without any, and how many rows belong to no trace.

    Raises:
        SettingsError, DataError: a file cannot be used, scores do not fit, or (unless allowed) some are missing.
    """
    found = ScoreTable()
    for _ in score_rows(files, model, found):
        pass
    rows, missing = Rows(), []
    for identity, trace in traces.items():
        row = found.get(identity)
        if row is None:
            missing.append(identity)
            continue
        try:
            rows.add(identity, checked_scores(row.scores, len(trace.steps), identity))
        except DataError as error:
            raise error.at(file=row.file, line=row.line) from error
    if missing and not allow_missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"no scores for {len(missing)} of {plural(len(traces), 'trace')} ({named}); "
            "allow_missing=true (--allow-missing) goes on without these scores and counts them",
            file=names_of(files),
        )
    if not rows:
        reason = "none of the scores belongs to a case of the data: do the ids agree?"
        raise DataError(reason, file=names_of(files), field="id")
    return rows, missing, len(found) - len(rows)


def subset_name(path: Path) -> str:
    """Return what the subset of a data file is called: the file's name, as far as a metric's name may hold it."""
    return re.sub(r"[^A-Za-z0-9_+@-]", "_", bare_name(path).strip("*?. ") or path.parent.name)


class SubsetTraces:
    """The traces of data files by id, read anew every time that they are gone through, and never held.

    A file is a subset, named like the file, and may be whatever `traces.sources` reads: a folder of shards is one. Where
    several traces share a problem's id, ``#1``, ``#2``, … follows it (`traces.ids`).

    Args:
        limit: at most so many traces of each, a random sample in the file's order.
        see: called with every trace before any is given; may refuse it.

    Attributes:
        sizes: traces of each subset.
        skipped: how many records the reader left out.

    Raises:
        DataError: a file cannot be used, holds no trace, or is named like another.
    """

    def __init__(
        self,
        data: Sequence[Path],
        limit: int | None = None,
        seed: int = 0,
        *,
        see: Callable[[Trace], object] = lambda _: None,
    ) -> None:
        self.skipped, self._ids = 0, TraceIds()
        self._files: dict[str, Path] = {}
        self._chosen: dict[str, set[int]] = {}
        self.sizes: dict[str, int] = {}
        for path in data:
            name = subset_name(path)
            if name in self._files:
                raise DataError(
                    f"another data file is named {name!r} too: subsets are named by file", file=path
                )
            size = 0
            for trace in stream_traces(path, skip=self._skip):
                size += 1
                if limit is None:
                    self._ids.see(trace.problem.id)
                    with about(path):
                        see(trace)
            if not size:
                raise DataError("no traces in this file", file=path)
            self._files[name], self.sizes[name] = path, size
            if limit is not None and limit < size:
                self._chosen[name] = set(random.Random(f"{seed} {name}").sample(range(size), limit))
                self.sizes[name] = limit
        if limit is not None:
            for subset, trace in self._read():
                self._ids.see(trace.problem.id)
                with about(self._files[subset]):
                    see(trace)
        if self._ids.may_clash:
            for _, trace in self._read():
                self._ids.check(trace.problem.id)

    def subsets(self) -> Iterator[tuple[str, str, Trace]]:
        """Yield (id, subset, trace) of every trace, in order."""
        name = self._ids.names()
        return ((name(trace.problem.id), subset, trace) for subset, trace in self._read())

    def refuse_other(self, setting: str, name: str | None) -> None:
        """Raise SettingsError where a setting names a subset that is not there."""
        if name is not None and name not in self._files:
            raise SettingsError(f"{setting}: no subset {name!r}: {', '.join(self._files)}")

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def items(self) -> Iterator[tuple[str, Trace]]:
        """Give (id, trace) of every trace, in order."""
        return ((identity, trace) for identity, _, trace in self.subsets())

    def _read(self) -> Iterator[tuple[str, Trace]]:
        for subset, path in self._files.items():
            chosen = self._chosen.get(subset)
            for number, trace in enumerate(stream_traces(path)):
                if chosen is None or number in chosen:
                    yield subset, trace

    def _skip(self, _: object) -> None:
        self.skipped += 1
