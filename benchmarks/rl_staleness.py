"""Answers one update ahead: what it costs in learning, and what it saves in time (`staleness`, docs/rl.md).

    python benchmarks/rl_staleness.py            # both parts
    python benchmarks/rl_staleness.py --part time

Learning: the tiny policy in the chain world on outcomes alone, `staleness` 0 and 1 from the same seeds, at the default
learning rate and at four times that, where an update moves the policy further and old answers are older. Success is
held-out accuracy after equal updates (the share of right answers late in training, of more answers, was added when two
seeds were known). Time: the same update in turns (0, 1, 1, 0, …), after a warm one; wall time, CPU time
of the process, and the CPU time of sampling in its thread, which bounds what overlap can save.

Summed up beforehand (2026-11-30). Ceiling: Pass@8 of the start, about 0.90; start about 0.67; staleness 0 reached 0.73 in
40 updates. One update of age changes log-probabilities by about the square root of twice `approx_kl`, 1e-2 to 1e-1 per
token, which the truncated weight corrects, so no loss beyond the interval is expected at the default rate. What would
change our minds: a paired loss of accuracy whose interval lies below zero, or a mean loss of a third of what was learnt, at
the default rate would take the recommendation of `staleness: 1` out of the page; at four times the rate it would add
warning. Time: with sampling a share s of an update's CPU time, wall time can fall to max(s, 1 - s) on two idle cores; less
than 1.1 times quicker there means that the thread in this process is not worth recommending, only an engine elsewhere.

Contract: runs are resumed where they were killed, finished ones are kept (`--out`); writes `rl_staleness.json` and `.md`
into `--results`. Intervals are 95 %, Student's over seeds, paired by seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from publishing import command_line, json_lines, publish, table
from sparring.files import atomic_write_json
from sparring.runs import Metric
from sparring.statistics import mean_over_runs, paired_difference
from sparring.training.rl import play_update, setup, train_rl
from sparring.training.rl_settings import RlSettings

RATES = {"default": 5e-4, "fourfold": 2e-3}


def settings_of(arguments: argparse.Namespace, staleness: int, rate: float, seed: int) -> RlSettings:
    """Return the settings of one run."""
    return RlSettings.model_validate(
        {
            "credit": "outcome",
            "updates": arguments.updates,
            "problems_per_update": 16,
            "samples_per_problem": 8,
            "watch_every": arguments.updates // 2,
            "watch_problems": arguments.held_out,
            "stop_when_hacked": False,
            "learning_rate": rate,
            "staleness": staleness,
            "seed": seed,
            "device": "cpu",
        }
    )


def finished(arguments: argparse.Namespace, staleness: int, rate: str, seed: int) -> dict[str, Any] | None:
    """Return what a run has left that is done, if it had the settings that are asked for now."""
    file = arguments.out / rate / str(staleness) / str(seed) / "result.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    asked = settings_of(arguments, staleness, RATES[rate], seed).model_dump(mode="json")
    return result if result.get("settings") == asked else None


def learn(arguments: argparse.Namespace, staleness: int, rate: str, seed: int) -> dict[str, Any]:
    """Train one arm with one seed, unless that has been done; return its looks and what the log says of age."""
    if earlier := finished(arguments, staleness, rate, seed):
        return earlier
    out = arguments.out / rate / str(staleness) / str(seed)
    settings = settings_of(arguments, staleness, RATES[rate], seed)
    train_rl(settings, out, resume=True)
    looks, log = json_lines(out / "watch.jsonl"), json_lines(out / "log.jsonl")
    names = ("outcome", "sampler_kl", "approx_kl", "clipfrac", "cpu_seconds")
    result = {
        "settings": settings.model_dump(mode="json"),
        "accuracy": [look["accuracy"] for look in looks],
        "updates": [look["update"] for look in looks],
        "log": {name: [record[name] for record in log] for name in names},
    }
    atomic_write_json(out / "result.json", result)
    print(f"{rate} staleness {staleness} seed {seed}: {result['accuracy']}", file=sys.stderr, flush=True)
    return result


def timed(arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return wall and CPU seconds of single updates of both arms in turns."""
    runs = {}
    sampling = dict.fromkeys((0, 1), 0.0)
    for staleness in (0, 1):
        run = setup(
            settings_of(arguments, staleness, RATES["default"], 0), arguments.out / f"time-{staleness}"
        )
        engine: Any = run.sampler.engine
        sample = engine.sample

        def counted(*given: Any, which: int = staleness, sample: Any = sample, **named: Any) -> Any:
            before = time.thread_time()
            try:
                return sample(*given, **named)
            finally:
                sampling[which] += time.thread_time() - before

        engine.sample = counted
        play_update(run)
        run.rollouts.wait()
        run.step += 1
        runs[staleness] = run
    rows: dict[str, list[dict[str, float]]] = {"0": [], "1": []}
    for turn in range(arguments.turns):
        for staleness in ((0, 1), (1, 0))[turn % 2]:
            run = runs[staleness]
            sampling[staleness] = 0.0
            wall, cpu = time.perf_counter(), time.process_time()
            play_update(run)
            run.rollouts.wait()  # an update's work, whoever waits for it
            run.step += 1
            rows[str(staleness)].append(
                {
                    "wall": time.perf_counter() - wall,
                    "cpu": time.process_time() - cpu,
                    "sampling_cpu": sampling[staleness],
                }
            )
    return rows


