"""What `sparring search` does: load, search with every method at every N, judge, write, show.

Contract: writes `metrics.json`, `cases.jsonl` (one line per method, N, repeat and problem: the chosen solution, whether
it is right, what it cost), `worst.jsonl` (problems with a right candidate that was not chosen), `curves.svg`, `report.html`
and `journals/` (every candidate) into the run directory. Started again with
the same settings it goes on where it was; with other settings it refuses the journals that do not fit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, model_validator
from rich.console import Console

from sparring.errors import SettingsError
from sparring.evaluation.search_curves import LINES, Case, Independent, curve_metrics
from sparring.evaluation.search_tables import accuracy_table, difference_table
from sparring.evaluation.worst import MOST_WORST, WORST_FILE, misled_searches
from sparring.files import atomic_write_jsonl, atomic_write_text
from sparring.fingerprints import folder_identity
from sparring.labels.answers import ChainChecker, Checker
from sparring.labels.command import load_subjects, pick_checker, show_doubts
from sparring.labels.label_run import Subject
from sparring.labels.provers import load_engine, policy_identity
from sparring.labels.settings import LabelSettings, PolicySettings, ServerSettings, parse_prover
from sparring.locks import writes
from sparring.models.loading import TINY_POLICY
from sparring.models.prompts import prompt_digest
from sparring.models.scorer import load_scorer
from sparring.pictures import svg_of
from sparring.report.evaluation import show_evaluation_report
from sparring.rollouts.engine import Engine, room_note
from sparring.runs import Metric, write_metrics
from sparring.search.driver import METHODS, Found, run_search
from sparring.search.scoring import StepScorer
from sparring.search.settings import MethodSettings
from sparring.settings import dump_settings
from sparring.terminal import progress_bar
from sparring.traces.answers import stated_answer
from sparring.traces.records import Problem
from sparring.worlds.chain import IN_DISTRIBUTION, final_answer, generate_problems

CASES_FILE = "cases.jsonl"
CURVES_FILE = "curves.svg"
_CHAIN_PROBLEMS = 100


class SearchSettings(MethodSettings):
    """Settings of `sparring search`."""

    # Who searches
    policy: str = TINY_POLICY
    """Who writes: model folder, hub name, or a server's address (`http://…/v1`)."""
    prm: str
    """Who scores: a PRM folder."""
    server: ServerSettings = ServerSettings()
    """How to speak to a policy that is a server."""

    # What is searched
    data: str | None = None
    """File of problems with reference answers; without one, problems of the chain world are made."""
    data_format: str = "auto"
    """Format of `data`: `auto`, or a name from docs/data-formats.md."""
    problems: int | None = Field(None, gt=0)
    """Use only the first so many problems; of the chain world, make so many (without it, 100)."""
    chain_steps: tuple[int, int] = IN_DISTRIBUTION
    """Fewest and most definitions of a chain-world problem: its difficulty."""
    checker: Literal["auto", "chain", "answer"] = "auto"
    """Who judges answers: the chain world, or equality with the reference answer; `auto` goes by `data`."""
    last_number: bool = True
    """Where a solution states no answer, take the last number of its last step (`answer`)."""

    # How
    methods: tuple[Literal["beam", "dvts", "lookahead", "puct", "particles"], ...] = ("beam",)
    """Methods beside independent solutions, which are always sampled."""
    n: tuple[int, ...] = (1, 4, 16)
    """The N of the curves."""
    baseline_samples: int | None = Field(None, gt=0)
    """Independent solutions per problem; without it, the largest N times `expansions`, for comparisons at equal cost."""
    repeats: int = Field(1, gt=0)
    """Searches of every problem, with seeds `seed`, `seed` + 1, …"""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights: `auto` is bfloat16 on a GPU, float32 elsewhere."""
    row_budget: int = Field(256, gt=0)
    """Completions in flight at once in this process. Does not change results."""

    @model_validator(mode="after")
    def _check(self) -> SearchSettings:
        if not self.n or min(self.n) < 1:
            raise ValueError("n holds at least one number, all at least 1")
        if len(set(self.methods)) < len(self.methods) or len(set(self.n)) < len(self.n):
            raise ValueError("methods and n hold nothing twice")
        if self.chain_steps[0] < 1 or self.chain_steps[0] > self.chain_steps[1]:
            raise ValueError("chain_steps are the fewest and the most, at least 1")
        return self

    def labelling(self) -> LabelSettings:
        """Return the settings that labels share with search: policy, data and answers."""
        names = {
            *PolicySettings.model_fields,
            "policy",
            "server",
            "data",
            "data_format",
            "problems",
            "chain_steps",
        }
        names |= {"checker", "last_number", "device", "dtype", "row_budget", "seed"}
        return LabelSettings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Models:
    """Who takes part: policy, PRM and, where the settings name one, the prover's value model."""

    engine: Engine
    scorer: StepScorer
    prover: StepScorer | None = None


