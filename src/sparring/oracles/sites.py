"""Calculation sites: all the places of a step that write one calculation and its result.

Contract: in ``She makes 9 * 2 = $<<9*2=18>>18`` the visible expression, the annotation, its result and the
printed result are one site; an edit changes all of them and later mentions of the result together. Only
calculations that are exactly right are sites. Not here: which edits make an error (`perturbations_text.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from sparring.oracles.arithmetic import Check, check_equations
from sparring.oracles.equations import read_step
from sparring.oracles.numbers import decimal_places, evaluate_tokens
from sparring.oracles.tokens import TextTooLargeError, Token
from sparring.traces.records import Problem

Edit = tuple[int, int, str]  # first character, one past the last, the text in their place
ValueChange = Callable[[Fraction, int, random.Random], Fraction | None]  # value, decimal places → another
ExpressionEdit = tuple[list[Token], list[Edit]]  # the changed expression, and the changes of the text
ExpressionChange = Callable[[Sequence[Token]], ExpressionEdit | None]  # None where it does not apply
MAX_PLACES = 4
_OPERAND_KINDS = frozenset(("number", "operator", "open", "close"))


class Place(NamedTuple):
    """A correct step that is to be made wrong, what it stands in, and the source of every choice."""

    problem: Problem
    prefix: Sequence[str]
    step: str
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Site:
    """One calculation in a step.

    Attributes:
        expressions: the tokens of every text that spells its left side.
        results: the number tokens that show its result, later mentions included.
        value: the result.
        places: decimal places of the result as first shown.
    """

    expressions: tuple[tuple[Token, ...], ...]
    results: tuple[Token, ...]
    value: Fraction
    places: int

    def with_result(self, step: str, value: Fraction, edits: Sequence[Edit] = ()) -> str | None:
        """Return the step with another result and other edits, ``None`` where that cannot be written."""
        changes = list(edits)
        for token in self.results:
            text = number_like(value, token)
            if text is None:
                return None
            changes.append((token.start, token.end, text))
        return rewritten(step, changes)


@lru_cache(maxsize=1024)  # many kinds of error are tried on one step
def find_sites(step: str) -> tuple[Site, ...]:
    """Return the sites of a step in order; none in a text that is too large."""
    try:
        checks = check_equations(step)
        visible, _ = read_step(step)
    except TextTooLargeError:
        return ()
    groups: list[list[Check]] = []
    for check in checks:
        if check.finding != "right" or check.left != check.right:
            continue
        if groups and _belongs(check, groups[-1]):
            groups[-1].append(check)
        else:
            groups.append([check])
    sites = (_site_of(group, visible) for group in groups)
    return tuple(site for site in sites if site is not None)


def _belongs(check: Check, group: Sequence[Check]) -> bool:
    """Whether an equation is the annotation of, or the number printed after, the calculation before it."""
    before = group[-1]
    overlaps = check.equation.span[0] < max(member.equation.span[1] for member in group)
    return overlaps and check.left == before.left and check.equation.source != before.equation.source


def _site_of(group: Sequence[Check], visible: Sequence[Token]) -> Site | None:
    expressions: dict[int, tuple[Token, ...]] = {}
    results: dict[int, Token] = {}
    end = 0
    for check in group:
        left, right = check.equation.left, check.equation.right
        if left is None or right is None:
            return None
        end = max(end, right.end)
        for side in (left, right):
            if side.operators:
                if side.compound or any(token.kind not in _OPERAND_KINDS for token in side.tokens):
                    return None
                expressions[side.start] = tuple(side.tokens)
            elif len(side.tokens) == 1 and side.tokens[0].kind == "number":
                results[side.tokens[0].start] = side.tokens[0]
            else:
                return None
    value = group[0].right
    if not expressions or not results or value is None:
        return None
    for token in visible:
        if token.start >= end and token.kind == "number" and token.value == value:
            results[token.start] = token
    ordered = [results[start] for start in sorted(results)]
    return Site(
        tuple(expressions[start] for start in sorted(expressions)), tuple(ordered), value, ordered[0].places
    )


def recomputed(
    site: Site, step: str, change: ExpressionChange, *, allow_negative: bool = False
) -> str | None:
    """Apply a change to every expression of a site and write the new result.

    Returns ``None`` where the change does not apply, its expressions disagree, or the result is the old one,
    that of another calculation of the step (which the step would then only repeat), or implausible (negative
    although the old one was not, or a decimal that does not end in place of a whole number, unless rounded).
    """
    edits: list[Edit] = []
    values: set[Fraction] = set()
    for expression in site.expressions:
        changed = change(expression)
        if changed is None:
            return None
        value = evaluate_tokens(changed[0]).value
        if value is None:
            return None
        values.add(value)
        edits += changed[1]
    if len(values) != 1:
        return None
    (value,) = values
    if any(value == other.value for other in find_sites(step)) or (
        value <= 0 < site.value and not allow_negative
    ):
        return None
    return site.with_result(step, value, edits)


def number_like(value: Fraction, model: Token) -> str | None:
    """Write a value in the manner of a number token, rounded to two places where its decimals never end.

    Returns ``None`` for values that nobody would write there: more than twelve digits, or rounded to nothing.
    """
    if abs(value) >= 10**12:
        return None
    exact = decimal_places(value)
    places = exact if exact is not None and exact <= MAX_PLACES else 2
    if places:
        places = max(places, min(model.places, MAX_PLACES)) if model.places else places
    elif model.text.endswith("0") and model.places == 2:
        places = 2
    rounded = round(value * 10**places)
    if rounded == 0 and value != 0:
        return None
    separator = "," if "," in model.text else ""
    whole, rest = divmod(abs(rounded), 10**places)
    sign = "-" if rounded < 0 else ""
    digits = f"{whole:,}" if separator else str(whole)
    return f"{sign}{digits}.{rest:0{places}d}" if places else f"{sign}{digits}"


def rewritten(step: str, edits: Sequence[Edit]) -> str | None:
    """Return the step with the ranges of `edits` replaced; ``None`` where two of them overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, text in sorted(set(edits)):
        if start < position:
            return None
        pieces += [step[position:start], text]
        position = end
    pieces.append(step[position:])
    return "".join(pieces)


# --- other values: nearby, but never the same ---


def slipped(value: Fraction, places: int, rng: random.Random) -> Fraction | None:
    """Move a value by a small or round amount."""
    unit = Fraction(1, 10**places)
    amounts = [1, 1, 2, 3, 10] if places == 0 else [1, 10, 25, 100]
    if value >= 200 * unit and places == 0:
        amounts += [20, 100] if value >= 1000 else [20]
    moved = value + rng.choice((-1, 1)) * rng.choice(amounts) * unit
    return value + unit if moved <= 0 < value else moved


def digits_swapped(value: Fraction, places: int, rng: random.Random) -> Fraction | None:
    """Exchange two neighbouring digits of a whole number."""
    if value.denominator != 1 or value < 10:
        return None
    digits = str(value.numerator)
    spots = [index for index in range(len(digits) - 1) if digits[index] != digits[index + 1]]
    spots = [index for index in spots if index > 0 or digits[1] != "0"]
    if not spots:
        return None
    index = rng.choice(spots)
    return Fraction(int(digits[:index] + digits[index + 1] + digits[index] + digits[index + 2 :]))


def magnitude_changed(value: Fraction, places: int, rng: random.Random) -> Fraction | None:
    """Make a value ten times too large or too small."""
    if value == 0:
        return None
    shrink = value.denominator == 1 and value % 10 == 0 and rng.random() < 0.5
    return value / 10 if shrink else value * 10
