"""Confinement: what a worker of the oracles gives up before it meets untrusted text, where the kernel lets it.

    network   no new sockets, of any family but those made already (seccomp; Landlock for TCP besides)
    files     nothing is written but /dev/null; only what Python, its libraries and the member's own folder hold is read
              (Landlock, from Linux 5.13 on)
    others    no looking into other processes (seccomp), no signals to them (Landlock, from Linux 6.12 on)

Contract: unprivileged and for good: neither this process nor what it starts can take it back. What the kernel does not
offer is left out and not an error; `possible` says what it offers, `confine` what was done. Only Linux on x86-64 and
ARM64 has any of it.

Not stopped: reading what lies on `sys.path`, in the member's folder, in Python's own or under /usr; starting programs
there; using up processor time and memory, which have limits of their own (`sandbox.py`); faults of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

Right = Literal["network", "files", "others"]


class _Machine(NamedTuple):
    """An architecture's name in the kernel's audit, and numbers of system calls: of seccomp, and of what it refuses."""

    audit: int
    seccomp: int
    refused: tuple[int, ...]


# socket, io_uring_setup (which makes sockets, too), ptrace, process_vm_readv, process_vm_writev, pidfd_getfd
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, (41, 425, 101, 310, 311, 438)),
    "aarch64": _Machine(0xC00000B7, 277, (198, 425, 117, 270, 271, 438)),
}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _ALL_THREADS = 1, 2, 1  # linux/seccomp.h
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # linux/filter.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_EXECUTE, _WRITE, _READ, _READ_FOLDER, _TRUNCATE, _DEVICE = 1, 2, 4, 8, 1 << 14, 1 << 15
_RIGHTS = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
"""Accesses to files that each version of Landlock knows; later ones know those of the last."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")


def possible() -> list[Right]:
    """Return what this kernel would let a process give up."""
    found: list[Right] = []
    machine, version = _machine(), _landlock_version()
    if machine is not None:
        action = ctypes.c_uint32(_ERRNO)
        if _libc().syscall(machine.seccomp, _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0:
            found += ["network", "others"]
    if version > 0:
        found.append("files")
    return found


def confine(readable: Iterable[str | Path]) -> list[Right]:
    """Give up network, files and other processes, for this process and all its threads; return what was given up.

    Files are given up by this thread, and by those that it starts from now on.

    Args:
        readable: folders that may be read beside Python's own and the system's libraries.
    """
    machine = _machine()
    if machine is None or _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return []
    done: list[Right] = []
    own = (*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix, *map(str, readable))
    if _restrict_files([path for path in own if path]):
        done.append("files")
    if _refuse_calls(machine):
        done += ["network", "others"]
    return done


def _machine() -> _Machine | None:
    wide = struct.calcsize("P") == 8 and sys.byteorder == "little"
    return _MACHINES.get(platform.machine()) if sys.platform == "linux" and wide else None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _refuse_calls(machine: _Machine) -> bool:
    """Have some system calls fail with EACCES in all threads; return whether the kernel does."""
    refused: Sequence[int] = machine.refused
    deny = len(refused) + 5  # where the last instruction is
    code = [
        (_LOAD, 0, 0, 4),  # the architecture of the call: another one (32 bits) has other numbers
        (_EQUAL, 0, deny - 2, machine.audit),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, deny - 4, 0, 0x40000000),  # x32
        *((_EQUAL, deny - 5 - place, 0, number) for place, number in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EACCES),
    ]
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("@HP", len(code), ctypes.addressof(held))
    return bool(_libc().syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, program) == 0)


def _landlock_version() -> int:
    if _machine() is None:
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _restrict_files(readable: Sequence[str]) -> bool:
    """Let this thread read some places, write to devices that keep nothing, and no more; return whether the kernel does."""
    version = _landlock_version()
    if version < 1:
        return False
    files = _RIGHTS[min(version, len(_RIGHTS) - 1)]
    attributes = struct.pack("=QQQ", files, 3 if version >= 4 else 0, 2 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    libc = _libc()
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in dict.fromkeys((*_SYSTEM, f"/proc/{os.getpid()}", *readable)):
            _allow(libc, ruleset, path, _EXECUTE | _READ | _READ_FOLDER)
        for path in _DEVICES:
            _allow(libc, ruleset, path, (_READ | _WRITE | _TRUNCATE | _DEVICE) & files)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """Allow accesses below a folder, or to a file; what is not there needs no leave."""
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                rights &= ~_READ_FOLDER
            libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)
