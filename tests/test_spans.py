"""The step contract, on generated inputs and on really different tokenizers: words, bytes, SentencePiece of two kinds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from sparring.errors import DataError
from sparring.models.text_layout import Piece, join
from sparring.traces.spans import Layout, encode, prompt_ids, special_ids, trusted_ids, untrusted_ids
from sparring.worlds.chain_model import build_tokenizer
from tiny_tokenizers import CORPUS, qwen_tokenizer, sentencepiece


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with special tokens, trained on a few words: every text has tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["so 48 / 2 = 24 clips\n\nso the answer is 72"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram model like T5's, as SentencePiece makes it: a space before every text, none kept as it is, bytes else."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokens = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] += [[token, -20.0] for token in tokens]
    state["model"]["byte_fallback"] = True
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
    )


BYTES, WORDS, PIECES, UNIGRAM = byte_tokenizer(), build_tokenizer(), sentencepiece(), unigram_tokenizer()
TOKENIZERS = st.sampled_from([BYTES, WORDS, PIECES, UNIGRAM])
LAYOUTS = st.sampled_from([Layout(), Layout("<s>", "\n", "\n"), Layout("<s>Q: ", "\nA:", "\n\n")])
TEXT = st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip()))
# Texts that contain separators, special tokens and words of the world are likely, not just possible.
STEP = st.one_of(
    TEXT, st.sampled_from(["a = b + 1 , a is 2", "x\n\ny", "</s>", "\n a \n", "<s> 1", "é€𝟘\u200b"])
)


@given(TOKENIZERS, LAYOUTS, TEXT, st.lists(STEP, min_size=0, max_size=6))
def test_every_step_has_one_span_and_one_position_in_order(tokenizer, layout, question, steps):
    if layout.separator == "\n\n" and tokenizer is WORDS:
        layout = Layout(layout.before, layout.after, "\n")
    encoded = encode(question, steps, tokenizer, layout)
    assert len(encoded.spans) == len(encoded.positions) == len(steps)
    separator = tokenizer.encode(layout.separator, add_special_tokens=False)
    cursor = len(prompt_ids(question, tokenizer, layout))
    for (start, end), position in zip(encoded.spans, encoded.positions, strict=True):
        assert cursor == start <= end <= position
        assert list(encoded.input_ids[end : position + 1]) == separator
        cursor = position + 1
    assert cursor == len(encoded.input_ids)


@given(TOKENIZERS, TEXT, st.lists(STEP, min_size=1, max_size=6), st.data())
def test_ids_of_a_prefix_are_a_prefix_of_the_ids(tokenizer, question, steps, data):
    length = data.draw(st.integers(0, len(steps)))
    whole = encode(question, steps, tokenizer, Layout())
    part = encode(question, steps[:length], tokenizer, Layout())
    assert whole.input_ids[: len(part.input_ids)] == part.input_ids
    assert whole.positions[:length] == part.positions


@given(TEXT, st.lists(STEP, min_size=1, max_size=6))
def test_bytes_of_every_step_are_kept(question, steps):
    encoded = encode(question, steps, BYTES, Layout())
    for step, (start, end) in zip(steps, encoded.spans, strict=True):
        assert BYTES.decode(encoded.input_ids[start:end]) == step


@given(st.lists(STEP, min_size=1, max_size=6), st.integers(1, 120))
def test_truncation_drops_whole_last_steps_and_says_so(steps, limit):
    whole = encode("a is 1", steps, BYTES, Layout())
    try:
        cut = encode("a is 1", steps, BYTES, Layout(), max_length=limit, overflow="drop_steps")
    except DataError as error:
        assert whole.positions[0] + 1 > limit and "steps[0]" in str(error)
        return
    assert len(cut.input_ids) <= limit
    kept = len(steps) - cut.dropped
    assert cut.input_ids == encode("a is 1", steps[:kept], BYTES, Layout()).input_ids
    assert cut.dropped == 0 or whole.positions[kept] + 1 > limit


@pytest.mark.parametrize(
    "tokenizer", [BYTES, WORDS, PIECES, UNIGRAM], ids=["bytes", "words", "pieces", "unigram"]
)
def test_special_tokens_in_untrusted_text_are_characters(tokenizer):
    end = tokenizer.eos_token
    encoded = encode(end, [f"a {end} b{end}"], tokenizer, Layout(before=end))
    assert encoded.input_ids[0] == tokenizer.eos_token_id not in encoded.input_ids[1:]
    for text in ("b is 7", "1 + 1 = 2"):  # what holds none is read as it was
        assert untrusted_ids(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(
    "tokenizer",
    [BYTES, WORDS, PIECES, UNIGRAM, qwen_tokenizer(), ByT5Tokenizer()],
    ids=["bytes", "words", "pieces", "unigram", "qwen", "python"],
)
@given(st.data())
def test_texts_that_are_read_together_have_the_ids_of_each_alone(tokenizer, data):
    specials = st.sampled_from(sorted({*tokenizer.all_special_tokens, "＜/s＞", "<0x0A>"}))
    text = st.lists(st.one_of(STEP, specials), min_size=1, max_size=4).map("".join)
    question, steps = data.draw(st.one_of(st.just(""), text)), data.draw(st.lists(text, max_size=5))
    layout = Layout(tokenizer.eos_token, "\n", "\n")
    encoded = encode(question, steps, tokenizer, layout)
    begin = prompt_ids(question, tokenizer, layout)
    alone = [untrusted_ids(tokenizer, step) for step in steps]
    separator = tokenizer.encode("\n", add_special_tokens=False)
    assert list(encoded.input_ids) == begin + [number for ids in alone for number in ids + separator]
    assert [end - start for start, end in encoded.spans] == list(map(len, alone))


def test_ids_that_are_kept_are_neither_changed_nor_taken_for_those_of_another_tokenizer():
    one, other = byte_tokenizer(), byte_tokenizer()
    trusted_ids(one, "<mark>").clear()
    before = trusted_ids(one, "<mark>")
    assert before == one.encode("<mark>", add_special_tokens=False) == trusted_ids(other, "<mark>")
    one.add_special_tokens({"additional_special_tokens": ["<mark>"]})
    new = one.convert_tokens_to_ids("<mark>")
    assert trusted_ids(one, "<mark>") == [new] and new in special_ids(one)
    assert trusted_ids(other, "<mark>") == before


def test_a_normaliser_makes_no_special_token_of_other_characters():
    assert UNIGRAM.eos_token_id in UNIGRAM.encode(
        "＜/s＞", add_special_tokens=False, split_special_tokens=True
    )
    assert UNIGRAM.eos_token_id not in untrusted_ids(UNIGRAM, "＜/s＞")
    with pytest.raises(DataError, match="special token"):
        join([[Piece("say ＜/s＞", False)]], UNIGRAM)


def test_refusals_name_the_step():
    with pytest.raises(DataError, match=r"steps\[1\].*empty"):
        encode("q", ["fine", " \n"], BYTES, Layout())
    with pytest.raises(DataError, match=r"steps\[1\].*past the limit of 12"):
        encode("q", ["fine", "much too long for the limit"], BYTES, Layout(), max_length=12)
    with pytest.raises(DataError, match="question alone"):
        encode("a long question of many bytes", [], BYTES, Layout(), max_length=4)
    with pytest.raises(DataError, match="separator"):
        encode("q", ["step"], BYTES, Layout(separator=""))
    # what comes first is named, whatever is wrong after it
    with pytest.raises(DataError, match=r"steps\[0\].*past the limit of 4"):
        encode("q", ["fine", "x \ud800"], BYTES, Layout(), max_length=4)
    with pytest.raises(DataError, match=r"cannot read 'x "):
        encode("q", ["fine", "x \ud800", " "], BYTES, Layout())