@writes("out")
def run_search_command(
    settings: SearchSettings, out: Path, *, console: Console, models: Models | None = None
) -> dict[str, Metric]:
    """Search, measure, write the run directory, print the table; return the metrics.

    Args:
        settings: of the run.
        out: run directory.
        console: for progress and the table.
        models: who takes part, instead of those that the settings name.

    Raises:
        SettingsError: settings that do not fit, or a run directory of another run.
        DataError: the data cannot be used.
        CheckpointError: a model cannot be loaded.
        SearchError: nothing could be searched, or scores are no numbers.
        EngineError: the engine is out of order; start the command again to go on.
    """
    problems, left_out = load_problems(settings)
    checker = pick_checker(settings.labelling(), [Subject(problem) for problem in problems])
    models = models or load_models(settings)
    samples = settings.baseline_samples or max(settings.n) * settings.expansions
    plan = [
        ("independent", samples),
        *((method, n) for method in settings.methods for n in sorted(settings.n)),
    ]
    cases: dict[tuple[str, int], list[Case]] = {one: [] for one in plan}
    if note := room_note(models.engine, settings.limits(whole=True, greedy=False)):
        console.print(note, highlight=False)
    started = time.perf_counter()
    with progress_bar(console) as bar:
        for repeat in range(settings.repeats):
            seeded = settings.model_copy(update={"seed": settings.seed + repeat})
            for method, n in plan:
                task = bar.add_task(f"{method}, N = {n}", total=len(problems))
                found = run_search(
                    method,
                    problems,
                    models.engine,
                    models.scorer,
                    seeded,
                    n=n,
                    prover=models.prover,
                    journal=out / "journals" / f"{method}-{n}-{repeat}.jsonl",
                    identity=_identity(settings, models.engine),
                    progress=lambda done, task=task: bar.advance(task, done),  # type: ignore[misc]
                )
                cases[method, n] += judged(problems, found, checker, repeat, settings.last_number)
    base = Independent(cases.pop(plan[0]), samples, settings.seed)
    metrics = {
        f"search.{name}": metric
        for name, metric in curve_metrics(base, dict(cases), sorted(settings.n), seed=settings.seed).items()
    }
    metrics["search.problems"] = Metric(len(problems), unit="problems")
    metrics["search.new_seconds"] = Metric(time.perf_counter() - started, unit="s")
    every = {plan[0]: base.cases, **cases}
    counts = {f"{method}.n_{n}": _counts(found) for (method, n), found in every.items()}
    misled = misled_searches(every, {problem.id: problem.question for problem in problems})
    extra = {
        "left_out": left_out,
        "counts": counts,
        "reproducible": models.engine.reproducible,
        "doubts": models.engine.usage.doubts,
        "worst_of": len(misled),
    }
    atomic_write_jsonl(out / CASES_FILE, _records(every))
    atomic_write_jsonl(out / WORST_FILE, misled[:MOST_WORST])
    atomic_write_text(out / CURVES_FILE, curves_svg(metrics, settings))
    write_metrics(out, metrics, settings=dump_settings(settings), seed=settings.seed, extra=extra)
    names = (*LINES, *settings.methods)
    title = f"Search on {len(problems)} problems, {settings.repeats} repeat(s)"
    console.print(accuracy_table(metrics, names, settings.n, title))
    console.print(difference_table(metrics, names, settings.n))
    for name, odd in counts.items():
        for what, count in odd.items():
            console.print(f"{name}: {what}: {count}", style="yellow", highlight=False)
    show_doubts(console, models.engine.usage.doubts)
    show_evaluation_report(out, console)
    return metrics


def load_problems(settings: SearchSettings) -> tuple[list[Problem], dict[str, int]]:
    """Return the problems, and what was left out of the data and why."""
    if settings.data is None:
        count = settings.problems or _CHAIN_PROBLEMS
        return generate_problems(count, steps=settings.chain_steps, seed=settings.seed, name="search"), {}
    subjects, left_out = load_subjects(settings.labelling())
    return [subject.problem for subject in subjects], dict(left_out)


def load_models(settings: SearchSettings) -> Models:
    """Return policy, PRM and, where named and needed, the prover's value model."""
    engine: Any = load_engine(settings.policy, settings.labelling())
    # Layouts are made for steps that end with a line break.
    engine.layout = replace(engine.layout, separator=settings.separator)
    prover = parse_prover(settings.prover).policy if settings.alpha > 0 else None
    scorers = [
        load_scorer(folder, device=settings.device, dtype=settings.dtype)
        for folder in (settings.prm, prover)
        if folder is not None
    ]
    return Models(engine, *scorers)


