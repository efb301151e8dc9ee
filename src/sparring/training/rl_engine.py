"""Engines beside a policy that is trained, and how they get its weights: a server, vLLM in this process, a copy of it here.

- `http://…/v1` is a vLLM server on the policy's folder. It is given the LoRA adapter under a new name for every state of
  the weights (`/v1/load_lora_adapter`), from a folder in the run directory, which it must be able to read.
- `vllm:FOLDER` is vLLM in this process, given the same adapter.
- `twin_of` is the policy once more in this process, with a copy of what is trained; what is frozen is shared. It is what
  samples while the policy itself is being changed (`rollout_ahead.py`).

Contract: an engine samples from exactly the weights that it was last given, or the run ends with an `EngineError`: after
every adapter a few held-out problems are answered, and the engine's log-probabilities of these tokens are compared with
those of the policy. An adapter's name is made of its content, so it is never mistaken for another one, and a resumed run
finds its own again. Older adapters, a killed run's included, are dropped and removed once the new one is in force. Of
several processes each has its client, or its copy, and the main one writes the adapter.

Not here: transfer of all weights (NCCL, `/update_weights`): with `adapter: full` the policy samples in this process.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparring.errors import SettingsError
from sparring.http_client import Patience
from sparring.labels.provers import is_server, server_key
from sparring.models.roles import Policy, Row
from sparring.rollouts.engine import EngineError, Limits, Prefix, TakesAdapters
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.rollouts.vllm_offline import VllmEngine
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, prompt_ids
from sparring.training.processes import is_main, wait
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import OtherEngine

PROBES, PROBE_TOKENS = 8, 16


def engine_beside(
    settings: RlSettings, policy: Policy, tokenizer: Any, layout: Layout, out: Path, probes: Sequence[Problem]
) -> OtherEngine | None:
    """Return the engine that the settings name, None where the policy's own model samples.

    Raises:
        SettingsError: its settings do not fit.
    """
    if settings.staleness and policy.sharded:
        raise SettingsError(
            "staleness: 1 samples in a thread, which a backbone shared among processes (FSDP) cannot"
        )
    if settings.sampler is None:
        return twin_of(policy, tokenizer, layout, settings) if settings.staleness else None
    engine: TakesAdapters
    if is_server(settings.sampler):
        engine = ServerEngine(
            settings.sampler,
            "policy",
            layout,
            tokenizer=tokenizer,
            kind="vllm",
            concurrency=settings.server.concurrency,
            patience=Patience(timeout=settings.server.timeout, retries=settings.server.retries),
            api_key=server_key(settings.server),
        )
    else:
        engine = VllmEngine(
            settings.sampler, layout, tokenizer=tokenizer, dtype=settings.dtype, lora_rank=settings.lora_rank
        )
    given = GivenAdapters(engine, out / "sampler", tokenizer, layout, probes, settings.sampler_tolerance)
    return OtherEngine(engine, given.publish, given.close, everywhere=True)


class GivenAdapters:
    """Gives an engine on the policy's backbone the policy's adapter, and makes sure that it samples with it.

    Args:
        engine: samples.
        folder: where adapters are written.
        tokenizer, layout: of the policy's prompts.
        probes: problems that are answered after every adapter.
        tolerance: mean difference in log-probability per token, in nats, from which weights are not the same.
    """

    def __init__(
        self,
        engine: TakesAdapters,
        folder: Path,
        tokenizer: Any,
        layout: Layout,
        probes: Sequence[Problem],
        tolerance: float,
    ) -> None:
        self.engine, self.folder, self.tolerance = engine, folder.resolve(), tolerance
        self.probes = [Prefix(problem) for problem in probes[:PROBES]]
        self._prompts = [tuple(prompt_ids(one.question, tokenizer, layout)) for one in probes[:PROBES]]
        self._in_force: str | None = None

    def publish(self, policy: Policy) -> None:
        """Let the engine sample with the policy's adapter as it is now.

        Raises:
            EngineError: it refuses the adapter, does not answer, or samples from other weights.
        """
        name = f"sparring-{_digest(policy)}"
        if name == self._in_force:
            return
        if is_main() and not (self.folder / name).is_dir():
            policy.save_adapter(self.folder / name)
        wait()
        self.engine.load_adapter(name, self.folder / name)
        try:
            self._check(policy)
        except EngineError:
            self.engine.drop_adapter(name)
            raise
        before, self._in_force = self._in_force, name
        self._drop(before, keep=name)

    def close(self) -> None:
        """Let the engine forget the last adapter, and remove it."""
        self._drop(self._in_force)
        if is_main():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _drop(self, before: str | None, keep: str | None = None) -> None:
        """Let the engine forget every adapter but one, and remove them.

        Args:
            before: what this process sampled with so far.
            keep: what stays.
        """
        if before is not None:
            self.engine.drop_adapter(before)
        wait()
        for old in self.folder.glob("*") if is_main() else ():
            if old.name == keep:
                continue
            if old.name != before:  # of a run that was killed: a server has it still
                self.engine.drop_adapter(old.name)
            shutil.rmtree(old)

    @torch.no_grad()
    def _check(self, policy: Policy) -> None:
        """Raise EngineError where the engine's log-probabilities are not those of the policy."""
        limits = Limits(PROBE_TOKENS, policy.temperature, fit=True)
        answers = self.engine.sample(self.probes, 1, limits=limits, seeds=range(len(self.probes)))
        rows: list[Row] = []
        theirs: list[float] = []
        for prompt, [one] in zip(self._prompts, answers, strict=True):
            if one.log_probabilities:  # an engine that tells none is refused where it samples
                rows.append((prompt, one.token_ids))
                theirs += one.log_probabilities
        if not rows:
            return
        ours = policy.outputs(rows).log_probs
        apart = float((ours - torch.tensor(theirs, device=ours.device)).abs().mean())
        if not apart <= self.tolerance:
            raise EngineError(
                f"the engine '{self.engine.name}' samples from other weights than it was given: the log-probabilities of "
                f"{len(theirs)} probe tokens differ by {apart:.3g} on average (sampler_tolerance: {self.tolerance:g}). "
                "Does it run the policy's folder, and each adapter under its own name?"
            )


def _digest(policy: Policy) -> str:
    """Return a name for the adapter's weights as they are now."""
    digest = hashlib.sha256()
    for name, parameter in sorted(policy.parameters().items()):
        if not name.startswith("value."):
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def twin_of(policy: Policy, tokenizer: Any, layout: Layout, settings: RlSettings) -> OtherEngine:
    """Return an engine on the policy's model with a copy of its trained weights; frozen weights are the same tensors."""
    shared = {id(one): one for one in policy.model.parameters() if not one.requires_grad}
    model = copy.deepcopy(policy.model, shared)
    pairs = [
        (own, theirs)
        for own, theirs in zip(model.parameters(), policy.model.parameters(), strict=True)
        if own is not theirs
    ]

    @torch.no_grad()
    def publish(_: Policy) -> None:
        for own, theirs in pairs:
            own.copy_(theirs)

    # A fast tokenizer keeps its options in itself, so threads do not share one.
    engine = LocalEngine(model, copy.deepcopy(tokenizer), layout, row_budget=settings.row_budget)
    return OtherEngine(engine, publish, everywhere=True)
