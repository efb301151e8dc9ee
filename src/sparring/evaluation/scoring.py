"""Running a scorer over many traces: progress, and no work lost when the process is killed.

Contract: scores are appended to a journal beside the result after every batch. A journal made by the same
scorer on the same traces is continued; any other is thrown away, and said so. Every row is checked before
it is kept.

Not here: models (`models/scorer.py`), and what scores are worth (`processbench.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from sparring.errors import DataError
from sparring.evaluation.score_files import checked_scores
from sparring.fingerprints import records_digest
from sparring.runs import JsonlLog
from sparring.terminal import progress_bar
from sparring.traces.records import Trace


class StepScorer(Protocol):
    """What evaluation needs of a PRM; `sparring.models.scorer.load_scorer` returns one."""

    @property
    def threshold(self) -> float | None:
        """The score below which a step counts as wrong, where the checkpoint says so."""
        ...

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        """Return, per trace, one number in [0, 1] per step."""
        ...


def score_traces(
    scorer: StepScorer,
    traces: Sequence[Trace],
    *,
    journal: Path,
    scorer_name: str,
    batch: int = 64,
    console: Console | None = None,
) -> list[tuple[float, ...]]:
    """Return the step scores of each trace, continuing from `journal` where it fits; the caller removes it.

    Args:
        scorer: the model.
        traces: what to score, in this order.
        journal: where finished rows are kept until the result is written.
        scorer_name: identifies the scorer, so that a journal of another one is not continued.
        batch: traces between two journal entries; the scorer makes its own batches within.
        console: where progress is shown (stderr by default).

    Raises:
        DataError: the scorer's answer does not fit the traces (a wrong count, a value outside [0, 1]).
    """
    console = console or Console(stderr=True)
    header = {"scorer": scorer_name, "traces": traces_digest(traces)}
    rows: list[tuple[float, ...]] = []
    kept = _continued(journal, header, traces)
    if kept is not None:
        rows = kept
        console.print(f"continuing: {len(rows)} of {len(traces)} traces are scored already", highlight=False)
    elif journal.exists():
        console.print(
            f"starting anew: {journal.name} belongs to another model or other traces", highlight=False
        )
        journal.unlink()
    with JsonlLog(journal) as log:
        if kept is None:
            log.append(header)
        with progress_bar(console) as progress:
            task = progress.add_task("scoring", total=len(traces), completed=len(rows))
            for start in range(len(rows), len(traces), batch):
                part = traces[start : start + batch]
                found = scorer.score(part)
                if len(found) != len(part):
                    raise DataError(f"the scorer returned {len(found)} rows for {len(part)} traces")
                for trace, row in zip(part, found, strict=True):
                    rows.append(checked_scores(row, len(trace.steps), trace.problem.id))
                    log.append({"id": trace.problem.id, "scores": rows[-1]})
                progress.advance(task, len(part))
    return rows


def traces_digest(traces: Sequence[Trace]) -> str:
    """Return a SHA-256 of what a scorer sees: ids, questions and steps, in order."""
    return records_digest([trace.problem.id, trace.problem.question, *trace.steps] for trace in traces)


def _continued(
    journal: Path, header: dict[str, Any], traces: Sequence[Trace]
) -> list[tuple[float, ...]] | None:
    """Return the rows of a journal that fits, or None."""
    if not journal.exists():
        return None
    with JsonlLog(journal) as log:
        try:
            records = list(log.records())
            if not records or records[0] != header or len(records) - 1 > len(traces):
                return None
            return [
                checked_scores(record["scores"], len(trace.steps), trace.problem.id)
                for record, trace in zip(records[1:], traces, strict=False)
            ]
        except (DataError, KeyError, TypeError):
            return None
