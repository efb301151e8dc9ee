"""Search on tiny models: exact counts, reading new steps only, the command, what it writes, and its numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from scripted_search import Judge, Letters, problems, share_of_a
from sparring.errors import DataError, SettingsError
from sparring.evaluation.outcome import show_tables
from sparring.evaluation.search import (
    Case,
    Independent,
    Models,
    SearchSettings,
    curve_metrics,
    discrimination,
    run_search_command,
)
from sparring.models.checkpoint import LABELS, model_card, save_prm
from sparring.models.loading import load_causal_model, load_new_token_classifier, load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import sidecar_for
from sparring.rollouts.local import LocalEngine
from sparring.runs import read_metrics
from sparring.search import METHODS, Candidate, Found, MethodSettings, Spent, run_search
from sparring.search.budget import Model, measured
from sparring.settings import load_settings
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import prompt_ids
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

CPU = torch.device("cpu")
SMALL = MethodSettings(expansions=2, max_steps=3, max_step_tokens=6, max_new_tokens=20, lookahead_steps=1)


@pytest.fixture(scope="module")
def prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM with a random head."""
    model = load_new_token_classifier(tiny_folder, LABELS, device=CPU, dtype=torch.float32)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.score.weight)
    folder = tmp_path_factory.mktemp("prm") / "prm"
    sidecar = sidecar_for(CHAIN_LAYOUT, max_length=300)
    card = model_card(title="-", backbone="-", method="-", facts={}, sidecar=sidecar)
    tokenizer = load_tokenizer(tiny_folder)
    save_prm(
        folder, config=model.config, state=model.state_dict(), tokenizer=tokenizer, sidecar=sidecar, card=card
    )
    return folder


@pytest.fixture(scope="module")
def engine(tiny_folder: Path) -> LocalEngine:
    model = load_causal_model(tiny_folder, device=CPU, dtype=torch.float32)
    return LocalEngine(model, load_tokenizer(tiny_folder), CHAIN_LAYOUT)


@pytest.mark.parametrize("method", METHODS)
def test_counts_are_the_engine_s_and_batches_change_nothing(method, engine, prm):
    chain = generate_problems(4, steps=(1, 2), seed=0, name="test")
    scorer = load_scorer(prm, device="cpu")
    before = engine.usage.tokens_generated, engine.usage.tokens_prefilled
    found = run_search(method, chain, engine, scorer, SMALL, n=2)
    after = engine.usage.tokens_generated, engine.usage.tokens_prefilled
    spent = [one.spent for one in found]
    assert sum(one.tokens_generated for one in spent) == after[0] - before[0]
    assert sum(one.tokens_prefilled for one in spent) == after[1] - before[1]
    assert all(one.tokens_scored > 0 and one.policy_flops > 0 and one.prm_flops > 0 for one in spent)
    alone = run_search(method, chain, engine, scorer, SMALL.model_copy(update={"in_flight": 1}), n=2)
    assert [[c.steps for c in one.candidates] for one in alone] == [
        [c.steps for c in one.candidates] for one in found
    ]
    assert [one.spent.tokens_scored for one in alone] == [one.tokens_scored for one in spent]
    budget = SMALL.model_copy(update={"budget_flops": 1.0})
    assert sum(one.spent.flops for one in run_search(method, chain, engine, scorer, budget, n=16)) < sum(
        one.spent.flops for one in run_search(method, chain, engine, scorer, SMALL, n=16)
    )


