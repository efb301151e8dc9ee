"""Reading a downloaded model folder without running any of its code: configuration, weights, tokenizer, files.

Contract: safetensors only; a folder with nothing but pickled weights is refused with what to do about it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from sparring.models.folder import check_files, weight_files
from sparring.models.loading import load_config, positions, refuse_other_weights

_TEXTS = {".json", ".model", ".txt", ".jinja"}


def source_config(source: Path) -> Any:
    """Return the native configuration of a folder; what it says about remote code is dropped.

    Raises:
        CheckpointError: there is no configuration, or not one of a native architecture.
    """
    check_files(source)
    config = load_config(source)
    config.architectures = None
    if hasattr(config, "auto_map"):
        del config.auto_map
    return config


def source_weights(source: Path, rename: Callable[[str], str | None]) -> dict[str, torch.Tensor]:
    """Return the tensors of a folder by the name that `rename` gives them; it returns None for those to leave.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(source):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is not a mapping)
                new = rename(name)
                if new is not None:
                    weights[new] = tensors.get_tensor(name)
    return weights


def filled(model: torch.nn.Module, weights: dict[str, torch.Tensor], source: Path) -> Any:
    """Return a model made on the meta device with these weights.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    refuse_other_weights(
        source,
        model,
        missing=wanted.keys() - weights.keys(),
        unexpected=weights.keys() - wanted.keys(),
        mismatched=[
            (name, weights[name].shape, wanted[name].shape)
            for name in wanted.keys() & weights.keys()
            if weights[name].shape != wanted[name].shape
        ],
    )
    model.load_state_dict(weights, assign=True)
    return model.eval()


def copy_files(source: Path, target: Path, *, weights: bool) -> None:
    """Copy a folder's texts (tokenizer, configuration, template), and its safetensors where `weights` says so.

    Safetensors are linked where the file system can. Code and pickles stay behind.
    """
    for file in sorted(source.iterdir()):
        if file.name == "sparring.json" or not file.is_file():
            continue
        is_model = file.suffix == ".safetensors" or file.name in (
            "config.json",
            "model.safetensors.index.json",
        )
        if file.suffix in _TEXTS and (weights or not is_model):
            shutil.copyfile(file, target / file.name)
        elif weights and file.suffix == ".safetensors":
            with contextlib.suppress(OSError):
                os.link(file.resolve(), target / file.name)
            if not (target / file.name).exists():
                shutil.copyfile(file, target / file.name)


def begin_text(tokenizer: Any) -> str:
    """Return the text of the begin token where the tokenizer puts one before a text of its own accord, else nothing."""
    begin = tokenizer.bos_token
    return begin if begin and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id] else ""


def context(config: Any) -> int:
    """Return the most tokens that the model takes."""
    return positions(config) or 2048
