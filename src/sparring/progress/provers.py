"""Choose a prover before training: distinguishability and alignment of provers from logged values, with intervals.

Values that were counted from a few rollouts are noisy, and plain variances would count the noise as distinguishability
(and, for best-of-K provers, as alignment, since both come from the same counts). With c failures in n rollouts
c (c − 1) … (c − j + 1) / (n (n − 1) … (n − j + 1)) has the mean (1 − Q)^j for every j ≤ n, which gives every product that
is needed without bias as long as n ≥ 2K; a prover that needs more rollouts than there are is estimated by putting Q̂
into the formula, and marked.

Two kinds of evidence. `siblings`: states with two or more logged actions; the spread among the actions of one state is
what the theorem speaks of. `steps`: every step whose own and previous prefix are labelled; its alignment means the same,
but its distinguishability also holds the spread of mean progress between states, so it is an upper bound.

Contract: numpy; states count as often as they were visited (ρ is where the logging policy went); intervals are
over problems (`statistics.py`). Actions must have been sampled from the base policy.
Not here: making the labels (`labels/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from sparring.errors import SparringError, plural
from sparring.progress.logs import BASE, LoggedTrace, PrefixValues, failure_moment, joined
from sparring.runs import Metric
from sparring.statistics import (
    RESAMPLES,
    Resampler,
    blocks,
    cluster_numbers,
    metric_with_interval,
)
from sparring.terminal import results_table, with_interval

Floats = NDArray[np.float64]
Evidence = Literal["siblings", "steps"]
MEASURES = ("distinguishability", "alignment", "theorem", "first_order")


@dataclass(frozen=True, slots=True)
class ProverRow:
    """One prover. Units: probability², per unit of the update's step size for the last two.

    Attributes:
        name: `base`, `bo<K>`, or the name of another policy.
        distinguishability: E_ρ Var_{a ~ π} A^μ.
        alignment: E_ρ E_{a ~ π} [A^μ A^π].
        theorem: their sum, the right side of Theorem 3.1.
        first_order: E_ρ [Var_π A^π] + alignment, what a small step gains with α = 1.
        chance: share of bootstrap resamples in which this prover's first-order gain was the largest.
        unbiased: whether there were rollouts enough to remove the labels' noise.
    """

    name: str
    distinguishability: Metric
    alignment: Metric
    theorem: Metric
    first_order: Metric
    chance: float
    unbiased: bool


@dataclass(frozen=True, slots=True)
class ProverComparison:
    """All provers on the same evidence.

    Attributes:
        rows: the base policy first.
        by_theorem: the name that Theorem 3.1 prefers.
        by_first_order: the name with the largest first-order gain.
        evidence: see the module.
        cases: states or steps that the numbers rest on.
        problems: problems that they come from.
        left_out: logged steps that could not be used: no label, or (for siblings) nothing to compare with.
    """

    rows: tuple[ProverRow, ...]
    by_theorem: str
    by_first_order: str
    evidence: Evidence
    cases: int
    problems: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Moments:
    """Failure chances under each prover (x) and the policy (y), and unbiased x² and x·y; (provers, prefixes) each."""

    x: Floats
    y: Floats
    xx: Floats
    xy: Floats


@dataclass(frozen=True, slots=True)
class _Cases:
    """What the logs hold: flat prefix numbers of steps, or of the actions of one state.

    Attributes:
        prefixes: one array per case: (before, after) of a step, or where each sibling leads.
        actions: the siblings' actions as numbers; empty for steps.
        problems: one per case.
        left_out: steps that are in no case.
    """

    prefixes: list[NDArray[np.int64]]
    actions: list[NDArray[np.int64]]
    problems: list[str]
    left_out: int


def compare_provers(
    traces: Sequence[LoggedTrace],
    best_of: Sequence[int] = (2, 4, 8, 16, 32),
    *,
    evidence: Evidence = "steps",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ProverComparison:
    """Compare the base policy, best-of-K of it, and the other policies that every trace has values of.

    Args:
        traces: solutions sampled from the base policy, labelled.
        best_of: the K of best-of-K provers (closed form).
        evidence: `siblings` or `steps`, see the module.
        resamples: bootstrap draws, over problems.
        seed: of the draws.

    Raises:
        SparringError: there is no evidence of this kind, or the traces have different provers.
    """
    others = sorted(traces[0].provers) if traces else []
    if any(sorted(trace.provers) != others for trace in traces):
        raise SparringError(
            "the traces have values of different provers: compare those that all of them have"
        )
    if any(k < 2 for k in best_of):
        raise SparringError(f"best-of-K provers need K ≥ 2, got {list(best_of)}; K = 1 is the base policy")
    logged = {BASE: joined([trace.base for trace in traces])}
    logged |= {name: joined([trace.provers[name] for trace in traces]) for name in others}
    labelled = np.all([~np.isnan(one.values) for one in logged.values()], axis=0)
    find_cases, contributions, advice = _KINDS[evidence]
    cases = find_cases(traces, labelled)
    if not cases.problems:
        raise SparringError(f"no {evidence} with values to compare provers on: {advice}")
    unbiased, moments = _prover_moments(logged, best_of, np.concatenate(cases.prefixes))
    rows = _rows(unbiased, *_bootstrapped(contributions(moments, cases), cases, resamples, seed), cases)
    best = {measure: max(rows, key=lambda row: getattr(row, measure).value).name for measure in MEASURES}
    problems = len(set(cases.problems))
    return ProverComparison(
        rows, best["theorem"], best["first_order"], evidence, len(cases.problems), problems, cases.left_out
    )


def _prover_moments(
    logged: Mapping[str, PrefixValues], best_of: Sequence[int], used: NDArray[np.int64]
) -> tuple[dict[str, bool], _Moments]:
    """Return whether each prover has rollouts enough in the prefixes that are used, and all provers' moments."""
    base, powers = logged[BASE], {BASE: 1} | {f"bo{k}": k for k in best_of}
    unbiased = {name: _least_rollouts(base, used) >= 2 * k for name, k in powers.items()}
    moments = [_best_of(base, k, unbiased[name]) for name, k in powers.items()]
    for name, other in logged.items():
        if name != BASE:
            unbiased[name] = _least_rollouts(other, used) >= 2
            moments.append(_other_policy(base, other, unbiased[name]))
    return unbiased, _Moments(*(np.stack(arrays) for arrays in zip(*moments, strict=True)))


