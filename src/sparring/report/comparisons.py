"""What the sections compare: names of methods, splits and attackers, their comparisons, findings as markup.

Contract: a comparison is found by metric names alone, so that summary, cards and sections say the same
thing. Not here: the sections (`solver.py`, `contest.py`), the words of a verdict (`wording.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from sparring.report.page import Html, paragraph
from sparring.report.plots import Bar
from sparring.report.run_files import DemoRun, Metric
from sparring.report.wording import Comparison, as_share, compare

METHOD_NAMES = {"rules_prm": "rules PRM", "aprm": "APRM"}
METHOD_ROLES = {"rules_prm": "rules", "aprm": "aprm"}
SPLIT_NAMES = {"in_distribution": "problems as in training", "longer": "longer problems"}
PICKERS = {
    "greedy": ("greedy", "baseline"),
    "random": ("random pick", "baseline"),
    "majority": ("majority vote", "baseline"),
    "rules_prm": ("rules PRM", "rules"),
    "aprm": ("APRM", "aprm"),
    "oracle": ("oracle", "oracle"),
}
ATTACKERS = {"rules": "fixed rules", "frozen": "untrained generator", "trained": "fresh trained adversary"}
INTERVALS = "Whiskers are 95\u202f% intervals."


def samples_per_problem(run: DemoRun) -> str:
    """Return N of best-of-N as the settings tell it, or the letter N."""
    n = run.settings.get("best_of_n")
    return str(n) if isinstance(n, int) and not isinstance(n, bool) else "N"


def solver_comparison(run: DemoRun, split: str, first: str = "aprm", second: str = "rules_prm") -> Comparison:
    """Return best-of-N accuracy of one way to pick against another, paired where the run measured it so."""
    stem = f"best_of_n.{split}"
    return compare(
        run.metrics, f"{stem}.{first}.accuracy", f"{stem}.{second}.accuracy", f"{stem}.{first}_minus_{second}"
    )


def error_comparison(run: DemoRun, split: str, measure: str = "f1") -> Comparison:
    """Return a step-error measure of the APRM against the rules PRM."""
    stem = f"step_error.{split}"
    return compare(
        run.metrics,
        f"{stem}.aprm.{measure}",
        f"{stem}.rules_prm.{measure}",
        f"{stem}.aprm_minus_rules_prm.{measure}",
    )


def attack_comparison(run: DemoRun, attacker: str = "trained") -> Comparison:
    """Return the fool rate of an attacker against the APRM, beside that against the rules PRM."""
    return compare(
        run.metrics,
        f"attack.aprm.{attacker}.fool_rate",
        f"attack.rules_prm.{attacker}.fool_rate",
        f"attack.aprm_minus_rules_prm.{attacker}.fool_rate",
    )


def tone(comparison: Comparison, *, more_is_better: bool = True) -> str:
    """Return the tone of a finding for the APRM: ``good``, ``bad``, or ``none``."""
    better, worse = ("more", "less") if more_is_better else ("less", "more")
    return {better: "good", worse: "bad"}.get(comparison.finding, "none")


def finding(comparison: Comparison, *text: str, more_is_better: bool = True) -> Html:
    """Return a paragraph with a finding, marked by whether it speaks for the APRM."""
    return paragraph(*text, class_=f"finding {tone(comparison, more_is_better=more_is_better)}")


def bar(metrics: Mapping[str, Metric], name: str, label: str, role: str) -> Bar:
    """Return the bar of a share by its metric name."""
    share = as_share(metrics.get(name))
    if share is None:
        return Bar(label, role, None)
    return Bar(label, role, share.value, share.low, share.high)


def has(run: DemoRun, stem: str) -> bool:
    """Return whether any metric's name begins with `stem`."""
    return any(name.startswith(stem) for name in run.metrics)


def capital(text: str) -> str:
    """Return the text with its first letter as a capital."""
    return text[:1].upper() + text[1:]
