"""LoRA adapters: the peft configuration that `lora_rank` and `lora_targets` amount to, checked against the model.

Contract: every target is there and linear, so that no run trains less than was asked for. Scale alpha is twice the rank;
no dropout.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from peft import LoraConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

from sparring.errors import SettingsError


def lora_config(model: Any, rank: int, targets: str | list[str], exclude: Sequence[str] = ()) -> LoraConfig:
    """Return the configuration of adapters for a model.

    Args:
        model: a model of transformers.
        rank: of the adapters.
        targets: last parts of names of linear layers, a regular expression that whole names match, or ``all-linear``.
        exclude: last parts of names that get no adapter whatever the targets say.

    Raises:
        SettingsError: a target names no layer, or one that is not linear or is the input embedding under another name.
    """
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    if exclude:
        config.exclude_modules = set(exclude)
    if targets == "all-linear":
        return config
    modules = {
        name: module
        for name, module in model.named_modules()
        if name and not any(_ends(name, part) for part in exclude)
    }
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, module in modules.items()
            if isinstance(module, (nn.Linear, Conv1D))
        }
    )
    for target in [targets] if isinstance(targets, str) else targets or [""]:
        found = _matches(modules, target, whole=isinstance(targets, str))
        if not found:
            form = (
                " as a whole; a list such as [q_proj] takes last parts of names" if targets == target else ""
            )
            raise SettingsError(
                f"lora_targets: {target!r} matches no layer{form} (linear layers here: {', '.join(linear)})"
            )
        for name in found:
            module = modules[name]
            if not isinstance(module, (nn.Linear, Conv1D)):
                raise SettingsError(
                    f"lora_targets: {target!r} matches '{name}', of class {type(module).__name__}; adapters go on linear "
                    f"layers ({', '.join(linear)})"
                )
            if module.weight is model.get_input_embeddings().weight:
                raise SettingsError(
                    f"lora_targets: '{name}' shares its weights with the input embedding, which an adapter would change too"
                )
    return config


def _matches(names: Sequence[str] | dict[str, Any], target: str, *, whole: bool) -> list[str]:
    if not whole:
        return [name for name in names if _ends(name, target)]
    try:
        return [name for name in names if re.fullmatch(target, name)]
    except re.error as error:
        raise SettingsError(f"lora_targets: {target!r} is not a regular expression: {error}") from None


def _ends(name: str, part: str) -> bool:
    return name == part or name.endswith(f".{part}")
