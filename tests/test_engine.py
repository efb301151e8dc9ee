"""The engine in this process: what it samples, with which probabilities, and that batches change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sparring.errors import DataError
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.sampling import uniforms
from sparring.rollouts.engine import (
    Completion,
    Limits,
    Prefix,
    as_trace,
    next_steps,
    solutions,
    split_completion,
)
from sparring.rollouts.local import LocalEngine, fitted_prompt
from sparring.settings_shared import seed_from
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, encode
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

CPU = torch.device("cpu")
WORDS = st.sampled_from(["a", "b", "is", "=", "+", "1", "7", ","])
STEPS = st.lists(st.lists(WORDS, min_size=1, max_size=5).map(" ".join), max_size=3).map(tuple)


@pytest.fixture(scope="module")
def engine(tiny_folder: Path) -> LocalEngine:
    model = load_causal_model(tiny_folder, device=CPU, dtype=torch.float32)
    return LocalEngine(model, load_tokenizer(tiny_folder), CHAIN_LAYOUT)


@pytest.fixture(scope="module")
def bytes_engine() -> LocalEngine:
    """A random model on a byte-level tokenizer that merges line breaks with their neighbours, as real ones do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["two.\n\nfour END.\n" * 20], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(wrapped), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, eos_token_id=0, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LocalEngine(LlamaForCausalLM(config).eval(), wrapped, Layout())


def prefix(steps: tuple[str, ...] = (), question: str = "mod 13 : a is 7 ; find a") -> Prefix:
    return Prefix(Problem("p", question), steps)


def test_without_a_wish_completions_fill_what_their_prompts_leave(engine):
    """Each prompt has its own room, and what fits there is what would be written with more."""
    prefixes = [Prefix(Problem(str(n), "a is 7 " * n)) for n in (1, 60, 120)]
    wanted = Limits.wanted(None, 500, 1.0)
    groups = engine.sample(prefixes, 2, limits=wanted, seeds=[1, 2, 3])
    alone = [
        engine.sample([prefix], 2, limits=wanted, seeds=[seed])[0]
        for prefix, seed in zip(prefixes, (1, 2, 3), strict=True)
    ]
    texts = [[[one.token_ids for one in group] for group in found] for found in (groups, alone)]
    assert texts[0] == texts[1]
    for prefix, group in zip(prefixes, groups, strict=True):
        used = len(encode(prefix.problem.question, (), engine.tokenizer, engine.layout).input_ids)
        for one in group:
            assert used + len(one.token_ids) <= 512
            assert one.finish == ("end" if one.token_ids[-1] in engine._ends else "length")
            assert one.finish == "end" or used + len(one.token_ids) == 512 or len(one.token_ids) == 500
    short = engine.sample(prefixes, 2, limits=Limits(20), seeds=[1, 2, 3])
    assert [[one.token_ids[:20] for one in group] for group in groups] == [
        [one.token_ids for one in group] for group in short
    ]
    with pytest.raises(DataError, match="lower max_new_tokens"):
        engine.sample(prefixes, 1, limits=Limits.wanted(500, 500, 1.0), seeds=[1, 2, 3])
    with pytest.raises(DataError, match="leave the problem out"):
        engine.sample([Prefix(Problem("4", "a is 7 " * 200))], 1, limits=wanted, seeds=[1])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(STEPS, st.integers(0, 2**63 - 1)), min_size=1, max_size=5), st.integers(1, 9))
def test_a_completion_depends_on_prefix_seed_and_number_alone(engine, drawn, row_budget):
    prefixes, seeds = [prefix(steps) for steps, _ in drawn], [seed for _, seed in drawn]
    limits = Limits(6)
    other = LocalEngine(engine.model, engine.tokenizer, engine.layout, row_budget=row_budget)
    together = other.sample(prefixes, 3, limits=limits, seeds=seeds)
    for one, seed, group in zip(prefixes, seeds, together, strict=True):
        assert len(group) == 3
        for n in (1, 3):
            [alone] = engine.sample([one], n, limits=limits, seeds=[seed])
            assert [(c.token_ids, c.finish) for c in alone] == [(c.token_ids, c.finish) for c in group[:n]]
            for ours, theirs in zip(alone, group, strict=False):
                assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


