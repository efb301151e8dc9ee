"""What the targets of `fuzz.py` share: parts of an input, and promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

SEPARATOR = b"\x1e"
Run = Callable[[bytes], object]
Made = Iterator[tuple[list[bytes], Run]]
Target = Callable[[Path], AbstractContextManager[tuple[list[bytes], Run]]]


class BrokenPromise(Exception):
    """A result is not what its contract says."""


def promise(holds: object, what: str) -> None:
    """Raise where a promise does not hold."""
    if not holds:
        raise BrokenPromise(what)


def parts(data: bytes, count: int) -> list[bytes]:
    """Return so many parts of an input, the last ones empty where there are fewer."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def text(data: bytes) -> str:
    """Return bytes as a text that is valid Unicode."""
    return data.decode("utf-8", "replace")


def joined(*found: bytes | str | dict[str, Any] | list[Any]) -> bytes:
    """Return an input of these parts."""
    return SEPARATOR.join(
        one if isinstance(one, bytes) else one.encode() if isinstance(one, str) else json.dumps(one).encode()
        for one in found
    )
