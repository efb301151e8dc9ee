"""What a job holds in memory: weights, adapters, gradients, optimiser, activations, logits, KV cache.

Contract: formulas only, no model is made; every part says how it was computed. The formulas follow what transformers'
layers and peft's adapters keep for the backward pass (`tests/test_planning.py` counts the tensors that they save, and
`benchmarks/plan_check.py` measures peaks of whole runs). Activations are those of SDPA or flash attention, which keep no
matrix of scores. Not here: what an allocator wastes (the setting `reserve`), the CUDA context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sparring.planning.hardware import GIB
from sparring.planning.shapes import FAMILIES, Shape

Numbers = Literal["bfloat16", "float32"]
LOGIT_COPIES = 10
"""float32 tensors of (sampled tokens, vocabulary) that live at once in a policy's update: logits, reference, log-softmax,
and what KL and entropy keep for the backward pass."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing in memory: its name, bytes on each device, and how they were computed."""

    name: str
    size: float
    formula: str


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained.

    Attributes:
        checkpointing: whether activations are computed again.
        roles: sets of weights (or adapters) beside one another: 4 in the game (two players, two references).
        trained: those of them that an optimiser moves.
        previous: those of them whose last gradient is kept (optimistic steps).
        moment_bytes: of the optimiser's two moments per weight: 8, or 2 with an 8-bit optimiser.
        masked: whether rows hold branches, so that attention takes a mask and copies keys per head.
        policy_head: whether the output head is part of it.
        shards: devices that the layers of a frozen backbone are split over.
    """

    shape: Shape
    adapter: Literal["lora", "full"]
    rank: int
    numbers: Numbers
    checkpointing: bool
    roles: int = 1
    trained: int = 1
    previous: int = 0
    moment_bytes: int = 8
    masked: bool = False
    policy_head: bool = False
    shards: int = 1

    @property
    def whole(self) -> int:
        """Parameters of one copy of the model."""
        return self.shape.parameters if self.policy_head else self.shape.backbone

    @property
    def width(self) -> int:
        """Bytes of a frozen weight."""
        return 2 if self.numbers == "bfloat16" else 4

    @property
    def trainable(self) -> int:
        """Trainable parameters of one role."""
        return self.shape.adapter(self.rank) if self.adapter == "lora" else self.whole

    def standing(self) -> list[Part]:
        """Return what is held all the time of an update, whatever its texts."""
        own, width, n = self.trainable, self.width, self.shards
        if self.adapter == "lora":
            # Embeddings and output head stay whole
            apart = self.shape.layers * self.shape.layer if n > 1 else 0
            said = f"({count(apart)} ÷ {n} + {count(self.whole - apart)})" if n > 1 else count(self.whole)
            parts = [
                Part("frozen weights", (self.whole - apart + apart / n) * width, f"{said} × {width} B"),
                Part(
                    "adapters", self.roles * own * 4, f"{self.roles} of rank {self.rank} × {count(own)} × 4 B"
                ),
            ]
        else:
            said = f"{times(self.roles)}{count(self.whole)} × 4 B"
            parts = [Part("weights", self.roles * self.whole * 4, said)]
        said = f"{count(own)} × 4 B" + (" (one player's at a time)" if self.trained > 1 else "")
        parts.append(Part("gradients", own * 4, said))
        said = f"{times(self.trained)}{count(own)} × {self.moment_bytes} B (two moments of Adam)"
        parts.append(Part("optimiser", self.trained * own * self.moment_bytes, said))
        if self.previous:
            said = f"{self.previous} × {count(own)} × 4 B"
            parts.append(Part("gradients before", self.previous * own * 4, said))
        if self.numbers == "bfloat16" and self.adapter == "full":
            parts.append(Part("bfloat16 copies", self.whole * 2, f"{count(self.whole)} × 2 B (autocast)"))
        if n > 1:
            said = f"2 × {count(self.shape.layer)} × {width} B (one ahead)"
            parts.append(Part("gathered layers", 2 * self.shape.layer * width, said))
        return parts

    def sampling_parts(self, sequences: int, tokens: int) -> list[Part]:
        """Return what sampling so many sequences of so many tokens holds on each device: shared weights are there whole."""
        gone = ("frozen weights", "gathered layers", "gradients")
        said, each = f"{count(self.whole)} × {self.width} B", self.shape.kv_bytes(self.width)
        cache = f"{sequences} × {tokens:,} tokens × {each:,} B"
        return [
            Part("weights while sampling", self.whole * self.width, said),
            *(part for part in self.standing() if part.name not in gone),
            Part("KV cache", sequences * tokens * each, cache),
        ]

    def pass_parts(self, rows: int, row: int, sampled: int = 0) -> list[Part]:
        """Return what a forward and backward pass holds besides.

        Args:
            row: tokens of each, padding included.
            sampled: tokens of each that go through the output head, with their logits kept.
        """
        per_token, said = self.per_token()
        parts = [Part("activations", rows * row * per_token, f"{rows} × {row:,} tokens × ({said})")]
        vocabulary = self.shape.vocabulary
        if sampled:
            size = LOGIT_COPIES * rows * sampled * vocabulary * 4
            said = f"{LOGIT_COPIES} × {rows} × {sampled:,} sampled tokens × {vocabulary:,} words × 4 B"
            parts.append(Part("logits", size, said))
        if self.masked:
            said = f"{rows} × {row:,}² × {self.width} B (branches in a row)"
            parts.append(Part("masks", rows * row * row * self.width, said))
        return parts

    def kept_per_token(self) -> float:
        """Return bytes that a layer keeps of a token for the backward pass."""
        shape, family = self.shape, FAMILIES[self.shape.family]
        h, q, kv = shape.width, shape.query_width, shape.kv_width
        keys = q if self.masked else kv
        f = shape.feed_forward
        if shape.experts:  # the chosen experts' inner numbers, and a copy of the token for each
            f = shape.experts_per_token * (shape.feed_forward + h // 2) + shape.shared_expert
        rank = self.rank if self.adapter == "lora" else 0
        normalised = 0 if rank else 1  # kept for the gradient of the norm's weight
        norms = family.norms * (h + normalised * h) * 4
        half = self.numbers == "bfloat16"
        norms += family.head_norms * (4 + normalised * (2 if half else 4)) * (q + kv)
        small = 4 * shape.heads + 8
        if not half:
            return norms + 4 * (2 * h + 2 * q + 2 * keys + 4 * f + 7 * rank) + small
        # Under autocast every projection keeps a bfloat16 copy of its input of its own; with adapters also the output and
        # down projections.
        copies = 5 * h + (q if rank else 0)
        return norms + 2 * (copies + 2 * q + 2 * keys + 4 * f + 7 * rank) + small

    def per_token(self) -> tuple[float, str]:
        """Return bytes of activations per token of a pass, and how they were computed."""
        shape, kept = self.shape, self.kept_per_token()
        inner = shape.feed_forward * max(1, shape.experts_per_token)
        end = 2 * (inner + shape.width) * self.width + 3 * shape.width * 4
        if not self.checkpointing:
            return (
                shape.layers * kept + end,
                f"{shape.layers} layers × {kept:,.0f} B + {end:,.0f} B at the end",
            )
        # The residual stream has the type of the weights.
        residual = shape.width * (2 if self.numbers == "bfloat16" and self.adapter == "lora" else 4)
        said = f"{shape.layers} layers × {residual:,} B + one layer's {kept:,.0f} B + {end:,.0f} B at the end"
        return shape.layers * residual + kept + end, said


def serving_per_token(shape: Shape, numbers: Numbers) -> tuple[float, str]:
    """Return bytes per token of a forward pass without gradients: what its widest moment holds."""
    width = 2 if numbers == "bfloat16" else 4
    inner = shape.feed_forward * max(1, shape.experts_per_token)
    mlp = 4 * shape.width + 3 * inner
    attention = 3 * shape.width + 4 * shape.query_width + 2 * shape.kv_width
    widest = max(mlp, attention)
    return width * widest, f"{width} B × {widest:,} numbers of the widest moment"


def count(number: float) -> str:
    """Return a number of things for people: 494.0 M."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:,.4g} {unit}" if number < 1000 * size else f"{number / size:,.0f} {unit}"
    return f"{number:,.4g}"


def metric(number: float) -> str:
    """Return a number with a prefix of units: 13.2 G."""
    return count(number).replace(" B", " G") if abs(number) >= 1e3 else f"{number:,.4g} "


def times(number: int) -> str:
    """Return a factor and its sign; nothing for 1."""
    return f"{number} × " if number > 1 else ""


def gib(size: float) -> str:
    """Return bytes for people."""
    return f"{size / GIB:,.2f} GiB" if size < 100 * GIB else f"{size / GIB:,.0f} GiB"


def total(parts: Sequence[Part]) -> float:
    """Return the bytes of all parts."""
    return sum(part.size for part in parts)
