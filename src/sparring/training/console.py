"""Progress of training on a terminal, and the counts that must be shown at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sparring.terminal import progress_bar
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.chain_policy import ChainPolicySettings, train_chain_policy

_SHOWN = (
    "phase",
    "loss",
    "imitation_loss",
    "fool_rate",
    "failed",
    "undecided",
    "prm_accuracy_clean",
    "prm_accuracy_fresh",
)


@contextmanager
def step_bar(title: str, total: int, console: Console) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """Give a function to call after every step with (steps done, its record)."""
    with progress_bar(console, "{task.fields[numbers]}") as bar:
        task = bar.add_task(title, total=total, numbers="")
        yield lambda done, record: bar.update(task, completed=done, numbers=_numbers(record))


def show_aprm(settings: AprmSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar, and say what was left out or undecided and where the PRM is."""
    if not settings.monotone:
        console.print(
            "note: with these rewards and weights the regularised one-step game is not strongly monotone, so "
            "convergence is not to be expected in theory (docs/aprm.md, regularisation)"
        )
    with step_bar("aprm", settings.total_steps, console) as progress:
        folder = train_aprm(settings, out, resume=resume, progress=progress)
    written = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    undecided = written["metrics"]["training.undecided_steps"]["value"]
    labelled = written["metrics"]["training.labelled_steps"]["value"]
    console.print(
        f"rewrites labelled by the oracle: {labelled:.0f}; undecided, training nobody: {undecided:.0f}"
    )
    for reason, count in written["extra"]["left_out"].items():
        console.print(f"left out: {count} × {escape(reason)}", style="yellow")
    console.print(f"PRM: {escape(str(folder))}", soft_wrap=True)
    return folder


def show_chain_policy(settings: ChainPolicySettings, out: Path, *, console: Console) -> Path:
    """Train the chain world's policy with a progress bar; return its folder."""
    with step_bar("chain policy", settings.updates, console) as progress:
        return train_chain_policy(settings, out, progress)


def _numbers(record: dict[str, Any]) -> str:
    parts = [
        f"{name} {value:.3f}" if isinstance(value, float) else str(value)
        for name in _SHOWN
        if (value := record.get(name)) is not None
    ]
    return " · ".join(parts)
