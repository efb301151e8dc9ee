"""PAV's Theorem 3.1 where every value is exact: what a prover's advantages do to one policy update.

One natural-gradient step of a tabular softmax policy multiplies π(a | s) by exp(γ (Q^π + α A^μ)) (PAV lemma F.2). The
theorem bounds its improvement, for small γ and α = 1, from below by γ times distinguishability plus alignment, up to a
constant ("≳"). Taken literally, with constant one, that is false for strong provers (docs/progress.md shows where); the
first-order gain here is exact for every prover: E_{s ~ d^π} [Var_π A^π + α · Cov_π(A^π, A^μ)] per unit of γ.

Contract: pure numpy; the last two axes of tables are (states, actions), policies are positive and sum to 1 over
actions. Not here: estimates from logged values (`sparring.progress.provers`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def natural_gradient_step(policy: Floats, effective_reward: Floats, step_size: float) -> Floats:
    """Return π'(a | s) ∝ π(a | s) · exp(step size · effective reward) (PAV lemma F.2); all (…, states, actions)."""
    exponents = step_size * effective_reward
    weights = policy * np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def covariance(policy: Floats, one: Floats, other: Floats) -> Floats:
    """Return the covariance over a ~ π(· | s) of two tables of action values, (…, states).

    A value and its advantage differ by a constant of the state, so either may be given.
    """
    first, second = (values - (policy * values).sum(axis=-1, keepdims=True) for values in (one, other))
    return np.asarray((policy * first * second).sum(axis=-1))


def distinguishability(policy: Floats, prover_values: Floats) -> Floats:
    """Return Var_{a ~ π} A^μ(s, a) of every state: how differently the prover sees the policy's actions."""
    return covariance(policy, prover_values, prover_values)


def alignment(policy: Floats, prover_values: Floats, policy_values: Floats) -> Floats:
    """Return E_{a ~ π} [A^μ A^π] of every state; the covariance, since A^π has mean zero under π."""
    return covariance(policy, prover_values, policy_values)


def theorem_bound(policy: Floats, policy_values: Floats, prover_values: Floats, states: Floats) -> float:
    """Return Theorem 3.1's right side per unit of step size: E_ρ [distinguishability + alignment].

    Args:
        policy: π, (…, states, actions).
        policy_values: Q^π, the same shape.
        prover_values: Q^μ, the same shape.
        states: ρ, (…, states).
    """
    gains = distinguishability(policy, prover_values) + alignment(policy, prover_values, policy_values)
    return float((states * gains).sum())


def first_order_gain(
    policy: Floats, policy_values: Floats, prover_values: Floats, visits: Floats, alpha: float
) -> float:
    """Return d E[outcome] / d step size at zero: Σ_s d^π(s) (Var_π A^π + α · Cov_π(A^π, A^μ)).

    From the performance-difference lemma, since the step changes π(a | s) by γ π (r − E_π r) + O(γ²) with r the
    effective reward. A prover enters by its alignment alone: what it distinguishes helps as far as Q^π agrees.

    Args:
        policy: π, (…, states, actions).
        policy_values: Q^π, the same shape.
        prover_values: Q^μ, the same shape.
        visits: how often the policy is in each state on its way from the start, (…, states).
        alpha: weight of progress.
    """
    own = distinguishability(policy, policy_values)
    return float((visits * (own + alpha * alignment(policy, prover_values, policy_values))).sum())
