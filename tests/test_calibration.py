"""Calibration: the measures, the map that mends, and what is stored in a sidecar."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sparring.errors import DataError, SettingsError
from sparring.evaluation.calibration import (
    CalibrationSettings,
    PlattMap,
    evaluate_calibration,
    fit_platt,
    logit,
)
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Calibration, read_sidecar, sidecar_for, write_sidecar
from sparring.pictures import reliability_plot
from sparring.statistics import auc, expected_calibration_error, reliability_bins, sigmoid
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Trace
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT


def distorted(scale, shift, count=4000):
    """Labels drawn with known chances, and scores whose log-odds were bent by a known map."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0.5, 1.5, count)
    labels = (rng.random(count) < sigmoid(odds)).astype(float)
    return sigmoid((odds - shift) / scale), labels


def test_a_known_distortion_is_found_and_undone():
    scores, labels = distorted(2.0, -0.7)
    fitted = fit_platt(scores, labels)
    assert fitted.scale == pytest.approx(2.0, abs=0.15) and fitted.shift == pytest.approx(-0.7, abs=0.15)
    before, after = (expected_calibration_error(s, labels) for s in (scores, fitted(scores)))
    assert after < 0.03 < before
    assert auc(fitted(scores), labels) == pytest.approx(auc(scores, labels))


def test_scores_the_wrong_way_round_become_the_share_of_right_steps():
    scores, labels = distorted(1.0, 0.0)
    fitted = fit_platt(1 - scores, labels)
    assert fitted(1 - scores) == pytest.approx(np.full(len(scores), labels.mean()), abs=0.01)


def test_calibrated_scores_are_left_alone():
    scores, labels = distorted(1.0, 0.0)
    fitted = fit_platt(scores, labels)
    assert (fitted.scale, fitted.shift) == pytest.approx((1.0, 0.0), abs=0.1)


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.3, 1.0])), min_size=2, max_size=30
    ).filter(lambda p: {label >= 0.5 for _, label in p} == {True, False})
)
def test_any_scores_have_a_finite_map_that_keeps_their_order(pairs):
    scores, labels = zip(*pairs, strict=True)
    fitted = fit_platt(scores, labels)
    mapped = fitted(scores)
    assert fitted.scale > 0 and np.isfinite(fitted.shift) and ((mapped >= 0) & (mapped <= 1)).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(mapped[order]) >= -1e-12).all()


def test_one_kind_of_label_cannot_be_fitted():
    for labels in ([1.0, 1.0], [0.0, 0.2], []):
        with pytest.raises(DataError, match="one kind"):
            fit_platt([0.5] * len(labels), labels)
    with pytest.raises(ValueError, match="not finite"):
        fit_platt([float("nan"), 0.5], [0.0, 1.0])


def test_logit_and_sigmoid_are_inverse_where_scores_are_not_extreme():
    values = np.array([1e-5, 0.3, 0.999])
    assert sigmoid(logit(values)) == pytest.approx(values)
    assert np.isfinite(logit([0.0, 1.0])).all()


def test_the_plot_is_the_same_every_time():
    table = {"a": reliability_bins([0.1, 0.9, 0.8], [0, 1, 0])}
    assert reliability_plot(table) == reliability_plot(table) and "<svg" in reliability_plot(table)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def traces(tmp_path):
    """Two subsets: right solutions, and ones whose second step is wrong."""
    for name, seed in (("first", 1), ("second", 2)):
        rows = []
        for number, problem in enumerate(generate_problems(12, steps=(3, 5), seed=seed)):
            steps = problem.solution
            labels = (1.0,) * len(steps) if number % 2 else (1.0, 0.0) + (None,) * (len(steps) - 2)
            rows.append(Trace(problem, steps, labels=labels))
        write_traces(tmp_path / f"{name}.jsonl", rows)
    return [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]


class Fixed:
    """Scores 0.7 for every first step, 0.6 for every other."""

    threshold = 0.5

    def score(self, traces):
        return [[0.7] + [0.6] * (len(trace.steps) - 1) for trace in traces]


