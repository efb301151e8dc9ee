"""Parts of a job in worker processes: order, errors, deaths, and what is said of their progress."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import parts
from sparring.errors import DataError, SparringError
from sparring.side_by_side import Part, Workers
from sparring.terminal import PartsProgress, ProgressBar

HERE = Path(__file__).parent


def run(*chosen: Part) -> tuple[list[object], list[tuple[int, int]], list[int]]:
    told: list[tuple[int, int]] = []
    ended: list[int] = []
    with Workers(2) as workers:
        results = workers.run(
            chosen,
            done=lambda place, units: told.append((place, units)),
            ended=ended.append,
            tick=lambda: None,
        )
    return results, told, ended


def test_results_come_in_order_with_reports_from_processes_of_one_thread():
    before = os.environ.get("OMP_NUM_THREADS")
    numbered = [Part(str(n), parts.doubled, (n,)) for n in range(5)]
    results, told, ended = run(*numbered, Part("threads", parts.threads, ()))
    assert results == [0, 2, 4, 6, 8, "1"]
    assert {(n, -1) for n in range(6)} | {(n, 1) for n in range(5)} == set(told)
    assert sorted(ended) == list(range(6))
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_the_error_of_a_part_keeps_its_place_and_carries_its_traceback():
    with pytest.raises(DataError, match=r"x\.jsonl:3: no") as caught:
        run(Part("bad", parts.refused, ("x.jsonl",)))
    assert "parts.py" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("work", "message"), [(parts.faulty, "cannot be pickled"), (parts.killed, "bad: its process was killed")]
)
def test_a_part_that_dies_is_named(work, message):
    with pytest.raises((RuntimeError, SparringError), match=message):
        run(Part("bad", work, ()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(number, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "import signal, sys, parts\nfrom pathlib import Path\nfrom sparring.cli import ending\n"
        "from sparring.side_by_side import Part, Workers\n"
        "def work():\n"
        "    with Workers(2) as workers:\n"
        "        files = [Path(name) for name in sys.argv[1:]]\n"
        "        workers.run([Part('p', parts.endless, (file,)) for file in files], done=lambda *_: None,\n"
        "                    ended=print, tick=lambda: None)\n"
        "if __name__ == '__main__':\n    sys.exit(ending.run(work))\n"
    )
    files = [tmp_path / "a", tmp_path / "b"]
    path = os.pathsep.join([str(HERE), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, script, *files],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not all(file.exists() and file.read_text() for file in files):
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(number)
    _, errors = parent.communicate()
    assert "Traceback" not in errors
    assert parent.returncode == (-number if number == signal.SIGKILL else 128 + number)
    for file in files:
        while alive(int(file.read_text())):
            time.sleep(0.02)


def alive(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    if state.parent.parent.joinpath("self").exists():  # a system with /proc: nobody may have collected it yet
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# --- where there is no terminal --------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_where_there_is_no_terminal_a_line_says_now_and_then_how_far_a_job_is(capsys):
    clock, said = Clock(), io.StringIO()
    with ProgressBar(Console(file=said), "{task.fields[status]}", clock=clock) as bar:
        task = bar.add_task("scoring", total=1000, status="")
        for clock.now, done in ((0.0, 50), (29.0, 100), (30.0, 150), (59.0, 200), (90.0, 200)):
            bar.update(task, completed=done, status="two actors" if done == 200 else "")
        bar.update(task, completed=1000)
    assert capsys.readouterr() == (
        "",
        "scoring 150 of 1000, about 4 min left\nscoring 200 of 1000, two actors, about 5 min left\n",
    )
    assert said.getvalue() == ""


@pytest.mark.parametrize("options", [{"force_terminal": True}, {"quiet": True}])
def test_a_terminal_has_its_bar_and_no_lines_and_a_silent_process_nothing(options, capsys):
    clock = Clock()
    bar = ProgressBar(Console(file=io.StringIO(), **options), clock=clock)
    task = bar.add_task("training", total=None)
    clock.now = 3600.0
    bar.advance(task)
    assert capsys.readouterr() == ("", "")


def test_where_there_is_no_terminal_a_line_says_which_parts_are_at_work(capsys):
    clock = Clock()
    progress = PartsProgress(Console(file=io.StringIO()), {"a": 10, "b": 5}, clock=clock)
    for title in ("a", "b"):
        progress.done(title, -1)
    progress.done("a", 7)
    progress.tick()
    assert capsys.readouterr().err == ""
    clock.now = 30.0
    progress.tick()
    progress.ended("a")
    clock.now = 60.0
    progress.tick()
    assert capsys.readouterr().err == "a 7 of 10; b 0 of 5\nb 0 of 5\n"
