"""Search methods on a scripted policy and PRM: known optima, batching, budgets, bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted_search import DEPTH, LETTERS, Judge, Letters, problems, share_of_a
from sparring.errors import DataError, SettingsError
from sparring.rollouts.engine import Completion, Limits, Prefix, next_steps
from sparring.runs import JsonlLog
from sparring.search import METHODS, MethodSettings, run_search
from sparring.search.aggregation import AGGREGATIONS
from sparring.search.particles import odds, systematic
from sparring.search.scoring import SearchError
from sparring.search.task import Valuation
from sparring.settings_shared import seed_from

SETTINGS = MethodSettings(expansions=4, aggregation="last")
EVERY = pytest.mark.parametrize("method", METHODS)


def search(method, engine=None, judge=None, *, n=4, count=3, options=SETTINGS, **more):
    return run_search(
        method, problems(count), engine or Letters(), judge or Judge(share_of_a), options, n=n, **more
    )


def stripped(found):
    return [(one.problem, one.chosen, one.candidates, one.spent, one.counts) for one in found]


@EVERY
def test_results_do_not_depend_on_what_else_is_in_flight(method):
    together = search(method, count=7)
    for in_flight in (1, 3):
        alone = search(method, count=7, options=SETTINGS.model_copy(update={"in_flight": in_flight}))
        assert stripped(alone) == stripped(together)
    assert len({one.candidates for one in together}) > 1  # problems do differ


@EVERY
def test_questions_of_many_problems_go_out_together(method):
    engine = Letters()
    search(method, engine, count=5)
    assert max(len({prefix.problem.id for prefix in call}) for call in engine.calls) == 5


def test_a_finished_problem_is_replaced():
    engine = Letters()
    search("beam", engine, count=9, options=SETTINGS.model_copy(update={"in_flight": 2}))
    assert all(len({prefix.problem.id for prefix in call}) <= 2 for call in engine.calls)


@pytest.mark.parametrize("method", ["beam", "dvts", "lookahead", "puct"])
def test_search_finds_the_best_solution_when_every_letter_is_on_offer(method):
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 4])
    for one in search(method, engine):
        assert one.candidates[one.chosen].steps == ("a",) * DEPTH


def test_lookahead_sees_a_trap_that_beam_falls_into():
    # "a" looks better than "b" at first, but the policy's greedy way on from it is bad.
    engine = Letters(
        lambda prefix, seed, j: (
            LETTERS[j % 2] if not prefix.steps else ("c" if prefix.steps[0] == "a" else "d")
        )
    )
    judge = Judge(lambda steps: {"a": 0.9, "b": 0.6, "c": 0.1, "d": 0.8}[steps[-1]])
    ends = {}
    for method in ("beam", "lookahead"):
        [found] = search(method, engine, judge, n=1, count=1)
        ends[method] = found.candidates[found.chosen].steps[0]
    assert ends == {"beam": "a", "lookahead": "b"}
    options = SETTINGS.model_copy(update={"lookahead_steps": 0})
    blind = search("lookahead", engine, judge, n=1, options=options)
    assert [one.candidates for one in blind] == [
        one.candidates for one in search("beam", engine, judge, n=1, options=options)
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 11])
def test_dvts_samples_n_next_steps_at_every_depth(n):
    engine = Letters()
    [one] = search("dvts", engine, n=n, count=1)
    spent = one.spent.tokens_generated
    assert spent == n * (DEPTH + (spent - n * DEPTH) // n), "as many at every depth"
    assert len(one.candidates) == max(1, n // SETTINGS.expansions)
    fewer = search("dvts", n=n - 1, count=1)[0].spent.tokens_generated if n > 1 else 0
    assert spent > fewer, "no two N are the same search"


def test_a_beam_of_one_with_one_expansion_is_one_sample():
    engine = Letters()
    options = SETTINGS.model_copy(update={"expansions": 1})
    for problem, found in zip(
        problems(6), search("beam", engine, n=1, count=6, options=options), strict=True
    ):
        steps: tuple[str, ...] = ()
        for _ in range(DEPTH):
            seed = seed_from(0, problem.id, 0, json.dumps(steps))
            [[one]] = next_steps(engine, [Prefix(problem, steps)], 1, limits=Limits(128), seeds=[seed])
            steps += (one.text,)
        assert [one.steps for one in found.candidates] == [steps]


def test_a_stop_text_ends_a_solution_in_whatever_step_it_begins():
    texts = ("a", "Question: c", "b Question: d")
    engine = Letters(lambda prefix, seed, j: texts[j % 3] if prefix.steps else "a")
    for method in ("beam", "puct"):
        options = SETTINGS.model_copy(update={"stop": ("\nQuestion:", " Question:")})
        for found in search(method, engine, n=8, options=options):
            assert found.candidates and not any("Q" in text for one in found.candidates for text in one.steps)


def test_alpha_zero_is_beam_by_q_and_alpha_keeps_progress():
    # From "a" (0.5) progress to 0.55 is small; from "b" (0.1) to 0.5 it is large.
    tree = {("a",): 0.5, ("b",): 0.1, ("a", "a"): 0.55, ("b", "b"): 0.5}
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 2] if not prefix.steps else prefix.steps[0], depth=2)
    judge = Judge(lambda steps: tree[steps])
    kept = {}
    for alpha, prover in ((0.0, "base"), (0.5, "base"), (0.5, "best-of-4")):
        options = MethodSettings(expansions=2, aggregation="last", alpha=alpha, prover=prover)
        [found] = search("beam", engine, judge, n=2, count=1, options=options)
        kept[alpha, prover] = [one.steps[0] for one in found.candidates]
        assert found.candidates[found.chosen].steps == ("a", "a")  # the answer goes by Q alone
    assert kept == {(0.0, "base"): ["a", "b"], (0.5, "base"): ["b", "a"], (0.5, "best-of-4"): ["b", "a"]}


def test_of_different_ways_to_one_state_the_better_is_kept():
    """A step is `path : state`; the judge prefers one path."""
    written = [f"{path} : {state}" for path in "xy" for state in "ab"]
    engine = Letters(lambda prefix, seed, j: written[j % 4])
    judge = Judge(lambda steps: 0.9 if steps[-1].endswith("a") and "y" in steps[-1] else 0.5)
    options = SETTINGS.model_copy(update={"max_steps": 1})
    apart = search("beam", engine, judge, n=4, count=1, options=options)[0]
    together = search(
        "beam", engine, judge, n=4, count=1, options=options.model_copy(update={"state_mark": " : "})
    )[0]
    assert {one.steps[0] for one in apart.candidates} == set(written)
    assert [one.steps[0] for one in together.candidates] == ["y : a", "x : b"]


def test_a_prover_with_its_own_value_model_is_scored_too():
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 2], depth=2)
    options = MethodSettings(expansions=2, aggregation="last", alpha=5.0, prover="somewhere/prover")
    prover = Judge(lambda steps: 0.9 if steps[-1] == "b" else 0.1)
    [found] = search("beam", engine, n=1, count=1, options=options, prover=prover)
    assert found.candidates[0].steps[0] == "b" and prover.asked
    with pytest.raises(SettingsError, match="no value model"):
        search("beam", engine, options=options)


def test_correctness_times_value_is_the_q_of_a_prm_beside_a_value_model():
    # "a" leads nowhere, "b" is a mistake that the value model likes, "c" is right and alive.
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 3] if not prefix.steps else "d", depth=2)
    correct = Judge(lambda steps: 0.1 if steps[-1] == "b" else 0.8)
    value = Judge(lambda steps: {"a": 0.1, "b": 0.9, "c": 0.5}[steps[0]])
    options = MethodSettings(expansions=3, aggregation="min", alpha=0.5)
    for alone, wanted in ((correct, "a"), (value, "b")):
        [found] = search("beam", engine, alone, n=1, count=1, options=options)
        assert found.candidates[0].steps[0] == wanted
    [found] = search("beam", engine, correct, n=3, count=1, options=options, value=value)
    by_first = {one.steps[0]: one for one in found.candidates}
    assert found.candidates[found.chosen].steps == ("c", "d")
    # The PRM's minimum times the value model's last score; the kept scores are the PRM's.
    assert {first: one.value for first, one in by_first.items()} == pytest.approx(
        {"a": 0.08, "b": 0.09, "c": 0.4}
    )
    assert by_first["c"].scores == (0.8, 0.8)
    for one in search("independent", engine, correct, options=options, value=value):
        assert one.candidates[one.chosen].steps[0] == "c"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_product_never_exceeds_its_factors_and_a_prover_is_gated_too(scores, prover, value):
    valuation = Valuation("min", 1, "last", "last")
    q, progress = valuation.of(scores, [prover], [value])
    assert q == min(scores) * value and progress == min(scores) * prover
    assert Valuation("min", 4, None, "last").of(scores, None, [value]) == (q, 1 - (1 - q) ** 4)


def test_a_product_takes_a_prm_of_correctness_and_a_value_model():
    correct, value = Judge(share_of_a), Judge(share_of_a)
    correct.sidecar, value.sidecar = (
        SimpleNamespace(meaning=meaning, head="x", aggregation="min") for meaning in ("correctness", "value")
    )
    search("beam", None, correct, value=value)
    for prm, beside in ((value, value), (correct, correct)):
        with pytest.raises(SettingsError, match="product of correctness and value"):
            search("beam", None, prm, value=beside)


def test_a_prefix_that_the_value_model_refuses_is_dropped():
    value = Judge(share_of_a)
    value.refuse = lambda trace: trace.steps[0] == "a"
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 4])
    for one in search("beam", engine, value=value):
        assert one.candidates and all(each.steps[0] != "a" for each in one.candidates)
        assert one.counts["prefix refused by the PRM"] > 0


@EVERY
def test_no_prefix_is_scored_twice(method):
    judge = Judge(share_of_a)
    search(method, judge=judge)
    keys = [(trace.problem.id, trace.steps) for trace in judge.asked]
    assert len(keys) == len(set(keys))


@EVERY
def test_tokens_of_problems_add_up_to_the_engine_s(method):
    engine = Letters()
    found = search(method, engine)
    assert sum(one.spent.tokens_generated for one in found) == engine.usage.tokens_generated
    assert all(one.spent.flops is None and one.spent.tokens_scored is None for one in found)  # unknown, not 0


@EVERY
def test_a_budget_ends_the_search_with_what_there_is(method):
    whole = search(method, n=16)
    cut = search(method, n=16, options=SETTINGS.model_copy(update={"budget_tokens": 5}))
    # Over by one question at most: the largest is N · C first steps, with `lookahead` also what lies ahead of them.
    assert all(5 <= one.spent.tokens_generated <= 5 + 64 * (1 + SETTINGS.lookahead_steps) for one in cut)
    assert sum(one.spent.tokens_generated for one in cut) < sum(one.spent.tokens_generated for one in whole)
    assert all(one.chosen is not None for one in cut)


def test_budgets_in_unknown_units_are_refused():
    with pytest.raises(SettingsError, match="budget_flops"):
        search("beam", options=SETTINGS.model_copy(update={"budget_flops": 1e9}))
    engine = Letters()
    silent = engine.sample
    engine.sample = lambda *args, **options: [  # type: ignore[method-assign]
        [Completion(one.text, (), (), one.finish) for one in group] for group in silent(*args, **options)
    ]
    with pytest.raises(SettingsError, match="does not say"):
        search("beam", engine, options=SETTINGS.model_copy(update={"budget_tokens": 5}))
    assert all(one.spent.tokens_generated is None for one in search("beam", engine))


@EVERY
def test_killed_and_resumed_is_the_same(method, tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    options = SETTINGS.model_copy(update={"in_flight": 2})
    whole = search(method, count=6, options=options)
    judge = Judge(share_of_a)
    judge.refuse = lambda trace: trace.problem.id == "p4" and (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        search(method, judge=judge, count=6, options=options, journal=journal)
    with journal.open("a") as file:  # torn by the kill
        file.write('{"problem": "p5", "cho')
    engine, done = Letters(), []
    again = search(method, engine, count=6, options=options, journal=journal, progress=done.append)
    assert stripped(again) == stripped(whole)
    assert done[0] > 0 and sum(done) == 6
    assert "p0" not in {prefix.problem.id for call in engine.calls for prefix in call}
    assert stripped(search(method, count=6, options=options, journal=journal)) == stripped(whole)
    with pytest.raises(SettingsError, match="another job; what differs: problems"):
        search(method, count=5, options=options, journal=journal)


def test_damaged_journals_are_named(tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    search("beam", journal=journal)
    with JsonlLog(journal) as log:
        log.append({"problem": "p0"})
    with pytest.raises(DataError, match="was changed"):
        search("beam", journal=journal)


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
@EVERY
def test_scores_that_are_no_numbers_are_refused_with_the_trace_s_name(method, bad):
    with pytest.raises(SearchError, match="problem 'p"):
        search(method, judge=Judge(lambda steps: bad))


def test_wrong_numbers_of_scores_and_rows_are_refused():
    judge = Judge(share_of_a)
    judge.score = lambda traces: [[0.5] for _ in traces]  # type: ignore[method-assign]
    with pytest.raises(SearchError, match="are 1 for 2 steps"):
        search("beam", judge=judge)
    judge.score = lambda traces: []  # type: ignore[method-assign]
    with pytest.raises(SearchError, match="0 answers"):
        search("beam", judge=judge)


@EVERY
def test_a_prefix_that_the_prm_cannot_read_is_dropped_and_the_others_go_on(method):
    judge = Judge(share_of_a)
    judge.refuse = lambda trace: trace.problem.id == "p1"
    found = search(method, judge=judge)
    assert found[1].chosen is None and found[1].candidates == ()
    assert found[1].counts["prefix refused by the PRM"] > 0 and "p1" in found[1].refusal
    assert stripped([found[0], found[2]]) == stripped([one for one in search(method) if one.problem != "p1"])


@EVERY
def test_a_prm_too_short_for_whole_solutions_leaves_the_beginnings(method):
    judge = Judge(share_of_a)
    judge.refuse = lambda trace: len(trace.steps) == DEPTH
    if method == "independent":
        with pytest.raises(SearchError, match="nothing was found for any problem"):
            search(method, judge=judge)
        return
    for one in search(method, judge=judge):
        assert one.chosen is None or not one.candidates[one.chosen].finished


@EVERY
def test_a_policy_that_cannot_go_on(method):
    engine = Letters()
    engine.refuse = lambda prefix: prefix.problem.id == "p2"
    found = search(method, engine)
    assert found[2].chosen is None and found[2].counts["prefix refused by the engine"] > 0
    assert found[0].chosen is not None
    engine.refuse = lambda prefix: True
    with pytest.raises(SearchError, match="does not fit"):
        search(method, engine)


@EVERY
@pytest.mark.parametrize("finish", ["stop", "end", "length"])
def test_a_policy_that_writes_nothing(method, finish):
    engine = Letters()
    engine._one = lambda *args, **options: Completion("", (1,), (), finish)  # type: ignore[method-assign]
    for one in search(method, engine):
        assert one.chosen is None and one.candidates == () and sum(one.counts.values()) > 0


@EVERY
def test_a_policy_that_never_ends(method):
    found = search(method, Letters(depth=10**6) if method != "independent" else Letters(depth=50),
                   options=SETTINGS.model_copy(update={"max_steps": 5}))  # fmt: skip
    for one in found:
        assert one.chosen is not None
        assert method == "independent" or all(len(c.steps) == 5 and not c.finished for c in one.candidates)


def test_ties_go_to_the_first_and_finished_solutions_before_others():
    engine = Letters(lambda prefix, seed, j: LETTERS[j % 4], depth=1)
    [found] = search("independent", engine, Judge(lambda steps: 0.5), count=1)
    assert found.chosen == 0 and found.candidates[0].steps == ("a",)
    ends = {"a": "length", "b": "end"}
    engine._one = lambda prefix, seed, j, whole: Completion("ab"[j % 2], (1,), (), ends["ab"[j % 2]])  # type: ignore[method-assign]
    [found] = search("independent", engine, Judge(lambda steps: 0.9 if steps[0] == "a" else 0.1), count=1)
    assert found.candidates[found.chosen].steps == ("b",) and found.counts["solution cut"] == 2


def test_wrong_calls_are_refused():
    with pytest.raises(SettingsError, match="did you mean 'beam'"):
        search("beem")
    with pytest.raises(SettingsError, match="at least 1"):
        search("beam", n=0)
    with pytest.raises(DataError, match="two problems"):
        run_search("beam", problems(1) * 2, Letters(), Judge(share_of_a), SETTINGS, n=1)
    assert run_search("beam", [], Letters(), Judge(share_of_a), SETTINGS, n=1) == []


# --- pure parts ----------------------------------------------------------------------------------------------

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@given(SCORES)
def test_aggregations_stay_in_range(scores):
    for name, rule in AGGREGATIONS.items():
        assert 0.0 <= rule(scores) <= 1.0, name
    assert min(scores) <= AGGREGATIONS["soft_min"](scores) <= AGGREGATIONS["mean"](scores) + 1e-9


@given(SCORES, st.floats(0.1, 10), st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_particles_are_drawn_in_proportion(rewards, temperature, count, draw):
    weights = odds(rewards, temperature)
    assert sum(weights) == pytest.approx(1) and min(weights) >= 0
    chosen = systematic(weights, count, draw)
    assert len(chosen) == count and chosen == sorted(chosen)
    for index, weight in enumerate(weights):
        assert abs(chosen.count(index) - count * weight) < 1 + 1e-6


def test_odds_at_temperature_one_are_odds():
    assert odds([0.5, 0.75], 1.0) == pytest.approx([0.25, 0.75])
