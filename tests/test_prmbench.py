"""PRMBench: the official numbers from an independent count, the classes, and records that cannot be used."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from real_data import sample
from sparring.errors import DataError, SettingsError
from sparring.evaluation.prmbench import (
    GROUPS,
    PrmbenchSettings,
    evaluate,
    evaluate_prmbench,
    make_case,
    read_prmbench,
)


def official(cases, threshold):
    """PRMScore by counting, with every prediction written out."""
    pairs = [(r, s >= threshold) for case in cases for r, s in zip(case.labels, case.scores, strict=True)]

    def f1(kind):
        hit = sum(1 for right, accepted in pairs if right == accepted == kind)
        precision = hit / max(1, sum(1 for _, accepted in pairs if accepted == kind))
        recall = hit / max(1, sum(1 for right, _ in pairs if right == kind))
        return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)

    return f1(True), f1(False), (f1(True) + f1(False)) / 2


steps = st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9])), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["circular", "deception"]), steps), min_size=1, max_size=8))
def test_scores_equal_an_independent_count(rows):
    cases = [
        case(name, str(i % 3), tuple(r for r, _ in row), tuple(s for _, s in row))
        for i, (name, row) in enumerate(rows)
    ]
    metrics = evaluate(cases, 0.5, resamples=20)
    for name in {case.subset for case in cases} | {"overall"}:
        chosen = [case for case in cases if name in (case.subset, "overall")]
        positive, negative, score = official(chosen, 0.5)
        kinds = {right for case in chosen for right in case.labels}
        assert metrics[f"{name}.prm_score"].value == (pytest.approx(score) if len(kinds) == 2 else None)
        assert metrics[f"{name}.f1"].value == (pytest.approx(positive) if True in kinds else None)
        assert metrics[f"{name}.negative_f1"].value == (pytest.approx(negative) if False in kinds else None)


def official_results(cases, threshold):
    """PRMScores as the benchmark's own script sums them up: its confusion counts, its rule for one class."""
    counts = {}
    for case in cases:
        for right, score in zip(case.labels, case.scores, strict=True):
            kind = ("TP" if score >= threshold else "FN") if right else ("FP" if score >= threshold else "TN")
            for name in (case.subset, "overall"):
                counts.setdefault(name, dict.fromkeys(("TP", "FP", "TN", "FN"), 0))[kind] += 1

    def f1(hit, over, under):
        precision = hit / (hit + over) if hit + over else -1
        recall = hit / (hit + under) if hit + under else -1
        return 2 * precision * recall / (precision + recall) if precision + recall else 0  # the script: -1

    scores = {}
    for name, c in counts.items():
        positive, negative = f1(c["TP"], c["FP"], c["FN"]), f1(c["TN"], c["FN"], c["FP"])
        scores[name] = positive if name == "multi_solutions" else positive * 0.5 + negative * 0.5
    for group, names in GROUPS.items():
        scores[group] = sum(scores[name] for name in names) / len(names)
    return scores


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.05, 0.3, 0.5, 0.9]))
def test_all_nine_classes_give_the_official_sensitivity_and_overall(seed, threshold):
    rng = random.Random(seed)
    cases = []
    for name in [name for members in GROUPS.values() for name in members]:
        for number in range(rng.randint(1, 4)):
            right = [True] * rng.randint(2, 6)
            if name != "multi_solutions":
                right[rng.randrange(len(right) - 1)] = False
            cases.append(case(name, str(number), tuple(right), tuple(rng.random() for _ in right)))
    metrics = evaluate(cases, threshold, resamples=20)
    for name, expected in official_results(cases, threshold).items():
        assert metrics[f"{name}.prm_score"].value == pytest.approx(expected), name


def case(name, problem, right, scores):
    return make_case(name, problem, tuple(map(float, right)), scores)


def test_a_perfect_a_blind_and_an_inverted_prm():
    truth = [(True, True, False, True), (True, False, False, True)]
    for scores, expected, area in (
        (lambda r: 0.9 if r else 0.1, 1.0, 1.0),
        (lambda r: 0.1 if r else 0.9, 0.0, 0.0),
        (lambda r: 0.7, None, 0.5),
    ):
        cases = [case("circular", str(i), r, tuple(map(scores, r))) for i, r in enumerate(truth)]
        metrics = evaluate(cases, 0.5, resamples=20)
        accept_all = metrics["overall.prm_score_accept_all"].value
        assert metrics["overall.prm_score"].value == pytest.approx(
            accept_all if expected is None else expected
        )
        assert metrics["overall.step_auc"].value == area
    assert metrics["overall.accuracy_first_error"].value == 0.0


def test_a_score_at_the_threshold_counts_as_right():
    metrics = evaluate([case("circular", "1", (True, False), (0.5, 0.4))], 0.5, resamples=5)
    assert metrics["overall.prm_score"].value == 1.0


def test_groups_are_means_of_their_classes_and_the_one_without_wrong_steps_counts_by_its_f1():
    rng = random.Random(1)
    cases = [
        case(name, str(i), right, tuple(rng.random() for _ in right))
        for name in ("missing_condition", "deception", "multi_solutions")
        for i, right in enumerate([(True, name == "multi_solutions", True)] * 4)
    ]
    metrics = evaluate(cases, 0.5, resamples=20)
    parts = [metrics[f"{name}.prm_score"].value for name in GROUPS["sensitivity"]]
    assert metrics["sensitivity.prm_score"].value == pytest.approx(sum(parts) / 3)
    assert metrics["multi_solutions.prm_score"].value == metrics["multi_solutions.f1"].value
    assert metrics["multi_solutions.negative_f1"].value is None
    assert metrics["multi_solutions.accuracy_right"].value is not None
    assert "simplicity.prm_score" not in metrics


