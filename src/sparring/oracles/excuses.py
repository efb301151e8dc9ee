"""Excuses: readings under which an equation that is false as written is what its writer meant.

Contract: `excuse` is asked only about equations whose sides differ. It answers ``rounded`` (the right side is the left
side, correctly rounded: the step may count as right), another name (nobody can tell: the step is undecided), or ``None``
(no reading saves it: the step is wrong). Every excuse is a rule about how people write, with the words or numbers that
it needs as evidence. Every tolerance that oracles grant to rounded numbers is here, and so is the conversion of units
between the sides of an equation. Not here: the table of units (`units.py`), finding equations (`equations.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from sparring.oracles.equations import Equation, Run
from sparring.oracles.expressions import Node, Order, calculation
from sparring.oracles.reading import PI, Token, UnreadableError
from sparring.oracles.units import PLACES, unit_of
from sparring.oracles.values import (
    IRRATIONAL_PRECISION,
    calculate,
    decimal_places,
    is_float_noise,
    value_or_none,
)
from sparring.oracles.words import (
    DOUBTFUL_WORDS,
    is_called_mistaken,
    is_denied,
    is_only_reported,
    word_set,
)

# --- units and percent signs between two sides ---

# Ratios between units that people pass over without writing them down.
FACTORS = frozenset(
    (2, 3, 4, 5, 7, 8, 10, 12, 16, 20, 24, 25, 30, 36, 50, 52, 60, 100, 144, 365, 1000, 1760, 2000, 3600)
)  # fmt: skip
_SHARES_OF_ONE = Order(shares=True)
_ANGLE = re.compile(r"°|\\circ|degrees?|radians?")
_SCALED = re.compile(
    r"%|percent|cents?\b|¢|\$|pennies|dimes?|nickels?|quarters?|thousand|million|dollar", re.IGNORECASE
)


def mixed_units(first: Run, second: Run) -> tuple[Fraction, Fraction] | None:
    """Return both sides in base units where every number that is added, and the result, carry units of one dimension.

    "2 hours + 30 minutes = 150 minutes" and "5 lb 4 oz + 12 oz = 6 lb" give pairs of equal numbers. ``None`` where that is
    not so, where all units agree, and where something is multiplied to another amount ("2 hours * 60 = 120 minutes").
    Words for places ("5 tens + 3 ones = 53") are factors, and may stand beside plain numbers.
    """
    units = [*first.measures.values(), *second.measures.values()]
    dimensions = {unit.dimension for unit in units}
    if len(dimensions) != 1 or (len({unit.name for unit in units}) < 2 and dimensions != {"count"}):
        return None
    if dimensions == {"count"} and any(
        word in DOUBTFUL_WORDS - PLACES.keys() for word in first.units + second.units
    ):
        return None
    try:
        (one, power), (other, other_power) = _in_base(first), _in_base(second)
    except (UnreadableError, RecursionError):
        return None
    multiplied = any(token.text not in ("+", "-", "and") for run in (first, second) for token in run.tokens
                     if token.kind != "number")  # fmt: skip
    if power != other_power or (dimensions != {"count"} and power != 1) or (multiplied and one != other):
        return None
    return one, other


def loses_its_unit(first: Run, second: Run) -> bool:
    """Whether an equation of equal numbers has a result in a unit that its calculation does not give.

    ``3 cm * 4 cm = 12 cm``, ``12 cm / 3 cm = 4 cm``, ``$5 * 3 = 15 cents``, ``2 hours + 3 = 5 minutes``. A conversion is
    allowed where the number for it is there: ``2 hours * 60 = 120 minutes``.
    """
    if second.operators:
        first, second = second, first
    result = second.measures.get(len(second.tokens) - 1)
    if second.operators or result is None or not first.operators:
        return False
    base, _, exponent = result.dimension.partition("^")
    units = {
        place: unit for place, unit in first.measures.items() if unit.dimension.partition("^")[0] == base
    }
    if base == "count":
        return False
    if all(token.text in ("+", "-", "and") for token in first.tokens if token.kind != "number"):
        return any(unit.dimension != "count" and unit.name != result.name for unit in first.measures.values())
    if not units or {"/", "per"} & set(first.units):  # 25 mg/oz * 8 oz = 200 mg
        return False
    try:
        power = _power_of(
            first, {place: int(unit.dimension.partition("^")[2] or 1) for place, unit in units.items()}
        )
    except (UnreadableError, RecursionError):
        return False
    same = {unit.name.partition("^")[0] for unit in units.values()} == {result.name.partition("^")[0]}
    if power != int(exponent or 1):
        return same and (base in ("length", "money") or power == 0 or len(units) > 1)
    if same or exponent or any("^" in unit.name for unit in units.values()):
        return False
    ratios = {max(unit.factor / result.factor, result.factor / unit.factor) for unit in units.values()}
    return not _products(first) & (ratios - {Fraction(1)})


def _power_of(run: Run, powers: Mapping[int, int]) -> int:
    """Return the power of a unit in a run's value, from those that numbers have by their places.

    Raises:
        UnreadableError: different powers are added, or something is raised.
    """
    tokens = [
        token._replace(value=Fraction(powers.get(place, 0))) if token.kind == "number" else token
        for place, token in enumerate(run.tokens)
    ]
    return _power_in(calculation(tokens, _SHARES_OF_ONE))


def _power_in(node: Node) -> int:
    if node.kind == "number":
        return int(node.value)
    powers = [_power_in(part) for part in node.parts]
    if node.kind == "product":
        return sum(powers)
    if node.kind == "quotient":
        return powers[0] - powers[1]
    if len(set(powers)) > 1 or node.kind == "power" or (powers[0] and node.kind not in ("sum", "negative")):
        raise UnreadableError("different powers of a unit")
    return powers[0]


def _products(run: Run) -> set[Fraction]:
    """Return the products of some of a run's numbers (of at most eight of them): the factors of conversions among them."""
    found = {Fraction(1)}
    for token in [one for one in run.tokens if one.value][:8]:
        value = token.value or Fraction(1)
        found |= {product * value for product in found}
    return found | {1 / product for product in found}


