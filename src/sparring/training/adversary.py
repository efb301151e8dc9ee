"""The adversary: rewrites correct steps into wrong ones, by rule, by a language model, or by a trained one.

Contract: `Rewrites` holds a round's rewrites with their verdicts; a malformed rewrite has no verdict and counts as failed;
an undecided one has no truth and gets no reward. Prompts are computed once per state for all its samples. Shared by the
game and by attacks on a frozen PRM.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sparring.models.branches import BranchedRow, branch_logits, collate
from sparring.models.players import Players, Role
from sparring.models.prompts import AdversaryPrompt
from sparring.models.sampling import ids_containing, sample
from sparring.traces.spans import trusted_ids, untrusted_ids
from sparring.traces.verdict import Verdict
from sparring.training.game_settings import GameSettings
from sparring.training.policy_gradient import (
    categorical_entropy,
    categorical_kl,
    clipped_surrogate,
    group_advantages,
    update_size,
)
from sparring.training.tasks import State, Task

UNFINISHED = "did not end within the token limit"


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

    def outcome_shares(
        self, scores: Sequence[Sequence[float]], threshold: float = 0.5
    ) -> dict[str, float | None]:
        """Return the shares of the adversary's outcomes; a step counts as accepted from the threshold on.

        `scores` are those of the well-formed rewrites, per state. Malformed and undecided are shares of all rewrites;
        fool_rate, caught and failed are shares of the well-formed, decided ones and add up to 1; miss_rate is the share
        of wrong steps that were accepted.
        """
        counts: Counter[str] = Counter()
        for group, row in zip(self.groups, scores, strict=True):
            counts["malformed"] += sum(item.malformed is not None for item in group)
            for item, score in zip((item for item in group if item.malformed is None), row, strict=True):
                if item.truth is None:
                    counts["undecided"] += 1
                elif item.truth:
                    counts["failed"] += 1
                else:
                    counts["fooled" if score >= threshold else "caught"] += 1
        decided = counts["fooled"] + counts["caught"] + counts["failed"]
        wrong = counts["fooled"] + counts["caught"]
        everything = counts.total()
        return {
            "fool_rate": counts["fooled"] / decided if decided else None,
            "caught": counts["caught"] / decided if decided else None,
            "failed": counts["failed"] / decided if decided else None,
            "miss_rate": counts["fooled"] / wrong if wrong else None,
            "undecided": counts["undecided"] / everything if everything else None,
            "malformed": counts["malformed"] / everything if everything else None,
            "rewrites": float(everything),
        }

    def rewards(
        self,
        scores: Sequence[Sequence[float]],
        settings: GameSettings,
        generator: torch.Generator,
        *,
        sampled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the adversary's rewards and their weights (0 for undecided), both (states, samples).

        A wrong step is paid by the PRM's mixed strategy: its probability of accepting weighs `fooled` against
        `caught`. With `sampled` the PRM's label is drawn from that probability instead.
        """
        rewards = torch.zeros(len(self.groups), max(len(group) for group in self.groups))
        weights = torch.zeros_like(rewards)
        for index, (group, row) in enumerate(zip(self.groups, scores, strict=True)):
            remaining = iter(row)
            for column, item in enumerate(group):
                accept = next(remaining) if item.malformed is None else 0.0
                if item.undecided:
                    continue
                weights[index, column] = 1.0
                if item.truth is not False:  # malformed, or still correct
                    rewards[index, column] = settings.reward_failed
                    continue
                if sampled:
                    accept = float(torch.rand((), generator=generator) < accept)
                rewards[index, column] = (
                    accept * settings.reward_fooled + (1 - accept) * settings.reward_caught
                )
        return rewards, weights