def test_seeds_and_sample_numbers_give_different_streams():
    numbers = np.concatenate([uniforms(seed, np.arange(50), 40) for seed in range(50)])
    assert len(np.unique(numbers)) == numbers.size
    assert numbers.min() > 0 and numbers.max() < 1
    # 100,000 numbers: the mean of uniform ones lies within 0.0046 of a half in all but one of 10^6 cases.
    assert abs(numbers.mean() - 0.5) < 0.0046
    for axis in (numbers[:, :-1] - 0.5, numbers[:-1] - 0.5):
        following = (numbers[:, 1:] if axis.shape[1] < 40 else numbers[1:]) - 0.5
        assert abs((axis * following).mean()) < 5 / 12 / axis.size**0.5
    histogram = np.histogram(numbers, bins=20, range=(0, 1))[0] / numbers.size
    assert np.abs(histogram - 0.05).max() < 5 * (0.05 / numbers.size) ** 0.5


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampling_follows_the_scaled_distribution_and_tells_its_log_probabilities(engine, temperature):
    n = 4000
    groups = engine.sample([prefix()], n, limits=Limits(1, temperature), seeds=[3])
    ids = encode(prefix().problem.question, (), engine.tokenizer, CHAIN_LAYOUT).input_ids
    with torch.inference_mode():
        logits = engine.model(torch.tensor([ids])).logits[0, -1]
    expected = torch.softmax(logits / temperature, dim=-1)
    found = torch.bincount(torch.tensor([c.token_ids[0] for c in groups[0]]), minlength=len(expected)) / n
    assert float((found - expected).abs().max()) < 5 * (float(expected.max()) / n) ** 0.5
    for completion in groups[0][:50]:
        wanted = float(expected[completion.token_ids[0]].log())
        assert completion.log_probabilities == pytest.approx([wanted], abs=1e-4)


def test_log_probabilities_are_those_of_one_pass_over_the_whole_text(engine):
    one = prefix(("a is 7",))
    [[completion]] = engine.sample([one], 1, limits=Limits(12), seeds=[5])
    ids = encode(one.problem.question, one.steps, engine.tokenizer, CHAIN_LAYOUT).input_ids
    with torch.inference_mode():
        logits = engine.model(torch.tensor([[*ids, *completion.token_ids]])).logits[0].log_softmax(-1)
    places = range(len(ids) - 1, len(ids) - 1 + len(completion.token_ids))
    expected = [float(logits[p, token]) for p, token in zip(places, completion.token_ids, strict=True)]
    assert completion.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_greedy_ignores_the_seed(engine):
    groups = engine.sample([prefix(), prefix()], 2, limits=Limits(10, 0.0), seeds=[1, 2])
    assert len({completion.token_ids for group in groups for completion in group}) == 1


def test_more_samples_than_the_row_budget(engine):
    small = LocalEngine(engine.model, engine.tokenizer, engine.layout, row_budget=2)
    few, many = (e.sample([prefix()], 7, limits=Limits(4), seeds=[9]) for e in (small, engine))
    assert [c.token_ids for c in few[0]] == [c.token_ids for c in many[0]]


@pytest.mark.parametrize("stop", [("\n",), ("END",), ("D.", "\n\n")])
def test_texts_end_before_the_first_stop_text(bytes_engine, stop):
    groups = bytes_engine.sample([prefix(question="two?")], 300, limits=Limits(40, 2.0), seeds=[1], stop=stop)
    free = bytes_engine.sample([prefix(question="two?")], 300, limits=Limits(40, 2.0), seeds=[1])
    kinds = set()
    for stopped, whole in zip(groups[0], free[0], strict=True):
        assert not any(text in stopped.text for text in stop)
        written = bytes_engine.tokenizer.decode(whole.token_ids)
        places = [written.find(text) for text in stop if text in written]
        kinds.add(stopped.finish)
        if places:
            assert stopped.finish == "stop"
            assert stopped.text == written[: min(places)]
            assert stopped.token_ids == whole.token_ids[: len(stopped.token_ids)]
        else:
            assert (stopped.finish, stopped.token_ids) == (whole.finish, whole.token_ids)
    assert "stop" in kinds and len(kinds) > 1


