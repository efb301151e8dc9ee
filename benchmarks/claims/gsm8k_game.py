"""The game on real text: GSM8K, with the strongest model that a registry package carries and one card trains.

Rules that know half of the kinds of mistakes, rules that know all, a frozen generator, the game, and the solver's own
wrong steps each train a PRM with the same updates (`configs/gsm8k-qwen-1.5b.yaml`). The baseline from outside is the same
model without training, as a judge of steps on a server (`SPARRING_JUDGE`, an address `judge+http://…`). Each is measured:

- ProcessBench, the GSM8K and the MATH half: F1 by two rules for the threshold, AUCs;
- PRMBench: PRMScore and step AUC over all classes;
- best-of-N and weighted vote among the backbone's own solutions of held-out GSM8K train problems;
- a fresh adversary, on states of these problems: its fool rate.

All of it trains on GSM8K *train* problems: ProcessBench is made of test problems, and MATH has too few clean ones to
train on. Held-out problems, those with the solver's own steps and those of the game are three parts of a seeded
order.

`scripts/gpu_claims.sh` runs it. Not here: where model and data are (`real_models.py`), the evaluations
(`sparring.evaluation`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from claims import contest, contest_verifier
from claims.harness import Aim, Claim, Experiment, Record, Reduced, made_once, product
from claims.real_models import STAND_IN, clear_memory, device, lacks, model_folder
from gsm8k_aprm import by_two_thresholds
from publishing import DATA, ROOT
from sparring.errors import DataError
from sparring.evaluation.bon import BonSettings, evaluate_bon
from sparring.evaluation.outcome import CASES_FILE
from sparring.evaluation.prmbench import PrmbenchSettings, evaluate_prmbench
from sparring.json_files import read_jsonl_objects
from sparring.labels.command import label_files
from sparring.labels.job import TRACES_FILE
from sparring.labels.settings import LabelSettings
from sparring.models.scorer import load_scorer
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.runs import METRICS_FILE, read_metrics
from sparring.scorers.door import StepScorer, open_scorer, record_of
from sparring.settings import dump_settings, load_settings
from sparring.settings_shared import seed_from
from sparring.traces.formats.common import ReadOptions
from sparring.traces.jsonl import write_problems
from sparring.traces.readers import read_problems_as
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings

ZERO_SHOT, JUDGE = "zero-shot", "SPARRING_JUDGE"
TRAINED = ("rules", "all rules", "frozen", "level", "own steps")
KINDS = [name for name, kind in PERTURBATIONS.items() if "text" in kind.computable]
FILES = ("gsm8k/train.jsonl", "processbench/gsm8k.json", "processbench/math.json", "prmbench")


def _game() -> dict[str, Any]:
    """Return what the configuration sets, without what a run's place or an arm decides."""
    chosen = load_settings(AprmSettings, ROOT / "configs" / "gsm8k-qwen-1.5b.yaml", [])
    free = {"backbone", "data", "seed", "adversary", "optimism", "snapshot_every", "checkpoint_every"}
    return {
        name: value for name, value in dump_settings(chosen).items() if name in chosen.model_fields_set - free
    }


