"""Data-driven PRMs against the game: what labels from rollouts, outcomes or an oracle make of the solver's own solutions.

World, solver, problems and measures are those of `contest.py` (rules know one kind of mistake). A data-driven arm has
`data_problems` × `data_solutions` solutions of the solver, as many labelled steps as R has in the game, and as many
updates as R (warm-up included), with more traces an update; its step size was chosen among three on another seed, and so
was that of the game (where 1e-3 sees more, step AUC .89 for .86, and chooses no better: the default stays). The arms differ
in where labels come from. Their costs stand in the record: rollouts and tokens sampled, verdicts of an oracle, seconds of
one thread for labels and for training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from claims import contest
from claims.harness import Aim, Claim, Experiment, Reduced, made_once
from sparring.json_files import read_json_object
from sparring.labels.command import run_label
from sparring.labels.posterior import posterior_mean
from sparring.labels.settings import LabelSettings
from sparring.models.scorer import load_scorer
from sparring.settings_shared import seed_from
from sparring.traces.jsonl import read_traces, write_traces
from sparring.traces.records import Estimate, Trace
from sparring.training.supervised import OrmSettings, PrmSettings, SupervisedSettings, train_supervised

GAME = {
    "frozen": "a generator that imitated the rules, as it is",
    "level": "the game, without optimism, and step sizes do not rise again",
}
LABELS: Mapping[str, Mapping[str, Any]] = {
    "rollouts": {"mode": "montecarlo", "n_mc": 8},
    "search": {"mode": "binary_search", "n_mc": 8},
    "oracle": {"mode": "oracle"},
}
"""Jobs of `sparring label`; arms that differ in what they make of the same rollouts share one."""


def any_right(found: Estimate) -> float:
    """Return Math-Shepherd's hard label."""
    return float(found.value > 0)


def mean_of_posterior(found: Estimate) -> float:
    """Return the mean of the Beta posterior; what is known exactly stays."""
    return posterior_mean(round(found.value * found.count), found.count) if found.count else found.value


DATA: Mapping[
    str, tuple[str, str, Callable[[Estimate], float] | None, type[SupervisedSettings], Mapping[str, Any]]
]
DATA = {
    "orm": ("outcomes at the last step: an outcome reward model", "oracle", None, OrmSettings, {}),
    "outcome": (
        "no step label: a solution is right where all its steps are (as FreePRM, uPRM)",
        "oracle",
        None,
        PrmSettings,
        {"labels": "outcome"},
    ),
    "hard": (
        "8 rollouts a prefix, any of them right (Math-Shepherd)",
        "rollouts",
        any_right,
        PrmSettings,
        {},
    ),
    "soft": ("the share of right rollouts", "rollouts", None, PrmSettings, {"labels": "soft"}),
    "posterior": (
        "its posterior mean (Beta-binomial)",
        "rollouts",
        mean_of_posterior,
        PrmSettings,
        {"labels": "soft"},
    ),
    "search": ("the first dead prefix by binary search (as OmegaPRM)", "search", None, PrmSettings, {}),
    "exact": ("an oracle's word on every step, the world's own", "oracle", None, PrmSettings, {}),
}
"""Arm → text, job of labels, what becomes of an estimate, trainer and its settings."""
LEARNING_RATE = 3e-4
"""Chosen for every arm on seed 90 among 1e-4 (`orm`, `outcome`), 3e-4, 1e-3 and 3e-3 by the step AUC; it is R's as well."""


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train one PRM and return its record; solutions and labels are made once for all arms."""
    settings = {**contest.SETTINGS, **settings}
    if arm in GAME:
        record = contest.run(arm, seed, settings, folder)
        spent = numbers(folder / "run")
        tokens = (spent.get("training.tokens_per_second") or 0.0) * spent["training.seconds"]
        return record | {
            "cost": {
                "labelled_steps": spent["training.labelled_steps"],
                "verdicts": spent["training.labelled_steps"],
                "sampled_tokens": round(tokens),
                "rollouts": 0,
                "label_seconds": 0.0,
                "train_seconds": spent["training.seconds"],
            }
        }
    _, job, label, trainer, options = DATA[arm]
    labels = labelled(job, seed, settings, folder)
    traces = read_traces(labels / "traces.jsonl")
    if label is not None:
        traces = [relabelled(trace, label) for trace in traces]
    folder.mkdir(parents=True, exist_ok=True)
    write_traces(folder / "traces.jsonl", traces)
    chosen = trainer.model_validate(
        {
            "data": str(folder / "traces.jsonl"),
            "backbone": settings["backbone"],
            "max_updates": settings["prm_warm_steps"] + settings["updates"],
            "epochs": 10,
            "batch_traces": 32,
            "validation_share": 0.0,
            "keep": "last",
            "learning_rate": settings["learning_rate"] or LEARNING_RATE,
            "warmup_share": 0.05,
            "device": "cpu",
            "seed": seed,
            **options,
        }
    )
    scorer = load_scorer(train_supervised(chosen, folder / "run", resume=True), device="cpu")
    record = {}
    counts = settings["problems"] if isinstance(settings["problems"], list) else [settings["problems"]] * 2
    for (name, world), count in zip(
        {"id": settings["task"], "longer": settings["longer"]}.items(), counts, strict=True
    ):
        groups = contest.sampled(folder, world, settings, count, seed, "measure")
        record[name] = contest.measures(
            groups, LastOnly(scorer) if arm == "orm" else scorer, world, told=False
        )
    spent, paid = numbers(folder / "run"), numbers(labels)
    return record | {
        "cost": {
            "labelled_steps": spent["training.labelled_steps"],
            "verdicts": sum(len(trace.steps) for trace in traces) if arm == "exact" else 0,
            "sampled_tokens": paid["label.tokens_generated"],
            "rollouts": paid.get("label.rollouts") or 0,
            "label_seconds": paid["label.seconds"],
            "train_seconds": spent["training.seconds"],
        }
    }


class LastOnly:
    """An outcome reward model as the measures read it: every step has the score of the whole solution."""

    def __init__(self, scorer: Any) -> None:
        self.scorer, self.sidecar = scorer, scorer.sidecar

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        """Return one list of equal scores per trace."""
        return [[row[-1]] * len(row) for row in self.scorer.score(traces)]


def labelled(job: str, seed: int, settings: Mapping[str, Any], folder: Path) -> Path:
    """Return the run of `sparring label` whose solutions and labels the arms share."""
    wanted = LabelSettings.model_validate(
        {
            "policy": settings["solver"],
            "task": settings["task"],
            "problems": settings["data_problems"],
            "n_cov": settings["data_solutions"],
            "device": "cpu",
            "seed": seed_from("contest-data", seed) % 2**31,
            **LABELS[job],
        }
    )
    return made_once(
        folder.parent / f"labels-{job}-{seed}-{settings['data_problems']}",
        lambda draft: run_label(wanted, draft, Console(stderr=True, quiet=True)),
    )


def relabelled(trace: Trace, label: Callable[[Estimate], float]) -> Trace:
    """Return a trace whose labels are made of its estimates."""
    assert trace.estimates is not None
    return replace(trace, labels=tuple(None if one is None else label(one) for one in trace.estimates))


def numbers(run_folder: Path) -> dict[str, float]:
    """Return a run's metrics by name."""
    return {
        name: one["value"] for name, one in read_json_object(run_folder / "metrics.json")["metrics"].items()
    }


