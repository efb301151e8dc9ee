"""The contest in miniature: `sparring demo` trains three PRMs in the chain world and measures what an adversary changes.

A rule-writer knows some kinds of mistakes (by default one, slips of arithmetic). The same tiny PRM is trained three times
under the same budget (updates, and rewrites labelled by the oracle): on these rules, on what a language model writes that
was shown them and then frozen, and in the game, where that model goes on learning. Then they are compared: which kinds of
mistakes do they accept, do they help a solver choose, do they find its errors, can they be fooled by a fresh adversary.

Contract: everything from the seed; a run directory that `report/` turns into a page; numbers are what they are. Killed and
started again with the same settings, it goes on where it was. Thresholds are chosen by the same rule for all, on
solutions that are used for nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from rich.console import Console

from sparring.errors import plural
from sparring.evaluation.attack import (
    ON_PRM,
    AttackResult,
    AttackSettings,
    attack,
    attack_metrics,
)
from sparring.evaluation.bon import total_score
from sparring.evaluation.cases import Case
from sparring.evaluation.outcome import Recomputed, raw_records
from sparring.evaluation.processbench import best_threshold, evaluate, make_case
from sparring.evaluation.scored import Threshold
from sparring.files import atomic_write_json, atomic_write_jsonl
from sparring.locks import writes
from sparring.models import TINY_POLICY
from sparring.models.branches import collate
from sparring.models.loading import load_policy, pick_device, pick_dtype
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import read_sidecar, write_sidecar
from sparring.oracles.equality import answer_groups
from sparring.report.page import Run as FinishedRun
from sparring.report.page import write_report
from sparring.rollouts.engine import Limits, Prefix, solutions
from sparring.rollouts.local import LocalEngine
from sparring.runs import Metric, read_metrics, write_metrics
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.selection import best_at, random_choice, vote_at
from sparring.settings import LARGEST_SEED, Settings, dump_settings
from sparring.settings_shared import seed_from
from sparring.side_by_side import Part, Report, Workers, processes
from sparring.statistics import bootstrap_mean, paired_difference, proportion
from sparring.terminal import PartsProgress
from sparring.traces.records import Trace, first_error_of
from sparring.training.aprm import Run, load_snapshot, setup, train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import Rewrites, fresh_row
from sparring.training.game_tasks import WorldTask
from sparring.training.run import random_for, torch_generator_for
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    final_answer,
    generate_problems,
    judge_step,
    parse_question,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged, world_problems

Method = Literal["rules_prm", "frozen_prm", "aprm"]
METHODS: dict[Method, Literal["rules", "frozen", "trained"]] = {
    "rules_prm": "rules",
    "frozen_prm": "frozen",
    "aprm": "trained",
}
Group = list[Trace | None]
Scores = list[list[list[float] | None]]
"""Of the steps of every solution of every problem; None for a solution without a step."""
JUDGED_FILE, KINDS_FILE, ATTACKED_FILE = "judged.jsonl", "kinds.jsonl", "attacked.jsonl"
"""Raw records: solutions by problem with their scores, wrong steps accepted by kind, the attacks' rewrites."""
KIND_CASES = 100
"""Problems of which one step is made wrong, for every kind of mistake."""
_ROWS = 512  # solutions in flight at once
CROSS_PLAY_STATES = 64
"""Held-out states on which snapshots meet."""
SPLITS = {"in_distribution": IN_DISTRIBUTION, "longer": LONGER}


