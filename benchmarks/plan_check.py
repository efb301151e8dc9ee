"""Is what `sparring plan` says true? Memory against measured peaks, time against measured runs, on one processor.

    python benchmarks/plan_check.py
    python benchmarks/plan_check.py --jobs score --sizes 10M --out build/plan

Random models of about 10, 50 and 150 million parameters train as PRMs (all weights; adapters; activations computed again),
play the game (adapters; all weights) and score, each in a process of its own, by the package's own functions on solutions
of the chain world.

Memory: the process's peak of resident memory during the updates (the kernel's `VmHWM`, set back before the model is
loaded) less what was resident before, after a run of a tiny model has imported everything. The C library is told to give
freed tensors back at once, so that this is what tensors hold and not what an allocator keeps. The estimate is that of
`planning/memory.py` at the padded rows that occurred. Aim: 10 % off or less.

Time: processor seconds of updates (of a call of the scorer) against the stages of `planning/timing.py`, with the rate of
matrix products that the same process measures before and after, in a second run without that order to the C library. One
utilisation for all jobs and sizes, fixed beforehand: `UTILISATION`. Aim: within a factor of 1.5.

Writes `plan_check.json` and `.md` into the results folder. Every row has the commit that it was measured at; one of the
present commit is not measured again, one of another stays until its job and size are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from publishing import RESULTS, table
from sparring.files import atomic_write_text
from sparring.runs import machine, source_commit, versions

JOBS = {
    "prm": "`train prm`, all weights",
    "prm-lora": "`train prm`, adapters",
    "prm-checkpointing": "`train prm`, all weights, `gradient_checkpointing`",
    "aprm": "`train aprm`, adapters",
    "aprm-full": "`train aprm`, all weights",
    "score": "`score`",
}
SIZES = {  # layers, width, heads, heads of keys and values, feed-forward width, vocabulary
    "10M": (2, 512, 8, 4, 1536, 8192),
    "50M": (12, 512, 8, 4, 1792, 16384),
    "150M": (12, 896, 14, 2, 3072, 24576),
}
TINY = (2, 32, 2, 2, 64, 512)
"""The model of the run that imports everything."""
UTILISATION = 0.7
"""Share of the measured rate of square products that whole updates are taken to reach."""
MAIN = ("prm", "aprm", "score")
"""Jobs whose time is measured too, and the only ones of the largest model."""
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
MOST_OFF = 0.10
ROWS, SAMPLES = 4, 4


def main() -> int:
    """Measure every job and size in processes of their own, and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--repeats", type=int, default=2, help="runs for the time")
    parser.add_argument("--one", nargs=2, metavar=("JOB", "SIZE"), help="measure one in this process")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.one:
        job, size = arguments.one
        print(json.dumps(measure(job, SIZES[size])))
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "plan_check.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    commit = source_commit()
    for size in arguments.sizes:
        for job in arguments.jobs:
            if size == "150M" and job not in MAIN:
                continue
            row = reusable(rows, job, size, commit)
            if row is None:
                rows[:] = [one for one in rows if (one["job"], one["size"]) != (job, size)]
                row = {
                    "job": job,
                    "size": size,
                    "commit": commit,
                    "versions": versions(),
                    "machine": machine(),
                    "memory": in_own_process(job, size, GIVE_BACK),
                    "time": [],
                }
                rows.append(row)
            while job in MAIN and len(row["time"]) < arguments.repeats:
                row["time"].append(in_own_process(job, size, {}))
            print(
                f"{size} {job}: memory {off(row['memory']):+.1%}, time {slower(row['time'])}", file=sys.stderr
            )
            rows.sort(key=lambda one: (list(SIZES).index(one["size"]), list(JOBS).index(one["job"])))
            write(rows, arguments.out)
    return 0


def reusable(rows: list[dict[str, Any]], job: str, size: str, commit: str | None) -> dict[str, Any] | None:
    """Return the row of a job and a size if it was measured at this very commit, with no change to it."""
    if commit is None or commit.endswith("-dirty"):
        return None
    return next(
        (one for one in rows if (one["job"], one["size"], one["commit"]) == (job, size, commit)), None
    )


