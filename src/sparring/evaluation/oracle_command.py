"""What `sparring eval oracle` does: read, judge, measure, write, show.

Contract: bad settings and bad data raise a SparringError before anything is judged; what is left out is counted and shown.
A run that was killed goes on from its journal when it is started again with the same settings and code. Not here: what a
case is (`oracle_cases.py`), what is measured (`oracle_audit.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from rich.console import Console

from sparring.errors import DataError
from sparring.evaluation.oracle_audit import Judged, false_alarms, judge_cases, rates, reasons
from sparring.evaluation.oracle_cases import (
    CaseSet,
    Half,
    add_prmbench,
    add_processbench,
    add_references,
)
from sparring.evaluation.oracle_tables import (
    control_rows,
    false_alarm_rows,
    label_rows,
    markdown,
    perturbation_rows,
    rich_table,
)
from sparring.evaluation.tables import plain
from sparring.files import atomic_write_jsonl, atomic_write_text
from sparring.locks import writes
from sparring.oracles.members import MEMBERS, check_members
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.oracles.sandbox import SandboxLimits
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.settings import Settings, dump_settings
from sparring.statistics import RESAMPLES, proportion

REFERENCE_FORMATS = ("gsm8k", "math", "math_steps")


class OracleAuditSettings(Settings):
    """Settings of `sparring eval oracle`; at least one data file must be given."""

    members: list[str] = Field(list(MEMBERS))
    """Members of the panel: names, or one's own as file.py:function."""
    processbench: list[str] = Field([])
    """ProcessBench files, one per subset."""
    prmbench: str | None = None
    """Folder of PRMBench files, one per class of errors."""
    gsm8k: list[str] = Field([])
    """GSM8K files: reference solutions, and rule perturbations of their steps."""
    math: list[str] = Field([])
    """MATH files, a step per paragraph of the solution."""
    math_steps: list[str] = Field([])
    """Step-split MATH solutions."""
    half: Half = "all"
    """Which half of the problems: rules are read off development, rates are claimed on held_out."""
    reference_steps: int | None = Field(None, ge=1)
    """At most so many steps of each reference file, a random sample; null for all."""
    perturbed_steps: int = Field(1000, ge=0)
    """Reference steps of each file that every kind of perturbation is tried on."""
    kinds: list[str] = Field(list(PERTURBATIONS))
    """Kinds of perturbations (docs/oracle_audit.md)."""
    workers: int | None = Field(None, ge=1)
    """Worker processes of the panel; null for one per core, at most 8."""
    step_seconds: float = Field(5.0, gt=0)
    """Time that a member has for one step; past it, it is undecided."""
    resamples: int = Field(RESAMPLES, ge=1)
    """Bootstrap draws."""
    seed: int = Field(0, ge=0)
    """Seed of the samples, the perturbations and the bootstrap."""

    @model_validator(mode="after")
    def _usable(self) -> OracleAuditSettings:
        if not (self.processbench or self.prmbench or self.gsm8k or self.math or self.math_steps):
            raise ValueError("give data: processbench, prmbench, gsm8k, math or math_steps")
        unknown = [kind for kind in self.kinds if kind not in PERTURBATIONS]
        if unknown:
            raise ValueError(f"unknown kind {unknown[0]!r} (known: {', '.join(PERTURBATIONS)})")
        return self


@writes("out")
def audit_oracles(
    settings: OracleAuditSettings, out: Path, *, console: Console | None = None
) -> dict[str, Metric]:
    """Measure a panel and its members on labelled steps; names ``oracle.<set>.<judge>.<measure>``.

    Writes into `out`: `metrics.json`, `cases.jsonl` (every verdict), `false_alarms.jsonl` and `false_alarms.md` (correct
    steps called wrong, for reading), `tables.md`, `report.html`.

    Raises:
        SettingsError: an unknown member.
        DataError: data that cannot be used, or no step in this half.
    """
    console = console or Console()
    check_members(settings.members)  # before any file is read
    found = read_cases(settings)
    journal = out / "cases.partial.jsonl"
    limits = SandboxLimits(seconds=settings.step_seconds)
    with Panel(settings.members, workers=settings.workers, limits=limits) as panel:
        judged = judge_cases(found.cases, panel, journal=journal)
    metrics = write_audit(judged, found, settings, out)
    journal.unlink(missing_ok=True)
    for title, rows in tables_of(metrics):
        console.print(rich_table(title, rows))
    for reason, count in (+found.left_out).items():
        console.print(f"left out: {count} × {plain(reason)}", style="yellow", highlight=False)
    alarms = metrics["oracle.false_alarms"].value
    console.print(
        f"{alarms} correct steps called wrong by a judge: {out / 'false_alarms.md'}", highlight=False
    )
    show_evaluation_report(out, console)
    return metrics


