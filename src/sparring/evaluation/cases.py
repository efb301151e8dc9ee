"""Labelled and scored solutions, as the numbers that measures need: texts are not held.

Contract: a `CaseTable` is a sequence of `Case`s that are made when they are asked for; it holds about 100 bytes and the two
ids per case, and 16 bytes per step. Functions here take any sequence of cases.

Not here: measures (`processbench.py`, `calibration.py`), where traces and scores come from (`scored.py`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from sparring.statistics import Floats
from sparring.traces.records import Label


@dataclass(frozen=True, slots=True)
class Case:
    """One solution with its first wrong step (−1: none), its step labels, its step scores, and its problem's id.

    Without a problem it is the only solution of its own.
    """

    subset: str
    id: str
    first_error: int
    labels: tuple[Label, ...]
    scores: tuple[float, ...]
    problem: str = ""


class CaseTable(Sequence[Case]):
    """Cases, as numbers; `add` takes one more."""

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        self._subsets: dict[str, int] = {}
        self._texts, self._text_ends = bytearray(), array("q", [0])
        self._subset_of, self._first_errors = array("q"), array("q")
        self._labels, self._scores, self._ends = array("d"), array("d"), array("q", [0])
        for case in cases:
            self.add(case)

    def add(self, case: Case) -> None:
        """Take a case with as many labels as scores."""
        if len(case.labels) != len(case.scores):
            raise ValueError(f"{len(case.labels)} labels for {len(case.scores)} scores")
        for text in (case.id, case.problem):
            self._texts += text.encode()
            self._text_ends.append(len(self._texts))
        self._subset_of.append(self._subsets.setdefault(case.subset, len(self._subsets)))
        self._first_errors.append(case.first_error)
        self._labels.extend(math.nan if label is None else label for label in case.labels)
        self._scores.extend(case.scores)
        self._ends.append(len(self._scores))

    def __len__(self) -> int:
        return len(self._first_errors)

    @overload
    def __getitem__(self, place: int) -> Case: ...
    @overload
    def __getitem__(self, place: slice) -> list[Case]: ...
    def __getitem__(self, place: int | slice) -> Case | list[Case]:
        """Return a case, or some of them."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        identity, problem = (
            self._texts[self._text_ends[one] : self._text_ends[one + 1]].decode()
            for one in (2 * place, 2 * place + 1)
        )
        start, end = self._ends[place], self._ends[place + 1]
        labels = tuple(None if label != label else label for label in self._labels[start:end])
        subset = self.subsets[self._subset_of[place]]
        return Case(
            subset, identity, self._first_errors[place], labels, tuple(self._scores[start:end]), problem
        )

    def __iter__(self) -> Iterator[Case]:
        return (self[place] for place in range(len(self)))

    @property
    def subsets(self) -> list[str]:
        """The subsets that the cases are of, in order of first appearance."""
        return list(self._subsets)


@dataclass(frozen=True, slots=True)
class LabelledSteps:
    """Parallel arrays over all steps with a label: score, label in [0, 1], and index of the case."""

    scores: Floats
    labels: Floats
    case: np.ndarray[Any, np.dtype[np.int64]]


def labelled_steps(cases: Iterable[Case]) -> LabelledSteps:
    """Return the steps that have a label; those after a first error have none."""
    scores, labels, places = array("d"), array("d"), array("q")
    for number, case in enumerate(cases):
        for score, label in zip(case.scores, case.labels, strict=True):
            if label is not None:
                scores.append(score)
                labels.append(label)
                places.append(number)
    return LabelledSteps(np.array(scores), np.array(labels), np.array(places, dtype=np.int64))


def by_subset(cases: Iterable[Case]) -> dict[str, Sequence[Case]]:
    """Return the cases of each subset, in order of first appearance."""
    if isinstance(cases, CaseTable) and len(cases.subsets) == 1:
        return {cases.subsets[0]: cases}
    subsets: dict[str, CaseTable] = {}
    for case in cases:
        subsets.setdefault(case.subset, CaseTable()).add(case)
    return dict(subsets)
