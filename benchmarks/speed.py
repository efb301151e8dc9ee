"""How fast is Sparring? Every measure as a ratio against a named peer in the same run on the same machine.

    python benchmarks/speed.py                   every row that is not measured yet at this commit; at most 12 minutes
    python benchmarks/speed.py --only scoring    one row, measured anew
    python benchmarks/speed.py --quick           few rounds and small cases: does it run?
    python benchmarks/speed.py --page            the tables from the records, nothing is measured

Rows stand in `speed_rows/`, each is measured in a process of its own with one thread. Its arms run in turn; a ratio is
taken within a round, and told as its median over the rounds with the range, for processor time (what counts on a machine
that others use) and for wall time. What is measured is kept by row in `runs/speed`, so that a killed run goes on; the
results are `speed.json` and `speed.md`. Rows against trl need an interpreter that has
it (--peer-python), the row `game` git and the commit that it compares with, the row `oracles` GSM8K; a row that cannot be
measured is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from publishing import DATA, ROOT, command_line, publish, table
from sparring.files import atomic_write_json
from sparring.runs import Metric, machine, versions

BASE = "cf4eb63"
"""The commit with which the game is compared."""
ROWS = {
    "starting": "starting:starting",
    "oracles": "starting:oracles",
    "labels": "starting:labels",
    "scoring": "reading:scoring",
    "search": "reading:search",
    "rollouts": "reading:rollouts",
    "prm": "training:prm",
    "rl": "training:rl",
    "game": "training:game",
    "four_models": "training:four_models",
    "budget": "training:budget",
}
NEEDS_TRL = ("prm", "rl")
ROUNDS = 5


def main() -> int:
    """Measure what is missing, write the results, return the exit status."""
    parser = command_line(__doc__)
    parser.add_argument("--only", nargs="*", choices=ROWS, default=[], help="rows to measure anew")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds, small cases, results beside the records only"
    )
    parser.add_argument("--page", action="store_true", help="only write the tables")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with gsm8k/train.jsonl")
    parser.add_argument(
        "--peer-python",
        default=os.environ.get("SPARRING_TRL_PYTHON", sys.executable),
        help="interpreter that has trl",
    )
    parser.add_argument("--records", type=Path, default=Path("runs/speed"), help="folder of the records")
    parser.add_argument("--device", default="cpu", help="of the row `scoring`: cpu, cuda, …")
    parser.add_argument("--model", type=Path, help="of the row `scoring`: a causal model's folder")
    parser.add_argument("--traces", type=Path, help="of the row `scoring`: a file of traces, for --model")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        measure(options)
        return 0
    records = options.records / ("quick" if options.quick else "full")
    records.mkdir(parents=True, exist_ok=True)
    failed = [] if options.page else run(options, records)
    found = {
        name: json.loads((records / f"{name}.json").read_text())
        for name in ROWS
        if (records / f"{name}.json").exists()
    }
    if not found:
        print("nothing is measured yet", file=sys.stderr)
        return 1
    settings = {"interval": "range over the rounds", "value": "median over the rounds", "rows": list(found)}
    publish(
        records if options.quick else options.results,
        "speed",
        metrics_of(found),
        markdown(found),
        settings=settings,
        extra={"rows": found},
    )
    return 1 if failed else 0


def run(options: argparse.Namespace, records: Path) -> list[str]:
    """Measure the rows that are missing, each in a process of its own; return those that failed."""
    failed = []
    commit = commit_now()
    for name in options.only or ROWS:
        file = records / f"{name}.json"
        known = json.loads(file.read_text())["commit"] if file.exists() else None
        if not options.only and known == commit and not commit.endswith("-dirty"):
            continue
        if name in NEEDS_TRL and not has_trl(options.peer_python):
            print(f"{name}: left out, {options.peer_python} has no trl (--peer-python)")
            continue
        if name == "oracles" and not (options.data / "gsm8k" / "train.jsonl").exists():
            print(f"{name}: left out, there is no gsm8k/train.jsonl in {options.data} (--data)")
            continue
        if name == "game" and base_tree(options.records) is None:
            print(f"{name}: left out, commit {BASE} is not there")
            continue
        words = [sys.executable, __file__, *sys.argv[1:], "--row", name, "--only"]
        begun = time.perf_counter()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        done = subprocess.run(words, env=environment, check=False)
        print(
            f"{name}: {time.perf_counter() - begun:.0f} s" + (", FAILED" if done.returncode else ""),
            flush=True,
        )
        if done.returncode:
            failed.append(name)
    return failed


def measure(options: argparse.Namespace) -> None:
    """Measure one row in this process and keep its record."""
    from importlib import import_module

    import torch

    from speed_rows.harness import Options

    torch.set_num_threads(1)
    records = options.records / ("quick" if options.quick else "full")
    module, _, function = ROWS[options.row].partition(":")
    with tempfile.TemporaryDirectory(dir=options.records) as place:
        chosen = Options(
            rounds=2 if options.quick else ROUNDS, quick=options.quick, data=options.data, place=Path(place).resolve(),
            base=base_tree(options.records), peer_python=options.peer_python, device=options.device,
            model=options.model, traces=options.traces,
        )  # fmt: skip
        load = os.getloadavg()
        measured = getattr(import_module(f"speed_rows.{module}"), function)(chosen)
    record = measured.record() | {
        "commit": commit_now(), "versions": versions(), "machine": machine(), "threads": 1,
        "form": "quick" if options.quick else "full",
        "load before": load, "load after": os.getloadavg(),
    }  # fmt: skip
    atomic_write_json(records / f"{options.row}.json", record)


def commit_now() -> str:
    """Return the commit that is measured, marked where files differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=9"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def has_trl(python: str) -> bool:
    """Whether an interpreter has trl."""
    words = [python, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('trl') is None)"]
    return subprocess.run(words, check=False).returncode == 0


