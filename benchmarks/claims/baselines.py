"""Supervised baselines of the contest: what can be learned from a solver's own solutions, without an adversary.

All arms see the same solutions of the solver, make as many updates of the same backbone on as many solutions each, and are
measured on the same held-out solutions as the contest's arms (`contest.measures`). They differ in what they are told:

- `orm`: the outcome, at the last step;
- `mc_hard`, `mc_soft`: Monte-Carlo values of the prefixes (Math-Shepherd), some rollout right or the share of right ones;
- `beta_binomial`: the mean of their Beta posterior;
- `free_none`, `free_buffer`, `free_product`: outcomes alone, as labels of every step, with FreePRM's class for noise, or as
  the product of the steps;
- `own_steps`: the exact oracle's word on every step. The most that this backbone can be told about this solver.

A record says what its labels cost: tokens that the solver wrote (rollouts included) and verdicts of the oracle.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from claims.contest import SETTINGS as CONTEST
from claims.contest import measures, sampled
from claims.harness import made_once
from sparring.files import atomic_write_json
from sparring.labels.command import run_label
from sparring.labels.posterior import posterior_mean
from sparring.labels.settings import LabelSettings
from sparring.models.scorer import load_scorer
from sparring.runs import read_metrics
from sparring.settings_shared import seed_from
from sparring.traces.jsonl import read_traces, write_traces
from sparring.traces.records import Estimate, Label, Trace
from sparring.training.supervised import OrmSettings, PrmSettings, train_supervised
from sparring.worlds.world import judged, make_world

Relabel = Callable[[Trace], Trace]
ARMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "orm": ("outcome reward model", {}),
    "mc_hard": ("Monte-Carlo values, hard labels", {"labels": "hard"}),
    "mc_soft": ("Monte-Carlo values, soft labels", {"labels": "soft"}),
    "beta_binomial": ("Monte-Carlo values, posterior means", {"labels": "soft"}),
    "free_none": ("outcomes as labels of every step", {"labels": "outcome", "outcome_noise": "none"}),
    "free_buffer": ("the same with a class for noise", {"labels": "outcome", "outcome_noise": "buffer"}),
    "free_product": (
        "outcomes as the product of the steps",
        {"labels": "outcome", "outcome_noise": "product"},
    ),
    "own_steps": ("the solver's own steps, oracle labels", {"labels": "hard"}),
}
MEASURED = ("mc_hard", "mc_soft", "beta_binomial")
"""Arms that need rollouts."""
SETTINGS: Mapping[str, Any] = {
    **CONTEST,
    "label_problems": 400,
    "label_solutions": 4,
    "rollouts": 4,
    "batch_traces": 24,
    "learning_rate": 1e-3,
}


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train one arm and return its record; solutions, rollouts and held-out solutions are made once per seed."""
    settings = {**SETTINGS, **settings}
    splits = {"id": settings["task"], "longer": settings["longer"]}
    held_out = {
        name: sampled(folder, world, settings, settings["problems"], seed, "measure")
        for name, world in splits.items()
    }
    chosen = label_settings(settings, seed)
    name = f"labels-{seed_from(chosen.model_dump_json()):x}"
    labelled = made_once(folder.parent / name, lambda out: run_label(chosen, out, Console(quiet=True)))
    folder.mkdir(parents=True, exist_ok=True)
    world = make_world(settings["task"])
    relabel: dict[str, Relabel] = {
        "mc_hard": lambda trace: with_values(trace, lambda one: float(one.value > 0)),
        "beta_binomial": lambda trace: with_values(trace, smoothed),
        "own_steps": lambda trace: judged(world, trace),
    }
    traces = [
        relabel.get(arm, lambda trace: trace)(trace) for trace in read_traces(labelled / "traces.jsonl")
    ]
    write_traces(folder / "traces.jsonl", traces)
    fields = {
        "data": str(folder / "traces.jsonl"),
        "backbone": settings["backbone"],
        "epochs": 1 + settings["batch_traces"] * updates_of(settings) // len(traces),
        "max_updates": updates_of(settings),
        "batch_traces": settings["batch_traces"],
        "learning_rate": settings["learning_rate"],
        "warmup_share": 0.1,
        "final_learning_rate": 0.1,
        "validation_share": 0.0,
        "device": "cpu",
        "seed": seed,
        **ARMS[arm][1],
    }
    kind = OrmSettings if arm == "orm" else PrmSettings
    started = time.process_time()
    model = train_supervised(kind.model_validate(fields), folder / "run", resume=True)
    scorer: Any = load_scorer(model, device="cpu")
    if arm == "orm":
        scorer = LastScore(scorer)
    record = {
        "training": {
            name: read_metrics(folder / "run")[f"training.{name}"].value
            for name in ("updates", "traces", "labelled_steps")
        },
        "seconds": time.process_time() - started,
        "cost": cost(labelled, traces, arm),
    }
    for name, groups in held_out.items():
        record[name] = measures(groups, scorer, splits[name], told=settings["told"])
    return record


