"""The journal of a labelling job: what is finished, one JSON line each, so that a kill -9 loses and repeats nothing of it.

    {"job": {...}}                                                         the first line: settings and what they refer to
    {"problem": 3, "solutions": [{"steps": [...], "outcome": false}, ...], "counts": {"unfinished": 1}}
    {"problem": 3, "prefix": "9f…", "length": 2, "rollouts": 8, "successes": 5, "counts": {...}}
    {"problem": 3, "prefix": "9f…", "length": 2, "refused": "the question alone has …"}
    {"doubt": "the server …"}

Contract: a line is handed to the system before the job goes on. A journal of another job is refused, never mixed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError
from sparring.files import to_json
from sparring.labels.allocation import Tally
from sparring.runs import JsonlLog

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


class Journal:
    """Reads back what an earlier process finished, and writes down what this one does.

    Args:
        path: the file; made if absent.
        job: what must agree for the journal to be continued.

    Raises:
        SettingsError: the file belongs to another job.
        DataError: it is not a journal.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        self.solutions: dict[int, list[Solution]] = {}
        self.tallies: dict[Key, Tally] = {}
        self.counts: Counter[str] = Counter()
        self.rollouts = 0
        self.doubts: list[str] = []
        self._log = JsonlLog(path)
        plain, _ = to_json(job)
        for number, record in enumerate(self._log.records(), start=1):
            try:
                if number == 1:
                    _check_job(path, record["job"], plain)
                else:
                    self._take(record)
            except (KeyError, TypeError, AttributeError) as error:
                self._log.close()
                raise DataError(f"not a line of a journal: {error}", file=path, line=number) from error
            except SettingsError:
                self._log.close()
                raise
        if path.stat().st_size == 0:
            self._log.append({"job": plain})

    def add_solutions(self, problem: int, solutions: Sequence[Solution], counts: Mapping[str, int]) -> None:
        """Write down the solutions of a problem, and what was left out of them."""
        written = [
            {"steps": list(one.steps), "outcome": one.outcome}
            | ({} if one.whole is None else {"whole": one.whole})
            for one in solutions
        ]
        self._write({"problem": problem, "solutions": written, "counts": dict(counts)})

    def add_rollouts(
        self, key: Key, length: int, successes: int, rollouts: int, counts: Mapping[str, int]
    ) -> None:
        """Write down one round of a prefix's rollouts, and what was odd about them."""
        problem, prefix = key
        self._write(
            {
                "problem": problem,
                "prefix": prefix,
                "length": length,
                "rollouts": rollouts,
                "successes": successes,
                "counts": dict(counts),
            }
        )

    def add_refused(self, key: Key, length: int, reason: str) -> None:
        """Write down that the engine does not take a prefix."""
        problem, prefix = key
        self._write({"problem": problem, "prefix": prefix, "length": length, "refused": reason})

    def add_doubt(self, doubt: str) -> None:
        """Write down what makes an engine's completions doubtful, once."""
        if doubt not in self.doubts:
            self._write({"doubt": doubt})

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._log.append(record)
        self._take(record)

    def _take(self, record: Mapping[str, Any]) -> None:
        if "doubt" in record:
            self.doubts.append(record["doubt"])
            return
        problem = record["problem"]
        for name, count in record.get("counts", {}).items():
            self.counts[name] += count
        if "solutions" in record:
            self.solutions[problem] = [
                Solution(tuple(one["steps"]), one["outcome"], one.get("whole")) for one in record["solutions"]
            ]
            return
        key = (problem, record["prefix"])
        known = self.tallies.get(key, Tally())
        if "refused" in record:
            self.tallies[key] = Tally(known.rounds, record["refused"])
            self.counts["prefix refused"] += 1
        else:
            self.tallies[key] = known.plus(record["successes"], record["rollouts"])
            self.rollouts += record["rollouts"]


def _check_job(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found == wanted:
        return
    changed = sorted(
        name for name in {*found, *wanted} if found.get(name, _ABSENT) != wanted.get(name, _ABSENT)
    )
    raise SettingsError(
        f"{path} belongs to another job; what differs: {', '.join(changed)}. Choose another --out, or delete the file"
    )


_ABSENT = object()
