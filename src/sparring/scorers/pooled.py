"""A PRM in the actors of a pool (`--engine ray`): every actor has the folder's model, or a client of the server.

Contract: as `door.py` says; scores are those of one process, since every batch goes to one actor as it is. The driver loads
no model: what is to be known of it, the first actor says. A folder must be where it is named on every node, with one and
the same content.

Not here: batches, journals (`evaluation/scores.py`), the pool itself (`pool/ray_pool.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sparring.addresses import is_address
from sparring.errors import DataError, plural
from sparring.fingerprints import Identity, model_content
from sparring.pool import Here, Item, Lost, LostError, Mapper, PoolSettings, content_key
from sparring.pool.ray_pool import RayPool
from sparring.scorers.door import Reading, StepScorer, open_scorer
from sparring.streams import windows
from sparring.traces.records import Trace

BATCH = 64
"""Traces that are scored together; the scorer makes its own batches within."""


@dataclass(frozen=True, slots=True)
class Refused:
    """In a row's place: why the scorer refuses the trace, which it does where it is too long for it."""

    why: str


Row = Sequence[float] | Refused


class About(NamedTuple):
    """What a worker says of its scorer (see `door.StepScorer`)."""

    identity: Identity
    sidecar: Reading
    threshold: float | None
    threshold_rule: str

    @classmethod
    def of(cls, scorer: StepScorer) -> About:
        """Return what is to be told of a scorer."""
        return cls(scorer.identity, scorer.sidecar, scorer.threshold, scorer.threshold_rule)


def settled(source: str | Path) -> str:
    """Return a folder's whole path, for processes that work elsewhere; a name or an address as it is."""
    return str(source) if is_address(source) or not Path(source).exists() else str(Path(source).absolute())


def source_content(source: str | Path, scorer: StepScorer) -> str:
    """Return a name for what scores now that is the same on every machine."""
    if is_address(source):
        return scorer.identity.key
    from sparring.models.loading import resolve_model

    folder = Path(resolve_model(source))
    return model_content(folder) if folder.is_dir() else str(source)


class ScoringWorker:
    """Scores batches of traces in an actor, by the model on its own node's disk or by a client of the server."""

    def __init__(self, source: str, device: str, dtype: str, leave_out: bool) -> None:
        scorer = open_scorer(source, device=device, dtype=dtype)
        self.identity, self.about = source_content(source, scorer), About.of(scorer)
        self._score = batch_scores(scorer, leave_out=leave_out)

    def __call__(self, traces: Sequence[Trace]) -> Sequence[Row]:
        """Return one row per trace."""
        return self._score(traces)


class PooledScorer:
    """The scorer that a driver has; `scoring` makes one.

    Attributes:
        mapper: the pool, for loops that hand it batches themselves.
    """

    def __init__(self, mapper: RayPool[Trace, Row]) -> None:
        self.mapper = mapper
        about: About = mapper.about()
        self.identity, self.sidecar, self.threshold, self.threshold_rule = about

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return one list of scores per trace (see `door.StepScorer`).

        Raises:
            LostError: actors died of a trace.
        """
        items = (Item(content_key(index), trace.problem.id, trace) for index, trace in enumerate(traces))
        rows = []
        for _, row in self.mapper.map(windows(items, BATCH)):
            if isinstance(row, Lost):
                raise LostError([row], "Nothing else was written down.")
            if isinstance(row, Refused):
                raise DataError(row.why)
            rows.append(list(row))
            if progress is not None:
                progress(1)
        return rows


@contextmanager
def scoring(
    source: str | Path,
    pool: PoolSettings,
    tell: Callable[[str], None],
    *,
    device: str = "auto",
    dtype: str = "auto",
    leave_out: bool = False,
) -> Iterator[PooledScorer]:
    """Give the scorer of a folder or of a server in a pool, which ends with the block.

    Args:
        leave_out: have `Refused` in the rows' places of traces that are refused, instead of the error.

    Raises:
        SettingsError, CheckpointError, ServerError: as `door.open_scorer`.
        PoolError: the cluster cannot be used.
    """
    make_worker = partial(ScoringWorker, settled(source), device, dtype, leave_out)
    with RayPool[Trace, Row](make_worker, pool, tell=tell) as mapper:
        yield PooledScorer(mapper)


def mapper_of(scorer: StepScorer, *, leave_out: bool = False) -> Mapper[Trace, Row]:
    """Return what maps batches of traces to scores: the scorer's pool, as it was made, or this process."""
    if isinstance(scorer, PooledScorer):
        return scorer.mapper
    return Here(batch_scores(scorer, leave_out=leave_out))


def batch_scores(
    scorer: StepScorer, *, leave_out: bool = False
) -> Callable[[Sequence[Trace]], Sequence[Row]]:
    """Return the function that scores a batch.

    Args:
        leave_out: have `Refused` in the rows' places of traces that are refused, instead of the error.

    Raises:
        DataError: (when called) the scorer does not return one row per trace.
    """

    ask_each = getattr(scorer, "score_each", None) if leave_out else None

    def score(traces: Sequence[Trace]) -> Sequence[Row]:
        found: Sequence[Row]
        if ask_each is not None:  # a server, which has scored the others before it refuses one
            found = [Refused(row.message) if isinstance(row, DataError) else row for row in ask_each(traces)]
        else:
            try:
                found = scorer.score(traces)
            except DataError as error:
                if not leave_out:
                    advice = (
                        "allow_missing=true (--allow-missing) goes on without their scores and counts them"
                    )
                    raise DataError(
                        f"{error.message}; {advice}", field=error.field, trace=error.trace
                    ) from None
                if len(traces) == 1:
                    return [Refused(error.message)]
                half = len(traces) // 2
                return [*score(traces[:half]), *score(traces[half:])]
        if len(found) != len(traces):
            raise DataError(
                f"the scorer returned {plural(len(found), 'row')} for {plural(len(traces), 'trace')}"
            )
        return found

    return score