def base_tree(records: Path) -> Path | None:
    """Return a folder with the package at `BASE`, made once; None where there is no such commit."""
    folder = records / BASE
    if not (folder / "src").exists():
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", BASE, "src"], capture_output=True, check=False
        )
        if archive.returncode:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder.resolve()


# --- results ---------------------------------------------------------------------------------------------------------


def metrics_of(found: dict[str, Any]) -> dict[str, Metric]:
    """Return the median and the range of everything that is claimed, by row, claim and clock."""
    return {
        f"speed.{row}.{name}.{clock}".replace(" ", "_").replace(",", ""): Metric(
            statistics.median(values), min(values), max(values), len(values), claim["unit"]
        )
        for row, record in found.items()
        for name, claim in record["claims"].items()
        for clock, values in claim["samples"].items()
    }


def claims_table(found: dict[str, Any]) -> str:
    """Return what is claimed, what was measured and whether the aim is met, as Markdown."""
    rows = []
    for record in found.values():
        for claim in record["claims"].values():
            samples = claim["samples"]
            middle = statistics.median(samples["cpu"])
            met = middle >= claim["aim"] if claim["at_least"] else middle <= claim["aim"]
            unit = f" {claim['unit']}" if claim["unit"] else ""
            rows.append(
                [
                    claim["title"],
                    f"{'≥' if claim['at_least'] else '≤'} {rounded(claim['aim'])}{unit}",
                    *(median(samples[clock]) if clock in samples else "–" for clock in ("cpu", "wall")),
                    "yes" if met else "**no**",
                ]
            )
    heads = ("measure", "aim", "processor time, median [range]", "wall time", "met")
    return f"{table(heads, rows)}\n{origins(found)}\n"


def origins(found: dict[str, Any]) -> str:
    """Return, as sentences, at which commit and in how many rounds every row was measured, and which rows were not."""
    rows: dict[tuple[str, str, int], list[str]] = {}
    for name, record in found.items():
        rounds = max(len(claim["samples"]["cpu"]) for claim in record["claims"].values())
        rows.setdefault((record["commit"], record.get("form", "quick"), rounds), []).append(f"`{name}`")
    sentences = [
        f"Measured at {commit}, {form} form, at most {rounds} rounds: {', '.join(names)}."
        for (commit, form, rounds), names in rows.items()
    ]
    missing = [f"`{name}`" for name in ROWS if name not in found]
    return " ".join([*sentences, *([f"Not measured: {', '.join(missing)}."] if missing else [])])


def median(values: list[float]) -> str:
    """Return median and range."""
    text = rounded(statistics.median(values))
    return text if len(values) < 2 else f"{text} [{rounded(min(values))}, {rounded(max(values))}]"


def rounded(number: float) -> str:
    """Return a number with three digits, or whole where it is large."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def markdown(found: dict[str, Any]) -> str:
    """Return the page of the results."""
    return f"{claims_table(found)}\n{budget_table(found)}"


def budget_table(found: dict[str, Any]) -> str:
    """Return where the time of one update of the game goes, as Markdown."""
    rows = []
    for name, numbers in found.get("budget", {}).get("numbers", {}).items():
        whole, floor, oracle = (numbers[key] for key in ("seconds", "floor in seconds", "oracle in seconds"))
        parts = [f"{part:.3f} ({part / whole:.0%})" for part in (floor, oracle, whole - floor - oracle)]
        rows.append([name, f"{whole:.3f}", *parts])
    return table(
        ["", "seconds of an update", "matrix products at their best rate", "oracle", "the rest"], rows
    )


if __name__ == "__main__":
    sys.exit(main())
