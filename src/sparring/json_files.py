"""JSON files, read strictly: the one reader behind records, sidecars, logs, journals, scores and metrics.

Contract: UTF-8. Refused with file and line (of one JSON array: the record): broken or cut-off JSON, repeated keys, NaN and
numbers too large for a float, half surrogate pairs, more than `DEEPEST` levels, and no object where one is due.
`loose` lets NaN, infinity and half pairs stand, as they do in this package's logs (`files.dumps` escapes half pairs) and in
the configurations of other programs. JSON lines are read one at a time. What is written reads back equal.

Not here: which fields an object has (`traces/fields.py`), writing without these checks (`files.py`).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from sparring.compressed import atomic_lines, pieces, raw_lines, whole
from sparring.errors import DataError, Record

DEEPEST = 100
"""Levels of objects and lists that a file's JSON may hold."""
_BOM = b"\xef\xbb\xbf"
_JSON_SPACE = " \t\n\r"


def read_json_object(path: str | Path, *, loose: bool = False) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        DataError: the file cannot be read, is not JSON, or holds something else than an object.
    """
    text = decoded(whole(path), path, None)
    return _as_object(parse_json(text, path, None, loose=loose), "expected a JSON object", path, None)


def read_jsonl_objects(path: str | Path, *, loose: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for every line that is not blank; one line is held at a time.

    Raises:
        DataError: no such file, not UTF-8, or a line that is not one valid JSON object; on reaching it.
    """
    return ((line, found) for line, _, found in jsonl_objects_at(path, loose=loose))


def jsonl_objects_at(path: str | Path, *, loose: bool = False) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the same with the byte of the (unpacked) file at which each line begins: (line, byte, object)."""
    start = 0
    for line, raw in enumerate(raw_lines(path, own=loose), start=1):
        text = decoded(raw.removeprefix(_BOM) if line == 1 else raw, path, line)
        if text.strip():
            value = parse_json(text, path, line, loose=loose)
            yield line, start, _as_object(value, "expected one JSON object per line", path, line)
        start += len(raw)


def json_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) from JSON lines, or (`Record`, object) from a file that is one JSON array.

    Raises:
        DataError: the file cannot be read, or something in it is not an object; names the line or the record.
    """
    if not _is_array(path):
        yield from read_jsonl_objects(path)
        return
    text = decoded(whole(path).removeprefix(_BOM), path, None)
    yield from _array(text, path)


def _is_array(path: str | Path) -> bool:
    for piece in pieces(path):
        if begun := piece.removeprefix(_BOM).lstrip():
            return begun.startswith(b"[")
    return False


def _array(text: str, path: str | Path) -> list[tuple[Record, dict[str, Any]]]:
    """Return the objects of a JSON array with their places."""
    found: list[tuple[Record, dict[str, Any]]] = []
    end = _space(text, 0) + 1
    while not (not found and text.startswith("]", _space(text, end))):
        place = Record(len(found) + 1)
        value, end = _value_at(text, _space(text, end), path, place)
        found.append((place, _as_object(value, "expected an object", path, place)))
        end = _space(text, end)
        if not text.startswith(",", end):
            break
        end += 1
    end = _space(text, end)
    if end == len(text):
        raise DataError(f"the JSON ends in the middle: cut off after record {len(found)}", file=path)
    if text[end] != "]":
        raise DataError(f"not valid JSON: {text[end]!r} after record {len(found)}", file=path)
    if _space(text, end + 1) < len(text):
        raise DataError("not valid JSON: Extra data behind the array", file=path)
    return found


def _value_at(text: str, start: int, path: str | Path, place: int) -> tuple[Any, int]:
    """Return the strictly read JSON value that begins at a place of the text, and where it ends."""
    end = start

    def read() -> Any:
        nonlocal end
        value, end = _STRICT.raw_decode(text, start)
        return value

    value = _strictly(read, text, path, place)
    _refuse_deep(text[start:end], path, place)
    _refuse_half_pairs(text[start:end], value, path, place)
    return value, end


def _space(text: str, start: int) -> int:
    while start < len(text) and text[start] in _JSON_SPACE:
        start += 1
    return start


