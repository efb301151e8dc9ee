"""How every command ends in trouble: one line, the right status, no traceback, before any work where it can be known."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparring import __main__ as command_line
from sparring.errors import DataError, OutputError, plural
from sparring.files import atomic_directory, atomic_write_text, check_output
from sparring.json_files import read_jsonl_objects
from sparring.runs import JsonlLog
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from sparring.training.run import CHECKPOINT
from sparring.worlds.chain import generate_problems

OUT = "{out}"
COMMANDS = {
    "demo": ["demo", "--out", OUT],
    "attack": ["attack", "nowhere", "--out", OUT],
    "label": ["label", "data={data}", "--out", OUT],
    "convert": ["convert", "{data}", OUT],
    "search": ["search", "data={data}", "prm=./nowhere", "--out", OUT],
    "convert-prm": ["convert-prm", "nowhere", "family=trl", "--out", OUT],
    "score": ["score", "nowhere", "{data}", "--out", OUT],
    "report": ["report", OUT],
    "migrate": ["migrate", "{data}", OUT, "source=trl"],
    "train aprm": ["train", "aprm", "--out", OUT],
    "train chain-policy": ["train", "chain-policy", "--out", OUT],
    "train world-policy": ["train", "world-policy", "--out", OUT],
    "train rl": ["train", "rl", "--out", OUT],
    "train prm": ["train", "prm", "backbone=tiny-chain-policy", "data=[{data}]", "--out", OUT],
    "train orm": ["train", "orm", "backbone=tiny-chain-policy", "data=[{data}]", "--out", OUT],
    "train value": ["train", "value", "backbone=tiny-chain-policy", "data=[{data}]", "--out", OUT],
    "eval prmbench": ["eval", "prmbench", "data=[{data}]", "--out", OUT],
    "eval calibration": ["eval", "calibration", "data=[{data}]", "--out", OUT],
    "eval bon": ["eval", "bon", "data=[{data}]", "--out", OUT],
    "eval compare": ["eval", "compare", "{data}", "{data}", "data=[{data}]", "--out", OUT],
    "eval oracle": ["eval", "oracle", "processbench=[{data}]", "--out", OUT],
    "eval processbench": ["eval", "processbench", "{data}", "--scores", "{data}", "--out", OUT],
}


@pytest.fixture
def end(monkeypatch, capfd):
    """Run the command line in this process; return status and what it says on standard error."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sparring", *map(str, arguments)])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return int(ended.value.code or 0), capfd.readouterr().err

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    problems = generate_problems(3, steps=(3, 4), seed=5)
    write_traces(
        tmp_path / "data.jsonl", [Trace(p, p.solution, (1.0,) * len(p.solution), True) for p in problems]
    )
    return tmp_path / "data.jsonl"


def filled(command: str, out: Path | str, data: Path | str) -> list[str]:
    return [word.format(out=out, data=data) for word in COMMANDS[command]]


def places(folder: Path) -> dict[str, str]:
    """Return impossible places for the output and a word of the refusal."""
    (folder / "file").write_text("")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    return {
        str(folder / "file" / "below"): "not a folder",
        str(folder / ("x" * 300)): "too long",
        str(folder / ("é" * 125)): "longer than",
        str(folder / "a\nb"): "control character",
        str(folder / "circle"): "symbolic links",
        str(folder / "circle" / "below"): "symbolic links",
        str(folder / "pipe"): "it is a",
        "/proc/nothing/run": "cannot write",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_an_impossible_place_for_the_output_is_refused_before_any_work(command, tmp_path, data, end):
    for out, word in places(tmp_path).items():
        status, errors = end(*filled(command, out, data))
        assert status == 2, (out, errors)
        assert errors.startswith("error: ") and errors.count("\n") == 1, errors
        assert word in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "data.jsonl", "file", "pipe"]


