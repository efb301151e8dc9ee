"""Labelled steps for the audit of oracles: from human-labelled and reference files to cases.

What is a case, and its label:

- ProcessBench: every step of a solution labelled correct and every step before the first error is ``correct``; the first
  error is ``wrong``. What follows an error is unlabelled and left out.
- PRMBench: every step of an original solution is ``correct`` (solutions that several classes share, up to punctuation,
  count once); the first error of the modified one is ``wrong``, of class ``redundency`` ``needless``: it adds nothing, but
  need not be false. Where the modified solution begins like the original, the original's step in that place is known too.
- Reference solutions (GSM8K, MATH): every step is ``correct``, and each rule perturbation of it is ``wrong``.

Contract: what is not made a case is counted in `left_out` under its reason, and how often a kind of perturbation
was tried in `tried`. `half_of` depends on the problem's text alone, so
that all solutions of a problem, in all sets, fall into the same half. Not here: who judges, and the rates
(`oracle_audit.py`).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sparring.errors import DataError
from sparring.oracles.perturbations import PERTURBATIONS, style_of
from sparring.traces.formats.common import Oddity, ReadOptions
from sparring.traces.readers import read_problems_as, read_traces_as, traces_with_places
from sparring.traces.records import Problem, Trace

Label = Literal["correct", "wrong", "needless"]
Half = Literal["development", "held_out", "all"]
NEEDLESS = frozenset(("redundency", "redundancy"))
_ORNAMENT = re.compile(r"^\s*\d+\.\s|[\W_]+")
_HALF_SALT = "sparring oracle audit, halves, 1\n"


@dataclass(frozen=True, slots=True)
class Case:
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


def half_of(question: str) -> Literal["development", "held_out"]:
    """Return the half that a problem belongs to: the parity of a SHA-256 of its text, white space made single spaces."""
    digest = hashlib.sha256(
        (_HALF_SALT + " ".join(question.split())).encode("utf-8", "surrogatepass")
    ).digest()
    return "held_out" if digest[0] & 1 else "development"


# --- human labels ---


def add_processbench(found: CaseSet, path: Path) -> None:
    """Add the steps of a ProcessBench file as the group ``processbench_<name of the file>``.

    The groups ``….before_error`` and ``….correct_solutions`` hold the two kinds of correct steps apart.

    Raises:
        DataError: the file cannot be used, or a trace has no first-error label.
    """
    group = f"processbench_{word(path.stem)}"
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
        for line, one in traces_with_places(path, "prmbench", ReadOptions(prmbench_process="both")):
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
    kind = word(str(trace.meta.get("classification", path.stem)))
    place = trace.first_error
    if place is None or place < 0:
        raise DataError(f"the modified solution of {trace.problem.id!r} has no error", file=path)
    aligned = trace.steps[:place] == original.steps[:place] and place < len(original.steps)
    before = original.steps[place] if aligned else None
    if before is None:
        found.left_out["PRMBench error judged without its original: the solutions differ before it"] += 1
    elif before == trace.steps[place]:
        found.left_out["PRMBench error judged without its original: the same text"] += 1
        before = None
    label: Label = "needless" if kind in NEEDLESS else "wrong"
    found.cases += _cases(trace, (place,), (f"prmbench_{kind}",), label, before)


# --- reference solutions and rule perturbations ---


def add_references(
    found: CaseSet,
    path: Path,
    data_format: str,
    *,
    steps: int | None,
    perturbed: int,
    kinds: Sequence[str],
    seed: int,
) -> None:
    """Add the steps of reference solutions, and each kind of perturbation of some of them.

    The groups are ``<format>_<name of the file>`` and, for perturbations, that with ``.<kind>.<style>``; those that are
    computable in their style also count in ``….computable``.

    Args:
        found: where to.
        path: problems with reference solutions.
        data_format: their format.
        steps: at most so many steps, a random sample; None for all.
        perturbed: how many of the file's steps each kind is tried on.
        kinds: names out of `PERTURBATIONS`.
        seed: of the samples and perturbations.

    Raises:
        DataError: the file cannot be used.
    """
    group = f"{data_format}_{word(path.stem)}"
    read = read_problems_as(path, data_format)
    found.left_out["record skipped by the reader"] += len(read.skipped)
    cases: list[Case] = []
    for problem in read.problems:
        if problem.solution is None:
            found.left_out["problem without a reference solution"] += 1
        elif found.takes(problem, "reference solution"):
            trace = Trace(problem, problem.solution)
            cases += _cases(trace, range(len(trace.steps)), (group,), "correct")
    chosen = sampled(cases, steps, f"{seed} steps {group}")
    found.cases += chosen
    found.left_out[f"reference step of {group} not in the sample"] += len(cases) - len(chosen)
    for case in sampled(cases, perturbed, f"{seed} perturbed {group}"):
        style = style_of(case.step)
        for kind in kinds:
            groups: tuple[str, ...] = (f"{group}.{kind}.{style}",)
            found.tried[groups[0]] += 1
            rng = random.Random(f"{seed} {kind} {case.place}")
            made = PERTURBATIONS[kind](case.problem, case.prefix, case.step, rng)
            if made is None or made == case.step:
                continue
            if style in PERTURBATIONS[kind].computable:
                groups += (f"{group}.computable",)
            found.cases.append(Case(groups, "wrong", case.place, case.problem, case.prefix, made, case.step))


# --- shared parts ---


def sampled(cases: Sequence[Case], count: int | None, seed: str) -> list[Case]:
    """Return a random sample in the cases' order, or all of them."""
    if count is None or count >= len(cases):
        return list(cases)
    return [cases[place] for place in sorted(random.Random(seed).sample(range(len(cases)), count))]


def word(name: str) -> str:
    """Return a name fit for a metric's."""
    return re.sub(r"[^A-Za-z0-9_+@-]", "_", name)


def _cases(
    trace: Trace, places: Iterable[int], groups: tuple[str, ...], label: Label, original: str | None = None
) -> list[Case]:
    problem, steps = trace.problem, trace.steps
    return [
        Case(groups, label, f"{problem.id}.{place}", problem, steps[:place], steps[place], original)
        for place in places
    ]
