"""Paired comparison of two score files."""

from __future__ import annotations

import json
import random

import pytest

from real_data import sample
from sparring.errors import DataError, SettingsError
from sparring.evaluation.compare import CompareSettings, compare, compare_scores
from sparring.evaluation.processbench import Case, evaluate
from sparring.evaluation.scored import Threshold
from sparring.traces.records import labels_from_first_error

RULE = Threshold(0.5, "fixed 0.5")


def cases(noise, seed, count=120):
    """Solutions of four steps; a score says the truth but for noise."""
    made, rng = [], random.Random(seed)
    truth = random.Random(0)
    for number in range(count):
        first = truth.choice([-1, 0, 1, 2, 3])
        labels = labels_from_first_error(first, 4)
        scores = tuple(
            min(1.0, max(0.0, (0.2 if i == first else 0.8) + rng.gauss(0, noise))) for i in range(4)
        )
        made.append(Case("a" if number % 2 else "b", str(number), first, labels, scores))
    return sorted(made, key=lambda case: case.subset)


def test_a_side_alone_has_the_numbers_of_processbench_and_the_difference_is_theirs():
    first, second = cases(0.1, 1), cases(0.4, 2)
    found = compare(first, second, [RULE, RULE], 200, 0)
    for side, chosen in (("a", first), ("b", second)):
        alone = evaluate(chosen, RULE, resamples=200, seed=0)
        for name in ("a", "b", "mean", "pooled"):
            assert found[f"{name}.f1.{side}"] == alone[f"{name}.f1"]
    for name in ("a", "mean", "pooled"):
        gap = found[f"{name}.f1.a"].value - found[f"{name}.f1.b"].value
        assert found[f"{name}.f1.difference"].value == pytest.approx(gap)
    assert found["pooled.f1.difference"].low > 0 and found["pooled.right.p_value"].value < 0.01


def test_the_same_scores_do_not_differ_and_swapping_turns_the_sign():
    first, second = cases(0.1, 1), cases(0.3, 2)
    same = compare(first, first, [RULE, RULE], 100, 0)
    assert (same["pooled.f1.difference"].value, same["pooled.f1.difference"].low) == (0.0, None)
    assert same["pooled.right.p_value"].value == 1.0
    forth, back = (compare(*pair, [RULE, RULE], 100, 0) for pair in ((first, second), (second, first)))
    assert forth["mean.step_auc.difference"].value == pytest.approx(-back["mean.step_auc.difference"].value)
    assert forth["mean.step_auc.difference"].low == pytest.approx(-back["mean.step_auc.difference"].high)


def test_pairing_narrows_the_interval():
    """B is A but for a few cases: the difference is known far better than either number."""
    first = cases(0.3, 1)
    second = [
        c if int(c.id) % 10 else Case(c.subset, c.id, c.first_error, c.labels, (0.9, 0.9, 0.9, 0.9))
        for c in first
    ]
    found = compare(first, second, [RULE, RULE], 300, 0)

    def width(name):
        return found[f"pooled.f1.{name}"].high - found[f"pooled.f1.{name}"].low

    assert width("difference") < 0.7 * width("a")


def files(tmp_path, drop=()):
    data, scores = tmp_path / "data.jsonl", []
    with data.open("w") as file:
        for case in cases(0.1, 1, 20):
            record = {"id": case.id, "problem": f"q{case.id}", "steps": ["s"] * 4, "labels": case.labels}
            file.write(json.dumps(record) + "\n")
    for name, noise in (("a", 0.1), ("b", 0.4)):
        path = tmp_path / f"{name}.jsonl"
        rows = [{"id": c.id, "scores": c.scores} for c in cases(noise, 5, 20) if (name, c.id) not in drop]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        scores.append(path)
    return data, scores


def test_the_command_writes_cases_and_the_worst_disagreements(tmp_path):
    data, (a, b) = files(tmp_path)
    metrics = compare_scores([a], [b], CompareSettings(data=[data], resamples=50), tmp_path / "out")
    assert metrics["compare.cases"].value == 20 and "compare.data.f1.difference" in metrics
    records = [json.loads(line) for line in (tmp_path / "out" / "cases.jsonl").open()]
    worst = [json.loads(line) for line in (tmp_path / "out" / "worst.jsonl").open()]
    assert len(records) == 20 and worst and all(r["right_a"] != r["right_b"] and r["steps"] for r in worst)
    assert [r["gap"] for r in worst] == sorted((r["gap"] for r in worst), reverse=True)
    chosen = CompareSettings(data=[data], resamples=50, threshold_split="data")
    compare_scores([a], [b], chosen, tmp_path / "split")
    rules = json.loads((tmp_path / "split" / "metrics.json").read_text())["settings"]["thresholds"]
    assert all("best F1 on data" in rule["rule"] for rule in rules)


def test_missing_scores_are_refused_or_counted(tmp_path, capsys):
    data, (a, b) = files(tmp_path, drop={("b", "3"), ("a", "4")})
    with pytest.raises(DataError, match="allow-missing"):
        compare_scores([a], [b], CompareSettings(data=[data]), tmp_path / "out")
    metrics = compare_scores(
        [a], [b], CompareSettings(data=[data], allow_missing=True, resamples=50), tmp_path / "out"
    )
    assert metrics["compare.cases"].value == 18 and metrics["compare.missing"].value == 2
    assert "2 cases without scores of both: left out of every number above\n" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="no subset 'x'"):
        compare_scores(
            [a], [b], CompareSettings(data=[data], allow_missing=True, threshold_split="x"), tmp_path / "out"
        )


def test_two_public_prms(tmp_path):
    place = sample("processbench")
    scores = [place / f"{name}_public_prm_scores.jsonl" for name in ("gsm8k", "math")]
    settings = CompareSettings(
        data=[place / "gsm8k.json", place / "math.json"],
        scores_model_a="Qwen2.5-Math-PRM-7B",
        scores_model_b="Skywork-o1-Open-PRM-Qwen-2.5-7B",
        resamples=200,
    )
    metrics = compare_scores(scores, scores, settings, tmp_path / "out")
    assert metrics["compare.math.f1.difference"].value == pytest.approx(0.762 - 0.514, abs=0.002)
    assert metrics["compare.mean.f1.difference"].low > 0
