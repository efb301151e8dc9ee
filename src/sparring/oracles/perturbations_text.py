"""Errors in steps that calculate (GSM8K-like, and LaTeX where it calculates with numbers).

Contract: every kind is a small pure function ``(problem, prefix, step, rng) -> text or None``; ``None`` means
that it does not apply. The text stays consistent where the error is not: a changed operand changes the
result, the calculator annotation and later mentions of the result with it. Not here: equations with unknowns
(`perturbations_latex.py`), which kind belongs to which class of errors (`perturbations.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

from sparring.oracles.arithmetic import check_equations
from sparring.oracles.equations import ANNOTATION, read_step
from sparring.oracles.sites import (
    Site,
    ValueChange,
    digits_swapped,
    find_sites,
    magnitude_changed,
    number_like,
    recomputed,
    rewritten,
    slipped,
)
from sparring.oracles.tokens import TextTooLargeError, Token, tokenize
from sparring.traces.records import Problem

Options = Callable[[Token], list[Fraction]]

# Words after which a number or formula claims nothing, or claims it only for a case.
SUPPOSES = re.compile(
    r"\b(?:let|try|suppose|if|when|whenever|assume|consider|example|case|cases|choose|guess|say|plug|mod|modulo"
    r"|unless|not|either|such that|want|need|check|whether|could|might|maybe|what|which|wrong|mistake|instead)\b"
    r"|\\(?:pmod|bmod|equiv|neq|ne|text|quad|begin|not|ldots|cdots|dots)\b|[?≠≡&]",
    re.IGNORECASE,
)
_CONFUSED_FACTORS = {
    60: (100, 30), 24: (12, 20), 7: (5, 6), 12: (10, 24), 52: (50, 48), 365: (360, 356), 100: (10, 1000), 30:
        (31, 28),
    16: (12, 10), 3600: (360, 60), 1000: (100,), 36: (12, 24), 31: (30,), 4: (5,), 5: (7,),
}  # fmt: skip
_CONFUSED_UNITS = (
    ("seconds", "minutes", "hours", "days", "weeks", "months", "years"), ("inches", "feet", "yards", "miles"),
    ("cm", "mm", "km"), ("centimeters", "millimeters", "meters", "kilometers"), ("cents", "dollars"),
    ("ounces", "pounds", "tons"), ("grams", "kilograms"), ("pints", "quarts", "gallons"),
)  # fmt: skip
_UNIT_GROUP = {unit: group for group in _CONFUSED_UNITS for unit in group}
_UNIT_AFTER_NUMBER = re.compile(rf"(?<=\d)((?:\\text\{{|[\s~{{}}$])+)({'|'.join(_UNIT_GROUP)})\b")
_OTHER_OPERATORS = {"+": "-*", "-": "+/", "*": "+/", "/": "*-"}
_OTHER_SIGN = {"+": "-", "-": "+"}
_WRITTEN_OPERATOR = re.compile(r"[-+*/×÷·−x]|times|plus|minus|\\(?:times|cdot|div)")


# --- other operands ---


def neighbours(operand: Token) -> list[Fraction]:
    """Return the whole numbers beside a whole operand."""
    value = operand.value or Fraction(0)
    return [value + 1, value - 1] if value.denominator == 1 and value > 1 else []


def elsewhere(problem: Problem, prefix: Sequence[str]) -> Options:
    """Return the numbers of the problem and of earlier steps as options."""
    others = [value for value in numbers_of(problem.question, *prefix) if value > 0]
    return lambda operand: others


def miscopied(prefix: Sequence[str], rng: random.Random) -> Options:
    """Return one wrong digit as an option, for numbers of earlier steps where there are any."""
    earlier = set(numbers_of(*prefix))

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        if value.denominator != 1 or value < 10 or (earlier and value not in earlier):
            return []
        digits = str(value.numerator)
        index = rng.randrange(len(digits))
        low = 1 if index == 0 else 0
        choices = [digit for digit in range(low, 10) if str(digit) != digits[index]]
        return [Fraction(int(digits[:index] + str(rng.choice(choices)) + digits[index + 1 :]))]

    return options


# --- errors in the result: the calculation becomes false ---


def result_changed(step: str, rng: random.Random, change: ValueChange) -> str | None:
    """Replace the result of a calculation by another value."""
    site = _choose(step, rng)
    value = None if site is None else change(site.value, site.places, rng)
    return None if site is None or value is None else site.with_result(step, value)


def arithmetic_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Move the result by a small or round amount."""
    return result_changed(step, rng, slipped)