def in_own_process(job: str, size: str, more: dict[str, str]) -> dict[str, Any]:
    """Return what a fresh process measures."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", job, size],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | more,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def off(memory: dict[str, Any]) -> float:
    """Return how far the estimate is above the measured peak, as a share of the peak."""
    return float(memory["estimate"] / memory["peak"] - 1)


def slower(timed: list[dict[str, Any]]) -> str:
    """Return measured over estimated seconds of every run, the median first."""
    ratios = sorted(run["seconds"] / run["estimated_seconds"] for run in timed)
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the records and the table."""
    content = {"rows": rows, "utilisation": UTILISATION}
    atomic_write_text(out / "plan_check.json", json.dumps(content, indent=1) + "\n")
    atomic_write_text(out / "plan_check.md", page(rows))


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page with the table."""
    within = sum(abs(off(row["memory"])) <= MOST_OFF for row in rows)
    lines = [
        "# Estimates of `sparring plan` against measured runs",
        "",
        "Random models, float32, one thread, each run in a process of its own. Peak: resident memory during the updates, "
        f"less what was resident before. Aim: {MOST_OFF:.0%} off or less; {within} of {len(rows)} are.",
        "",
    ]
    cells = []
    for row in rows:
        memory, timed = row["memory"], row["time"]
        seconds = f"{statistics.median(run['seconds'] for run in timed):.2f}" if timed else "–"
        sizes = [f"{memory[name] / 2**20:.0f}" for name in ("peak", "estimate")]
        cells.append(
            [
                f"{memory['parameters'] / 1e6:.0f} M",
                JOBS[row["job"]],
                *sizes,
                f"{off(memory):+.1%}",
                seconds,
                slower(timed),
                shown(row["commit"]),
            ]
        )
    heads = ["model", "job", "measured peak, MiB", "estimate, MiB", "off", "seconds per update"]
    lines += [
        table([*heads, "of the estimate [range]", "commit"], cells),
        f"Seconds are processor time; estimated at {UTILISATION:g} of the rate of square matrix products that the same "
        "process measures. Commit: what the row was measured at. Made by `python benchmarks/plan_check.py`.",
        "",
    ]
    return "\n".join(lines)


def shown(commit: str | None) -> str:
    """Return a commit in short; words, where it is known only that way, as they are."""
    return re.sub(r"^([0-9a-f]{7})[0-9a-f]{33}", r"\1", commit or "unknown")


# --- one measurement, in its own process ---------------------------------------------------------------------------------


def measure(job: str, size: tuple[int, ...]) -> dict[str, Any]:
    """Run a job on a random model; return its peak and seconds, and what was estimated."""
    import torch

    from sparring.planning.hardware import measured_flops

    torch.set_num_threads(1)
    run: Callable[..., dict[str, Any]] = {"s": run_score, "a": run_aprm, "p": run_prm}[job[0]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(job, make_model(place / "tiny", TINY), place / "tiny-run", 1e9)
        model = make_model(place / "model", size)
        before = measured_flops(clock=time.process_time)
        resident = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        found = run(job, model, place / "run", before)
        after = measured_flops(clock=time.process_time)
    # The estimate was made with the first rate; the better of both is what the processor can do.
    found["estimated_seconds"] *= before / max(before, after)
    return {**found, "peak": found["peak"] - resident, "resident": resident, "flops": [before, after]}


def status(name: str) -> int:
    """Return a number of bytes from the kernel's words on this process."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{name}:")[1].split()[0])


def make_model(folder: Path, size: tuple[int, ...]) -> Path:
    """Write a random model of a size with the chain world's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparring.worlds.chain_model import build_tokenizer

    layers, width, heads, kv_heads, inner, vocabulary = size
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    return folder


def traces(number: int) -> list[Any]:
    """Return right solutions of the chain world, every third step called wrong."""
    from sparring.traces.records import Trace
    from sparring.worlds.chain import generate_problems

    return [
        Trace(
            problem, problem.solution, labels=tuple(float(i % 3 != 2) for i in range(len(problem.solution)))
        )
        for problem in generate_problems(number, seed=1, steps=(6, 6))
    ]


class Enough(Exception):
    """The run has made its updates: what comes after them (checkpoints, the export) is not measured."""


class Watch:
    """Notes, at every update, the peak so far and the processor's time; ends the run after so many."""

    def __init__(self, updates: int, noted: list[Any] | None = None) -> None:
        self.updates, self.noted = updates, [] if noted is None else noted
        self.clock, self.places = [time.process_time()], [0]

    def __call__(self, step: int, record: dict[str, Any]) -> None:
        """Be told of an update."""
        self.clock.append(time.process_time())
        self.places.append(len(self.noted))
        if len(self.clock) > self.updates:
            self.peak = status("VmHWM")
            raise Enough

    def seconds(self) -> float:
        """Return the seconds of the last update."""
        return self.clock[-1] - self.clock[-2]

    def last(self) -> list[Any]:
        """Return what was noted in the last update."""
        return list(self.noted[self.places[-2] :])