SETTINGS: Mapping[str, Any] = {
    "game": _game(),
    "known": KINDS[: len(KINDS) // 2],  # the first of the table
    "heldout": 400,
    "own": 600,
    "problems": None,  # of the game: all others
    "solver": {"style": "chat", "n_cov": 8, "temperature": 0.8, "max_new_tokens": 512},
    "attack": {"updates": 40, "warm_steps": 30, "states_per_update": 32, "evaluation_states": 300},
    "limit": None,  # of each half of ProcessBench
}
MINIATURE: Mapping[str, Any] = {
    "game": {
        **_game(),
        "prm_warm_steps": 2,
        "adversary_warm_steps": 1,
        "updates": 2,
        "states_per_update": 2,
        "samples_per_state": 2,
        "replayed_states": 1,
        "max_step_tokens": 24,
        "dtype": "float32",
    },
    "heldout": 4,
    "own": 4,
    "problems": 40,
    "solver": {"style": "plain", "n_cov": 2, "temperature": 1.0, "max_new_tokens": 24},
    "attack": {"updates": 1, "warm_steps": 1, "states_per_update": 2, "evaluation_states": 2},
    "limit": 4,
}
_PLAYERS = (
    "task", "oracle", "keep_annotations", "adapter", "lora_rank", "lora_targets", "style", "mistake_cue", "max_step_tokens",
    "states_per_pass", "adversary_learning_rate", "max_gradient_norm", "dtype",
)  # fmt: skip
"""What an attack takes over from the game."""


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train one arm and return its record; the parts of the data and the solver's solutions are shared by all arms."""
    settings = {**SETTINGS, **settings}
    parts = parts_of(settings, folder.parent)
    place = {"backbone": str(model_folder()), "device": device(), "data_format": "sparring"}
    record: dict[str, Any] = {}
    scorer: StepScorer
    if arm == ZERO_SHOT:
        scorer = open_scorer(os.environ[JUDGE])
    else:
        given = {**settings["game"], **(contest.ARMS[arm][1] or {}), **place}
        given.setdefault("rule_kinds", settings["known"])
        if arm in contest.OWN:
            given["solver_steps"] = str(solved("own", parts, settings, seed, folder.parent))
        chosen = {
            **given,
            "data": str(parts / "game.jsonl"),
            "seed": seed,
            "log_kinds": True,
            "checkpoint_every": 20,
        }
        clear_memory()
        prm = train_aprm(AprmSettings.model_validate(chosen), folder / "run", resume=True)
        record["training"] = contest.training(folder / "run")
        record["cost"] = cost(folder / "run")
        clear_memory()
        scorer = load_scorer(prm, device=place["device"])
    record |= measured(scorer, solved("heldout", parts, settings, seed, folder.parent), settings, folder)
    attacker = {name: settings["game"][name] for name in _PLAYERS} | settings["attack"] | place
    attacker |= {"data": str(parts / "heldout.jsonl"), "rule_kinds": settings["known"]}
    record["attack"] = contest.attacked(scorer, attacker, seed, folder)
    if arm == ZERO_SHOT:
        record["cost"] = record_of(scorer)["cost"]
    return record


def parts_of(settings: Mapping[str, Any], folder: Path) -> Path:
    """Return the folder of the three parts of GSM8K's train problems, made once."""
    sizes = [settings["heldout"], settings["own"], settings["problems"]]

    def make(draft: Path) -> None:
        problems = read_problems_as(DATA / FILES[0], "gsm8k", ReadOptions()).problems
        random.Random("gsm8k-game").shuffle(problems)
        if len(problems) <= sizes[0] + sizes[1]:
            raise DataError(f"{len(problems)} problems are too few for {sizes}", file=DATA / FILES[0])
        start = 0
        for name, size in zip(("heldout", "own", "game"), sizes, strict=True):
            end = None if size is None else start + size
            write_problems(draft / f"{name}.jsonl", problems[start:end])
            start = end or start

    return made_once(folder / f"parts-{seed_from(*map(str, sizes)):x}", make)


def solved(part: str, parts: Path, settings: Mapping[str, Any], seed: int, folder: Path) -> Path:
    """Return the file of the backbone's solutions of a part, judged by the panel; a killed call goes on where it was."""
    own = LabelSettings.model_validate(
        {
            **settings["solver"],
            "policy": str(model_folder()),
            "data": str(parts / f"{part}.jsonl"),
            "data_format": "sparring",
            "mode": "oracle",
            "oracle": settings["game"]["oracle"],
            "device": device(),
            "seed": seed,
        }
    )
    out = folder / f"{part}-{seed_from(parts.name, model_folder().name, seed, str(settings['solver'])):x}"
    if not (out / METRICS_FILE).exists():
        label_files(own, out, Console(stderr=True))
    return out / TRACES_FILE


def measured(
    scorer: StepScorer, solutions: Path, settings: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Return what the evaluations say of a PRM or a judge."""
    halves = [DATA / name for name in FILES[1:3]]
    given = {"data": halves, "limit": settings["limit"]}
    found = by_two_thresholds(given, folder / "processbench", halves[0].stem, scorer)
    classes = evaluate_prmbench(PrmbenchSettings(data=[DATA / FILES[3]]), folder / "prmbench", scorer=scorer)
    most = settings["solver"]["n_cov"]
    chosen = evaluate_bon(BonSettings(data=[solutions], n=[most]), folder / "bon", scorer=scorer)
    problems = [record["accuracy"] for _, record in read_jsonl_objects(folder / "bon" / CASES_FILE)]
    lines = {"best": "best_min", "vote": "weighted_min"}
    if "bon.best_min" not in {name.partition(".n")[0] for name in chosen}:  # every solution is one step
        lines = {"best": "best", "vote": "weighted"}
    lines |= {name: name for name in ("random", "majority", "pass")}
    return {
        "processbench": {
            f"{rule}.{name.removeprefix('processbench.')}": metric.value
            for rule, metrics in found.items()
            for name, metric in metrics.items()
            if name.split(".")[1] in ("gsm8k", "math", "threshold")
        },
        "prmbench": {name: classes[f"prmbench.overall.{name}"].value for name in ("prm_score", "step_auc")},
        "best_of": {name: chosen[f"bon.{line}.n{most}.accuracy"].value for name, line in lines.items()},
        "candidates": {name: chosen[f"bon.{name}"].value for name in ("problems", "short", "candidates")},
        "per_problem": {
            name: [round(one[lines[name]][str(most)], 4) for one in problems] for name in ("best", "vote")
        },
    }


def cost(run_folder: Path) -> dict[str, float | None]:
    """Return what a training run spent: seconds, tokens, verdicts, and the most memory that it held."""
    found = {name: metric.value or 0.0 for name, metric in read_metrics(run_folder).items()}
    return {
        "seconds": found["training.seconds"],
        "tokens": found["training.seconds"] * found["training.tokens_per_second"],
        "verdicts": found["training.labelled_steps"] + found["training.undecided_steps"],
        "peak_bytes": found["training.peak_memory"],
    }


def lacking(arm: str, settings: Mapping[str, Any]) -> str:
    """Return what this machine lacks for a run."""
    if arm == ZERO_SHOT and not os.environ.get(JUDGE, "").startswith("judge+"):
        return f"{ZERO_SHOT}: {JUDGE} is to be a judge's address, judge+http://…"
    return lacks(settings["backbone"], FILES)


def f1(half: str) -> Any:
    """Return what reads ProcessBench's F1 of a half, in points, with the threshold of the GSM8K half."""
    return lambda record: _points(record["processbench"][f"best.{half}.f1"])


def best(record: Record) -> float | None:
    """Return best-of-N in points."""
    return _points(record["best_of"]["best"])


def fool_rate(record: Record) -> float | None:
    """Return how often a fresh adversary fools; never below one in a thousand, less is not told apart on so few states."""
    found = record["attack"]["trained.fool_rate"]
    return None if found is None else max(found, 1e-3)


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


EXPERIMENT = Experiment(
    name="gsm8k-game",
    run=run,
    arms={
        **{name: contest.ARMS[name][0] for name in TRAINED},
        "all rules": "every kind of mistake that there is a rule for",
        "level": contest_verifier.ARMS["level"],
        ZERO_SHOT: "the same model, not trained, asked of every step whether it is correct",
    },
    points=product(backbone=("Qwen2.5-Coder-1.5B-Instruct",)),
    seeds=3,
    settings=SETTINGS,
    minutes=45.0,
    minutes_reduced=3.0,
    reduced=Reduced(points=product(backbone=(STAND_IN,)), seeds=1, settings=MINIATURE),
    lacks=lacking,
    expectation=(
        "In the small worlds the game added nothing to a frozen generator, and detection did not become choice. Here "
        "the PRM can check sums and the generator can write what no rule lists, so the frozen generator should beat "
        "rules that know half of the kinds (ProcessBench F1 by 3 points or more); all rules should be as good as it. "
        "Of the game we expect a lower fool rate and no better choice. What would change our mind: an interval of "
        "level less the strongest baseline above 0 in best-of-8 or in F1 on both halves. If zero-shot beats every "
        "trained arm, this budget is too small to say anything about the game."
    ),
    caveats=(
        "F1 is at the threshold that is best on the GSM8K half, for all arms alike: there it flatters all.",
        "The panel finds few of a real solver's wrong steps, and a right one in their place is mostly known for first "
        "steps alone: `own steps` has few.",
        "A PRM that rejects everything is never fooled: `clean_accepted` in the record says how much of what is right it "
        "accepts. A fool rate below 0.1 % counts as 0.1 %.",
        "Choice is among the backbone's own solutions of 400 train problems, which its makers may have trained it on.",
        "Solutions that did not end within 512 tokens are no candidates; `candidates` in the record counts how many there "
        "were, and of how many problems.",
        "ProcessBench and PRMBench are the halves and parts that are at hand, not the whole benchmarks.",
        "The step sizes are those of the configuration, never tuned on this model.",
        "The zero-shot arm is asked through a server and pays no oracle; seeds change its attacker and samples alone.",
    ),
)
_BASELINES = ("rules", "frozen", "own steps", ZERO_SHOT)
CLAIMS = (
    Claim(
        "gsm8k-choice",
        "On GSM8K the game chooses better than rules, a frozen generator, own steps or no training (best of 8)",
        Aim(3.4, "points"),
        ours="level",
        baselines=_BASELINES,
        value=best,
    ),
    *(
        Claim(
            f"processbench-{half}",
            f"The game finds more of the first wrong steps of ProcessBench ({name} half)",
            Aim(0.0, "points of F1"),
            ours="level",
            baselines=_BASELINES,
            value=f1(half),
        )
        for half, name in (("gsm8k", "GSM8K"), ("math", "MATH"))
    ),
    Claim(
        "gsm8k-prmbench",
        "The game sees more planted errors of PRMBench",
        Aim(0.0, "points of PRMScore"),
        ours="level",
        baselines=_BASELINES,
        value=lambda record: _points(record["prmbench"]["prm_score"]),
    ),
    Claim(
        "gsm8k-fool-rate",
        "A fresh adversary fools the game's PRM at most half as often as the rules'",
        Aim(2.0, "times", none=1.0),
        ours="level",
        baselines=("rules",),
        value=fool_rate,
        ratio=True,
        lower_is_better=True,
    ),
    Claim(
        "gsm8k-coverage",
        "A frozen generator chooses better than the rules that it imitates, which know half of the kinds (best of 8)",
        Aim(3.4, "points"),
        ours="frozen",
        baselines=("rules",),
        value=best,
    ),
)
