"""Runs on disk: metrics with their context, logs that can be cut back, files that appear whole."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring import files, runs
from sparring.errors import DataError, SparringError
from sparring.files import atomic_directory, atomic_write_text, check_output
from sparring.runs import JsonlLog, Metric, read_metrics, write_metrics

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# metrics


def test_metrics_come_back_as_written(tmp_path: Path) -> None:
    metrics = {"processbench.gsm8k.f1": Metric(0.8, 0.7, 0.9, 200, "fraction"), "loss": Metric(1.5)}
    path = write_metrics(tmp_path / "run", metrics, settings={"threshold": 0.5}, seed=3)
    assert path == tmp_path / "run" / "metrics.json"
    assert read_metrics(path) == metrics
    assert read_metrics(tmp_path / "run") == metrics


def test_metrics_carry_their_context(tmp_path: Path) -> None:
    settings = {"out": Path("here"), "rates": (1e-3, math.inf), "head": {"b", "a"}}
    path = write_metrics(tmp_path, {}, settings=settings, seed=None, extra={"skipped": 2})
    content = json.loads(path.read_text())
    assert content["settings"] == {"out": "here", "rates": [1e-3, None], "head": ["a", "b"]}
    assert content["non_finite"] == 1
    assert content["extra"] == {"skipped": 2}
    assert content["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert content["versions"]["numpy"] == np.__version__
    assert set(content["machine"]) == {"platform", "processor", "cpus", "memory_bytes", "accelerator"}


def test_undefined_metric_is_null_and_comes_back_as_none(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, {"auc": Metric(math.nan, n=0)}, settings={}, seed=0)
    assert read_metrics(path) == {"auc": Metric(None, n=0)}


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a b", "a/b", "a\n"])
def test_metric_names_are_dotted_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="dotted words"):
        write_metrics(tmp_path, {name: Metric(1.0)}, settings={}, seed=0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"metrics": 3}',
        '{"metrics": {"a": 1}}',
        '{"metrics": {"a": {"value": 1}}}',
        '{"metrics": {"a": {"value": "1", "low": null, "high": null, "n": 1, "unit": ""}}}',
        '{"metrics": {"a": {"value": 1, "low": null, "high": null, "n": true, "unit": ""}}}',
        '{"metrics": {"a": {"value": 1, "low": null, "high": null, "n": 1, "unit": null}}}',
        "[" * 100_000,
    ],
)
def test_bad_metrics_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json"):
        read_metrics(path)


def test_absent_metrics_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_metrics(tmp_path)


def test_context_is_gathered_without_torch() -> None:
    code = "import sys, sparring.runs as r; r.versions(); r.machine(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_memory_is_that_of_the_container_where_it_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "/proc/meminfo": "MemTotal: 8192 kB\nMemAvailable: 4096 kB\n",
        "/sys/fs/cgroup/memory.max": "max\n",
        "/sys/fs/cgroup/memory.current": "1048576\n",
    }

    def read(path: Path, **_: Any) -> str:
        if str(path) not in said:
            raise FileNotFoundError(path)
        return said[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(runs, "_memory_bytes", lambda: 16 << 20)
    assert runs.memory_room() == (4 << 20, 8 << 20)
    said["/sys/fs/cgroup/memory.max"] = f"{3 << 20}\n"
    assert runs.memory_room() == (2 << 20, 3 << 20)
    said.clear()  # no Linux
    assert runs.memory_room() == (None, 16 << 20)
    monkeypatch.setattr(runs, "_memory_bytes", lambda: None)
    assert runs.memory_room() == (None, None)


def test_commit_marks_changed_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "src" / "sparring" / "runs.py"
    monkeypatch.setattr(runs, "__file__", str(source))
    source.parent.mkdir(parents=True)
    source.write_text("one")
    assert runs.source_commit() is None
    git("init", "-q")
    git("add", "src")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "note.txt").write_text("not code")
    assert runs.source_commit() == commit
    source.write_text("two")
    assert runs.source_commit() == f"{commit}-dirty"


# plain JSON


@given(JSON_VALUES)
def test_to_json_gives_strict_json_and_counts_what_it_lost(value: Any) -> None:
    plain, lost = files.to_json(value)
    text = files.dumps(plain)
    assert json.loads(text.encode("utf-8")) == plain
    assert lost == _non_finite(value)
    if lost == 0:
        assert plain == value


def _non_finite(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_non_finite, value.values()))
    if isinstance(value, list):
        return sum(map(_non_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


def test_to_json_takes_what_settings_are_made_of() -> None:
    class Head(enum.Enum):
        TOKENS = "tokens"

    @dataclasses.dataclass
    class Settings:
        head: Head
        sizes: tuple[int, ...]

    value = [Settings(Head.TOKENS, (1, 2)), np.float32(0.5), np.arange(2), {3: None}]
    plain = [{"head": "tokens", "sizes": [1, 2]}, 0.5, [0, 1], {"3": None}]
    assert files.to_json(value) == (plain, 0)


def test_to_json_refuses_what_would_be_lost() -> None:
    with pytest.raises(TypeError, match="object"):
        files.to_json({"a": [object()]})
    with pytest.raises(TypeError, match="same text"):
        files.to_json({1: "a", "1": "b"})


# files and folders


def test_atomic_text_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    atomic_write_text(path, "old\r\n")
    atomic_write_text(path, "new\r\nš")
    assert path.read_bytes() == "new\r\nš".encode()
    assert os.listdir(path.parent) == ["file.txt"]


def test_atomic_text_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_atomic_text_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    atomic_write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_file_and_folder_are_not_confused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(SparringError, match="it is a folder"):
        atomic_write_text(tmp_path / "folder", "x")
    with pytest.raises(SparringError, match="it is a file"), atomic_directory(tmp_path / "file"):
        pass


@pytest.mark.parametrize("can_swap", [True, False])
def test_atomic_directory_replaces_the_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_swap: bool
) -> None:
    if not can_swap:
        monkeypatch.setattr(files, "_swap", lambda one, other: False)
    path = tmp_path / "checkpoint"
    for generation in ("first", "second"):
        with atomic_directory(path) as draft:
            (draft / "deep").mkdir()
            (draft / "deep" / generation).write_text(generation)
            assert not (path / "deep" / generation).exists()
        assert os.listdir(path / "deep") == [generation]
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_atomic_directory_keeps_the_old_folder_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with atomic_directory(path) as draft:
        (draft / "weights").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(path) as draft:
        (draft / "weights").write_text("new")
        raise RuntimeError
    assert (path / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_crash_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    previous = tmp_path / ".checkpoint.previous"
    previous.mkdir()
    (previous / "weights").write_text("old")
    assert files.recover_directory(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "weights").read_text() == "old"
    (tmp_path / ".checkpoint.previous").mkdir()  # and at the removal that follows
    assert files.recover_directory(tmp_path / "checkpoint")
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert not files.recover_directory(tmp_path / "another")


WRITER = """
import sys
from pathlib import Path
from sparring.files import atomic_directory, atomic_write_text
root = Path(sys.argv[1])
generation = 0
while True:
    generation += 1
    atomic_write_text(root / "state.json", f"{generation} " * 20_000)
    with atomic_directory(root / "checkpoint") as draft:
        for name in "abcde":
            (draft / name).write_text(str(generation) * 1000)
    print(generation, flush=True)
