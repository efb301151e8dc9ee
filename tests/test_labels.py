"""Labels as pure functions of counts: posteriors, allocation, the three modes, and the checkers of answers."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.errors import DataError
from sparring.labels.allocation import Adaptive, Tally, Uniform
from sparring.labels.answers import AnswerChecker, WorldChecker
from sparring.labels.modes import BinarySearch, FirstPit, MonteCarlo, Walk, first_pit
from sparring.labels.posterior import (
    best_of_k,
    estimate,
    exact,
    interval,
    pass_at_k,
    posterior_mean,
    probability_above,
)
from sparring.labels.settings import LabelSettings, parse_prover
from sparring.settings import load_settings
from sparring.traces.answers import stated_answer
from sparring.traces.records import Estimate, Problem, step_labels
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_world import ChainWorld

COUNTS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# --- posterior -----------------------------------------------------------------------------------------------


@given(COUNTS, st.floats(0.01, 0.99))
def test_the_posterior_is_the_integral_of_its_density(counts, threshold):
    successes, n = counts
    grid = (np.arange(20_000) + 0.5) / 20_000
    density = grid**successes * (1 - grid) ** (n - successes)
    expected = density[grid > threshold].sum() / density.sum()
    assert probability_above(threshold, successes, n) == pytest.approx(expected, abs=2e-3)
    assert posterior_mean(successes, n) == pytest.approx((grid * density).sum() / density.sum(), abs=1e-4)


@given(COUNTS)
def test_intervals_hold_95_percent_and_the_value(counts):
    successes, n = counts
    low, high = interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mass = probability_above(low, successes, n) - probability_above(high, successes, n)
    assert mass == pytest.approx(0.95 if 0 < successes < n else 0.975, abs=1e-6)
    for k in (1, 4, 32):
        for mean in (False, True):
            found = estimate(successes, n, k=k, mean=mean)
            assert found.count == n and 0 <= found.low <= found.value <= found.high <= 1


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    truths = rng.random(4000)
    covered = [
        low <= truth <= high
        for truth, successes in zip(truths, rng.binomial(20, truths), strict=True)
        for low, high in [interval(int(successes), 20)]
    ]
    assert np.mean(covered) > 0.935  # 0.95 or more expected; its standard error is 0.0034


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n))
    )
)
def test_pass_at_k_is_the_share_of_subsets_with_a_success(drawn):
    outcomes, k = drawn
    subsets = list(combinations(outcomes, k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k(sum(outcomes), len(outcomes), k) == pytest.approx(expected)


def test_best_of_k_is_what_a_perfect_choice_among_k_reaches():
    rng = np.random.default_rng(1)
    for value, k in ((0.1, 4), (0.5, 2), (0.02, 32)):
        simulated = (rng.random((200_000, k)) < value).any(axis=1).mean()
        assert best_of_k(value, k) == pytest.approx(simulated, abs=0.006)
    assert best_of_k(np.array([0.0, 0.5, 1.0]), 2).tolist() == [0.0, 0.75, 1.0]
    assert best_of_k(0.3, 1) == pytest.approx(0.3)


def test_counts_that_cannot_be_are_refused():
    for call in (
        lambda: pass_at_k(1, 3, 4), lambda: pass_at_k(4, 3, 1), lambda: posterior_mean(-1, 3),
        lambda: best_of_k(0.5, 0), lambda: estimate(0, 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            call()
    for bad in ((0.5, 3, 0.6, 0.7), (0.5, -1, 0.4, 0.6), (math.nan, 1, 0.0, 1.0), (0.5, 1, 0.4, 1.1)):
        with pytest.raises(DataError):
            Estimate(*bad)


# --- allocation ----------------------------------------------------------------------------------------------


def spend(rule: Uniform | Adaptive, outcomes: list[bool]) -> Tally:
    """Give a prefix rollouts, with these outcomes in this order, until the rule is content."""
    tally = Tally()
    while count := tally.missing(rule):
        part = outcomes[tally.count : tally.count + count]
        assert len(part) == count
        tally = tally.plus(sum(part), count)
    return tally


@given(st.lists(st.booleans(), min_size=32, max_size=32), st.integers(1, 9), st.integers(1, 9))
def test_stopping_at_the_first_success_never_changes_a_hard_label(outcomes, first, step):
    uniform = spend(Uniform(32), outcomes)
    adaptive = spend(Adaptive(0.0, 32, first, step), outcomes)
    assert (uniform.successes > 0) == (adaptive.successes > 0)
    assert adaptive.count <= uniform.count == 32


@given(st.lists(st.booleans(), min_size=64, max_size=64), st.floats(0.05, 0.95))
def test_an_adaptive_prefix_ends_decided_or_at_its_limit(outcomes, threshold):
    rule = Adaptive(threshold, 64, 4, 4, 0.9)
    tally = spend(rule, outcomes)
    assert tally.count <= 64
    assert tally.count == 64 or rule.decided(tally.successes, tally.count)
    for length in range(1, len(tally.rounds)):  # and not earlier
        before = Tally(tally.rounds[:length])
        assert not rule.decided(before.successes, before.count)
    assert tally.screened(rule) == (tally.successes, tally.count)
    assert tally.plus(1, 20).screened(rule) == (tally.successes, tally.count)


def test_a_refused_prefix_wants_nothing():
    assert Tally(refused="too long").missing(Uniform(8)) == 0


# --- modes ---------------------------------------------------------------------------------------------------


def walked(needs, outcome, values, n_at_once=None, seed=0):
    """Play a mode to its end with Bernoulli rollouts; return the walk and the lengths in the order measured."""
    rng = random.Random(seed)
    tallies: dict[int, Tally] = {}
    order = []
    for _ in range(1000):
        walk = Walk(len(values) - 1, outcome, dict(tallies))
        wanted = needs(walk)
        if not wanted:
            return walk, order
        for length, count in wanted.items():
            assert count > 0
            order.append(length)
            successes = sum(rng.random() < values[length] for _ in range(count))
            tallies[length] = tallies.get(length, Tally()).plus(successes, count)
    raise AssertionError("never ends")


def simple(tally: Tally) -> Estimate:
    return estimate(tally.successes, tally.count)


def as_label(found: Estimate) -> float:
    return found.value


SEARCH = BinarySearch(Uniform(3), simple)
VALUES = st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=2, max_size=9)
OUTCOME = st.sampled_from([True, False, None])


@given(VALUES, OUTCOME, st.integers(1, 12), st.integers(0, 99))
def test_monte_carlo_measures_every_prefix_once(values, outcome, n, seed):
    walk, order = walked((mode := MonteCarlo(Uniform(n), simple, as_label)).needs, outcome, values, seed=seed)
    assert sorted(order) == list(range(len(values) - (outcome is not None)))
    found = mode.findings(walk)
    assert found.root.count == n and found.kind == "measured"
    for length, (one, label) in enumerate(zip(found.estimates, found.labels, strict=True), start=1):
        if length == walk.length and outcome is not None:
            assert one == exact(float(outcome))
        else:
            assert one.value == walk.tally(length).successes / n
        assert label == one.value


@given(
    st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    st.sampled_from([False, None]),
)
def test_binary_search_finds_the_first_dead_prefix_in_few_measurements(drawn, outcome):
    length, first_dead = drawn
    values = [1.0] * first_dead + [0.0] * (length + 1 - first_dead)
    walk, order = walked(SEARCH.needs, outcome, values)
    found = SEARCH.findings(walk)
    assert found.labels == (1.0,) * (first_dead - 1) + (0.0,) + (None,) * (length - first_dead)
    assert len(order) == len(set(order)) <= math.ceil(math.log2(max(1, length))) + 1 + (outcome is None)


def test_binary_search_says_when_there_is_nothing_to_find():
    walk, order = walked(SEARCH.needs, True, [1.0] * 5)
    assert order == [] and SEARCH.findings(walk).labels == (1.0,) * 4
    walk, order = walked(SEARCH.needs, False, [0.0] * 5)
    found = SEARCH.findings(walk)
    assert order == [0] and found.kind == "never solved" and found.labels == (None,) * 4
    walk, _ = walked(SEARCH.needs, None, [1.0] * 5)
    assert SEARCH.findings(walk).kind == "can be finished"
    refused = Walk(4, False, {0: Tally(((3, 3),)), 2: Tally(refused="too long")})
    assert SEARCH.needs(refused) == {}
    assert SEARCH.findings(refused).kind == "refused"


PIT = FirstPit(Uniform(4), 20, 0.25, simple, as_label)


def test_the_first_pit_is_the_first_zero_and_there_may_be_none():
    assert first_pit([0.5, 0.0, 0.3, 0.0]) == 1
    assert first_pit([0.5, 0.1]) is None
    assert first_pit([]) is None


@given(VALUES, OUTCOME, st.integers(0, 99))
def test_first_pit_measures_up_to_the_pit_and_sharpens(values, outcome, seed):
    walk, _ = walked(PIT.needs, outcome, values, seed=seed)
    found = PIT.findings(walk)
    measured = [length for length in range(len(values)) if walk.tally(length).count]
    if outcome:
        assert measured == [] and found.kind == "right answer"
        return
    screened = {length: walk.tally(length).screened(PIT.screening) for length in measured}
    alive = [length for length in measured if screened[length][0] > 0]
    if found.kind == "pit found":
        pit = (
            max(i + 1 for i, one in enumerate(found.estimates) if one is not None)
            if any(found.estimates)
            else 0
        )
        assert all(length in alive for length in range(pit))
        assert all(walk.tally(length).count == 20 for length in range(min(pit, walk.last) + 1))
        assert (pit == walk.length and outcome is False) or screened[pit][0] == 0
        assert found.labels[pit:] == (None,) * (walk.length - pit)
    else:
        assert found.labels == (None,) * walk.length
        assert found.kind in ("no pit", "not solved often enough")
        assert all(walk.tally(length).count == 4 for length in measured)


def test_a_pit_stays_the_pit_when_a_later_rollout_climbs_out():
    tallies = {0: Tally(((3, 4),)), 1: Tally(((0, 4), (2, 16))), 2: Tally(((0, 4),))}
    walk = Walk(3, False, tallies | {0: Tally(((3, 4), (9, 16)))})
    found = PIT.findings(walk)
    assert PIT.needs(walk) == {}
    assert found.labels == (0.1, None, None) and found.root.count == 20


# --- settings ------------------------------------------------------------------------------------------------


def test_provers_are_named_in_words():
    assert parse_prover("base") == parse_prover("base")
    assert (parse_prover("best-of-4").policy, parse_prover("best-of-4").best_of) == (None, 4)
    assert (parse_prover("runs/other").policy, parse_prover("runs/other").best_of) == ("runs/other", 1)


@pytest.mark.parametrize(
    "override",
    ["prover=best-of-1", "prover=best-of-x", "prover=''", "solutions=given", "mode=first_pit n_mc=30",
     "chain_steps=[3,2]", "n_mc=0", "adaptive_confidence=0.5", "threshold=1"],
)  # fmt: skip
def test_settings_out_of_range_are_refused(override):
    with pytest.raises(Exception, match=r"\w"):
        load_settings(LabelSettings, None, override.split())


def test_a_threshold_on_best_of_k_is_one_on_the_policy():
    rule = LabelSettings(prover="best-of-4", adaptive=True, threshold=0.5).allocation()
    assert best_of_k(rule.threshold, 4) == pytest.approx(0.5)
    assert LabelSettings(mode="binary_search", adaptive=True, threshold=0.5).allocation().threshold == 0.0


# --- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "stated"),
    [
        (["so \\boxed{\\frac{1}{2}}."], "\\frac{1}{2}"),
        (["x = 3", "#### 42"], "42"),
        (["A: 1,234"], "1,234"),
        (["The answer is 7."], "7"),
        (["Therefore the answer is: $x+1$."], "x+1"),
        (["She has 3 + 4 = 7 apples"], "7"),
        (["It costs $1,200.50 in all."], "$1,200.50"),
        (["no idea"], None),
        ([""], None),
        ([], None),
        (["\\boxed{" + "9" * 400 + "}"], None),
        (["#### " + "9" * 400], None),
    ],
)
def test_stated_answers(steps, stated):
    assert stated_answer(steps) == stated


def test_the_last_number_counts_only_where_asked_for():
    assert stated_answer(["That makes 7 apples"], last_number=False) is None


def test_mathematics_is_compared_in_the_sandbox_within_bounds():
    checker = AnswerChecker()
    answers = {
        "\\frac{1}{2}": ["0.5", "1/3", "2^{2^{2^{2^{2^{2}}}}}", "\\text{blue}", "((((((((((", "9" * 290]
    }
    for reference, stated in answers.items():
        problem = Problem("p", "q", reference)
        verdicts = checker.judge([(problem, [f"\\boxed{{{text}}}"]) for text in stated])
        assert verdicts[:2] == [True, False]
        assert not any(verdicts[2:])
    assert checker.judge([(Problem("p", "q", "x^2+2x+1"), ["\\boxed{(x+1)^2}"])]) == [True]
    assert checker.judge([(Problem("p", "q", "4"), ["who knows"])]) == [None]
    with pytest.raises(DataError, match="no reference answer"):
        checker.judge([(Problem("nameless", "q"), ["1"])])


def test_the_chain_worlds_checker():
    [problem] = generate_problems(1, steps=(3, 3), seed=0)
    wrong = [*problem.solution[:-1], problem.solution[-1].rpartition(" ")[0] + " 99"]
    assert WorldChecker(ChainWorld()).judge(
        [(problem, problem.solution), (problem, wrong), (problem, ["?"])]
    ) == [
        True,
        False,
        None,
    ]


def test_labels_by_an_oracle_end_with_the_first_error_and_undecided_steps_have_none():
    assert step_labels(["correct", "undecided", "wrong", "correct"]) == (1.0, None, 0.0, None)
    assert step_labels(["undecided", "correct"]) == (None, 1.0)
