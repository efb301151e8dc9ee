"""Parquet files as records, one row at a time: what public data sets are shipped in.

Contract: a row is a JSON-like object; a column that a row lacks is null. Errors name the file. Not here: which fields a
record has (`formats/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparring.errors import DataError
from sparring.json_files import json_objects


def record_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line or row from 1, record) of a file of JSON lines, of one JSON array, or of Parquet by its suffix.

    Raises:
        DataError: the file cannot be read; on reaching what is wrong.
    """
    yield from parquet_objects(path) if Path(path).suffix == ".parquet" else json_objects(path)


def parquet_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row from 1, record) of a Parquet file.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        file = pyarrow.parquet.ParquetFile(path)
        rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except FileNotFoundError:
        raise DataError("no such file", file=path) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"the Parquet file holds a text that is not UTF-8 ({error.reason})", file=path
        ) from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read the Parquet file: {reason}", file=path) from None
