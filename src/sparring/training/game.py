"""The APRM game: what it is about, what the players do, what each is paid (arXiv 2511.22888).

A *state* is (problem, correct prefix, correct step). The adversary G rewrites the step; an oracle says whether the rewrite
is `correct`, `wrong` or `undecided`; the PRM R scores it without seeing the original.

| rewrite | R is paid | G is paid |
|---|---|---|
| wrong, accepted | 0 | `reward_fooled` |
| wrong, rejected | 1 | `reward_caught` (between the two: see `adversary_pay`) |
| still correct | 1 if accepted, else 0 | `reward_failed` |
| malformed: not even a step | – | `reward_failed` |
| undecided | – | – |

R is judged on the untouched steps as well, or "always wrong" would be the equilibrium. How G learns stands in
`adversary.py`, how R does, and a round of the game, in `aprm.py`.

In this order: settings; states and the two tasks that they come from (an endless, exactly judged world; solved problems in
a file, judged by a panel of oracles); rewrites with their verdicts and G's pay; the pool of earlier rewrites.

Contract: drawing is a pure function of the generator that is passed in. An undecided rewrite has no truth, trains nobody
and is counted. What cannot be used is counted in `left_out`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import Field, model_validator

from sparring.errors import DataError, SettingsError
from sparring.fingerprints import records_digest
from sparring.models import TINY_POLICY
from sparring.models.prompts import PromptSettings
from sparring.oracles.members import OracleMembers
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import PERTURBATIONS, perturb
from sparring.oracles.reference import is_malformed
from sparring.settings_shared import Trained
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_problems_as
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.training.processes import spread
from sparring.worlds.subject import TEXT, Subject
from sparring.worlds.world import World, make_world


class GameSettings(Subject, Trained, PromptSettings):
    """What APRM training and attacks on a frozen PRM share: subject, adversary, budget per update, G's utility."""

    keep_annotations: bool = False
    """Keep GSM8K's `<<48/2=24>>` in the steps; off, since other texts have none and the PRM would miss them."""
    oracle: OracleMembers = Field(["arithmetic", "reference"])
    """Members of the panel that judges the text task; your own are `file.py:function` or `package.module:function`."""

    # Players
    backbone: str = TINY_POLICY
    """Model folder or hub name of the causal language model that the players start from."""
    mistake_cue: str = "mistake :"
    """What asks a plain-style adversary for a mistake; the warm start teaches its meaning."""
    max_step_tokens: int = Field(24, gt=0)
    """Longest rewrite of a step; one that has not ended by then is malformed."""
    rule_kinds: list[str] | None = Field(None, min_length=1)
    """Kinds of mistakes that the rules know, where they play and in the warm starts; without it all that the task has."""

    # Budget
    updates: int = Field(150, ge=0)
    """Rounds of the game; `train aprm` has its warm start (`prm_warm_steps`, `adversary_warm_steps`) before them."""
    states_per_update: int = Field(16, gt=0)
    """States per round."""
    samples_per_state: int = Field(4, gt=0)
    """Rewrites of each state's step per round."""
    states_per_pass: int = Field(32, gt=0)
    """States per forward pass; lower it to save memory (gradients are accumulated, results stay the same)."""

    # The adversary's utility
    reward_fooled: float = 1.0
    """Adversary's reward when a wrong step is accepted."""
    reward_caught: float = 0.0
    """Adversary's reward when a wrong step is rejected."""
    reward_failed: float = -1.0
    """Adversary's reward when its step is still correct, or malformed."""
    adversary_pay: Literal["probability", "rank"] = "probability"
    """Where between `reward_caught` and `reward_fooled` a wrong step is paid: at R's `probability` of accepting it, or by
    its `rank` in R's eyes among the wrong rewrites of the same step."""
    adversary_advantage: Literal["plain", "normalised"] = "plain"
    """G's reward less the mean of the others of its state: as it is, or divided by the group's standard deviation."""
    adversary_kl: float = Field(0.26, ge=0)
    """Weight of KL(G ‖ its reference), per rewrite (summed over its tokens)."""
    adversary_entropy: float = Field(0.0, ge=0)
    """Weight of G's entropy, per rewrite (summed over its tokens)."""
    clip: float = Field(0.2, gt=0)
    """PPO's clipping range."""
    adversary_epochs: int = Field(1, gt=0)
    """Updates of the adversary per round."""

    # Optimisation
    adversary_learning_rate: float = Field(5e-4, gt=0)
    """Adam's step size for the adversary."""

    @model_validator(mode="after")
    def _check_attention(self) -> GameSettings:
        if self.attention == "flash_attention_2":
            raise ValueError(
                "attention: flash_attention_2 takes no masks, and in the game several rewrites share a row: take sdpa"
            )
        return self


