"""One equality of answers: `equal`, `different` or `unreadable`, for judging, labels, rewards and votes.

Contract: see `compare_answers`. Not here: where a solution states its answer (`traces/answers.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from sparring.oracles.answer import equivalent
from sparring.oracles.sandbox import Sandbox
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

Sameness = Literal["equal", "different", "unreadable"]


def compare_answers(reference: str, stated: str) -> Sameness:
    """Return whether two answers mean the same; `unreadable` where that cannot be told. Never raises on bad text."""
    return compare_many([(reference, stated)])[0]


def compare_many(pairs: Sequence[tuple[str, str]]) -> list[Sameness]:
    """Return `compare_answers` of each (reference, stated), the hard ones together in the bounded workers."""
    questions = [json.dumps(["-", reference, [], None, stated]) for reference, stated in pairs]
    verdicts = _sandbox().verdicts(questions) if questions else []
    words: dict[str, Sameness] = {"correct": "equal", "wrong": "different", "undecided": "unreadable"}
    return [words[verdict[0].truth] for verdict in verdicts]


def answer_groups(answers: Sequence[str | None]) -> list[int]:
    """Return a class number per answer of one problem: equal answers share one, None has -1.

    Classes are numbered from 0 in the order of their first answers.
    """
    distinct = list(dict.fromkeys(answer for answer in answers if answer is not None))
    pairs = [(one, other) for place, one in enumerate(distinct) for other in distinct[:place]]
    found = dict(zip(pairs, compare_many(pairs), strict=True))
    classes: list[list[str]] = []
    for answer in distinct:
        fitting = [
            group
            for group in classes
            if any(found[answer, other] == "equal" for other in group)
            and not any(found[answer, other] == "different" for other in group)
        ]
        if fitting:
            fitting[0].append(answer)
        else:
            classes.append([answer])
    number = {answer: place for place, group in enumerate(classes) for answer in group}
    return [-1 if answer is None else number[answer] for answer in answers]


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return, as a member for the sandbox, whether `step` is an answer equal to the problem's."""
    same = equivalent(problem.answer or "", step)
    return Verdict("undecided" if same is None else "correct" if same else "wrong", "equality:compared")


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    return Sandbox(("sparring.oracles.equality:judge",))
