"""The doctor: what this machine has for Sparring, what is missing for which extra, and how to get it.

    sparring doctor            sparring doctor --json

Contract: looks and changes nothing, asks no network, and shows no token and no variable's value but those it names. Every
finding has a state: ``ok``; ``note``, what some commands lack; ``bad``, what must be mended before anything can be
relied on. Status 1 where something is bad.

Not here: whether a model fits (`sparring plan`), whether a run's numbers are right (`report --verify`).
"""

from __future__ import annotations

import json
import locale
import os
import platform
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from sparring.oracles.confinement import possible
from sparring.runs import machine, memory_room, source_commit

State = Literal["ok", "note", "bad"]
BAD_STATUS = 1
GIB = 1 << 30
LEAST_DISK, LEAST_MEMORY = 2 * GIB, 2 * GIB
DEVELOPMENT = {"dev", "docs", "benchmarks"}
"""Extras for work on Sparring itself, of which nothing is said."""
VARIABLES = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "HF_HOME", "PYTHONUTF8")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its area and name, its state, what was found, and what mends it."""

    area: str
    name: str
    state: State
    found: str
    mend: str = ""


def doctor(*, as_json: bool = False, console: Console | None = None) -> None:
    """Print all findings.

    Raises:
        SystemExit: something is bad (status `BAD_STATUS`).
    """
    console = console or Console()
    found = list(findings())
    if as_json:
        content = {
            "commit": source_commit(),
            "machine": machine(),
            "findings": [asdict(one) for one in found],
        }
        console.print(
            json.dumps(content, ensure_ascii=False, indent=2), markup=False, highlight=False, soft_wrap=True
        )
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        area = ""
        for one in found:
            mark = {"ok": "[green]ok[/]", "note": "[yellow]--[/]", "bad": "[bold red]!![/]"}[one.state]
            table.add_row(one.area if one.area != area else "", mark, one.name, _escaped(one))
            area = one.area
        console.print(table)
    if any(one.state == "bad" for one in found):
        raise SystemExit(BAD_STATUS)


def _escaped(one: Finding) -> str:
    words = one.found + (f": {one.mend}" if one.mend else "")
    return words.replace("[", r"\[")


def findings() -> Iterator[Finding]:
    """Yield everything that is looked at, in order."""
    yield from _python()
    yield from _packages()
    yield from _devices()
    yield from _room()
    yield from _system()


# --- versions --------------------------------------------------------------------------------------------------------


def _finding(area: str, name: str, found: str, mend: str = "", *, bad: bool = False) -> Finding:
    """Return a finding: a note, or worse, where there is something to mend."""
    return Finding(area, name, "bad" if bad else "note" if mend else "ok", found, mend)


def _python() -> Iterator[Finding]:
    yield _finding("python", "version", f"{platform.python_version()}, {sys.executable}")
    commit = source_commit()
    where = f"checkout at {commit[:12]}" if commit else "installed"
    yield _finding("python", "sparring", f"{_version('sparring') or 'not installed'}, {where}")


def _packages() -> Iterator[Finding]:
    """Yield what the core needs, and for every extra what is missing; the lists are those of the installed package."""
    try:
        wanted = [Requirement(text) for text in metadata.requires("sparring") or ()]
    except metadata.PackageNotFoundError:
        mend = "pip install sparring, or pip install -e . in a checkout"
        yield _finding("packages", "sparring", "not installed, so its needs are not known", mend)
        return
    extras: dict[str, list[Requirement]] = {}
    for one in wanted:
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield _package(one)
        for name in _extras():
            if one.marker and one.marker.evaluate({"extra": name}):
                extras.setdefault(name, []).append(one)
    for name in sorted(extras.keys() - DEVELOPMENT):
        needed = extras[name]
        if lacking := [f"{one.name}{one.specifier}" for one in needed if not _fits(one)]:
            yield _finding("extras", name, f"lacks {', '.join(lacking)}", f"pip install 'sparring[{name}]'")
        else:
            yield _finding("extras", name, ", ".join(f"{one.name} {_version(one.name)}" for one in needed))
    for name in sorted(_checkout_extras() - DEVELOPMENT - set(_extras())):
        found = "not known: the installed metadata are older than this checkout"
        yield _finding("extras", name, found, "pip install -e .")


def _checkout_extras() -> set[str]:
    """Return the extras of the checkout that this runs from; those of an installed package are known (`_extras`)."""
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if source_commit() is None or not file.is_file():
        return set()
    return set(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def _extras() -> list[str]:
    return metadata.metadata("sparring").get_all("Provides-Extra") or []


def _package(one: Requirement) -> Finding:
    version = _version(one.name)
    if _fits(one):
        return _finding("packages", one.name, str(version))
    found = f"{version}, but {one.specifier} is needed" if version else "missing"
    return _finding("packages", one.name, found, f"pip install '{one.name}{one.specifier}'", bad=True)


def _fits(one: Requirement) -> bool:
    version = _version(one.name)
    return version is not None and one.specifier.contains(version, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# --- the machine -----------------------------------------------------------------------------------------------------


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of the system that it needs
        yield _finding(
            "devices", "torch", f"cannot be imported: {error}", "see pytorch.org, Get started", bad=True
        )
        return
    if torch.cuda.is_available():
        for place in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(place)
            name = f"{torch.cuda.get_device_name(place)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
            numbers = "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
            yield _finding("devices", f"cuda:{place}", name + numbers)
    elif torch.version.cuda:
        mend = "is there a driver (nvidia-smi), and is CUDA_VISIBLE_DEVICES right?"
        yield _finding(
            "devices", "cuda", f"torch is made for CUDA {torch.version.cuda} and finds no GPU", mend
        )
    else:
        yield _finding("devices", "cuda", "this torch is made for CPUs", "see pytorch.org for others")
    if torch.backends.mps.is_available():
        yield _finding("devices", "mps", "Apple GPU")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    mend = f"OMP_NUM_THREADS={usable} is faster" if threads > usable else ""
    yield _finding("devices", "cpu", f"{usable} cores usable, torch computes with {threads} threads", mend)


def _room() -> Iterator[Finding]:
    free, total = memory_room()
    if free is not None:
        of = f" of {total / GIB:.1f}" if total else ""
        little = "" if free >= LEAST_MEMORY else "little"
        yield _finding("room", "memory", f"{free / GIB:.1f}{of} GiB free", little)
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    for name, place in (
        ("run directories, here", Path.cwd()),
        ("models of the hub", cache),
        ("temporary files", None),
    ):
        try:
            folder = Path(tempfile.gettempdir()) if place is None else place
            while not folder.exists():
                folder = folder.parent
            left = shutil.disk_usage(folder).free
        except OSError as error:
            mend = "name a folder that can be written by TMPDIR or HF_HOME"
            yield _finding("room", name, str(error), mend, bad=True)
            continue
        writable = os.access(folder, os.W_OK)
        words = f"{left / GIB:.1f} GiB free at {folder}" + ("" if writable else ", which cannot be written")
        yield Finding("room", name, "ok" if writable and left >= LEAST_DISK else "note", words)


def _system() -> Iterator[Finding]:
    allowed = possible()
    words = {"network": "network", "files": "files", "others": "other processes"}
    lacking = [said for right, said in words.items() if right not in allowed]
    given_up = f"give up {', '.join(words[right] for right in allowed) or 'nothing'}"
    mend = f"this kernel does not let them give up {', '.join(lacking)} (docs/limits.md)" if lacking else ""
    yield _finding("system", "oracles' workers", given_up, mend)
    encoding = sys.getfilesystemencoding()
    text = f"{locale.getpreferredencoding(False)}, names of files {encoding}"
    yield _finding("system", "encoding", text, "" if encoding == "utf-8" else "set PYTHONUTF8=1")
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    yield _finding("system", "variables", ", ".join(given) or "none that matter")
