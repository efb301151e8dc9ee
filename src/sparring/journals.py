"""The journal of a long job: what is finished, one JSON line each, so that a kill -9 loses and repeats nothing of it.

    {"job": {...}, "check": "9f…"}        the first line: what must agree for the journal to be continued
    {..., "check": "03…"}                 one finished piece of work

Contract: a line is handed to the system before the job goes on. `check` is a digest of the line and of the job, so a line
that was damaged, or that another job wrote, is refused with its number; a last line cut off by a crash is dropped. What
stands there twice counts once: pieces go by a key that the caller makes of their content, and the first of a key counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError
from sparring.files import to_json
from sparring.runs import JsonlLog

Record = Mapping[str, Any]
_ABSENT = object()


class Journal:
    """Reads back what earlier processes finished, and writes down what this one does.

    Args:
        path: the file; made if absent.
        job: what must agree for the journal to be continued.
        key: names a piece of work by the content of its line.
        anew: throw a journal of another job away (`discarded` then says so) instead of refusing it.

    Raises:
        SettingsError: the file belongs to another job.
        DataError: a line of it is damaged, or it is not a journal.
    """

    def __init__(
        self, path: Path, job: Mapping[str, Any], key: Callable[[Record], Hashable], *, anew: bool = False
    ) -> None:
        self.path, self.discarded = path, False
        self.found: dict[Hashable, Record] = {}
        self.lines: dict[Hashable, int] = {}
        self._key = key
        plain, _ = to_json(job)
        self._seal = _check({"job": plain}, "")
        self._log = JsonlLog(path)
        try:
            for number, record in enumerate(self._records(plain, anew=anew), start=2):
                self._take(number, record)
        except BaseException:
            self._log.close()
            raise
        if not path.stat().st_size:
            self._log.append({"job": plain, "check": self._seal})

    def add(self, record: Record) -> None:
        """Write down a finished piece of work."""
        plain, _ = to_json(record)
        self._log.append({**plain, "check": _check(plain, self._seal)})
        self.found.setdefault(self._key(plain), plain)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _records(self, job: Any, *, anew: bool) -> Iterator[dict[str, Any]]:
        """Yield the intact lines after the first, which must be this job's."""
        records = self._log.records()
        head = next(records, None)
        if head is None:
            return
        if head.keys() != {"job", "check"} or head["check"] != _check({"job": head["job"]}, ""):
            raise self._damaged(1)
        if head["check"] != self._seal:
            if not anew:
                raise SettingsError(_other_job(self.path, head["job"], job))
            self.discarded = True
            self._log.cut_back(None)
            return
        yield from records

    def _take(self, number: int, record: dict[str, Any]) -> None:
        check = record.pop("check", None)
        if check == self._seal and record.keys() == {"job"}:
            return  # the first line once more
        if check != _check(record, self._seal):
            raise self._damaged(number)
        key = self._key(record)
        self.found.setdefault(key, record)
        self.lines.setdefault(key, number)

    def _damaged(self, number: int) -> DataError:
        return DataError(
            "this line was changed since it was written, or another job wrote it: delete the line to do its work again, or "
            "the file to begin anew",
            file=self.path,
            line=number,
        )


def _check(record: Any, seal: str) -> str:
    return hashlib.sha256((seal + json.dumps(record, sort_keys=True)).encode("ascii")).hexdigest()[:16]


def _other_job(path: Path, found: Any, wanted: Any) -> str:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        found, wanted = {"job": found}, {"job": wanted}
    names = sorted(
        name for name in {*found, *wanted} if found.get(name, _ABSENT) != wanted.get(name, _ABSENT)
    )
    return f"{path} belongs to another job; what differs: {', '.join(names)}. Choose another --out, or delete the file"
