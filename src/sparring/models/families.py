"""Public families of PRMs: what each model card says, and `sparring convert-prm`, which writes it down.

Contract: a family is chosen by whoever converts, never guessed from a hub name; what it decided stands in the sidecar,
overridden where settings say so. Safetensors only, and no code of the source is run. The folder appears whole or not at
all, and is one that `load_scorer` reads.

Not here: how a layout becomes token ids (`text_layout.py`), how heads are scored (`scorer.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForTokenClassification

from sparring.errors import CheckpointError, SettingsError, did_you_mean, plural
from sparring.files import atomic_directory, dumps
from sparring.locks import writes
from sparring.models.checkpoint import write_pooler_config
from sparring.models.folder_files import INDEX, check_files, weight_files
from sparring.models.loading import (
    HEAD_FILE,
    context,
    head_layers,
    load_config,
    load_tokenizer,
    quiet,
    refuse_other_weights,
)
from sparring.models.prompts import layout_for, render_chat
from sparring.models.scorer import check_scorer
from sparring.models.sidecar import (
    SIDECAR_NAME,
    ConvertPrmSettings,
    Sidecar,
    checked_sidecar,
    problems,
    write_sidecar,
)

EXTRA = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
_PLACEHOLDERS = ("\ue000", "\ue001", "\ue002", "\ue003")  # private-use characters: no template contains them
_TEXTS = {".json", ".model", ".txt", ".jinja"}
_HEAD = "head/"

Fields = dict[str, Any]
"""Fields of a sidecar."""


# --- what model cards say: (configuration, tokenizer) → fields of the sidecar -----------------------------------------


def qwen_math(config: Any, tokenizer: Any) -> Fields:
    """A chat with a system request; `<extra_0>` follows every step; two linear layers with ReLU, softmax, class 1."""
    if EXTRA not in tokenizer.get_added_vocab():
        raise CheckpointError(f"the tokenizer has no token {EXTRA}: is this a Qwen2.5-Math-PRM?")
    chat = layout_for(tokenizer, "chat", system=SYSTEM)
    layout = {"before": chat.before, "after": chat.after, "separator": EXTRA, "tokenization": "text"}
    return {"head": "mlp", "layout": layout}


def math_shepherd(config: Any, tokenizer: Any) -> Fields:
    """One text: question, a space, lines ``Step n: … ки``; ``+`` against ``-``, as they are tokenised after a space."""
    labels = tokenizer.encode("+ -", add_special_tokens=False)
    if len(labels) != 2:
        raise CheckpointError(f"the tokenizer needs {plural(len(labels), 'token')} for '+ -', not 2")
    begins = tokenizer.bos_token and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]
    layout = {
        "before": tokenizer.bos_token if begins else "",
        "after": " ",
        "separator": " ки",
        "between": "\n",
        "step_prefix": "Step {number}: ",
        "tokenization": "text",
    }
    return {"head": "label_tokens", "label_tokens": labels, "layout": layout, "meaning": "value"}


def rlhflow(config: Any, tokenizer: Any) -> Fields:
    """A chat: the user gives one step a turn (the first with the question and a space), the assistant answers + or −.

    From the authors' code: earlier answers are always ``+``; the score is the probability of ``+`` against ``-`` where
    the assistant's turn begins (position −3 of a chat that ends in an answer).
    """
    roles = ("user", "assistant", "user", "assistant")
    turns = [{"role": role, "content": place} for role, place in zip(roles, _PLACEHOLDERS, strict=True)]
    text, pieces = render_chat(tokenizer, turns), []
    for place in _PLACEHOLDERS:
        piece, found, text = text.partition(place)
        pieces.append(piece)
        if not found:
            raise CheckpointError("the chat template does not repeat the messages, so it cannot be used here")
    before, to_answer, to_user, to_answer_again = pieces
    if to_answer != to_answer_again:
        raise CheckpointError("the chat template writes later turns otherwise than the first")
    layout = {
        "before": before,
        "after": " ",
        "separator": to_answer,
        "between": "+" + to_user,
        "strip": True,
        "tokenization": "text",
    }
    labels = (tokenizer.encode("+")[-1], tokenizer.encode("-")[-1])
    return {"head": "label_tokens", "label_tokens": labels, "layout": layout, "meaning": "value"}


def skywork(config: Any, tokenizer: Any) -> Fields:
    """A value head (`v_head.summary`, one output, sigmoid) read at the line break after every step.

    From the authors' code: begin token, question and a line break are tokenised together, every step by itself.
    """
    if not tokenizer.bos_token:
        raise CheckpointError("the tokenizer names no begin token, with which Skywork's inputs begin")
    layout = {"before": tokenizer.bos_token, "tokenization": "prompt"}
    return {"correct_label": 0, "layout": layout, "meaning": "value"}


def trl(config: Any, tokenizer: Any) -> Fields:
    """As TRL's `PRMTrainer` tokenises: begin token, prompt, then every step and a line break, each by itself; label 1."""
    if config.num_labels != 2:
        raise CheckpointError(
            f"the head has {plural(config.num_labels, 'label')}, a PRMTrainer checkpoint has 2"
        )
    return {"layout": {"before": tokenizer.bos_token or "", "after": ""}}


