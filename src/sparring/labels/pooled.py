"""Labelling in the actors of a pool (`--engine ray`): every actor has the policies, and labels some problems at a time.

Contract: what is found out about a problem hangs on its text and on seeds (`job.py`), never on who does it. A problem comes
back as a whole, with all that was still to be done for it, and goes into the journal as soon as it is there.

Not here: windows, journals, results (`job.py`, `command.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sparring.labels.answers import pick_checker
from sparring.labels.job import JOURNAL_FILE, LabelJob, Subject
from sparring.labels.journal import Journal
from sparring.labels.provers import load_engines, policies_of, policy_content, settled_policy
from sparring.labels.settings import LabelSettings, parse_prover
from sparring.pool import Item, Lost, PoolSettings, content_key
from sparring.pool.ray_pool import RayPool
from sparring.rollouts.engine import EngineAbout, Usage, about_engine
from sparring.streams import windows

Done = list[dict[str, Any]]
"""What a journal holds of a problem (`journal.py`)."""


class Asked(NamedTuple):
    """A problem that is to be labelled, and what is done of it already."""

    subject: Subject
    done: Done


class Answer(NamedTuple):
    """What was done for a problem, and what that has cost: for a batch, all at its first problem."""

    done: Done
    usage: Usage


class LabelWorker:
    """Labels batches of problems in an actor, on whose node the policies are loaded."""

    def __init__(self, settings: LabelSettings) -> None:
        self._settings, self._checker = settings, pick_checker(settings)
        self._engines = load_engines(settings)
        self.identity = content_key(*map(policy_content, policies_of(settings)))
        self.about = tuple(map(about_engine, self._engines))

    def __call__(self, asked: Sequence[Asked]) -> list[Answer]:
        """Do what is not done yet for some problems."""
        with TemporaryDirectory() as folder, closing(_Noting(Path(folder) / JOURNAL_FILE, {})) as journal:
            known = [entry | {"problem": place} for place, one in enumerate(asked) for entry in one.done]
            if known:
                journal.add(known)
            journal.noted, journal.cost = [], Usage()
            cover, prover = self._engines
            job = LabelJob(
                self._settings, len(asked), cover=cover, prover=prover, checker=self._checker, journal=journal
            )
            job.begin([one.subject for one in asked])
            job.fill()
            groups: list[Done] = [[] for _ in asked]
            for entry in journal.noted:
                groups[entry["problem"]].append(dict(entry))
        costs = [journal.cost, *(Usage() for _ in asked)]
        return [Answer(group, cost) for group, cost in zip(groups, costs, strict=False)]


class _Noting(Journal):
    """A journal that also keeps what is added to it."""

    noted: list[Mapping[str, Any]]
    cost: Usage

    def add(self, done: Sequence[Mapping[str, Any]], usage: Usage | None = None) -> None:
        super().add(done, usage)
        if hasattr(self, "noted"):
            self.noted += done
            self.cost = self.cost.plus(usage or Usage())


class LabelPool:
    """Labels in a pool.

    Args:
        pool: of labelling workers, within its context.

    Attributes:
        engines: what is known here of who writes solutions and who finishes prefixes.
        lost: problems that actors died of.
    """

    def __init__(self, pool: RayPool[Asked, Answer]) -> None:
        self._pool = pool
        self.engines: tuple[EngineAbout, EngineAbout] = pool.about()
        self.lost = pool.lost

    def fill(self, job: LabelJob) -> None:
        """Do what is not done yet for the problems that a job has begun; those that actors die of are left out."""
        missing, known = job.unfinished(), job.journal.entries()

        def items() -> Iterator[Item[Asked]]:
            for index in missing:
                subject = job.subject(index)
                yield Item(str(index), subject.problem.id, Asked(subject, known.get(index, [])))

        def keep(item: Item[Asked], answer: Answer) -> None:
            done = [entry | {"problem": int(item.key)} for entry in answer.done]
            job.journal.add(done, answer.usage)
            job.tell("labels", job.journal.solved)

        size = self._pool.share(len(missing), max(1, job.settings.batch // job.settings.n_cov))
        for item, answer in self._pool.map(windows(items(), size), keep=keep, ordered=False):
            if isinstance(answer, Lost):
                job.left_out.add(int(item.key))


def label_pool(
    settings: LabelSettings, pool: PoolSettings, tell: Callable[[str], None]
) -> RayPool[Asked, Answer]:
    """Return the pool of labelling workers, to be entered; `tell` is told what happens to actors."""
    prover = parse_prover(settings.prover).policy
    places = {"policy": settings.policy} | ({} if prover is None else {"prover": prover})
    whole = {name: settled_policy(place) for name, place in places.items()}
    return RayPool(partial(LabelWorker, settings.model_copy(update=whole)), pool, tell=tell)