def test_an_end_token_is_not_part_of_the_text(bytes_engine):
    [group] = bytes_engine.sample([prefix(question="q")], 400, limits=Limits(60, 3.0), seeds=[2])
    ended = [completion for completion in group if completion.finish == "end"]
    assert ended and all(c.token_ids[-1] == 0 and "<end>" not in c.text for c in ended)
    assert all(len(c.token_ids) == 60 for c in group if c.finish == "length")


def test_usage_is_exact(engine):
    mine = LocalEngine(engine.model, engine.tokenizer, engine.layout)
    groups = mine.sample([prefix(), prefix(("a is 7",))], 3, limits=Limits(5), seeds=[1, 2])
    assert mine.usage.tokens_generated == sum(len(c.token_ids) for group in groups for c in group)
    lengths = [
        len(encode(prefix().problem.question, s, mine.tokenizer, CHAIN_LAYOUT).input_ids)
        for s in ((), ("a is 7",))
    ]
    assert mine.usage.tokens_prefilled == sum(lengths)
    assert mine.usage.requests == 2


def test_what_cannot_be_continued_is_refused_by_name(engine, bytes_engine):
    long = Prefix(Problem("long one", "a " * 600))
    with pytest.raises(DataError, match=r"long one.*512 positions"):
        engine.sample([prefix(), long], 1, limits=Limits(4), seeds=[1, 2])
    with pytest.raises(DataError, match=r"'p'.*empty"):
        engine.sample([prefix((" ",))], 1, limits=Limits(4), seeds=[1])
    for wrong in ({"n": 0}, {"seeds": []}, {"limits": Limits(0)}, {"limits": Limits(4, -1.0)}):
        arguments = {"n": 1, "seeds": [1], "limits": Limits(4)} | wrong
        with pytest.raises(ValueError, match=r"seeds|cannot sample"):
            engine.sample([prefix()], arguments.pop("n"), **arguments)
    assert bytes_engine.sample([], 1, limits=Limits(4), seeds=[]) == []


def test_special_tokens_in_a_question_are_ordinary_characters(bytes_engine):
    engine = bytes_engine
    question = prefix(question="a <end> b")
    ids, _ = fitted_prompt(question, Limits(4), engine.tokenizer, engine.layout, engine.positions)
    assert 0 not in ids


def test_next_steps_and_solutions(engine):
    problems = generate_problems(3, steps=(3, 5), seed=0)
    prefixes = [Prefix(problem, problem.solution[:1]) for problem in problems]
    for group in next_steps(engine, prefixes, 4, limits=Limits(30), seeds=[1, 2, 3]):
        assert all("\n" not in completion.text for completion in group)
    for one, group in zip(
        prefixes, solutions(engine, prefixes, 4, limits=Limits(30), seeds=[1, 2, 3]), strict=True
    ):
        for trace in group:
            assert trace.steps[:1] == one.steps and trace.source == "policy"
            assert isinstance(trace.meta["finished"], bool)


def test_completions_without_a_step():
    empty = Completion(" \n\n ", (), (), "end")
    assert as_trace(prefix(), empty, source="x") is None
    assert as_trace(prefix(("a",)), empty, source="x").steps == ("a",)
    assert split_completion("\n a \n\nb") == ("a", "b")


@given(st.lists(st.integers(0, 10**6) | st.text(max_size=5), min_size=1, max_size=4))
def test_seeds_are_in_range_and_depend_on_every_part(parts):
    seed = seed_from(*parts)
    assert 0 <= seed < 2**63
    assert seed != seed_from(*parts, 0)