def job_of(shape: Any, flops: float, **settings: Any) -> Any:
    """Return a job on this processor, for the stages of `planning/timing.py`."""
    from sparring.planning.fitting import Job
    from sparring.planning.hardware import device_for
    from sparring.planning.settings import PlanSettings

    given = PlanSettings(
        gpus="cpu", training_utilisation=UTILISATION, reading_utilisation=UTILISATION, **settings
    )
    return Job(shape, given, device_for("cpu", flops, 64.0), 1)


def run_prm(job: str, model: Path, out: Path, flops: float) -> dict[str, Any]:
    """Train a PRM for three updates of two passes each."""
    from sparring.planning.fitting import Fit
    from sparring.planning.memory import Training
    from sparring.planning.shapes import find_shape
    from sparring.planning.timing import train
    from sparring.traces.jsonl import write_traces
    from sparring.training import supervised

    data = out.with_suffix(".jsonl")
    write_traces(data, traces(2 * ROWS * 4))
    noted: list[tuple[int, int]] = []

    def note(rows: Any) -> None:
        noted.append((len(rows), max(map(len, rows))))

    watch = Watch(3, noted)
    settings = supervised.PrmSettings(
        data=str(data),
        backbone=str(model),
        adapter="lora" if job == "prm-lora" else "full",
        gradient_checkpointing=job == "prm-checkpointing",
        device="cpu",
        validation_share=0,
        batch_traces=2 * ROWS,
        token_budget=ROWS * 110,
        epochs=100,
        checkpoint_every=1000,
    )
    with suppress(Enough), recording(supervised.StepModel, "log_odds", note):
        supervised.train_supervised(settings, out, progress=watch)
    shape = find_shape(str(model))
    plan = Training(shape, settings.adapter, settings.lora_rank, "float32", settings.gradient_checkpointing)
    rows, row = max(noted, key=lambda one: one[0] * one[1])
    parts = [*plan.standing(), *plan.pass_parts(rows, row)]
    tokens = sum(rows * row for rows, row in watch.last())
    stage = train(job_of(shape, flops), Fit(parts, tokens, rows, plan), "", tokens, row, passes=2)
    return result(watch, parts, stage.seconds, shape)


