"""The files of a model folder, read strictly before transformers sees them.

Contract: what is missing, damaged, of another type than its field's, or larger than all weights that there are, is a
`CheckpointError` that names the file; nothing large is read or made before that. Safetensors only.

Not here: whether the weights are those of the model (`loading.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from typing_extensions import TypedDict

from sparring.errors import CheckpointError
from sparring.json_files import kind
from sparring.models.sidecar import json_object

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def check_files(folder: Path) -> None:
    """Refuse a folder that is no model, before anything large is read.

    Raises:
        CheckpointError: a file is missing or damaged, or the folder holds an adapter.
    """
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"'{folder}' holds an adapter of peft, not a model: merge it into its base model (merge_and_unload) and "
            "save that, so that all weights that are used are in the folder"
        )
    check_texts(folder, ["generation_config.json"])
    files = weight_files(folder)
    tensors = sum(map(len, files.values()))
    config = read_config(folder)
    for part in (config, config.get("text_config")):
        for name in _LAYERS:
            count = part.get(name) if isinstance(part, dict) else None
            if isinstance(count, int) and count > tensors:  # else as many layers would be made first
                raise CheckpointError(
                    f"{folder / 'config.json'}: {name} is {count}, but the weights are only {tensors} tensors"
                )


_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_PARTS = ("num_experts", "num_local_experts", "n_routed_experts", "num_labels")
_MOST_PARTS = 1 << 16
"""Most experts and labels: as many objects are made of them when a configuration or a model is made, without tensors."""
_PACKED, _HARMLESS = 8, 1 << 26
"""Weights in one number of a file at most; numbers that a model may have in any case."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the fields of `config.json`; transformers must not see one that is not read here first.

    Raises:
        CheckpointError: it is missing or damaged, or names more labels or experts than any model has.
    """
    path = folder / "config.json"
    config = json_object(path, loose=True)
    parts: list[Any] = [config]
    while parts:
        part = parts.pop()
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        for name in _PARTS:
            count = part.get(name) if isinstance(part, dict) else None
            if isinstance(count, (int, float)) and count > _MOST_PARTS:
                raise CheckpointError(f"{path}: {name} is {count}, at most {_MOST_PARTS} are read")
    return config


def refuse_larger(folder: Path, skeleton: Any) -> None:
    """Refuse a model that would be larger than all weights that there are.

    transformers makes what the weights lack before it says so: gigabytes and minutes for a folder of a few kilobytes.

    Args:
        folder: the model's.
        skeleton: the model on the device `meta`, where tensors have shapes only.

    Raises:
        CheckpointError: it would be.
    """
    held = sum(map(elements, weight_files(folder)))
    asked = sum(tensor.numel() for tensor in (*skeleton.parameters(), *skeleton.buffers()))
    if asked > max(_HARMLESS, _PACKED * held):
        raise CheckpointError(
            f"{folder / 'config.json'} asks for a model of {asked:,} numbers, but the weights hold {held:,}"
        )


def check_texts(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which one of these JSON files is damaged; they may also be missing.

    Raises:
        CheckpointError: there is one.
    """
    for name in names:
        if (folder / name).is_file():
            if name == "config.json":
                read_config(folder)
            else:
                json_object(folder / name, loose=True)


class _Content(TypedDict):
    content: str


class _Template(TypedDict):
    name: str
    template: str


_Token = str | _Content
_SPECIAL = [f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
_SWITCHES = ["add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces"]
_TOKEN_FIELDS: dict[str, tuple[str, Any]] = {
    "model_max_length": ("a number of at least 1", Annotated[int | float, Field(ge=1)]),
    "tokenizer_class": ("a text", str),
    "chat_template": ("a text, or a list of objects with name and template", str | list[_Template]),
    "additional_special_tokens": ("a list of tokens", list[_Token]),
    "added_tokens_decoder": (
        "an object from ids to tokens",
        dict[Annotated[str, Field(pattern=r"^[0-9]+$")], _Token],
    ),
    **dict.fromkeys(_SPECIAL, ("a text, or an object with a text as its content", _Token)),
    **dict.fromkeys([*_SWITCHES, "split_special_tokens"], ("true or false", bool)),
    **dict.fromkeys(("padding_side", "truncation_side"), ("'left' or 'right'", Literal["left", "right"])),
}


def check_token_fields(folder: Path) -> None:
    """Refuse fields of another type than they have in `tokenizer_config.json` and `special_tokens_map.json`.

    transformers takes them as they are, and fails at the first text, or later.

    Raises:
        CheckpointError: there is one.
    """
    for path in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        fields = json_object(path, loose=True) if path.is_file() else {}
        for name in [name for name in fields if name in _TOKEN_FIELDS]:
            words, wanted = _TOKEN_FIELDS[name]
            try:
                TypeAdapter(wanted | None).validate_python(fields[name], strict=True)
            except ValidationError:
                raise CheckpointError(f"{path}: {name} must be {words}, it is {kind(fields[name])}") from None


def weight_files(folder: Path) -> dict[Path, dict[str, str]]:
    """Return the safetensors files of a model folder, as transformers chooses them, and in each the types of its tensors.

    Raises:
        CheckpointError: there are none, one is damaged, or the index is, or names what is not there.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: tensor_types(folder / WEIGHTS)}
    index = folder / INDEX
    if not index.is_file():
        advice = f"a model folder has {WEIGHTS}, or {INDEX} and the files that it names"
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            advice = (
                "it has pickled weights only, which can run code when they are read: ask the hub for its safetensors "
                "version (revision refs/convert or an open pull request), or save it as safetensors where you trust it"
            )
        raise CheckpointError(f"'{folder}' has no safetensors: {advice}")
    fields = json_object(index)
    places = fields.get("weight_map")
    if not isinstance(fields.get("metadata"), dict):  # transformers reads it
        raise CheckpointError(f"{index}: 'metadata' must be an object (it may be empty)")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index}: 'weight_map' must be an object from tensor to file")
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(
                f"{index}: the file of '{tensor}' must be a name in this folder, not {name!r}"
            )
    found: dict[Path, dict[str, str]] = {}
    owner: dict[str, str] = {}
    for name in sorted(set(places.values())):
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"'{folder}' lacks {name}, which its index names")
        found[path] = tensor_types(path)
        if lost := sorted(
            tensor for tensor in places if places[tensor] == name and tensor not in found[path]
        ):
            raise CheckpointError(f"{path} lacks {some(lost)}, which {INDEX} places there")
        for tensor in found[path]:
            if owner.setdefault(tensor, name) != name:
                raise CheckpointError(f"'{folder}': {owner[tensor]} and {name} both hold '{tensor}'")
    return found


def tensor_types(path: Path) -> dict[str, str]:
    """Return the names of the tensors in a safetensors file, and their types as safetensors writes them (F32, I64, …).

    Raises:
        CheckpointError: it is not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}): copy or download it again"
        ) from None


def elements(path: Path) -> int:
    """Return how many numbers a whole safetensors file holds, by its header, which is checked against the file's size."""
    with safe_open(path, framework="pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no mapping)


def some(names: list[str], most: int = 4) -> str:
    """Return the first names of a list and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
