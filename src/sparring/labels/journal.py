"""The journal of a labelling job: one line for every call of an engine, with all that came of it.

    {"done": [{"problem": 3, "solutions": [{"steps": [...], "outcome": false}, ...], "counts": {"unfinished": 1}}, ...],
     "usage": {"tokens_generated": 900, ...}, "check": "9f…"}
    {"done": [{"problem": 3, "prefix": "9f…", "length": 2, "made": 0, "rollouts": 8, "successes": 5, "counts": {...}},
              {"problem": 3, "prefix": "07…", "length": 0, "refused": "the question alone has …"}], …}

Contract: `sparring.journals`; besides, the solutions of a problem and each round of a prefix's rollouts (the one after
`made` rollouts) count once, whoever wrote them. A call is in the journal as a whole or not at all, so what the job has cost
is the same however often it was killed. The file may be larger than memory: of problems that are not worked on, only where
their lines begin is held.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparring import journals
from sparring.errors import DataError
from sparring.labels.allocation import Tally
from sparring.rollouts.engine import Usage

_PART = 4096  # problems whose lines are held at once while all are counted
Key = tuple[int, str]
"""A problem's number and the digest of the steps of one of its prefixes."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A finished solution to be labelled; `outcome` None: finished, but nobody can tell whether it is right.

    `whole` is the text with the policy's thinking, where that was kept apart from the steps.
    """

    steps: tuple[str, ...]
    outcome: bool | None
    whole: str | None = None


def prefix_digest(steps: Sequence[str]) -> str:
    """Return a name for a prefix's text: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(steps)).encode("ascii")).hexdigest()[:16]


def solutions_entry(problem: int, solutions: Sequence[Solution], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what is written down of the solutions of a problem, and of what was left out of them."""
    written = [
        {"steps": list(one.steps), "outcome": one.outcome}
        | ({} if one.whole is None else {"whole": one.whole})
        for one in solutions
    ]
    return {"problem": problem, "solutions": written, "counts": dict(counts)}


def rollouts_entry(
    key: Key, length: int, made: int, successes: int, rollouts: int, counts: Mapping[str, int]
) -> dict[str, Any]:
    """Return what is written down of one round of a prefix's rollouts, after `made` earlier ones."""
    return {
        "problem": key[0],
        "prefix": key[1],
        "length": length,
        "made": made,
        "rollouts": rollouts,
        "successes": successes,
        "counts": dict(counts),
    }


def refused_entry(key: Key, length: int, reason: str) -> dict[str, Any]:
    """Return what is written down of a prefix that the engine does not take."""
    return {"problem": key[0], "prefix": key[1], "length": length, "refused": reason}


class Journal:
    """Reads back what an earlier process finished, and writes down what this one does.

    Args:
        path: the file; made if absent.
        job: what must agree for the journal to be continued.

    Attributes:
        solutions: of the problems that were opened (`open`), by their number.
        tallies: rollouts of their prefixes.
        counts: of all problems, like all that follows.
        rollouts: how many.
        solved: problems whose solutions are written.
        written: solutions of theirs.
        right: those whose outcome is True.
        prefixes: prefixes that were finished or refused.
        usage: what it has cost.

    Raises:
        SettingsError: the file belongs to another job.
        DataError: a line is damaged or missing, or it is not a journal.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        self.solutions: dict[int, list[Solution]] = {}
        self.tallies: dict[Key, Tally] = {}
        self.counts: Counter[str] = Counter()
        self.rollouts = self.solved = self.written = self.right = self.prefixes = 0
        self.usage = Usage()
        self._lines = journals.Journal(path, job, _whole)
        self._places = array("q")  # per line: where it begins, its first and its last problem
        try:
            self._read_all(path)
        except BaseException:
            self.close()
            raise

    def _read_all(self, path: Path) -> None:
        """Count all that was finished, a part of the problems at a time."""
        most = -1
        for start, record in self._lines.starts():
            with _damage(path, self._lines, start):
                self.usage = self.usage.plus(Usage(**record["usage"]))
                problems = [int(entry["problem"]) for entry in record["done"]]
                self._place(start, problems)
                most = max(most, *problems, most)
        for first in range(0, most + 1, _PART):
            self.open(first, first + _PART, count=True)
        self.solutions, self.tallies = {}, {}

    def open(self, first: int, end: int, *, count: bool = False) -> None:
        """Read back what is finished of the problems from `first` to before `end`; others are held no more."""
        self.solutions, self.tallies = {}, {}
        table = np.array(self._places, dtype=np.int64).reshape(-1, 3)
        for start in table[(table[:, 1] < end) & (table[:, 2] >= first), 0].tolist():
            with _damage(self._lines.path, self._lines, start):
                for entry in self._lines.at(start)["done"]:
                    if first <= entry["problem"] < end:
                        self._take(entry, count=count)

    def add(self, done: Sequence[Mapping[str, Any]], usage: Usage | None = None) -> None:
        """Write down all that came of one call of an engine for problems that are open, and what it has cost."""
        record = {"done": list(done), "usage": dataclasses.asdict(usage or Usage())}
        self._place(self._lines.add(record), [entry["problem"] for entry in done])
        self.usage = self.usage.plus(usage or Usage())
        for entry in done:
            self._take(entry, count=True)

    def entries(self) -> dict[int, list[dict[str, Any]]]:
        """Return, by problem, entries that say what is finished of those that are open."""
        found = {number: [solutions_entry(number, group, {})] for number, group in self.solutions.items()}
        for key, tally in self.tallies.items():
            made, of = 0, found.setdefault(key[0], [])
            for successes, count in tally.rounds:
                of.append(rollouts_entry(key, 0, made, successes, count, {}))
                made += count
            if tally.refused is not None:
                of.append(refused_entry(key, 0, tally.refused))
        return found

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _place(self, start: int, problems: Sequence[int]) -> None:
        if problems:
            self._places.extend((start, min(problems), max(problems)))

    def _take(self, entry: Mapping[str, Any], *, count: bool) -> None:
        """Take what was done, where it is not here yet, and count it.

        Raises:
            ValueError: the rounds before this one are missing.
        """
        problem = entry["problem"]
        counts = Counter(entry.get("counts", {}))
        if "solutions" in entry:
            if problem in self.solutions:
                return
            found = [
                Solution(tuple(one["steps"]), one["outcome"], one.get("whole")) for one in entry["solutions"]
            ]
            self.solutions[problem] = found
            if count:
                self.solved += 1
                self.written += len(found)
                self.right += sum(one.outcome is True for one in found)
        else:
            key = (problem, entry["prefix"])
            new, known = key not in self.tallies, self.tallies.get(key, Tally())
            made = 0
            if "refused" in entry:
                if known.refused is not None:
                    return
                self.tallies[key] = Tally(known.rounds, entry["refused"])
                counts["prefix refused"] += 1
            elif entry["made"] < known.count:
                return
            elif entry["made"] > known.count:
                raise ValueError(f"{entry['made']} rollouts were made before, {known.count} are here")
            else:
                made = entry["rollouts"]
                self.tallies[key] = known.plus(entry["successes"], made)
            if count:
                self.prefixes += new
                self.rollouts += made
        if count:
            for name, number in counts.items():
                self.counts[name] += number


@contextmanager
def _damage(path: Path, lines: journals.Journal, start: int) -> Iterator[None]:
    """Say of a line that is no piece of this job where it stands."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"does not go on from the lines before it: {error}", file=path, line=lines.line(start)
        ) from error


def _whole(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
