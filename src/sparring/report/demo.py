"""What only the demo's page has: the two PRMs compared, attacks and training as curves, cross-play, examples to read.

Contract: made from the files of a run of `sparring demo`; of all but `metrics.json` the page says what is missing. A
difference is called higher or lower only where its 95 % interval excludes 0. Not here: the words around the numbers
(`templates/demo.html`), tables (`kinds.py`), drawing (`plots.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import plural
from sparring.json_files import read_json_object
from sparring.report.cases import ATTACKERS, METHOD_NAMES, SPLIT_NAMES, adversarial_case, solved_case
from sparring.report.kinds import DEMO, Pivot, Table, pivoted
from sparring.report.numbers import points
from sparring.report.page import Run, read_cases, render
from sparring.report.plots import Bar, Curve, Panel, bar_panel, curve_panel
from sparring.runs import Metric
from sparring.traces.fields import Fields, records_of

METHODS = ("rules_prm", "aprm")
"""What is compared; a PRM on a frozen generator's mistakes stands beside them where a run has it."""
ROLES = {"rules_prm": "rules", "frozen_prm": "adversary", "aprm": "aprm", "ceiling": "oracle"}
PICKERS = {"greedy": "greedy", "random": "random pick", "majority": "majority vote"}
PICKERS |= METHOD_NAMES | {"ceiling": "perfect step verifier", "oracle": "a right answer, if any"}
STEP_MEASURES = {
    "f1": "F1",
    "accuracy_erroneous": "solutions with an error: first error found",
    "accuracy_correct": "solutions without error: nothing flagged",
}
KNOWN_OR_NOT = {"known": "kinds that the rules know", "unlisted": "kinds that nobody listed"}
# One entry per panel: title, then field, label, colour role and dashes of every curve.
GAME_CURVES = {
    "Accuracy of the APRM": (
        ("prm_accuracy_clean", "untouched steps", "aprm", "-"),
        ("prm_accuracy_fresh", "fresh attempts", "adversary", "-"),
        ("prm_accuracy_replayed", "replayed errors", "baseline", "--"),
    ),
    "What else the attempts came to": (
        ("caught", "caught", "aprm", "-"),
        ("failed", "failed: still correct", "rules", "--"),
        ("undecided", "undecided", "baseline", ":"),
        ("malformed", "malformed", "oracle", "-."),
    ),
}
SHOWN_EXAMPLES, SHOWN_SOLUTIONS = 10, 6
STRICT = "fool_rate_at_98"
"""The fool rate by which PRMs are compared: where each accepts 98 % of the untouched steps."""
Log = Sequence[Mapping[str, float | None]]


def demo_page(run: Run) -> str:
    """Return the whole page; raises DataError where a file does not hold what it should."""
    found = run.metrics
    n = run.settings.get("best_of_n", "N")
    solver = {split: picked(found, split, "aprm", "rules_prm") for split in SPLIT_NAMES}
    errors = {
        split: compared(found, *(f"step_error.{split}.{method}.f1" for method in ("aprm", "rules_prm")))
        for split in SPLIT_NAMES
    }
    attack, attack_frozen = (
        compared(found, *(f"attack.{method}.trained.{STRICT}" for method in ("aprm", other)), better=-1)
        for other in ("rules_prm", "frozen_prm")
    )
    main = {f"best of {n}, {SPLIT_NAMES[split]}": one for split, one in solver.items()}
    main |= {f"step-error F1, {SPLIT_NAMES[split]}": one for split, one in errors.items()}
    main |= {"fool rate of a fresh adversary at equal strictness (lower is better)": attack}
    frozen = {split: picked(found, split, "aprm", "frozen_prm") for split in SPLIT_NAMES}
    logs = {method: read_log(run.folder / method / "log.jsonl") for method in METHODS}
    attacked = [m for m in METHOD_NAMES if m in METHODS or f"attack.{m}.trained.fool_rate" in found]
    attacks = {method: read_log(run.folder / f"attack_{method}.jsonl") for method in attacked}
    return render(
        "demo.html",
        run,
        n=n,
        main={title: one for title, one in main.items() if one.difference is not None},
        solver=solver,
        known=rules_know(run.settings),
        frozen={split: one for split, one in frozen.items() if one.difference is not None},
        votes={split: picked(found, split, "aprm", "majority") for split in SPLIT_NAMES},
        errors=errors,
        attack=attack,
        attack_frozen=attack_frozen,
        attacked={method: METHOD_NAMES[method] for method in attacked},
        learned={method: learned(found, method) for method in attacked},
        failed={method: failed_at_the_end(attacks[method] or []) for method in attacked},
        tables={section: _tables(pivots, found) for section, pivots in DEMO.items()},
        panels={
            "solver": [bar_panel(name, solver_bars(found, s)) for s, name in SPLIT_NAMES.items()],
            "errors": [
                bar_panel(name, prm_bars(found, f"step_error.{s}.{{}}.{{}}", STEP_MEASURES))
                for s, name in SPLIT_NAMES.items()
            ],
            "attack": attack_panels(found, attacks),
            "kinds": kind_panels(found),
            "game": game_panels(logs),
        },
        logs=logs,
        attacks=attacks,
        cross_play=read_cross_play(run.folder / "cross_play.json"),
        examples=read_cases(run.folder / "examples.jsonl", adversarial_case, {}, SHOWN_EXAMPLES),
        solutions=read_cases(run.folder / "solutions.jsonl", solved_case, {}, SHOWN_SOLUTIONS),
        methods={method: METHOD_NAMES[method] for method in METHODS},
        splits=SPLIT_NAMES,
    )


