"""How many rollouts a prefix gets: the same for all, or more where its label is still undecided.

Contract: pure. Whether a prefix goes on depends on its own counts alone, so a job gives the same result however its work
is batched, and after any interruption.

The adaptive rule is a sequential test. A label that says on which side of a threshold the value lies is decided when
the posterior probability of one side passes `confidence`. With threshold 0 (Math-Shepherd's hard label: can the answer
be reached at all) it is decided by the first success, and then the label is the one that all rollouts would have given.

A value that comes from stopping early at a success is too high on average; where soft values are wanted unbiased, use
the uniform rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparring.labels.posterior import probability_above


@dataclass(frozen=True, slots=True)
class Uniform:
    """`n` rollouts for every prefix."""

    n: int

    def more(self, successes: int, count: int) -> int:
        """Return how many rollouts to add; 0 when the prefix is finished."""
        return max(0, self.n - count)


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Rounds of rollouts until the label is decided.

    Attributes:
        threshold: the label says whether the value is above it.
        most: rollouts after which a prefix is left as it is.
        first: rollouts of the first round.
        round: rollouts of every further one.
        confidence: posterior probability of a side at which the label counts as decided.
    """

    threshold: float
    most: int
    first: int = 4
    round: int = 4
    confidence: float = 0.9

    def more(self, successes: int, count: int) -> int:
        """Return how many rollouts to add; 0 when the prefix is finished."""
        if count == 0:
            return min(self.first, self.most)
        return 0 if self.decided(successes, count) else max(0, min(self.round, self.most - count))

    def decided(self, successes: int, count: int) -> bool:
        """Whether more rollouts would hardly change the label."""
        if self.threshold == 0.0:
            return successes > 0
        above = probability_above(self.threshold, successes, count)
        return max(above, 1 - above) >= self.confidence


Allocation = Uniform | Adaptive


@dataclass(frozen=True, slots=True)
class Tally:
    """The rollouts of one prefix: (successes, count) of each round, in order; or why it cannot be sampled."""

    rounds: tuple[tuple[int, int], ...] = ()
    refused: str | None = None

    @property
    def successes(self) -> int:
        """Successful rollouts of all rounds."""
        return sum(successes for successes, _ in self.rounds)

    @property
    def count(self) -> int:
        """Rollouts of all rounds."""
        return sum(count for _, count in self.rounds)

    def plus(self, successes: int, count: int) -> Tally:
        """Return the tally with one more round."""
        return Tally((*self.rounds, (successes, count)), self.refused)

    def missing(self, allocation: Allocation) -> int:
        """Return how many rollouts the allocation still wants."""
        return 0 if self.refused else allocation.more(self.successes, self.count)

    def screened(self, allocation: Allocation) -> tuple[int, int] | None:
        """Return (successes, count) at the moment when the allocation was content, None if it is not yet."""
        successes = count = 0
        for found, made in ((0, 0), *self.rounds):
            successes, count = successes + found, count + made
            if allocation.more(successes, count) == 0:
                return successes, count
        return None
