"""The audit of oracles: how often is each member, and the panel, right on labelled steps?

What is a case, and its label:

- ProcessBench: every step of a solution labelled correct and every step before the first error is ``correct``; the first
  error is ``wrong``. What follows an error is unlabelled and left out.
- PRMBench: every step of an original solution is ``correct`` (solutions that several classes share, up to punctuation,
  count once); the first error of the modified one is ``wrong``, of class ``redundency`` ``needless``: it adds nothing, but
  need not be false. Where the modified solution begins like the original, the original's step in that place is known too.
- Reference solutions (GSM8K, MATH): every step is ``correct``, and each rule perturbation of it is ``wrong``.

Who judges: every member and their combination ``panel``, on the step alone; and, where the correct step in its place is
known, ``panel_against`` (the panel that is given it) and the member ``reference``, which needs it.

| label | measure | share of the label's steps that are called |
|---|---|---|
| ``correct`` | `false_alarm`, `confirmed`, `undecided` | wrong, correct, undecided |
| ``wrong`` | `recall`, `missed`, `undecided_on_errors` | wrong, correct, undecided |
| ``needless`` | `needless_wrong`, `needless_correct`, `needless_undecided` | wrong, correct, undecided |

Contract: verdicts are a function of the cases and the members alone; a run that was killed goes on from its journal if the
cases, the members and the code of the oracles are still the same. What is not made a case is counted in `left_out` under
its reason. `half_of` depends on the problem's text alone, so that all solutions of a problem, in all sets, fall into the
same half. Intervals are over problems, whose steps are not independent.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator
from rich.console import Console

from sparring.errors import DataError, plural
from sparring.evaluation.outcome import (
    CASES_FILE,
    Recomputed,
    markdown,
    markdown_tables,
    raw_records,
    write_evaluation,
)
from sparring.fingerprints import records_digest
from sparring.journals import Journal
from sparring.locks import writes
from sparring.oracles.members import CORE, JUDGE, MEMBERS, check_members, short_name
from sparring.oracles.panel import Panel, combine
from sparring.oracles.perturbations import PERTURBATIONS, style_of
from sparring.oracles.sandbox import SandboxLimits
from sparring.report.page import Run
from sparring.runs import METRICS_FILE, Metric
from sparring.settings import LARGEST_SEED, MANY, Settings
from sparring.statistics import RESAMPLES, bootstrap_mean, proportion
from sparring.terminal import ProgressBar
from sparring.traces.formats.common import Oddity, ReadOptions
from sparring.traces.readers import read_problems_as, read_traces_as, traces_with_places
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Verdict

Label = Literal["correct", "wrong", "needless"]
Half = Literal["development", "held_out", "all"]
REFERENCE_FORMATS = ("gsm8k", "math", "math_steps")
NEEDLESS = frozenset(("redundency", "redundancy"))
PANEL, AGAINST, REFERENCE = "panel", "panel_against", "reference"
MEASURES: dict[str, dict[str, str]] = {
    "correct": {"false_alarm": "wrong", "confirmed": "correct", "undecided": "undecided"},
    "wrong": {"recall": "wrong", "missed": "correct", "undecided_on_errors": "undecided"},
    "needless": {f"needless_{truth}": truth for truth in ("wrong", "correct", "undecided")},
}
SOLUTIONS_FILE = "solutions.jsonl"
BATCH = 512
MAX_SHOWN = 300  # characters of a step in the list of false alarms
_ORNAMENT = re.compile(r"^\s*\d+\.\s|[\W_]+")
_HALF_SALT = "sparring oracle audit, halves, 1\n"


class OracleAuditSettings(Settings):
    """Settings of `sparring eval oracle`; at least one data file must be given."""

    members: list[str] = Field(list(CORE))
    """Members of the panel: names, one's own as file.py:function, or a judge's address (docs/serving.md)."""
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
    reference_steps: int | None = Field(None, ge=1, le=MANY)
    """At most so many steps of each reference file, a random sample; null for all."""
    perturbed_steps: int = Field(1000, ge=0, le=MANY)
    """Reference steps of each file that every kind of perturbation is tried on."""
    kinds: list[str] = Field(list(PERTURBATIONS))
    """Kinds of perturbations (docs/oracles.md)."""
    workers: int | None = Field(None, ge=1)
    """Worker processes of the panel; null for one per core, at most 8."""
    step_seconds: float = Field(5.0, gt=0)
    """Time that a member has for one step; past it, it is undecided."""
    resamples: int = Field(RESAMPLES, ge=1)
    """Bootstrap draws."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
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

    Raises:
        SettingsError: an unknown member.
        DataError: data that cannot be used, or no step in this half.
    """
    check_members(settings.members)  # before any file is read
    found = read_cases(settings)
    journal = out / "cases.partial.jsonl"
    limits = SandboxLimits(seconds=settings.step_seconds)
    with Panel(settings.members, workers=settings.workers, limits=limits) as panel:
        judged = judge_cases(found.cases, panel, journal=journal)
        who = panel.record()
    metrics = write_audit(judged, found, settings, out, console, who)
    journal.unlink(missing_ok=True)
    return metrics


def write_audit(
    judged: Sequence[Judged],
    found: CaseSet,
    settings: OracleAuditSettings,
    out: Path,
    console: Console | None = None,
    who: Mapping[str, Any] | None = None,
) -> dict[str, Metric]:
    """Write all files: verdicts, solutions, and `false_alarms`, the correct steps called wrong, as records and to read."""
    metrics = _measured(judged, found.tried, settings.resamples, settings.seed)
    alarms = false_alarms(judged)
    metrics["left_out"] = Metric(found.left_out.total(), unit="records and steps")
    left_out = dict(+found.left_out)
    return write_evaluation(
        out,
        "oracle",
        settings,
        metrics,
        cases=map(_record, judged),
        worst=None,
        extra={
            "left_out": left_out,
            "panel_reasons": reasons(judged),
            "tried": dict(found.tried),
            **(who or {}),
        },
        files={
            "false_alarms.jsonl": [
                {**_record(one), "question": one.case.problem.question, "prefix": one.case.prefix}
                for one in alarms
            ],
            SOLUTIONS_FILE: _solutions(judged),
            "false_alarms.md": markdown(_alarm_rows(alarms)),
            "tables.md": markdown_tables("oracle", metrics),
        },
        notes=[
            *(f"left out: {count} × {reason}" for reason, count in left_out.items()),
            f"{len(alarms)} correct steps called wrong by a judge: {out / 'false_alarms.md'}",
        ],
        console=console,
    )


def _measured(
    judged: Sequence[Judged], tried: Mapping[str, int], resamples: int, seed: int
) -> dict[str, Metric]:
    """Return all rates, the share of steps that a kind of perturbation could be made of, and two counts."""
    metrics = rates(judged, resamples=resamples, seed=seed)
    made = Counter(group for one in judged for group in one.case.groups)
    metrics |= {f"{group}.applies": proportion(made[group], count) for group, count in tried.items()}
    metrics["cases"] = Metric(len(judged), unit="steps")
    metrics["false_alarms"] = Metric(len(false_alarms(judged)), unit="steps")
    return metrics


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` and `solutions.jsonl`, which has the questions, give once more."""
    questions = {
        (record["set"], record["problem"]): record["question"]
        for record in raw_records(run.folder / SOLUTIONS_FILE)
    }
    judged = []
    for record in raw_records(run.folder / CASES_FILE):
        groups, (problem, _, _) = tuple(record["sets"]), record["place"].rpartition(".")
        whole = Problem(problem, questions[groups[0].partition(".")[0], problem])
        case = Case(groups, record["label"], record["place"], whole, (), record["step"], record["original"])
        judged.append(Judged(case, _verdicts(record)))
    if "tried" not in run.extra:
        message = "is missing: an earlier version wrote this run, and left it out"
        raise DataError(message, file=run.folder / METRICS_FILE, field="extra.tried")
    settings = run.settings
    metrics = _measured(judged, run.extra["tried"], settings["resamples"], settings["seed"])
    return Recomputed(
        metrics,
        {"false_alarms.jsonl": [_record(one) for one in false_alarms(judged)]},
        extra={"panel_reasons": reasons(judged)},
    )