BAD_DATA = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "gzip": lambda path: path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(20)),
    "utf-16": lambda path: path.write_text('{"id": "1"}\n', encoding="utf-16"),
    "parquet": lambda path: path.write_bytes(b"PAR1 and so on"),
    "pipe": lambda path: os.mkfifo(path),
    "deep": lambda path: path.write_text('{"id": "1", "meta": ' + "[" * 50_000 + "]" * 50_000 + "}\n"),
    "deep within": lambda path: path.write_text('{"id": "1", "meta": ' + "[" * 150 + "]" * 150 + "}\n"),
    "half a pair": lambda path: path.write_text('{"id": "1", "problem": "\\ud800", "steps": ["2"]}\n'),
    "long number": lambda path: path.write_text('{"id": ' + "9" * 5000 + "}\n"),
    "cut off": lambda path: path.write_text('{"id": "1", "problem": "x", "ste'),
}
SAME_READER = ("train orm", "train value")  # as train prm's
READERS = [
    name
    for name, words in COMMANDS.items()
    if any("{data}" in word for word in words) and name not in SAME_READER
]


@pytest.mark.parametrize("command", READERS)
def test_a_file_that_is_no_data_is_one_line_with_its_name(command, tmp_path, end):
    for kind, make in BAD_DATA.items():
        data = tmp_path / f"{kind.replace(' ', '_')}.jsonl"
        make(data)
        status, errors = end(*filled(command, tmp_path / "out", data))
        assert status == 2, (kind, errors)
        assert errors.startswith("error: ") and errors.count("\n") == 1, (kind, errors)
        if command not in ("score", "search"):  # these look for their model first, or say so of both
            assert data.name in errors, (kind, errors)


UNUSABLE = {
    "train prm": ["train", "prm", "backbone=tiny-chain-policy", "data=[{data}]", "--out", OUT],
    "train orm": ["train", "orm", "backbone=tiny-chain-policy", "data=[{data}]", "--out", OUT],
    "label": [
        "label",
        "data={data}",
        "checker=answer",
        "n_cov=1",
        "n_mc=1",
        "max_new_tokens=2",
        "--out",
        OUT,
    ],
    "train aprm": ["train", "aprm", "task=text", "data={data}", "--out", OUT],
    "eval calibration": ["eval", "calibration", "data=[{data}]", "scores=[{scores}]", "--out", OUT],
    "eval bon": ["eval", "bon", "data=[{data}]", "scores=[{other}]", "--out", OUT],
}


@pytest.mark.parametrize("command", UNUSABLE)
def test_data_of_which_nothing_can_be_used_is_refused_by_its_name(command, tmp_path, end):
    """Every record is one, and none has a label, an outcome, a reference answer or a step that can be checked."""
    files = {
        "data": tmp_path / "given.jsonl",
        "scores": tmp_path / "s.jsonl",
        "other": tmp_path / "given too.jsonl",
    }
    write_traces(files["data"], [Trace(Problem(name, f"What is {name}?"), ("So it is.",)) for name in "ab"])
    files["scores"].write_text('{"id": "a", "scores": [0.5]}\n{"id": "b", "scores": [0.5]}\n')
    files["other"].write_text('{"id": "c", "scores": [0.5]}\n')
    words = [word.format(out=tmp_path / "out", **files) for word in UNUSABLE[command]]
    status, errors = end(*words)
    last = errors.splitlines()[-1]
    assert status == 2 and last.startswith("error: ") and "given" in last, errors


def test_a_path_with_a_nul_or_a_line_break_in_settings_is_refused_by_name(tmp_path, end):
    for command, key in ((["train", "aprm", "task=text"], "data"), (["eval", "calibration"], "data[0]")):
        for path in ("a\\0b", "a\\nb"):
            given = f'data: ["{path}"]' if "[" in key else f'data: "{path}"'
            (tmp_path / "c.yaml").write_text(given)
            status, errors = end(*command, "--config", tmp_path / "c.yaml", "--out", tmp_path / "out")
            assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1, errors


@pytest.mark.parametrize("content", ["cut", "empty", "text", "latin"])
def test_a_parquet_file_that_cannot_be_read_is_one_line(content, tmp_path, end):
    file = tmp_path / "data.parquet"
    table = {"prompt": ["What is 1 + 1?"], "completions": [["2"]], "labels": [[True]]}
    pyarrow.parquet.write_table(pyarrow.table(table), file)
    if content == "latin":
        text = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
        pyarrow.parquet.write_table(pyarrow.table(table | {"prompt": text}), file)
    else:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello\n"}[content])
    status, errors = end("migrate", file, tmp_path / "out.jsonl", "source=trl")
    assert status == 2 and errors.startswith(f"error: {file}"), errors