def eurus(config: Any, tokenizer: Any) -> Fields:
    """An implicit PRM: beta times the log ratio of a policy and its reference; a chat, steps joined by a blank line."""
    chat = layout_for(tokenizer, "chat")
    question, answer = _PLACEHOLDERS[:2]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    header, _, end = render_chat(tokenizer, turns).partition(answer)
    if header != chat.before + question + chat.after or not end.strip():
        raise CheckpointError("the chat template begins or ends answers in a way that is not understood")
    layout = {"before": chat.before, "after": chat.after, "separator": "\n\n", "tokenization": "text"}
    log_ratio = {"beta": 0.001, "end": end.strip()}
    return {"head": "log_ratio", "log_ratio": log_ratio, "layout": layout, "meaning": "value"}


# --- what becomes of the folder: (source, target) → nothing -----------------------------------------------------------


def copy_native(source: Path, target: Path) -> None:
    """Copy a folder that is native as it stands."""
    source_config(source)
    copy_files(source, target, weights=True)


def write_qwen_math(source: Path, target: Path) -> None:
    """Write the backbone as a native `Qwen2Model`, and the head, which has no native class, as a file of its own."""

    def native(name: str) -> str | None:
        for old, new in (("score.0.", _HEAD + "0."), ("score.2.", _HEAD + "1.")):
            if name.startswith(old):
                return new + name.removeprefix(old)
        # No score is read from it
        return None if name.startswith("lm_head.") else name.removeprefix("model.")

    weights = source_weights(source, native)
    head = {name.removeprefix(_HEAD): weights.pop(name) for name in list(weights) if name.startswith(_HEAD)}
    config = source_config(source)
    head_layers(head, config.hidden_size)
    write_native(AutoModel, config, weights, source, target)
    save_file(head, target / HEAD_FILE)


