"""Which prover helps, with every value exact: weaker, own, best of several, nearly perfect; Q in place of A.

Random planted worlds (`planted_world.py`) and random base policies, one per seed; a policy is a table over position and
matched tokens, updated by exact natural-gradient steps (PAV lemma F.2) with the reward Q^π + α · progress. No sampling:
what a prover does to the direction of an update is seen alone. At the *same step size* an arm with progress also takes
larger steps, as doubling the step size does; at the *same KL* (nats per response from policy to policy) it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from claims.harness import Aim, Claim, Experiment, Point, Record
from pav_theorem import Floats, natural_gradient_step
from planted_world import PlantedWorld

BASES = (5, 20, 50, 100, 300)
"""Strength γ of the base policy before noise: success rates from about 0.3 to 80 %."""
STEPS = ("size", "KL")
ARMS = {
    "outcome": "Q^π alone",
    "weaker": "progress under a prover of half the base's strength γ, without its noise",
    "own": "progress under the base policy itself (as it was at the start)",
    "best_of_4": "progress under the best of four of the base policy (closed form)",
    "strong": "progress under a nearly perfect prover (γ = 1000)",
    "strong_sum": "the nearly perfect prover's Q, summed over the steps to come (PAV §3.2 warns of such rewards)",
    "perfect_value": "the same prover's progress summed over the steps to come: the outcome again",
}


def random_case(seed: int, base: float) -> tuple[PlantedWorld, Floats]:
    """Return a world with a random hidden sequence, and a base policy (length, states, tokens) of about that strength."""
    random = np.random.default_rng([seed, 1])
    world = PlantedWorld(tuple(int(token) for token in random.integers(0, 14, size=5)))
    table = np.broadcast_to(world.prover(base), (world.length, len(world.hidden) + 2, world.vocabulary))
    noisy = table * np.exp(random.normal(0.0, 1.0, size=table.shape))
    return world, noisy / noisy.sum(axis=2, keepdims=True)


def kl_step(world: PlantedWorld, policy: Floats, reward: Floats, nats: float) -> Floats:
    """Return the natural-gradient step along a reward whose KL from the policy is so many nats per response."""
    visits = world.visits(policy)
    low, high = -12.0, 12.0
    found = policy
    for _ in range(40):  # bisection on the logarithm of the step size
        middle = (low + high) / 2
        found = natural_gradient_step(policy, reward, np.exp(middle))
        far = (visits * (found * (np.log(found + 1e-300) - np.log(policy + 1e-300))).sum(axis=2)).sum() > nats
        low, high = (low, middle) if far else (middle, high)
    return found


def summed(world: PlantedWorld, policy: Floats, reward: Floats) -> Floats:
    """Return the expected sum of a reward table over this step and, under the policy, all later ones."""
    total = np.zeros(reward.shape)
    for step in reversed(range(world.length)):
        total[step] = reward[step]
        if step + 1 < world.length:
            after = (policy[step + 1] * total[step + 1]).sum(axis=1)
            going_on = world.transitions != world.ended  # nothing is rewarded after the end
            total[step] += np.where(going_on, after[world.transitions], 0.0)
    return total


def progress_of(arm: str, world: PlantedWorld, base: Floats, strength: float) -> tuple[Floats, bool] | None:
    """Return an arm's process reward per step and whether it is summed over the steps to come; None: no reward."""
    if arm == "outcome":
        return None
    if arm in ("own", "best_of_4"):
        action, state = world.values(base)
        power = 4 if arm == "best_of_4" else 1
        action, state = 1 - (1 - action) ** power, 1 - (1 - state) ** power
        return action - state[:-1, :, None], False
    action, state = world.values(world.prover(max(1.0, strength / 2) if arm == "weaker" else 1000.0))
    return (action if arm == "strong_sum" else action - state[:-1, :, None]), arm in (
        "strong_sum",
        "perfect_value",
    )


