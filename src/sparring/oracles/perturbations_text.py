"""Rule perturbations of steps that calculate (GSM8K-like, and LaTeX where it calculates with numbers).

Contract: every kind is a small pure function from a `Place` to a text; ``None`` means that it does not apply. The text
stays consistent where the error is not: a changed operand changes the result, the calculator annotation and later
mentions of the result with it. That is what a `Site` is for: in ``She makes 9 * 2 = $<<9*2=18>>18`` the visible
expression, the annotation, its result and the printed result are one site. Only calculations that are exactly right are
sites. Not here: equations with unknowns (`perturbations_latex.py`), the taxonomy (`perturbations.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from typing import NamedTuple

from sparring.oracles.arithmetic import Check, check_equations
from sparring.oracles.equations import ANNOTATION, read_step
from sparring.oracles.reading import Token, TooLargeError, tokenize
from sparring.oracles.values import decimal_places, value_or_none
from sparring.traces.records import Problem


class Place(NamedTuple):
    """A correct step that is to be made wrong, what it stands in, and the source of every choice."""

    problem: Problem
    prefix: Sequence[str]
    step: str
    rng: random.Random

    def numbers_before(self) -> tuple[Fraction, ...]:
        """Return the different numbers of the problem and of earlier steps."""
        return numbers_of(self.problem.question, *self.prefix)


Generator = Callable[[Place], str | None]
Confusion = Callable[[Place, Token], list[Fraction]]
"""What an operand may be confused with."""
ValueChange = Callable[[Fraction, int, random.Random], Fraction | None]
"""Value and decimal places → another value."""
Edit = tuple[int, int, str]
"""First character, one past the last, the text in their place."""
ExpressionChange = Callable[[Sequence[Token]], list[Token] | None]
"""An expression → another one, whose tokens stand where they stood."""
MAX_PLACES = 4
_OPERAND_KINDS = frozenset(("number", "operator", "open", "close"))

# Words after which a number or formula claims nothing, or claims it only for a case.
SUPPOSES = re.compile(
    r"\b(?:let|try|suppose|if|when|whenever|assume|consider|example|case|cases|choose|guess|say|plug|mod|modulo"
    r"|unless|not|either|such that|want|need|check|whether|could|might|maybe|what|which|wrong|mistake|instead)\b"
    r"|\\(?:pmod|bmod|equiv|neq|ne|text|quad|begin|not|ldots|cdots|dots)\b|[?≠≡&]",
    re.IGNORECASE,
)
_CONFUSED_FACTORS = {
    60: (100, 30), 24: (12, 20), 7: (5, 6), 12: (10, 24), 52: (50, 48), 365: (360, 356), 100: (10, 1000),
    30: (31, 28), 16: (12, 10), 3600: (360, 60), 1000: (100,), 36: (12, 24), 31: (30,), 4: (5,), 5: (7,),
}  # fmt: skip
_CONFUSED_UNITS = (
    ("seconds", "minutes", "hours", "days", "weeks", "months", "years"), ("inches", "feet", "yards", "miles"),
    ("cm", "mm", "km"), ("centimeters", "millimeters", "meters", "kilometers"), ("cents", "dollars"),
    ("ounces", "pounds", "tons"), ("grams", "kilograms"), ("pints", "quarts", "gallons"),
)  # fmt: skip
_UNIT_GROUP = {unit: group for group in _CONFUSED_UNITS for unit in group}
_UNIT_AFTER_NUMBER = re.compile(rf"(?<=\d)((?:\\text\{{|[\s~{{}}$])+)({'|'.join(_UNIT_GROUP)})\b")
_WRITTEN_OPERATOR = re.compile(r"[-+*/×÷·−x]|times|plus|minus|\\(?:times|cdot|div)")


# --- calculation sites ---


class Site(NamedTuple):
    """All the places of a step that write one calculation and its result.

    Attributes:
        expressions: the tokens of every text that spells its left side.
        results: the number tokens that show its result, later mentions included.
        value: the result.
    """

    expressions: tuple[tuple[Token, ...], ...]
    results: tuple[Token, ...]
    value: Fraction


@lru_cache(maxsize=1024)  # many kinds of error are tried on one step
def find_sites(step: str) -> tuple[Site, ...]:
    """Return the sites of a step in order; none in a text that is too large."""
    try:
        checks = check_equations(step)
        visible, _ = read_step(step)
    except TooLargeError:
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
    return Site(
        tuple(expressions[start] for start in sorted(expressions)),
        tuple(results[start] for start in sorted(results)),
        value,
    )


def recomputed(place: Place, site: Site, change: ExpressionChange, negative: bool = False) -> str | None:
    """Apply a change to every expression of a site and write the new result.

    ``None`` where the change does not apply, its expressions disagree, or the result is the old one, that of another
    calculation of the step (which the step would then only repeat), or negative although the old one was not (unless
    `negative` allows that).
    """
    edits: list[Edit] = []
    values: set[Fraction | None] = set()
    for expression in site.expressions:
        changed = change(expression)
        if changed is None:
            return None
        values.add(value_or_none(changed))
        pairs = zip(changed, expression, strict=False)
        edits += [(new.start, new.end, new.text) for new, old in pairs if new != old]
        if len(changed) < len(expression):
            edits.append((changed[-1].end, expression[-1].end, ""))
    value = values.pop()
    if values or value is None or any(value == other.value for other in find_sites(place.step)):
        return None
    if value <= 0 < site.value and not negative:
        return None
    return retold(place.step, site.results, value, edits)


# --- texts ---


@lru_cache(maxsize=256)
def numbers_of(*texts: str) -> tuple[Fraction, ...]:
    """Return the different numbers of some texts in order; texts that are too large have none."""
    found: dict[Fraction, None] = {}
    for text in texts:
        try:
            found.update((token.value, None) for token in tokenize(text) if token.value is not None)
        except TooLargeError:
            continue
    return tuple(found)


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
    whole, rest = divmod(abs(rounded), 10**places)
    digits = ("-" if rounded < 0 else "") + (f"{whole:,}" if "," in model.text else str(whole))
    return f"{digits}.{rest:0{places}d}" if places else digits


def rewritten(step: str, edits: Iterable[Edit]) -> str | None:
    """Return the step with the ranges of `edits` replaced; ``None`` where two of them overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, text in sorted(set(edits)):
        if start < position:
            return None
        pieces += [step[position:start], text]
        position = end
    return "".join([*pieces, step[position:]])


