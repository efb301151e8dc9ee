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

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from sparring.addresses import is_address, parse_address, token_from_environment
from sparring.errors import SettingsError
from sparring.fingerprints import Identity
from sparring.traces.records import Trace

if TYPE_CHECKING:
    from sparring.scorers.judge import JudgeScorer
    from sparring.scorers.remote import RemoteScorer

Overflow = Literal["refuse", "drop_steps"]


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


def record_of(scorer: StepScorer) -> dict[str, Any]:
    """Return what records name of a scorer: who it is, and what it has cost where it counts that."""
    own = getattr(scorer, "record", None)
    return scorer.identity.record() if own is None else dict(own())


def threshold_of(scorer: StepScorer) -> dict[str, Any]:
    """Return, for a run's `extra`, the PRM's threshold with its rule; nothing where it has none."""
    if scorer.threshold is None:
        return {}
    return {"threshold": {"value": scorer.threshold, "rule": scorer.threshold_rule}}


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
    token = token or token_from_environment()
    kind: type[RemoteScorer[Any]] | type[JudgeScorer]
    if address.kind == "vllm":
        from sparring.scorers.vllm import VllmScorer as kind
    elif address.kind == "sglang":
        from sparring.scorers.sglang import SglangScorer as kind
    elif address.kind == "judge":
        from sparring.scorers.judge import JudgeScorer as kind
    else:
        from sparring.scorers.served import ServedScorer as kind
    return kind(address, model=model, token=token, threshold=threshold, overflow=overflow)
