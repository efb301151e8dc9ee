"""The example of an oracle of one's own: snippets are run, within limits, and their output is compared with the claim."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sparring.oracles.panel import Panel
from sparring.oracles.sandbox import SandboxLimits
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

FILE = Path(__file__).resolve().parents[1] / "examples" / "python_oracle.py"
PROBLEM = Problem("p", "What does it print?")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("python_oracle", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def panel() -> Iterator[Panel]:
    with Panel([f"{FILE}:judge"], workers=1, limits=SandboxLimits(seconds=20.0)) as made:
        yield made


def step(code: str, claim: str) -> str:
    return f"We run\n```python\n{code}\n```\nIt prints {claim}."


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("print(sum(range(10)))", "45"),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f(5))", "120"),
        ("print(sorted({'b', 'a'}), f'{math.sqrt(16):.1f}')", "['a', 'b'] 4.0"),
        ("total = 0\nfor x in [1, 2]:\n    total += x\nprint(total)", "3"),
    ],
)
def test_snippets_are_run(panel: Panel, code: str, printed: str) -> None:
    right = panel.judge(PROBLEM, (), step(code, printed))
    assert (right.truth, right.reason) == ("correct", "python:output_holds")
    wrong_step = step(code, printed + "9")
    wrong = panel.judge(PROBLEM, (), wrong_step)
    assert (wrong.truth, wrong.reason) == ("wrong", "python:other_output")
    assert wrong.span is not None and wrong_step[slice(*wrong.span)] == printed + "9"


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "from os import system",
        "print(().__class__.__bases__[0].__subclasses__())",
        "print((x for x in [1]).gi_frame.f_back.f_globals)",
        "print('{0.__class__}'.format(1))",
        "print(math.__loader__)",
        "try:\n    1 / 0\nexcept Exception as e:\n    print(e.__traceback__)",
        "class A: pass",
        "with open('x') as f: pass",
        "async def f(): await x",
        "global x",
        "def f(:",
        "(" * 500,
    ],
)
def test_what_is_not_on_the_lists_is_never_run(
    example: ModuleType, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "run", lambda code: pytest.fail("it was run"))
    verdict: Verdict = example.judge(PROBLEM, (), step(code, "1"))
    assert (verdict.truth, verdict.reason) == ("undecided", "python:not_allowed")


@pytest.mark.parametrize(
    "code",
    [
        "print(open('/etc/passwd'))",
        "print(__import__('os'))",
        "print(eval('1'))",
        "print(getattr(1, 'real'))",
        "print(1 / 0)",
        "x = [0] * 10 ** 12\nprint(len(x))",
        "for i in range(10 ** 6):\n    print('x' * 1000)",
    ],
)
def test_what_fails_or_takes_too_much_is_undecided(panel: Panel, code: str) -> None:
    verdict = panel.judge(PROBLEM, (), step(code, "1"))
    assert (verdict.truth, verdict.reason) == ("undecided", "python:fails")


def test_a_snippet_that_never_ends_is_undecided(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "SECONDS", 1)
    assert example.judge(PROBLEM, (), step("while True:\n    pass", "1")).reason == "python:fails"


def test_other_steps_are_not_its_business(panel: Panel) -> None:
    for text in ("2 + 2 = 4", "```\nprint(1)\n```", step("print(1)", "1") + step("print(2)", "2"), ""):
        assert panel.judge(PROBLEM, (), text).reason == "python:nothing_to_check"


def test_snippets_see_neither_our_files_nor_our_environment(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lists out of the way: the process itself is closed, too."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setattr(
        example, "RUNNER", example.RUNNER.replace("dict(__builtins__=allowed, math=math)", "{}")
    )
    status, printed = example.run("import os\nprint(sorted(os.environ))")
    assert status == 0 and "SECRET_TOKEN" not in printed
    assert example.run("open('/etc/hostname')")[0] == 1, "no further file can be opened"
    if sys.platform == "linux":
        assert example.run("print('x' * 10 ** 6, flush=True)")[0] != 0, "nor much be written"
