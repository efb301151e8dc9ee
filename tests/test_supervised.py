"""Supervised training: targets, balance, split, calibration, and whole commands killed and resumed."""

from __future__ import annotations

import io
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification

from conftest import killed, log_of
from sparring.errors import CheckpointError, DataError, SettingsError
from sparring.models.scorer import load_scorer
from sparring.statistics import platt_scaling
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Encoded
from sparring.training.examples import (
    Example,
    estimated_values,
    hard_labels,
    outcome_at_every_step,
    outcome_at_last_step,
    place_weights,
    soft_labels,
    split_by_group,
)
from sparring.training.supervised import (
    SupervisedSettings,
    product_loss,
    setup,
    show_supervised,
    train_supervised,
)
from sparring.training.validation import (
    Judged,
    cross_calibrated,
    quick_statistics,
    validation_metrics,
)
from supervised_data import data_file, metrics_of, quick, separable_traces

TARGETS = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=6)


def example(group: str, targets: list[float | None]) -> Example:
    places = tuple(range(len(targets)))
    return Example(group, Encoded(places, tuple((p, p + 1) for p in places), places), tuple(targets))


# --- what a run says before it begins -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problems", "said"), [(4, "1 problem is held out"), (12, "3 problems are held out")]
)
def test_few_held_out_problems_and_unknown_words_are_told(tmp_path, tiny_folder, caplog, problems, said):
    traces = separable_traces(problems, 1)
    traces[0] = replace(traces[0], steps=tuple(f"therefore {step}" for step in traces[0].steps))
    setup(quick("prm", tiny_folder, data_file(tmp_path, traces)), tmp_path / "run")
    unknown, few = (record.getMessage() for record in caplog.records)
    assert few.startswith(f"{said} (validation_share, validation_data): too few")
    count = len(traces[0].steps)
    assert f"does not know {count} token{'s' * (count > 1)} in 1 of the traces" in unknown


def test_enough_held_out_problems_and_known_words_are_not_spoken_of(tmp_path, tiny_folder, caplog):
    setup(quick("prm", tiny_folder, data_file(tmp_path, separable_traces(80, 1))), tmp_path / "run")
    setup(quick("prm", tiny_folder, data_file(tmp_path), validation_share=0), tmp_path / "another")
    assert not caplog.records


# --- pure parts ----------------------------------------------------------------------------------------------


def test_targets_by_hand():
    trace = separable_traces(1, 1)[0]
    soft = Trace(Problem("p", "q"), ("a", "b", "c"), (0.5, 0.2, None), outcome=True)
    assert hard_labels(soft) == (1.0, 0.0, None)
    assert soft_labels(soft) == (0.5, 0.2, None)
    assert outcome_at_last_step(soft) == (None, None, 1.0)
    assert outcome_at_every_step(soft) == (1.0, 1.0, 1.0)
    assert outcome_at_every_step(replace(soft, outcome=None)) is None
    assert set(estimated_values(trace)) <= {0.9, 0.2}
    bare = Trace(Problem("p", "q"), ("a",))
    assert [f(bare) for f in (hard_labels, soft_labels, outcome_at_last_step, estimated_values)] == [None] * 4


@settings(max_examples=60)
@given(st.lists(TARGETS, min_size=1, max_size=8), st.sampled_from(["none", "weights", "sampling"]))
def test_balanced_classes_have_the_same_total_weight(rows, balance):
    examples = [example(str(number), targets) for number, targets in enumerate(rows)]
    weights = place_weights(examples, balance, random.Random(0))
    assert [len(row) for row in weights] == [len(each.known) for each in examples]
    totals = {False: 0.0, True: 0.0}
    for row, each in zip(weights, examples, strict=True):
        for weight, target in zip(row, each.known, strict=True):
            totals[target >= 0.5] += weight
    known = [target for each in examples for target in each.known]
    both = len({target >= 0.5 for target in known}) == 2
    if balance != "none" and both:
        assert totals[False] == pytest.approx(totals[True])
    else:
        assert all(weight == 1.0 for row in weights for weight in row)
    if balance == "weights":
        assert sum(map(sum, weights)) == pytest.approx(len(known))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.floats(0.01, 0.9), st.integers(0, 99))
