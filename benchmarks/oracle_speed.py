"""Speed of the oracles on GSM8K steps: verdicts per second of processor time, in process and through the sandbox.

    python benchmarks/oracle_speed.py --data data/gsm8k/train.jsonl

Judged are, as in training, up to four different rule perturbations of each reference step (without annotations): by
themselves (`arithmetic`), and against the original (`reference`, the two default members together, and all members).
In process, members are called in a plain loop; through the sandbox they are asked in batches by a `Panel` with one
worker and no cache, and the processor time of both processes counts, without that of starting. The ratio of the two
is what safety costs. Both are measured in turn, in every round.

Writes `oracle_speed.json` (the layout of metrics.json) and `oracle_speed.md` into the results folder. The value is the
median over rounds, low and high are the slowest and the fastest round.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sparring.errors import SparringError
from sparring.files import atomic_write_text
from sparring.oracles import perturb
from sparring.oracles.equations import ANNOTATION
from sparring.oracles.members import MEMBERS, Question, ask, load_member
from sparring.oracles.panel import Panel
from sparring.runs import Metric, write_metrics
from sparring.traces.readers import read_problems_as

REWRITES = 4  # per step, the default of `samples_per_state`
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure, write both files, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    data = Path(os.environ.get("SPARRING_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--data", type=Path, default=data / "gsm8k" / "train.jsonl", help="problems with solutions"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--steps", type=int, default=4000, help="steps per round")
    parser.add_argument(
        "--panel-steps", type=int, default=400, help="steps per round for all members together"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        questions = read_questions(options.data, options.steps, options.seed)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    alone = [Question(q.problem, q.prefix, None, q.step) for q in questions]
    present = [name for name, place in MEMBERS.items() if importlib.util.find_spec(place.partition(":")[0])]
    cases = {
        "arithmetic": (["arithmetic"], alone),
        "reference": (["reference"], questions),
        "default": (["arithmetic", "reference"], questions),
        "all": (present, questions[: options.panel_steps]),
    }
    metrics: dict[str, Metric] = {}
    for name, (members, asked) in cases.items():
        metrics |= {
            f"{name}.{key}": metric for key, metric in measure(members, asked, options.rounds).items()
        }
        print(
            name,
            *(f"{key} {metrics[f'{name}.{key}'].value:,.2f}" for key in ("in_process", "sandboxed", "ratio")),
        )
    settings = {"steps": options.steps, "panel_steps": options.panel_steps, "rounds": options.rounds}
    settings |= {
        "data": options.data.name,
        "members_of_all": present,
        "interval": "slowest and fastest round",
    }
    options.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.results) as folder:
        written = write_metrics(folder, metrics, settings=settings, seed=options.seed)
        written.replace(options.results / "oracle_speed.json")
    atomic_write_text(
        options.results / "oracle_speed.md", markdown(metrics, {n: m for n, (m, _) in cases.items()})
    )
    return 0


def read_questions(path: Path, count: int, seed: int) -> list[Question]:
    """Return rewrites by rule of random steps, each once; where no rule applies, the step itself."""
    rng = random.Random(seed)
    places = [
        (problem, tuple(ANNOTATION.sub("", step) for step in problem.solution or ()), index)
        for problem in read_problems_as(path).problems
        for index in range(len(problem.solution or ()))
    ]
    questions: dict[tuple[str, ...], Question] = {}  # each once: a panel asks equal ones only once
    for problem, steps, index in rng.sample(places, min(count, len(places))):
        for _ in range(REWRITES):
            made = perturb(problem, steps[:index], steps[index], rng)
            text = made[1] if made else steps[index]
            key = (problem.question, *steps[: index + 1], text)
            questions[key] = Question(problem, steps[:index], steps[index], text)
        if len(questions) >= count:
            break
    return list(questions.values())[:count]


def measure(members: Sequence[str], questions: Sequence[Question], rounds: int) -> dict[str, Metric]:
    """Return verdicts per second of processor time, in process and sandboxed, and the ratio of the second to the first."""
    loaded = [load_member(name) for name in members]
    asked = [(q.problem, q.prefix, q.original, q.step) for q in questions]

    def in_process() -> None:
        for question in questions:
            for member in loaded:
                ask(member, question)

    def sandboxed(count: int) -> None:
        with Panel(members, workers=1, cached=0) as panel:
            panel.judge_members_many(asked[:count])

    in_process()  # once, to fill the caches of compiled patterns
    plain, pooled = [], []
    for _ in range(rounds):
        plain.append(len(questions) / processor_seconds(in_process))
        start = processor_seconds(lambda: sandboxed(1))
        pooled.append(len(questions) / (processor_seconds(lambda: sandboxed(len(asked))) - start))
    ratios = [two / one for one, two in zip(plain, pooled, strict=True)]
    return {
        key: Metric(statistics.median(values), min(values), max(values), len(questions), unit)
        for key, values, unit in (
            ("in_process", plain, "verdicts/s"),
            ("sandboxed", pooled, "verdicts/s"),
            ("ratio", ratios, ""),
        )
    }


def processor_seconds(work: Callable[[], None]) -> float:
    """Return the processor time of some work, and of the processes that it started and waited for."""
    begun = time.process_time() + children_seconds()
    work()
    return time.process_time() + children_seconds() - begun


def children_seconds() -> float:
    """Return the processor time of all ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def markdown(metrics: dict[str, Metric], members: dict[str, Sequence[str]]) -> str:
    """Return the table."""
    lines = [
        "# Speed of the oracles",
        "",
        "Verdicts per second of processor time (one core) on GSM8K train steps; median, and in brackets the slowest and",
        "fastest round. `sandboxed` counts the processor time of the worker and of the process that asks it.",
        "",
        "| members | steps | in process | sandboxed | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, names in members.items():
        one, two, ratio = (metrics[f"{name}.{key}"] for key in ("in_process", "sandboxed", "ratio"))
        cells = [m.text(form=",.0f") for m in (one, two)]
        cells.append(ratio.text(form=".2f"))
        lines.append(f"| {', '.join(names)} | {one.n} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Made by `python benchmarks/oracle_speed.py`.", ""])


if __name__ == "__main__":
    sys.exit(main())
