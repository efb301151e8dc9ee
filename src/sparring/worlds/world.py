"""What a world is: problems without end, steps judged exactly, rules that make mistakes, and what can still succeed.

The game, labels, RL, search and policy training take any world. Its dials (how long, how many kinds of mistakes) are the
fields of a frozen dataclass, one per world, and `make_world` reads them from a text: ``countdown:numbers=4``.

Contract: everything is a pure function of its arguments, exact on any text, and takes bounded time; texts of models are
only parsed. `correct` is judged against the truth of the problem: a step that builds on an earlier mistake is wrong as well
unless the world says otherwise. A correct step may still lead nowhere; that is `alive`'s affair, not the verdict's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict


class World(Protocol):
    """A reasoning world with its dials set."""

    @property
    def name(self) -> str:
        """Return the world's name and every dial that is not at its default, as `make_world` reads it."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of mistakes that the rules can make, those first that a rule-writer thinks of first."""
        ...

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return every word of problems and steps by its part of speech; words are separated by single spaces."""
        ...

    def problem(self, rng: random.Random, identifier: str) -> Problem:
        """Return a random problem with its answer and a correct reference solution that succeeds."""
        ...

    def written(self, problem: Problem, rng: random.Random) -> tuple[str, ...]:
        """Return a solution as the author of a policy's training text writes it, with the author's mistakes."""
        ...

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the exact verdict on a step; its reason is ``<world>:<kind>``.

        Raises:
            DataError: the problem is not one of this world.
        """
        ...

    def is_step(self, text: str) -> bool:
        """Tell whether a text has a step's form."""
        ...

    def perturb(
        self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random, kinds: Sequence[str]
    ) -> tuple[str, str] | None:
        """Return (kind, wrong step) of a random one of the kinds, or None where none of them is possible."""
        ...

    def answer(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the answer that a finished solution states, or None."""
        ...

    def solved(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether a finished solution succeeds: the outcome."""
        ...

    def alive(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step so far is correct and some continuation with correct steps succeeds."""
        ...
