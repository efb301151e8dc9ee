"""Sections 1 and 2 of the demo report: does the PRM help the solver, and does it find the solver's errors?

Contract: made from a `DemoRun`; where a part is absent the section says what is missing, and every plot has
its numbers in a table behind it. Not here: attacks and training (`contest.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sparring.report.comparisons import (
    INTERVALS,
    METHOD_NAMES,
    METHOD_ROLES,
    PICKERS,
    SPLIT_NAMES,
    bar,
    capital,
    error_comparison,
    finding,
    has,
    samples_per_problem,
    solver_comparison,
)
from sparring.report.page import Html, details, element, figure, missing, paragraph, section, table
from sparring.report.plots import Bar, bar_panel
from sparring.report.run_files import METHODS, DemoRun, Metric
from sparring.report.wording import (
    Comparison,
    as_share,
    both,
    difference_with_interval,
    range_of_difference,
    share_with_interval,
    verdict,
)

STEP_MEASURES = {
    "f1": "F1",
    "accuracy_erroneous": "solutions with an error: first error found",
    "accuracy_correct": "solutions without error: nothing flagged",
}


def solver_section(run: DemoRun) -> Html:
    """Return section 1: does picking by the PRM's scores make the solver right more often?"""
    title = "1. Does it help the solver?"
    splits = [split for split in SPLIT_NAMES if has(run, f"best_of_n.{split}.")]
    if not splits:
        return section("solver", title, missing("best-of-N accuracies", "metrics.json, best_of_n.*"))
    n = samples_per_problem(run)
    findings = []
    for split in splits:
        main = solver_comparison(run, split)
        words = f"{both(main, 'with the APRM', 'with the rules PRM')}: {verdict(main)}."
        findings.append(
            finding(main, element("b", f"On {SPLIT_NAMES[split]}: "), words, yardsticks(run, split))
        )
    rows = [
        (
            label,
            *(share_with_interval(run.metrics.get(f"best_of_n.{split}.{name}.accuracy")) for split in splits),
        )
        for name, (label, _) in PICKERS.items()
    ]
    return section(
        "solver",
        title,
        paragraph(
            f"The solver writes {n} solutions per problem; each method picks one. Shown is the share of "
            "problems whose picked solution has the right answer. Greedy is a single solution without "
            "sampling. The oracle picks a right solution wherever there is one: no judge can do better."
        ),
        *findings,
        figure(
            f"Accuracy with {n} solutions per problem. {INTERVALS}",
            [
                bar_panel(f"solver-{split}", capital(SPLIT_NAMES[split]), [("", solver_bars(run, split))])
                for split in splits
            ],
            details(
                "The numbers behind the plot",
                table(
                    "Accuracy (95\u202f% interval)", ["picked by", *(SPLIT_NAMES[s] for s in splits)], rows
                ),
                *difference_table(run, splits),
            ),
        ),
    )


def yardsticks(run: DemoRun, split: str) -> str:
    """Return how both PRMs stand against picks that need no training, where that was measured."""
    sentences = []
    for first, second in (("aprm", "majority"), ("rules_prm", "random")):
        compared = solver_comparison(run, split, first, second)
        if compared.finding != "not measured":
            pair = f"{picker_name(first)} against {picker_name(second)}"
            sentences.append(f" {capital(pair)}: {range_of_difference(compared)}.")
    return "".join(sentences)


def solver_bars(run: DemoRun, split: str) -> list[Bar]:
    """Return best-of-N accuracy for every way to pick a solution."""
    return [
        bar(run.metrics, f"best_of_n.{split}.{name}.accuracy", label, role)
        for name, (label, role) in PICKERS.items()
    ]


def difference_table(run: DemoRun, splits: Sequence[str]) -> list[Html]:
    """Return the table of all differences that the run measured on the same problems, if there are any."""
    rows = []
    for split in splits:
        stem = f"best_of_n.{split}."
        for name, metric in run.metrics.items():
            first, found, second = name.removeprefix(stem).partition("_minus_")
            if name.startswith(stem) and found:
                pair = f"{picker_name(first)} − {picker_name(second)}"
                compared = Comparison(None, None, as_share(metric), paired=True)
                rows.append(
                    (
                        pair,
                        SPLIT_NAMES[split],
                        difference_with_interval(metric_share(metric)),
                        verdict(compared),
                    )
                )
    if not rows:
        return []
    header = ["difference", "on", "percentage points (95\u202f% interval)", "what it shows"]
    return [table("Differences on the same problems", header, rows, class_="long")]


def metric_share(metric: Metric) -> Metric:
    """Return the metric as a share from 0 to 1."""
    return as_share(metric) or metric


def picker_name(name: str) -> str:
    """Return the name of a way to pick for people; an unknown one stays as it is."""
    return PICKERS[name][0] if name in PICKERS else name


def errors_section(run: DemoRun) -> Html:
    """Return section 2: does the PRM find the first wrong step of the solver's own solutions?"""
    title = "2. Does it find the solver's errors?"
    splits = [split for split in SPLIT_NAMES if has(run, f"step_error.{split}.")]
    if not splits:
        return section("errors", title, missing("step-error measures", "metrics.json, step_error.*"))
    findings, panels, rows = [], [], []
    for split in splits:
        main = error_comparison(run, split)
        words = f"F1 {both(main, 'for the APRM', 'for the rules PRM')}: {verdict(main)}."
        findings.append(finding(main, element("b", f"On {SPLIT_NAMES[split]}: "), words, areas(run, split)))
        groups = [
            (
                label,
                [
                    bar(run.metrics, f"step_error.{split}.{m}.{measure}", METHOD_NAMES[m], METHOD_ROLES[m])
                    for m in METHODS
                ],
            )
            for measure, label in STEP_MEASURES.items()
        ]
        panels.append(bar_panel(f"errors-{split}", capital(SPLIT_NAMES[split]), groups))
        rows += [error_row(run, split, method) for method in METHODS]
    header = ["PRM", "on", "F1", "error found", "nothing flagged", "AUC over steps"]
    return section(
        "errors",
        title,
        paragraph(
            "Here the PRMs read solutions that the solver wrote by itself, with no adversary. A PRM must "
            "name the first wrong step, and leave solutions without an error alone; F1 is the harmonic "
            "mean of both shares."
        ),
        *findings,
        figure(
            f"Step errors in the solver's own solutions. {INTERVALS}",
            panels,
            details(
                "The numbers behind the plot",
                table("All step-error measures (95\u202f% interval)", header, rows),
            ),
        ),
    )


def error_row(run: DemoRun, split: str, method: str) -> list[str]:
    """Return the row of one PRM on one split in the table of step-error measures."""
    stem = f"step_error.{split}.{method}"
    shares = [share_with_interval(run.metrics.get(f"{stem}.{measure}")) for measure in STEP_MEASURES]
    return [METHOD_NAMES[method], SPLIT_NAMES[split], *shares, area(run.metrics.get(f"{stem}.step_auc"))]


def areas(run: DemoRun, split: str) -> str:
    """Return the areas under the curve of both PRMs as a sentence, or nothing where one was not measured."""
    aprm, rules = (
        run.metrics.get(f"step_error.{split}.{method}.step_auc") for method in ("aprm", "rules_prm")
    )
    if aprm is None or rules is None:
        return ""
    return f" AUC over steps {area(aprm)} for the APRM, {area(rules)} for the rules PRM."


def area(metric: Metric | None) -> str:
    """Return an area under the curve with its interval, on its scale from 0 to 1."""
    if metric is None:
        return "not measured"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f} (no interval)"
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
