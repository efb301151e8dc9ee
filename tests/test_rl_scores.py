"""Where step scores come from: PRMs, value models, rollouts of a prover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rl_data import answer, random_prm, small
from sparring.errors import SettingsError
from sparring.labels.answers import WorldChecker
from sparring.models.loading import load_tokenizer
from sparring.models.sidecar import LogRatio, sidecar_for, write_sidecar
from sparring.rollouts.engine import Completion, Usage
from sparring.traces.records import Trace
from sparring.training.credit import with_start
from sparring.training.rl_scores import (
    Answer,
    PrmScores,
    ProverScores,
    above_prefixes,
    credit_rule,
    gate_scores,
    load_gate,
    load_prm_scores,
    values_of,
)
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.chain_world import ChainWorld


@pytest.fixture(scope="module")
def prm_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm")


@pytest.fixture(scope="module")
def value_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("value") / "value", "value")


class Oracle:
    """An engine whose completions solve the problem from right prefixes with chance one in two, else never."""

    name, reproducible, usage = "oracle", True, Usage()

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def sample(self, prefixes, n, *, limits, seeds, stop=()):
        groups = []
        for prefix in prefixes:
            self.asked.append(prefix.steps)
            solution = prefix.problem.solution
            rest = "\n".join(solution[len(prefix.steps) :])
            good = prefix.steps == solution[: len(prefix.steps)]
            texts = [rest if good and place % 2 else "a = 1 + 1 = 1 + 1 , a is 2" for place in range(n)]
            groups.append([Completion(text, (), (), "end") for text in texts])
        return groups


def test_a_provers_values_are_its_rollouts_and_the_whole_answers_is_its_outcome(tiny_folder):
    (problem,) = generate_problems(1, steps=(3, 3), seed=0)
    engine = Oracle()
    settings = small(tiny_folder, credit="progress", prover_rollouts=4, best_of=2)
    source = ProverScores(engine, WorldChecker(ChainWorld()), settings)
    wrong = "a = 1 + 1 = 1 + 1 , a is 2"
    right = Answer(problem, (), Completion("", (), (), "end"), problem.solution, [], outcome=1.0)
    bad = Answer(problem, (), Completion("", (), (), "end"), (problem.solution[0], wrong, wrong), [])
    nothing = Answer(problem, (), Completion("", (), (), "end"), (), [])
    (rows,) = source.rows([[right, bad, nothing]], seed=0)
    assert rows[0].tolist() == [0.5, 0.5, 0.5, 1.0]
    rows = values_of(source, rows, [right, bad, nothing], settings, best_of=2)
    assert rows[0].tolist() == pytest.approx([0.75, 0.75, 0.75, 1.0])  # best of two of one half
    assert rows[1].tolist() == pytest.approx([0.75, 0.75, 0.0, 0.0])
    assert len(rows[2]) == 0
    assert len(engine.asked) == len(set(engine.asked)) == 4  # shared prefixes once


def test_scores_of_a_folder_serve_the_rules_that_they_fit(tiny_folder, prm_folder, value_folder):
    answers = [answer("b + 9", "c is 3"), answer("c is 3"), answer()]
    scores = load_prm_scores(small(tiny_folder, credit="soft_min", prm=str(prm_folder)), prm_folder)
    (plain,) = scores.rows([answers], 0)
    assert [len(row) for row in plain] == [2, 1, 0]
    settings = small(tiny_folder, credit="progress", prm=str(value_folder), best_of=3)
    source = load_prm_scores(settings, value_folder)
    values = values_of(source, source.rows([answers], 0)[0], answers, settings, best_of=3)
    for row, wanted in zip(values, with_start([1 - (1 - row) ** 3 for row in plain]), strict=True):
        assert row.tolist() == pytest.approx(wanted.tolist())
    assert scores.rewards([item.solution for item in answers])[2] == 0.0
    assert isinstance(scores, PrmScores) and scores.unscored_steps == 0
    with pytest.raises(SettingsError, match="meaning is 'value'"):
        load_prm_scores(small(tiny_folder, credit="progress", prm=str(prm_folder)), prm_folder)
    with pytest.raises(SettingsError, match="baseline: prefix takes scores whose meaning is 'value'"):
        load_prm_scores(small(tiny_folder, baseline="prefix", prm=str(prm_folder)), prm_folder)
    with pytest.raises(SettingsError, match="'correctness'"):
        load_prm_scores(small(tiny_folder, credit="step_sum", prm=str(value_folder)), value_folder)
    with pytest.raises(SettingsError, match="implicit PRM"):
        load_prm_scores(small(tiny_folder, credit="log_ratio", prm=str(prm_folder)), prm_folder)


def test_an_implicit_prm_gives_the_log_ratios_of_its_two_models(tiny_folder, tmp_path):
    folder, tokenizer = tmp_path / "implicit", load_tokenizer(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.save_pretrained(folder / "reference")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sidecar = sidecar_for(CHAIN_LAYOUT, head="log_ratio", log_ratio=LogRatio(beta=0.5), max_length=512)
    write_sidecar(folder, sidecar)
    settings = small(tiny_folder, credit="log_ratio", prm=str(folder))
    scores = load_prm_scores(settings, folder)
    answers = [answer("b + 9", "c is 3"), answer("c is 3"), answer()]
    (rows,) = scores.rows([answers], 0)
    assert [len(row) for row in rows] == [2, 1, 0] and abs(rows[0]).max() > 1e-3
    for item, row in zip(answers[:2], rows, strict=False):
        (wanted,) = scores.scorer.score([Trace(item.problem, item.steps)])
        assert (1 / (1 + np.exp(-row))).tolist() == pytest.approx(wanted)
    # What the steps get from the first on is the whole answer's ratio, less the others' mean increment per step.
    credit = credit_rule(settings, rows)
    assert credit[0][0] == pytest.approx(rows[0][-1] - 2 * rows[1][-1])


def test_equal_answers_are_scored_once_and_each_unscored_step_is_counted(tiny_folder, prm_folder):
    scores = load_prm_scores(small(tiny_folder, credit="soft_min", prm=str(prm_folder)), prm_folder)
    seen = []
    score = scores.scorer.score
    scores.scorer.score = lambda traces: seen.extend(traces) or [row[:1] for row in score(traces)]
    (rows,) = scores.rows([[answer("b + 9", "c is 3"), answer("c is 3"), answer("b + 9", "c is 3")]], 0)
    assert len(seen) == 2 and rows[0].tolist() == rows[2].tolist()
    assert scores.unscored_steps == 2


class Given:
    """A source of values whose rows are given by hand."""

    unscored_steps = 0

    def __init__(self, *, scores_start: bool) -> None:
        self.scores_start = scores_start


def test_a_gate_takes_the_values_after_the_first_wrong_step_and_the_outcome_is_known(tiny_folder):
    settings = small(tiny_folder, credit="progress", gate="oracle")
    slipped, right, empty = answer("a", "b", "c", "d"), answer("a", "b", outcome=1.0), answer()
    slipped.truths, right.truths = ("correct", "wrong", "correct", "undecided"), ("undecided", "correct")
    group = [slipped, right, empty]
    ((*correct, none),) = gate_scores(settings, None, [group])
    assert [row.tolist() for row in correct] == [[1, 0, 1, 1], [1, 1]] and len(none) == 0
    rows = [np.array([0.5, 0.75, 1.0, 1.0]), np.array([0.25, 0.75]), np.zeros(0)]
    found = values_of(Given(scores_start=False), rows, group, settings, [*correct, none])
    assert [row.tolist() for row in found] == [[0.25, 0.5, 0.0, 0.0, 0.0], [0.5, 0.25, 1.0], []]
    # The credit of the slip is what was lost by it, and nothing can be won after it.
    assert credit_rule(settings, found)[0].tolist() == [0.25, -0.5, 0.0, 0.0]
    ungated = values_of(Given(scores_start=False), rows, group, small(tiny_folder, credit="progress"))
    assert ungated[1].tolist() == [0.5, 0.25, 0.75]
    settings = small(tiny_folder, credit="progress", last_value="outcome")
    found = values_of(Given(scores_start=False), rows, group, settings)
    assert [row.tolist()[-1:] for row in found] == [[0.0], [1.0], []]
    # Of an answer whose last steps were not scored the last value is not that of the whole.
    found = values_of(Given(scores_start=False), [rows[0][:2], *rows[1:]], group, settings)
    assert found[0].tolist() == [0.25, 0.5, 0.75]
    assert gate_scores(settings, None, [group]) is None


def test_a_prm_as_gate_closes_by_its_threshold_or_multiplies(tiny_folder, prm_folder, value_folder):
    group = [answer("b + 9", "c is 3"), answer("c is 3", outcome=1.0)]
    settings = small(tiny_folder, credit="progress", prm=str(value_folder), gate=str(prm_folder))
    gate = load_gate(settings)
    (scores,) = gate_scores(settings, gate, [group])
    assert scores[0].tolist() == gate.rows([group], 0)[0][0].tolist()
    source = load_prm_scores(settings, value_folder)
    (rows,) = source.rows([group], 0)
    middle = float(scores[0][0])
    for threshold, wanted in ((middle + 1e-6, 0.0), (middle, rows[0][0]), (None, rows[0][0] * middle)):
        changed = settings.model_copy(update={"gate_threshold": threshold})
        found = values_of(source, rows, group, changed, scores)
        assert found[0][1] == pytest.approx(wanted) and found[0][2] == 0.0 and found[1][1] == 1.0
    with pytest.raises(SettingsError, match="a gate takes scores whose meaning is 'correctness'"):
        load_gate(settings.model_copy(update={"gate": str(value_folder)}))


def test_an_outcome_stands_above_the_value_of_the_prefix_and_an_answer_alone_above_the_others(tiny_folder):
    group = [answer("a", "b", outcome=1.0), answer("a", "b", "c"), answer()]
    values = [np.array([0.2, 0.5, 1.0]), np.array([0.2, 0.4]), np.zeros(0)]
    rewards = np.array([1.0, 0.0, 0.0])
    found = above_prefixes(Given(scores_start=True), values, group, rewards, [9.0, 9.0, 0.25])
    assert found[0].tolist() == [0.8, 0.5] and found[1].tolist() == [-0.2, -0.4, -0.4] and found[2] == 0.25
    # The empty prefix's value would be of its own first step: that step has no say.
    found = above_prefixes(Given(scores_start=False), values[:1], group[:1], rewards[:1], [9.0])
    assert found[0].tolist() == [0.0, 0.5]
