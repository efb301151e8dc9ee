"""Rule perturbations: a correct natural-language step made wrong in one known way.

Contract: every kind is a small function ``(problem, prefix, step, rng) -> text or None``; ``None`` means that
it does not apply. The text stays consistent where the error is not: a changed operand changes the result, the
calculator annotation and later mentions of the result with it. These are the static negatives that an
adversary is compared with, and its warm start. Not here: paraphrase, errors of reasoning without numbers, the
game.

| kind | the error | consistent afterwards |
|---|---|---|
| `arithmetic_slip` | result off by a small or round amount | no: the calculation is false |
| `digit_swap` | two neighbouring digits of the result exchanged | no |
| `magnitude_slip` | result ten times too large or small | no |
| `off_by_one` | an operand one too large or small | yes: recomputed |
| `wrong_operand` | another number of the problem or prefix in place of an operand | yes |
| `wrong_operation` | + for −, × for ÷ and the like | yes |
| `wrong_value_carried` | one digit of an operand copied wrongly | yes |
| `skipped_operand` | the last operand left out: the calculation stops early | yes |
| `swapped_operands` | b − a for a − b, b ÷ a for a ÷ b | yes |
| `unit_slip` | a conversion factor confused (60 → 100, 7 → 5, 12 → 10) | yes |
| `percent_slip` | a share confused with its rest (0.2 → 0.8) or ten times too large or small | yes |
| `misstated_number` | a number in a step without calculation replaced | – |
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

from sparring.oracles.arithmetic import check_equations
from sparring.oracles.equations import read_step
from sparring.oracles.sites import Site, find_sites, number_like, recomputed, rewritten
from sparring.oracles.tokens import TextTooLargeError, Token, tokenize
from sparring.traces.records import Problem

Perturbation = Callable[[Problem, Sequence[str], str, random.Random], str | None]

_CONFUSED_FACTORS = {
    60: (100, 30), 24: (12, 20), 7: (5, 6), 12: (10, 24), 52: (50, 48), 365: (360, 356), 100: (10, 1000), 30:
        (31, 28),
    16: (12, 10), 3600: (360, 60), 1000: (100,), 36: (12, 24), 31: (30,), 4: (5,), 5: (7,),
}  # fmt: skip
_OTHER_OPERATORS = {"+": "-*", "-": "+/", "*": "+/", "/": "*-"}


# --- errors in the result: the calculation becomes false ---


def arithmetic_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Move the result by a small or round amount."""
    site = _choose(step, rng)
    if site is None:
        return None
    unit = Fraction(1, 10**site.places)
    amounts = [1, 1, 2, 3, 10] if site.places == 0 else [1, 10, 25, 100]
    if site.value >= 200 * unit and site.places == 0:
        amounts += [20, 100] if site.value >= 1000 else [20]
    moved = site.value + rng.choice((-1, 1)) * rng.choice(amounts) * unit
    if moved <= 0 < site.value:
        moved = site.value + unit
    return site.with_result(step, moved)


