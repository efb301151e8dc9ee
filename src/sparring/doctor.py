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


def _python() -> Iterator[Finding]:
    yield Finding("python", "version", "ok", f"{platform.python_version()}, {sys.executable}")
    commit = source_commit()
    installed = _version("sparring")
    where = f"checkout at {commit[:12]}" if commit else "installed"
    yield Finding("python", "sparring", "ok", f"{installed or 'not installed'}, {where}")


def _packages() -> Iterator[Finding]:
    """Yield what the core needs, and for every extra what is missing; the lists are those of the installed package."""
    try:
        wanted = [Requirement(text) for text in metadata.requires("sparring") or ()]
    except metadata.PackageNotFoundError:
        mend = "pip install sparring, or pip install -e . in a checkout"
        yield Finding("packages", "sparring", "note", "not installed, so its needs are not known", mend)
        return
    extras: dict[str, list[Requirement]] = {}
    for one in wanted:
        names = [name for name in _extras() if one.marker and one.marker.evaluate({"extra": name})]
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield _package(one)
        for name in names:
            extras.setdefault(name, []).append(one)
    for name, needs in sorted(extras.items()):
        lacking = [f"{one.name}{one.specifier}" for one in needs if not _fits(one)]
        if name in DEVELOPMENT:
            continue
        mend = f"pip install 'sparring[{name}]'" if lacking else ""
        yield Finding(
            "extras",
            name,
            "note" if lacking else "ok",
            f"lacks {', '.join(lacking)}"
            if lacking
            else ", ".join(f"{one.name} {_version(one.name)}" for one in needs),
            mend,
        )

    for name in sorted(_checkout_extras() - DEVELOPMENT - set(_extras())):
        found = "not known: the installed metadata are older than this checkout"
        yield Finding("extras", name, "note", found, "pip install -e .")


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
        return Finding("packages", one.name, "ok", str(version))
    found = f"{version}, but {one.specifier} is needed" if version else "missing"
    return Finding("packages", one.name, "bad", found, f"pip install '{one.name}{one.specifier}'")


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
        yield Finding(
            "devices", "torch", "bad", f"cannot be imported: {error}", "see pytorch.org, Get started"
        )
        return
    if torch.cuda.is_available():
        for place in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(place)
            name = f"{torch.cuda.get_device_name(place)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
            numbers = "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
            yield Finding("devices", f"cuda:{place}", "ok", name + numbers)
    elif torch.version.cuda:
        mend = "is there a driver (nvidia-smi), and is CUDA_VISIBLE_DEVICES right?"
        yield Finding(
            "devices", "cuda", "note", f"torch is made for CUDA {torch.version.cuda} and finds no GPU", mend
        )
    else:
        yield Finding("devices", "cuda", "note", "this torch is made for CPUs", "see pytorch.org for others")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "ok", "Apple GPU")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    many: State = "note" if threads > usable else "ok"
    mend = f"OMP_NUM_THREADS={usable} is faster" if many == "note" else ""
    yield Finding(
        "devices", "cpu", many, f"{usable} cores usable, torch computes with {threads} threads", mend
    )


def _room() -> Iterator[Finding]:
    free, total = memory_room()
    if free is not None:
        state: State = "ok" if free >= LEAST_MEMORY else "note"
        of = f" of {total / GIB:.1f}" if total else ""
        yield Finding(
            "room", "memory", state, f"{free / GIB:.1f}{of} GiB free", "" if state == "ok" else "little"
        )
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
            yield Finding(
                "room", name, "bad", str(error), "name a folder that can be written by TMPDIR or HF_HOME"
            )
            continue
        writable = os.access(folder, os.W_OK)
        fits: State = "ok" if writable and left >= LEAST_DISK else "note"
        words = f"{left / GIB:.1f} GiB free at {folder}" + ("" if writable else ", which cannot be written")
        yield Finding("room", name, fits, words)


def _system() -> Iterator[Finding]:
    allowed = possible()
    words = {"network": "network", "files": "files", "others": "other processes"}
    lacking = [said for right, said in words.items() if right not in allowed]
    yield Finding(
        "system",
        "oracles' workers",
        "note" if lacking else "ok",
        f"give up {', '.join(words[right] for right in allowed) or 'nothing'}",
        f"this kernel does not let them give up {', '.join(lacking)} (docs/limits.md)" if lacking else "",
    )
    encoding = sys.getfilesystemencoding()
    narrow: State = "ok" if encoding == "utf-8" else "note"
    text = f"{locale.getpreferredencoding(False)}, names of files {encoding}"
    yield Finding("system", "encoding", narrow, text, "" if narrow == "ok" else "set PYTHONUTF8=1")
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    yield Finding(
        "system", "variables", "ok", ", ".join(f"{k}={v}" for k, v in given.items()) or "none that matter"
    )