def rules_know(settings: Mapping[str, Any]) -> str:
    """Return the kinds of mistakes that the rules of a run know, in words; empty where they know all."""
    kinds = settings.get("rule_kinds")
    named = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
    return ", ".join(kind.replace("_", " ") for kind in named)


def _tables(pivots: Sequence[Pivot], metrics: Mapping[str, Metric]) -> list[Table]:
    return [table for pivot in pivots if (table := pivoted(pivot, metrics)).rows]


# --- comparisons -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers and their difference (first − second) with its interval; `better` is the sign of a good difference."""

    first: Metric | None
    second: Metric | None
    difference: Metric | None
    better: int = 1

    @property
    def sign(self) -> int:
        """1 or -1 where the interval of the difference lies above or below 0, else 0."""
        if self.difference is None or self.difference.low is None or self.difference.high is None:
            return 0
        return int(self.difference.low > 0) - int(self.difference.high < 0)

    @property
    def tone(self) -> str:
        """Whether it speaks for the first: ``good``, ``bad``, or ``none`` (nothing shown)."""
        return {1: "good", -1: "bad", 0: "none"}[self.sign * self.better]

    @property
    def verdict(self) -> str:
        """What may be said of the difference: ``higher by 9.1 points (95 % interval +5.0 to +13.2)``."""
        found = self.difference
        if found is None or found.value is None:
            return "not measured"
        if found.low is None or found.high is None:
            return f"{points(found.value)} points, but without an interval, so nothing can be concluded"
        interval = f"95\u202f% interval {points(found.low)} to {points(found.high)}"
        if self.sign == 0:
            return f"no difference shown ({points(found.value)} points, {interval}, which includes 0)"
        size = points(abs(found.value)).lstrip("+")
        return f"{'higher' if self.sign > 0 else 'lower'} by {size} points ({interval})"


def compared(
    metrics: Mapping[str, Metric], first: str, second: str, difference: str = "", *, better: int = 1
) -> Comparison:
    """Compare two metrics by name, by the paired difference of that name where the run measured it."""
    one, other = metrics.get(first), metrics.get(second)
    paired = metrics.get(difference)
    return Comparison(one, other, unpaired_difference(one, other) if paired is None else paired, better)


def picked(metrics: Mapping[str, Metric], split: str, first: str, second: str) -> Comparison:
    """Return best-of-N accuracy of one way to pick against another."""
    stem = f"best_of_n.{split}"
    return compared(
        metrics, f"{stem}.{first}.accuracy", f"{stem}.{second}.accuracy", f"{stem}.{first}_minus_{second}"
    )


def unpaired_difference(first: Metric | None, second: Metric | None) -> Metric | None:
    """Return first − second with an interval made from the two single ones, taken as independent.

    The lower margin is the root of the summed squares of the first's lower and the second's upper margin,
    and the other way round (Newcombe 1998, method 10; Zou and Donner 2008). Positive correlation only makes
    it too wide.
    """
    if first is None or second is None or first.value is None or second.value is None:
        return None
    value = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Metric(value, unit=first.unit)
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Metric(value, low, high, unit=first.unit)


def learned(metrics: Mapping[str, Metric], method: str) -> Comparison:
    """Return the fool rate of the trained adversary against that of the untrained one."""
    return compared(metrics, *(f"attack.{method}.{who}.{STRICT}" for who in ("trained", "frozen")))


def failed_at_the_end(log: Log) -> float:
    """Return the share of attempts in the last ten updates of an attack that left the step correct."""
    known = [share for record in log[-10:] if (share := record.get("failed")) is not None]
    return sum(known) / len(known) if known else 0.0


# --- panels ----------------------------------------------------------------------------------------------------------


def solver_bars(metrics: Mapping[str, Metric], split: str) -> dict[str, list[Bar]]:
    """Return best-of-N accuracy for every way to pick a solution."""
    names = {who: f"best_of_n.{split}.{who}.accuracy" for who in PICKERS}
    return {"": [_bar(metrics[name], PICKERS[who], who) for who, name in names.items() if name in metrics]}


