"""What `test_processes.py` runs in each of several processes: training commands, one after the other.

    python processes_worker.py JOBS_FILE

Every line of the file is a JSON object with the command, its settings, where to write, whether to resume, the update
after which to stop in the middle, and whether to share the backbone as accelerate's configuration for FSDP2 would say.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring.models import sharding
from sparring.training import run
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl import train_rl
from sparring.training.rl_settings import RlSettings
from sparring.training.supervised import OrmSettings, PrmSettings, ValueSettings, train_supervised

COMMANDS = {
    "prm": (PrmSettings, train_supervised),
    "orm": (OrmSettings, train_supervised),
    "value": (ValueSettings, train_supervised),
    "rl": (RlSettings, train_rl),
    "aprm": (AprmSettings, train_aprm),
}


def do(job: dict) -> None:
    """Run one job."""
    kind, train = COMMANDS[job["command"]]

    def progress(step: int, record: dict) -> None:
        if step == job.get("stop"):
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train(
            kind.model_validate(job["settings"]),
            Path(job["out"]),
            resume=job.get("resume", False),
            progress=progress,
        )


FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}  # what `accelerate launch` sets


def do_shared(job: dict) -> None:
    """Run one job with its backbone shared among the processes, and see that it is."""
    shared = []

    def shard(model: Any, device: torch.device) -> Any:
        shared.append(sharding.shard(model, device))
        layer = shared[-1].base_model.layers[0].mlp.up_proj.weight
        assert layer.to_local().shape[0] * torch.distributed.get_world_size() == layer.shape[0]
        return shared[-1]

    with pytest.MonkeyPatch.context() as patch:
        for name, value in FSDP.items():
            patch.setenv(name, value)
        patch.setattr(run, "shard", shard)
        do(job)
    assert shared


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for line in Path(sys.argv[1]).read_text().splitlines():
        job = json.loads(line)
        (do_shared if job.get("shared") else do)(job)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