class DemoSettings(Settings):
    """Settings of `sparring demo`."""

    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """All randomness derives from it."""
    policy: str = TINY_POLICY
    """The solver, and the model that all PRMs and adversaries start from."""
    rule_kinds: list[str] | None = Field(["arithmetic"], min_length=1)
    """Kinds of mistakes that the rule-writer knows, of those of the chain world (docs/worlds.md); all if null. Attackers
    begin with these too."""
    prm_warm_steps: int = Field(30, ge=0)
    """PRM updates on rule perturbations that all trainings begin with."""
    adversary_warm_steps: int = Field(30, ge=0)
    """Imitation updates of the adversary before the game."""
    updates: int = Field(50, gt=0)
    """Further PRM updates: on rule perturbations, on those of a frozen generator, or in the game."""
    states_per_update: int = Field(16, gt=0)
    """States per update."""
    samples_per_state: int = Field(4, ge=2)
    """Rewrites per state."""
    attack_updates: int = Field(30, ge=0)
    """Budget of the fresh adversary that attacks every PRM."""
    best_of_n: int = Field(16, gt=0)
    """Solutions that a PRM chooses from."""
    temperature: float = Field(1.0, gt=0)
    """Of the solver's samples."""
    problems: int = Field(200, gt=0)
    """Problems per split for measuring."""
    aggregation: Literal["min", "product", "last", "mean"] = "min"
    """From step scores to a solution's score."""


@writes("out")
def run_demo(settings: DemoSettings, out: Path) -> Path:
    """Run the demo in `out` and return the path of its report; a script that calls it must guard its start (`Workers`)."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    count = processes()
    with Workers(count) as workers, PartsProgress(console, _units(settings)) as progress:
        console.print(f"{plural(count, 'process', 'processes')} of one thread")

        def compute(*parts: Part) -> list[Any]:
            return workers.run(
                parts,
                done=lambda place, units: progress.done(parts[place].title, units),
                ended=lambda place: progress.ended(parts[place].title),
                tick=progress.tick,
            )

        _, _, _, *sampled = compute(
            # The longest first: what takes less time fills the gaps.
            Part(_title("training", "aprm"), train, (settings, "aprm", out)),
            Part(_title("training", "frozen_prm"), train, (settings, "frozen_prm", out)),
            Part(_title("training", "rules_prm"), train, (settings, "rules_prm", out)),
            *(Part(_title("solving", split), sample_split, (settings, split)) for split in reversed(SPLITS)),
        )
        samples = dict(zip(reversed(SPLITS), sampled, strict=True))
        scores = compute(
            *(Part(_title("scoring", method), score_split, (method, samples, out)) for method in METHODS),
        )
        metrics = _training_metrics(out)
        metrics |= judge_solutions(settings, samples, dict(zip(METHODS, scores, strict=True)), out)
        found = compute(
            *(Part(_title("attacking", method), attack_prm, (settings, method, out)) for method in METHODS),
            Part("cross-play", play_across, (settings, out)),
            *(Part(_title("kinds", method), accept_kinds, (settings, method, out)) for method in METHODS),
        )
    attacks: dict[Method, AttackResult] = dict(zip(METHODS, found, strict=False))
    kinds: dict[Method, dict[str, list[bool]]] = dict(zip(METHODS, found[-len(METHODS) :], strict=True))
    atomic_write_jsonl(
        out / KINDS_FILE, ({"method": method, "accepted": accepted} for method, accepted in kinds.items())
    )
    atomic_write_jsonl(
        out / ATTACKED_FILE,
        ({"method": m, **record} for m, result in attacks.items() for record in result.cases),
    )
    for method, accepted in kinds.items():
        metrics |= kind_metrics(settings, method, accepted)
    for method, result in attacks.items():
        metrics |= {f"attack.{method}.{name}": metric for name, metric in result.metrics.items()}
    write_examples(attacks, settings, out)
    write_metrics(out, metrics, settings=dump_settings(settings), seed=settings.seed)
    report = write_report(out)
    console.print(f"\nReport: [bold]{report.resolve()}[/bold]", soft_wrap=True)
    return report


def recomputed(run: FinishedRun) -> Recomputed:
    """Return what the demo's raw records, and the numbers of the runs within it, give once more."""
    settings = DemoSettings.model_construct(**run.settings)
    out = run.folder
    thresholds = {
        method: Threshold(value, "stored")
        for method in METHODS
        if (value := run.metrics[f"step_error.threshold.{method}"].value) is not None
    }
    metrics = _training_metrics(out)
    metrics |= solver_metrics(settings, raw_records(out / JUDGED_FILE), thresholds)
    for record in raw_records(out / KINDS_FILE):
        metrics |= kind_metrics(settings, record["method"], record["accepted"])
    attacked = raw_records(out / ATTACKED_FILE)
    for method in dict.fromkeys(record["method"] for record in attacked):
        cases = [record for record in attacked if record["method"] == method]
        found = attack_metrics(cases, {}, attack_settings(settings), thresholds[method].value)
        metrics |= {f"attack.{method}.{name}": metric for name, metric in found.items()}
    return Recomputed(metrics)


