"""One APRM run in memory and on disk: what it holds, checkpoints, snapshots, and its results.

Contract: everything here is about keeping and restoring; how a run is played is in `aprm.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sparring.models.checkpoint import model_card, save_prm
from sparring.models.loading import context
from sparring.models.players import PLAYERS, Player, Players
from sparring.models.prompts import prompt_digest
from sparring.models.sidecar import sidecar_for
from sparring.runs import JsonlLog, Metric, write_metrics
from sparring.settings import dump_settings
from sparring.traces.spans import Layout
from sparring.training import run as run_state
from sparring.training.adversary import Adversary
from sparring.training.aprm_settings import AprmSettings
from sparring.training.optimism import OptimisticGradient
from sparring.training.pool import ReplayPool
from sparring.training.run import (
    CHECKPOINT,
    Divergence,
    Part,
    Tensors,
    damaged,
    load_state,
    peak_memory,
    refuse_changes,
    restoring,
    save_state,
    set_tensors,
    verified,
)
from sparring.training.tasks import ChainTask, TextTask

_COUNTERS = ("step", "labelled", "undecided", "tokens")
METHODS = {
    "rules": "supervised by a step oracle on rule perturbations, no human step labels",
    "frozen": "supervised by a step oracle on the errors of an untrained adversary, no human step labels",
    "trained": "adversarial training (APRM, arXiv 2511.22888), no human step labels",
}


@dataclass
class Run:
    """Everything that a training run holds in memory."""

    settings: AprmSettings
    out: Path
    accelerator: Accelerator
    task: ChainTask | TextTask
    players: Players
    tokenizer: Any
    layout: Layout
    adversary: Adversary
    pool: ReplayPool
    optimizers: dict[Player, torch.optim.Optimizer] = field(default_factory=dict)
    optimism: dict[Player, OptimisticGradient] = field(default_factory=dict)
    divergence: dict[Player, Divergence] = field(default_factory=dict)
    logs: list[JsonlLog] = field(default_factory=list)
    step: int = 0
    labelled: int = 0
    undecided: int = 0
    tokens: int = 0

    @property
    def device(self) -> torch.device:
        """Where the players live."""
        device: torch.device = self.accelerator.device
        return device


def save_checkpoint(run: Run) -> None:
    """Write everything that resuming needs."""
    optimism = {f"{player}_optimism": run.optimism[player].state() for player in PLAYERS}
    values = {
        **{name: getattr(run, name) for name in _COUNTERS},
        "settings": dump_settings(run.settings),
        "digest": run.task.digest,
        "prompt": prompt_digest(run.layout, run.adversary.prompt_texts),
        "pool": run.pool.records(),
    }
    others = {"reference": run.players.reference_state(), **optimism}
    run_state.save_checkpoint(run.out, _parts(run), values, run.logs, others)


def restore(run: Run) -> None:
    """Load the run's checkpoint; settings and data must be those of this run.

    Raises:
        CheckpointError: it, a log or a snapshot is not what was written, or does not fit.
        SettingsError: it is of other settings or data.
    """
    folder = run.out / CHECKPOINT
    tensors, values = load_state(folder)
    with restoring(folder):
        prompt = prompt_digest(run.layout, run.adversary.prompt_texts)
        refuse_changes(run.out, run.settings, run.task.digest, values, prompt=prompt)
        gradients: dict[Player, dict[str, torch.Tensor]] = {}
        for player in PLAYERS:
            named = run.players.parameters(player)
            names = tensors.get(f"{player}_optimism", {})
            gradients[player] = {name: torch.zeros_like(named[name]) for name in names}
        run.pool.load_records(values["pool"])
        for name in _COUNTERS:
            setattr(run, name, values[name])
    others = {"reference": run.players.reference_state()}
    others |= {f"{player}_optimism": gradients[player] for player in PLAYERS}
    run_state.restore_parts(run.out, tensors, values, _parts(run), run.logs, others)
    for player in PLAYERS:
        run.optimism[player].load_state(gradients[player])
    for update in snapshots(run):
        _check_snapshot(_snapshot(run.out, update), verified(_snapshot(run.out, update)), update)


def _parts(run: Run) -> list[Part]:
    return [Part(player, run.players.parameters(player), run.optimizers[player]) for player in PLAYERS]


def snapshots(run: Run) -> list[int]:
    """Return the updates after which this run has kept its players so far; 0 is the start of the game."""
    every, warm = run.settings.snapshot_every, run.settings.warm_steps
    if not every or not run.logs or run.step < warm:
        return []
    return [*([0] if warm else []), *range(every, run.step - warm + 1, every)]


def save_snapshot(run: Run, update: int) -> None:
    """Keep both players as they are after this update, for cross-play."""
    tensors: dict[str, Tensors] = {player: run.players.parameters(player) for player in PLAYERS}
    save_state(_snapshot(run.out, update), tensors, {"update": update})


def load_snapshot(run: Run, out: Path, update: int, player: Player) -> None:
    """Set a player as it was after this update of the run in `out`.

    Raises:
        CheckpointError: the snapshot is not what was written, or does not fit the model.
    """
    folder = _snapshot(out, update)
    tensors, values = load_state(folder)
    _check_snapshot(folder, values, update)
    set_tensors(folder, player, run.players.parameters(player), tensors.get(player, {}))


def _check_snapshot(folder: Path, values: dict[str, Any], update: int) -> None:
    if values.get("update") != update:
        raise damaged(folder, f"holds the players of update {values.get('update')}")


def _snapshot(out: Path, update: int) -> Path:
    return out / "snapshots" / f"{update:06d}"


def export_prm(run: Run, folder: Path) -> None:
    """Write the PRM as it is now as a Hugging Face folder."""
    settings = run.settings
    sidecar = sidecar_for(run.layout, max_length=context(run.players.config))
    facts = {
        "adversary": settings.adversary,
        "updates": settings.updates,
        "rewrites labelled by the oracle": run.labelled,
        "seed": settings.seed,
    }
    name = Path(settings.backbone).name
    card = model_card(
        title=f"PRM of {name}",
        backbone=name,
        method=METHODS[settings.adversary],
        facts=facts,
        sidecar=sidecar,
    )
    save_prm(
        folder,
        config=run.players.config,
        state=run.players.prm_state_dict(),
        tokenizer=run.tokenizer,
        sidecar=sidecar,
        card=card,
    )


def finish(run: Run) -> Path:
    """Write the PRM folder and the run's metrics."""
    settings = run.settings
    folder = run.out / "prm"
    export_prm(run, folder)
    log = JsonlLog(run.out / "log.jsonl")
    game = [record for record in log.records() if record["phase"] == "game"]
    seconds = sum(record["seconds"] for record in log.records())
    metrics = {
        "training.seconds": Metric(seconds, unit="s"),
        "training.updates": Metric(float(settings.updates)),
        "training.labelled_steps": Metric(float(run.labelled)),
        "training.undecided_steps": Metric(float(run.undecided)),
        "training.tokens_per_second": Metric(run.tokens / seconds, unit="tokens/s"),
        "training.peak_memory": Metric(float(peak_memory(run.device)), unit="bytes"),
    }
    for name in ("fool_rate", "prm_accuracy_clean", "prm_accuracy_fresh"):
        tail = [record[name] for record in game[-20:] if record.get(name) is not None]
        if tail:
            metrics[f"training.last_20.{name}"] = Metric(sum(tail) / len(tail), n=len(tail))
    write_metrics(
        run.out,
        metrics,
        settings=dump_settings(settings),
        seed=settings.seed,
        extra={"left_out": dict(run.task.left_out)},
    )
    return folder
