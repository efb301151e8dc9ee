"""The journal of a long job: what is finished, one JSON line each, so that a kill -9 loses and repeats nothing of it.

    {"job": {...}, "check": "9f…"}        the first line: what must agree for the journal to be continued
    {..., "check": "03…"}                 one finished piece of work

Contract: a line is handed to the system before the job goes on. `check` is a digest of the line and of the job, so a line
that was damaged, or that another job wrote, is refused with its number; a last line cut off by a crash is dropped. What
stands there twice counts once: pieces go by a key that the caller makes of their content, and the first of a key counts.
Lines stay in the file; of each, 24 bytes are held (`streams.Places`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError
from sparring.files import to_json
from sparring.json_files import jsonl_objects_at
from sparring.runs import JsonlLog
from sparring.streams import Places

Record = Mapping[str, Any]
CHANGED = "this line was changed since it was written, or another job wrote it"
_ABSENT = object()


class DamagedLineError(DataError):
    """A line of a journal is not what a job wrote there."""


class Journal:
    """Reads back what earlier processes finished, and writes down what this one does.

    Args:
        path: the file; made if absent.
        job: what must agree for the journal to be continued.
        key: names a piece of work by the content of its line.
        worthless: whether a journal of that other job can be continued by nobody, so that it is thrown away
            (`discarded` then says so) and not refused. One in which no work is finished always is.

    Raises:
        SettingsError: the file belongs to another job, and work is finished in it.
        DataError: a line of it is damaged, or it is not a journal.

    Attributes:
        found: what is finished, by key, in the file's order; read from the file when it is asked for.
    """

    def __init__(
        self,
        path: Path,
        job: Mapping[str, Any],
        key: Callable[[Record], Hashable],
        *,
        worthless: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        self.path, self.discarded = path, False
        self._places = Places()
        self._key = key
        plain, _ = to_json(job)
        self._seal = _check({"job": plain}, "")
        self._log = JsonlLog(path)
        self.found = _Found(path, self._places, key)
        try:
            for number, start, record in self._records(plain, worthless):
                self._take(number, start, record)
        except BaseException:
            self.close()
            raise
        self._end = path.stat().st_size
        if not self._end:
            self._append({"job": plain, "check": self._seal})

    def add(self, record: Record) -> int:
        """Write down a finished piece of work; return where its line begins."""
        plain, _ = to_json(record)
        start = self._append({**plain, "check": _check(plain, self._seal)})
        self._places.setdefault(self._key(plain), start)
        return start

    def sync(self) -> None:
        """Put all lines on the disk, before one of another file that counts on them."""
        self._log.sync()

    def starts(self) -> Iterator[tuple[int, Record]]:
        """Yield (where its line begins, record) of every piece of work."""
        return ((start, record) for start, _, record in self.found.pieces())

    def at(self, start: int) -> Record:
        """Return the piece of work whose line begins there."""
        return self.found.at(start)

    def line(self, start: int) -> int:
        """Return the number of the line that begins there."""
        return next(number for number, place, _ in jsonl_objects_at(self.path, loose=True) if place == start)

    def _append(self, record: Record) -> int:
        """Write a line and return where it begins."""
        start = self._end
        self._end += self._log.append(record)
        return start

    def close(self) -> None:
        """Close the file."""
        self._log.close()
        self.found.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _records(
        self, job: Any, worthless: Callable[[Any], bool]
    ) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield (line, where it begins, record) of the lines after the first, which must be this job's."""
        records = jsonl_objects_at(self.path, loose=True)
        first = next(records, None)
        if first is None:
            return
        head = first[2]
        if head.keys() != {"job", "check"} or head["check"] != _check({"job": head["job"]}, ""):
            raise self._damaged(1)
        if head["check"] != self._seal:
            if not worthless(head["job"]) and next(records, None) is not None:
                raise other_job(self.path, _differing(head["job"], job))
            self.discarded = True
            self._log.cut_back(None)
            return
        yield from records

    def _take(self, number: int, start: int, record: dict[str, Any]) -> None:
        check = record.pop("check", None)
        if check == self._seal and record.keys() == {"job"}:
            return  # the first line once more
        if check != _check(record, self._seal):
            raise self._damaged(number)
        self._places.setdefault(self._key(record), start)

    def _damaged(self, number: int) -> DataError:
        advice = "delete the line to do its work again, or the file to begin anew"
        return DamagedLineError(f"{CHANGED}: {advice}", file=self.path, line=number)


class _Found(Mapping[Hashable, Record]):
    """The pieces of a journal's file by key."""

    def __init__(self, path: Path, places: Places, key: Callable[[Record], Hashable]) -> None:
        self._path, self._places, self._key = path, places, key
        self._file = path.open("rb")

    def __getitem__(self, key: Hashable) -> Record:
        start = self._places.get(key)
        if start is None:
            raise KeyError(key)
        return self.at(start)

    def at(self, start: int) -> Record:
        """Return the record of the line that begins there."""
        self._file.seek(start)
        record: dict[str, Any] = json.loads(self._file.readline())
        del record["check"]
        return record

    def __contains__(self, key: object) -> bool:
        return self._places.get(key) is not None

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Hashable]:
        return (key for _, key, _ in self.pieces())

    def values(self) -> Iterator[Record]:  # type: ignore[override]
        """Yield the records in the file's order."""
        return (record for _, _, record in self.pieces())

    def pieces(self) -> Iterator[tuple[int, Hashable, Record]]:
        """Yield (where its line begins, key, record) in the file's order."""
        for _, start, record in jsonl_objects_at(self._path, loose=True):
            del record["check"]
            if record.keys() != {"job"} and self._places.get(key := self._key(record)) == start:
                yield start, key, record

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check(record: Any, seal: str) -> str:
    return hashlib.sha256((seal + json.dumps(record, sort_keys=True)).encode("ascii")).hexdigest()[:16]


def other_job(path: Path, differs: Iterable[str]) -> SettingsError:
    """Return the error that a file belongs to another job, with what differs."""
    advice = "Choose another --out, or delete the file"
    return SettingsError(f"{path} belongs to another job; what differs: {', '.join(differs)}. {advice}")


def _differing(found: Any, wanted: Any) -> list[str]:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        found, wanted = {"job": found}, {"job": wanted}
    return sorted(name for name in {*found, *wanted} if found.get(name, _ABSENT) != wanted.get(name, _ABSENT))
