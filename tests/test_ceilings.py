"""What the ceilings' records say of solutions that are known by hand."""

from __future__ import annotations

import torch

from claims.ceilings import CLAIMS, EXPERIMENT, distance, failure, overstated, page, record_of
from claims.policies import HARD, POLICIES, with_words
from sparring.traces.records import Problem, Trace
from sparring.worlds.chain_model import build_tokenizer
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged, make_world

WORLD = ChainWorld()
PROBLEM = Problem("p", "mod 13 : b is 7 ; c = b + 9 ; d = c * b ; find d", "8")
RIGHT = ("c = b + 9 = 7 + 9 , c is 3", "d = c * b = 3 * 7 , d is 8")
LUCKY = ("c = b + 9 = 7 + 9 , c is 4", "d = c * b = 4 * 7 , d is 8")
WRONG = ("c = b + 9 = 7 + 9 , c is 3", "d = c * b = 3 * 7 , d is 1")
SHORT = RIGHT[:1]
PUZZLE = Problem("c", "make 20 from 8 4 3", "20")


def solved(steps: tuple[str, ...]) -> Trace:
    return judged(WORLD, Trace(PROBLEM, steps))


def test_luck_is_in_pass_at_n_and_not_in_the_ceiling():
    lucky = record_of(WORLD, [[solved(LUCKY), solved(WRONG)] * 8], seed=0)
    assert lucky["luck"] == 1.0 and lucky["pass.n16"][0] == 1.0 and lucky["random.n1"][0] == 0.5
    assert "ceiling.n16" not in lucky or lucky["ceiling.n16"][0] <= 0.5
    mixed = record_of(
        WORLD, [[solved(RIGHT)] + [solved(WRONG)] * 15, [solved(LUCKY)] + [solved(WRONG)] * 15], seed=0
    )
    assert mixed["luck"] == 0.5 and mixed["pass.n16"][0] == 1.0
    # One of sixteen without a sound one, at random
    assert 0.5 <= mixed["ceiling.n16"][0] <= 0.5 + 1 / 32 + 1e-9
    assert mixed["weighted.n16"][0] >= 0.5 > mixed["vote.n16"][0]
    assert overstated(mixed) == 50.0 and overstated(lucky) == 100.0
    countdown = make_world("countdown:numbers=3")
    dead = judged(countdown, Trace(PUZZLE, ("8 + 4 = 12 : 12 3", "12 + 3 = 15 : 15")))
    right = judged(countdown, Trace(PUZZLE, ("4 * 3 = 12 : 12 8", "12 + 8 = 20 : 20")))
    assert (
        right.outcome is True and overstated(record_of(countdown, [[dead] * 8 + [right] * 8], seed=0)) == 0.0
    )


def test_failures_are_named_by_where_they_began():
    assert failure(WORLD, solved(WRONG)) == "arithmetic"
    assert failure(WORLD, solved(SHORT)) == "unfinished"
    assert failure(WORLD, solved(("?",))) == "malformed"
    countdown = make_world("countdown:numbers=3")
    dead = judged(countdown, Trace(PUZZLE, ("8 + 4 = 12 : 12 3", "12 + 3 = 15 : 15")))
    assert dead.outcome is False and failure(countdown, dead) == "dead end"


def test_wrong_results_have_a_distance_around_the_circle():
    assert distance(WORLD, solved(LUCKY)) == 1
    assert distance(WORLD, solved(WRONG)) == 6  # 1 for 8: six on from 8 is 14, that is 1
    assert distance(WORLD, solved(RIGHT)) is None is distance(WORLD, solved(("?",)))


def test_the_table_has_a_row_per_record():
    record = {**record_of(WORLD, [[solved(RIGHT), solved(WRONG)] * 8], seed=0), "greedy": [1.0, 1.0, 1.0]}
    shown = page({"chain, tiny": record}).splitlines()
    assert (
        len(shown) == 3
        and shown[2].startswith("| chain, tiny | 50.0 | 100.0 |")
        and "arithmetic 100" in shown[2]
    )


def test_a_grown_policy_keeps_the_words_that_the_shipped_one_knows():
    world = make_world(f"chain:{HARD}")
    tokenizer = build_tokenizer(world)
    model, again = (with_words(world, tokenizer, 1) for _ in range(2))
    table = model.get_input_embeddings().weight
    assert table.shape[0] == len(tokenizer) and torch.equal(table, again.get_input_embeddings().weight)
    assert model.config.num_hidden_layers == 6 and table.isfinite().all()


def test_the_experiment_measures_every_policy_in_its_worlds():
    assert {point["policy"] for point in EXPERIMENT.points} == set(POLICIES)
    for claim in CLAIMS:
        for name, inside in claim.regions.items():
            assert any(map(inside, EXPERIMENT.points)), name
