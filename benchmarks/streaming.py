"""How much memory do commands take for a million traces? Peak RSS against the number of traces: it should be flat.

    python benchmarks/streaming.py                                  convert and evaluations up to 1,000,000 traces
    python benchmarks/streaming.py --jobs score --sizes 3000 10000 30000

Data: solutions of the chain world with a label per step, half of them with a planted mistake, made once into the folder
`--folder` as `.jsonl.zst`; past 10,000 they are repeated under other ids. Every job runs in a process of its own, with one
thread:

    convert     to TRL's stepwise supervision, gzip in and Zstandard out
    label       the oracle's word on every step (`mode: oracle`, the world's own oracle), with its journal
    score       a PRM of two layers of width 32 with random weights, with its journal
    evaluate    `eval processbench` on a file of scores, with `--resamples` bootstrap draws

What is measured: the process's high-water mark (VmHWM), of which importing torch and transformers is most; what it is above
the same job on the smallest size, per trace; CPU and wall time. A job that holds traces takes about 3,000 bytes per trace,
so a million would show as 3 GB. The aim is under 100 bytes per trace for convert, label and score, whose only tables are
digests; evaluations hold numbers, and are reported without an aim. Writes `streaming.json` and `.md`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console

from publishing import command_line, publish, table
from sparring.compressed import atomic_lines
from sparring.runs import Metric, read_metrics, source_commit
from sparring.traces.convert import convert
from sparring.worlds.chain import generate_problems

SIZES = (10_000, 100_000, 1_000_000)
DIFFERENT = 10_000  # solutions that are made; more are these under other ids
AIM = 100.0
QUIET = Console(file=io.StringIO())


def main() -> int:
    """Make the data that is missing, measure every job at every size, write both files."""
    parser = command_line(__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sparring-streaming")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=["convert", "label", "evaluate"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--resamples", type=int, default=20)
    parser.add_argument("--child", nargs=2, metavar=("JOB", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return child(options.child[0], int(options.child[1]), options)
    options.folder.mkdir(parents=True, exist_ok=True)
    for size in options.sizes:
        make(options.folder, size)
    metrics = measured(options)
    settings = {"resamples": options.resamples, "threads": 1, "data": "chain world, 3 to 8 steps"}
    publish(options.results, "streaming", metrics, markdown(metrics), settings=settings)
    rates = [metric.value or 0 for name, metric in metrics.items() if name.endswith("bytes_per_trace")
             and not name.startswith("evaluate")]  # fmt: skip
    return 0 if all(rate <= AIM for rate in rates) else 1


def measured(options: argparse.Namespace) -> dict[str, Metric]:
    """Return ``<job>.<traces>.<measure>``, with what earlier calls of this commit measured of other jobs and sizes."""
    metrics = earlier(options.results / "streaming.json", source_commit())
    for job in options.jobs:
        for size in sorted(options.sizes):
            command = [sys.executable, __file__, "--child", job, str(size), "--folder", str(options.folder),
                       "--resamples", str(options.resamples)]  # fmt: skip
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                raise SystemExit(f"{job} of {size} traces failed:\n{made.stderr[-3000:]}")
            found = json.loads(made.stdout.splitlines()[-1])
            print(job, size, found, file=sys.stderr, flush=True)
            name = f"{job}.{size}"
            metrics[f"{name}.peak_rss"] = Metric(found["peak_rss"], n=size, unit="bytes")
            metrics[f"{name}.cpu_seconds"] = Metric(found["cpu"], n=size, unit="s")
            metrics[f"{name}.wall_seconds"] = Metric(found["wall"], n=size, unit="s")
    return with_slopes(metrics)


def earlier(path: Path, commit: str | None) -> dict[str, Metric]:
    """Return a file's metrics if all were measured at this very commit, with no change to it: it has one stamp."""
    if commit is None or commit.endswith("-dirty") or not path.is_file():
        return {}
    stamp = json.loads(path.read_text(encoding="utf-8"))["commit"]
    return read_metrics(path) if stamp == commit else {}


