"""The adversary G: a language model that rewrites a correct step into a wrong one that is hard to notice.

Its prompt shows problem, prefix and step; a group of rewrites is sampled per state (`rewrite`). It learns the rules'
mistakes by imitation before a game (`imitate`), and from its own pay in it (`reinforce`): PPO-clip on rewards less the
mean of the *other* rewrites of the state, minus τ_KL·KL(G ‖ reference) plus τ_H·entropy, per rewrite.

Another engine may sample in its place, with its adapter (`rewrites_ahead.py`).

Contract: a prompt is computed once per state for all its samples. Gradients are accumulated here; who takes the step is
handed in. Several processes share the states (`processes.py`). Shared by the game (`aprm.py`) and by attacks on a frozen
PRM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from sparring.models.branches import BranchedRow, branch_logits, collate
from sparring.models.prompts import AdversaryPrompt
from sparring.models.roles import Players, Role, Row
from sparring.models.sampling import ids_containing, sample, sample_seeded
from sparring.traces.spans import trusted_ids, untrusted_ids
from sparring.training.aprm_settings import GameSettings
from sparring.training.game import Rewrite, Rewrites, State, Task, judged
from sparring.training.policy_gradient import (
    categorical_entropy,
    categorical_kl,
    clipped_surrogate,
    group_advantages,
    normalised_advantages,
    update_size,
)
from sparring.training.processes import from_main, in_step, share, spread, summed

UNFINISHED = "did not end within the token limit"


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

    def log_probs(self, rows: Sequence[Row]) -> torch.Tensor:
        """Return the log-probabilities of sampled tokens, row after row."""
        branched = [BranchedRow(list(prompt), [list(ids)]) for prompt, ids in rows]
        return taken_log_probs(*self._branch_logits(branched, "adversary"))

    def rewrite(
        self,
        task: Task,
        states: Sequence[State],
        randomness: torch.Generator | Sequence[int],
        role: Literal["adversary", "adversary_reference"] = "adversary",
    ) -> Rewrites:
        """Sample a group of rewrites per state, from the adversary as it is or as it was (`role`), judged by the task.

        `randomness` is a seed per state, or one generator for all of them, which one process then samples alone.
        """
        options: dict[str, Any] = {
            "samples": self.settings.samples_per_state,
            "max_new_tokens": self.settings.max_step_tokens,
            "pad_id": self.tokenizer.pad_token_id,
        }

        def seeded(asked: Sequence[tuple[State, int]]) -> list[list[list[int]]]:
            rows = sample_seeded(
                model,
                [self.prompt_ids(state) for state, _ in asked],
                seeds=[seed for _, seed in asked],
                ends=lambda ids: ids[-1] in self._stop_ids,
                **options,
            )
            return [[one.ids for one in group] for group in rows]

        def together(generator: torch.Generator) -> list[list[list[int]]]:
            prompts = [self.prompt_ids(state) for state in states]
            return sample(model, prompts, stop_ids=self._stop_ids, generator=generator, **options)

        with self.players.whole(), self.players.acting(role) as model:
            if isinstance(randomness, torch.Generator):
                sampled = from_main(lambda: together(randomness))
            else:
                sampled = spread(list(zip(states, randomness, strict=True)), seeded)
        groups = [
            [self.read(task, state, ids) for ids in group]
            for state, group in zip(states, sampled, strict=True)
        ]
        return judged(task, Rewrites(list(states), groups))

    def read(self, task: Task, state: State, ids: list[int]) -> Rewrite:
        """Return sampled ids as a rewrite without a verdict."""
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
        own = [rows[index] for index in share([len(row) for row in rows])]
        total = 0.0
        for start in in_step(range(0, len(own), states_per_pass), self.players, "adversary"):
            chunk = own[start : start + states_per_pass]
            logits, targets = self._branch_logits(chunk, "adversary")
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / max(1, count)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return summed({"loss": total})["loss"], sum(len(row) for row in rows)

    def reinforce(
        self,
        rewrites: Rewrites,
        rewards: tuple[torch.Tensor, torch.Tensor],
        take_step: Callable[[], float],
    ) -> dict[str, float]:
        """Update the adversary on its own rewrites: PPO-clip, KL to the reference, entropy.

        Args:
            rewrites: a round's rewrites, sampled from the adversary as it is now, or with known probabilities.
            rewards: values and weights, both (states, samples).
            take_step: applies the accumulated gradient and returns its norm.
        """
        settings = self.settings
        values, weights = rewards
        compared = normalised_advantages if settings.adversary_advantage == "normalised" else group_advantages
        advantages = compared(values, weights)
        count = max(1, int(weights.sum()))
        rows = [
            BranchedRow(self.prompt_ids(state), [item.ids for item in group])
            for state, group in zip(rewrites.states, rewrites.groups, strict=True)
        ]
        old: list[torch.Tensor] = []
        statistics: dict[str, float] = {}
        tokens = 2 * settings.adversary_epochs * sum(len(row) for row in rows)
        reward = float((values * weights).sum() / count)
        weighed = max(1.0, float(self._per_token(rows, weights).sum()))
        own = share([len(row) for row in rows])
        rows, advantages, weights = [rows[index] for index in own], advantages[own], weights[own]
        known = [[item.log_probabilities for item in rewrites.groups[index]] for index in own]
        starts = list(enumerate(range(0, len(rows), settings.states_per_pass)))
        for epoch in range(settings.adversary_epochs):
            sums = dict.fromkeys(("approx_kl", "clipfrac", "adversary_kl", "adversary_entropy"), 0.0)
            for number, start in in_step(starts, self.players, "adversary", forward=2):
                chunk = slice(start, start + settings.states_per_pass)
                logits, taken = self._branch_logits(rows[chunk], "adversary")
                log_probs = taken_log_probs(logits, taken)
                if epoch == 0:
                    told = [number for group in known[chunk] for numbers in group for number in numbers]
                    old.append(torch.tensor(told, device=self.device) if told else log_probs.detach())
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
                part = float(mask.sum()) / weighed
                approx_kl, clipfrac = update_size(log_probs, old[number], settings.clip, mask)
                sums["approx_kl"] += part * approx_kl
                sums["clipfrac"] += part * clipfrac
                sums["adversary_kl"] += float(kl.detach())
                sums["adversary_entropy"] += float(entropy.detach())
            # KL and entropy describe the policy that sampled; the PPO diagnostics describe how far the last epoch went.
            statistics = summed(sums) | {
                k: statistics[k] for k in ("adversary_kl", "adversary_entropy") if k in statistics
            }
            statistics["adversary_gradient_norm"] = take_step()
        return {**statistics, "adversary_reward": reward, "tokens": float(tokens)}

    def _branch_logits(self, rows: Sequence[BranchedRow], role: Role) -> tuple[torch.Tensor, torch.Tensor]:
        batch = collate(rows, self.tokenizer.pad_token_id, self.device, self.players.mask_dtype)
        with self.players.acting(role) as model:
            states = self.players.hidden_states(model, batch)
            logits = branch_logits(states, rows, model.get_output_embeddings())
        taken = torch.tensor([token for row in rows for token in row.branch_ids()], device=self.device)
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


def taken_log_probs(logits: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of tokens, (tokens,), under logits, (tokens, vocabulary)."""
    return torch.log_softmax(logits, dim=-1).gather(1, taken[:, None])[:, 0]
