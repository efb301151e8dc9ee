"""Step scores of prefixes for the search: every prefix once, every score checked, every token counted.

Contract: a prefix that was scored before, for its problem, is not scored again, and a step keeps the score that it got
when it was new: rounding, which differs between batches, then never decides between siblings that are equal by their
common steps (as they often are by the minimum). A NaN, or a number of scores that is not
the number of steps, is refused with the trace's name and ends the search: no choice by such scores means anything. A
prefix that the scorer refuses (too long for its context) is answered with its error, and the others go on.

Not here: how a batch is computed (`models/scorer.py`), what scores mean (`task.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sparring.errors import DataError, SparringError, plural
from sparring.scorers.door import StepScorer
from sparring.search.budget import Model, Spent, measured
from sparring.search.task import Steps
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Layout, prompt_ids, trusted_ids, untrusted_ids

A = TypeVar("A")
B = TypeVar("B")
COUNTABLE = ("token_classification", "label_tokens")
"""Heads of PRMs that read every trace once, from left to right."""
_MOST_TEXTS = 100_000  # lengths of texts kept at a time


class SearchError(SparringError):
    """A search cannot go on: scores that are no numbers, or nothing that could be searched at all."""


class NothingFoundError(SearchError):
    """Engine or PRM refused every problem; says the last reason."""


class Lengths:
    """Tokens of prefixes, exactly as the step contract lays them out, every text tokenised once.

    Args:
        tokenizer: of the model that reads them; None: lengths are unknown.
        layout: the texts around question and steps.
    """

    def __init__(self, tokenizer: Any, layout: Layout | None) -> None:
        self.tokenizer, self.layout = tokenizer, layout
        self.known = tokenizer is not None and layout is not None
        self._separator = len(trusted_ids(tokenizer, layout.separator)) if self.known and layout else 0
        self._texts: dict[str, int] = {}

    def of(self, problem: Problem, steps: Steps) -> int | None:
        """Return the tokens of question and steps, None where that is unknown."""
        if not self.known or self.layout is None:
            return None
        if len(self._texts) > _MOST_TEXTS:
            self._texts.clear()
        if problem.question not in self._texts:
            self._texts[problem.question] = len(prompt_ids(problem.question, self.tokenizer, self.layout))
        return self._texts[problem.question] + sum(self._step(step) for step in steps)

    def _step(self, step: str) -> int:
        # A question and a step of the same text would share an entry: steps are marked.
        key = "\0" + step
        if key not in self._texts:
            self._texts[key] = len(untrusted_ids(self.tokenizer, step)) + self._separator
        return self._texts[key]


class StepScores:
    """Scores of prefixes by one PRM, kept per problem until the problem is done."""

    def __init__(self, scorer: StepScorer) -> None:
        self.scorer = scorer
        make = getattr(scorer, "prefix_cache", None)
        self._cache = None if make is None else make()
        sidecar: Any = getattr(scorer, "sidecar", None)
        # What other families read (turns of a chat, two models) is not counted: then costs are unknown.
        tokenizer = getattr(scorer, "tokenizer", None)
        known = sidecar is not None and tokenizer is not None
        countable = known and sidecar.head in COUNTABLE and sidecar.layout.is_plain
        self.lengths = Lengths(tokenizer, sidecar.span_layout() if countable else None)
        self.model: Model | None = measured(getattr(scorer, "model", None)) if self.lengths.known else None
        self._rows: dict[str, dict[Steps, Sequence[float] | DataError]] = {}

    def score(
        self, asked: Sequence[tuple[Problem, Sequence[Steps], Spent]]
    ) -> list[list[Sequence[float] | DataError]]:
        """Return the scores of every problem's prefixes, and add what they cost to what the problem has spent."""
        new = [
            (Trace(problem, steps), spent)
            for problem, prefixes, spent in asked
            for steps in prefixes
            if steps not in self._rows.setdefault(problem.id, {})
        ]
        answers = self._each([trace for trace, _ in new])
        for (trace, spent), answer in zip(new, answers, strict=True):
            rows = self._rows[trace.problem.id]
            if isinstance(answer, DataError):
                rows[trace.steps] = answer
                continue
            scores, unread = answer
            check_scores(scores, trace)
            self._count(trace, unread, spent)
            before = self._known(trace)
            rows[trace.steps] = [*before, *scores[len(before) :]]
        return [[self._rows[problem.id][steps] for steps in prefixes] for problem, prefixes, _ in asked]

    def forget(self, problem: Problem) -> None:
        """Forget what is known about a problem."""
        self._rows.pop(problem.id, None)
        if self._cache is not None and self.lengths.layout is not None:
            question = prompt_ids(problem.question, self.lengths.tokenizer, self.lengths.layout)
            self._cache.forget(question)

    def _each(self, traces: Sequence[Trace]) -> list[tuple[list[float], int] | DataError]:
        """Return what `_read` does for every trace that is not refused."""
        ask_each = getattr(self.scorer, "score_each", None)
        if ask_each is None:
            return each_that_fits(self._read, traces)
        # A server has been asked for all the others before it refuses one: they need not be asked for again.
        return [row if isinstance(row, DataError) else (row, 0) for row in ask_each(traces)]

    def _read(self, traces: Sequence[Trace]) -> list[tuple[list[float], int]]:
        """Return scores, and how many of the first tokens were not read again."""
        if self._cache is None:
            return [(row, 0) for row in self.scorer.score(traces)]
        scorer: Any = self.scorer
        found: list[tuple[list[float], int]] = scorer.score_new(traces, self._cache)
        return found

    def _known(self, trace: Trace) -> Sequence[float]:
        """Return the scores of the longest part of the trace that has some."""
        rows = self._rows[trace.problem.id]
        for length in range(len(trace.steps) - 1, 0, -1):
            row = rows.get(trace.steps[:length])
            if row is not None and not isinstance(row, DataError):
                return row
        return ()

    def _count(self, trace: Trace, unread: int, spent: Spent) -> None:
        length = self.lengths.of(trace.problem, trace.steps)
        if length is None:
            spent.add(tokens_scored=None, prm_flops=None)
            return
        flops = None if self.model is None else self.model.flops(unread, length)
        spent.add(tokens_scored=length - unread, prm_flops=flops)


def check_scores(scores: Sequence[float], trace: Trace) -> None:
    """Raise SearchError unless there is one number in [0, 1] per step."""
    name = f"the scores of a solution of problem {trace.problem.id!r}"
    if len(scores) != len(trace.steps):
        raise SearchError(f"{name} are {len(scores)} for {plural(len(trace.steps), 'step')}")
    for index, score in enumerate(scores):
        if not 0.0 <= score <= 1.0:  # NaN is not either
            raise SearchError(f"{name} are not all numbers in [0, 1]: step {index + 1} has {score}")


def each_that_fits(call: Callable[[Sequence[A]], Sequence[B]], items: Sequence[A]) -> list[B | DataError]:
    """Return the call's answer to each item; an item that it refuses is answered with its DataError.

    The call refuses a whole batch for one bad item, which is found by halving.
    """
    if not items:
        return []
    try:
        answers = list(call(items))
    except DataError as error:
        if len(items) == 1:
            return [error]
        half = len(items) // 2
        return each_that_fits(call, items[:half]) + each_that_fits(call, items[half:])
    if len(answers) != len(items):
        raise SearchError(f"{plural(len(answers), 'answer')} to {plural(len(items), 'question')}")
    return list(answers)
