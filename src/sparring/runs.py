"""What a run leaves on disk: `metrics.json` and JSONL logs, written safely with `files.py`.

Contract: every measured number goes through `write_metrics`, which puts beside it the settings, seed,
commit, versions and machine that it was measured with. A log survives a kill -9 at any moment and can be cut
back to a checkpoint. Nothing here imports torch.

Not here: what is measured (`evaluation/`), checkpoints (`models/`), progress bars.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError, plural
from sparring.files import atomic_write_json, dumps, sync, to_json, writing
from sparring.json_files import read_json_object, read_jsonl_objects

METRICS_FILE = "metrics.json"
PACKAGES = (
    "sparring",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "sympy",
    "vllm",
    "ray",
)
_BLOCK = 1 << 20  # bytes of a log that are held at once
_METRIC_NAME = re.compile(r"[A-Za-z0-9_+@-]+(\.[A-Za-z0-9_+@-]+)*")


@dataclass(frozen=True, slots=True)
class Metric:
    """One number and what is needed to read it.

    Attributes:
        value: the estimate; ``None`` where it is not defined (an AUC with one class, say).
        low: lower end of the interval (95 % unless the settings say otherwise), where there is one.
        high: upper end.
        n: how many cases the number rests on.
        unit: ``fraction``, ``nats``, ``tokens/s``, …; empty for a bare number.
        interval: which one it is: ``t`` (Student's), ``bootstrap`` or ``Wilson`` (`sparring.statistics`); empty where
            there is none, or the measure has its own.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    interval: str = ""

    def text(self, scale: float = 1.0, form: str = ".1f") -> str:
        """Return value and interval for people, `3.1 [2.0, 4.2]`; a dash where there is no value.

        A `t` behind the bracket says that the interval is Student's.
        """
        if self.value is None:
            return "–"
        text = f"{scale * self.value:{form}}"
        if self.low is None or self.high is None:
            return text
        mark = " t" if self.interval == "t" else ""
        return f"{text} [{scale * self.low:{form}}, {scale * self.high:{form}}]{mark}"


def write_metrics(
    run_dir: str | Path,
    metrics: Mapping[str, Metric],
    *,
    settings: Mapping[str, Any],
    seed: int | None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write `metrics.json` into `run_dir` (made if absent) and return its path.

    Layout: ``metrics`` (dotted name → value, low, high, n, unit), ``intervals`` (name → which
    interval, where there is one), ``settings``, ``seed``, ``commit``,
    ``versions``, ``machine``, ``extra`` (whatever the command adds) and ``non_finite``, the count of NaN and
    infinities written as null.

    Raises:
        ValueError: a metric's name is not dotted words of letters, digits and ``_ + @ -``.
    """
    for name in metrics:
        if not _METRIC_NAME.fullmatch(name):
            raise ValueError(f"a metric's name is dotted words of letters, digits and _ + @ -, got {name!r}")
    content = {
        "metrics": {
            name: {key: value for key, value in dataclasses.asdict(metric).items() if key != "interval"}
            for name, metric in metrics.items()
        },
        "intervals": {name: metric.interval for name, metric in metrics.items() if metric.interval},
        "settings": settings,
        "seed": seed,
        "commit": source_commit(),
        "versions": versions(),
        "machine": machine(),
        "extra": extra or {},
    }
    plain, non_finite = to_json(content)
    path = Path(run_dir) / METRICS_FILE
    atomic_write_json(path, {**plain, "non_finite": non_finite})
    return path


def read_metrics(path: str | Path) -> dict[str, Metric]:
    """Return the metrics of a `metrics.json`, or of the run directory that holds one.

    Raises:
        DataError: no such file, not JSON, or not of the layout that `write_metrics` makes.
    """
    file = Path(path)
    file = file / METRICS_FILE if file.is_dir() else file
    content = read_json_object(file, loose=True)
    records = content.get("metrics")
    if not isinstance(records, dict):
        raise DataError("expected an object with the metrics by name", file=file, field="metrics")
    intervals = content.get("intervals")  # not in files of before it was written
    kinds = intervals if isinstance(intervals, dict) else {}
    return {
        name: _metric_from(record, name, file, str(kinds.get(name, ""))) for name, record in records.items()
    }


def keep_trained(out: str | Path) -> None:
    """Refuse a folder in which a training or a demo has ended: no evaluation takes its place.

    Raises:
        SettingsError: it is one.
    """
    try:
        metrics = read_json_object(Path(out) / METRICS_FILE, loose=True)["metrics"]
        stems = {str(name).partition(".")[0] for name in metrics}
    except (DataError, KeyError, TypeError):  # no finished run, or a damaged one
        return
    if stems & {"training", "rl"}:
        raise SettingsError(
            f"'{out}' holds a finished training, which this would replace: choose another --out"
        )


def _metric_from(record: Any, name: str, file: Path, interval: str) -> Metric:
    """Return the metric written as `record`, or raise DataError naming it."""
    numbers = {"value": (int, float), "low": (int, float), "high": (int, float), "n": (int,), "unit": (str,)}
    if not isinstance(record, dict) or set(record) != set(numbers):
        raise DataError(f"expected an object with {', '.join(numbers)}", file=file, field=f"metrics.{name}")
    for key, kinds in numbers.items():
        given = record[key]
        if isinstance(given, bool) or not (isinstance(given, kinds) or (given is None and key != "unit")):
            raise DataError(f"unexpected value {given!r}", file=file, field=f"metrics.{name}.{key}")
        if isinstance(given, (int, float)) and not abs(given) <= sys.float_info.max:  # NaN too
            raise DataError("not a finite number", file=file, field=f"metrics.{name}.{key}")
    low, high, n = record["low"], record["high"], record["n"]
    if low is not None and high is not None and low > high:
        message = f"the interval runs from {low} down to {high}"
        raise DataError(message, file=file, field=f"metrics.{name}.low")
    if n is not None and n < 0:
        raise DataError(f"a count of {plural(n, 'case')}", file=file, field=f"metrics.{name}.n")
    return Metric(**record, interval=interval)


def source_commit() -> str | None:
    """Return the git commit of the checkout that this package runs from, ``-dirty`` if its code was changed.

    ``None`` for an installed package, also where its environment lies inside somebody else's repository.
    """
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        command = [git, "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()  # noqa: S603

    try:
        commit = ask("rev-parse", "HEAD")
        changed = ask("status", "--porcelain", "--", "src", "pyproject.toml")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def versions() -> dict[str, str]:
    """Return the version of python and of each installed package that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def machine() -> dict[str, Any]:
    """Return platform, processor, logical CPU count, memory in bytes, and the accelerators that torch sees.

    The accelerator is ``None`` also where torch is not imported: nothing was computed on one then.
    """
    return {
        "platform": platform.platform(),
        "processor": _processor_name(),
        "cpus": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "accelerator": _accelerator(),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def memory_room() -> tuple[int | None, int | None]:
    """Return free and total memory in bytes, within the limit of a container; None where the system does not say."""
    free, total = None, _memory_bytes()
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
        free, total = sizes.get("MemAvailable"), sizes.get("MemTotal", total)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # none, or without a limit
        return free, total
    left = max(0, limit - used)
    return (left if free is None else min(free, left)), (limit if total is None else min(total, limit))


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} x {torch.cuda.get_device_name(0)}"
    return "mps" if torch.backends.mps.is_available() else None


class JsonlLog:
    """A file of JSON objects, one a line, each handed to the system when written, and on the disk when somebody asks for
    its position or closes it.

    A record cut off by a crash is removed when the log is opened again (`torn` says so). NaN and infinities
    are written as null and counted in `non_finite`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.non_finite = 0
        self.torn = False
        self._digest: Any = None  # running, once somebody has asked for it
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._mend()
            self._file = self.path.open("a", encoding="utf-8", newline="")
            if new:
                sync(self.path.parent)

    def append(self, record: Mapping[str, Any]) -> int:
        """Write one record and hand it to the system, so that it outlives this process; return how many bytes it takes.

        Raises:
            OutputError: the system refuses; the log takes no more records then.
        """
        plain, non_finite = to_json(record)
        self.non_finite += non_finite
        line = dumps(plain) + "\n"
        with writing(self.path):
            try:
                self._file.write(line)
                self._file.flush()
            except OSError:
                with contextlib.suppress(OSError):  # closing tries again to write what is left
                    self._file.close()
                raise
        data = line.encode("utf-8")
        if self._digest is not None:
            self._digest.update(data)
        return len(data)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records in order.

        Raises:
            DataError: a line is not a JSON object.
        """
        return (record for _, record in read_jsonl_objects(self.path, loose=True))

    def position(self) -> dict[str, Any]:
        """Return how far the log is, for `cut_back`: its bytes and their digest; a power cut leaves no fewer."""
        self.sync()
        if self._digest is None:
            self._digest = self._digest_of(None)
        return {"bytes": self.path.stat().st_size, "sha256": self._digest.hexdigest()}

    def cut_back(self, position: Mapping[str, Any] | None) -> None:
        """Cut off what was written after `position`, as `position()` once gave it; without one, everything.

        Raises:
            DataError: what was written before is no longer there, or was changed.
        """
        kept = 0 if position is None else position["bytes"]
        size = self.path.stat().st_size
        if size < kept:
            raise DataError(f"ends after {size} of {kept} bytes", file=self.path)
        self._digest = self._digest_of(kept)
        if position is not None and self._digest.hexdigest() != position["sha256"]:
            raise DataError("was changed since it was written", file=self.path)
        with writing(self.path):
            os.truncate(self.path, kept)

    def close(self) -> None:
        """Close the file; appending afterwards is an error."""
        if not self._file.closed:
            with self._file:
                self.sync()

    def __enter__(self) -> JsonlLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(self) -> None:
        """Put what was written on the disk."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def _mend(self) -> None:
        """Cut a last line without its line break: a crash came in the middle of it."""
        if not self.path.exists():
            return
        whole = size = self.path.stat().st_size
        with self.path.open("rb") as file:
            while whole:  # from the end, since a log may be larger than the memory
                start = max(0, whole - _BLOCK)
                file.seek(start)
                found = file.read(whole - start).rfind(b"\n")
                whole = start + found + 1
                if found >= 0:
                    break
        self.torn = whole < size
        if self.torn:
            os.truncate(self.path, whole)

    def _digest_of(self, size: int | None) -> Any:
        """Return the running digest of the first so many bytes, without a number of all."""
        digest, left = hashlib.sha256(), self.path.stat().st_size if size is None else size
        with self.path.open("rb") as file:
            while left and (data := file.read(min(left, _BLOCK))):
                digest.update(data)
                left -= len(data)
        return digest
