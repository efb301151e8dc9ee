"""The sandbox: members that die, hang, eat memory or make noise cost their own verdict and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparring.errors import SettingsError, SparringError
from sparring.oracles import sandbox as sandbox_module
from sparring.oracles.confinement import confine, possible
from sparring.oracles.members import check_members, load_member, resolve_members, short_name
from sparring.oracles.sandbox import GUILTLESS_DEATHS, START_ATTEMPTS, Sandbox, SandboxLimits

MEMBER = """
import os, signal, subprocess, sys, time
CONFINED = True
from sparring.traces.verdict import Verdict

def judge(problem, prefix, step):
    if step == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if step == "loop":
        while True:
            pass
    if step == "sleep":
        time.sleep(1e6)
    if step == "eat":
        held = []
        while True:
            held.append(bytearray(1 << 24))
    if step == "power":
        return Verdict("correct", str(len(str(10 ** 10 ** 10))))
    if step == "deep":
        sys.setrecursionlimit(10 ** 8)
        def fall(): return fall()
        fall()
    if step == "noise":
        for name in (1, 2):
            os.write(name, b"[0, [[null]]]\\n\\xff\\x00{" * 100)
        print("true", flush=True)
    if step == "exit":
        sys.exit(3)
    if step == "hard exit":
        os._exit(0)
    if step == "raise":
        raise RuntimeError("on purpose")
    if step == "child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)", problem.question])
        time.sleep(1e6)
    if step.startswith("try "):
        import socket
        from pathlib import Path
        tried = {
            "connect": lambda: socket.create_connection(("127.0.0.1", int(problem.question)), timeout=5),
            "local": lambda: socket.socket(socket.AF_UNIX).connect(problem.question),
            "write": lambda: Path(problem.question).write_text("x"),
            "write beside": lambda: (Path(__file__).parent / "written").write_text("x"),
            "remove": lambda: Path(__file__).unlink(),
            "read": lambda: Path(problem.question).read_text(),
            "list": lambda: os.listdir(problem.question),
            "read beside": lambda: Path(__file__).read_text(),
            "import": lambda: __import__("wave"),
            "signal": lambda: os.kill(int(problem.question), 0),
            "look into": lambda: Path(f"/proc/{problem.question}/environ").read_bytes(),
            "silence": lambda: open("/dev/null", "w").write("x"),
            "from a child": lambda: subprocess.run(
                [sys.executable, "-S", "-c", f"open({problem.question!r}).read()"], check=True, stderr=subprocess.DEVNULL),
        }[step.removeprefix("try ")]
        try:
            tried()
        except PermissionError:
            return Verdict("wrong", "rogue:refused")
        except Exception as error:
            return Verdict("wrong", "rogue:failed", repr(error))
    if step == "junk":
        return "correct"
    if step == "pid":
        return Verdict("correct", str(os.getpid()))
    if step == "environment":
        return Verdict("correct", ",".join(sorted(os.environ)))
    if step == "big":
        return Verdict("wrong", "rogue:big", "x" * 10 ** 6, (0, 3))
    return Verdict("correct", "rogue:" + step, "", (0, len(step)))

def other(problem, prefix, step):
    return Verdict("correct", "other:fine")
