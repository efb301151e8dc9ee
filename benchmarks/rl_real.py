"""Reinforcement learning of a small real model on procedural problems: is the loop sound?

    pip install -e '.[reasoning-gym]'
    python benchmarks/rl_real.py --model models/SmolLM2-135M-Instruct

Makes the problems (`scripts/reasoning_gym_problems.py`), then trains with `configs/rl-smollm2.yaml` once per method:
outcomes alone, and outcomes with progress under rollouts of the starting policy. Methods have the same problems, answers
per update, optimiser and seed; they differ in credit only. Held-out problems are answered before and after, with the same
random numbers, so their difference is paired. Further settings can be given as key=value.

Contract: a killed run is gone on with, a finished one is kept (`--out`). Writes `rl_real.json` (the layout of
metrics.json, with the curves) and `rl_real.md` into `--results`. Intervals are 95 %: of accuracies by Wilson, of
differences by bootstrap over problems, of mean rewards Student's over updates. One seed: they speak of the problems,
not of what another run would give. Not here: comparing credit rules, which needs several seeds (`rl_chain.py`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from publishing import ROOT, command_line, json_lines, log_table, publish, table
from sparring.errors import SettingsError, SparringError
from sparring.runs import METRICS_FILE, Metric, read_metrics
from sparring.settings import dump_settings, load_settings
from sparring.statistics import mean_over_runs, paired_difference
from sparring.training.rl_settings import RlSettings

TASK = "basic_arithmetic"
OPTIONS = (
    "min_terms=2",
    "max_terms=3",
    "max_digits=1",
    'operators=["+", "-"]',
    "allow_parentheses=false",
    "allow_negation=false",
)
TEMPLATE = '{question} Go from left to right, one line each, then say "The answer is" and the number.'
PROBLEMS = 1000
METHODS = {"outcome": ["credit=outcome"], "progress": ["credit=progress"]}
RUN = ("seconds", "updates", "samples", "tokens_per_second", "peak_memory")
LOOK = (
    "kl_per_token",
    "truncated",
    "unreadable",
    "steps_per_answer",
    "tokens_per_step",
    "repeated",
    "off_topic",
)
CURVE = (
    "outcome",
    "mixed_groups",
    "truncated",
    "kl_per_token",
    "entropy",
    "steps_per_answer",
    "tokens_per_second",
)


def make_problems(file: Path, count: int) -> None:
    """Write the problems unless they are there.

    Raises:
        SettingsError: they cannot be made; the script has said why.
    """
    if file.exists():
        return
    script = ROOT / "scripts" / "reasoning_gym_problems.py"
    command = [sys.executable, str(script), TASK, *OPTIONS, "--count", str(count)]
    if subprocess.run([*command, "--template", TEMPLATE, "--out", str(file)], check=False).returncode:
        raise SettingsError("the problems could not be made")


def train(config: Path, overrides: list[str], out: Path) -> RlSettings:
    """Train in a process of its own, whose peak memory is then the run's, unless that has been done; return the settings.

    Raises:
        SettingsError: the run failed, or `out` holds a finished run with other settings.
    """
    settings = load_settings(RlSettings, config, overrides)
    if (out / METRICS_FILE).exists():
        done = json.loads((out / METRICS_FILE).read_text(encoding="utf-8"))["settings"]
        if done != dump_settings(settings):
            raise SettingsError(f"'{out}' was made with other settings; choose another --out")
        return settings
    command = [sys.executable, "-m", "sparring", "train", "rl", "--config", str(config), *overrides]
    if subprocess.run([*command, "--out", str(out), "--resume"], check=False).returncode:
        raise SettingsError(f"the run in '{out}' failed")
    return settings


def measure(name: str, out: Path) -> dict[str, Metric]:
    """Return the metrics of a finished run, ``rl_real.<method>.…``."""
    run, looks, log = read_metrics(out), json_lines(out / "watch.jsonl"), json_lines(out / "log.jsonl")
    before, after = looks[0], looks[-1]
    found = {key: run[f"rl.{key}"] for key in RUN}
    for when in ("start", "end"):
        found |= {f"{when}.{key}": run[f"rl.{when}.{key}"] for key in ("accuracy", *LOOK)}
    change = paired_difference(after["right"], before["right"], unit="fraction")
    found["change"] = change.difference
    found["change.p_value"] = Metric(change.p_value, n=len(before["right"]))
    found |= quarters(log)
    kl = [record["kl_per_token"] for record in log if "kl_per_token" in record]
    found["highest_kl_per_token"] = Metric(max(kl, default=None), n=len(kl), unit="nats")
    return {f"rl_real.{name}.{key}": metric for key, metric in found.items()}


def quarters(log: list[dict[str, Any]]) -> dict[str, Metric]:
    """Return the mean reward over the first and the last quarter of updates."""
    size = max(1, len(log) // 4)
    return {
        f"reward.{when}_quarter": mean_over_runs([record["outcome"] for record in block], unit="fraction")
        for when, block in (("first", log[:size]), ("last", log[-size:]))
    }


# --- the page --------------------------------------------------------------------------------------------------------


def page(
    metrics: dict[str, Metric],
    settings: RlSettings | argparse.Namespace,
    logs: dict[str, list[dict[str, Any]]],
) -> str:
    """Return the tables."""
    held_out = settings.watch_problems
    answers = settings.problems_per_update * settings.samples_per_problem
    percent = 100.0
    lines = [
        f"{Path(settings.policy).name}, {TASK} ({', '.join(OPTIONS)}), seed {settings.seed}: {settings.updates} updates of "
        f"{answers} answers; {held_out} held-out problems, one answer each, sampled at temperature {settings.temperature}.",
        "",
    ]
    rows = [
        ("verified accuracy before, %", "start.accuracy", percent),
        ("verified accuracy after, %", "end.accuracy", percent),
        ("paired change, points", "change", percent),
        ("p (sign flips)", "change.p_value", 1.0),
        ("mean reward, first quarter of updates, %", "reward.first_quarter", percent),
        ("mean reward, last quarter, %", "reward.last_quarter", percent),
        ("KL per token after, nats", "end.kl_per_token", 1.0),
        ("highest KL per token of an update, nats", "highest_kl_per_token", 1.0),
        ("cut by the limit before, %", "start.truncated", percent),
        ("cut by the limit after, %", "end.truncated", percent),
        ("steps per answer before", "start.steps_per_answer", 1.0),
        ("steps per answer after", "end.steps_per_answer", 1.0),
        ("tokens per second, sampled and trained", "tokens_per_second", 1.0),
        ("minutes in updates", "seconds", 1 / 60),
        ("peak memory, GB", "peak_memory", 1e-9),
    ]
    shown = [
        [text, *(metrics[f"rl_real.{name}.{key}"].text(scale, ".3g") for name in logs)]
        for text, key, scale in rows
    ]
    lines.append(table(["", *logs], shown))
    lines += [
        log_table([f"{name}: updates"], log, CURVE, max(1, -(-len(log) // 10)), ".3g")
        for name, log in logs.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Make problems, train what is missing, measure, write; return the exit status."""
    parser = command_line(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the policy")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "rl-smollm2.yaml")
    parser.add_argument("--methods", default="outcome,progress", help="separated by commas")
    parser.add_argument("--problems", type=int, default=PROBLEMS, help="held-out ones included")
    parser.add_argument("--out", type=Path, default=Path("runs/rl_real"))
    parser.add_argument("overrides", nargs="*", help="settings as key=value")
    arguments = parser.parse_intermixed_args()
    chosen = arguments.methods.split(",")
    if unknown := set(chosen) - set(METHODS):
        parser.error(f"no such method: {', '.join(sorted(unknown))} (there are {', '.join(METHODS)})")
    try:
        run(arguments, chosen)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(arguments: argparse.Namespace, chosen: list[str]) -> None:
    """Do what the command line asks; results of methods that are finished appear before the next one starts."""
    data = arguments.out / "problems.jsonl"
    make_problems(data, arguments.problems)
    shared = [f"policy={arguments.model}", f"data={data}", *arguments.overrides]
    metrics: dict[str, Metric] = {}
    logs: dict[str, list[dict[str, Any]]] = {}
    for name in chosen:
        out = arguments.out / name
        settings = train(arguments.config, [*shared, *METHODS[name]], out)
        metrics |= measure(name, out)
        logs[name] = json_lines(out / "log.jsonl")
        portable = dump_settings(settings) | {"policy": Path(settings.policy).name, "data": "problems.jsonl"}
        made = {"task": TASK, "options": OPTIONS, "template": TEMPLATE}
        publish(
            arguments.results,
            "rl_real",
            metrics,
            page(metrics, settings, logs),
            settings=portable,
            seed=settings.seed,
            extra={"problems": made, "logs": logs},
        )


if __name__ == "__main__":
    sys.exit(main())
