"""Loading models and tokenizers: the one door between a checkpoint and everything that computes with it.

Contract: native classes only (never remote code), safetensors only (never pickle). The files of a folder are read strictly
before transformers sees them; a model comes out with the checkpoint's weights and no others: one that is missing (tied
ones excepted), left over, of another shape, or not finite is a `CheckpointError` that names it. Only
`load_new_token_classifier` makes new weights: the head, as a whole. Every call into transformers that may change between
its versions is here.
"""

from __future__ import annotations

import importlib.resources
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import disable_progress_bars
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
)
from transformers.utils import logging as transformers_logging

from sparring.errors import CheckpointError, SettingsError, plural
from sparring.json_files import kind
from sparring.models import TINY_POLICY
from sparring.models.folder_files import (
    check_files,
    check_texts,
    check_token_fields,
    read_config,
    refuse_larger,
    some,
    tensor_types,
    weight_files,
)
from sparring.models.sidecar import MAX_LENGTH, model_inside

HEAD_FILE = "step_head.safetensors"
"""Weights of a head of several layers: ``0.weight``, ``0.bias``, ``1.weight``, …, first layer first."""


# --- names, devices, sizes --------------------------------------------------------------------------------------------


def resolve_model(name: str | Path) -> str:
    """Return a local folder for a name: the shipped tiny policy, an existing folder, or a hub name unchanged.

    Raises:
        CheckpointError: the text looks like a path and there is nothing.
    """
    text = str(name)
    if "://" in text:
        raise CheckpointError(f"'{text}' is an address, and this needs the model itself: name its folder")
    if text == TINY_POLICY:
        return str(importlib.resources.files("sparring") / "worlds" / "tiny_chain_policy")
    path = Path(text)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(
                f"'{path}' has no config.json, so it is not a Hugging Face model folder{model_inside(path)}"
            )
        return text
    looks_like_path = path.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1
    if looks_like_path or (path.parent.is_dir() and str(path.parent) != "."):
        raise CheckpointError(f"no model folder at '{text}' (a hub name has the form owner/name)")
    return text


def pick_device(device: str = "auto") -> torch.device:
    """Return the device for a setting: `auto` takes a GPU where there is one.

    Raises:
        SettingsError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "meta":
            raise ValueError("it holds no numbers")
        if chosen.type == "cpu" and chosen.index:
            raise ValueError("there is one cpu only")
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError, ImportError) as error:
        raise SettingsError(
            f"device: '{device}' cannot be used here ({_first_line(error)}); take auto, cpu, or cuda where there is a GPU"
        ) from None
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the data type of frozen weights: `auto` is bfloat16 on a GPU and float32 elsewhere.

    Raises:
        SettingsError: no such type.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise SettingsError(f"dtype: '{dtype}' is none of auto, {', '.join(known)}")
    return known[dtype]


def positions(config: Any) -> int | None:
    """Return how many tokens a model takes by its own word; None where it names no limit.

    That is `max_position_embeddings`, or what a rotary scaling stretches it to (`factor` times
    `original_max_position_embeddings`, which YaRN configurations leave to be multiplied).

    Raises:
        CheckpointError: its word is no number of tokens.
    """
    text = config.get_text_config()
    limit: int | None = getattr(text, "max_position_embeddings", None)
    if limit is not None and limit < 1:
        raise CheckpointError(f"the model's configuration says max_position_embeddings {limit}")
    rope = getattr(text, "rope_parameters", None) or {}
    for scaling in (rope, *rope.values()):  # one for all layers, or one per kind of layer
        if (
            limit is not None
            and isinstance(scaling, dict)
            and scaling.get("original_max_position_embeddings")
        ):
            limit = max(limit, int(scaling.get("factor", 1) * scaling["original_max_position_embeddings"]))
    return limit


def context(config: Any) -> int:
    """Return the most tokens of a trace for a model: its positions, or a usual number where it has no limit."""
    return positions(config) or MAX_LENGTH


# --- configurations and tokenizers ------------------------------------------------------------------------------------


def load_config(folder: Path) -> Any:
    """Return the configuration of a model folder, of a native class.

    Raises:
        CheckpointError: there is none, it is damaged, or not of an architecture of transformers.
    """
    read_config(folder)
    with _refusing(str(folder), "AutoConfig"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        text = config.get_text_config()
    if not isinstance(text, PretrainedConfig):  # some versions of transformers read over it
        raise CheckpointError(
            f"{folder / 'config.json'}: the model_type {config.model_type} has no configuration of its own for texts "
            f"(text_config or the like), here it is {kind(text)}: remove it"
        )
    return config


def load_tokenizer(name: str | Path) -> Any:
    """Return the tokenizer of a model; it always has a padding id (the end token's where it has none of its own).

    Raises:
        CheckpointError: there is none, it is damaged, or it has neither a padding nor an end token.
    """
    folder = resolve_model(name)
    check_texts(
        Path(folder), ["config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
    )
    check_token_fields(Path(folder))
    try:
        with _refusing(folder, "AutoTokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            _try_out(tokenizer)
    except CheckpointError:
        check_texts(Path(folder), ["tokenizer.json"])  # large; says more where it is damaged
        raise
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise CheckpointError(f"the tokenizer of '{folder}' has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _try_out(tokenizer: Any) -> None:
    """Raise whatever the tokenizer does on a text that it must be able to read: one of its own tokens."""
    ids = tokenizer.get_vocab()
    if not ids:
        raise ValueError("its vocabulary is empty")
    text = min(ids, key=ids.__getitem__)
    tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    tokenizer.decode([ids[text]], skip_special_tokens=False)


def check_vocabulary(model: Any, tokenizer: Any, name: str | Path) -> None:
    """Refuse a tokenizer that can give ids for which the model has no embedding (the reverse is common and harmless).

    Raises:
        CheckpointError: there is such an id.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    text, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer of '{name}' has the token {text!r} with id {largest}, the model has embeddings for "
            f"{rows} ids only: resize its embeddings, or take the tokenizer that it was trained with"
        )


