"""A language model as judge in a PRM's place: `judge+http://…`.

Contract: `judging/judge.py` says what a score is and when there is none. A step's score rests on the problem, the steps
before and the step alone, whatever is beside it. The threshold is 0.5 unless one is given: calibrate it as any other PRM's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sparring.addresses import Address
from sparring.errors import DataError
from sparring.fingerprints import Identity
from sparring.judging.judge import OPTIONS, Judge, Judgement, Question, TooLongError
from sparring.scorers.door import Overflow
from sparring.scorers.remote import DeclaredReading, Row
from sparring.traces.records import Trace

Judgements = list[Judgement | DataError]


class JudgeScorer:
    """Scores of a judge.

    Args:
        threshold: instead of 0.5.
        overflow: what to do with a trace that does not fit the judge's context.
    """

    sidecar = DeclaredReading(head="judge")

    def __init__(
        self,
        address: Address,
        *,
        model: str | None = None,
        token: str | None = None,
        threshold: float | None = None,
        overflow: Overflow = "refuse",
    ) -> None:
        address.only(*OPTIONS)
        self.judge = Judge(address, model, token)
        self.overflow, self.dropped_steps = overflow, 0
        self.threshold = 0.5 if threshold is None else threshold
        self.threshold_rule = f"fixed {self.threshold:g}"

    @property
    def identity(self) -> Identity:
        """Who judges."""
        return self.judge.identity

    def record(self) -> dict[str, Any]:
        """Return what records name (`Judge.record`)."""
        return self.judge.record()

    def score(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """Return one list of scores per trace (see `door.StepScorer`); the first that cannot be judged ends it."""
        places = [(trace, step) for trace in traces for step in range(len(self._questions(trace)))]

        def refused(place: int, error: DataError) -> None:
            trace, step = places[place]
            if not self._droppable(error, step):
                raise _named(error, trace, step)

        found = self.judgements(traces, progress, refused)
        rows = [self._row(trace, one) for trace, one in zip(traces, found, strict=True)]
        return [row for row in rows if not isinstance(row, DataError)]

    def score_each(self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None) -> list[Row]:
        """Return one list of scores per trace, or why there is none."""
        found = self.judgements(traces, progress)
        return [self._row(trace, one) for trace, one in zip(traces, found, strict=True)]

    def judgements(
        self,
        traces: Sequence[Trace],
        progress: Callable[[int], None] | None = None,
        refused: Callable[[int, DataError], None] | None = None,
    ) -> list[Judgements]:
        """Return, per trace, its judgements with intervals and votes: one per step, or one of all steps together."""
        questions = [self._questions(trace) for trace in traces]
        last = iter([place == len(one) - 1 for one in questions for place in range(len(one))])

        def done(_: int) -> None:
            # As many traces as there would be if questions were answered in their order.
            if next(last) and progress is not None:
                progress(1)

        found = iter(self.judge.judge([one for group in questions for one in group], done, refused))
        return [[next(found) for _ in group] for group in questions]

    def _row(self, trace: Trace, found: Judgements) -> Row:
        """Return a trace's scores, up to the first step that does not fit where steps may be dropped."""
        row: list[float] = []
        for judgement in found:
            if isinstance(judgement, DataError):
                if not self._droppable(judgement, len(row)):
                    return _named(judgement, trace, len(row))
                self.dropped_steps += len(trace.steps) - len(row)
                break
            row += judgement.scores
        return row

    def _droppable(self, error: DataError, step: int) -> bool:
        return isinstance(error, TooLongError) and self.overflow == "drop_steps" and step > 0

    def _questions(self, trace: Trace) -> list[Question]:
        problem, steps = trace.problem.question, trace.steps
        if self.judge.template.scope == "solution":
            return [Question(problem, (), steps)]
        return [Question(problem, steps[:index], (steps[index],)) for index in range(len(steps))]


def _named(error: DataError, trace: Trace, step: int) -> DataError:
    where = f"trace of problem '{trace.problem.id}', step {step + 1}"
    return DataError(f"{where}: {error.message}", field=error.field or f"steps[{step}]", trace=trace)
