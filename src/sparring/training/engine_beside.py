"""Engines beside a model that is trained, and how they get its weights: a server, vLLM in this process, a copy of it here.

The model is a policy in reinforcement learning, or the adversary of a game.

- `http://…/v1` is a vLLM server on the model's folder. It is given the LoRA adapter under a new name for every state of
  the weights (`/v1/load_lora_adapter`), from a folder in the run directory, which it must be able to read.
- `vllm:FOLDER` is vLLM in this process, given the same adapter.
- `twin_of` is the model once more in this process, with a copy of what is trained; what is frozen is shared. It is what
  samples while the model itself is being changed (`rollout_ahead.py`).

Contract: an engine samples from exactly the weights that it was last given, or the run ends with an `EngineError`: after
every adapter a few prompts are answered, and the engine's log-probabilities of these tokens are compared with
those of the model. An adapter's name is made of its content, so it is never mistaken for another one, and a resumed run
finds its own again. Older adapters, a killed run's included, are dropped and removed once the new one is in force. Of
several processes each has its client, or its copy, and the main one writes the adapter.

Not here: transfer of all weights (NCCL, `/update_weights`): with `adapter: full` the model samples in this process.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sparring.errors import SettingsError
from sparring.http_client import Patience
from sparring.labels.provers import is_server, server_key
from sparring.models.roles import Roles, Row
from sparring.rollouts.engine import Completion, Engine, EngineError, Limits, Prefix, TakesAdapters
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.rollouts.vllm_offline import VllmEngine
from sparring.traces.spans import Layout, encode
from sparring.training.processes import is_main, wait
from sparring.training.sampler_settings import SamplerSettings

PROBES, PROBE_TOKENS = 8, 16


@dataclass(frozen=True, slots=True)
class Trained:
    """What is trained and sampled from: a role of a backbone.

    Attributes:
        log_probs: natural logarithms of the sampled tokens' probabilities, row after row, under the role's present weights.
    """

    roles: Roles
    role: str
    temperature: float
    log_probs: Callable[[Sequence[Row]], torch.Tensor]


@dataclass(frozen=True, slots=True)
class OtherEngine:
    """An engine outside the trained model, and how it gets the weights.

    Attributes:
        engine: it must tell token ids and their log-probabilities.
        publish: gives it the present weights of what is trained (a `Policy` or `Players`); called before it samples, once
            per state of the weights, and of several processes by the main one. Returns when they are in force (a server
            is told to load the folder that `Policy.save` writes, say).
        close: called when nothing will be sampled any more.
        everywhere: of several processes all publish: each has an engine, or a client, with weights of its own.
    """

    engine: Engine
    publish: Callable[[Any], None]
    close: Callable[[], None] = lambda: None
    everywhere: bool = False


def engine_beside(
    settings: SamplerSettings,
    trained: Trained,
    tokenizer: Any,
    layout: Layout,
    folder: Path,
    probes: Sequence[Prefix],
    row_budget: int = 256,
) -> OtherEngine | None:
    """Return the engine that the settings name, None where the trained model itself samples.

    Args:
        folder: where adapters are written.
        probes: what is answered after every adapter; the first few are taken.

    Raises:
        SettingsError: its settings do not fit.
    """
    if settings.staleness and trained.roles.sharded:
        raise SettingsError(
            "staleness: 1 samples in a thread, which a backbone shared among processes (FSDP) cannot"
        )
    if settings.sampler is None:
        return twin_of(trained, tokenizer, layout, row_budget) if settings.staleness else None
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
    asked = [
        replace(
            one, ids=one.ids or tuple(encode(one.problem.question, one.steps, tokenizer, layout).input_ids)
        )
        for one in probes[:PROBES]
    ]
    given = GivenAdapters(engine, trained, folder, asked, settings.sampler_tolerance)
    return OtherEngine(engine, lambda _: given.publish(), given.close, everywhere=True)


class GivenAdapters:
    """Gives an engine on the trained model's backbone the adapter, and makes sure that it samples with it.

    Args:
        engine: samples.
        trained: whose adapter.
        folder: where adapters are written.
        probes: prompts, as ids, that are answered after every adapter.
        tolerance: mean difference in log-probability per token, in nats, from which weights are not the same.
    """

    def __init__(
        self,
        engine: TakesAdapters,
        trained: Trained,
        folder: Path,
        probes: Sequence[Prefix],
        tolerance: float,
    ) -> None:
        self.engine, self.trained, self.folder = engine, trained, folder.resolve()
        self.probes, self.tolerance = probes, tolerance
        self._in_force: str | None = None

    def publish(self) -> None:
        """Let the engine sample with the adapter as it is now.

        Raises:
            EngineError: it refuses the adapter, does not answer, or samples from other weights.
        """
        name = f"sparring-{self._digest()}"
        if name == self._in_force:
            return
        if is_main() and not (self.folder / name).is_dir():
            self.trained.roles.save_adapter(self.folder / name, self.trained.role)
        wait()
        self.engine.load_adapter(name, self.folder / name)
        try:
            self._check()
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
    def _check(self) -> None:
        """Raise EngineError where the engine's log-probabilities are not those of the trained model."""
        limits = Limits(PROBE_TOKENS, self.trained.temperature, fit=True)
        answers = self.engine.sample(self.probes, 1, limits=limits, seeds=range(len(self.probes)))
        rows: list[Row] = []
        theirs: list[float] = []
        for probe, [one] in zip(self.probes, answers, strict=True):
            if one.log_probabilities:  # an engine that tells none is refused where it samples
                rows.append((probe.ids, one.token_ids))
                theirs += one.log_probabilities
        if not rows:
            return
        ours = self.trained.log_probs(rows)
        apart = float((ours - torch.tensor(theirs, device=ours.device)).abs().mean())
        if not apart <= self.tolerance:
            raise EngineError(
                f"the engine '{self.engine.name}' samples from other weights than it was given: the log-probabilities of "
                f"{len(theirs)} probe tokens differ by {apart:.3g} on average (sampler_tolerance: {self.tolerance:g}). "
                "Does it run the trained model's folder, and each adapter under its own name?"
            )

    def _digest(self) -> str:
        """Return a name for the adapter's weights as they are now."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.trained.roles.parameters(self.trained.role).items()):
            if not name.startswith("value."):
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:24]


def with_probabilities(engine: Engine, temperature: float, completions: Sequence[Completion]) -> None:
    """Raise SettingsError where an engine does not tell what was sampled with what probability."""
    for one in completions:
        if not one.token_ids or len(one.token_ids) != len(one.log_probabilities):
            raise SettingsError(
                f"the engine '{engine.name}' does not give token ids with log-probabilities at temperature "
                f"{temperature:g}: importance ratios cannot be taken (docs/rl.md)"
            )


def twin_of(trained: Trained, tokenizer: Any, layout: Layout, row_budget: int) -> OtherEngine:
    """Return an engine on the same model with a copy of its trained weights; frozen weights are the same tensors."""
    with trained.roles.acting(trained.role) as model:
        shared = {id(one): one for one in model.parameters() if not one.requires_grad}
        twin = copy.deepcopy(model, shared)
    pairs = [
        (own, theirs)
        for own, theirs in zip(twin.parameters(), model.parameters(), strict=True)
        if own is not theirs
    ]

    @torch.no_grad()
    def publish(_: Any) -> None:
        for own, theirs in pairs:
            own.copy_(theirs)

    # A fast tokenizer keeps its options in itself, so threads do not share one.
    engine = LocalEngine(twin, copy.deepcopy(tokenizer), layout, row_budget=row_budget)
    return OtherEngine(engine, publish, everywhere=True)