def test_intervals_draw_problems_and_not_records():
    """The same problem in eight classes counts once: with one problem there is no interval at all."""
    names = [name for members in GROUPS.values() for name in members]
    one = [case(name, "same", (True, False), (0.9, 0.6)) for name in names]
    assert evaluate(one, 0.5, resamples=20)["overall.prm_score"].low is None
    several = [case(name, str(i), (True, False), (0.9, 0.1 * i)) for name in names for i in range(8)]
    assert evaluate(several, 0.5, resamples=50)["overall.prm_score"].low is not None


def record(idx, **changes):
    good = {
        "original_question": "q", "modified_question": "q", "original_process": ["a", "b"],
        "modified_process": ["a", "b", "c"], "error_steps": [2], "reason": "r", "idx": idx, "classification": "circular",
    }  # fmt: skip
    return good | changes


def write(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_records_that_cannot_be_used_are_counted(tmp_path):
    rows = [
        record("1"), record("1"), record("2", error_steps=[9]), record("3", error_steps=[]),
        record("4", modified_process=["a", " "]), record("5"),
    ]  # fmt: skip
    other = {"classification": "multi_solutions"}
    rows += [
        record("6", error_steps=[], **other),
        record("7", error_steps=[], modified_process=["a", ""], **other),
    ]
    traces, left_out, total = read_prmbench([write(tmp_path / "circular.jsonl", rows)])
    assert traces.pop("multi_solutions_6").labels == (1.0, 1.0, 1.0)
    assert left_out.pop("step 2 of modified_process is empty") == 2
    total, left_out["step 2 of modified_process is empty"] = total - 2, 1
    assert list(traces) == ["circular_1", "circular_5"] and total == 6 and sum(left_out.values()) == 4
    assert left_out["the same class and idx stand twice"] == 1


class Constant:
    threshold = 0.25
    sidecar = None

    def score(self, traces):
        return [[0.3 + 0.1 * (i % 2) for i in range(len(t.steps))] for t in traces]


def test_the_command_with_a_scorer_and_with_its_scores_agrees(tmp_path):
    data = write(tmp_path / "circular.jsonl", [record("1"), record("2", error_steps=[1, 3]), record("3")])
    a = evaluate_prmbench(
        PrmbenchSettings(data=[tmp_path], threshold=0.35, resamples=50), tmp_path / "a", scorer=Constant()
    )
    rows = [{"id": f"circular_{i}", "scores": [0.3, 0.4, 0.3]} for i in (1, 2, 3)]
    scores = write(tmp_path / "scores.txt", rows)
    chosen = PrmbenchSettings(data=[data], scores=[scores], threshold=0.35, resamples=50)
    b = evaluate_prmbench(chosen, tmp_path / "b")
    assert a == b and a["prmbench.cases"].value == 3
    assert len((tmp_path / "b" / "cases.jsonl").read_text().splitlines()) == 3
    worst = [json.loads(line) for line in (tmp_path / "b" / "worst.jsonl").open()]
    assert worst[0]["gap"] == pytest.approx(0.7) and worst[0]["steps"] == ["a", "b", "c"]
    c = evaluate_prmbench(PrmbenchSettings(data=[data], resamples=50), tmp_path / "c", scorer=Constant())
    assert c["prmbench.threshold"].value == 0.25, "the checkpoint's own threshold"


def test_scores_that_do_not_fit_are_refused(tmp_path, capsys):
    data = write(tmp_path / "circular.jsonl", [record("1"), record("2")])
    for rows, message in (
        ([{"id": "circular_1", "scores": [0.1, 0.2]}], "3 steps but 2 scores"),
        ([{"id": "circular_1", "scores": [0.1, 0.2, 1.7]}], "out of range"),
        ([{"id": "circular_1", "scores": [0.1, 0.2, 0.3]}], "no scores for 1 of 2 traces"),
    ):
        scores = write(tmp_path / "scores.txt", rows)
        with pytest.raises(DataError, match=message):
            evaluate_prmbench(PrmbenchSettings(data=[data], scores=[scores]), tmp_path / "out")
    chosen = PrmbenchSettings(data=[data], scores=[scores], allow_missing=True, resamples=5)
    assert evaluate_prmbench(chosen, tmp_path / "out")["prmbench.missing"].value == 1
    assert "1 case without scores: left out of every number above\n" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="neither `model` nor `scores` is given"):
        evaluate_prmbench(PrmbenchSettings(data=[data]), tmp_path / "out")


def test_the_real_classes(tmp_path):
    traces, left_out, total = read_prmbench([sample("prmbench")])
    classes = {trace.meta["classification"] for trace in traces.values()}
    assert len(classes) == 8 and classes <= {name for members in GROUPS.values() for name in members}
    assert total == len(traces) + sum(left_out.values()) and sum(left_out.values()) == 22

    class Noise:
        threshold = 0.5

        def score(self, traces):
            return [[random.Random(step).random() for step in trace.steps] for trace in traces]

    chosen = PrmbenchSettings(data=[sample("prmbench")], resamples=100)
    metrics = evaluate_prmbench(chosen, tmp_path / "out", scorer=Noise())
    assert metrics["prmbench.overall.step_auc"].value == pytest.approx(0.5, abs=0.03)
    assert metrics["prmbench.overall.prm_score"].low < metrics["prmbench.overall.prm_score"].value
