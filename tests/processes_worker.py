"""What `test_processes.py` runs in each of several processes: training commands, one after the other.

    python processes_worker.py JOBS_FILE

Every line of the file is a JSON object with the command, its settings, where to write, whether to resume, and the update
after which to stop in the middle.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import torch

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for line in Path(sys.argv[1]).read_text().splitlines():
        do(json.loads(line))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