def _record(one: Judged) -> dict[str, Any]:
    """Return a case and its verdicts as they are written."""
    return {
        "sets": one.case.groups,
        "place": one.case.place,
        "label": one.case.label,
        "step": one.case.step,
        "original": one.case.original,
        "verdicts": one.verdicts,
    }


def _solutions(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return, per set and problem, the question and the steps as far as they are known, without planted mistakes."""
    found: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}
    for one in judged:
        case = one.case
        steps = (*case.prefix, case.step if case.original is None else case.original)
        key = case.groups[0].partition(".")[0], case.problem.id
        if len(steps) > len(found.get(key, ("", ()))[1]):
            found[key] = case.problem.question, steps
    return [
        {"set": base, "problem": problem, "question": question, "steps": steps}
        for (base, problem), (question, steps) in found.items()
    ]


def _alarm_rows(found: Sequence[Judged]) -> list[tuple[str, ...]]:
    """Return a row per correct step that is called wrong: by whom, and the first one's reason."""
    rows: list[tuple[str, ...]] = [("set", "step", "called wrong by", "reason", "detail", "text")]
    for one in found:
        case, verdict = one.case, next(iter(one.verdicts.values()))
        shown = case.step if len(case.step) <= MAX_SHOWN else case.step[: MAX_SHOWN - 1] + "…"
        judges = ", ".join(one.verdicts)
        rows.append((case.groups[0], case.place, judges, verdict.reason, verdict.detail, shown))
    return rows


# --- cases -----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A labelled step.

    Attributes:
        groups: the sets whose rates it counts in.
        label: ``correct``, ``wrong`` or ``needless``.
        place: the problem's id and the step's index from 0, ``id.index``.
        problem: the problem.
        prefix: the steps before.
        step: what is judged.
        original: the correct step in its place, where it is known and another text.
    """

    groups: tuple[str, ...]
    label: Label
    place: str
    problem: Problem
    prefix: tuple[str, ...]
    step: str
    original: str | None = None


@dataclass(slots=True)
class CaseSet:
    """Cases of one half, in order.

    Attributes:
        half: which half.
        cases: the labelled steps.
        left_out: how much was left out, by reason.
        tried: on how many steps a kind of perturbation was tried, by group; fewer are made.
    """

    half: Half
    cases: list[Case] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)

    def takes(self, problem: Problem, what: str) -> bool:
        """Whether a problem is in the half that is measured; counted if it is not."""
        inside = self.half in ("all", half_of(problem.question))
        self.left_out[f"{what} of the other half"] += not inside
        return inside


def read_cases(settings: OracleAuditSettings) -> CaseSet:
    """Return the cases that the settings name.

    Raises:
        DataError: a file cannot be used, two files have one name, or no step is in this half.
    """
    found = CaseSet(settings.half)
    names: set[tuple[str, str]] = set()
    for kind in ("processbench", *REFERENCE_FORMATS):
        for file in map(Path, getattr(settings, kind)):
            if (kind, file.stem) in names:
                raise DataError(
                    "another file of this kind has this name too: sets are named by file", file=file
                )
            names.add((kind, file.stem))
            if kind == "processbench":
                add_processbench(found, file)
            else:
                add_references(found, file, kind, settings)
    if settings.prmbench is not None:
        add_prmbench(found, Path(settings.prmbench))
    if not found.cases:
        raise DataError(f"no step of the half {settings.half!r} in these files", field="half")
    return found


def half_of(question: str) -> Literal["development", "held_out"]:
    """Return the half that a problem belongs to: the parity of a SHA-256 of its text, white space made single spaces."""
    digest = hashlib.sha256(
        (_HALF_SALT + " ".join(question.split())).encode("utf-8", "surrogatepass")
    ).digest()
    return "held_out" if digest[0] & 1 else "development"


def add_processbench(found: CaseSet, path: Path) -> None:
    """Add the steps of a ProcessBench file as the group ``processbench_<name of the file>``.

    The groups ``….before_error`` and ``….correct_solutions`` hold the two kinds of correct steps apart.

    Raises:
        DataError: the file cannot be used, or a trace has no first-error label.
    """
    group = f"processbench_{name_part(path.stem)}"
    read = read_traces_as(path)
    found.left_out["record skipped by the reader"] += len(read.skipped)
    for trace in read.traces:
        end = trace.first_error
        if end is None:
            raise DataError(f"trace {trace.problem.id!r} has no first-error label", file=path, field="label")
        if not found.takes(trace.problem, "ProcessBench solution"):
            continue
        part = f"{group}.correct_solutions" if end < 0 else f"{group}.before_error"
        correct = len(trace.steps) if end < 0 else end
        found.cases += _cases(trace, range(correct), (group, part), "correct")
        if end >= 0:
            found.cases += _cases(trace, (end,), (group,), "wrong")
            found.left_out["ProcessBench step after the first error"] += len(trace.steps) - end - 1


def add_prmbench(found: CaseSet, folder: Path) -> None:
    """Add the pairs of a folder of PRMBench files: groups ``prmbench_original`` and ``prmbench_<name of the class>``.

    Raises:
        DataError: there is no such file, or one cannot be used.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise DataError("no PRMBench file (*.jsonl) in this folder", file=folder)
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for path in files:
        originals: dict[int, Trace | None] = {}  # by line; None: of the other half, where it is counted
        for _, line, one in traces_with_places(path, "prmbench", ReadOptions(prmbench_process="both")):
            if isinstance(one, Oddity):
                side = "original" if "original_process" in one.reason else "modified"
                found.left_out[f"PRMBench {side} solution: {one.reason}"] += 1
            elif one.source == "reference":
                taken = found.takes(one.problem, "PRMBench pair")
                originals[line] = one if taken else None
                bare = tuple(_ORNAMENT.sub("", step) for step in one.steps)
                key = (one.problem.question, bare)
                found.left_out["PRMBench original solution met before"] += taken and key in seen
                if taken and key not in seen:
                    seen.add(key)
                    found.cases += _cases(one, range(len(one.steps)), ("prmbench_original",), "correct")
            elif line not in originals:
                found.left_out["PRMBench modified solution: its original is left out"] += 1
            elif (original := originals[line]) is not None:
                _add_modified(found, one, original, path)


def _add_modified(found: CaseSet, trace: Trace, original: Trace, path: Path) -> None:
    """Add the first error of a modified solution, in which every step is labelled."""
    place = trace.first_error
    if place is None or place < 0:
        found.left_out["PRMBench modified solution: it has no error"] += 1
        return
    kind = name_part(str(trace.meta.get("classification", path.stem)))
    aligned = trace.steps[:place] == original.steps[:place] and place < len(original.steps)
    before = original.steps[place] if aligned else None
    if before is None:
        found.left_out["PRMBench error judged without its original: the solutions differ before it"] += 1
    elif before == trace.steps[place]:
        found.left_out["PRMBench error judged without its original: the same text"] += 1
        before = None
    label: Label = "needless" if kind in NEEDLESS else "wrong"
    found.cases += _cases(trace, (place,), (f"prmbench_{kind}",), label, before)


def add_references(found: CaseSet, path: Path, data_format: str, settings: OracleAuditSettings) -> None:
    """Add the steps of reference solutions, and each kind of perturbation of some of them.

    The groups are ``<format>_<name of the file>`` and, for perturbations, that with ``.<kind>.<style>``; those that are
    computable in their style also count in ``….computable``.

    Raises:
        DataError: the file cannot be used.
    """
    seed = settings.seed
    group = f"{data_format}_{name_part(path.stem)}"
    read = read_problems_as(path, data_format)
    found.left_out["record skipped by the reader"] += len(read.skipped)
    cases: list[Case] = []
    for problem in read.problems:
        if problem.solution is None:
            found.left_out["problem without a reference solution"] += 1
        elif found.takes(problem, "reference solution"):
            trace = Trace(problem, problem.solution)
            cases += _cases(trace, range(len(trace.steps)), (group,), "correct")
    chosen = sampled(cases, settings.reference_steps, f"{seed} steps {group}")
    found.cases += chosen
    found.left_out[f"reference step of {group} not in the sample"] += len(cases) - len(chosen)
    for case in sampled(cases, settings.perturbed_steps, f"{seed} perturbed {group}"):
        style = style_of(case.step)
        for kind in settings.kinds:
            groups: tuple[str, ...] = (f"{group}.{kind}.{style}",)
            found.tried[groups[0]] += 1
            rng = random.Random(f"{seed} {kind} {case.place}")
            made = PERTURBATIONS[kind](case.problem, case.prefix, case.step, rng)
            if made is None or made == case.step:
                continue
            if style in PERTURBATIONS[kind].computable:
                groups += (f"{group}.computable",)
            found.cases.append(Case(groups, "wrong", case.place, case.problem, case.prefix, made, case.step))


def sampled(cases: Sequence[Case], count: int | None, seed: str) -> list[Case]:
    """Return a random sample in the cases' order, or all of them."""
    if count is None or count >= len(cases):
        return list(cases)
    return [cases[place] for place in sorted(random.Random(seed).sample(range(len(cases)), count))]


def name_part(name: str) -> str:
    """Return a name as a part of a metric's."""
    return re.sub(r"[^A-Za-z0-9_+@-]", "_", name)


def _cases(
    trace: Trace, places: Iterable[int], groups: tuple[str, ...], label: Label, original: str | None = None
) -> list[Case]:
    problem, steps = trace.problem, trace.steps
    return [
        Case(groups, label, f"{problem.id}.{place}", problem, steps[:place], steps[place], original)
        for place in places
    ]


# --- judging, with a journal -----------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """A case with the verdict of every judge that had a say, by the judge's name."""

    case: Case
    verdicts: Mapping[str, Verdict]


def judge_cases(
    cases: Sequence[Case], panel: Panel, *, journal: Path | None = None, console: Console | None = None
) -> list[Judged]:
    """Return every case with its verdicts, going on from `journal` where it fits; the caller removes it.

    Raises:
        SettingsError: a member cannot be loaded, or the journal is of other cases or oracles.
        DataError: a line of the journal is damaged.
    """
    console = console or Console(stderr=True)
    keys = [_case_digest(case) for case in cases]
    done: dict[str, dict[str, Verdict]] = {}
    with ExitStack() as stack:
        kept = None
        if journal is not None:
            digest = hashlib.sha256("".join(keys).encode()).hexdigest()
            job = {"oracles": _panel_digest(panel), "cases": digest}
            kept = stack.enter_context(Journal(journal, job, lambda record: record["case"]))
            done = {record["case"]: _verdicts(record) for record in kept.found.values()}
        if done:
            console.print(
                f"continuing: {sum(key in done for key in keys)} of {plural(len(cases), 'step')} judged already",
                highlight=False,
            )
        waiting = [place for place, key in enumerate(keys) if key not in done]
        progress = stack.enter_context(ProgressBar(console))
        task = progress.add_task("judging", total=len(cases), completed=len(cases) - len(waiting))
        for start in range(0, len(waiting), BATCH):
            part = waiting[start : start + BATCH]
            for place, verdicts in zip(part, _judged([cases[place] for place in part], panel), strict=True):
                done[keys[place]] = verdicts
                if kept is not None:
                    kept.add({"case": keys[place], "verdicts": verdicts})
            progress.advance(task, len(part))
    return [Judged(case, done[key]) for case, key in zip(cases, keys, strict=True)]


def _judged(cases: Sequence[Case], panel: Panel) -> list[dict[str, Verdict]]:
    """Return the verdicts of every judge on some cases."""
    alone = panel.judge_members_many([(case.problem, case.prefix, None, case.step) for case in cases])
    known = [case for case in cases if case.original is not None]
    against = iter(
        panel.judge_members_many([(case.problem, case.prefix, case.original, case.step) for case in known])
    )
    rows = []
    for case, members in zip(cases, alone, strict=True):
        # The member that needs the original has no say without it.
        row = {name: verdict for name, verdict in members.items() if name != REFERENCE}
        if row:
            row[PANEL] = combine(members)
        if case.original is not None:
            compared = next(against)
            row[AGAINST] = combine(compared, compared=True)
            row |= {REFERENCE: compared[REFERENCE]} if REFERENCE in compared else {}
        rows.append({judge_name(name): verdict for name, verdict in row.items()})
    return rows


def judge_name(name: str) -> str:
    """Return a judge's name for metrics; one's own member ``file.py:function`` is called ``file-function``."""
    if name in MEMBERS or name in (PANEL, AGAINST, JUDGE):
        return name
    return name_part(f"{short_name(name)}-{name.rpartition(':')[2]}")


def _panel_digest(panel: Panel) -> str:
    """Return a SHA-256 of all that the verdicts depend on beside the cases: members, and the code of the oracles."""
    members = panel.members
    digest = hashlib.sha256(json.dumps(list(members)).encode())
    if (judge := getattr(panel, "judge_member", None)) is not None:
        digest.update(judge.key.encode())
    package = Path(__file__).parents[1]
    files = sorted([*package.glob("oracles/*.py"), *package.glob("contrib/oracles/*.py")])
    own = [Path(name.rpartition(":")[0]) for name in members if name not in MEMBERS]
    for file in [*files, *(file for file in own if file.is_file())]:
        digest.update(file.name.encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()


def _case_digest(case: Case) -> str:
    """Return a SHA-256 of what the judges see of a case."""
    return records_digest(
        [[case.problem.question, case.problem.answer, case.prefix, case.step, case.original]]
    )


def _verdicts(record: Mapping[str, Any]) -> dict[str, Verdict]:
    """Return the verdicts of a record by judge."""
    return {
        judge: Verdict(
            given["truth"], given["reason"], given["detail"], given["span"] and tuple(given["span"])
        )
        for judge, given in record["verdicts"].items()
    }


# --- rates -----------------------------------------------------------------------------------------------------------


def rates(judged: Sequence[Judged], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Metric]:
    """Return ``<group>.<judge>.<measure>`` for every group, label and judge that there is."""
    sets: dict[tuple[str, str, str], list[Judged]] = {}
    for one in judged:
        for group in one.case.groups:
            for judge in one.verdicts:
                sets.setdefault((group, judge, one.case.label), []).append(one)
    metrics = {}
    for (group, judge, label), members in sets.items():
        problems = [one.case.problem.question for one in members]
        for measure, truth in MEASURES[label].items():
            hits = [float(one.verdicts[judge].truth == truth) for one in members]
            metrics[f"{group}.{judge}.{measure}"] = bootstrap_mean(
                hits, clusters=problems, resamples=resamples, seed=seed, unit="fraction"
            )
    return metrics


def reasons(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """Return, per ``<group>.<label>``, how often the panel gave each ``truth reason``, most frequent first."""
    found: dict[str, Counter[str]] = {}
    for one in judged:
        verdict = one.verdicts.get(PANEL) or one.verdicts.get(AGAINST)
        if verdict is not None:
            key = f"{one.case.groups[0]}.{one.case.label}"
            found.setdefault(key, Counter())[f"{verdict.truth} {verdict.reason}"] += 1
    return {key: dict(counter.most_common()) for key, counter in found.items()}


def false_alarms(judged: Sequence[Judged]) -> list[Judged]:
    """Return the correct steps that some judge calls wrong, with those verdicts alone."""
    correct = (one for one in judged if one.case.label == "correct")
    alarms = (
        Judged(one.case, {judge: said for judge, said in one.verdicts.items() if said.truth == "wrong"})
        for one in correct
    )
    return [alarm for alarm in alarms if alarm.verdicts]
