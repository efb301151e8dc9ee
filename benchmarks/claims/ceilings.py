"""What can be reached at all: chance, Pass@N, and the choice of a perfect step verifier, for worlds, dials and policies.

A policy solves problems many times; the world tells of every step whether it is right and of every solution whether it
succeeds. Then

    pass      some of N solutions succeed: no verifier of steps reaches it, for it counts what wrong steps hit by luck
    sound     some of N succeed with right steps alone: Pass@N without luck
    ceiling   the choice of a perfect verifier of steps: of N one whose steps are all right, if there is one; where correct
              steps can lead nowhere (countdown) it lies far below `sound`, and what is missing is progress, not luck
    vote      the majority answer; `weighted`: only solutions whose steps are all right vote
    luck      share of the successes that have a wrong step
    first     where failures began: the first wrong step by kind, or (countdown) a correct step after which none succeeds
    near      of wrong results, how many lie next to the right one: what negatives drawn uniformly hardly ever show

    python benchmarks/run_claims.py --full --only ceilings
    PYTHONPATH=src:benchmarks python -m claims.ceilings runs/claims     # the table of its records

Contract: a record is a pure function of (world, policy, seed, sizes). Not here: learned verifiers.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from claims.harness import Aim, Claim, Experiment, Reduced
from claims.policies import POLICIES, policy_folder
from claims.runner import read_records
from publishing import table
from sparring.evaluation.bon import Sample, curves
from sparring.models.loading import load_policy
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.search.selection import pass_at
from sparring.settings_shared import seed_from
from sparring.statistics import bootstrap_mean
from sparring.traces.records import Trace
from sparring.worlds.chain import parse_step
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import World, judged, make_world, world_problems

SIZES = (1, 4, 16)
LINES = {"random": "random", "pass": "pass", "ceiling": "ceiling", "majority": "vote", "weighted": "weighted"}
"""Line of `evaluation.bon.curves` → its name here; the scores given to it are a perfect verifier's."""
LONGEST = 220  # tokens of a solution; eight steps of a chain have 128


def sampled(
    world: World, policy: str | Path, *, problems: int, samples: int, seed: int, temperature: float = 1.0
) -> list[list[Trace]]:
    """Return judged solutions per problem; a solution that does not end fails, and one without a step has no labels."""
    device = torch.device("cpu")
    model, tokenizer = load_policy(str(policy), device=device, dtype=torch.float32)
    asked = world_problems(world, problems, seed=seed, name="ceilings")
    groups = LocalEngine(model, tokenizer, CHAIN_LAYOUT).sample(
        [Prefix(problem) for problem in asked],
        samples,
        limits=Limits(LONGEST, temperature, fit=True),
        seeds=[seed_from(seed, index, "ceilings") for index in range(problems)],
    )
    found = []
    for problem, group in zip(asked, groups, strict=True):
        traces = [judged(world, Trace(problem, split_completion(one.text))) for one in group]
        found.append(
            [
                replace(trace, outcome=trace.outcome and one.finish != "length")
                for trace, one in zip(traces, group, strict=True)
            ]
        )
    return found


def is_sound(trace: Trace) -> bool:
    """Tell whether a solution has steps, and all of them are right."""
    return bool(trace.steps) and trace.first_error == -1


def failure(world: World, trace: Trace) -> str:
    """Return how a failed solution began to fail: a kind of mistake, `dead end`, or `unfinished` where neither happened."""
    for index, step in enumerate(trace.steps):
        verdict = world.judge(trace.problem, trace.steps[:index], step)
        if verdict.truth == "wrong":
            return verdict.reason.partition(":")[2]
        if not world.alive(trace.problem, trace.steps[: index + 1]):
            return "dead end"
    return "unfinished"


def distance(world: World, trace: Trace) -> int | None:
    """Return how far a chain's first wrong result is from the right one, around the circle; None for other failures."""
    if not isinstance(world, ChainWorld) or trace.first_error is None or trace.first_error < 0:
        return None
    step = parse_step(trace.steps[trace.first_error])
    verdict = world.judge(trace.problem, trace.steps[: trace.first_error], trace.steps[trace.first_error])
    if step is None or verdict.reason != "chain:arithmetic":
        return None
    apart = (step.result - step.substituted.evaluate({}, world.modulus)) % world.modulus
    return min(apart, world.modulus - apart)


