"""Section 7 of the demo report: how it was measured, and what the words mean.

Contract: every setting, every metric and the context of the run is shown as it was written. Not here:
reading them (`run_files.py`).
"""

from __future__ import annotations

from sparring.report.comparisons import METHOD_NAMES, samples_per_problem
from sparring.report.page import Html, details, element, flat, missing, section, table
from sparring.report.run_files import METHODS, DemoRun
from sparring.report.wording import duration, metric_cells, plain

CONTEXT_NAMES = {"seed": "seed", "commit": "commit", "machine": "machine", "versions": "versions"}


def method_section(run: DemoRun) -> Html:
    """Return section 7."""
    context = [row for key, name in CONTEXT_NAMES.items() for row in flat({name: run.context.get(key)})]
    settings = list(flat(run.settings))
    metrics = [(name, *metric_cells(name, metric)) for name, metric in sorted(run.metrics.items())]
    return section(
        "method",
        "7. How it was measured",
        training_table(run),
        table("The run", ["what", "value"], context, class_="long"),
        details(
            f"All settings ({len(settings)})",
            table("Settings", ["setting", "value"], settings, class_="long")
            if settings
            else missing("settings", "metrics.json, settings"),
        ),
        details(
            f"All metrics ({len(metrics)})",
            table(
                "Metrics with 95\u202f% intervals",
                ["metric", "value", "low", "high", "interval", "n", "unit"],
                metrics,
            ),
        ),
        element("h3", "What the words mean"),
        terms(run),
    )


def training_table(run: DemoRun) -> Html:
    """Return what the training of both PRMs cost."""
    rows = []
    for method in METHODS:
        found = [
            run.metrics.get(f"training.{method}.{name}") for name in ("updates", "labelled_steps", "seconds")
        ]
        updates, labelled, seconds = (None if metric is None else metric.value for metric in found)
        rows.append((METHOD_NAMES[method], plain(updates), plain(labelled), duration(seconds)))
    return table("Training budget", ["PRM", "updates", "steps labelled by the oracle", "time"], rows)


def terms(run: DemoRun) -> Html:
    """Return the definitions of the words used in the report."""
    n = samples_per_problem(run)
    meanings = {
        "Process reward model (PRM)": "A model that scores steps of a solution, 0 (wrong) to 1 (correct).",
        "Oracle": (
            "A program that decides by calculation whether a step is correct, wrong or undecided. It "
            "labels the training steps and judges the results, so no person labelled anything. Undecided "
            "steps train nobody."
        ),
        "Rules PRM": "A PRM trained on errors that fixed rules planted in correct steps.",
        "APRM": (
            "A PRM trained in a game against an adversary: a generator that turns correct steps into "
            "wrong ones and is rewarded where the PRM accepts them."
        ),
        "Fooled, caught, failed": (
            "The adversary's outcomes: its wrong step was accepted; its wrong step was rejected; its step "
            "is still correct. Malformed output counts as failed."
        ),
        "Fool rate": "The share of fooled among the adversary's well-formed attempts.",
        "Exploitability": (
            "The fool rate of a fresh adversary that is trained against the frozen PRM with a stated "
            "budget. A larger budget may find more, so it is a lower bound."
        ),
        "Cross-play": "PRMs saved during training against adversaries saved at other moments.",
        f"Best of {n}": (
            f"The solver writes {n} solutions, a method picks one. Random pick, majority vote and the "
            "oracle are the yardsticks: the first needs no judge, the second no training, the third is "
            "the ceiling."
        ),
        "F1 on step errors": (
            "Harmonic mean of two shares: solutions with an error whose first wrong step was named "
            "exactly, and solutions without an error in which nothing was flagged."
        ),
        "AUC over steps": "The probability that a correct step outscores a wrong one; 0.5 is guessing.",
        "Main comparisons": (
            f"APRM against rules PRM in best-of-{n} accuracy and step-error F1, each on both kinds of "
            "problems, and in exploitability. Every interval is taken alone, without a correction for their "
            "number."
        ),
        "95\u202f% interval": (
            "The range of values that fit the test cases. It covers the choice of test cases, not what "
            "another training run with another seed would give. Differences measured on the same problems "
            "have their own interval; where there is none, it is made from the two single intervals "
            "(Newcombe's method), taken as independent."
        ),
        "No difference shown": (
            "The interval of the difference includes 0. It does not mean that both are equal: a small "
            "difference may need more test cases to show."
        ),
    }
    pairs = [
        part for term, meaning in meanings.items() for part in (element("dt", term), element("dd", meaning))
    ]
    return element("dl", *pairs, class_="terms")
