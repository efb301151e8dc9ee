"""Every long command, killed with SIGKILL again and again, ends with the files of one that was left alone.

    python scripts/kill_test.py                                  10 kills of every command
    python scripts/kill_test.py --kills 100 --only "train rl"    more, of one
    python scripts/kill_test.py --table kills.md                 also writes the table

Half of the kills come at a random moment, the others at a random change of a file: in the instant before something is
opened for writing, renamed, removed or cut, chosen among all such instants of a whole run, so that the rename of a
checkpoint and the end of a journal are met, too. After each kill the command is called again as its last words say; after
the last kill it is let finish. Compared is every file but HTML pages, without what depends on the machine's speed. Status 1
where one differs, or where no kill met a command.

Not here: power cuts (nothing unsynced is lost by SIGKILL), servers, jobs on several machines.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import torch  # noqa: E402

import rl_data  # noqa: E402
import supervised_data  # noqa: E402
from damage import comparable  # noqa: E402
from sparring.files import atomic_write_text  # noqa: E402
from sparring.worlds.chain_model import build_tokenizer, tiny_config  # noqa: E402

PROGRAM = """
import os, signal, sys
place, at, count = os.environ["KILL_PLACE"], int(os.environ["KILL_AT"]), 0
def hook(event, arguments):
    global count
    if event == "open":
        path, _, flags = arguments
        changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        path, changes = arguments[0] if arguments else "", event in ("os.rename", "os.remove", "os.truncate", "os.mkdir")
    if changes and isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(place):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
try:
    from sparring.__main__ import main
    main()
finally:
    if "KILL_COUNT" in os.environ:
        with open(os.environ["KILL_COUNT"], "w") as file:
            file.write(str(count))
"""


@dataclass(frozen=True)
class Job:
    """A command in small: its words, whether it goes on with --resume, whether --out is a file."""

    words: Sequence[str]
    resume: bool = False
    file: str = ""


@dataclass
class Outcome:
    """What came of a command: kills that met it, calls that it took, and the files that differ in the end."""

    command: str
    kills: int = 0
    calls: int = 0
    differ: Sequence[str] = ()
    failed: str = ""


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
    attack = [str(prm), f"backbone={tiny}", "warm_steps=1", "updates=2", "states_per_update=2", "samples_per_state=2",
              "evaluation_states=4", "curve_points=2", "device=cpu"]  # fmt: skip
    return {
        "train prm": Job(["train", "prm", *trained], resume=True),
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
    }


def call(job: Job, out: Path, *, at: int = 0, count: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the command; with `at` it kills itself at that change of a file, and `count` receives how many there are."""
    target = out / job.file if job.file else out
    words = [*job.words, "--out", str(target), *(["--resume"] if job.resume else [])]
    environment = {"KILL_PLACE": str(out), "KILL_AT": str(at), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment |= {} if count is None else {"KILL_COUNT": str(count)}
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def killed(name: str, job: Job, folder: Path, kills: int, rng: random.Random) -> Outcome:
    """Run a command whole, then again with kills, and compare."""
    found = Outcome(name)
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir(parents=True)
    began = time.monotonic()
    if call(job, whole, count=folder / "count").wait():
        found.failed = "the whole run: " + last_line(folder / "whole.log")
        return found
    seconds = time.monotonic() - began
    changes = int((folder / "count").read_text(encoding="ascii"))
    broken.mkdir()
    for number in range(kills):
        at = 0 if number % 2 else rng.randint(1, max(1, changes // (1 + number % 3)))
        process = call(job, broken, at=at)
        found.calls += 1
        if not at:
            try:
                process.wait(rng.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if status == -signal.SIGKILL:
            found.kills += 1
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


def differing(whole: Path, broken: Path) -> list[str]:
    """Return the files that differ, or are in one folder only; HTML pages show times."""
    one, other = (
        {name: timeless(value) for name, value in comparable(place).items() if not name.endswith(".html")}
        for place in (whole, broken)
    )
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def timeless(value: Any) -> Any:
    """Return a file's content without a search's own time, and the commit of a tree that may be edited meanwhile."""
    if isinstance(value, list):
        return [timeless(item) for item in value]
    if isinstance(value, dict):
        kept = {
            key: item for key, item in value.items() if not key.endswith("new_seconds") and key != "commit"
        }
        return {key: timeless(item) for key, item in kept.items()}
    return value


def last_line(log: Path) -> str:
    """Return what a command said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def table(found: Sequence[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    rows = [
        f"| `{one.command}` | {one.kills} | {one.calls} | {one.failed or ', '.join(one.differ) or 'the same files'} |"
        for one in found
    ]
    return "\n".join(["| command | kills | calls | in the end |", "|---|---|---|---|", *rows]) + "\n"


def main(words: list[str] | None = None) -> int:
    """Kill what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="of every command")
    parser.add_argument("--only", nargs="*", default=[], help="commands by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    options = parser.parse_args(words)
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="kill-test-") as place:
        known = jobs(Path(place))
        for name in options.only or known:
            rng = random.Random(f"{options.seed} {name}")
            found.append(
                killed(name, known[name], Path(place) / "runs" / name.replace(" ", "-"), options.kills, rng)
            )
            print(table(found[-1:]).splitlines()[-1], flush=True)
    if options.table is not None:
        atomic_write_text(options.table, table(found))
    kills = sum(one.kills for one in found)
    bad = [one.command for one in found if one.failed or one.differ]
    spared = [one.command for one in found if not one.kills]
    print(f"{kills} kills of {len(found)} commands, {len(bad)} that did not end with the same files")
    if spared:
        print(f"no kill met {', '.join(spared)}: nothing is shown of it")
    return 1 if bad or spared else 0


if __name__ == "__main__":
    sys.exit(main())
