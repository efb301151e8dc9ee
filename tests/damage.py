"""Runs of every long command, whole, stopped and gone on with; and what can be done to their files.

`python tests/damage.py 200` damages 200 files of an unfinished and a finished run of each command and prints what came
of it.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

import rl_data
import supervised_data
from sparring.errors import SparringError
from sparring.evaluation import scores
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.labels.command import run_label
from sparring.labels.provers import load_engines
from sparring.labels.settings import LabelSettings
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl import train_rl
from sparring.training.supervised import train_supervised

Make = Callable[[Path, int | None], None]
"""Makes or goes on with a run in a folder; stops it, as a kill would, after so many pieces of work."""

# All that an unbroken run and one that was killed may differ in: what depends on the machine's speed, and digests of it.
TIMED = {"seconds", "cpu_seconds", "tokens_per_second", "peak_memory", "new_rollouts"}
OF_TIMED = {"state_digest", "logs"}


class StopError(Exception):
    """Stands for a kill."""


@dataclass(frozen=True)
class Run:
    """A command: how to run it, and after how many pieces of work to stop it for an unfinished run."""

    make: Make
    stop: int


def stopping(after: int | None) -> Callable[..., None]:
    """A function that may be called so many times."""
    left = [after]

    def call(*_: object) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise StopError

    return call


def runs(folder: Path, tiny: Path) -> dict[str, Run]:
    """The commands, in small, with what they need in `folder`."""
    data = supervised_data.data_file(folder, supervised_data.separable_traces(12, 1))
    prm = rl_data.random_prm(tiny, folder / "prm")
    quiet = Console(file=StringIO())

    def trained(work: Callable[..., object], settings: Any) -> Make:
        def make(out: Path, stop: int | None) -> None:
            work(settings, out, resume=True, progress=stopping(stop))

        return make

    def aprm() -> Make:
        fields = {
            "backbone": str(tiny),
            "updates": 2,
            "prm_warm_steps": 1,
            "adversary_warm_steps": 1,
            "rise_steps": 0,
        }
        fields |= {
            "states_per_update": 2,
            "samples_per_state": 2,
            "replayed_states": 1,
            "checkpoint_every": 1,
        }
        return trained(
            train_aprm, AprmSettings.model_validate(fields | {"snapshot_every": 1, "device": "cpu"})
        )

    def supervised(kind: str) -> Make:
        changes = {"epochs": 3, "evaluate_every": 1, "checkpoint_every": 1, "batch_traces": 4}
        return trained(train_supervised, supervised_data.quick(kind, tiny, data, **changes))

    def rl() -> Make:
        changes = {"credit": "soft_min", "prm": str(prm)}
        changes |= {"watch_every": 1, "checkpoint_every": 1, "watch_problems": 2, "updates": 3}
        changes |= {"problems_per_update": 2, "samples_per_problem": 2}
        return trained(train_rl, rl_data.small(tiny, **changes))

    def label(out: Path, stop: int | None) -> None:
        fields = {
            "problems": 3,
            "n_cov": 2,
            "n_mc": 4,
            "chain_steps": (1, 2),
            "max_new_tokens": 60,
            "batch": 2,
        }
        settings = LabelSettings.model_validate(
            fields | {"device": "cpu", "adaptive": True, "adaptive_first": 2}
        )
        engines = load_engines(settings)
        count, sample = stopping(stop), engines[1].sample

        def counted(*arguments: Any, **named: Any) -> Any:
            count()
            return sample(*arguments, **named)

        with mock.patch.object(engines[1], "sample", counted):
            run_label(settings, out, quiet, engines)

    def scoring(work: Callable[[Path], object]) -> Make:
        def make(out: Path, stop: int | None) -> None:
            out.mkdir(parents=True, exist_ok=True)
            count, load = stopping(stop), scores.open_scorer

            def counted(model: Path | None) -> Any:
                scorer: Any = load(model)
                inner = scorer.score
                scorer.score = lambda traces: (count(), inner(traces))[1]
                return scorer

            with (
                mock.patch.object(scores, "open_scorer", counted),
                mock.patch.object(scores, "BATCH", 2),
            ):
                work(out)

        return make

    def score(out: Path) -> object:
        return scores.score_file(prm, data, out=out / "scores.jsonl", console=quiet)

    def evaluation(out: Path) -> object:
        settings = ProcessbenchSettings(data=[data], model=prm, resamples=20)
        return evaluate_processbench(settings, out, console=quiet)

    return {
        "train aprm": Run(aprm(), 2),
        "train prm": Run(supervised("prm"), 4),
        "train value": Run(supervised("value"), 2),
        "train rl": Run(rl(), 2),
        "label": Run(label, 4),
        "score": Run(scoring(score), 3),
        "eval processbench": Run(scoring(evaluation), 3),
    }


def stopped(run: Run, out: Path, after: int | None = None) -> None:
    """Make an unfinished run."""
    try:
        run.make(out, run.stop if after is None else after)
    except StopError:
        return
    raise AssertionError("the run ended before it could be stopped")


def comparable(out: Path) -> dict[str, object]:
    """What a run wrote, file by file, without what may differ (`TIMED`, `OF_TIMED`)."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): _content(path) for path in files}


