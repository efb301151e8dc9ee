"""Tokenizer of a world, and the shape of its tiny policies: a native Llama of under a million parameters.

Contract: everything is an ordinary Hugging Face object, so whatever works on these works on a large model too.
"""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from sparring.traces.spans import Layout
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import World

PAD, END, UNKNOWN = "<pad>", "<end>", "<unk>"
MISTAKE_CUE = "mistake :"
"""What a warm-started adversary reads before it writes its wrong version of the last step."""

CHAIN_LAYOUT = Layout(before="", after="\n", separator="\n")
"""Where question and steps stand in the token ids: each in a line of its own, in every world."""


def build_tokenizer(world: World | None = None) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer: words are separated by single spaces, a line break is a word of its own.

    Args:
        world: whose words it knows; None: the chain world's.
    """
    world = world or ChainWorld()
    words = [PAD, END, UNKNOWN, "\n", *MISTAKE_CUE.split()]
    words += [word for part in world.words.values() for word in part]
    ids = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def tiny_config(vocabulary_size: int, *, width: int = 128, layers: int = 4, heads: int = 4) -> LlamaConfig:
    """Return the configuration of the tiny policy."""
    return LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
