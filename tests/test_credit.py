"""Credit rules: the identities that expose the classic mistakes of rewarding steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.training.credit import (
    above_values,
    gated,
    log_ratio,
    min_weights,
    outcome_advantages,
    progress,
    reward_to_go,
    soft_min,
    step_sum,
    token_advantages,
    with_start,
)

SCORES = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6)
GROUPS = st.lists(SCORES, min_size=2, max_size=5)
RULES = {
    "step_sum": step_sum,
    "step_sum unclipped": lambda group: step_sum(group, clip=False),
    "soft_min": soft_min,
}


def same(one, other, tolerance=1e-9):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


# --- telescoping -----------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_progress_telescopes_so_it_must_not_be_summed_over_the_steps_to_come(values):
    (credit,) = progress([values])
    assert credit.sum() == pytest.approx(values[-1] - values[0])
    # Its reward-to-go is the outcome minus a function of where the step began: nothing of the step itself is left in it.
    np.testing.assert_allclose(reward_to_go(credit), values[-1] - np.array(values[:-1]), atol=1e-12)


def test_progress_gives_a_step_its_own_advantage_only():
    credit, other = progress([[0.5, 0.9, 0.1, 0.1, 1.0], [0.5, 0.9, 0.1, 0.1, 0.0]])
    assert credit.tolist() == pytest.approx([0.4, -0.8, 0.0, 0.9])
    assert credit[:3].tolist() == other[:3].tolist()  # what comes later changes nothing before it


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_log_ratios_telescope_to_the_ratio_of_the_whole_answer(log_odds):
    neighbour = [0.0] * 3  # no opinion: increments and their mean are zero
    credit, _ = log_ratio([log_odds, neighbour])
    assert credit[0] == pytest.approx(log_odds[-1])


def test_an_implicit_prm_that_equals_its_reference_gives_no_credit():
    same(log_ratio([[0.0, 0.0], [0.0]]), [[0.0, 0.0], [0.0]])


def tree_gradient(values, policy, alpha, *, to_go):
    """The exact expected policy gradient in a tree of two binary steps, by its four leaves: (nodes, choices)."""
    gradient = np.zeros((3, 2))
    for first, second in itertools.product((0, 1), repeat=2):
        node = 1 + first
        chance = policy[0][first] * policy[node][second]
        leaf = values["leaf"][first][second]
        (credit,) = progress([[values["root"], values["node"][first], leaf]])
        steps = reward_to_go(credit) if to_go else credit
        for place, (state, choice) in enumerate(((0, first), (node, second))):
            score = -np.array(policy[state])
            score[choice] += 1  # d log softmax
            gradient[state] += chance * (leaf + alpha * steps[place]) * score
    return gradient


def test_with_the_policy_as_its_own_prover_progress_only_scales_the_gradient():
    """E[(R + α A^π) ∇log π] = (1 + α) ∇J, so a prover that tells nothing new changes no direction (PAV, section 3.2)."""
    policy = [[0.3, 0.7], [0.6, 0.4], [0.2, 0.8]]
    leaf = [[1.0, 0.0], [0.3, 0.9]]
    node = [sum(policy[1 + i][j] * leaf[i][j] for j in (0, 1)) for i in (0, 1)]
    values = {"leaf": leaf, "node": node, "root": policy[0][0] * node[0] + policy[0][1] * node[1]}
    plain = tree_gradient(values, policy, 0.0, to_go=False)
    np.testing.assert_allclose(tree_gradient(values, policy, 2.0, to_go=False), 3.0 * plain, atol=1e-12)
    # With another prover the immediate advantage adds information; its reward-to-go is the outcome again, whoever proves.
    prover = values | {"node": [0.9, 0.1], "root": 0.5}
    np.testing.assert_allclose(tree_gradient(prover, policy, 2.0, to_go=True), 3.0 * plain, atol=1e-12)
    assert not np.allclose(tree_gradient(prover, policy, 2.0, to_go=False), 3.0 * plain, atol=1e-3)


# --- value baseline and gate -----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_baseline_of_prefixes_however_wrong_leaves_the_expected_gradient(values):
    policy = [[0.3, 0.7], [0.6, 0.4], [0.2, 0.8]]
    leaf = [[1.0, 0.0], [0.3, 0.9]]
    plain, above = np.zeros((3, 2)), np.zeros((3, 2))
    for first, second in itertools.product((0, 1), repeat=2):
        chance = policy[0][first] * policy[1 + first][second]
        advantage = above_values(leaf[first][second], [values[0], values[1 + first], 0.5], 2)
        for place, (state, choice) in enumerate(((0, first), (1 + first, second))):
            score = -np.array(policy[state])
            score[choice] += 1  # d log softmax
            plain[state] += chance * leaf[first][second] * score
            above[state] += chance * advantage[place] * score
    np.testing.assert_allclose(above, plain, atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.0, 1.0]))
def test_above_the_values_is_progress_summed_over_what_comes_when_the_last_value_is_the_outcome(
    values, outcome
):
    values = [*values, outcome]
    (credit,) = progress([values])
    np.testing.assert_allclose(above_values(outcome, values, len(credit)), reward_to_go(credit), atol=1e-12)


@given(SCORES, st.data())
def test_a_gate_keeps_what_comes_before_the_first_wrong_step_and_nothing_after(values, data):
    correctness = data.draw(st.lists(st.floats(0, 1), max_size=len(values)))
    found = gated(values, correctness, 0.5)
    slip = next((place for place, score in enumerate(correctness) if score < 0.5), len(values))
    assert found.tolist() == [*values[:slip], *[0.0] * (len(values) - slip)]
    # Softly: never more than the value, never more than any score so far, and the same where all is surely right.
    soft = gated(values, correctness, None)
    for place, value in enumerate(soft):
        assert value <= values[place] and value <= min([1.0, *correctness[: place + 1]])
    assert gated(values, [1.0] * len(values), None).tolist() == values


def test_a_value_after_the_last_that_was_scored_is_the_last():
    assert above_values(1.0, [0.2, 0.4], 4).tolist() == pytest.approx([0.8, 0.6, 0.6, 0.6])
    assert above_values(0.0, [0.2, 0.4, 0.0], 2).tolist() == pytest.approx([-0.2, -0.4])


# --- a constant shift ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(group=GROUPS, shift=st.floats(-3, 3))
def test_adding_a_constant_to_all_scores_changes_no_credit(rule, group, shift):
    same(rule([[s + shift for s in row] for row in group]), rule(group), 1e-7)


@given(group=GROUPS, shift=st.floats(-3, 3))
def test_adding_a_constant_to_all_values_changes_no_progress(group, shift):
    same(progress([[v + shift for v in row] for row in group]), progress(group))
    same(progress(with_start([[v + shift for v in row] for row in group])), progress(with_start(group)))


@given(group=GROUPS, shift=st.floats(-3, 3))
def test_adding_a_constant_to_every_increment_changes_no_log_ratio_credit(group, shift):
    shifted = [[value + shift * (place + 1) for place, value in enumerate(row)] for row in group]
    same(log_ratio(shifted), log_ratio(group), 1e-7)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-3, 3))
def test_adding_a_constant_to_all_outcomes_changes_no_advantage(outcomes, shift):
    np.testing.assert_allclose(
        outcome_advantages(np.array(outcomes) + shift), outcome_advantages(outcomes), atol=1e-9
    )


# --- length ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(quality=st.floats(0.05, 0.95), counts=st.lists(st.integers(1, 8), min_size=2, max_size=5))
def test_more_steps_of_the_same_quality_do_not_pay(rule, quality, counts):
    for credit in rule([[quality] * count for count in counts]):
        np.testing.assert_allclose(credit, 0.0, atol=1e-9)


@given(
    group=GROUPS,
    filler=st.floats(0.01, 0.99),
    place=st.integers(0, 6),
    rule=st.sampled_from([step_sum, soft_min]),
)
def test_an_inserted_step_is_no_better_than_the_best_that_the_answer_has(group, filler, place, rule):
    """What an answer's steps get in all does not rise by a step that is no better than its worst one."""
    worst = min(filler, *group[0])
    longer = [*group[0][:place], worst, *group[0][place:]]
    assert rule([longer, *group[1:]])[0][0] <= rule(group)[0][0] + 1e-9


