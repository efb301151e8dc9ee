"""A frozen backbone in parts: every process holds a share of each layer's weights and gathers a layer to compute with it.

This is FSDP2 (`torch.distributed.fsdp.fully_shard`; the third stage of ZeRO, arXiv 1910.02054) for what is large and not
trained. Adapters and heads are added afterwards and stay whole in every process, so roles, optimisers, checkpoints and the
sum of gradients are what they are without it. Embeddings and the output head stay whole too: tied ones would be one weight
in two groups.

Contract: gathering is an exchange in which all processes take part, so all must make the same passes in the same order.
Where they cannot (sampling, whose ends differ), the block runs `whole`; where one has fewer rows than another, it makes
idle passes (`Roles.idle`). Every number is that of the unsharded model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from sparring.errors import SettingsError


def shard(model: Any, device: torch.device) -> Any:
    """Share a model's layers among the processes and move it to the device; return it.

    Args:
        model: of transformers, on the CPU, not trained, without adapters.
        device: this process's.

    Raises:
        SettingsError: the model does not say which of its modules are its layers.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise SettingsError(f"FSDP: {type(model).__name__} does not say which of its modules are its layers")
    model.requires_grad_(False)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return model.to(device)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether a model's weights are shared among processes."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


@contextmanager
def whole(model: torch.nn.Module) -> Iterator[None]:
    """Hold all weights in every process while the block runs, which then need not compute in step with the others."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def full(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whole; of a shared one all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
