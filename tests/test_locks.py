"""One writer per run directory or file: who is refused, what is taken over, what is left."""

from __future__ import annotations

import errno
import fcntl
import importlib
import inspect
import json
import os
import platform
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sparring.errors import SparringError
from sparring.locks import LOCK_FILE, LockedError, sole_writer, writes

HOLD = """
import sys, time
from sparring.locks import sole_writer
with sole_writer(sys.argv[1], inside=sys.argv[2] == "inside"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Start processes that hold a lock; they are gone afterwards."""
    started = []

    def start(path, where="inside"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), where], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_a_second_writer_is_refused_with_the_first_ones_name(tmp_path, holder, where):
    process = holder(tmp_path / "run", where)
    with (
        pytest.raises(LockedError, match=f"process {process.pid} on {platform.node()}"),
        sole_writer(tmp_path / "run", inside=where == "inside"),
    ):
        pass
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    with sole_writer(tmp_path / "run", inside=where == "inside"):
        pass
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "run"])


def test_the_same_process_is_refused_too_and_nothing_is_left(tmp_path):
    with sole_writer(tmp_path / "run"):
        with (
            pytest.raises(LockedError, match="this very process"),
            sole_writer(tmp_path / "run" / ".." / "run"),
        ):
            pass
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]
    with sole_writer(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 9_000,
        b"[1]",
        b'{"process": "x"}',
        b'{"process": -5}',
        b'{"process": 99999999999}',
        b"no JSON",
        b'{"process": 1}',
        json.dumps({"process": os.getppid(), "host": platform.node(), "started": "another boot/1"}).encode(),
        json.dumps({"process": 1, "host": "elsewhere", "started": "another boot/1"}).encode(),
        json.dumps({"process": os.getpid(), "host": platform.node(), "started": "x"}).encode(),
    ],
    ids=[
        "empty",
        "no text",
        "deep",
        "a list",
        "a word",
        "below 1",
        "too large",
        "no JSON",
        "no host",
        "parent",
        "elsewhere",
        "earlier start",
    ],  # of their own: process ids differ between the test runner's workers
)
def test_what_a_dead_process_left_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with sole_writer(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_bytes())["process"] == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()


def test_without_locks_of_the_system_the_file_decides(tmp_path, holder, monkeypatch):
    holder(tmp_path)

    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "lockf", none)
    with pytest.raises(LockedError, match="is being written by process"), sole_writer(tmp_path):
        pass
    (tmp_path / LOCK_FILE).write_text(json.dumps({"process": 1, "host": "elsewhere", "started": "x"}))
    with pytest.raises(LockedError, match=r"if it is gone, delete .*\.lock"), sole_writer(tmp_path):
        pass
    (tmp_path / LOCK_FILE).write_text(json.dumps({"process": 1, "host": platform.node(), "started": "x"}))
    with sole_writer(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(SparringError, match="cannot be written to"), sole_writer(path):
            pass


def test_a_function_holds_the_lock_of_its_argument(tmp_path):
    @writes("out")
    def work(data, out, *, resume=False):
        with pytest.raises(LockedError), sole_writer(out):
            pass
        return data

    assert work(3, out=tmp_path / "run") == work(3, tmp_path / "run", resume=True) == 3


@pytest.mark.parametrize(
    "name",
    [
        "demo.run_demo",
        "evaluation.attack.run_attack",
        "evaluation.bon.evaluate_bon",
        "evaluation.calibration.evaluate_calibration",
        "evaluation.processbench.evaluate_processbench",
        "evaluation.scores.score_file",
        "evaluation.compare.compare_scores",
        "evaluation.oracle.audit_oracles",
        "evaluation.prmbench.evaluate_prmbench",
        "evaluation.search.run_search_command",
        "labels.command.label_files",
        "models.families.convert_prm",
        "training.aprm.train_aprm",
        "training.chain_policy.train_chain_policy",
        "training.world_policy.train_world_policy",
        "training.rl.train_rl",
        "training.supervised.train_supervised",
    ],
)
def test_every_command_that_writes_holds_the_lock_before_it_does_anything(tmp_path, name):
    module, _, function = name.rpartition(".")
    work = getattr(importlib.import_module(f"sparring.{module}"), function)
    given = {
        one.name: {"out": tmp_path / "out", "settings": SimpleNamespace(device="cpu")}.get(one.name)
        for one in inspect.signature(work).parameters.values()
        if one.default is one.empty
    }
    inside = name.split(".")[-1] not in (
        "score_file",
        "convert_prm",
        "train_chain_policy",
        "train_world_policy",
    )
    with sole_writer(tmp_path / "out", inside=inside), pytest.raises(LockedError):
        work(**given)
