r"""One equality of answers for judging, labels, rewards and votes: `equal`, `different` or `unreadable`.

Contract: symmetric; two answers of one text are equal; never raises on bad text; nothing is rounded and nothing is passed
to `eval`. The rules where people disagree, each of them one rule:

- **Units**: one side may leave its unit out (``29`` and ``29 dollars``). Two known units are converted (``$5`` is ``500
  cents``, not ``5 cents``). Nouns that are no units count where both sides have some: other nouns are `unreadable`.
- **Percent is a unit**: ``25\%`` is ``25``, and not ``0.25``. **A base is one too**: ``1011_2`` is ``1011``, not ``11``.
- **Angles**: without a unit they are degrees, but radians where the number holds π: ``\frac{\pi}{3}`` is ``60^\circ``.
- **Decimals are exact**: ``0.33`` is not ``1/3``; ``0.\overline{3}`` and ``0.333...`` are.
- **(0,1)** is a point or an interval, whichever the other side is. Sets and bare lists have no order, tuples have.
- **Names may be left out** (``x = 5`` and ``5``), not exchanged (``y = 5``). A time may leave out its half of the day.
- **Lists with an ellipsis** are equal only as texts, else `unreadable`.

How: `answer_values.py` reads both sides by a grammar, here their kinds are compared, numbers as `precise.py` does. What
the grammar does not understand is `unreadable`. Time is bounded on any text.

Not here: where a solution states its answer (`traces/answers.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from sparring.oracles.amounts import Amount, Unit
from sparring.oracles.answer_values import (
    MAX_CHARACTERS,
    Answer,
    Choice,
    Clock,
    Digits,
    End,
    Equation,
    Items,
    Matrix,
    Named,
    Range,
    Ratio,
    Words,
    read,
    undress,
)
from sparring.oracles.expressions import Node, number, variables, walk
from sparring.oracles.precise import approximate, same_equations, same_expressions
from sparring.oracles.words import word_set
from sparring.traces.answers import DENIED, last_statement
from sparring.traces.boxed import boxes
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

Sameness = Literal["equal", "different", "unreadable"]


def compare_answers(reference: str, stated: str) -> Sameness:
    """Return whether two answers mean the same; `unreadable` where that cannot be told. Never raises on bad text."""
    same = same_answer(reference, stated)
    return "unreadable" if same is None else "equal" if same else "different"


def answer_groups(answers: Sequence[str | None]) -> list[int]:
    """Return a class number per answer of one problem: equal answers share one, None has -1.

    Classes are numbered from 0 in the order of their first answers. Equality that leaves units out is not transitive (``5``
    is ``5 m`` and ``5 cm``), classes are: in order of appearance an answer joins the first class in which some answer is
    equal to it and none is different; unreadable answers stay alone.
    """
    distinct = list(dict.fromkeys(answer for answer in answers if answer is not None))
    classes: list[list[str]] = []
    for answer in distinct:
        for group in classes:
            same = {same_answer(answer, other) for other in group}
            if True in same and False not in same:
                group.append(answer)
                break
        else:
            classes.append([answer])
    number_of = {answer: place for place, group in enumerate(classes) for answer in group}
    return [-1 if answer is None else number_of[answer] for answer in answers]


@lru_cache(maxsize=16384)
def same_answer(reference: str, stated: str) -> bool | None:
    """Return whether two answers mean the same; None where that cannot be told."""
    if not reference.strip() or not stated.strip():
        return None
    if reference == stated:
        return True
    if max(len(reference), len(stated)) > MAX_CHARACTERS:
        return None
    if _squeezed(reference) == _squeezed(stated):
        return True
    return _some_equal(read(reference), read(stated))


def _squeezed(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?![\d.])", "", undress(text))


def _some_equal(ones: Sequence[Answer], others: Sequence[Answer]) -> bool | None:
    """Equal if some readings are; different if all are of which both sides have the kind, or all where there is no such."""
    pairs = [(one, other) for one in ones for other in others]
    verdicts = [_same(*pair) for pair in pairs]
    if True in verdicts:
        return True
    shared = [same for (one, other), same in zip(pairs, verdicts, strict=True) if type(one) is type(other)]
    if not shared:  # an equation is compared with equations, its value with everything else
        named = any(isinstance(one, Named) for one in (*ones, *others))
        shared = [
            same
            for pair, same in zip(pairs, verdicts, strict=True)
            if not (named and any(isinstance(one, Equation) for one in pair))
        ]
    return False if shared and None not in shared else None


def _all_equal(verdicts: Sequence[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _same(one: Answer, other: Answer) -> bool | None:
    """Compare two readings, by the rule of the kind that comes first in `_RULES`."""
    if _PLACES[type(one)] > _PLACES[type(other)]:
        one, other = other, one
    return _RULES[type(one)](one, other)


def _same_named(one: Named, other: Answer) -> bool | None:
    if not isinstance(other, Named):
        same = _some_equal(one.value, [other])
        return None if isinstance(other, Equation) and same is False else same
    if one.name == other.name:
        return _some_equal(one.value, other.value)
    # Two letters are two quantities, but a word and a letter may be one: Area and A.
    if len(one.name) == len(other.name) == 1:
        return False
    same = _some_equal(one.value, other.value)
    return same if same is not True or one.name.lower()[:1] == other.name.lower()[:1] else None


def _same_choices(one: Choice, other: Answer) -> bool | None:
    if not isinstance(other, Choice):
        return _some_equal(read(one.text), [other]) if one.text else None
    texts = same_answer(one.text, other.text) if one.text and other.text else None
    if one.letter == other.letter:
        return None if texts is False else True
    return None if texts is True else False


def _same_words(one: Words, other: Answer) -> bool | None:
    if isinstance(other, Words):
        singular = [[word.removesuffix("s") for word in words] for words in (one.words, other.words)]
        if singular[0] == singular[1]:
            return True
        mine, theirs = set(one.words), set(other.words)
        return None if mine <= theirs or theirs <= mine else False
    if isinstance(other, Items) and not other.items:
        return True if one.words == ("empty", "set") else None
    plain = not _UNCLEAR & set(one.words) and not re.search(r"\d", " ".join(one.words))
    return False if isinstance(other, Amount) and len(one.words) <= 3 and plain else None


_UNCLEAR = word_set(
    "no none not nothing never infinite neither know don't can't cannot unknown unsure sorry unclear wrong"
)
"""Words that may mean a number, or deny one."""


def _same_items(one: Items, other: Answer) -> bool | None:
    if isinstance(other, Matrix):
        flat = tuple((Amount(node),) for row in other.rows for node in row)
        if 1 not in (len(other.rows), len(other.rows[0])):
            return False
        other = Items("tuple", flat)
        return _in_order(one, other) if one.kind == "tuple" else False
    if not isinstance(other, Items):
        if len(one.items) == 1 and one.kind != "tuple":
            return _some_equal(one.items[0], [other])
        return False if isinstance(other, (Amount, Range)) else None
    kinds = {one.kind, other.kind}
    if kinds in ({"set", "tuple"}, {"bracket", "tuple"}):
        return False
    if "tuple" in kinds or kinds == {"bracket"}:
        return _in_order(one, other)
    if "set" in kinds:  # nothing counts twice
        forth = [_found_in(mine, other.items) for mine in one.items]
        return _all_equal(forth + [_found_in(mine, one.items) for mine in other.items])
    return _matched(one.items, other.items)


def _in_order(one: Items, other: Items) -> bool | None:
    if len(one.items) != len(other.items):
        return False
    return _all_equal([_some_equal(*pair) for pair in zip(one.items, other.items, strict=True)])


def _found_in(item: Sequence[Answer], others: Sequence[Sequence[Answer]]) -> bool | None:
    same = [_some_equal(item, other) for other in others]
    return True if True in same else None if None in same else False


def _matched(ones: Sequence[Sequence[Answer]], others: Sequence[Sequence[Answer]]) -> bool | None:
    """Compare lists without order: every item has a partner of its own."""
    if len(ones) != len(others):
        return False
    left, unclear = list(others), False
    for item in ones:
        same = [_some_equal(item, other) for other in left]
        if True in same:
            del left[same.index(True)]
        elif None in same:
            unclear = True
        else:
            return False
    return None if unclear else True


def _same_digits(one: Digits, other: Answer) -> bool | None:
    if isinstance(other, Digits):
        value = one.value()
        return value is not None and value == other.value()
    if isinstance(other, Amount) and other.unit is None:
        value = one.value(10)  # without its base
        return False if value is None else same_expressions(number(value), other.node)
    return False


def _same_equations(one: Equation, other: Answer) -> bool | None:
    if not isinstance(other, Equation):
        return None
    return same_equations((one.left, one.right), (other.left, other.right))


def _same_times(one: Clock, other: Answer) -> bool | None:
    if isinstance(other, Clock):
        if one.minutes != other.minutes or (one.half and other.half and one.half != other.half):
            return False
        return not ((one.of_24 and other.half is None) or (other.of_24 and one.half is None))
    if isinstance(other, Amount) and other.unit is None and one.minutes % 60 == 0:
        return same_expressions(number(one.minutes // 60 or 12), other.node)
    return False


def _same_ratios(one: Ratio, other: Answer) -> bool | None:
    if isinstance(other, Ratio):
        if len(one.parts) != len(other.parts):
            return False
        first = [Node("product", (part, other.parts[0])) for part in one.parts]
        second = [Node("product", (part, one.parts[0])) for part in other.parts]
        return _all_equal([same_expressions(*pair) for pair in zip(first, second, strict=True)])
    if isinstance(other, Amount) and other.unit is None and len(one.parts) == 2:
        return same_expressions(Node("quotient", one.parts), other.node)
    return False


def _same_ranges(one: Range, other: Answer) -> bool | None:
    if not isinstance(other, Range) or len(one.pieces) != len(other.pieces):
        return False
    verdicts: list[bool | None] = []
    for mine, theirs in zip(one.pieces, other.pieces, strict=True):
        verdicts.append((mine.low_closed, mine.high_closed) == (theirs.low_closed, theirs.high_closed))
        verdicts += [_same_ends(mine.low, theirs.low), _same_ends(mine.high, theirs.high)]
    same = _all_equal(verdicts)
    named = one.variable is not None and other.variable is not None and one.variable != other.variable
    return None if named and same is True else same


def _same_ends(one: End, other: End) -> bool | None:
    return one == other if isinstance(one, str) or isinstance(other, str) else same_expressions(one, other)


def _same_matrices(one: Matrix, other: Answer) -> bool | None:
    if not isinstance(other, Matrix) or [len(row) for row in one.rows] != [len(row) for row in other.rows]:
        return False
    pairs = zip(sum(one.rows, ()), sum(other.rows, ()), strict=True)
    return _all_equal([same_expressions(*pair) for pair in pairs])


def _same_amounts(one: Amount, other: Answer) -> bool | None:
    if not isinstance(other, Amount):
        return False
    if one.unit is None or other.unit is None:
        same = same_expressions(one.node, other.node)
        bare, angle = (one, other) if one.unit is None else (other, one)
        radians = bare.unit is None and any(node.kind == "constant" for node in walk(bare.node))
        if radians and angle.unit is not None and angle.unit.dimensions == _DEGREES:
            return same_expressions(angle.node, _in_degrees(bare.node))
        return same
    first, second = one.unit, other.unit
    if {first.dimensions, second.dimensions} == {_DEGREES, _RADIANS}:
        degrees, radian = (one, other) if first.dimensions == _DEGREES else (other, one)
        return same_expressions(degrees.node, _in_degrees(radian.node))
    if first.dimensions != second.dimensions:
        if not first.dimensions or not second.dimensions:
            # "29 dollars" and "29 apples"
            return None if same_expressions(one.node, other.node) else False
        names = {name for unit in (first, second) for name, _ in unit.dimensions}
        unclear = names & {"calendar", "celsius", "fahrenheit", "unit"} or {"sterling", "mass"} <= names
        return None if unclear else False
    same = same_expressions(_scaled(one, first), _scaled(other, second))
    alike = first.nouns <= second.nouns or second.nouns <= first.nouns
    return same if alike or same is False else None


_RULES: dict[type, Callable[[Any, Answer], bool | None]] = {
    Named: _same_named, Choice: _same_choices, Words: _same_words, Items: _same_items, Equation: _same_equations,
    Digits: _same_digits, Clock: _same_times, Ratio: _same_ratios, Range: _same_ranges, Matrix: _same_matrices,
    Amount: _same_amounts,
}  # fmt: skip
"""Kind → the rule that compares it with itself and with the kinds behind it."""
_PLACES = {kind: place for place, kind in enumerate(_RULES)}
_DEGREES, _RADIANS = (("angle", 1),), (("radian", 1),)


def _scaled(amount: Amount, unit: Unit) -> Node:
    return amount.node if unit.scale == 1 else Node("product", (amount.node, number(unit.scale)))


def _in_degrees(radians: Node) -> Node:
    return Node("quotient", (Node("product", (radians, number(180))), Node("constant", name="pi")))


# --- the answer oracle ---

_SCALES = (100, 1000, 60, 12)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the final answer that `step` states, against the problem's; never raises on bad text.

    The last number of a step is no statement. ``wrong`` needs two answers of one kind that differ beyond rounding and
    beyond the scale of percent and units, and a statement without a hedge.
    """
    if not problem.answer or not problem.answer.strip():
        return Verdict("undecided", "answer:no_answer")
    stated = last_statement(step)
    if stated is None:
        return Verdict("undecided", "answer:nothing_to_check")
    span, text, reference = (stated.start, stated.end), stated.answer, problem.answer.strip()
    if max(len(text), len(reference)) > MAX_CHARACTERS:
        return Verdict("undecided", "answer:too_large", span=span)
    equal = same_answer(reference, text)
    if equal:
        return Verdict("correct", "answer:agrees", span=span)
    detail = f"the answer is {reference}, not {text}"
    if equal is None or not _clearly_differ(reference, text):
        return Verdict("undecided", "answer:incomparable", span=span)
    if len({box.content for box in boxes(step)}) > 1 or DENIED.search(step[max(0, span[0] - 80) : span[0]]):
        return Verdict("undecided", "answer:hedged", detail, span)
    return Verdict("wrong", "answer:differs", detail, span)


def _clearly_differ(reference: str, text: str) -> bool:
    """Whether answers that differ do so beyond doubt: kinds, letters and lengths agree, and no rounding explains it."""
    ones, others = read(reference), read(text)
    if not ones or not others or type(ones[0]) is not type(others[0]):
        return False
    one, other = ones[0], others[0]
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
    if abs(share - 1) < 0.02 and re.search(r"\.|\\pi|π", reference + text):
        return False  # rounded
    return not any(abs(share / scale - 1) < 1e-9 or abs(share * scale - 1) < 1e-9 for scale in _SCALES)
