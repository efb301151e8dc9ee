"""The command `sparring`, in a process that kills itself in the middle, whoever is quick or slow.

python killed_at.py sparring.journals:Journal.add 100 score …        SIGKILL when this has been called a hundred times
RANK=1 KILLED_RANK=1 python killed_at.py …                           in this one of several processes only
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any


def kill_after(place: str, calls: int) -> None:
    """Let a method end its process with SIGKILL once it has been called so many times."""
    module, _, name = place.partition(":")
    owner, _, method = name.partition(".")
    found = getattr(import_module(module), owner)
    usual, left = getattr(found, method), calls

    def counted(*words: Any, **more: Any) -> Any:
        nonlocal left
        result = usual(*words, **more)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(found, method, counted)


if __name__ == "__main__":
    if os.environ.get("KILLED_RANK", os.environ.get("RANK")) == os.environ.get("RANK"):
        kill_after(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    from sparring.__main__ import main

    main()
