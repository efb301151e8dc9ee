"""One supervised run in memory and on disk: what it holds, checkpoints, and the exported folder.

Contract: everything here is about keeping and restoring; how a run is trained is in `supervised.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sparring.models.checkpoint import model_card
from sparring.models.prompts import prompt_digest
from sparring.models.sidecar import Calibration, sidecar_for
from sparring.runs import JsonlLog, Metric
from sparring.settings import dump_settings
from sparring.traces.spans import Layout
from sparring.training import run as run_state
from sparring.training.examples import Example
from sparring.training.run import (
    CHECKPOINT,
    Divergence,
    Part,
    damaged,
    load_state,
    refuse_changes,
    restoring,
    save_state,
    set_tensors,
    verified,
)
from sparring.training.step_model import StepModel
from sparring.training.supervised_settings import SupervisedSettings

BEST = "best"
_COUNTERS = ("step", "best_loss", "best_step", "failures", "stopped")


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """The order of the training examples in an epoch, and the weights of their targets."""

    epoch: int
    order: list[int]
    weights: list[list[float]]


@dataclass
class Run:
    """Everything that a training run holds in memory."""

    settings: SupervisedSettings
    out: Path
    accelerator: Accelerator
    tokenizer: Any
    layout: Layout
    model: StepModel
    optimizer: torch.optim.Optimizer
    training: list[Example]
    validation: list[Example]
    left_out: Counter[str]
    max_length: int
    digest: str
    divergence: Divergence
    logs: list[JsonlLog] = field(default_factory=list)
    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    failures: int = 0
    stopped: bool = False
    plan: EpochPlan | None = None

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass over the training traces."""
        return math.ceil(len(self.training) / self.settings.batch_traces)

    @property
    def updates(self) -> int:
        """All updates, unless training stops early."""
        planned = self.settings.epochs * self.updates_per_epoch
        return min(planned, self.settings.max_updates or planned)

    @property
    def evaluates(self) -> bool:
        """Whether the update just made is followed by a validation."""
        every = self.settings.evaluate_every or self.updates_per_epoch
        return bool(self.validation) and (self.step % every == 0 or self.step == self.updates)


def save_checkpoint(run: Run) -> None:
    """Write everything that resuming needs."""
    values = {name: getattr(run, name) for name in _COUNTERS}
    values |= {
        "digest": run.digest,
        "prompt": prompt_digest(run.layout),
        "kind": run.settings.title,
        "settings": dump_settings(run.settings),
    }
    run_state.save_checkpoint(run.out, _parts(run), values, run.logs)


def restore(run: Run) -> None:
    """Load the run's checkpoint; command, settings and data must be those of this run.

    Raises:
        CheckpointError: it, the log or the best weights are not what was written, or do not fit.
        SettingsError: it is of another command, or of other settings or data.
    """
    folder = run.out / CHECKPOINT
    tensors, values = load_state(folder)
    with restoring(folder):
        kind = values["kind"]
        others = [] if kind == run.settings.title else [f"it trains a {kind}"]
        refuse_changes(run.out, run.settings, run.digest, values, *others, prompt=prompt_digest(run.layout))
        for name in _COUNTERS:
            setattr(run, name, values[name])
    run_state.restore_parts(run.out, tensors, values, _parts(run), run.logs)
    if run.best_step and verified(run.out / BEST).get("step", -1) < run.best_step:
        raise damaged(run.out / BEST, f"does not hold the weights of update {run.best_step}")


def _parts(run: Run) -> list[Part]:
    return [Part("model", run.model.parameters(), run.optimizer)]


def save_best(run: Run) -> None:
    """Keep the weights as they are now as the best so far."""
    save_state(run.out / BEST, {"model": run.model.parameters()}, {"step": run.step})


def load_best(run: Run) -> None:
    """Set the weights that were the best.

    Raises:
        CheckpointError: they are not what was kept.
    """
    folder = run.out / BEST
    tensors, values = load_state(folder)
    if values.get("step") != run.best_step:
        raise damaged(folder, f"holds the weights of update {values.get('step')}, not {run.best_step}")
    set_tensors(folder, "model", run.model.parameters(), tensors.get("model", {}))


def export(run: Run, folder: Path, calibration: Calibration, kept: int, metrics: dict[str, Metric]) -> None:
    """Write the checkpoint folder."""
    settings = run.settings
    sidecar = sidecar_for(
        run.layout,
        head=settings.head,
        label_tokens=run.model.label_tokens,
        meaning=settings.meaning,
        aggregation=settings.aggregation,
        calibration=calibration,
        max_length=run.max_length,
    )
    name = Path(settings.backbone).name
    facts: dict[str, object] = {
        "training traces": len(run.training),
        "updates": f"{run.step}, weights after update {kept}",
        "class balance": settings.class_balance,
        "seed": settings.seed,
    }
    for measure in ("loss", "accuracy", "auc", "ece"):
        metric = metrics.get(f"validation.{measure}")
        if metric is not None and metric.value is not None:
            facts[f"held-out {measure}"] = f"{metric.value:.3f}" + (
                f" ({metric.low:.3f} to {metric.high:.3f})" if metric.low is not None else ""
            )
    card = model_card(
        title=f"{settings.title.capitalize()} of {name}",
        backbone=name,
        method=f"supervised, {settings.head.replace('_', ' ')}, {settings.adapter}",
        facts=facts,
        sidecar=sidecar,
    )
    run.model.export(folder, run.tokenizer, sidecar, card)
