"""Typed access to the fields of a JSON object that somebody else wrote.

Contract: each method returns a value of the promised type or raises a DataError whose field is the full path
from the record's top (``label.steps[3].completions[0].text``). Nothing is converted silently; in particular a
boolean is never taken for a number. ``null`` counts as absent in the `optional_…` methods.

Not here: which fields a format has (`formats/`, `jsonl.py`); where `Fields` do not know file and line, the caller adds them
with `DataError.at`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from sparring.errors import DataError, did_you_mean
from sparring.json_files import kind, read_jsonl_objects


class Fields:
    """A JSON object, the path that leads to it from the record's top, and where known the record's file and line."""

    def __init__(
        self,
        values: Mapping[str, Any],
        path: str = "",
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        self.values = values
        self._path = path
        self._place: tuple[str | Path | None, int | None] = file, line

    def error(self, name: str, message: str) -> DataError:
        """Return a DataError about field `name` of this object."""
        file, line = self._place
        return DataError(message, file=file, line=line, field=f"{self._path}.{name}" if self._path else name)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise DataError at the first field that is not known, naming the nearest that is."""
        for name in self.values:
            if name not in known:
                raise self.error(name, "unknown field" + did_you_mean(name, known))

    def string(self, name: str) -> str:
        """Return a text, possibly blank."""
        value = self._required(name)
        if not isinstance(value, str):
            raise self.error(name, f"expected a text, got {kind(value)}")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not blank."""
        value = self.string(name)
        if not value.strip():
            raise self.error(name, "the text is empty")
        return value

    def optional_string(self, name: str) -> str | None:
        """Return a text, possibly blank, or None where the field is absent or null."""
        return self.string(name) if self.has(name) else None

    def optional_answer(self, name: str) -> str | None:
        """Return an answer as text; public sets also write answers as numbers."""
        value = self.values.get(name)
        if is_number(value):
            return str(value)
        return self.optional_string(name)

    def integer(self, name: str) -> int:
        """Return a whole number."""
        value = self._required(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(name, f"expected a whole number, got {kind(value)}")
        return value

    def share(self, name: str) -> float:
        """Return a number from 0 to 1."""
        value = self._required(name)
        if not is_number(value) or not 0 <= value <= 1:
            raise self.error(name, f"expected a number from 0 to 1, got {shown(value)}")
        return float(value)

    def number(self, name: str) -> float:
        """Return a finite number."""
        value = finite_number(self._required(name))
        if value is None:
            raise self.error(name, f"expected a number, got {shown(self.values[name])}")
        return value

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self._required(name)
        if not isinstance(value, bool):
            raise self.error(name, f"expected true or false, got {kind(value)}")
        return value

    def array(self, name: str) -> list[Any]:
        """Return a list of anything."""
        value = self._required(name)
        if not isinstance(value, list):
            raise self.error(name, f"expected a list, got {kind(value)}")
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, possibly blank, possibly none."""
        for position, value in self._positions(name):
            if not isinstance(value, str):
                raise self.error(position, f"expected a text, got {kind(value)}")
        return tuple(self.array(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of at least one text, none of them blank."""
        values = self.strings(name)
        if not values:
            raise self.error(name, "the list is empty")
        for index, value in enumerate(values):
            if not value.strip():
                raise self.error(f"{name}[{index}]", "the text is empty")
        return values

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers, possibly none."""
        for position, value in self._positions(name):
            if not isinstance(value, int) or isinstance(value, bool):
                raise self.error(position, f"expected a whole number, got {kind(value)}")
        return tuple(self.array(name))

    def labels(self, name: str, *, booleans: bool, unknown: bool) -> tuple[float | None, ...]:
        """Return step labels: numbers from 0 to 1, where asked for also true and false, and null."""
        wanted = "a number from 0 to 1" + ", true, false" * booleans + " or null" * unknown
        for position, value in self._positions(name):
            accepted = (
                (is_number(value) and 0 <= value <= 1)
                or (booleans and isinstance(value, bool))
                or (unknown and value is None)
            )
            if not accepted:
                raise self.error(position, f"a label is {wanted}, got {shown(value)}")
        return tuple(None if value is None else float(value) for value in self.array(name))

    def child(self, name: str) -> Fields:
        """Return a nested object."""
        return self._child(name, self._required(name))

    def children(self, name: str) -> list[Fields]:
        """Return a list of nested objects, possibly none."""
        return [self._child(position, value) for position, value in self._positions(name)]

    def optional_child(self, name: str) -> Fields:
        """Return a nested object, an empty one where the field is absent or null."""
        return self._child(name, self.values[name] if self.has(name) else {})

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a nested object as it is, empty where the field is absent or null."""
        return dict(self.optional_child(name).values)

    def _child(self, name: str, value: object) -> Fields:
        if not isinstance(value, Mapping):
            raise self.error(name, f"expected an object, got {kind(value)}")
        return Fields(value, f"{self._path}.{name}" if self._path else name, *self._place)

    def _positions(self, name: str) -> Iterator[tuple[str, Any]]:
        for index, value in enumerate(self.array(name)):
            yield f"{name}[{index}]", value

    def _required(self, name: str) -> Any:
        if name not in self.values:
            raise self.error(name, "the field is missing")
        return self.values[name]


def records_of(file: str | Path) -> Iterator[Fields]:
    """Yield the records of a JSONL file, none where it is absent; what is refused of one names its line.

    Raises:
        DataError: a line is not one JSON object; on reaching it.
    """
    if Path(file).is_file():
        for line, record in read_jsonl_objects(file, loose=True):
            yield Fields(record, file=file, line=line)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a JSON number; a boolean is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def finite_number(value: object) -> float | None:
    """Return a JSON number as a float; None for anything else, NaN, infinity and whole numbers beyond a float."""
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shown(value: object) -> str:
    """Return a short value as it stands, a long one by its type; a number with all its digits, or how large it is."""
    if is_number(value):
        if isinstance(value, float) or abs(value) < 1e9:
            return str(value)
        return f"a number of about {round(abs(value).bit_length() * math.log10(2))} digits"
    return repr(value) if isinstance(value, str) and len(value) <= 20 else kind(value)
