"""The families by the name that `sparring convert-prm` takes.

Contract: a family is chosen by whoever converts, never guessed from a hub name; what it decided stands in the sidecar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.models.families import eurus, math_shepherd, qwen_math, rlhflow, skywork, trl
from sparring.models.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Family:
    """A family of PRMs.

    Attributes:
        preset: (configuration, tokenizer) → the sidecar that its model card amounts to.
        write: (source, target) → nothing; writes the native model with its tokenizer.
        example: a model of the family.
        reference: whether it needs a reference model beside it.
    """

    preset: Callable[[Any, Any], Sidecar]
    write: Callable[[Path, Path], None]
    example: str
    reference: bool = False


FAMILIES: Mapping[str, Family] = {
    "qwen_math": Family(qwen_math.preset, qwen_math.write, "Qwen/Qwen2.5-Math-PRM-7B"),
    "math_shepherd": Family(
        math_shepherd.preset, math_shepherd.write, "peiyi9979/math-shepherd-mistral-7b-prm"
    ),
    "rlhflow": Family(rlhflow.preset, rlhflow.write, "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"),
    "skywork": Family(skywork.preset, skywork.write, "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"),
    "trl": Family(trl.preset, trl.write, "any PRMTrainer checkpoint"),
    "eurus": Family(eurus.preset, eurus.write, "PRIME-RL/EurusPRM-Stage2", reference=True),
}
