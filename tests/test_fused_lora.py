"""LoRA in one product gives what peft's own layer gives, with its gradients; and what it keeps is never out of date."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import nn

from sparring.models.fused_lora import forget, fuse

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def a_layer(bias: bool) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20, bias=bias))
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=8, target_modules=["0"]), model)
    nn.init.normal_(model[0].lora_B["default"].weight)
    return model[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [3, 50])
def test_one_product_is_peft_with_its_gradients(bias: bool, tokens: int) -> None:
    layer = a_layer(bias)
    x = torch.randn(2, tokens, 12, requires_grad=True)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    of_peft = Linear.forward(layer, x)
    wanted = torch.autograd.grad((of_peft**3).sum(), [x, *weights])
    fuse([layer])
    ours = layer(x)
    found = torch.autograd.grad((ours**3).sum(), [x, *weights])
    torch.testing.assert_close(ours, of_peft, **CLOSE)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), of_peft, **CLOSE)
        layer.enable_adapters(enabled=False)
        torch.testing.assert_close(layer(x), layer.base_layer(x))


def test_what_is_kept_while_writing_follows_the_weights() -> None:
    layer = a_layer(bias=False)
    fuse([layer])
    x = torch.randn(1, 1, 12)
    with torch.inference_mode():
        before = layer(x)
        assert layer.kept is not None
    with torch.no_grad():
        layer.lora_B["default"].weight.mul_(2)
        torch.testing.assert_close(layer(x), Linear.forward(layer, x), **CLOSE)
        assert not torch.allclose(layer(x), before)
    forget([layer])
    assert layer.kept is None


@pytest.mark.parametrize("more", [{"lora_dropout": 0.5}, {"lora_bias": True}, {"use_dora": True}])
def test_adapters_with_more_than_two_matrices_are_left_to_peft(more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20))
    inject_adapter_in_model(LoraConfig(r=4, target_modules=["0"], **more), model)
    layer: Any = model[0].train()
    for parameter in layer.lora_B.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 30, 12)
    torch.manual_seed(1)
    wanted = Linear.forward(layer, x)
    fuse([layer])
    torch.manual_seed(1)
    assert torch.equal(layer(x), wanted)


def test_half_precision_is_left_to_peft() -> None:
    layer = a_layer(bias=False)
    layer.base_layer.to(torch.bfloat16)
    x = torch.randn(1, 30, 12, dtype=torch.bfloat16)
    wanted = Linear.forward(layer, x)
    fuse([layer])
    assert torch.equal(layer(x), wanted)
