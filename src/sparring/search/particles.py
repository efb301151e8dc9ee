"""Particle filtering: N solutions grow step by step, and before each step they are drawn anew in proportion to promise.

Source: Puri et al. 2025 (arXiv 2502.01618): weights are softmax(log-odds of the PRM's score / temperature), so at
temperature 1 a particle is drawn in proportion to Q / (1 − Q). Search that samples instead of maximising is harder to
lead astray by a PRM that is wrong. Drawing is systematic (one random number for all), which adds the least noise.
Decided here: the promise is the effective reward, kept within [0, 1]; α = 0 is the published method.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

from sparring.search.task import ROOT, Search, State, Task
from sparring.settings_shared import seed_from

_EDGE = 1e-6  # log-odds are taken of rewards within [edge, 1 − edge]


def particles(task: Task) -> Search[list[State]]:
    """Return the particles in the end; copies of one solution stay apart."""
    states = [ROOT] * task.n
    for depth in range(task.settings.max_steps):
        going = [index for index, state in enumerate(states) if state.end == "open"]
        if not going or task.exhausted():
            break
        groups = yield from task.expand([states[index] for index in going], 1)
        lost = set()
        for index, group in zip(going, groups, strict=True):
            if group:
                states[index] = group[0]
            else:
                lost.add(index)
        if len(lost) == len(states):
            break
        states = [state for index, state in enumerate(states) if index not in lost]
        key = json.dumps(["particles", depth])
        draw = random.Random(seed_from(task.settings.seed, task.problem.id, key)).random()
        weights = odds([state.reward for state in states], task.settings.resampling_temperature)
        states = [states[index] for index in systematic(weights, task.n, draw)]
    return [state for state in states if state.steps]


def odds(rewards: Sequence[float], temperature: float) -> list[float]:
    """Return softmax(log-odds of the rewards / temperature)."""
    logs = []
    for reward in rewards:
        inside = min(max(reward, _EDGE), 1.0 - _EDGE)
        logs.append(math.log(inside / (1.0 - inside)) / temperature)
    highest = max(logs)
    weights = [math.exp(one - highest) for one in logs]
    return [weight / sum(weights) for weight in weights]


def systematic(weights: Sequence[float], count: int, draw: float) -> list[int]:
    """Return `count` indices, index i about `count` · weights[i] times, in order; `draw` is in [0, 1)."""
    chosen: list[int] = []
    passed = 0.0
    for index, weight in enumerate(weights):
        passed += weight
        while len(chosen) < count and len(chosen) + draw < passed * count:
            chosen.append(index)
    return chosen + [len(weights) - 1] * (count - len(chosen))  # rounding of the last sum
