"""Every long command, killed with SIGKILL again and again, ends with the files of one that was left alone.

    python scripts/kill_test.py                                  10 kills of every command
    python scripts/kill_test.py --kills 100 --only "train rl"    more, of one
    python scripts/kill_test.py --record kills.json              also writes them down, beside those that stand there

The first kill comes at the rename of a checkpoint, or of a result where there is none: in the instant before, found in a
whole run. Of the others half come at a random moment, half at a random change of a file, in the instant before something
is opened for writing, renamed, removed or cut. After each kill the command is called again as its last words say; after
the last kill it is let finish. Compared is every file but HTML pages, without what depends on the machine's speed. With
Ray the driver is killed. A server is killed while clients score and search, started again at its port at once, and its
answers are compared. Status 1 where something differs, where no kill met a command, or none met a rename.

Not here: power cuts (nothing unsynced is lost by SIGKILL; `tests/test_power_cuts.py`), jobs on several machines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import httpx  # noqa: E402
import torch  # noqa: E402

import rl_data  # noqa: E402
import supervised_data  # noqa: E402
from damage import comparable  # noqa: E402
from sparring.files import atomic_write_json  # noqa: E402
from sparring.runs import machine, source_commit, versions  # noqa: E402
from sparring.worlds.chain_model import build_tokenizer, tiny_config  # noqa: E402

PROGRAM = """
import json, os, signal, sys
place, at, moments = os.environ["KILL_PLACE"] + os.sep, int(os.environ["KILL_AT"]), []
NAMES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "shutil.rmtree")
def tell():
    with open(os.environ["KILL_MOMENTS"], "w") as file:
        json.dump(moments, file)
def hook(event, arguments):
    path, changes = arguments[0] if arguments else "", event in NAMES
    if event == "open":
        flags = arguments[2]
        changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    elif event == "ctypes.dlsym" and arguments[1] == "renameat2":  # two folders are about to be exchanged
        event, path, changes = "exchange", place, True
    if changes and isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(place):
        moments.append(f"{event} {os.fsdecode(path).removeprefix(place)}".strip())
        if len(moments) == at:
            tell()
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
try:
    from sparring.__main__ import main
    main()
finally:
    tell()
