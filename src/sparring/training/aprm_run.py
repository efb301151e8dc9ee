"""One APRM run in memory and on disk: what it holds, checkpoints, snapshots, and its results.

Contract: everything here is about keeping and restoring; how a run is played is in `aprm.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sparring.errors import CheckpointError
from sparring.models.checkpoint import model_card, save_prm
from sparring.models.families.source import context
from sparring.models.players import PLAYERS, Player, Players
from sparring.models.prompts import prompt_digest
from sparring.models.sidecar import sidecar_for
from sparring.runs import JsonlLog, Metric, write_metrics
from sparring.settings import dump_settings
from sparring.traces.spans import Layout
from sparring.training.adversary import Adversary
from sparring.training.aprm_settings import AprmSettings
from sparring.training.optimism import OptimisticGradient
from sparring.training.pool import ReplayPool
from sparring.training.running import peak_memory, refuse_changes
from sparring.training.state import load_optimizer_tensors, load_state, optimizer_tensors, save_state
from sparring.training.tasks import ChainTask, TextTask

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
    tensors: dict[str, dict[str, torch.Tensor]] = {"reference": run.players.reference_state()}
    for player in PLAYERS:
        named = run.players.parameters(player)
        tensors[player] = dict(named)
        tensors[f"{player}_optimizer"] = optimizer_tensors(run.optimizers[player], named)
        tensors[f"{player}_optimism"] = run.optimism[player].state()
    values = {
        "step": run.step,
        "labelled": run.labelled,
        "undecided": run.undecided,
        "tokens": run.tokens,
        "settings": dump_settings(run.settings),
        "digest": run.task.digest,
        "prompt": prompt_digest(run.layout, run.adversary.prompt_texts),
        "pool": run.pool.records(),
    }
    save_state(run.out / "checkpoint", tensors, values)


def restore(run: Run) -> None:
    """Load the run's checkpoint; settings and data must be those of this run."""
    tensors, values = load_state(run.out / "checkpoint")
    prompt = prompt_digest(run.layout, run.adversary.prompt_texts)
    refuse_changes(run.out, run.settings, run.task.digest, values, prompt=prompt)
    for player in PLAYERS:
        named = run.players.parameters(player)
        load_player(run.players, player, tensors[player])
        load_optimizer_tensors(run.optimizers[player], named, tensors.get(f"{player}_optimizer", {}))
        run.optimism[player].load_state(
            {name: tensor.to(run.device) for name, tensor in tensors.get(f"{player}_optimism", {}).items()}
        )
    run.players.load_reference_state(tensors["reference"])
    run.pool.load_records(values["pool"])
    run.step, run.labelled, run.undecided, run.tokens = (
        values[name] for name in ("step", "labelled", "undecided", "tokens")
    )


def save_snapshot(run: Run, update: int) -> None:
    """Keep both players as they are after this update, for cross-play."""
    tensors: dict[str, dict[str, torch.Tensor]] = {p: dict(run.players.parameters(p)) for p in PLAYERS}
    save_state(run.out / "snapshots" / f"{update:06d}", tensors, {"update": update})


def load_player(players: Players, player: Player, tensors: dict[str, torch.Tensor]) -> None:
    """Set a player's trainable parameters.

    Raises:
        CheckpointError: the names or shapes differ.
    """
    named = players.parameters(player)
    if named.keys() != tensors.keys():
        raise CheckpointError(f"the checkpoint's {player} has other parameters than the model")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[name])


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