# --- states and tasks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class State:
    """A place in a correct solution: the step at `index` is to be rewritten, those before it are the prefix."""

    problem: Problem
    index: int

    @property
    def solution(self) -> tuple[str, ...]:
        """All steps of the correct solution."""
        assert self.problem.solution is not None
        return self.problem.solution

    @property
    def prefix(self) -> tuple[str, ...]:
        """The steps before the one in question."""
        return self.solution[: self.index]

    @property
    def step(self) -> str:
        """The correct step."""
        return self.solution[self.index]


class Task(Protocol):
    """What the game needs to know of its subject."""

    left_out: Counter[str]
    digest: str
    """Fingerprint of the data; empty where problems are generated."""

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return `count` random states."""
        ...

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the oracle's verdict on each rewrite of its state's step."""
        ...

    def malformed(self, state: State, candidate: str) -> str | None:
        """Return why a rewrite is not even a step, or None."""
        ...

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return (kind, wrong step) made by a rule, or None where no rule applies."""
        ...


class WorldTask:
    """Problems of a world, generated as they are needed.

    Args:
        world: makes the problems and judges the rewrites.
        kinds: of mistakes that the rules make; all that the world knows, unless given.
    """

    def __init__(self, world: World, kinds: Sequence[str] | None = None) -> None:
        self.world = world
        self.kinds = known_kinds(kinds, world.kinds) or world.kinds
        self._identifier = f"{world.name}-task"
        self.left_out: Counter[str] = Counter()
        self.digest = ""

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return states of fresh random problems, any step alike likely."""
        states = []
        for _ in range(count):
            problem = self.world.problem(rng, self._identifier)
            assert problem.solution is not None
            states.append(State(problem, rng.randrange(len(problem.solution))))
        return states

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the exact verdict on each rewrite."""
        return [self.world.judge(state.problem, state.prefix, text) for state, text in rewrites]

    def malformed(self, state: State, candidate: str) -> str | None:
        """A rewrite that is not of a step's form is malformed."""
        return None if self.world.is_step(candidate) else "not of a step's form"

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random one of the kinds."""
        return self.world.perturb(state.problem, state.prefix, state.step, rng, self.kinds)


class TextTask:
    """Problems with correct natural-language solutions, judged by a panel of oracles.

    Only steps that hold something the oracle can check are states: elsewhere every verdict would be undecided and the
    work lost. The others are counted in `left_out`.
    """

    def __init__(
        self, problems: Sequence[Problem], oracle: Panel, kinds: Sequence[str] | None = None
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self._oracle, self._kinds = oracle, known_kinds(kinds, PERTURBATIONS)
        self.digest = records_digest([one.id, one.question, one.solution] for one in problems)
        solved = [problem for problem in problems if problem.solution is not None]
        if len(solved) < len(problems):
            self.left_out["problem without a solution"] += len(problems) - len(solved)
        places = [State(problem, index) for problem in solved for index in range(len(problem.solution or ()))]
        verdicts = spread([(state.problem, state.prefix, state.step) for state in places], oracle.judge_many)
        checked = [verdict.truth == "correct" for verdict in verdicts]
        unchecked = "step without a calculation that the oracle can check"
        self.states = those_that_fit(places, checked, unchecked, self.left_out)
        if not self.states:
            reasons = Counter(verdict.reason for verdict in verdicts).most_common(3)
            found = ", ".join(f"{count} times {reason}" for reason, count in reasons) or "there are none"
            raise DataError(f"the oracle calls no step of a solution correct: {found}", field="data")

    def keep(self, fits: Sequence[bool], reason: str) -> None:
        """Drop the states for which `fits` is false, and count them under the reason."""
        self.states = those_that_fit(self.states, fits, reason, self.left_out)
        if not self.states:
            raise DataError(f"no state is left: {reason}", field="data")

    def draw(self, rng: random.Random, count: int) -> list[State]:
        """Return random states, with repetition."""
        return [rng.choice(self.states) for _ in range(count)]

    def judge_many(self, rewrites: Sequence[tuple[State, str]]) -> list[Verdict]:
        """Return the panel's verdict on each rewrite, given the correct step that it replaces."""
        return self._oracle.judge_against_many(
            [(state.problem, state.prefix, state.step, text) for state, text in rewrites]
        )

    def malformed(self, state: State, candidate: str) -> str | None:
        """Empty, far too long, or several lines: not a step."""
        return is_malformed(state.step, candidate)

    def perturb(self, state: State, rng: random.Random) -> tuple[str, str] | None:
        """Return a wrong step of a random one of the kinds."""
        return perturb(state.problem, state.prefix, state.step, rng, self._kinds)


