"""Countdown: where progress beats correctness and outcome when answers are searched for, at equal sampled tokens.

Short variant with 3 and 4 numbers, and the long variant of 6 steps. Budget N: as many tokens as N whole solutions. A beam
samples N first steps, keeps N / C states and samples C next steps of each, so N steps per depth; states that agree in
what is left are one (`state_mark`). Baselines choose among N whole solutions by an outcome reward model (best-of-N), or
let whole solutions vote, weighted by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from claims import countdown_parts as parts
from claims.harness import Aim, Claim, Experiment, Reduced, made_once, product
from sparring.files import atomic_write_json
from sparring.json_files import read_json_object
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.search.driver import run_search
from sparring.search.selection import best_at, pass_at, random_choice, vote_at
from sparring.search.settings import MethodSettings
from sparring.settings_shared import seed_from
from sparring.worlds.world import make_world, world_problems

_TRAIN = {
    "learning_rate": 2e-3, "warmup_share": 0.05, "batch_traces": 256, "validation_share": 0.02, "weight_decay": 0.01,
    "keep": "last",
}  # fmt: skip
_VALUE = {"values": "labels", "class_balance": "none", "calibrate": False}
SHORT = {
    "policy": {
        "world": "countdown:numbers=3-5", "updates": 2000, "batch": 128, "earlier": [250, 500, 1000],
        "evaluation_problems": 1000,
    },
    "data": {"world": "countdown:numbers=3-5", "problems": 20_000, "samples": 4},
    "train": {
        "value": {**_TRAIN, **_VALUE, "epochs": 2},
        "value_longer": {**_TRAIN, **_VALUE, "epochs": 2, "seed": 1},
        "orm": {**_TRAIN, "epochs": 1, "max_traces": 40_000},
        "prm": {**_TRAIN, "epochs": 1, "max_traces": 40_000},
    },
}  # fmt: skip
"""Policy, data and training of the short variant."""
LONG = {
    "policy": {
        "world": "countdown:variant=long,steps=6-8", "updates": 4000, "batch": 64, "earlier": [400, 700],
        "evaluation_problems": 600,
    },
    "data": {"world": "countdown:variant=long,steps=6-8", "problems": 5_000, "samples": 4},
    "train": {kind: {**one, "batch_traces": 128, "max_traces": 20_000} for kind, one in SHORT["train"].items()},
}  # fmt: skip
"""The same of the long variant."""
CHOICES = ("random", "vote", "best_of_n", "best_of_n_value", "weighted_vote", "pass")
"""Arms that choose among the same N whole solutions."""


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return accuracy, tokens per problem and per-problem outcomes for every budget."""
    world = make_world(settings["world"])
    kind = "long" if "long" in settings["world"] else "short"
    made = settings[kind]
    shared = parts.shared(folder, made)
    problems = world_problems(world, settings["problems"], seed=seed, name="claims-search")
    if arm in CHOICES:
        name = f"scored-{settings['world'].replace(':', '-')}-{seed}-{settings['problems']}"
        place = made_once(
            shared / name,
            partial(_independent, shared, made, problems, world, seed, max(settings["budgets"])),
        )
        return _chosen(arm, read_json_object(place / "scored.json"), settings["budgets"])
    engine = parts.engine_of(parts.policy(shared, made))
    scorer = _scorer(arm, world, shared, made)
    value = None
    if arm == "beam_product":
        value = parts.scorer_of(parts.scorer_folder(shared, made, "value_longer"))
    expansions, alpha = settings["expansions"], 0.0
    if arm.startswith("beam_effective"):
        alpha = settings["alpha"]
    found: dict[str, Any] = {"budgets": {}}
    for n in settings["budgets"]:
        options = MethodSettings(
            expansions=expansions,
            alpha=alpha,
            prover="best-of-4" if arm == "beam_effective" else "base",
            aggregation="min" if arm in ("beam_correctness", "beam_product") else "last",
            seed=seed,
            max_steps=20,
            max_step_tokens=40,
            in_flight=64,
            state_mark=None if arm == "beam_value_copies" else " : ",
        )
        results = run_search(
            "beam", problems, engine, scorer, options, n=max(1, n // expansions), value=value
        )
        right, among = [], []
        for problem, one in zip(problems, results, strict=True):
            solved = [world.solved(problem, candidate.steps) for candidate in one.candidates]
            right.append(int(one.chosen is not None and solved[one.chosen]))
            among.append(int(any(solved)))
        tokens = sum(one.spent.tokens_generated or 0 for one in results) / len(results)
        found["budgets"][str(n)] = _told(right, tokens) | {"among": sum(among) / len(among)}
    return found


def _scorer(arm: str, world: Any, shared: Path, made: Mapping[str, Any]) -> Any:
    def model(kind: str) -> Any:
        return parts.scorer_of(parts.scorer_folder(shared, made, kind))

    if arm == "beam_random":
        return parts.Blind()
    if arm == "beam_truth":
        return parts.Exact(world)
    if arm.startswith("beam_noisy"):
        return parts.Exact(world, float(arm.rpartition("_")[2]) / 100, final=model("value_longer"))
    return model("prm" if arm in ("beam_correctness", "beam_product") else "value_longer")


def _independent(
    shared: Path, made: Mapping[str, Any], problems: Any, world: Any, seed: int, most: int, draft: Path
) -> None:
    """Sample as many whole solutions as the largest budget, and score them."""
    engine = parts.engine_of(parts.policy(shared, made))
    scorers = {
        kind: parts.scorer_of(parts.scorer_folder(shared, made, kind)) for kind in ("orm", "value_longer")
    }
    groups = engine.sample(
        [Prefix(problem) for problem in problems],
        most,
        limits=Limits(200, fit=True),
        seeds=[seed_from(seed, "claims-solutions", index) for index in range(len(problems))],
    )
    cases = []
    for problem, group in zip(problems, groups, strict=True):
        steps = [split_completion(one.text) for one in group]
        traces = [parts.Trace(problem, one) for one in steps if one]
        case: dict[str, Any] = {
            "right": [bool(one) and world.solved(problem, one) for one in steps],
            "classes": _classes(steps),
        }
        for kind, scorer in scorers.items():
            scores = iter(scorer.score(traces))
            case[kind] = [next(scores)[-1] if one else 0.0 for one in steps]
        cases.append(case)
    tokens = sum(len(one.token_ids) for group in groups for one in group) / len(problems) / most
    atomic_write_json(draft / "scored.json", {"tokens": tokens, "cases": cases})


def _classes(steps: Any) -> list[int]:
    """Return equal solutions as equal numbers."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(one, len(numbers)) for one in steps]


def _chosen(arm: str, solutions: Mapping[str, Any], budgets: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"budgets": {}}
    for n in budgets:
        values = []
        for number, case in enumerate(solutions["cases"]):
            worth = [float(one) for one in case["right"]]
            values.append(
                {
                    "random": lambda w=worth: random_choice(w),
                    "pass": lambda c=case, k=n: pass_at(c["right"], k),
                    "best_of_n": lambda c=case, w=worth, k=n: best_at(c["orm"], w, k),
                    "best_of_n_value": lambda c=case, w=worth, k=n: best_at(c["value_longer"], w, k),
                    "vote": lambda c=case, w=worth, k=n, i=number: vote_at(c["classes"], w, k, seed=i),
                    "weighted_vote": lambda c=case, w=worth, k=n, i=number: vote_at(
                        c["classes"], w, k, weights=c["value_longer"], seed=i
                    ),
                }[arm]()
            )
        found["budgets"][str(n)] = _told(values, n * solutions["tokens"])
    return found


def _told(values: list[Any], tokens: float) -> dict[str, Any]:
    return {
        "accuracy": sum(values) / len(values),
        "tokens": tokens,
        "right": [round(float(one), 3) for one in values],
    }


def accuracy(record: Mapping[str, Any], n: int) -> float | None:
    """Return the accuracy at a budget, in points."""
    found = record["budgets"].get(str(n))
    return None if found is None else 100 * found["accuracy"]


def gain_in_compute(ours: Mapping[str, Any], baseline: Mapping[str, Any], n: int) -> float | None:
    """Return how many times more tokens the baseline needs for our accuracy at N, by interpolation in log tokens.

    None where it does not reach it at any budget that was run, or has it at the smallest.
    """
    wanted = ours["budgets"].get(str(n))
    points = sorted((one["tokens"], one["accuracy"]) for one in baseline["budgets"].values())
    if wanted is None:
        return None
    for (low, before), (high, after) in pairwise(points):
        if before <= wanted["accuracy"] <= after and after > before:
            share = (wanted["accuracy"] - before) / (after - before)
            return float(low * (high / low) ** share / wanted["tokens"])
    return None


ARMS = {
    "random": "one solution at random",
    "vote": "a vote over N whole solutions (answers are all alike)",
    "best_of_n": "best of N whole solutions by an outcome reward model",
    "best_of_n_value": "best of N by the value model's last score: every prefix taught it the outcome",
    "weighted_vote": "a vote over N whole solutions, weighted by the value model's last score",
    "pass": "ceiling of every choice among N: some solution succeeds",
    "beam_random": "beam, states kept at random",
    "beam_correctness": "beam by a correctness PRM (the lowest score so far)",
    "beam_value": "beam by value Q",
    "beam_value_copies": "the same, different ways to one state kept apart",
    "beam_effective": "beam by Q + α A under best-of-4",
    "beam_effective_base": "beam by Q + α A under the policy itself",
    "beam_product": "beam by correctness × value",
    "beam_noisy_75": "beam by the truth with noise: AUC 0.75 on live and dead states",
    "beam_noisy_85": "the same, AUC 0.85",
    "beam_noisy_95": "the same, AUC 0.95",
    "beam_truth": "ceiling of every beam: by the truth",
}
EXPERIMENT = Experiment(
    name="countdown-search",
    run=run,
    arms=ARMS,
    points=product(world=("countdown:numbers=3", "countdown", "countdown:variant=long,steps=6")),
    seeds=5,
    settings={
        "short": SHORT, "long": LONG, "problems": 300, "budgets": (4, 16, 64), "expansions": 4, "alpha": 1.0,
    },
    minutes=2.0,
    reduced=Reduced(
        points=product(world=("countdown", "countdown:numbers=3")), seeds=5,
        settings={"problems": 150, "budgets": (4, 16)},
    ),
    minutes_reduced=0.1,
    expectation=(
        "A prototype with other code: a beam by Q loses to best-of-N with four numbers (AUC 0.76 with three numbers left), "
        "breaks even at AUC 0.76 and wins 13 points at 0.88, 19 at the truth; five points with three numbers at N = 4. "
        "Q + α A cannot differ from Q at the first decision, so only the long variant can tell them. A loss of the beam "
        "at AUC 0.95, or a gain of Q + α A over Q in the long variant, would change our mind."
    ),
    failed=(
        "A policy of the long variant trained for 1000 updates slips in two of three first steps and never succeeds; the "
        "4000 of the full size have not been tried.",
        "An outcome reward model that learns from last steps alone: AUC 0.76 on outcomes of four-number problems after "
        "40,000 solutions, where a value model taught the outcome at every step of 80,000 has 0.95. So choices among whole "
        "solutions by the value model's last score are baselines as well.",
    ),
    caveats=(
        "One policy and one set of models per variant: seeds vary problems and sampling alone.",
        "Values of a stated AUC are the truth with noise, fixed per state, and no model's; the beam's last choice is the "
        "value model's, as that of its baselines. The three claims about them were put down when three seeds had shown "
        "their size; seeds 3 and 4 were run afterwards.",
        "A ratio of tokens is left out where best-of-N never reaches the beam's accuracy (the beam is better than can be "
        "said) or has it at its smallest budget (it is worse): with values at .95 and three numbers four of five seeds at "
        "N = 16 are of the first kind, with the learned values those at N = 4 of the second.",
        "Tokens are the policy's; the models that score read as many again, and their training data cost more.",
    ),
)  # fmt: skip

_SETTINGS = {"readings": {"n": (4, 16)}, "value": accuracy}
_REGIONS = {
    "the long variant": lambda point: "long" in point["world"],
    "three numbers": lambda point: "numbers=3" in point["world"],
    "four numbers": lambda point: point["world"] == "countdown",
}
CLAIMS = (
    Claim(
        "countdown-beam",
        "A beam by value finds more than the best choice among whole solutions at equal tokens",
        Aim(8.0, "points"),
        ours="beam_value",
        baselines=("best_of_n", "best_of_n_value", "weighted_vote"),
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-beam-compute",
        "The beam needs fewer tokens for the same accuracy than best-of-N",
        Aim(1.5, "times", none=1.0),
        ours="beam_value",
        baselines=("best_of_n_value",),
        gain=gain_in_compute,
        ratio=True,
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-beam-good-value",
        "With values that tell live from dead states at an AUC of 0.95, the beam finds more at equal tokens",
        Aim(8.0, "points"),
        ours="beam_noisy_95",
        baselines=("best_of_n", "best_of_n_value", "weighted_vote"),
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-beam-good-value-compute",
        "With values at an AUC of 0.95, the beam needs fewer tokens for the same accuracy than best-of-N",
        Aim(1.5, "times", none=1.0),
        ours="beam_noisy_95",
        baselines=("best_of_n_value",),
        gain=gain_in_compute,
        ratio=True,
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-beam-fair-value",
        "The same with values at an AUC of 0.85",
        Aim(8.0, "points"),
        ours="beam_noisy_85",
        baselines=("best_of_n", "best_of_n_value", "weighted_vote"),
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-progress-in-beam",
        "Q + α A finds more than Q alone",
        Aim(2.0, "points"),
        ours="beam_effective",
        baselines=("beam_value",),
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-together-in-beam",
        "Correctness × value finds more than each alone",
        Aim(2.0, "points"),
        ours="beam_product",
        baselines=("beam_value", "beam_correctness"),
        regions=_REGIONS,
        **_SETTINGS,
    ),
    Claim(
        "countdown-states",
        "Keeping equal states once finds more",
        Aim(4.0, "points"),
        ours="beam_value",
        baselines=("beam_value_copies",),
        regions=_REGIONS,
        **_SETTINGS,
    ),
)
