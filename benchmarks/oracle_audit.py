"""Audit of the panel of oracles and its members on real steps: the numbers of docs/oracles.md.

    python benchmarks/oracle_audit.py --data data

Contract: reads GSM8K, MATH, ProcessBench and PRMBench from `--data` (sets that are absent are named and skipped), judges
every step as `sparring eval oracle` does, and writes `oracle_audit.json` (the layout of metrics.json) and `oracle_audit.md`
into `--results`, all verdicts and the list of false alarms into `--out`. Labelled steps are counted for all problems and
for each half: rules may be read off the development half, claims rest on the held-out half.

Added here, for false alarms of the comparison with a correct original, are texts that the package did not make: the
meaning-keeping rewrites and the real pairs of `oracle_rewrites.py`. Of pairs of solutions that both end correctly, single
steps can be wrong, so that their false alarms are an upper bound; likewise for `presumed_correct` solutions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from oracle_rewrites import REWRITERS, real_pairs
from publishing import DATA, command_line, shown
from sparring.errors import SparringError
from sparring.evaluation.oracle import (
    AGAINST,
    PANEL,
    REFERENCE,
    Case,
    Half,
    Judged,
    OracleAuditSettings,
    half_of,
    judge_cases,
    rates,
    read_cases,
    sampled,
    write_audit,
)
from sparring.evaluation.outcome import markdown, markdown_tables
from sparring.files import atomic_write_text
from sparring.json_files import read_jsonl_objects
from sparring.oracles.members import MEMBERS
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.oracles.sandbox import SandboxLimits
from sparring.runs import Metric, machine, source_commit, write_metrics
from sparring.settings import dump_settings
from sparring.traces.readers import read_problems_as, read_traces_as
from sparring.traces.records import Problem

SETS = {
    "processbench": ("processbench/gsm8k.json", "processbench/math.json"),
    "gsm8k": ("gsm8k/train.jsonl", "gsm8k/test.jsonl"),
    "math": ("math/solutions.jsonl",),
    "math_steps": ("math/train_traces.jsonl",),
}
SOLUTIONS = Path("gsm8k") / "example_model_solutions.jsonl"
EXTRA = ("rewrite", "pair")
Rows = list[tuple[str, ...]]  # the first row holds the headings


def settings_for(data: Path, arguments: argparse.Namespace) -> OracleAuditSettings:
    """Return the settings of the audit on what is there; says on stderr what is not."""
    there = {
        name: [str(data / file) for file in files if present(data / file)] for name, files in SETS.items()
    }
    prmbench = str(data / "prmbench") if present(data / "prmbench") else None
    return OracleAuditSettings(
        **there,
        prmbench=prmbench,
        members=arguments.members.split(","),
        reference_steps=arguments.reference_steps,
        perturbed_steps=arguments.perturbed_steps,
        workers=arguments.workers,
        seed=arguments.seed,
    )


def present(path: Path) -> bool:
    """Return whether a file or folder is there; says so on stderr where not."""
    if not path.exists():
        print(f"skipped: {path} is not there", file=sys.stderr)
    return path.exists()


# --- texts that the package did not make ---


def presumed_correct(path: Path) -> list[Case]:
    """Return the steps of model solutions with a correct final answer."""
    return [
        Case(("gsm8k_model_solutions_presumed_correct",), "correct", f"{trace.problem.id}.{place}", trace.problem,
             trace.steps[:place], step)
        for trace in read_traces_as(path, "gsm8k_solutions").traces
        if trace.outcome
        for place, step in enumerate(trace.steps)
        if not step.startswith("A:")
    ]  # fmt: skip


def rewrites(path: Path, seed: int, steps: int) -> list[Case]:
    """Return rewritten reference steps against their originals, and the originals against them."""
    cases = [
        Case((), "correct", f"{problem.id}.{place}", problem, problem.solution[:place], step)
        for problem in read_problems_as(path, "gsm8k").problems
        if problem.solution is not None
        for place, step in enumerate(problem.solution)
    ]
    made = []
    for case in sampled(cases, steps, f"{seed} rewrites"):
        for name, rewriter in REWRITERS.items():
            text = rewriter(case.step)
            if text is not None:
                groups = (f"rewrite.{name}", "rewrite.all")
                for original, step in ((case.step, text), (text, case.step)):
                    made.append(
                        Case(groups, "correct", case.place, case.problem, case.prefix, step, original)
                    )
    return made


def pairs(path: Path, seed: int, most: int) -> list[Case]:
    """Return a sample of steps at the same place of two solutions of one problem that both end correctly."""
    records = (record for _, record in read_jsonl_objects(path))
    cases = [
        Case((f"pair.{pair.kind}",), "correct", pair.case, Problem(pair.case, pair.question), pair.prefix,
             pair.step, pair.original)
        for pair in real_pairs(records)
        if pair.kind != "wrong_answer"
    ]  # fmt: skip
    return sampled(cases, most, f"{seed} pairs")


# --- the report ---


def comparison_rows(metrics: dict[str, Metric]) -> Rows:
    """Return a row per kind of rewrite and pair: what the panel and the reference alone say, the original known."""
    rows: Rows = [
        ("kind", "pairs", "panel: wrong", "panel: correct", "reference: wrong", "reference: correct")
    ]
    for name in metrics:
        group = name.removesuffix(f".{AGAINST}.false_alarm")
        if group != name and group.split(".")[0] in EXTRA:
            shares = [
                shown(metrics.get(f"{group}.{judge}.{measure}"), digits=2)
                for judge in (AGAINST, REFERENCE)
                for measure in ("false_alarm", "confirmed")
            ]
            rows.append((group, str(metrics[name].n), *shares))
    return rows


def report(judged: Sequence[Judged], settings: OracleAuditSettings) -> tuple[dict[str, Metric], str]:
    """Return the metrics, named ``<half>.<set>.<judge>.<measure>``, and the tables; of the halves only the panel's."""
    labelled = [one for one in judged if one.case.groups[0].split(".")[0] not in EXTRA]
    compared = [one for one in judged if one.case.groups[0].split(".")[0] in EXTRA]
    everything: dict[str, Metric] = {}
    parts = []
    for half in get_args(Half):
        inside = [one for one in labelled if half in ("all", half_of(one.case.problem.question))]
        found = rates(inside, resamples=settings.resamples, seed=settings.seed)
        told = is_shown if half == "all" else is_of_panel
        found = {name: metric for name, metric in found.items() if told(name)}
        everything |= {f"{half}.{name}": metric for name, metric in found.items() if is_kept(name)}
        parts.append(f"## {half.replace('_', ' ').capitalize()}\n\n{markdown_tables('oracle', found)}")
    found = rates(compared, resamples=settings.resamples, seed=settings.seed)
    everything |= {f"all.{name}": metric for name, metric in found.items() if is_kept(name)}
    parts.append(
        f"## Rewrites and pairs that should not be called wrong\n\n{markdown(comparison_rows(found))}"
    )
    return everything, "\n".join(parts)