EXPERIMENT = Experiment(
    name="contest-data",
    run=run,
    arms=GAME | {arm: text for arm, (text, *_) in DATA.items()},
    seeds=5,
    settings={
        "kinds": 1, "updates": 60, "problems": [300, 150], "data_problems": 350, "data_solutions": 4, "learning_rate": None,
    },
    minutes=2.0,
    reduced=Reduced(points=()),
    expectation=(
        "Modulo 13 a rollout from a dead prefix ends right once in twelve times, so any of eight does in half of the "
        "cases: hard labels should be poor (step AUC below .75), soft and posterior ones better, the game between them and "
        "exact labels (.95). In choosing we expect no more than two points between any of them, and the outcome reward "
        "model close to the best, since it learns what is asked. An interval of level less the strongest data-driven arm "
        "above 0 in best-of-16 would say that the game is worth its adversary; one of step AUC above 0 against rollouts, "
        "that it finds mistakes which rollouts do not show."
    ),
    failed=(
        "Expected and refuted: hard labels of rollouts are not poor (step AUC .96, three seeds), though any of eight "
        "rollouts from a dead prefix ends right by luck in half of the cases; the share of right rollouts teaches less "
        "(.92). Outcomes alone, by the rule that a solution is right where all its steps are, teach as much as either "
        "(.96). Only the outcome reward model stays behind in choosing (67.6, the others 73 to 75).",
        "Product, mean or last score in place of the lowest, seed 90, outcomes alone: best-of-16 "
        "72.7, 72.7, 66.7 for 72.4.",
        "Step sizes of 1e-3 and 3e-3 (seed 90): every data-driven arm sees less (with 3e-3 .61 to .79).",
    ),
    caveats=(
        "Exact and outcome arms know no mistake but the solver's own, on which all are measured here; for "
        "others see contest-reward.",
        "Solver and backbone are one tiny policy, made with some detection in its pretraining.",
        "Seconds of a record are of a core that others used too.",
    ),
)  # fmt: skip
DRIVEN = ("orm", "outcome", "hard", "soft", "posterior", "search")
CLAIMS = (
    Claim(
        "data-choice",
        "The game chooses better than PRMs that learn from outcomes, rollouts or tree search",
        Aim(3.4, "points"),
        ours="level",
        baselines=DRIVEN,
        value=contest.choice("id", "best"),
    ),
    Claim(
        "data-choice-longer",
        "The same on longer chains than trained on",
        Aim(5.3, "points"),
        ours="level",
        baselines=DRIVEN,
        value=contest.choice("longer", "best"),
    ),
    Claim(
        "data-vote",
        "The game weighs a vote better than they do",
        Aim(3.4, "points"),
        ours="level",
        baselines=DRIVEN,
        value=contest.choice("id", "vote"),
    ),
    Claim(
        "data-detection",
        "The game sees more of the solver's first wrong steps than they do",
        Aim(2.0, "points of AUC"),
        ours="level",
        baselines=DRIVEN,
        value=contest.detection,
    ),
    Claim(
        "data-exact",
        "Exact labels of the solver's own steps choose better than labels from rollouts",
        Aim(3.4, "points"),
        ours="exact",
        baselines=DRIVEN,
        value=contest.choice("id", "best"),
    ),
)
