"""Keeping the PRM fresh during reinforcement learning: labels, the game, one PRM per comparison, whole runs."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from rl_data import PROBLEM, evaluations_of, killed_run, log_of, random_prm, small
from sparring.errors import SettingsError
from sparring.models import TINY_POLICY
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Calibration, read_sidecar, sidecar_for, write_sidecar
from sparring.oracles.panel import Panel
from sparring.traces.records import Problem, Trace, step_labels
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl import Run, evaluate, setup, train_rl
from sparring.training.rl_monitors import hacked
from sparring.training.rl_refresh import (
    brier,
    correct_part,
    label_answers,
    prm_folder,
    refresh,
    targets_of,
    undecided_steps,
)
from sparring.training.rl_scores import PrmScores
from sparring.training.rl_settings import RlSettings
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


@pytest.fixture(scope="module")
def value_model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("value") / "model", "value")


def short_game(backbone: Path, out: Path, **changes: object) -> Path:
    """The PRM of a short APRM run, in its run directory."""
    fields = {"updates": 2, "prm_warm_steps": 2, "adversary_warm_steps": 2, "rise_steps": 0, "seed": 3}
    fields |= {"backbone": str(backbone), "states_per_update": 3, "samples_per_state": 3, "device": "cpu"}
    return train_aprm(AprmSettings.model_validate(fields | changes), out)


@pytest.fixture(scope="module")
def game(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_game(tiny_folder, tmp_path_factory.mktemp("aprm"))


def fresh(folder: Path, **changes: object) -> RlSettings:
    return small(
        folder,
        **({"credit": "soft_min", "refresh": "labels", "refresh_every": 2, "refresh_steps": 8} | changes),
    )


WRONG = "a = 1 + 1 = 1 + 1 , a is 2"


def solved(count: int = 6) -> list[Trace]:
    """Right solutions, and ones with a wrong step in the middle."""
    found = []
    for problem in generate_problems(count, steps=(3, 3), seed=1):
        assert problem.solution is not None
        found.append(Trace(problem, problem.solution, outcome=True))
        found.append(Trace(problem, (problem.solution[0], WRONG, problem.solution[2]), outcome=False))
    return found


def run_with(settings: RlSettings, out: Path, traces: list[Trace]) -> Run:
    run = setup(settings, out)
    run.recent.extend(traces)
    run.step = 2
    return run


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_end_with_the_first_error_and_undecided_steps_have_none():
    assert step_labels(["correct", "undecided", "wrong", "correct"]) == (1.0, None, 0.0, None)
    assert step_labels(["undecided", "correct"]) == (None, 1.0)
    trace = Trace(PROBLEM, ("a", "b", "c", "d"), labels=(1.0, None, 0.0, None), outcome=False)
    assert undecided_steps(trace) == 1
    assert correct_part(trace, exact=True) == ("a", "b")
    assert correct_part(trace, exact=False) == ()  # it ended wrong: an undecided step may be why


def test_a_refresh_on_labels_learns_what_the_oracle_says_of_the_policys_answers(tiny_folder, prm, tmp_path):
    settings = fresh(tiny_folder, prm=str(prm), refresh_steps=30, refresh_learning_rate=3e-3)
    run = run_with(settings, tmp_path, solved())
    old = run.scores
    record = refresh(run)
    assert record["skipped"] is None and record["answers"] == 12 and record["labelled_steps"] == 6 * (3 + 2)
    assert record["brier_after"] < 0.5 * record["brier_before"]
    assert run.refreshed == 2 and prm_folder(run) == tmp_path / "refresh" / "000002" / "model"
    assert isinstance(run.scores, PrmScores) and run.scores is not old
    assert run.scores.scorer.sidecar.layout == read_sidecar(prm).layout
    again = load_scorer(prm_folder(run), device="cpu").score(list(run.recent))
    assert again == run.scores.scorer.score(list(run.recent))


def test_a_value_model_learns_the_values_under_the_present_policy_and_stays_calibrated(
    tiny_folder, value_model, tmp_path
):
    folder = random_prm(tiny_folder, tmp_path / "value", "value")
    write_sidecar(
        folder, read_sidecar(folder).model_copy(update={"calibration": Calibration(scale=2.0, shift=1.0)})
    )
    settings = fresh(tiny_folder, credit="progress", prm=str(folder), prover_rollouts=2)
    run = run_with(settings, tmp_path / "run", solved(3))
    traces = label_answers(run, None)
    assert [targets_of(trace) for trace in traces] == [
        (0.0, 0.0, float(trace.outcome or 0)) for trace in traces
    ]
    assert refresh(run)["skipped"] is None
    sidecar = read_sidecar(prm_folder(run))
    assert sidecar.meaning == "value" and sidecar.calibration not in (
        Calibration(),
        Calibration(scale=2.0, shift=1.0),
    )


def test_a_prm_of_label_tokens_is_trained_through_an_adapter(tiny_folder, tmp_path):
    folder = tmp_path / "prm"
    AutoModelForCausalLM.from_pretrained(tiny_folder).save_pretrained(folder)
    tokenizer = load_tokenizer(tiny_folder)
    tokenizer.save_pretrained(folder)
    ids = tuple(tokenizer.convert_tokens_to_ids(["+", "-"]))
    write_sidecar(folder, sidecar_for(CHAIN_LAYOUT, head="label_tokens", label_tokens=ids, max_length=512))
    changes = {"adapter": "lora", "lora_rank": 4, "refresh_learning_rate": 1e-2}
    run = run_with(fresh(tiny_folder, prm=str(folder), **changes), tmp_path / "run", solved(3))
    record = refresh(run)
    assert record["skipped"] is None and record["brier_after"] < record["brier_before"]
    assert read_sidecar(prm_folder(run)).label_tokens == ids


def test_answers_to_text_problems_are_labelled_by_the_panel():
    problem = Problem("t", "Ann has 2 cats and gets 3. How many?", answer="5")
    traces = [Trace(problem, ("2 + 3 = 5", "so be it", "#### 5")), Trace(problem, ("2 + 3 = 6", "2 + 3 = 5"))]
    scorer = SimpleNamespace(sidecar=SimpleNamespace(meaning="correctness"))
    settings = RlSettings()
    run = SimpleNamespace(settings=settings, recent=deque(traces), scores=PrmScores(scorer, settings))
    with Panel(["arithmetic"]) as panel:
        first, second = label_answers(run, panel)
    assert first.labels is not None and first.labels[0] == 1.0 and first.labels[1] is None
    assert second.labels == (0.0, None)


def test_without_anything_to_learn_the_prm_stays_and_the_record_says_why(tiny_folder, prm, game, tmp_path):
    run = run_with(fresh(tiny_folder, prm=str(prm)), tmp_path / "labels", [])
    before = (prm_folder(run), brier(run.scores, solved(1)))
    record = refresh(run)
    assert "no step" in record["skipped"] and record["brier_before"] is None
    assert (prm_folder(run), brier(run.scores, solved(1))) == before and run.refreshed == 0
    wrong = [Trace(trace.problem, (WRONG,), outcome=False) for trace in solved(2)]
    run = run_with(fresh(tiny_folder, refresh="game", prm=str(game)), tmp_path / "game", wrong)
    assert "known to be correct" in refresh(run)["skipped"]
    assert not (tmp_path / "game" / "refresh" / "000002").exists()


# --- the game --------------------------------------------------------------------------------------------------------


def test_the_game_goes_on_from_where_it_ended_and_again_from_there(tiny_folder, tmp_path):
    # Rules always find a mistake to make; a random adversary's rewrites are malformed, and nothing is kept of them.
    game = short_game(tiny_folder, tmp_path / "aprm", adversary="rules")
    settings = fresh(tiny_folder, refresh="game", prm=str(game), refresh_steps=3)
    traces = solved()
    run = run_with(settings, tmp_path / "rl", traces)
    record = refresh(run)
    assert record["skipped"] is None and 0 <= record["prm_accuracy_clean"] <= 1
    first = prm_folder(run)
    assert (
        first == tmp_path / "rl" / "refresh" / "000002" / "prm"
        and "| updates | 5 |" in (first / "README.md").read_text()
    )
    run.step = 4
    refresh(run)
    state = json.loads((tmp_path / "rl" / "refresh" / "000004" / "checkpoint" / "state.json").read_text())
    assert state["step"] == 4 + 3 + 3  # the run's own, and two refreshes
    # The originals of the rewrites kept for replay are now the policy's: steps before the first wrong one.
    own = {
        trace.problem.question: correct_part(trace, exact=True)
        for trace in reversed(label_answers(run, None))
    }
    played = [item for item in state["pool"]["items"] if item["question"] in own]
    assert played and all(
        item["solution"] in ([*own[item["question"]]], [own[item["question"]][0]]) for item in played
    )


# --- one PRM per comparison ------------------------------------------------------------------------------------------


def test_another_scale_is_no_hacking_and_hacking_is_seen_across_a_refresh():
    evaluations = evaluations_of((0.5, 0.6, 0.4, 0.35), (0.5, 0.6, 0.8, 0.9))
    assert hacked(evaluations)
    for record, rewards in zip(evaluations[2:], (0.85, 0.95), strict=True):
        record["best_rewards"] = [
            rewards
        ] * 60  # the new PRM thinks even better of the best evaluation's answers
    assert hacked(evaluations) is None
    evaluations = evaluations_of(
        (0.5, 0.6, 0.4, 0.35), (0.5, 0.9, 0.6, 0.6)
    )  # a stricter PRM hides that its reward rose
    assert hacked(evaluations) is None
    for record in evaluations[2:]:
        record["best_rewards"] = [0.3] * 60
    assert "reward hacking" in (hacked(evaluations) or "")


def test_an_evaluation_after_a_refresh_scores_the_best_one_with_the_new_prm(tiny_folder, prm, tmp_path):
    run = run_with(fresh(tiny_folder, prm=str(prm), refresh_learning_rate=3e-3), tmp_path, solved())
    evaluations = [{"update": 0} | evaluate(run, [])]
    assert "best_rewards" not in evaluate(run, evaluations)
    refresh(run)
    after = evaluate(run, evaluations)
    # The policy has not moved, so its answers are those of the best evaluation, and the present PRM sees no difference.
    assert after["steps"] == evaluations[0]["steps"] and after["best_rewards"] == pytest.approx(
        after["rewards"]
    )
    assert after["prm"] == 2 and not np.allclose(after["rewards"], evaluations[0]["rewards"])


# --- whole runs ------------------------------------------------------------------------------------------------------


def stop_at_update_5(done: int, record: dict) -> None:
    if done == 5:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["labels", "game"])
def test_killed_and_resumed_runs_refresh_alike(tiny_folder, prm, game, tmp_path, kind):
    changes = {
        "updates": 6,
        "watch_every": 3,
        "checkpoint_every": 3,
        "max_new_tokens": 60,
        "samples_per_problem": 2,
    }
    if kind == "labels":
        settings = fresh(tiny_folder, prm=str(prm), **changes)
    else:  # a policy that writes some correct steps
        settings = fresh(Path(TINY_POLICY), prm=str(game), refresh="game", refresh_steps=2, **changes)
        settings = settings.model_copy(update={"policy": TINY_POLICY})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_rl(settings, whole)
    # Past the checkpoint of update 3, after the refresh of 4.
    if kind == "labels":
        killed_run(settings, broken, updates=2, name="refresh")
    else:
        with pytest.raises(KeyboardInterrupt):
            train_rl(settings, broken, progress=stop_at_update_5)
    train_rl(settings, broken, resume=True)
    for name in ("log", "watch", "refresh"):
        assert log_of(broken, name) == log_of(whole, name)
    for model in ("policy", "prm"):
        one, other = ((out / model / "model.safetensors").read_bytes() for out in (whole, broken))
        assert one == other
    assert [record["update"] for record in log_of(whole, "refresh")] == [2, 4]
    assert [folder.name for folder in (whole / "refresh").iterdir()] == ["000004"]  # earlier ones are gone
    assert load_scorer(whole / "prm", device="cpu").score(solved(1))
    written = json.loads((whole / "metrics.json").read_text())["metrics"]
    assert written["rl.refreshes"]["value"] == 2


def test_a_refresh_that_could_only_fail_later_is_refused_at_the_start(tiny_folder, prm, tmp_path):
    with pytest.raises(SettingsError, match="no checkpoint/ beside"):
        setup(fresh(tiny_folder, prm=str(prm), refresh="game"), tmp_path)
    for fields, message in (
        ({"prm": None, "credit": "outcome"}, "there is none"),
        ({"prm": "x", "credit": "log_ratio"}, "implicit"),
        ({"prm": "x", "credit": "progress", "refresh": "game"}, "value model"),
        ({"prm": "x", "refresh_oracle": ["arithmetics"]}, "arithmetic"),
    ):
        with pytest.raises(ValidationError, match=message):
            fresh(tiny_folder, **fields)
    folder = random_prm(tiny_folder, tmp_path / "other")
    layout = read_sidecar(folder).layout.model_copy(update={"step_prefix": "Step {number}: "})
    write_sidecar(folder, read_sidecar(folder).model_copy(update={"layout": layout}))
    with pytest.raises(Exception, match="another family"):
        setup(fresh(tiny_folder, prm=str(folder)), tmp_path)
