"""Steps and tokens: the same characters, whatever tokenizer cut them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sparring.rollouts.engine import split_completion
from sparring.traces.records import Trace
from sparring.training.alignment import step_spans, step_starts, token_ends
from sparring.worlds.chain import IN_DISTRIBUTION, generate_problem
from sparring.worlds.chain_model import build_tokenizer

END = "<end>"


def byte_level() -> PreTrainedTokenizerFast:
    """Byte-pair pieces over bytes: merges across spaces, several tokens per character outside ASCII."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [
        step for seed in range(50) for step in generate_problem(random.Random(seed), (3, 5), "p").solution
    ]
    tokenizer.train_from_iterator(["\n".join(lines)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token="<pad>")


def metaspace() -> PreTrainedTokenizerFast:
    """Pieces that carry the space before them, as SentencePiece makes them; one token for "no space, then a break"."""
    words = ["▁one", "▁two", "three", "▁", ".", "\n", ".\n", "\n\n", "▁a", "b", END]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=END))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


WORDS, BYTES = build_tokenizer(), byte_level()
TOKENIZERS = {"words": WORDS, "bytes": BYTES}


def ids_of(tokenizer, text):
    return list(tokenizer.encode(text, add_special_tokens=False))


def step_texts(tokenizer, ids, spans):
    return [tokenizer.decode(ids[start:end]).strip() for start, end in spans]


@given(st.integers(0, 10_000))
def test_two_different_tokenizers_find_the_same_steps(seed):
    """A PRM of one tokenizer scores texts, and a policy of the other finds the tokens that the scores are about."""
    solution = generate_problem(random.Random(seed), IN_DISTRIBUTION, "p").solution
    text = " \n ".join(solution)
    lengths = {}
    for name, tokenizer in TOKENIZERS.items():
        ids = [*ids_of(tokenizer, text), tokenizer.eos_token_id]
        spans = step_spans(tokenizer, ids, tokenizer.decode(ids[:-1]))
        assert step_texts(tokenizer, ids[:-1], spans) == list(solution)
        assert spans[0][0] == 0 and spans[-1][1] == len(ids)
        assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
        lengths[name] = [end - start for start, end in spans]
    assert lengths["words"] != lengths["bytes"]  # really different


def test_a_token_of_credit_goes_to_the_step_that_wrote_it():
    """Scores by step, read off one tokenizer's positions, land on the other's tokens of the same characters."""
    steps = ("b = 7 + 5 , b is 12", "c = b * 2 , c is 11")
    trace = Trace(generate_problem(random.Random(0), (3, 3), "p"), steps)
    owners = {}
    for name, tokenizer in TOKENIZERS.items():
        text = tokenizer.decode(ids_of(tokenizer, " \n ".join(trace.steps)))
        ids = ids_of(tokenizer, text)
        by_character = [-1] * len(text)
        begin = 0
        ends = token_ends(tokenizer, ids, text)
        for step, (first, last) in enumerate(step_spans(tokenizer, ids, text)):
            for token in range(first, last):
                by_character[begin : ends[token]] = [step] * (ends[token] - begin)
                begin = ends[token]
        owners[name] = [(c, o) for c, o in zip(text, by_character, strict=True) if not c.isspace()]
    assert owners["words"] == owners["bytes"]


@given(st.text(alphabet="ab 1é漢😀\n\t", max_size=40))
def test_any_text_is_covered_once(text):
    ids = ids_of(BYTES, text)
    assert BYTES.decode(ids) == text
    spans = step_spans(BYTES, [*ids, BYTES.eos_token_id], text)
    steps = split_completion(text)
    assert len(spans) == len(steps) == len(step_starts(text))
    covered = [place for start, end in spans for place in range(start, end)]
    assert covered == (list(range(len(ids) + 1)) if steps else [])
    for start, step in zip(step_starts(text), steps, strict=True):
        assert text.startswith(step, start)


@given(st.lists(st.integers(2, len(BYTES) - 1), max_size=30))
def test_any_sampled_ids_are_covered_once_though_they_are_no_valid_text(ids):
    """A policy can write half a character; the ids are what was sampled, not what encoding the text would give."""
    text = BYTES.decode(ids)
    spans = step_spans(BYTES, ids, text)
    ends = token_ends(BYTES, ids, text)
    assert ends == sorted(ends) and len(ends) == len(ids) and all(0 <= end <= len(text) for end in ends)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    if split_completion(text):
        assert len(spans) == len(split_completion(text))
        assert (edges[0], edges[-1]) == (0, len(ids))


def test_pieces_that_hold_a_space_or_a_break():
    tokenizer = metaspace()
    pieces = ["▁one", "▁two", ".\n", "▁a", "b", "\n\n", "three", END]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    text = tokenizer.decode(ids[:-1])
    assert split_completion(text) == ("one two.", "ab", "three")
    assert step_spans(tokenizer, ids, text) == [(0, 3), (3, 6), (6, 8)]


@pytest.mark.parametrize("text", ["", "\n \n", "   "])
def test_an_answer_without_a_step_has_no_spans(text):
    assert step_spans(BYTES, [*ids_of(BYTES, text), BYTES.eos_token_id], text) == []