def those_that_fit(
    states: Sequence[State], fits: Sequence[bool], reason: str, left_out: Counter[str]
) -> list[State]:
    """Return the states for which `fits` is true; the others are counted under the reason."""
    kept = [state for state, fit in zip(states, fits, strict=True) if fit]
    if len(kept) < len(states):
        left_out[reason] += len(states) - len(kept)
    return kept


def known_kinds(kinds: Sequence[str] | None, known: Collection[str]) -> tuple[str, ...] | None:
    """Return the kinds of mistakes, None for all of them.

    Raises:
        SettingsError: one of them is unknown.
    """
    for kind in kinds or ():
        if kind not in known:
            raise SettingsError(f"rule_kinds: no kind of mistake '{kind}'; this task has {', '.join(known)}")
    return None if kinds is None else tuple(kinds)


def load_task(settings: GameSettings) -> WorldTask | TextTask:
    """Return the task that the settings name.

    Raises:
        DataError: the data file is missing, or nothing in it can be used.
        SettingsError: a member of the oracle panel cannot be loaded, or a kind of mistake is unknown.
    """
    if settings.task != TEXT or settings.data is None:
        return WorldTask(make_world(settings.task), kinds=settings.rule_kinds)
    options = ReadOptions(keep_annotations=settings.keep_annotations)
    result = read_problems_as(Path(settings.data), settings.data_format, options)
    text_task = TextTask(
        result.problems[: settings.max_problems], Panel(settings.oracle), settings.rule_kinds
    )
    if result.skipped:
        text_task.left_out["record skipped by the reader"] += len(result.skipped)
    return text_task


