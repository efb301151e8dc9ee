"""First-pit collection (PAV, arXiv 2410.08146, appendix D): where wrong solutions of solvable problems fall.

A wrong solution from a state of high value is followed step by step to its first pit, the first prefix from which no
rollout reaches the right answer. All prefixes up to the pit are kept, and then sharpened with many more rollouts.

Contract: the state of high value is the bare question; its value must be at least `from_value`. The pit is the one
found while screening, also if a later rollout climbs out of it. Prefixes after the pit have no label; solutions with
the right answer are not followed. The paper gives neither the threshold nor the numbers of rollouts per phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparring.labels.allocation import Allocation, Uniform
from sparring.labels.walk import Estimator, Findings, Labeller, Needs, Walk, estimates_of


@dataclass(frozen=True, slots=True)
class FirstPit:
    """How pits are looked for.

    Attributes:
        screening: rollouts per prefix while looking for the pit.
        sharpened: rollouts per kept prefix in the end.
        from_value: least share of right rollouts from the bare question.
    """

    screening: Allocation
    sharpened: int
    from_value: float


def first_pit(values: Sequence[float]) -> int | None:
    """Return the index of the first value that is 0, None if there is none."""
    return next((index for index, value in enumerate(values) if value == 0.0), None)


def needs(walk: Walk, rule: FirstPit) -> Needs:
    """Return the rollouts wanted next: of one prefix while screening, then of all that are kept."""
    state = _follow(walk, rule)
    if state.next is not None:
        return {state.next: walk.tally(state.next).missing(rule.screening)}
    if state.pit is None:
        return {}
    sharpened = Uniform(rule.sharpened)
    wanted = {
        length: walk.tally(length).missing(sharpened) for length in range(min(state.pit, walk.last) + 1)
    }
    return {length: count for length, count in wanted.items() if count}


def findings(walk: Walk, rule: FirstPit, estimator: Estimator, labeller: Labeller) -> Findings:
    """Return values and labels of the prefixes up to the pit; none at all where there is no pit."""
    state = _follow(walk, rule)
    root, estimates = estimates_of(walk, estimator, -1 if state.pit is None else state.pit)
    labels = tuple(None if one is None else labeller(one) for one in estimates)
    return Findings(labels, estimates, root, state.kind)


@dataclass(frozen=True, slots=True)
class _State:
    kind: str
    next: int | None = None
    pit: int | None = None


def _follow(walk: Walk, rule: FirstPit) -> _State:
    if walk.outcome:
        return _State("right answer")
    values: list[float] = []
    for length in range(walk.last + 1):
        tally = walk.tally(length)
        if tally.refused:
            return _State("refused")
        screened = tally.screened(rule.screening)
        if screened is None:
            return _State("unfinished", next=length)
        successes, count = screened
        values.append(successes / count)
        if length == 0 and values[0] < rule.from_value:
            return _State("not solved often enough")
        pit = first_pit(values)
        if pit is not None:
            return _State("pit found", pit=pit)
    if walk.outcome is False:
        return _State("pit found", pit=walk.length)
    return _State("no pit")