def judged(
    problems: Sequence[Problem], found: Sequence[Found], checker: Checker, repeat: int, last_number: bool
) -> list[Case]:
    """Return the cases of one search; an answer that cannot be read or compared is wrong."""
    pairs = [
        (problem, one.steps)
        for problem, result in zip(problems, found, strict=True)
        for one in result.candidates
    ]
    verdicts = iter(checker.judge(pairs))
    chain = isinstance(checker, ChainChecker)
    cases = []
    for problem, result in zip(problems, found, strict=True):
        judgements = [next(verdicts) for _ in result.candidates]
        answers = tuple(
            final_answer(problem, one.steps) if chain else stated_answer(one.steps, last_number=last_number)
            for one in result.candidates
        )
        unread = sum(
            one is None and answer is not None for one, answer in zip(judgements, answers, strict=True)
        )
        right = tuple(one is True for one in judgements)
        cases.append(Case(problem.id, repeat, result, answers, right, unread))
    return cases


def curves_svg(metrics: dict[str, Metric], settings: SearchSettings) -> str:
    """Return the picture of accuracy against cost: FLOPs per problem, or sampled tokens where those are unknown."""
    known = all(metric.value is not None for name, metric in metrics.items() if name.endswith(".flops"))
    count, label = ("flops", "FLOPs per problem") if known else ("tokens_generated", "tokens per problem")
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate((*LINES, *settings.methods)):
        keys = [f"search.{name}.n_{n}" for n in sorted(settings.n)]
        points = [
            (metrics[f"{key}.{count}"].value, metrics[f"{key}.accuracy"])
            for key in keys
            if f"{key}.accuracy" in metrics
        ]
        line = [
            (x, one.value, one.low, one.high) for x, one in points if x is not None and one.value is not None
        ]
        if not line:
            continue
        xs, ys, lows, highs = zip(*line, strict=True)
        look: dict[str, Any] = {
            "marker": "os^Dvp*XP<"[place % 10],
            "linestyle": "--" if name in LINES else "-",
        }
        # Bars, not bands: the bands of ten lines would hide one another.
        if None not in (*lows, *highs):
            bars = np.abs(np.array([lows, highs], dtype=float) - np.array(ys, dtype=float))
            look |= {"yerr": bars, "elinewidth": 0.7, "capsize": 2}
        axes.errorbar(xs, ys, label=name.replace("_", " "), **look)
    axes.set(xscale="log", xlabel=label, ylabel="accuracy")
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return svg_of(figure)


def _identity(settings: SearchSettings, engine: Engine) -> dict[str, Any]:
    """Return what must agree for a journal to be continued, beside method, settings and problems."""
    prover = parse_prover(settings.prover).policy
    return {
        "policy": policy_identity(settings.policy),
        "prm": folder_identity(Path(settings.prm)),
        "prover_model": None if prover is None else folder_identity(Path(prover)),
        "prompts": prompt_digest(getattr(engine, "layout", None)),
        "dtype": settings.dtype,
    }


def _counts(cases: Sequence[Case]) -> dict[str, int]:
    counts = sum((Counter(case.found.counts) for case in cases), Counter[str]())
    counts["answer that cannot be compared"] = sum(case.unread for case in cases)
    counts["problem without a candidate"] = sum(case.found.chosen is None for case in cases)
    counts["problem without an answer"] = sum(
        bool(case.answers) and not any(answer is not None for answer in case.answers) for case in cases
    )
    return dict(sorted((+counts).items()))


def _records(every: dict[tuple[str, int], Sequence[Case]]) -> Iterator[dict[str, Any]]:
    for (method, n), cases in every.items():
        for case in cases:
            found = case.found
            chosen = None if found.chosen is None else found.candidates[found.chosen]
            yield {
                "method": method,
                "n": n,
                "repeat": case.repeat,
                "problem": case.problem,
                "right": case.solved,
                "answer": None if found.chosen is None else case.answers[found.chosen],
                "steps": None if chosen is None else chosen.steps,
                "scores": None if chosen is None else chosen.scores,
                "value": None if chosen is None else chosen.value,
                "candidates": len(found.candidates),
                "candidates_right": sum(case.right),
                "counts": found.counts,
                "refusal": found.refusal,
                "seconds": found.seconds,
                **found.spent.as_dict(),
            }


__all__ = ["METHODS", "Models", "SearchSettings", "SettingsError", "run_search_command"]