@given(group=GROUPS, easy=st.integers(1, 20))
def test_clipped_sums_never_pay_for_easy_steps_and_unclipped_ones_do(group, easy):
    padded = [[*group[0], *[1.0] * easy], *group[1:]]
    assert step_sum(padded)[0][0] == pytest.approx(step_sum(group)[0][0])
    # Why the clip is the default
    assert step_sum(padded, clip=False)[0][0] > step_sum(group, clip=False)[0][0]


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=6), place=st.integers(0, 5))
def test_a_step_that_changes_no_value_gets_no_progress(values, place):
    place = min(place, len(values) - 1)
    (credit,) = progress([[*values[: place + 1], values[place], *values[place + 1 :]]])
    assert credit[place] == 0.0
    assert credit.sum() == pytest.approx(values[-1] - values[0])


# --- forms -----------------------------------------------------------------------------------------------------


@given(SCORES)
def test_the_soft_minimum_lies_between_minimum_and_mean(scores):
    value = float(min_weights(scores, 0.1) @ np.array(scores))
    assert min(scores) - 1e-9 <= value <= np.mean(scores) + 1e-9
    assert float(min_weights(scores, 1e-4) @ np.array(scores)) == pytest.approx(min(scores), abs=1e-3)
    assert float(min_weights(scores, 1e6) @ np.array(scores)) == pytest.approx(np.mean(scores), abs=1e-3)


