"""What only some systems have is guarded, and no duration rests on a clock that can jump: read off the code itself."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "sparring"
POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
POSIX_ONLY = {
    "os.fork", "os.forkpty", "os.killpg", "os.getpgrp", "os.setsid", "os.mkfifo", "os.statvfs", "os.getuid", "os.pathconf",
    "os.sysconf", "select.poll", "signal.SIGHUP", "signal.SIGKILL", "signal.SIGXCPU", "signal.setitimer",
}  # fmt: skip
GUARDED = {
    "oracles/sandbox.py": "a sandbox is refused where there is no `resource`",
    "locks.py": "without `fcntl` what the file says decides",
    "files.py": "`pathconf` where there is one",
    "runs.py": "`sysconf` within `try`",
    "planning/hardware.py": "memory of this machine, which a plan for another one needs not",
    "training/run.py": "without `resource` no memory is reported",
}
"""Where a name that not every system has may stand, and what guards it."""
WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "datetime.datetime.now",
    "datetime.now",
    "datetime.datetime.utcnow",
}
DATES = {
    "locks.py": "since when, for people",
    "http_client.py": "a server's Retry-After may be a date; the wait has an upper bound",
    "serving/app.py": "dates that clients ask for",
    "serving/chat.py": "dates that clients ask for",
    "serving/pooling.py": "dates that clients ask for",
}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {
        file.relative_to(ROOT).as_posix(): parsed(file.read_text(encoding="utf-8"))
        for file in sorted(ROOT.rglob("*.py"))
    }


def parsed(code: str) -> ast.Module:
    """Python before 3.11.8 fails where a thread that an earlier test left parses at the same time (CPython #106905)."""
    for _ in range(50):
        try:
            return ast.parse(code)
        except SystemError:
            time.sleep(0.1)
    return ast.parse(code)


def dotted(node: ast.AST) -> str:
    """`a.b` of such an expression, empty for others."""
    return (
        f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        else ""
    )


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_what_only_posix_has_stands_where_it_is_guarded(trees):
    found = {
        place
        for place, tree in trees.items()
        if POSIX_MODULES & set(imported(tree)) or POSIX_ONLY & {dotted(node) for node in ast.walk(tree)}
    }
    assert found <= set(GUARDED), found - set(GUARDED)


def test_no_process_is_forked_and_no_path_of_a_system_is_written_out(trees):
    """A forked process that has used torch hangs; temporary files go where the system wants them."""
    for place, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                assert not (node.func.attr in ("get_context", "set_start_method") and words != ["spawn"]), (
                    place
                )
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/tmp", "/var/", "C:\\")), (place, node.value)
            assert dotted(node) not in ("os.fork", "multiprocessing.Process"), place


def test_texts_are_opened_with_their_encoding(trees):
    """Without one it would be the locale's."""
    for place, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            modes = [
                arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            ]
            binary = any("b" in mode and len(mode) <= 3 for mode in modes) or dotted(node.func) in (
                "os.open",
                "io.open_code",
            )
            if name in ("read_text", "write_text") and "encoding" not in given and not modes:
                raise AssertionError(f"{place}:{node.lineno}")
            if name == "open" and isinstance(node.func, ast.Name) and not binary and "encoding" not in given:
                assert "os.devnull" in ast.unparse(node) or "fileno" in ast.unparse(node), (
                    f"{place}:{node.lineno}"
                )


def test_no_duration_and_no_deadline_is_taken_from_a_clock_that_can_jump(trees):
    found = {place for place, tree in trees.items() if WALL_CLOCK & {dotted_call(n) for n in ast.walk(tree)}}
    assert found == set(DATES)


def dotted_call(node: ast.AST) -> str:
    return (
        ast.unparse(node.func) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
    )
