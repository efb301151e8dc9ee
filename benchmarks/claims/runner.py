"""Runs the experiments under the claims: what is missing, in processes of one thread each, whatever kills them.

Contract: one record per call, a file of its own that appears whole or not at all; a record is looked up by everything
that it depends on, so that other settings never count, and a file that was changed since is refused. Workers end with
the process that started them. A call that fails is reported with its log, and the others go on.

Not here: what is run (the claim files), what it means (`harness.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from claims.harness import Cell, ClaimFile, Experiment, Records, Size
from sparring.errors import DataError
from sparring.files import atomic_write_json, atomic_write_text, dumps, to_json
from sparring.json_files import read_json_object
from sparring.runs import machine, source_commit, versions

HERE = Path(__file__).resolve().parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def claim_files(folder: Path = HERE) -> list[ClaimFile]:
    """Return the claim files of a folder by name: the modules with an `EXPERIMENT`.

    Raises:
        ValueError: two experiments or claims of one name, or an arm that does not exist.
    """
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    modules = [importlib.import_module(f"{folder.name}.{path.stem}") for path in sorted(folder.glob("*.py"))]
    found = [
        ClaimFile(module.EXPERIMENT, module.CLAIMS) for module in modules if hasattr(module, "EXPERIMENT")
    ]
    for names in (
        [file.experiment.name for file in found],
        [claim.id for file in found for claim in file.claims],
    ):
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two experiments or claims have the name {', '.join(sorted(twice))}")
    for file in found:
        for claim in file.claims:
            if unknown := {claim.ours, *claim.baselines} - file.experiment.arms.keys():
                raise ValueError(f"claim {claim.id!r} names arms that are not run: {sorted(unknown)}")
    return found


# --- records -------------------------------------------------------------------------------------------------


def record_path(records: Path, cell: Cell) -> Path:
    """Return where a cell's record lies."""
    return records / cell.experiment / f"{cell.arm}-{cell.seed}-{cell.key}.json"


def read_records(records: Path, experiment: Experiment) -> Records:
    """Return the records of single runs that a folder holds of an experiment.

    Raises:
        DataError: a record was changed since it was written.
    """
    entries = (
        (path, read_json_object(path)) for path in sorted((records / experiment.name).glob("*-*-*.json"))
    )
    return Records({_checked(path, entry): entry for path, entry in entries})


def read_published(path: Path) -> Records:
    """Return the records of a published file, none if it does not exist.

    Raises:
        DataError: a record was changed since it was written.
    """
    if not path.exists():
        return Records({})
    return Records({_checked(path, entry): entry for entry in read_json_object(path)["records"]})


def _checked(path: Path, entry: Mapping[str, Any]) -> str:
    """Return the key of a record.

    Raises:
        DataError: its settings are not those that it was written under.
    """
    try:
        names = ("experiment", "arm", "seed", "settings", "version")
        cell = Cell(**{name: entry[name] for name in names})
        whole = cell.key == entry["key"] and isinstance(entry["record"], dict)
    except KeyError as error:
        raise DataError("a record without this field", file=path, field=str(error.args[0])) from error
    if not whole:
        raise DataError("this record was changed since it was written: delete it to run it again", file=path)
    return cell.key


def publish(records: Path, experiment: Experiment, path: Path) -> int:
    """Put the records of a folder into the published file, in the order of the experiment; return how many it holds.

    Published records that the experiment no longer asks for are dropped.
    """
    known = read_published(path).found | read_records(records, experiment).found
    wanted = {cell.key: None for size in ("full", "reduced") for cell in experiment.cells(size)}
    kept = [known[key] for key in wanted if key in known]
    if kept:
        lines = ",\n".join(dumps(entry) for entry in kept)
        atomic_write_text(path, f'{{"experiment": {dumps(experiment.name)}, "records": [\n{lines}\n]}}\n')
    return len(kept)


# --- one call ------------------------------------------------------------------------------------------------