def read_cases(settings: OracleAuditSettings) -> CaseSet:
    """Return the cases that the settings name.

    Raises:
        DataError: a file cannot be used, two files have one name, or no step is in this half.
    """
    found = CaseSet(settings.half)
    names: set[tuple[str, str]] = set()
    files = [
        (name, file) for name in ("processbench", *REFERENCE_FORMATS) for file in getattr(settings, name)
    ]
    for name, file in files:
        if (name, Path(file).stem) in names:
            raise DataError("another file of this kind has this name too: sets are named by file", file=file)
        names.add((name, Path(file).stem))
        if name == "processbench":
            add_processbench(found, Path(file))
        else:
            add_references(
                found,
                Path(file),
                name,
                steps=settings.reference_steps,
                perturbed=settings.perturbed_steps,
                kinds=settings.kinds,
                seed=settings.seed,
            )
    if settings.prmbench is not None:
        add_prmbench(found, Path(settings.prmbench))
    if not found.cases:
        raise DataError(f"no step of the half {settings.half!r} in these files", field="half")
    return found


def write_audit(
    judged: Sequence[Judged], found: CaseSet, settings: OracleAuditSettings, out: Path
) -> dict[str, Metric]:
    """Write all files but the journal and return the metrics."""
    shares = rates(judged, resamples=settings.resamples, seed=settings.seed)
    alarms = false_alarms(judged)
    metrics = {f"oracle.{name}": metric for name, metric in shares.items()}
    made = Counter(group for one in judged for group in one.case.groups)
    for group, tried in found.tried.items():
        metrics[f"oracle.{group}.applies"] = proportion(made[group], tried)
    metrics["oracle.cases"] = Metric(len(judged), unit="steps")
    metrics["oracle.false_alarms"] = Metric(len(alarms), unit="steps")
    metrics["oracle.left_out"] = Metric(found.left_out.total(), unit="records and steps")
    atomic_write_jsonl(out / "cases.jsonl", map(case_record, judged))
    atomic_write_jsonl(out / "false_alarms.jsonl", (_readable(one) for one in alarms))
    atomic_write_text(out / "false_alarms.md", markdown(false_alarm_rows(alarms)))
    atomic_write_text(out / "tables.md", markdown_tables(metrics))
    extra = {"left_out": dict(+found.left_out), "panel_reasons": reasons(judged)}
    write_metrics(out, metrics, settings=dump_settings(settings), seed=settings.seed, extra=extra)
    return metrics


def case_record(one: Judged) -> dict[str, Any]:
    """Return a case and its verdicts as they are written."""
    return {
        "sets": one.case.groups,
        "place": one.case.place,
        "label": one.case.label,
        "step": one.case.step,
        "original": one.case.original,
        "verdicts": one.verdicts,
    }


def _readable(one: Judged) -> dict[str, Any]:
    """Return the same with what it needs to be read on its own."""
    return {**case_record(one), "question": one.case.problem.question, "prefix": one.case.prefix}


def tables_of(metrics: dict[str, Metric]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield (title, rows) of the tables that have rows."""
    named = {name.removeprefix("oracle."): metric for name, metric in metrics.items()}
    for title, rows in (
        ("Labelled steps", label_rows(named)),
        ("Needless steps (not necessarily wrong)", control_rows(named)),
        ("Rule perturbations found", perturbation_rows(named)),
    ):
        if len(rows) > 1:
            yield title, rows


def markdown_tables(metrics: dict[str, Metric]) -> str:
    """Return the tables as Markdown."""
    return "\n".join(f"### {title}\n\n{markdown(rows)}" for title, rows in tables_of(metrics))
