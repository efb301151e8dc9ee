"""Best-of-N curves: what choosing among N of a problem's samples is worth, for every N at once.

Two kinds of files are read: traces in any known format with an `outcome`, grouped by problem; and one record per problem
with parallel lists (`response`, `score` for right or wrong, `pred` for answers, `pred_score` for a reward model's raw
outputs, as Qwen2.5-Math's evaluation writes them). Raw outputs become scores through a sigmoid, which keeps their order.

Where every candidate's steps are labelled (up to the first wrong one; `world` has a world judge them), the line `ceiling`
is the choice of a perfect step verifier: of N candidates one whose steps are all right, if there is one. It is what a PRM
can reach; `pass` is more, for it also counts the right answers that wrong steps came upon. Beside the curves stand AUCs of
right against wrong solutions (and of labelled steps): pooled, and within problems, which is what choosing rests on.

Contract: expectations, ties and votes as `search/selection.py` says; a sample without scores ranks below every other. A
problem may have any number of candidates, none included; a candidate without an outcome is refused, for it can neither be
right nor wrong. A NaN is refused when scores are read.

Not here: what choosing among N is worth (`search/selection.py`), from step scores to one (`search/aggregation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from rich.console import Console

from sparring.errors import DataError, names_of, plural
from sparring.evaluation.cases import Rows
from sparring.evaluation.outcome import (
    CASES_FILE,
    Recomputed,
    candidate_record,
    raw_records,
    write_evaluation,
)
from sparring.evaluation.scored import ScoredSettings, scored
from sparring.evaluation.scores import opened
from sparring.json_files import json_objects
from sparring.locks import writes
from sparring.oracles.equality import answer_groups
from sparring.pool import PoolSettings
from sparring.report.page import Run
from sparring.runs import Metric
from sparring.scorers.door import StepScorer, threshold_of
from sparring.search.aggregation import AGGREGATIONS, aggregation_for
from sparring.search.selection import best_at, pass_at, random_choice, vote_at, votes_are_exact
from sparring.statistics import auc_interval, auc_within, bootstrap_mean, paired_difference
from sparring.traces.answers import stated_answer
from sparring.traces.fields import Fields, finite_number, is_number
from sparring.traces.formats.common import question_id
from sparring.traces.ids import distinct_ids
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Label, Problem, Trace
from sparring.traces.splitting import split_steps
from sparring.worlds.subject import WorldText
from sparring.worlds.world import judged, make_world

SCORES_FILE = "scores.jsonl"
"""A score file of the candidates, where a model has scored them."""
_BASELINES = ("majority", "random")


class BonSettings(ScoredSettings):
    """Settings of `sparring eval bon`; without model and scores, the scores that came with the data are used."""

    n: list[int] = Field([])
    """Sizes N of the curves; by default 1, 2, 4, … up to the most candidates of a problem."""
    allow_missing: bool = False
    """Go on where candidates have no scores, also those that the model refuses, as it does too long ones: they stay
    candidates, rank below every other, and are counted."""
    rule: str = Field("auto")
    """Aggregation by which `worst.jsonl` lists the problems where choosing by score went most wrong; `auto`: as the model's
    sidecar says, `min` for scores from files."""

    world: WorldText | None = None
    """World that the problems are from (`chain`, `countdown:numbers=4`): its exact verdicts label every candidate's steps,
    which gives the line `ceiling` and the AUC of steps."""

    @model_validator(mode="after")
    def _check_sizes(self) -> BonSettings:
        if any(n < 1 for n in self.n):
            raise ValueError("n: sizes are at least 1")
        if self.rule not in ("auto", *AGGREGATIONS):
            raise ValueError(f"rule: one of auto, {', '.join(AGGREGATIONS)}")
        return self


@writes("out")
def evaluate_bon(
    settings: BonSettings,
    out: Path,
    *,
    scorer: StepScorer | None = None,
    console: Console | None = None,
    pool: PoolSettings | None = None,
) -> dict[str, Metric]:
    """Measure best-of-N curves.

    Metrics: ``bon.<line>.n<N>.accuracy``, and at the largest N ``bon.<line>_minus_<majority or random>`` with a p-value;
    ``bon.solution_auc.<aggregation>.pooled`` and ``.within``, and with labels ``bon.step_auc.pooled`` and ``.within``.

    Raises:
        SettingsError, DataError, CheckpointError: settings, data, scores or model cannot be used.
    """
    candidates = read_candidates(settings.data)
    if settings.world is not None:
        world = make_world(settings.world)
        for identity, trace in candidates.traces.items():
            candidates.traces[identity] = replace(judged(world, trace), outcome=trace.outcome)
    rows: Rows | Mapping[str, tuple[float, ...]] = candidates.scores
    missing: list[str] = []
    why = ""
    who: Mapping[str, Any] = {}
    with ExitStack() as stack:
        if scorer is None and settings.model is not None:
            leave_out = settings.allow_missing
            scorer = stack.enter_context(opened(settings.model, None, pool, console, leave_out=leave_out))
        rule = aggregation_for(scorer, settings.rule)
        if scorer is not None or settings.scores:
            found = scored(candidates.traces, settings, out, scorer)
            rows, missing, who, why = found.rows, found.missing, found.who, found.why
    groups = [[_sample(candidates, c, rows.get(c)) for c in ids] for ids in candidates.groups.values()]
    sizes = sorted(set(settings.n)) or curve_sizes(max(map(len, groups)))
    if not sizes:
        raise DataError("no problem has a candidate", file=names_of(settings.data))
    lines = curves(groups, sizes, seed=settings.seed)
    metrics = _measured(list(candidates.groups), groups, lines, settings.resamples, settings.seed)
    counts = {**_counts(groups, sizes), "skipped": candidates.skipped}
    votes = "all subsets" if is_exact(groups, sizes) else "drawn subsets"
    cases, misled = _records(candidates, groups, lines, rule)
    odd = {
        name: count
        for name, count in counts.items()
        if count and name not in ("problems", "candidates", "without_scores")
    }
    notes = [f"expectations over subsets; votes: {votes}"]
    notes += [f"{name.replace('_', ' ')}: {count}" for name, count in odd.items()]
    if unscored := counts["without_scores"]:
        reason = f"; the first: {why}" if why else ""
        notes.append(f"{plural(unscored, 'candidate')} without scores: ranked below every other{reason}")
    return write_evaluation(
        out,
        "bon",
        settings,
        metrics | {name: Metric(value) for name, value in counts.items()},
        cases=cases,
        worst=misled,
        rules={"votes": votes, "rule": rule},
        extra={"missing_ids": missing, **who, **({} if scorer is None else threshold_of(scorer))},
        # What a model has just said is nowhere else; scores from files are.
        files={} if scorer is None else {
            SCORES_FILE: ({"id": c, "scores": row} for c in candidates.traces if (row := rows.get(c)) is not None)
        },
        notes=notes,
        console=console,
    )  # fmt: skip


def _sample(candidates: Candidates, identity: str, scores: Sequence[float] | None) -> Sample:
    """Return a candidate as a sample; every step of it is right, or this is not known; one without steps is not."""
    trace = candidates.traces.get(identity)
    answer, correct = candidates.answers[identity], candidates.correct[identity]
    if trace is None:
        return Sample(answer, correct, scores, sound=False)
    sound = None if trace.first_error is None else trace.first_error < 0
    return Sample(answer, correct, scores, sound, trace.labels)


def _counts(groups: Sequence[Sequence[Sample]], sizes: Sequence[int]) -> dict[str, int]:
    return {
        "problems": len(groups),
        "candidates": sum(map(len, groups)),
        "empty": sum(not group for group in groups),
        "short": sum(len(group) < sizes[-1] for group in groups),
        "without_answer": sum(sample.answer is None for group in groups for sample in group),
        "without_scores": sum(sample.scores is None for group in groups for sample in group),
    }


def _measured(
    problems: Sequence[str],
    groups: Sequence[Sequence[Sample]],
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    resamples: int,
    seed: int,
) -> dict[str, Metric]:
    """Return the metrics of curves, the differences at the largest N, and the AUCs."""
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed, "unit": "fraction"}
    metrics = {
        f"{line}.n{n}.accuracy": bootstrap_mean(values, **drawn)
        for line, by_size in lines.items()
        for n, values in by_size.items()
    }
    for line, by_size in lines.items():
        largest = max(by_size)
        for baseline in _BASELINES:
            if line not in (*_BASELINES, "pass", "ceiling"):
                compared = paired_difference(by_size[largest], lines[baseline][largest], **drawn)
                metrics |= compared.named(f"{line}_minus_{baseline}")
    return metrics | discrimination(problems, groups, resamples, seed)


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` gives once more."""
    settings = run.settings
    stored = raw_records(run.folder / CASES_FILE, "scores", "labels", "sound")
    groups = [
        [
            Sample(*one)
            for one in zip(
                *(record[name] for name in ("answers", "correct", "scores", "sound", "labels")), strict=True
            )
        ]
        for record in stored
    ]
    sizes = sorted(set(settings["n"])) or curve_sizes(max(map(len, groups)))
    lines = curves(groups, sizes, seed=settings["seed"])
    problems = [record["id"] for record in stored]
    metrics = _measured(problems, groups, lines, settings["resamples"], settings["seed"])
    counts = _counts(groups, sizes)
    again = [
        _record(place, record["id"], record["candidates"], group, lines, settings["rule"])
        for place, (record, group) in enumerate(zip(stored, groups, strict=True))
    ]
    return Recomputed(metrics | {name: Metric(count) for name, count in counts.items()}, {CASES_FILE: again})


