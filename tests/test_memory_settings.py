"""Settings that spare memory change no result: activations computed again, moments in eight bits, another attention."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from conftest import log_of
from rl_data import small as small_rl
from sparring.errors import SettingsError
from sparring.settings import load_settings
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.rl import train_rl
from sparring.training.supervised import PrmSettings, train_supervised
from supervised_data import data_file, quick

GAME = {
    "updates": 2, "prm_warm_steps": 1, "adversary_warm_steps": 1, "states_per_update": 3, "samples_per_state": 2,
    "prm_epochs": 2, "adversary_epochs": 2, "adapter": "lora", "lora_rank": 4, "device": "cpu",
}  # fmt: skip


def floats(records: list[dict]) -> list[float]:
    return [value for record in records for value in record.values() if isinstance(value, float)]


def test_activations_are_computed_again_by_the_role_that_they_are_of(tiny_folder, tmp_path):
    """In the game a reference acts between a player's forward and backward pass, on the same backbone."""
    found = []
    for anew in (False, True):
        settings = AprmSettings.model_validate(
            GAME | {"backbone": str(tiny_folder), "gradient_checkpointing": anew}
        )
        train_aprm(settings, tmp_path / f"game{anew}")
        found.append(floats(log_of(tmp_path / f"game{anew}")))
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_a_policy_that_computes_activations_again_samples_with_its_cache(tiny_folder, tmp_path, monkeypatch):
    found, calls = [], []
    layer = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "transformers.modeling_utils.checkpoint", lambda *a, **k: calls.append(1) or layer(*a, **k)
    )
    for anew in (False, True):
        settings = small_rl(tiny_folder, updates=2, gradient_checkpointing=anew, adapter="lora")
        train_rl(settings, tmp_path / str(anew))
        found.append(floats(log_of(tmp_path / str(anew))))
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)
    assert 0 < len(calls) <= 2 * 2 * 4  # layers and passes of two updates, none of sampling


def test_another_attention_gives_the_same_training(tiny_folder, tmp_path):
    data = data_file(tmp_path)
    for name in ("sdpa", "eager"):
        train_supervised(quick("prm", tiny_folder, data, attention=name, epochs=1), tmp_path / name)
    one, other = (floats(log_of(tmp_path / name)) for name in ("sdpa", "eager"))
    assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_flash_attention_is_refused_where_it_cannot_work(tiny_folder, tmp_path):
    with pytest.raises(SettingsError, match="flash-attn"):
        train_supervised(
            quick("prm", tiny_folder, data_file(tmp_path), attention="flash_attention_2"), tmp_path / "x"
        )
    with pytest.raises(SettingsError, match="share a row"):
        load_settings(AprmSettings, None, ["attention=flash_attention_2"])


# --- moments in eight bits -------------------------------------------------------------------------------------------


class EightBits(torch.optim.Optimizer):
    """A stand-in for bitsandbytes' AdamW8bit: the layout of its state, and momentum in place of its arithmetic."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["state1"] = torch.zeros_like(parameter, dtype=torch.uint8)
                    state["state2"] = torch.zeros_like(parameter, dtype=torch.uint8)
                    if parameter.numel() >= 1024:
                        state["qmap1"] = state["qmap2"] = torch.linspace(-1, 1, 256)
                        state["absmax1"] = state["absmax2"] = torch.ones(-(-parameter.numel() // 256))
                state["step"] += 1
                state["state1"] = (state["state1"] // 2 + (parameter.grad > 0) * 100).to(torch.uint8)
                parameter.sub_(group["lr"] * (state["state1"].float() / 100 - 0.5))


def test_moments_in_eight_bits_are_kept_and_taken_up_again(tiny_folder, tmp_path, monkeypatch):
    package = types.ModuleType("bitsandbytes")
    package.optim = types.ModuleType("bitsandbytes.optim")
    package.optim.AdamW8bit = EightBits
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package.optim)
    settings = quick("prm", tiny_folder, data_file(tmp_path), optimizer_bits=8, epochs=1, learning_rate=1e-3)

    def stop(step, record):
        if step == 6:
            raise KeyboardInterrupt

    train_supervised(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_supervised(settings, tmp_path / "run", progress=stop)
    train_supervised(settings, tmp_path / "run", resume=True)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def test_without_bitsandbytes_one_line_says_what_to_install(tiny_folder, tmp_path):
    if "bitsandbytes" in sys.modules:
        pytest.skip("it is installed")
    settings = quick("prm", tiny_folder, data_file(tmp_path), optimizer_bits=8)
    assert isinstance(settings, PrmSettings)
    with pytest.raises(SettingsError, match=r"optimizer_bits: 8 needs bitsandbytes: .*sparring\[bits\]"):
        train_supervised(settings, tmp_path / "run")
