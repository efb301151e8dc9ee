"""Files of lines, gzip (RFC 1952) and Zstandard (RFC 8878) transparently.

Contract: reading goes by a file's first bytes, writing by the ending of its name (``.gz``, ``.zst``). Memory does not
depend on the file: 64 KiB are unpacked at a time and one line is held, of at most `LONGEST_LINE` bytes, or, where all has
to be, `MOST_WHOLE`; what is longer is refused, so that a small file cannot unpack to fill the memory. A cut-off or damaged
file is refused with file and line, after all whole lines before the damage. What is written appears whole or not at all.

Not here: what the lines mean (`json_files.py`); Parquet, which compresses by itself (`traces/parquet.py`).
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sparring.errors import DataError, OutputError
from sparring.files import atomic_file, writing

LONGEST_LINE = 1 << 26
"""Bytes of a line, unpacked: 64 MiB."""
MOST_WHOLE = 1 << 30
"""Bytes of a file that has to be held whole (one JSON array, one JSON object), unpacked: 1 GiB."""
_PIECE = 1 << 16
ENDINGS = {".gz": "gzip", ".zst": "zstd"}
_OTHER_FORMATS = {
    ".parquet": "Parquet", ".csv": "CSV", ".tsv": "CSV", ".arrow": "Arrow", ".feather": "Arrow", ".orc": "ORC",
    ".avro": "Avro", ".xlsx": "Excel", ".xls": "Excel", ".yaml": "YAML", ".yml": "YAML", ".html": "HTML",
}  # fmt: skip
_OTHER_PACKINGS = (
    ".bz2", ".xz", ".lzma", ".lz4", ".br", ".zip", ".7z", ".rar", ".tar", ".tgz", ".z", ".snappy", ".gzip", ".zstd"
)  # fmt: skip
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def bare_name(path: str | Path) -> str:
    """Return a file's name without its ending, and without that of its compression."""
    name = Path(path).name
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return Path(name).stem if name else ""


def refuse_other_ending(path: str | Path, *, parquet: bool = False) -> None:
    """Refuse to write JSON lines under a name that says something else: nobody could read the file by it.

    Args:
        parquet: whether what ends in `.parquet` is written as Parquet.

    Raises:
        OutputError: the name ends as another format's does, or as a packing that is not written.
    """
    ending, packing = Path(path).suffix, ""
    if parquet and ending == ".parquet":
        return
    if ending in ENDINGS:
        packing, ending = ending, Path(Path(path).stem).suffix
    lower = ending.lower()
    wanted = "name it .jsonl, .jsonl.gz or .jsonl.zst" + (
        ", or .parquet without a packing" if parquet else ""
    )
    if lower in _OTHER_FORMATS and not (lower == ".parquet" and parquet and not packing):
        reason = f"{ending}{packing} is a name for {_OTHER_FORMATS[lower]}, and JSON lines are written"
    elif lower in _OTHER_PACKINGS:
        reason = f"{ending}{packing} is a packing that is not written: gzip and Zstandard are"
    elif lower in (*ENDINGS, ".parquet"):
        reason = f"{ending}{packing} is known in small letters, and once, only"
    else:
        return
    raise OutputError(f"cannot write '{path}': {reason}; {wanted}")


def raw_lines(path: str | Path, *, own: bool = False) -> Iterator[bytes]:
    """Yield the file's lines; only a line feed ends one, so that texts may hold other Unicode line ends.

    Args:
        path: the file.
        own: written by this package, so a line that is not packed may be of any length: it was held when it was written.

    Raises:
        DataError: no such file, a pipe, damaged, or a line that is too long; on reaching it.
    """
    longest = LONGEST_LINE
    if own:
        with contextlib.suppress(OSError):  # told below
            longest = max(longest, Path(path).stat().st_size)
    for line, raw in enumerate(_parts(path, lambda file: file.readline(longest + 1)), start=1):
        if len(raw) > longest:
            raise DataError(
                f"the line is longer than {longest >> 20} MiB, the most that is read at once",
                file=path,
                line=line,
            )
        yield raw


def pieces(path: str | Path) -> Iterator[bytes]:
    """Yield what the file holds, as much at a time as is at hand, wherever its lines end.

    Raises:
        DataError: no such file, a pipe, or damaged; on reaching it.
    """
    return _parts(path, lambda file: file.read1(_PIECE))


def _parts(path: str | Path, take: Callable[[Any], bytes]) -> Iterator[bytes]:
    """Yield what is taken of the file's unpacked bytes until there is no more; raises as `pieces`."""
    refuse_pipe(path)
    line = 1
    try:
        with _opened(path) as file:
            while part := take(file):
                yield part
                line += part.count(b"\n")
    except FileNotFoundError as error:
        raise DataError("no such file", file=path) from error
    except OSError as error:
        if error.strerror is not None:
            raise DataError(f"cannot read the file: {error.strerror}", file=path) from error
        reason = "cut off" if "Truncated" in str(error) else f"damaged ({' '.join(str(error).split())})"
        raise DataError(f"the compressed file is {reason}", file=path, line=line) from error


def whole(path: str | Path) -> bytes:
    """Return all of a file that has to be held at once.

    Raises:
        DataError: as `pieces`, or it is larger than `MOST_WHOLE`.
    """
    found = bytearray()
    for piece in pieces(path):
        found += piece
        if len(found) > MOST_WHOLE:
            raise DataError(
                f"one JSON value of more than {MOST_WHOLE >> 30} GiB: write JSON lines, which are read one at a time",
                file=path,
            )
    return bytes(found)


@contextlib.contextmanager
def atomic_lines(path: str | Path) -> Iterator[Callable[[bytes], None]]:
    """Give what writes bytes to a file, packed as the name's ending says; it appears whole when the block ends well.

    Raises:
        OutputError: `path` is a folder or a device, its name says that something else is in it, or the system refuses.
    """
    refuse_other_ending(path)
    codec = ENDINGS.get(Path(path).suffix)
    with atomic_file(path) as file:
        packed: Any = file
        if codec is not None:
            import pyarrow  # type: ignore[import-untyped]

            own = os.fdopen(os.dup(file.fileno()), "wb")  # it closes what it is given
            packed = pyarrow.CompressedOutputStream(pyarrow.PythonFile(own, "w"), codec)

        def write(data: bytes) -> None:
            with writing(path):
                packed.write(data)

        yield write
        if codec is not None:
            with writing(path):
                packed.close()


def refuse_pipe(path: str | Path) -> None:
    """Raise DataError where a file cannot be read more than once, as readers do, or the path can be no file's."""
    if "\0" in str(path):
        raise DataError("a path holds no NUL character", file=path)
    file = Path(path)
    if file.exists() and not file.is_file() and not file.is_dir():
        raise DataError("it is a pipe or a device: write what it holds to a file first", file=path)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Give the file's unpacked bytes."""
    with Path(path).open("rb") as file:
        codec = next((name for magic, name in _MAGIC.items() if file.peek(4).startswith(magic)), None)
        if codec is None:
            yield file
            return
        import pyarrow

        with io.BufferedReader(pyarrow.CompressedInputStream(file, codec), _PIECE) as unpacked:
            yield unpacked
