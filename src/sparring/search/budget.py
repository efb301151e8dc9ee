"""What a search costs: tokens and floating-point operations of policy and PRMs, counted per problem.

Contract: counts are of the work that the texts need: every token that was sampled, every token of a prompt once per
request, every token that a PRM read. Padding, and what an engine computes twice for its own reasons, is not in them.
FLOPs of a token: 2 · parameters that take part in a matrix product, and 4 · layers · query width · tokens it attends
to. A token that is sampled last is never read, so it costs nothing. What is unknown (a server's model, an engine that
does not say which tokens it wrote) is None, never guessed.

Left out of FLOPs: normalisations, activations, the sampling itself. Counted too high: experts of a mixture that a token
does not visit, sliding windows, the output head at prompt tokens, and its rows that a PRM of label tokens does not read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """The size of a model as far as its FLOPs go.

    Attributes:
        parameters: those that take part in a matrix product for every token.
        attention: layers × query width.
    """

    parameters: int
    attention: int

    def flops(self, start: int, stop: int) -> float:
        """Return the FLOPs of reading the tokens at positions `start` to `stop` − 1 with those before them cached."""
        tokens = max(0, stop - start)
        attended = tokens * (start + 1 + stop) // 2
        return 2.0 * self.parameters * tokens + 4.0 * self.attention * attended


def measured(model: Any) -> Model | None:
    """Return the size of a transformers model; None where its configuration does not say layers and heads."""
    config = getattr(model, "config", None)
    if config is None:
        return None
    config = config.get_text_config()
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_attention_heads", None)
    if layers is None or heads is None:
        return None
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    parameters = sum(parameter.numel() for parameter in model.parameters()) - embedding.numel()
    if head is not None and head.weight is embedding:  # tied: looked up at the bottom, multiplied at the top
        parameters += embedding.numel()
    return Model(parameters, layers * heads * width)


@dataclass(slots=True)
class Spent:
    """What one problem has cost so far; None: unknown.

    Attributes:
        tokens_generated: tokens that the policy sampled.
        tokens_prefilled: tokens of prefixes that it was asked to continue, once per request.
        tokens_scored: tokens that the PRMs read.
        policy_flops: FLOPs of the policy.
        prm_flops: FLOPs of the PRMs, a prover's value model included.
    """

    tokens_generated: int | None = 0
    tokens_prefilled: int | None = 0
    tokens_scored: int | None = 0
    policy_flops: float | None = 0.0
    prm_flops: float | None = 0.0

    @property
    def flops(self) -> float | None:
        """FLOPs of policy and PRMs together."""
        total: float | None = plus(self.policy_flops, self.prm_flops)
        return total

    def add(self, **costs: float | None) -> None:
        """Add costs by name; an unknown one makes the total unknown."""
        for name, cost in costs.items():
            setattr(self, name, plus(getattr(self, name), cost))

    def as_dict(self) -> dict[str, float | None]:
        """Return the counts by name."""
        return asdict(self)


def plus(one: Any, other: Any) -> Any:
    """Return the sum, None where a part of it is."""
    return None if one is None or other is None else one + other