def test_what_is_left_out_is_said(traces, tmp_path, capsys):
    scores = tmp_path / "scores.jsonl"
    rows = [json.loads(line) for file in traces for line in file.read_text().splitlines()][2:]
    scores.write_text(
        "".join(json.dumps({"id": r["id"], "scores": [0.7] * len(r["steps"])}) + "\n" for r in rows)
    )
    chosen = CalibrationSettings(data=traces, scores=[scores], allow_missing=True, resamples=5)
    assert evaluate_calibration(chosen, tmp_path / "out")["calibration.missing"].value == 2
    assert "2 cases without scores: left out of every number above\n" in capsys.readouterr().out


def test_numbers_on_the_split_of_the_fit_and_on_held_out_ones(traces, tmp_path):
    chosen = CalibrationSettings(data=traces, fit_on="first", resamples=50)
    metrics = evaluate_calibration(chosen, tmp_path / "out", scorer=Fixed())
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (
        "best F1 on first" in written["settings"]["threshold_rule"]
        and written["extra"]["fitted"]["scale"] > 0
    )
    held = metrics["calibration.held_out.fitted.ece"]
    assert (
        held == metrics["calibration.second.fitted.ece"]
        and held.value < metrics["calibration.second.ece"].value
    )
    for name in ("cases.jsonl", "worst.jsonl", "reliability.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    worst = json.loads((tmp_path / "out" / "worst.jsonl").read_text().splitlines()[0])
    assert worst["gap"] == 0.6 and worst["label"] == 0.0 and worst["step"] == 1


def test_store_changes_the_scores_as_fitted_and_only_the_sidecar(traces, tiny_prm, tmp_path):
    folder = tiny_prm
    before = load_scorer(folder, device="cpu")
    problem = generate_problems(1, steps=(3, 5), seed=9)[0]
    trace = Trace(problem, problem.solution)
    [raw] = before.score([trace])
    chosen = CalibrationSettings(data=traces, model=folder, fit_on="first", store=True, resamples=50)
    evaluate_calibration(chosen, tmp_path / "out")
    fitted = json.loads((tmp_path / "out" / "metrics.json").read_text())["extra"]["fitted"]
    after = load_scorer(folder, device="cpu")
    assert after.score([trace])[0] == pytest.approx(PlattMap(fitted["scale"], fitted["shift"])(raw), abs=1e-5)
    sidecar = read_sidecar(folder)
    assert "best F1 on first" in sidecar.threshold_rule and sidecar.layout == before.sidecar.layout


@pytest.fixture
def tiny_prm(tiny_folder, tmp_path):
    """A random token classifier whose sidecar already bends its scores."""
    import shutil

    import torch
    from transformers import AutoModelForTokenClassification

    folder = tmp_path / "prm"
    model = AutoModelForTokenClassification.from_pretrained(tiny_folder, num_labels=2)
    torch.nn.init.normal_(model.score.weight, std=0.3)
    model.save_pretrained(folder)
    for file in tiny_folder.glob("tokenizer*"):
        shutil.copy(file, folder)
    write_sidecar(
        folder, sidecar_for(CHAIN_LAYOUT, max_length=512, calibration=Calibration(scale=0.5, shift=0.3))
    )
    return folder


def test_bad_settings_and_data_are_refused(traces, tmp_path):
    for bad in (
        {"data": []},
        {"data": traces, "store": True},
        {"data": traces, "model": "m", "scores": ["s"]},
    ):
        with pytest.raises(ValidationError):
            CalibrationSettings(**bad)
    with pytest.raises(SettingsError, match="no subset 'third'"):
        evaluate_calibration(
            CalibrationSettings(data=traces, fit_on="third"), tmp_path / "out", scorer=Fixed()
        )
    with pytest.raises(SettingsError, match="neither `model` nor `scores` is given"):
        evaluate_calibration(CalibrationSettings(data=traces), tmp_path / "out")
    problem = generate_problems(1, steps=(3, 5), seed=9)[0]
    write_traces(tmp_path / "bare.jsonl", [Trace(problem, problem.solution)])
    with pytest.raises(DataError, match="no step has a label"):
        evaluate_calibration(
            CalibrationSettings(data=[tmp_path / "bare.jsonl"]), tmp_path / "out", scorer=Fixed()
        )
