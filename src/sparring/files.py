"""Files and folders that appear whole or not at all, and the plain JSON that is written into them.

Contract: a reader, or a process restarted after a kill -9 or a power cut, finds the old content or the new
one and nothing in between. A draft is written under a hidden name beside the target, synced, and renamed. What the system
refuses (a full disk, a read-only folder, a name too long) is an `OutputError` that names the place; `check_output` finds
it out before hours of work.

Not here: what a run writes with it (`runs.py`); who may write (`locks.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
import hashlib
import json
import math
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from sparring.errors import OutputError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_LONGEST_STEM = 100  # bytes of a target's name that its draft's name repeats
_ROOM = 16  # bytes that a name leaves for the endings of journals beside it


def to_json(value: Any) -> tuple[Any, int]:
    """Return `value` in plain JSON types, and how many NaN or infinite numbers became null.

    Takes what settings and records are made of: mappings, sequences, sets (sorted), paths, enums,
    dataclasses, numpy arrays and scalars, tensors.

    Raises:
        TypeError: anything else, named by its type.
    """
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if value is None or isinstance(value, (bool, str, int)):
        return value, 0
    if isinstance(value, float):
        return (float(value), 0) if math.isfinite(value) else (None, 1)
    if isinstance(value, Path):
        return str(value), 0
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        pairs = {str(key): to_json(item) for key, item in value.items()}
        if len(pairs) < len(value):
            raise TypeError(f"two keys become the same text: {list(value)!r}")
        return {key: item for key, (item, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        items = [to_json(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    if hasattr(value, "tolist"):  # numpy and torch, importing neither
        return to_json(value.tolist())
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def dumps(plain: Any, indent: int | None = None) -> str:
    """Return strict JSON, readable in any script; escaped only where a text is not valid Unicode."""
    text = json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot hold
        return json.dumps(plain, indent=indent, ensure_ascii=True, allow_nan=False)
    return text


def sync(path: Path) -> None:
    """Have the system put a file's content, or a folder's names, on the disk."""
    folder = path.is_dir()
    if os.name == "nt" and folder:  # it has no such thing
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        # Some file systems do not take this for folders.
        with contextlib.suppress(*([OSError] if folder else [])):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the system refuses within the block into an `OutputError` that names `path`.

    Libraries written in Rust (safetensors) pass on the system's errors as plain texts with ``(os error 28)``.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"cannot write '{path}': '{error.filename}' is not a folder") from error
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
    except Exception as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            raise OutputError(f"cannot write '{path}': {os.strerror(int(found[1]))}") from error
        raise


def check_output(path: Path, kind: Literal["file", "folder", "run"]) -> None:
    """Refuse a place where a command's output could not be written; nothing is left behind.

    Args:
        path: the file or folder; it need not exist, nor the folders above it.
        kind: a file or a folder that appears whole, beside which drafts are written; or a run directory that is filled.

    Raises:
        OutputError: the name cannot be one, something of another kind is there, or a trial of some bytes failed.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in str(path)):
        raise OutputError(f"cannot write {str(path)!r}: the name holds a control character")
    with writing(path):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # told below
            os.stat(path)  # links that lead in a circle, a name too long
        target = Path(os.path.realpath(path))
        if kind == "file":
            _refuse_no_file(path, target)
        elif target.exists() and not target.is_dir():
            raise OutputError(f"cannot write a folder at '{path}': it is a file")
        place = target if kind == "run" else target.parent
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise OutputError(f"cannot write '{path}': '{place}' is not a folder")
        limit = (os.pathconf(place, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255) - _ROOM
        for part in target.relative_to(place).parts:
            if len(os.fsencode(part)) > limit:
                raise OutputError(f"cannot write '{path}': the name is longer than {limit} bytes")
        _remove_leftovers(place / "trial")  # of a process that was killed right here
        trial = _draft_name(place / "trial")
        try:
            with trial.open("xb") as file:
                file.write(bytes(1 << 16))
                file.flush()
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)


