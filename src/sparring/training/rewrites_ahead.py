"""The adversary's rewrites in a game where another engine writes them, one round ahead where asked for (`staleness`).

Contract: as `rollout_ahead.py` says; a checkpoint holds what was sampled, and verdicts are found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.rollouts.engine import Completion, Engine
from sparring.settings_shared import seed_from
from sparring.training.adversary import Adversary
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import Rewrite, State, Task
from sparring.training.processes import spread
from sparring.training.rollout_ahead import Ahead
from sparring.training.run import random_for


class RewritesAhead(Ahead[tuple[State, int], list[Rewrite]]):
    """The rewrites of one round of the game after another by another engine, a group per state."""

    def __init__(self, adversary: Adversary, task: Task, settings: AprmSettings) -> None:
        super().__init__(settings.staleness, settings.total_steps)
        self.adversary, self.task, self.settings = adversary, task, settings

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
        """Return the engine, in step with the adversary."""
        return self.adversary.in_step()

    def make(self, engine: Engine, own: Sequence[tuple[State, int]]) -> list[list[Rewrite]]:
        """Return judged rewrites from the weights that the engine has."""
        return self.adversary.rewritten(self.task, engine, own)

    def packed(self, made: list[Rewrite]) -> list[Any]:
        """Return what was sampled for a state; verdicts are found again."""
        return [[item.ids, item.log_probabilities] for item in made]

    def unpacked(self, step: int, values: Sequence[Any]) -> list[list[Rewrite]]:
        """Return the groups, judged again."""
        written = [
            [Completion("", tuple(ids), tuple(numbers), "stop") for ids, numbers in group] for group in values
        ]
        return self.adversary.read_again(self.task, [state for state, _ in self.asked(step)], written)
