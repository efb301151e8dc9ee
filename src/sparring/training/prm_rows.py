"""The PRM's side of a round: rows of labelled steps, and its utility with its gradient.

A state becomes one row: question and correct prefix, then as branches the rest of the correct solution and every rewrite
(see `models/branches.py`). Every correct step is a clean positive, every rewrite a fresh example; replayed states come
without their correct continuation.

Contract: the utility is a weighted sum of three means (clean, fresh, replayed), so the mixture does not depend on how many
steps a solution has. Undecided rewrites have weight zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from sparring.models.branches import BranchedRow, collate
from sparring.models.players import Players
from sparring.traces.spans import Layout, encode, trusted_ids, untrusted_ids
from sparring.training.aprm_settings import AprmSettings
from sparring.training.policy_gradient import bernoulli_entropy, bernoulli_kl, clipped_surrogate
from sparring.training.tasks import State

Kind = Literal["clean", "fresh", "replayed"]
KINDS: tuple[Kind, ...] = ("clean", "fresh", "replayed")


@dataclass
class PrmRow:
    """A row with its judged places.

    Attributes:
        row: prefix and branches as token ids.
        columns: scoring positions in the packed row.
        kinds: what each place is.
        truths: whether the step is correct; None where undecided.
        actions: for the `sampled` objective, whether R's drawn labels agree with the oracle, and the log-odds of agreeing
            that they were drawn from (set in the first epoch).
    """

    row: BranchedRow
    columns: list[int]
    kinds: list[Kind]
    truths: list[bool | None]
    actions: tuple[torch.Tensor, torch.Tensor] | None = field(default=None)

    def set_fresh_truths(self, truths: Sequence[bool | None]) -> None:
        """Set the truths of the fresh places, in order."""
        clean = self.kinds.count("clean")
        self.truths[clean:] = list(truths)


@dataclass(frozen=True, slots=True)
class PrmResult:
    """Statistics of an update, and R's scores of the fresh places per row (before the update)."""

    statistics: dict[str, Any]
    fresh_scores: list[list[float]]


def fresh_row(state: State, rewrites: Sequence[str], tokenizer: Any, layout: Layout) -> PrmRow:
    """Return the row of a state with its rewrites, whose truths are still to be set."""
    separator = trusted_ids(tokenizer, layout.separator)
    whole = encode(state.problem.question, state.solution, tokenizer, layout)
    cut = whole.spans[state.index][0]
    branches = [list(whole.input_ids[cut:])]
    branches += [untrusted_ids(tokenizer, text) + separator for text in rewrites]
    row = BranchedRow(list(whole.input_ids[:cut]), branches)
    ends = [start + len(branch) - 1 for start, branch in zip(row.starts(), row.branches, strict=True)]
    # The first branch follows its prefix directly, so the clean positions are those of the plain solution.
    kinds: list[Kind] = ["clean" for _ in whole.positions]
    kinds += ["fresh" for _ in rewrites]
    return PrmRow(
        row,
        columns=[*whole.positions, *ends[1:]],
        kinds=kinds,
        truths=[True] * len(whole.positions) + [None] * len(rewrites),
    )


def replay_row(state: State, members: Sequence[tuple[str, bool]], tokenizer: Any, layout: Layout) -> PrmRow:
    """Return the row of a replayed state: its prefix, and its rewrites with their truths."""
    separator = trusted_ids(tokenizer, layout.separator)
    prefix = encode(state.problem.question, state.prefix, tokenizer, layout)
    row = BranchedRow(
        list(prefix.input_ids), [untrusted_ids(tokenizer, text) + separator for text, _ in members]
    )
    ends = [start + len(branch) - 1 for start, branch in zip(row.starts(), row.branches, strict=True)]
    return PrmRow(row, ends, ["replayed"] * len(members), [truth for _, truth in members])


