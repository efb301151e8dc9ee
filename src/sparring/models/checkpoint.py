"""Writing a PRM as an ordinary Hugging Face folder: native class, safetensors, tokenizer, sidecar, model card.

Contract: the folder loads with `AutoModelForTokenClassification` (label tokens: `AutoModelForCausalLM`) and nothing of
ours, and appears whole or not at all. How vLLM serves it stands in its card, and for label tokens in `pooler_config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from sparring.errors import CheckpointError
from sparring.files import atomic_directory, atomic_write_json
from sparring.models.loading import quiet
from sparring.models.sidecar import Sidecar, write_sidecar
from sparring.traces.spans import trusted_ids

LABELS = ("wrong", "correct")
"""Names of the classes of a PRM that is written here."""
CORRECT = LABELS.index("correct")

POOLER_FILE = "pooler_config.json"
"""What vLLM is told of a PRM of label tokens: `--pooler-config "$(cat FOLDER/pooler_config.json)"`."""

_PIPELINES = {"token_classification": "token-classification", "label_tokens": "text-generation"}
_MEANINGS = {
    "correctness": "the probability that the step is correct",
    "value": "the probability that the solution ends well from there",
}


def token_classifier(config: Any, state: Mapping[str, torch.Tensor]) -> Any:
    """Return a native token-classification model of this backbone configuration with these weights.

    Raises:
        CheckpointError: the architecture has no native token classifier, or the weights do not fit it.
    """
    own = type(config).from_dict(config.to_dict())
    own.num_labels = len(LABELS)
    own.id2label = dict(enumerate(LABELS))
    own.label2id = {label: index for index, label in enumerate(LABELS)}
    own.architectures = None
    own.dtype = next(iter(state.values())).dtype  # else the weights would be rounded to the backbone's type
    try:
        model = AutoModelForTokenClassification.from_config(own)
    except ValueError as error:
        raise CheckpointError(
            f"transformers has no native token classifier for '{config.model_type}', so the PRM could not be loaded "
            "without remote code; choose a backbone that has one (Llama, Qwen2, Qwen3, Mistral, Gemma 2, …)"
        ) from error
    missing, unexpected = model.load_state_dict(dict(state), strict=False)
    if missing or unexpected:
        raise CheckpointError(f"the weights do not fit {type(model).__name__}: {[*missing, *unexpected][:4]}")
    # The head stays in float32 on a half-precision backbone only while training; one folder, one type.
    return model.to(own.dtype).eval()


def save_prm(
    folder: Path,
    *,
    config: Any,
    state: Mapping[str, torch.Tensor],
    tokenizer: Any,
    sidecar: Sidecar,
    card: str,
) -> None:
    """Write the checkpoint folder atomically, replacing an older one."""
    model = token_classifier(config, state)
    assert model.config.label2id["correct"] == CORRECT == sidecar.correct_label
    write_folder(folder, model, tokenizer, sidecar, card)


def write_folder(folder: Path, model: Any, tokenizer: Any, sidecar: Sidecar, card: str) -> None:
    """Write a native model with tokenizer, sidecar and card atomically, replacing an older folder."""
    with atomic_directory(folder) as temporary, quiet():
        write_model(temporary, model, tokenizer, card + how_to_serve(sidecar))
        write_sidecar(temporary, sidecar)
        write_pooler_config(temporary, tokenizer, sidecar)


def write_pooler_config(folder: Path, tokenizer: Any, sidecar: Sidecar) -> None:
    """Write what vLLM needs to give only the label tokens' logits at step tags; nothing for other heads.

    Step tags are all tokens of the separator's last id: where a question or a step holds one too, a client picks the
    steps' own by their places (`scorers/vllm.py`).
    """
    if sidecar.label_tokens is not None:
        tag = trusted_ids(tokenizer, sidecar.layout.separator)[-1]
        pooling = {
            "pooling_type": "STEP",
            "step_tag_id": tag,
            "returned_token_ids": list(sidecar.label_tokens),
        }
        atomic_write_json(folder / POOLER_FILE, pooling)


def how_to_serve(sidecar: Sidecar) -> str:
    """Return the part of a model card that says how servers run it; empty for heads that vLLM does not have."""
    if sidecar.head not in _PIPELINES:
        return ""
    pooler = f' --pooler-config "$(cat path/to/this/folder/{POOLER_FILE})"' if sidecar.label_tokens else ""
    return f"""
Served: `sparring serve prm=path/to/this/folder`, or by vLLM, whose clients then name it
`vllm+http://host:8000#path/to/this/folder`:

```bash
vllm serve path/to/this/folder --runner pooling{pooler}
```
"""


def write_model(folder: Path, model: Any, tokenizer: Any, card: str) -> None:
    """Write a native model with tokenizer and card into an empty folder.

    Raises:
        CheckpointError: a weight is not a finite number.
    """
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"not exported: the weights '{name}' are not finite numbers")
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def model_card(
    *, title: str, backbone: str, method: str, facts: Mapping[str, object], sidecar: Sidecar
) -> str:
    """Return the text of a model card."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""---
library_name: transformers
pipeline_tag: {_PIPELINES[sidecar.head]}
tags: [process-reward-model, sparring]
---

# {title}

A process reward model: it gives every step of a solution {_MEANINGS[sidecar.meaning]}
(meaning: `{sidecar.meaning}`), read at the last token of the separator after the step.

| | |
|---|---|
| backbone | `{backbone}` |
| method | {method} |
| threshold | {sidecar.threshold} ({sidecar.threshold_rule}) |
| aggregation over steps | {sidecar.aggregation} |
{rows}

```python
from sparring import load_scorer, Problem, Trace

scorer = load_scorer("path/to/this/folder")
scorer.score([Trace(Problem(id="1", question="..."), steps=("first step", "second step"))])
```
"""
