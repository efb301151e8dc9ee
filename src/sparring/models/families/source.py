"""Reading a downloaded model folder without running any of its code: configuration, weights, tokenizer, files.

Contract: safetensors only; a folder with nothing but pickled weights is refused with what to do about it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig

from sparring.errors import CheckpointError
from sparring.models.loading import quiet

_TEXTS = {".json", ".model", ".txt", ".jinja"}


def source_config(source: Path) -> Any:
    """Return the native configuration of a folder; what it says about remote code is dropped.

    Raises:
        CheckpointError: there is no configuration, or not one of a native architecture.
    """
    if not (source / "config.json").is_file():
        raise CheckpointError(f"'{source}' has no config.json, so it is not a Hugging Face model folder")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read the configuration of '{source}': {error}") from error
    config.architectures = None
    if hasattr(config, "auto_map"):
        del config.auto_map
    return config


def source_weights(source: Path, rename: Callable[[str], str | None]) -> dict[str, torch.Tensor]:
    """Return the tensors that `rename` gives a name, by that name; it returns None for those to leave.

    Raises:
        CheckpointError: there are no safetensors, or one that the index names is missing.
    """
    index = source / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [source / Path(name).name for name in names]
    else:
        files = sorted(source.glob("*.safetensors"))
    if not files:
        pickled = bool([*source.glob("*.bin"), *source.glob("*.pt")])
        advice = (
            "it has pickled weights only, which can run code when they are read: ask the hub for its safetensors "
            "version (revision refs/convert or an open pull request), or save it again with safetensors where you trust it"
        )
        raise CheckpointError(f"'{source}' has no safetensors; {advice if pickled else 'nothing to convert'}")
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"'{source}' lacks {file.name}, which its index names")
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
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of '{source}' do not fit: {str(error).splitlines()[-1]}"
        ) from None
    if missing or unexpected:
        raise CheckpointError(
            f"the weights of '{source}' do not fit {type(model).__name__}: "
            f"missing {missing[:3]}, left over {unexpected[:3]}"
        )
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
    return int(getattr(config, "max_position_embeddings", None) or 2048)