def test_flops_are_those_counted_by_hand(engine, prm):
    model = load_scorer(prm, device="cpu").model
    width, inner = model.config.hidden_size, model.config.intermediate_size
    # Per layer: four square matrices of the attention, three of the network, two norms; then a norm and the head.
    layer = 4 * width * width + 3 * width * inner + 2 * width
    head = 2 * width + (2 if model.score.bias is not None else 0)
    assert measured(model) == Model(2 * layer + width + head, 2 * width)
    tied = measured(engine.model)
    assert tied == Model(2 * layer + width + engine.model.config.vocab_size * width, 2 * width)
    assert Model(10, 3).flops(2, 4) == 2 * 10 * 2 + 4 * 3 * (3 + 4)
    assert Model(10, 3).flops(0, 9) == Model(10, 3).flops(0, 5) + Model(10, 3).flops(5, 9)
    assert Model(10, 3).flops(5, 5) == 0


def test_reading_new_steps_only_gives_the_scores_of_whole_traces(prm):
    scorer = load_scorer(prm, device="cpu")
    assert load_scorer(prm, device="cpu", overflow="drop_steps").prefix_cache() is None
    chain = generate_problems(3, steps=(4, 5), seed=0, name="test")
    for kept in (100_000, 40):  # with 40 tokens, most of what was read is lost again
        cache = scorer.prefix_cache(kept)
        unread = 0
        for length in range(1, 5):
            traces = [
                Trace(problem, (*problem.solution[: length - 1], step))
                for problem in chain
                for step in (problem.solution[length - 1], "a is 7 , b is 1")
            ]
            # A trace whose parent was never read, and one that skips a step.
            traces += [
                Trace(chain[0], ("b is 1", "c is 2")),
                Trace(chain[1], chain[1].solution[: length + 1]),
            ]
            found = scorer.score_new(traces, cache)
            unread += sum(start for _, start in found)
            for (scores, _), expected in zip(found, scorer.score(traces), strict=True):
                assert scores == pytest.approx(expected, abs=1e-5)
        assert (unread > 500) == (kept > 40)
        for problem in chain:
            cache.forget(prompt_ids(problem.question, scorer.tokenizer, CHAIN_LAYOUT))
        assert not cache.segments and cache.tokens == 0
    with pytest.raises(DataError, match=f"problem '{chain[0].id}'.*limit of 300"):
        scorer.score_new([Trace(chain[0], ("a is 7",) * 80)], cache)


def test_steps_that_make_the_same_tokens_and_end_elsewhere_are_read_anew(prm):
    """A line break written in a step makes the ids of two steps; what ends where is another trace's affair."""
    scorer = load_scorer(prm, device="cpu")
    cache, [problem] = scorer.prefix_cache(), generate_problems(1, steps=(2, 2), seed=0, name="test")
    scorer.score_new([Trace(problem, ("a is 7 \n b is 1",))], cache)
    trace = Trace(problem, ("a is 7", "b is 1", "c is 2"))
    [(scores, read)] = scorer.score_new([trace], cache)
    same = scorer.encode(trace.prefix(2)).input_ids in cache.segments
    assert scores == pytest.approx(scorer.score([trace])[0], abs=1e-5)
    assert (read == 0) == same


def run(out: Path, prm: Path, *overrides: str, models: Models | None = None) -> tuple[dict, str]:
    given = [f"prm={prm}", "problems=6", "n=[1,2]", "expansions=2", "device=cpu", "max_steps=4", *overrides]
    text = StringIO()
    settings = load_settings(SearchSettings, None, given)
    return run_search_command(
        settings, out, console=Console(file=text, width=220), models=models
    ), text.getvalue()