# --- models -----------------------------------------------------------------------------------------------------------


def load_policy(
    name: str | Path, *, device: torch.device, dtype: torch.dtype, attention: str | None = None
) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer, checked to fit each other."""
    tokenizer = load_tokenizer(name)
    model = load_causal_model(name, device=device, dtype=dtype, attention=attention)
    check_vocabulary(model, tokenizer, name)
    return model, tokenizer


def load_causal_model(
    name: str | Path, *, device: torch.device, dtype: torch.dtype, attention: str | None = None
) -> Any:
    """Return a causal language model in evaluation mode on the device.

    `attention` is transformers' name of the implementation; None for its own choice.
    """
    return _load(AutoModelForCausalLM, name, device, dtype, attn_implementation=attention)


def load_token_classifier(name: str | Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a token classifier in evaluation mode on the device."""
    return _load(AutoModelForTokenClassification, name, device, dtype)


def load_new_token_classifier(
    name: str | Path,
    labels: Sequence[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str | None = None,
) -> Any:
    """Return a token classifier on a backbone; a head that the folder does not have starts at zero (no opinion).

    A language-model head in the folder is left out.

    Raises:
        CheckpointError: the model cannot be loaded, has a head of another size or half of one, or lacks more than a head.
    """
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}

    def without_head(model: Any, missing: set[str], unexpected: set[str]) -> None:
        head = _outside_backbone(model)
        if head <= missing:
            missing -= head
            with torch.no_grad():
                for key, parameter in model.named_parameters():
                    if key in head:
                        parameter.zero_()
        if unexpected and not missing:
            unexpected &= _unexpected_in_language_model(resolve_model(name))

    options = {"num_labels": len(labels), "attn_implementation": attention, **named}
    return _load(AutoModelForTokenClassification, name, device, dtype, without_head, **options)


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