def between_systems(first: Run, second: Run) -> bool:
    """Whether units of two sides are no multiples of each other, so that results are rounded."""
    factors = {unit.factor for run in (first, second) for unit in run.measures.values()}
    return any((max(factors) / factor).denominator != 1 for factor in factors)


def _in_base(run: Run) -> tuple[Fraction, int]:
    """Return the value of a run in base units, and the power of the unit.

    Raises:
        UnreadableError: it has no value, or different powers are added.
    """
    power = _power_of(run, {place: unit.dimension != "count" for place, unit in run.measures.items()})
    tokens = list(run.tokens)
    for place, unit in run.measures.items():
        tokens[place] = tokens[place]._replace(value=(tokens[place].value or 0) * unit.factor)
    return calculate(tokens), power


def scale_differs(first: Run, second: Run, left: Fraction, right: Fraction, step: str) -> bool:
    """Whether the sides differ by a factor between units, with units or percent in the text."""
    words = first.units + second.units
    units = {unit for word in words if (unit := unit_of(word, short=True)) is not None}
    ratio = max(left / right, right / left) if left and right else Fraction(0)
    adds = any(token.kind == "operator" and token.text in "+-" for token in first.tokens)
    several = len(units) > len({dimension for _, dimension in units})
    if several and (ratio in FACTORS or adds):
        return True
    if abs(ratio - 180 / PI) < IRRATIONAL_PRECISION and _ANGLE.search(step):
        return True
    if ratio in (100, 1000, 1_000_000) and _SCALED.search(step):
        return True
    percent = any(token.kind == "percent" for token in first.tokens + second.tokens)
    return percent and _without_percent(first, second)


def _without_percent(first: Run, second: Run) -> bool:
    """Whether the equation holds with the percent signs struck out (100% - 20 = 80)."""
    one, other = (
        value_or_none([token for token in run.tokens if token.kind != "percent"]) for run in (first, second)
    )
    if one is None or other is None or not second.numbers:
        return False
    return one == other or (
        second.operators == 0 and abs(one - other) < Fraction(1, 10 ** second.numbers[0].places)
    )