def _units(settings: DemoSettings) -> dict[str, int]:
    """Return how many units of work every part has."""
    warm = settings.prm_warm_steps + settings.updates
    samples = (settings.best_of_n + 1) * settings.problems
    attack = settings.adversary_warm_steps + 1 + settings.attack_updates + 1
    return {
        _title("training", "rules_prm"): warm,
        _title("training", "frozen_prm"): warm + settings.adversary_warm_steps,
        _title("training", "aprm"): warm + settings.adversary_warm_steps,
        _title("solving", "in_distribution"): samples + settings.problems,
        _title("solving", "longer"): samples,
        **{_title("scoring", method): 100 for method in METHODS},
        **{_title("attacking", method): attack for method in METHODS},
        **{_title("kinds", method): 1 for method in METHODS},
        "cross-play": 2 * len(range(0, settings.updates + 1, _snapshot_every(settings))),
    }


def _title(what: str, whose: str) -> str:
    """Return the title of a part of the job."""
    names = {
        "rules_prm": "PRM on rules",
        "frozen_prm": "PRM on a frozen generator",
        "aprm": "PRM against an adversary",
    }
    return f"{what}, {names.get(whose, whose.replace('_', ' '))}"


# --- training --------------------------------------------------------------------------------------------------------


def train(report: Report, settings: DemoSettings, method: Method, out: Path) -> None:
    """Train one of the PRMs, or go on with it."""
    own = aprm_settings(settings, METHODS[method])
    train_aprm(own, out / method, resume=True, progress=lambda step, _: report(step))


def _training_metrics(out: Path) -> dict[str, Metric]:
    return {
        name.replace("training.", f"training.{method}."): metric
        for method in METHODS
        for name, metric in read_metrics(out / method / "metrics.json").items()
    }


def aprm_settings(settings: DemoSettings, adversary: Literal["rules", "frozen", "trained"]) -> AprmSettings:
    """Return the settings of one training run; only the adversary differs between them."""
    return AprmSettings(
        backbone=settings.policy,
        adversary=adversary,
        rule_kinds=settings.rule_kinds,
        prm_warm_steps=settings.prm_warm_steps,
        adversary_warm_steps=settings.adversary_warm_steps,
        updates=settings.updates,
        states_per_update=settings.states_per_update,
        samples_per_state=settings.samples_per_state,
        snapshot_every=_snapshot_every(settings) if adversary == "trained" else 0,
        seed=settings.seed,
        device="cpu",
    )


