"""A panel's member `judge`: a language model on a server, which is undecided unless a margin says how far to trust it.

    judge+http://localhost:8000/v1?model=…&votes=8&margin=0.95

A score of at least the margin is ``correct``, of at most 1 − margin ``wrong``, and what lies between ``undecided``.
Without a margin every verdict is ``undecided``, with the score as its detail: that is how one is calibrated (`sparring eval
oracle` on one half of the problems, the margin read off its `cases.jsonl`, rates claimed on the other half).

Contract: never on a panel by itself; asked in this process, with many requests at a time, and not in the workers, since it
waits and computes nothing: its bounds are those of `http_client.py`. A judge that says nothing readable of a step is
``undecided``; a server that is gone is a ServerError, since verdicts that are missing by accident would train somebody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from sparring.addresses import Address, number_option, parse_address, token_from_environment
from sparring.errors import DataError, SettingsError
from sparring.judging.judge import OPTIONS, Judge, Judgement, Question
from sparring.oracles.members import MAX_DETAIL
from sparring.traces.verdict import Verdict


def judge_address(name: str) -> tuple[Address, float | None]:
    """Return the address that names a judge, and its margin if it has one.

    Raises:
        SettingsError: it is none, or has an unknown option or margin.
    """
    address = parse_address(name)
    options = address.only(*OPTIONS, "margin")
    if "margin" not in options:
        return address, None
    margin = number_option(options, "margin", 1.0, 0.5, 1.0)
    if margin == 0.5:
        raise SettingsError("?margin= is above 0.5: at 0.5 a judge would never be undecided")
    return address, margin


class JudgeMember:
    """The member of one panel; the server is first asked when a verdict is wanted.

    Args:
        name: its address.
    """

    def __init__(self, name: str) -> None:
        self.address, self.margin = judge_address(name)
        self._judge: Judge | None = None
        self._lock = threading.Lock()

    @property
    def judge(self) -> Judge:
        """The judge."""
        with self._lock:
            if self._judge is None:
                self._judge = Judge(self.address, token=token_from_environment())
            return self._judge

    @property
    def key(self) -> str:
        """What verdicts depend on."""
        return f"{self.judge.identity.key} margin {self.margin}"

    def record(self) -> dict[str, Any]:
        """Return what records name (`Judge.record`)."""
        return self.judge.record() | {"margin": self.margin}

    def close(self) -> None:
        """Let go of the judge."""
        with self._lock:
            if self._judge is not None:
                self._judge.close()
            self._judge = None

    def verdicts(self, questions: Sequence[str]) -> list[Verdict]:
        """Return the verdict on each question, written as the panel writes them; the original is judged where that matters.

        Raises:
            ServerError: the server gives nothing usable.
        """
        asked = [json.loads(question) for question in questions]
        found = self._judged([(problem, prefix, step) for problem, _, prefix, _, step in asked])
        doubtful = [
            (place, (problem, prefix, original))
            for place, (problem, _, prefix, original, _) in enumerate(asked)
            if found[place].truth == "wrong" and original is not None
        ]
        originals = self._judged([original for _, original in doubtful])
        for (place, _), of_original in zip(doubtful, originals, strict=True):
            if of_original.truth == "wrong":
                found[place] = Verdict("undecided", "judge:original_fails", found[place].detail)
        return found

    def _judged(self, steps: Sequence[tuple[str, Sequence[str], str]]) -> list[Verdict]:
        whole = self.judge.template.scope == "solution"
        questions = [
            Question(problem, (), (*prefix, step)) if whole else Question(problem, tuple(prefix), (step,))
            for problem, prefix, step in steps
        ]
        return [self._verdict(judgement) for judgement in self.judge.judge(questions)]

    def _verdict(self, judgement: Judgement | DataError) -> Verdict:
        if isinstance(judgement, DataError):
            return Verdict("undecided", "judge:no_verdict", judgement.message[:MAX_DETAIL])
        *before, score = judgement.scores
        low, high = judgement.intervals[-1]
        detail = f"score {score:.4f}, {low:.4f} to {high:.4f} by {judgement.votes} votes"
        if before and min(before) < 0.5:
            return Verdict("undecided", "judge:earlier_step", detail)
        if self.margin is None:
            return Verdict("undecided", "judge:no_margin", detail)
        if score >= self.margin:
            return Verdict("correct", "judge:correct", detail)
        if score <= 1 - self.margin:
            return Verdict("wrong", "judge:wrong", detail)
        return Verdict("undecided", "judge:unsure", detail)
