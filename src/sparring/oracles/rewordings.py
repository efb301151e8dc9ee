"""Rewordings: what in the words around the same calculations makes it doubtful that two texts still say the same.

Contract: `doubt_about` is asked about a text whose calculations agree with those of the correct original. It answers
``undecided`` with a reason where the rewrite adds or changes something that calculations do not show: a formula, a
number, a unit, a final answer, a denial, an opposite, another subject; ``wrong`` only where nothing but a unit differs;
``None`` where nothing speaks against the rewrite. Word lists are open and short: other words that change the meaning
("sells" for "mends") pass. Not here: calculations (`reference.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sparring.oracles.reading import kept
from sparring.oracles.readings import CONNECTIVES, Reading, known_numbers, unit_of
from sparring.oracles.words import (
    APPROXIMATE_WORDS,
    CARDINALS,
    CLAUSE_WORDS,
    LEAD_WORDS,
    SPELLED_NUMBERS,
    word_set,
)
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

_NEGATIONS = word_set(
    "not no never none cannot neither nor without except isn't doesn't don't didn't can't won't"
)
_PAIRS = """
    more less fewer, most least fewest, older younger, taller shorter, longer shorter, bigger smaller, larger smaller,
    higher lower, faster slower, heavier lighter, before after, earlier later, first last, increase decrease,
    increases decreases, increased decreased, gains loses, gained lost, gain loss, profit loss cost, adds subtracts,
    added subtracted, buys sells, bought sold, earns spends, earned spent, even odd, maximum minimum, left right,
    left gone, remaining used, above below, over under, positive negative, inside outside, total difference,
    sum difference, sum product, numerator denominator, all half, both neither, always never, daily weekly monthly yearly
"""
_OPPOSITES = [frozenset(pair.split()) for pair in _PAIRS.split(",")]
_ANSWER = re.compile(r"\\f?boxed\b|####|\b(?:final|answers?)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SPELLED = {
    **{word: Fraction(value) for word, value in CARDINALS.items()},
    "once": Fraction(1), "twice": Fraction(2), "thrice": Fraction(3), "double": Fraction(2), "triple": Fraction(3),
    "quadruple": Fraction(4), "half": Fraction(1, 2), "third": Fraction(1, 3), "thirds": Fraction(1, 3),
    "quarter": Fraction(1, 4), "quarters": Fraction(1, 4), "dozen": Fraction(12), "hundred": Fraction(100),
    "thousand": Fraction(1000), "million": Fraction(10**6),
}  # fmt: skip
# Words that stand for whatever the sentence speaks of: they may take the place of any other word.
_NEUTRAL = CONNECTIVES | LEAD_WORDS | CLAUSE_WORDS | APPROXIMATE_WORDS | SPELLED_NUMBERS
_NEUTRAL |= word_set(
    """
    to in at on by with for each per every in as also will would can could do does did i me him them us
    many much how what who there here this those these than now there's it's dollars dollar
    """
)


@dataclass(frozen=True, slots=True)
class Context:
    """What stands around two texts, and the texts themselves."""

    problem: Problem
    prefix: Sequence[str]
    original: str
    step: str


def doubt_about(old: Reading, new: Reading, context: Context) -> Verdict | None:
    """Return why the words of a rewrite may say something else than the original's, or None.

    Raises:
        TooLargeError: the problem or the prefix exceeds what is read.
    """
    unit = _unit_doubt(old, new, context)
    if unit is not None:
        return unit
    for kind, applies in (
        ("other_formula", old.symbolic != new.symbolic),
        ("new_number", _adds_number(old, new, context)),
        ("restated_number", _restates_number(old, new)),
        ("spelled_number", _changes_spelled_number(old, new)),
        ("claims_answer", _claims_answer(context)),
        ("negation", _count(old, _NEGATIONS) != _count(new, _NEGATIONS)),
        ("opposite", _turns_round(old, new)),
        ("other_subject", _changes_subject(old, new, context)),
    ):
        if applies:
            return Verdict("undecided", f"reference:{kind}")
    return None


def different_unit(old: Reading, new: Reading) -> Verdict | None:
    """Return ``wrong`` where two texts differ in one unit, exchanged for another of its dimension, and in nothing else."""
    pairs = [pair for pair in zip(old.words, new.words, strict=False) if pair[0] != pair[1]]
    if len(pairs) != 1 or len(old.words) != len(new.words) or old.numbers != new.numbers or not old.numbers:
        return None
    before, after = (unit_of(word) for word in pairs[0])
    if before is None or after is None or before[0] == after[0] or before[1] != after[1]:
        return None
    return Verdict("wrong", "reference:different_unit", f"the unit is {pairs[0][0]}, not {pairs[0][1]}")


def _unit_doubt(old: Reading, new: Reading, context: Context) -> Verdict | None:
    """Units exchanged, or added although nothing before has named them; the sign of a currency names one too."""
    if old.units == new.units:
        return None
    gone, come = old.units - new.units, new.units - old.units
    if gone and come:
        return different_unit(old, new) or Verdict("undecided", "reference:other_unit")
    texts = (context.original, context.problem.question, *context.prefix)
    named = {unit[0] for text in texts for word in words_of(text) if (unit := unit_of(word)) is not None}
    if any("$" in text for text in texts):
        named |= {"dollar", "cent"}
    return Verdict("undecided", "reference:other_unit") if come.keys() - named else None


def _adds_number(old: Reading, new: Reading, context: Context) -> bool:
    """Whether the words hold a number that neither the original, nor what stands before, nor the calculation has."""
    added = set(new.loose) - set(old.numbers) - {claim.shown for claim in new.claims}
    texts = (context.problem.question, *context.prefix)
    return bool(added) and any(all(number not in known_numbers(text) for text in texts) for number in added)


def _restates_number(old: Reading, new: Reading) -> bool:
    """Whether the words say a number again that the original's do not, before it is calculated: of another thing?"""
    spare = Counter(old.loose)
    ends: dict[Fraction, int] = {}
    for claim in new.claims:
        ends.setdefault(claim.shown, claim.span[1])
    for number, place in zip(new.loose, new.loose_at, strict=True):
        if spare[number]:
            spare[number] -= 1
        elif place < ends.get(number, place + 1):
            return True
    return False


