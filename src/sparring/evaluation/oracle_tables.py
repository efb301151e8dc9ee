"""Tables of the audit of oracles: one set of rows, for the terminal and as Markdown.

Contract: text from data is shown as text. Not here: numbers (`oracle_audit.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from sparring.evaluation.oracle_audit import AGAINST, MEASURES, PANEL, REFERENCE, Judged
from sparring.evaluation.tables import plain
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.runs import Metric
from sparring.terminal import results_table

Rows = list[tuple[str, ...]]  # the first row holds the headings
MAX_SHOWN = 300  # characters of a step in the list of false alarms


def cell(metric: Metric | None) -> str:
    """Write a share in percent with its interval, a dash where there is none."""
    return "–" if metric is None else metric.text(100, ".2f")


def label_rows(metrics: Mapping[str, Metric]) -> Rows:
    """Return a row per group and judge for everything but perturbations."""
    rows: Rows = [
        ("set", "judge", "correct", "false alarms", "confirmed", "errors", "recall", "undecided on errors")
    ]
    for group, judge in _pairs(metrics):
        if group.split(".")[1:2] and group.split(".")[1] in PERTURBATIONS:
            continue
        found = {measure: metrics.get(f"{group}.{judge}.{measure}") for measure in _MEASURES}
        correct, wrong = found["false_alarm"], found["recall"]
        if correct is None and wrong is None:
            continue
        rows.append(
            (group, judge, _n(correct), cell(correct), cell(found["confirmed"]), _n(wrong), cell(wrong),
             cell(found["undecided_on_errors"]))
        )  # fmt: skip
    return rows


def control_rows(metrics: Mapping[str, Metric]) -> Rows:
    """Return a row per group and judge for needless steps."""
    rows: Rows = [("set", "judge", "needless steps", "called wrong", "called correct")]
    for group, judge in _pairs(metrics):
        found = metrics.get(f"{group}.{judge}.needless_wrong")
        if found is not None:
            correct = metrics.get(f"{group}.{judge}.needless_correct")
            rows.append((group, judge, _n(found), cell(found), cell(correct)))
    return rows


def perturbation_rows(metrics: Mapping[str, Metric]) -> Rows:
    """Return a row per file, kind and style: how many were made, and the share that is found."""
    rows: Rows = [
        ("set", "style", "kind", "computable", "made", "panel", "panel, original known", "called correct by it",
         "reference alone")
    ]  # fmt: skip
    groups = [group.split(".") for group in dict.fromkeys(group for group, _ in _pairs(metrics))]
    made = [(name, rest[1], rest[0]) for name, *rest in groups if rest and rest[0] in PERTURBATIONS]
    order = list(PERTURBATIONS)
    for name, style, kind in sorted(made, key=lambda row: (row[0], row[1] != "text", order.index(row[2]))):
        group = f"{name}.{kind}.{style}"
        found = metrics.get(f"{group}.{AGAINST}.recall")
        rows.append(
            (name, style, kind, "yes" if style in PERTURBATIONS[kind].computable else "no",
             _n(found), cell(metrics.get(f"{group}.{PANEL}.recall")), cell(found),
             cell(metrics.get(f"{group}.{AGAINST}.missed")), cell(metrics.get(f"{group}.{REFERENCE}.recall")))
        )  # fmt: skip
    return rows


def false_alarm_rows(found: Sequence[Judged]) -> Rows:
    """Return a row per correct step that is called wrong: by whom, and the first one's reason."""
    rows: Rows = [("set", "step", "called wrong by", "reason", "detail", "text")]
    for one in found:
        case, verdict = one.case, next(iter(one.verdicts.values()))
        judges = ", ".join(one.verdicts)
        shown = case.step if len(case.step) <= MAX_SHOWN else case.step[: MAX_SHOWN - 1] + "…"
        rows.append((case.groups[0], case.place, judges, verdict.reason, verdict.detail, shown))
    return rows


def taxonomy_rows() -> Rows:
    """Return the taxonomy: which kind has a generator for which style, and where its errors are computable."""
    rows: Rows = [("class", "kind", "the mistake", "GSM8K-like", "LaTeX")]

    def state(there: bool, computable: bool) -> str:
        return ("computable" if computable else "not computable") if there else "–"

    for kind in PERTURBATIONS.values():
        text = state(bool(kind.generators("text")), "text" in kind.computable)
        latex = state(bool(kind.generators("latex")), "latex" in kind.computable)
        rows.append((kind.error_class, f"`{kind.name}`", kind.mistake, text, latex))
    return rows


def rich_table(title: str, rows: Rows) -> Table:
    """Return rows as a table for the terminal."""
    table = results_table(title, "percent [95 % interval]", *rows[0])
    for row in rows[1:]:
        table.add_row(*(plain(text) for text in row))
    return table


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table; bars and line ends in texts are escaped."""
    head, *rest = [[_escaped(text) for text in row] for row in rows]
    lines = [head, ["---"] * len(head), *rest]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


_MEASURES = tuple(measure for measures in MEASURES.values() for measure in measures)


def _pairs(metrics: Mapping[str, Metric]) -> dict[tuple[str, str], None]:
    """Return the (group, judge) pairs in order."""
    parts = (name.rsplit(".", 2) for name in metrics)
    return {(part[0], part[1]): None for part in parts if len(part) == 3 and part[2] in _MEASURES}


def _n(metric: Metric | None) -> str:
    return "–" if metric is None else str(metric.n)


def _escaped(text: str) -> str:
    for mark, written in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("$", "\\$")):
        text = text.replace(mark, written)
    return " ".join(text.split())
