"""The files of a Hugging Face model folder, read strictly before transformers sees them.

Contract: JSON files are whole, UTF-8, and objects; weights are safetensors whose headers can be read, and a sharded
checkpoint has every file and tensor that its index names. What is wrong is one `CheckpointError` that names the file.
Not here: whether the weights are those of the model (`loading.py`); anything on the hub, which transformers fetches.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open

from sparring.errors import CheckpointError, DataError
from sparring.traces.jsonl import decoded, parse_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
MODEL_TEXTS = ("config.json", "generation_config.json")
TOKENIZER_TEXTS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SPECIAL_TOKENS = {f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}
_SWITCHES = {
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
}
_SIDES = {"padding_side", "truncation_side"}


def json_object(path: Path, *, constants: bool = False) -> dict[str, Any]:
    """Return the object in a JSON file; `constants` lets NaN and Infinity stand, which configurations may hold.

    Raises:
        CheckpointError: the file cannot be read, is not strict JSON, or holds something else than an object.
    """
    try:
        value = parse_json(decoded(path.read_bytes(), path, None), path, None, constants=constants)
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the file: {error.strerror}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must be a JSON object, it is {_kind(value)}")
    return value


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder, as transformers chooses them.

    Raises:
        CheckpointError: there are none, or the index is damaged or names what is not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            advice = (
                "it has pickled weights only, which can run code when they are read: ask the hub for its safetensors "
                "version (revision refs/convert or an open pull request), or save it as safetensors where you trust it"
            )
        else:
            advice = f"a model folder has {WEIGHTS}, or {INDEX} and the files that it names"
        raise CheckpointError(f"'{folder}' has no safetensors: {advice}")
    index = folder / INDEX
    fields = json_object(index)
    places = fields.get("weight_map")
    if not isinstance(fields.get("metadata"), dict):  # transformers reads it
        raise CheckpointError(f"{index}: 'metadata' must be an object (it may be empty)")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index}: 'weight_map' must be an object from tensor to file")
    named: dict[str, set[str]] = {}
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(
                f"{index}: the file of '{tensor}' must be a name in this folder, not {name!r}"
            )
        named.setdefault(name, set()).add(tensor)
    owner: dict[str, str] = {}
    for name, tensors in sorted(named.items()):
        if not (folder / name).is_file():
            raise CheckpointError(f"'{folder}' lacks {name}, which its index names")
        held = tensor_types(folder / name).keys()
        if lost := sorted(tensors - held):
            raise CheckpointError(f"{folder / name} lacks {some(lost)}, which {INDEX} places there")
        for tensor in held:
            if tensor in owner:
                raise CheckpointError(f"'{folder}': {owner[tensor]} and {name} both hold '{tensor}'")
            owner[tensor] = name
    return [folder / name for name in sorted(named)]


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
    check_texts(folder, MODEL_TEXTS)
    tensors = sum(len(tensor_types(file)) for file in weight_files(folder))
    config = json_object(folder / "config.json", constants=True)
    for name in _LAYER_COUNTS:
        count = config.get(name, 0)
        if isinstance(count, int) and count > tensors:  # else as many layers would be made first
            raise CheckpointError(
                f"{folder / 'config.json'}: {name} is {count}, but the weights are only {tensors} tensors"
            )


def check_texts(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which one of these JSON files is damaged; they may also be missing.

    Raises:
        CheckpointError: there is one.
    """
    for name in names:
        if (folder / name).is_file():
            json_object(folder / name, constants=True)


def check_token_fields(folder: Path) -> None:
    """Refuse fields of another type than they have in `tokenizer_config.json` and `special_tokens_map.json`.

    transformers takes them as they are, and fails at the first text, or later.

    Raises:
        CheckpointError: there is one.
    """
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if not (folder / name).is_file():
            continue
        for field, value in json_object(folder / name, constants=True).items():
            wanted = _wanted(field, value)
            if wanted is not None:
                raise CheckpointError(f"{folder / name}: {field} must be {wanted}, it is {_kind(value)}")


def _wanted(field: str, value: object) -> str | None:
    """Return what a tokenizer's field must be, in words; None where it is, or where any value will do."""
    if value is None:
        return None
    if field == "model_max_length":
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if is_number and cast(float, value) >= 1 else "a number of at least 1"
    if field in _SPECIAL_TOKENS:
        return None if _is_token(value) else "a text, or an object with a text as its content"
    if field in _SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    if field in _SIDES:
        return None if value in ("left", "right") else "'left' or 'right'"
    if field == "tokenizer_class":
        return None if isinstance(value, str) else "a text"
    if field == "chat_template":
        named = value if isinstance(value, list) else []
        fits = isinstance(value, str) or (
            isinstance(value, list)
            and all(
                isinstance(one, dict)
                and isinstance(one.get("name"), str)
                and isinstance(one.get("template"), str)
                for one in named
            )
        )
        return None if fits else "a text, or a list of objects with name and template"
    if field == "additional_special_tokens":
        fits = isinstance(value, list) and all(_is_token(one) for one in value)
        return None if fits else "a list of tokens"
    if field == "added_tokens_decoder":
        fits = isinstance(value, dict) and all(
            key.isascii() and key.isdigit() and _is_token(one) for key, one in value.items()
        )
        return None if fits else "an object from ids to tokens"
    return None


def _is_token(value: object) -> bool:
    return isinstance(value.get("content") if isinstance(value, dict) else value, str)


def some(names: list[str], most: int = 4) -> str:
    """Return the first names of a list and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _kind(value: object) -> str:
    names = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
