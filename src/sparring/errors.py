"""Errors meant for people: what was wrong, where, and what to do.

The command line prints them without a traceback; everything else that escapes is a bug, and its traceback goes to a file
(`cli/ending.py`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class SparringError(Exception):
    """Base of all errors that a user can cause and mend."""


class SettingsError(SparringError):
    """A setting is unknown, ill-typed or out of range."""


class MissingPackageError(SettingsError, ModuleNotFoundError):
    """Something needs a package that is not installed, or not in a version that has what it needs."""


class CheckpointError(SparringError):
    """A model folder is missing, incomplete, or does not fit the request."""


class OutputError(SparringError):
    """A file or folder cannot be written: a full disk, a place that is read-only or a file, an impossible name."""


class Record(int):
    """The place of a record in a file that is one JSON array, from 1: stands where else a line's number does."""


class DataError(SparringError):
    """A record cannot be used; names the file, the line (of a JSON array, the record) and the field.

    `trace` is the trace that is refused, for whoever can tell where it stands.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        trace: object = None,
    ) -> None:
        self.message = message
        self.trace = trace
        self.file = None if file is None else str(file)
        self.line = line
        self.field = field
        super().__init__(message)

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        if self.field is not None:
            place = f"{place}: field '{self.field}'" if place else f"field '{self.field}'"
        message = f"{place}: {self.message}" if place else self.message
        return (
            f"{message} (record {self.line} of the JSON array)" if isinstance(self.line, Record) else message
        )

    def at(self, *, file: str | Path | None = None, line: int | None = None) -> DataError:
        """Return the same error with the place filled in where it was still unknown."""
        return DataError(
            self.message,
            file=self.file if self.file is not None else file,
            line=self.line if self.line is not None else line,
            field=self.field,
            trace=self.trace,
        )


def names_of(files: Iterable[str | Path]) -> str:
    """Return the names of files in one text, the first three of many."""
    names = list(map(str, files))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def about(*files: str | Path | None) -> Iterator[None]:
    """Name these files where a block refuses data and the error names none: what is wrong with all of a file's records."""
    try:
        yield
    except DataError as error:
        if error.file is None:
            error.file = names_of(file for file in files if file is not None) or None
        raise


_BOUNDS = {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}


def said_by_pydantic(detail: Mapping[str, Any]) -> str:
    """Return what pydantic says of a value in the words of our own checks: `must be at most 1,000,000`."""
    text = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    if detail["type"] in _BOUNDS:
        text = text.replace("greater than or equal to", "at least").replace(
            "less than or equal to", "at most"
        )
        text = re.sub(r"\d{4,}$", lambda digits: f"{int(digits[0]):,}", text)
    return text


def plural(number: int, one: str, more: str = "", *, form: str = "") -> str:
    """Return a number with what it counts: `1 trace`, `2 traces`, `0 entries` (`more`: where an s is not enough)."""
    return f"{number:{form}} {one if number == 1 else more or one + 's'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known word, or the list of known words."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(choices)})" if choices else ""


def install_extra(extra: str) -> str:
    """Return the command that installs one of our extras, as it is from a package index and from a clone."""
    return f"pip install 'sparring[{extra}]' (in a clone: pip install -e '.[{extra}]')"


@contextmanager
def needs(what: str, package: str, install: str) -> Iterator[None]:
    """Say what to install where a block's imports fail.

    Args:
        what: whose imports they are.
        package: whose absence it is, as it is imported.
        install: what mends it.

    Raises:
        MissingPackageError: one failed; for importers a ModuleNotFoundError.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            missing = f"{what} needs {package}: {install}"
        else:  # something that it needs itself, or another version
            missing = f"{what} cannot use this {package} ({error}): {install}"
        raise MissingPackageError(missing, name=package) from error
