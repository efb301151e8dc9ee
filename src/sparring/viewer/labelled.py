"""Scored solutions, by one PRM or several side by side: score files, and the runs of `eval processbench`, `prmbench`,
`calibration` and `compare`.

Contract: such a run keeps ids and scores; questions, steps and labels are read again from the data that its settings name,
or from the files given instead, and taken only where they still fit. Where the data is gone, the worst cases are left,
which the run keeps itself. What cannot be shown is counted in a note. Several sources are laid side by side on the cases
that all of them have; the difference of the first two is measured as `eval compare` does it.

Not here: the numbers (`evaluation/`), other runs (`runs.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SparringError, plural
from sparring.evaluation.compare import compare
from sparring.evaluation.outcome import CASES_FILE, WORST_FILE
from sparring.evaluation.prmbench import read_prmbench
from sparring.evaluation.processbench import make_case
from sparring.evaluation.scored import SubsetTraces, Threshold
from sparring.evaluation.scores import OWN_KEY, checked_scores, read_scores
from sparring.json_files import json_objects
from sparring.report.kinds import Table, tables
from sparring.report.page import Run
from sparring.statistics import RESAMPLES
from sparring.traces.fields import Fields, records_of
from sparring.traces.records import Problem, Trace
from sparring.viewer.data import UNKNOWN, InspectorCase, InspectorData, Prm, known_of

GENERIC = ("prm", "model", "value", "policy", "final")
"""Names of folders that say nothing without the folder that they are in."""


@dataclass(frozen=True, slots=True)
class Source:
    """The scores of one PRM.

    Attributes:
        name: of the PRM.
        place: run or file.
        threshold: with its rule.
        rows: scores by case id.
        kind: of the run; ``scores`` for a file.
        data: files of the cases.
    """

    name: str
    place: Path
    threshold: Threshold
    rows: Mapping[str, Sequence[float]]
    kind: str
    data: Sequence[Path] = ()


@dataclass(slots=True)
class Texts:
    """The cases' traces by id, tags by id, and notes on how they were found."""

    traces: dict[str, Trace] = field(default_factory=dict)
    tags: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


# --- sources ---------------------------------------------------------------------------------------------------------


def sources_of_file(path: Path) -> list[Source]:
    """Return the sources in a score file: one, or one per model where its lines hold several models' scores.

    Raises:
        DataError, SettingsError: it is no score file.
    """
    first = next((record for _, record in json_objects(path)), None)
    if first is None:
        raise DataError("no scores in this file", file=path)
    names = [name for name, value in first.items() if name != "id" and isinstance(value, list)]
    models: list[str | None] = [None] if OWN_KEY in names or len(names) <= 1 else list(names)
    return [
        Source(
            name=model or path.stem,
            place=path,
            threshold=Threshold(0.5, UNKNOWN),
            rows={identity: row.scores for identity, row in read_scores(path, model=model).items()},
            kind="scores",
        )
        for model in models
    ]


def sources_of_run(run: Run, kind: str) -> list[Source]:
    """Return the sources of a run: two for a comparison, else one.

    Raises:
        DataError: a file of the run does not hold what it should.
    """
    settings = Fields(run.settings)
    data = [Path(one) for one in settings.strings("data")] if settings.has("data") else []
    columns, thresholds, names = {"scores": "scores"}, [_threshold(run, kind)], [_scorer(run)]
    if kind == "compare":
        columns = {"a": "scores_a", "b": "scores_b"}
        thresholds = [
            Threshold(one.number("value"), one.string("rule")) for one in settings.children("thresholds")
        ]
        names = [
            str(run.settings.get(f"scores_model_{side}") or _stem(run.settings.get(side), side.upper()))
            for side in columns
        ]
    found: list[dict[str, Sequence[Any]]] = [{} for _ in columns]
    for record in records_of(run.folder / CASES_FILE):
        for rows, column in zip(found, columns.values(), strict=True):
            rows[record.string("id")] = record.labels(column, booleans=False, unknown=False)
    return [
        Source(name, run.folder, threshold, rows, kind, data)
        for name, threshold, rows in zip(names, thresholds, found, strict=True)
    ]


def _threshold(run: Run, kind: str) -> Threshold:
    found = run.metrics.get(f"{kind}.threshold")
    if found is None or found.value is None:
        return Threshold(0.5, UNKNOWN)
    return Threshold(found.value, str(run.settings.get("threshold_rule") or ""))


def _scorer(run: Run) -> str:
    """Return the name of the PRM that a run measures."""
    model, scores = run.settings.get("model"), run.settings.get("scores")
    if isinstance(model, str):
        return model_name(model)
    return str(run.settings.get("scores_model") or _stem(scores, run.folder.name))


def model_name(source: str) -> str:
    """Return a PRM's short name: that of its folder, with the one above where it says nothing; an address as it is."""
    if "://" in source:
        return source
    path = Path(source)
    return f"{path.parent.name}/{path.name}".lstrip("/") if path.name in GENERIC else path.name


def _stem(files: Any, otherwise: str) -> str:
    first = files[0] if isinstance(files, list) and files else files
    return Path(first).stem if isinstance(first, str) else otherwise


# --- texts -----------------------------------------------------------------------------------------------------------


