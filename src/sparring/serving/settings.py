"""Settings of `sparring serve`: which models, where, and how much one client may ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from sparring.labels.settings import ServerSettings, parse_prover
from sparring.rollouts.vllm_offline import is_vllm, vllm_folder
from sparring.search.settings import MethodSettings
from sparring.settings import MANY
from sparring.settings_shared import Device

SearchMethod = Literal[
    "best_of_n", "weighted_vote", "majority", "beam", "dvts", "lookahead", "puct", "particles"
]
"""Ways to answer a problem: three choices among independent solutions, and the searches of `sparring search`."""


class ServeSettings(MethodSettings, Device):
    """Settings of `sparring serve`. Those of a search hold for every search that the server is asked for."""

    prm: str | tuple[str, ...]
    """PRM folders to serve. A model is called by its folder's last name, or by one of its own: `name:folder`. The first
    answers where a request names none."""
    policy: str | tuple[str, ...] = ()
    """Who writes solutions for `/v1/search` and `/v1/chat/completions`: folders, `tiny-chain-policy`, or addresses of
    servers, also as `name:folder`. Without one these endpoints say that there is none."""
    host: str = "127.0.0.1"
    """Address to listen at. Another than this machine's own is refused without a token, unless `allow_open`."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen at; 0: any that is free."""
    token_variable: str | None = None
    """Environment variable that holds the bearer token which clients must send, Prometheus included. Without it all may
    ask."""
    allow_open: bool = False
    """Listen at an address that others can reach without asking for a token."""
    method: SearchMethod = "best_of_n"
    """How `/v1/chat/completions` and `/v1/search` answer where a request does not say."""
    n: int = Field(8, gt=0)
    """N of the method where a request does not say."""

    last_number: bool = True
    """Where a solution states no answer, take the last number of its last step."""
    question_after: str = ""
    """`/get_reward` gets prompts with the texts of a chat template: the question begins behind the last of these."""
    question_before: str = ""
    """The question of a prompt ends before the first of these behind its beginning."""

    # Limits
    max_body_bytes: int = Field(8 * 2**20, gt=0, le=MANY)
    """Largest body of a request."""
    max_items: int = Field(1024, gt=0)
    """Most items, or inputs, of a request."""
    max_steps_per_item: int = Field(1024, gt=0)
    """Most steps of an item."""
    max_request_tokens: int = Field(262_144, gt=0, le=MANY)
    """Most tokens of a request, all items together. (One item is bounded by its model's `max_length`.)"""
    max_requests: int = Field(256, gt=0)
    """Requests at work at the same time; further ones are told to come again (429)."""
    queue_tokens: int = Field(1_048_576, gt=0, le=MANY)
    """Tokens that may wait for a model; further ones are told to come again (429)."""
    max_n: int = Field(64, gt=0)
    """Largest N of a search."""
    searches: int = Field(4, gt=0)
    """Searches that run at the same time."""
    searches_waiting: int = Field(32, ge=0)
    """Searches that may wait for their turn."""
    body_seconds: float = Field(30.0, gt=0)
    """A body that has not come by then is given up (408)."""
    request_seconds: float = Field(60.0, gt=0)
    """A request that is not answered by then is given up (504)."""
    search_seconds: float = Field(600.0, gt=0)
    """The same for a search, waiting included."""
    shutdown_seconds: float = Field(60.0, gt=0)
    """A server that is told to stop finishes what it has accepted, for so long."""
    batch_tokens: int = Field(16_384, gt=0, le=MANY)
    """Most tokens per forward pass, padding included; on a CPU 2,048 are never exceeded."""

    server: ServerSettings = ServerSettings()
    """How to speak to policies that are servers."""
    row_budget: int = Field(256, gt=0)
    """Completions in flight at once in this process."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe lines of the log, which is JSON on standard error, without texts of requests."""

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if not named(self.prm):
            raise ValueError("prm names at least one folder")
        if self.max_request_tokens > self.queue_tokens:
            raise ValueError("queue_tokens must be at least max_request_tokens, or such a request never fits")
        if self.n > self.max_n:
            raise ValueError("n must not be above max_n")
        named((*_listed(self.prm), *_listed(self.policy)))
        if parse_prover(self.prover).policy is not None:
            raise ValueError("prover is base or best-of-K: the value model of another policy is not served")
        return self


def named(models: str | tuple[str, ...]) -> dict[str, str]:
    """Return folders (or addresses) by name.

    Raises:
        ValueError: a name is empty or comes twice.
    """
    found: dict[str, str] = {}
    for text in _listed(models):
        match = re.match(r"([\w.-]+):(?!//)(.+)", text)
        own = match is not None and not Path(text).exists() and not is_vllm(text)
        bare = vllm_folder(text) if is_vllm(text) else text
        name, place = (match[1], match[2]) if match is not None and own else (Path(bare).name, text)
        if not name:
            raise ValueError(f"{text!r} has no name: write name:folder")
        if name in found:
            raise ValueError(f"two models are called {name!r}: write name:folder")
        found[name] = place
    return found


def _listed(models: str | tuple[str, ...]) -> tuple[str, ...]:
    return (models,) if isinstance(models, str) else models
