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

R is judged on the untouched steps as well, or "always wrong" would be the equilibrium. In this order: states, and what a
task must tell of them (the tasks themselves: `game_tasks.py`); rewrites with their verdicts and G's pay; the pool of
earlier rewrites, which are replayed so that R does not forget; R's rows and its utility.

R's utility is a weighted sum of three means (clean: the untouched correct steps; fresh: the round's rewrites; replayed), so
the mixture does not depend on how many steps a solution has, less τ_KL·KL(R ‖ its reference), plus τ_H·entropy. A state is
one row: question and correct prefix, then as branches the rest of the correct solution and every rewrite
(`models/branches.py`); replayed states come without their correct continuation.

How G learns stands in `adversary.py`, a round of the game and the run in `aprm.py`.

Contract: drawing is a pure function of the generator that is passed in. An undecided rewrite has no truth, trains nobody
and is counted. Gradients are accumulated here, by each process for its share of the rows (`processes.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, Protocol

import torch

from sparring.models.branches import BranchedRow, collate
from sparring.models.roles import Players
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, encode, trusted_ids, untrusted_ids
from sparring.traces.verdict import Verdict
from sparring.training.aprm_settings import AprmSettings, GameSettings
from sparring.training.policy_gradient import bernoulli_entropy, bernoulli_kl, clipped_surrogate
from sparring.training.processes import in_step, spread, summed

# --- states -----------------------------------------------------------------------------------------------------------


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


# --- rewrites, verdicts and pay ---------------------------------------------------------------------------------------


Member = tuple[str, bool | None]
"""A well-formed rewrite, and whether it is correct (None: undecided)."""
Outcome = Literal["fooled", "caught", "failed", "undecided", "malformed"]
"""What becomes of a rewrite: wrong and accepted, wrong and rejected, still correct, nobody can tell, not even a step."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rewrite of a state's step.

    Attributes:
        text: what was written; may be malformed.
        malformed: why it is not even a step, or None.
        verdict: the oracle's word, None for a malformed one.
        ids: the sampled token ids, empty for a rule's rewrite.
        log_probabilities: natural logarithms, one per id, under the weights that sampled; empty where these are the present
            ones.
        kind: the rule that made it, empty for a model's.
        score: R's, once it was asked; never of a malformed one.
    """

    text: str
    malformed: str | None
    verdict: Verdict | None
    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    kind: str = ""
    score: float = 0.0

    @property
    def truth(self) -> bool | None:
        """Whether the step is correct; None if malformed or undecided."""
        if self.verdict is None or self.verdict.truth == "undecided":
            return None
        return self.verdict.truth == "correct"

    def outcome(self, threshold: float = 0.5) -> Outcome:
        """Return what becomes of it where R accepts from this score on."""
        if self.malformed is not None:
            return "malformed"
        if self.truth is None:
            return "undecided"
        if self.truth:
            return "failed"
        return "fooled" if self.score >= threshold else "caught"


@dataclass(frozen=True, slots=True)
class Rewrites:
    """The rewrites of a round: per state, a group of them (fewer than asked for where no rule applies)."""

    states: list[State]
    groups: list[list[Rewrite]]

    def __add__(self, other: Rewrites) -> Rewrites:
        """Return both sources' rewrites as one round's."""
        return Rewrites(self.states + other.states, self.groups + other.groups)

    def __iter__(self) -> Iterator[Rewrite]:
        return chain.from_iterable(self.groups)

    @property
    def members(self) -> list[list[Member]]:
        """The well-formed rewrites, per state."""
        return [
            [(item.text, item.truth) for item in group if item.malformed is None] for group in self.groups
        ]

    def with_each(self, field: Literal["verdict", "score"], values: Iterable[Any]) -> Rewrites:
        """Return the rewrites with a value for each of the well-formed ones, in order."""
        found = iter(values)
        groups = [
            [replace(item, **{field: next(found)}) if item.malformed is None else item for item in group]
            for group in self.groups
        ]
        return Rewrites(self.states, groups)

    def outcome_shares(self, threshold: float = 0.5) -> dict[str, float | None]:
        """Return the shares of the adversary's outcomes; a step counts as accepted from the threshold on.

        Malformed and undecided are shares of all rewrites; fool_rate, caught and failed are shares of the well-formed,
        decided ones and add up to 1; miss_rate is the share of wrong steps that were accepted.
        """
        counts = Counter(item.outcome(threshold) for item in self)
        wrong = counts["fooled"] + counts["caught"]

        def share(outcome: Outcome, of: int) -> float | None:
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

    def kind_counts(self) -> dict[str, dict[str, int]]:
        """Return how many wrong rewrites of each kind there are, and how many of them were accepted (from 0.5 on).

        A kind is what the verdict's reason says after its source (``chain:wrong_value``).
        """
        wrong: Counter[str] = Counter()
        fooled: Counter[str] = Counter()
        for item in self:
            if item.truth is False and item.verdict is not None:
                kind = item.verdict.reason.rpartition(":")[2]
                wrong[kind] += 1
                fooled[kind] += item.outcome() == "fooled"
        return {"wrong_kinds": dict(sorted(wrong.items())), "fooled_kinds": dict(sorted(fooled.items()))}

    def rewards(
        self, settings: GameSettings, generator: torch.Generator, *, sampled: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the adversary's rewards and their weights (0 for undecided), both (states, samples).

        A wrong step is paid between `caught` and `fooled`, at the place that `adversary_pay` says: by default the PRM's
        mixed strategy, its probability of accepting. With `sampled` the PRM's label is drawn from that probability
        instead (not for `rank`).
        """
        rewards = torch.zeros(len(self.groups), max(len(group) for group in self.groups))
        weights = torch.zeros_like(rewards)
        for index, group in enumerate(self.groups):
            wrong = [item.score for item in group if item.truth is False]
            for column, item in enumerate(group):
                outcome = item.outcome()
                if outcome == "undecided":
                    continue
                weights[index, column] = 1.0
                if outcome in ("malformed", "failed"):
                    rewards[index, column] = settings.reward_failed
                    continue
                accept = item.score
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


def judged(task: Task, rewrites: Rewrites, *, alone: bool = False) -> Rewrites:
    """Return the rewrites with a verdict on each that is well-formed; all are judged at once.

    Several processes share the work, unless this one has rewrites of its own and judges them `alone`.
    """
    pairs = [
        (state, item.text)
        for state, group in zip(rewrites.states, rewrites.groups, strict=True)
        for item in group
        if item.malformed is None
    ]
    verdicts = task.judge_many(pairs) if alone else spread(pairs, task.judge_many)
    return rewrites.with_each("verdict", verdicts)


# --- the pool ---------------------------------------------------------------------------------------------------------


Replayed = tuple[State, list[Member]]
"""A state with its decided rewrites."""


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
            members: list[Member] = [(item.text, item.truth) for item in group if item.truth is not None]
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


# --- R's rows and its utility -----------------------------------------------------------------------------------------

Kind = Literal["clean", "fresh", "replayed"]
KINDS: tuple[Kind, ...] = ("clean", "fresh", "replayed")


@dataclass(frozen=True, slots=True)
class Place:
    """A judged place of a packed row: column, what stands there, whether the step is correct (None: undecided)."""

    column: int
    kind: Kind
    truth: bool | None


@dataclass
class PrmRow:
    """A row with its judged places.

    Attributes:
        row: prefix and branches as token ids.
        places: in the order of their columns.
        drawn: for the `sampled` objective, a random number from 0 to 1 per place.
        actions: for the `sampled` objective, whether R's drawn labels agree with the oracle, and the log-odds of agreeing
            that they were drawn from (set in the first epoch).
    """

    row: BranchedRow
    places: list[Place]
    drawn: torch.Tensor | None = None
    actions: tuple[torch.Tensor, torch.Tensor] | None = None


def fresh_row(state: State, members: Sequence[Member], tokenizer: Any, layout: Layout) -> PrmRow:
    """Return the row of a state with its rewrites."""
    separator = trusted_ids(tokenizer, layout.separator)
    whole = encode(state.problem.question, state.solution, tokenizer, layout)
    cut = whole.spans[state.index][0]
    branches = [list(whole.input_ids[cut:])]
    branches += [untrusted_ids(tokenizer, text) + separator for text, _ in members]
    # The first branch follows its prefix directly, so the clean positions are those of the plain solution.
    clean = [Place(column, "clean", True) for column in whole.positions]
    row = PrmRow(BranchedRow(list(whole.input_ids[:cut]), branches), clean)
    row.places += [
        Place(end, "fresh", truth) for end, (_, truth) in zip(row.row.ends()[1:], members, strict=True)
    ]
    return row


def replay_row(state: State, members: Sequence[Member], tokenizer: Any, layout: Layout) -> PrmRow:
    """Return the row of a replayed state: its prefix, and its rewrites."""
    separator = trusted_ids(tokenizer, layout.separator)
    prefix = encode(state.problem.question, state.prefix, tokenizer, layout)
    branches = [untrusted_ids(tokenizer, text) + separator for text, _ in members]
    row = PrmRow(BranchedRow(list(prefix.input_ids), branches), [])
    row.places += [
        Place(end, "replayed", truth) for end, (_, truth) in zip(row.row.ends(), members, strict=True)
    ]
    return row


def prm_utility(
    players: Players,
    rows: Sequence[PrmRow],
    settings: AprmSettings,
    pad_id: int,
    generator: torch.Generator,
    *,
    warming: bool,
) -> tuple[dict[str, Any], list[list[float]]]:
    """Accumulate the gradient of minus R's regularised utility over the rows.

    Args:
        players: the PRM and its reference.
        rows: fresh rows first, then the replayed ones.
        settings: objective, regularisation and mixture.
        pad_id: any valid token id.
        generator: draws R's labels for the `sampled` objective.
        warming: before the game: the log score without regularisation, since there is no reference yet.

    Returns:
        statistics, and R's scores of the rewrites of every row.
    """
    weights = _kind_weights(rows, settings)
    objective = "log_score" if warming else settings.prm_objective
    totals = dict.fromkeys(("utility", "kl", "entropy"), 0.0)
    counts: Counter[str] = Counter()
    if objective == "sampled":  # for all rows at once, whoever computes them
        sizes = [len(row.places) for row in rows]
        numbers = torch.rand(sum(sizes), generator=generator)
        for row, drawn in zip(rows, torch.split(numbers, sizes), strict=True):
            row.drawn = drawn

    def accumulate(chunk: Sequence[PrmRow]) -> list[list[float]]:
        batch = collate([row.row for row in chunk], pad_id, players.device, players.mask_dtype)
        places = [place for row in chunk for place in row.places]
        index = [number for number, row in enumerate(chunk) for _ in row.places]
        columns = [place.column for place in places]
        weight = torch.tensor(
            [0.0 if place.truth is None else weights[place.kind] for place in places], device=players.device
        )
        truth = torch.tensor([place.truth is True for place in places], device=players.device)

        log_odds = players.prm_log_odds(batch, (index, columns))
        utility = _utilities(objective, log_odds, truth, chunk, settings.clip)
        loss = -(utility * weight).sum()
        kl = entropy = torch.zeros(())
        if not warming:
            with torch.no_grad():
                reference = players.prm_log_odds(batch, (index, columns), "prm_reference")
            kl = (bernoulli_kl(log_odds, reference) * weight).sum()
            entropy = (bernoulli_entropy(log_odds) * weight).sum()
            loss = loss + settings.prm_kl * kl - settings.prm_entropy * entropy
        loss.backward()  # type: ignore[no-untyped-call]

        totals["utility"] += float((utility * weight).sum().detach())
        totals["kl"] += float(kl.detach())
        totals["entropy"] += float(entropy.detach())
        fresh: list[list[float]] = [[] for _ in chunk]
        scores = torch.sigmoid(log_odds.detach()).tolist()
        for number, place, score in zip(index, places, scores, strict=True):
            if place.kind != "clean":
                fresh[number].append(score)
            if place.truth is not None:
                counts[place.kind] += 1
                counts[f"{place.kind} right"] += (score >= 0.5) == place.truth
        return fresh

    def accumulate_all(own: Sequence[PrmRow]) -> list[list[float]]:
        size = settings.states_per_pass
        chunks = [own[start : start + size] for start in range(0, len(own), size)]
        passes = in_step(chunks, players, "prm", forward=1 if warming else 2)
        return [each for chunk in passes for each in accumulate(chunk)]

    fresh_scores = spread(rows, accumulate_all, [len(row.row) for row in rows], always=players.sharded)
    sums = summed(totals | counts)
    statistics: dict[str, Any] = {
        f"prm_accuracy_{kind}": sums[f"{kind} right"] / sums[kind] if sums.get(kind) else None
        for kind in KINDS
    }
    return statistics | {f"prm_{name}": sums[name] for name in totals}, fresh_scores


def _kind_weights(rows: Sequence[PrmRow], settings: AprmSettings) -> dict[Kind, float]:
    """Return the weight of a decided place of each kind."""
    counts = Counter(place.kind for row in rows for place in row.places if place.truth is not None)
    shares: dict[Kind, float] = {
        "clean": settings.clean_share,
        "fresh": 1 - settings.clean_share - settings.replay_share,
        "replayed": settings.replay_share,
    }
    # A kind that is absent (nothing to replay yet) leaves its share to the others.
    present = sum(shares[kind] for kind in KINDS if counts[kind])
    return {kind: shares[kind] / present / counts[kind] for kind in KINDS if counts[kind]}


def _utilities(
    objective: str,
    log_odds: torch.Tensor,
    truth: torch.Tensor,
    rows: Sequence[PrmRow],
    clip: float,
) -> torch.Tensor:
    """Return R's utility per place, or, for `sampled`, a surrogate whose gradient estimates the utility's."""
    agree_log_odds = torch.where(truth, log_odds, -log_odds)
    if objective == "expected":
        return torch.sigmoid(agree_log_odds)
    if objective == "log_score":
        return torch.nn.functional.logsigmoid(agree_log_odds)
    if rows[0].actions is None:
        _draw_actions(agree_log_odds.detach(), rows)
    actions = [row.actions for row in rows if row.actions is not None]
    agreed = torch.cat([action[0] for action in actions])
    old_log_odds = torch.cat([action[1] for action in actions])
    # Reward 1 for agreeing with the oracle; the baseline is its expectation, which is known exactly.
    advantage = agreed.float() - torch.sigmoid(old_log_odds)
    sign = torch.where(agreed, 1.0, -1.0)
    log_prob = torch.nn.functional.logsigmoid(sign * agree_log_odds)
    old_log_prob = torch.nn.functional.logsigmoid(sign * old_log_odds)
    return clipped_surrogate(log_prob, old_log_prob, advantage, clip)


def _draw_actions(agree_log_odds: torch.Tensor, rows: Sequence[PrmRow]) -> None:
    """Draw R's label at every place and keep it on the rows, so that later epochs reinforce the same labels."""
    drawn = torch.cat([row.drawn for row in rows if row.drawn is not None]).to(agree_log_odds.device)
    agreed = drawn < torch.sigmoid(agree_log_odds)
    start = 0
    for row in rows:
        end = start + len(row.places)
        row.actions = (agreed[start:end], agree_log_odds[start:end])
        start = end
