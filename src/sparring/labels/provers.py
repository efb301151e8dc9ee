"""The engines of a labelling job: who writes the solutions, and who finishes their prefixes.

Contract: a policy is a folder, a hub name, a server's address, or `vllm:FOLDER` for vLLM in this process; the same policy
is loaded once. A prover is the base policy, the best of K of it (the same rollouts, the closed form in `posterior.py`), or
any other policy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sparring.errors import SettingsError
from sparring.fingerprints import folder_identity, model_content
from sparring.http_client import Patience
from sparring.labels.settings import LabelSettings, ServerSettings, SolverSettings, parse_prover
from sparring.models import TINY_POLICY
from sparring.models.loading import (
    load_policy,
    load_tokenizer,
    pick_device,
    pick_dtype,
    resolve_model,
)
from sparring.models.prompts import layout_for
from sparring.rollouts.engine import Engine
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.rollouts.vllm_offline import SCHEME, VllmEngine, is_vllm, vllm_folder
from sparring.traces.spans import Layout
from sparring.worlds.world import require_words


def load_engines(settings: LabelSettings) -> tuple[Engine, Engine]:
    """Return (who writes solutions, who finishes prefixes).

    Raises:
        CheckpointError: a model cannot be loaded.
        SettingsError: a server's settings do not fit, or a model does not know the words of the world that is asked.
    """
    other = parse_prover(settings.prover).policy
    cover_name = settings.policy if settings.cover_with == "policy" or other is None else other
    finisher_name = other or settings.policy
    finisher = load_engine(finisher_name, settings)
    cover = finisher if cover_name == finisher_name else load_engine(cover_name, settings)
    for engine in (cover, finisher):
        if settings.data is None and isinstance(engine, LocalEngine):
            require_words(settings.world, engine.tokenizer, engine.name)
    return cover, finisher


def load_engine(policy: str, settings: SolverSettings) -> Engine:
    """Return the engine of one policy."""
    if is_server(policy):
        return _server(policy, settings)
    if is_vllm(policy):
        tokenizer = load_tokenizer(vllm_folder(policy))
        layout = layout_for(tokenizer, settings.style, template=settings.template)
        return VllmEngine(policy, layout, tokenizer=tokenizer, dtype=settings.dtype)
    device = pick_device(settings.device)
    model, tokenizer = load_policy(policy, device=device, dtype=pick_dtype(settings.dtype, device))
    name = policy if policy == TINY_POLICY else Path(policy).name
    layout = layout_for(tokenizer, settings.style, template=settings.template)
    return LocalEngine(model, tokenizer, layout, row_budget=settings.row_budget, name=name)


def _server(url: str, settings: SolverSettings) -> ServerEngine:
    server = settings.server
    key = server_key(server)
    tokenizer = None if server.tokenizer is None else load_tokenizer(server.tokenizer)
    if tokenizer is None and settings.style == "chat":
        raise SettingsError("style=chat needs server.tokenizer, whose chat template is used")
    return ServerEngine(
        url,
        server.model,
        Layout() if tokenizer is None else layout_for(tokenizer, settings.style, template=settings.template),
        tokenizer=None if server.kind == "transformers" else tokenizer,
        kind=server.kind,
        concurrency=server.concurrency,
        choices_per_request=server.choices_per_request,
        patience=Patience(timeout=server.timeout, retries=server.retries),
        api_key=key,
    )


def server_key(server: ServerSettings) -> str | None:
    """Return the server's API key from the environment, None where none is asked for.

    Raises:
        SettingsError: the variable is not set.
    """
    if server.key_variable is None:
        return None
    key = os.environ.get(server.key_variable)
    if not key:
        raise SettingsError(
            f"the environment variable {server.key_variable} (server.key_variable) is not set"
        )
    return key


def is_server(policy: str) -> bool:
    """Whether a policy is named by a server's address."""
    return policy.startswith(("http://", "https://"))


def policies_of(settings: LabelSettings) -> list[str]:
    """Return the policies that take part, by name."""
    other = parse_prover(settings.prover).policy
    return [settings.policy, *([] if other is None else [other])]


def settled_policy(policy: str) -> str:
    """Return a folder's whole path, for processes that work elsewhere; a name or an address as it is."""
    if is_vllm(policy):
        return SCHEME + settled_policy(vllm_folder(policy))
    return policy if is_server(policy) or not Path(policy).exists() else str(Path(policy).absolute())


def policy_content(policy: str) -> str:
    """Return a name for what the policy is now that is the same on every machine; a server's is its address."""
    return _known_by(policy, model_content)


def policy_identity(policy: str) -> str:
    """Return a name for what the policy is now: a folder's files by name, size and time, else the name itself."""
    return _known_by(policy, folder_identity)


def _known_by(policy: str, of_folder: Callable[[Path], str]) -> str:
    if is_vllm(policy):  # other rounding than in transformers: another policy, as far as a journal goes
        return SCHEME + _known_by(vllm_folder(policy), of_folder)
    folder = None if is_server(policy) else Path(resolve_model(policy))
    return policy if folder is None or not folder.is_dir() else of_folder(folder)
