"""The planted subsequence: the didactic example of PAV (arXiv 2410.08146, §3.3 and App. B) with exact values.

A response is a sequence of tokens, a step is one token, and the outcome is 1 if a hidden sequence occurs in the response,
contiguously, before its end token. What matters of a prefix is its position and how many tokens of the hidden sequence its
end matches (as in Knuth, Morris and Pratt's search), so a small automaton and dynamic programming over (position,
matched) give every value of a policy that looks at nothing else exactly. The paper's provers are such policies.

Axes: a *policy table* is (states, vocabulary), rows sum to 1, or (length, states, vocabulary) where it depends on the
position. States 0 … n − 1: that many tokens matched; n: the hidden sequence has occurred; n + 1: the response
ended without it. The last two are absorbing.

Contract: numpy only, deterministic given a generator. Not here: policies that see the whole prefix
(`planted_policy.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PlantedWorld:
    """Hidden sequence, number of tokens, end token and length of responses; the defaults are the paper's.

    The paper gives the vocabulary as 1..15 and as 1..14, but its samples contain token 0; with end token 14 this
    leaves 0..14.

    Raises:
        ValueError: the hidden sequence is empty, longer than a response, or has a token that cannot occur in it.
    """

    hidden: tuple[int, ...] = (3, 6, 0, 3, 5)
    vocabulary: int = 15
    end: int = 14
    length: int = 10
    transitions: Integers = field(init=False)
    """(states, vocabulary): the state after a token."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.hidden) <= self.length:
            raise ValueError(
                f"the hidden sequence needs 1 to {self.length} tokens, it has {len(self.hidden)}"
            )
        if not 0 <= self.end < self.vocabulary:
            raise ValueError(f"the end token {self.end} is not among 0..{self.vocabulary - 1}")
        if not all(0 <= token < self.vocabulary and token != self.end for token in self.hidden):
            raise ValueError(f"{self.hidden} has tokens outside 0..{self.vocabulary - 1} or the end token")
        object.__setattr__(self, "transitions", self._automaton())

    @property
    def found(self) -> int:
        """The state in which the hidden sequence has occurred."""
        return len(self.hidden)

    @property
    def ended(self) -> int:
        """The state of a response that ended without it."""
        return len(self.hidden) + 1

    def _automaton(self) -> Integers:
        table = np.empty((len(self.hidden) + 2, self.vocabulary), dtype=np.int64)
        for matched in range(len(self.hidden)):
            for token in range(self.vocabulary):
                text = (*self.hidden[:matched], token)
                # The longest end of the text that is a beginning of the hidden sequence.
                table[matched, token] = next(
                    size
                    for size in range(matched + 1, -1, -1)
                    if text[len(text) - size :] == self.hidden[:size]
                )
            table[matched, self.end] = self.ended
        table[self.found], table[self.ended] = self.found, self.ended
        return table

    def states(self, tokens: Sequence[Sequence[int]] | Integers) -> Integers:
        """Return the state before the first and after every token of (…, steps) tokens, shape (…, steps + 1)."""
        given = np.asarray(tokens, dtype=np.int64)
        reached = np.zeros((*given.shape[:-1], given.shape[-1] + 1), dtype=np.int64)
        for step in range(given.shape[-1]):
            reached[..., step + 1] = self.transitions[reached[..., step], given[..., step]]
        return reached

    def outcomes(self, tokens: Sequence[Sequence[int]] | Integers) -> Floats:
        """Return 1.0 for each response of (…, steps) tokens in which the hidden sequence occurs, else 0.0."""
        return np.asarray(self.states(tokens)[..., -1] == self.found, dtype=np.float64)

    def counted(self, tokens: Sequence[Sequence[int]] | Integers) -> Floats:
        """Return 1.0 for every token up to and including the end token and 0.0 after it (the paper masks those)."""
        ends = np.asarray(tokens) == self.end
        return np.asarray(np.cumsum(ends, axis=-1) - ends == 0, dtype=np.float64)

    def prover(self, strength: float) -> Floats:
        """Return the policy table of the prover μ_γ: the next hidden token with weight γ, all others with weight 1.

        γ = 1 is uniform; the success rate goes to 1 as γ → ∞. After the hidden sequence it is uniform.

        Raises:
            ValueError: the strength is not positive.
        """
        if not strength > 0:
            raise ValueError(f"a prover's strength is a positive number, got {strength}")
        weights = np.ones((len(self.hidden) + 2, self.vocabulary))
        weights[np.arange(len(self.hidden)), self.hidden] = strength
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def values(self, policy: Floats) -> tuple[Floats, Floats]:
        """Return Q (length, states, vocabulary) and V (length + 1, states) of a policy table, exactly."""
        table = self._by_position(policy)
        state_values = np.zeros((self.length + 1, len(self.hidden) + 2))
        state_values[-1, self.found] = 1.0
        action_values = np.empty(table.shape)
        for step in reversed(range(self.length)):
            action_values[step] = state_values[step + 1][self.transitions]
            state_values[step] = (table[step] * action_values[step]).sum(axis=1)
        return action_values, state_values

    def success(self, policy: Floats) -> float:
        """Return the probability of the outcome 1 under a policy table."""
        return float(self.values(policy)[1][0, 0])

    def visits(self, policy: Floats) -> Floats:
        """Return (length, states): the probability to be in a state before each step, with the policy from the start."""
        table = self._by_position(policy)
        reached = np.zeros((self.length, len(self.hidden) + 2))
        reached[0, 0] = 1.0
        for step in range(self.length - 1):
            np.add.at(reached[step + 1], self.transitions, reached[step][:, None] * table[step])
        return reached

    def prefix_values(self, tokens: Sequence[Sequence[int]] | Integers, policy: Floats) -> Floats:
        """Return the policy's value of every prefix of whole responses, from the empty one on.

        Args:
            tokens: (…, length).
            policy: a policy table.

        Returns:
            (…, length + 1); neighbours differ by the advantage of the step between them.
        """
        return self.values(policy)[1][np.arange(self.length + 1), self.states(tokens)]

    def sample(self, policy: Floats, n: int, random: np.random.Generator) -> Integers:
        """Return (n, length) tokens drawn from a policy table; what follows an end token is drawn as well."""
        limits = self._by_position(policy).cumsum(axis=2)
        tokens = np.empty((n, self.length), dtype=np.int64)
        state = np.zeros(n, dtype=np.int64)
        for step in range(self.length):
            limit = limits[step][state]
            tokens[:, step] = (random.random((n, 1)) * limit[:, -1:] >= limit).sum(axis=1)
            state = self.transitions[state, tokens[:, step]]
        return tokens

    def _by_position(self, policy: Floats) -> Floats:
        return np.broadcast_to(policy, (self.length, len(self.hidden) + 2, self.vocabulary))
