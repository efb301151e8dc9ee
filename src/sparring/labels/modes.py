"""What a labelling job may find out about a solution, and which rollouts it takes: values, first errors, first pits.

- **Monte-Carlo values** of every prefix (Math-Shepherd, arXiv 2312.08935; PAV, arXiv 2410.08146, section 4.2): the share of
  its rollouts that reach the right answer; of a finished solution its outcome, known without a rollout.
- **The first wrong step by binary search** (OmegaPRM, arXiv 2406.06592, section 3.2): a prefix is alive when some rollout
  from it reaches the right answer. Assuming that no prefix comes back to life, the first dead one takes about log2(steps)
  measurements. Labels are 1 before it, 0 at it, unknown after it; a right solution is all 1 and costs nothing; where not
  even the bare question is alive, all is unknown. Not here: OmegaPRM's tree of solutions and its choice of branches.
- **First pits** (PAV, appendix D): a wrong solution from a state of high value (here the bare question) is followed to its
  first pit, the first prefix from which no rollout reaches the right answer, also if a later one climbs out of it. The
  prefixes up to it are kept and sharpened with many more rollouts; those after it have no label; right solutions are not
  followed. The paper gives neither the threshold nor the numbers of rollouts per phase.

Contract: a mode is two pure functions of a walk. `needs` says how many rollouts which prefixes want next, nothing when the
walk is over; `findings` turns it into labels. No mode keeps state, so a job can stop anywhere and go on from its tallies. A
prefix that the engine refuses has no value, and the walk says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sparring.labels.allocation import Allocation, Tally, Uniform
from sparring.labels.posterior import exact
from sparring.traces.records import Estimate, Label, labels_from_first_error

Needs = dict[int, int]
"""Rollouts wanted next, by prefix length."""
Estimator = Callable[[Tally], Estimate]
Labeller = Callable[[Estimate], float]


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

    def missing(self, upto: int, allocation: Allocation) -> Needs:
        """Return the rollouts that the prefixes up to a length still want."""
        wanted = {length: self.tally(length).missing(allocation) for length in range(upto + 1)}
        return {length: count for length, count in wanted.items() if count}

    def estimates(
        self, estimator: Estimator, upto: int
    ) -> tuple[Estimate | None, tuple[Estimate | None, ...]]:
        """Return the root's estimate and those of the steps, up to a prefix length, None where not measured."""

        def one(length: int) -> Estimate | None:
            if length > upto:
                return None
            if length == self.length and self.outcome is not None:
                return exact(float(self.outcome))
            tally = self.tally(length)
            return estimator(tally) if tally.count else None

        return one(0), tuple(one(length) for length in range(1, self.length + 1))


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


class Mode(Protocol):
    """What a job finds out about every solution."""

    def needs(self, walk: Walk) -> Needs:
        """Return the rollouts wanted next."""
        ...

    def findings(self, walk: Walk) -> Findings:
        """Return what a finished walk gave."""
        ...


@dataclass(frozen=True, slots=True)
class _State:
    """Where a walk stands: the prefix to measure next, or the index of the step that was looked for (−1: none is wrong)."""

    kind: str
    next: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """Values of all prefixes, the bare question included."""

    allocation: Allocation
    estimator: Estimator
    labeller: Labeller

    def needs(self, walk: Walk) -> Needs:
        """Return the rollouts that every prefix still wants."""
        return walk.missing(walk.last, self.allocation)

    def findings(self, walk: Walk) -> Findings:
        """Return a value per step, and the label made of it."""
        root, estimates = walk.estimates(self.estimator, walk.length)
        labels = tuple(None if one is None else self.labeller(one) for one in estimates)
        refused = any(walk.tally(length).refused for length in range(walk.last + 1))
        return Findings(labels, estimates, root, "refused" if refused else "measured")


@dataclass(frozen=True, slots=True)
class BinarySearch:
    """The first wrong step."""

    allocation: Allocation
    estimator: Estimator

    def needs(self, walk: Walk) -> Needs:
        """Return the rollouts that the next prefix of the search wants."""
        length = self._search(walk).next
        return {} if length is None else {length: walk.tally(length).missing(self.allocation)}

    def findings(self, walk: Walk) -> Findings:
        """Return labels from the first error, and the estimates of the prefixes that were measured."""
        state = self._search(walk)
        root, estimates = walk.estimates(self.estimator, walk.length)
        unknown = (None,) * walk.length
        labels = unknown if state.step is None else labels_from_first_error(state.step, walk.length)
        return Findings(labels, estimates, root, state.kind)

    def _search(self, walk: Walk) -> _State:
        if walk.outcome:
            return _State("right answer", step=-1)
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
            if tally.missing(self.allocation):
                return _State("unfinished", next=length)
            if length == 0 and not tally.successes:
                return _State("never solved")
            if length == walk.length and tally.successes:
                return _State("can be finished", step=-1)
            alive, dead = (length, dead) if tally.successes else (alive, length)
        return _State("first error found", step=dead - 1)


@dataclass(frozen=True, slots=True)
class FirstPit:
    """The first prefix from which nothing succeeds, and the values on the way to it.

    Attributes:
        screening: rollouts per prefix while looking for the pit.
        sharpened: rollouts per kept prefix in the end.
        from_value: least share of right rollouts from the bare question.
    """

    screening: Allocation
    sharpened: int
    from_value: float
    estimator: Estimator
    labeller: Labeller

    def needs(self, walk: Walk) -> Needs:
        """Return the rollouts wanted next: of one prefix while screening, then of all that are kept."""
        state = self._follow(walk)
        if state.next is not None:
            return {state.next: walk.tally(state.next).missing(self.screening)}
        return {} if state.step is None else walk.missing(min(state.step, walk.last), Uniform(self.sharpened))

    def findings(self, walk: Walk) -> Findings:
        """Return values and labels of the prefixes up to the pit; none at all where there is no pit."""
        state = self._follow(walk)
        root, estimates = walk.estimates(self.estimator, -1 if state.step is None else state.step)
        labels = tuple(None if one is None else self.labeller(one) for one in estimates)
        return Findings(labels, estimates, root, state.kind)

    def _follow(self, walk: Walk) -> _State:
        if walk.outcome:
            return _State("right answer")
        values: list[float] = []
        for length in range(walk.last + 1):
            tally = walk.tally(length)
            if tally.refused:
                return _State("refused")
            screened = tally.screened(self.screening)
            if screened is None:
                return _State("unfinished", next=length)
            successes, count = screened
            values.append(successes / count)
            if length == 0 and values[0] < self.from_value:
                return _State("not solved often enough")
            if (pit := first_pit(values)) is not None:
                return _State("pit found", step=pit)
        return _State("no pit") if walk.outcome is None else _State("pit found", step=walk.length)


def first_pit(values: Sequence[float]) -> int | None:
    """Return the index of the first value that is 0, None if there is none."""
    return next((index for index, value in enumerate(values) if value == 0.0), None)
