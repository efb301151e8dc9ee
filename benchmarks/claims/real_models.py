"""Real models and data under claims: where this machine has them, which is no part of a record's key.

Experiments name a model in their settings; the environment says where things are:

- `SPARRING_BACKBONE`: the model's folder, which has the model's name;
- `SPARRING_DATA`: the folder of data sets;
- `SPARRING_DEVICE`: where to compute, `auto` if it does not say.

The name `stand-in` takes any folder: of a miniature, which shows that all of it runs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from publishing import DATA

STAND_IN = "stand-in"
BACKBONE, DEVICE = "SPARRING_BACKBONE", "SPARRING_DEVICE"


def device() -> str:
    """Return where to compute."""
    return os.environ.get(DEVICE, "auto")


def model_folder() -> Path:
    """Return the model's folder; `lacks` says whether there is one."""
    return Path(os.environ[BACKBONE])


def clear_memory() -> None:
    """Free what a finished run still holds, and count the card's peak anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def lacks(name: str, data: Sequence[str] = ()) -> str:
    """Return what this machine lacks of a model and of files below `DATA`, in one line; empty if nothing."""
    given = os.environ.get(BACKBONE)
    if not given:
        return f"{BACKBONE} is to name the folder of {name}"
    if not (Path(given) / "config.json").is_file():
        return f"{BACKBONE}: no model folder at '{given}'"
    if name not in (STAND_IN, Path(given).name):
        return f"{BACKBONE}: the records are to be of {name}, and the folder is called '{Path(given).name}'"
    missing = [one for one in data if not (DATA / one).exists()]
    return f"SPARRING_DATA: '{DATA}' has no {', '.join(missing)}" if missing else ""
