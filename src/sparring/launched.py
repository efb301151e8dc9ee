"""Which process of a run this is, where a launcher (`torchrun`, `accelerate launch`) has started several of them.

Contract: read off the environment variables RANK, LOCAL_RANK and WORLD_SIZE that launchers set, so nothing heavy is
imported. Of all processes one speaks to the user. Until they know each other that is the first; afterwards
(`training/processes.py` sets `claim`) the first that has something to say, since an error may be met by one of them alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable

claim: Callable[[], bool] | None = None
"""Asks the others for the word, and returns whether this process has it."""

_speaks: bool | None = None


def world_size() -> int:
    """Return how many processes were started, 1 without a launcher."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """Return the number of this process, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def speaks() -> bool:
    """Whether this process tells the user how the run ends."""
    global _speaks
    if _speaks is None:
        if claim is None:
            return rank() == 0
        _speaks = claim()
    return _speaks


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
