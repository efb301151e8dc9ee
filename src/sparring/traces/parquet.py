"""Parquet files as records, one row at a time: what public data sets are shipped in, and may be written by name.

Contract: a row is a JSON-like object; a column that a row lacks is null. What has no fixed columns (`meta`) is written as
JSON text in a column that says so, and comes back as it was. Memory: a row group's pages, and of it `ROWS` rows as objects.
What is written has checksums of its pages, which are tested where a file has them. Errors name the file, and the row where
it is one's. Not here: which fields a record has (`formats/`, `LAYOUTS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sparring.errors import DataError
from sparring.files import atomic_file, writing
from sparring.json_files import json_line, parse_json, write_jsonl_objects
from sparring.streams import windows

ROWS = 256
"""Rows that are held at once as Python objects."""
ROWS_PER_GROUP = 4096
Column = Literal["text", "texts", "numbers", "bool", "bools", "estimates", "json"]
Layout = Mapping[str, Column]
"""The columns of a Parquet file: name → what it holds."""
_JSON = {b"sparring": b"json"}


def parquet_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row from 1, record) of a Parquet file.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            written = [field.name for field in file.schema_arrow if field.metadata == _JSON]
            number = 0
            rows = (row for batch in file.iter_batches(batch_size=ROWS) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                for name in written:
                    row[name] = _from_json(row[name], path, number, name)
                yield number, row
            if number != file.metadata.num_rows:
                raise DataError(
                    f"the Parquet file gives {number} of its {file.metadata.num_rows} rows", file=path
                )
    except FileNotFoundError:
        raise DataError("no such file", file=path) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"the Parquet file holds a text that is not UTF-8 ({error.reason})", file=path
        ) from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read the Parquet file: {reason}", file=path) from None


def write_records(path: str | Path, records: Iterable[Mapping[str, Any]], layout: Layout) -> int:
    """Write records as Parquet where the name ends so, else as JSON lines, packed where it ends so; return how many.

    The file appears whole or not at all; `records` may be of any length.

    Raises:
        DataError: a value cannot be written (line: its place in `records`, from 1). OutputError: the system refuses.
    """
    if Path(path).suffix != ".parquet":
        return write_jsonl_objects(path, records)
    import pyarrow
    import pyarrow.parquet

    schema = _schema(layout)
    count = 0
    with (
        atomic_file(path) as file,
        pyarrow.parquet.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for group in windows(records, ROWS_PER_GROUP):
            rows = [_row(record, layout, path, count + place) for place, record in enumerate(group, start=1)]
            try:
                table = pyarrow.Table.from_pylist(rows, schema=schema)
            except (pyarrow.ArrowException, OverflowError) as error:
                reason = " ".join(str(error).split())
                raise DataError(
                    f"records {count + 1} to {count + len(rows)} have no place in Parquet: {reason}",
                    file=path,
                ) from error
            with writing(path):
                writer.write_table(table)
            count += len(rows)
    return count


def _row(record: Mapping[str, Any], layout: Layout, path: str | Path, number: int) -> dict[str, Any]:
    json_line(record, path, number)  # refuses what would not read back
    return {
        name: json_line(value, path, number).decode() if layout[name] == "json" else value
        for name, value in record.items()
    }


def _from_json(text: object, path: str | Path, number: int, name: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return parse_json(text, path, number)
    except DataError as error:
        raise DataError(error.message, file=path, line=number, field=name) from None


def _schema(layout: Layout) -> Any:
    import pyarrow as pa

    number = pa.float64()
    estimate = pa.struct([("value", number), ("count", pa.int64()), ("low", number), ("high", number)])
    types = {
        "text": pa.string(), "texts": pa.list_(pa.string()), "numbers": pa.list_(number), "bool": pa.bool_(),
        "bools": pa.list_(pa.bool_()), "estimates": pa.list_(estimate), "json": pa.string(),
    }  # fmt: skip
    return pa.schema(
        pa.field(name, types[kind], metadata=_JSON if kind == "json" else None)
        for name, kind in layout.items()
    )
