"""Does `sparring plan --simulate` foresee how long a pool of Ray actors takes? Artificial work of known time.

    python benchmarks/plan_simulation.py

Four actors sleep for given times, through the package's own pool (`pool/ray_pool.py`) on a cluster of this machine. Arms:

    even          every task 0.4 s
    uneven        log-normal lengths with mean 0.4 s, spread 0.6
    in order      spread 1.2, and only two batches per actor read ahead: everybody waits for the oldest
    failures      as uneven, and at random moments (every 40 s of an actor's life on average) one is killed, by SIGKILL

The prediction is `planning/simulation.py` with the very lengths of the run, made and written down before the run; what Ray
needs per task was set before all (`OVERHEAD`), what an actor needs to stand in for a killed one is what the actors of the
arms before needed to start. With failures the moments are random in both: the prediction is the middle and the central 90 %
of many simulations. Aim: measured within 10 % of the prediction, with failures within the 90 %.

On a crowded machine a sleep takes longer than it should; the column `with the sleeps as they were` simulates again with
the lengths that the actors measured, so that what queueing explains and what the machine does stand apart.

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

from publishing import RESULTS, table
from sparring.files import atomic_write_text
from sparring.planning.simulation import Pool, lengths_of, simulate
from sparring.runs import machine, source_commit, versions

ACTORS, TASKS, MEAN = 4, 100, 0.4
OVERHEAD = 0.003
SIMULATIONS = 400
SEEDS = (0, 1)


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

    def predict(self, lengths: Sequence[float], start: float) -> tuple[float, float, float]:
        """Return the middle and the central 90 % of the simulated seconds."""
        pool = Pool(
            engines=ACTORS,
            ahead=1,
            window=self.in_flight * ACTORS,
            start=start,
            between_failures=self.between_failures,
        )
        runs = SIMULATIONS if self.between_failures else 1
        lengths = [length + OVERHEAD for length in lengths]
        found = sorted(simulate(lengths, pool, random.Random(run)).seconds for run in range(runs))
        return statistics.median(found), found[runs // 20], found[-1 - runs // 20]


ARMS = (
    Arm("even", 0.0),
    Arm("uneven", 0.6),
    Arm("in order", 1.2, in_flight=2),
    Arm("failures", 0.6, between_failures=40.0),
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
        asked = time.time()
        for _, span in pool.map(batches):
            if not spans and arm.between_failures:
                killer.start()
            spans.append(span)
        over.set()
    assert len(spans) == TASKS
    begun, ended = min(first for first, _ in spans), max(last for _, last in spans)
    return {
        "seconds": ended - begun,
        "start": begun - asked,
        "lengths": [last - first for first, last in spans],
        "killed": [moment - begun for moment in killed],
    }


def main() -> int:
    """Predict, write the predictions down, measure, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    starts: list[float] = []
    for arm in ARMS:
        for seed in SEEDS:
            start = statistics.median(starts) if arm.between_failures else 0.0
            middle, low, high = arm.predict(arm.lengths(seed), start)
            rows.append(
                {
                    "arm": asdict(arm),
                    "seed": seed,
                    "start": start,
                    "predicted": middle,
                    "low": low,
                    "high": high,
                }
            )
            write(rows, arguments.out)
            found = rows[-1]["measured"] = measure(arm, seed)
            starts.append(found["start"])
            if not arm.between_failures:
                rows[-1]["explained"] = arm.predict(found["lengths"], 0.0)[0]
            write(rows, arguments.out)
            print(f"{arm.name} {seed}: {found['seconds']:.2f} s, predicted {middle:.2f}", flush=True)
    return 0


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the records and the table."""
    content = {
        "rows": rows,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {"actors": ACTORS, "tasks": TASKS, "mean": MEAN, "overhead": OVERHEAD},
        "commit": source_commit(),
        "versions": versions(),
        "machine": machine(),
    }
    atomic_write_text(out / "plan_simulation.json", json.dumps(content, indent=1) + "\n")
    atomic_write_text(out / "plan_simulation.md", page(rows, source_commit()))


def page(rows: list[dict[str, Any]], commit: str | None) -> str:
    """Return the page with the table."""
    lines = [
        "# A simulated pool against pools of Ray actors",
        "",
        f"{ACTORS} actors, {TASKS} tasks of {MEAN} s on average that sleep; wall time from the first one's beginning to "
        f"the last one's end. Predictions were written down before each run, with {OVERHEAD} s per task for Ray.",
        "",
    ]
    cells = []
    for row in rows:
        predicted = f"{row['predicted']:.2f}"
        if row["arm"]["between_failures"]:
            predicted += f" [{row['low']:.2f}, {row['high']:.2f}]"
        found = row.get("measured")
        measured = ["–"] * 5
        if found:
            seconds, explained = found["seconds"], row.get("explained")
            measured = [f"{seconds:.2f}", f"{row['predicted'] / seconds - 1:+.1%}"]
            measured += [f"{explained:.2f}", f"{explained / seconds - 1:+.1%}"] if explained else ["–", "–"]
            measured.append(str(len(found["killed"])))
        cells.append([row["arm"]["name"], str(row["seed"]), predicted, *measured])
    heads = ["arm", "seed", "predicted, s [90 %]", "measured, s", "off", "with the sleeps as they were, s"]
    lines.append(table([*heads, "off", "actors killed"], cells))
    at = (
        f"Commit: {commit}."
        if commit
        else "No commit: the pool's code had not landed when this was measured."
    )
    lines += [f"{at} Made by `python benchmarks/plan_simulation.py`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
