"""The page of one evaluation: its numbers with intervals, its plots, and its worst disagreements step by step.

    sparring report runs/processbench

Contract: a function of the files in a run directory alone (`metrics.json`, the file of the worst cases, SVG plots), so it
can be made again at any time; the same files give the same bytes. The page loads nothing and runs no script, and its size
is bounded: what is left out is counted on the page. Not here: measuring, choosing the worst (`evaluation/`), how a case is
shown (`disagreements.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sparring.errors import DataError, SparringError
from sparring.files import atomic_write_text
from sparring.report.kinds import KINDS, Kind, Table, tables
from sparring.report.page import (
    Html,
    details,
    document,
    element,
    evenly,
    figure,
    flat,
    missing,
    paragraph,
    picture,
    score_legend,
    section,
    table,
)
from sparring.report.run_files import Metric, Record, count, mapping, metrics_of, read_json, read_lines
from sparring.report.wording import plain

REPORT_FILE, METRICS_FILE = "report.html", "metrics.json"
UNITS = "Shares are in percent; brackets hold 95\u202f% intervals over independent cases, a t behind them says Student's."
MOST_CASES, MOST_ROWS, MOST_METRICS, LARGEST_PLOT = 20, 60, 600, 500_000  # the last in bytes


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """The files of one evaluation: its kind, numbers by name (null ones are left out), their context, worst cases, plots.

    `total` is how many cases the worst were taken from; it is at least their number.
    """

    name: str
    metrics: Mapping[str, Metric]
    settings: Mapping[str, Any]
    context: Mapping[str, Any]
    cases: Sequence[Html] | None
    total: int
    plots: Sequence[tuple[str, bytes | None]]

    @property
    def kind(self) -> Kind:
        """What its page shows."""
        return KINDS[self.name]


def write_evaluation_report(run_directory: Path) -> Path:
    """Write `report.html` into the run directory of an evaluation and return its path.

    Raises:
        SparringError: there is no `metrics.json`, it is not an evaluation's, or the page cannot be written.
        DataError: a file does not hold what it should; names file, line and field.
    """
    path = run_directory / REPORT_FILE
    page = evaluation_page(read_evaluation(run_directory))
    atomic_write_text(path, page)
    return path


def show_evaluation_report(run_directory: Path, console: Console) -> None:
    """Write the report of an evaluation that has just ended, and say where it is."""
    path = write_evaluation_report(run_directory)
    console.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)


def write_report(run_directory: Path) -> Path:
    """Write the report of a finished run of `sparring demo` or of an evaluation.

    Raises:
        SparringError, DataError: see `write_evaluation_report`.
    """
    if "best_of_n" in prefixes(read_run(run_directory)):
        from sparring.report.demo import write_demo_report  # its plots need matplotlib

        return write_demo_report(run_directory)
    return write_evaluation_report(run_directory)


# --- reading ---


def read_run(run_directory: Path) -> Record:
    """Return what `metrics.json` holds."""
    path = run_directory / METRICS_FILE
    if not path.is_file():
        raise SparringError(
            f"{path} is missing, so there is nothing to report: give a finished run's directory"
        )
    return read_json(path)


def prefixes(written: Record) -> set[str]:
    """Return the first words of the metrics' names."""
    return {name.partition(".")[0] for name in mapping(written, "metrics")}


def read_evaluation(run_directory: Path) -> EvaluationRun:
    """Read the run directory of an evaluation.

    Raises:
        SparringError, DataError: see `write_evaluation_report`.
    """
    path = run_directory / METRICS_FILE
    written = read_run(run_directory)
    try:
        names = prefixes(written)
        if len(names) != 1 or not names <= KINDS.keys():
            raise SparringError(
                f"{path}: no evaluation's numbers; reports are made of {', '.join(KINDS)} and demo"
            )
        [name] = names
        measured = metrics_of(written)
        settings, extra = (mapping(written, key, required=False) for key in ("settings", "extra"))
        worst_of = count(extra, "worst_of")
    except DataError as error:
        raise error.at(file=path) from None
    kind = KINDS[name]
    records = read_lines(run_directory / kind.file, lambda record: record)
    total = max(worst_of or 0, len(records or ()))
    cases = None
    if records is not None:
        cases = [shown_case(kind, run_directory, *one, settings) for one in chosen(kind, records)]
    return EvaluationRun(
        name,
        {key: entry for key, entry in measured.items() if entry is not None},
        settings,
        {key: written.get(key) for key in ("seed", "commit", "machine", "versions")},
        cases,
        total,
        [(file, plot(run_directory / file)) for file in kind.plots],
    )


