"""Statistics against their definitions, written out slowly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slow_bootstrap import bootstrap_statistic
from sparring import statistics
from sparring.statistics import (
    Resampler,
    WeightedAuc,
    auc,
    auc_interval,
    bootstrap_mean,
    bootstrap_weighted,
    expected_calibration_error,
    paired_difference,
    proportion,
    reliability_bins,
)

COARSE = st.integers(0, 8).map(lambda eighths: eighths / 8)  # coarse, so that ties are common
NUMBERS = st.floats(-100, 100)
SCORED = st.lists(st.tuples(COARSE, st.booleans()), min_size=1, max_size=25)


def slow_auc(scores: list[float], labels: list[bool], weights: list[float]) -> float:
    wins = pairs = 0.0
    for i, j in itertools.product(range(len(scores)), repeat=2):
        if labels[i] and not labels[j]:
            pairs += weights[i] * weights[j]
            wins += (
                weights[i] * weights[j] * (1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j]))
            )
    return wins / pairs if pairs else math.nan


# resampling


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20), st.integers(0, 2**32))
def test_resamples_draw_whole_clusters(clusters: list[str], seed: int) -> None:
    weights = Resampler(len(clusters), clusters=clusters, seed=seed).weights(7)
    distinct = sorted(set(clusters))
    firsts = [clusters.index(cluster) for cluster in distinct]
    assert weights.shape == (7, len(clusters))
    assert (weights[:, firsts].sum(axis=1) == len(distinct)).all()
    for position, cluster in enumerate(clusters):
        assert (weights[:, position] == weights[:, clusters.index(cluster)]).all()


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(0, 1000))
@settings(max_examples=30)
def test_general_and_vectorised_bootstrap_agree(values: list[float], seed: int) -> None:
    array = np.array(values)
    fast = bootstrap_mean(values, resamples=50, seed=seed)
    slow = bootstrap_statistic(lambda cases: float(array[cases].mean()), len(array), resamples=50, seed=seed)
    assert fast.n == slow.n == len(values)
    assert fast.value == pytest.approx(np.mean(values), abs=1e-9)
    for one, other in ((fast.low, slow.low), (fast.high, slow.high)):
        assert (one is None) == (other is None)
        assert one is None or one == pytest.approx(other, abs=1e-9)


def test_blocks_do_not_change_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=40)
    whole = bootstrap_mean(values, resamples=200, seed=5)
    monkeypatch.setattr(statistics, "_BLOCK", 40 * 64)
    assert bootstrap_mean(values, resamples=200, seed=5).low == pytest.approx(whole.low, abs=0.05)
    assert sum(statistics.blocks(201, 40)) == 201
    assert list(statistics.blocks(3, 10**9)) == [1, 1, 1]


def test_mean_interval_is_close_to_the_normal_one_and_seeded() -> None:
    values = np.random.default_rng(1).normal(size=400)
    metric = bootstrap_mean(values, resamples=4000, seed=0)
    error = 1.96 * values.std() / math.sqrt(400)
    assert metric.low == pytest.approx(values.mean() - error, abs=0.01)
    assert metric.high == pytest.approx(values.mean() + error, abs=0.01)
    assert metric == bootstrap_mean(values, resamples=4000, seed=0)
    assert metric != bootstrap_mean(values, resamples=4000, seed=1)


def test_clusters_widen_the_interval_of_repeated_cases() -> None:
    values = np.random.default_rng(2).normal(size=30)
    repeated = np.repeat(values, 10)
    clusters = np.repeat(np.arange(30), 10).tolist()
    honest = bootstrap_mean(repeated, clusters=clusters, seed=3)
    single = bootstrap_mean(values, seed=3)
    assert (honest.low, honest.high) == (pytest.approx(single.low), pytest.approx(single.high))
    naive = bootstrap_mean(repeated, seed=3)
    assert naive.low is not None and naive.high is not None and single.low is not None
    assert naive.low > single.low + 0.1


def test_unequal_clusters_keep_the_mean_over_cases() -> None:
    assert bootstrap_mean([1, 1, 1, 0], clusters=["a", "a", "a", "b"]).value == 0.75


def test_no_interval_without_two_independent_cases() -> None:
    assert bootstrap_mean([]) == statistics.Metric(None, n=0)
    assert bootstrap_mean([2.0]) == statistics.Metric(2.0, n=1)
    assert bootstrap_mean([2.0, 3.0], clusters=["a", "a"]) == statistics.Metric(2.5, n=2)


def test_no_interval_where_many_resamples_do_not_define_the_statistic() -> None:
    half = bootstrap_weighted(lambda weights: np.where(weights[:, 0] > 0, 1.0, math.nan), 10)
    assert half == statistics.Metric(1.0, n=10)
    never = bootstrap_weighted(lambda weights: np.full(len(weights), math.nan), 10)
    assert never == statistics.Metric(None, n=10)


@pytest.mark.parametrize("bad", [[math.nan], [1.0, math.inf], [[1.0]]])
def test_values_that_are_not_numbers_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"finite|one-dimensional"):
        bootstrap_mean(bad)
    with pytest.raises(ValueError, match=r"finite|one-dimensional"):
        auc(bad, [True])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 cluster for 2 cases"):
        bootstrap_mean([1, 2], clusters=["a"])
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="1 label for 2 scores"):
        auc([1, 2], [True])
    with pytest.raises(ValueError, match="1 label for 2 scores"):
        reliability_bins([0.1, 0.2], [1])


# which interval, and what it covers


@pytest.mark.parametrize(
    ("freedom", "level", "expected"),
    [
        (1, 0.95, 12.7062),
        (2, 0.95, 4.3027),
        (4, 0.95, 2.7764),
        (19, 0.95, 2.0930),
        (9, 0.99, 3.2498),
        (500, 0.9, 1.6479),
    ],
)
def test_student_quantiles_are_those_of_the_tables(freedom: int, level: float, expected: float) -> None:
    assert statistics.student_quantile(freedom, level) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="no Student's quantile"):
        statistics.student_quantile(0)


@given(st.lists(NUMBERS, min_size=2, max_size=19))
def test_few_values_have_students_interval(values: list[float]) -> None:
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    for metric in (bootstrap_mean(values), statistics.mean_over_runs(values)):
        assert metric.value == pytest.approx(np.mean(values), abs=1e-9)
        if metric.low is None or metric.high is None:
            assert spread == pytest.approx(0, abs=1e-9), "only runs that do not differ have none"
            continue
        half = statistics.student_quantile(len(values) - 1) * spread
        assert (metric.high - metric.low) / 2 == pytest.approx(half, abs=1e-6) and metric.interval == "t"


def test_every_metric_says_which_interval_it_has() -> None:
    random = np.random.default_rng(7)
    runs, cases = random.normal(size=5), random.normal(size=50)
    rare = [1.0] * 3 + [0.0] * 60
    clusters = [number // 3 for number in range(63)]
    assert bootstrap_mean(runs).interval == statistics.mean_over_runs(runs).interval == "t"
    assert bootstrap_mean(cases).interval == "bootstrap"
    assert bootstrap_mean(rare, clusters=clusters, unit="fraction").interval == "Wilson"
    assert paired_difference(runs, np.zeros(5), runs=True).difference.interval == "t"
    few = [True] * 5 + [False] * 45
    assert auc_interval(cases, few).interval == "t", "an AUC rests on the rarer class"
    for nothing in ([], [1.0], [2.0] * 5):
        metric = statistics.mean_over_runs(nothing)
        assert (metric.low, metric.high, metric.interval) == (None, None, "")


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 4))
def test_shares_stay_in_range_and_have_a_width_at_their_ends(hits: int, misses: int, each: int) -> None:
    values = [1.0] * hits + [0.0] * misses
    metric = bootstrap_mean(
        values, clusters=[n // each for n in range(len(values))], resamples=200, unit="fraction"
    )
    if metric.low is None or metric.high is None:
        assert len(values) <= each
        return
    assert 0 <= metric.low <= (metric.value or 0.0) <= metric.high <= 1 and metric.low < metric.high
    if each == 1:
        exact = proportion(hits, len(values))
        assert (metric.low, metric.high) == (exact.low, exact.high)


def test_a_difference_that_is_nowhere_has_an_interval_as_wide_as_what_could_be() -> None:
    same = paired_difference([1.0] * 50, [1.0] * 50, unit="fraction").difference
    assert (
        same.value == 0.0 and same.low == pytest.approx(-(same.high or 0)) and 0.05 < (same.high or 0) < 0.11
    )


COVERED: dict[str, tuple[float, Any]] = {
    "five seeds": (0.7, lambda r: statistics.mean_over_runs(r.normal(0.7, 0.03, 5), unit="fraction")),
    "three seeds": (0.0, lambda r: statistics.mean_over_runs(r.normal(size=3))),
    "five cases": (0.0, lambda r: bootstrap_mean(r.normal(size=5))),
    "nineteen cases": (0.0, lambda r: bootstrap_mean(r.normal(size=19))),
    "twenty-two cases": (0.0, lambda r: bootstrap_mean(r.normal(size=22), resamples=1000)),
    "six clusters of four": (
        0.0,
        lambda r: bootstrap_mean(
            (r.normal(size=6)[:, None] + r.normal(size=(6, 4))).ravel(),
            clusters=np.repeat(np.arange(6), 4).tolist(),
        ),
    ),
    "a rare share": (0.005, lambda r: bootstrap_mean((r.random(300) < 0.005).astype(float), unit="fraction")),
    "a rare share in clusters": (
        0.01,
        lambda r: bootstrap_mean(
            (r.random((100, 4)) < r.beta(0.04, 3.96, 100)[:, None]).astype(float).ravel(),
            clusters=np.repeat(np.arange(100), 4).tolist(),
            resamples=500,
            unit="fraction",
        ),
    ),
    "a rare difference": (
        0.02,
        lambda r: (
            paired_difference(r.random(150) < 0.02, np.zeros(150), resamples=500, unit="fraction").difference
        ),
    ),
    "an AUC with six positives": (
        0.7602,
        lambda r: auc_interval(np.r_[r.normal(1, 1, 6), r.normal(size=60)], [True] * 6 + [False] * 60),
    ),
}


@pytest.mark.parametrize("name", COVERED)
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    """1,000 samples with a fixed seed; the AUC of six positives is the worst. A bootstrap of five seeds covers 84 %."""
    truth, draw = COVERED[name]
    random = np.random.default_rng(11)
    found = [draw(random) for _ in range(1000)]
    given_ = [one for one in found if one.low is not None]
    assert len(given_) > 0.95 * len(found)
    assert 0.91 <= np.mean([one.low <= truth <= one.high for one in given_]) <= 1.0


# paired comparison


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from("abcdef")), min_size=1, max_size=12
    )
)
@settings(max_examples=50)
def test_p_value_is_the_share_of_sign_flips(cases: list[tuple[int, int, str]]) -> None:
    a, b, clusters = zip(*cases, strict=True)
    sums = dict.fromkeys(clusters, 0)
    for one, other, name in cases:
        sums[name] += one - other
    totals = [
        abs(sum(sign * value for sign, value in zip(signs, sums.values(), strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    expected = sum(total >= abs(sum(sums.values())) for total in totals) / len(totals)
    result = paired_difference(a, b, clusters=clusters, resamples=10)
    assert result.p_value == pytest.approx(expected)
    assert result.difference.value == pytest.approx(np.mean(a) - np.mean(b))


def test_random_flips_agree_with_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], dtype=float)
    b = np.array([2, 2, 3, 1, 3, 7, 3, 5, 5, 4], dtype=float)
    exact = paired_difference(a, b).p_value
    monkeypatch.setattr(statistics, "_EXACT_FLIPS", 0)
    assert paired_difference(a, b, resamples=40_000).p_value == pytest.approx(exact, abs=0.01)


def test_paired_difference_sees_what_pairing_shows() -> None:
    random = np.random.default_rng(4)
    hardness = random.normal(scale=10, size=100)
    better = paired_difference(hardness + 0.5 + random.normal(size=100), hardness)
    assert better.p_value is not None and 0 < better.p_value < 0.001
    assert better.difference.low is not None and better.difference.low > 0
    assert paired_difference(hardness, hardness).p_value == 1.0
    assert paired_difference([], []).p_value is None


def test_p_value_is_uniform_without_a_difference() -> None:
    random = np.random.default_rng(5)
    values = [
        paired_difference(random.normal(size=20), random.normal(size=20), resamples=10, seed=seed).p_value
        for seed in range(200)
    ]
    assert np.mean([value <= 0.1 for value in values]) == pytest.approx(0.1, abs=0.06)


# proportions


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_their_equation(counts: tuple[int, int]) -> None:
    successes, n = counts
    metric = proportion(successes, n)
    assert metric.value == successes / n
    assert metric.low is not None and metric.high is not None
    assert 0 <= metric.low <= metric.value <= metric.high <= 1
    z = statistics.NormalDist().inv_cdf(0.975)
    for end in (metric.low, metric.high):
        assert (metric.value - end) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-9)


def test_wilson_known_values_and_limits() -> None:
    metric = proportion(8, 10)
    assert (metric.low, metric.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert proportion(0, 0) == statistics.Metric(None, n=0, unit="fraction")
    for successes, n in ((-1, 2), (3, 2)):
        with pytest.raises(ValueError, match="successes of"):
            proportion(successes, n)


# area under the curve


@given(SCORED, st.data())
def test_auc_is_the_chance_that_a_positive_scores_higher(scored: list[tuple[float, bool]], data: Any) -> None:
    scores, labels = map(list, zip(*scored, strict=True))
    plain = slow_auc(scores, labels, [1.0] * len(scores))
    assert auc(scores, labels) == (None if math.isnan(plain) else pytest.approx(plain))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
    fast = WeightedAuc(scores, labels)(np.array([weights], dtype=float))[0]
    assert fast == pytest.approx(slow_auc(scores, labels, weights), nan_ok=True)


@given(SCORED)
def test_auc_turns_round_with_scores_or_labels(scored: list[tuple[float, bool]]) -> None:
    scores, labels = map(list, zip(*scored, strict=True))
    area = auc(scores, labels)
    if area is None:
        assert len(set(labels)) < 2
        return
    assert auc([-score for score in scores], labels) == pytest.approx(1 - area)
    assert auc(scores, [not label for label in labels]) == pytest.approx(1 - area)


def test_auc_of_nothing_is_undefined() -> None:
    assert auc([], []) is None
    assert auc_interval([], []) == statistics.Metric(None, n=0, unit="fraction")
    assert auc_interval([0.1, 0.2], [True, True]) == statistics.Metric(None, n=2, unit="fraction")


def test_auc_interval_agrees_with_the_general_bootstrap() -> None:
    random = np.random.default_rng(6)
    labels = random.integers(0, 2, size=60).astype(bool)
    scores = random.normal(size=60) + labels
    clusters = (np.arange(60) // 3).tolist()
    fast = auc_interval(scores, labels, clusters=clusters, resamples=100, seed=1)

    def area(cases: Any) -> float:
        return auc(scores[cases], labels[cases]) or math.nan

    slow = bootstrap_statistic(
        area,
        60,
        clusters=clusters,
        independent=statistics.rarer(np.array(clusters), labels),
        resamples=100,
        seed=1,
        unit="fraction",
    )
    assert (fast.low, fast.high) == (pytest.approx(slow.low), pytest.approx(slow.high))


def test_steps_follow_the_weight_of_their_case() -> None:
    area = WeightedAuc([0.1, 0.9, 0.8, 0.2], [False, True, False, True], np.array([0, 0, 1, 1]))
    assert area(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])) == pytest.approx([1.0, 0.0, 0.75])


# calibration


@given(st.lists(st.tuples(st.floats(0, 1), COARSE), min_size=1, max_size=30), st.integers(1, 12))
def test_calibration_error_by_definition(cases: list[tuple[float, float]], bins: int) -> None:
    edges = np.linspace(0, 1, bins + 1)
    inside: dict[int, list[tuple[float, float]]] = {}
    for score, label in cases:
        place = max(index for index in range(bins) if edges[index] <= score)
        inside.setdefault(place, []).append((score, label))
    expected = sum(
        abs(sum(s for s, _ in group) - sum(y for _, y in group)) for group in inside.values()
    ) / len(cases)
    scores, labels = map(list, zip(*cases, strict=True))
    assert expected_calibration_error(scores, labels, bins=bins) == pytest.approx(expected)
    table = reliability_bins(scores, labels, bins=bins)
    assert [row.count for row in table] == [len(inside.get(index, [])) for index in range(bins)]


def test_calibration_of_known_cases() -> None:
    assert expected_calibration_error([0.0, 1.0, 1.0], [0, 1, 1]) == 0
    assert expected_calibration_error([1.0, 1.0], [0, 0]) == 1
    assert expected_calibration_error([], []) is None
    for scores, labels in (([1.5], [1]), ([0.5], [-1])):
        with pytest.raises(ValueError, match="outside"):
            reliability_bins(scores, labels)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 5)), max_size=30),
    st.floats(-10, 10),
)
def test_auc_within_is_the_mean_over_groups_and_blind_to_what_differs_between_them(rows, shift):
    scores, labels = [float(s) for *_, s in rows], [right for _, right, _ in rows]
    groups = [group for group, *_ in rows]
    areas = [
        area
        for group in dict.fromkeys(groups)
        if (area := statistics.auc(*zip(*[(s, t) for g, t, s in rows if g == group], strict=True)))
        is not None
    ]
    found = statistics.auc_within(scores, labels, groups, resamples=20)
    assert found.n == len(areas)
    assert found.value == (pytest.approx(np.mean(areas)) if areas else None)
    moved = [score + round(shift) * group for score, group in zip(scores, groups, strict=True)]
    assert statistics.auc_within(moved, labels, groups, resamples=20).value == found.value


def test_auc_within_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="1 label for 2 scores"):
        statistics.auc_within([0.1, 0.2], [True], ["a", "a"])
    with pytest.raises(ValueError, match="1 cluster for 2 cases"):
        statistics.auc_within([0.1, 0.2], [True, False], ["a"])
