"""What a labelling job labels, as a stream: problems with a reference answer and, where they are given, their solutions.

Contract: all data is gone through before the job begins, so that what is wrong in it is found, what is left out is
counted, and the total is known; given solutions once before that, to see whether they are sorted by problem. Then again,
for the work. Order: problems as they first appear, a problem's solutions as they stand. Memory: 24 bytes per problem. Only
where a problem's solutions do not stand one after the other, all are held: sort such files by problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice

from sparring.errors import DataError
from sparring.labels.job import Subject
from sparring.labels.settings import LabelSettings, SolverSettings
from sparring.streams import Places
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import stream_problems, stream_traces
from sparring.traces.records import Problem, Trace
from sparring.worlds.world import world_problems

_WORLD_PROBLEMS = 100
Group = tuple[Problem, list[Trace]]


class Subjects:
    """The subjects of a job, in order, as often as they are asked for.

    Args:
        settings: which ones.
        see: called with every problem that is labelled, before any is; may refuse it.

    Attributes:
        total: how many there are.
        left_out: what was left out, and why.

    Raises:
        DataError: the data cannot be used, or nothing of it is left.
    """

    def __init__(self, settings: LabelSettings, see: Callable[[Problem], object] = lambda _: None) -> None:
        self._settings = settings
        self._options = ReadOptions(keep_annotations=settings.keep_annotations)
        self._held: list[Group] | None = None
        self.total, self.left_out = 0, Counter[str]()
        given = settings.solutions == "given" and settings.data is not None
        if given and not _in_runs(self._given()):
            held: dict[str, list[Trace]] = {}
            for trace in self._given(self.left_out):
                held.setdefault(trace.problem.id, []).append(trace)
            self._held = [(group[0].problem, group) for group in held.values()]
        answered = 0
        for problem, group in self._groups(self.left_out):
            self.left_out["solution of another problem with the same id"] += _others(problem, group)
            if not has_answer(problem):
                self.left_out["problem without a reference answer"] += 1
                continue
            answered += 1
            if settings.problems is None or answered <= settings.problems:
                self.total += 1
                see(problem)
        if not answered:
            raise no_answer(settings)
        self.left_out = +self.left_out

    def __iter__(self) -> Iterator[Subject]:
        answered = ((problem, group) for problem, group in self._groups(None) if has_answer(problem))
        for problem, group in islice(answered, self._settings.problems):
            # Rollouts go by the first trace's problem; one that differs from it under the same id has no place.
            yield Subject(problem, tuple(trace for trace in group if trace.problem == problem))

    def _given(self, left_out: Counter[str] | None = None) -> Iterator[Trace]:
        settings = self._settings
        assert settings.data is not None
        return stream_traces(settings.data, settings.data_format, self._options, _counting(left_out))

    def _groups(self, left_out: Counter[str] | None) -> Iterable[Group]:
        """Give each problem with its given solutions; count what the reader skips."""
        settings = self._settings
        if settings.data is None:
            return ((problem, []) for problem in made_problems(settings, "label"))
        if settings.solutions == "sample":
            skip = _counting(left_out)
            found = stream_problems(settings.data, settings.data_format, self._options, skip)
            return ((problem, []) for problem in found)
        if self._held is not None:
            return self._held
        traces = self._given(left_out)
        runs = (list(run) for _, run in groupby(traces, key=lambda trace: trace.problem.id))
        return ((run[0].problem, run) for run in runs)


def made_problems(settings: SolverSettings, name: str) -> Iterator[Problem]:
    """Yield the problems that a world makes; `name` begins their ids."""
    for place in range(settings.problems or _WORLD_PROBLEMS):
        yield from world_problems(settings.world, 1, seed=settings.seed, name=name, start=place)


def has_answer(problem: Problem) -> bool:
    """Whether rollouts of a problem can be judged."""
    return problem.answer is not None and bool(problem.answer.strip())


def no_answer(settings: SolverSettings) -> DataError:
    """Return what is said where no problem can be judged."""
    return DataError("no problem has a reference answer, so no rollout could be judged", file=settings.data)


def _in_runs(traces: Iterable[Trace]) -> bool:
    """Whether the traces of each problem stand one after the other."""
    places = Places()
    runs = enumerate(groupby(traces, key=lambda trace: trace.problem.id))
    return all(places.setdefault(identity, number) == number for number, (identity, _) in runs)


def _others(problem: Problem, group: Iterable[Trace]) -> int:
    return sum(trace.problem != problem for trace in group)


def _counting(left_out: Counter[str] | None) -> Callable[[object], None]:
    """Return what counts a record that the reader skips."""

    def skip(_: object) -> None:
        if left_out is not None:
            left_out["record skipped by the reader"] += 1

    return skip
