"""The kinds of evaluation: which metrics make its tables, which file holds its worst cases.

Contract: a kind is found by the first word of the metrics' names. `tables` makes the tables that page and terminal show.
Not here: the page (`evaluation.py`), how a case is shown (`disagreements.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sparring.report.disagreements import (
    accepted_case,
    compared_case,
    false_alarm_case,
    labelled_case,
    misled_case,
)
from sparring.report.page import Html
from sparring.report.run_files import Record
from sparring.report.wording import plain

COSTS = {"tokens_generated": "tokens written", "tokens_scored": "tokens scored", "flops": "FLOPs"}


@dataclass(frozen=True, slots=True)
class Pivot:
    """A table made of metrics: names that fit `pattern` (after the evaluation's name) are its cells.

    `columns` gives the headings by what the group ``column`` matches; without it they are in the order of the metrics.
    """

    title: str
    pattern: str
    columns: Mapping[str, str]
    first: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What the page of one kind of evaluation shows.

    Attributes:
        title: of the page.
        pivots: its tables.
        worst: in words, what the worst cases are.
        case: shows one of their records, given the run's settings.
        file: holds the records, one per line.
        ordered: whether the worst come first in the file.
        scored: whether a case shows scores.
        plots: SVG files with what they show in words.
    """

    title: str
    pivots: Sequence[Pivot]
    worst: str
    case: Callable[[Record, Mapping[str, Any]], Html]
    file: str = "worst.jsonl"
    ordered: bool = True
    scored: bool = True
    plots: Mapping[str, str] = field(default_factory=dict)


LABELLED = r"[^.]+(?:\.(?:before_error|correct_solutions|computable))?\.[^.]+"
"""A set of labelled steps, or a part of one, and who judges it."""
FURTHEST = "Solutions with a step whose score is furthest from its label, worst first."
KINDS = {
    "processbench": Kind(
        "ProcessBench",
        [
            Pivot(
                "Finding the first wrong step",
                r"(?P<row>[^.]+)\.(?P<column>.+)",
                {
                    "f1": "F1",
                    "accuracy_erroneous": "accuracy, erroneous",
                    "accuracy_correct": "accuracy, correct",
                    "step_auc": "step AUC",
                    "solution_auc": "solution AUC",
                    "step_ece": "step ECE",
                },
                "subset",
            )
        ],
        FURTHEST,
        labelled_case,
    ),
    "prmbench": Kind(
        "PRMBench",
        [
            Pivot(
                "Telling right steps from planted errors",
                r"(?P<row>[^.]+)\.(?P<column>.+)",
                {
                    "prm_score": "PRMScore",
                    "f1": "F1",
                    "negative_f1": "negative F1",
                    "accuracy_first_error": "accuracy, first error",
                    "step_auc": "step AUC",
                },
                "class",
            )
        ],
        FURTHEST,
        labelled_case,
    ),
    "calibration": Kind(
        "Calibration",
        [
            Pivot(
                "Calibration of step scores",
                r"(?P<row>.+)\.(?P<column>[^.]+)",
                {
                    "ece": "ECE",
                    "brier": "Brier",
                    "mean_score": "mean score",
                    "share_right": "share of right steps",
                },
                "subset",
            )
        ],
        FURTHEST,
        labelled_case,
        plots={
            "reliability.svg": "Mean score against the share of right steps; the numbers are in metrics.json."
        },
    ),
    "bon": Kind(
        "Best of N",
        [
            Pivot("Accuracy", r"(?P<row>[^.]+)\.(?P<column>n\d+)\.accuracy", {}, "line"),
            Pivot(
                "Difference at the largest N",
                r"(?P<row>.+)_minus_(?P<column>[^.]+)",
                {"majority": "minus majority", "random": "minus random"},
                "line",
            ),
        ],
        "Problems where a wrong solution scores higher than every right one, furthest apart first.",
        misled_case,
    ),
    "compare": Kind(
        "Two PRMs on the same cases",
        [
            Pivot(
                "A, B and their difference",
                r"(?P<row>.+)\.(?P<column>[^.]+)",
                {"a": "A", "b": "B", "difference": "A − B"},
                "subset and measure",
            )
        ],
        "Solutions that one PRM judges right and the other wrong, those with the largest difference in a score first.",
        compared_case,
    ),
    "attack": Kind(
        "Attack on a PRM",
        [
            Pivot(
                "How often are wrong steps accepted?",
                r"(?P<row>rules|frozen|trained)\.(?P<column>.+)",
                {
                    "fool_rate": "fool rate",
                    "miss_rate": "miss rate",
                    "failed": "failed",
                    "undecided": "undecided",
                    "malformed": "malformed",
                },
                "adversary",
            ),
            Pivot(
                "What else to read it by",
                r"(?P<row>clean_accepted|curve\.[^.]+\.fool_rate|budget\..+)(?P<column>)",
                {"": "value"},
                "measure",
            ),
            Pivot(
                "Harmless rewrites",
                r"invariance\.(?P<row>[^.]+)\.(?P<column>.+)",
                {"flipped": "verdict changed", "shift": "mean change of the score"},
                "rewrite",
            ),
            Pivot(
                "Classes of errors",
                r"sensitivity\.(?P<row>[^.]+)\.(?P<column>.+)",
                {"caught": "caught", "auc": "AUC, right step against wrong one"},
                "class",
            ),
            Pivot(
                "Wrong steps with padding",
                r"padding\.(?P<row>[^.]+)\.(?P<column>.+)",
                {"accepted": "accepted", "more_accepted": "more than without"},
                "padding",
            ),
            Pivot(
                "Choosing the best of n steps by the PRM: its score, and how often the choice is right",
                r"hacking\.(?P<row>[^.]+)\.(?P<column>.+)",
                {"score": "score", "accuracy": "accuracy"},
                "n",
            ),
        ],
        "Wrong steps that the PRM accepts, highest score first.",
        accepted_case,
    ),
    "search": Kind(
        "Search",
        [
            Pivot(
                "Accuracy and cost per problem",
                r"(?P<row>[^.]+\.n_\d+)\.(?P<column>[^.]+)",
                {"accuracy": "accuracy", "work": "work, in solutions", **COSTS},
                "method",
            ),
            Pivot(
                "Differences in accuracy",
                r"(?P<row>[^.]+\.n_\d+)\.minus_(?P<column>[^.]+)",
                {
                    "best_of_n": "− best of N, same N and work",
                    "best_of_n_at_equal_cost": "− best of N, same cost",
                    "majority": "− majority, same N and work",
                    "majority_at_equal_cost": "− majority, same cost",
                },
                "method",
            ),
        ],
        "Problems for which the chosen solution is wrong while another candidate is right, furthest apart first.",
        misled_case,
        plots={"curves.svg": "Accuracy against cost of every method; the numbers are in the tables."},
    ),
    "oracle": Kind(
        "Audit of oracles",
        [
            Pivot(
                "Labelled steps",
                rf"(?P<row>{LABELLED})\.(?P<column>[^.]+)",
                {
                    "false_alarm": "false alarms",
                    "confirmed": "confirmed",
                    "recall": "errors found",
                    "undecided_on_errors": "undecided on errors",
                },
                "set and judge",
            ),
            Pivot(
                "Needless steps (not necessarily wrong)",
                rf"(?P<row>{LABELLED})\.(?P<column>[^.]+)",
                {"needless_wrong": "called wrong", "needless_correct": "called correct"},
                "set and judge",
            ),
            Pivot(
                "Rule perturbations found",
                r"(?P<row>[^.]+\.[^.]+\.(?:text|latex))\.(?P<column>.+)",
                {
                    "panel.recall": "panel",
                    "panel_against.recall": "panel, original known",
                    "panel_against.missed": "called correct by it",
                    "reference.recall": "reference alone",
                    "applies": "could be made",
                },
                "set, kind and style",
            ),
        ],
        "False alarms: correct steps that an oracle calls wrong, evenly spaced over their file.",
        false_alarm_case,
        file="false_alarms.jsonl",
        ordered=False,
        scored=False,
    ),
}


# --- tables ---


class Measured(Protocol):
    """A number with its interval, as `runs.Metric` is."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def interval(self) -> str: ...  # noqa: D102


class Table(NamedTuple):
    """A table of texts; the first cell of a row names it."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(name: str, metrics: Mapping[str, Measured]) -> Iterator[Table]:
    """Yield the tables of an evaluation that have a row; a dash stands where a metric is undefined or not there.

    Args:
        name: of the kind, in `KINDS`.
        metrics: by name, without the kind's in front.
    """
    for pivot in KINDS[name].pivots:
        cells: dict[str, dict[str, str]] = {}
        columns = dict(pivot.columns)
        for key, found in metrics.items():
            match = re.fullmatch(pivot.pattern, key)
            if match is None or key.endswith("p_value") or (pivot.columns and match["column"] not in columns):
                continue
            if not pivot.columns:
                columns.setdefault(match["column"], re.sub(r"^n(?=\d)", "N = ", match["column"]))
            # A difference has its p-value under its own name or beside it.
            p_value = metrics.get(f"{key}.p_value") or metrics.get(f"{key.rpartition('.')[0]}.p_value")
            difference = "minus" in key or match["column"] == "difference"
            shown = value(found, signed=difference)
            if difference and p_value is not None and p_value.value is not None:
                shown += f", p\u00a0=\u00a0{p_value.value:.3g}"
            cells.setdefault(match["row"], {})[match["column"]] = shown
        used = [key for key in columns if any(key in row for row in cells.values())]
        if cells:
            yield Table(
                pivot.title,
                (pivot.first, *(columns[key] for key in used)),
                [(row_name(row), *(found.get(key, "–") for key in used)) for row, found in cells.items()],
            )


def row_name(row: str) -> str:
    """Return the words of a metric's name that are not its column."""
    words = re.sub(r"\b(n)_?(?=\d)", "N\u00a0=\u00a0", row).replace(".", " · ").replace("_", " ")
    return re.sub(r"\b(auc|f1|prm)\b", lambda found: found.group().upper(), words)


def value(found: Measured, *, signed: bool = False) -> str:
    """Return a number with its interval: shares in percent, anything else as it is."""
    share = found.unit == "fraction"

    def write(number: float) -> str:
        shown = f"{100 * number:.1f}" if share else f"{number:.3g}" if abs(number) >= 1e6 else plain(number)
        return (f"+{shown}" if signed and number > 0 else shown).replace("-", "−")

    if found.value is None:
        return "–"
    if found.low is None or found.high is None:
        return write(found.value)
    mark = "\u00a0t" if found.interval == "t" else ""
    return f"{write(found.value)} [{write(found.low)},\u00a0{write(found.high)}]{mark}"
