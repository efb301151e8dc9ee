"""Logged values of sampled solutions, and powers of failure chances without the bias of few rollouts.

Contract: plain numpy; NaN where a prefix has no label. Not here: making the labels (`labels/`), comparing provers
(`provers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparring.errors import DataError, plural
from sparring.labels.job import LabelledValues
from sparring.traces.records import Trace

Floats = NDArray[np.float64]
BASE = "base"


@dataclass(frozen=True, slots=True, eq=False)
class PrefixValues:
    """Success probabilities of a trace's prefixes, from the empty one to the whole.

    Attributes:
        values: (steps + 1,), in [0, 1]; NaN where a prefix has no label.
        rollouts: (steps + 1,), how many completions each value was counted from; 0 where it is exact (the outcome of a
            whole solution) or no count at all (the output of a value model). By default 0.

    Raises:
        DataError: a value outside [0, 1], another number of rollouts than of values, or a value that cannot be a count
            of successes in its number of rollouts.
    """

    values: Floats
    rollouts: Floats

    def __init__(self, values: ArrayLike, rollouts: ArrayLike | None = None) -> None:
        numbers = np.asarray(values, dtype=np.float64)
        counts = np.zeros(numbers.shape) if rollouts is None else np.asarray(rollouts, dtype=np.float64)
        if numbers.ndim != 1 or counts.shape != numbers.shape:
            raise DataError(f"{numbers.shape} values and {counts.shape} rollouts", field="values")
        labelled = ~np.isnan(numbers)
        if not np.all((numbers[labelled] >= 0) & (numbers[labelled] <= 1)):
            raise DataError("a value is not in [0, 1]", field="values")
        successes = (numbers * counts)[labelled]
        if not np.all(counts >= 0) or np.any(
            np.abs(successes - np.round(successes)) > 1e-6 * (1 + successes)
        ):
            raise DataError("a value is not a share of its number of rollouts", field="rollouts")
        object.__setattr__(self, "values", numbers)
        object.__setattr__(self, "rollouts", counts)


@dataclass(frozen=True, slots=True, eq=False)
class LoggedTrace:
    """A trace sampled from the base policy with the values of its prefixes.

    Attributes:
        problem: id of the problem; states are shared, and resampled, within it.
        steps: texts (or anything hashable); equal beginnings are the same state.
        base: values under the base policy π.
        provers: values under other policies, by name.
    """

    problem: str
    steps: tuple[object, ...]
    base: PrefixValues
    provers: Mapping[str, PrefixValues] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, logged in {BASE: self.base, **self.provers}.items():
            if len(logged.values) != len(self.steps) + 1:
                raise DataError(
                    f"{plural(len(logged.values), 'value')} for the {len(self.steps) + 1} prefixes of problem "
                    f"{self.problem}",
                    field=name,
                )


def failure_moment(logged: PrefixValues, power: int) -> Floats:
    """Return the unbiased estimate of (1 − Q)^power for every prefix; for exact values that power itself.

    Where the rollouts are fewer than `power` the estimate does not exist: NaN.
    """
    exact = logged.rollouts == 0
    failures = np.round((1 - logged.values) * logged.rollouts)
    product = np.ones(len(logged.values))
    for taken in range(power):
        remaining = np.where(logged.rollouts > taken, logged.rollouts - taken, np.nan)
        product *= np.where(failures > taken, failures - taken, 0.0) / remaining
    return np.where(exact, (1 - logged.values) ** power, np.where(np.isnan(logged.values), np.nan, product))


def joined(parts: Sequence[PrefixValues]) -> PrefixValues:
    """Return the prefixes of many traces one after the other."""
    values = [part.values for part in parts] or [np.empty(0)]
    rollouts = [part.rollouts for part in parts] or [np.empty(0)]
    return PrefixValues(np.concatenate(values), np.concatenate(rollouts))


def logged_traces(
    base: Sequence[LabelledValues], provers: Mapping[str, Sequence[LabelledValues]] | None = None
) -> list[LoggedTrace]:
    """Return the traces of a labelling run by the base policy, with those of other policies for the same solutions.

    Args:
        base: what `labels.labelled_values` read from the base policy's run.
        provers: by name, the same from runs that measured the same solutions under another policy.

    Raises:
        DataError: a run does not hold the same solutions in the same order, or its values are not shares of rollouts.
    """
    others = provers or {}
    for name, run in others.items():
        if [_solution(one.trace) for one in run] != [_solution(one.trace) for one in base]:
            raise DataError("the solutions are not those of the base policy's run, in its order", field=name)
    return [
        LoggedTrace(
            one.trace.problem.id,
            one.trace.steps,
            PrefixValues(one.values, one.counts),
            {name: PrefixValues(run[index].values, run[index].counts) for name, run in others.items()},
        )
        for index, one in enumerate(base)
    ]


def _solution(trace: Trace) -> tuple[str, tuple[str, ...]]:
    return trace.problem.id, trace.steps
