"""Reinforcement learning in the chain world: outcomes alone, progress under provers of several strengths, dense PRMs.

    python benchmarks/rl_chain.py
    python benchmarks/rl_chain.py --rules-prm runs/demo/rules_prm/prm --aprm runs/demo/aprm/prm
    python benchmarks/rl_chain.py --steps 6 8 --name rl_chain_long  # where the policy is rarely right

Every method starts from the tiny policy and has the same problems, answers per update, optimiser and seeds; they differ in
credit only. Held-out problems are the same for all. Provers are frozen: best-of-K of the starting policy, and, as a weaker
prover, that policy at a higher temperature (`--weak-temperature`). Samples are the policy's own answers, as the paper
counts; what the prover's rollouts cost besides is in the column of CPU seconds per update. With `--steps 6 8` the problems
of training are as long as those of the split `longer`, so both splits are then of one length.

Contract: runs are resumed where they were killed, finished ones are kept (`--out`); writes `<--name>.json` (the
layout of metrics.json, with all curves) and `<--name>.md` into `--results`. Intervals are 95 %, Student's over seeds,
none where no seed differs. The ratio of samples is at the best accuracy that the mean curve of `outcome` reaches, 0
for a method that never reaches it, and has no interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from publishing import command_line, json_lines, publish, shown, table
from sparring.errors import SettingsError
from sparring.files import atomic_write_json
from sparring.labels.answers import WorldChecker
from sparring.labels.posterior import pass_at_k
from sparring.models import TINY_POLICY
from sparring.models.loading import load_causal_model, load_tokenizer, pick_device
from sparring.models.prompts import layout_for
from sparring.rollouts.engine import Limits, Prefix, solutions
from sparring.rollouts.local import LocalEngine
from sparring.runs import Metric
from sparring.settings_shared import seed_from
from sparring.statistics import mean_over_runs, paired_difference
from sparring.training.rl import train_rl
from sparring.training.rl_settings import RlSettings
from sparring.worlds.chain import IN_DISTRIBUTION, LONGER, generate_problems
from sparring.worlds.chain_world import ChainWorld

Floats = NDArray[np.float64]
BASELINE = "outcome"
CURVES = {"in_distribution": "accuracy", "longer": "accuracy_longer"}
MARKS = (
    "reward",
    "kl_per_token",
    "steps_per_answer",
    "tokens_per_step",
    "empty",
    "repeated",
    "off_topic",
    "truncated",
)


def methods(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the settings in which each method differs."""
    progress = {
        "credit": "progress",
        "prover_rollouts": arguments.prover_rollouts,
        "process_weight": arguments.alpha,
    }
    found: dict[str, dict[str, Any]] = {BASELINE: {"credit": "outcome"}}
    found |= {f"pav_bo{k}": {**progress, "best_of": k} for k in (2, 4, 8)}
    found["pav_weak"] = {**progress, "best_of": 1, "prover_temperature": arguments.weak_temperature}
    for name, folder in (("rules_prm", arguments.rules_prm), ("aprm", arguments.aprm)):
        if folder is None:
            print(f"skipped: {name} (no folder given)", file=sys.stderr)
        else:
            found[name] = {
                "credit": arguments.prm_credit,
                "prm": str(folder),
                "process_weight": arguments.prm_weight,
            }
    if arguments.methods is not None:
        wanted = [BASELINE, *(name for name in arguments.methods.split(",") if name != BASELINE)]
        if unknown := set(wanted) - set(found):
            raise SettingsError(
                f"no such method: {', '.join(sorted(unknown))} (there are {', '.join(found)})"
            )
        found = {name: found[name] for name in wanted}
    return found