def write_skywork(source: Path, target: Path) -> None:
    """Write a native token classifier with one label, which is what a value head is."""

    def native(name: str) -> str | None:
        name = name.removeprefix("pretrained_model.")  # the wrapper of older trl versions
        if name.startswith("v_head.summary."):
            return "score." + name.removeprefix("v_head.summary.")
        return None if name.startswith("lm_head.") else name  # no score is read from it

    config = source_config(source)
    config.num_labels = 1
    write_native(AutoModelForTokenClassification, config, source_weights(source, native), source, target)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of PRMs.

    Attributes:
        example: a model of the family.
        preset: what the model card amounts to; raises CheckpointError where the source is not of this family.
        write: writes the native model with its tokenizer into an empty folder.
        reference: whether it needs a reference model beside it.
    """

    example: str
    preset: Callable[[Any, Any], Fields]
    write: Callable[[Path, Path], None] = copy_native
    reference: bool = False


FAMILIES: Mapping[str, Family] = {
    "qwen_math": Family("Qwen/Qwen2.5-Math-PRM-7B", qwen_math, write_qwen_math),
    "math_shepherd": Family("peiyi9979/math-shepherd-mistral-7b-prm", math_shepherd),
    "rlhflow": Family("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", rlhflow),
    "skywork": Family("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B", skywork, write_skywork),
    "trl": Family("any PRMTrainer checkpoint", trl),
    "eurus": Family("PRIME-RL/EurusPRM-Stage2", eurus, reference=True),
}


# --- the command ------------------------------------------------------------------------------------------------------


@writes("out", inside=False)
def convert_prm(
    source: Path, settings: ConvertPrmSettings, out: Path, console: Console | None = None
) -> Sidecar:
    """Convert a PRM folder; return the sidecar, which is also shown.

    Raises:
        SettingsError: no such family, a reference that is missing or not wanted, a bad sidecar field.
        CheckpointError: the source is not of this family, or its weights are not those of its model.
    """
    if settings.family not in FAMILIES:
        raise SettingsError(f"unknown family '{settings.family}'{did_you_mean(settings.family, FAMILIES)}")
    family = FAMILIES[settings.family]
    if family.reference != (settings.reference is not None):
        wanted = "needs its reference model" if family.reference else "has no reference model"
        raise SettingsError(f"the family '{settings.family}' {wanted} (reference=FOLDER)")
    config = source_config(source)
    preset = Sidecar(max_length=context(config), **family.preset(config, load_tokenizer(source)))
    try:
        sidecar = checked_sidecar(_over(preset.model_dump(mode="json"), settings.sidecar))
    except ValidationError as error:
        raise SettingsError(f"sidecar.{problems(error)}") from None
    with atomic_directory(out) as folder:
        family.write(source, folder)
        if settings.reference is not None and sidecar.log_ratio is not None:
            (folder / sidecar.log_ratio.reference).mkdir()
            copy_native(settings.reference, folder / sidecar.log_ratio.reference)
        write_sidecar(folder, sidecar)
        try:
            check_scorer(folder)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(folder), str(source))) from error
        (folder / "README.md").write_text(
            f"# {source.name}\n\nConverted by `sparring convert-prm`, family `{settings.family}`. "
            "How it is scored stands in `sparring.json`.\n",
            encoding="utf-8",
        )
        write_pooler_config(folder, load_tokenizer(folder), sidecar)
    if console is not None:
        console.print_json(dumps(sidecar.model_dump(mode="json")))
        console.print(f"converted: {out}", highlight=False, markup=False)
    return sidecar


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, group by group."""
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


# --- reading a downloaded folder without running any of its code ------------------------------------------------------


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
    """Return the tensors of a folder by the name that `rename` gives them; it returns None for those to leave."""
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(source):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is not a mapping)
                if (new := rename(name)) is not None:
                    weights[new] = tensors.get_tensor(name)
    return weights


def write_native(
    factory: Any, config: Any, weights: dict[str, torch.Tensor], source: Path, target: Path
) -> None:
    """Write a native model with these weights, and the source's tokenizer.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape.
    """
    with torch.device("meta"):
        model = factory.from_config(config)
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
    with quiet():
        model.eval().save_pretrained(target)
    copy_files(source, target, weights=False)


def copy_files(source: Path, target: Path, *, weights: bool) -> None:
    """Copy a folder's texts (tokenizer, configuration, template), and its safetensors where `weights` says so.

    Safetensors are linked where the file system can. Code and pickles stay behind.
    """
    for file in sorted(source.iterdir()):
        of_model = file.suffix == ".safetensors" or file.name in ("config.json", INDEX)
        if file.name == SIDECAR_NAME or not file.is_file() or (of_model and not weights):
            continue
        if file.suffix in _TEXTS:
            shutil.copyfile(file, target / file.name)
        elif file.suffix == ".safetensors":
            try:
                os.link(file.resolve(), target / file.name)
            except OSError:
                shutil.copyfile(file, target / file.name)
