"""What makes the game a contest: rules, a frozen generator, the game and its remedies, under one budget of updates of R.

Every arm warms R up on what rules know (`kinds`), then makes as many further updates. Then R meets what it was made for:
solutions that a solver sampled, judged step by step by the world. Recorded per arm and split (the world's, and `longer`):

- step AUC: the solver's first wrong steps against its correct ones before them, pooled;
- within-problem AUC: right against wrong solutions of one problem by their lowest score, mean over problems that have both;
- best-of-N and weighted vote per problem, beside chance, majority and a perfect step verifier (the ceiling: it takes a
  solution without a wrong step where there is one, else any);
- of the game: fool rate, kinds and KL over time; exploitability (`attack`); oracle verdicts and seconds spent.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparring.evaluation.attack import AttackSettings, attack
from sparring.files import atomic_write_json
from sparring.json_files import read_json_object, read_jsonl_objects
from sparring.models.loading import load_policy, pick_device, pick_dtype
from sparring.models.scorer import load_scorer
from sparring.oracles.equality import answer_groups
from sparring.rollouts.engine import Limits, Prefix, solutions
from sparring.rollouts.local import LocalEngine
from sparring.search.selection import best_at, random_choice, vote_at
from sparring.settings_shared import seed_from
from sparring.statistics import auc
from sparring.traces.jsonl import read_traces, write_traces
from sparring.traces.records import Trace
from sparring.training.aprm import AprmSettings, train_aprm
from sparring.training.game import load_task
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.world import judged, make_world, world_problems

GAME = {
    "adversary": "trained",
    "adversary_pay": "rank",
    "adversary_advantage": "normalised",
    "adversary_kl": 0.05,
}
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "rules": ("the kinds that the rules know, and no others", {"adversary": "rules"}),
    "all rules": ("every kind that the world has", {"adversary": "rules", "rule_kinds": None}),
    "frozen": ("a generator that imitated the rules, as it is", {"adversary": "frozen"}),
    "trained": ("the game as it was: paid by probability", {"adversary": "trained"}),
    "ranked": ("the game, paid by rank, advantages normalised, weak KL", GAME),
    "mixed": ("ranked, half of the states rewritten by the frozen generator", {**GAME, "frozen_share": 0.5}),
    "response": (
        "mixed, and best responses: up to 6 rounds of G before every 6th update of R",
        {**GAME, "frozen_share": 0.5, "adversary_rounds": 6, "phase_updates": 6, "adversary_target": 0.4},
    ),
    "own steps": ("rules and the solver's own wrong steps, no adversary", {"adversary": "rules"}),
    "own frozen": ("a generator that imitated both, as it is", {"adversary": "frozen"}),
    "own mixed": ("the game from a generator that imitated both", {**GAME, "frozen_share": 0.5}),
}
OWN = {"own steps", "own frozen", "own mixed"}
SETTINGS: Mapping[str, Any] = {
    "task": "chain",
    "longer": "chain:steps=6-8",
    "solver": "tiny-chain-policy",
    "backbone": "tiny-chain-policy",
    "kinds": ["arithmetic"],
    "prm_warm_steps": 40,
    "adversary_warm_steps": 40,
    "updates": 100,
    "problems": 200,
    "samples": 16,
    "max_new_tokens": 160,
    "own_problems": 128,
    "told": False,
    "attack_updates": 0,
    "change": {},
}
_ROWS = 512


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train one arm and return its record; what arms share is made beside the folder once per seed."""
    settings = {**SETTINGS, **settings}
    splits = {"id": settings["task"], "longer": settings["longer"]}
    shared = folder.parent / f"solver-{seed}"
    held_out = {
        name: sampled(shared / f"{name}.jsonl", world, settings, settings["problems"], seed, "measure")
        for name, world in splits.items()
    }
    given: dict[str, Any] = {**ARMS[arm][1], **settings["change"]}
    if arm in OWN:
        own = shared / "own.jsonl"
        sampled(own, settings["task"], settings, settings["own_problems"], seed, "own")
        given["solver_steps"] = str(own)
    started = time.process_time()
    chosen = AprmSettings.model_validate(
        {
            "task": settings["task"],
            "backbone": settings["backbone"],
            "rule_kinds": settings["kinds"],
            "prm_warm_steps": settings["prm_warm_steps"],
            "adversary_warm_steps": settings["adversary_warm_steps"],
            "updates": settings["updates"],
            "log_kinds": True,
            "device": "cpu",
            "seed": seed,
            **given,
        }
    )
    prm = train_aprm(chosen, folder / "run", resume=True)
    record = {"training": training(folder / "run"), "seconds": time.process_time() - started}
    scorer = load_scorer(prm, device="cpu")
    for name, groups in held_out.items():
        record[name] = measures(groups, scorer, splits[name], told=settings["told"])
    if settings["attack_updates"]:
        record["attack"] = attacked(prm, settings, seed, folder)
    return record


