"""Where the scores of an evaluation come from: a checkpoint folder, a loaded scorer, or score files.

Contract: every trace gets its checked scores or is refused or, where allowed, left out and counted; nothing is guessed. A
killed run goes on from its journal when it is started again with the same model and traces.

Not here: what the scores are worth (`prmbench.py`, `calibration.py`, `bon.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from sparring.errors import DataError, SettingsError
from sparring.evaluation.commands import load_for_scoring, scorer_name, sidecar_rule
from sparring.evaluation.processbench import Threshold, chosen_threshold
from sparring.evaluation.score_files import checked_scores, read_scores
from sparring.evaluation.scoring import StepScorer, score_traces
from sparring.settings import Settings
from sparring.statistics import RESAMPLES
from sparring.traces.records import Trace


class ScoredSettings(Settings):
    """What every evaluation of step scores asks for."""

    data: list[Path] = Field([])
    """Files of traces, in any format that is known."""
    model: Path | None = None
    """PRM folder to score with."""
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
class Scored:
    """Scores by trace id, ids without any, how many rows belong to no trace, and the threshold with its rule."""

    rows: dict[str, tuple[float, ...]]
    missing: list[str]
    unused: int
    threshold: Threshold


def scored(
    named: Sequence[tuple[str, Trace]],
    settings: ScoredSettings,
    journal: Path,
    scorer: StepScorer | None = None,
) -> Scored:
    """Return the scores of traces, given with their ids, from wherever the settings say.

    Raises:
        SettingsError: neither a model nor scores. DataError: an id twice, scores that do not fit, or missing ones.
        CheckpointError: the model cannot be loaded.
    """
    ids = [identity for identity, _ in named]
    if len(set(ids)) < len(ids):
        twice = next(identity for identity in ids if ids.count(identity) > 1)
        raise DataError(f"id {twice!r} stands twice in the data: scores cannot be matched", field="id")
    if settings.scores:
        return _from_files(named, settings)
    if scorer is None and settings.model is None:
        raise SettingsError(
            "give a model to score with, or the scores that one has given (model=… or scores=…)"
        )
    scorer = scorer or load_for_scoring(settings.model)
    threshold = chosen_threshold(settings.threshold, scorer.threshold, sidecar_rule(scorer))
    rows = score_traces(
        scorer, [trace for _, trace in named], journal=journal, scorer_name=scorer_name(settings.model)
    )
    return Scored(dict(zip(ids, rows, strict=True)), [], 0, threshold)


def _from_files(named: Sequence[tuple[str, Trace]], settings: ScoredSettings) -> Scored:
    found = read_scores(settings.scores, model=settings.scores_model)
    rows: dict[str, tuple[float, ...]] = {}
    for identity, trace in named:
        row = found.get(identity)
        if row is not None:
            try:
                rows[identity] = checked_scores(row.scores, len(trace.steps), identity)
            except DataError as error:
                raise error.at(file=row.file, line=row.line) from error
    missing = [identity for identity, _ in named if identity not in rows]
    if missing and (not settings.allow_missing or not rows):
        raise DataError(
            f"{len(missing)} of {len(named)} traces have no scores ({', '.join(missing[:3])}…); "
            "allow_missing=true leaves them out and counts them"
        )
    threshold = chosen_threshold(settings.threshold, None)
    return Scored(rows, missing, len(found) - len(rows), threshold)
