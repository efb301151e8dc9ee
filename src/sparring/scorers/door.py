"""The one door to whoever scores steps: a PRM's folder, or the address of a server.

    models/prm                          a folder (`models.scorer.load_scorer`)
    http://host:8000                    `sparring serve`
    vllm+http://host:8000#models/prm    vLLM's `/pooling`, for the PRM that is in this folder too
    sglang+http://host:30000#models/prm SGLang's `/v1/score`, for PRMs of label tokens
    judge+http://host:8000/v1           any OpenAI-compatible chat model, asked to judge steps

`?name=value` after the host sets what a kind of server can be told; `model` is the model's name on the server, which is
needed where it has several. `https` is spelt in the same way. A token is never part of an address: it is given as such, or
stands in the environment variable `SPARRING_TOKEN`.

Contract: every scorer has one verb, `score`, one number in [0, 1] per step, and says who it is. A score that could not be
made is an error, never a number. Torch is imported for folders only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from sparring.errors import SettingsError, did_you_mean
from sparring.fingerprints import Identity
from sparring.traces.records import Trace

if TYPE_CHECKING:
    from sparring.scorers.remote import RemoteScorer

Overflow = Literal["refuse", "drop_steps"]
TOKEN_VARIABLE = "SPARRING_TOKEN"  # noqa: S105 (a name)
KINDS = ("", "vllm", "sglang", "judge")
_SCHEMES = {f"{kind}+{web}" if kind else web: (kind, web) for kind in KINDS for web in ("http", "https")}


class Reading(Protocol):
    """How scores are to be read; a checkpoint's sidecar says it, and a server."""

    @property
    def head(self) -> str:
        """What the scores come from; `log_ratio` is an implicit PRM."""
        ...

    @property
    def meaning(self) -> str:
        """`correctness` of a step, or `value` of the prefix that it ends."""
        ...

    @property
    def aggregation(self) -> str:
        """The rule from step scores to the score of a solution."""
        ...


class StepScorer(Protocol):
    """A PRM that scores; `open_scorer` returns one."""

    @property
    def threshold(self) -> float | None:
        """The score below which a step counts as wrong, where that is known."""
        ...

    @property
    def threshold_rule(self) -> str:
        """How the threshold was chosen."""
        ...

    @property
    def identity(self) -> Identity:
        """Who scores."""
        ...

    @property
    def sidecar(self) -> Reading:
        """How scores are to be read."""
        ...

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return, per trace, one number in [0, 1] per step; `progress` is told how many traces are done.

        Raises:
            DataError: a trace cannot be scored; names it.
            ServerError: the server gives nothing usable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, taken apart.

    Attributes:
        kind: of `KINDS`; empty for our own.
        url: what requests are sent to: scheme, host, port and path, without `/v1`.
        folder: after the `#`: where the PRM is here; empty without one.
        options: what stood after the `?`.
    """

    kind: str
    url: str
    folder: str
    options: Mapping[str, str]

    def only(self, *names: str) -> Mapping[str, str]:
        """Return the options, refusing any of another name."""
        for name in self.options:
            if name not in names:
                raise SettingsError(f"{self.url}: unknown option {name!r}{did_you_mean(name, names)}")
        return self.options


def is_address(source: object) -> TypeGuard[str]:
    """Whether a text names a server and not a folder."""
    return isinstance(source, str) and "://" in source


def parse_address(text: str) -> Address:
    """Return an address taken apart.

    Raises:
        SettingsError: another scheme, no host, a name or password in it, an option given twice or without a value.
    """
    scheme, _, _ = text.partition("://")
    if scheme not in _SCHEMES:
        raise SettingsError(f"{text!r}: no such kind of server{did_you_mean(scheme, _SCHEMES)}")
    kind, web = _SCHEMES[scheme]
    try:
        parts = urlsplit(web + text[len(scheme) :])
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{text!r} is no address: {error}") from None
    if not host:
        raise SettingsError(f"{text!r} is no address: a host follows '://'")
    if "@" in parts.netloc:
        raise SettingsError(
            f"an address holds no name or password, it is written into records: set {TOKEN_VARIABLE}"
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SettingsError(f"{text!r}: options are name=value, joined by &: {error}") from None
    options = dict(pairs)
    if len(options) < len(pairs) or "" in options.values():
        raise SettingsError(f"{text!r}: an option is given twice or is empty")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Address(kind, f"{web}://{parts.netloc}{path}", parts.fragment, options)


def _source(value: object) -> Path | str:
    if not isinstance(value, (str, Path)):
        raise PydanticCustomError("path_type", "expected a path or an address")
    if is_address(value):
        try:
            parse_address(value)
        except SettingsError as error:
            raise ValueError(str(error)) from None
    return as_source(value)


Source = Annotated[Path | str, PlainValidator(_source)]
"""Type of a setting that names a PRM: a folder, or a server's address."""


def as_source(text: str | Path) -> Path | str:
    """Return a folder as a path, and an address as it is."""
    return text if isinstance(text, str) and is_address(text) else Path(text)


def open_scorer(
    source: str | Path,
    *,
    model: str | None = None,
    token: str | None = None,
    threshold: float | None = None,
    device: str = "auto",
    dtype: str = "auto",
    overflow: Overflow = "refuse",
) -> StepScorer:
    """Return the scorer of a folder or of a server.

    Args:
        source: a PRM's folder, or an address.
        model: its name on a server, as `?model=` in the address.
        token: for the server, as bearer token; by default what `SPARRING_TOKEN` holds.
        threshold: below which a step counts as wrong, instead of the PRM's own.
        device: of a folder.
        dtype: of a folder.
        overflow: what to do with a trace that does not fit: refuse it, or leave whole last steps out of its row.

    Raises:
        SettingsError: no such kind of server, device or model.
        CheckpointError: a folder cannot be loaded.
        ServerError: the server cannot be used.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise SettingsError(f"a threshold is a number from 0 to 1, got {threshold}")
    if not is_address(source):
        if model is not None:
            raise SettingsError("a model's name belongs to a server; a folder holds one model")
        from sparring.models.scorer import load_scorer

        scorer = load_scorer(source, device=device, dtype=dtype, overflow=overflow)
        if threshold is not None:
            chosen = {"threshold": threshold, "threshold_rule": f"fixed {threshold:g}"}
            scorer.sidecar = scorer.sidecar.model_copy(update=chosen)
        return scorer
    address = parse_address(str(source))
    token = token or os.environ.get(TOKEN_VARIABLE) or None
    kind: type[RemoteScorer[Any]]
    if address.kind == "vllm":
        from sparring.scorers.vllm import VllmScorer as kind
    elif address.kind == "sglang":
        from sparring.scorers.sglang import SglangScorer as kind
    elif address.kind == "judge":
        raise SettingsError("judges are not spoken to yet")
    else:
        from sparring.scorers.served import ServedScorer as kind
    return kind(address, model=model, token=token, threshold=threshold, overflow=overflow)
