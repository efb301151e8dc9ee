"""Is the answer of a finished solution right? In the chain world exactly; elsewhere by equality of answers.

Contract: a checker says True or False, or None where no answer can be read or compared; callers count that and take it
for wrong. What a model wrote is never evaluated here: numbers and texts are compared as such, and only where that does
not decide it does math-verify look at the two answers, in the sandbox of the oracles, which bounds time and memory.

Not here: whether the steps are right (`oracles/`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Protocol

from sparring.errors import DataError
from sparring.oracles.sandbox import Sandbox
from sparring.traces.boxed import last_boxed
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.worlds.chain import final_answer

_LONGEST = 300  # characters of an answer; longer ones are not read
_TAIL = 4000  # characters at the end of a solution in which its answer is looked for
_STATED = re.compile(
    r"(?:####|\bA:|(?i:\banswer(?: is)?\s*[:=]?))\s*(?P<answer>\S[^\n]*)\Z|(?i:\banswer is:?)\s*(?P<inside>\$[^$\n]+\$)"
)
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")
_PLAIN_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")

Finished = tuple[Problem, Sequence[str]]
"""A problem and the steps of a finished solution."""


class Checker(Protocol):
    """Judges the answers of finished solutions."""

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return, per solution, whether its answer is right; None where that cannot be told."""
        ...


class ChainChecker:
    """The chain world's own: the value that the last step gives to the name asked for."""

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return whether each answer is right."""
        found = [(problem, final_answer(problem, steps)) for problem, steps in solutions]
        return [None if stated is None else stated == problem.answer for problem, stated in found]


class AnswerChecker:
    """Compares the stated answer with the reference answer.

    Args:
        last_number: where no answer is stated, take the last number of the last step.
    """

    def __init__(self, *, last_number: bool = True) -> None:
        self.last_number = last_number
        self._known: dict[tuple[str, str], bool | None] = {}
        self._sandbox = Sandbox(("sparring.labels.equality:judge",))

    def judge(self, solutions: Sequence[Finished]) -> list[bool | None]:
        """Return whether each answer is right.

        Raises:
            DataError: a problem has no reference answer.
        """
        pairs: list[tuple[str, str] | None] = []
        for problem, steps in solutions:
            if problem.answer is None:
                raise DataError(f"problem {problem.id!r} has no reference answer", field="answer")
            stated = stated_answer(steps, last_number=self.last_number)
            pairs.append(None if stated is None else (problem.answer, stated))
        open_pairs = []
        for pair in dict.fromkeys(pair for pair in pairs if pair is not None and pair not in self._known):
            same = same_answer(*pair)
            if same is None:
                open_pairs.append(pair)
            else:
                self._known[pair] = same
        for pair, verdict in zip(open_pairs, self._compared(open_pairs), strict=True):
            self._known[pair] = {"correct": True, "wrong": False, "undecided": None}[verdict.truth]
        return [None if pair is None else self._known[pair] for pair in pairs]

    def _compared(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        questions = [json.dumps(["-", reference, [], None, stated]) for reference, stated in pairs]
        return [verdicts[0] for verdicts in self._sandbox.verdicts(questions)] if questions else []


def stated_answer(steps: Sequence[str], *, last_number: bool = True) -> str | None:
    r"""Return the answer that a solution states: ``\boxed{…}``, ``#### …``, ``A: …``, ``answer is …``.

    Without any of these, and with `last_number`, it is the last number of the last step.
    """
    text = "\n".join(steps)[-_TAIL:]
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed if len(boxed) <= _LONGEST else None
    last = steps[-1][-_TAIL:].strip() if steps else ""
    statements = list(_STATED.finditer(last))
    if statements:
        stated = statements[-1]
        answer = (stated["answer"] or stated["inside"]).strip().removeprefix("is ").rstrip(".").strip()
        return answer if 0 < len(answer) <= _LONGEST else None
    numbers = _NUMBER.findall(last) if last_number else []
    return numbers[-1] if numbers and len(numbers[-1]) <= _LONGEST else None


def same_answer(reference: str, stated: str) -> bool | None:
    """Return whether two answers are equal as numbers or texts; None where more than that has to be looked at."""
    one, other = _tidied(reference), _tidied(stated)
    if one == other:
        return True
    first, second = _number(one), _number(other)
    return first == second if first is not None and second is not None else None


def _tidied(answer: str) -> str:
    text = " ".join(answer.replace("\\$", "").replace("$", "").replace("\\!", "").split())
    return text.rstrip(".").strip()


def _number(text: str) -> Decimal | None:
    if len(text) > 60 or not _PLAIN_NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
