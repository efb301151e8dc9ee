"""How the steps of a trace look with their scores or labels: in a terminal, and as HTML in a notebook.

Contract: text of data and models is shown as text: markup in it has no effect, and control characters, which could steer a
terminal, are replaced. Every score stands there as a number, so nothing hangs on colour: red below the threshold, yellow up
to halfway above it, else green. Not here: where scores come from, the inspector's page (`viewer/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest

from rich.table import Table
from rich.text import Text

from sparring.traces.records import Label, Trace

Scores = Sequence[float | None]
_HTML_COLOURS = {"red": "#c0392b", "yellow": "#b7950b", "green": "#1e8449", "dim": "#7f8c8d"}


@dataclass(frozen=True, slots=True)
class ScoredTrace:
    """A trace with the scores of its steps.

    Attributes:
        trace: what was scored.
        scores: one per step, in [0, 1]; of fewer where the last steps did not fit and may be dropped.
        threshold: the score below which a step is called wrong.
        threshold_rule: where the threshold comes from.
        value: the score of the whole trace, by `aggregation`.
        aggregation: the rule from step scores to `value`.
    """

    trace: Trace
    scores: tuple[float, ...]
    threshold: float = 0.5
    threshold_rule: str = ""
    value: float | None = None
    aggregation: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of the trace."""
        return self.trace.steps

    @property
    def first_error(self) -> int | None:
        """Index from 0 of the first step whose score is below the threshold; None where there is none."""
        return next((place for place, score in enumerate(self.scores) if score < self.threshold), None)

    @property
    def said(self) -> str:
        """The result in one line."""
        first = self.first_error
        found = "no step below" if first is None else f"first step below: {first + 1},"
        rule = f" ({self.threshold_rule})" if self.threshold_rule else ""
        total = "" if self.value is None else f"; {self.aggregation} {self.value:.3f}"
        return f"{found} threshold {self.threshold:.4g}{rule}{total}"

    def __str__(self) -> str:
        lines = [
            f"{'' if score is None else f'{score:.3f}':>5}  {plain(step).plain}"
            for step, score in zip_longest(self.steps, self.scores)
        ]
        return "\n".join([*lines, self.said])

    def __rich__(self) -> Table:
        shown = steps_table(self.trace, self.scores, self.threshold)
        shown.title, shown.caption = plain(self.trace.problem.question), plain(self.said)
        return shown

    def _repr_html_(self) -> str:
        return steps_html(self.trace, self.scores, self.threshold, self.said)


def steps_table(trace: Trace, scores: Scores, threshold: float) -> Table:
    """Return a table for a terminal: number from 1, score, step; the question is its caption."""
    table = Table(title=plain(trace.problem.id), caption=plain(trace.problem.question), show_header=False)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for number, (step, score) in enumerate(zip_longest(trace.steps, scores), start=1):
        shown = (
            Text("–", style="dim") if score is None else Text(f"{score:.3f}", style=colour(score, threshold))
        )
        table.add_row(str(number), shown, plain(step))
    return table


def steps_html(trace: Trace, scores: Scores, threshold: float, said: str = "") -> str:
    """Return the same as HTML, with styles of its own and nothing to load."""
    rows = []
    for number, (step, score) in enumerate(zip_longest(trace.steps, scores), start=1):
        tint = _HTML_COLOURS["dim" if score is None else colour(score, threshold)]
        cell = "padding:2px 8px;text-align:right;vertical-align:top"
        rows.append(
            f'<tr><td style="{cell};opacity:.6">{number}</td>'
            f'<td style="{cell};color:{tint};font-weight:600">{"–" if score is None else f"{score:.3f}"}</td>'
            f'<td style="padding:2px 8px;text-align:left;white-space:pre-wrap;border-left:3px solid {tint}">'
            f"{escape(plain(step).plain)}</td></tr>"
        )
    question = escape(plain(trace.problem.question).plain)
    note = f'<div style="opacity:.7">{escape(plain(said).plain)}</div>' if said else ""
    return (
        f'<div><div style="white-space:pre-wrap;margin-bottom:4px">{question}</div>'
        f'<table style="border-collapse:collapse">{"".join(rows)}</table>{note}</div>'
    )


def labels_said(labels: Sequence[Label] | None) -> str:
    """Return what the numbers of a trace without scores are."""
    return "no labels" if labels is None else "labels: 1 correct, 0 wrong, – unknown"


def colour(score: float, threshold: float) -> str:
    """Return the colour that a score is shown in."""
    if score < threshold:
        return "red"
    return "yellow" if score < (1 + threshold) / 2 else "green"


def plain(text: str) -> Text:
    """Return text to be shown as it is, a replacement for each character without a form but line breaks and hard spaces."""
    return Text(
        "".join(mark if mark.isprintable() or mark in "\n\u00a0\u202f" else "\ufffd" for mark in text)
    )
