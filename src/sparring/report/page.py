"""The page of a run: its numbers with intervals, its plots, and its worst disagreements step by step (Jinja templates).

    sparring report runs/processbench

Contract: a function of the files in a run directory alone, so it can be made again at any time; the same files give the
same bytes. The page is one file that loads nothing, runs no script, and says so in its content security policy. All text
that is not `Html` is escaped on its way into a template, and invisible characters are shown. The size of a page is bounded:
what is left out is counted on it.

Not here: measuring and choosing the worst (`evaluation/`), the tables of a kind of evaluation (`kinds.py`), what is shown
of a case (`cases.py`), what only the demo's page has (`demo.py`).
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from sparring.errors import SparringError, plural
from sparring.files import atomic_write_text
from sparring.json_files import read_json_object
from sparring.report.cases import Case, shortened, words_of
from sparring.report.formulas import visible
from sparring.report.kinds import KINDS, tables
from sparring.report.numbers import percent, plain
from sparring.runs import METRICS_FILE, Metric, read_metrics
from sparring.traces.fields import Fields, records_of

REPORT_FILE = "report.html"
DEMO = "demo"
MOST_CASES, MOST_ROWS, MOST_METRICS, LARGEST_PLOT = 20, 60, 600, 500_000  # the last in bytes
SCORE_BANDS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: metrics by name (null ones are left out), settings and surroundings.

    `total` is how many cases its worst were taken from, where it says so; `extra` what its command added.
    """

    folder: Path
    metrics: Mapping[str, Metric]
    settings: Mapping[str, Any]
    context: Mapping[str, Any]
    total: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of evaluation (`KINDS`) or ``demo``; empty for a run of another command."""
        names = {name.partition(".")[0] for name in self.metrics}
        if "best_of_n" in names:
            return DEMO
        return names.pop() if len(names) == 1 and names <= KINDS.keys() else ""


def write_report(folder: Path) -> Path:
    """Write `report.html` into the directory of a finished evaluation or `sparring demo` and return its path.

    Raises:
        SparringError: there is no `metrics.json`, it is of another command, or the page cannot be written.
        DataError: a file does not hold what it should; names file, line and field.
    """
    page = page_of(read_run(folder))
    if page is None:
        raise SparringError(
            f"{folder / METRICS_FILE}: no evaluation's numbers; reports are made of {', '.join(KINDS)} and demo"
        )
    path = folder / REPORT_FILE
    atomic_write_text(path, page)
    return path


def page_of(run: Run) -> str | None:
    """Return the page of an evaluation or a demo, None for another run."""
    if not run.kind:
        return None
    if run.kind == DEMO:
        from sparring.report.demo import demo_page  # its plots need matplotlib

        return demo_page(run)
    kind = KINDS[run.kind]
    own = {key.partition(".")[2]: found for key, found in run.metrics.items()}
    counts = [
        f"{key.replace('_', ' ')} {plain(found.value)}"
        for key, found in own.items()
        if "." not in key and found.low is None
    ]
    rule = run.settings.get("threshold_rule")
    cases = read_cases(run.folder / kind.file, kind.case, run.settings, MOST_CASES, ordered=kind.ordered)
    return render(
        "page.html",
        run,
        kind=kind,
        name=run.kind,
        counts=[*counts, f"threshold rule: {rule}"] if isinstance(rule, str) else counts,
        tables=list(tables(run.kind, own)),
        plots={file: (said, embedded(run.folder / file)) for file, said in kind.plots.items()},
        cases=cases,
        total=max(run.total, cases[1]) if cases else 0,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def read_run(folder: Path) -> Run:
    """Read the `metrics.json` of a run directory; raises like `write_report`."""
    path = folder / METRICS_FILE
    if not path.is_file():
        raise SparringError(
            f"{path} is missing, so there is nothing to report: give a finished run's directory"
        )
    metrics = {name: metric for name, metric in read_metrics(path).items() if metric.value is not None}
    written = Fields(read_json_object(path, loose=True), file=path)
    extra = written.mapping("extra")
    total = Fields(extra, file=path).integer("worst_of") if extra.get("worst_of") is not None else 0
    settings = written.mapping("settings")
    context = {name: written.values.get(name) for name in ("seed", "commit", "machine", "versions")}
    return Run(folder, metrics, settings, context, total, extra)


def read_cases(
    path: Path,
    case: Callable[[Fields, Mapping[str, Any]], Case],
    settings: Mapping[str, Any],
    most: int,
    *,
    ordered: bool = False,
) -> tuple[list[Case], int] | None:
    """Return at most so many cases of a file, and how many there are; ``None`` without a file.

    They are the first ones of an ordered file, and spaced evenly over another, beginning with its first.
    """
    if not path.is_file():
        return None
    records = list(records_of(path))
    total = len(records)
    if not ordered and total > most:
        records = [records[index * total // most] for index in range(most)]
    return [case(record, settings) for record in records[:most]], total


def embedded(svg: Path) -> str | None:
    """Return an SVG in base64 for an image, which runs and loads nothing; `None` where it is absent or too large."""
    if not svg.is_file() or svg.stat().st_size > LARGEST_PLOT:
        return None
    return base64.b64encode(svg.read_bytes()).decode("ascii")


# --- the template ----------------------------------------------------------------------------------------------------


def render(template: str, run: Run, **content: Any) -> str:
    """Return a page made of a run and what the template needs beside it."""
    return _templates().get_template(template).render(run=run, **content)


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparring.report"),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": words_of, "plain": plain, "percent": percent, "flat": flat, "band": band}
    environment.filters["plural"] = plural
    environment.globals |= {"most_rows": MOST_ROWS, "most_metrics": MOST_METRICS, "bands": SCORE_BANDS}
    return environment


def _visible(value: Any) -> Any:
    """Show the invisible characters of a text that enters a page."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def band(score: float) -> int:
    """Return the colour band of a score in [0, 1]: 0 (surely wrong) to `SCORE_BANDS` − 1 (surely correct)."""
    return min(int(score * SCORE_BANDS), SCORE_BANDS - 1)


def flat(settings: Mapping[str, Any], stem: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value as text) for every value of nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{stem}{name}.")
        else:
            written = "not given" if value is None else value if isinstance(value, str) else json.dumps(value)
            yield f"{stem}{name}", shortened(written)
