"""The main job in miniature: `sparring demo` trains two PRMs in the chain world and measures what adversaries change.

The same tiny PRM is trained twice under the same budget (updates, and rewrites labelled by the oracle), once on rule
perturbations and once in the game. Then both are compared: do they help a solver choose, do they find its errors, can they
be fooled by a fresh adversary.

Contract: everything from the seed; a run directory that `report/` turns into a page; numbers are what they are. Killed and
started again with the same settings, it goes on where it was. Thresholds are chosen by the same rule for both, on
solutions that are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console
from rich.progress import Progress

from sparring.evaluation.attack import AttackResult, AttackSettings, attack
from sparring.evaluation.best_of_n import Candidate, best_of_n_accuracies, best_of_n_metrics
from sparring.evaluation.cross_play import cross_play
from sparring.evaluation.processbench import Case, Threshold, best_threshold, evaluate, make_case
from sparring.files import atomic_write_json, atomic_write_jsonl
from sparring.locks import writes
from sparring.models.loading import TINY_POLICY, load_policy, pick_device, pick_dtype
from sparring.models.scorer import Scorer, load_scorer
from sparring.models.sidecar import read_sidecar, write_sidecar
from sparring.report.demo import write_demo_report
from sparring.rollouts.local import sample_solutions
from sparring.runs import Metric, read_metrics, write_metrics
from sparring.settings import Settings, dump_settings
from sparring.terminal import progress_bar
from sparring.traces.records import Trace
from sparring.training.aprm import setup, train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.state import seed_for
from sparring.training.tasks import ChainTask
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    final_answer,
    generate_problems,
    judge_step,
    judged,
    parse_question,
)
from sparring.worlds.chain_model import CHAIN_LAYOUT

Method = Literal["rules_prm", "aprm"]
METHODS: dict[Method, Literal["rules", "trained"]] = {"rules_prm": "rules", "aprm": "trained"}
SPLITS = {"in_distribution": IN_DISTRIBUTION, "longer": LONGER}


class DemoSettings(Settings):
    """Settings of `sparring demo`."""

    seed: int = Field(0, ge=0)
    """All randomness derives from it."""
    policy: str = TINY_POLICY
    """The solver, and the model that both PRMs and all adversaries start from."""
    prm_warm_steps: int = Field(40, ge=0)
    """PRM updates on rule perturbations that both runs begin with."""
    adversary_warm_steps: int = Field(60, ge=0)
    """Imitation updates of the adversary before the game."""
    updates: int = Field(100, gt=0)
    """Further PRM updates: on rule perturbations, or in the game."""
    states_per_update: int = Field(16, gt=0)
    """States per update."""
    samples_per_state: int = Field(4, ge=2)
    """Rewrites per state."""
    attack_updates: int = Field(30, ge=0)
    """Budget of the fresh adversary that attacks each finished PRM."""
    best_of_n: int = Field(16, gt=0)
    """Solutions that a PRM chooses from."""
    temperature: float = Field(1.0, gt=0)
    """Of the solver's samples."""
    problems: int = Field(400, gt=0)
    """Problems per split for measuring."""
    aggregation: Literal["min", "product", "last", "mean"] = "min"
    """From step scores to a solution's score."""


@writes("out")
def run_demo(settings: DemoSettings, out: Path, *, console: Console | None = None) -> Path:
    """Run the demo in `out` and return the path of its report."""
    console = console or Console()
    out.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, Metric] = {}
    with progress_bar(console) as bar:
        for method, adversary in METHODS.items():
            metrics |= train(method, adversary, settings, out, bar)
        _cross_play(settings, out, bar)
        metrics |= solve_and_judge(settings, out, bar)
        attacks = {method: attack_prm(method, settings, out, bar) for method in METHODS}
    for method, result in attacks.items():
        metrics |= {f"attack.{method}.{name}": metric for name, metric in result.metrics.items()}
    write_examples(attacks, settings, out)
    write_metrics(out, metrics, settings=dump_settings(settings), seed=settings.seed)
    report = write_demo_report(out)
    console.print(f"\nReport: [bold]{report.resolve()}[/bold]", soft_wrap=True)
    return report


def train(
    method: Method, adversary: Literal["rules", "trained"], settings: DemoSettings, out: Path, bar: Progress
) -> dict[str, Metric]:
    """Train one of the two PRMs, or go on with it."""
    own = aprm_settings(settings, adversary)
    task = bar.add_task(f"training, {_title(method)}", total=own.total_steps)
    train_aprm(own, out / method, resume=True, progress=lambda step, _: bar.update(task, completed=step))
    bar.update(task, completed=own.total_steps)
    return {
        name.replace("training.", f"training.{method}."): metric
        for name, metric in read_metrics(out / method / "metrics.json").items()
    }


