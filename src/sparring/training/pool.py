"""A pool of earlier rounds' rewrites: a uniform sample of all states so far, replayed so that the PRM does not forget.

Contract: reservoir sampling from generators passed in; its content is plain JSON, so that a checkpoint can hold it.
"""

from __future__ import annotations

import random
from typing import Any

from sparring.traces.records import Problem
from sparring.training.adversary import Rewrites
from sparring.training.tasks import State

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
        return {
            "seen": self.seen,
            "items": [
                {
                    "id": state.problem.id,
                    "question": state.problem.question,
                    "solution": list(state.solution),
                    "index": state.index,
                    "members": [list(member) for member in members],
                }
                for state, members in self._items
            ],
        }

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