def run_one(name: str, changes: dict[str, Any], seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one method with one seed, unless that has been done, and return its looks, costs and Pass@N."""
    out = arguments.out / name / str(seed)
    done = out / "result.json"
    settings = RlSettings(
        chain_steps=tuple(arguments.steps),
        updates=arguments.updates,
        problems_per_update=arguments.problems,
        learning_rate=arguments.learning_rate,
        samples_per_problem=arguments.samples,
        watch_every=arguments.every,
        watch_problems=arguments.held_out,
        watch_longer=arguments.held_out,
        stop_when_hacked=False,  # a curve that ends early could not be compared; hacking shows in the monitors
        seed=seed,
        **changes,
    )
    written = settings.model_dump(mode="json") | {"pass_samples": arguments.pass_samples}
    if done.exists():
        result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if result["settings"] != written:
            raise SettingsError(f"'{out}' was made with other settings; choose another --out")
        return result

    def show(update: int, record: dict[str, Any]) -> None:
        print(f"\r{name} seed {seed}: {update}/{settings.updates}", end="", file=sys.stderr, flush=True)

    folder = train_rl(settings, out, resume=True, progress=show)
    print(file=sys.stderr)
    looks, log = json_lines(out / "watch.jsonl"), json_lines(out / "log.jsonl")
    result = {
        "settings": written,
        "samples": [look["samples"] for look in looks],
        "looks": [{k: look[k] for k in (*CURVES.values(), *MARKS)} for look in looks],
        "cpu_seconds_per_update": float(np.median([record["cpu_seconds"] for record in log])),
        "pass_at": pass_at(folder, arguments, seed),
    }
    atomic_write_json(done, result)
    return result


def pass_at(policy: str | Path, arguments: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    """Return Pass@N on fresh problems of both splits, N a power of two up to `--pass-samples`."""
    device = pick_device("cpu")
    model = load_causal_model(policy, device=device, dtype=torch.float32)
    tokenizer = load_tokenizer(policy)
    checker = WorldChecker(ChainWorld())
    found: dict[str, dict[str, float]] = {}
    for split, steps in {"in_distribution": tuple(arguments.steps), "longer": LONGER}.items():
        problems = generate_problems(arguments.pass_problems, steps=steps, seed=0, name="rl-pass")
        groups = solutions(
            LocalEngine(model, tokenizer, layout_for(tokenizer, "plain")),
            [Prefix(problem) for problem in problems],
            arguments.pass_samples,
            limits=Limits(160),
            seeds=[seed_from(seed, index) for index in range(len(problems))],
        )
        counts = []
        for problem, group in zip(problems, groups, strict=True):
            ended = [t.steps if t is not None and t.meta["finished"] else () for t in group]
            counts.append(sum(verdict is True for verdict in checker.judge([(problem, s) for s in ended])))
        found[split] = {
            str(n): float(np.mean([pass_at_k(count, arguments.pass_samples, n) for count in counts]))
            for n in powers(arguments.pass_samples)
        }
    return found


def powers(most: int) -> list[int]:
    """Return 1, 2, 4, … up to `most`."""
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


# --- numbers ---------------------------------------------------------------------------------------------------------


def samples_to(curve: Floats, samples: Floats, level: float) -> float | None:
    """Return how many samples it takes to reach a level, interpolated between looks; None where it is not reached."""
    above = np.flatnonzero(curve >= level)
    if len(above) == 0:
        return None
    place = int(above[0])
    if place == 0:
        return float(samples[0])
    share = (level - curve[place - 1]) / (curve[place] - curve[place - 1])
    return float(samples[place - 1] + share * (samples[place] - samples[place - 1]))


def efficiency(method: Floats, baseline: Floats, samples: Floats) -> Metric:
    """Return samples of the baseline over samples of the method, at the best accuracy of the baseline's mean curve.

    Without an interval: it jumps from look to look, which a handful of seeds says nothing about. 0: never reached.

    Args:
        method: accuracies, (seeds, looks).
        baseline: likewise.
        samples: at each look.
    """
    plain, other = baseline.mean(axis=0), method.mean(axis=0)
    needed, taken = samples_to(plain, samples, plain.max()), samples_to(other, samples, plain.max())
    # No samples on one side: the start is already the baseline's best, so there is nothing to compare.
    ratio = None if not needed else 0.0 if taken is None else needed / max(taken, 1.0)
    return Metric(ratio, n=len(baseline))


def measure(
    results: dict[str, list[dict[str, Any]]], start: dict[str, dict[str, float]]
) -> dict[str, Metric]:
    """Return all metrics, ``rl_chain.<method>.…``."""
    metrics: dict[str, Metric] = {}
    samples = np.array(results[BASELINE][0]["samples"], dtype=np.float64)
    for split, curve in CURVES.items():
        rows = {
            m: np.array([[look[curve] for look in r["looks"]] for r in runs]) for m, runs in results.items()
        }
        metrics[f"rl_chain.start.{split}.accuracy"] = mean_over_runs(rows[BASELINE][:, 0], unit="fraction")
        for method, accuracy in rows.items():
            name = f"rl_chain.{method}.{split}"
            metrics[f"{name}.accuracy"] = mean_over_runs(accuracy[:, -1], unit="fraction")
            for n in start[split]:
                passed = [run["pass_at"][split][n] for run in results[method]]
                metrics[f"{name}.pass_at_{n}"] = mean_over_runs(passed, unit="fraction")
            if method != BASELINE:
                gap = paired_difference(accuracy[:, -1], rows[BASELINE][:, -1], unit="fraction", runs=True)
                metrics[f"{name}.gap"] = gap.difference
                metrics[f"{name}.sample_ratio"] = efficiency(accuracy, rows[BASELINE], samples)
        for n, value in start[split].items():
            metrics[f"rl_chain.start.{split}.pass_at_{n}"] = Metric(value, unit="fraction")
    for method, runs in results.items():
        seconds = [run["cpu_seconds_per_update"] for run in runs]
        metrics[f"rl_chain.{method}.cpu_seconds_per_update"] = mean_over_runs(seconds, unit="s")
        for mark in MARKS:
            values = [run["looks"][-1][mark] for run in runs]
            if None not in values:
                metrics[f"rl_chain.{method}.{mark}"] = mean_over_runs(values)
    return metrics


def page(metrics: dict[str, Metric], names: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return the tables."""
    most = powers(arguments.pass_samples)[-1]
    answers = arguments.updates * arguments.problems * arguments.samples
    parts = [
        f"{arguments.seeds} seeds, {arguments.updates} updates, {answers} answers each; "
        f"{arguments.held_out} held-out problems per split, one sampled answer each. "
        "[95 % interval] t: Student's over seeds; none where no seed differs.\n",
    ]
    columns = {"accuracy": 100, "gap": 100, "sample_ratio": 1, f"pass_at_{most}": 100}
    for split in CURVES:
        heads = ["accuracy, %", "gap to outcome, %", "samples, ratio", f"Pass@{most}, %"]
        rows = [
            [
                name,
                *(shown(metrics.get(f"rl_chain.{name}.{split}.{c}"), scale) for c, scale in columns.items()),
            ]
            for name in ("start", *names)
        ]
        parts.append(table([split.replace("_", " "), *heads], rows))
    marks = ["cpu_seconds_per_update", *MARKS]
    last = [[name, *(shown(metrics.get(f"rl_chain.{name}.{c}"), 1, 3) for c in marks)] for name in names]
    parts.append(table(["last look", *(mark.replace("_", " ") for mark in marks)], last))
    return "\n".join(parts)


def passed_at_start(known: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return Pass@N of the policy before training, by split and N, from the metrics of a results file."""
    stem = "rl_chain.start."
    start: dict[str, dict[str, float]] = {split: {} for split in CURVES}
    for name, metric in known.items():
        split, _, what = name.removeprefix(stem).partition(".")
        if name.startswith(stem) and what.startswith("pass_at_"):
            start[split][what.removeprefix("pass_at_")] = metric["value"]
    return start


def main() -> None:
    """Run what is missing, measure, write."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--problems", type=int, default=8, help="problems per update")
    parser.add_argument("--samples", type=int, default=8, help="answers per problem")
    parser.add_argument("--every", type=int, default=6, help="updates between looks")
    parser.add_argument("--held-out", type=int, default=96, help="problems per look and split")
    parser.add_argument(
        "--learning-rate", type=float, default=RlSettings.model_fields["learning_rate"].default
    )
    parser.add_argument("--alpha", type=float, default=1.0, help="weight of a step's progress")
    parser.add_argument("--prm-weight", type=float, default=1.0, help="weight of a PRM's credit")
    parser.add_argument("--prover-rollouts", type=int, default=4)
    parser.add_argument("--weak-temperature", type=float, default=1.5, help="of the weaker prover")
    parser.add_argument("--rules-prm", type=Path, help="PRM folder trained on rule perturbations")
    parser.add_argument("--aprm", type=Path, help="PRM folder trained in the game")
    parser.add_argument("--prm-credit", choices=("soft_min", "step_sum"), default="soft_min")
    parser.add_argument("--pass-problems", type=int, default=48)
    parser.add_argument("--pass-samples", type=int, default=8)
    parser.add_argument("--methods", help="only these, separated by commas")
    parser.add_argument(
        "--steps", type=int, nargs=2, default=list(IN_DISTRIBUTION), help="of the problems of training"
    )
    parser.add_argument("--name", default="rl_chain", help="of the files of results")
    parser.add_argument("--out", type=Path, default=Path("runs/rl_chain"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = methods(arguments)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for seed in range(arguments.seeds):  # seed by seed, so that what there is can be compared at any time
        for name, changes in chosen.items():
            results[name].append(run_one(name, changes, seed, arguments))
    start = pass_at(TINY_POLICY, arguments, 0)
    metrics = measure(results, start)
    given = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(arguments).items()
        if key not in ("out", "results", "name")
    }
    text = page(metrics, list(chosen), arguments)
    publish(arguments.results, arguments.name, metrics, text, settings=given, extra={"runs": results})


if __name__ == "__main__":
    main()
