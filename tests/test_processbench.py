"""ProcessBench by hand, by brute force, and against published scores."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slow_bootstrap import bootstrap_statistic
from sparring import statistics
from sparring.errors import DataError, SettingsError
from sparring.evaluation import processbench
from sparring.evaluation.processbench import (
    MEASURES,
    Case,
    best_threshold,
    evaluate,
    first_error_below,
    make_case,
)
from sparring.evaluation.scored import Threshold, chosen_threshold, scores_from_files
from sparring.statistics import auc, auc_interval, proportion
from sparring.traces.records import Problem, Trace, labels_from_first_error

HALF = Threshold(0.5, "fixed 0.5")


def case(first_error: int, *scores: float, subset: str = "s", name: str = "x") -> Case:
    return Case(subset, name, first_error, labels_from_first_error(first_error, len(scores)), scores)


HAND = [
    case(1, 0.9, 0.2, 0.9),  # found
    case(0, 0.9, 0.2),  # one step late: wrong
    case(2, 0.9, 0.9, 0.4, 0.1),  # found
    case(1, 0.9, 0.6),  # missed
    case(-1, 0.9, 0.8),  # kept
    case(-1, 0.9, 0.5),  # kept: 0.5 is not below 0.5
    case(-1, 0.3),  # rejected
]

CASES = st.lists(
    st.lists(st.integers(0, 6).map(lambda sixths: sixths / 6), min_size=1, max_size=4).flatmap(
        lambda scores: st.integers(-1, len(scores) - 1).map(lambda label: case(label, *scores))
    ),
    min_size=1,
    max_size=10,
)


def slow_f1(cases: Sequence[Case], threshold: float) -> float:
    right = [first_error_below(c.scores, threshold) == c.first_error for c in cases]
    shares = []
    for erroneous in (True, False):
        chosen = [r for c, r in zip(cases, right, strict=True) if (c.first_error != -1) == erroneous]
        if not chosen:
            return math.nan
        shares.append(sum(chosen) / len(chosen))
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


# the definition


@pytest.mark.parametrize(
    ("scores", "first"), [((0.9, 0.4, 0.1), 1), ((0.5, 0.5), -1), ((0.0,), 0), ((0.9, 0.9, 0.49), 2)]
)
def test_prediction_is_the_first_step_below_the_threshold(scores: tuple[float, ...], first: int) -> None:
    assert first_error_below(scores, 0.5) == first


def test_hand_computed_numbers() -> None:
    metrics = evaluate(HAND, HALF, resamples=50)
    assert metrics["s.accuracy_erroneous"].value == pytest.approx(2 / 4)
    assert metrics["s.accuracy_correct"].value == pytest.approx(2 / 3)
    assert metrics["s.f1"].value == pytest.approx(4 / 7)
    assert metrics["s.solution_auc"].value == pytest.approx((4 + 3 + 3) / 12)
    assert [metrics[f"s.{measure}"].n for measure in MEASURES] == [7, 4, 3, 2 + 1 + 3 + 2 + 2 + 2 + 1, 7]


def test_hand_computed_solution_auc_pair_by_pair() -> None:
    wrong = [min(c.scores) for c in HAND if c.first_error >= 0]
    right = [min(c.scores) for c in HAND if c.first_error < 0]
    wins = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    assert evaluate(HAND, HALF, resamples=10)["s.solution_auc"].value == pytest.approx(wins / 12)


def test_steps_after_the_first_error_do_not_count() -> None:
    cases = [case(1, 0.9, 0.1, 1.0), case(1, 0.8, 0.2, 0.0)]
    metrics = evaluate(cases, HALF, resamples=10)
    assert metrics["s.step_auc"].value == 1.0
    assert metrics["s.step_auc"].n == 4
    assert metrics["s.step_ece"].value == pytest.approx((0.1 + 0.2 + 0.1 + 0.2) / 4)


@given(CASES, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
@settings(max_examples=60)
def test_measures_by_definition(cases: list[Case], threshold: float) -> None:
    metrics = evaluate(cases, Threshold(threshold, "test"), resamples=3)
    expected = slow_f1(cases, threshold)
    found = metrics["s.f1"].value
    assert found is None if math.isnan(expected) else found == pytest.approx(expected)
    steps = [(s, y) for c in cases for s, y in zip(c.scores, c.labels, strict=True) if y is not None]
    area = auc([s for s, _ in steps], [y == 1.0 for _, y in steps])
    assert metrics["s.step_auc"].value == (None if area is None else pytest.approx(area))
    for average in ("mean", "weighted", "pooled"):
        for measure in MEASURES:
            one, other = metrics[f"{average}.{measure}"].value, metrics[f"s.{measure}"].value
            assert one == (None if other is None else pytest.approx(other))


def test_three_averages_differ_as_defined() -> None:
    small = [case(0, 0.1, subset="small"), case(-1, 0.9, subset="small")]
    large = (
        [case(0, 0.1, subset="large")] + [case(0, 0.9, subset="large")] * 2 + [case(-1, 0.9, subset="large")]
    )
    metrics = evaluate(small + large, HALF, resamples=10)
    assert metrics["small.f1"].value == 1.0
    assert metrics["large.f1"].value == pytest.approx(0.5)
    assert metrics["mean.f1"].value == pytest.approx(0.75)
    assert metrics["weighted.f1"].value == pytest.approx((2 * 1.0 + 4 * 0.5) / 6)
    assert metrics["pooled.f1"].value == pytest.approx(2 * 0.5 / 1.5)
    assert metrics["pooled.f1"].n == 6


def test_measure_without_its_kind_of_case_is_undefined_in_the_averages_too() -> None:
    metrics = evaluate([*HAND, case(0, 0.1, subset="only-wrong")], HALF, resamples=20)
    assert metrics["only-wrong.f1"].value is None
    assert metrics["only-wrong.accuracy_erroneous"].value == 1.0
    assert metrics["mean.f1"].value is None
    assert metrics["pooled.f1"].value == pytest.approx(2 * (3 / 5) * (2 / 3) / (3 / 5 + 2 / 3))


def test_names_of_averages_and_empty_input_are_refused() -> None:
    with pytest.raises(DataError, match="'pooled'"):
        evaluate([case(0, 0.1, subset="pooled")], HALF)
    with pytest.raises(DataError, match="no cases"):
        evaluate([], HALF)


# intervals


def test_accuracies_have_wilson_intervals_that_do_not_vanish_at_the_ends() -> None:
    metrics = evaluate([case(0, 0.1)] * 10 + [case(-1, 0.9)] * 5, HALF, resamples=20)
    assert metrics["s.accuracy_erroneous"] == proportion(10, 10)
    assert metrics["pooled.accuracy_correct"] == proportion(5, 5)


def many(count: int, seed: int, subset: str = "s") -> list[Case]:
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        label = int(random.integers(-1, 3))
        scores = np.clip(random.normal(0.7, 0.2, size=3), 0, 1)
        if label >= 0:
            scores[label] *= random.uniform(0.2, 1.1)
        cases.append(case(label, *map(float, np.clip(scores, 0, 1)), subset=subset))
    return cases


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_averages_over_one_subset_are_its_own_numbers(cases: list[Case]) -> None:
    metrics = evaluate(cases, HALF, resamples=20)
    for measure in MEASURES:
        own = metrics[f"s.{measure}"]
        for name in ("mean", "weighted", "pooled"):
            found = metrics[f"{name}.{measure}"]
            assert (found.n, found.unit, found.interval) == (own.n, own.unit, own.interval)
            for what in ("value", "low", "high"):
                assert getattr(found, what) == pytest.approx(getattr(own, what))


def test_interval_agrees_with_the_general_bootstrap() -> None:
    cases = many(80, seed=0)
    metric = evaluate(cases, HALF, resamples=300, seed=4)["s.f1"]
    seed = [4, processbench.zlib.crc32(b"s")]
    rarer = min(sum((case.first_error >= 0) == kind for case in cases) for kind in (True, False))
    slow = bootstrap_statistic(
        lambda drawn: slow_f1([cases[index] for index in drawn], 0.5),
        80,
        independent=rarer,
        resamples=300,
        seed=seed,
    )
    assert (metric.low, metric.high) == (pytest.approx(slow.low), pytest.approx(slow.high))


def test_steps_of_a_case_are_drawn_together() -> None:
    cases = many(60, seed=5)
    steps = processbench.labelled_steps(cases)
    metric = evaluate(cases, HALF, resamples=300, seed=4)["s.step_auc"]
    seed = [4, processbench.zlib.crc32(b"s")]
    clusters = steps.case.tolist()
    assert metric == auc_interval(steps.scores, steps.labels, clusters=clusters, resamples=300, seed=seed)


def test_interval_of_a_subset_does_not_depend_on_its_company(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = many(80, seed=1, subset="first"), many(90, seed=2, subset="second")
    alone = evaluate(second, HALF, resamples=200, seed=1)
    monkeypatch.setattr(statistics, "_BLOCK", 170 * 13)  # nor on how many resamples are done at a time
    together = evaluate(first + second, HALF, resamples=200, seed=1)
    for measure in MEASURES:
        assert together[f"second.{measure}"] == alone[f"second.{measure}"]
    assert evaluate(second, HALF, resamples=200, seed=2)["second.f1"] != alone["second.f1"]


def test_intervals_hold_their_value_and_narrow_with_cases() -> None:
    few, lots = (evaluate(many(count, seed=3), HALF, resamples=300) for count in (50, 800))
    for measure in MEASURES:
        widths = []
        for metrics in (few, lots):
            metric = metrics[f"s.{measure}"]
            assert metric.low is not None and metric.value is not None and metric.high is not None
            assert metric.low <= metric.value <= metric.high
            widths.append(metric.high - metric.low)
        assert widths[1] < widths[0] / 2


# thresholds


def test_threshold_names_its_rule() -> None:
    assert chosen_threshold(0.7, 0.3) == Threshold(0.7, "fixed 0.7")
    assert chosen_threshold(None, 0.3) == Threshold(0.3, "from sidecar")
    assert chosen_threshold(None, 0.3, "best F1 on dev") == Threshold(0.3, "from sidecar: best F1 on dev")
    assert chosen_threshold(None, None) == Threshold(0.5, "fixed 0.5")
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(SettingsError, match="0 to 1"):
            Threshold(value, "test")


@given(CASES)
def test_best_threshold_is_best(cases: list[Case]) -> None:
    kinds = {c.first_error >= 0 for c in cases}
    if len(kinds) < 2:
        with pytest.raises(DataError, match="'dev'"):
            best_threshold(cases, "dev")
        return
    chosen = best_threshold(cases, "dev")
    assert chosen.rule == "best F1 on dev (optimistic there)"
    # Scores are sixths: this is every gap and every score
    candidates = [twelfth / 12 for twelfth in range(13)]
    assert slow_f1(cases, chosen.value) == pytest.approx(max(slow_f1(cases, value) for value in candidates))


def test_best_threshold_lies_between_scores_and_near_one_half() -> None:
    cases = [case(0, 0.2), case(-1, 0.6)]
    assert best_threshold(cases, "dev").value == pytest.approx(0.4)
    neighbours = [case(0, 0.3), case(-1, math.nextafter(0.3, 1))]
    assert slow_f1(neighbours, best_threshold(neighbours, "dev").value) == 1.0


# joining scores and cases


def trace(name: str, *steps: str) -> Trace:
    return Trace(Problem(name, "question"), steps)


TRACES = {"a": trace("a", "x"), "b": trace("b", "x", "y")}


def score_file(folder: Path, **rows: list[Any]) -> list[Path]:
    path = folder / "scores.jsonl"
    path.write_text("".join(json.dumps({"id": name, "scores": row}) + "\n" for name, row in rows.items()))
    return [path]


def test_scores_are_matched_by_id(tmp_path: Path) -> None:
    files = score_file(tmp_path, b=[0.1, 0.2], a=[0.3], z=[0.4])
    rows, missing, unused = scores_from_files(TRACES, files)
    assert [rows.get(name) for name in "abz"] == [(0.3,), (0.1, 0.2), None]
    assert (missing, unused) == ([], 1)


def test_missing_scores_are_refused_or_counted(tmp_path: Path) -> None:
    files = score_file(tmp_path, a=[0.3])
    with pytest.raises(DataError, match=r"no scores for 1 of 2 traces \(b\)"):
        scores_from_files(TRACES, files)
    rows, missing, _ = scores_from_files(TRACES, files, allow_missing=True)
    assert (len(rows), missing) == (1, ["b"])
    with pytest.raises(DataError, match="none of the scores"):
        scores_from_files(TRACES, score_file(tmp_path, z=[0.3]), allow_missing=True)


@pytest.mark.parametrize(
    ("scores", "said"),
    [([0.5], "2 steps"), ([0.5, None], "null"), ([0.5, "x"], "str"), ([0.5, 7.1], "logits")],
)
def test_unusable_scores_are_named_by_id_file_and_line(scores: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"scores\.jsonl:2: .*'b'.*{said}"):
        scores_from_files(TRACES, score_file(tmp_path, a=[0.5], b=scores))


def test_unlabelled_cases_are_refused() -> None:
    with pytest.raises(DataError, match="'a' has no first-error label"):
        make_case("a", TRACES["a"], [0.5], "s")


def test_within_a_problem_hard_problems_do_not_count_against_easy_ones():
    cases = [
        Case("s", "a#1", -1, (1.0, 1.0), (0.9, 0.8), "a"),
        Case("s", "a#2", 1, (1.0, 0.0), (0.9, 0.7), "a"),
        Case("s", "b#1", -1, (1.0,), (0.3,), "b"),
        Case("s", "b#2", 0, (0.0, None), (0.2, 0.9), "b"),
        Case("s", "c", 0, (0.0,), (0.95,)),  # one class only: says nothing
    ]
    metrics = evaluate(cases, HALF, resamples=50)
    assert metrics["s.step_auc"].value < 0.7
    for name in ("s", "pooled"):
        assert metrics[f"{name}.step_auc_within"].value == 1.0
        assert metrics[f"{name}.step_auc_within"].n == 2
        assert metrics[f"{name}.solution_auc_within"].value == 1.0
    assert "mean.step_auc_within" not in metrics