def load_step_head(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a token classifier whose head are the layers of `HEAD_FILE`, with ReLU between them.

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

    def without_head(model: Any, missing: set[str], unexpected: set[str]) -> None:
        head = _outside_backbone(model)
        unexpected |= head - missing
        missing -= head

    model = _load(AutoModelForTokenClassification, folder, device, dtype, without_head)
    first, *others = head_layers(weights, model.config.hidden_size)
    [head] = {key.partition(".")[0] for key in _outside_backbone(model)}
    setattr(model, head, nn.Sequential(first, *(part for one in others for part in (nn.ReLU(), one))))
    model.config.num_labels = [first, *others][-1].out_features
    return model.to(device=device, dtype=dtype).eval()


def load_label_token_model(
    name: str | Path,
    label_tokens: Sequence[int],
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str | None = None,
) -> Any:
    """Return a causal language model whose logits are those of the label tokens only, in their order.

    Raises:
        CheckpointError: the model cannot be loaded, or has no such token.
    """
    model = load_causal_model(name, device=device, dtype=dtype, attention=attention)
    size = model.get_output_embeddings().weight.shape[0]
    if max(label_tokens) >= size:
        raise CheckpointError(f"label_tokens {list(label_tokens)}: the model has {plural(size, 'token')}")
    # The head is the largest matrix of a small model, and two of its rows are read. No weight is copied or changed, and
    # what the architecture does with its logits (a cap, a scale) stays in force.
    head = model.get_output_embeddings()
    index = torch.tensor(list(label_tokens), device=head.weight.device)

    def forward(states: torch.Tensor) -> torch.Tensor:
        bias = None if head.bias is None else head.bias[index]
        return nn.functional.linear(states, head.weight[index], bias)

    head.forward = forward
    return model


def checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them.

    Raises:
        SettingsError: the model has no layers for which transformers can do that.
    """
    options = {"use_reentrant": False}
    try:
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    except ValueError as error:
        raise SettingsError(f"gradient_checkpointing: {_first_line(error)}") from None

    def only_with_gradients(backbone: nn.Module, _: Any) -> None:
        # transformers asks a layer whether it is in training. Sampling, which keeps keys and values, must not look so, and
        # only the layers themselves may, not what is within them: there is no dropout here.
        for module in backbone.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = torch.is_grad_enabled()

    model.base_model.register_forward_pre_hook(only_with_gradients)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, notices and warnings of transformers, torch and the hub's client: ours are enough."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


# --- a checkpoint's weights and no others -----------------------------------------------------------------------------


def _load(
    factory: Any,
    name: str | Path,
    device: torch.device,
    dtype: torch.dtype,
    excuse: Callable[[Any, set[str], set[str]], None] | None = None,
    **options: object,
) -> Any:
    """Return a model with all its weights from the checkpoint and all the checkpoint's weights in it.

    On the device `meta` names and shapes are compared and no number is read. `excuse` takes out of the sets of missing and
    unexpected names those that are as they should be.
    """
    folder = resolve_model(name)
    if Path(folder).is_dir():
        check_files(Path(folder))
        config = load_config(Path(folder))
        with _refusing(folder, factory.__name__), torch.device("meta"):
            skeleton = factory.from_config(config)
        refuse_larger(Path(folder), skeleton)
    if device.type == "meta":
        options["device_map"] = "meta"
    if options.get("attn_implementation", "") is None:
        del options["attn_implementation"]
    with _refusing(folder, factory.__name__):
        model, info = factory.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they come back by name, and are refused below
            **options,
        )
    missing = set(info["missing_keys"])
    # Old checkpoints hold constants too: `masked_bias`, and what the model computes for itself as a buffer.
    buffers = [f".{name}" for name, _ in model.named_buffers()]
    unexpected = {
        key
        for key in info["unexpected_keys"]
        if not key.endswith(".masked_bias") and not any(name.endswith(f".{key}") for name in buffers)
    }
    if excuse is not None:
        excuse(model, missing, unexpected)
    refuse_other_weights(folder, model, missing, unexpected, info["mismatched_keys"])
    if Path(folder).is_dir():
        _refuse_ambiguous(Path(folder), model)
    _tie(folder, model)
    with _refusing(folder, factory.__name__):
        model = model.to(device).eval()
    if device.type != "meta":
        _refuse_not_finite(folder, model)
    return model


def refuse_other_weights(
    folder: str | Path,
    model: Any,
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]] = (),
) -> None:
    """Refuse a checkpoint whose weights are not those of the model; the message names them.

    Args:
        folder: the checkpoint.
        model: what it was to be.
        missing: names of the model's weights that the checkpoint lacks.
        unexpected: names of the checkpoint's weights that the model does not have.
        mismatched: name, shape in the checkpoint, shape in the model.

    Raises:
        CheckpointError: there is any.
    """
    lost, left = sorted(missing), sorted(unexpected)
    known = {*lost, *(name.removeprefix(f"{model.base_model_prefix}.") for name in lost)}
    shapes = sorted(
        f"{key} {tuple(there)} where the model has {tuple(wanted)}" for key, there, wanted in mismatched
    )
    found = [
        f"{len(names)} {what} ({some(names)})"
        for what, names in (("missing", lost), ("unexpected", left), ("of another shape", shapes))
        if names
    ]
    if not found:
        return
    advice = ""
    wrappers = [
        key[: -len(name)]
        for key in left
        for name in (key.split(".", count)[-1] for count in range(1, 5))
        if name in known
    ]
    if any("lora_" in key for key in left):
        advice = "; an adapter was saved beside its base: merge it into the weights and save again"
    elif wrappers:
        advice = f"; names begin with '{wrappers[0]}': save the model itself, not what it is wrapped in"
    raise CheckpointError(
        f"'{folder}' does not hold the weights of its {type(model).__name__}: {', '.join(found)}{advice}"
    )


def _refuse_ambiguous(folder: Path, model: Any) -> None:
    """Refuse what transformers would choose between or round silently: two names of a weight, integers for numbers."""
    types = {name: kind for held in weight_files(folder).values() for name, kind in held.items()}
    prefix = f"{model.base_model_prefix}."
    twice = sorted(name for name in types if prefix + name in types)
    if twice:
        raise CheckpointError(
            f"'{folder}' holds weights under two names: {some(twice)}, with and without '{prefix}'"
        )
    if getattr(model.config, "quantization_config", None) is not None:
        return
    wanted = {name for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    whole = sorted(
        f"{name} ({kind})"
        for name, kind in types.items()
        if "F" not in kind and wanted & {name, prefix + name, name.removeprefix(prefix)}
    )
    if whole:
        raise CheckpointError(
            f"'{folder}' holds integers or truth values where the model has numbers: {some(whole)}"
        )


def _tie(folder: str, model: Any) -> None:
    """Make embeddings one matrix where the configuration says so; two different ones are read differently by versions."""
    output = model.get_output_embeddings()
    if output is None or not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return
    shared = model.get_input_embeddings().weight
    if output.weight is shared or shared.device.type == "meta":
        return
    if not torch.equal(output.weight, shared):
        raise CheckpointError(
            f"'{folder}': config.json says that input and output embeddings are the same (tie_word_embeddings), the "
            "checkpoint holds two different ones; if both are meant, set tie_word_embeddings to false"
        )
    output.weight = shared  # transformers 5.0 leaves equal ones apart


def _refuse_not_finite(folder: str, model: torch.nn.Module) -> None:
    for key, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_floating_point() and tensor.itemsize > 1 and tensor.numel():
            smallest, largest = torch.aminmax(tensor.detach())  # NaN wins in both, and no mask is made
            if not (torch.isfinite(smallest) & torch.isfinite(largest)).item():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise CheckpointError(f"'{folder}': {key} holds numbers that are not finite (as {kind})")


def _outside_backbone(model: Any) -> set[str]:
    return {key for key in model.state_dict() if not key.startswith(f"{model.base_model_prefix}.")}


def _unexpected_in_language_model(folder: str) -> set[str]:
    """Return the names in a checkpoint for which the language model of its configuration has no place."""
    with _refusing(folder, "AutoModelForCausalLM"):
        _, info = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return set(info["unexpected_keys"])


@contextmanager
def _refusing(folder: str, what: str) -> Iterator[None]:
    """Turn whatever a folder makes transformers raise into one line."""
    try:
        with quiet():
            yield
    # Of any type: tokenizers raises plain ones, wrong types in a configuration the rest.
    except Exception as error:
        reason = _first_line(error)
        if "automatic conversion" in reason:
            reason = (
                "of weights that are joined when loading (experts, …) some are missing or of another shape"
            )
        raise CheckpointError(f"cannot load '{folder}' with {what}: {reason}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, KeyError) or not lines:
        return f"{type(error).__name__} {error}".strip()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
