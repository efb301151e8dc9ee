"""LoRA layers in one product: y = x·(W + s·B·A)ᵀ instead of x·Wᵀ + s·(x·Aᵀ)·Bᵀ.

A batch has far more tokens than a layer has rows, so B·A is added to W once per pass, and every token goes through one
product and not three. The backward pass needs no gradient of W: with u = g·B and t = x·Aᵀ it is ∂A = s·uᵀ·x, ∂B = s·gᵀ·t
(Hu et al. 2021, eq. 3, differentiated). While a model writes token by token without gradients, W + s·B·A is kept from one
token to the next; whoever lets a model write calls `forget` after it, in the same thread.

Contract: results equal those of peft's layer up to the rounding of another order of sums (1e-5 relative in float32). Only
for plain linear layers and plain adapters, on the CPU, in float32 and outside autocast: in half precision the sum would
lose B·A, which is why peft keeps it apart. Everywhere else peft's layer does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn


def fuse(layers: Iterable[Any]) -> None:
    """Let these layers of peft compute in one product where they can."""
    for layer in layers:
        base = getattr(layer, "base_layer", None)
        if type(layer) is Linear and type(base) is nn.Linear:
            layer.kept = None
            layer.forward = MethodType(_forward, layer)


def forget(layers: Iterable[Any]) -> None:
    """Let go of the sums that were kept for writing token by token."""
    for layer in layers:
        if getattr(layer, "kept", None) is not None:
            layer.kept = None


def _forward(layer: Any, x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    if layer._disable_adapters and not layer.merged_adapters:
        plain: torch.Tensor = layer.base_layer(x)
        return plain
    active = layer.active_adapters
    fits = (
        len(active) == 1 and not rest and not options and not layer.merged_adapters and active[0] in layer.lora_A
        and weight.dtype is torch.float32 and x.dtype is torch.float32 and weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu") and _plain(layer, active[0])
    )  # fmt: skip
    if not fits:
        found: torch.Tensor = Linear.forward(layer, x, *rest, **options)
        return found
    (name,) = active
    down, up, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    if torch.is_grad_enabled():
        result: torch.Tensor = _Product.apply(x, weight, bias, down, up, scale)  # type: ignore[no-untyped-call]
        return result
    if x.numel() // x.shape[-1] >= min(weight.shape):  # so many tokens at once are worth a sum of their own
        return nn.functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)
    key = name, down._version, up._version
    kept = layer.kept  # read once: another thread may let go of it
    if kept is None or kept[0] != key:
        layer.kept = kept = key, torch.addmm(weight, up, down, alpha=scale)
    return nn.functional.linear(x, kept[1], bias)


def _plain(layer: Any, name: str) -> bool:
    """Whether an adapter is two matrices and nothing besides: no dropout, no bias, no variant such as DoRA."""
    return (
        name not in layer.lora_variant
        and layer.lora_B[name].bias is None
        and isinstance(layer.lora_dropout[name], nn.Identity)
    )


class _Product(torch.autograd.Function):
    """x·(W + s·B·A)ᵀ + bias, with gradients for x, A and B; W and its bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return nn.functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        of_tokens, tokens = gradient.flatten(0, -2), x.flatten(0, -2)
        of_x = of_down = of_up = None
        if ctx.needs_input_grad[0]:
            of_x = (of_tokens @ torch.addmm(weight, up, down, alpha=ctx.scale)).view_as(x)
        if ctx.needs_input_grad[3]:
            of_down = (of_tokens @ up).T @ tokens * ctx.scale
        if ctx.needs_input_grad[4]:
            of_up = of_tokens.T @ (tokens @ down.T) * ctx.scale
        return of_x, None, None, of_down, of_up, None
