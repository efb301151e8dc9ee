"""Loading Hugging Face folders: one place for every call into transformers that may change between its versions.

Contract: native classes only (never remote code), safetensors only (never pickle), and a clear error when a folder is
missing or is not a model.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import disable_progress_bars
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sparring.errors import CheckpointError

TINY_POLICY = "tiny-chain-policy"
"""Name under which the policy that ships with the package can be given wherever a model folder is expected."""


def resolve_model(name: str | Path) -> str:
    """Return a local folder for a name: the shipped tiny policy, an existing folder, or a hub name unchanged.

    Raises:
        CheckpointError: the text looks like a path and there is nothing.
    """
    text = str(name)
    if text == TINY_POLICY:
        return str(importlib.resources.files("sparring") / "worlds" / "tiny_chain_policy")
    path = Path(text)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"'{path}' has no config.json, so it is not a Hugging Face model folder")
        return text
    looks_like_path = path.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1
    if looks_like_path or (path.parent.is_dir() and str(path.parent) != "."):
        raise CheckpointError(f"no model folder at '{text}' (a hub name has the form owner/name)")
    return text


def pick_device(device: str = "auto") -> torch.device:
    """Return the device for a setting: `auto` takes a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the data type of frozen weights: `auto` is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]


def load_tokenizer(name: str | Path) -> Any:
    """Return the tokenizer of a model; it always has a padding id (the end token's where it has none of its own)."""
    folder = resolve_model(name)
    tokenizer = _load(AutoTokenizer, folder)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise CheckpointError(f"the tokenizer of '{folder}' has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_causal_model(name: str | Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a causal language model in evaluation mode on the device."""
    return (
        _load(AutoModelForCausalLM, resolve_model(name), dtype=dtype, use_safetensors=True).to(device).eval()
    )


def load_backbone(name: str | Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a model without a head, in evaluation mode on the device."""
    return _load(AutoModel, resolve_model(name), dtype=dtype, use_safetensors=True).to(device).eval()


def load_token_classifier(name: str | Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a token classifier in evaluation mode on the device."""
    model = _load(AutoModelForTokenClassification, resolve_model(name), dtype=dtype, use_safetensors=True)
    return model.to(device).eval()


def load_new_token_classifier(
    name: str | Path, labels: Sequence[str], *, device: torch.device, dtype: torch.dtype
) -> Any:
    """Return a token classifier on a backbone; a head that the folder does not have starts at zero (no opinion).

    Raises:
        CheckpointError: the model cannot be loaded, has a head of another size, or lacks more than a head.
    """
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    model, info = _load(
        AutoModelForTokenClassification,
        resolve_model(name),
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        num_labels=len(labels),
        **named,
    )
    missing = set(info["missing_keys"])
    if any(key.startswith(f"{model.base_model_prefix}.") for key in missing):
        raise CheckpointError(f"'{name}' lacks weights of the backbone: {sorted(missing)[:4]}")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key in missing:
                parameter.zero_()
    return model.to(device).eval()


def load_label_token_model(
    name: str | Path, label_tokens: Sequence[int], *, device: torch.device, dtype: torch.dtype
) -> Any:
    """Return a causal language model whose logits are those of the label tokens only, in their order.

    Raises:
        CheckpointError: the model cannot be loaded, or has no such token.
    """
    model = load_causal_model(name, device=device, dtype=dtype)
    size = model.get_output_embeddings().weight.shape[0]
    if max(label_tokens) >= size:
        raise CheckpointError(f"label_tokens {list(label_tokens)}: the model has {size} tokens")
    keep_output_rows(model, label_tokens)
    return model


def keep_output_rows(model: Any, rows: Sequence[int]) -> None:
    """Make the output head compute these rows of the vocabulary only; no weight is copied or changed.

    The head is the largest matrix of a small model, and two of its rows are read. What the architecture does with its
    logits (a cap, a scale) stays in force.
    """
    head = model.get_output_embeddings()
    index = torch.tensor(list(rows), device=head.weight.device)

    def forward(states: torch.Tensor) -> torch.Tensor:
        bias = None if head.bias is None else head.bias[index]
        return torch.nn.functional.linear(states, head.weight[index], bias)

    head.forward = forward


def checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    model.enable_input_require_grads()
    model.train()  # transformers does it in training mode only


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and notices of transformers and its hub client: ours are enough."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _load(factory: Any, folder: str, **options: object) -> Any:
    try:
        with quiet():
            return factory.from_pretrained(folder, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot load '{folder}' with {factory.__name__}: {first_line}") from error
