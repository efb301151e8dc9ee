"""Labelled and scored solutions, as the numbers that measures need: very many are held, and no texts.

Contract: a `CaseTable` makes its `Case`s when it is gone through; it holds about 100 bytes and the two ids per case, and 16
bytes per step. `Rows` are scores alone, by trace id: 40 bytes per trace, whatever its id, and 8 per score. Functions here
take any cases.

Not here: measures (`processbench.py`, `calibration.py`), where traces and scores come from (`scored.py`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparring.errors import plural
from sparring.statistics import Floats
from sparring.streams import Places
from sparring.traces.records import Label


class Lists:
    """Lists of numbers of one type (of `array`), one behind the other in one array."""

    def __init__(self, kind: str) -> None:
        self._items: array[Any] = array(kind)
        self._ends = array("q", [0])

    def append(self, items: Iterable[float]) -> None:
        """Take one more list."""
        self._items.extend(items)
        self._ends.append(len(self._items))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> array[Any]:
        return self._items[self._ends[place] : self._ends[place + 1]]


class Rows:
    """Scores by trace id."""

    def __init__(self) -> None:
        self._places = Places()
        self._scores = Lists("d")

    def add(self, identity: str, row: Iterable[float]) -> None:
        """Take the scores of a trace that is not here yet."""
        self._places.setdefault(identity, len(self._scores))
        self._scores.append(row)

    def __len__(self) -> int:
        return len(self._scores)

    def place(self, identity: str) -> int | None:
        """Return the number of a trace in the order in which they came, None where it is not here."""
        return self._places.get(identity)

    def get(self, identity: str) -> tuple[float, ...] | None:
        """Return the scores of a trace, None where it is not here."""
        place = self._places.get(identity)
        return None if place is None else tuple(self._scores[place])


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

    @classmethod
    def of(cls, record: Mapping[str, Any], scores: str = "scores") -> Case:
        """Return the case of a record of `cases.jsonl`, with the scores of that name."""
        labels, row = tuple(record["labels"]), tuple(record[scores])
        return cls(record["subset"], record["id"], record["first_error"], labels, row, record["problem"])


class CaseTable(Collection[Case]):
    """Cases, as numbers; `add` takes one more."""

    def __init__(self, cases: Iterable[Case] = ()) -> None:
        self._subsets: dict[str, int] = {}
        self._subset_of, self._first_errors = array("q"), array("q")
        self._ids, self._problems, self._labels, self._scores = Lists("B"), Lists("B"), Lists("d"), Lists("d")
        for case in cases:
            self.add(case)

    def add(self, case: Case) -> None:
        """Take a case with as many labels as scores."""
        if len(case.labels) != len(case.scores):
            raise ValueError(f"{plural(len(case.labels), 'label')} for {plural(len(case.scores), 'score')}")
        self._ids.append(case.id.encode())
        self._problems.append(case.problem.encode())
        self._subset_of.append(self._subsets.setdefault(case.subset, len(self._subsets)))
        self._first_errors.append(case.first_error)
        self._labels.append(math.nan if label is None else label for label in case.labels)
        self._scores.append(case.scores)

    def __len__(self) -> int:
        return len(self._first_errors)

    def __contains__(self, case: object) -> bool:
        return any(case == one for one in self)

    def __iter__(self) -> Iterator[Case]:
        subsets = self.subsets
        for place, first_error in enumerate(self._first_errors):
            yield Case(
                subsets[self._subset_of[place]],
                self._ids[place].tobytes().decode(),
                first_error,
                tuple(None if label != label else label for label in self._labels[place]),
                tuple(self._scores[place]),
                self._problems[place].tobytes().decode(),
            )

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


def by_subset(cases: Iterable[Case]) -> dict[str, Collection[Case]]:
    """Return the cases of each subset, in order of first appearance."""
    if isinstance(cases, CaseTable) and len(cases.subsets) == 1:
        return {cases.subsets[0]: cases}
    subsets: dict[str, CaseTable] = {}
    for case in cases:
        subsets.setdefault(case.subset, CaseTable()).add(case)
    return dict(subsets)
