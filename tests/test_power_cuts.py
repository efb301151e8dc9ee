"""Power cuts: whatever the system had not yet written is lost, and a run that goes on ends with the same files.

A run is made once, and at every fsync, rename and removal of it is noted what a cut just then could leave: of every folder
the names as they were when it was last synced, or as they are; of every file what was synced, or a part or all of what was
written after that. From each of these the run goes on. That is less kind than any file system (which orders some of it).
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from rich.console import Console

from damage import comparable
from scripted_search import Judge, Letters, problems, share_of_a
from sparring import files
from sparring.evaluation import scores
from sparring.files import atomic_directory, atomic_write_json
from sparring.journals import Journal
from sparring.labels.command import label_files
from sparring.labels.settings import LabelSettings
from sparring.locks import LOCK_FILE
from sparring.runs import JsonlLog
from sparring.search import MethodSettings, driver, run_search
from sparring.settings import load_settings
from sparring.settings_shared import Trained
from sparring.traces.jsonl import write_problems, write_traces
from sparring.traces.records import Problem, Trace
from sparring.training.part import Part
from sparring.training.run import CHECKPOINT, TrainingRun
from sparring.training.states import save_state, verified
from sparring.training.supervised import BEST
from test_label_command import Solver

Tree = dict[str, bytes | None]
"""Files by path; None: a folder."""
Names = dict[str, tuple[int, bool]]
"""What stands in a folder: inode, and whether it is a folder."""
PARTS = ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))
"""How much of what was not synced is there: of every second file, and of the others."""


class Disk:
    """Watches what is synced below a folder; `left` are the trees that cuts could leave."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.left = root, set[frozenset[tuple[str, bytes | None]]]()
        self.files: dict[int, bytes] = {}
        self.names: dict[int, Names] = {}
        self.held: list[int] = []
        self._note_names(root)
        for module, name in (
            (os, "rename"),
            (os, "replace"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "truncate"),
            (files, "_swap"),
            (JsonlLog, "append"),
        ):
            monkeypatch.setattr(module, name, self._watched(getattr(module, name)))
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.sync)

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.cut()
            return function(*arguments, **named)

        return watched

    def sync(self, descriptor: int) -> None:
        self.cut()
        self._fsync(descriptor)
        self.held.append(os.dup(descriptor))  # as long as it is open no other file gets its number
        number = os.fstat(descriptor).st_ino
        for path in (self.root, *self.root.rglob("*")):
            if path.lstat().st_ino == number and path.is_dir():
                self._note_names(path)
            elif path.lstat().st_ino == number:
                self.files[number] = path.read_bytes()

    def _note_names(self, folder: Path) -> None:
        self.names[folder.stat().st_ino] = self._present(folder)

    @staticmethod
    def _present(folder: Path) -> Names:
        return {one.name: (one.inode(), one.is_dir()) for one in os.scandir(folder)}

    def cut(self) -> None:
        """Note what a cut could leave now."""
        present, content, others = {}, {}, set[int]()
        for path in sorted((self.root, *self.root.rglob("*"))):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                present[status.st_ino] = self._present(path)
            else:
                if len(content) % 2:
                    others.add(status.st_ino)
                content[status.st_ino] = path.read_bytes()
        top = self.root.stat().st_ino
        for root_now, below_now, parts in itertools.product((False, True), (False, True), PARTS):

            def names(number: int, root_now: bool = root_now, below_now: bool = below_now) -> Names:
                now, synced = present.get(number), self.names.get(number, {})
                return now if now is not None and (root_now if number == top else below_now) else synced

            def data(number: int, parts: tuple[float, float] = parts) -> bytes:
                part = parts[number in others]
                synced = self.files.get(number, b"")
                now = content.get(number, synced)
                if not now.startswith(synced):  # it was cut
                    return synced if part < 1 else now
                return now[: len(synced) + int(part * (len(now) - len(synced)))]

            self.left.add(frozenset(self._tree(top, "", names, data)))

    def _tree(
        self, folder: int, place: str, names: Callable[[int], Names], data: Callable[[int], bytes]
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, (number, is_folder) in names(folder).items():
            yield f"{place}{name}", None if is_folder else data(number)
            if is_folder:
                yield from self._tree(number, f"{place}{name}/", names, data)

    def close(self) -> None:
        for descriptor in self.held:
            os.close(descriptor)


def written(tree: frozenset[tuple[str, bytes | None]], folder: Path) -> None:
    folder.mkdir()
    for name, content in sorted(tree):
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


# --- a training ------------------------------------------------------------------------------------------------------


class Counting(TrainingRun):
    """A training whose weights and log say how often it was made."""

    identity: ClassVar[dict[str, str]] = {"digest": "of the data", "prompt": "of texts"}  # type: ignore[misc]
    states = (CHECKPOINT, BEST)


def train(out: Path) -> None:
    out.mkdir(exist_ok=True)
    silent = SimpleNamespace(init_trackers=lambda *_, **__: None, log=lambda *_, **__: None, trackers=[])
    weights = torch.nn.Parameter(torch.zeros(3))
    part = Part("model", {"weights": weights}, lambda: torch.optim.Adam([weights]), most=1.0)
    run = Counting(settings=Trained(), out=out, accelerator=silent, tokenizer=None, parts={"model": part})
    run.begin("log", resume=True)
    while run.step < 5:
        run.step += 1
        weights.grad = torch.full((3,), float(run.step))
        part.step(run.step, 1.0)
        run.log("log", {"step": run.step, "weight": weights[0].item()})
        if run.step in (1, 3):
            save_state(out / BEST, {}, {"step": run.step})
        if run.step % 2 == 0:
            run.save()
    best = verified(out / BEST)["step"]
    with atomic_directory(out / "model") as folder:
        (folder / "weights").write_text(str(weights.tolist()))
    run.end()
    atomic_write_json(out / "metrics.json", {"steps": len(list(run.logs["log"].records())), "best": best})


# --- a job with a journal --------------------------------------------------------------------------------------------


class LengthScorer:
    threshold, identity = 0.5, "lengths"

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        return [[1 / len(step) for step in trace.steps] for trace in traces]


def score(out: Path) -> None:
    out.mkdir(exist_ok=True)
    data = out.parent / "data.jsonl"
    if not data.exists():
        write_traces(data, [Trace(Problem(f"p{n}", "?"), ("a" * (n + 1), "bb")) for n in range(5)])
    scores.score_file(
        None, data, out=out / "scores.jsonl", scorer=LengthScorer(), console=Console(file=StringIO())
    )


def label(out: Path) -> None:
    data = out.parent / "sums.jsonl"
    if not data.exists():
        write_problems(data, [Problem(f"p{n}", f"{n} + 1 = ?", str(n + 1)) for n in range(2)])
    words = (f"data={data}", "n_cov=2", "n_mc=2", "batch=1")
    engine = Solver()
    label_files(load_settings(LabelSettings, None, words), out, Console(file=StringIO()), (engine, engine))


def search(out: Path) -> None:
    out.mkdir(exist_ok=True)
    asked, settings = problems(3), MethodSettings(expansions=2, in_flight=1)
    timeless = mock.patch.object(
        driver, "time", SimpleNamespace(perf_counter=lambda: 0.0)
    )  # digests are over seconds
    with timeless:
        found = run_search(
            "beam",
            asked,
            Letters(),
            Judge(share_of_a),
            settings,
            n=2,
            journal=out / "journals" / "beam-2-0.jsonl",
            trees=out / "trees" / "beam-2.jsonl",
        )
    atomic_write_json(out / "found.json", [[list(one.steps) for one in of.candidates] for of in found])


# --- cuts -----------------------------------------------------------------------------------------------------------


def without_drafts(out: Path) -> dict[str, object]:
    return {
        name: content
        for name, content in comparable(out).items()
        if not name.startswith((".trial", LOCK_FILE))
    }


@pytest.fixture
def cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], None]], list[str]]:
    """Make a run, then go on from every state that a cut could leave; return what went wrong."""

    def tried(work: Callable[[Path], None]) -> list[str]:
        whole = tmp_path / "whole"
        whole.mkdir()
        with monkeypatch.context() as patched:
            disk = Disk(whole, patched)
            work(whole)
            disk.cut()
            disk.close()
        expected = without_drafts(whole)
        monkeypatch.setattr(files, "_alive", lambda process: False)  # it was before the cut
        monkeypatch.setattr(files, "sync", lambda path: None)
        wrong = []
        assert len(disk.left) > 20
        for number, tree in enumerate(sorted(disk.left, key=repr)):
            out = tmp_path / f"cut {number}"
            written(tree, out)
            try:
                work(out)
            except Exception as error:
                wrong.append(f"{sorted(name for name, _ in tree)}: {error}")
                continue
            found = without_drafts(out)
            wrong += [] if found == expected else [f"{sorted(name for name, _ in tree)}: {found}"]
        return wrong

    return tried


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_training_goes_on_to_the_same_files_after_any_power_cut(cuts, monkeypatch, exchanges):
    if not exchanges:  # as on other systems than Linux
        monkeypatch.setattr(files, "_swap", lambda one, other: False)
    assert cuts(train) == []


@pytest.mark.parametrize("job", [score, label, search])
def test_a_job_with_a_journal_goes_on_to_the_same_files_after_any_power_cut(cuts, job):
    assert cuts(job) == []


def test_a_tree_that_is_not_synced_before_its_problem_is_finished_is_found_out(cuts, monkeypatch):
    monkeypatch.setattr(Journal, "sync", lambda self: None)
    assert any("trees/beam-2.jsonl" in one for one in cuts(search))


def test_a_log_that_is_not_synced_before_its_checkpoint_is_found_out(cuts, monkeypatch):
    """The test tests something: this is how a run was lost before logs were synced."""
    monkeypatch.setattr(JsonlLog, "sync", lambda self: None, raising=True)
    assert any("of 70 bytes" in one or "ends after" in one for one in cuts(train))
