"""Packed rows and kept states: what is sampled is what one pass over the whole text, without any cache, would sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from sparring.models.prefix_cache import PrefixCache, Segment, tokens_to_keep
from sparring.models.sampling import PackedRows, SeparateRows, begin, sample_seeded, uniforms

VOCABULARY = 23
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": 0}  # fmt: skip
PROMPTS = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=30), min_size=1, max_size=5)


def make(kind):
    torch.manual_seed(0)
    if kind == "packed":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2))
    elif kind == "window":  # layers that do not see everything
        model = MistralForCausalLM(MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=6))
    else:  # positions that are no rotations
        model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=256,
                                           bos_token_id=0, eos_token_id=0))  # fmt: skip
    for parameter in model.parameters():  # far from uniform, so that a wrong state shows
        parameter.data.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return model.eval()


MODELS = {kind: make(kind) for kind in ("packed", "window", "absolute")}


@torch.inference_mode()
def plainly(model, prompt, seed, number, most):
    """Sample by reading the whole text anew for every token."""
    drawn, ids, chances = uniforms(seed, np.array([number]), most)[0], [], []
    for place in range(most):
        logits = model(torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, -1].float()
        scaled = logits.log_softmax(-1)
        cumulative = scaled.exp().double().cumsum(-1)
        token = int(torch.searchsorted(cumulative, drawn[place] * cumulative[-1:], right=True))
        ids.append(token)
        chances.append(float(scaled[token]))
        if token == 0:
            break
    return ids, chances


def check(model, prompts, seeds, samples, most, found):
    for prompt, seed, group in zip(prompts, seeds, found, strict=True):
        for number, one in enumerate(group):
            ids, chances = plainly(model, prompt, seed, number, most)
            assert one.ids == ids
            assert one.log_probabilities == pytest.approx(chances, abs=1e-3)
        assert len(group) == samples


def drawn(model, prompts, seeds, samples, most, **options):
    return sample_seeded(model, prompts, seeds=seeds, samples=samples, max_new_tokens=most,
                         ends=lambda ids: ids[-1] == 0, pad_id=0, **options)  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=12)
@given(
    PROMPTS, st.integers(0, 2**40), st.integers(1, 6), st.sampled_from([1, 3, 20]), st.sampled_from([4, 256])
)
def test_samples_equal_reading_the_whole_text_for_every_token(kind, prompts, seed, samples, most, row_budget):
    seeds = [seed + index for index in range(len(prompts))]
    found = drawn(MODELS[kind], prompts, seeds, samples, most, row_budget=row_budget)
    check(MODELS[kind], prompts, seeds, samples, most, found)


@settings(max_examples=12)
@given(PROMPTS, st.integers(0, 2**40), st.sampled_from([40, 400, 10_000]), st.integers(1, 4))
def test_samples_stay_the_same_where_states_are_kept(prompts, seed, most_tokens, samples):
    model, kept = MODELS["packed"], PrefixCache(most_tokens)
    for turn in range(3):
        seeds = [seed + 10 * turn + index for index in range(len(prompts))]
        found = drawn(model, prompts, seeds, samples, 5, row_budget=8, kept=kept)
        check(model, prompts, seeds, samples, 5, found)
        # What was written and a token more, something else, and the text as it was, side by side.
        grown = [[*prompt, *group[-1].ids, 3] for prompt, group in zip(prompts, found, strict=True)]
        prompts = [*grown, [*prompts[0], 5, 6], prompts[-1]][:6]


def test_kept_states_are_not_read_again(monkeypatch):
    model, read = MODELS["packed"], []
    forward = type(model).forward

    def counting(self, **options):
        read.append(options["input_ids"].shape[1])
        return forward(self, **options)

    monkeypatch.setattr(type(model), "forward", counting)
    kept, prompt = PrefixCache(), list(range(1, 20))
    [[first]] = drawn(model, [prompt], [1], 1, 6, kept=kept)
    assert read[0] == len(prompt)
    read.clear()
    drawn(model, [[*prompt, *first.ids, 7]], [2], 4, 6, kept=kept)
    assert read[0] == 2  # the last one was sampled and not read; and the new one


@pytest.mark.parametrize(
    ("kind", "rows", "branches"), [("packed", PackedRows, 4), ("window", SeparateRows, 1)]
)
def test_short_continuations_share_a_row_where_the_model_can(kind, rows, branches):
    prompt = tuple(range(1, 20))
    found, logits = begin(MODELS[kind], [prompt], samples=8, max_new_tokens=8, pad_id=0)
    assert type(found) is rows and found.branches == branches and logits.shape == (8, VOCABULARY)
    found, _ = begin(MODELS[kind], [prompt], samples=8, max_new_tokens=100, pad_id=0)
    assert found.branches == 1


TEXTS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)


@given(st.lists(st.tuples(TEXTS, st.booleans()), max_size=25), st.integers(0, 12), TEXTS)
def test_kept_states_give_whole_beginnings_only(texts, most_tokens, asked):
    kept = PrefixCache(most_tokens)
    for text, drop in texts:
        before = kept.longest(text)
        positions = torch.tensor(text[len(before) :], dtype=torch.float32)
        kept.keep(text, Segment(positions[None, None, None, :, None], before))
        if drop:
            kept.drop_oldest()
            assert kept.tokens <= most_tokens
    assert kept.tokens == sum(piece.states.shape[-2] for piece in kept.segments.values())
    key = kept.longest(asked)
    assert len(key) < len(asked) and asked[: len(key)] == key
    assert [int(token) for piece in kept.path(key) for token in piece.flatten()] == list(key)
    if most_tokens == 12 and len(texts) == 1 and asked[: len(texts[0][0])] == texts[0][0] != asked:
        assert key == texts[0][0]


def test_a_large_model_keeps_fewer_tokens() -> None:
    from types import SimpleNamespace

    config = SimpleNamespace(
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, hidden_size=4096, head_dim=None
    )
    model = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: config),
        parameters=lambda: iter([torch.zeros(1, dtype=torch.bfloat16)]),
    )
    assert tokens_to_keep(model) == 2**31 // (128 * 1024) == 16_384
