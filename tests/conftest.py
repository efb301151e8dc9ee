"""Shared: a random two-layer model of the chain world, a run's log, and a command that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from transformers import LlamaForCausalLM

from sparring.models.checkpoint import LABELS, model_card, save_prm
from sparring.models.loading import load_new_token_classifier, load_tokenizer
from sparring.models.sidecar import sidecar_for
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer, tiny_config

torch.set_num_threads(1)
# Ray Data's usage report is a thread that outlives its tests: it asks a server, logs and allocates within others.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A job in the background ignores Ctrl-C, one under nohup the closed terminal; what is tested would inherit that.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)
# A busy machine is no failure: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random two-layer policy and its tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(len(tokenizer), width=32, layers=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_prm(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM folder of the chain world with a random head, which takes 300 tokens."""
    model = load_new_token_classifier(tiny_folder, LABELS, device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.score.weight)
    folder = tmp_path_factory.mktemp("prm") / "prm"
    sidecar = sidecar_for(CHAIN_LAYOUT, max_length=300)
    card = model_card(title="-", backbone="-", method="-", facts={}, sidecar=sidecar)
    save_prm(
        folder,
        config=model.config,
        state=model.state_dict(),
        tokenizer=load_tokenizer(tiny_folder),
        sidecar=sidecar,
        card=card,
    )
    return folder


def log_of(out: Path, name: str = "log") -> list[dict[str, Any]]:
    """A training run's log without what depends on the machine's speed."""
    times = {"seconds", "cpu_seconds", "tokens_per_second", "rollout_wait_seconds"}
    lines = (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


def killed(words: Sequence[str], records: int, counted: str = "sparring.runs:JsonlLog.append") -> None:
    """Run `sparring` with these words in a process that ends itself with SIGKILL after so many calls of a method."""
    program = [sys.executable, str(Path(__file__).parent / "killed_at.py"), counted, str(records)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, f"the run ended before it could be killed: {done.stderr}"
