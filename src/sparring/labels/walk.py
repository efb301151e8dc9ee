"""A solution on its way to labels: what is known of its prefixes, and what a mode says about them.

Contract: a mode is a pair of pure functions. `needs` looks at a walk and says how many rollouts which prefixes want
next, nothing when the walk is over; `findings` turns a finished walk into labels. No mode keeps any state, so a job can
stop anywhere and go on from its tallies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparring.labels.allocation import Tally
from sparring.labels.posterior import exact
from sparring.traces.records import Estimate, Label

Needs = dict[int, int]
"""Rollouts wanted next, by prefix length."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A solution and the rollouts from its prefixes.

    Attributes:
        length: steps of the solution.
        outcome: whether the finished solution is right; None where it is not finished, or its answer is not known.
        tallies: by prefix length; 0 is the bare question.
    """

    length: int
    outcome: bool | None
    tallies: Mapping[int, Tally]

    def tally(self, length: int) -> Tally:
        """Return the rollouts from a prefix."""
        return self.tallies.get(length, Tally())

    @property
    def last(self) -> int:
        """Longest prefix whose value has to be measured; the value of a finished solution is its outcome."""
        return self.length if self.outcome is None else self.length - 1


@dataclass(frozen=True, slots=True)
class Findings:
    """What a walk gave.

    Attributes:
        labels: one per step.
        estimates: one per step, None where nothing was measured.
        root: the value of the bare question, where measured.
        kind: how the walk ended, in a word or two, for counting.
    """

    labels: tuple[Label, ...]
    estimates: tuple[Estimate | None, ...]
    root: Estimate | None
    kind: str


Estimator = Callable[[Tally], Estimate]
Labeller = Callable[[Estimate], float]


def estimates_of(
    walk: Walk, estimator: Estimator, upto: int
) -> tuple[Estimate | None, tuple[Estimate | None, ...]]:
    """Return the root's estimate and those of the steps, up to prefix length `upto`, None where not measured."""

    def one(length: int) -> Estimate | None:
        if length > upto:
            return None
        if length == walk.length and walk.outcome is not None:
            return exact(float(walk.outcome))
        tally = walk.tally(length)
        return estimator(tally) if tally.count else None

    return one(0), tuple(one(length) for length in range(1, walk.length + 1))