def _content(path: Path) -> object:
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        return [
            _timeless(json.loads(line)) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])
        ]
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _timeless(item)
        for key, item in value.items()
        if key.rpartition(".")[2] not in TIMED and key not in OF_TIMED
    }


# --- damage ----------------------------------------------------------------------------------------------------------

RUBBISH = {
    "a list": b"[]",
    "nested deeply": b"[" * 100_000,
    "nested deeply in a key": b'{"step": ' + b"[" * 100_000,
    "not UTF-8": b'{"step": "\xff\xfe"}',
    "another object": b'{"step": 1}',
    "null": b"null",
    "a number of many digits": b'{"step": ' + b"9" * 10_000 + b"}",
    "binary zeros": bytes(300),
}
WRONG = (None, True, -1, 10**6, 0.5, float("nan"), "x", [], {}, [[1]])


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file in one of many ways; return how."""
    ways = [_flip, _truncate, _empty, _delete, _rubbish, _append]
    ways += {".json": [_wrong_value] * 4, ".jsonl": [_lines] * 4, ".safetensors": [_tensors] * 4}.get(
        path.suffix, []
    )
    return rng.choice(ways)(path, rng)


def _flip(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes()) or bytearray(1)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return "bit flipped"


def _truncate(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) or 1)])
    return "truncated"


def _empty(path: Path, rng: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def _delete(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "deleted"


def _rubbish(path: Path, rng: random.Random) -> str:
    name = rng.choice(list(RUBBISH))
    path.write_bytes(RUBBISH[name])
    return f"replaced ({name})"


def _append(path: Path, rng: random.Random) -> str:
    path.write_bytes(
        path.read_bytes() + rng.choice([b"\n", b"{}\n", b"\x00", b'{"step": 99}\n', b"no JSON\n"])
    )
    return "appended to"


def _wrong_value(path: Path, rng: random.Random) -> str:
    content = json.loads(path.read_bytes())
    holders: list[Any] = [content]
    while isinstance(content, dict) and rng.random() < 0.5:
        inner = [value for value in content.values() if isinstance(value, (dict, list)) and value]
        if not inner:
            break
        content = rng.choice(inner)
        holders.append(content)
    holder = holders[-1]
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if rng.random() < 0.3:
        del holder[key]
    else:
        holder[key] = rng.choice([wrong for wrong in WRONG if wrong != holder[key]])
    path.write_text(json.dumps(holders[0]))
    return "a value changed or gone"


def _lines(path: Path, rng: random.Random) -> str:
    lines = path.read_bytes().splitlines(keepends=True) or [b"\n"]
    place = rng.randrange(len(lines))
    way = rng.choice(["repeated", "removed", "exchanged", "all repeated", "the first removed"])
    if way == "repeated":
        lines.insert(rng.randrange(len(lines) + 1), lines[place])
    elif way == "removed":
        del lines[place]
    elif way == "exchanged":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines = lines * 2 if way == "all repeated" else lines[1:]
    path.write_bytes(b"".join(lines))
    return f"lines {way}"


def _tensors(path: Path, rng: random.Random) -> str:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = rng.choice(sorted(tensors))
    way = rng.choice(["dropped", "reshaped", "NaN", "of another type", "renamed", "all of a group dropped"])
    tensor = tensors.pop(name)
    if way == "all of a group dropped":
        tensors = {key: value for key, value in tensors.items() if key.split("|")[0] != name.split("|")[0]}
    elif way == "renamed":
        tensors[f"{name}x"] = tensor
    elif way == "reshaped":
        tensors[name] = tensor.reshape(1, *tensor.shape)
    elif way == "NaN":
        tensors[name] = torch.full_like(tensor, float("nan"))
    elif way == "of another type":
        tensors[name] = tensor.double()
    save_file(tensors, path, metadata)
    return f"a tensor {way}"


def outcome(run: Run, out: Path, expected: dict[str, object]) -> str:
    """Go on with a damaged run; return what came of it."""
    try:
        run.make(out, None)
    except SparringError as error:
        assert "\n" not in str(error).strip(), str(error)
        return "refused"
    except Exception as error:
        return f"TRACEBACK {type(error).__name__}: {error}"
    found = comparable(out)
    # A journal is no result: what stands in it twice stays there, and counts once.
    names = {*found, *expected} - {"journal.jsonl"}
    different = sorted(name for name in names if found.get(name) != expected.get(name))
    return f"DIFFERENT {different}" if different else "the same"


@dataclass
class Prepared:
    """A command's run, unfinished and finished, and what it should leave."""

    run: Run
    unfinished: Path
    finished: Path
    expected: dict[str, object]


