"""The kinds of evaluation: which metrics make its tables, which file holds its worst cases.

Contract: a kind is found by the first word of the metrics' names. `tables` makes the tables that page and terminal show.
Not here: the page (`page.py`), what is shown of a case (`cases.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sparring.report.cases import (
    Case,
    accepted_case,
    compared_case,
    false_alarm_case,
    labelled_case,
    misled_case,
)
from sparring.report.numbers import with_interval
from sparring.runs import Metric
from sparring.traces.fields import Fields

HEADINGS = {
    "accuracy_erroneous": "accuracy, erroneous",
    "accuracy_correct": "accuracy, correct",
    "accuracy_first_error": "accuracy, first error",
    "prm_score": "PRMScore",
    "brier": "Brier",
    "share_right": "share of right steps",
    "majority": "minus majority",
    "random": "minus random",
    "a": "A",
    "b": "B",
    "difference": "A − B",
    "": "value",
    "flipped": "verdict changed",
    "shift": "mean change of the score",
    "auc": "AUC, right step against wrong one",
    "more_accepted": "more than without",
    "step_auc_within": "step AUC within problems",
    "within": "within problems",
    "work": "work, in solutions",
    "tokens_generated": "tokens written",
    "flops": "FLOPs",
    "minus_best_of_n": "− best of N, same N and work",
    "minus_best_of_n_at_equal_cost": "− best of N, same cost",
    "minus_majority": "− majority, same N and work",
    "minus_majority_at_equal_cost": "− majority, same cost",
    "false_alarm": "false alarms",
    "recall": "errors found",
    "needless_wrong": "called wrong",
    "needless_correct": "called correct",
    "panel.recall": "panel",
    "panel_against.recall": "panel, original known",
    "panel_against.missed": "called correct by it",
    "reference.recall": "reference alone",
    "applies": "could be made",
    "rules_prm": "rules PRM",
    "frozen_prm": "frozen-generator PRM",
    "aprm": "APRM",
    "in_distribution": "problems as in training",
    "longer": "longer problems",
}
"""Of columns whose heading is not their name with spaces."""


@dataclass(frozen=True, slots=True)
class Pivot:
    """A table made of metrics: names that fit `pattern` (after the evaluation's name) are its cells.

    `columns` names in order what the group ``column`` may match, with spaces between; without it they are in the order of
    the metrics.
    """

    title: str
    pattern: str
    columns: str
    first: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What the page of one kind of evaluation shows.

    Attributes:
        title: of the page.
        pivots: its tables.
        worst: in words, what the worst cases are.
        case: what is shown of one of their records, given the run's settings.
        file: holds the records, one per line.
        ordered: whether the worst come first in the file.
        scored: whether a case shows scores.
        plots: SVG files with what they show in words.
    """

    title: str
    pivots: Sequence[Pivot]
    worst: str
    case: Callable[[Fields, Mapping[str, Any]], Case]
    file: str = "worst.jsonl"
    ordered: bool = True
    scored: bool = True
    plots: Mapping[str, str] = field(default_factory=dict)


ANY = r"(?P<row>[^.]+)\.(?P<column>.+)"
LAST = r"(?P<row>.+)\.(?P<column>[^.]+)"
METHOD = r"(?P<row>[^.]+\.n_\d+)\."
LABELLED = r"(?P<row>[^.]+(?:\.(?:before_error|correct_solutions|computable))?\.[^.]+)\.(?P<column>[^.]+)"
"""A set of labelled steps, or a part of one, and who judges it."""
FURTHEST = "Solutions with a step whose score is furthest from its label, worst first."
KINDS = {
    "processbench": Kind("ProcessBench",
        [
            Pivot("Finding the first wrong step", ANY,
                "f1 accuracy_erroneous accuracy_correct step_auc step_auc_within solution_auc step_ece", "subset"),
        ], FURTHEST, labelled_case),
    "prmbench": Kind("PRMBench",
        [
            Pivot("Telling right steps from planted errors", ANY,
                "prm_score f1 negative_f1 accuracy_first_error step_auc", "class"),
        ], FURTHEST, labelled_case),
    "calibration": Kind("Calibration",
        [Pivot("Calibration of step scores", LAST, "ece brier mean_score share_right", "subset")], FURTHEST,
        labelled_case,
        plots={"reliability.svg": "Mean score against the share of right steps; the numbers are in metrics.json."}),
    "bon": Kind("Best of N",
        [
            Pivot("Accuracy", r"(?P<row>[^.]+)\.(?P<column>n\d+)\.accuracy", "", "line"),
            Pivot("Difference at the largest N", r"(?P<row>.+)_minus_(?P<column>[^.]+)", "majority random", "line"),
            Pivot("AUC of right against wrong", r"(?P<row>solution_auc\.[^.]+|step_auc)\.(?P<column>pooled|within)",
                "pooled within", "of"),
        ], "Problems where a wrong solution scores higher than every right one, furthest apart first.", misled_case),
    "compare": Kind("Two PRMs on the same cases",
        [Pivot("A, B and their difference", LAST, "a b difference", "subset and measure")],
        "Solutions that one PRM judges right and the other wrong, those with the largest difference in a score first.",
        compared_case),
    "attack": Kind("Attack on a PRM",
        [
            Pivot("How often are wrong steps accepted?", r"(?P<row>rules|frozen|trained)\.(?P<column>.+)",
                "fool_rate fool_rate_at_98 miss_rate failed undecided malformed", "adversary"),
            Pivot("What else to read it by", r"(?P<row>clean_accepted|curve\.[^.]+\.fool_rate|budget\..+)(?P<column>)",
                "", "measure"),
            Pivot("Harmless rewrites", r"invariance\." + ANY, "flipped shift", "rewrite"),
            Pivot("Classes of errors", r"sensitivity\." + ANY, "caught auc", "class"),
            Pivot("Wrong steps with padding", r"padding\." + ANY, "accepted more_accepted", "padding"),
            Pivot("Choosing the best of n steps by the PRM: its score, and how often the choice is right",
                r"hacking\." + ANY, "score accuracy", "n"),
        ], "Wrong steps that the PRM accepts, highest score first.", accepted_case),
    "search": Kind("Search",
        [
            Pivot("Accuracy and cost per problem", METHOD + r"(?P<column>[^.]+)",
                "accuracy work tokens_generated tokens_scored flops", "method"),
            Pivot("Differences in accuracy", METHOD + r"(?P<column>minus_[^.]+)",
                "minus_best_of_n minus_best_of_n_at_equal_cost minus_majority minus_majority_at_equal_cost", "method"),
        ], "Problems for which the chosen solution is wrong while another candidate is right, furthest apart first.",
        misled_case, plots={"curves.svg": "Accuracy against cost of every method; the numbers are in the tables."}),
    "oracle": Kind("Audit of oracles",
        [
            Pivot("Labelled steps", LABELLED, "false_alarm confirmed recall undecided_on_errors", "set and judge"),
            Pivot("Needless steps (not necessarily wrong)", LABELLED, "needless_wrong needless_correct",
                "set and judge"),
            Pivot("Rule perturbations found", r"(?P<row>[^.]+\.[^.]+\.(?:text|latex))\.(?P<column>.+)",
                "panel.recall panel_against.recall panel_against.missed reference.recall applies",
                "set, kind and style"),
        ], "False alarms: correct steps that an oracle calls wrong, evenly spaced over their file.", false_alarm_case,
        file="false_alarms.jsonl", ordered=False, scored=False),
}  # fmt: skip
ON_SPLITS = "in_distribution longer"
DEMO = {
    "solver": [
        Pivot("Accuracy of the picked solution", r"best_of_n\.(?P<column>[^.]+)\.(?P<row>[^.]+)\.accuracy", ON_SPLITS,
            "picked by"),
        Pivot("Differences on the same problems, in percentage points",
            r"best_of_n\.(?P<column>[^.]+)\.(?P<row>.+_minus_[^.]+)", ON_SPLITS, "difference")],
    "errors": [
        Pivot("Step errors in the solver's own solutions", r"step_error\." + LAST,
            "f1 accuracy_erroneous accuracy_correct step_auc solution_auc step_ece", "problems and PRM")],
    "attack": [
        Pivot("What came of the adversaries' steps",
            r"attack\.(?P<row>[^.]+\.(?:rules|frozen|trained))\.(?P<column>.+)",
            "fool_rate fool_rate_at_98 miss_rate failed undecided malformed", "PRM and adversary")],
    "kinds": [
        Pivot("Wrong steps accepted, by kind of mistake", r"kinds\.(?P<column>[^.]+)\.(?P<row>[^.]+)\.accepted",
            "rules_prm frozen_prm aprm", "kind")],
    "run": [
        Pivot("What the training of the PRMs took", r"training\." + ANY,
            "updates labelled_steps undecided_steps seconds tokens_per_second peak_memory", "PRM")],
}  # fmt: skip
"""The tables of the demo's page by section."""


# --- tables ---


class Table(NamedTuple):
    """A table of texts; the first cell of a row names it."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(name: str, metrics: Mapping[str, Metric]) -> Iterator[Table]:
    """Yield the tables of an evaluation that have a row; a dash stands where a metric is undefined or not there.

    Args:
        name: of the kind, in `KINDS`.
        metrics: by name, without the kind's in front.
    """
    every = (pivoted(pivot, metrics) for pivot in KINDS[name].pivots)
    return (table for table in every if table.rows)


def pivoted(pivot: Pivot, metrics: Mapping[str, Metric]) -> Table:
    """Return one table of metrics; it may have no row."""
    cells: dict[str, dict[str, str]] = {}
    columns = {name: HEADINGS.get(name, row_name(name)) for name in pivot.columns.split()}
    for key, found in metrics.items():
        match = re.fullmatch(pivot.pattern, key)
        if match is None or key.endswith("p_value") or (pivot.columns and match["column"] not in columns):
            continue
        if not pivot.columns:
            columns.setdefault(match["column"], re.sub(r"^n(?=\d)", "N = ", match["column"]) or HEADINGS[""])
        # A difference has its p-value under its own name or beside it.
        p_value = metrics.get(f"{key}.p_value") or metrics.get(f"{key.rpartition('.')[0]}.p_value")
        difference = "minus" in key or match["column"] == "difference"
        shown = with_interval(found, signed=difference)
        if difference and p_value is not None and p_value.value is not None:
            shown += f", p\u00a0=\u00a0{p_value.value:.3g}"
        cells.setdefault(match["row"], {})[match["column"]] = shown
    used = [key for key in columns if any(key in row for row in cells.values())]
    return Table(
        pivot.title,
        (pivot.first, *(columns[key] for key in used)),
        [(row_name(row), *(found.get(key, "–") for key in used)) for row, found in cells.items()],
    )


def row_name(row: str) -> str:
    """Return the words of a metric's name that are not its column."""
    words = re.sub(r"\b(n)_?(?=\d)", "N\u00a0=\u00a0", row).replace(".", " · ").replace("_", " ")
    return re.sub(r"\b(auc|ece|f1|a?prm)\b", lambda found: found.group().upper(), words)
