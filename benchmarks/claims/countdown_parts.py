"""What the countdown claims share: the policy, the models that are trained on its solutions, and exact scorers.

Contract: folders are made once (`harness.made_once`) below the experiment's folder, in which every model's cost in sampled
tokens and CPU seconds is written beside it (`cost.json`). All models come out of the product's own functions. One policy
and one set of models serve all seeds of a claim, which vary problems and randomness of search or reinforcement learning;
so intervals do not hold the spread over policies.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from claims.harness import made_once
from sparring.files import atomic_write_json, dumps
from sparring.json_files import read_json_object
from sparring.labels.answers import Finished
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.settings_shared import seed_from
from sparring.statistics import auc
from sparring.traces.jsonl import write_traces
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Trace
from sparring.training.credit import Floats
from sparring.training.rl_scores import Group
from sparring.training.supervised import (
    OrmSettings,
    PrmSettings,
    SupervisedSettings,
    ValueSettings,
    train_supervised,
)
from sparring.training.world_policy import WorldPolicySettings, train_world_policy
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.world import World, judged, make_world, world_problems

Settings = Mapping[str, Any]


# --- made once -------------------------------------------------------------------------------------------------------


def shared(folder: Path, settings: Settings) -> Path:
    """Return the folder of what all runs with these settings of policy, data and training share."""
    digest = hashlib.sha256(dumps(settings).encode("utf-8")).hexdigest()[:8]
    return folder.parents[2] / "countdown" / digest


def policy(folder: Path, settings: Settings) -> Path:
    """Return the folder of the policy of `settings["policy"]` (settings of `train world-policy`)."""
    wanted = WorldPolicySettings.model_validate(settings["policy"])
    made = made_once(
        folder / "policy",
        lambda draft: _timed(draft, lambda: train_world_policy(wanted, draft / "model")),
    )
    return made / "model"


def solutions(folder: Path, settings: Settings) -> Path:
    """Return the file of the policy's solutions that everything is trained on; a step's label is its solution's outcome.

    So each prefix is labelled by one rollout: what teaches values best is many prefixes, not many rollouts of few.
    """
    start, data = policy(folder, settings), settings["data"]

    def work(draft: Path) -> int:
        world, engine = make_world(data["world"]), engine_of(start)
        asked = world_problems(world, data["problems"], seed=1, name="claims-training")
        traces = []
        for first in range(0, len(asked), 512):
            part = asked[first : first + 512]
            groups = engine.sample(
                [Prefix(problem) for problem in part],
                data["samples"],
                limits=Limits(200, fit=True),
                seeds=[seed_from(1, "claims-training", first + index) for index in range(len(part))],
            )
            for problem, group in zip(part, groups, strict=True):
                for one in group:
                    steps = split_completion(one.text)
                    if steps and one.finish != "length":
                        right = world.solved(problem, steps)
                        traces.append(Trace(problem, steps, (float(right),) * len(steps), right, "policy"))
        write_traces(draft / "traces.jsonl", traces)
        return engine.usage.tokens_generated

    return made_once(folder / "solutions", lambda draft: _timed(draft, lambda: work(draft))) / "traces.jsonl"


def scorer_folder(folder: Path, settings: Settings, kind: str) -> Path:
    """Return the folder of a model that is trained on the policy's solutions from the policy's weights.

    Args:
        folder: from `shared`.
        settings: with `policy`, `data` (world, problems, samples per problem) and `train` (by kind).
        kind: `value`, `orm` (the outcome at the last step), `prm` (exact labels up to the first mistake), or
            `value_longer`, which goes on from `value`.
    """
    traces = solutions(folder, settings)
    longer = kind == "value_longer"
    start = scorer_folder(folder, settings, "value") if longer else policy(folder, settings)

    def work(draft: Path) -> None:
        file = traces
        if kind == "prm":
            world, file = make_world(settings["data"]["world"]), draft / "traces.jsonl"
            write_traces(file, [judged(world, trace) for trace in read_traces_as(traces, "auto").traces])
        own = {"data": str(file), "backbone": str(start), "device": "cpu", **settings["train"][kind]}
        trainers: dict[str, type[SupervisedSettings]] = {
            "value": ValueSettings,
            "value_longer": ValueSettings,
            "orm": OrmSettings,
            "prm": PrmSettings,
        }
        train_supervised(trainers[kind].model_validate(own), draft / "run")
        (draft / "traces.jsonl").unlink(missing_ok=True)

    return made_once(folder / kind, lambda draft: _timed(draft, lambda: work(draft))) / "run" / "model"


def _timed(draft: Path, work: Callable[[], object]) -> None:
    started = time.process_time()
    tokens = work()
    cost = {"cpu_seconds": round(time.process_time() - started, 1)}
    if isinstance(tokens, int):
        cost["sampled_tokens"] = tokens
    atomic_write_json(draft / "cost.json", cost)


def costs(folder: Path) -> dict[str, Any]:
    """Return what the shared models below a folder have cost."""
    return {path.parent.name: read_json_object(path) for path in sorted(folder.glob("*/cost.json"))}


def engine_of(model: Path) -> LocalEngine:
    """Return the engine of a policy's folder."""
    loaded = load_causal_model(str(model), device=torch.device("cpu"), dtype=torch.float32)
    return LocalEngine(loaded, load_tokenizer(str(model)), CHAIN_LAYOUT)