# --- rounding of results ---

FINE = Fraction(1, 20)
"""Share of a value up to which "about 1200" for 1234 is a rounding; beyond, ``160 ≈ 200`` may be a mistake."""
ROUGH = Fraction(1, 10)
"""Share up to which a number with a hedge that is no rounding at any digit may still be a guess; beyond, it is wrong."""
NEAR_PI = Fraction(1, 1500)
"""Share by which values with 3.14 or 22/7 may differ from those with π."""


def rounding_excuse(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction
) -> str | None:
    """``rounded`` for a correct rounding to the digits shown, another name where it may be one."""
    if second.operators and not first.operators:
        return rounding_excuse(equation, second, first, right, left)
    if second.operators or not second.numbers:
        return None
    number = second.numbers[0]
    scale = Fraction(1, 100) if second.tokens[-1].kind == "percent" else Fraction(1)
    places = 0 if number.text.endswith(".0") else number.places  # "4.0" is a float's way to write 4
    unit = Fraction(1, 10**places) * scale
    error = abs(left - right)
    hedged = equation.relation == "~" or second.approximate
    if places > 0:
        if error <= unit / 2:
            return "rounded"
        if error < unit:
            return "rounded" if decimal_places(left / scale) is None else "truncated"
    elif hedged and (
        is_rounding(_digits(number), unit, error, left) if second.digit is None else error <= second.digit / 2
    ):
        return "rounded"
    elif error < unit and (left / scale).denominator != 1:
        return "unmarked_rounding"  # a share of whole things: 7 / 2 = 3 may be meant, 100 * 6 = 601 is not
    if hedged or first.approximate:
        return _rough(number, unit, error, left)
    return None


def usual_error(value: Fraction) -> Fraction:
    """Return how far a rounded decimal may be from a value that no decimal writes exactly: half a hundredth, or 1 %."""
    return Fraction(0) if decimal_places(value) is not None else min(Fraction(1, 200), abs(value) / 100)


def is_rounding(digits: str, unit: Fraction, error: Fraction, value: Fraction) -> bool:
    """Whether digits as written are a value, rounded at the last of them (worth `unit`) or at any that zeros end in.

    `error` is the distance of the two.
    """
    return error <= unit / 2 or (error <= unit * 10 ** _zeros(digits) / 2 and error <= abs(value) * FINE)


def _zeros(digits: str) -> int:
    return 0 if "." in digits else len(digits) - len(digits.rstrip("0"))


def _rough(number: Token, unit: Fraction, error: Fraction, left: Fraction) -> str | None:
    up_or_down = (
        number.places == 0 and error < unit * 10 ** _zeros(_digits(number)) and error <= abs(left) / 2
    )
    return "rough_approximation" if up_or_down or error <= abs(left) * ROUGH else None


def _digits(number: Token) -> str:
    return number.text.replace(",", "").replace(".0", "")


# --- all excuses, in order ---

_OTHER_ARITHMETIC = re.compile(
    r"\\p?mod|\bmod(?:ulo)?\b|\\equiv|≡|\bbase\b|_\{?\d|\bbinary\b|\bhexadecimal|\bclock\b|\bo'clock\b|"
    r"\ba\.?m\.?\b|\bp\.?m\.?\b|remainder|repeating|scientific|"
    r"\\(?:#|star|ast|oplus|otimes|odot|diamond|bigcirc|[a-z]+suit)(?![a-z])|[@★⊕⊗⊙◇]",
    re.IGNORECASE,
)
_FUNCTIONS = word_set(
    """
    digit digits number divisors divisor factor factors multiple multiples root remainder half inverse
    reciprocal logarithm third quarter term terms
    """
)
_STATISTICS = word_set("mean average median mode range units digit digits remainder")
_LEFT_TO_RIGHT = {"+": 2, "-": 2, "*": 2, "/": 2, "of": 2, "negative": 3, "^": 4, "root": 5, "and": 6}
_SLASH_LAST = {"+": 1, "-": 1, "*": 3, "/": 2, "of": 3, "negative": 4, "^": 5, "root": 6, "and": 7}
_OF_LAST = {**_LEFT_TO_RIGHT, "+": 1, "-": 1, "of": 0}
_OTHER_ORDERS = (Order(_LEFT_TO_RIGHT), Order(_SLASH_LAST), Order(_OF_LAST), Order(right_first=True))
_TIGHT_SLASHES = Order({**_LEFT_TO_RIGHT, "+": 1, "-": 1, "/": 3, "÷": 2})
_MANY_DECIMALS = 12