"""


@dataclass(frozen=True)
class Job:
    """A command in small: its words, whether it goes on with --resume, whether --out is a file."""

    words: Sequence[str]
    resume: bool = False
    file: str = ""

    @property
    def server(self) -> bool:
        """Whether it runs until it is told to stop."""
        return self.words[0] == "serve"


@dataclass
class Outcome:
    """What came of a command.

    Attributes:
        kills: that met it.
        met: the changes of a file that kills met, as they were about to be made.
        calls: that it took.
        differ: files, or answers, that are not those of a whole run in the end.
        renames: whether a whole run renames anything.
    """

    command: str
    kills: int = 0
    met: list[str] = field(default_factory=list)
    calls: int = 0
    differ: Sequence[str] = ()
    failed: str = ""
    renames: bool = False

    @property
    def renamed(self) -> int:
        """Kills at a rename."""
        return sum(map(is_rename, self.met))

    @property
    def shown(self) -> bool:
        """Whether it was met by kills, and once at a rename where there is one."""
        return bool(self.kills) and (self.renamed > 0 or not self.renames)


def is_rename(moment: str) -> bool:
    """Whether a file or folder was about to take the place of another, or of nothing."""
    return moment.startswith(("os.rename", "exchange"))


def jobs(folder: Path) -> dict[str, Job]:
    """Return the commands, with the tiny model, PRM and data that they need in `folder`."""
    from transformers import LlamaForCausalLM

    tiny = folder / "tiny"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(len(tokenizer), width=32, layers=2)).save_pretrained(tiny)
    tokenizer.save_pretrained(tiny)
    prm = rl_data.random_prm(tiny, folder / "prm")
    data = supervised_data.data_file(folder, supervised_data.separable_traces(24, 2))
    trained = [f"data={data}", f"backbone={tiny}", "epochs=2", "batch_traces=8", "validation_share=0.25", "lora_rank=4",
               "evaluate_every=2", "checkpoint_every=1", "device=cpu"]  # fmt: skip
    game = [f"backbone={tiny}", "updates=3", "prm_warm_steps=1", "adversary_warm_steps=1", "states_per_update=2",
            "samples_per_state=2", "checkpoint_every=1", "snapshot_every=1", "device=cpu"]  # fmt: skip
    policy = [f"policy={tiny}", f"prm={prm}", "device=cpu"]
    rl = ["credit=soft_min", "updates=3", "problems_per_update=2", "samples_per_problem=2", "watch_problems=2",
          "watch_every=1", "checkpoint_every=1", "max_new_tokens=24"]  # fmt: skip
    search = [
        "problems=3",
        "n=[1,2]",
        "expansions=2",
        "max_steps=3",
        "max_step_tokens=6",
        "max_new_tokens=20",
    ]
    label = [
        "problems=3",
        "n_cov=2",
        "n_mc=4",
        "chain_steps=[1,2]",
        "max_new_tokens=40",
        "batch=2",
        "device=cpu",
    ]
    pool = ["--engine", "ray", "--pool", "actors=2"]
    served = [f"prm={prm}", f"policy={tiny}", "device=cpu", "n=4", "expansions=2", "max_steps=4", "max_step_tokens=12",
              "max_new_tokens=40"]  # fmt: skip
    attack = [str(prm), f"backbone={tiny}", "warm_steps=1", "updates=2", "states_per_update=2", "samples_per_state=2",
              "evaluation_states=4", "curve_points=2", "device=cpu"]  # fmt: skip
    return {
        "train prm": Job(["train", "prm", *trained], resume=True),
        "train orm": Job(["train", "orm", *trained], resume=True),
        "train value": Job(["train", "value", *trained], resume=True),
        "train aprm": Job(["train", "aprm", *game], resume=True),
        "train rl": Job(["train", "rl", *policy, *rl], resume=True),
        "label": Job(["label", *label]),
        "search": Job(["search", *policy, *search]),
        "attack": Job(["attack", *attack]),
        "score": Job(["score", str(prm), str(data)], file="scores.jsonl"),
        "eval processbench": Job(["eval", "processbench", str(data), "--model", str(prm)]),
        "eval calibration": Job(["eval", "calibration", f"data=[{data}]", f"model={prm}"]),
        "eval bon": Job(["eval", "bon", f"data=[{data}]", f"model={prm}"]),
        "score, Ray": Job(["score", str(prm), str(data), *pool], file="scores.jsonl"),
        "label, Ray": Job(["label", *label, *pool]),
        "serve": Job(["serve", *served]),
    }


def call(job: Job, out: Path, *, at: int = 0, port: int = 0) -> subprocess.Popen[bytes]:
    """Start the command; with `at` it kills itself at that change of a file. `moments` tells of all, beside `out`."""
    target = out / job.file if job.file else out
    words = [*job.words, "--out", str(target), *(["--resume"] if job.resume else [])]
    if job.server:
        words = [*job.words, f"port={port}"]
    environment = {"KILL_PLACE": str(out), "KILL_AT": str(at), "KILL_MOMENTS": str(out.parent / "moments")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=os.environ | environment,
            cwd=out if job.server else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def moments(folder: Path) -> list[str]:
    """Return the changes of files that the last call made, or was about to make when it killed itself."""
    found: list[str] = json.loads((folder / "moments").read_text(encoding="utf-8"))
    return found


def killed(name: str, job: Job, folder: Path, kills: int, rng: random.Random) -> Outcome:
    """Run a command whole, then again with kills, and compare."""
    found = Outcome(name)
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir(parents=True)
    began = time.monotonic()
    if call(job, whole).wait():
        found.failed = "the whole run: " + last_line(folder / "whole.log")
        return found
    seconds = time.monotonic() - began
    changes = moments(folder)
    renames = [number for number, one in enumerate(changes, 1) if is_rename(one)]
    checkpoints = [
        number for number in renames if {"checkpoint", "exchange"} & {*re.split(r"\W", changes[number - 1])}
    ]
    found.renames = bool(renames)
    broken.mkdir()
    for number in range(kills):
        at = 0 if number % 2 else rng.randint(1, max(1, len(changes) // (1 + number % 3)))
        if not number and renames:
            at = rng.choice(checkpoints or renames)
        process = call(job, broken, at=at)
        found.calls += 1
        if not at:
            try:
                process.wait(rng.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        status = process.wait()
        if status == -signal.SIGKILL:
            found.kills += 1
            found.met += moments(folder)[-1:] if at else []
        elif status:
            found.failed = last_line(folder / "broken.log")
            return found
        else:  # it was done: from the start again
            found.differ = [*found.differ, *differing(whole, broken)]
            shutil.rmtree(broken)
            broken.mkdir()
    found.calls += 1
    if call(job, broken).wait():
        found.failed = last_line(folder / "broken.log")
        return found
    found.differ = sorted({*found.differ, *differing(whole, broken)})
    return found


# --- a server --------------------------------------------------------------------------------------------------------


def killed_server(name: str, job: Job, folder: Path, kills: int, rng: random.Random) -> Outcome:
    """Kill a server under load again and again; started again at the same port, it should answer as the first did."""
    found, out = Outcome(name), folder / "server"
    out.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    expected: dict[str, Any] = {}
    for number in range(kills + 1):
        process = call(job, out, port=port)
        found.calls += 1
        try:
            while process.poll() is None and not ready(url):
                time.sleep(0.05)
            if process.poll() is not None:
                found.failed = last_line(folder / "server.log")
                return found
            answers = {path: answer(url, path, 0) for path in QUESTIONS}
            expected = expected or answers
            if any(status != 200 for status, *_ in answers.values()):
                found.failed = str(answers)[:300]
                return found
            found.differ = sorted(
                {*found.differ, *(path for path in answers if answers[path] != expected[path])}
            )
            if number == kills:
                break
            load = [threading.Thread(target=asked, args=(url, path, process)) for path in 3 * [*QUESTIONS]]
            for one in load:
                one.start()
            time.sleep(rng.uniform(0.0, 1.5))
            process.kill()
            found.kills += process.wait() == -signal.SIGKILL
            for one in load:
                one.join()
        finally:
            process.kill()
            process.wait()
    found.differ = [*found.differ, *sorted(path.name for path in out.iterdir())]
    return found


QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
STEPS = ["c = b + 5 = 7 + 5 , c is 12", "d = c * b = 12 * 7 , d is 6"]
QUESTIONS: dict[str, dict[str, Any]] = {
    "/v1/score": {"items": [{"problem": QUESTION, "steps": STEPS[:steps]} for steps in (1, 2, 1, 2)]},
    "/v1/search": {"problem": QUESTION, "method": "beam", "n": 4},
}


def ready(url: str) -> bool:
    """Whether a server says that it can be asked."""
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def answer(url: str, path: str, seed: int) -> list[Any]:
    """Return what the server answers, without times and names of requests."""
    more = {"seed": seed} if path == "/v1/search" else {}
    response = httpx.post(f"{url}{path}", json=QUESTIONS[path] | more, timeout=60)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if "{" in line]
    return [response.status_code, *(timeless(json.loads(line)) for line in lines)]


def asked(url: str, path: str, process: subprocess.Popen[bytes]) -> None:
    """Ask again and again, with other seeds, until the server is gone."""
    seed = 0
    while process.poll() is None:
        seed += 1
        try:
            answer(url, path, seed)
        except (httpx.TransportError, ValueError):  # it died before it answered, or in the middle of a line
            continue


# --- comparing -------------------------------------------------------------------------------------------------------


def differing(whole: Path, broken: Path) -> list[str]:
    """Return the files that differ, or are in one folder only; HTML pages show times."""
    one, other = (
        {name: timeless(value) for name, value in comparable(place).items() if not name.endswith(".html")}
        for place in (whole, broken)
    )
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def timeless(value: Any) -> Any:
    """Return a file's content, or an answer, without times, digests over them, and the commit of a tree that may be edited
    meanwhile; a journal's digests were compared with its lines when the command went on."""
    if isinstance(value, list):
        return [timeless(item) for item in value]
    if isinstance(value, dict):
        kept = {
            key: item
            for key, item in value.items()
            if not key.endswith("seconds") and key not in ("check", "commit")
        }
        return {key: timeless(item) for key, item in kept.items()}
    return value


