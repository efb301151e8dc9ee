"""Progress: identities that hold for any values, the theorem in tabular worlds, estimates against exact numbers."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from pav_theorem import (
    alignment,
    covariance,
    distinguishability,
    first_order_gain,
    natural_gradient_step,
    theorem_bound,
)
from planted_world import PlantedWorld
from sparring.errors import DataError, SparringError
from sparring.labels.job import LabelledValues
from sparring.labels.posterior import best_of_k
from sparring.progress import (
    LoggedTrace,
    PrefixValues,
    advantages,
    compare_provers,
    comparison_metrics,
    comparison_table,
    effective_rewards,
    logged_traces,
)
from sparring.progress.logs import failure_moment
from sparring.runs import write_metrics
from sparring.traces.records import Problem, Trace

Floats = NDArray[np.float64]
WORLD = PlantedWorld()
SMALL = PlantedWorld(hidden=(1, 2), vocabulary=4, end=3, length=5)
SEEDS = st.integers(0, 2**32)


def random_policy(seed: int) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.ones(4), size=(5, 4)) * 0.96 + 0.01


# --- rewards -------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 5))
def test_progress_telescopes_and_effective_rewards_take_only_the_immediate_part(
    values: list[float], alpha: float
) -> None:
    progress = advantages(values)
    assert progress.sum() == pytest.approx(values[-1] - values[0])
    base = np.linspace(0, 1, len(values))
    assert effective_rewards(base, values, alpha) - base[1:] == pytest.approx(alpha * progress)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_best_of_k_is_the_best_of_k_samples(k: int) -> None:
    policy, n = WORLD.prover(50.0), 20_000
    found = WORLD.outcomes(WORLD.sample(policy, n * k, np.random.default_rng(k))).reshape(n, k).max(axis=1)
    assert found.mean() == pytest.approx(best_of_k(WORLD.success(policy), k), abs=4 * 0.5 / n**0.5)


# --- the theorem ---------------------------------------------------------------------------------------------


def improvement(world: PlantedWorld, policy: Floats, prover_values: Floats, alpha: float) -> float:
    """The gain of a very small natural-gradient step, per unit of step size."""
    action_values, state_values = world.values(policy)
    step = 1e-5
    reward = action_values + alpha * prover_values  # V^μ(s) cancels in the softmax
    return (world.success(natural_gradient_step(policy, reward, step)) - float(state_values[0, 0])) / step


@settings(max_examples=30, deadline=None)
@given(SEEDS, SEEDS, st.floats(0, 5))
def test_a_small_step_gains_what_the_first_order_says(policy: int, prover: int, alpha: float) -> None:
    pi = random_policy(policy)
    values, prover_values = SMALL.values(pi)[0], SMALL.values(random_policy(prover))[0]
    predicted = first_order_gain(pi, values, prover_values, SMALL.visits(pi), alpha)
    assert improvement(SMALL, pi, prover_values, alpha) == pytest.approx(predicted, rel=1e-3, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0, 5))
def test_the_policy_as_its_own_prover_only_rescales_the_outcome_gradient(seed: int, alpha: float) -> None:
    pi = random_policy(seed)
    values, state_values = SMALL.values(pi)
    progress = values - state_values[:-1, :, None]
    weights = SMALL.visits(pi)[:, :, None] * pi

    def gradient(rewards: Floats) -> Floats:  # of the logits of a tabular softmax policy
        return weights * (rewards - (pi * rewards).sum(axis=2, keepdims=True))

    assert gradient(values + alpha * progress) == pytest.approx((1 + alpha) * gradient(values))
    assert alignment(pi, values, values) == pytest.approx(distinguishability(pi, values))


@settings(max_examples=30, deadline=None)
@given(SEEDS, SEEDS)
def test_the_bound_holds_where_the_prover_tells_actions_apart_no_more_than_the_policy(
    policy: int, prover: int
) -> None:
    pi = random_policy(policy)
    values = SMALL.values(pi)[0]
    prover_values = SMALL.values(random_policy(prover))[0]
    own = (SMALL.visits(pi) * distinguishability(pi, values)).sum()
    others = (SMALL.visits(pi) * distinguishability(pi, prover_values)).sum()
    scaled = prover_values * min(1.0, 0.999 * (own / others) ** 0.5)
    bound = theorem_bound(pi, values, scaled, SMALL.visits(pi))
    assert improvement(SMALL, pi, scaled, 1.0) >= bound * (1 - 1e-3) - 1e-6


@pytest.mark.parametrize(
    ("strength", "holds"), [(5, True), (10, True), (15, True), (50, False), (1000, False)]
)
def test_with_constant_one_the_bound_holds_for_weak_provers_only(strength: float, holds: bool) -> None:
    """ρ: the states on the way from the start, so that the left side is averaged over them as well."""
    pi = np.broadcast_to(WORLD.prover(5.0), (10, 7, 15))
    prover_values = WORLD.values(WORLD.prover(strength))[0]
    values, state_values = WORLD.values(pi)
    states = WORLD.visits(pi) / 10
    after = WORLD.values(natural_gradient_step(pi, values + prover_values, 1e-4))[1]
    improved = float((states * (after - state_values)[:-1]).sum()) / 1e-4
    assert (improved >= theorem_bound(pi, values, prover_values, states)) == holds


@given(SEEDS, st.floats(0, 1))
def test_a_prover_that_succeeds_from_everywhere_alike_has_no_influence(seed: int, value: float) -> None:
    pi = random_policy(seed)
    values, flat = SMALL.values(pi)[0], np.full(pi.shape, value)
    assert np.abs(distinguishability(pi, flat)).max() < 1e-12
    assert np.abs(alignment(pi, flat, values)).max() < 1e-12
    assert natural_gradient_step(pi, values + flat, 0.5) == pytest.approx(
        natural_gradient_step(pi, values, 0.5)
    )
    bound = (distinguishability(pi, values) * distinguishability(pi, values**2)) ** 0.5
    assert (np.abs(covariance(pi, values, values**2)) <= bound + 1e-12).all()


# --- estimates from logs -------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_failure_moments_have_the_right_mean(rollouts: int, power: int, value: float) -> None:
    successes = np.arange(rollouts + 1)
    found = failure_moment(PrefixValues(successes / rollouts, np.full(rollouts + 1, rollouts)), power)
    if power > rollouts:
        assert np.isnan(found).any()
        return
    chances = [comb(rollouts, c) * value**c * (1 - value) ** (rollouts - c) for c in successes.tolist()]
    assert float(np.dot(chances, found)) == pytest.approx((1 - value) ** power, abs=1e-9)


def test_failure_moments_of_exact_and_missing_values() -> None:
    found = failure_moment(PrefixValues([1.0, 0.25, np.nan, np.nan], [0, 0, 0, 5]), 3)
    assert found.tolist() == pytest.approx([0.0, 0.75**3, np.nan, np.nan], nan_ok=True)


def sampled_logs(problems: int, solutions: int, rollouts: int, seed: int) -> list[LoggedTrace]:
    """Solutions of the small world by a weak prover, every distinct prefix labelled once; the other policy is stronger."""
    policy, other = SMALL.prover(3.0), SMALL.prover(8.0)
    random = np.random.default_rng(seed)
    traces = []
    for problem in range(problems):
        tokens = SMALL.sample(policy, solutions, random)
        known: dict[tuple[int, ...], tuple[float, float, int]] = {}
        for row, own, others in zip(
            tokens, SMALL.prefix_values(tokens, policy), SMALL.prefix_values(tokens, other), strict=True
        ):
            steps = tuple(row.tolist())
            for length in range(6):
                whole = length == 5 or rollouts == 0
                label = (
                    (own[length], others[length], 0)
                    if whole
                    else (
                        random.binomial(rollouts, own[length]) / rollouts,
                        random.binomial(rollouts, others[length]) / rollouts,
                        rollouts,
                    )
                )
                known.setdefault(steps[:length], label)
            labels = [known[steps[:length]] for length in range(6)]
            counts = [count for _, _, count in labels]
            traces.append(
                LoggedTrace(
                    str(problem),
                    steps,
                    PrefixValues([own for own, _, _ in labels], counts),
                    {"stronger": PrefixValues([value for _, value, _ in labels], counts)},
                )
            )
    return traces


def truth(name: str) -> tuple[float, float]:
    """Exact distinguishability (of steps: with the spread between states) and alignment over visited steps."""
    pi = np.broadcast_to(SMALL.prover(3.0), (5, 4, 4))
    own, own_states = SMALL.values(pi)
    if name == "stronger":
        q, v = SMALL.values(SMALL.prover(8.0))
    else:
        k = 1 if name == "base" else int(name.removeprefix("bo"))
        q, v = best_of_k(own, k), best_of_k(own_states, k)
    weights = SMALL.visits(pi)[:, :, None] * pi / 5
    progress, own_progress = q - v[:-1, :, None], own - own_states[:-1, :, None]
    spread = (weights * progress**2).sum() - (weights * progress).sum() ** 2
    return float(spread), float((weights * progress * own_progress).sum())


@pytest.mark.parametrize("rollouts", [0, 8])
def test_estimates_from_steps_find_the_exact_numbers_through_the_noise(rollouts: int) -> None:
    comparison = compare_provers(sampled_logs(1500, 4, rollouts, 0), (2, 4), resamples=300)
    assert [row.name for row in comparison.rows] == ["base", "bo2", "bo4", "stronger"]
    for row in comparison.rows:
        assert row.unbiased
        for metric, exact in zip((row.distinguishability, row.alignment), truth(row.name), strict=True):
            assert metric.value is not None
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low <= metric.value <= metric.high
            assert metric.value == pytest.approx(exact, abs=1.6 * (metric.high - metric.low) / 2)
    assert comparison.problems == 1500
    assert comparison.cases == 1500 * 4 * 5
    assert comparison.left_out == 0


def test_siblings_find_the_spread_among_the_actions_of_a_state() -> None:
    """Only the first steps are labelled, so that all evidence is about one state, whose truth is known."""
    traces = [
        LoggedTrace(
            trace.problem,
            trace.steps[:1],
            PrefixValues(trace.base.values[:2], trace.base.rollouts[:2]),
            {
                "stronger": PrefixValues(
                    trace.provers["stronger"].values[:2], trace.provers["stronger"].rollouts[:2]
                )
            },
        )
        for trace in sampled_logs(4000, 4, 8, 1)
    ]
    comparison = compare_provers(traces, (4,), evidence="siblings", resamples=300)
    pi, own = SMALL.prover(3.0)[0], SMALL.values(SMALL.prover(3.0))[0][0, 0]
    exact = {"base": own, "bo4": best_of_k(own, 4), "stronger": SMALL.values(SMALL.prover(8.0))[0][0, 0]}
    for row in comparison.rows:
        d, al = distinguishability(pi, exact[row.name]), alignment(pi, exact[row.name], own)
        for metric, value in ((row.distinguishability, d), (row.alignment, al), (row.theorem, d + al)):
            assert metric.value is not None
            assert metric.low is not None
            assert metric.high is not None
            assert metric.value == pytest.approx(float(value), abs=1.6 * (metric.high - metric.low) / 2)


def test_noise_alone_is_not_distinguishability() -> None:
    """Every action has value one half, but the labels scatter."""
    random = np.random.default_rng(0)
    traces = [
        LoggedTrace(
            str(problem),
            (action, "end"),
            PrefixValues([random.binomial(8, 0.5) / 8, random.binomial(8, 0.5) / 8, np.nan], [8, 8, 0]),
        )
        for problem in range(2000)
        for action in "abc"
    ]
    for evidence, left_out in (("siblings", 6000), ("steps", 6000)):
        comparison = compare_provers(traces, (2, 16), evidence=evidence, resamples=300)  # type: ignore[arg-type]
        base, _, plugged_in = comparison.rows
        # The labels' own variance is 0.031
        assert base.distinguishability.value == pytest.approx(0, abs=0.004)
        assert base.alignment.value == pytest.approx(0, abs=0.004)
        assert base.unbiased
        assert not plugged_in.unbiased
        assert comparison.left_out == left_out


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_equal_actions_do_not_differ_and_the_same_seed_repeats() -> None:
    same = [LoggedTrace("1", ("a",), PrefixValues([0.5, count / 4], [4, 4])) for count in (1, 3)]
    [row] = compare_provers(same, (), evidence="siblings").rows
    assert row.distinguishability.value == 0
    traces = sampled_logs(30, 3, 8, 2)
    assert compare_provers(traces, seed=5, resamples=50) == compare_provers(traces, seed=5, resamples=50)


def test_what_cannot_be_compared_is_refused() -> None:
    for values, rollouts in (
        ([0.5, 1.2], None),
        ([0.5], [1, 2]),
        ([0.3], [2]),
        ([[0.5]], None),
        ([0.5], [-1]),
    ):
        with pytest.raises(DataError):
            PrefixValues(values, rollouts)
    with pytest.raises(DataError, match="2 values for the 3 prefixes"):
        LoggedTrace("1", ("a", "b"), PrefixValues([0.5, 1.0]))
    one = LoggedTrace("1", ("a",), PrefixValues([np.nan, 1.0]))
    for traces in ([], [one]):
        for evidence in ("siblings", "steps"):
            with pytest.raises(SparringError, match=f"no {evidence}"):
                compare_provers(traces, evidence=evidence)  # type: ignore[arg-type]
    other = LoggedTrace("1", ("a",), PrefixValues([0.5, 1.0]), {"x": PrefixValues([0.5, 1.0])})
    with pytest.raises(SparringError, match="different provers"):
        compare_provers([one, other])
    with pytest.raises(SparringError, match="K ≥ 2"):
        compare_provers([other], (1,))


def test_runs_of_labels_become_logs() -> None:
    trace = Trace(Problem("1", "1 + 1 = ?"), ("1 + 1 = 2", "so 2"))
    run = [LabelledValues(trace, np.array([0.5, 0.75, 1.0]), np.array([4, 4, 0]))]
    [logged] = logged_traces(run, {"bigger": run})
    assert logged.steps == trace.steps
    assert logged.provers["bigger"].values.tolist() == [0.5, 0.75, 1.0]
    with pytest.raises(DataError, match="not those"):
        logged_traces(run, {"bigger": []})


def test_table_and_metrics_name_every_prover(tmp_path: str) -> None:
    comparison = compare_provers(sampled_logs(20, 3, 8, 3), (2, 8), resamples=50)
    console = Console(width=200, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(comparison_table(comparison))
    text = console.export_text()
    for row in comparison.rows:
        assert row.name in text
    assert "bo8 *" in text
    assert "too few rollouts" in text
    metrics = comparison_metrics(comparison)
    assert len(metrics) == 4 * 4
    write_metrics(tmp_path, metrics, settings={}, seed=0)