def test_the_command_writes_everything_and_goes_on(tiny_folder, prm, tmp_path):
    small = [
        f"policy={tiny_folder}",
        "max_step_tokens=6",
        "max_new_tokens=20",
        "chain_steps=[1,2]",
        "methods=[beam,puct]",
    ]
    metrics, shown = run(tmp_path, prm, *small, "repeats=2")
    assert "beam" in shown and "same cost" in shown
    narrow = StringIO()
    measured = {name.removeprefix("search."): metric for name, metric in metrics.items()}
    show_tables(Console(file=narrow, width=80), "search", measured, {})
    assert "best of n" in narrow.getvalue() and "…" not in narrow.getvalue()
    assert read_metrics(tmp_path).keys() == metrics.keys()
    assert metrics["search.beam.n_2.flops"].value > metrics["search.best_of_n.n_1.flops"].value
    records = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    assert len(records) == 2 * 6 * (1 + 2 * 2)
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    journals = {path.name: path.read_text() for path in (tmp_path / "journals").iterdir()}
    again, _ = run(tmp_path, prm, *small, "repeats=2", "in_flight=1")
    timed = "new_seconds"
    assert {k: v for k, v in again.items() if timed not in k} == {
        k: v for k, v in metrics.items() if timed not in k
    }
    assert {path.name: path.read_text() for path in (tmp_path / "journals").iterdir()} == journals
    with pytest.raises(SettingsError, match="another job; what differs"):
        run(tmp_path, prm, *small, "temperature=0.5")