def record_of(world: World, groups: Sequence[Sequence[Trace]], seed: int) -> dict[str, Any]:
    """Return all measures of judged solutions: means with 95 % intervals over problems, shares, and counts."""
    bags = [
        [
            Sample(world.answer(t.problem, t.steps), t.outcome is True, [float(is_sound(t))], is_sound(t))
            for t in group
        ]
        for group in groups
    ]
    lines = curves(bags, SIZES, seed=seed)
    found: dict[str, Any] = {}
    for line, name in LINES.items():
        for size, values in lines.get(line, {}).items():
            metric = bootstrap_mean(values, seed=seed, unit="fraction")
            found[f"{name}.n{size}"] = [metric.value, metric.low, metric.high]
    for size in SIZES:
        values = [pass_at([t.outcome is True and is_sound(t) for t in group], size) for group in groups]
        metric = bootstrap_mean(values, seed=seed, unit="fraction")
        found[f"sound.n{size}"] = [metric.value, metric.low, metric.high]
    every = [trace for group in groups for trace in group]
    right, failed = [t for t in every if t.outcome], [t for t in every if not t.outcome]
    found["luck"] = sum(not is_sound(trace) for trace in right) / len(right) if right else None
    first = Counter(failure(world, trace) for trace in failed)
    found["first"] = {kind: count / len(failed) for kind, count in first.most_common()}
    apart = [one for trace in every if (one := distance(world, trace)) is not None]
    found["wrong_results"] = len(apart)
    if apart and isinstance(world, ChainWorld):
        half = (world.modulus - 1) / 2
        # reach → [share of the wrong results, share if they were uniform]
        found["near"] = {
            str(reach): [sum(one <= reach for one in apart) / len(apart), min(1.0, reach / half)]
            for reach in (1, 2, 5)
        }
    return found


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the record of one world and policy."""
    torch.set_num_threads(1)
    world = make_world(settings["world"])
    policy = policy_folder(settings["policy"], folder.parent)
    counts = {"problems": settings["problems"], "seed": seed_from(seed, "ceilings") % 2**31}
    started = time.process_time()
    groups = sampled(world, policy, samples=settings["samples"], **counts)
    greedy = sampled(world, policy, samples=1, temperature=0.0, **counts)
    found = record_of(world, groups, seed)
    outcomes = [float(group[0].outcome is True) for group in greedy]
    metric = bootstrap_mean(outcomes, seed=seed, unit="fraction")
    return {
        **found,
        "greedy": [metric.value, metric.low, metric.high],
        "cpu_seconds": time.process_time() - started,
    }


def overstated(record: Mapping[str, Any]) -> float:
    """Return how many points of Pass@16 are luck."""
    most = max(SIZES)
    return 100 * float(record[f"pass.n{most}"][0] - record[f"sound.n{most}"][0])


EXPERIMENT = Experiment(
    name="ceilings",
    run=run,
    arms={"solver": "the policy alone, and a perfect verifier of its steps"},
    points=tuple(
        {"world": world, "policy": name} for name, (worlds, _) in POLICIES.items() for world in worlds
    ),
    seeds=5,
    settings={"problems": 300, "samples": 16},
    minutes=1.0,
    reduced=Reduced(
        points=tuple({"world": world, "policy": "tiny"} for world in POLICIES["tiny"][0]),
        seeds=3,
        settings={"problems": 100},
    ),
    minutes_reduced=0.4,
    expectation=(
        "Modulo 13 every twelfth wrong solution ends right, so Pass@16 overstates what can be reached, the more the longer "
        "the chain; modulo 97 and in countdown it does not. Were the ceiling at Pass@16 everywhere, results told against "
        "Pass@N were honest, and other answer spaces not needed."
    ),
)
CLAIMS = (
    Claim(
        "luck",
        "On longer chains modulo 13, ten points of Pass@16 and more are luck, which no verifier of steps can reach",
        Aim(10.0),
        ours="solver",
        value=overstated,
        regions={
            "modulo 13, longer": lambda point: point["world"] == "chain:steps=6-8",
            "modulo 13, in distribution": lambda point: point["world"] == "chain",
            "modulo 97": lambda point: "modulus=97" in point["world"],
            "countdown": lambda point: point["world"].startswith("countdown"),
        },
    ),
)


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table in Markdown: a row per world and policy, in percent."""

    def cell(value: Any) -> str:
        share = value[0] if isinstance(value, Sequence) else value
        return "–" if share is None else f"{100 * share:.1f}"

    names = ["random.n1", "greedy", "vote.n16", "weighted.n16", "ceiling.n4", "ceiling.n16", "sound.n16"]
    names += ["pass.n16", "luck"]
    rows = []
    for name, record in records.items():
        first = ", ".join(f"{kind} {100 * share:.0f}" for kind, share in list(record["first"].items())[:4])
        near = record.get("near", {}).get("1")
        close = "–" if near is None else f"{100 * near[0]:.0f} ({100 * near[1]:.0f})"
        rows.append([name, *(cell(record.get(column)) for column in names), first, close])
    heads = ["world, policy", *names, "first failures", "wrong results within 1 (if uniform)"]
    return table(heads, rows)


def main(folder: str) -> None:
    """Print the table of the records of seed 0 that lie in a folder."""
    found = read_records(Path(folder), EXPERIMENT)
    cells = {
        f"{p['world']}, {p['policy']}": EXPERIMENT.cell("solver", 0, p, "full") for p in EXPERIMENT.points
    }
    print(page({name: record for name, cell in cells.items() if (record := found.of(cell)) is not None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