def retold(step: str, tokens: Iterable[Token], value: Fraction, edits: Iterable[Edit] = ()) -> str | None:
    """Return the step with a value in place of number tokens and with other edits, ``None`` where it cannot be written."""
    changes = list(edits)
    for token in tokens:
        text = number_like(value, token)
        if text is None:
            return None
        changes.append((token.start, token.end, text))
    return rewritten(step, changes)


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


# --- other operands: what each may be confused with ---


def value_of(token: Token) -> Fraction:
    """Return the value of a number token."""
    return token.value or Fraction(0)


def neighbours(place: Place, operand: Token) -> list[Fraction]:
    """Return the whole numbers beside a whole operand."""
    value = value_of(operand)
    return [value + 1, value - 1] if value.denominator == 1 and value > 1 else []


def elsewhere(place: Place, operand: Token) -> list[Fraction]:
    """Return the numbers of the problem and of earlier steps."""
    return [value for value in place.numbers_before() if value > 0]


def miscopied(place: Place, operand: Token) -> list[Fraction]:
    """Return the operand with one wrong digit, for numbers of earlier steps where there are any."""
    value, earlier = value_of(operand), numbers_of(*place.prefix)
    if value.denominator != 1 or value < 10 or (earlier and value not in earlier):
        return []
    digits = str(value.numerator)
    index = place.rng.randrange(len(digits))
    choices = [digit for digit in range(1 if index == 0 else 0, 10) if str(digit) != digits[index]]
    return [Fraction(int(digits[:index] + str(place.rng.choice(choices)) + digits[index + 1 :]))]


