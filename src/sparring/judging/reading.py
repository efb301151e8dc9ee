"""From a judge's answer to verdicts: probabilities of the words that say them, where the server tells, else 1 and 0.

Contract: an answer without a verdict, or with verdicts for too few steps, is unreadable and says why; nothing is guessed.
A verdict is looked for only where the template wants it, and after what a model thinks (``<think>…</think>``). All is
linear in the answer's length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.judging.templates import Template
from sparring.traces.fields import finite_number

_HEADING = re.compile(r"\b(?:step|paragraph)\s{0,3}(\d{1,4})\b", re.IGNORECASE)
_END_OF_THOUGHT = "</think>"


class UnreadableError(Exception):
    """An answer that holds no verdict; says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge has said.

    Attributes:
        cut: whether the limit came before the end.
        tokens: the answer's tokens as the server lists them (``token``, ``top_logprobs``); empty where it does not.
    """

    text: str
    cut: bool = False
    tokens: tuple[Mapping[str, Any], ...] = ()


def read_verdicts(answer: Answer, template: Template, steps: int) -> tuple[float | None, ...]:
    """Return, per step, how probable it is by this answer that the step is correct.

    Where a whole solution is asked for, steps after the first wrong one are None: the judge had stopped.

    Raises:
        UnreadableError: there is no verdict, or not on all steps up to the first wrong one.
    """
    found = _verdicts(answer, template)
    if not found:
        raise UnreadableError("it was cut before a verdict" if answer.cut else "there is no verdict in it")
    if template.scope == "step":
        place, correct = found[0] if template.reads == "first" else found[-1]
        return (_probability(answer, place, template, correct),)
    by_step = _by_step(answer.text, found)
    row: list[float | None] = []
    for index in range(steps):
        if index not in by_step:
            raise UnreadableError(f"there is no verdict on step {index + 1} in it")
        place, correct = by_step[index]
        row.append(_probability(answer, place, template, correct))
        if not correct:
            break
    return (*row, *[None] * (steps - len(row)))


def _verdicts(answer: Answer, template: Template) -> list[tuple[int, bool]]:
    """Return (place of the word, whether it says correct) of all verdicts in the answer, in order."""
    words = "|".join(sorted((*template.correct, *template.wrong), key=len, reverse=True))
    pattern = {
        "first": rf"[\s*_\"'`(]{{0,8}}({words})\b",
        "verdict": rf"\bverdict[\s*_:\"'`]{{1,8}}({words})\b",
        "boxed": rf"\\boxed\s?\{{\s{{0,2}}(?:\\text(?:bf)?\s?\{{)?\s{{0,2}}({words})\b",
    }[template.reads]
    if "<think>" in answer.text and _END_OF_THOUGHT not in answer.text:
        return []  # cut while it was thinking
    start = answer.text.rfind(_END_OF_THOUGHT)
    start = 0 if start < 0 else start + len(_END_OF_THOUGHT)
    compiled = re.compile(pattern, re.IGNORECASE)
    if template.reads == "first":
        while start < len(answer.text) and answer.text[start].isspace():
            start += 1
        match = compiled.match(answer.text, start)
        matches = [] if match is None else [match]
    else:
        matches = list(compiled.finditer(answer.text, start))
    return [(match.start(1), match[1].lower() in template.correct) for match in matches]


def _by_step(text: str, verdicts: Sequence[tuple[int, bool]]) -> dict[int, tuple[int, bool]]:
    """Return the verdicts by the step (from 0) under whose heading they stand; without headings, in order.

    A heading counts where it is the next step's: critiques speak of earlier steps too.
    """
    found: dict[int, tuple[int, bool]] = {}
    headings = [(match.start(), int(match[1])) for match in _HEADING.finditer(text)]
    if not headings:
        return dict(enumerate(verdicts))
    current, next_heading = -1, 0
    for place, correct in verdicts:
        while next_heading < len(headings) and headings[next_heading][0] < place:
            if headings[next_heading][1] == current + 2 and (current < 0 or current in found):
                current += 1
            next_heading += 1
        if current >= 0:
            found[current] = (place, correct)
    return found


def _probability(answer: Answer, place: int, template: Template, correct: bool) -> float:
    """Return the probability that the word at this place would say correct, of those that say either."""
    end = 0
    for token in answer.tokens:
        start, end = end, end + len(str(token.get("token", "")))
        if start <= place < end:
            if answer.text[start:end] != token.get("token"):
                break  # the list is not of this text
            sums = [0.0, 0.0]
            for text, chance in _alternatives(token):
                side = _side(text, template)
                if side is not None:
                    sums[side] += chance
            if sums[1 - correct] > 0.0:  # the word itself is among them
                return sums[0] / (sums[0] + sums[1])
            break
    return float(correct)


def _alternatives(token: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the words that could have stood in a token's place, with their probabilities."""
    listed = token.get("top_logprobs")
    found = []
    for one in listed if isinstance(listed, list) else []:
        number = finite_number(one.get("logprob")) if isinstance(one, dict) else None
        if number is not None and number <= 1e-3 and isinstance(one.get("token"), str):
            found.append((one["token"], math.exp(number)))
    return found


def _side(token: str, template: Template) -> int | None:
    """Return 0 for a token that begins a word of correctness, 1 for one of the other, None for neither or both."""
    word = re.sub(r"^[^a-z]+", "", token.lower().strip())[:20]
    begins = [
        bool(word) and any(one.startswith(word) or word.startswith(one) for one in words)
        for words in (template.correct, template.wrong)
    ]
    return None if begins[0] == begins[1] else begins.index(True)
