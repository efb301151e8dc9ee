"""Running a scorer over many traces: progress, and no work lost when the process is killed.

Contract: scores are appended to a journal beside the result after every batch. A journal made by the same
scorer on the same traces is continued, each row going to the trace whose content it names; a journal of another
scorer or other traces is thrown away, and said so; a damaged one is refused. Every row is checked before it is kept.

Not here: models (`models/scorer.py`), and what scores are worth (`processbench.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from sparring.errors import DataError
from sparring.evaluation.score_files import checked_scores
from sparring.fingerprints import records_digest
from sparring.journals import Journal
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
        DataError: the scorer's answer does not fit the traces (a wrong count, a value outside [0, 1]), or a line of the
            journal is damaged.
    """
    console = console or Console(stderr=True)
    header = {"scorer": scorer_name, "traces": traces_digest(traces)}
    keys = [traces_digest([trace]) for trace in traces]
    with Journal(journal, header, lambda record: record["trace"], anew=True) as kept:
        if kept.discarded:
            console.print(
                f"starting anew: {journal.name} belongs to another model or other traces", highlight=False
            )
        rows: dict[Hashable, tuple[float, ...]] = {
            key: checked_scores(record["scores"], len(trace.steps), trace.problem.id)
            for key, trace in zip(keys, traces, strict=True)
            if (record := kept.found.get(key)) is not None
        }
        done = sum(key in rows for key in keys)
        if done:
            console.print(f"continuing: {done} of {len(traces)} traces are scored already", highlight=False)
        with progress_bar(console) as progress:
            task = progress.add_task("scoring", total=len(traces))
            for start in range(0, len(traces), batch):
                part, names = traces[start : start + batch], keys[start : start + batch]
                # A batch of which a row is missing is scored as a whole: a trace's last digits may hang on what is
                # beside it.
                if any(name not in rows for name in names):
                    found = scorer.score(part)
                    if len(found) != len(part):
                        raise DataError(f"the scorer returned {len(found)} rows for {len(part)} traces")
                    for name, trace, row in zip(names, part, found, strict=True):
                        if name not in rows:
                            rows[name] = checked_scores(row, len(trace.steps), trace.problem.id)
                            kept.add({"id": trace.problem.id, "trace": name, "scores": rows[name]})
                progress.advance(task, len(part))
    return [rows[key] for key in keys]


def traces_digest(traces: Sequence[Trace]) -> str:
    """Return a SHA-256 of what a scorer sees: ids, questions and steps, in order."""
    return records_digest([trace.problem.id, trace.problem.question, *trace.steps] for trace in traces)
