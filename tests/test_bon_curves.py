"""Best-of-N curves: exact expectations against enumeration, votes, ties, and every kind of bad input."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from real_data import sample
from sparring.errors import DataError
from sparring.evaluation.bon import (
    BonSettings,
    Sample,
    curve_sizes,
    curves,
    evaluate_bon,
    is_exact,
    read_candidates,
)
from sparring.evaluation.scores import write_scores
from sparring.search.selection import best_at, pass_at, random_choice, vote_at
from sparring.traces import write_traces
from sparring.traces.ids import distinct_ids
from sparring.traces.records import Problem, Trace
from sparring.worlds.world import make_world, world_problems

samples = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0]), st.booleans(), st.sampled_from(["1", "2", "3", None])
    ),
    min_size=1,
    max_size=7,
)


def by_enumeration(pool, n, choose):
    """The mean over all subsets of what choosing in each gives."""
    found = [choose(subset) for subset in combinations(pool, min(n, len(pool)))]
    return sum(found) / len(found)


@settings(max_examples=150, deadline=None)
@given(pool=samples, n=st.integers(1, 9))
def test_exact_expectations_equal_enumeration(pool, n):
    scores, correct = [s for s, _, _ in pool], [c for _, c, _ in pool]

    def best(subset):
        top = max(score for score, _, _ in subset)
        tied = [right for score, right, _ in subset if score == top]
        return sum(tied) / len(tied)

    assert best_at(scores, correct, n) == pytest.approx(by_enumeration(pool, n, best))
    assert pass_at(correct, n) == pytest.approx(by_enumeration(pool, n, lambda s: any(c for _, c, _ in s)))
    assert random_choice(correct) == pytest.approx(
        by_enumeration(pool, n, lambda s: sum(c for _, c, _ in s) / len(s))
    )


@settings(max_examples=150, deadline=None)
@given(pool=samples, n=st.integers(1, 9), weighted=st.booleans())
def test_votes_equal_enumeration(pool, n, weighted):
    answers, correct = [a for _, _, a in pool], [c for _, c, _ in pool]
    weights = [s if weighted else 1.0 for s, _, _ in pool]
    truth = {a: np.mean([c for _, c, b in pool if b == a]) for a in set(answers) - {None}}

    def vote(subset):
        totals = {}
        for index in subset:
            if answers[index] is not None:
                totals[answers[index]] = totals.get(answers[index], 0.0) + weights[index]
        if not totals:
            return 0.0
        return np.mean([truth[a] for a, total in totals.items() if total == max(totals.values())])

    expected = by_enumeration(range(len(pool)), n, vote)
    classes = [-1 if a is None else int(a) for a in answers]
    assert vote_at(classes, correct, n, weights=weights) == pytest.approx(expected)
    if not weighted:
        assert vote_at(classes, correct, n) == pytest.approx(expected)


def test_drawn_subsets_come_close_and_are_seeded():
    rng = np.random.default_rng(3)
    correct = (rng.random(24) < 0.4).tolist()
    answers = ["7" if c else str(rng.integers(3)) for c in correct]
    group = [[Sample(a, c, None) for a, c in zip(answers, correct, strict=True)]]
    assert not is_exact(group, [12]) and is_exact(group, [2])
    assert curves(group, [12], seed=1) == curves(group, [12], seed=1)
    first, second = (curves(group, [12], seed=seed)["majority"][12][0] for seed in (1, 2))
    assert abs(first - second) < 0.05


def test_sizes_double_and_end_with_the_largest():
    assert [curve_sizes(n) for n in (0, 1, 2, 6, 8)] == [[], [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


# --- bad input ----------------------------------------------------------------------------------------------------


def test_what_happens_to_empty_short_unparsable_and_unscored_candidates():
    groups = [
        [],
        [Sample(None, False, (0.9,)), Sample(None, True, (0.1, 0.2))],
        [Sample("1", True, None), Sample("2", False, (0.0,))],
        [Sample("1", True, (0.5, 0.5))],
    ]
    lines = curves(groups, [1, 4])
    assert all(values[0] == 0.0 for line in lines.values() for values in line.values()), (
        "no candidate: unsolved"
    )
    assert lines["majority"][4][1] == lines["weighted_min"][4][1] == 0.0, "nobody votes: unsolved"
    assert lines["pass"][4][1] == 1.0
    assert lines["best_min"][4][2] == 0.0, "without scores ranks below a score of 0"
    assert lines["best_min"][1][2] == 0.5
    assert lines["best_min"][4][3] == lines["majority"][4][3] == 1.0, "fewer than N: all are used"


def test_ties_are_broken_at_random():
    pool = [Sample("1", True, (0.7, 0.7)), Sample("2", False, (0.7, 0.7))]
    lines = curves([pool], [2])
    assert {name: values[2][0] for name, values in lines.items() if name != "pass"} == pytest.approx(
        dict.fromkeys(set(lines) - {"pass"}, 0.5)
    )


def test_all_weights_zero_is_a_tie_and_not_an_error():
    assert vote_at([0, 1], [True, False], 2, weights=[0.0, 0.0]) == 0.5


def test_bad_weights_and_nan_scores_are_refused():
    for weights in ([1.0], [1.0, float("nan")], [1.0, -1.0], [1.0, float("inf")]):
        with pytest.raises(ValueError, match="weight"):
            vote_at([0, 1], [True, False], 1, weights=weights)
    with pytest.raises(ValueError, match="NaN"):
        best_at([0.5, float("nan")], [True, False], 1)


@pytest.mark.parametrize(
    ("spellings", "other"),
    [
        (["0.5", r"\frac{1}{2}", r"\frac12", "1/2", ".50"], "2"),
        (["1,000", "1000", "$1000$", r"\$1,000", "1000.0"], "100"),
        (["North East", "north east.", " North  East "], "south"),
        (["12", r"\boxed{12}", "12.00", "+12"], "21"),
    ],
)
def test_equal_answers_vote_together_in_whatever_spelling(spellings, other):
    """The wrong answer is given more often than any one spelling of the right one, but not than all of them."""
    group = [Sample(one, True, (0.4,)) for one in spellings]
    group += [Sample(other, False, (0.4,))] * (len(spellings) - 1)
    lines = curves([group], [len(group)])
    assert lines["majority"][len(group)] == [1.0] and lines["weighted"][len(group)] == [1.0]


def trace_file(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def record(number, step, outcome=True, **more):
    return {"id": f"p{number}", "problem": f"{number} + 1 = ?", "steps": [step], "outcome": outcome, **more}


def test_traces_are_grouped_by_problem_and_matched_with_score_files(tmp_path, capsys):
    rows = [record(1, "The answer is 2"), record(1, "The answer is 3", False), record(2, "no number", False)]
    data = trace_file(tmp_path / "data.jsonl", rows)
    found = read_candidates([data])
    assert list(found.groups.values()) == [["p1#1", "p1#2"], ["p2"]]
    assert found.answers == {"p1#1": "2", "p1#2": "3", "p2": None}
    scores = trace_file(
        tmp_path / "scores.jsonl",
        [{"id": i, "scores": [s]} for i, s in (("p1#1", 0.2), ("p1#2", 0.9), ("p2", 0.5))],
    )
    metrics = evaluate_bon(BonSettings(data=[data], scores=[scores], resamples=50), tmp_path / "out")
    assert metrics["bon.best.n2.accuracy"].value == 0.0 and metrics["bon.pass.n2.accuracy"].value == 0.5
    assert metrics["bon.short"].value == 1 and metrics["bon.without_answer"].value == 1
    [worst] = [json.loads(line) for line in (tmp_path / "out" / "worst.jsonl").open()]
    assert worst["id"] == "p1" and worst["chosen"] == "p1#2" and worst["gap"] == pytest.approx(0.7)
    assert len((tmp_path / "out" / "cases.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DataError, match="no scores for 1 of 3 traces"):
        trace_file(scores, [{"id": i, "scores": [0.1]} for i in ("p1#1", "p1#2")])
        evaluate_bon(BonSettings(data=[data], scores=[scores]), tmp_path / "out2")
    chosen = BonSettings(data=[data], scores=[scores], allow_missing=True, resamples=5)
    metrics = evaluate_bon(chosen, tmp_path / "out2")
    assert metrics["bon.candidates"].value == 3 and metrics["bon.without_scores"].value == 1
    [said] = [line for line in capsys.readouterr().out.splitlines() if "without scores" in line]
    assert said == "1 candidate without scores: ranked below every other"
    assert "bon.missing" not in metrics


def test_nan_scores_and_missing_outcomes_are_refused(tmp_path):
    data = trace_file(tmp_path / "data.jsonl", [record(1, "so 2")])
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"id": "p1", "scores": [NaN]}\n')
    with pytest.raises(DataError, match=r"NaN|not valid JSON|finite"):
        evaluate_bon(BonSettings(data=[data], scores=[scores]), tmp_path / "out")
    bare = trace_file(tmp_path / "bare.jsonl", [{"id": "1", "problem": "q", "steps": ["so 2"]}])
    with pytest.raises(DataError, match="no outcome"):
        read_candidates([bare])


def samples_record(**changes):
    good = {
        "idx": 0, "question": "q", "response": ["So\n\n2.", ""], "score": [True, False],
        "pred": ["$1,000$", ""], "pred_score": [[2.0], [-2.0]],
    }  # fmt: skip
    return good | changes


def test_parallel_lists_with_raw_rewards(tmp_path):
    found = read_candidates([trace_file(tmp_path / "samples.jsonl", [samples_record()])])
    [[first, second]] = found.groups.values()
    assert found.answers == {first: "$1,000$", second: None}
    assert found.scores[first][0] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert first in found.traces and second not in found.traces, "an empty response has no step to score"
    empty = read_candidates(
        [trace_file(tmp_path / "e.jsonl", [samples_record(response=[], score=[], pred=[], pred_score=[])])]
    )
    assert list(empty.groups.values()) == [[]]
    with pytest.raises(DataError, match="no problem has a candidate"):
        evaluate_bon(BonSettings(data=[tmp_path / "e.jsonl"]), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": [True]}, "one entry for each of 2"),
        ({"score": [1, 0]}, "not true or false"),
        ({"pred_score": [["x"], [1.0]]}, "finite numbers"),
        ({"pred_score": [[], [1.0]]}, "finite numbers"),
        ({"pred_score": [10**400, 1.0]}, "finite numbers"),
        ({"pred_score": [[1.0], [-(10**400)]]}, "finite numbers"),
        ({"pred_score": [True, 1.0]}, "finite numbers"),
        ({"pred_score": [None, 1.0]}, "finite numbers"),
        ({"pred": "2"}, "expected a list"),
    ],
)
def test_bad_sample_records_are_refused_with_their_place(tmp_path, changes, message):
    path = trace_file(tmp_path / "samples.jsonl", [samples_record(**changes)])
    with pytest.raises(DataError, match=message) as caught:
        read_candidates([path])
    assert f"{path}:1" in str(caught.value)
    array = tmp_path / "samples.json"
    array.write_text(
        json.dumps([samples_record(idx=1, question="other"), samples_record(**changes)], indent=1)
    )
    with pytest.raises(DataError, match=message) as caught:
        read_candidates([array])
    assert f"{array}:2" in str(caught.value) and "record 2 of the JSON array" in str(caught.value)


def test_both_forms_may_also_be_one_json_array(tmp_path):
    for rows in (
        [samples_record(), samples_record(idx=1, question="other")],
        [record(1, "The answer is 2"), record(1, "The answer is 3", False), record(2, "no number", False)],
    ):
        lines, array = tmp_path / "lines.jsonl", tmp_path / "array.json"
        trace_file(lines, rows)
        array.write_text("\n " + json.dumps(rows, indent=2))
        assert read_candidates([array]) == read_candidates([lines])


# --- real data -----------------------------------------------------------------------------------------------------


def test_real_samples(tmp_path):
    metrics = evaluate_bon(
        BonSettings(data=[sample("gsm8k/example_model_solutions.jsonl")], resamples=100),
        tmp_path / "a",
    )
    assert metrics["bon.problems"].value == 660 and metrics["bon.candidates"].value == 2640
    assert metrics["bon.random.n4.accuracy"].value == pytest.approx(0.382, abs=0.001)
    assert metrics["bon.pass.n4.accuracy"].value == pytest.approx(0.668, abs=0.001)
    assert metrics["bon.majority.n2.accuracy"].value == pytest.approx(
        metrics["bon.random.n1.accuracy"].value, abs=0.002
    )
    settings = BonSettings(data=[sample("best_of_n/math_8_samples_with_reward.jsonl")], resamples=100)
    rewarded = evaluate_bon(settings, tmp_path / "b")
    at = {line: rewarded[f"bon.{line}.n8.accuracy"].value for line in ("random", "majority", "best", "pass")}
    assert at["random"] < at["best"] <= at["pass"] and rewarded["bon.best_minus_majority"].low is not None


@settings(max_examples=100, deadline=None)
@given(pool=samples, n=st.integers(1, 9), data=st.data())
def test_the_ceiling_is_the_choice_of_a_perfect_step_verifier(pool, n, data):
    sound = [right and data.draw(st.booleans()) for _, right, _ in pool]  # right steps reach the answer
    group = [Sample(a, c, None, good) for (_, c, a), good in zip(pool, sound, strict=True)]
    lines = curves([group], [n])
    if not any(sound):
        assert "ceiling" not in lines
        return

    def choose(subset):
        among = [place for place in subset if sound[place]] or subset
        return np.mean([pool[place][1] for place in among])

    assert lines["ceiling"][n][0] == pytest.approx(by_enumeration(range(len(pool)), n, choose))
    assert lines["random"][n][0] - 1e-9 <= lines["ceiling"][n][0] <= lines["pass"][n][0] + 1e-9


def test_without_knowledge_of_all_steps_there_is_no_ceiling():
    assert "ceiling" not in curves([[Sample("1", True, None, True), Sample("2", False, None)]], [1])


def test_labelled_candidates_give_a_ceiling_and_discrimination_within_problems(tmp_path):
    data, scores = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl"
    # The second problem scores lower as a whole: pooled AUC suffers, a choice does not.
    rows = [
        ("a", True, (1.0, 1.0), [0.9, 0.8]),
        ("a", False, (1.0, 0.0), [0.9, 0.7]),
        ("a", True, (0.0, None), [0.6, 0.9]),
        ("b", True, (1.0, 1.0), [0.4, 0.3]),
        ("b", False, (1.0, 0.0), [0.4, 0.2]),
    ]
    traces = [Trace(Problem(name, "?"), ("x", "y"), labels, outcome) for name, outcome, labels, _ in rows]
    write_traces(data, traces)
    write_scores(scores, zip(distinct_ids(traces), (row for *_, row in rows), strict=True))
    metrics = evaluate_bon(BonSettings(data=[data], scores=[scores]), tmp_path / "out")
    assert metrics["bon.pass.n3.accuracy"].value == 1.0
    assert metrics["bon.ceiling.n1.accuracy"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics["bon.ceiling.n3.accuracy"].value == 1.0
    assert "bon.ceiling_minus_majority" not in metrics
    assert metrics["bon.step_auc.within"].value == 1.0
    assert metrics["bon.step_auc.within"].n == 2
    # Right steps score .9 .8 .9 .4 .3 .4, first wrong ones .7 .6 .2: 3 × 3 + 3 × 1 of 18 pairs.
    assert metrics["bon.step_auc.pooled"].value == pytest.approx(12 / 18)
    assert metrics["bon.solution_auc.last.within"].value == 1.0
    assert metrics["bon.solution_auc.last.pooled"].value == pytest.approx(5 / 6)
    assert metrics["bon.solution_auc.min.within"].value == pytest.approx((1 / 2 + 1) / 2)


def test_a_world_judges_the_steps_of_its_problems(tmp_path):
    world = make_world("chain")
    problem = world_problems(world, 1, seed=0, name="bon")[0]
    # Wrong, and yet the right answer
    lucky = (
        problem.solution[0].replace(" is ", " is 1"),
        *problem.solution[1:],
    )
    data = tmp_path / "traces.jsonl"
    write_traces(
        data, [Trace(problem, tuple(problem.solution), None, True), Trace(problem, lucky, None, True)]
    )
    metrics = evaluate_bon(BonSettings(data=[data], world="chain"), tmp_path / "out")
    assert metrics["bon.pass.n1.accuracy"].value == metrics["bon.ceiling.n1.accuracy"].value == 1.0
    groups = [json.loads(line) for line in (tmp_path / "out" / "cases.jsonl").read_text().splitlines()]
    assert groups[0]["accuracy"]["ceiling"] == {"1": 1.0, "2": 1.0}
    write_traces(
        data, [Trace(problem, lucky, None, False), Trace(Problem("x", "what ?"), ("a",), None, True)]
    )
    with pytest.raises(DataError):
        evaluate_bon(BonSettings(data=[data], world="chain"), tmp_path / "out2")
