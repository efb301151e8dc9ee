"""The adversary's rewrites in a game where another engine writes them, one round ahead where asked for (`staleness`).

Contract: as `rollout_ahead.py` says. The engine has the adversary's adapter (`engine_beside.py`), every state a seed of its
own. A checkpoint holds what was sampled, and verdicts are found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sparring.rollouts.engine import Engine, Limits, Prefix
from sparring.settings_shared import seed_from
from sparring.traces.spans import Layout
from sparring.training.adversary import Adversary
from sparring.training.aprm_settings import AprmSettings
from sparring.training.engine_beside import PROBES, OtherEngine, Trained, engine_beside, with_probabilities
from sparring.training.game import Rewrite, Rewrites, State, Task, judged
from sparring.training.processes import is_main, spread, wait
from sparring.training.rollout_ahead import Ahead
from sparring.training.run import random_for

Sampled = tuple[Sequence[int], Sequence[float]]
"""Ids of a rewrite, and their log-probabilities."""


def rewrites_by_engine(
    adversary: Adversary, task: Task, settings: AprmSettings, layout: Layout, folder: Path
) -> RewritesAhead | None:
    """Return the rewrites by the engine that the settings name; None where the adversary itself writes them.

    Args:
        layout: of the engine's prompts, where they are not given as ids.
        folder: where adapters are written for it.

    Raises:
        SettingsError: its settings do not fit.
    """
    probes = [_prefix(adversary, one) for one in task.draw(random_for(settings.seed, 0, "probes"), PROBES)]
    trained = Trained(adversary.players, "adversary", 1.0, adversary.log_probs)
    other = engine_beside(settings, trained, adversary.tokenizer, layout, folder, probes)
    return None if other is None else RewritesAhead(other, adversary, task, settings)


class RewritesAhead(Ahead[tuple[State, int], list[Rewrite]]):
    """The rewrites of one round of the game after another, a group per state."""

    def __init__(self, other: OtherEngine, adversary: Adversary, task: Task, settings: AprmSettings) -> None:
        super().__init__(settings.staleness, settings.total_steps)
        self.other, self.adversary, self.task, self.settings = other, adversary, task, settings

    def asked(self, step: int) -> list[tuple[State, int]]:
        """Return the states that the adversary plays as it is, each with the seed of its rewrites."""
        settings = self.settings
        states = self.task.draw(random_for(settings.seed, step, "states"), settings.states_per_update)
        return [
            (state, seed_from(settings.seed, step, "adversary", place))
            for place, state in enumerate(states[: settings.played_states])
        ]

    def fresh(self, step: int) -> list[list[Rewrite]]:
        """Return judged rewrites from the present weights."""
        engine = self.engine()
        return spread(self.asked(step), lambda own: self.make(engine, own))

    def engine(self) -> Engine:
        """Return the engine once it has the present weights."""
        if is_main() or self.other.everywhere:
            self.other.publish(self.adversary.players)
        wait()
        return self.other.engine

    def make(self, engine: Engine, own: Sequence[tuple[State, int]]) -> list[list[Rewrite]]:
        """Return judged rewrites from the weights that the engine has."""
        states, limits = [state for state, _ in own], Limits(self.settings.max_step_tokens)
        with torch.no_grad(), self.adversary.players.autocast():
            written = engine.sample(
                [_prefix(self.adversary, state) for state in states],
                self.settings.samples_per_state,
                limits=limits,
                seeds=[seed for _, seed in own],
                stop=("\n",),
            )
        with_probabilities(engine, limits.temperature, [one for group in written for one in group])
        return self._judged(states, [[(one.token_ids, one.log_probabilities) for one in g] for g in written])

    def packed(self, made: list[Rewrite]) -> list[Sampled]:
        """Return what was sampled for a state; verdicts are found again."""
        return [(item.ids, item.log_probabilities) for item in made]

    def unpacked(self, step: int, values: Sequence[Any]) -> list[list[Rewrite]]:
        """Return the groups, judged again."""
        return self._judged([state for state, _ in self.asked(step)], values)

    def _judged(self, states: list[State], sampled: Sequence[Sequence[Sampled]]) -> list[list[Rewrite]]:
        groups = [
            [
                replace(self.adversary.read(self.task, state, list(ids)), log_probabilities=tuple(numbers))
                for ids, numbers in group
            ]
            for state, group in zip(states, sampled, strict=True)
        ]
        return judged(self.task, Rewrites(states, groups), alone=True).groups


def _prefix(adversary: Adversary, state: State) -> Prefix:
    """Return what the engine is to continue."""
    return Prefix(state.problem, ids=tuple(adversary.prompt_ids(state)))