def _refuse_no_file(path: str | Path, target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"cannot write a file at '{path}': it is a folder")
    if target.exists() and not target.is_file():  # a device would be replaced by a file
        raise OutputError(f"cannot write a file at '{path}': it is a device or a pipe")


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Yield a draft to write to; when the block ends well it becomes `path` in one step; parent folders are made.

    Raises:
        OutputError: `path` is a folder or a device, or the system refuses.
    """
    with writing(path):
        target = Path(os.path.realpath(path))
        _refuse_no_file(path, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        draft = _draft_name(target)
    file = None
    try:
        with writing(path):
            file = draft.open("xb")
        yield file
        with writing(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # closing tries again to write what is left
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    with writing(path):
        sync(target.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` so that it appears whole or not at all; parent folders are made.

    Raises:
        OutputError: `path` is a folder or a device, or the system refuses.
    """
    with atomic_file(path) as file, writing(path):
        file.write(text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, with NaN and infinities as null (`to_json`), whole or not at all."""
    plain, _ = to_json(value)
    atomic_write_text(path, dumps(plain, indent=2) + "\n")


def atomic_write_jsonl(path: str | Path, records: Iterable[Any]) -> None:
    """Write one JSON object a line, with NaN and infinities as null (`to_json`), whole or not at all."""
    with atomic_file(path) as file:
        for record in records:
            line = (dumps(to_json(record)[0]) + "\n").encode("utf-8")
            with writing(path):
                file.write(line)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well, it becomes `path` in one step.

    An existing folder is replaced as a whole. If the block raises, or the process dies, `path` is as it
    was; what a dead process left is removed by the next call. Where two folders cannot be swapped in one step
    (other systems than Linux, some file systems) there is an instant with no folder at `path`; the old one is
    then kept beside it, and the next call, or `recover_directory`, puts it back.

    Raises:
        OutputError: `path` exists and is not a folder, or the system refuses.
    """
    with writing(path):
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        if recover_directory(target) and not target.is_dir():
            raise OutputError(f"cannot write a folder at '{path}': it is a file")
        draft = _draft_name(target)
        draft.mkdir()
        try:
            yield draft
            for folder, _, files in os.walk(draft):
                for name in files:
                    sync(Path(folder) / name)
                sync(Path(folder))
            _put_in_place(draft, target)
        finally:  # after a swap the draft's name holds the old folder
            shutil.rmtree(draft, ignore_errors=True)


def recover_directory(path: str | Path) -> bool:
    """Put a folder in order after a crash while it was replaced; return whether there is one.

    The old one is put back where the crash came between two renames, and what a dead process left beside it is removed.
    """
    target = Path(os.path.realpath(path))
    previous = target.parent / f".{target.name}.previous"
    if (
        target.exists() and previous.exists()
    ):  # the replacement was complete, only the clearing up was missing
        sync(target.parent)
        shutil.rmtree(previous)
    elif previous.exists():
        previous.rename(target)
    if target.parent.is_dir():
        _remove_leftovers(target)
    return target.exists()


def _put_in_place(draft: Path, target: Path) -> None:
    """Let a folder take the place of another; on the disk, too, before anything of the other is removed."""
    previous = target.parent / f".{target.name}.previous"
    if not target.exists():
        draft.rename(target)
    elif not _swap(draft, target):
        target.rename(previous)
        draft.rename(target)
    sync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _draft_name(target: Path) -> Path:
    """Return a fresh hidden name beside `target` that says which process writes there."""
    return target.parent / f"{_draft_stem(target)}{os.getpid()}-{secrets.token_hex(4)}"


def _draft_stem(target: Path) -> str:
    """Return what the names of all drafts of `target` on this machine begin with; bounded, as names are."""
    name = os.fsencode(target.name)
    if len(name) > _LONGEST_STEM:
        name = hashlib.sha256(name).hexdigest().encode()
    return f".{os.fsdecode(name)}.draft-{platform.node()[:64]}-"


def _remove_leftovers(target: Path) -> None:
    """Remove the drafts of `target` whose process, on this machine, is no more."""
    pattern = re.compile(re.escape(_draft_stem(target)) + r"(\d+)-[0-9a-f]{8}")
    for entry in list(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name == "nt":  # asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists and belongs to somebody else, or the system cannot say
        return True
    return True