def digit_swap(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Exchange two neighbouring digits of the result."""
    return result_changed(step, rng, digits_swapped)


def magnitude_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Make the result ten times too large or too small."""
    return result_changed(step, rng, magnitude_changed)


# --- errors before the result: everything after them is recomputed ---


def off_by_one(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Make a whole operand one too large or too small."""
    return _with_operand(step, rng, neighbours)


def wrong_operand(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Use another number of the problem or of an earlier step in place of an operand."""
    return _with_operand(step, rng, elsewhere(problem, prefix))


def wrong_reference(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Use the result of another earlier step, or what it was calculated from, in place of an earlier result."""
    sites = [site for earlier in prefix for site in find_sites(earlier)]
    results = {site.value for site in sites}

    def options(operand: Token) -> list[Fraction]:
        if operand.value not in results:
            return []
        others = sorted(results - {operand.value})
        used = [site.expressions[0] for site in sites if site.value == operand.value]
        return others or [token.value for tokens in used for token in tokens if token.value]

    return _with_operand(step, rng, options)


def wrong_value_carried(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Copy one digit of an operand wrongly, of one that an earlier step computed where there is one."""
    return _with_operand(step, rng, miscopied(prefix, rng))


def unit_slip(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Confuse a conversion factor that the problem does not state."""
    stated = set(numbers_of(problem.question, *prefix))

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
    return _with_operator(step, rng, _OTHER_OPERATORS)


def sign_error(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Add what is to be subtracted, or the other way round."""
    return _with_operator(step, rng, _OTHER_SIGN)


def skipped_operand(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Leave the last operand out, as if the calculation were finished."""
    site = _choose(step, rng)
    return None if site is None else recomputed(site, step, _last_operand_dropped)


def swapped_operands(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Exchange the operands of a subtraction or division of two numbers."""
    site = _choose(step, rng)
    return None if site is None else recomputed(site, step, _operands_exchanged, allow_negative=True)


# --- errors around the calculation ---


def misstated_number(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Replace a number of a step that calculates nothing and supposes nothing."""
    if SUPPOSES.search(step):
        return None
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
    others = [other for other in numbers_of(problem.question, *prefix) if other != value and other > 0]
    others += [value + 1, value * 2] + ([value - 1] if value > 1 else [])
    text = number_like(rng.choice(others), chosen)
    same = [token for token in candidates if token.value == value]
    return None if text is None else rewritten(step, [(token.start, token.end, text) for token in same])


def wrong_unit(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Give a number of the step another unit of the same dimension, without conversion."""
    found = list(_UNIT_AFTER_NUMBER.finditer(ANNOTATION.sub(lambda match: "0" * len(match[0]), step)))
    if not found:
        return None
    match = rng.choice(found)
    other = rng.choice([unit for unit in _UNIT_GROUP[match[2]] if unit != match[2]])
    return rewritten(step, [(match.start(2), match.end(2), other)])


def contradiction(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Repeat before the step what an earlier one found, with another result."""
    restated = [text for earlier in prefix if (text := _restated(earlier, rng)) is not None]
    return f"{rng.choice(restated)} {step}" if restated else None


def premature_answer(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """State the result of the step as the final answer, where the reference answer is another number."""
    sites, answers = find_sites(step), numbers_of(problem.answer or "")
    if not sites or len(answers) != 1:
        return None
    site = sites[-1]
    # Cents for dollars or a percentage for a share might be called the same answer.
    if site.value in (answers[0], 100 * answers[0], answers[0] / 100, -answers[0]):
        return None
    shown = site.results[-1].text
    stated = rf"$\boxed{{{shown}}}$" if "\\" in step else shown
    return f"{step} So the final answer is {stated}."


def skipped_step(problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
    """Write the next step of the reference solution instead: it calculates with what this one was to find."""
    place, solution = len(prefix), problem.solution or ()
    if tuple(solution[: place + 1]) != (*prefix, step) or place + 1 >= len(solution):
        return None
    known = set(numbers_of(problem.question, *prefix))
    found = {site.value for site in find_sites(step)} - known
    used = (token.value for site in find_sites(solution[place + 1]) for token in site.expressions[0])
    return solution[place + 1] if any(value in found for value in used) else None


# --- shared parts ---


def _choose(step: str, rng: random.Random) -> Site | None:
    sites = find_sites(step)
    return rng.choice(sites) if sites else None


def numbers_of(*texts: str) -> list[Fraction]:
    """Return the different numbers of some texts in order; texts that are too large have none."""
    found: dict[Fraction, None] = {}
    for text in texts:
        try:
            found.update((token.value, None) for token in tokenize(text) if token.value is not None)
        except TextTooLargeError:
            continue
    return list(found)


def _restated(earlier: str, rng: random.Random) -> str | None:
    """Return a step with one calculation as a plain sentence that gives another result."""
    sites = find_sites(earlier)
    if len(sites) != 1:
        return None
    [site] = sites
    annotations = [match.span() for match in ANNOTATION.finditer(earlier)]
    visible = [
        token for token in site.results if not any(start <= token.start < end for start, end in annotations)
    ]
    begin, value = site.expressions[0][0].start, slipped(site.value, site.places, rng)
    if not visible or begin > visible[0].start or value is None:
        return None
    first = visible[0].start
    currency = "$" if "$" in earlier[begin:first] and earlier[begin - 1 : begin] != "$" else ""
    edits = [(begin, first, currency)]
    for token in visible:
        text = number_like(value, token)
        if text is None:
            return None
        edits.append((token.start, token.end, text))
    made = rewritten(earlier, edits)
    return None if made is None else made.strip().rstrip(".") + "."


def _with_operand(step: str, rng: random.Random, options: Options) -> str | None:
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


def _with_operator(step: str, rng: random.Random, others: dict[str, str]) -> str | None:
    """Replace an operator by one of the others for it, in random order, and recompute."""
    site = _choose(step, rng)
    if site is None:
        return None
    signs = [
        token.text
        for token in site.expressions[0]
        if token.kind == "operator" and _WRITTEN_OPERATOR.fullmatch(step[token.start : token.end])
    ]  # not the division that \\frac writes
    choices = [(sign, other) for sign in dict.fromkeys(signs) for other in others.get(sign, "")]
    rng.shuffle(choices)
    for sign, other in choices:
        made = recomputed(site, step, partial(_operator_replaced, sign=sign, other=other))
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
