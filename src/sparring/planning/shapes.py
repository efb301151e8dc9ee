"""The dimensions of a decoder-only language model, and what follows from them: parameters, KV cache, FLOPs per token.

Contract: a shape comes from a folder's `config.json` or from the table of well-known models; no weight is opened and
torch is not imported for a name of the table. `parameters` equals `num_parameters()` of the model that transformers
makes. Not here: encoders, models that see, state-space layers: they are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import CheckpointError, SettingsError, did_you_mean
from sparring.models import TINY_POLICY
from sparring.models.sidecar import model_inside


@dataclass(frozen=True, slots=True)
class Family:
    """What an architecture has beside its projections.

    Attributes:
        qkv_bias, output_bias: whether these attention projections have biases; None: as `attention_bias` says.
        head_norms: whether queries and keys are normalised per head.
        norms: vectors of normalisation per layer.
    """

    qkv_bias: bool | None = False
    output_bias: bool | None = False
    head_norms: bool = False
    norms: int = 2


FAMILIES = {
    "llama": Family(None, None),
    "mistral": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(None, None, head_norms=True),
    "gemma": Family(None, None),
    "gemma2": Family(None, None, norms=4),
    "gemma3_text": Family(None, None, head_norms=True, norms=4),
    "phi3": Family(),
    "mixtral": Family(),
    "qwen2_moe": Family(qkv_bias=True),
    "qwen3_moe": Family(None, None, head_norms=True),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a model.

    Attributes:
        layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary: as configurations have them.
        tied: whether the output head shares the embedding's weights.
        positions: longest text that it takes, tokens; None: no limit is known (a name's versions differ).
        experts, experts_per_token: of a mixture in every layer; 0 for a dense model. `feed_forward` is then an expert's.
        shared_expert: width of the expert that every token goes through, 0 without one.
        owner: on the hub; empty for a folder.
    """

    name: str
    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    tied: bool
    positions: int | None
    attention_bias: bool = False
    mlp_bias: bool = False
    experts: int = 0
    experts_per_token: int = 0
    shared_expert: int = 0
    owner: str = ""

    @property
    def query_width(self) -> int:
        """Width of all queries of a token."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all keys (or values) of a token."""
        return self.kv_heads * self.head_dim

    @property
    def attention_weights(self) -> int:
        """Weights of a layer's four attention projections."""
        return 2 * self.width * (self.query_width + self.kv_width)

    @property
    def feed_forward_weights(self) -> int:
        """Weights of a layer's gate, up and down projections; of a mixture those of all experts and the router."""
        one = 3 * self.width * self.feed_forward
        if not self.experts:
            return one
        shared = 3 * self.width * self.shared_expert + (self.width if self.shared_expert else 0)
        return self.experts * one + self.width * self.experts + shared

    @property
    def active_feed_forward_weights(self) -> int:
        """Of these, the ones that a token is multiplied with."""
        if not self.experts:
            return self.feed_forward_weights
        unused = (self.experts - self.experts_per_token) * 3 * self.width * self.feed_forward
        return self.feed_forward_weights - unused

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        family = FAMILIES[self.family]
        qkv = self.attention_bias if family.qkv_bias is None else family.qkv_bias
        output = self.attention_bias if family.output_bias is None else family.output_bias
        biases = qkv * (self.query_width + 2 * self.kv_width) + output * self.width
        biases += self.mlp_bias * (2 * self.feed_forward + self.width)
        norms = family.norms * self.width + family.head_norms * 2 * self.head_dim
        return self.attention_weights + self.feed_forward_weights + biases + norms

    @property
    def embedding(self) -> int:
        """Parameters of the embedding."""
        return self.vocabulary * self.width

    @property
    def backbone(self) -> int:
        """Parameters without an output head of their own: what a PRM with a classification head has."""
        return self.embedding + self.layers * self.layer + self.width

    @property
    def parameters(self) -> int:
        """All parameters of the language model."""
        return self.backbone + (0 if self.tied else self.embedding)

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with in the layers, without embedding and output head."""
        return self.layers * (self.attention_weights + self.active_feed_forward_weights)

    def attention_flops(self, tokens: float) -> float:
        """Return FLOPs per token of scores and weighted sums in all layers, for causal attention in so long a text."""
        return 2 * self.layers * self.query_width * tokens

    def kv_bytes(self, width: int = 2) -> int:
        """Return bytes of keys and values per token, in numbers of so many bytes."""
        return 2 * self.layers * self.kv_width * width

    def adapter(self, rank: int) -> int:
        """Return the parameters of LoRA adapters of a rank on all linear layers.

        Those of a mixture's experts have the rank each, of their joined gate and up projections twice the rank (peft); in
        qwen2_moe only attention and the shared expert have any.
        """
        width, query, kv, inner = self.width, self.query_width, self.kv_width, self.feed_forward
        sides = 2 * (width + query) + 2 * (width + kv)  # of query, output, key, value
        if self.family == "phi3":  # query, key and value are one matrix, gate and up as well
            sides = (width + query + 2 * kv) + (query + width) + (width + 2 * inner) + (inner + width)
        elif self.shared_expert:
            sides += 3 * (width + self.shared_expert) + width + 1
        elif self.experts:
            sides += self.experts * (2 * (width + 2 * inner) + inner + width) + width + self.experts
        else:
            sides += 3 * (width + inner)
        return self.layers * rank * sides


def _known(hub_name: str, family: str, numbers: str, tied: bool, *mixture: int) -> Shape:
    layers, width, heads, kv_heads, head_dim, inner, vocabulary = map(int, numbers.split())
    owner, _, name = hub_name.partition("/")
    experts, chosen = mixture or (0, 0)
    return Shape(
        name, family, layers, width, heads, kv_heads, head_dim, inner, vocabulary, tied, None,
        experts=experts, experts_per_token=chosen, owner=owner,
    )  # fmt: skip


# layers, width, heads, heads of keys and values, width of a head, feed-forward width, vocabulary; tied; experts, chosen
KNOWN = {
    shape.name.lower(): shape
    for shape in (
        _known("Qwen/Qwen2.5-0.5B", "qwen2", "24 896 14 2 64 4864 151936", True),
        _known("Qwen/Qwen2.5-1.5B", "qwen2", "28 1536 12 2 128 8960 151936", True),
        _known("Qwen/Qwen2.5-3B", "qwen2", "36 2048 16 2 128 11008 151936", True),
        _known("Qwen/Qwen2.5-7B", "qwen2", "28 3584 28 4 128 18944 152064", False),
        _known("Qwen/Qwen2.5-14B", "qwen2", "48 5120 40 8 128 13824 152064", False),
        _known("Qwen/Qwen2.5-32B", "qwen2", "64 5120 40 8 128 27648 152064", False),
        _known("Qwen/Qwen2.5-72B", "qwen2", "80 8192 64 8 128 29568 152064", False),
        _known("Qwen/Qwen3-0.6B", "qwen3", "28 1024 16 8 128 3072 151936", True),
        _known("Qwen/Qwen3-1.7B", "qwen3", "28 2048 16 8 128 6144 151936", True),
        _known("Qwen/Qwen3-4B", "qwen3", "36 2560 32 8 128 9728 151936", True),
        _known("Qwen/Qwen3-8B", "qwen3", "36 4096 32 8 128 12288 151936", False),
        _known("Qwen/Qwen3-14B", "qwen3", "40 5120 40 8 128 17408 151936", False),
        _known("Qwen/Qwen3-32B", "qwen3", "64 5120 64 8 128 25600 151936", False),
        _known("Qwen/Qwen3-30B-A3B", "qwen3_moe", "48 2048 32 4 128 768 151936", False, 128, 8),
        _known("Qwen/Qwen3-235B-A22B", "qwen3_moe", "94 4096 64 4 128 1536 151936", False, 128, 8),
        _known("meta-llama/Llama-3.2-1B", "llama", "16 2048 32 8 64 8192 128256", True),
        _known("meta-llama/Llama-3.2-3B", "llama", "28 3072 24 8 128 8192 128256", True),
        _known("meta-llama/Llama-3.1-8B", "llama", "32 4096 32 8 128 14336 128256", False),
        _known("meta-llama/Llama-3.1-70B", "llama", "80 8192 64 8 128 28672 128256", False),
        _known("meta-llama/Llama-3.3-70B", "llama", "80 8192 64 8 128 28672 128256", False),
        _known("meta-llama/Llama-3.1-405B", "llama", "126 16384 128 8 128 53248 128256", False),
        _known("mistralai/Mistral-7B-v0.3", "mistral", "32 4096 32 8 128 14336 32768", False),
        _known("mistralai/Mixtral-8x7B-v0.1", "mixtral", "32 4096 32 8 128 14336 32000", False, 8, 2),
        _known("google/gemma-2-2b", "gemma2", "26 2304 8 4 256 9216 256000", True),
        _known("google/gemma-2-9b", "gemma2", "42 3584 16 8 256 14336 256000", True),
        _known("google/gemma-2-27b", "gemma2", "46 4608 32 16 128 36864 256000", True),
        _known("HuggingFaceTB/SmolLM2-135M", "llama", "30 576 9 3 64 1536 49152", True),
        _known("HuggingFaceTB/SmolLM2-360M", "llama", "32 960 15 5 64 2560 49152", True),
        _known("HuggingFaceTB/SmolLM2-1.7B", "llama", "24 2048 32 32 64 8192 49152", True),
    )
}
_VARIANTS = re.compile(r"-(instruct|base|chat|it|math|coder|thinking|hf|prm|meta|\d{4})(?=-|$)")


def find_shape(model: str) -> Shape:
    """Return the shape of a model folder, or of a name of the table (its owner and `-Instruct`, `-Math`, … do not matter,
    nor a version where the table has one alone).

    Raises:
        CheckpointError: the folder's configuration is damaged, or of an architecture that is not planned for.
        SettingsError: no such folder, and the name is not in the table.
    """
    if model == TINY_POLICY or (Path(model) / "config.json").is_file():
        from sparring.models.loading import load_config, resolve_model

        return shape_of(load_config(Path(resolve_model(model))), Path(model).name)
    if Path(model).is_dir():
        raise CheckpointError(
            f"'{model}' has no config.json, so it is not a Hugging Face model folder{model_inside(Path(model))}"
        )
    name = re.sub(r"^meta-", "", model.rsplit("/", 1)[-1].lower())
    plain = _VARIANTS.sub("", name)
    if shape := KNOWN.get(name) or KNOWN.get(plain):
        return shape
    versions = [shape for known, shape in KNOWN.items() if known.startswith(f"{plain}-v")]
    if len(versions) == 1:
        return versions[0]
    known = [shape.name for shape in KNOWN.values()]
    near = did_you_mean(plain, KNOWN)
    hint = near if "did you mean" in near else f" (names: {', '.join(known)})"
    raise SettingsError(f"'{model}' is no model folder, and its sizes are not known{hint}")


def hub_name(model: str) -> str:
    """Return what `find_shape` found as other commands take it: a folder as it is, a well-known name with its owner."""
    if model == TINY_POLICY or Path(model).is_dir() or "/" in model:
        return model
    shape = find_shape(model)
    name = shape.name
    written = name + model[len(name) :] if model.lower().startswith(name.lower()) else model
    if written == "Llama-3.3-70B":  # there is no other
        written += "-Instruct"
    return f"{shape.owner}/{written}"


def shape_of(config: Any, name: str) -> Shape:
    """Return the shape that a configuration of transformers describes.

    Raises:
        CheckpointError: its architecture, or a part of it, is not planned for.
    """
    from sparring.models.loading import positions

    family = str(config.model_type)
    if family not in FAMILIES:
        raise CheckpointError(
            f"'{name}' is a {family} model; planned for are {', '.join(FAMILIES)} (decoder-only language models)"
        )

    def get(key: str, default: Any = None) -> Any:
        return getattr(config, key, default)

    mixture = family in ("mixtral", "qwen2_moe", "qwen3_moe")
    if mixture and (get("mlp_only_layers") or get("decoder_sparse_step", 1) != 1):
        raise CheckpointError(f"'{name}' has experts in some of its layers only, which is not planned for")
    experts = int(get("num_local_experts") or get("num_experts")) if mixture else 0
    return Shape(
        name=name,
        family=family,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=get("num_key_value_heads") or config.num_attention_heads,
        head_dim=get("head_dim") or config.hidden_size // config.num_attention_heads,
        feed_forward=(get("moe_intermediate_size") if mixture else None) or config.intermediate_size,
        vocabulary=config.vocab_size,
        tied=bool(config.tie_word_embeddings),
        positions=positions(config),
        attention_bias=bool(get("attention_bias", False)),
        mlp_bias=bool(get("mlp_bias", False)),
        experts=experts,
        experts_per_token=config.num_experts_per_tok if mixture else 0,
        shared_expert=get("shared_expert_intermediate_size", 0) if family == "qwen2_moe" else 0,
    )
