"""Where step scores come from: a step scorer's folder, or rollouts of a frozen prover.

Contract: a source turns groups of answers into what a credit rule of `credit.py` takes, one array per answer, empty where
there is nothing to score; and into one number per answer for the monitors, what the source itself thinks of it. Values may
be gated by a second source, one of correctness (`gate_scores`). Randomness is a function of the seed passed in.

Not here: the rules, training a scorer (`supervised.py`, `aprm.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from sparring.addresses import is_address
from sparring.errors import SettingsError
from sparring.labels.answers import Checker, Finished
from sparring.labels.posterior import best_of_k
from sparring.labels.provers import load_engine
from sparring.labels.settings import LabelSettings
from sparring.rollouts.engine import Completion, Engine, Prefix, split_completion
from sparring.scorers.door import StepScorer, open_scorer
from sparring.settings_shared import seed_from
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Truth
from sparring.training.credit import (
    Floats,
    above_values,
    gated,
    log_ratio,
    min_weights,
    progress,
    soft_min,
    step_sum,
    with_start,
)
from sparring.training.processes import spread
from sparring.training.rl_settings import RlSettings


@dataclass
class Answer:
    """One sampled answer and what is known of it.

    Attributes:
        problem: what it answers.
        prompt: ids that the policy continued.
        completion: what it wrote.
        steps: the answer's steps.
        spans: per step, its tokens.
        unreadable: whether no answer could be read; such an outcome counts as wrong.
        outcome: 1 for a verified right answer, else 0.
        truths: an oracle's word on each step, where there is one.
        advantages: per token, (tokens,); set by `rl.give_credit`.
    """

    problem: Problem
    prompt: tuple[int, ...]
    completion: Completion
    steps: tuple[str, ...]
    spans: list[tuple[int, int]]
    unreadable: bool = False
    outcome: float = 0.0
    truths: tuple[Truth, ...] | None = None
    advantages: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def truncated(self) -> bool:
        """Whether the limit came before the end, which is no right answer; what it trains says `cut_answers`."""
        return self.completion.finish == "length"

    @property
    def row(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the prompt, and those that were sampled after it."""
        return self.prompt, self.completion.token_ids

    @property
    def solution(self) -> Finished:
        """The problem and the answer's steps."""
        return self.problem, self.steps


Group = Sequence[Answer]


def served(settings: RlSettings, **sources: StepScores | None) -> dict[str, StepScorer]:
    """Return the scorers, by setting, that are servers."""
    return {
        name: source.scorer
        for name, source in sources.items()
        if isinstance(source, PrmScores) and is_address(getattr(settings, name))
    }


def rewards_of(group: Group, settings: RlSettings) -> Floats:
    """Return the reward at the end of every answer: its outcome, and −1 for one that was cut where that is penalised.

    To write on costs a step's credit at most once, to end wrongly costs the value of the prefix; so where no answer of a
    group is right, an answer that does not end must cost more than one that ends wrongly.
    """
    penalised = settings.cut_answers == "penalised"
    return np.array([-1.0 if penalised and answer.truncated else answer.outcome for answer in group])


