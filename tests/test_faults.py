"""Surroundings that fail: full and read-only disks, signals, odd locales and names, no home, clocks that jump."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from damage import comparable, runs
from sparring.errors import SparringError
from sparring.locks import LockedError, sole_writer
from sparring.settings import load_settings
from sparring.training.supervised import PrmSettings, train_supervised
from sparring.worlds.chain import generate_problems
from supervised_data import data_file, separable_traces


def spawned(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line without a terminal and a home, in an environment of its own."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV") if name in os.environ
    }
    known = {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "sparring", *map(str, words)],
        env=kept | known | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


# --- disks -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, in memory; skips the test where this user may not mount one."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("command", ["train aprm", "label", "eval processbench"])
def test_a_run_on_a_full_disk_says_so_and_goes_on_once_there_is_room(command, tiny_folder, tmp_path):
    (tmp_path / "data").mkdir()
    run = runs(tmp_path / "data", tiny_folder)[command]
    run.make(tmp_path / "whole", None)
    used = sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*") if file.is_file())
    for share in (0.3, 0.7):
        with disk(tmp_path / f"disk{share}", f"size={max(8, int(share * used) >> 10)}k") as place:
            with pytest.raises(SparringError, match="No space left on device"):
                run.make(place / "run", None)
            subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
            run.make(place / "run", None)
            found, expected = comparable(place / "run"), comparable(tmp_path / "whole")
            assert found.keys() == expected.keys()
            assert not [name for name in found if found[name] != expected[name]]


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_read_only_disk_is_refused_before_any_work_and_can_be_verified(tmp_path):
    records = [{"id": "a", "problem": "1?", "steps": ["x", "y"], "final_answer_correct": False, "label": 1}]
    (tmp_path / "easy.json").write_text(json.dumps(records), encoding="utf-8")
    (tmp_path / "scores.jsonl").write_text('{"id": "a", "scores": [0.9, 0.1]}\n', encoding="utf-8")
    words = ["eval", "processbench", tmp_path / "easy.json", "--scores", tmp_path / "scores.jsonl"]
    with disk(tmp_path / "disk", "size=10m") as place:
        assert spawned(*words, "--out", place / "run").returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        refused = spawned(*words, "--out", place / "other")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
        assert "Read-only file system" in refused.stderr
        verified = spawned("report", place / "run", "--verify")
        assert verified.returncode == 0 and ", 0 differences" in verified.stdout, verified.stderr


# --- signals ---------------------------------------------------------------------------------------------------------


SLOW = """
import time
from sparring.runs import JsonlLog
append = JsonlLog.append
JsonlLog.append = lambda self, record: (append(self, record), time.sleep(0.2))[0]
from sparring.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def training(tiny_folder, tmp_path_factory) -> tuple[list[str], Path]:
    """The settings of a short training, and an unbroken run of it."""
    folder = tmp_path_factory.mktemp("training")
    data = data_file(folder, separable_traces(12, 1))
    words = [
        f"data={data}", f"backbone={tiny_folder}", "epochs=3", "batch_traces=4", "checkpoint_every=2", "evaluate_every=3",
        "validation_share=0.25", "lora_rank=4", "device=cpu",
    ]  # fmt: skip
    train_supervised(load_settings(PrmSettings, None, words), folder / "whole")
    return words, folder / "whole"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped_ends_with_its_status_and_goes_on_to_the_same(
    number, status, training, tmp_path
):
    words, whole = training
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "train", "prm", *words, "--out", str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "checkpoint").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == status, said
    last = said.strip().splitlines()[-1]
    assert "--resume" in last and "Traceback" not in said
    assert not (out / "model").exists() and not (out / ".lock").exists()
    train_supervised(load_settings(PrmSettings, None, words), out, resume=True)
    found, expected = comparable(out), comparable(whole)
    assert found.keys() == expected.keys()
    assert not [name for name in expected if found[name] != expected[name]]


# --- names, locales, no terminal -------------------------------------------------------------------------------------

NAMES = "a folder, 空 é \U0001f600 & 'more'"
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment", [BARE, {"LC_ALL": "C", "TMPDIR": "/nowhere", "TERM": "dumb", "COLUMNS": "1"}]
)
def test_any_locale_and_terminal_reads_and_writes_the_same(environment, tmp_path):
    folder = tmp_path / NAMES
    folder.mkdir()
    problem = generate_problems(1, steps=(2, 2), seed=1)[0]
    record = {
        "id": "é空",
        "problem": problem.question,
        "steps": ["naïve √2 ≤ 3", "第二步 😀"],
        "labels": [1, 0],
    }
    text = json.dumps(record, ensure_ascii=False) + "\n"
    data = folder / "Daten ü.jsonl.gz"
    data.write_bytes(gzip.compress(text.encode("utf-8")))
    done = spawned("convert", data, folder / "out ß.jsonl", **environment)
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "out ß.jsonl").read_bytes().decode("utf-8"))
    assert (written["id"], written["steps"]) == (record["id"], record["steps"])
    scores = folder / "Noten.jsonl"
    scores.write_text('{"id": "é空", "scores": [0.9, 0.4]}\n', encoding="utf-8")
    out = folder / "Lauf 1"
    done = spawned("eval", "processbench", data, "--scores", scores, "--out", out, **environment)
    if environment is BARE:  # such a path is no text there, which settings are
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "PYTHONUTF8=1" in done.stderr, (
            done.stderr
        )
        done = spawned(
            "eval",
            "processbench",
            data,
            "--scores",
            scores,
            "--out",
            out,
            **environment | {"PYTHONUTF8": "1"},
        )
    assert done.returncode == 0, done.stderr
    assert "第二步" in (out / "report.html").read_bytes().decode("utf-8")
    missing = spawned("convert", folder / "nö.jsonl", folder / "x.jsonl", **environment)
    assert (
        missing.returncode == 2 and missing.stderr.startswith("error: ") and "no such file" in missing.stderr
    )


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_lock_does_not_believe_the_clock(tmp_path, monkeypatch):
    """What a lock says of the time is for people: with a clock that jumps, the living keep it and the dead lose it."""
    program = (
        "import sys, datetime\n"
        "from sparring.locks import sole_writer\n"
        "with sole_writer(sys.argv[1]):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    for years in (-40, 40):
        jumped = time.time() + years * 3.15e7
        monkeypatch.setattr(time, "time", lambda jumped=jumped: jumped)
        os.utime(tmp_path / "run" / ".lock", (jumped, jumped))
        with pytest.raises(LockedError, match=str(process.pid)), sole_writer(tmp_path / "run"):
            pass
    process.kill()
    process.communicate()
    with sole_writer(tmp_path / "run"):
        pass