@pytest.mark.parametrize(
    "bad", ["n=[]", "n=[0]", "n=[1,1]", "methods=[beam,beam]", "chain_steps=[3,2]", "prover=best-of-1"]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(SettingsError):
        load_settings(SearchSettings, None, ["prm=x", bad])


def test_a_run_in_which_nobody_states_an_answer(tmp_path):
    data = tmp_path / "problems.jsonl"
    data.write_text(
        "".join(
            json.dumps({"id": one.id, "problem": one.question, "answer": "5"}) + "\n" for one in problems(4)
        )
    )
    metrics, shown = run(
        tmp_path / "out", tmp_path, f"data={data}", models=Models(Letters(), Judge(share_of_a))
    )
    assert metrics["search.majority.n_2.accuracy"].value == 0.0
    assert "problem without an answer: 4" in shown
    assert metrics["search.beam.n_2.flops"].value is None  # unknown
    assert metrics["search.beam.n_2.tokens_generated"].value > 0
    assert "not measured" not in shown


def test_the_n_without_enough_independent_solutions_is_named(tmp_path):
    given = ["methods=[]", "baseline_samples=1"]
    metrics, shown = run(tmp_path, tmp_path, *given, models=Models(Letters(), Judge(share_of_a)))
    assert "search.pass.n_1.accuracy" in metrics and "search.pass.n_2.accuracy" not in metrics
    assert "N = 2: not measured, there are 1 (baseline_samples)" in shown


# --- numbers -------------------------------------------------------------------------------------------------


def case(index: int, right: list[bool], values: list[float], cost: int = 10) -> Case:
    candidates = tuple(Candidate((f"s{place}",), True, (value,), value) for place, value in enumerate(values))
    chosen = max(range(len(values)), key=lambda place: values[place]) if values else None
    spent = Spent(tokens_generated=cost * len(values), tokens_scored=0, policy_flops=None, prm_flops=None)
    found = Found(f"p{index}", chosen, candidates, spent, {}, None, 1.0)
    return Case(
        "beam",
        1,
        0,
        Problem(f"p{index}", "?"),
        found,
        tuple("r" if one else f"w{place}" for place, one in enumerate(right)),
        tuple(right),
    )


def test_lines_and_comparisons_of_a_made_up_search():
    base = Independent(
        [case(0, [True, False, False, True], [0.1, 0.9, 0.2, 0.3]), case(1, [True] * 4, [0.5] * 4)], 4
    )
    assert base.accuracies("random", 1) == [0.5, 1.0]
    assert base.accuracies("best_of_n", 4) == [0.0, 1.0]
    assert base.accuracies("majority", 4) == [1.0, 1.0]
    assert base.accuracies("pass", 2) == pytest.approx([5 / 6, 1.0])
    low, high = (base.accuracies("best_of_n", n)[0] for n in (2, 3))
    assert base.accuracies("best_of_n", 2.25)[0] == pytest.approx(0.75 * low + 0.25 * high)
    assert base.cost("best_of_n", 2, "tokens_generated") == 20
    assert base.solutions_for("majority", 25, "tokens_generated") == pytest.approx(2.5)
    assert base.solutions_for("majority", 41, "tokens_generated") is None
    better = [case(0, [True], [0.9], cost=25), case(1, [True], [0.9], cost=25)]
    metrics = curve_metrics(base, {("beam", 1): better}, [1, 4])
    assert metrics["beam.n_1.accuracy"].value == 1.0
    assert metrics["beam.n_1.minus_best_of_n"].value is None, "it costs as much as 2.5 solutions"
    alike = [case(0, [True], [0.9]), case(1, [True], [0.9])]
    assert curve_metrics(base, {("beam", 1): alike}, [1])["beam.n_1.minus_best_of_n"].value == pytest.approx(
        0.25
    )
    assert metrics["beam.n_1.minus_majority_at_equal_cost.samples"].value == pytest.approx(2.5)
    dear = curve_metrics(
        base, {("beam", 1): [case(0, [True], [0.9], cost=99), case(1, [True], [0.9], cost=99)]}, [1]
    )
    assert dear["beam.n_1.minus_best_of_n_at_equal_cost"].value is None


def test_values_tell_right_from_wrong_within_problems_and_over_all():
    base = Independent(
        [case(0, [True, False, False, True], [0.1, 0.9, 0.2, 0.3]), case(1, [True] * 4, [0.5] * 4)], 4
    )
    found = discrimination(base)
    assert found["solution_auc.pooled"].value == pytest.approx(5 / 12)
    assert (found["solution_auc.within"].value, found["solution_auc.within"].n) == (0.25, 1)
    nothing = discrimination(Independent([case(0, [], [])], 2))
    assert {one.value for one in nothing.values()} == {None}


def test_missing_solutions_count_as_wrong_ones():
    base = Independent([case(0, [True], [0.9]), case(1, [], [])], 2)
    assert base.accuracies("random", 1) == [0.5, 0.0]
    assert base.accuracies("best_of_n", 1) == [0.5, 0.0]
    assert base.accuracies("best_of_n", 2) == [1.0, 0.0]
    assert base.accuracies("majority", 2) == base.accuracies("weighted_vote", 2) == [1.0, 0.0]


def test_votes_of_a_search_group_equal_answers_and_break_ties_at_random():
    one = case(0, [True, True, False, False], [0.5] * 4)
    halves = replace(one, answers=("0.5", r"\frac{1}{2}", "3", "4"))
    base = Independent([halves], 4)
    assert base.accuracies("majority", 4) == base.accuracies("weighted_vote", 4) == [1.0]
    assert base.accuracies("best_of_n", 4) == [0.5], "four equal scores, half of them right"
    tied = Independent([replace(one, answers=("0.5", "1/2", "3", "3.0"))], 4)
    assert tied.accuracies("majority", 4) == [0.5]


def test_a_method_is_compared_at_the_same_n_only_where_it_does_the_same_work():
    """A solution of the baseline costs 10 tokens: of 40 tokens, 4 solutions are the same work, 1 and 2 are not."""
    base = Independent(
        [case(0, [True, False, False, True], [0.1, 0.9, 0.2, 0.3]), case(1, [True] * 4, [0.5] * 4)], 4
    )
    dear = [case(0, [True], [0.9], cost=40), case(1, [True], [0.9], cost=40)]
    metrics = curve_metrics(base, {("beam", n): dear for n in (1, 2, 4)}, [1, 2, 4])
    for n in (1, 2, 4):
        assert metrics[f"beam.n_{n}.work"].value == pytest.approx(4.0)
        assert (metrics[f"beam.n_{n}.minus_best_of_n"].value is None) == (n < 4)
        assert metrics[f"beam.n_{n}.minus_best_of_n_at_equal_tokens.samples"].value == pytest.approx(4.0)
        assert metrics[f"beam.n_{n}.minus_best_of_n_at_equal_tokens"].value == pytest.approx(0.5)