def prm_bars(metrics: Mapping[str, Metric], name: str, labels: Mapping[str, str]) -> dict[str, list[Bar]]:
    """Return a bar for every PRM that was measured, in groups.

    Args:
        name: of a metric, with places for the PRM and the group.
        labels: of the groups by their part of the name.
    """
    return {
        label: [
            _bar(metrics[one], METHOD_NAMES[who], who)
            for who in METHOD_NAMES
            if (one := name.format(who, group)) in metrics
        ]
        for group, label in labels.items()
    }


def kind_bars(metrics: Mapping[str, Metric], kinds: Mapping[str, str]) -> dict[str, list[Bar]]:
    """Return the shares of wrong steps that every PRM accepts, by kind, or by ``known`` to the rules and ``unlisted``."""
    return prm_bars(metrics, "kinds.{}.{}.accepted", kinds)


def kind_panels(metrics: Mapping[str, Metric]) -> list[Panel]:
    """Return what is accepted of the kinds that rules know and of the others, and of every kind."""
    names = (re.fullmatch(r"kinds\.[^.]+\.([^.]+)\.accepted", name) for name in metrics)
    kinds = dict.fromkeys(found[1] for found in names if found is not None)
    several = {kind: kind.replace("_", " ") for kind in kinds if kind not in KNOWN_OR_NOT}
    if not several:
        return []
    return [
        bar_panel("Wrong steps accepted", kind_bars(metrics, KNOWN_OR_NOT)),
        bar_panel("The same by kind of mistake", kind_bars(metrics, several)),
    ]


def _bar(found: Metric, label: str, who: str) -> Bar:
    return Bar(label, ROLES.get(who, "baseline"), found.value, found.low, found.high)


def attack_panels(metrics: Mapping[str, Metric], attacks: Mapping[str, Log | None]) -> list[Panel]:
    """Return the fool rates of all attackers, and how the fresh adversary learns."""
    bars = prm_bars(metrics, f"attack.{{}}.{{}}.{STRICT}", ATTACKERS)
    panels = [bar_panel("Fool rate at equal strictness", bars)]
    curves = [
        Curve(f"against the {METHOD_NAMES[m]}", ROLES[m], points_of(log, "fool_rate"))
        for m, log in attacks.items()
        if log
    ]
    return [*panels, curve_panel("A fresh adversary learns", curves)] if curves else panels


def game_panels(logs: Mapping[str, Log | None]) -> list[Panel]:
    """Return the curves of the training: fool rate of both PRMs, then what else the game was like."""
    fooled = [Curve(METHOD_NAMES[m], ROLES[m], points_of(log, "fool_rate")) for m, log in logs.items() if log]
    panels = [curve_panel("Fool rate during training", fooled)] if fooled else []
    for title, series in GAME_CURVES.items():
        log = logs["aprm"] or []
        drawn = [Curve(label, role, points_of(log, name), dashes) for name, label, role, dashes in series]
        curves = [curve for curve in drawn if any(y is not None for _, y in curve.points)]
        if curves:
            panels.append(curve_panel(title, curves))
    return panels


def points_of(log: Log, name: str) -> list[tuple[float, float | None]]:
    """Return (update, value) of a field over the records."""
    return [(record["update"] or 0.0, record.get(name)) for record in log]


# --- reading ---------------------------------------------------------------------------------------------------------


def read_log(path: Path) -> Log | None:
    """Return the numbers of a training or attack log, without the warm start, whose updates are counted for themselves."""
    if not path.is_file():
        return None
    log = []
    for record in records_of(path):
        if record.values.get("phase", "game") == "game":
            record.number("update")
            names = [name for name in record.values if name != "phase"]
            log.append({name: record.number(name) if record.has(name) else None for name in names})
    return log


def read_cross_play(path: Path) -> dict[str, Any] | None:
    """Return the fool rate of every saved adversary (columns) against every saved PRM, or ``None`` without a file."""
    if not path.is_file():
        return None
    fields = Fields(read_json_object(path, loose=True), file=path)
    columns, rows = fields.integers("adversary_updates"), fields.integers("prm_updates")
    cells = fields.array("fool_rate")
    if len(cells) != len(rows):
        raise fields.error("fool_rate", f"{plural(len(cells), 'row')} for {len(rows)} PRMs")
    for index, row in enumerate(cells):
        checked = Fields({f"fool_rate[{index}]": row}, file=path)
        if len(checked.labels(f"fool_rate[{index}]", booleans=False, unknown=True)) != len(columns):
            raise checked.error(f"fool_rate[{index}]", f"expected {plural(len(columns), 'number')}")
    return {"rows": list(zip(rows, cells, strict=True)), "columns": columns, "n": fields.values.get("n")}
