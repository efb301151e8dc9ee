"""Where step scores come from: a step scorer's folder, or rollouts of a frozen prover.

Contract: a source turns groups of answers into what a credit rule of `credit.py` takes, one array per answer, empty where
there is nothing to score; and into one number per answer for the monitors, what the source itself thinks of it. Randomness
is a function of the seed passed in. Not here: the rules, training a scorer (`supervised.py`, `aprm.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sparring.errors import SettingsError
from sparring.labels.answers import Checker
from sparring.labels.posterior import best_of_k
from sparring.models.scorer import Scorer, load_scorer
from sparring.rollouts.engine import Completion, Engine, Limits, Prefix, seed_from, split_completion
from sparring.traces.records import Problem, Trace
from sparring.training.credit import Floats, log_ratio, min_weights, progress, soft_min, step_sum, with_start
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
        advantages: per token, (tokens,); set by `rl.give_credit`.
    """

    problem: Problem
    prompt: tuple[int, ...]
    completion: Completion
    steps: tuple[str, ...]
    spans: list[tuple[int, int]]
    unreadable: bool = False
    outcome: float = 0.0
    advantages: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def truncated(self) -> bool:
        """Whether the limit came before the end: it has no outcome that could be its own, so it trains nobody."""
        return self.completion.finish == "length"


Group = Sequence[Answer]


