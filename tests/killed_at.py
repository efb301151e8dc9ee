"""The command `sparring`, in a process that kills itself in the middle, whoever is quick or slow.

python killed_at.py sparring.journals:Journal.add 100 score …        SIGKILL when this has been called a hundred times
RANK=1 KILLED_RANK=1 python killed_at.py …                           in this one of several processes only
KILLED_CHILD=raylet python killed_at.py …                            its child of this name instead, with what that started
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from importlib import import_module
from typing import Any


def kill_after(place: str, calls: int) -> None:
    """Let a method end its process, or children of it, with SIGKILL once it has been called so many times."""
    module, _, name = place.partition(":")
    owner, _, method = name.partition(".")
    found = getattr(import_module(module), owner)
    usual, left = getattr(found, method), calls

    def counted(*words: Any, **more: Any) -> Any:
        nonlocal left
        result = usual(*words, **more)
        left -= 1
        if not left:
            for pid in family(os.environ["KILLED_CHILD"]) if "KILLED_CHILD" in os.environ else [os.getpid()]:
                with contextlib.suppress(ProcessLookupError):  # one that ended with its parent
                    os.kill(pid, signal.SIGKILL)
        return result

    setattr(found, method, counted)


def family(name: str) -> list[int]:
    """The processes of this name that this one started, and what they started."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in told.splitlines()]
    found = [int(pid) for pid, parent, called in rows if int(parent) == os.getpid() and called == name]
    return found + [int(pid) for pid, parent, _ in rows if int(parent) in found]


if __name__ == "__main__":
    if os.environ.get("KILLED_RANK", os.environ.get("RANK")) == os.environ.get("RANK"):
        kill_after(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    from sparring.__main__ import main

    main()