def is_of_panel(name: str) -> bool:
    """Whether a metric is the panel's on a labelled set, or on all computable mistakes together."""
    _, *rest, judge, _ = name.split(".")
    return judge in (PANEL, AGAINST) and not (rest and rest[0] in PERTURBATIONS)


def is_shown(name: str) -> bool:
    """Whether a metric belongs into the tables: of parts of a set only the panel's."""
    _, *rest, judge, _ = name.split(".")
    return judge == PANEL or not rest or rest[0] not in ("before_error", "correct_solutions")


def is_kept(name: str) -> bool:
    """Whether a metric belongs into the results; the rest is left in `--out`.

    Of planted mistakes and rewrites only what the comparison says; of members what they call wrong, and correct.
    """
    first, *rest, judge, measure = name.split(".")
    if not is_shown(name):
        return False
    if first in EXTRA or (rest and rest[0] in PERTURBATIONS):
        return judge == AGAINST and measure in ("false_alarm", "confirmed", "recall", "missed")
    return judge in (PANEL, AGAINST) or measure in ("false_alarm", "confirmed", "recall")


def portable(settings: OracleAuditSettings, data: Path) -> dict[str, object]:
    """Return the settings with the data files named from their folder on."""

    def named(value: object) -> object:
        if isinstance(value, list):
            return [named(item) for item in value]
        return (
            str(Path(value).relative_to(data))
            if isinstance(value, str) and Path(value).is_relative_to(data)
            else value
        )

    return {name: named(value) for name, value in dump_settings(settings).items()}