def texts_of(source: Source, run: Run | None, data: Sequence[Path]) -> Texts:
    """Return questions, steps and labels of a source's cases.

    Args:
        run: its run, which holds at least its worst cases.
        data: files of the cases, instead of those that the run's settings name.

    Raises:
        SparringError: a score file without data. DataError: data that was given cannot be used.
    """
    files = list(data or source.data)
    if not files:
        raise SparringError(f"{source.place}: a score file holds no texts: name the traces with --data")
    try:
        found = _read(source.kind, files, run)
    except (DataError, OSError) as error:
        if data or run is None:
            raise
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        return _worst(run, f"the data cannot be read ({why})")
    if not any(identity in found.traces for identity in source.rows) and run is not None:
        return _worst(run, "none of the cases is in the data any more")
    return found


def _read(kind: str, files: list[Path], run: Run | None) -> Texts:
    if kind == "prmbench":
        traces, _, _ = read_prmbench(files)
        return Texts(
            traces, {name: {"error kind": [str(one.meta["classification"])]} for name, one in traces.items()}
        )
    limit = run.settings.get("limit") if run is not None and kind == "processbench" else None
    seed = run.settings.get("seed", 0) if run is not None else 0
    found = Texts()
    for identity, subset, trace in SubsetTraces(
        files, limit if isinstance(limit, int) else None, seed
    ).subsets():
        found.traces[identity], found.tags[identity] = trace, {"subset": [subset]}
    return found


def _worst(run: Run, why: str) -> Texts:
    """Return the texts of the worst cases, which a run keeps itself."""
    found = Texts()
    for record in records_of(run.folder / WORST_FILE):
        labels = record.labels("labels", booleans=False, unknown=True) if record.has("labels") else None
        identity = record.text("id")
        problem = Problem(identity, record.text("problem"))
        found.traces[identity] = Trace(problem, record.texts("steps"), labels)
    found.notes.append(
        f"{why}: only the {len(found.traces)} worst cases are shown; --data names files to read"
    )
    return found


# --- side by side ----------------------------------------------------------------------------------------------------


def labelled_data(sources: Sequence[Source], texts: Texts, run: Run | None) -> InspectorData:
    """Return the page of one PRM, or of several on the cases that all of them have.

    Args:
        sources: at least one.
        run: where there is only one; its tables are shown.

    Raises:
        DataError: no case has both texts and scores of all.
    """
    left_out: Counter[str] = Counter()
    shared: dict[str, Trace] = {}
    for identity in dict.fromkeys(identity for source in sources for identity in source.rows):
        trace = texts.traces.get(identity)
        if not all(identity in source.rows for source in sources):
            left_out["without scores of every PRM"] += 1
        elif trace is None:
            left_out["without a text in the data"] += 1
        elif any(len(source.rows[identity]) != len(trace.steps) for source in sources):
            left_out["with another number of steps in the data"] += 1
        else:
            for source in sources:
                checked_scores(source.rows[identity], len(trace.steps), identity)
            shared[identity] = trace
    if not shared:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(f"no case can be shown: {reasons or 'there is none'}", field="id")
    cases = [
        InspectorCase(
            identity,
            trace.problem.question,
            [known_of(trace, [source.rows[identity] for source in sources])],
            tags={
                **texts.tags.get(identity, {}),
                **({"written by": [trace.source]} if trace.source else {}),
            },
        )
        for identity, trace in shared.items()
    ]
    notes = [
        *texts.notes,
        *(f"{plural(count, 'case')} {reason}: left out" for reason, count in left_out.items()),
    ]
    names = distinct([source.name for source in sources], [_place(source.place) for source in sources])
    shown = []
    if len(sources) > 1:
        shown = list(tables("compare", _compared(sources[:2], shared, texts)))
        notes = [*(_headline(shown[0]) if shown else ()), *notes]
    elif run is not None:
        kind = sources[0].kind
        own = {name.partition(".")[2]: metric for name, metric in run.metrics.items()}
        shown = list(tables(kind, own))
    return InspectorData(
        title=" against ".join(names) if len(names) > 1 else names[0],
        source=", ".join(dict.fromkeys(str(source.place) for source in sources)),
        prms=[
            Prm(name, source.threshold.value, source.threshold.rule)
            for name, source in zip(names, sources, strict=True)
        ],
        cases=cases,
        tables=shown,
        notes=notes,
    )


def _compared(sources: Sequence[Source], traces: Mapping[str, Trace], texts: Texts) -> Mapping[str, Any]:
    """Return the metrics of `eval compare` on the cases with a labelled first error; none where there is no such case."""
    labelled = {identity: trace for identity, trace in traces.items() if trace.first_error is not None}
    if not labelled:
        return {}
    cases = [
        [
            make_case(identity, trace, source.rows[identity], _subset(texts.tags.get(identity, {})))
            for identity, trace in labelled.items()
        ]
        for source in sources
    ]
    return compare(cases[0], cases[1], [source.threshold for source in sources], RESAMPLES, 0)


def _headline(table: Table) -> list[str]:
    """Return the F1 of both and their difference in a line: of the mean over subsets, else of the only one."""
    rows = {row[0]: row[1:] for row in table.rows if row[0].endswith("F1")}
    name = next((one for one in rows if one.startswith("mean")), next(iter(rows), None))
    if name is None or len(rows[name]) != 3:
        return []
    a, b, difference = rows[name]
    return [f"{name}: A {a}, B {b}, A − B {difference} (95 % intervals, the difference paired over cases)"]


def _subset(tags: Mapping[str, Sequence[str]]) -> str:
    return next((values[0] for values in tags.values() if values), "cases")


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if path.is_file() else path.name


def distinct(names: Sequence[str], places: Sequence[str]) -> list[str]:
    """Return names of which no two are equal: with the place behind it, else with a number."""
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for name, place in zip(names, places, strict=True)]
    times, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if times[name] == 1 else f"{name} {seen[name]}")
    return result
