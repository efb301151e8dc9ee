"""Shared: a random two-layer model of the chain world, and a command that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import hypothesis
import pytest
import torch
from transformers import LlamaForCausalLM

from sparring.worlds.chain_model import build_tokenizer, tiny_config

torch.set_num_threads(1)
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


def killed(command: list[str], log: Path, records: int) -> None:
    """Run a command, and end it with SIGKILL once so many records are in its log."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_bytes().splitlines()) >= records:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
