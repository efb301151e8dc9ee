"""Errors in steps that calculate (GSM8K-like, and LaTeX where it calculates with numbers).

Contract: every kind in `GENERATORS` is a small pure function from a `Place` to a text; ``None`` means that it does not
apply. The text stays consistent where the error is not: a changed operand changes the
result, the calculator annotation and later mentions of the result with it. Not here: equations with unknowns
(`perturbations_latex.py`), which kind belongs to which class of errors (`perturbations.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial

from sparring.oracles.arithmetic import check_equations
from sparring.oracles.equations import ANNOTATION, read_step
from sparring.oracles.sites import (
    ExpressionChange,
    ExpressionEdit,
    Place,
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

Generator = Callable[[Place], str | None]
Options = Callable[[Token], list[Fraction]]  # what an operand may be confused with

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
_WRITTEN_OPERATOR = re.compile(r"[-+*/×÷·−x]|times|plus|minus|\\(?:times|cdot|div)")


# --- other operands: what each may be confused with ---


def neighbours(place: Place) -> Options:
    """Return the whole numbers beside a whole operand as options."""

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        return [value + 1, value - 1] if value.denominator == 1 and value > 1 else []

    return options


def elsewhere(place: Place) -> Options:
    """Return the numbers of the problem and of earlier steps as options."""
    others = [value for value in numbers_of(place.problem.question, *place.prefix) if value > 0]
    return lambda operand: others


def miscopied(place: Place) -> Options:
    """Return one wrong digit as an option, for numbers of earlier steps where there are any."""
    earlier = set(numbers_of(*place.prefix))

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        if value.denominator != 1 or value < 10 or (earlier and value not in earlier):
            return []
        digits = str(value.numerator)
        index = place.rng.randrange(len(digits))
        low = 1 if index == 0 else 0
        choices = [digit for digit in range(low, 10) if str(digit) != digits[index]]
        return [Fraction(int(digits[:index] + str(place.rng.choice(choices)) + digits[index + 1 :]))]

    return options


def _other_results(place: Place) -> Options:
    sites = [site for earlier in place.prefix for site in find_sites(earlier)]
    results = {site.value for site in sites}

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        if value not in results:
            return []
        used = [site.expressions[0] for site in sites if site.value == value]
        return sorted(results - {value}) or [token.value for one in used for token in one if token.value]

    return options


def _other_factors(place: Place) -> Options:
    stated = set(numbers_of(place.problem.question, *place.prefix))

    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        known = value.denominator == 1 and value not in stated
        return [Fraction(factor) for factor in _CONFUSED_FACTORS.get(int(value), ())] if known else []

    return options


def _other_shares(place: Place) -> Options:
    def options(operand: Token) -> list[Fraction]:
        value = operand.value or Fraction(0)
        return [1 - value, value * 10, value / 10] if operand.places and 0 < value < 1 else []

    return options


# --- errors around the calculation ---


def _misstated_number(place: Place) -> str | None:
    step, rng = place.step, place.rng
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
    others = [
        other for other in numbers_of(place.problem.question, *place.prefix) if other != value and other > 0
    ]
    others += [value + 1, value * 2] + ([value - 1] if value > 1 else [])
    text = number_like(rng.choice(others), chosen)
    same = [token for token in candidates if token.value == value]
    return None if text is None else rewritten(step, [(token.start, token.end, text) for token in same])


def _wrong_unit(place: Place) -> str | None:
    found = list(_UNIT_AFTER_NUMBER.finditer(ANNOTATION.sub(lambda match: "0" * len(match[0]), place.step)))
    if not found:
        return None
    match = place.rng.choice(found)
    other = place.rng.choice([unit for unit in _UNIT_GROUP[match[2]] if unit != match[2]])
    return rewritten(place.step, [(*match.span(2), other)])


def _contradiction(place: Place) -> str | None:
    restated = [text for earlier in place.prefix if (text := _restated(earlier, place.rng)) is not None]
    return f"{place.rng.choice(restated)} {place.step}" if restated else None


def _premature_answer(place: Place) -> str | None:
    sites, answers = find_sites(place.step), numbers_of(place.problem.answer or "")
    if not sites or len(answers) != 1:
        return None
    site = sites[-1]
    # Cents for dollars or a percentage for a share might be called the same answer.
    if site.value in (answers[0], 100 * answers[0], answers[0] / 100, -answers[0]):
        return None
    shown = site.results[-1].text
    stated = rf"$\boxed{{{shown}}}$" if "\\" in place.step else shown
    return f"{place.step} So the final answer is {stated}."


def _skipped_step(place: Place) -> str | None:
    """The next step calculates with what this one was to find."""
    count, solution = len(place.prefix), place.problem.solution or ()
    if tuple(solution[: count + 1]) != (*place.prefix, place.step) or count + 1 >= len(solution):
        return None
    known = set(numbers_of(place.problem.question, *place.prefix))
    found = {site.value for site in find_sites(place.step)} - known
    used = (token.value for site in find_sites(solution[count + 1]) for token in site.expressions[0])
    return solution[count + 1] if any(value in found for value in used) else None


# --- shared parts ---


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


# --- errors in a calculation: in its result, which becomes false, or before it, which is then recomputed ---


def _with_result(place: Place, site: Site, change: ValueChange) -> str | None:
    """Replace the result by another value."""
    value = change(site.value, site.places, place.rng)
    return None if value is None else site.with_result(place.step, value)


def _with_operand(place: Place, site: Site, confused: Callable[[Place], Options]) -> str | None:
    """Replace an operand by one of its options, in random order, and recompute."""
    options = confused(place)
    choices = [
        (operand, other)
        for operand in site.expressions[0]
        if operand.kind == "number"
        for other in options(operand)
        if other != operand.value
    ]
    place.rng.shuffle(choices)
    changes = (partial(_number_replaced, old=operand, new=other) for operand, other in choices[:8])
    return _first_recomputed(place, site, changes)


def _with_operator(place: Place, site: Site, others: dict[str, str]) -> str | None:
    """Replace an operator by one of the others for it, in random order, and recompute."""
    signs = [
        token.text
        for token in site.expressions[0]
        if token.kind == "operator" and _WRITTEN_OPERATOR.fullmatch(place.step[token.start : token.end])
    ]  # not the division that \\frac writes
    choices = [(sign, other) for sign in dict.fromkeys(signs) for other in others.get(sign, "")]
    place.rng.shuffle(choices)
    changes = (partial(_operator_replaced, sign=sign, other=other) for sign, other in choices)
    return _first_recomputed(place, site, changes)


def _first_recomputed(place: Place, site: Site, changes: Iterable[ExpressionChange]) -> str | None:
    made = (recomputed(site, place.step, change) for change in changes)
    return next((text for text in made if text is not None), None)


def _number_replaced(tokens: Sequence[Token], old: Token, new: Fraction) -> ExpressionEdit | None:
    for index, token in enumerate(tokens):
        if token.kind == "number" and token.value == old.value:
            text = number_like(new, token)
            if text is None:
                return None
            changed = [*tokens[:index], token._replace(value=new, text=text), *tokens[index + 1 :]]
            return changed, [(token.start, token.end, text)]
    return None


def _operator_replaced(tokens: Sequence[Token], sign: str, other: str) -> ExpressionEdit | None:
    for index, token in enumerate(tokens):
        binary = index > 0 and tokens[index - 1].kind in ("number", "close")
        if binary and token.kind == "operator" and token.text == sign:
            changed = [*tokens[:index], token._replace(text=other), *tokens[index + 1 :]]
            return changed, [(token.start, token.end, other)]
    return None


def _last_operand_dropped(tokens: Sequence[Token]) -> ExpressionEdit | None:
    if len(tokens) < 5:
        return None
    sign, last = tokens[-2:]
    if last.kind != "number" or sign.kind != "operator" or sign.text == "^":
        return None
    kept = list(tokens[:-2])
    return kept, [(kept[-1].end, last.end, "")]


def _operands_exchanged(tokens: Sequence[Token]) -> ExpressionEdit | None:
    if [token.kind for token in tokens] != ["number", "operator", "number"] or tokens[1].text not in "-/":
        return None
    first, sign, second = tokens
    changed = [first._replace(value=second.value), sign, second._replace(value=first.value)]
    return changed, [(first.start, first.end, second.text), (second.start, second.end, first.text)]


def _at_site(make: Callable[..., str | None], *arguments: object) -> Generator:
    """Return the generator that does something to a random calculation of the step."""

    def generator(place: Place) -> str | None:
        sites = find_sites(place.step)
        return make(place, place.rng.choice(sites), *arguments) if sites else None

    return generator


GENERATORS: dict[str, Generator] = {
    "arithmetic_slip": _at_site(_with_result, slipped),
    "digit_swap": _at_site(_with_result, digits_swapped),
    "magnitude_slip": _at_site(_with_result, magnitude_changed),
    "off_by_one": _at_site(_with_operand, neighbours),
    "wrong_operand": _at_site(_with_operand, elsewhere),
    "wrong_reference": _at_site(_with_operand, _other_results),
    "wrong_value_carried": _at_site(_with_operand, miscopied),
    "unit_slip": _at_site(_with_operand, _other_factors),
    "percent_slip": _at_site(_with_operand, _other_shares),
    "wrong_operation": _at_site(_with_operator, {"+": "-*", "-": "+/", "*": "+/", "/": "*-"}),
    "sign_error": _at_site(_with_operator, {"+": "-", "-": "+"}),
    "skipped_operand": _at_site(lambda place, site: recomputed(site, place.step, _last_operand_dropped)),
    "swapped_operands": _at_site(
        lambda place, site: recomputed(site, place.step, _operands_exchanged, allow_negative=True)
    ),
    "misstated_number": _misstated_number,
    "wrong_unit": _wrong_unit,
    "contradiction": _contradiction,
    "premature_answer": _premature_answer,
    "skipped_step": _skipped_step,
}
