"""The audit of oracles: how often is each member, and the panel, right on labelled steps?

Who judges: every member and their combination ``panel``, on the step alone; and, where the correct step in its place is
known, ``panel_against`` (the panel that is given it) and the member ``reference``, which needs it.

| label | measure | share of the label's steps that are called |
|---|---|---|
| ``correct`` | `false_alarm`, `confirmed`, `undecided` | wrong, correct, undecided |
| ``wrong`` | `recall`, `missed`, `undecided_on_errors` | wrong, correct, undecided |
| ``needless`` | `needless_wrong`, `needless_correct`, `needless_undecided` | wrong, correct, undecided |

Intervals are 95 % and over problems (their steps are not independent), Wilson's where few of them vary (`statistics.py`).

Contract: verdicts are a function of the cases and the members alone; a run that was killed goes on from its journal if the
cases, the members and the code of the oracles are still the same. Not here: where cases come from (`oracle_cases.py`),
settings and files (`oracle_command.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import sparring.oracles
from sparring.evaluation.oracle_cases import Case, word
from sparring.fingerprints import records_digest
from sparring.journals import Journal
from sparring.oracles.members import MEMBERS, short_name
from sparring.oracles.panel import Panel, combine
from sparring.runs import Metric
from sparring.statistics import RESAMPLES, bootstrap_mean
from sparring.terminal import progress_bar
from sparring.traces.verdict import Verdict

PANEL, AGAINST, REFERENCE = "panel", "panel_against", "reference"
MEASURES: dict[str, dict[str, str]] = {
    "correct": {"false_alarm": "wrong", "confirmed": "correct", "undecided": "undecided"},
    "wrong": {"recall": "wrong", "missed": "correct", "undecided_on_errors": "undecided"},
    "needless": {
        "needless_wrong": "wrong",
        "needless_correct": "correct",
        "needless_undecided": "undecided",
    },
}
BATCH = 512


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with the verdict of every judge that had a say, by the judge's name."""

    case: Case
    verdicts: Mapping[str, Verdict]


def judge_cases(
    cases: Sequence[Case], panel: Panel, *, journal: Path | None = None, console: Console | None = None
) -> list[Judged]:
    """Return every case with its verdicts, going on from `journal` where it fits; the caller removes it.

    Raises:
        SettingsError: a member cannot be loaded.
        DataError: a line of the journal is damaged.
    """
    console = console or Console(stderr=True)
    keys = [_case_digest(case) for case in cases]
    done: dict[str, dict[str, Verdict]] = {}
    with ExitStack() as stack:
        kept = None
        if journal is not None:
            job = {"cases": _digest(cases, panel.members)}
            kept = stack.enter_context(Journal(journal, job, lambda record: record["case"], anew=True))
            for record in kept.found.values():
                done[record["case"]] = {name: _verdict(plain) for name, plain in record["verdicts"].items()}
        if done:
            console.print(
                f"continuing: {sum(key in done for key in keys)} of {len(cases)} steps are judged already",
                highlight=False,
            )
        waiting = [place for place, key in enumerate(keys) if key not in done]
        progress = stack.enter_context(progress_bar(console))
        task = progress.add_task("judging", total=len(cases), completed=len(cases) - len(waiting))
        for start in range(0, len(waiting), BATCH):
            part = waiting[start : start + BATCH]
            for place, verdicts in zip(part, _judged([cases[place] for place in part], panel), strict=True):
                done[keys[place]] = verdicts
                if kept is not None:
                    plain = {name: _plain(verdict) for name, verdict in verdicts.items()}
                    kept.add({"case": keys[place], "verdicts": plain})
            progress.advance(task, len(part))
    return [Judged(case, done[key]) for case, key in zip(cases, keys, strict=True)]


def _judged(cases: Sequence[Case], panel: Panel) -> list[dict[str, Verdict]]:
    """Return the verdicts of every judge on some cases."""
    alone = panel.judge_members_many([(case.problem, case.prefix, None, case.step) for case in cases])
    pairs = [(case, case.original) for case in cases if case.original is not None]
    against = iter(
        panel.judge_members_many([(case.problem, case.prefix, text, case.step) for case, text in pairs])
    )
    rows = []
    for case, members in zip(cases, alone, strict=True):
        # The member that needs the original has no say without it.
        by_itself = {name: verdict for name, verdict in members.items() if name != REFERENCE}
        row = dict(by_itself)
        if by_itself:
            row[PANEL] = combine(members)
        if case.original is not None:
            compared = next(against)
            row[AGAINST] = combine(compared, compared=True)
            if REFERENCE in compared:
                row[REFERENCE] = compared[REFERENCE]
        rows.append({short(name): verdict for name, verdict in row.items()})
    return rows


def short(name: str) -> str:
    """Return a judge's name for metrics; one's own member ``file.py:function`` is called ``file-function``."""
    if name in MEMBERS or name in (PANEL, AGAINST):
        return name
    return word(f"{short_name(name)}-{name.rpartition(':')[2]}")


# --- rates ---


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
    found = []
    for one in judged:
        wrong = {judge: verdict for judge, verdict in one.verdicts.items() if verdict.truth == "wrong"}
        if one.case.label == "correct" and wrong:
            found.append(Judged(one.case, wrong))
    return found


# --- the journal ---


def _digest(cases: Sequence[Case], members: Sequence[str]) -> str:
    """Return a SHA-256 of all that the verdicts depend on: cases, members, and the code of the oracles."""
    digest = hashlib.sha256(json.dumps(list(members)).encode())
    files = sorted(Path(sparring.oracles.__file__).parent.glob("*.py"))
    own = [Path(name.rpartition(":")[0]) for name in members if name not in MEMBERS]
    for file in [*files, *(file for file in own if file.is_file())]:
        digest.update(file.name.encode() + b"\n" + file.read_bytes())
    for case in cases:
        digest.update(_case_digest(case).encode())
    return digest.hexdigest()


def _case_digest(case: Case) -> str:
    """Return a SHA-256 of what the judges see of a case."""
    return records_digest(
        [[case.problem.question, case.problem.answer, case.prefix, case.step, case.original]]
    )


def _plain(verdict: Verdict) -> list[Any]:
    return [verdict.truth, verdict.reason, verdict.detail, verdict.span]


def _verdict(plain: Sequence[Any]) -> Verdict:
    truth, reason, detail, span = plain
    return Verdict(truth, reason, detail, None if span is None else (span[0], span[1]))