class StepScores(Protocol):
    """A source of step scores.

    Attributes:
        unscored_steps: how many steps did not fit so far.
        scores_start: whether rows begin with the value of the empty prefix.
    """

    unscored_steps: int
    scores_start: bool

    def rows(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return scores, log-odds for `log_ratio`, or values of prefixes, for every answer of every group."""
        ...

    def rewards(self, solutions: Sequence[Finished]) -> list[float] | None:
        """Return what the source thinks of each answer, in [0, 1], higher is better; None if it has no view of its own."""
        ...


class PrmScores:
    """Scores of a PRM, an implicit PRM or a value model.

    Args:
        scorer: from `open_scorer`.
        settings: which rule the scores are for.
    """

    def __init__(self, scorer: StepScorer, settings: RlSettings) -> None:
        self.scorer, self.settings = scorer, settings
        self.unscored_steps, self.scores_start = 0, False

    def rows(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return scores or values after each step; log-odds for `log_ratio`."""
        rows = self.of_groups(groups)
        if self.settings.credit == "log_ratio":
            return [[_log_odds(row) for row in group] for group in rows]
        return rows

    def of_groups(self, groups: Sequence[Group]) -> list[list[Floats]]:
        """Return the scores of every answer's steps."""
        flat = iter(self._scores([answer.solution for group in groups for answer in group]))
        return [[next(flat) for _ in group] for group in groups]

    def rewards(self, solutions: Sequence[Finished]) -> list[float]:
        """Return the mean score, the soft minimum, or the last score, as the rule sees an answer; 0 without steps."""
        found = []
        sidecar = self.scorer.sidecar
        of_prefixes = sidecar.meaning == "value" or sidecar.head == "log_ratio"
        for row in self._scores(solutions):
            if len(row) == 0:
                found.append(0.0)
            elif of_prefixes:
                found.append(float(row[-1]))
            elif self.settings.credit == "step_sum":
                found.append(float(row.mean()))
            else:
                found.append(float(min_weights(row, self.settings.soft_min_temperature) @ row))
        return found

    def _scores(self, solutions: Sequence[Finished]) -> list[Floats]:
        # Equal answers are scored once: a policy that is sure of itself writes many.
        traces = {(p.question, tuple(steps)): Trace(p, tuple(steps)) for p, steps in solutions if steps}
        known = dict(zip(traces, spread(list(traces.values()), self.scorer.score), strict=True))
        found = [
            np.array(known.get((p.question, tuple(steps)), []), dtype=np.float64) for p, steps in solutions
        ]
        self.unscored_steps += sum(
            len(steps) - len(row) for (_, steps), row in zip(solutions, found, strict=True)
        )
        return found


class ProverScores:
    """Values of every prefix under a frozen prover, by rollouts (Monte Carlo).

    The whole answer's value is its outcome, exactly, and costs nothing. Prefixes that several answers share are continued
    once.

    Args:
        engine: samples from the prover.
        checker: judges its answers; a rollout that was cut, or that has no readable answer, is not right.
        settings: rollouts and limits.
    """

    def __init__(self, engine: Engine, checker: Checker, settings: RlSettings) -> None:
        self.engine, self.checker, self.settings = engine, checker, settings
        self.unscored_steps, self.scores_start = 0, True

    def rows(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return the value of every prefix of every answer, the empty one first; an answer without steps has none."""
        places: dict[tuple[str, tuple[str, ...]], Prefix] = {}
        for answer in (answer for group in groups for answer in group):
            for length in range(len(answer.steps)):
                start = answer.steps[:length]
                places.setdefault((answer.problem.question, start), Prefix(answer.problem, start))
        asked = [(prefix, seed_from(seed, place)) for place, prefix in enumerate(places.values())]
        value = dict(zip(places, spread(asked, self._shares_of_right), strict=True))

        def row(answer: Answer) -> Floats:
            if not answer.steps:
                return np.zeros(0)
            starts = (answer.steps[:length] for length in range(len(answer.steps)))
            return np.array([*(value[answer.problem.question, start] for start in starts), answer.outcome])

        return [[row(answer) for answer in group] for group in groups]

    def _shares_of_right(self, asked: Sequence[tuple[Prefix, int]]) -> list[float]:
        """Return the share of right rollouts from each prefix, sampled with its seed."""
        if not asked:
            return []
        settings, prefixes = self.settings, [prefix for prefix, _ in asked]
        groups = self.engine.sample(
            prefixes,
            settings.prover_rollouts,
            limits=settings.limits(settings.prover_temperature),
            seeds=[seed for _, seed in asked],
            stop=settings.stop,
        )
        whole = [
            (prefix.problem, (*prefix.steps, *split_completion(completion.text)))
            for prefix, group in zip(prefixes, groups, strict=True)
            for completion in group
        ]
        right = iter(self.checker.judge(whole))
        return [
            sum([next(right) is True and completion.finish != "length" for completion in group])
            / settings.prover_rollouts
            for group in groups
        ]

    def rewards(self, solutions: Sequence[Finished]) -> None:
        """The prover's value of a whole answer is its verified outcome: no second opinion that could be fooled."""


def values_of(
    source: StepScores,
    rows: Sequence[Floats],
    group: Group,
    settings: RlSettings,
    correctness: Sequence[Floats] | None = None,
    *,
    best_of: int = 1,
) -> list[Floats]:
    """Return the values of every prefix of a group's answers, (steps + 1,) each, from what a source of values said.

    Taken to best-of-K, then gated; the last value is the verified outcome where that is asked for, of an answer that was
    cut, and with a gate, which may be wrong, in any case. So a gate moves credit between the steps of an answer, and never
    changes their sum.

    Args:
        source: where the rows come from.
        rows: of the group's answers (`StepScores.rows`).
        group: the answers.
        settings: the gate's threshold, and what the last value is.
        correctness: from `gate_scores`; None without a gate.
        best_of: K.
    """
    before, found = [], []
    for place, (row, answer) in enumerate(zip(rows, group, strict=True)):
        start, after = (row[:1], row[1:]) if source.scores_start else (row[:0], row)
        start, after = best_of_k(start, best_of), best_of_k(after, best_of)
        if correctness is not None:
            after = gated(after, correctness[place], settings.gate_threshold)
        known = correctness is not None or settings.last_value == "outcome" or answer.truncated
        if known and 0 < len(after) == len(answer.steps):
            after = np.append(after[:-1], answer.outcome)
        before.append(start)
        found.append(after)
    if not source.scores_start:
        return with_start(found)
    return [np.concatenate([start, after]) for start, after in zip(before, found, strict=True)]


def above_prefixes(
    source: StepScores,
    values: Sequence[Floats],
    group: Group,
    rewards: Floats,
    otherwise: Sequence[float | Floats],
) -> list[float | Floats]:
    """Return each answer's reward above the value of the prefix before every step (`credit.above_values`).

    `values` are those of every prefix (`values_of`); an answer without them keeps its advantage from `otherwise`. Where the
    value of the empty prefix would have to be taken from an answer's own first step, there being no other, that step has no
    advantage.
    """
    alone = not source.scores_start and sum(len(row) > 0 for row in values) == 1
    found = [
        above_values(float(reward), row, len(answer.spans)) if len(row) else before
        for before, row, answer, reward in zip(otherwise, values, group, rewards, strict=True)
    ]
    for advantage in found:
        if alone and isinstance(advantage, np.ndarray):
            advantage[:1] = 0.0
    return found


def credit_rule(settings: RlSettings, rows: Sequence[Floats]) -> list[Floats]:
    """Apply the settings' rule to a group's scores, for `progress` values of every prefix; no credit for `outcome`."""
    if settings.credit == "outcome":
        return [np.zeros(0) for _ in rows]
    if settings.credit == "progress":
        return [progress([row])[0] if len(row) else row for row in rows]
    if settings.credit == "step_sum":
        return step_sum(rows, clip=settings.clip_step_sum)
    if settings.credit == "soft_min":
        return soft_min(rows, temperature=settings.soft_min_temperature)
    return log_ratio(rows)


def load_scores(settings: RlSettings, checker: Checker) -> StepScores | None:
    """Return the source that the settings name; None where outcomes are all there is. `checker` judges a prover's answers.

    Raises:
        SettingsError: the scores of the PRM do not mean what the credit rule takes.
        CheckpointError: a model cannot be loaded.
    """
    if settings.prm is not None:
        return load_prm_scores(settings, settings.prm)
    if not settings.takes_values:
        return None
    engine = load_engine(
        settings.prover or settings.policy,
        LabelSettings(
            style=settings.style, template_kwargs=settings.template_kwargs, template_date=settings.template_date,
            server=settings.server, row_budget=settings.row_budget,
            device=settings.device, dtype=settings.dtype,
        ),
    )  # fmt: skip
    return ProverScores(engine, checker, settings)


def load_prm_scores(settings: RlSettings, prm: str | Path) -> PrmScores:
    """Return the source of a step scorer (see `load_scores`)."""
    wanted = {"progress": "value", "step_sum": "correctness", "soft_min": "correctness"}.get(settings.credit)
    taker = f"credit: {settings.credit}"
    if wanted is None and settings.takes_values:
        wanted, taker = "value", f"baseline: {settings.baseline}"
    scores = _scores_that_mean(wanted, taker, prm, settings)
    head = scores.scorer.sidecar.head
    if settings.credit == "log_ratio" and head != "log_ratio":
        raise SettingsError(f"credit: log_ratio takes an implicit PRM; '{prm}' has the head '{head}'")
    return scores


def load_gate(settings: RlSettings) -> PrmScores | None:
    """Return the PRM of the settings' gate; None without a gate, and where an oracle is the gate.

    Raises:
        SettingsError: its scores do not mean correctness.
        CheckpointError: it cannot be loaded.
    """
    if settings.gate in ("none", "oracle"):
        return None
    return _scores_that_mean("correctness", "a gate", settings.gate, settings)


def _scores_that_mean(wanted: str | None, taker: str, prm: str | Path, settings: RlSettings) -> PrmScores:
    scorer = open_scorer(prm, device=settings.device, dtype=settings.dtype, overflow="drop_steps")
    if wanted is not None and scorer.sidecar.meaning != wanted:
        raise SettingsError(
            f"{taker} takes scores whose meaning is '{wanted}'; those of '{prm}' mean "
            f"'{scorer.sidecar.meaning}' (its sparring.json)"
        )
    return PrmScores(scorer, settings)


def gate_scores(
    settings: RlSettings, gate: PrmScores | None, groups: Sequence[Group]
) -> list[list[Floats]] | None:
    """Return the correctness of every answer's steps for `credit.gated`; None without a gate.

    What an oracle cannot decide closes nothing.
    """
    if settings.gate == "none":
        return None
    if gate is not None:
        return gate.of_groups(groups)
    return [
        [np.array([truth != "wrong" for truth in answer.truths or ()], dtype=np.float64) for answer in group]
        for group in groups
    ]


def _log_odds(scores: Floats) -> Floats:
    # A score is the sigmoid of the log-odds; at the ends of its precision they are taken as 30.
    clipped = np.clip(scores, 1e-13, 1 - 1e-13)
    found: Floats = np.log(clipped) - np.log1p(-clipped)
    return found