def run_aprm(job: str, model: Path, out: Path, flops: float) -> dict[str, Any]:
    """Play the game: a warm-up of each player, then two rounds of two passes each."""
    from sparring.planning.fitting import Fit
    from sparring.planning.memory import Training, total
    from sparring.planning.shapes import find_shape
    from sparring.planning.timing import decode, read, train
    from sparring.training import adversary, aprm, game

    noted: list[tuple[str, int, int, int]] = []

    def note(name: str, rows: Any) -> None:
        branches = sum(len(branch) for row in rows for branch in row.branches)
        noted.append((name, len(rows), max(map(len, rows)), branches))

    watch = Watch(4, noted)
    settings = aprm.AprmSettings(
        backbone=str(model),
        adapter="full" if job == "aprm-full" else "lora",
        device="cpu",
        task="chain:steps=6-6",
        prm_warm_steps=1,
        adversary_warm_steps=1,
        updates=100,
        states_per_update=2 * ROWS,
        states_per_pass=ROWS,
        samples_per_state=SAMPLES,
        replayed_states=ROWS,
        checkpoint_every=1000,
    )
    of_prm, of_adversary = (
        recording(module, "collate", partial(note, name))
        for module, name in ((game, "prm"), (adversary, "adversary"))
    )
    with suppress(Enough), of_prm, of_adversary:
        aprm.train_aprm(settings, out, progress=watch)
    shape = find_shape(str(model))
    plan = Training(
        shape,
        settings.adapter,
        16,
        "float32",
        False,
        roles=4,
        trained=2,
        previous=2,
        masked=True,
        policy_head=True,
    )
    passes = [
        plan.pass_parts(rows, row, sampled // rows if name == "adversary" else 0)
        for name, rows, row, sampled in noted
    ]
    parts = [*plan.standing(), *max(passes, key=total)]
    planned = job_of(shape, flops)
    fit = Fit(parts, 0, ROWS, plan, sequences=2 * ROWS * SAMPLES)
    seconds, counted = 0.0, 0
    for name, rows, row, sampled in watch.last():
        tokens, head = rows * row, sampled / (rows * row) if name == "adversary" else 0.0
        reference = read(planned, fit, "", tokens, row, units=rows).seconds
        # The adversary's rows are laid out once for each of the two, the PRM's once for both.
        share = 0.5 if name == "adversary" else 1.0
        trained = train(planned, fit, "", tokens, row, passes=1, head=head).seconds
        seconds += share * (reference + trained)
        counted += share * sampled if name == "adversary" else 0
    seconds += decode(planned, fit, "", counted, row, engine=False).seconds
    return result(watch, parts, seconds, shape)


def run_score(job: str, model: Path, out: Path, flops: float) -> dict[str, Any]:
    """Score solutions in batches of 1024 tokens, three times."""
    import torch

    from sparring.models.checkpoint import LABELS, model_card, save_prm
    from sparring.models.loading import load_new_token_classifier, load_tokenizer
    from sparring.models.scorer import load_scorer
    from sparring.models.sidecar import sidecar_for
    from sparring.planning.fitting import Fit
    from sparring.planning.memory import Part, serving_per_token
    from sparring.planning.shapes import find_shape
    from sparring.planning.timing import read
    from sparring.worlds.chain_model import CHAIN_LAYOUT

    prm = Path(f"{out}-prm")
    plain = load_new_token_classifier(model, LABELS, device=torch.device("cpu"), dtype=torch.float32)
    sidecar = sidecar_for(CHAIN_LAYOUT, max_length=1000)
    card = model_card(title="-", backbone="-", method="-", facts={}, sidecar=sidecar)
    state = plain.state_dict()
    save_prm(
        prm, config=plain.config, state=state, tokenizer=load_tokenizer(model), sidecar=sidecar, card=card
    )
    del plain, state
    found = traces(32)
    Path("/proc/self/clear_refs").write_text("5")
    scorer = load_scorer(prm, device="cpu")
    scorer.batch_tokens = 1024
    noted: list[tuple[int, int]] = []
    score_batch = scorer.score_batch

    def noting(rows: Any) -> Any:
        noted.append((len(rows), max(len(row.input_ids) for row in rows)))
        return score_batch(rows)

    scorer.score_batch = noting  # type: ignore[method-assign]
    watch = Watch(3, noted)
    with suppress(Enough):
        for step in range(3):
            scorer.score(found)
            watch(step, {})
    shape = find_shape(str(prm))
    per_token, said = serving_per_token(shape, "float32")
    rows, row = max(noted, key=lambda one: one[0] * one[1])
    parts = [
        Part("weights", 4 * shape.backbone, f"{shape.backbone} × 4 B"),
        Part("activations", rows * row * per_token, f"{rows} × {row} × {said}"),
    ]
    tokens = sum(rows * row for rows, row in watch.last())
    return result(
        watch, parts, read(job_of(shape, flops), Fit(parts, 0, 1), "", tokens, row, units=rows).seconds, shape
    )


def recording(owner: Any, name: str, note: Callable[[Any], None]) -> AbstractContextManager[object]:
    """Let a function of a module, or of a class, also note the rows that it is given, as long as the context lasts.

    The functions are internal and known by name: `tests/test_benchmarks.py` runs every job, so that one which is renamed
    or no longer called is noticed there.
    """
    inner = getattr(owner, name)
    place = 1 if isinstance(owner, type) else 0

    def noting(*arguments: Any, **named: Any) -> Any:
        note(arguments[place])
        return inner(*arguments, **named)

    return patch.object(owner, name, noting)


def result(watch: Watch, parts: list[Any], estimated_seconds: float, shape: Any) -> dict[str, Any]:
    """Return a measurement as JSON-like values."""
    return {
        "peak": watch.peak,
        "estimate": sum(part.size for part in parts),
        "parts": {part.name: part.size for part in parts},
        "parameters": shape.parameters,
        "seconds": watch.seconds(),
        "estimated_seconds": estimated_seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