def _records(
    candidates: Candidates,
    groups: Sequence[Sequence[Sample]],
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    rule: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return one record per problem, and those where a wrong candidate beats every right one, furthest apart first."""
    cases: list[dict[str, Any]] = []
    misled: list[dict[str, Any]] = []
    for number, ((problem, ids), group) in enumerate(zip(candidates.groups.items(), groups, strict=True)):
        record = _record(number, problem, ids, group, lines, rule)
        cases.append(record)
        totals, gap = record["totals"], record["gap"]
        places = {"picked": _best(group, totals, False), "right": _best(group, totals, True)}
        if gap is None or gap <= 0:
            continue
        wrong: dict[str, Any] = {"id": problem, "gap": gap, "chosen": ids[places["picked"]], "totals": totals}
        for name, place in places.items():
            trace, sample = candidates.traces.get(ids[place]), group[place]
            steps = () if trace is None else trace.steps
            wrong[name] = candidate_record(steps, sample.scores, totals[place] or 0.0, sample.answer)
        trace = candidates.traces.get(ids[places["picked"]])
        misled.append(wrong if trace is None else wrong | {"problem": trace.problem.question})
    return cases, sorted(misled, key=lambda record: -record["gap"])


def _record(
    number: int,
    problem: str,
    ids: Sequence[str],
    group: Sequence[Sample],
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    rule: str,
) -> dict[str, Any]:
    """Return the record of the problem of this number, with all that its numbers are made of."""
    totals = [AGGREGATIONS[rule](sample.scores) if sample.scores else None for sample in group]
    right, wrong = (_best(group, totals, correct) for correct in (True, False))
    gap = None if min(right, wrong) < 0 else (totals[wrong] or 0.0) - (totals[right] or 0.0)
    return {
        "id": problem,
        "candidates": ids,
        "answers": [sample.answer for sample in group],
        "correct": [sample.correct for sample in group],
        "scores": [sample.scores for sample in group],
        "sound": [sample.sound for sample in group],
        "labels": [sample.labels for sample in group],
        "totals": totals,
        "accuracy": {line: {str(n): v[number] for n, v in sizes.items()} for line, sizes in lines.items()},
        "gap": gap,
    }


def _best(group: Sequence[Sample], totals: Sequence[float | None], correct: bool) -> int:
    """Return the place of the highest total among the right, or the wrong, candidates; −1 where there is none."""
    known = {i: total for i, total in enumerate(totals) if total is not None and group[i].correct is correct}
    return max(known, key=lambda place: known[place], default=-1)


# --- curves ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled solution.

    Attributes:
        answer: None: none found.
        correct: whether the answer is right.
        scores: of the steps; None: it has none.
        sound: whether every step is right; None: not known.
        labels: of the steps; None: there are none.
    """

    answer: str | None
    correct: bool
    scores: Sequence[float] | None
    sound: bool | None = None
    labels: Sequence[Label] | None = None


def curve_sizes(largest: int) -> list[int]:
    """Return 1, 2, 4, … and the largest N itself."""
    sizes = [2**power for power in range(largest.bit_length()) if 2**power < largest]
    return [*sizes, largest] if largest > 0 else []


def total_score(scores: Sequence[float] | None, aggregate: Callable[[Sequence[float]], float]) -> float:
    """Return the score that a solution is ranked by: below every other where it has no step scores."""
    return aggregate(scores) if scores else -1.0


def curves(
    groups: Sequence[Sequence[Sample]], sizes: Sequence[int], *, seed: int = 0
) -> dict[str, dict[int, list[float]]]:
    """Return line → N → one expected accuracy per problem.

    Lines: `random`, `majority`, `pass`, where it is known of every sample whether its steps are right `ceiling`, and where
    samples have scores `best_<aggregation>` and `weighted_<aggregation>` for every aggregation (all the same line `best`,
    `weighted` where every sample has a single score).
    """
    rules = rules_for(groups)
    lines = ["random", "majority", "pass"]
    known = all(sample.sound is not None for group in groups for sample in group)
    if known and any(sample.sound for group in groups for sample in group):
        lines.append("ceiling")
    lines += [f"{kind}_{rule}".rstrip("_") for rule in rules for kind in ("best", "weighted")]
    result: dict[str, dict[int, list[float]]] = {line: {n: [] for n in sizes} for line in lines}
    for number, group in enumerate(groups):
        correct = [sample.correct for sample in group]
        classes = answer_groups([sample.answer for sample in group])
        totals = {
            rule: [total_score(sample.scores, aggregate) for sample in group]
            for rule, aggregate in rules.items()
        }
        for n in sizes:
            drawn = [seed, number, n]
            values = {
                "random": random_choice(correct),
                "pass": pass_at(correct, n),
                "majority": vote_at(classes, correct, n, seed=drawn),
            }
            if "ceiling" in lines:
                values["ceiling"] = best_at([float(sample.sound is True) for sample in group], correct, n)
            for rule, total in totals.items():
                values[f"best_{rule}".rstrip("_")] = best_at(total, correct, n)
                weights = [max(0.0, weight) for weight in total]
                values[f"weighted_{rule}".rstrip("_")] = vote_at(
                    classes, correct, n, weights=weights, seed=drawn
                )
            for line, value in values.items():
                result[line][n].append(value)
    return result


def rules_for(groups: Sequence[Sequence[Sample]]) -> Mapping[str, Callable[[Sequence[float]], float]]:
    """Return the aggregations that make sense for these scores: none, one without a name, or all."""
    steps = max((len(sample.scores) for group in groups for sample in group if sample.scores), default=0)
    if steps > 1:
        return AGGREGATIONS
    return {"": AGGREGATIONS["last"]} if steps else {}


def discrimination(
    problems: Sequence[str], groups: Sequence[Sequence[Sample]], resamples: int, seed: int
) -> dict[str, Metric]:
    """Return how well scores tell right solutions from wrong ones, and right steps from first wrong ones: AUCs.

    Pooled over all candidates with scores (the interval is over problems), and within problems (`auc_within`).
    """
    drawn = {"resamples": resamples, "seed": seed}
    metrics: dict[str, Metric] = {}

    def measure(name: str, scores: Sequence[float], labels: Sequence[bool], problems: Sequence[str]) -> None:
        if scores:
            metrics[f"{name}.pooled"] = auc_interval(scores, labels, clusters=problems, **drawn)
            metrics[f"{name}.within"] = auc_within(scores, labels, problems, **drawn)

    samples = [
        (problem, sample.scores, sample.correct)
        for problem, group in zip(problems, groups, strict=True)
        for sample in group
        if sample.scores
    ]
    for rule, aggregate in rules_for(groups).items():
        totals = [aggregate(scores) for _, scores, _ in samples]
        labels, clusters = [right for *_, right in samples], [problem for problem, *_ in samples]
        measure(f"solution_auc.{rule or 'score'}", totals, labels, clusters)
    steps = [
        (problem, score, label >= 0.5)
        for problem, group in zip(problems, groups, strict=True)
        for sample in group
        for score, label in zip(sample.scores or (), sample.labels or (), strict=False)  # some have no scores
        if label is not None
    ]
    measure("step_auc", [row[1] for row in steps], [row[2] for row in steps], [row[0] for row in steps])
    return metrics


def is_exact(groups: Sequence[Sequence[Sample]], sizes: Sequence[int]) -> bool:
    """Return whether all subsets were counted for votes, too."""
    return all(votes_are_exact(len(group), n) for group in groups for n in sizes)


# --- reading candidates ----------------------------------------------------------------------------------------------


_LISTS = frozenset(("question", "response", "score"))


@dataclass(slots=True)
class Candidates:
    """Candidates by problem.

    Attributes:
        groups: per problem id, the ids of its candidates in order.
        traces: the candidates that have steps, by id.
        answers: answer per candidate id as it was written, None where there is none.
        correct: outcome per candidate id.
        scores: scores that came with the file, by candidate id.
        skipped: records that the reader left out.
    """

    groups: dict[str, list[str]] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    answers: dict[str, str | None] = field(default_factory=dict)
    correct: dict[str, bool] = field(default_factory=dict)
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)
    skipped: int = 0