def digit_swap(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Exchange two neighbouring digits of the result."""
    site = _choose(step, rng)
    if site is None or site.value.denominator != 1 or site.value < 10:
        return None
    digits = str(site.value.numerator)
    places = [index for index in range(len(digits) - 1) if digits[index] != digits[index + 1]]
    places = [index for index in places if index > 0 or digits[1] != "0"]
    if not places:
        return None
    index = rng.choice(places)
    swapped = digits[:index] + digits[index + 1] + digits[index] + digits[index + 2 :]
    return site.with_result(step, Fraction(int(swapped)))


def magnitude_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Make the result ten times too large or too small."""
    site = _choose(step, rng)
    if site is None or site.value == 0:
        return None
    shrink = site.value.denominator == 1 and site.value % 10 == 0 and rng.random() < 0.5
    return site.with_result(step, site.value / 10 if shrink else site.value * 10)


# --- errors before the result: everything after them is recomputed ---


def off_by_one(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Make a whole operand one too large or too small."""

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        return [value + 1, value - 1] if value.denominator == 1 and value > 1 else []

    return _with_operand(step, rng, options)


def wrong_operand(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Use another number of the problem or of an earlier step in place of an operand."""
    others = _numbers(problem.question, *prefix)

    def options(operand: Token) -> list[Fraction]:
        return [value for value in others if value > 0]

    return _with_operand(step, rng, options)


def wrong_value_carried(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Copy one digit of an operand wrongly, of one that an earlier step computed where there is one."""
    earlier = set(_numbers(*prefix))

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        if value.denominator != 1 or value < 10 or (earlier and value not in earlier):
            return []
        digits = str(value.numerator)
        index = rng.randrange(len(digits))
        low = 1 if index == 0 else 0
        choices = [digit for digit in range(low, 10) if str(digit) != digits[index]]
        return [Fraction(int(digits[:index] + str(rng.choice(choices)) + digits[index + 1 :]))]

    return _with_operand(step, rng, options)


def unit_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Confuse a conversion factor that the problem does not state."""
    stated = set(_numbers(problem.question, *prefix))

    def options(operand: Token) -> list[Fraction]:
        value = operand.value
        if value is None or value in stated or value.denominator != 1:
            return []
        return [Fraction(factor) for factor in _CONFUSED_FACTORS.get(int(value), ())]

    return _with_operand(step, rng, options)


def percent_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Confuse a share with its rest, or move its decimal point."""

    def options(operand: Token) -> list[Fraction]:
        value = operand.value
        if value is None or value.denominator == 1 or not 0 < value < 1 or operand.places == 0:
            return []
        return [1 - value, value * 10, value / 10]

    return _with_operand(step, rng, options)


def wrong_operation(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Use another operation with the same operands."""
    site = _choose(step, rng)
    if site is None:
        return None
    signs = [token.text for token in site.expressions[0] if token.kind == "operator"]
    choices = [(sign, other) for sign in dict.fromkeys(signs) for other in _OTHER_OPERATORS.get(sign, "")]
    rng.shuffle(choices)
    for sign, other in choices:
        made = recomputed(site, step, partial(_operator_replaced, sign=sign, other=other))
        if made is not None:
            return made
    return None


def skipped_operand(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Leave the last operand out, as if the calculation were finished."""
    site = _choose(step, rng)
    return None if site is None else recomputed(site, step, _last_operand_dropped)


def swapped_operands(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Exchange the operands of a subtraction or division of two numbers."""
    site = _choose(step, rng)
    return None if site is None else recomputed(site, step, _operands_exchanged, allow_negative=True)


def misstated_number(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Replace a number of a step that calculates nothing."""
    try:
        if any(check.finding != "label" for check in check_equations(step)):
            return None
        tokens, annotations = read_step(step)
    except TextTooLargeError:
        return None
    candidates = [
        token for token in tokens if token.kind == "number" and token.value and "/" not in token.text
    ]
    if annotations or not candidates:
        return None
    chosen = rng.choice(candidates)
    value = chosen.value or Fraction(0)
    others = [other for other in _numbers(problem.question, *prefix) if other != value and other > 0]
    others += [value + 1, value * 2] + ([value - 1] if value > 1 else [])
    text = number_like(rng.choice(others), chosen)
    same = [token for token in candidates if token.value == value]
    return None if text is None else rewritten(step, [(token.start, token.end, text) for token in same])


PERTURBATIONS: dict[str, Perturbation] = {
    function.__name__: function
    for function in (
        arithmetic_slip, digit_swap, magnitude_slip, off_by_one, wrong_operand, wrong_operation,
        wrong_value_carried, skipped_operand, swapped_operands, unit_slip, percent_slip, misstated_number,
    )
}  # fmt: skip


def perturb(
    problem: Problem,
    prefix: Sequence[str],
    step: str,
    rng: random.Random,
    kinds: Sequence[str] | None = None,
) -> tuple[str, str] | None:
    """Return (kind, wrong step) of the first kind that applies, tried in random order, or ``None``.

    Args:
        problem: the problem.
        prefix: the steps before.
        step: a correct step.
        rng: the source of every choice.
        kinds: names out of `PERTURBATIONS`; all by default.

    Raises:
        KeyError: an unknown kind.
    """
    names = list(PERTURBATIONS if kinds is None else kinds)
    rng.shuffle(names)
    for name in names:
        made = PERTURBATIONS[name](problem, prefix, step, rng)
        if made is not None and made != step:
            return name, made
    return None


# --- shared parts ---


def _choose(step: str, rng: random.Random) -> Site | None:
    sites = find_sites(step)
    return rng.choice(sites) if sites else None


def _numbers(*texts: str) -> list[Fraction]:
    """Return the different numbers of some texts in order; texts that are too large have none."""
    found: dict[Fraction, None] = {}
    for text in texts:
        try:
            found.update((token.value, None) for token in tokenize(text) if token.value is not None)
        except TextTooLargeError:
            continue
    return list(found)


def _with_operand(step: str, rng: random.Random, options: Callable[[Token], list[Fraction]]) -> str | None:
    """Replace an operand by one of its options, in random order, and recompute."""
    site = _choose(step, rng)
    if site is None:
        return None
    operands = [token for token in site.expressions[0] if token.kind == "number"]
    choices = [
        (operand, other) for operand in operands for other in options(operand) if other != operand.value
    ]
    rng.shuffle(choices)
    for operand, other in choices[:8]:
        made = recomputed(site, step, partial(_number_replaced, old=operand, new=other))
        if made is not None:
            return made
    return None


# Each returns changed tokens and changes of the text, or None where the expression does not allow it.
Change = tuple[list[Token], list[tuple[int, int, str]]]


def _number_replaced(tokens: Sequence[Token], old: Token, new: Fraction) -> Change | None:
    for index, token in enumerate(tokens):
        if token.kind == "number" and token.value == old.value:
            text = number_like(new, token)
            if text is None:
                return None
            changed = [*tokens[:index], token._replace(value=new, text=text), *tokens[index + 1 :]]
            return changed, [(token.start, token.end, text)]
    return None


def _operator_replaced(tokens: Sequence[Token], sign: str, other: str) -> Change | None:
    for index, token in enumerate(tokens):
        if (
            token.kind == "operator"
            and token.text == sign
            and index > 0
            and tokens[index - 1].kind in ("number", "close")
        ):
            changed = [*tokens[:index], token._replace(text=other), *tokens[index + 1 :]]
            return changed, [(token.start, token.end, other)]
    return None


def _last_operand_dropped(tokens: Sequence[Token]) -> Change | None:
    if (
        len(tokens) < 5
        or tokens[-1].kind != "number"
        or tokens[-2].kind != "operator"
        or tokens[-2].text == "^"
    ):
        return None
    kept = list(tokens[:-2])
    return kept, [(kept[-1].end, tokens[-1].end, "")]


def _operands_exchanged(tokens: Sequence[Token]) -> Change | None:
    if (
        len(tokens) != 3
        or tokens[1].text not in ("-", "/")
        or any(token.kind != "number" for token in tokens[::2])
    ):
        return None
    first, sign, second = tokens
    changed = [first._replace(value=second.value), sign, second._replace(value=first.value)]
    return changed, [(first.start, first.end, second.text), (second.start, second.end, first.text)]