@given(GROUPS)
def test_from_the_first_step_on_soft_min_credit_is_the_soft_minimum_minus_the_others(group):
    ends = [float(min_weights(row, 0.1) @ np.array(row)) for row in group]
    for index, credit in enumerate(soft_min(group)):
        others = np.mean(ends[:index] + ends[index + 1 :])
        assert credit[0] == pytest.approx(ends[index] - others, abs=1e-9)


def test_after_the_worst_step_soft_min_has_hardly_any_credit_left():
    bad, good = soft_min([[0.9, 0.05, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9]])
    assert bad[0] < -0.8 and bad[1] < -0.8
    assert abs(bad[2]) < 0.01
    assert good[0] > 0.8


def test_by_hand():
    assert outcome_advantages([1, 0, 0, 1]).tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])
    same(step_sum([[0.9, 0.1], [0.5]]), [[-0.4, -0.4], [0.0]])
    same(step_sum([[0.9, 0.1], [0.5]], clip=False), [[0.0, -0.4], [0.0]])
    same(log_ratio([[1.0, 3.0], [1.0]]), [[1.0, 1.0], [-0.5]])
    same(with_start([[0.2, 0.4], [0.6], []]), [[0.6, 0.2, 0.4], [0.2, 0.6], []])


def test_alone_or_without_steps_there_is_nothing_to_compare_with():
    assert outcome_advantages([1.0]).tolist() == [0.0]
    for rule in RULES.values():
        alone, empty = rule([[0.4, 0.4], []])
        assert alone.tolist() == pytest.approx([0.0, 0.0]) and len(empty) == 0
    assert progress(with_start([[0.7, 0.2]]))[0].tolist() == pytest.approx([0.0, -0.5])


# --- tokens ----------------------------------------------------------------------------------------------------


def test_every_token_has_the_outcome_and_the_credit_of_its_own_step():
    weights = {"outcome_weight": 2.0, "process_weight": 0.5}
    found = token_advantages(0.5, [0.2, -1.0], [(0, 2), (2, 5)], 5, **weights)
    assert found.tolist() == pytest.approx([1.1, 1.1, 0.5, 0.5, 0.5])
    unscored = token_advantages(0.5, [0.2], [(0, 2), (2, 5)], 5, **weights)
    assert unscored.tolist() == pytest.approx([1.1, 1.1, 1.0, 1.0, 1.0])
    assert token_advantages(0.5, [], [], 3, **weights).tolist() == [1.0] * 3
    own = token_advantages(np.array([0.5, -0.5]), [0.2], [(0, 2), (2, 5)], 5, **weights)
    assert own.tolist() == pytest.approx([1.1, 1.1, -1.0, -1.0, -1.0])


@pytest.mark.parametrize(
    ("steps", "spans"), [([1.0, 2.0], [(0, 2)]), ([1.0], [(0, 9)]), ([1.0, 2.0], [(2, 4), (0, 2)])]
)
def test_spans_that_do_not_fit_are_refused(steps, spans):
    with pytest.raises(ValueError, match="do not fit"):
        token_advantages(0.0, steps, spans, 5, outcome_weight=1.0, process_weight=1.0)