def read_candidates(paths: Sequence[Path]) -> Candidates:
    """Return the candidates of one or more files.

    Raises:
        DataError: a file cannot be used, or a candidate has no outcome.
    """
    found = Candidates()
    for path in paths:
        _, first = next(json_objects(path), (0, {}))
        if first.keys() >= _LISTS:
            for line, record in json_objects(path):
                _add_record(found, Fields(record, file=path, line=line), str(record.get("idx", line)))
        else:
            _add_traces(found, path)
    if not found.groups:
        raise DataError(f"no candidates in {', '.join(map(str, paths))}")
    return found


def _add_traces(found: Candidates, path: Path) -> None:
    result = read_traces_as(path)
    if not result.traces:
        raise DataError("no traces in this file", file=path)
    for identity, trace in zip(distinct_ids(result.traces), result.traces, strict=True):
        if trace.outcome is None:
            raise DataError(
                f"trace {identity!r} has no outcome: was its answer right?", file=path, field="outcome"
            )
        if identity in found.correct:
            raise DataError(f"candidate {identity!r} stands twice", file=path, field="id")
        answer = trace.meta.get("answer") if "answer" in trace.meta else stated_answer(trace.steps)
        found.groups.setdefault(trace.problem.id, []).append(identity)
        found.traces[identity] = trace
        found.answers[identity] = _stated(answer)
        found.correct[identity] = trace.outcome
    found.skipped += len(result.skipped)