class StepScores(Protocol):
    """A source of step scores."""

    unscored_steps: int

    def rule_inputs(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return what the credit rule takes for every answer of every group."""
        ...

    def rewards(self, answers: Group) -> list[float] | None:
        """Return what the source thinks of each answer, in [0, 1], higher is better; None if it has no view of its own."""
        ...


class PrmScores:
    """Scores of a PRM, an implicit PRM or a value model.

    Args:
        scorer: from `load_scorer`.
        settings: which rule the scores are for.
    """

    def __init__(self, scorer: Scorer, settings: RlSettings) -> None:
        self.scorer, self.settings = scorer, settings
        self.unscored_steps = 0

    def rule_inputs(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return scores per step; log-odds for `log_ratio`, values of every prefix for `progress`."""
        flat = iter(self._scores([answer for group in groups for answer in group]))
        rows = [[next(flat) for _ in group] for group in groups]
        if self.settings.credit == "log_ratio":
            return [[_log_odds(row) for row in group] for group in rows]
        if self.settings.credit == "progress":
            return [with_start([best_of_k(row, self.settings.best_of) for row in group]) for group in rows]
        return rows

    def rewards(self, answers: Group) -> list[float]:
        """Return the mean score, the soft minimum, or the last score, as the rule sees an answer; 0 without steps."""
        found = []
        sidecar = self.scorer.sidecar
        of_prefixes = sidecar.meaning == "value" or sidecar.head == "log_ratio"
        for row in self._scores(answers):
            if len(row) == 0:
                found.append(0.0)
            elif of_prefixes:
                found.append(float(row[-1]))
            elif self.settings.credit == "step_sum":
                found.append(float(row.mean()))
            else:
                found.append(float(min_weights(row, self.settings.soft_min_temperature) @ row))
        return found

    def _scores(self, answers: Group) -> list[Floats]:
        scored = [answer for answer in answers if answer.steps]
        rows = iter(self.scorer.score([Trace(answer.problem, answer.steps) for answer in scored]))
        found = [np.asarray(next(rows) if answer.steps else [], dtype=np.float64) for answer in answers]
        self.unscored_steps += sum(len(a.steps) - len(row) for a, row in zip(answers, found, strict=True))
        return found


class ProverScores:
    """Values of every prefix under best-of-K of a frozen prover, by rollouts (Monte Carlo).

    The whole answer's value is its outcome, exactly. Prefixes that several answers of a group share are continued once.

    Args:
        engine: samples from the prover.
        checker: judges its answers.
        settings: rollouts, limits, K.
    """

    def __init__(self, engine: Engine, checker: Checker, settings: RlSettings) -> None:
        self.engine, self.checker, self.settings = engine, checker, settings
        self.unscored_steps = 0

    def rule_inputs(self, groups: Sequence[Group], seed: int) -> list[list[Floats]]:
        """Return the value of every prefix of every answer, the empty one first."""
        prefixes: dict[tuple[int, tuple[str, ...]], Prefix] = {}
        for number, group in enumerate(groups):
            for answer in group:
                for length in range(len(answer.steps)):
                    steps = answer.steps[:length]
                    prefixes[number, steps] = Prefix(answer.problem, steps)
        values = dict(zip(prefixes, self._values(list(prefixes.values()), seed), strict=True))
        return [
            [
                np.array(
                    [
                        *(values[number, answer.steps[:length]] for length in range(len(answer.steps))),
                        answer.outcome,
                    ]
                )
                if answer.steps
                else np.zeros(0)
                for answer in group
            ]
            for number, group in enumerate(groups)
        ]

    def rewards(self, answers: Group) -> None:
        """The prover's value of a whole answer is its verified outcome: no second opinion that could be fooled."""

    def _values(self, prefixes: Sequence[Prefix], seed: int) -> list[float]:
        settings = self.settings
        if not prefixes:
            return []
        sampled = self.engine.sample(
            prefixes,
            settings.prover_rollouts,
            limits=Limits(settings.max_new_tokens, settings.prover_temperature),
            seeds=[seed_from(seed, place) for place in range(len(prefixes))],
        )
        finished = [
            (prefix.problem, (*prefix.steps, *split_completion(completion.text)))
            for prefix, group in zip(prefixes, sampled, strict=True)
            for completion in group
        ]
        right = [bool(verdict) for verdict in self.checker.judge(finished)]
        ended = [completion.finish != "length" for group in sampled for completion in group]
        counts = np.reshape(np.array(right) & np.array(ended), (len(prefixes), -1)).mean(axis=1)
        return [best_of_k(float(value), settings.best_of) for value in counts]


def credit_rule(settings: RlSettings, rows: Sequence[Floats]) -> list[Floats]:
    """Apply the rule that the settings name to a group's scores; no credit for `outcome`."""
    if settings.credit == "outcome":
        return [np.zeros(0) for _ in rows]
    if settings.credit == "progress":
        return [progress([row])[0] if len(row) else row for row in rows]
    if settings.credit == "step_sum":
        return step_sum(rows, clip=settings.clip_step_sum)
    if settings.credit == "soft_min":
        return soft_min(rows, temperature=settings.soft_min_temperature)
    return log_ratio(rows)


def load_prm_scores(settings: RlSettings) -> PrmScores:
    """Return the source of `settings.prm`.

    Raises:
        SettingsError: its scores do not mean what the credit rule takes.
        CheckpointError: it cannot be loaded.
    """
    assert settings.prm is not None
    scorer = load_scorer(settings.prm, device=settings.device, dtype=settings.dtype, overflow="drop_steps")
    sidecar = scorer.sidecar
    wanted = {"progress": "value", "step_sum": "correctness", "soft_min": "correctness"}.get(settings.credit)
    if wanted is not None and sidecar.meaning != wanted:
        raise SettingsError(
            f"credit: {settings.credit} takes scores whose meaning is '{wanted}'; those of '{settings.prm}' mean "
            f"'{sidecar.meaning}' (its sparring.json)"
        )
    if settings.credit == "log_ratio" and sidecar.head != "log_ratio":
        raise SettingsError(
            f"credit: log_ratio takes an implicit PRM; '{settings.prm}' has the head '{sidecar.head}'"
        )
    return PrmScores(scorer, settings)


def _log_odds(scores: Floats) -> Floats:
    # A score is the sigmoid of the log-odds; at the ends of its precision they are taken as 30.
    clipped = np.clip(scores, 1e-13, 1 - 1e-13)
    found: Floats = np.log(clipped) - np.log1p(-clipped)
    return found