def measure(learnt: dict[str, dict[str, list[dict[str, Any]]]], rows: dict[str, Any]) -> dict[str, Metric]:
    """Return all metrics, ``rl_staleness.…``."""
    found: dict[str, Metric] = {}
    for rate, arms in learnt.items():
        if not arms["0"]:
            continue
        last = {arm: np.array([run["accuracy"][-1] for run in runs]) for arm, runs in arms.items()}
        start = np.array([run["accuracy"][0] for run in arms["0"]])
        lates: dict[str, list[float]] = {}
        found[f"rl_staleness.{rate}.start"] = mean_over_runs(start, unit="fraction")
        for arm, runs in arms.items():
            found[f"rl_staleness.{rate}.{arm}.accuracy"] = mean_over_runs(last[arm], unit="fraction")
            late = [
                float(np.mean(run["log"]["outcome"][-(len(run["log"]["outcome"]) // 4) :])) for run in runs
            ]
            found[f"rl_staleness.{rate}.{arm}.late_outcome"] = mean_over_runs(late, unit="fraction")
            kl = [float(np.mean(run["log"]["sampler_kl"][1:])) for run in runs]
            found[f"rl_staleness.{rate}.{arm}.sampler_kl"] = mean_over_runs(kl)
            lates[arm] = late
        late_gap = paired_difference(lates["1"], lates["0"], unit="fraction", runs=True)
        found[f"rl_staleness.{rate}.late_gap"] = late_gap.difference
        gap = paired_difference(last["1"], last["0"], unit="fraction", runs=True)
        found[f"rl_staleness.{rate}.gap"] = gap.difference
    if rows:
        mean = {arm: {k: float(np.mean([r[k] for r in rs])) for k in rs[0]} for arm, rs in rows.items()}
        for arm, values in mean.items():
            for name, value in values.items():
                found[f"rl_staleness.time.{arm}.{name}"] = Metric(value, n=len(rows[arm]), unit="s")
        found["rl_staleness.time.wall_ratio"] = Metric(
            mean["0"]["wall"] / mean["1"]["wall"], n=len(rows["0"])
        )
        found["rl_staleness.time.cpu_ratio"] = Metric(mean["0"]["cpu"] / mean["1"]["cpu"], n=len(rows["0"]))
        share = mean["0"]["sampling_cpu"] / mean["0"]["cpu"]
        found["rl_staleness.time.sampling_share"] = Metric(share, n=len(rows["0"]))
        found["rl_staleness.time.most"] = Metric(1 / max(share, 1 - share), n=len(rows["0"]))
    return found


def page(metrics: dict[str, Metric], arguments: argparse.Namespace, load: float) -> str:
    """Return the tables."""
    lines = [
        f"{arguments.updates} updates of 16 problems × 8 answers; {arguments.held_out} held-out "
        "problems. [95 % interval] t: Student's over seeds, paired for the differences. Late in training: difference in "
        f"right answers over the last quarter of the updates, {arguments.updates // 4 * 128} answers a seed. Age: nats "
        "per token, on average.",
        "",
    ]
    rows = []
    for rate, value in RATES.items():
        name = f"rl_staleness.{rate}"
        if f"{name}.gap" in metrics:
            cells = [
                metrics[f"{name}.{k}"].text(100, ".1f")
                for k in ("start", "0.accuracy", "1.accuracy", "gap", "late_gap")
            ]
            age = metrics[f"{name}.1.sampler_kl"].value
            rows.append([f"{value:g}", str(metrics[f"{name}.gap"].n), *cells, f"{age:.2g}"])
    heads = ["rate", "seeds", "start, %", "staleness 0, %", "staleness 1, %", "difference, %"]
    lines.append(table([*heads, "late in training, %", "age (KL)"], rows))
    if "rl_staleness.time.wall_ratio" in metrics:
        seconds = [
            [
                what.replace("_", " "),
                *(f"{metrics[f'rl_staleness.time.{arm}.{what}'].value:.2f}" for arm in "01"),
            ]
            for what in ("wall", "cpu", "sampling_cpu")
        ]
        lines.append(table(["one update, seconds", "staleness 0", "staleness 1"], seconds))
        ratio, share, most = (
            metrics[f"rl_staleness.time.{k}"].value or 0.0 for k in ("wall_ratio", "sampling_share", "most")
        )
        lines += [
            f"Wall time 0 / 1: {ratio:.2f}. Sampling is {100 * share:.0f} % of the CPU time, so overlap can save up to "
            f"{most:.2f}× on two idle cores. {arguments.turns} updates per arm in turns, one thread each; load average "
            f"{load:.1f}, so the wall time says little where that is above the number of cores.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, measure, write."""
    parser = command_line(__doc__)
    parser.add_argument("--part", choices=("all", "learning", "time"), default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--turns", type=int, default=10, help="timed updates per arm")
    parser.add_argument("--rates", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument(
        "--finished", action="store_true", help="of pairs of runs that are done, nothing is run"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/rl-staleness"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learnt: dict[str, dict[str, list[dict[str, Any]]]] = {}
    if arguments.part != "time":
        learnt = {rate: {"0": [], "1": []} for rate in arguments.rates}
        for rate in arguments.rates:
            for seed in range(arguments.seeds):
                if arguments.finished and not all(finished(arguments, one, rate, seed) for one in (0, 1)):
                    continue
                for staleness in (0, 1):
                    learnt[rate][str(staleness)].append(learn(arguments, staleness, rate, seed))
    times = arguments.out / "time.json"
    if arguments.part != "learning" and not arguments.finished:
        rows = timed(arguments) | {"load": [{"average": os.getloadavg()[0]}]}
        atomic_write_json(times, rows)
    rows = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    if arguments.part == "time":
        print(json.dumps(rows))
        return
    load = rows.pop("load", [{"average": 0.0}])[0]["average"]
    metrics = measure(learnt, rows)
    given = {k: v for k, v in vars(arguments).items() if k not in ("out", "results", "part")}
    extra = {"learning": learnt, "time": rows, "load": load}
    text = page(metrics, arguments, load)
    publish(arguments.results, "rl_staleness", metrics, text, settings=given, extra=extra)


if __name__ == "__main__":
    main()
