"""Where the scores of an evaluation come from: a checkpoint folder, a loaded scorer, or score files.

Contract: every trace gets its checked scores or is refused or, where allowed, left out and counted; nothing is guessed. A
threshold never comes without the rule that chose it. A killed run goes on from its journal when it is started again with
the same model and traces.

Not here: score files and scorers themselves (`scores.py`), what the scores are worth.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from sparring.errors import DataError, SettingsError
from sparring.evaluation.outcome import JOURNAL_FILE
from sparring.evaluation.scores import (
    DEFAULT_THRESHOLD,
    checked_scores,
    load_for_scoring,
    read_scores,
    score_traces,
    scorer_name,
)
from sparring.http_client import is_address
from sparring.scorers.door import Source, StepScorer, record_of
from sparring.settings import Settings
from sparring.statistics import RESAMPLES
from sparring.traces.ids import distinct_ids
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Trace


class ScoredSettings(Settings):
    """What every evaluation of step scores asks for."""

    data: list[Path] = Field([])
    """Files of traces, in any format that is known."""
    model: Source | None = None
    """PRM to score with: its folder, or a server's address (docs/servers.md)."""
    scores: list[Path] = Field([])
    """Score files, instead of a model."""
    scores_model: str | None = None
    """Whose scores to take from files that hold several models'."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Scores below it count as wrong; by default the checkpoint's own, else 0.5."""
    allow_missing: bool = False
    """Leave traces without scores out, and count them."""
    resamples: int = Field(RESAMPLES, gt=0)
    """Bootstrap draws."""
    seed: int = 0
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
    """Scores by trace id, ids without any, how many rows belong to no trace, the threshold with its rule, and for records
    who scored where that was a server."""

    rows: dict[str, tuple[float, ...]]
    missing: list[str]
    unused: int
    threshold: Threshold
    who: Mapping[str, Any] = field(default_factory=dict)


def scored(
    traces: Mapping[str, Trace], settings: ScoredSettings, out: Path, scorer: StepScorer | None = None
) -> Scored:
    """Return the scores of traces, given by id, from wherever the settings say.

    Args:
        traces: what to score.
        settings: say whose scores, and the threshold.
        out: the run directory, where the journal is.
        scorer: a loaded scorer, in place of the settings' model.

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
            "give a model to score with, or the scores that one has given (model=… or scores=…)"
        )
    scorer = scorer or load_for_scoring(settings.model)
    rule = str(getattr(scorer, "threshold_rule", ""))
    threshold = chosen_threshold(settings.threshold, scorer.threshold, rule)
    made = score_traces(
        scorer,
        list(traces.values()),
        journal=out / JOURNAL_FILE,
        scorer_name=scorer_name(settings.model, scorer),
    )
    who = {"scorer": record_of(scorer)} if is_address(settings.model) else {}
    return Scored(dict(zip(traces, made, strict=True)), [], 0, threshold, who)


def scores_from_files(
    traces: Mapping[str, Trace],
    files: Sequence[Path],
    model: str | None = None,
    *,
    allow_missing: bool = False,
) -> tuple[dict[str, tuple[float, ...]], list[str], int]:
    """Return the scores in files by trace id, the ids without any, and how many rows belong to no trace.

    Raises:
        SettingsError, DataError: a file cannot be used, scores do not fit, or (unless allowed) some are missing.
    """
    found = read_scores(files, model=model)
    rows: dict[str, tuple[float, ...]] = {}
    for identity, trace in traces.items():
        row = found.get(identity)
        if row is not None:
            try:
                rows[identity] = checked_scores(row.scores, len(trace.steps), identity)
            except DataError as error:
                raise error.at(file=row.file, line=row.line) from error
    missing = [identity for identity in traces if identity not in rows]
    if missing and not allow_missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"{len(missing)} of {len(traces)} traces have no scores ({named}); "
            "allow_missing=true (--allow-missing) leaves them out and counts them"
        )
    if not rows:
        raise DataError("none of the scores belongs to a case of the data: do the ids agree?", field="id")
    return rows, missing, len(found) - len(rows)


@dataclass(frozen=True, slots=True)
class Subsets:
    """The traces of data files; a file is a subset, named like the file.

    Attributes:
        traces: by id, in order; where several share a problem's id, ``#1``, ``#2``, … follows it (`distinct_ids`).
        names: subset of each trace, by the trace's id.
        skipped: how many records the reader left out.
    """

    traces: dict[str, Trace]
    names: dict[str, str]
    skipped: int

    def refuse_other(self, setting: str, name: str | None) -> None:
        """Raise SettingsError where a setting names a subset that is not there."""
        known = dict.fromkeys(self.names.values())
        if name is not None and name not in known:
            raise SettingsError(f"{setting}: no subset {name!r}: {', '.join(known)}")


def subset_name(path: Path) -> str:
    """Return what the subset of a data file is called: the file's name, as far as a metric's name may hold it."""
    return re.sub(r"[^A-Za-z0-9_+@-]", "_", path.stem)


def read_subsets(data: Sequence[Path], limit: int | None = None, seed: int = 0) -> Subsets:
    """Return the traces of data files; with a limit at most so many of each, a random sample in the file's order.

    Raises:
        DataError: a file cannot be used, holds no trace, or is named like another.
    """
    subsets: dict[str, list[Trace]] = {}
    skipped = 0
    for path in data:
        name = subset_name(path)
        if name in subsets:
            raise DataError(f"another data file is named {name!r} too: subsets are named by file", file=path)
        result = read_traces_as(path)
        skipped += len(result.skipped)
        traces = result.traces
        if not traces:
            raise DataError("no traces in this file", file=path)
        if limit is not None and limit < len(traces):
            chosen = random.Random(f"{seed} {name}").sample(range(len(traces)), limit)
            traces = [traces[index] for index in sorted(chosen)]
        subsets[name] = traces
    ids = distinct_ids([trace for traces in subsets.values() for trace in traces])
    names = [name for name, traces in subsets.items() for _ in traces]
    flat = (trace for traces in subsets.values() for trace in traces)
    return Subsets(dict(zip(ids, flat, strict=True)), dict(zip(ids, names, strict=True)), skipped)