def with_slopes(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Return the metrics with ``bytes_per_trace``: what a job takes above its smallest size, per further trace."""
    found = {name: metric for name, metric in metrics.items() if not name.endswith(".bytes_per_trace")}
    for job in JOBS:
        sizes = sorted(
            int(name.split(".")[1]) for name in metrics if re.fullmatch(rf"{job}\.\d+\.peak_rss", name)
        )
        rss = {size: metrics[f"{job}.{size}.peak_rss"].value or 0.0 for size in sizes}
        for size in sizes[1:]:
            slope = (rss[size] - rss[sizes[0]]) / (size - sizes[0])
            found[f"{job}.{size}.bytes_per_trace"] = Metric(slope, n=size, unit="bytes")
    return found


def child(job: str, size: int, options: argparse.Namespace) -> int:
    """Do one job, and print what it took."""
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        started, cpu = time.perf_counter(), time.process_time()
        JOBS[job](options.folder / f"{size}", Path(place), options)
        found = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu, "peak_rss": peak()}
    print(json.dumps(found))
    return 0


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


# --- data ------------------------------------------------------------------------------------------------------------


def make(folder: Path, size: int) -> None:
    """Make the traces and the scores of them, if they are not there."""
    traces, scores = folder / f"{size}" / "traces.jsonl.zst", folder / f"{size}" / "scores.jsonl.zst"
    if scores.is_file():
        return
    traces.parent.mkdir(exist_ok=True)
    made = [(json.dumps(record), json.dumps(row)) for record, row in solutions(min(size, DIFFERENT))]
    with atomic_lines(scores) as score, atomic_lines(traces) as trace:
        for number in range(size):
            record, row = made[number % DIFFERENT]
            trace(record.replace('"chain-', f'"{number}-chain-', 1).encode() + b"\n")
            name = json.loads(record)["id"]
            score(f'{{"id": "{number}-{name}", "scores": {row}}}\n'.encode())


def solutions(size: int) -> Iterator[tuple[dict[str, Any], list[float]]]:
    """Yield solutions in our form with scores that know of the mistakes, but not all."""
    rng = random.Random(0)
    for start in range(0, size, 1000):
        for problem in generate_problems(min(1000, size - start), steps=(3, 8), seed=0, start=start):
            steps, labels = list(problem.solution or ()), [1.0] * len(problem.solution or ())
            if rng.random() < 0.5:
                place = rng.randrange(len(steps))
                left, _, right = steps[place].rpartition(" ")
                steps[place] = f"{left} {(int(right) + 1) % 13}"
                labels = [*labels[:place], 0.0, *[None] * (len(steps) - place - 1)]  # type: ignore[list-item]
            row = [round(min(1.0, max(0.0, rng.gauss(0.8 if label else 0.4, 0.2))), 4) for label in labels]
            yield {
                "id": problem.id, "problem": problem.question, "answer": problem.answer, "steps": steps,
                "labels": labels, "outcome": 0.0 not in labels,
            }, row  # fmt: skip


# --- jobs ------------------------------------------------------------------------------------------------------------


def run_convert(data: Path, out: Path, options: argparse.Namespace) -> None:
    """Convert."""
    convert(data / "traces.jsonl.zst", out / "trl.jsonl.gz", to="trl_stepwise")


def run_label(data: Path, out: Path, options: argparse.Namespace) -> None:
    """Label by the world's oracle."""
    from sparring.labels.command import label_files
    from sparring.labels.settings import LabelSettings

    settings = LabelSettings(
        data=str(data / "traces.jsonl.zst"), solutions="given", mode="oracle", checker="world"
    )
    label_files(settings, out / "run", QUIET)


def run_score(data: Path, out: Path, options: argparse.Namespace) -> None:
    """Score with a PRM that takes no longer than what is around it."""
    from transformers import LlamaConfig, LlamaForTokenClassification

    from sparring.evaluation.scores import score_file
    from sparring.models import TINY_POLICY
    from sparring.models.checkpoint import LABELS, save_prm
    from sparring.models.loading import load_tokenizer
    from sparring.models.sidecar import sidecar_for
    from sparring.worlds.chain_model import CHAIN_LAYOUT

    tokenizer = load_tokenizer(TINY_POLICY)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=512, id2label=dict(enumerate(LABELS)), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    state = LlamaForTokenClassification(config).state_dict()
    sidecar = sidecar_for(CHAIN_LAYOUT, max_length=config.max_position_embeddings)
    save_prm(out / "prm", config=config, state=state, tokenizer=tokenizer, sidecar=sidecar, card="")
    score_file(out / "prm", data / "traces.jsonl.zst", out=out / "scores.jsonl", console=QUIET)


def run_evaluate(data: Path, out: Path, options: argparse.Namespace) -> None:
    """Evaluate precomputed scores."""
    from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench

    settings = ProcessbenchSettings(
        data=[data / "traces.jsonl.zst"], scores=[data / "scores.jsonl.zst"], resamples=options.resamples
    )
    evaluate_processbench(settings, out / "run", console=QUIET)


JOBS: dict[str, Callable[[Path, Path, argparse.Namespace], None]] = {
    "convert": run_convert, "label": run_label, "score": run_score, "evaluate": run_evaluate,
}  # fmt: skip


def markdown(metrics: dict[str, Metric]) -> str:
    """Return the page with the table."""
    rows = []
    for job, size in sorted({(job, int(size)) for job, size, _ in (name.split(".") for name in metrics)}):
        name = f"{job}.{size}"
        rss, cpu = metrics[f"{name}.peak_rss"].value or 0, metrics[f"{name}.cpu_seconds"].value or 0
        above = metrics.get(f"{name}.bytes_per_trace", Metric(None)).text(1, ".0f")
        rows.append([job, f"{size:,}", f"{rss / 1e6:.0f}", above, f"{cpu:.0f}", f"{size / cpu:,.0f}"])
    heads = ["job", "traces", "peak RSS, MB", "above the smallest, bytes per trace", "CPU, s"]
    return (
        "# Memory against the number of traces\n\nPeak RSS of one process, one thread; made by "
        f"`benchmarks/streaming.py`.\n\n{table([*heads, 'traces per CPU second'], rows)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
