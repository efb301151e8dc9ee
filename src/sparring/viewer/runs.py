"""Every kind of run and how the step inspector reads it: a table from what a folder holds to its reader.

Contract: `inspector_data` is a function of the runs' files (and of the data that they name). An unknown place is refused
in one line that says what is known. Scores of the same cases (with an audit of the oracles on them), attacks, and training
runs can be laid side by side; others come alone.

Not here: the readers (one file per family of runs), the page (`page.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SparringError, plural
from sparring.evaluation.scored import Threshold
from sparring.evaluation.scores import holds_scores
from sparring.labels.job import TRACES_FILE
from sparring.report.kinds import Table
from sparring.report.numbers import with_interval
from sparring.report.page import Run, flat, read_run
from sparring.runs import METRICS_FILE
from sparring.traces.readers import stream_traces
from sparring.traces.records import Trace
from sparring.traces.sources import record_objects
from sparring.viewer.data import UNKNOWN, InspectorData
from sparring.viewer.judged import attack_data, demo_data, oracle_data, traces_data, with_verdicts
from sparring.viewer.labelled import labelled_data, sources_of_file, sources_of_run, texts_of
from sparring.viewer.searched import bon_data, search_data
from sparring.viewer.trained import LOGS, training_data

SCORED = ("processbench", "prmbench", "calibration", "compare", "scores")
"""Kinds of which several can be laid side by side."""
MOST_FACTS = 400
MOST_TRACES = 200_000
KNOWN = "known are what demo, attack, label, search, eval … and train … write, and files of scores or traces"


def kind_of(place: Path) -> str:
    """Return the kind of a run directory or score file: the first word of its metrics' names, ``training`` or ``scores``.

    Raises:
        SparringError: it is nothing that is known.
    """
    if place.is_file():
        return _kind_of_file(place)
    if not place.exists():
        raise SparringError(f"{place} does not exist; {KNOWN}")
    if (place / METRICS_FILE).is_file():
        run = read_run(place)
        names = {name.partition(".")[0] for name in run.metrics}
        if run.kind or names == {"label"}:
            return run.kind or "label"
        if names & {"training", "validation", "policy"} or (place / "log.jsonl").is_file():
            return "training"
    elif any((place / name).is_file() for name in LOGS):
        return "training"
    else:
        raise SparringError(f"{place} holds no {METRICS_FILE}: not finished, or no run directory; {KNOWN}")
    raise SparringError(f"{place} is no run directory; {KNOWN}")


def _kind_of_file(file: Path) -> str:
    """Return ``scores`` for a file whose records hold lists of numbers beside their ids, else ``traces``."""
    first: dict[str, Any] = next((record for _, record in record_objects(file)), {})
    return "scores" if holds_scores(first) else "traces"


def _all_of(file: Path) -> list[Trace]:
    """Return the traces of a file.

    Raises:
        DataError: they cannot be read, or are more than `MOST_TRACES`.
    """
    traces = list(islice(stream_traces(file), MOST_TRACES + 1))
    if len(traces) > MOST_TRACES:
        raise DataError(
            f"more than {MOST_TRACES:,} traces: make a smaller file of those to look at", file=file
        )
    return traces


def inspector_data(
    runs: Sequence[Path],
    *,
    data: Sequence[Path] = (),
    thresholds: Sequence[float] = (),
    limit: int = 10_000,
) -> InspectorData:
    """Return the page of a run, or of several side by side.

    Args:
        data: files of traces to read questions and steps from; by default those that the runs' settings name.
        thresholds: of the PRMs in order, or one for all; by default those of the runs.

    Raises:
        SparringError: a place is no run, or the runs do not go together.
        DataError: a file does not hold what it should.
    """
    kinds = [kind_of(run) for run in runs]
    for option, name, fitting in ((data, "--data", (*SCORED, "bon")), (thresholds, "--threshold", SCORED)):
        if option and not any(kind in fitting for kind in kinds):
            raise SparringError(
                f"{name} is not for {', '.join(dict.fromkeys(kinds))}: such a run says itself"
            )
    if all(kind == "training" for kind in kinds):
        shown = training_data(runs)
    elif all(kind in SCORED for kind in kinds):
        shown = _scored(runs, kinds, data, thresholds)
    elif kinds.count("oracle") == 1 and all(kind in (*SCORED, "oracle") for kind in kinds) and len(runs) > 1:
        audit = kinds.index("oracle")
        others, of = [*runs[:audit], *runs[audit + 1 :]], [*kinds[:audit], *kinds[audit + 1 :]]
        shown = with_verdicts(_scored(others, of, data, thresholds), read_run(runs[audit]))
    elif all(kind == "attack" for kind in kinds):
        shown = attack_data([read_run(run) for run in runs])
    elif len(runs) == 1 and kinds == ["traces"]:
        shown = traces_data(_all_of(runs[0]), runs[0].name, runs[0])
    elif len(runs) > 1:
        named = ", ".join(f"{run} ({kind})" for run, kind in zip(runs, kinds, strict=True))
        raise SparringError(
            f"only scores of the same cases (and one audit), attacks, or training runs go side by side: {named}"
        )
    else:
        shown = _alone(read_run(runs[0]), kinds[0], data)
    if len(shown.cases) > limit:
        note = f"{plural(len(shown.cases) - limit, 'case')} past the limit of {limit} left out"
        shown = replace(shown, cases=shown.cases[:limit], notes=[*shown.notes, note])
    unknown = [prm.name for prm in shown.prms if prm.rule == UNKNOWN]
    if unknown:
        note = f"The threshold of {' and '.join(unknown)} is not known here: the page begins at 0.5"
        note += "; --threshold sets it" if any(kind in SCORED for kind in kinds) else ""
        shown = replace(shown, notes=[*shown.notes, note])
    if len(runs) == 1 and (runs[0] / METRICS_FILE).is_file():
        shown = with_surroundings(shown, read_run(runs[0]))
    return shown


def _scored(
    runs: Sequence[Path], kinds: Sequence[str], data: Sequence[Path], thresholds: Sequence[float]
) -> InspectorData:
    """Return the page of scores: of one or several runs or score files."""
    found = [None if kind == "scores" else read_run(run) for run, kind in zip(runs, kinds, strict=True)]
    sources = [
        source
        for place, kind, run in zip(runs, kinds, found, strict=True)
        for source in (sources_of_file(place) if run is None else sources_of_run(run, kind))
    ]
    if thresholds:
        if len(thresholds) not in (1, len(sources)):
            raise SparringError(
                f"{plural(len(thresholds), 'threshold')} for {len(sources)} PRMs: give one for all, or one for each"
            )
        each = list(thresholds) * (len(sources) if len(thresholds) == 1 else 1)
        sources = [
            replace(source, threshold=Threshold(value, f"fixed {value:g}"))
            for source, value in zip(sources, each, strict=True)
        ]
    # Texts come from a run that names its data, where there is one.
    place = next((i for i, run in enumerate(found) if run is not None and run.settings.get("data")), 0)
    first = next(source for source in sources if source.place == runs[place])
    texts = texts_of(first, found[place], data)
    return labelled_data(sources, texts, found[0] if len(runs) == 1 else None)


def _alone(run: Run, kind: str, data: Sequence[Path]) -> InspectorData:
    """Return the page of a run of a kind that comes alone."""
    if kind == "label":
        return traces_data(_all_of(run.folder / TRACES_FILE), "Labels", run.folder)
    if kind == "bon":
        return bon_data(run, data)
    reader = {"oracle": oracle_data, "search": search_data, "demo": demo_data}[kind]
    return reader(run)


def with_surroundings(shown: InspectorData, run: Run) -> InspectorData:
    """Return the page with all numbers of a run, its settings and its surroundings."""
    rows: list[tuple[str, ...]] = [
        (name, with_interval(metric), str(metric.n or "–"), metric.unit or "–")
        for name, metric in run.metrics.items()
    ]
    every = Table("All numbers", ("metric", "value", "n", "unit"), rows)
    facts = [
        *flat(run.settings),
        *flat({name: value for name, value in run.context.items() if value is not None}),
    ]
    return replace(shown, tables=[*shown.tables, every], facts=facts[:MOST_FACTS])
