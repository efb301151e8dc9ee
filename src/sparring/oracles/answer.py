r"""The answer oracle: a step's final answer against the problem's reference answer.

Contract: only a step that states a final answer is judged, as `traces/answers.py` finds it (its last number is none).
Equality is that of `equality.py`; the member adds caution: ``wrong`` needs two answers of one kind that differ beyond
rounding and beyond the scale of percent and units, and a statement without a hedge. Not here: whether the steps before
lead to the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparring.oracles.amounts import Amount
from sparring.oracles.answer_values import MAX_CHARACTERS, Answer, Items, read
from sparring.oracles.equality import compare_in_worker
from sparring.oracles.expressions import variables
from sparring.oracles.precise import approximate
from sparring.traces.answers import last_statement
from sparring.traces.boxed import boxes
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

_HEDGED = re.compile(r"\b(?:not|if|would|wrong|incorrect|suppose|can't|cannot|unless|isn't)\b", re.IGNORECASE)
_SCALES = (100, 1000, 60, 12)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the final answer that `step` states; never raises on bad text."""
    if not problem.answer or not problem.answer.strip():
        return Verdict("undecided", "answer:no_answer")
    stated = last_statement(step)
    if stated is None:
        return Verdict("undecided", "answer:nothing_to_check")
    span, text, reference = (stated.start, stated.end), stated.answer, problem.answer.strip()
    if max(len(text), len(reference)) > MAX_CHARACTERS:
        return Verdict("undecided", "answer:too_large", span=span)
    equal = compare_in_worker(reference, text)
    if equal:
        return Verdict("correct", "answer:agrees", span=span)
    detail = f"the answer is {reference}, not {text}"
    if equal is None or not _clearly(reference, text):
        return Verdict("undecided", "answer:incomparable", span=span)
    if len({box.content for box in boxes(step)}) > 1 or _HEDGED.search(step[max(0, span[0] - 80) : span[0]]):
        return Verdict("undecided", "answer:hedged", detail, span)
    return Verdict("wrong", "answer:differs", detail, span)


def _clearly(reference: str, text: str) -> bool:
    """Whether answers that differ do so beyond doubt: kinds, letters and lengths agree, and no rounding explains it."""
    one, other = read(reference), read(text)
    return bool(one and other) and _alike(one[0], other[0], reference + text)


def _alike(one: Answer, other: Answer, texts: str) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Items) and isinstance(other, Items):
        return one.kind == other.kind and len(one.items) == len(other.items)
    if not (isinstance(one, Amount) and isinstance(other, Amount)):
        return True
    if variables(one.node) != variables(other.node):
        return False
    first, second = approximate(one.node), approximate(other.node)
    if not first or not second:
        return True
    share = second / first
    if abs(share - 1) < 0.02 and re.search(r"\.|\\pi|π", texts):
        return False  # rounded
    return not any(abs(share / scale - 1) < 1e-9 or abs(share * scale - 1) < 1e-9 for scale in _SCALES)