def _snapshot_every(settings: DemoSettings) -> int:
    return max(1, settings.updates // 5)


def play_across(report: Report, settings: DemoSettings, out: Path) -> None:
    """Let every snapshot of the adversary meet every snapshot of the PRM, and write their fool rates."""
    run = setup(aprm_settings(settings, "trained"), out / "aprm")
    atomic_write_json(out / "cross_play.json", fool_rates_across(run, CROSS_PLAY_STATES, report))


def fool_rates_across(run: Run, states: int, report: Report = lambda done: None) -> dict[str, Any]:
    """Return the fool rate of every snapshot of a run's adversary (columns) against every snapshot of its PRM (rows).

    A PRM that only learned to beat its latest opponent shows a fool rate that rises again for older adversaries. All pairs
    meet on the same held-out states, and each adversary's rewrites are sampled once, so that the cells of its column differ
    only by the PRM. A step is accepted from a score of 0.5 on.

    Args:
        run: made by `training.aprm.setup` for the folder of a finished run that kept snapshots.
        states: how many.
        report: told how many snapshots have played.
    """
    seed = run.settings.seed
    updates = sorted(int(path.name) for path in (run.out / "snapshots").iterdir() if path.is_dir())
    drawn = run.task.draw(random_for(seed, 0, "cross-play"), states)
    rewrites: list[Rewrites] = []
    for update in updates:
        load_snapshot(run, run.out, update, "adversary")
        generator = torch_generator_for(seed, 0, "cross-play", run.device)
        rewrites.append(run.adversary.rewrite(run.task, drawn, generator))
        report(len(rewrites))
    fool_rates: list[list[float | None]] = []
    for update in updates:
        load_snapshot(run, run.out, update, "prm")
        fool_rates.append([scored(run, made).outcome_shares()["fool_rate"] for made in rewrites])
        report(len(updates) + len(fool_rates))
    return {
        "prm_updates": updates,
        "adversary_updates": updates,
        "fool_rate": fool_rates,
        "n": states * run.settings.samples_per_state,
    }


@torch.inference_mode()
def scored(run: Run, rewrites: Rewrites) -> Rewrites:
    """Return rewrites with the scores of the PRM as it is."""
    groups = zip(rewrites.states, rewrites.members, strict=True)
    rows = [fresh_row(state, members, run.tokenizer, run.layout) for state, members in groups]
    players, scores = run.players, list[float]()
    for start in range(0, len(rows), run.settings.states_per_pass):
        chunk = rows[start : start + run.settings.states_per_pass]
        batch = collate(
            [row.row for row in chunk], run.tokenizer.pad_token_id, run.device, players.mask_dtype
        )
        fresh = [
            (number, place.column)
            for number, row in enumerate(chunk)
            for place in row.places
            if place.kind == "fresh"
        ]
        places = ([number for number, _ in fresh], [column for _, column in fresh])
        scores += torch.sigmoid(players.prm_log_odds(batch, places)).tolist()
    return rewrites.with_each("score", scores)


# --- the solver ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Solutions:
    """The solver's judged solutions of one split, per problem; None where one has no step."""

    validation: list[Group]
    greedy: list[Group]
    groups: list[Group]


def sample_split(report: Report, settings: DemoSettings, split: str) -> Solutions:
    """Sample solutions of one split, and for the first also those that choose the thresholds."""
    device = pick_device("cpu")
    model, tokenizer = load_policy(settings.policy, device=device, dtype=pick_dtype("auto", device))
    engine = LocalEngine(model, tokenizer, CHAIN_LAYOUT, row_budget=_ROWS, name="tiny policy")
    done = 0

    def solve(steps: tuple[int, int], name: str, samples: int, *, temperature: float) -> list[Group]:
        """Return judged solutions of held-out problems, sampling as many problems at a time as fit together."""
        nonlocal done
        held_out = generate_problems(settings.problems, steps=steps, seed=settings.seed, name=f"demo-{name}")
        seed = seed_from(settings.seed, samples, name)
        together = max(1, _ROWS // samples)
        groups: list[Group] = []
        for start in range(0, len(held_out), together):
            chosen = held_out[start : start + together]
            sampled = solutions(
                engine,
                [Prefix(problem) for problem in chosen],
                samples,
                limits=Limits(16 * (steps[1] + 2), temperature),
                seeds=[seed_from(seed, start + place) for place in range(len(chosen))],
                separator="\n",
            )
            groups += [[None if t is None else judged(ChainWorld(), t) for t in group] for group in sampled]
            done += samples * len(chosen)
            report(done)
        return groups

    steps = SPLITS[split]
    first, hot = split == next(iter(SPLITS)), settings.temperature
    return Solutions(
        solve(IN_DISTRIBUTION, "validation", 1, temperature=hot) if first else [],
        solve(steps, split, 1, temperature=0.0),
        solve(steps, split, settings.best_of_n, temperature=hot),
    )


def score_split(
    report: Report, method: Method, samples: dict[str, Solutions], out: Path
) -> dict[str, Scores]:
    """Choose the threshold of a finished PRM and store it; return its scores of all solutions by split."""
    scorer = load_scorer(out / method / "prm", device="cpu")
    present = [trace for sampled in samples.values() for (trace,) in sampled.validation if trace is not None]
    cases = [
        make_case(trace.problem.id, trace, row, "validation")
        for trace, row in zip(present, scorer.score(present), strict=True)
    ]
    if len({case.first_error >= 0 for case in cases}) < 2:
        chosen = Threshold(0.5, "fixed 0.5: the validation solutions are all right or all wrong")
    else:
        chosen = best_threshold(cases, "validation solutions")
    folder = out / method / "prm"
    update = {"threshold": chosen.value, "threshold_rule": chosen.rule}
    write_sidecar(folder, read_sidecar(folder).model_copy(update=update))
    # Many of a problem's solutions are the same text.
    distinct = {
        (trace.problem.question, trace.steps): trace
        for sampled in samples.values()
        for group in sampled.groups
        for trace in group
        if trace is not None
    }
    rows: list[list[float]] = []
    traces = list(distinct.values())
    for start in range(0, len(traces), _ROWS):
        rows += scorer.score(traces[start : start + _ROWS])
        report(100 * len(rows) // len(traces))
    scores = dict(zip(distinct, rows, strict=True))
    return {
        split: [
            [None if t is None else scores[t.problem.question, t.steps] for t in group]
            for group in sampled.groups
        ]
        for split, sampled in samples.items()
    }


def judge_solutions(
    settings: DemoSettings, samples: dict[str, Solutions], scored: dict[Method, dict[str, Scores]], out: Path
) -> dict[str, Metric]:
    """Let every PRM choose among the solutions and look for their errors."""
    rows: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for split in SPLITS:
        sampled = samples[split]
        scores = {method: scored[method][split] for method in METHODS}
        rows += (
            {
                "split": split,
                "problem": next((trace.problem.id for trace in group if trace is not None), ""),
                "greedy": _solved(greedy),
                "right": [_solved(trace) for trace in group],
                "answers": [None if one is None else final_answer(one.problem, one.steps) for one in group],
                "labels": [None if trace is None else trace.labels for trace in group],
                "scores": {method: scores[method][row] for method in METHODS},
            }
            for row, ((greedy,), group) in enumerate(zip(sampled.greedy, sampled.groups, strict=True))
        )
        shown += _solutions_to_show(split, sampled.groups, scores)
    atomic_write_jsonl(out / JUDGED_FILE, rows)
    atomic_write_jsonl(out / "solutions.jsonl", shown)
    return solver_metrics(settings, rows, {method: _threshold_of(out / method / "prm") for method in METHODS})


def solver_metrics(
    settings: DemoSettings, rows: Sequence[Mapping[str, Any]], thresholds: Mapping[Method, Threshold]
) -> dict[str, Metric]:
    """Return the metrics of choosing among the solutions, and of finding the errors in the first of each problem."""
    metrics: dict[str, Metric] = {}
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        metrics |= _best_of_n(settings, split, own)
        for method in METHODS:
            cases = [
                Case(split, row["problem"], first, tuple(labels), tuple(scores), row["problem"])
                for row in own
                if (labels := row["labels"][0]) is not None
                and (scores := row["scores"][method][0]) is not None
                and (first := first_error_of(labels)) is not None
            ]
            found = evaluate(cases, thresholds[method], seed=settings.seed)
            metrics |= {
                f"step_error.{split}.{method}.{name.removeprefix(split + '.')}": metric
                for name, metric in found.items()
                if name.startswith(split + ".")
            }
    for method, threshold in thresholds.items():
        metrics[f"step_error.threshold.{method}"] = Metric(threshold.value)
    return metrics


def _threshold_of(folder: Path) -> Threshold:
    sidecar = read_sidecar(folder)
    return Threshold(sidecar.threshold, sidecar.threshold_rule)


def _best_of_n(settings: DemoSettings, split: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    aggregate = AGGREGATIONS[settings.aggregation]

    def choices(row: Mapping[str, Any]) -> dict[str, float]:
        """Return how often each way to choose among a problem's solutions is right."""
        right, n = row["right"], len(row["right"])
        sound = [float(one is not None and first_error_of(one) == -1) for one in row["labels"]]
        totals = {
            method: [total_score(one, aggregate) for one in row["scores"][method]] for method in METHODS
        }
        return {
            "greedy": float(row["greedy"]),
            "random": random_choice(right),
            "majority": vote_at(answer_groups(row["answers"]), right, n),
            **{method: best_at(total, right, n) for method, total in totals.items()},
            "ceiling": best_at(sound, right, n),  # a perfect verifier of steps
            "oracle": float(any(right)),  # Pass@N: right answers by luck count as well
        }

    made = [choices(row) for row in rows]
    names = ("greedy", "random", "majority", *METHODS, "ceiling", "oracle")
    accuracies = {name: [one[name] for one in made] for name in names}
    stem = f"best_of_n.{split}"
    metrics = {
        f"{stem}.{name}.accuracy": bootstrap_mean(values, seed=settings.seed, unit="fraction")
        for name, values in accuracies.items()
    }
    pairs = [
        ("aprm", "rules_prm"),
        ("aprm", "frozen_prm"),
        ("frozen_prm", "rules_prm"),
        *[(method, other) for method in METHODS for other in ("random", "majority", "greedy")],
    ]
    for one, other in pairs:
        compared = paired_difference(accuracies[one], accuracies[other], seed=settings.seed, unit="fraction")
        metrics |= compared.named(f"{stem}.{one}_minus_{other}")
    return metrics


def _solved(trace: Trace | None) -> bool:
    return trace is not None and trace.outcome is True


# --- kinds of mistakes -----------------------------------------------------------------------------------------------


def accept_kinds(report: Report, settings: DemoSettings, method: Method, out: Path) -> dict[str, list[bool]]:
    """Return, by kind of mistake, which of some wrong steps of that kind a finished PRM accepts; the same for every PRM."""
    world = ChainWorld()
    scorer = load_scorer(out / method / "prm", device="cpu")
    threshold = _threshold_of(out / method / "prm").value
    rng = random.Random(f"demo-kinds/{settings.seed}")
    problems = world_problems(
        world, min(settings.problems, KIND_CASES), seed=settings.seed, name="demo-kinds"
    )
    accepted: dict[str, list[bool]] = {}
    for kind in world.kinds:
        traces = []
        for problem in problems:
            steps = problem.solution or ()
            place = rng.randrange(len(steps))
            wrong = world.perturb(problem, steps[:place], steps[place], rng, [kind])
            if wrong is not None:  # not every step can be wrong in every way
                traces.append(Trace(problem, (*steps[:place], wrong[1])))
        accepted[kind] = [row[-1] >= threshold for row in scorer.score(traces)] if traces else []
    report(1)
    return accepted


def kind_metrics(
    settings: DemoSettings, method: Method, accepted: dict[str, list[bool]]
) -> dict[str, Metric]:
    """Return the shares of wrong steps that a PRM accepts: by kind, of the kinds that rules know, and of all others."""
    groups = {kind: [kind] for kind in accepted}
    known = settings.rule_kinds or list(accepted)
    groups |= {"known": known, "unlisted": [kind for kind in accepted if kind not in known]}
    return {
        f"kinds.{method}.{name}.accepted": proportion(
            sum(sum(accepted[kind]) for kind in kinds), sum(len(accepted[kind]) for kind in kinds)
        )
        for name, kinds in groups.items()
    }


# --- attacks and examples --------------------------------------------------------------------------------------------


def attack_settings(settings: DemoSettings) -> AttackSettings:
    """Return the settings of the attacks."""
    return AttackSettings(
        backbone=settings.policy,
        rule_kinds=settings.rule_kinds,
        warm_steps=settings.adversary_warm_steps,
        updates=settings.attack_updates,
        states_per_update=settings.states_per_update,
        samples_per_state=settings.samples_per_state,
        curve_points=1,
        probes=False,
        # Another seed than training: the attacker must not be the adversary that the PRM grew up with.
        seed=settings.seed + 1,
        device="cpu",
    )


def attack_prm(report: Report, settings: DemoSettings, method: Method, out: Path) -> AttackResult:
    """Attack one frozen PRM with rules, a frozen and a freshly trained adversary."""
    own = attack_settings(settings)
    warm = own.warm_steps
    return attack(
        load_scorer(out / method / "prm", device="cpu"),
        WorldTask(ChainWorld(), own.rule_kinds),
        own,
        out / f"attack_{method}.jsonl",
        progress=lambda phase, done, total: report(done + (warm + 1) * (phase == ON_PRM)),
    )


def write_examples(attacks: dict[Method, AttackResult], settings: DemoSettings, out: Path) -> None:
    """Write the first wrong rewrites, in the order of the held-out states, that fooled the PRM under attack."""
    scorers = {method: load_scorer(out / method / "prm", device="cpu") for method in METHODS}
    chosen: list[tuple[Trace, str, Any, str]] = []
    for method, result in attacks.items():
        for attacker in ("trained", "rules"):
            made = result.rewrites[attacker]
            fooling = [
                (Trace(state.problem, (*state.prefix, item.text)), state.step, item.verdict, attacker)
                for state, group in zip(made.states, made.groups, strict=True)
                for item in group
                if item.outcome(scorers[method].threshold) == "fooled"
            ]
            chosen += fooling[:4]
    rows = {
        method: scorer.score([trace for trace, *_ in chosen]) if chosen else []
        for method, scorer in scorers.items()
    }
    records = [
        {
            "question": trace.problem.question,
            "prefix": list(trace.steps[:-1]),
            "step": step,
            "perturbed": trace.steps[-1],
            "truth": verdict.truth,
            "reason": verdict.reason,
            "detail": verdict.detail,
            "adversary": attacker,
            "scores": {method: rows[method][index][-1] for method in METHODS},
        }
        for index, (trace, step, verdict, attacker) in enumerate(chosen)
    ]
    atomic_write_jsonl(out / "examples.jsonl", records)


def _solutions_to_show(
    split: str, groups: Sequence[Group], scores: Mapping[Method, Scores]
) -> list[dict[str, Any]]:
    """Return the first wrong and the first right solutions, three of each."""
    shown: list[dict[str, Any]] = []
    for wanted in (False, True):
        firsts = ((row, group[0]) for row, group in enumerate(groups))
        picked = [(row, one) for row, one in firsts if one is not None and one.outcome is wanted]
        for row, trace in picked[:3]:
            chain = parse_question(trace.problem.question)
            shown.append(
                {
                    "question": trace.problem.question,
                    "steps": list(trace.steps),
                    "truths": [
                        judge_step(chain, trace.steps[:i], s).truth for i, s in enumerate(trace.steps)
                    ],
                    "scores": {method: scores[method][row][0] for method in METHODS},
                    "outcome": trace.outcome,
                    "split": split,
                }
            )
    return shown
