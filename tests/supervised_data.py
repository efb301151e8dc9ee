"""Small labelled traces that a two-layer model can learn, and the settings to train on them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from sparring.traces.jsonl import write_traces
from sparring.traces.records import Estimate, Problem, Trace
from sparring.training.supervised import OrmSettings, PrmSettings, SupervisedSettings, ValueSettings

KINDS: dict[str, type[SupervisedSettings]] = {"prm": PrmSettings, "orm": OrmSettings, "value": ValueSettings}


def separable_traces(problems: int = 40, per_problem: int = 2, seed: int = 0) -> list[Trace]:
    """A step with a plus is right, one with a minus is wrong; estimates and outcome follow."""
    rng = random.Random(seed)
    traces = []
    for number in range(problems):
        question = f"mod 13 : a is {number % 13} ; b is {number // 13} ; find c"
        for _ in range(per_problem):
            right = [rng.random() < 0.7 for _ in range(rng.randint(1, 4))]
            steps = tuple(f"c = a {'+' if good else '-'} b" for good in right)
            estimates = tuple(Estimate(0.9 if good else 0.2, 8, 0.1, 0.95) for good in right)
            traces.append(
                Trace(
                    Problem(f"p{number}", question),
                    steps,
                    tuple(map(float, right)),
                    outcome=right[-1],
                    estimates=estimates,
                )
            )
    return traces


def data_file(folder: Path, traces: list[Trace] | None = None, name: str = "train.jsonl") -> Path:
    """Write traces and return the file."""
    file = folder / name
    write_traces(file, separable_traces() if traces is None else traces)
    return file


def quick(kind: str, model: Path, data: Path, /, **changes: Any) -> SupervisedSettings:
    """Settings for a run of seconds."""
    fields: dict[str, Any] = {
        "data": str(data),
        "backbone": str(model),
        "learning_rate": 3e-3,
        "epochs": 4,
        "batch_traces": 8,
        "validation_share": 0.25,
        "evaluate_every": 5,
        "checkpoint_every": 4,
        "lora_rank": 4,
        "device": "cpu",
        "seed": 3,
    }
    return KINDS[kind].model_validate(fields | changes)


def metrics_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics without what depends on the machine's speed."""
    written = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    timed = {"training.seconds", "training.tokens_per_second", "training.peak_memory"}
    return {name: metric for name, metric in written.items() if name not in timed}
