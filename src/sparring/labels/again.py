"""Labels once more, from a finished run's journal: what `traces.jsonl` must hold if it is what the job found out.

Contract: no engine is asked and nothing is written. Steps, outcomes, labels and estimates follow from the journal, an
oracle's labels from its members, if they are Sparring's own: a member that is somebody's code is not run. Questions and
given solutions come from the data where they are still those of the job, by their digest; else they are taken as they are.

Not here: the comparison (`verification.py`), whether the journal is true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from sparring.errors import DataError
from sparring.labels.answers import pick_checker
from sparring.labels.command import WINDOW, oracle_of
from sparring.labels.job import LabelJob, Subject
from sparring.labels.journal import Journal
from sparring.labels.settings import LabelSettings
from sparring.labels.subjects import Subjects
from sparring.oracles.members import MEMBERS
from sparring.rollouts.engine import EngineAbout
from sparring.streams import windows
from sparring.traces.jsonl import trace_to_record
from sparring.traces.records import Problem, Trace
from sparring.traces.sources import HUB, data_digest
from sparring.traces.verdict import Judge, Verdict

_OF_THE_PROBLEM = ("id", "problem", "answer", "solution", "problem_meta")
_FOUND = ("steps", "labels", "estimates", "outcome")
_FOUND_IN_META = ("walk", "root_value", "root_count", "written")


class LabelsAgain(NamedTuple):
    """Records of the traces as they must be, how the walks ended, and what of the traces could not be found out.

    A field that a trace must not have has the value `absent` of `labels_again`.
    """

    records: list[dict[str, Any]]
    kinds: Counter[str]
    unknown: list[str]


def labels_again(
    settings: LabelSettings, journal: Journal, job: Mapping[str, Any], stored: Sequence[Trace], absent: str
) -> LabelsAgain:
    """Return what the labelled traces must be.

    Args:
        settings: of the run.
        journal, job: its journal, and the journal's first line.
        stored: the run's traces, for the questions that an oracle is asked where the data are elsewhere.
        absent: stands for a field that a trace must not have.
    """
    settings = settings.model_copy(update={"problems": journal.solved})  # never more than there is work of
    here = settings.data is None or _same_data(settings.data, job)
    own = settings.mode == "oracle" and not settings.judged_by_world and not _ours(settings.oracle)
    unknown = [] if here else ["problems of traces.jsonl (the data are not here)"]
    unknown += ["labels of traces.jsonl (an own oracle is not run)"] if own else []
    left_out = {*(() if here else _OF_THE_PROBLEM), *(("labels",) if own else ())}
    records: list[dict[str, Any]] = []
    about = EngineAbout("", True)
    with ExitStack() as stack:
        judge: Judge | None = _silent if own else stack.enter_context(oracle_of(settings))
        labelling = LabelJob(
            settings,
            journal.solved,
            cover=about,
            prover=about,
            checker=pick_checker(settings),
            journal=journal,
            judge=judge,
        )
        subjects = iter(Subjects(settings)) if here and journal.solved else _bare(journal, stored)
        for window in windows(subjects, WINDOW):
            for trace in labelling.run(window, lambda _: None):
                whole = trace_to_record(trace)
                record = {name: value for name, value in whole.items() if name not in left_out}
                names = _FOUND if not here else (*_FOUND, *_OF_THE_PROBLEM)
                record |= {name: absent for name in names if name not in {*whole, *left_out}}
                meta = {name: whole["meta"].get(name, absent) for name in _FOUND_IN_META}
                if own:
                    del meta["walk"]
                records.append(record | {"meta": {**whole["meta"], **meta} if here and not own else meta})
    return LabelsAgain(records, Counter() if own else labelling.kinds, unknown)


def _same_data(data: str, job: Mapping[str, Any]) -> bool:
    """Whether the data are a file or folder of this machine, and the job's."""
    try:
        return not data.startswith(HUB) and data_digest(data) == job.get("data_digest")
    except DataError:
        return False


def _ours(members: Sequence[str]) -> bool:
    return all(name.removeprefix("contrib.") in MEMBERS for name in members)


def _silent(steps: Sequence[tuple[Problem, Sequence[str], str]]) -> list[Verdict]:
    return [Verdict("undecided", "own:unasked")] * len(steps)


def _bare(journal: Journal, stored: Sequence[Trace]) -> Iterator[Subject]:
    """Yield the subjects by what the traces say of the problem; in the mode `oracle` every solution has its trace."""
    problems = (trace.problem for trace in stored)
    for first in range(0, journal.solved, WINDOW):
        end = min(journal.solved, first + WINDOW)
        journal.open(first, end)
        for size in [len(journal.solutions[number]) for number in range(first, end)]:
            asked = [next(problems, Problem("-", "-")) for _ in range(size)]
            yield Subject(asked[0] if asked else Problem("-", "-"))
