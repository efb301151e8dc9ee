"""What every trainer does around its updates: trackers, a log that goes on where the checkpoint is, unchanged settings.

Contract: nothing here knows what is trained; states are saved by `state.py`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from sparring.errors import SettingsError
from sparring.runs import JsonlLog
from sparring.settings import Settings, dump_settings

Progress = Callable[[int, dict[str, Any]], None]
"""Called after every update with (updates done, the update's log record)."""

# What may differ between a run and its resumption without changing any result.
_FREE_ON_RESUME = {"checkpoint_every", "trackers", "device"}


def make_accelerator(
    trackers: Sequence[str], out: Path, device: torch.device, *, mixed: torch.dtype = torch.float32
) -> Accelerator:
    """Return accelerate's object with its trackers; where `mixed` is bfloat16 it casts forward passes."""
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if mixed == torch.bfloat16 else "no",
        log_with=available_trackers(trackers) or None,
        project_dir=str(out),
    )


def available_trackers(wanted: Sequence[str]) -> list[str]:
    """Return the trackers, or raise SettingsError for one that is unknown or not installed.

    accelerate itself would leave such a tracker out without a word.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for tracker in wanted:
        if tracker not in installed:
            hint = {
                "tensorboard": "pip install 'sparring[tracking]'",
                "wandb": "pip install 'sparring[wandb]'",
            }
            known = ", ".join(sorted(installed)) or "none"
            raise SettingsError(
                f"trackers: '{tracker}' is unknown or not installed (installed: {known})"
                + (f"; {hint[tracker]}" if tracker in hint else "")
            )
    return list(wanted)


def tracked_settings(settings: Settings) -> dict[str, int | float | str | bool]:
    """Return the settings as trackers take them: plain values, others as text."""
    return {
        key: value if isinstance(value, (int, float, str, bool)) else str(value)
        for key, value in dump_settings(settings).items()
    }


def resumes(out: Path, logs: Iterable[JsonlLog], *, resume: bool) -> bool:
    """Whether there is a checkpoint to go on from.

    Raises:
        SettingsError: there is a run in `out`, and nobody asked to go on with it.
    """
    if resume:
        return (out / "checkpoint").exists()
    if any(next(iter(log.records()), None) is not None for log in logs):
        raise SettingsError(f"'{out}' already holds a run; resume it with --resume, or choose another --out")
    return False


def refuse_changes(
    out: Path, settings: Settings, digest: str, then: Mapping[str, Any], *others: str, prompt: str
) -> None:
    """Refuse to go on with a run with other settings or data than it was started with.

    Args:
        out: the run directory.
        settings: those of now.
        digest: of the data of now.
        then: the checkpoint's values, `settings` and `digest` among them.
        others: further changes, in words.
        prompt: names the texts of prompts of now (`models.prompts.prompt_digest`), `prompt` in the checkpoint's values.

    Raises:
        SettingsError: something differs that may not.
    """
    now, before = dump_settings(settings), then["settings"]
    changed = [
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(now.keys() | before.keys())
        if now.get(key) != before.get(key) and key not in _FREE_ON_RESUME
    ]
    if others or changed:
        raise SettingsError(f"cannot resume '{out}' with other settings: " + "; ".join([*others, *changed]))
    if then.get("prompt", prompt) != prompt:
        raise SettingsError(
            f"cannot resume '{out}': prompts are other texts than when it was started (another tokenizer, chat template or "
            "version of transformers), and a run must not mix them"
        )
    if then["digest"] != digest:
        raise SettingsError(f"cannot resume '{out}': the data files have changed since it was started")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far: on the GPU, or by this process (since it was started, or resumed)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
