"""Settings of a pool: how many actors, with what, and how much patience. None of them changes results."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sparring.errors import SettingsError
from sparring.settings import Settings, load_settings


class PoolSettings(Settings):
    """Settings of `--engine ray`, given as `--pool name=value`."""

    actors: int | None = Field(None, gt=0)
    """Actors at once; without it as many as the cluster has room for, those of nodes that join later included."""
    cpus_per_actor: float = Field(1.0, ge=0)
    """Cores that an actor reserves, and the threads that it computes with (at least one; 0: as many as torch likes)."""
    gpus_per_actor: float | None = Field(None, ge=0)
    """GPUs that an actor reserves, or the share of one; without it 1 where the cluster has any. Clients need 0."""
    address: str | None = None
    """A running cluster: `auto`, or `host:port` of its head. Without it what `RAY_ADDRESS` names, else a cluster of this
    machine that ends with the command."""
    in_flight: int = Field(4, gt=1)
    """Batches per actor that are read ahead: at work, waiting for it, or waiting for earlier ones to be finished."""
    deaths: int = Field(3, gt=0)
    """Actors that may die of a batch before its items are tried one by one, and of an item before it is left out."""
    seconds_per_item: float | None = Field(600.0, gt=0)
    """Longest time for one item; an actor that takes longer is replaced as a dead one is. `null`: no limit."""


def pool_settings(engine: str, words: Sequence[str] | None) -> PoolSettings | None:
    """Return the settings of the pool that the options `--engine` and `--pool` ask for; None: the work is done here.

    Raises:
        SettingsError: no such engine, or settings of a pool without one.
    """
    if engine not in ("here", "ray"):
        raise SettingsError(f"--engine is here or ray, got {engine!r}")
    if engine == "here":
        if words:
            raise SettingsError("--pool sets what --engine ray does: give both or neither")
        return None
    return load_settings(PoolSettings, None, list(words or ()))
