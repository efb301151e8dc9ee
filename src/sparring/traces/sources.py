"""What a command reads as its data, as a stream of records: a file, or many as one.

| given | what is read |
|---|---|
| a file | JSON lines or one JSON array, also packed (gzip, Zstandard); Parquet |
| a folder | its `traces.jsonl` if it is a run's; what `datasets.Dataset.save_to_disk` wrote; else every data file in it |
| a pattern (``shards/*.jsonl.zst``) | the files that fit, by name |
| ``hf:NAME``, ``hf:NAME:SPLIT``, ``hf:NAME:CONFIG:SPLIT`` | a data set of the hub, or a local folder of one, streamed |

Contract: one record is held at a time (of Parquet 256 rows and a row group's pages; one JSON array is held whole). Every
record comes with its file and line (of Parquet and data sets the row, from 1). A file that cannot be read is refused by its
name when it is reached; what is wrong with the names themselves, before anything is read.

Not here: what a record means (`readers.py`). No data set's own code is run (the package `datasets` no longer can).
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.compressed import ENDINGS
from sparring.errors import DataError, SettingsError, install_extra, needs
from sparring.fingerprints import files_digest, records_digest
from sparring.json_files import json_objects
from sparring.traces.parquet import parquet_objects

HUB = "hf:"
SHARDS = (".jsonl", ".ndjson", ".parquet")
"""Endings of the files of a folder that hold records; without any, those of `.json`."""
_FORMATS = {
    ".jsonl": "JSON", ".ndjson": "JSON", ".json": "JSON", ".parquet": "Parquet", ".csv": "CSV", ".tsv": "CSV",
    ".arrow": "Arrow",
}  # fmt: skip
Records = Iterator[tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the data: its name for errors, its records as (line, record), read anew at every call, and its file."""

    name: str
    records: Callable[[], Records]
    file: Path | None = None


def shards(data: str | Path) -> list[Shard]:
    """Return the parts of what is given, in order of their names.

    Raises:
        DataError: there is no such thing, a folder or pattern without a data file, or a name that is none.
        MissingPackageError: a data set needs the package `datasets`.
    """
    text = os.fspath(data)
    if text.startswith(HUB):
        return [Shard(text, lambda: _hub_records(text))]
    path = Path(data)
    if "\0" not in text and path.is_dir():
        return _folder(path)
    if "\0" not in text and not path.exists() and glob.has_magic(text):
        files = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if Path(name).is_file()]
        if not files:
            raise DataError("no file fits this pattern", file=text)
        return [_file(file) for file in files]
    return [_file(path)]


def data_digest(data: str | Path) -> str:
    """Return a SHA-256 of what is given: of the bytes of its files in order, of a data set its records.

    Raises:
        DataError: as `shards` and the reading of records; a file cannot be read.
    """
    parts = shards(data)
    if any(part.file is None for part in parts):
        text = (json.dumps(record, default=str) for part in parts for _, record in part.records())
        return records_digest(text)
    try:
        return files_digest(part.name for part in parts)
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", file=error.filename) from error


def refuse_own_input(out: Path, data: str | Path) -> None:
    """Refuse a file to write that is one of those that are read, whose data would be gone, or would be the next time.

    Raises:
        SettingsError: `out` is a file of `data`, also by way of links, or a new one that `data`, a folder or pattern, would
            take in. DataError: as `shards`.
    """
    parts = shards(data)
    if not out.exists():
        if _would_read(data, out):
            raise SettingsError(
                f"'{out}' would be read as data (of '{data}') the next time: name a file to write outside of it"
            )
        return
    if not out.is_file():
        return
    for part in parts:
        with contextlib.suppress(OSError, ValueError):  # a file that is not there is told when it is read
            if part.file is not None and os.path.samefile(out, part.file):
                of = "" if os.fspath(data) == part.name else f" (of '{data}')"
                raise SettingsError(
                    f"'{out}' is read as data{of} and would be replaced: name another file to write"
                )
    folder = Path(os.fspath(data).removeprefix(HUB).partition(":")[0])
    endings = _FORMATS if os.fspath(data).startswith(HUB) else (".arrow", ".json")
    within = any(part.file is None for part in parts) and folder.resolve() in out.resolve().parents
    if within and any(ending in endings for ending in out.suffixes):
        raise SettingsError(f"'{out}' is within the data set '{data}': name another file to write")


def _would_read(data: str | Path, out: Path) -> bool:
    """Whether a folder or pattern would take in a file that is not there yet."""
    text, path = os.fspath(data), Path(data)
    target = out.parent.resolve() / out.name
    if text.startswith(HUB):
        folder = Path(text.removeprefix(HUB).partition(":")[0])
        return (
            folder.is_dir()
            and folder.resolve() in target.parents
            and any(s in _FORMATS for s in out.suffixes)
        )
    if path.is_dir():
        names_its_files = (path / "traces.jsonl").is_file() or _is_saved(path)
        if names_its_files or path.resolve() not in target.parents:
            return False
        return target in _data_files([*_files_in(path.resolve()), target])
    if path.exists() or not glob.has_magic(text):
        return False
    parts = Path(os.path.abspath(text)).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    wanted = (*Path(*parts[:fixed]).resolve().parts, *parts[fixed:])
    return _fits(target.parts, wanted)