"""
LIMITS = SandboxLimits(seconds=1.0, megabytes=128)


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("member") / "rogue.py"
    file.write_text(MEMBER, encoding="utf-8")
    return f"{file}:judge"


@pytest.fixture(scope="module")
def box(member: str) -> Iterator[Sandbox]:
    sandbox = Sandbox(resolve_members([member]), workers=1, limits=LIMITS)
    yield sandbox
    sandbox.close()


def asked(step: str, question: str = "q") -> str:
    return json.dumps([question, None, [], None, step])


def reasons(sandbox: Sandbox, *steps: str) -> list[str]:
    return [verdicts[0].reason for verdicts in sandbox.verdicts([asked(step) for step in steps])]


def gone(process: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True


def wait_for(happens: object, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happens():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("die", "sandbox:died"),
        ("hard exit", "sandbox:died"),
        ("loop", "sandbox:timeout"),
        ("sleep", "sandbox:timeout"),
        ("eat", "sandbox:memory"),
        ("exit", "rogue:raised"),
        ("raise", "rogue:raised"),
        ("junk", "rogue:bad_verdict"),
        ("noise", "rogue:noise"),
    ],
)
def test_only_the_guilty_evaluation_is_undecided(box: Sandbox, step: str, reason: str) -> None:
    found = [verdicts[0] for verdicts in box.verdicts([asked(text) for text in ("a", "b", step, "c", "d")])]
    assert [verdict.reason for verdict in found] == ["rogue:a", "rogue:b", reason, "rogue:c", "rogue:d"]
    assert step == "noise" or found[2].truth == "undecided"
    assert reason.startswith("rogue") or found[2].detail.startswith("rogue: ")


def test_unbounded_work_of_the_interpreter_ends(box: Sandbox) -> None:
    assert reasons(box, "power")[0] in ("sandbox:timeout", "sandbox:memory")
    assert reasons(box, "deep")[0].startswith("sandbox:")
    assert reasons(box, "after") == ["rogue:after"]


def test_more_dead_workers_in_a_row_than_any_limit_stop_nothing(box: Sandbox) -> None:
    deaths = range(max(START_ATTEMPTS, GUILTLESS_DEATHS) + 2)
    steps = [step for number in deaths for step in ("die", f"s{number}")]
    expected = [x for number in deaths for x in ("sandbox:died", f"rogue:s{number}")]
    assert reasons(box, *steps) == expected


def test_what_a_member_started_ends_with_it(box: Sandbox, tmp_path: Path) -> None:
    mark = str(tmp_path / "the child")

    def children() -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if mark.encode() in process.read_bytes().split(b"\0"):
                    found.append(int(process.parent.name))
        return found

    began: list[list[int]] = []
    watch = threading.Thread(target=lambda: wait_for(lambda: began.append(children()) or began[-1]))
    watch.start()
    [[verdict]] = box.verdicts([asked("child", mark)])
    watch.join()
    assert verdict.reason == "sandbox:timeout"
    assert began[-1] and wait_for(lambda: all(gone(child) for child in began[-1]))


@pytest.mark.skipif(
    set(possible()) != {"network", "files", "others"}, reason="a kernel without Landlock or seccomp"
)
def test_what_a_worker_has_given_up_is_refused(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        tried = {
            ("connect", port): "refused",
            ("local", str(tmp_path / "socket")): "refused",
            ("write", str(tmp_path / "new")): "refused",
            ("write beside", "q"): "refused",
            ("remove", "q"): "refused",
            ("read", str(secret)): "refused",
            ("list", str(tmp_path)): "refused",
            ("look into", str(os.getpid())): "refused",
            ("signal", str(os.getpid())): "refused",
            ("from a child", str(secret)): "failed",
            ("read beside", "q"): "try read beside",
            ("import", "q"): "try import",
            ("silence", "q"): "try silence",
        }
        found = box.verdicts([asked(f"try {what}", question) for what, question in tried])
    got = {key: row[0].reason.removeprefix("rogue:") for key, row in zip(tried, found, strict=True)}
    assert got == tried, [row[0].detail for row in found]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["secret"]


def test_a_member_of_a_users_own_keeps_its_rights_unless_it_says_that_it_needs_none(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\nfrom sparring.traces.verdict import Verdict\n"
        "def judge(problem, prefix, step):\n"
        f"    Path({str(tmp_path / 'written')!r}).write_text('x')\n    return Verdict('correct', 'own:wrote')\n"
    )
    for name, text, reason in (
        ("free", body, "own:wrote"),
        ("tight", body + "CONFINED = True\n", "tight:raised"),
    ):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        box = Sandbox(resolve_members(["arithmetic", f"{tmp_path / name}.py:judge"]), workers=1)
        [[_, verdict]] = box.verdicts([asked("2 + 2 = 4")])
        box.close()
        if name == "free" or "files" in possible():
            assert verdict.reason == reason


def test_a_system_without_any_of_it_gives_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("darwin", "x86_64"), ("linux", "riscv64")):
        monkeypatch.setattr(sys, "platform", name)
        monkeypatch.setattr("platform.machine", lambda value=value: value)
        assert possible() == [] and confine([]) == []


def test_the_other_members_keep_their_verdicts(member: str) -> None:
    names = resolve_members(["arithmetic", member, member.replace(":judge", ":other")])
    sandbox = Sandbox(names, workers=2, limits=LIMITS)
    found = sandbox.verdicts([asked("die"), asked("2 + 2 = 5"), asked("loop")])
    sandbox.close()
    assert [[verdict.reason for verdict in row] for row in found] == [
        ["arithmetic:nothing_to_check", "sandbox:died", "other:fine"],
        ["arithmetic:wrong_result", "rogue:2 + 2 = 5", "other:fine"],
        ["arithmetic:nothing_to_check", "sandbox:timeout", "other:fine"],
    ]


def test_random_batches_with_rogues_keep_their_order(member: str) -> None:
    rng = random.Random(0)
    outcome = {"die": "sandbox:died", "raise": "rogue:raised", "eat": "sandbox:memory"}
    sandbox = Sandbox(resolve_members([member]), workers=3, limits=SandboxLimits(5.0, 128))
    for size in (0, 1, 7, 300):
        steps = [rng.choice(list(outcome)) if rng.random() < 0.02 else f"s{number}" for number in range(size)]
        assert reasons(sandbox, *steps) == [outcome.get(step, f"rogue:{step}") for step in steps]
    sandbox.close()


def test_many_threads_share_the_workers(box: Sandbox) -> None:
    results: dict[int, list[str]] = {}

    def work(number: int) -> None:
        results[number] = reasons(box, *(f"t{number}-{index}" for index in range(150)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: [f"rogue:t{n}-{i}" for i in range(150)] for n in range(6)}


def test_a_worker_killed_from_outside_between_batches_is_replaced(box: Sandbox) -> None:
    [first] = reasons(box, "pid")
    os.kill(int(first), signal.SIGKILL)
    assert reasons(box, "a", "b") == ["rogue:a", "rogue:b"]
    assert reasons(box, "pid") != [first]


def test_hostile_text_travels_unchanged(box: Sandbox) -> None:
    texts = ["\x00\x1b[31m\r\n", "\u202eabc", "\ud800", "é" * 300_000, '"]}\\', "𝟙 ≈ ½"]
    assert reasons(box, *texts) == [f"rogue:{text}" for text in texts]


def test_a_verdict_of_a_million_letters_is_cut(box: Sandbox) -> None:
    [[verdict]] = box.verdicts([asked("big")])
    assert verdict.truth == "wrong" and verdict.span == (0, 3) and len(verdict.detail) == 501


def test_workers_know_no_secrets_and_no_torch(
    member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import sys\nfrom sparring.traces.verdict import Verdict\n"
        "def judge(problem, prefix, step):\n"
        "    return Verdict('correct', ','.join(n for n in ('torch', 'numpy', 'transformers') if n in sys.modules))\n",
        encoding="utf-8",
    )
    sandbox = Sandbox(resolve_members([member, str(spy)]), workers=1)
    [[environment, modules]] = sandbox.verdicts([asked("environment")])
    sandbox.close()
    assert "SECRET_TOKEN" not in environment.reason and "PYTHONHASHSEED" in environment.reason
    assert modules.reason == ""


# --- starting and ending -------------------------------------------------------------------------------------


def test_workers_end_with_the_sandbox(member: str) -> None:
    sandbox = Sandbox(resolve_members([member]), workers=1, limits=LIMITS)
    [process] = reasons(sandbox, "pid")
    sandbox.close()
    assert wait_for(lambda: gone(int(process)))
    assert reasons(sandbox, "again") == ["rogue:again"]
    [process] = reasons(sandbox, "pid")
    del sandbox
    assert wait_for(lambda: gone(int(process)))


@pytest.mark.parametrize("busy", [False, True])
def test_workers_end_when_their_parent_is_killed(member: str, tmp_path: Path, busy: bool) -> None:
    note = tmp_path / "pid"
    script = textwrap.dedent(f"""
        import json, os, time
        from sparring.oracles.members import resolve_members
        from sparring.oracles.sandbox import Sandbox, SandboxLimits
        sandbox = Sandbox(resolve_members([{member!r}]), workers=1, limits=SandboxLimits(1e4, 512))
        [[verdict]] = sandbox.verdicts([json.dumps(["q", None, [], None, "pid"])])
        with open({str(note)!r}, "w") as file:
            file.write(verdict.reason + ".")
        sandbox.verdicts([json.dumps(["q", None, [], None, {"sleep" if busy else "fine"!r}])])
        time.sleep(1e4)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert wait_for(lambda: note.exists() and note.read_text().endswith("."))
        time.sleep(0.2)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: gone(int(note.read_text()[:-1])))