def updates_of(settings: Mapping[str, Any]) -> int:
    """Return the updates of R that an arm of the contest makes, its warm start included."""
    return int(settings["prm_warm_steps"] + settings["updates"])


def label_settings(settings: Mapping[str, Any], seed: int) -> LabelSettings:
    """Return the settings of the job that writes the solver's solutions, with values of all their prefixes."""
    return LabelSettings.model_validate(
        {
            "task": settings["task"],
            "policy": settings["solver"],
            "problems": settings["label_problems"],
            "n_cov": settings["label_solutions"],
            "n_mc": settings["rollouts"],
            "max_new_tokens": settings["max_new_tokens"],
            "device": "cpu",
            "seed": seed,
        }
    )


def with_values(trace: Trace, label: Callable[[Estimate], float]) -> Trace:
    """Return the trace with labels made of its estimates."""
    found: tuple[Label, ...] = tuple(
        None if estimate is None else label(estimate) for estimate in trace.estimates or ()
    )
    return replace(trace, labels=found)


def smoothed(estimate: Estimate) -> float:
    """Return the mean of the Beta posterior of a measured value; what is known exactly stays."""
    if not estimate.count:
        return estimate.value
    return posterior_mean(round(estimate.value * estimate.count), estimate.count)


class LastScore:
    """A scorer of prefixes as one of solutions: every step has the last one's score.

    Args:
        scorer: whose last score is a solution's.
    """

    def __init__(self, scorer: Any) -> None:
        self.scorer = scorer

    def score(self, traces: list[Trace]) -> list[list[float]]:
        """Return the last score of each trace, once per step."""
        return [[row[-1]] * len(row) for row in self.scorer.score(traces)]


def cost(labelled: Path, traces: list[Trace], arm: str) -> dict[str, float]:
    """Return what the labels cost: tokens that the solver wrote (with rollouts where the arm needs them), and verdicts."""
    metrics = read_metrics(labelled)
    rollouts = float(metrics["label.rollouts"].value or 0)
    written = float(metrics["label.tokens_generated"].value or 0)
    words = [sum(len(step.split()) + 1 for step in trace.steps) for trace in traces]
    return {
        "tokens": written if arm in MEASURED else float(sum(words)),
        "rollouts": rollouts if arm in MEASURED else 0.0,
        "verdicts": float(sum(len(trace.steps) for trace in traces)) if arm == "own_steps" else 0.0,
    }


if __name__ == "__main__":  # by hand: FOLDER SEED SETTINGS ARM…
    where, number, text, *arms = sys.argv[1:]
    for name in arms or ARMS:
        place = Path(where) / f"{name}-{number}"
        if not (place / "record.json").exists():
            found = run(name, int(number), json.loads(text), place)
            atomic_write_json(place / "record.json", {"arm": name, "seed": int(number), "record": found})
            print(name, *(f"{k} {found['id'][k]:.3f}" for k in ("step_auc", "best", "vote")), flush=True)