def learn(
    world: PlantedWorld,
    policy: Floats,
    reward: tuple[Floats, bool] | None,
    alpha: float,
    step: str,
    settings: Mapping[str, Any],
) -> list[float]:
    """Return the success rate before and after every update."""
    rates = [world.success(policy)]
    for _ in range(settings["updates"]):
        values, _ = world.values(policy)
        if reward is not None:
            table, to_go = reward
            values = values + alpha * (summed(world, policy, table) if to_go else table)
        if step == "KL":
            policy = kl_step(world, policy, values, settings["nats"])
        else:
            policy = natural_gradient_step(policy, values, settings["step_size"])
        rates.append(world.success(policy))
    return rates


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> Record:
    """Return the success rates along the updates, for every base and kind of step."""
    curves: dict[str, dict[str, list[float]]] = {}
    for base in BASES:
        world, policy = random_case(seed, base)
        reward = progress_of(arm, world, policy, base)
        curves[str(base)] = {
            step: [round(rate, 6) for rate in learn(world, policy, reward, settings["alpha"], step, settings)]
            for step in STEPS
        }
    return {"curves": curves}


def mean_rate(record: Record, base: int, step: str) -> float:
    """Return the success rate over the updates, on average, in percent."""
    return 100 * float(np.mean(record["curves"][str(base)][step][1:]))


def last_rate(record: Record, base: int, step: str) -> float:
    """Return the success rate after the last update, in percent."""
    return 100 * float(record["curves"][str(base)][step][-1])


def _same_size(point: Point) -> bool:
    return bool(point["step"] == "size")


def _same_kl(point: Point) -> bool:
    return bool(point["step"] == "KL")


EXPERIMENT = Experiment(
    name="prover_strength",
    run=run,
    arms=ARMS,
    seeds=10,
    settings={"updates": 10, "alpha": 1.0, "step_size": 0.5, "nats": 0.2},
    minutes=0.05,
    expectation=(
        "Q and A as rewards of the step alone give the same update, since they differ by a number per state: only summed "
        "rewards can tell them apart. At the same small KL the natural gradient of the outcome is the steepest direction "
        "there is, so no prover can win the first update; a gain at the same KL would have to come later. If progress "
        "gained as much at the same KL as at the same step size, the direction of provers would be worth something even "
        "without sampling noise."
    ),
    caveats=(
        "Values are exact here: what progress does for estimates from samples is not in these numbers.",
        "Strengths of provers are those of one family; noise makes base policies differ from it.",
    ),
)
READINGS = {"base": BASES, "step": STEPS}
REGIONS = {"at the same KL": _same_kl, "at the same step size": _same_size}
CLAIMS = (
    Claim(
        "weak-prover",
        "A prover weaker than the base policy helps it (success over the updates, against the outcome alone)",
        Aim(0.0),
        ours="weaker",
        baselines=("outcome",),
        value=mean_rate,
        readings=READINGS,
        regions=REGIONS,
    ),
    Claim(
        "complementary-prover",
        "Progress under the best of four helps more than the base's own values (which only lengthen the step)",
        Aim(0.0),
        ours="best_of_4",
        baselines=("outcome", "own"),
        value=mean_rate,
        readings=READINGS,
        regions=REGIONS,
    ),
    Claim(
        "strong-prover",
        "A nearly perfect prover helps no less than the best of four (the paper expects it to be useless)",
        Aim(0.0),
        ours="strong",
        baselines=("outcome", "best_of_4"),
        value=mean_rate,
        readings=READINGS,
        regions=REGIONS,
    ),
    Claim(
        "strong-q-collapses",
        "With the nearly perfect prover's Q summed as a reward the policy ends below the outcome alone",
        Aim(0.0),
        ours="strong_sum",
        baselines=("outcome",),
        value=last_rate,
        lower_is_better=True,
        readings=READINGS,
        regions=REGIONS,
    ),
)