def test_a_forked_process_gets_its_own_workers(box: Sandbox) -> None:
    [mine] = reasons(box, "pid")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, reasons(box, "pid")[0].encode())
            box.close()
        finally:
            os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    assert theirs.isdigit() and theirs != mine
    assert reasons(box, "pid") == [mine]


def test_a_member_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="no_such_module"):
        Sandbox(resolve_members([str(broken)]), workers=1).verdicts([asked("a")])
    with pytest.raises(SettingsError, match="nothing_here"):
        Sandbox(resolve_members(["sparring.traces.verdict:nothing_here"]), workers=1).verdicts([asked("a")])


def test_workers_that_die_while_they_start_are_told(tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os\nos._exit(7)\n", encoding="utf-8")
    with pytest.raises(SparringError, match=r"do not start.*status 7"):
        Sandbox(resolve_members([str(deadly)]), workers=1).verdicts([asked("a")])


def test_a_worker_that_dies_with_nobody_to_blame_does_not_repeat_forever(
    member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module._Worker, "post_mortem", _blameless(sandbox_module._Worker.post_mortem))
    sandbox = Sandbox(resolve_members([member]), workers=1, limits=LIMITS)
    assert reasons(sandbox, "a", "die", "b") == ["rogue:a", "sandbox:died", "rogue:b"]
    sandbox.close()


def _blameless(true: object) -> object:
    return lambda worker: (true(worker)[0], (-1, -1))  # type: ignore[operator]


def test_names_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("judge = print\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert resolve_members(["arithmetic", "mine.py", "package.module:verdict"]) == (
        "arithmetic",
        f"{tmp_path / 'mine.py'}:judge",
        "package.module:verdict",
    )
    assert short_name(f"{tmp_path / 'mine.py'}:judge") == "mine"
    assert short_name("package.module:verdict") == "module"
    assert load_member(resolve_members(["mine.py"])[0]).judge is print
    with pytest.raises(SettingsError, match="did you mean 'arithmetic'"):
        resolve_members(["arithmetics"])
    check_members(["absent.py"])  # settings of a run can be read where its files are not
    with pytest.raises(SettingsError, match=r"there is no file .*absent.py"):
        resolve_members(["absent.py:judge"])
    with pytest.raises(SettingsError, match="twice"):
        resolve_members(["reference", "reference"])
    with pytest.raises(SettingsError, match="at least one"):
        resolve_members([])