def other_results(place: Place, operand: Token) -> list[Fraction]:
    """Return the results of other earlier steps, else the operands of the one that the operand is the result of."""
    value = value_of(operand)
    sites = [site for earlier in place.prefix for site in find_sites(earlier)]
    results = {site.value for site in sites}
    if value not in results:
        return []
    used = [token.value for site in sites if site.value == value for token in site.expressions[0]]
    return sorted(results - {value}) or [number for number in used if number]


def other_factors(place: Place, operand: Token) -> list[Fraction]:
    """Return the factors that a conversion factor is confused with, unless the texts before state it."""
    value = value_of(operand)
    known = value.denominator == 1 and value not in place.numbers_before()
    return [Fraction(factor) for factor in _CONFUSED_FACTORS.get(int(value), ())] if known else []


def other_shares(place: Place, operand: Token) -> list[Fraction]:
    """Return the rest of a share, and the share with its point moved."""
    value = value_of(operand)
    return [1 - value, value * 10, value / 10] if operand.places and 0 < value < 1 else []


# --- errors in a calculation: in its result, which becomes false, or before it, which is then recomputed ---


def at_site(make: Callable[..., str | None], *arguments: object) -> Generator:
    """Return the generator that does something to a random calculation of the step."""

    def generator(place: Place) -> str | None:
        sites = find_sites(place.step)
        return make(place, place.rng.choice(sites), *arguments) if sites else None

    return generator


def with_result(place: Place, site: Site, change: ValueChange) -> str | None:
    """Replace the result by another value."""
    value = change(site.value, site.results[0].places, place.rng)
    return None if value is None else retold(place.step, site.results, value)


def with_operand(place: Place, site: Site, confused: Confusion) -> str | None:
    """Replace an operand by something that it may be confused with, in random order, and recompute."""
    choices = [
        partial(_number_replaced, old=operand.value, new=other)
        for operand in site.expressions[0]
        if operand.kind == "number"
        for other in confused(place, operand)
        if other != operand.value
    ]
    place.rng.shuffle(choices)
    return _first_recomputed(place, site, choices[:8])


def with_operator(place: Place, site: Site, others: dict[str, str]) -> str | None:
    """Replace an operator by one of the others for it, in random order, and recompute."""
    # Not the division that \\frac writes
    signs = [
        token.text
        for token in site.expressions[0]
        if token.kind == "operator" and _WRITTEN_OPERATOR.fullmatch(place.step[token.start : token.end])
    ]
    choices = [
        partial(_operator_replaced, sign=sign, other=other)
        for sign in dict.fromkeys(signs)
        for other in others.get(sign, "")
    ]
    place.rng.shuffle(choices)
    return _first_recomputed(place, site, choices)


def _first_recomputed(place: Place, site: Site, changes: Iterable[ExpressionChange]) -> str | None:
    made = (recomputed(place, site, change) for change in changes)
    return next((text for text in made if text is not None), None)


def _number_replaced(tokens: Sequence[Token], old: Fraction | None, new: Fraction) -> list[Token] | None:
    for index, token in enumerate(tokens):
        if token.kind == "number" and token.value == old:
            text = number_like(new, token)
            return None if text is None else _replaced(tokens, index, token._replace(value=new, text=text))
    return None


def _operator_replaced(tokens: Sequence[Token], sign: str, other: str) -> list[Token] | None:
    for index, token in enumerate(tokens):
        binary = index > 0 and tokens[index - 1].kind in ("number", "close")
        if binary and token.kind == "operator" and token.text == sign:
            return _replaced(tokens, index, token._replace(text=other))
    return None


def _replaced(tokens: Sequence[Token], index: int, new: Token) -> list[Token]:
    return [*tokens[:index], new, *tokens[index + 1 :]]