def write_jsonl_objects(path: str | Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write one object per line, packed where the name ends so (`compressed`), whole or not at all; return how many.

    Each line is written when its record comes, so `records` may be of any length.

    Raises:
        DataError: a value is not JSON (line: its place in `records`, from 1). OutputError: the file cannot be written.
    """
    number = 0
    with atomic_lines(path) as write:
        for number, record in enumerate(records, start=1):
            write(json_line(record, path, number))
    return number


def json_line(record: Mapping[str, Any], path: str | Path, number: int) -> bytes:
    """Return a record as a line of JSON, UTF-8.

    Raises:
        DataError: a value is not JSON, or would not read back equal; names file, line and field.
    """
    try:
        plain = dict(record)
        _refuse_not_json(plain, "")
        return (json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except DataError as error:
        raise error.at(file=path, line=number) from error
    except UnicodeEncodeError as error:
        raise DataError(_HALF_PAIR, file=path, line=number) from error
    except ValueError as error:
        raise DataError(too_many_digits(), file=path, line=number) from error
    except RecursionError as error:
        raise DataError(f"cannot be written as JSON: {error}", file=path, line=number) from error


def decoded(raw: bytes, path: str | Path, line: int | None) -> str:
    """Return UTF-8 bytes as text, or raise DataError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        known = next((advice for start, advice in _OTHER_FILES.items() if raw.startswith(start)), None)
        message = known or f"not UTF-8 text (byte {error.start + 1}): convert the file to UTF-8"
        raise DataError(message, file=path, line=line) from error
    if text.startswith("PAR1"):
        raise DataError(_OTHER_FILES[b"PAR1"], file=path, line=line)
    return text


_OTHER_FILES = {
    b"BZh": "the file is compressed: unpack it first (bunzip2)",
    b"\xfd7zXZ": "the file is compressed: unpack it first (unxz)",
    b"PK\x03\x04": "the file is an archive: unpack it first (unzip)",
    b"PAR1": "a Parquet file, which is known by its ending: name it `.parquet`",
    b"\xff\xfe": "the file is UTF-16 text: convert it to UTF-8",
    b"\xfe\xff": "the file is UTF-16 text: convert it to UTF-8",
}
"""What the first bytes of a file that is no UTF-8 text say of it."""


def parse_json(text: str, path: str | Path, line: int | None, *, loose: bool = False) -> Any:
    """Return the value of a JSON text, strictly or, where asked for, loosely.

    Raises:
        DataError: broken or cut off, a repeated key, NaN or infinity, half a surrogate pair, nested too deep.
    """
    value = _strictly(lambda: (_LOOSE if loose else _STRICT).decode(text), text, path, line)
    _refuse_deep(text, path, line)
    if not loose:
        _refuse_half_pairs(text, value, path, line)
    return value


def _as_object(value: Any, wanted: str, path: str | Path, line: int | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{wanted}, got {kind(value)}", file=path, line=line)
    return value


def _refuse_half_pairs(text: str, value: Any, path: str | Path, line: int | None) -> None:
    try:
        if "\\ud" in text.lower():  # only an escape can make half a pair: the bytes are valid UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(_HALF_PAIR, file=path, line=line) from error


def _strictly(read: Callable[[], Any], text: str, path: str | Path, line: int | None) -> Any:
    """Return what is read, with every fault of JSON as a DataError."""
    try:
        return read()
    except DataError as error:
        raise error.at(file=path, line=line) from error
    except json.JSONDecodeError as error:
        raise DataError(_broken(error, text), file=path, line=line) from error
    except RecursionError as error:
        raise DataError(_TOO_DEEP, file=path, line=line) from error
    except ValueError as error:  # an integer with thousands of digits
        raise DataError(too_many_digits(), file=path, line=line) from error


_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def _refuse_deep(text: str, path: str | Path, line: int | None) -> None:
    """Raise DataError where the brackets of a valid JSON text are nested too deeply: code further down is recursive."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise DataError(_TOO_DEEP, file=path, line=line)


def too_many_digits() -> str:
    """Return what is said of an integer with more digits than Python reads and writes."""
    return f"a whole number has more than {sys.get_int_max_str_digits()} digits, the most that are read"


_TOO_DEEP = f"the JSON is nested more than {DEEPEST} levels deep"
_HALF_PAIR = "a text holds half of a surrogate pair, which is not valid Unicode"


def _broken(error: json.JSONDecodeError, text: str) -> str:
    if not text.strip():
        return "empty, where JSON should stand: copy or download it again"
    cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if cut_off:
        return "the JSON ends in the middle: cut off, or an object spread over several lines"
    return f"not valid JSON: {error.msg} (column {error.colno})"


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object of its pairs (`object_pairs_hook`).

    Raises:
        DataError: a key comes twice; the field is the key.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise DataError("the key is given twice", field=key)
        values[key] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise DataError(f"{name} is not a JSON number: write null, or leave the field out")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DataError(f"the number {text[:40]} is too large for a float")
    return value


_STRICT = json.JSONDecoder(
    object_pairs_hook=distinct, parse_constant=_refuse_constant, parse_float=_finite_float
)
_LOOSE = json.JSONDecoder(object_pairs_hook=distinct)


def _refuse_not_json(value: object, field: str) -> None:
    """Raise DataError at the first thing that JSON has no word for, or that would not read back."""
    if value is None or isinstance(value, (bool, str, int)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{value} is not a JSON number", field=field)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise DataError(f"a key of a JSON object is a text, got {key!r}", field=field)
            _refuse_not_json(item, f"{field}.{key}" if field else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_not_json(item, f"{field}[{index}]")
    else:
        raise DataError(f"cannot write a {type(value).__name__} as JSON", field=field)


def kind(value: object) -> str:
    """Return the JSON type of a value in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names: dict[type, str] = {
        str: "a text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)