def excuse(
    equation: Equation, first: Run, second: Run, left: Fraction, right: Fraction, step: str
) -> str | None:
    """Return the name of the first excuse for the equation of two sides with these values, or ``None``."""
    if is_float_noise(first.tokens + second.tokens, left, right):
        return "rounded"
    rounding = rounding_excuse(equation, first, second, left, right)
    if rounding is not None:
        return rounding
    doubt, converted = first.doubt or second.doubt, mixed_units(first, second)
    if doubt and (converted is None or doubt != "word_after"):
        return doubt
    if equation.relation == "is" and (second.operators or not _plain_calculation(first)):
        return "loose_wording"
    if _function_of(equation.relation, first.lead):
        return "function_of_expression"
    if _share_of_something(first) or any(token.kind == "of" for token in second.tokens):
        return "share_of_something"
    if _range(first):
        return "range"
    # where `arithmetic.py` has converted the sides, their units are no excuse
    if converted is None and scale_differs(first, second, left, right, step):
        return "unit_or_percent_scale"
    if second.operators and second.numbers and second.numbers[0].value == left:
        return "run_on_chain"
    if any(_other_reading(*pair) for pair in ((first, right), (second, left))):
        return "precedence"
    if _defined_operation(first, second):
        return "defined_operation"
    if right == 1 and first.operators == 1 and first.units and any(part.text == "/" for part in first.tokens):
        return "conversion_factor"  # "1 hour / 60 minutes = 1"
    if _near_pi(first, second, left, right):
        return "approximate_pi"
    if _within_operand_rounding(first, second, left, right):
        return "rounded_operands"
    if _OTHER_ARITHMETIC.search(step):
        return "other_arithmetic"
    # a calculator's annotation is stated in any sentence: "20 - 10 = <<20-10=10>>10 are not red"
    stated = is_only_reported if equation.source == "text" else is_called_mistaken
    if stated(step, *equation.span):
        return "hypothetical"
    return None


def comparison_excuse(first: Run, second: Run, step: str) -> str | None:
    """Return why a false ``first < second`` may still be what its writer meant, or ``None``.

    Comparisons stand in proofs and cases that are ruled out later, so that any word of denial excuses one.
    """
    if first.doubt or second.doubt:
        return first.doubt or second.doubt
    percent = any(token.kind == "percent" for token in first.tokens + second.tokens)
    if first.units or second.units or percent:
        return "unit_or_percent_scale"
    if is_denied(step) or _OTHER_ARITHMETIC.search(step):
        return "hypothetical"
    return None


# --- rounding of operands ---


def _within_operand_rounding(first: Run, second: Run, left: Fraction, right: Fraction) -> bool:
    """Whether operands such as 3.33 may stand for unrounded numbers that would make the equation true."""
    tolerance = Fraction(0)
    for run, value in ((first, left), (second, right)):
        decimals = [token for token in run.numbers if token.places >= 2]
        if len(decimals) > _MANY_DECIMALS:
            return True
        for decimal in decimals:
            half = Fraction(1, 2 * 10**decimal.places)
            moved = value_or_none(_replaced(run, decimal, (decimal.value or Fraction(0)) + half))
            if moved is None:
                return True
            tolerance += abs(moved - value)
    return abs(left - right) <= tolerance


def _replaced(run: Run, replaced: Token, value: Fraction) -> list[Token]:
    """Return the tokens of a run in which one of them has another value."""
    return [token._replace(value=value) if token is replaced else token for token in run.tokens]


# --- other readings of the same signs ---


def _plain_calculation(run: Run) -> bool:
    """Whether a side is a calculation in signs, so that "is" after it can only mean equality."""
    signs = [token for token in run.tokens if token.kind in ("operator", "of")]
    return not run.units and any(token.text != "/" and token.start < token.end for token in signs)


