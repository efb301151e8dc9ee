"""A head of linear layers with ReLU between them, on a native backbone.

Contract: the folder loads with `AutoModel`; the head's weights stand beside it in `step_head.safetensors` as ``0.weight``,
``0.bias``, ``1.weight``, …, first layer first. No code of anybody's is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from sparring.errors import CheckpointError
from sparring.models.folder import tensor_types
from sparring.models.loading import load_backbone

HEAD_FILE = "step_head.safetensors"


class StepHead(nn.Module):
    """A backbone with a step head: called like a token classifier of transformers."""

    def __init__(self, backbone: Any, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, nn.ModuleList(layers)
        self.config = backbone.config
        self.config.num_labels = layers[-1].out_features

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the backbone's input embedding."""
        embedding: nn.Embedding = self.backbone.get_input_embeddings()
        return embedding

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        """Return logits of shape (rows, tokens, labels)."""
        states = self.backbone(input_ids=input_ids, use_cache=use_cache).last_hidden_state
        for index, layer in enumerate(self.layers):
            states = layer(states if index == 0 else torch.relu(states))
        return SimpleNamespace(logits=states)


def head_layers(weights: Mapping[str, torch.Tensor], width: int) -> list[nn.Linear]:
    """Return the layers of a head file, checked to fit each other and a backbone of this width.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape.
    """
    layers = []
    for index in range(max(1, (len(weights) + 1) // 2)):
        weight, bias = weights.get(f"{index}.weight"), weights.get(f"{index}.bias")
        fits = weight is not None and bias is not None and weight.ndim == 2 and weight.shape[1] == width
        if weight is None or bias is None or not fits or bias.shape != weight.shape[:1]:
            raise CheckpointError(f"{HEAD_FILE}: layer {index} is missing or does not take {width} numbers")
        layer = nn.Linear(width, weight.shape[0], device="meta")
        layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        layers.append(layer)
        width = weight.shape[0]
    if len(weights) != 2 * len(layers):
        raise CheckpointError(f"{HEAD_FILE}: weights that belong to no layer: {sorted(weights)}")
    return layers


def load_step_head(folder: Path, *, device: torch.device, dtype: torch.dtype) -> StepHead:
    """Return the model of a folder with a step head, in evaluation mode.

    Raises:
        CheckpointError: the backbone or the head cannot be loaded, or they do not fit.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise CheckpointError(f"'{folder}' has no {HEAD_FILE}")
    tensor_types(path)
    weights = load_file(path)
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor.to(dtype)).all():
            raise CheckpointError(f"{path}: {name} holds something else than finite numbers")
    backbone = load_backbone(folder, device=device, dtype=dtype)
    layers = head_layers(weights, backbone.config.hidden_size)
    return StepHead(backbone, layers).to(device=device, dtype=dtype).eval()
