"""A language model as judge in a PRM's place: `judge+http://…`.

Contract: `judging/judge.py` says what a score is and when there is none. A step's score rests on the problem, the steps
before and the step alone, whatever is beside it. The threshold is 0.5 unless one is given: calibrate it as any other PRM's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sparring.errors import DataError
from sparring.fingerprints import Identity
from sparring.http_client import Address
from sparring.judging.judge import OPTIONS, Judge, Judgement, Question, TooLongError
from sparring.scorers.door import Overflow
from sparring.scorers.remote import Row, Told
from sparring.traces.records import Trace


class JudgeScorer:
    """Scores of a judge.

    Args:
        address: see `judging.judge.Judge`.
        model: its name on the server.
        token: bearer token.
        threshold: instead of 0.5.
        overflow: what to do with a trace that does not fit the judge's context.
    """

    sidecar = Told(head="judge")

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
        """Return one list of scores per trace (see `door.StepScorer`)."""
        rows = []
        for row in self.score_each(traces, progress):
            if isinstance(row, DataError):
                raise row
            rows.append(row)
        return rows

    def score_each(self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None) -> list[Row]:
        """Return one list of scores per trace, or why there is none."""
        rows: list[Row] = []
        for trace, found in zip(traces, self.judgements(traces, progress), strict=True):
            row: list[float] = []
            failed = None
            for judgement in found:
                if isinstance(judgement, DataError):
                    failed = judgement
                    break
                row += judgement.scores
            if failed is None:
                rows.append(row)
            elif isinstance(failed, TooLongError) and self.overflow == "drop_steps" and row:
                self.dropped_steps += len(trace.steps) - len(row)
                rows.append(row)
            else:
                told = f"trace of problem '{trace.problem.id}', step {len(row) + 1}: {failed.message}"
                rows.append(DataError(told, field=failed.field or f"steps[{len(row)}]"))
        return rows

    def judgements(
        self, traces: Sequence[Trace], progress: Callable[[int], None] | None = None
    ) -> list[list[Judgement | DataError]]:
        """Return, per trace, its judgements with intervals and votes: one per step, or one of all steps together."""
        questions = [self._questions(trace) for trace in traces]
        last = iter([place == len(one) - 1 for one in questions for place in range(len(one))])

        def done(_: int) -> None:
            # As many traces as there would be if questions were answered in their order.
            if next(last) and progress is not None:
                progress(1)

        found = iter(self.judge.judge([one for group in questions for one in group], done))
        return [[next(found) for _ in group] for group in questions]

    def _questions(self, trace: Trace) -> list[Question]:
        problem, steps = trace.problem.question, trace.steps
        if self.judge.template.scope == "solution":
            return [Question(problem, (), steps)]
        return [Question(problem, steps[:index], (steps[index],)) for index in range(len(steps))]