def _changes_spelled_number(old: Reading, new: Reading) -> bool:
    """Whether a number in words has given way to another, or has come without being one of the original's numbers."""
    before, after = (Counter(word for word in one.words if _is_number(word)) for one in (old, new))
    gone, come = before - after, after - before
    known = {*old.numbers, *(claim.shown for claim in old.claims)}
    return bool(come) and (
        bool(gone) or any(_SPELLED.get(word) not in known for word in come if word != "one")
    )


def _is_number(word: str) -> bool:
    return all(part in _SPELLED for part in word.split("-"))


def _claims_answer(context: Context) -> bool:
    """Whether the rewrite names a final answer that the original does not, and that is not the problem's."""
    said = [len(_ANSWER.findall(text)) for text in (context.step, context.original)]
    if said[0] <= said[1]:
        return False
    tail = context.step[[match.end() for match in _ANSWER.finditer(context.step)][-1] :]
    return known_numbers(tail) != known_numbers(context.problem.answer or "none")


def _count(reading: Reading, words: frozenset[str]) -> int:
    return sum(word in words for word in reading.words)


def _turns_round(old: Reading, new: Reading) -> bool:
    """Whether a word has given way to its opposite."""
    gone, come = set(old.words) - set(new.words), set(new.words) - set(old.words)
    return any(gone & pair and come & pair for pair in _OPPOSITES)


def _changes_subject(old: Reading, new: Reading, context: Context) -> bool:
    """Whether a word of the problem has given way to another word of the problem: one name to another."""
    gone, come = set(old.words) - set(new.words) - _NEUTRAL, set(new.words) - set(old.words) - _NEUTRAL
    if not gone or not come:
        return False
    known = frozenset().union(*map(words_of, (context.problem.question, *context.prefix)))
    return bool(gone & known) and bool(come & known)


@kept
def words_of(text: str) -> frozenset[str]:
    """Return the words of a text in lower case."""
    return frozenset(_WORD.findall(text.lower()))