# --- rewrites --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rewrite of a state's step.

    Attributes:
        text: what was written; may be malformed.
        malformed: why it is not even a step, or None.
        verdict: the oracle's word, None for a malformed one.
        ids: the sampled token ids, empty for a rule's rewrite.
        kind: the rule that made it, empty for a model's.
    """

    text: str
    malformed: str | None
    verdict: Verdict | None
    ids: tuple[int, ...] = ()
    kind: str = ""

    @property
    def truth(self) -> bool | None:
        """Whether the step is correct; None if malformed or undecided."""
        if self.verdict is None or self.verdict.truth == "undecided":
            return None
        return self.verdict.truth == "correct"

    @property
    def undecided(self) -> bool:
        """Whether the oracle could not tell."""
        return self.verdict is not None and self.verdict.truth == "undecided"


@dataclass(frozen=True, slots=True)
class Rewrites:
    """The rewrites of a round: per state, a group of them (fewer than asked for where no rule applies)."""

    states: list[State]
    groups: list[list[Rewrite]]

    def __add__(self, other: Rewrites) -> Rewrites:
        """Return both sources' rewrites as one round's."""
        return Rewrites(self.states + other.states, self.groups + other.groups)

    @property
    def texts(self) -> list[list[str]]:
        """Texts of the well-formed rewrites, per state."""
        return [[item.text for item in group if item.malformed is None] for group in self.groups]

    def truths(self) -> list[list[bool | None]]:
        """Truths of the well-formed rewrites, per state, in the order of `texts`."""
        return [[item.truth for item in group if item.malformed is None] for group in self.groups]

    def decided_count(self) -> int:
        """Number of rewrites that the oracle decided."""
        return sum(item.truth is not None for group in self.groups for item in group)

    def undecided_count(self) -> int:
        """Number of rewrites that the oracle could not decide."""
        return sum(item.undecided for group in self.groups for item in group)

    def scored(self, scores: Sequence[Sequence[float]]) -> Iterator[tuple[Rewrite, float]]:
        """Yield every well-formed rewrite with its score; `scores` are those of the well-formed ones, per state."""
        for group, row in zip(self.groups, scores, strict=True):
            yield from zip((item for item in group if item.malformed is None), row, strict=True)

    def outcome_shares(
        self, scores: Sequence[Sequence[float]], threshold: float = 0.5
    ) -> dict[str, float | None]:
        """Return the shares of the adversary's outcomes; a step counts as accepted from the threshold on.

        Malformed and undecided are shares of all rewrites; fool_rate, caught and failed are shares of the well-formed,
        decided ones and add up to 1; miss_rate is the share of wrong steps that were accepted.
        """
        counts = Counter(malformed=sum(item.malformed is not None for group in self.groups for item in group))
        for item, score in self.scored(scores):
            if item.truth is None:
                counts["undecided"] += 1
            elif item.truth:
                counts["failed"] += 1
            else:
                counts["fooled" if score >= threshold else "caught"] += 1
        wrong = counts["fooled"] + counts["caught"]

        def share(outcome: str, of: int) -> float | None:
            return counts[outcome] / of if of else None

        return {
            "fool_rate": share("fooled", wrong + counts["failed"]),
            "caught": share("caught", wrong + counts["failed"]),
            "failed": share("failed", wrong + counts["failed"]),
            "miss_rate": share("fooled", wrong),
            "undecided": share("undecided", counts.total()),
            "malformed": share("malformed", counts.total()),
            "rewrites": float(counts.total()),
        }

    def kind_counts(self, scores: Sequence[Sequence[float]]) -> dict[str, dict[str, int]]:
        """Return how many wrong rewrites of each kind there are, and how many of them were accepted (from 0.5 on).

        A kind is what the verdict's reason says after its source (``chain:wrong_value``).
        """
        wrong: Counter[str] = Counter()
        fooled: Counter[str] = Counter()
        for item, score in self.scored(scores):
            if item.truth is False and item.verdict is not None:
                kind = item.verdict.reason.rpartition(":")[2]
                wrong[kind] += 1
                fooled[kind] += score >= 0.5
        return {"wrong_kinds": dict(sorted(wrong.items())), "fooled_kinds": dict(sorted(fooled.items()))}

    def rewards(
        self,
        scores: Sequence[Sequence[float]],
        settings: GameSettings,
        generator: torch.Generator,
        *,
        sampled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the adversary's rewards and their weights (0 for undecided), both (states, samples).

        A wrong step is paid between `caught` and `fooled`, at the place that `adversary_pay` says: by default the PRM's
        mixed strategy, its probability of accepting. With `sampled` the PRM's label is drawn from that probability
        instead (not for `rank`).
        """
        rewards = torch.zeros(len(self.groups), max(len(group) for group in self.groups))
        weights = torch.zeros_like(rewards)
        for index, (group, row) in enumerate(zip(self.groups, scores, strict=True)):
            remaining = iter(row)
            accepts = [next(remaining) if item.malformed is None else 0.0 for item in group]
            wrong = [accept for item, accept in zip(group, accepts, strict=True) if item.truth is False]
            for column, (item, accept) in enumerate(zip(group, accepts, strict=True)):
                if item.undecided:
                    continue
                weights[index, column] = 1.0
                if item.truth is not False:  # malformed, or still correct
                    rewards[index, column] = settings.reward_failed
                    continue
                if settings.adversary_pay == "rank":
                    accept = _rank_share(accept, wrong)
                elif sampled:
                    accept = float(torch.rand((), generator=generator) < accept)
                rewards[index, column] = (
                    accept * settings.reward_fooled + (1 - accept) * settings.reward_caught
                )
        return rewards, weights