def run_cell(experiment: Experiment, cell: Cell, records: Path, *, keep: bool = False) -> None:
    """Make one record and write it; the run's folder is removed afterwards unless it is to be kept."""
    folder = records / cell.experiment / "work" / f"{cell.arm}-{cell.seed}-{cell.key}"
    folder.mkdir(parents=True, exist_ok=True)
    begun, wall = _cpu_seconds(), time.perf_counter()
    record, non_finite = to_json(experiment.run(cell.arm, cell.seed, cell.settings, folder))
    used = _cpu_seconds() - begun
    # What a resumed run used before it was killed is not known any more.
    entry = {
        "experiment": cell.experiment,
        "arm": cell.arm,
        "seed": cell.seed,
        "settings": cell.settings,
        "version": cell.version,
        "key": cell.key,
        "record": record,
        "cpu_seconds": round(used, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "commit": source_commit(),
        "machine": {name: machine()[name] for name in ("processor", "cpus", "accelerator")},
        "versions": {name: versions().get(name) for name in ("torch", "transformers", "numpy")},
        "non_finite": non_finite,
    }
    atomic_write_json(record_path(records, cell), entry)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


# --- many calls ----------------------------------------------------------------------------------------------


def work(folder: Path, records: Path, answers: TextIO, *, keep: bool) -> None:
    """Run the calls that come as lines on standard input, one answer each; end when the input does, at once.

    What a run prints goes to standard error.
    """
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(json.loads(line))
        os._exit(0)  # nobody waits for what is being run

    threading.Thread(target=listen, daemon=True).start()
    experiments = {file.experiment.name: file.experiment for file in claim_files(folder)}
    while True:
        task = tasks.get()
        cell = Cell(**task)
        try:
            print(f"--- {cell}", file=sys.stderr, flush=True)
            run_cell(experiments[cell.experiment], cell, records, keep=keep)
            answer = ""
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


class _Worker:
    """A process that runs one call at a time."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )

    def run(self, cell: Cell) -> str:
        """Return what went wrong, or nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = {name: getattr(cell, name) for name in ("experiment", "arm", "seed", "settings", "version")}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(to_json(task)[0]) + "\n")
            self._process.stdin.flush()
            if line := self._process.stdout.readline():
                return str(json.loads(line))
        return f"the process ended with status {self._process.wait()}"

    @property
    def alive(self) -> bool:
        """Whether it takes another call."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()


def run_missing(
    todo: Sequence[tuple[Cell, float]],
    records: Path,
    command: Sequence[str],
    *,
    jobs: int,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> list[tuple[Cell, str]]:
    """Run calls in `jobs` processes; return those that failed, with the reason.

    Args:
        todo: calls with their declared CPU minutes, in order.
        records: folder of the records.
        command: starts a process that does `work`.
        jobs: how many of them.
        minutes: after so many minutes no further call is begun.
        say: told of every call.
    """
    waiting = queue.SimpleQueue[tuple[Cell, float]]()
    for one in todo:
        waiting.put(one)
    begun = time.monotonic()
    failed: list[tuple[Cell, str]] = []
    done = 0
    lock = threading.Lock()

    def serve(number: int) -> None:
        nonlocal done
        log = records / "logs" / f"worker-{number}.log"
        worker: _Worker | None = None
        while minutes is None or time.monotonic() - begun < 60 * minutes:
            try:
                cell, cost = waiting.get_nowait()
            except queue.Empty:
                break
            if worker is None or not worker.alive:
                worker = _Worker(command, log)
            start = time.monotonic()
            reason = worker.run(cell)
            with lock:
                done += 1
                took = f"{(time.monotonic() - start) / 60:.1f} of {cost:.1f} min"
                say(
                    f"[{done}/{len(todo)}] {title(cell)}: {f'FAILED, {reason}; log: {log}' if reason else took}"
                )
                if reason:
                    failed.append((cell, reason))
        if worker is not None:
            worker.close()

    threads = [threading.Thread(target=serve, args=(number,), daemon=True) for number in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def title(cell: Cell) -> str:
    """Return a call for people."""
    return f"{cell.experiment} · {cell.arm} · seed {cell.seed} · {cell.key}"


def missing(file: ClaimFile, records: Records, size: Size) -> Iterator[tuple[Cell, float]]:
    """Yield the calls of a size that can be run and have no record, with their declared CPU minutes."""
    for cell in file.experiment.cells(size):
        if records.of(cell) is None and cell.arm not in file.experiment.retired:
            yield cell, file.experiment.cost(cell, size)


def chosen(files: Iterable[ClaimFile], only: Sequence[str]) -> list[ClaimFile]:
    """Return the files whose experiment, or one of whose claims, is named; all without names.

    Raises:
        ValueError: a name that nobody has.
    """
    files = list(files)

    def names(file: ClaimFile) -> set[str]:
        return {file.experiment.name, *(claim.id for claim in file.claims)}

    if unknown := set(only) - {name for file in files for name in names(file)}:
        raise ValueError(f"no experiment or claim {', '.join(sorted(unknown))}")
    return [file for file in files if not only or names(file) & set(only)]