def test_a_full_disk_is_named_by_every_writer(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    log = JsonlLog(tmp_path / "log.jsonl")
    monkeypatch.setattr(os, "fsync", full)
    for kind in ("run", "file", "folder"):
        with pytest.raises(OutputError, match=r"out'.*No space left"):
            check_output(tmp_path / "out", kind)
    with pytest.raises(OutputError, match=r"out'.*No space left"):
        atomic_write_text(tmp_path / "out", "x")
    with pytest.raises(OutputError, match=r"out'.*No space left"), atomic_directory(tmp_path / "out"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    log._file.close()
    log._file = open("/dev/full", "a")  # noqa: SIM115
    with pytest.raises(OutputError, match=r"log\.jsonl.*No space left"):
        log.append({"a": 1})


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (RuntimeError("odd\nthings"), 70, "traceback.txt"),
        (RecursionError("deep"), 70, "traceback.txt"),
        (MemoryError(), 2, "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 2, "smaller batches"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "smaller"),
        (OSError(28, os.strerror(28), "some/file"), 2, "some/file: No space"),
        (BrokenPipeError(32, os.strerror(32)), 1, ""),
        (OSError("odd"), 70, "OSError: odd"),
        (DataError("no", file="a\nb"), 2, "a\\nb: no"),
    ],
)
def test_what_escapes_is_one_line_with_its_status(error, status, word, tmp_path, data, end, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sparring.traces.convert.convert", fails)
    ended, errors = end("convert", data, tmp_path / "out.jsonl")
    assert ended == status and word in errors and "Traceback" not in errors
    assert errors.count("\n") <= 1
    if word == "traceback.txt":
        assert type(error).__name__ in (tmp_path / "traceback.txt").read_text()


def test_a_stop_says_how_to_go_on(tmp_path, data, end, monkeypatch):
    words = {
        "score": "the same command goes on",
        "train aprm": "before the first checkpoint.* --resume begins anew",
        "train rl": "to go on, .* --resume",
        "convert": "anew",
    }
    (tmp_path / "train rl" / CHECKPOINT).mkdir(parents=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for command, word in words.items():

            def stopped(*_: object, number: int = number, **__: object) -> None:
                signal.raise_signal(number)

            for place in ("evaluation.scores.score_file", "training.aprm.show_aprm", "training.rl.show_rl"):
                monkeypatch.setattr(f"sparring.{place}", stopped)
            monkeypatch.setattr("sparring.traces.convert.convert", stopped)
            out = tmp_path / (command if command == "train rl" else "out")
            status, errors = end(*filled(command, out, data))
            assert status == 128 + number and re.search(word, errors) and errors.count("\n") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_stop_inside_of_an_executed_text_has_the_status_of_its_signal(tmp_path):
    (tmp_path / "stopped.py").write_text(
        "import signal, sys, sparring.cli.ending as ending\n"
        "def work():\n"
        "    exec('import signal; signal.raise_signal(signal.SIGTERM)')\n"
        "sys.exit(ending.run(work))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "stopped"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "stopped\n")


def test_a_stop_while_the_process_clears_up_shows_no_traceback():
    program = """
import atexit, signal, sparring.cli.ending as ending
atexit.register(lambda: signal.raise_signal(signal.SIGINT))
ending.run(lambda: None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_an_option_with_an_empty_text_is_refused(end, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--out", ""], ["--out="]):
        status, errors = end("label", "problems=2", *words)
        assert status == 2 and errors == "error: --out is given an empty text\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_at_once_whichever_came_first(second):
    program = f"""
import signal, sparring.cli.ending as ending
def work():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal({int(second)})
ending.run(work)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -second and done.stderr == ""


def test_two_signals_in_one_instant_are_one_wish_to_stop():
    program = """
import os, signal, sys, sparring.cli.ending as ending
def work():
    both = {signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for each in both:
        os.kill(os.getpid(), each)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
sys.exit(ending.run(work))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGHUP, "stopped\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", ["says", "flushes", "both in one instant"])
def test_a_signal_while_the_end_is_told_leaves_its_words_and_status(number, place):
    """As where a launcher, of whose processes one was killed, ends those that tell of it."""
    program = f"""
import os, signal, sys, sparring.cli.ending as ending
from sparring.errors import DataError
class Output:
    def __init__(self, stream, when):
        self.stream, self.when = stream, when
    def write(self, text):
        return self.stream.write(text)
    def flush(self):
        if self.when and not done:
            done.append(1)
            both = {{{int(number)}}} | ({{signal.SIGTERM, signal.SIGHUP}} if {place!r}.startswith("both") else set())
            signal.pthread_sigmask(signal.SIG_BLOCK, both)
            for each in both:
                os.kill(os.getpid(), each)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        self.stream.flush()
    def __getattr__(self, name):
        return getattr(self.stream, name)
done = []
sys.stdout = Output(sys.stdout, {place != "says"})
sys.stderr = Output(sys.stderr, {place == "says"})
def work():
    raise DataError("another process has ended")
sys.exit(ending.run(work))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: another process has ended\n")


def test_a_signal_before_the_work_begins_stops_it():
    program = """
import signal, sys, sparring.cli.ending as ending
from contextlib import contextmanager
streams = ending._streams
@contextmanager
def late():
    signal.raise_signal(signal.SIGTERM)
    with streams() as output:
        yield output
ending._streams = late
sys.exit(ending.run(lambda: print("worked")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "stopped\n")


@pytest.mark.parametrize(
    ("redirection", "status"),
    [("> /dev/full 2> /dev/full", 2), (">&- 2>&-", 0), ("| head -1", 0)],
)
def test_the_work_is_done_whatever_becomes_of_standard_output(redirection, status, tmp_path, data):
    rows = [json.loads(line) for line in data.open()]
    scores = tmp_path / "scores.jsonl"
    scores.write_text(
        "".join(json.dumps({"id": r["id"], "scores": [0.5] * len(r["steps"])}) + "\n" for r in rows)
    )
    words = ["eval", "processbench", str(data), "--scores", str(scores), "--out", str(tmp_path / "out")]
    line = " ".join([sys.executable, "-m", "sparring", *words, redirection])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_a_run_beside_a_thread_is_possible(tmp_path, data, monkeypatch):
    """Signals can only be caught in the main thread; elsewhere the command runs without."""
    monkeypatch.setattr(sys, "argv", ["sparring", "convert", str(data), str(tmp_path / "out.jsonl")])
    statuses: list[object] = []

    def run() -> None:
        try:
            command_line.main()
        except SystemExit as ended:
            statuses.append(ended.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert statuses == [0]


@pytest.mark.parametrize("text", ["\ud800", "2 + 2 = \udcff4", "\ude00\ud83d"])
def test_half_a_surrogate_pair_is_in_no_record(text):
    problem = Problem("1", "What?")
    with pytest.raises(DataError, match=r"steps\[0\].*surrogate"):
        Trace(problem, (text,))
    for values in ({"question": text}, {"id": text}, {"answer": text}, {"solution": (text,)}):
        with pytest.raises(DataError, match="surrogate"):
            Problem(**({"id": "1", "question": "What?"} | values))


@given(st.lists(st.sampled_from(["[", '"[[\\"', "{"]), max_size=150))
def test_only_brackets_outside_texts_count_as_levels(tmp_path_factory, openers):
    text, closers = "", []
    for opener in openers:
        if opener == "[":
            text, closers = text + "[", [*closers, "]"]
        elif opener == "{":
            text, closers = text + '{"k[": ', [*closers, "}"]
        else:
            text += '["[[{{\\"[", '
            closers.append("]")
    value = text + "0" + "".join(reversed(closers))
    file = tmp_path_factory.mktemp("deep") / "x.jsonl"
    file.write_text(f'{{"a": {value}}}\n')
    if len(openers) + 1 > 100:
        with pytest.raises(DataError, match="nested"):
            list(read_jsonl_objects(file))
    else:
        assert len(list(read_jsonl_objects(file))) == 1


def test_what_is_counted_stands_in_the_right_number():
    assert [plural(number, "trace") for number in (0, 1, 2)] == ["0 traces", "1 trace", "2 traces"]
    assert (plural(1, "query", "queries"), plural(3, "query", "queries")) == ("1 query", "3 queries")
    assert plural(12_000, "token", form=",") == "12,000 tokens"