def _rows(
    unbiased: Mapping[str, bool], value: Floats, draws: Floats, left_out: Floats, cases: _Cases
) -> tuple[ProverRow, ...]:
    independent = len(set(cases.problems))
    chances = np.bincount(draws[:, :, -1].argmax(axis=1), minlength=len(value)) / max(1, len(draws))

    def metric(row: int, measure: str) -> Metric:
        column = MEASURES.index(measure)
        return metric_with_interval(
            value[row, column],
            draws[:, row, column],
            lambda: left_out[:, row, column],
            n=len(cases.problems),
            independent=independent,
        )

    return tuple(
        ProverRow(
            name,
            distinguishability=metric(row, "distinguishability"),
            alignment=metric(row, "alignment"),
            theorem=metric(row, "theorem"),
            first_order=metric(row, "first_order"),
            chance=float(chances[row]),
            unbiased=enough,
        )
        for row, (name, enough) in enumerate(unbiased.items())
    )


def _least_rollouts(logged: PrefixValues, used: NDArray[np.int64]) -> float:
    counts = logged.rollouts[used]
    return float(counts[counts > 0].min(initial=np.inf))


def _best_of(base: PrefixValues, k: int, unbiased: bool) -> tuple[Floats, Floats, Floats, Floats]:
    def power(exponent: int) -> Floats:
        return failure_moment(base, exponent) if unbiased else (1 - base.values) ** exponent

    return power(k), power(1), power(2 * k), power(k + 1)


