"""Settings of an engine beside the model that is trained, in reinforcement learning and in the game.

Contract: names are flat, as those of all groups of settings (`settings_shared.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sparring.labels.settings import ServerSettings
from sparring.settings_shared import Trained


class SamplerSettings(Trained):
    """Who samples what is trained on, and when."""

    sampler: str | None = None
    """Engine beside the trained model that samples with its LoRA adapter: the address of a vLLM server on the same folder
    (`http://…/v1`, with `server`'s concurrency, time-out, retries and key), or `vllm:FOLDER` for vLLM in this process
    (docs/rl.md). None: the model itself samples."""
    sampler_tolerance: float = Field(0.1, gt=0)
    """`sampler` only: it must give probe answers the model's log-probabilities, but for so much per token on average."""
    server: ServerSettings = ServerSettings()
    """How to speak to a server that is named as `sampler`, or as a prover."""
    staleness: Literal[0, 1] = 0
    """1: what the next update trains on is sampled and judged while this one scores and trains, from the weights that it
    started from; 0: from the present weights, with nothing at the same time."""

    @model_validator(mode="after")
    def _check_sampler(self) -> SamplerSettings:
        if self.sampler is None:
            return self
        from sparring.labels.provers import is_server  # loads torch
        from sparring.rollouts.vllm_offline import is_vllm

        if not (is_server(self.sampler) or is_vllm(self.sampler)):
            raise ValueError("sampler is the address of a vLLM server (http://…/v1) or vllm:FOLDER")
        if self.adapter != "lora":
            raise ValueError("a sampler is given a LoRA adapter, and adapter is full: set adapter=lora")
        return self