def test_a_problem_is_on_one_side_of_the_split_only(groups, share, seed):
    examples = [example(str(group), [1.0]) for group in groups]
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="one problem"):
            split_by_group(examples, share, random.Random(seed))
        return
    training, validation = split_by_group(examples, share, random.Random(seed))
    assert training and validation and len(training) + len(validation) == len(examples)
    assert not {each.group for each in validation} & {each.group for each in training}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1, 0.8, 0.6]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1]),
        ("cosine", [1 / 3, 2 / 3, 1, None, 0.2 + 0.8 / 2]),
    ],
)
def test_learning_rate_rises_then_follows_its_schedule(tmp_path, tiny_folder, schedule, expected):
    chosen = quick(
        "prm", tiny_folder, tmp_path, schedule=schedule, warmup_share=1 / 3, final_learning_rate=0.2
    )
    for step, wanted in enumerate(expected):
        if wanted is not None:
            assert chosen.learning_rate_factor(step, 6) == pytest.approx(wanted)
    assert chosen.learning_rate_factor(6, 6) == pytest.approx(1.0 if schedule == "constant" else 0.2)


def drawn(scale: float, shift: float, n: int = 4000) -> Judged:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-(scale * log_odds + shift)))).astype(float)
    return Judged(log_odds, truth, np.ones(n), [str(index // 4) for index in range(n)])


def test_calibration_finds_scale_and_shift_and_lowers_the_error():
    judged = drawn(0.5, 1.0)
    assert platt_scaling(judged.log_odds, judged.targets) == (
        pytest.approx(0.5, abs=0.06),
        pytest.approx(1.0, abs=0.1),
    )
    before, after = quick_statistics(judged), quick_statistics(cross_calibrated(judged))
    assert before["ece"] > 0.1 > 0.03 > after["ece"]
    assert after["auc"] == pytest.approx(before["auc"], abs=0.01)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_calibration_stays_finite_and_never_turns_the_order_round(sign):
    log_odds = np.array([-3.0, -2.0, 2.0, 3.0])
    scale, shift = platt_scaling(log_odds, (sign * log_odds > 0).astype(float))
    assert 0 < scale < 100 and math.isfinite(shift)


def test_calibration_of_a_model_that_is_far_too_sure_gives_the_shares_that_are_right():
    log_odds = np.repeat([-30.0, 30.0], 1000)
    targets = np.tile([0.0, 0.0, 0.0, 0.0, 1.0], 400)
    targets[1000:] = 1 - targets[1000:]
    scale, shift = platt_scaling(log_odds, targets)
    assert scale * 30 + shift == pytest.approx(math.log(4), abs=0.01)
    assert scale * -30 + shift == pytest.approx(-math.log(4), abs=0.01)


# --- learning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prm", "orm", "value"])
def test_separable_data_is_learned_and_the_folder_scores_as_measured(tiny_folder, tmp_path, kind):
    chosen = quick(kind, tiny_folder, data_file(tmp_path), learning_rate=1e-2, epochs=8)
    folder = train_supervised(chosen, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # a head of zeros has no opinion
    metrics = metrics_of(tmp_path / "run")
    assert metrics["validation.auc"]["value"] > 0.95
    assert metrics["validation.accuracy"]["low"] is not None
    AutoModelForTokenClassification.from_pretrained(folder)
    scorer = load_scorer(folder, device="cpu")
    assert (scorer.sidecar.meaning, scorer.sidecar.aggregation) == (
        ("correctness", "min") if kind == "prm" else ("value", "last")
    )
    good, bad = scorer.score([Trace(Problem("n", "mod 13 : a is 1 ; b is 2 ; find c"), (step,)) for step in
                              ("c = a + b", "c = a - b")])  # fmt: skip
    assert good[0] > 0.6 and bad[0] < 0.4
    if kind == "value":  # balanced in training, calibrated after it
        assert scorer.sidecar.calibration.shift != 0.0
        assert good[0] == pytest.approx(0.9, abs=0.1) and bad[0] == pytest.approx(0.2, abs=0.15)
    assert "<svg" in (tmp_path / "run" / "reliability.svg").read_text(encoding="utf-8")
    bins = json.loads((tmp_path / "run" / "metrics.json").read_text())["extra"]["reliability"]
    assert sum(row["count"] for row in bins) == metrics["validation.auc"]["n"]


def test_soft_labels_are_learned_as_probabilities_and_hard_ones_are_rounded(tiny_folder, tmp_path):
    problems = [Problem(str(n), f"mod 13 : a is {n} ; find c") for n in range(12)]
    data = data_file(tmp_path, [Trace(problem, ("c = a + a",), (0.25,)) for problem in problems])
    scores = {}
    for labels in ("soft", "hard"):
        chosen = quick("prm", tiny_folder, data, labels=labels, epochs=25, learning_rate=1e-2)
        scorer = load_scorer(train_supervised(chosen, tmp_path / labels), device="cpu")
        scores[labels] = scorer.score([Trace(problems[0], ("c = a + a",))])[0][0]
    assert scores["soft"] == pytest.approx(0.25, abs=0.03)
    assert scores["hard"] < 0.05


def test_passes_of_any_size_give_the_same_run(tiny_folder, tmp_path):
    data = data_file(tmp_path)
    logs = []
    for budget in (16_384, 40):
        chosen = quick("prm", tiny_folder, data, token_budget=budget, class_balance="weights", epochs=1)
        train_supervised(chosen, tmp_path / str(budget))
        logs.append(log_of(tmp_path / str(budget)))
    for one, other in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)


def test_early_stopping_keeps_the_best_weights(tiny_folder, tmp_path):
    chosen = quick(
        "prm", tiny_folder, data_file(tmp_path), head="label_tokens", learning_rate=1e-12, patience=2,
        evaluate_every=2, epochs=9,
    )  # fmt: skip
    train_supervised(chosen, tmp_path / "run")  # nothing moves, so the first validation stays the best
    metrics = metrics_of(tmp_path / "run")
    assert metrics["training.updates"]["value"] == 6
    assert metrics["training.kept_update"]["value"] == 2


# --- bad input -----------------------------------------------------------------------------------------------


def test_traces_that_do_not_fit_are_refused_or_counted_and_shown(tiny_folder, tmp_path):
    long = Trace(Problem("long-one", "mod 13 : find c"), ("c = a + b",) * 12, (1.0,) * 12)
    huge = Trace(Problem("huge-one", "find c " * 60), ("c = a + b",), (1.0,))
    data = data_file(tmp_path, [*separable_traces(), long, huge])
    shown = {}
    for overflow in ("refuse", "drop_trace", "drop_steps"):
        chosen = quick(
            "prm", tiny_folder, data, max_length=60, overflow=overflow, epochs=1, validation_share=0.1
        )
        if overflow == "refuse":
            with pytest.raises(DataError, match=r"long-one.*overflow"):
                train_supervised(chosen, tmp_path / overflow)
            continue
        text = io.StringIO()
        show_supervised(chosen, tmp_path / overflow, resume=False, console=Console(file=text, width=200))
        shown[overflow] = text.getvalue()
    assert "left out: 2 × trace longer than 60 tokens" in shown["drop_trace"]
    assert "left out: 1 × trace whose first step ends past 60 tokens" in shown["drop_steps"]
    assert "step past 60 tokens" in shown["drop_steps"]
    assert "process reward model:" in shown["drop_steps"] and "validation.auc" in shown["drop_steps"]
    assert re.search(r"validation\.problems: \d+\n", shown["drop_steps"])


def test_bad_records_are_named_with_file_line_and_field(tiny_folder, tmp_path):
    data = data_file(tmp_path)
    with data.open("a") as file:
        file.write(json.dumps({"id": "x", "problem": "q", "steps": ["a", "b"], "labels": [1, 2]}) + "\n")
    with pytest.raises(DataError, match=r"train\.jsonl:81: field 'labels\[1\]'"):
        train_supervised(quick("prm", tiny_folder, data), tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "reason", "more"),
    [
        ("prm", "without a label", {}),
        ("prm", "without an outcome", {"labels": "outcome"}),
        ("orm", "without an outcome", {}),
        ("value", "without values", {}),
    ],
)
def test_traces_without_labels_are_counted_and_all_of_them_is_an_error(
    tiny_folder, tmp_path, kind, reason, more
):
    bare = [Trace(Problem("p", "find c"), ("c = a + b",))] * 3
    with pytest.raises(DataError, match=f"3 × trace {reason}"):
        train_supervised(quick(kind, tiny_folder, data_file(tmp_path, bare), **more), tmp_path / "run")
    some = data_file(tmp_path, [*separable_traces(), *bare])
    train_supervised(quick(kind, tiny_folder, some, max_updates=1, **more), tmp_path / "some")
    extra = json.loads((tmp_path / "some" / "metrics.json").read_text())["extra"]
    assert [count for why, count in extra["left_out"].items() if reason in why] == [3]


def test_problems_on_both_sides_and_impossible_lengths_are_refused(tiny_folder, tmp_path):
    data = data_file(tmp_path)
    other = data_file(tmp_path, separable_traces(3, 1), "other.jsonl")
    with pytest.raises(DataError, match="in both the training and the validation files: 3 problems"):
        train_supervised(quick("prm", tiny_folder, data, validation_data=str(other)), tmp_path / "run")
    with pytest.raises(CheckpointError, match="512 tokens"):
        train_supervised(quick("prm", tiny_folder, data, max_length=513), tmp_path / "run")
    for changes in (
        {"validation_share": 0.0, "patience": 1},
        {"validation_share": 0.0, "calibrate": True},
        {"data": []},
        {"betas": (0.9, 1.0)},
    ):
        with pytest.raises(ValidationError):
            quick("prm", tiny_folder, data, **changes)


def test_validation_files_and_runs_without_validation(tiny_folder, tmp_path):
    traces = separable_traces()
    data = data_file(tmp_path, traces[:60])
    other = data_file(tmp_path, traces[60:], "other.jsonl")
    chosen = quick("prm", tiny_folder, data, validation_data=[str(other)], max_updates=2)
    train_supervised(chosen, tmp_path / "run")
    assert metrics_of(tmp_path / "run")["training.traces"]["value"] == 60
    chosen = quick("prm", tiny_folder, data, validation_share=0.0, max_updates=2)
    train_supervised(chosen, tmp_path / "without")
    assert not any(name.startswith("validation") for name in metrics_of(tmp_path / "without"))


def test_deepspeed_is_refused_before_anything_is_written(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")  # as `accelerate launch --use_deepspeed` does
    with pytest.raises(SettingsError, match=r"DeepSpeed is not supported.*fsdp2\.yaml"):
        train_supervised(quick("prm", tiny_folder, data_file(tmp_path)), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists() and not list((tmp_path / "run").glob("*.jsonl"))


def test_a_run_is_not_overwritten_or_resumed_with_other_settings_or_data(tiny_folder, tmp_path):
    data = data_file(tmp_path)
    out = tmp_path / "run"
    train_supervised(quick("prm", tiny_folder, data, max_updates=2), out)
    with pytest.raises(SettingsError, match="--resume"):
        train_supervised(quick("prm", tiny_folder, data, max_updates=2), out)
    with pytest.raises(SettingsError, match=r"epochs was 4, is 5"):
        train_supervised(quick("prm", tiny_folder, data, max_updates=2, epochs=5), out, resume=True)
    with pytest.raises(SettingsError, match="it trains a process reward model"):
        train_supervised(quick("orm", tiny_folder, data, max_updates=2), out, resume=True)
    data_file(tmp_path, separable_traces(seed=1))
    with pytest.raises(SettingsError, match="data files have changed"):
        train_supervised(quick("prm", tiny_folder, data, max_updates=2), out, resume=True)


# --- whole commands ------------------------------------------------------------------------------------------


def command(kind: str, model: Path, data: Path, out: Path, *more: str, **changes: object) -> list[str]:
    fields = quick(kind, model, data, **changes).model_dump(exclude_unset=True)
    pairs = [f"{key}={json.dumps(value)}" for key, value in fields.items()]
    return ["train", kind, *pairs, "--out", str(out), *more]


def stopped(settings: SupervisedSettings, out: Path, update: int) -> None:
    """Run until after an update, without a checkpoint of it."""

    def stop(done: int, record: dict) -> None:
        if done == update:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supervised(settings, out, resume=True, progress=stop)


@pytest.mark.parametrize(
    ("kind", "changes", "stops"),
    [
        ("value", {"adapter": "full"}, (6, 13)),  # past a checkpoint and a validation, and again
        ("prm", {"adapter": "lora", "head": "label_tokens"}, (9,)),
    ],
)
def test_killed_and_resumed_runs_give_the_same_log_metrics_and_weights(
    tiny_folder, tmp_path, kind, changes, stops
):
    data = data_file(tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    chosen = quick(kind, tiny_folder, data, **changes)
    train_supervised(chosen, whole)
    if kind == "value":
        killed(command(kind, tiny_folder, data, broken, **changes), stops[0])
    else:
        stopped(chosen, broken, stops[0])
    for stop in stops[1:]:
        stopped(chosen, broken, stop)
    train_supervised(chosen, broken, resume=True)
    assert log_of(broken) == log_of(whole)
    assert metrics_of(broken) == metrics_of(whole)
    one, other = ((folder / "model" / "model.safetensors").read_bytes() for folder in (whole, broken))
    assert one == other
    assert not list(broken.rglob("*.bin")) and not list(broken.rglob("*.pt"))


def test_the_docs_describe_every_logged_name_and_metric(tiny_folder, tmp_path):
    page = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`\n]+)`", page))
    assert "sparring train prm --explain" in page  # tells every setting
    train_supervised(quick("value", tiny_folder, data_file(tmp_path), max_updates=5), tmp_path / "run")
    assert {name for record in log_of(tmp_path / "run") for name in record} | {"seconds"} <= named
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(written["metrics"]) | set(written["extra"]) <= named


@pytest.mark.parametrize("head", ["token_classification", "label_tokens"])
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_mixed_precision_trains_in_float32_and_checkpointing_changes_nothing(
    tiny_folder, tmp_path, head, adapter
):
    data, logs = data_file(tmp_path), []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        chosen = quick(
            "prm", tiny_folder, data, head=head, adapter=adapter, dtype="bfloat16", learning_rate=1e-2,
            gradient_checkpointing=checkpointing,
        )  # fmt: skip
        folder = train_supervised(chosen, out)
        logs.append([record["loss"] for record in log_of(out)])
        written = load_file(str(folder / "model.safetensors"))
        assert {str(tensor.dtype) for tensor in written.values()} == {"torch.float32"}
        changed = written["model.layers.0.mlp.up_proj.weight"]
        assert (changed != changed.bfloat16().float()).any()  # merged adapters are not rounded away
    assert logs[0] == pytest.approx(logs[1], abs=0.03)  # bfloat16 has three digits
    assert metrics_of(out)["validation.auc"]["value"] > 0.8


# --- the outcome as a label of every step ------------------------------------------------------------------------


@given(st.lists(st.lists(st.floats(-8, 8), min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_a_solution_is_right_where_all_its_steps_are(rows, data):
    outcomes = [float(data.draw(st.booleans())) for _ in rows]
    flat = torch.tensor([x for row in rows for x in row], dtype=torch.float64)
    target = torch.tensor(
        [y for y, row in zip(outcomes, rows, strict=True) for _ in row], dtype=torch.float64
    )
    found = float(product_loss(flat, target, [len(row) for row in rows]))
    by_hand = 0.0
    for y, row in zip(outcomes, rows, strict=True):
        right = min(math.prod(1 / (1 + math.exp(-x)) for x in row), 1 - 1e-6)
        by_hand -= len(row) * math.log(right if y else 1 - right)
    assert found == pytest.approx(by_hand, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("noise", ["none", "product"])
def test_outcomes_alone_teach_which_steps_are_wrong(tiny_folder, tmp_path, noise):
    traces = [
        replace(trace, labels=None, estimates=None, outcome=all(trace.labels))
        for trace in separable_traces(80, 3)
    ]
    settings = quick(
        "prm", tiny_folder, data_file(tmp_path, traces), labels="outcome", outcome_noise=noise, keep="last"
    )
    folder = train_supervised(settings, tmp_path / "run")
    scorer = load_scorer(folder, device="cpu")
    (scores,) = scorer.score([Trace(traces[0].problem, ("c = a + b", "c = a - b"))])
    assert scores[0] > scores[1] + 0.2
    # Batches that are split into passes are the same run.
    split = settings.model_copy(update={"token_budget": 60, "max_updates": 2})
    whole = settings.model_copy(update={"max_updates": 2})
    logs = []
    for name, one in (("a", split), ("b", whole)):
        train_supervised(one, tmp_path / name)
        logs.append([record["loss"] for record in log_of(tmp_path / name)])
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_a_product_of_steps_is_not_balanced_step_by_step(tiny_folder, tmp_path):
    with pytest.raises(ValidationError, match="one target per solution"):
        quick(
            "prm", tiny_folder, tmp_path, labels="outcome", outcome_noise="product", class_balance="weights"
        )


def test_the_interval_of_a_loss_does_not_reach_below_zero() -> None:
    log_odds = np.array([9.0, 9.0, 9.0, -1.0])
    judged = Judged(log_odds, np.ones(4), np.ones(4), ["a", "b", "c", "d"])
    loss = validation_metrics(judged, judged, 0)["validation.loss"]
    assert loss.low == 0.0 and loss.value is not None and loss.high is not None and loss.high > loss.value
