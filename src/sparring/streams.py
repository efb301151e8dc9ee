"""Work on streams: items come one at a time, results leave in the same order, and little is held in between.

`windows` cuts them; `Places` knows the number of each of very many keys, to find what comes twice or is done already.

A command reads items lazily, cuts them into windows, and hands the windows to a mapper (`pool.items.Mapper`): this process,
or a pool that has a bounded number of windows under way. A window is the unit of work: what is computed together here is
computed together there, so the output is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while window := list(islice(rest, size)):
        yield window


def text_digest(text: object) -> bytes:
    """Return 16 bytes that stand for a text, or for what `repr` says of anything else."""
    plain = text if isinstance(text, str) else repr(text)
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def place_of(name: bytes, keys: Any) -> int | None:
    """Return where 16 bytes stand in a sorted NumPy array of such (``S16``), or None."""
    place = int(keys.searchsorted(name))
    # NumPy gives bytes without the zeros at their end.
    return place if place < len(keys) and keys[place] == name.rstrip(b"\0") else None


class Places:
    """Numbers by key for very many keys: 24 bytes each, whatever the key.

    The newest, 65,536 of them or a sixteenth of all, take about 140 bytes each until they are sorted in with the others;
    for that moment all are held twice.

    A key is known by 16 bytes of its digest, so two of a hundred million keys agree by chance once in 10²².

    Args:
        digest: gives 16 bytes of a key.
    """

    _MOST_LOOSE = 1 << 16

    def __init__(self, digest: Callable[[object], bytes] = text_digest) -> None:
        self._digest = digest
        self._loose: dict[bytes, int] = {}
        self._keys: Any = ()  # sorted; arrays once there are many, NumPy is not imported for few
        self._numbers: Any = ()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: object) -> int | None:
        """Return a key's number, or None."""
        return self._find(self._digest(key))

    def setdefault(self, key: object, number: int) -> int:
        """Return a key's number, which is `number` where it had none."""
        name = self._digest(key)
        found = self._find(name)
        if found is not None:
            return found
        self._loose[name] = number
        self._count += 1
        # In proportion to what is there, so that sorting in takes a constant time per key.
        if len(self._loose) >= max(self._MOST_LOOSE, len(self._keys) // 16):
            self._settle()
        return number

    def _find(self, name: bytes) -> int | None:
        found = self._loose.get(name)
        if found is not None or not len(self._keys):
            return found
        place = place_of(name, self._keys)
        return None if place is None else int(self._numbers[place])

    def _settle(self) -> None:
        """Sort what has come since into the arrays."""
        import numpy as np

        keys = np.array(list(self._loose), dtype="S16")
        numbers = np.array(list(self._loose.values()), dtype=np.int64)
        order = np.argsort(keys)
        keys, numbers = keys[order], numbers[order]
        places = np.searchsorted(np.asarray(self._keys, "S16"), keys)
        self._keys = np.insert(np.asarray(self._keys, "S16"), places, keys)
        self._numbers = np.insert(np.asarray(self._numbers, np.int64), places, numbers)
        self._loose = {}
