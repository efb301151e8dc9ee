"""Saving and resuming a training run: parameters, optimiser moments, previous gradients, and plain values.

Contract: a checkpoint is a folder of one safetensors file and JSON, never pickle; it appears whole or not at all. All
randomness of a run is derived from (seed, step, purpose), so there is no generator state to save.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sparring.errors import CheckpointError
from sparring.runs import atomic_directory

_TENSORS, _VALUES = "state.safetensors", "state.json"


def seed_for(seed: int, step: int, purpose: str) -> int:
    """Return a seed below 2**63 that depends on all three."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_for(seed: int, step: int, purpose: str) -> random.Random:
    """Return Python's generator for this purpose at this step."""
    return random.Random(seed_for(seed, step, purpose))


def torch_generator_for(seed: int, step: int, purpose: str, device: torch.device) -> torch.Generator:
    """Return torch's generator for this purpose at this step."""
    return torch.Generator(device=device).manual_seed(seed_for(seed, step, purpose))


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return the optimiser's tensors as ``parameter/moment`` → tensor."""
    tensors = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = (
                value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
            )
    return tensors


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Restore what `optimizer_tensors` gave."""
    for key, tensor in tensors.items():
        name, _, moment = key.rpartition("/")
        parameter = parameters[name]
        place = "cpu" if moment == "step" else parameter.device
        optimizer.state[parameter][moment] = tensor.clone().to(place)


def save_state(
    folder: Path,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    values: Mapping[str, Any],
) -> None:
    """Write groups of tensors and JSON values as one checkpoint folder, replacing an older one atomically."""
    flat = {
        f"{group}|{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    with atomic_directory(folder) as temporary:
        save_file(flat, str(temporary / _TENSORS))
        (temporary / _VALUES).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def load_state(folder: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Return what `save_state` wrote.

    Raises:
        CheckpointError: there is no checkpoint, or it cannot be read.
    """
    if not (folder / _VALUES).is_file():
        raise CheckpointError(f"no checkpoint to resume from at '{folder}'")
    try:
        values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
        flat = load_file(str(folder / _TENSORS))
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint at '{folder}' cannot be read: {error}") from None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        group, _, name = key.partition("|")
        groups.setdefault(group, {})[name] = tensor
    return groups, values