def chosen(kind: Kind, records: Sequence[Record]) -> list[tuple[int, Record]]:
    """Return (line, record) of those that are shown: the first, or evenly spaced ones where the file has no order."""
    numbered = list(enumerate(records, start=1))
    return numbered[:MOST_CASES] if kind.ordered else evenly(numbered, MOST_CASES)


def shown_case(
    kind: Kind, run_directory: Path, line: int, record: Record, settings: Mapping[str, Any]
) -> Html:
    """Return one case, or raise DataError with its place."""
    try:
        return kind.case(record, settings)
    except DataError as error:
        raise error.at(file=run_directory / kind.file, line=line) from None


def plot(path: Path) -> bytes | None:
    """Return an SVG, `None` where there is none or it is too large for a page."""
    return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST_PLOT else None


# --- the page ---


def evaluation_page(run: EvaluationRun) -> str:
    """Return the whole page."""
    sections = [section("results", "Results", *results(run))]
    contents = [("results", "Results")]
    if run.plots:
        panels = [plot_panel(run, file, content) for file, content in run.plots]
        sections.append(section("plots", "Plots", *panels))
        contents.append(("plots", "Plots"))
    sections.append(section("worst", "Worst disagreements", *disagreements(run)))
    sections.append(section("run", "The run", *about(run)))
    contents += [("worst", "Worst disagreements"), ("run", "The run")]
    return document(f"{run.kind.title} · Sparring", header(run), contents, sections)


def header(run: EvaluationRun) -> Html:
    """Return title, where the numbers come from, and the counts behind them."""
    counts = [
        f"{name.replace('_', ' ')} {plain(found.value)}"
        for name, found in named(run).items()
        if "." not in name and found.low is None
    ]
    rule = run.settings.get("threshold_rule")
    counts += [f"threshold rule: {rule}"] if isinstance(rule, str) else []
    return element(
        "header",
        element("h1", run.kind.title),
        paragraph(f"Report of a Sparring evaluation ({run.name})", class_="byline"),
        *([paragraph(" · ".join(counts))] if counts else []),
    )


def named(run: EvaluationRun) -> dict[str, Metric]:
    """Return the metrics without the evaluation's name in front."""
    return {name.partition(".")[2]: found for name, found in run.metrics.items()}


def results(run: EvaluationRun) -> list[Html]:
    """Return the tables."""
    made = [part for one in tables(run.name, named(run)) for part in shown_table(one)]
    return [paragraph(UNITS, class_="small"), *made] if made else [missing("numbers", METRICS_FILE)]


def shown_table(found: Table) -> list[Html]:
    """Return the table and what is left out of it."""
    made = [table(found.title, found.headings, found.rows[:MOST_ROWS])]
    if (more := len(found.rows) - MOST_ROWS) > 0:
        made.append(paragraph(f"{more} more rows are in {METRICS_FILE}.", class_="small"))
    return made


def plot_panel(run: EvaluationRun, file: str, content: bytes | None) -> Html:
    """Return a plot, or the note that there is none."""
    if content is None:
        return missing("the plot (or it is too large for a page)", file)
    said = run.kind.plots[file]
    return figure(said, [picture(content, said)])


def disagreements(run: EvaluationRun) -> list[Html]:
    """Return the worst cases, and how many more there are."""
    if run.cases is None:
        return [missing("the worst cases", run.kind.file)]
    if not run.cases:
        return [paragraph(run.kind.worst), paragraph("There are none.")]
    more = run.total - len(run.cases)
    counted = f"Shown: {len(run.cases)} of {run.total} cases" + (f"; {more} are left out." if more else ".")
    return [
        paragraph(run.kind.worst, " ", counted),
        *([score_legend()] if run.kind.scored else []),
        *run.cases,
    ]


def about(run: EvaluationRun) -> list[Html]:
    """Return settings, surroundings, and all numbers."""
    everything = [
        (
            name,
            *(plain(one) for one in (found.value, found.low, found.high)),
            found.interval or "–",
            plain(found.n),
            found.unit or "–",
        )
        for name, found in list(run.metrics.items())[:MOST_METRICS]
    ]
    more = len(run.metrics) - len(everything)
    surroundings = [row for name, found in run.context.items() for row in flat({name: found})]
    return [
        details(
            f"Settings ({len(run.settings)})",
            table("Settings", ["setting", "value"], flat(run.settings), class_="long"),
        ),
        details("Machine and versions", table("The run", ["what", "value"], surroundings, class_="long")),
        details(
            f"All numbers ({len(run.metrics)})",
            table(
                "Metrics with 95\u202f% intervals",
                ["metric", "value", "low", "high", "interval", "n", "unit"],
                everything,
            ),
            *([paragraph(f"{more} more are in {METRICS_FILE}.", class_="small")] if more else []),
        ),
    ]
