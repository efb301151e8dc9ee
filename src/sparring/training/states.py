"""States of a run on disk: one safetensors file and JSON, with digests, never pickle.

Contract: a state appears whole or not at all. It carries digests of its tensors and values, and both are checked before
anything of it is used: where one bit was changed, or a tensor is missing, it is refused in words and never believed. Of
several processes the main one writes, and all of them read.

Not here: what a checkpoint holds (`run.py`, `aprm.py`, `supervised.py`, `rl.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sparring.errors import CheckpointError, DataError
from sparring.files import atomic_directory
from sparring.json_files import read_json_object
from sparring.training.processes import is_main, wait

Tensors = Mapping[str, torch.Tensor]

TENSORS, VALUES = "state.safetensors", "state.json"


def save_state(folder: Path, tensors: Mapping[str, Tensors], values: Mapping[str, Any]) -> None:
    """Write groups of tensors and JSON values as one folder, replacing an older one atomically (the main process does)."""
    if is_main():
        _write_state(folder, tensors, values)
    wait()


def _write_state(folder: Path, tensors: Mapping[str, Tensors], values: Mapping[str, Any]) -> None:
    flat = {
        f"{group}|{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    with atomic_directory(folder) as temporary:
        save_file(flat, str(temporary / TENSORS))
        content = {**values, "tensors_digest": _file_digest(temporary / TENSORS)}
        whole = {**content, "state_digest": _digest(content)}
        (temporary / VALUES).write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def load_state(folder: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Return what `save_state` wrote.

    Raises:
        CheckpointError: there is no state, it cannot be read, or it is not what was written.
    """
    values = verified(folder)
    try:
        flat = load_file(str(folder / TENSORS))
    except (OSError, SafetensorError) as error:
        raise damaged(folder / TENSORS, f"cannot be read ({error})") from None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        group, _, name = key.partition("|")
        groups.setdefault(group, {})[name] = tensor
    return groups, values


def verified(folder: Path) -> dict[str, Any]:
    """Return a state's values once they and its tensors are found to be what was written.

    Raises:
        CheckpointError: they are not, or there is no state.
    """
    path = folder / VALUES
    if not path.is_file():
        raise CheckpointError(f"no checkpoint to resume from at '{folder}' ({VALUES} is not there)")
    try:
        values = read_json_object(path, loose=True)
        known = values.pop("state_digest", None)
        if known != _digest(values):
            what = "was changed since it was written" if known else "holds no digest of its content"
            raise damaged(path, what)
        tensors = _file_digest(folder / TENSORS)
    except OSError as error:
        raise damaged(Path(error.filename or folder), f"cannot be read ({error.strerror})") from None
    except DataError as error:
        raise damaged(path, f"cannot be used ({error.message})") from None
    if values.pop("tensors_digest") != tensors:
        raise damaged(folder / TENSORS, "was changed since it was written")
    return values


def _digest(content: Mapping[str, Any]) -> str:
    """Return a SHA-256 of JSON values, however they are written."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_tensors(file: Path, group: str, targets: Tensors, found: Tensors) -> None:
    """Copy tensors of the same names, shapes and types into `targets`.

    Raises:
        CheckpointError: one is missing, unexpected, of another shape or type, or not finite; names the first.
    """
    for name in sorted(targets.keys() | found.keys()):
        if name not in found or name not in targets:
            what = "is missing" if name in targets else "is not one of this model"
            raise damaged(file, f"does not fit: {group} tensor '{name}' {what}")
        check_tensor(file, f"{group} tensor '{name}'", found[name], targets[name].shape, targets[name].dtype)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(found[name])


def check_tensor(
    file: Path, name: str, tensor: torch.Tensor, shape: Sequence[int], dtype: torch.dtype
) -> None:
    """Raise CheckpointError where a tensor is of another shape or type, or not finite."""
    if tensor.shape != tuple(shape) or tensor.dtype != dtype:
        was, wanted = f"{tuple(tensor.shape)} {tensor.dtype}", f"{tuple(shape)} {dtype}"
        raise damaged(file, f"does not fit: {name} is {was}, should be {wanted}")
    if not bool(torch.isfinite(tensor).all()):
        raise damaged(file, f"holds numbers that are not finite in {name}")


def damaged(file: Path, what: str) -> CheckpointError:
    """Return the error for a file of a run that cannot be believed."""
    return CheckpointError(
        f"'{file}' {what}: the run cannot go on from it. Put back an undamaged copy of the run directory, or start anew "
        "in another --out"
    )
