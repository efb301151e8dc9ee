"""The chain world: what it generates is right, and its oracle knows every kind of error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.errors import DataError
from sparring.traces.records import Problem, Trace
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    MODULUS,
    final_answer,
    generate_chain,
    generate_problems,
    judge_step,
    parse_question,
)
from sparring.worlds.chain_errors import CHAIN_ERRORS, perturb_step
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged

SEEDS = st.integers(0, 10_000)
QUESTION = "mod 13 : b is 7 ; c = b + 9 ; d = c * b ; e = d - c ; find e"
CHAIN = parse_question(QUESTION)
FIRST = "c = b + 9 = 7 + 9 , c is 3"


@given(SEEDS, st.sampled_from([IN_DISTRIBUTION, LONGER]))
def test_reference_solutions_are_correct_and_reach_the_answer(seed, steps):
    (problem,) = generate_problems(1, steps=steps, seed=seed)
    assert problem.solution is not None
    chain = parse_question(problem.question)
    for index, step in enumerate(problem.solution):
        assert judge_step(chain, problem.solution[:index], step).truth == "correct"
    assert final_answer(problem, problem.solution) == problem.answer
    assert steps[0] <= len(problem.solution) <= steps[1]


@given(SEEDS)
def test_question_text_round_trips(seed):
    chain = generate_chain(random.Random(seed), LONGER)
    again = parse_question(chain.question())
    assert (again.base, again.definitions, again.asked) == (chain.base, chain.definitions, chain.asked)


def test_problems_depend_only_on_their_index():
    assert (
        generate_problems(3, steps=(3, 5), seed=1, start=4) == generate_problems(7, steps=(3, 5), seed=1)[4:]
    )
    assert generate_problems(1, steps=(3, 5), seed=1) != generate_problems(1, steps=(3, 5), seed=2)


def test_every_word_is_in_the_vocabulary():
    words = {
        word
        for p in generate_problems(300, steps=LONGER, seed=0)
        for t in (p.question, *p.solution)
        for word in t.split()
    }
    assert words <= {word for part in ChainWorld().words.values() for word in part}


@given(SEEDS, st.sampled_from(sorted(CHAIN_ERRORS)))
def test_every_perturbation_is_wrong_for_the_reason_it_was_made(seed, kind):
    rng = random.Random(seed)
    chain = generate_chain(rng, IN_DISTRIBUTION)
    steps = chain.correct_steps()
    index = rng.randrange(len(steps))
    made = perturb_step(chain, steps[:index], steps[index], rng, [kind])
    if made is None:
        assert kind in ("skipped_step", "wrong_reference", "wrong_value")
        return
    verdict = judge_step(chain, steps[:index], made[1])
    assert (verdict.truth, verdict.reason) == ("wrong", f"chain:{kind}")


@pytest.mark.parametrize(
    ("step", "truth", "reason"),
    [
        (FIRST, "correct", "exact"),
        ("c = 9 + b = 9 + 7 , c is 3", "correct", "exact"),  # operands swapped: an equivalent rewrite
        ("c = b + 9 = 7 + 9 , c is 4", "wrong", "arithmetic"),
        ("c = b + 9 = 9 + 7 , c is 3", "wrong", "wrong_value"),  # substitution does not follow the expression
        ("c = b - 9 = 7 - 9 , c is 11", "wrong", "wrong_operation"),
        ("c = b + 9 = 7 - 9 , c is 3", "wrong", "wrong_operation"),
        ("c = b + 8 = 7 + 8 , c is 2", "wrong", "wrong_reference"),
        ("c = b + 9 = 7 + 9 , d is 3", "wrong", "wrong_reference"),
        ("d = c * b = 3 * 7 , d is 8", "wrong", "skipped_step"),
        ("k = b + b = 7 + 7 , k is 1", "wrong", "invented_step"),
        ("c = b + 9", "wrong", "malformed"),
        ("c = b + 9 = 7 + 9 , c is 16", "wrong", "arithmetic"),  # not reduced
        ("", "wrong", "malformed"),
        ("c = b + 9 = 7 + 9 , c is \u0663", "wrong", "malformed"),  # a three, but of another script
        ("c = b + 9 = \uff17 + 9 , c is 3", "wrong", "malformed"),
        ("c = b_2 + 9 = 7 + 9 , c is 3", "wrong", "wrong_reference"),
    ],
)
def test_verdicts_by_hand(step, truth, reason):
    verdict = judge_step(CHAIN, (), step)
    assert (verdict.truth, verdict.reason) == (truth, f"chain:{reason}")


def test_a_step_on_a_wrong_value_is_wrong_and_labels_stop_at_the_first_error():
    problem = Problem("p", QUESTION)
    trace = judged(
        ChainWorld(),
        Trace(
            problem,
            ("c = b + 9 = 7 + 9 , c is 4", "d = c * b = 4 * 7 , d is 2", "e = d - c = 2 - 4 , e is 11"),
        ),
    )
    assert trace.labels == (0.0, None, None) and trace.outcome is False
    steps = CHAIN.correct_steps()
    assert judged(ChainWorld(), Trace(problem, steps)).labels == (1.0, 1.0, 1.0)
    assert judged(ChainWorld(), Trace(problem, steps)).outcome is True
    assert judged(ChainWorld(), Trace(problem, steps[:2])).outcome is False


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(text):
    assert judge_step(CHAIN, (text,), text).truth in ("correct", "wrong")


@pytest.mark.parametrize(
    "question", ["", "mod x : find a", "mod 13 : b is 7", "mod 13 : c = b + 1 ; find c", "what is 2 + 2?"]
)
def test_other_questions_are_refused(question):
    with pytest.raises(DataError):
        parse_question(question)


def test_values_stay_below_the_modulus():
    for problem in generate_problems(50, steps=LONGER, seed=3):
        assert problem.answer is not None and 0 <= int(problem.answer) < MODULUS


def test_replaced_words_are_of_the_same_kind_and_all_marked():
    import torch

    from sparring.training.chain_policy import solution_batch
    from sparring.training.tiny_policy import replaced_by_kind
    from sparring.worlds.chain import MODULUS, NAMES, OPERATIONS
    from sparring.worlds.chain_model import build_tokenizer

    tokenizer = build_tokenizer()
    problems = generate_problems(20, steps=IN_DISTRIBUTION, seed=0)
    ids, targets = solution_batch(problems, tokenizer)
    numbers = [str(value) for value in range(MODULUS)]
    kinds = [(list(OPERATIONS), 0.1), (list(NAMES), 0.1), (numbers, 0.3)]
    shown, replaced = replaced_by_kind(ids, targets, tokenizer, kinds, torch.Generator().manual_seed(0))
    assert torch.equal(shown != ids, replaced) and 0.05 < float(replaced.float().mean()) < 0.2

    def kind(word: str) -> str:
        return "number" if word.isdigit() else "name" if word in "abcdefghijkl" else "sign"

    for row, column in replaced.nonzero().tolist():
        old, new = (tokenizer.convert_ids_to_tokens(int(x[row, column])) for x in (ids, shown))
        assert kind(old) == kind(new) and old != new
        # Never in the question
        assert column > (ids[row] == tokenizer.convert_tokens_to_ids("\n")).nonzero()[0]


def test_habits_misread_the_same_definitions_each_time_and_nothing_else():
    from sparring.worlds.chain_world import habitual_solution, is_misread

    wrong = 0
    for seed in range(200):
        chain = generate_chain(random.Random(seed), IN_DISTRIBUTION)
        written = habitual_solution(chain, 0.12, 1.0, random.Random(0))
        assert habitual_solution(chain, 0.12, 0.0, random.Random(0)) == chain.correct_steps()
        first = next((i for i, step in enumerate(written) if step != chain.correct_steps()[i]), None)
        if first is not None:
            wrong += 1
            verdict = judge_step(chain, written[:first], written[first])
            assert verdict.reason == "chain:wrong_reference"
            assert is_misread(list(chain.definitions.values())[first], 0.12)
    assert 20 < wrong < 100  # a fixed small share of definitions, in some problems


def test_added_layers_change_nothing_at_first():
    import torch
    from transformers import LlamaForCausalLM

    from sparring.training.tiny_policy import with_layers
    from sparring.worlds.chain_model import tiny_config

    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(20, width=16, layers=1, heads=2))
    ids = torch.arange(12)[None]
    grown = with_layers(model, 2, seed=0)
    assert grown.config.num_hidden_layers == 3
    assert torch.equal(grown(input_ids=ids).logits, model(input_ids=ids).logits)
