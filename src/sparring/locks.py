"""A lock on a run directory, or on a file that a command writes: one writer at a time.

Contract: the lock is the operating system's (POSIX record locks: they hold over NFS too, end with their process however it
ends, and are not inherited by its children); the locked file says who holds it. Where the system has no such locks, what
the file says decides: its owner is dead if this machine has no process of that number and start time. So what a killed
process left is taken over, and a finished run leaves nothing. Readers are never held up.

Not here: threads and processes that were given the same file by the caller on purpose.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import inspect
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sparring.errors import SparringError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

P = ParamSpec("P")
R = TypeVar("R")

LOCK_FILE = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_BUSY = {errno.EACCES, errno.EAGAIN}
_held: set[str] = set()
_registry = threading.Lock()


class LockedError(SparringError):
    """Another process, or another thread of this one, writes there."""


@contextlib.contextmanager
def sole_writer(path: str | Path, *, inside: bool = True) -> Iterator[None]:
    """Hold the only right to write to `path` while the block runs.

    Args:
        path: a run directory (made if absent, and removed again if nothing came into it); or, with `inside` off, a file
            or folder that is written as a whole, the lock then being a hidden file beside it.
        inside: whether the lock lies in `path`.

    Raises:
        LockedError: somebody else writes there.
        SparringError: the place cannot be written to.
    """
    target = Path(os.path.realpath(path))
    lock = target / LOCK_FILE if inside else target.parent / f".{target.name}{LOCK_FILE}"
    folder = lock.parent
    with _registry:
        if str(lock) in _held:
            raise LockedError(f"'{path}' is being written by this very process")
        _held.add(str(lock))
    try:
        try:
            made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _acquire(lock, path)
        except OSError as error:
            raise SparringError(f"'{path}' cannot be written to: {error.strerror or error}") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(descriptor)
            if made:
                with contextlib.suppress(OSError):  # it holds something, as it should
                    folder.rmdir()
    finally:
        with _registry:
            _held.discard(str(lock))


def writes(argument: str, *, inside: bool = True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function hold the lock on the path that it is given as `argument` (see `sole_writer`)."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            with sole_writer(signature.bind(*args, **kwargs).arguments[argument], inside=inside):
                return function(*args, **kwargs)

        return locked

    return decorate


def _acquire(lock: Path, path: str | Path) -> int:
    """Return the open descriptor of the lock file, which is then ours and says so."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            given = _system_lock(descriptor)
            owner = _owner(descriptor)
            unknown = given is None and owner and (_foreign(owner) or _unknowable(owner))
            if given is False or _alive(owner) or unknown:
                raise LockedError(_words(path, owner, lock, certain=not unknown))
            # Its last owner may have removed the file between our opening it and locking it.
            if _is_file(descriptor, lock):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _system_lock(descriptor: int) -> bool | None:
    """Return whether the system gave the lock; None where it has none to give."""
    if fcntl is None:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_file(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    program = Path(sys.argv[0] if sys.argv else "")
    words = [program.parent.name if program.stem == "__main__" else program.stem, *sys.argv[1:3]]
    owner = {
        "process": os.getpid(),
        "host": platform.node(),
        "started": _start_of(os.getpid()),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(words),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(owner).encode("ascii"))


def _owner(descriptor: int) -> dict[str, Any]:
    """Return what the lock file says of its owner; empty where it says nothing that can be read."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 10_000))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and type(owner.get("process")) is int else {}


def _foreign(owner: dict[str, Any]) -> bool:
    return owner.get("host") != platform.node()


def _unknowable(owner: dict[str, Any]) -> bool:
    """Whether this system does not say which processes run: then only its owner takes a lock again."""
    return _start_of(os.getpid()) is None and owner.get("process") != os.getpid()


def _alive(owner: dict[str, Any]) -> bool:
    """Whether the owner is another process of this machine that still runs: of its number *and* start time."""
    process = owner.get("process", 0)
    if process in (0, os.getpid()) or process < 1 or _foreign(owner):
        return False
    started = _start_of(process)
    return started is not None and started == owner.get("started")


def _start_of(process: int) -> str | None:
    """Return when a process was started, in the system's own words; None where there is none, or nobody can say."""
    if sys.platform == "linux":
        try:
            status = Path(f"/proc/{process}/stat").read_bytes()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        # The name, which may hold anything, ends with the last bracket; the 20th field after it is the start.
        return f"{boot}/{status.rpartition(b')')[2].split()[19].decode('ascii')}"
    try:
        command = ["ps", "-o", "lstart=", "-p", str(process)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None


def _words(path: str | Path, owner: dict[str, Any], lock: Path, *, certain: bool) -> str:
    who = "another process"
    if owner:
        who = f"process {owner['process']} on {owner.get('host')} (`{owner.get('command')}`, since {owner.get('since')})"
    advice = "wait for it, stop it, or choose another place"
    if not certain:
        advice += f"; if it is gone, delete {lock}"
    return f"'{path}' is being written by {who}: {advice}"