def _other_policy(
    base: PrefixValues, prover: PrefixValues, unbiased: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    x, y = 1 - prover.values, 1 - base.values
    return x, y, failure_moment(prover, 2) if unbiased else x**2, x * y  # their rollouts are independent


def _step_cases(traces: Sequence[LoggedTrace], labelled: NDArray[np.bool_]) -> _Cases:
    cases, start, left_out = _Cases([], [], [], 0), 0, 0
    for trace in traces:
        for after in range(start + 1, start + len(trace.steps) + 1):
            if labelled[after - 1] and labelled[after]:
                cases.prefixes.append(np.array([after - 1, after]))
                cases.problems.append(trace.problem)
            else:
                left_out += 1
        start += len(trace.steps) + 1
    return replace(cases, left_out=left_out)


def _sibling_cases(traces: Sequence[LoggedTrace], labelled: NDArray[np.bool_]) -> _Cases:
    states: dict[tuple[str, tuple[object, ...]], list[tuple[int, object]]] = {}
    start = steps = 0
    for trace in traces:
        for number, step in enumerate(trace.steps):
            if labelled[start + number + 1]:
                found = states.setdefault((trace.problem, trace.steps[:number]), [])
                found.append((start + number + 1, step))
        steps += len(trace.steps)
        start += len(trace.steps) + 1
    kept = {state: found for state, found in states.items() if len(found) > 1}
    prefixes = [np.array([index for index, _ in found]) for found in kept.values()]
    actions = [np.array(cluster_numbers(len(found), [step for _, step in found])) for found in kept.values()]
    left_out = steps - sum(len(found) for found in kept.values())
    return _Cases(prefixes, actions, [problem for problem, _ in kept], left_out)


def _step_contributions(moments: _Moments, cases: _Cases) -> Floats:
    """Return (cases, provers, 4): weight, and unbiased A^μ², A^μ A^π and A^μ of each step."""
    before, after = np.array(cases.prefixes).T
    x, y = moments.x, moments.y
    square = moments.xx[:, before] - 2 * x[:, before] * x[:, after] + moments.xx[:, after]
    mixed = moments.xy[:, before] + moments.xy[:, after]
    mixed = mixed - x[:, before] * y[:, after] - x[:, after] * y[:, before]
    progress = x[:, before] - x[:, after]
    return np.stack([np.ones(progress.shape), square, mixed, progress], axis=2).swapaxes(0, 1)


def _sibling_contributions(moments: _Moments, cases: _Cases) -> Floats:
    """Return (cases, provers, 4): visits, variance and covariance times visits, and 0 of each state.

    Unbiased over all pairs of visits: a product of two estimates counts the labels' noise when both come from the same
    rollouts, so those are taken from the moments, and two visits of the same prefix do not differ.
    """
    rows = []
    for indices, actions in zip(cases.prefixes, cases.actions, strict=True):
        same = (actions[:, None] == actions).astype(np.float64)
        x, y = moments.x[:, indices], moments.y[:, indices]
        variance = _spread(moments.xx[:, indices], x, x, same)
        mixed = _spread(moments.xy[:, indices], x, y, same)
        visits = np.full(len(x), len(indices))
        rows.append(np.stack([visits, variance, mixed, np.zeros(len(x))], axis=1))
    return np.array(rows)


def _spread(products: Floats, one: Floats, other: Floats, same: Floats) -> Floats:
    """Return the covariance among visits times their number, given which visits are of the same prefix."""
    visits = len(same)
    across = one.sum(axis=1) * other.sum(axis=1) - ((one @ same) * other).sum(axis=1)
    return np.asarray((products @ (visits - same.sum(axis=1)) - across) / (visits - 1))


_KINDS = {
    "steps": (_step_cases, _step_contributions, "label prefixes that follow each other"),
    "siblings": (
        _sibling_cases,
        _sibling_contributions,
        "log several solutions per problem, or take steps as evidence",
    ),
}


def _bootstrapped(
    contributions: Floats, cases: _Cases, resamples: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Return the four measures, (provers, 4), their draws, (resamples, provers, 4), and without each problem in turn."""
    size, provers, _ = contributions.shape
    flat = contributions.reshape(size, -1)

    def measured(weights: Floats) -> Floats:
        sums = (weights @ flat).reshape(len(weights), provers, 4)
        # Without the only problem that has a weight: undefined, and so NaN
        with np.errstate(invalid="ignore"):
            square, mixed, progress = np.moveaxis(sums[..., 1:] / sums[..., :1], 2, 0)
        spread = square - progress**2
        return np.stack([spread, mixed, spread + mixed, spread[:, :1] + mixed], axis=2)

    resampler = Resampler(size, clusters=cases.problems, seed=seed)
    draws = [measured(resampler.weights(rows)) for rows in blocks(resamples, size)]
    return measured(np.ones((1, size)))[0], np.concatenate(draws), measured(resampler.left_out())


def comparison_metrics(comparison: ProverComparison) -> dict[str, Metric]:
    """Return `provers.<name>.<measure>` for `metrics.json`."""
    return {
        f"provers.{row.name}.{measure}": getattr(row, measure)
        for row in comparison.rows
        for measure in MEASURES
    }


def comparison_table(comparison: ProverComparison) -> Table:
    """Return the comparison for the terminal; numbers in thousandths."""
    caption = (
        f"thousandths [95 % interval over {plural(comparison.problems, 'problem')}]; evidence: {comparison.cases} "
        f"{'states' if comparison.evidence == 'siblings' else 'steps'}, {plural(comparison.left_out, 'step')} left out.\n"
        f"theorem 3.1 prefers {comparison.by_theorem}, a small step gains most with {comparison.by_first_order}."
    )
    if not all(row.unbiased for row in comparison.rows):
        caption += "\n* too few rollouts to remove the labels' noise: too large."
    headings = ("distinguishability", "alignment", "sum (theorem 3.1)", "first-order gain", "best in")
    table = results_table("Provers", caption, "prover", *headings)
    for row in comparison.rows:
        cells = [with_interval(getattr(row, measure), 1000, ".2f") for measure in MEASURES]
        table.add_row(Text(row.name + ("" if row.unbiased else " *")), *cells, f"{100 * row.chance:.0f} %")
    return table
