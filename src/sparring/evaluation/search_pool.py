"""Search in the actors of a pool (`--engine ray`): every actor has policy and PRMs, and searches some problems at a time.

Contract: what is found of a problem is what one process finds, but for rounding where other problems are beside it
(`search/driver.py`). The driver has no models; what it must know of them the first actor says.

Not here: journals (`search/driver.py`), the command (`search.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from rich.console import Console

from sparring.labels.settings import parse_prover
from sparring.pool import Item, Lost, PoolSettings, content_key
from sparring.pool.ray_pool import RayPool
from sparring.rollouts.engine import Engine, about_engine
from sparring.scorers.door import StepScorer
from sparring.scorers.pooled import About, settled, source_content
from sparring.search.driver import Found, Searched, searched
from sparring.search.settings import MethodSettings
from sparring.search.tree import MOST_TREES
from sparring.streams import windows
from sparring.traces.records import Problem

Search = Callable[[Sequence[Problem]], Iterator[Searched]]
"""Yields what is found of each of some problems."""


@dataclass(frozen=True, slots=True)
class Models:
    """Who takes part: policy, PRM and, where the settings name them, the prover's value model and a value model."""

    engine: Engine
    scorer: StepScorer
    prover: StepScorer | None = None
    value: StepScorer | None = None

    def named(self, settings: Any) -> Iterator[tuple[str, str, StepScorer | None]]:
        """Yield (role, source, scorer) of every scorer that the settings name; one that is not needed is not loaded."""
        scorers = (self.scorer, self.prover, self.value)
        for (role, source), scorer in zip(sources(settings).items(), scorers, strict=True):
            if source is not None:
                yield role, source, scorer

    def search(self, method: str, n: int, settings: MethodSettings) -> Search:
        """Return what searches in this process."""
        return lambda problems: searched(
            method, problems, self.engine, self.scorer, settings, n=n, prover=self.prover, value=self.value
        )


def sources(settings: Any) -> dict[str, str | None]:
    """Return where the scorers of a search are, by their role; None where the settings name none."""
    return {"prm": settings.prm, "prover": parse_prover(settings.prover).policy, "value": settings.value}


class Asked(NamedTuple):
    """One search: method, N, seed, problem, and whether its tree is wanted."""

    method: str
    n: int
    seed: int
    problem: Problem
    drawn: bool


class Answer(NamedTuple):
    """What was found, the record of its tree where that was wanted, and what makes the policy's completions doubtful."""

    found: Found
    tree: Mapping[str, Any]
    doubts: tuple[str, ...]


class SearchWorker:
    """Searches batches of problems in an actor, on whose node the models are loaded."""

    def __init__(self, settings: Any, load: Callable[[Any], Models]) -> None:
        from sparring.labels.provers import policy_content  # with torch, which only actors need

        self._settings, self._models = settings, (models := load(settings))
        scorers = (models.scorer, models.prover, models.value)
        contents = [
            "" if scorer is None or source is None else source_content(source, scorer)
            for source, scorer in zip(sources(settings).values(), scorers, strict=True)
        ]
        self.identity = content_key(policy_content(settings.policy), *contents)
        abouts = [None if scorer is None else About.of(scorer) for scorer in scorers]
        self.about = Models(about_engine(models.engine), *abouts)  # type: ignore[arg-type]

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        """Search some problems together: with one method, N and seed."""
        method, n, seed, _, _ = asked[0]
        settings = self._settings.model_copy(update={"seed": seed})
        found = {
            one.problem: (one, tree)
            for one, tree in self._models.search(method, n, settings)([one.problem for one in asked])
        }
        doubts = tuple(self._models.engine.usage.doubts)
        return [
            Answer(found[one.problem.id][0], found[one.problem.id][1]() if one.drawn else {}, doubts)
            for one in asked
        ]


def search_pool(
    settings: Any, load: Callable[[Any], Models], pool: PoolSettings, console: Console
) -> RayPool[Asked, Answer]:
    """Return the pool of searching workers, to be entered."""
    from sparring.labels.provers import settled_policy

    places = {"policy": settled_policy(settings.policy)}
    places |= {role: settled(source) for role, source in sources(settings).items() if source is not None}
    maker = partial(SearchWorker, settings.model_copy(update=places), load)
    return RayPool(maker, pool, tell=lambda text: console.print(text, highlight=False, markup=False))


class SearchPool:
    """Searches in a pool.

    Args:
        pool: of searching workers, within its context.

    Attributes:
        models: what is known of them here.
        lost: searches that actors died of.
    """

    def __init__(self, pool: RayPool[Asked, Answer]) -> None:
        self._pool = pool
        self.models: Models = pool.about()
        self.lost = pool.lost

    def search(
        self, method: str, n: int, settings: MethodSettings, problems: Sequence[Problem], *, drawn: bool
    ) -> Search:
        """Return what `search.driver.search_kept` searches with.

        Args:
            drawn: whether trees are wanted; those of the first problems are.
        """
        first = {problem.id for problem in problems[:MOST_TREES]} if drawn else set()

        def search(waiting: Sequence[Problem]) -> Iterator[Searched]:
            items = (
                Item(
                    content_key(method, n, settings.seed, problem.id),
                    f"{problem.id} ({method}, N = {n})",
                    Asked(method, n, settings.seed, problem, problem.id in first),
                )
                for problem in waiting
            )
            size = self._pool.share(len(waiting), settings.in_flight)
            doubts = self.models.engine.usage.doubts
            for _, answer in self._pool.map(windows(items, size), ordered=False):
                if not isinstance(answer, Lost):
                    doubts += [doubt for doubt in answer.doubts if doubt not in doubts]
                    yield answer.found, lambda tree=answer.tree: tree  # type: ignore[misc]

        return search
