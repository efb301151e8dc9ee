"""The journal of a labelling job: one line for every call of an engine, with all that came of it.

    {"done": [{"problem": 3, "solutions": [{"steps": [...], "outcome": false}, ...], "counts": {"unfinished": 1}}, ...],
     "usage": {"tokens_generated": 900, ...}, "check": "9f…"}
    {"done": [{"problem": 3, "prefix": "9f…", "length": 2, "made": 0, "rollouts": 8, "successes": 5, "counts": {...}},
              {"problem": 3, "prefix": "07…", "length": 0, "refused": "the question alone has …"}], …}

Contract: `sparring.journals`; besides, the solutions of a problem and each round of a prefix's rollouts (the one after
`made` rollouts) count once, whoever wrote them. A call is in the journal as a whole or not at all, so what the job has cost
is the same however often it was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring import journals
from sparring.errors import DataError
from sparring.labels.allocation import Tally
from sparring.rollouts.engine import Usage

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

    Raises:
        SettingsError: the file belongs to another job.
        DataError: a line is damaged or missing, or it is not a journal.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        self.solutions: dict[int, list[Solution]] = {}
        self.tallies: dict[Key, Tally] = {}
        self.counts: Counter[str] = Counter()
        self.rollouts = 0
        self.usage = Usage()
        self._lines = journals.Journal(path, job, _whole)
        for key, record in self._lines.found.items():
            try:
                self._take(record)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                self.close()
                raise DataError(
                    f"does not go on from the lines before it: {error}",
                    file=path,
                    line=self._lines.line(key),
                ) from error

    def add(self, done: Sequence[Mapping[str, Any]], usage: Usage | None = None) -> None:
        """Write down all that came of one call of an engine, and what it has cost."""
        record = {"done": list(done), "usage": dataclasses.asdict(usage or Usage())}
        self._lines.add(record)
        self._take(record)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _take(self, record: Mapping[str, Any]) -> None:
        self.usage = self.usage.plus(Usage(**record["usage"]))
        for entry in record["done"]:
            if self._take_entry(entry):
                for name, count in entry.get("counts", {}).items():
                    self.counts[name] += count

    def _take_entry(self, entry: Mapping[str, Any]) -> bool:
        """Count what was done; return whether it was not yet counted.

        Raises:
            ValueError: the rounds before this one are missing.
        """
        problem = entry["problem"]
        if "solutions" in entry:
            if problem in self.solutions:
                return False
            self.solutions[problem] = [
                Solution(tuple(one["steps"]), one["outcome"], one.get("whole")) for one in entry["solutions"]
            ]
            return True
        key = (problem, entry["prefix"])
        known = self.tallies.get(key, Tally())
        if "refused" in entry:
            if known.refused is not None:
                return False
            self.tallies[key] = Tally(known.rounds, entry["refused"])
            self.counts["prefix refused"] += 1
            return True
        if entry["made"] < known.count:
            return False
        if entry["made"] > known.count:
            raise ValueError(f"{entry['made']} rollouts were made before, {known.count} are here")
        self.tallies[key] = known.plus(entry["successes"], entry["rollouts"])
        self.rollouts += entry["rollouts"]
        return True


def _whole(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