def _rank_share(score: float, group: Sequence[float]) -> float:
    """Return the share of the others in the group that a score is above, equal ones counted half; alone one half."""
    if len(group) < 2:
        return 0.5
    below, equal = sum(other < score for other in group), sum(other == score for other in group)
    return (below + (equal - 1) / 2) / (len(group) - 1)


def rule_rewrites(task: Task, states: Sequence[State], samples: int, rng: random.Random) -> Rewrites:
    """Return up to `samples` different rule perturbations of each state's step, judged like any other rewrite."""
    groups: list[list[Rewrite]] = []
    for state in states:
        kinds: dict[str, str] = {}  # by text
        for _ in range(2 * samples):
            mistake = task.perturb(state, rng)
            if mistake is None:
                break
            kind, text = mistake
            kinds.setdefault(text, kind)
            if len(kinds) == samples:
                break
        groups.append(
            [Rewrite(text, task.malformed(state, text), None, kind=kind) for text, kind in kinds.items()]
        )
    return judged(task, Rewrites(list(states), groups))


def judged(task: Task, rewrites: Rewrites) -> Rewrites:
    """Return the rewrites with a verdict on each that is well-formed; all are judged at once."""
    pairs = [
        (state, item.text)
        for state, group in zip(rewrites.states, rewrites.groups, strict=True)
        for item in group
        if item.malformed is None
    ]
    verdicts = iter(spread(pairs, task.judge_many))
    groups = [
        [replace(item, verdict=next(verdicts)) if item.malformed is None else item for item in group]
        for group in rewrites.groups
    ]
    return Rewrites(rewrites.states, groups)


# --- the pool --------------------------------------------------------------------------------------------------------


Replayed = tuple[State, list[tuple[str, bool]]]
"""A state with (rewrite, whether it is correct)."""


class ReplayPool:
    """Holds at most `capacity` states with their decided rewrites."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.seen = 0
        self._items: list[Replayed] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, rewrites: Rewrites, rng: random.Random) -> None:
        """Offer a round's states; each state ever offered is equally likely to be in the pool."""
        for state, group in zip(rewrites.states, rewrites.groups, strict=True):
            members = [(item.text, item.truth) for item in group if item.truth is not None]
            if not members or self.capacity == 0:
                continue
            self.seen += 1
            if len(self._items) < self.capacity:
                self._items.append((state, members))
            elif (place := rng.randrange(self.seen)) < self.capacity:
                self._items[place] = (state, members)

    def draw(self, rng: random.Random, count: int) -> list[Replayed]:
        """Return up to `count` different states."""
        return rng.sample(self._items, min(count, len(self._items)))

    def records(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        items = [
            {
                "id": state.problem.id,
                "question": state.problem.question,
                "solution": list(state.solution),
                "index": state.index,
                "members": [list(member) for member in members],
            }
            for state, members in self._items
        ]
        return {"seen": self.seen, "items": items}

    def load_records(self, records: dict[str, Any]) -> None:
        """Restore what `records` gave."""
        self.seen = records["seen"]
        self._items = [
            (
                State(Problem(item["id"], item["question"], solution=tuple(item["solution"])), item["index"]),
                [(text, truth) for text, truth in item["members"]],
            )
            for item in records["items"]
        ]