def _function_of(relation: str, lead: list[str]) -> bool:
    """Whether the sentence speaks of something of the expression: "the last digit of 11^2 is 1"."""
    if relation == "is" and _STATISTICS & set(lead):
        return True  # "the mean of the terms in the sum 6 + 16 is 11"
    if "of" not in lead[-2:]:
        return False
    amounts = {"total", "sum", "cost", "amount", "value"}
    return bool(_FUNCTIONS & set(lead[-6:])) or (relation == "is" and not amounts & set(lead[-4:]))


def _share_of_something(run: Run) -> bool:
    """Whether a side is a proper fraction of a thing: "1/2 of the cake = 4 slices"."""
    numbers = [token.value for token in run.numbers]
    if run.operators != 1 or not run.trailing:
        return False
    if len(numbers) == 1:
        return True
    divides = any(token.text == "/" for token in run.tokens)
    return divides and len(numbers) == 2 and numbers[0] is not None and numbers[0] < (numbers[1] or 0)


def _range(run: Run) -> bool:
    """Whether a dash without spaces joins a lower and a higher whole number: "weeks 1-2"."""
    if len(run.tokens) != 3 or run.tokens[1].text != "-" or run.tokens[1].gap:
        return False
    low, high = run.tokens[0].value, run.tokens[2].value
    return low is not None and high is not None and low < high


def _other_reading(run: Run, wanted: Fraction) -> bool:
    """Whether another order of operations gives the wanted value, such as left to right."""
    if any(token.kind == "percent" for token in run.tokens) and any(
        token.text in ("+", "-") for token in run.tokens
    ):
        literal, amount = value_or_none(run.tokens, _SHARES_OF_ONE), run.numbers[0].value
        if literal is not None and amount and wanted in (literal, amount * (1 + literal - amount)):
            return True  # each of 1,000 + 10% + 10% may be of the 1,000
    return run.operators > 1 and (
        _tight_slashes(run, wanted)
        or _before_of(run, wanted)
        or any(value_or_none(run.tokens, order) == wanted for order in _OTHER_ORDERS)
    )


def _before_of(run: Run, wanted: Fraction) -> bool:
    """Whether the equation begins after "of": "she saves 10% of the $400 + $1580 = $1980"."""
    place = next((place for place, token in enumerate(run.tokens) if token.kind == "of"), None)
    return place is not None and value_or_none(run.tokens[place + 1 :]) == wanted


def _tight_slashes(run: Run, wanted: Fraction) -> bool:
    """Whether slashes without spaces bind tighter than spaced ones: "7/12 / 1/12" as two fractions."""
    slashes = [place for place, token in enumerate(run.tokens) if token.text == "/"]
    spaced = [token.text == "/" and token.gap for token in run.tokens]
    if len(slashes) == 3 and not any(spaced):  # 3/4÷1/2
        spaced[slashes[1]] = True
    if not any(spaced):
        return False
    tokens = [
        token._replace(text="÷") if loose else token for token, loose in zip(run.tokens, spaced, strict=True)
    ]
    return value_or_none(tokens, _TIGHT_SLASHES) == wanted


def _defined_operation(first: Run, second: Run) -> bool:
    """Whether the problem seems to give a sign its own meaning: ``2 * 6 = 2^6 + 6^2``."""
    signs = {token.text for token in first.tokens if token.kind == "operator"}
    if signs != {"*"} or len(first.tokens) > 7 or not second.operators:
        return False
    if not any(token.text in "+-^" for token in second.tokens):
        return False
    ours, theirs = ({token.value for token in run.numbers} for run in (first, second))
    return len(ours & theirs) >= min(2, len(ours))


def _near_pi(first: Run, second: Run, left: Fraction, right: Fraction) -> bool:
    """Whether one side has π, the other a number that may have been calculated with 3 or 3.14."""
    sides = [any(token.text == "π" for token in run.tokens) for run in (first, second)]
    return sides[0] != sides[1] and abs(left - right) <= max(abs(left), abs(right)) * (PI - 3) / PI