def _fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a path, in parts, fits a pattern as `glob` reads one: hidden names only where the pattern names the dot."""
    if not wanted:
        return not parts
    if wanted[0] == "**" and _fits(parts, wanted[1:]):
        return True
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    rest = wanted if wanted[0] == "**" else wanted[1:]
    return fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], rest)


def refuse_other_kind(out: Path, fits: Callable[[dict[str, Any]], bool], kind: str) -> None:
    """Refuse to replace a file that is of another kind than what is to be written; an empty one holds nothing.

    Args:
        fits: whether a record is one of the kind.
        kind: in words.

    Raises:
        SettingsError: `out` is there, and its first record does not fit.
    """
    if not out.is_file() or not out.stat().st_size:
        return
    try:
        first = next(record_objects(out), None)
    except DataError:
        fitting = False
    else:
        fitting = first is None or fits(first[1])
    if not fitting:
        raise SettingsError(f"'{out}' is there and no {kind}: name another file to write")


def record_objects(path: str | Path) -> Records:
    """Yield (line or row from 1, record) of a file of JSON lines, of one JSON array, or of Parquet by its ending.

    Raises:
        DataError: the file cannot be read; on reaching what is wrong.
    """
    return parquet_objects(path) if Path(path).suffix == ".parquet" else json_objects(path)


def _file(path: Path) -> Shard:
    return Shard(str(path), lambda: record_objects(path), path)


def _folder(path: Path) -> list[Shard]:
    if (path / "traces.jsonl").is_file():
        return [_file(path / "traces.jsonl")]
    if (path / "dataset_dict.json").is_file():
        raise DataError("a data set with several splits: name the folder of one of them", file=path)
    if _is_saved(path):
        return [Shard(str(path), lambda: _saved_records(path))]
    if chosen := _data_files(_files_in(path)):
        return [_file(file) for file in chosen]
    raise DataError(
        f"the folder holds neither traces.jsonl nor data files ({', '.join(SHARDS)}, also packed): name the file",
        file=path,
    )


def _is_saved(path: Path) -> bool:
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _data_files(files: Iterable[Path]) -> list[Path]:
    """Return those of a folder's files that are read."""
    shown = [file for file in files if not file.name.startswith(".")]
    for endings in (SHARDS, (".json",)):
        known = (*endings, *(ending + packed for ending in endings for packed in ENDINGS))
        if chosen := [file for file in shown if file.name.endswith(known)]:
            return chosen
    return []


def _saved_records(path: Path) -> Records:
    with needs(f"the data set '{path}'", "datasets", install_extra("datasets")):
        from datasets import load_from_disk
    try:
        saved = load_from_disk(str(path))
    except Exception as error:  # whatever the package meets in files that others wrote
        raise _unreadable(path, error) from error
    return _rows(path, saved.with_format(None))


def _hub_records(text: str) -> Records:
    name, *rest = text.removeprefix(HUB).split(":")
    if not name or len(rest) > 2:
        raise DataError("a data set is named hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT", file=text)
    _refuse_mixed(Path(name))
    with needs(f"'{text}'", "datasets", install_extra("datasets")):
        from datasets import load_dataset
    split = rest[-1] if rest else "train"
    try:
        loaded = load_dataset(name, *rest[:-1], split=split, streaming=True)
    except Exception as error:  # the hub, the network, the data set's own faults
        raise _unreadable(text, error) from error
    return _rows(text, loaded)


def _refuse_mixed(folder: Path) -> None:
    """Refuse a local folder of several formats: the package `datasets` reads the most frequent one and drops the others."""
    found: dict[str, Path] = {}
    if folder.is_dir():
        for file in sorted(folder.rglob("*")):
            bare = file.name
            for packed in ENDINGS:
                bare = bare.removesuffix(packed)
            kind = _FORMATS.get(Path(bare).suffix)
            if kind is not None and file.is_file() and not file.name.startswith(("dataset_info", ".")):
                found.setdefault(kind, file.relative_to(folder))
    if len(found) > 1:
        named = ", ".join(f"{kind} ({file})" for kind, file in found.items())
        raise DataError(
            f"the folder holds data in several formats, of which hf: reads one: {named}; name the files by a pattern, or "
            "the folder without hf:, which reads JSON lines and Parquet",
            file=folder,
        )


def _rows(place: str | Path, rows: Any) -> Records:
    """Yield (row from 1, record) of a data set."""
    stream = iter(rows)
    number = 0
    while True:
        try:
            row = next(stream, None)
        except Exception as error:  # a shard of it that cannot be read, the network
            raise _unreadable(place, error, number) from error
        if row is None:
            return
        number += 1
        yield number, dict(row)


def _unreadable(place: str | Path, error: Exception, rows: int = 0) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"cannot read the data set{f' after {rows} rows' if rows else ''}: {reason}", file=place)