# --- scorers ---------------------------------------------------------------------------------------------------------


class Exact:
    """Scores a step by the world's truth: 1 while the prefix is alive; on request, by a noisy version of it.

    Args:
        world: whose.
        quality: AUC of the scores on live and dead prefixes; 1 for the truth. The noise is a function of the state (what is
            left) and the problem, so equal states have equal scores. Whole solutions are scored by `final`.
        final: scorer of whole solutions; None: the truth.
    """

    def __init__(self, world: World, quality: float = 1.0, final: Any = None) -> None:
        self.world, self.final = world, final
        self.apart = None if quality >= 1 else math.sqrt(2) * NormalDist().inv_cdf(quality)

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        """Return one score per step."""
        rows = [[self._state(trace, place + 1) for place in range(len(trace.steps))] for trace in traces]
        if self.final is not None:
            for trace, row, scores in zip(traces, rows, self.final.score(traces), strict=True):
                if len(row) == len(trace.problem.solution or ()):
                    row[-1] = scores[-1]
        return rows

    def _state(self, trace: Trace, length: int) -> float:
        alive = self.world.alive(trace.problem, trace.steps[:length])
        if self.apart is None:
            return float(alive)
        key = f"{trace.problem.question}|{length}|{trace.steps[length - 1].partition(' : ')[2]}|{alive}"
        noise = random.Random(key).gauss(0, 1)
        return NormalDist().cdf(noise + (self.apart if alive else -self.apart) / 2)


class Constant:
    """Gives every prefix the same value, so that the gate alone moves credit. A `StepScores` of reinforcement learning.

    Args:
        value: of every prefix.
    """

    unscored_steps, scores_start = 0, True

    def __init__(self, value: float) -> None:
        self.value = value

    def rows(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return the value of every prefix of every answer; an answer without steps has none."""
        del seed
        return [
            [np.full(len(one.steps) + 1 if one.steps else 0, self.value) for one in group] for group in groups
        ]

    def rewards(self, solutions: Sequence[Finished]) -> None:
        """It has no view of answers."""


class Blind:
    """Scores at random, the same for the same prefix."""

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        """Return one score per step."""
        return [
            [
                random.Random(f"{trace.problem.question}|{trace.steps[: place + 1]}").random()
                for place in range(len(trace.steps))
            ]
            for trace in traces
        ]


def step_auc(world: World, scorer: Any, traces: Sequence[Trace]) -> dict[str, float | None]:
    """Return a scorer's AUC on alive against dead prefixes by number of steps, correct prefixes only.

    The last step is measured on the outcome of all solutions.
    """
    rows = scorer.score(traces)
    found: dict[int, list[tuple[float, bool]]] = {}
    for trace, row in zip(traces, rows, strict=True):
        correct = True
        for place in range(len(trace.steps)):
            correct = (
                correct
                and world.judge(trace.problem, trace.steps[:place], trace.steps[place]).truth == "correct"
            )
            # A prefix of which the parent was dead already says nothing about this step.
            if correct and (place == 0 or world.alive(trace.problem, trace.steps[:place])):
                found.setdefault(place + 1, []).append(
                    (row[place], world.alive(trace.problem, trace.steps[: place + 1]))
                )
    result = {
        f"step_{length}": auc([s for s, _ in pairs], [a for _, a in pairs])
        for length, pairs in sorted(found.items())
    }
    result["outcome"] = auc([row[-1] for row in rows], [trace.outcome is True for trace in traces])
    return result


def scorer_of(model: Path) -> Any:
    """Return the scorer of a folder."""
    return load_scorer(str(model), device="cpu")