def rule_rewrites(task: Task, states: Sequence[State], samples: int, rng: random.Random) -> Rewrites:
    """Return up to `samples` different rule perturbations of each state's step, judged like any other rewrite."""
    groups: list[list[Rewrite]] = []
    for state in states:
        found: dict[str, str] = {}
        for _ in range(2 * samples):
            made = task.perturb(state, rng)
            if made is not None:
                found.setdefault(made[1], made[0])
            if len(found) == samples or made is None:
                break
        groups.append(
            [Rewrite(text, task.malformed(state, text), None, kind=kind) for text, kind in found.items()]
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
    verdicts = iter(task.judge_many(pairs))
    groups = [
        [replace(item, verdict=next(verdicts)) if item.malformed is None else item for item in group]
        for group in rewrites.groups
    ]
    return Rewrites(rewrites.states, groups)


class Adversary:
    """The language-model adversary, playing through `Players`."""

    def __init__(
        self, players: Players, tokenizer: Any, settings: GameSettings, device: torch.device
    ) -> None:
        self.players, self.tokenizer, self.settings, self.device = players, tokenizer, settings, device
        self._prompt = AdversaryPrompt(tokenizer, settings.style, settings.mistake_cue, settings.template)
        self._line_break = trusted_ids(tokenizer, "\n")
        ends = players.config.eos_token_id
        self._end_ids = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
        self._stop_ids = ids_containing(tokenizer, "\n") | self._end_ids

    @property
    def prompt_texts(self) -> Sequence[str]:
        """The fixed texts of its prompts."""
        return self._prompt.texts

    def prompt_ids(self, state: State) -> list[int]:
        """Return the prompt for a state."""
        return self._prompt.ids(state.problem.question, state.prefix, state.step)

    def prompt_length(self, state: State) -> int:
        """Return the number of tokens in a state's prompt."""
        return len(self.prompt_ids(state))

    def rewrite(self, task: Task, states: Sequence[State], generator: torch.Generator) -> Rewrites:
        """Sample a group of rewrites per state and have them judged."""
        with self.players.acting("adversary") as model:
            sampled = sample(
                model,
                [self.prompt_ids(state) for state in states],
                samples=self.settings.samples_per_state,
                max_new_tokens=self.settings.max_step_tokens,
                stop_ids=self._stop_ids,
                pad_id=self.tokenizer.pad_token_id,
                generator=generator,
            )
        groups = [
            [self._read(task, state, ids) for ids in group]
            for state, group in zip(states, sampled, strict=True)
        ]
        return judged(task, Rewrites(list(states), groups))

    def _read(self, task: Task, state: State, ids: list[int]) -> Rewrite:
        body = ids[:-1] if ids[-1] in self._end_ids else ids
        text = self.tokenizer.decode(body, skip_special_tokens=False).partition("\n")[0].strip()
        reason = UNFINISHED if ids[-1] not in self._stop_ids else task.malformed(state, text)
        if reason is None and not untrusted_ids(self.tokenizer, text):
            reason = "empty"
        return Rewrite(text, reason, None, ids=tuple(ids))

    def imitate(self, rewrites: Rewrites, states_per_pass: int) -> tuple[float, int]:
        """Accumulate the gradient of the negative log-likelihood of given rewrites; return the mean loss and tokens."""
        rows = [
            BranchedRow(
                self.prompt_ids(state),
                [untrusted_ids(self.tokenizer, item.text) + self._line_break for item in group],
            )
            for state, group in zip(rewrites.states, rewrites.groups, strict=True)
            if group
        ]
        count = sum(len(branch) for row in rows for branch in row.branches)
        total = 0.0
        for start in range(0, len(rows), states_per_pass):
            chunk = rows[start : start + states_per_pass]
            logits, targets = self._branch_logits(chunk, "adversary")
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / max(1, count)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total, sum(len(row) for row in rows)

    def reinforce(
        self,
        rewrites: Rewrites,
        rewards: tuple[torch.Tensor, torch.Tensor],
        take_step: Callable[[], float],
    ) -> dict[str, float]:
        """Update the adversary on its own rewrites: PPO-clip, KL to the reference, entropy.

        Args:
            rewrites: a round's rewrites, sampled from the adversary as it is now.
            rewards: values and weights, both (states, samples).
            take_step: applies the accumulated gradient and returns its norm.
        """
        settings = self.settings
        values, weights = rewards
        advantages = group_advantages(values, weights)
        count = max(1, int(weights.sum()))
        rows = [
            BranchedRow(self.prompt_ids(state), [item.ids for item in group])
            for state, group in zip(rewrites.states, rewrites.groups, strict=True)
        ]
        old: list[torch.Tensor] = []
        statistics: dict[str, float] = {}
        tokens = 0
        for epoch in range(settings.adversary_epochs):
            sums = dict.fromkeys(("approx_kl", "clipfrac", "adversary_kl", "adversary_entropy"), 0.0)
            for number, start in enumerate(range(0, len(rows), settings.states_per_pass)):
                chunk = slice(start, start + settings.states_per_pass)
                logits, taken = self._branch_logits(rows[chunk], "adversary")
                log_probs = torch.log_softmax(logits, dim=-1).gather(1, taken[:, None])[:, 0]
                if epoch == 0:
                    old.append(log_probs.detach())
                advantage = self._per_token(rows[chunk], advantages[chunk])
                mask = self._per_token(rows[chunk], weights[chunk])
                surrogate = clipped_surrogate(log_probs, old[number], advantage, settings.clip)
                # Summed over tokens, averaged over rewrites: the gradient of the expected reward per rewrite.
                objective = (surrogate * mask).sum() / count
                with torch.no_grad():
                    reference, _ = self._branch_logits(rows[chunk], "adversary_reference")
                kl = (categorical_kl(logits, reference) * mask).sum() / count
                entropy = (categorical_entropy(logits) * mask).sum() / count
                loss = -(objective - settings.adversary_kl * kl + settings.adversary_entropy * entropy)
                loss.backward()  # type: ignore[no-untyped-call]
                share = float(mask.sum()) / max(1.0, float(self._per_token(rows, weights).sum()))
                approx_kl, clipfrac = update_size(log_probs, old[number], settings.clip, mask)
                sums["approx_kl"] += share * approx_kl
                sums["clipfrac"] += share * clipfrac
                sums["adversary_kl"] += float(kl.detach())
                sums["adversary_entropy"] += float(entropy.detach())
                tokens += 2 * sum(len(row) for row in rows[chunk])
            # KL and entropy describe the policy that sampled; the PPO diagnostics describe how far the last epoch went.
            statistics = sums | {
                k: statistics[k] for k in ("adversary_kl", "adversary_entropy") if k in statistics
            }
            statistics["adversary_gradient_norm"] = take_step()
        reward = float((values * weights).sum() / count)
        return {**statistics, "adversary_reward": reward, "tokens": float(tokens)}

    def _branch_logits(self, rows: Sequence[BranchedRow], role: Role) -> tuple[torch.Tensor, torch.Tensor]:
        batch = collate(rows, self.tokenizer.pad_token_id, self.device, self.players.mask_dtype)
        with self.players.acting(role) as model:
            states = self.players.hidden_states(model, batch)
            logits = branch_logits(states, rows, model.get_output_embeddings())
        taken = torch.tensor(
            [token for row in rows for branch in row.branches for token in branch], device=self.device
        )
        return logits, taken

    def _per_token(self, rows: Sequence[BranchedRow], values: torch.Tensor) -> torch.Tensor:
        lengths = [[len(branch) for branch in row.branches] for row in rows]
        spread = [
            float(value)
            for row_lengths, row_values in zip(lengths, values, strict=True)
            for length, value in zip(row_lengths, row_values, strict=False)
            for _ in range(length)
        ]
        return torch.tensor(spread, device=self.device)