def aprm_settings(settings: DemoSettings, adversary: Literal["rules", "trained"]) -> AprmSettings:
    """Return the settings of one training run; only the adversary differs between the two."""
    return AprmSettings(
        backbone=settings.policy,
        adversary=adversary,
        prm_warm_steps=settings.prm_warm_steps,
        adversary_warm_steps=settings.adversary_warm_steps,
        updates=settings.updates,
        states_per_update=settings.states_per_update,
        samples_per_state=settings.samples_per_state,
        snapshot_every=max(1, settings.updates // 5) if adversary == "trained" else 0,
        seed=settings.seed,
        device="cpu",
    )


def _cross_play(settings: DemoSettings, out: Path, bar: Progress) -> None:
    task = bar.add_task("cross-play", total=1)
    run = setup(aprm_settings(settings, "trained"), out / "aprm")
    result = cross_play(run, states=64, seed=settings.seed)
    atomic_write_json(
        out / "cross_play.json",
        {
            "prm_updates": result.updates,
            "adversary_updates": result.updates,
            "fool_rate": result.fool_rate,
            "n": result.n,
        },
    )
    bar.advance(task)


# --- the solver ------------------------------------------------------------------------------------------------------


def solve_and_judge(settings: DemoSettings, out: Path, bar: Progress) -> dict[str, Metric]:
    """Sample solutions, let both PRMs choose among them and look for their errors."""
    solver = _Solver(settings)
    scorers = {method: load_scorer(out / method / "prm", device="cpu") for method in METHODS}
    thresholds = {}
    validation = solver.solve(IN_DISTRIBUTION, "validation", samples=1, problems=settings.problems)
    for method, scorer in scorers.items():
        cases = _cases([group[0] for group in validation], scorer, "validation")
        thresholds[method] = _store_threshold(out / method / "prm", _chosen(cases))
    metrics: dict[str, Metric] = {}
    shown: list[dict[str, Any]] = []
    for split, steps in SPLITS.items():
        task = bar.add_task(f"solving, {split.replace('_', ' ')}", total=4)
        greedy = solver.solve(steps, split, samples=1, problems=settings.problems, greedy=True)
        bar.advance(task)
        groups = solver.solve(steps, split, samples=settings.best_of_n, problems=settings.problems)
        bar.advance(task)
        scores = {method: _score_groups(groups, scorer) for method, scorer in scorers.items()}
        bar.advance(task)
        metrics |= _best_of_n(settings, split, greedy, groups, scores)
        for method in METHODS:
            firsts = [group[0] for group in groups]
            values = [row[0] for row in scores[method]]
            cases = [
                make_case(t, s, split)
                for t, s in zip(firsts, values, strict=True)
                if t is not None and s is not None
            ]
            found = evaluate(cases, thresholds[method], seed=settings.seed)
            metrics |= {
                f"step_error.{split}.{method}.{name.removeprefix(split + '.')}": metric
                for name, metric in found.items()
                if name.startswith(split + ".")
            }
        shown += _solutions_to_show(split, groups, scores)
        bar.advance(task)
    for method, threshold in thresholds.items():
        metrics[f"step_error.threshold.{method}"] = Metric(threshold.value)
    atomic_write_jsonl(out / "solutions.jsonl", shown)
    return metrics


class _Solver:
    def __init__(self, settings: DemoSettings) -> None:
        device = pick_device("cpu")
        self.model, self.tokenizer = load_policy(
            settings.policy, device=device, dtype=pick_dtype("auto", device)
        )
        self.seed, self.temperature = settings.seed, settings.temperature

    def solve(
        self, steps: tuple[int, int], name: str, *, samples: int, problems: int, greedy: bool = False
    ) -> list[list[Trace | None]]:
        """Return judged solutions of held-out problems."""
        held_out = generate_problems(problems, steps=steps, seed=self.seed, name=f"demo-{name}")
        groups = sample_solutions(
            self.model,
            self.tokenizer,
            CHAIN_LAYOUT,
            held_out,
            samples=samples,
            max_new_tokens=16 * (steps[1] + 2),
            seed=seed_for(self.seed, samples, name),
            temperature=0.0 if greedy else self.temperature,
            source="tiny policy",
            row_budget=512,
        )
        return [[None if trace is None else judged(trace) for trace in group] for group in groups]


def _score_groups(groups: Sequence[Sequence[Trace | None]], scorer: Scorer) -> list[list[list[float] | None]]:
    flat = [trace for group in groups for trace in group if trace is not None]
    scores = iter(scorer.score(flat))
    return [[None if trace is None else next(scores) for trace in group] for group in groups]


def _cases(traces: Sequence[Trace | None], scorer: Scorer, subset: str) -> list[Case]:
    present = [trace for trace in traces if trace is not None]
    return [make_case(trace, row, subset) for trace, row in zip(present, scorer.score(present), strict=True)]


def _chosen(cases: Sequence[Case]) -> Threshold:
    if len({case.first_error >= 0 for case in cases}) < 2:
        return Threshold(0.5, "fixed 0.5: the validation solutions are all right or all wrong")
    return best_threshold(cases, "validation solutions")


def _store_threshold(folder: Path, threshold: Threshold) -> Threshold:
    sidecar = read_sidecar(folder)
    write_sidecar(
        folder, sidecar.model_copy(update={"threshold": threshold.value, "threshold_rule": threshold.rule})
    )
    return threshold


def _best_of_n(
    settings: DemoSettings,
    split: str,
    greedy: Sequence[Sequence[Trace | None]],
    groups: Sequence[Sequence[Trace | None]],
    scores: dict[Method, list[list[list[float] | None]]],
) -> dict[str, Metric]:
    candidates = [
        [
            Candidate(
                None if trace is None else final_answer(trace.problem, trace.steps),
                trace is not None and trace.outcome is True,
                {method: scores[method][row][column] for method in METHODS},
            )
            for column, trace in enumerate(group)
        ]
        for row, group in enumerate(groups)
    ]
    accuracies = best_of_n_accuracies(candidates, list(METHODS), settings.aggregation)
    accuracies = {"greedy": [float(_solved(group[0])) for group in greedy]} | accuracies
    pairs = [
        ("aprm", "rules_prm"),
        *[(method, other) for method in METHODS for other in ("random", "majority", "greedy")],
    ]
    return best_of_n_metrics(accuracies, f"best_of_n.{split}", compare=pairs, seed=settings.seed)


def _solved(trace: Trace | None) -> bool:
    return trace is not None and trace.outcome is True


# --- attacks and examples --------------------------------------------------------------------------------------------


def attack_prm(method: Method, settings: DemoSettings, out: Path, bar: Progress) -> AttackResult:
    """Attack one frozen PRM with rules, a frozen and a freshly trained adversary."""
    own = AttackSettings(
        backbone=settings.policy,
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
    task = bar.add_task(f"attacking {_title(method)}", total=own.warm_steps + own.updates)
    return attack(
        load_scorer(out / method / "prm", device="cpu"),
        ChainTask(),
        own,
        out / f"attack_{method}.jsonl",
        progress=lambda phase, done, total: bar.advance(task),
    )


def write_examples(attacks: dict[Method, AttackResult], settings: DemoSettings, out: Path) -> None:
    """Write the first wrong rewrites, in the order of the held-out states, that fooled the PRM under attack."""
    scorers = {method: load_scorer(out / method / "prm", device="cpu") for method in METHODS}
    chosen: list[tuple[Trace, str, Any, str]] = []
    for method, result in attacks.items():
        for attacker in ("trained", "rules"):
            made, scores = result.rewrites[attacker], result.scores[attacker]
            fooling = [
                (Trace(state.problem, (*state.prefix, item.text)), state.step, item.verdict, attacker)
                for state, group, row in zip(made.states, made.groups, scores, strict=True)
                for item, score in zip((item for item in group if item.malformed is None), row, strict=True)
                if item.truth is False and score >= scorers[method].threshold
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
    split: str,
    groups: Sequence[Sequence[Trace | None]],
    scores: dict[Method, list[list[list[float] | None]]],
    count: int = 3,
) -> list[dict[str, Any]]:
    """Return the first wrong and the first right solutions, `count` of each."""
    shown: list[dict[str, Any]] = []
    for wanted in (False, True):
        picked = [
            (row, trace)
            for row, group in enumerate(groups)
            if (trace := group[0]) is not None and trace.outcome is wanted
        ]
        for row, trace in picked[:count]:
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


def _title(method: Method) -> str:
    return {"rules_prm": "PRM on rules", "aprm": "PRM against an adversary"}[method]