"""


def test_kill_9_leaves_old_or_new_and_the_next_run_clears_up(tmp_path: Path) -> None:
    for pause in (0.0, 0.003, 0.007, 0.011, 0.02):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            deadline = time.monotonic() + pause
            while time.monotonic() < deadline:  # a reader beside the writer never sees a mixture either
                assert len(set((tmp_path / "state.json").read_text().split())) == 1
            writer.send_signal(signal.SIGKILL)
        assert len(set((tmp_path / "state.json").read_text().split())) == 1
        checkpoint = tmp_path / "checkpoint"
        assert sorted(os.listdir(checkpoint)) == list("abcde")
        assert len({(checkpoint / name).read_text() for name in "abcde"}) == 1
    atomic_write_text(tmp_path / "state.json", "done")
    with atomic_directory(tmp_path / "checkpoint"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "state.json"]


def test_draft_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    draft = files._draft_name(tmp_path / "file")
    draft.write_text("being written")
    atomic_write_text(tmp_path / "file", "x")
    assert draft.exists()


# logs


def test_log_appends_across_openings_and_counts_non_finite(tmp_path: Path) -> None:
    with JsonlLog(tmp_path / "deep" / "log.jsonl") as log:
        log.append({"step": 1, "loss": math.nan, "all": [math.inf, 1.0]})
        assert log.non_finite == 2
        assert log.path.read_text() == '{"step": 1, "loss": null, "all": [null, 1.0]}\n'
    with JsonlLog(log.path) as again:
        again.append({"step": 2, "text": "line\u2028break\ud800"})
        assert [record["step"] for record in again.records()] == [1, 2]
        assert not again.torn


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_a_torn_line_of_any_length_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(runs, "_BLOCK", block)
    for whole in (b"", b'{"step": 1}\n'):
        (tmp_path / "log").write_bytes(whole + b'{"text": "' + b"x" * 200)
        with JsonlLog(tmp_path / "log") as log:
            assert log.torn and log.path.read_bytes() == whole


@mock.patch.object(JsonlLog, "sync", lambda self: None)  # that takes its time, and no power is cut here
@given(
    st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=2), max_size=6),
    st.integers(min_value=0, max_value=6),
    st.binary(max_size=12).filter(lambda tail: b"\n" not in tail),
)
def test_log_cut_back_equals_log_that_stopped_there(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], kept: int, tail: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for name, chosen in (("whole", records), ("short", records[:kept])):
        with JsonlLog(folder / name) as log:
            for number, record in enumerate(chosen):
                log.append({"content": record, "step": number})
            position = log.position()
    with (folder / "whole").open("ab") as file:
        file.write(tail)
    with JsonlLog(folder / "whole") as log:
        assert log.torn == (tail != b"")
        log.cut_back(position)
        assert log.path.read_bytes() == (folder / "short").read_bytes()
        assert log.position() == position
        log.append({"step": "next"})
        assert list(log.records())[-1] == {"step": "next"}


@pytest.mark.parametrize("line", ["{", "3", "[]", b"\xff", "[" * 100_000])
def test_broken_line_is_named(tmp_path: Path, line: str | bytes) -> None:
    raw = line.encode() if isinstance(line, str) else line
    (tmp_path / "log").write_bytes(b"{}\n" + raw + b"\n{}\n")
    with JsonlLog(tmp_path / "log") as log, pytest.raises(DataError, match="log:2"):
        list(log.records())


def test_a_log_that_was_changed_before_the_place_is_not_cut_back(tmp_path: Path) -> None:
    with JsonlLog(tmp_path / "log") as log:
        log.append({"step": 1})
        position = log.position()
        log.append({"step": 2})
    whole = (tmp_path / "log").read_bytes()
    for content in (b"", whole[:5] + b"\n", whole.replace(b"1", b"3"), whole[12:], whole[12:] * 2):
        (tmp_path / "log").write_bytes(content)
        with JsonlLog(tmp_path / "log") as log, pytest.raises(DataError, match=r"ends after|was changed"):
            log.cut_back(position)
        assert (tmp_path / "log").read_bytes() == content


def test_record_is_on_disk_when_the_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from sparring.runs import JsonlLog;"
        "JsonlLog(sys.argv[1]).append({'a': 1}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], check=False)
    assert (tmp_path / "log").read_text() == '{"a": 1}\n'


def test_a_trial_of_a_dead_process_is_removed_by_the_next_one(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".trial.draft-{platform.node()[:64]}-{dead.pid}-0123abcd"
    left.write_bytes(b"x")
    check_output(tmp_path, "run")
    assert list(tmp_path.iterdir()) == []