def last_operand_dropped(tokens: Sequence[Token]) -> list[Token] | None:
    """Leave the last operand out."""
    if len(tokens) < 5:
        return None
    *kept, sign, last = tokens
    return kept if last.kind == "number" and sign.kind == "operator" and sign.text != "^" else None


def operands_exchanged(tokens: Sequence[Token]) -> list[Token] | None:
    """Exchange the operands of a subtraction or division of two numbers."""
    if [token.kind for token in tokens] != ["number", "operator", "number"] or tokens[1].text not in "-/":
        return None
    first, sign, second = tokens
    return [
        first._replace(value=second.value, text=second.text),
        sign,
        second._replace(value=first.value, text=first.text),
    ]


# --- errors around the calculation ---


def misstated_number(place: Place) -> str | None:
    """Replace a number of a step that calculates nothing and supposes nothing."""
    step, rng = place.step, place.rng
    if SUPPOSES.search(step):
        return None
    try:
        if any(check.finding != "label" for check in check_equations(step)):
            return None
        tokens, annotations = read_step(step)
    except TooLargeError:
        return None
    candidates = [
        token for token in tokens if token.kind == "number" and token.value and "/" not in token.text
    ]
    if annotations or not candidates:
        return None
    chosen = rng.choice(candidates)
    value = value_of(chosen)
    others = [other for other in place.numbers_before() if other != value and other > 0]
    others += [value + 1, value * 2] + ([value - 1] if value > 1 else [])
    text = number_like(rng.choice(others), chosen)
    same = [token for token in candidates if token.value == value]
    return None if text is None else rewritten(step, [(token.start, token.end, text) for token in same])


def wrong_unit(place: Place) -> str | None:
    """Give a number another unit of the same dimension."""
    found = list(_UNIT_AFTER_NUMBER.finditer(ANNOTATION.sub(lambda match: "0" * len(match[0]), place.step)))
    if not found:
        return None
    match = place.rng.choice(found)
    other = place.rng.choice([unit for unit in _UNIT_GROUP[match[2]] if unit != match[2]])
    return rewritten(place.step, [(*match.span(2), other)])


def contradiction(place: Place) -> str | None:
    """Say before the step what an earlier one found, with another result."""
    made = [text for earlier in place.prefix if (text := _contradicted(earlier, place.rng)) is not None]
    return f"{place.rng.choice(made)} {place.step}" if made else None


def _contradicted(earlier: str, rng: random.Random) -> str | None:
    """Return a step with one calculation as a plain sentence that gives another result."""
    sites = find_sites(earlier)
    if len(sites) != 1:
        return None
    [site] = sites
    annotations = [match.span() for match in ANNOTATION.finditer(earlier)]
    visible = [
        token for token in site.results if not any(start <= token.start < end for start, end in annotations)
    ]
    begin, value = site.expressions[0][0].start, slipped(site.value, site.results[0].places, rng)
    if not visible or begin > visible[0].start or value is None:
        return None
    first = visible[0].start
    currency = "$" if "$" in earlier[begin:first] and earlier[begin - 1 : begin] != "$" else ""
    made = retold(earlier, visible, value, [(begin, first, currency)])
    return None if made is None else made.strip().rstrip(".") + "."


def premature_answer(place: Place) -> str | None:
    """State the result of the step as the final answer, where the reference answer is another number."""
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


def skipped_step(place: Place) -> str | None:
    """Write the next step of the reference solution, which calculates with what this one was to find."""
    count, solution = len(place.prefix), place.problem.solution or ()
    if tuple(solution[: count + 1]) != (*place.prefix, place.step) or count + 1 >= len(solution):
        return None
    found = {site.value for site in find_sites(place.step)} - set(place.numbers_before())
    used = (token.value for site in find_sites(solution[count + 1]) for token in site.expressions[0])
    return solution[count + 1] if any(value in found for value in used) else None