def prepared(run: Run, folder: Path) -> Prepared:
    """Make an unfinished and a finished run."""
    stopped(run, folder / "unfinished")
    run.make(folder / "finished", None)
    return Prepared(run, folder / "unfinished", folder / "finished", comparable(folder / "finished"))


def trials(made: Prepared, source: Path, out: Path, count: int, seed: str) -> Iterator[tuple[str, str, str]]:
    """Damage files of copies of a run, one each; yield (file, damage, outcome)."""
    rng = random.Random(seed)
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    states = [
        file for file in files if file.name in ("state.json", "state.safetensors") or file.suffix == ".jsonl"
    ]
    for _ in range(count):
        shutil.copytree(source, out)
        file = rng.choice(states if states and rng.random() < 0.7 else files)
        how = damage(out / file, rng)
        yield str(file), how, outcome(made.run, out, made.expected)
        shutil.rmtree(out)


def main(count: int) -> None:
    """Print a table of what came of many damages."""
    from transformers import LlamaForCausalLM

    from sparring.worlds.chain_model import build_tokenizer, tiny_config

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = build_tokenizer()
        torch.manual_seed(0)
        LlamaForCausalLM(tiny_config(len(tokenizer), width=32, layers=2)).save_pretrained(folder / "tiny")
        tokenizer.save_pretrained(folder / "tiny")
        for command, run in runs(folder, folder / "tiny").items():
            made = prepared(run, folder / command)
            for source in (made.unfinished, made.finished):
                table: Counter[str] = Counter()
                for file, how, came in trials(
                    made, source, folder / "trial", count, f"{command} {source.name}"
                ):
                    known = came in ("refused", "the same")
                    table[came if known else "WRONG"] += 1
                    if not known:
                        print(f"  {command}, {file}, {how}: {came}", flush=True)
                print(f"{command}, {source.name}: {dict(table)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
