"""The PRM's part of the APRM game: the rows that it reads, and the gradient of its utility on them.

A state becomes one row: question and correct prefix, then as branches the rest of the correct solution and every rewrite
(`models/branches.py`). Every correct step is a clean positive, every rewrite a fresh example; replayed states come without
their correct continuation. The utility is a weighted sum of three means (clean, fresh, replayed), so the mixture does not
depend on how many steps a solution has, less τ_KL·KL(R ‖ its reference), plus τ_H·entropy.

Contract: undecided rewrites have weight zero. Gradients are accumulated here, by each process for its share of the rows
(`processes.py`), and who takes the step is `aprm.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparring.models.branches import BranchedRow, collate
from sparring.models.roles import Players
from sparring.traces.spans import Layout, encode, trusted_ids, untrusted_ids
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import State
from sparring.training.policy_gradient import bernoulli_entropy, bernoulli_kl, clipped_surrogate
from sparring.training.processes import in_step, spread, summed

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

    def ends(self) -> list[int]:
        """Return the column of each branch's last token."""
        return [
            start + len(branch) - 1
            for start, branch in zip(self.row.starts(), self.row.branches, strict=True)
        ]


def fresh_row(
    state: State,
    rewrites: Sequence[str],
    tokenizer: Any,
    layout: Layout,
    truths: Sequence[bool | None] | None = None,
) -> PrmRow:
    """Return the row of a state with its rewrites; without truths these are undecided."""
    separator = trusted_ids(tokenizer, layout.separator)
    whole = encode(state.problem.question, state.solution, tokenizer, layout)
    cut = whole.spans[state.index][0]
    branches = [list(whole.input_ids[cut:])]
    branches += [untrusted_ids(tokenizer, text) + separator for text in rewrites]
    # The first branch follows its prefix directly, so the clean positions are those of the plain solution.
    clean = [Place(column, "clean", True) for column in whole.positions]
    row = PrmRow(BranchedRow(list(whole.input_ids[:cut]), branches), clean)
    known = [None] * len(rewrites) if truths is None else truths
    row.places += [Place(end, "fresh", truth) for end, truth in zip(row.ends()[1:], known, strict=True)]
    return row


def replay_row(state: State, members: Sequence[tuple[str, bool]], tokenizer: Any, layout: Layout) -> PrmRow:
    """Return the row of a replayed state: its prefix, and its rewrites with their truths."""
    separator = trusted_ids(tokenizer, layout.separator)
    prefix = encode(state.problem.question, state.prefix, tokenizer, layout)
    branches = [untrusted_ids(tokenizer, text) + separator for text, _ in members]
    row = PrmRow(BranchedRow(list(prefix.input_ids), branches), [])
    row.places += [Place(end, "replayed", truth) for end, (_, truth) in zip(row.ends(), members, strict=True)]
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
