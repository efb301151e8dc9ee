"""Runs what a page shows as a session, and compares what comes out with what the page shows.

    python scripts/page_outputs.py docs/tutorial.md            compares, numbers included; status 1 if anything differs
    python scripts/page_outputs.py docs/tutorial.md --write    puts what came out in place of what was there

A session is a block of the language `console`: lines that begin with ``$`` are commands (a backslash continues one), what
follows is their output. All sessions of a page run in order in one new folder; a command that ends with ``&`` goes on in
the background until the end. A line ``…`` stands for any lines. Numbers are those of one machine and one version of
PyTorch; the tests run reduced forms of the same commands and compare the words.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WIDTH = "96"
ANYTHING = "…"
_SESSION = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


class Shown(NamedTuple):
    """A command of a session (its line as it is written) and the lines that follow it."""

    written: str
    output: list[str]

    @property
    def command(self) -> str:
        """The command on one line."""
        return self.written.removeprefix("$ ").replace("\\\n", " ")


def session(body: str) -> list[Shown]:
    """Return the commands of a block with their outputs."""
    found: list[Shown] = []
    for line in body.splitlines():
        if found and found[-1].written.endswith("\\"):
            found[-1] = Shown(f"{found[-1].written}\n{line}", [])
        elif line.startswith("$ "):
            found.append(Shown(line, []))
        else:
            found[-1].output.append(line)
    return found


def sessions(text: str) -> list[list[Shown]]:
    """Return the sessions of a page."""
    return [session(body) for body in _SESSION.findall(text)]


def matches(shown: list[str], output: list[str]) -> bool:
    """Say whether the output is what is shown, but for seconds; ``…`` stands for any lines."""
    shown, output = (
        [re.sub(r'("seconds": ?)[\d.e-]+', r"\g<1>0", line) for line in one] for one in (shown, output)
    )
    pattern = "".join(r"(?:.*\n)*" if line.strip() == ANYTHING else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in output)) is not None


def words(lines: list[str]) -> set[str]:
    """Return the words of an output: what is left where numbers, and how a table breaks its lines, may differ."""
    return {
        word
        for line in lines
        for word in re.findall(r"[^\W\d_][^\W\d]*", re.sub(r"\b[0-9a-f]{64}\b", "", line))
    } - {"t"}


def ran(command: str, folder: Path, background: list[subprocess.Popen[str]]) -> list[str]:
    """Run a command and return the lines of what it says."""
    environment = os.environ | {
        "COLUMNS": WIDTH,
        "NO_COLOR": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    print("$", command, flush=True)
    if command.endswith("&"):
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {command[:-1]}"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        background.append(process)
        assert process.stdout is not None
        return [process.stdout.readline().rstrip()]  # it is ready when it has said something
    started = time.monotonic()
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(f"  {time.monotonic() - started:.0f} s, status {done.returncode}", flush=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def main() -> None:
    """Run the sessions of a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true", help="rewrite the outputs")
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    background: list[subprocess.Popen[str]] = []
    differences = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            for body in _SESSION.findall(text):
                now = []
                for shown in session(body):
                    output = ran(shown.command, Path(folder), background)
                    if not matches(shown.output, output):
                        differences += 1
                        print(*output, sep="\n")
                        if ANYTHING in shown.output:
                            output = [*output[: shown.output.index(ANYTHING)], ANYTHING]
                        shown = Shown(shown.written, output)
                    now += [shown.written, *shown.output]
                if options.write:
                    text = text.replace(f"```console\n{body}```", "```console\n" + "\n".join(now) + "\n```")
        finally:
            for process in background:
                process.terminate()
                process.wait()
    if options.write:
        options.page.write_text(text, encoding="utf-8")
    elif differences:
        sys.exit(f"{differences} outputs of {options.page} are not what comes out")


if __name__ == "__main__":
    main()