def _add_record(found: Candidates, record: Fields, name: str) -> None:
    question = record.text("question")
    responses = record.strings("response")
    outcomes = record.values["score"]
    answers: Any = record.values.get("pred", [None] * len(responses))
    rewards: Any = record.values.get("pred_score")
    for column, values in (("score", outcomes), ("pred", answers), ("pred_score", rewards)):
        if values is not None and (not isinstance(values, list) or len(values) != len(responses)):
            raise record.error(
                column, f"expected a list with one entry for each of {plural(len(responses), 'response')}"
            )
    problem = Problem(f"{name}-{question_id(question)}", question)
    group = found.groups.setdefault(problem.id, [])
    if group:
        raise record.error("question", "the problem stands twice")
    for number, (response, right, answer) in enumerate(
        zip(responses, outcomes, answers, strict=True), start=1
    ):
        if not isinstance(right, bool):
            raise record.error("score", f"entry {number} is not true or false")
        identity = f"{problem.id}#{number}"
        group.append(identity)
        found.correct[identity] = right
        found.answers[identity] = _stated(answer)
        if response.strip():
            found.traces[identity] = Trace(problem, tuple(split_steps(response)), outcome=right)
        if rewards is not None:
            found.scores[identity] = _sigmoid(record, rewards[number - 1])


def _stated(answer: object) -> str | None:
    """Return an answer as text, None where it is none; public sets also write numbers."""
    text = str(answer) if is_number(answer) else answer
    return text.strip() or None if isinstance(text, str) else None


def _sigmoid(record: Fields, rewards: Any) -> tuple[float, ...]:
    values = [finite_number(value) for value in (rewards if isinstance(rewards, list) else [rewards])]
    if not values or None in values:
        raise record.error("pred_score", "expected finite numbers")
    return tuple(0.5 * (1 + math.tanh(value / 2)) for value in values if value is not None)