# --- the solver ------------------------------------------------------------------------------------------------------


def sampled(
    file: Path, world: str, settings: Mapping[str, Any], count: int, seed: int, purpose: str
) -> list[list[Trace]]:
    """Return judged solutions per problem, from the file if they have been sampled."""
    if not file.exists():
        device = pick_device("cpu")
        model, tokenizer = load_policy(settings["solver"], device=device, dtype=pick_dtype("auto", device))
        engine = LocalEngine(model, tokenizer, CHAIN_LAYOUT, row_budget=_ROWS, name="solver")
        made = make_world(world)
        problems = world_problems(made, count, seed=seed, name=f"contest-{purpose}")
        found: list[Trace] = []
        together = max(1, _ROWS // settings["samples"])
        for start in range(0, count, together):
            chosen = problems[start : start + together]
            groups = solutions(
                engine,
                [Prefix(problem) for problem in chosen],
                settings["samples"],
                limits=Limits(settings["max_new_tokens"], fit=True),
                seeds=[seed_from(seed, purpose, start + place) for place in range(len(chosen))],
                separator="\n",
            )
            found += [judged(made, trace) for group in groups for trace in group if trace is not None]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_traces(file, found)
    groups_by_problem: dict[str, list[Trace]] = {}
    for trace in read_traces(file):
        groups_by_problem.setdefault(trace.problem.id, []).append(trace)
    return list(groups_by_problem.values())


# --- measures --------------------------------------------------------------------------------------------------------


def measures(groups: Sequence[Sequence[Trace]], scorer: Any, world: str, *, told: bool) -> dict[str, Any]:
    """Return everything that is measured on one split.

    Args:
        groups: judged solutions per problem.
        scorer: the PRM.
        world: of the problems.
        told: the question says what a solution must end in (countdown's target): only those that do are chosen from, by all
            methods alike, and votes are for whole solutions, since all answers are the same.
    """
    distinct = {(t.problem.id, t.steps): t for group in groups for t in group}
    traces = list(distinct.values())
    rows: list[list[float]] = []
    for start in range(0, len(traces), _ROWS):
        rows += scorer.score(traces[start : start + _ROWS])
    scores = dict(zip(distinct, rows, strict=True))
    made = make_world(world)
    per_problem: dict[str, list[float]] = {
        name: [] for name in ("random", "majority", "perfect", "best", "vote", "pass")
    }
    within: list[float] = []
    pooled: list[tuple[float, bool]] = []
    by_kind: dict[str, list[float]] = {}
    right_steps: list[float] = []
    for everyone in groups:
        ending = [t for t in everyone if made.answer(t.problem, t.steps) == t.problem.answer]
        group = list(ending or everyone) if told else list(everyone)
        solved = [float(trace.outcome is True) for trace in group]
        clean = [trace.first_error == -1 for trace in group]
        totals = [min(scores[t.problem.id, t.steps]) for t in group]
        if told:
            numbers = {steps: number for number, steps in enumerate(dict.fromkeys(t.steps for t in group))}
            classes = [numbers[t.steps] for t in group]
        else:
            classes = answer_groups([made.answer(t.problem, t.steps) for t in group])
        n = len(group)
        per_problem["random"].append(random_choice(solved))
        per_problem["majority"].append(vote_at(classes, solved, n))
        per_problem["perfect"].append(best_at([float(c) for c in clean], solved, n))
        per_problem["best"].append(best_at(totals, solved, n))
        per_problem["vote"].append(vote_at(classes, solved, n, weights=totals))
        per_problem["pass"].append(float(any(solved)))
        found = auc(totals, [float(c) for c in clean]) if len(set(clean)) == 2 else None
        if found is not None:
            within.append(found)
        for trace in everyone[:4]:  # four a problem: steps of one problem repeat
            row = scores[trace.problem.id, trace.steps]
            end = trace.first_error if trace.first_error is not None and trace.first_error >= 0 else None
            for place, score in enumerate(row if end is None else row[: end + 1]):
                pooled.append((score, place != end))
                if place != end:
                    right_steps.append(score)
                else:
                    verdict = made.judge(trace.problem, trace.steps[:place], trace.steps[place])
                    by_kind.setdefault(verdict.reason.rpartition(":")[2], []).append(score)
    return {
        "step_auc": auc([s for s, _ in pooled], [float(r) for _, r in pooled]),
        "within_auc": float(np.mean(within)) if within else None,
        "within_problems": len(within),
        "auc_by_kind": {
            kind: [auc(wrong + right_steps, [0.0] * len(wrong) + [1.0] * len(right_steps)), len(wrong)]
            for kind, wrong in sorted(by_kind.items())
        },
        **{name: float(np.mean(values)) for name, values in per_problem.items()},
        "per_problem": {name: [round(v, 4) for v in per_problem[name]] for name in ("best", "vote")},
    }


def training(folder: Path) -> dict[str, Any]:
    """Return what the game's log says, in fifths: fool rate, kinds, KL, entropy, reward; and what was spent."""
    records = [record for _, record in read_jsonl_objects(folder / "log.jsonl")]
    game = [record for record in records if record["phase"] == "game"]
    fifths = [game[i * len(game) // 5 : (i + 1) * len(game) // 5] for i in range(5)]
    means = {
        name: [mean_of([record.get(name) for record in part]) for part in fifths]
        for name in (
            "fool_rate", "first_fool_rate", "miss_rate", "failed", "malformed", "adversary_kl", "adversary_entropy",
            "adversary_reward", "adversary_rounds", "prm_accuracy_clean", "prm_accuracy_fresh",
        )
    }  # fmt: skip
    kinds = []
    for part in fifths:
        wrong: Counter[str] = Counter()
        fooled: Counter[str] = Counter()
        for record in part:
            wrong.update(record["wrong_kinds"])
            fooled.update(record["fooled_kinds"])
        kinds.append({kind: [wrong[kind], fooled[kind]] for kind in sorted(wrong)})
    spent = read_json_object(folder / "metrics.json")["metrics"]
    return {
        **means,
        "kinds": kinds,
        "labelled_steps": spent["training.labelled_steps"]["value"],
        "train_seconds": spent["training.seconds"]["value"],
    }


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of those that are there, rounded."""
    there = [value for value in values if value is not None]
    return round(sum(there) / len(there), 4) if there else None


def attacked(prm: Path, settings: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Return the fool rates of a fresh adversary, warm-started on the rules that were known, paid by rank."""
    own = AttackSettings.model_validate(
        {
            "task": settings["task"],
            "backbone": settings["backbone"],
            "rule_kinds": settings["kinds"],
            "warm_steps": settings["adversary_warm_steps"],
            "updates": settings["attack_updates"],
            "adversary_pay": "rank",
            "adversary_advantage": "normalised",
            "curve_points": 1,
            "probes": False,
            "seed": seed + 1000,
            "device": "cpu",
        }
    )
    found = attack(load_scorer(prm, device="cpu"), load_task(own), own, folder / "attack.jsonl")
    return {name: metric.value for name, metric in found.metrics.items()}


if __name__ == "__main__":  # one call by hand: FOLDER ARM SEED SETTINGS [TITLE]
    where, name, number, text, *title = sys.argv[1:]
    shown = title[0] if title else name
    folder = Path(where) / f"{shown.replace(' ', '_')}-{number}"
    found = run(name, int(number), json.loads(text), folder)
    atomic_write_json(folder / "record.json", {"arm": shown, "seed": int(number), "record": found})
