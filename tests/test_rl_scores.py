"""Where step scores come from: PRMs, value models, rollouts of a prover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rl_data import answer, random_prm, small
from sparring.errors import SettingsError
from sparring.labels.answers import ChainChecker
from sparring.models.loading import load_tokenizer
from sparring.models.sidecar import LogRatio, sidecar_for, write_sidecar
from sparring.rollouts.engine import Completion, Usage
from sparring.traces.records import Trace
from sparring.training.credit import with_start
from sparring.training.rl_scores import Answer, PrmScores, ProverScores, credit_rule, load_prm_scores
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT


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
    source = ProverScores(engine, ChainChecker(), settings)
    wrong = "a = 1 + 1 = 1 + 1 , a is 2"
    right = Answer(problem, (), Completion("", (), (), "end"), problem.solution, [], outcome=1.0)
    bad = Answer(problem, (), Completion("", (), (), "end"), (problem.solution[0], wrong, wrong), [])
    nothing = Answer(problem, (), Completion("", (), (), "end"), (), [])
    (rows,) = source.rule_inputs([[right, bad, nothing]], seed=0)
    assert rows[0].tolist() == pytest.approx([0.75, 0.75, 0.75, 1.0])  # best of two of one half
    assert rows[1].tolist() == pytest.approx([0.75, 0.75, 0.0, 0.0])
    assert len(rows[2]) == 0
    assert len(engine.asked) == len(set(engine.asked)) == 4  # shared prefixes once


def test_scores_of_a_folder_serve_the_rules_that_they_fit(tiny_folder, prm_folder, value_folder):
    answers = [answer("b + 9", "c is 3"), answer("c is 3"), answer()]
    scores = load_prm_scores(small(tiny_folder, credit="soft_min", prm=str(prm_folder)), prm_folder)
    (plain,) = scores.rule_inputs([answers], 0)
    assert [len(row) for row in plain] == [2, 1, 0]
    settings = small(tiny_folder, credit="progress", prm=str(value_folder), best_of=3)
    (values,) = load_prm_scores(settings, value_folder).rule_inputs([answers], 0)
    for row, wanted in zip(values, with_start([1 - (1 - row) ** 3 for row in plain]), strict=True):
        assert row.tolist() == pytest.approx(wanted.tolist())
    assert scores.rewards([item.solution for item in answers])[2] == 0.0
    assert isinstance(scores, PrmScores) and scores.unscored_steps == 0
    with pytest.raises(SettingsError, match="meaning is 'value'"):
        load_prm_scores(small(tiny_folder, credit="progress", prm=str(prm_folder)), prm_folder)
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
    (rows,) = scores.rule_inputs([answers], 0)
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
    (rows,) = scores.rule_inputs(
        [[answer("b + 9", "c is 3"), answer("c is 3"), answer("b + 9", "c is 3")]], 0
    )
    assert len(seen) == 2 and rows[0].tolist() == rows[2].tolist()
    assert scores.unscored_steps == 2
