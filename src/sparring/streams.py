"""Work on streams: items come one at a time, results leave in the same order, and little is held in between.

A command reads items lazily, cuts them into windows, and hands the windows to a mapper (`pool.items.Mapper`): this process,
or a pool that has a bounded number of windows under way. A window is the unit of work: what is computed together here is
computed together there, so the output is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while window := list(islice(rest, size)):
        yield window


class Places:
    """Numbers by key for very many keys: 24 bytes each, whatever the key.

    A key is known by 16 bytes of its digest, so two of a hundred million keys agree by chance once in 10²².

    Args:
        digest: gives 16 bytes of a key.
    """

    _MOST_LOOSE = 1 << 16

    def __init__(self, digest: Callable[[object], bytes]) -> None:
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
        if len(self._loose) >= self._MOST_LOOSE:
            self._settle()
        return number

    def _find(self, name: bytes) -> int | None:
        found = self._loose.get(name)
        keys, numbers = self._keys, self._numbers
        if found is not None or not len(keys):
            return found
        import numpy as np

        place = int(np.searchsorted(keys, np.bytes_(name)))
        same = place < len(keys) and keys[place] == name.rstrip(b"\0")  # as numpy gives it
        return int(numbers[place]) if same else None

    def _settle(self) -> None:
        """Sort what has come since into the arrays."""
        import numpy as np

        keys = np.concatenate([np.array(self._keys, "S16"), np.array(list(self._loose), dtype="S16")])
        numbers = np.concatenate(
            [np.array(self._numbers, np.int64), np.array(list(self._loose.values()), dtype=np.int64)]
        )
        order = np.argsort(keys, kind="stable")
        self._keys, self._numbers = keys[order], numbers[order]
        self._loose = {}
