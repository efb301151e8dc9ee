"""One RL run in memory and on disk: what it holds, its checkpoints, what it tells trackers, its model card.

Contract: everything here is about keeping and restoring; how a policy is trained is in `rl.py`. The reference is the
policy's folder as it was at the start, so it is loaded again and not kept in checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sparring.errors import CheckpointError, SettingsError
from sparring.settings import dump_settings
from sparring.training.rl_policy import Policy
from sparring.training.rl_scores import StepScores
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import Sampler, Subject
from sparring.training.state import load_optimizer_tensors, load_state, optimizer_tensors, save_state

# What may differ between a run and its resumption without changing any result.
_FREE_ON_RESUME = {"checkpoint_every", "trackers", "device"}


@dataclass
class Run:
    """Everything that a training run holds in memory."""

    settings: RlSettings
    out: Path
    accelerator: Accelerator
    subject: Subject
    tokenizer: Any
    policy: Policy
    sampler: Sampler
    scores: StepScores | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    tokens: int = 0

    def track(self, prefix: str, record: Mapping[str, Any]) -> None:
        """Send a record's numbers to the trackers."""
        numbers = {f"{prefix}/{name}": value for name, value in record.items() if isinstance(value, float)}
        self.accelerator.log(numbers, step=self.step)

    def tracked_settings(self) -> dict[str, Any]:
        """Return the settings in the types that trackers take."""
        return {
            key: value if isinstance(value, (int, float, str, bool)) else str(value)
            for key, value in dump_settings(self.settings).items()
        }

    def card(self, stopped: str | None) -> str:
        """Return the text of the policy's model card."""
        settings = self.settings
        rows = {
            "started from": f"`{Path(settings.policy).name}`",
            "credit": f"{settings.credit}, weight {settings.process_weight}; outcome weight {settings.outcome_weight}",
            "updates, answers": f"{self.step}, {self.samples}",
            "seed": settings.seed,
        } | ({} if stopped is None else {"stopped": stopped})
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        return (
            "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [sparring]\n---\n\n"
            f"# Policy trained by reinforcement learning with step rewards\n\n| | |\n|---|---|\n{table}\n"
        )


def save_checkpoint(run: Run) -> None:
    """Write everything that resuming needs."""
    named = run.policy.parameters()
    tensors: dict[str, dict[str, torch.Tensor]] = {
        "policy": dict(named),
        "optimizer": optimizer_tensors(run.optimizer, named),
    }
    values = {"step": run.step, "samples": run.samples, "tokens": run.tokens}
    save_state(run.out / "checkpoint", tensors, {**values, "settings": dump_settings(run.settings)})


def restore(run: Run) -> None:
    """Load the run's checkpoint; its settings must be those of this run."""
    tensors, values = load_state(run.out / "checkpoint")
    now, then = dump_settings(run.settings), values["settings"]
    changed = sorted(
        k for k in now.keys() | then.keys() if now.get(k) != then.get(k) and k not in _FREE_ON_RESUME
    )
    if changed:
        raise SettingsError(
            f"cannot resume '{run.out}' with other settings: "
            + "; ".join(f"{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in changed)
        )
    named = run.policy.parameters()
    if named.keys() != tensors["policy"].keys():
        raise CheckpointError("the checkpoint's policy has other parameters than the model")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors["policy"][name])
    load_optimizer_tensors(run.optimizer, named, tensors.get("optimizer", {}))
    run.step, run.samples, run.tokens = (values[name] for name in ("step", "samples", "tokens"))