def last_line(log: Path) -> str:
    """Return what a command said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return outcomes, as they are written down, as Markdown."""
    lines = [
        f"| `{row['command']}` | {row['kills']} | {sum(map(is_rename, row['met'])) or '–'} | {row['calls']} | "
        f"{row['failed'] or ', '.join(row['differ']) or 'nothing'} |"
        for row in rows
    ]
    return (
        "\n".join(
            ["| command | kills | at a rename | calls | what differs |", "|---|---|---|---|---|", *lines]
        )
        + "\n"
    )


def written(path: Path, found: Sequence[Outcome], options: argparse.Namespace) -> None:
    """Write outcomes down, in place of those of the same commands; where and with what they were found stands by each."""
    about = {"seed": options.seed, "commit": source_commit(), "versions": versions(), "machine": machine()}
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    new = {one.command for one in found}
    rows = [row for row in before if row["command"] not in new]
    atomic_write_json(path, {"rows": rows + [asdict(one) | about for one in found]})


def main(words: list[str] | None = None) -> int:
    """Kill what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="of every command")
    parser.add_argument("--only", nargs="*", default=[], help="commands by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="JSON file to write the outcomes to")
    options = parser.parse_args(words)
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="kill-test-") as place:
        known = jobs(Path(place))
        for name in options.only or known:
            rng = random.Random(f"{options.seed} {name}")
            work = killed_server if known[name].server else killed
            folder = Path(place) / "runs" / re.sub(r"\W+", "-", name)
            found.append(work(name, known[name], folder, options.kills, rng))
            print(table([asdict(found[-1])]).splitlines()[-1], flush=True)
            if options.record is not None:
                written(options.record, found[-1:], options)
    kills = sum(one.kills for one in found)
    bad = [one.command for one in found if one.failed or one.differ]
    spared = [one.command for one in found if not one.shown]
    print(
        f"{kills} kills of {len(found)} commands, {len(bad)} that did not end with the same files or answers"
    )
    if spared:
        print(f"no kill, or none at a rename, met {', '.join(spared)}: nothing is shown of it")
    return 1 if bad or spared else 0


if __name__ == "__main__":
    sys.exit(main())