def prm_utility(
    players: Players,
    rows: Sequence[PrmRow],
    settings: AprmSettings,
    pad_id: int,
    generator: torch.Generator,
    *,
    warming: bool,
) -> PrmResult:
    """Accumulate the gradient of minus R's regularised utility over the rows.

    Args:
        players: the PRM and its reference.
        rows: fresh rows first.
        settings: objective, regularisation and mixture.
        pad_id: any valid token id.
        generator: draws R's labels for the `sampled` objective.
        warming: before the game: the log score without regularisation, since there is no reference yet.
    """
    weights = _place_weights(rows, settings)
    objective = "log_score" if warming else settings.prm_objective
    totals = dict.fromkeys(("utility", "kl", "entropy"), 0.0)
    judged, right = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    fresh_scores: list[list[float]] = []
    for start in range(0, len(rows), settings.states_per_pass):
        chunk = rows[start : start + settings.states_per_pass]
        batch = collate([row.row for row in chunk], pad_id, players.device, players.mask_dtype)
        places = (
            [index for index, row in enumerate(chunk) for _ in row.columns],
            [column for row in chunk for column in row.columns],
        )
        log_odds = players.prm_log_odds(batch, places)
        weight = torch.tensor(
            [value for row_weights in weights[start : start + len(chunk)] for value in row_weights],
            device=players.device,
        )
        truth = torch.tensor([value is True for row in chunk for value in row.truths], device=players.device)
        utility = _utilities(objective, log_odds, truth, chunk, settings.clip, generator)
        loss = -(utility * weight).sum()
        kl = entropy = torch.zeros(())
        if not warming:
            with torch.no_grad():
                reference = players.prm_log_odds(batch, places, "prm_reference")
            kl = (bernoulli_kl(log_odds, reference) * weight).sum()
            entropy = (bernoulli_entropy(log_odds) * weight).sum()
            loss = loss + settings.prm_kl * kl - settings.prm_entropy * entropy
        loss.backward()  # type: ignore[no-untyped-call]

        scores = torch.sigmoid(log_odds.detach()).tolist()
        totals["utility"] += float((utility * weight).sum().detach())
        totals["kl"] += float(kl.detach())
        totals["entropy"] += float(entropy.detach())
        place = iter(scores)
        for row in chunk:
            row_scores = [next(place) for _ in row.columns]
            fresh_scores.append([s for s, kind in zip(row_scores, row.kinds, strict=True) if kind == "fresh"])
            for score, kind, known in zip(row_scores, row.kinds, row.truths, strict=True):
                if known is not None:
                    judged[kind] += 1
                    right[kind] += (score >= 0.5) == known
    statistics: dict[str, Any] = {
        f"prm_accuracy_{kind}": right[kind] / judged[kind] if judged[kind] else None for kind in KINDS
    }
    statistics |= {f"prm_{name}": value for name, value in totals.items()}
    return PrmResult(statistics, fresh_scores)


def _place_weights(rows: Sequence[PrmRow], settings: AprmSettings) -> list[list[float]]:
    counts = dict.fromkeys(KINDS, 0)
    for row in rows:
        for kind, truth in zip(row.kinds, row.truths, strict=True):
            counts[kind] += truth is not None
    shares = {
        "clean": settings.clean_share,
        "fresh": 1 - settings.clean_share - settings.replay_share,
        "replayed": settings.replay_share,
    }
    # A kind that is absent (nothing to replay yet) leaves its share to the others.
    present = sum(shares[kind] for kind in KINDS if counts[kind])
    each = {kind: shares[kind] / present / counts[kind] for kind in KINDS if counts[kind]}
    return [
        [each[kind] if truth is not None else 0.0 for kind, truth in zip(row.kinds, row.truths, strict=True)]
        for row in rows
    ]


def _utilities(
    objective: str,
    log_odds: torch.Tensor,
    truth: torch.Tensor,
    rows: Sequence[PrmRow],
    clip: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return R's utility per place, or, for `sampled`, a surrogate whose gradient estimates the utility's."""
    agree_log_odds = torch.where(truth, log_odds, -log_odds)
    if objective == "expected":
        return torch.sigmoid(agree_log_odds)
    if objective == "log_score":
        return torch.nn.functional.logsigmoid(agree_log_odds)
    if rows[0].actions is None:
        _draw_actions(agree_log_odds.detach(), rows, generator)
    actions = [row.actions for row in rows if row.actions is not None]
    agreed = torch.cat([action[0] for action in actions])
    old_log_odds = torch.cat([action[1] for action in actions])
    # Reward 1 for agreeing with the oracle; the baseline is its expectation, which is known exactly.
    advantage = agreed.float() - torch.sigmoid(old_log_odds)
    sign = torch.where(agreed, 1.0, -1.0)
    log_prob = torch.nn.functional.logsigmoid(sign * agree_log_odds)
    old_log_prob = torch.nn.functional.logsigmoid(sign * old_log_odds)
    return clipped_surrogate(log_prob, old_log_prob, advantage, clip)


def _draw_actions(agree_log_odds: torch.Tensor, rows: Sequence[PrmRow], generator: torch.Generator) -> None:
    """Draw R's label at every place and keep it on the rows, so that later epochs reinforce the same labels."""
    drawn = torch.rand(agree_log_odds.shape, generator=generator).to(agree_log_odds.device)
    agreed = drawn < torch.sigmoid(agree_log_odds)
    start = 0
    for row in rows:
        end = start + len(row.columns)
        row.actions = (agreed[start:end], agree_log_odds[start:end])
        start = end