def head(settings: OracleAuditSettings) -> str:
    """Return what the tables were measured with."""
    return (
        "# Audit of the oracles\n\n"
        f"Members: {', '.join(settings.members)}. Percent with 95 % intervals (bootstrap over problems; Wilson\n"
        f"where few of them vary). Seed {settings.seed}; at most {settings.reference_steps} steps of each "
        f"reference file;\neach kind of perturbation tried on {settings.perturbed_steps} steps of each. Commit "
        f"{source_commit()}; {machine()['processor']}.\nDefinitions: [the audit](../../docs/oracles.md#the-audit). "
        "Made by `python benchmarks/oracle_audit.py`.\n\n"
        "**No set here is fresh.** Rules were read off false alarms in the development halves, and the first rules of\n"
        "arithmetic off all of ProcessBench and GSM8K, before there were halves. Since then held-out false alarms\n"
        "have been read (no rule was changed for them), and rates looked at several times while rules changed, so\n"
        "that they are somewhat optimistic too. Some false alarms are wrong labels; all are counted.\n\n"
    )


def main() -> int:
    """Parse the command line, judge, and write all files."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="with gsm8k/, math/, processbench/, prmbench/"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/oracle_audit"), help="folder for the verdicts")
    parser.add_argument("--members", default=",".join(MEMBERS), help="members of the panel, with commas")
    parser.add_argument("--reference-steps", type=int, default=4000, help="steps of each reference file")
    parser.add_argument("--perturbed-steps", type=int, default=1000, help="tries of each kind, per file")
    parser.add_argument("--rewritten-steps", type=int, default=1000, help="GSM8K train steps to rewrite")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs of real steps")
    parser.add_argument("--workers", type=int, default=None, help="worker processes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        settings = settings_for(arguments.data, arguments)
        found = read_cases(settings)
        if present(solutions := arguments.data / SOLUTIONS):
            found.cases += presumed_correct(solutions)
            found.cases += pairs(solutions, settings.seed, arguments.pairs)
        if present(train := arguments.data / "gsm8k" / "train.jsonl"):
            found.cases += rewrites(train, settings.seed, arguments.rewritten_steps)
        limits = SandboxLimits(seconds=settings.step_seconds)
        journal = arguments.out / "cases.partial.jsonl"
        with Panel(settings.members, workers=settings.workers, limits=limits) as panel:
            judged = judge_cases(found.cases, panel, journal=journal)
        write_audit(judged, found, settings, arguments.out, Console(quiet=True))
        journal.unlink(missing_ok=True)
        metrics, text = report(judged, settings)
        extra = {"left_out": dict(+found.left_out)}
        written = write_metrics(
            arguments.out / "halves",
            metrics,
            settings=portable(settings, arguments.data),
            seed=settings.seed,
            extra=extra,
        )
        atomic_write_text(arguments.results / "oracle_audit.json", written.read_text(encoding="utf-8"))
        atomic_write_text(arguments.results / "oracle_audit.md", head(settings) + text)
    except (SparringError, ValueError) as error:
        Console(stderr=True).print(f"error: {error}", style="bold red", markup=False)
        return 2
    print(f"written: {arguments.results / 'oracle_audit.md'}, {arguments.out / 'false_alarms.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
