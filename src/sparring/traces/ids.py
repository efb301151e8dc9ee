"""One name per trace, in a stream: its problem's id, with ``#1``, ``#2``, … where several traces share it.

Contract: whether an id is shared is known only when all have been seen, so a stream is gone through twice: `see` every id,
then give every id its name in the same order. Memory: 16 bytes per trace and 40 per shared id, whatever the ids are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sparring.errors import DataError
from sparring.streams import place_of, text_digest
from sparring.traces.records import Trace

_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,17})", re.DOTALL)


class TraceIds:
    """Sees all ids, then names each.

    Attributes:
        may_clash: whether some id looks like a numbered name, so that `check` is worth calling.
    """

    def __init__(self) -> None:
        self.may_clash = False
        self._seen = bytearray()
        self._shared: NDArray[np.bytes_] | None = None
        self._counts = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._seen) // 16

    def see(self, identity: str) -> None:
        """Count an id."""
        self._seen += text_digest(identity)
        self.may_clash = self.may_clash or _NUMBERED.fullmatch(identity) is not None

    def names(self) -> Callable[[str], str]:
        """Return what gives, to one id after the other in the order of `see`, the trace's name; raises as `check`."""
        self._count()
        named = np.zeros_like(self._counts)

        def name(identity: str) -> str:
            place = self._place(identity)
            if place is None:
                self.check(identity)
                return identity
            named[place] += 1
            return f"{identity}#{named[place]}"

        return name

    def check(self, identity: str) -> None:
        """Refuse an id that is its problem's own and also the numbered name of a trace of another problem.

        Raises:
            DataError: it is.
        """
        found = _NUMBERED.fullmatch(identity)
        if found is None or self._place(identity) is not None:
            return
        other = self._place(found[1])
        if other is not None and int(found[2]) <= self._counts[other]:
            raise DataError(f"the id {identity!r} is both a problem's own and a numbered one", field="id")

    def _count(self) -> NDArray[np.bytes_]:
        """Return what stands for the shared ids, sorted; their counts are in `_counts`."""
        if self._shared is None:
            keys, counts = np.unique(np.frombuffer(self._seen, dtype="S16"), return_counts=True)
            self._shared, self._counts = keys[counts > 1], counts[counts > 1]
        return self._shared

    def _place(self, identity: str) -> int | None:
        """Return where a shared id stands, None for one that is not."""
        return place_of(text_digest(identity), self._count())


def distinct_ids(traces: Sequence[Trace]) -> list[str]:
    """Return one id per trace: its problem's, with ``#1``, ``#2``, … where several traces share it.

    Raises:
        DataError: a numbered id is another problem's own.
    """
    ids = TraceIds()
    for trace in traces:
        ids.see(trace.problem.id)
    name = ids.names()
    return [name(trace.problem.id) for trace in traces]
