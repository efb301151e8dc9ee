"""Runs the claims in `benchmarks/claims/`, tells their verdicts, and writes the page of them.

    python benchmarks/run_claims.py                  the reduced form of every claim (`make claims`)
    python benchmarks/run_claims.py --full           everything (`FULL=1 make claims`); hours, see --list
    python benchmarks/run_claims.py --only NAME      of one experiment or claim; `--arms` and `--seeds` narrow it further
    python benchmarks/run_claims.py --list           what would be run, and what it costs
    python benchmarks/run_claims.py --publish        puts the records into benchmarks/results/claims/ and writes the page
    python benchmarks/run_claims.py --page           claims.json, claims.md, docs/claims.md: from the records

Records lie in `runs/claims` and are made once: killed at any moment, the next call does what is missing. Two processes
of one thread each unless `--jobs` says otherwise. Status 1 if a run failed, or was left out because this machine lacks
what it needs. Experiments that need a GPU run only where they are named: `scripts/gpu_claims.sh`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from claims.harness import Records, Size
from claims.page import Measured, measured, number, write_json, write_page
from claims.runner import (
    HERE,
    chosen,
    claim_files,
    missing,
    publish,
    read_published,
    read_records,
    run_missing,
    work,
)
from sparring.errors import SparringError, plural
from sparring.files import atomic_write_text
from sparring.locks import sole_writer

ROOT = HERE.parents[1]


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="everything, not the reduced form")
    parser.add_argument("--only", nargs="*", default=[], help="experiments or claims by name")
    parser.add_argument("--arms", nargs="*", default=[], help="of these arms alone")
    parser.add_argument("--seeds", nargs="*", type=int, default=[], help="with these seeds alone")
    parser.add_argument("--records", type=Path, default=Path("runs/claims"), help="folder of the records")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--minutes", type=float, help="after so many minutes no further run is begun")
    parser.add_argument("--keep", action="store_true", help="keep what the runs wrote beside their records")
    parser.add_argument("--list", action="store_true", help="only say what would be run")
    parser.add_argument(
        "--publish", action="store_true", help="put the records into the results, write the page"
    )
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--claims", type=Path, default=HERE, help="folder of the claim files")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="published")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options = parser.parse_args(words)
    try:
        if options.worker:
            answers, sys.stdout = sys.stdout, sys.stderr
            work(options.claims, options.records, answers, keep=options.keep)
        if options.page or options.publish:
            publish_page(options)
            return 0
        return run(options)
    except (SparringError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Run what is missing and tell the verdicts."""
    size: Size = "full" if options.full else "reduced"
    files = chosen(claim_files(options.claims), options.only)
    if not options.only:
        for name in [file.experiment.name for file in files if file.experiment.lacks is not None]:
            print(f"{name}: needs a GPU and is run where it is named (scripts/gpu_claims.sh)")
        files = [file for file in files if file.experiment.lacks is None]
    if unknown := set(options.arms) - {arm for file in files for arm in file.experiment.arms}:
        raise ValueError(f"no arm {', '.join(sorted(unknown))} in what is to be run")
    todo = []
    left_out = Counter[str]()
    for file in files:
        experiment = file.experiment
        lacking = []
        for cell, minutes in missing(file, read_records(options.records, experiment), size):
            if (options.arms and cell.arm not in options.arms) or (
                options.seeds and cell.seed not in options.seeds
            ):
                continue
            if experiment.lacks is not None and (reason := experiment.lacks(cell.arm, cell.settings)):
                left_out[f"{experiment.name}: {reason}"] += 1
            else:
                lacking.append((cell, minutes))
        cost = sum(minutes for _, minutes in lacking)
        print(
            f"{experiment.name}: {len(lacking)} of {len(experiment.cells(size))} runs to do, {cost:.1f} minutes"
        )
        todo += lacking
    total = sum(minutes for _, minutes in todo)
    print(
        f"in all ({size}): {len(todo)} runs, {total:.0f} minutes of a core (or a card), "
        f"about {total / options.jobs:.0f} with {options.jobs} at a time"
    )
    for reason, count in left_out.items():
        print(f"{plural(count, 'run')} left out: {reason}", file=sys.stderr)
    if options.list:
        return 0
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    command += [
        "--claims",
        str(options.claims),
        "--records",
        str(options.records),
        *["--keep"] * options.keep,
    ]
    with sole_writer(options.records):
        failed = run_missing(todo, options.records, command, jobs=options.jobs, minutes=options.minutes)
    here = [measured(file, read_records(options.records, file.experiment)) for file in files]
    write_json(here, options.records / "claims.json")
    text = compared(
        here, [measured(file, published(options.results, file.experiment.name)) for file in files]
    )
    atomic_write_text(options.records / "claims.txt", text)
    print(text, end="")
    for cell, reason in failed:
        print(f"failed: {cell.experiment}, {cell.arm}, seed {cell.seed}: {reason}", file=sys.stderr)
    return 1 if failed or left_out else 0


def published(results: Path, experiment: str) -> Records:
    """Return an experiment's published records."""
    return read_published(results / "claims" / f"{experiment}.json")


def compared(here: list[Measured], there: list[Measured]) -> str:
    """Return every claim's gain and verdict in its regions, here and as published."""
    lines = []
    for (_, _, size, mine), (_, _, _, known) in zip(here, there, strict=True):
        regions = [[one for one in findings if one.point is None] for findings in (mine, known)]
        for one, other in zip(*regions, strict=True):
            lines.append(
                f"{one.claim.id}, {one.region}: {number(one.gain, one.claim)} {one.claim.aim.unit} "
                f"({one.gain.n or 0} seeds, {size}): {one.verdict}; published: "
                f"{number(other.gain, one.claim)}, {other.verdict}\n"
            )
    return "".join(lines)


def publish_page(options: argparse.Namespace) -> None:
    """Write what is published: the records where that is asked for, then claims.json and the page."""
    files = claim_files(options.claims)
    if options.publish:
        for file in chosen(files, options.only):
            path = options.results / "claims" / f"{file.experiment.name}.json"
            count = publish(options.records, file.experiment, path)
            print(f"{file.experiment.name}: {count} records published")
    found = [measured(file, published(options.results, file.experiment.name)) for file in files]
    write_json(found, options.results / "claims.json")
    images, points = options.docs / "images" / "claims", options.results / "claims.md"
    write_page(found, options.docs / "claims.md", images, points)


if __name__ == "__main__":
    sys.exit(main())
