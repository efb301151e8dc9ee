"""Monte-Carlo values of every prefix (Math-Shepherd, arXiv 2312.08935; PAV, arXiv 2410.08146, section 4.2).

Contract: the value of a prefix is the share of its rollouts that reach the right answer; that of a finished solution is
its outcome, known without a rollout. A prefix that the engine refuses has no value, and the walk says so.
"""

from __future__ import annotations

from sparring.labels.allocation import Allocation
from sparring.labels.walk import Estimator, Findings, Labeller, Needs, Walk, estimates_of


def needs(walk: Walk, allocation: Allocation) -> Needs:
    """Return the rollouts that every prefix still wants, the bare question included."""
    wanted = {length: walk.tally(length).missing(allocation) for length in range(walk.last + 1)}
    return {length: count for length, count in wanted.items() if count}


def findings(walk: Walk, estimator: Estimator, labeller: Labeller) -> Findings:
    """Return a value per step, and the label made of it."""
    root, estimates = estimates_of(walk, estimator, walk.length)
    labels = tuple(None if one is None else labeller(one) for one in estimates)
    refused = any(walk.tally(length).refused for length in range(walk.last + 1))
    return Findings(labels, estimates, root, "refused" if refused else "measured")
