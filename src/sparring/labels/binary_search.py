"""The first wrong step by binary search over rollouts (OmegaPRM, arXiv 2406.06592, section 3.2).

A prefix is alive when some rollout from it reaches the right answer. Assuming that no prefix comes back to life, the
first dead one is found with about log2(steps) measurements instead of one per step.

Contract: labels are 1 before the first error, 0 at it, unknown after it. A solution with the right answer is taken to
have no error (all 1) and costs nothing. Where not even the bare question is alive, the policy cannot tell: all unknown.
Not here: OmegaPRM's tree of solutions and its choice of where to branch.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparring.labels.allocation import Allocation
from sparring.labels.walk import Estimator, Findings, Needs, Walk, estimates_of
from sparring.traces.records import labels_from_first_error


def needs(walk: Walk, allocation: Allocation) -> Needs:
    """Return the rollouts that the next prefix of the search wants."""
    length = _search(walk, allocation).next
    return {} if length is None else {length: walk.tally(length).missing(allocation)}


def findings(walk: Walk, allocation: Allocation, estimator: Estimator) -> Findings:
    """Return labels from the first error, and the estimates of the prefixes that the search looked at."""
    search = _search(walk, allocation)
    root, estimates = estimates_of(walk, estimator, walk.length)
    if search.first_error is None:
        return Findings((None,) * walk.length, estimates, root, search.kind)
    return Findings(labels_from_first_error(search.first_error, walk.length), estimates, root, search.kind)


@dataclass(frozen=True, slots=True)
class _State:
    """Where the search stands: the prefix to measure next, or the index of the first error (−1: none)."""

    kind: str
    next: int | None = None
    first_error: int | None = None


def _search(walk: Walk, allocation: Allocation) -> _State:
    if walk.outcome:
        return _State("right answer", first_error=-1)
    alive, dead = 0, walk.length
    # The ends first: a search between them makes sense only if the question is alive and the solution is dead.
    ends = (0,) if walk.outcome is False else (0, walk.length)
    searched = 0
    while searched < len(ends) or dead - alive > 1:
        length = ends[searched] if searched < len(ends) else (alive + dead) // 2
        searched += 1
        tally = walk.tally(length)
        if tally.refused:
            return _State("refused")
        if tally.missing(allocation):
            return _State("unfinished", next=length)
        if length == 0 and not tally.successes:
            return _State("never solved")
        if length == walk.length and tally.successes:
            return _State("can be finished", first_error=-1)
        alive, dead = (length, dead) if tally.successes else (alive, length)
    return _State("first error found", first_error=dead - 1)
