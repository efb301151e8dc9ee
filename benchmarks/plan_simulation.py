"""Does `sparring plan --simulate` foresee how long a pool of Ray actors takes? Artificial work of known time.

    python benchmarks/plan_simulation.py

Four actors sleep for given times, through the package's own pool (`pool/ray_pool.py`) on a cluster of this machine. Arms:

    even          every task 0.1 s
    uneven        log-normal lengths with mean 0.1 s, spread 0.6
    in order      spread 1.2, and only two batches per actor read ahead: everybody waits for the oldest
    failures      as uneven, and at random moments (every 12 s of an actor's life on average) one is killed, by SIGKILL

The prediction is `planning/simulation.py` with the very lengths of the run, made and written down (`--predictions`) before
any cluster is started. What nobody can know beforehand is set beforehand: `OVERHEAD` for what Ray needs per task, `START`
for another actor to stand in for one that was killed. With failures the moments are random in both: the prediction is the
middle and the central 90 % of many simulations. Aim: measured within 10 % of the prediction, with failures within the 90 %.

Seconds are wall time from the first task's beginning to the last one's end, told by the actors. Writes
`plan_simulation.json` and `.md` into the results folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparring.files import atomic_write_text
from sparring.planning.simulation import Pool, lengths_of, simulate
from sparring.runs import machine, source_commit, versions

ACTORS, TASKS, MEAN = 4, 300, 0.1
OVERHEAD, START = 0.003, 2.0
SIMULATIONS = 400
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Arm:
    """One kind of work.

    Attributes:
        name: of it.
        spread: of the lengths.
        in_flight: batches per actor that are read ahead.
        between_failures: mean seconds of an actor; 0: none is killed.
    """

    name: str
    spread: float
    in_flight: int = 4
    between_failures: float = 0.0

    def lengths(self, seed: int) -> list[float]:
        """Return the seconds of every task."""
        return lengths_of(TASKS, MEAN, self.spread, 100 * MEAN, random.Random(f"{self.name}/{seed}"))

    def predict(self, seed: int) -> tuple[float, float, float]:
        """Return the middle and the central 90 % of the simulated seconds."""
        lengths = [length + OVERHEAD for length in self.lengths(seed)]
        pool = Pool(
            engines=ACTORS,
            ahead=1,
            window=self.in_flight * ACTORS,
            start=START,
            between_failures=self.between_failures,
        )
        runs = SIMULATIONS if self.between_failures else 1
        found = sorted(simulate(lengths, pool, random.Random(run)).seconds for run in range(runs))
        return statistics.median(found), found[runs // 20], found[-1 - runs // 20]


ARMS = (
    Arm("even", 0.0),
    Arm("uneven", 0.6),
    Arm("in order", 1.2, in_flight=2),
    Arm("failures", 0.6, between_failures=12.0),
)


@dataclass(frozen=True)
class Sleeping:
    """Makes a worker that sleeps; it leaves its process's number in a folder."""

    folder: str

    def __call__(self) -> SleepingWorker:
        """Return the worker."""
        (Path(self.folder) / str(os.getpid())).touch()
        return SleepingWorker()


class SleepingWorker:
    """Sleeps for the seconds that it is given, and says from when until when."""

    identity, about = "", "sleeping"

    def __call__(self, values: Sequence[float]) -> list[tuple[float, float]]:
        """Return the beginning and the end of every sleep."""
        spans = []
        for seconds in values:
            begun = time.time()
            time.sleep(seconds)
            spans.append((begun, time.time()))
        return spans


def measure(arm: Arm, seed: int) -> dict[str, Any]:
    """Run the work on a cluster of this machine; return its seconds."""
    from sparring.pool import Item, PoolSettings
    from sparring.pool.ray_pool import RayPool

    settings = PoolSettings(
        actors=ACTORS, cpus_per_actor=0.25, gpus_per_actor=0, in_flight=arm.in_flight, deaths=99
    )
    killed: list[float] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder, RayPool(Sleeping(folder), settings) as pool:

        def kill() -> None:
            rng = random.Random(f"killer/{seed}")
            while not over.wait(rng.expovariate(ACTORS / arm.between_failures)):
                alive = [int(one.name) for one in Path(folder).iterdir()]
                if alive:
                    victim = rng.choice(alive)
                    (Path(folder) / str(victim)).unlink()
                    os.kill(victim, signal.SIGKILL)
                    killed.append(time.time())

        killer = threading.Thread(target=kill, daemon=True)
        spans = []
        batches = ([Item(str(n), str(n), length)] for n, length in enumerate(arm.lengths(seed)))
        for _, span in pool.map(batches):
            if not spans and arm.between_failures:
                killer.start()
            spans.append(span)
        over.set()
    assert len(spans) == TASKS
    begun, ended = min(first for first, _ in spans), max(last for _, last in spans)
    return {
        "seconds": ended - begun,
        "work": sum(last - first for first, last in spans),
        "killed": [moment - begun for moment in killed],
    }


def main() -> int:
    """Predict, write the predictions down, measure, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--predictions", action="store_true", help="stop when the predictions are written")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for arm in ARMS:
        for seed in SEEDS:
            middle, low, high = arm.predict(seed)
            rows.append({"arm": asdict(arm), "seed": seed, "predicted": middle, "low": low, "high": high})
    write(rows, arguments.out)
    if arguments.predictions:
        return 0
    for arm, row in zip([arm for arm in ARMS for _ in SEEDS], rows, strict=True):
        row["measured"] = measure(arm, row["seed"])
        print(
            f"{arm.name} {row['seed']}: {row['measured']['seconds']:.2f} s, predicted {row['predicted']:.2f}"
        )
        write(rows, arguments.out)
    return 0


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the records and the table."""
    content = {
        "rows": rows,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {"actors": ACTORS, "tasks": TASKS, "mean": MEAN, "overhead": OVERHEAD, "start": START},
        "commit": source_commit(),
        "versions": versions(),
        "machine": machine(),
    }
    atomic_write_text(out / "plan_simulation.json", json.dumps(content, indent=1) + "\n")
    lines = [
        "# A simulated pool against pools of Ray actors",
        "",
        f"{ACTORS} actors, {TASKS} tasks of {MEAN} s on average that sleep; wall time from the first one's beginning "
        f"to the last one's end. Set beforehand: {OVERHEAD} s per task for Ray, {START} s for an actor in place of a "
        "killed one.",
        "",
        "| arm | seed | predicted, s [90 %] | measured, s | off | actors killed |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        predicted = f"{row['predicted']:.2f}"
        if row["arm"]["between_failures"]:
            predicted += f" [{row['low']:.2f}, {row['high']:.2f}]"
        found = row.get("measured")
        cells = (
            f"{found['seconds']:.2f} | {row['predicted'] / found['seconds'] - 1:+.1%} | {len(found['killed'])}"
            if found
            else "– | – | –"
        )
        lines.append(f"| {row['arm']['name']} | {row['seed']} | {predicted} | {cells} |")
    lines += ["", "Made by `python benchmarks/plan_simulation.py`.", ""]
    atomic_write_text(out / "plan_simulation.md", "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
