"""Units and percent signs between the two sides of an equation.

Contract: `mixed_units` converts a sum of units of one dimension exactly; `scale_differs` says whether a false equation may
be true after a conversion that its writer passed over. Not here: the table of units (`units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from sparring.oracles.literals import PI
from sparring.oracles.numbers import IRRATIONAL_PRECISION, EvaluationError, to_postfix, value_of
from sparring.oracles.run import Run
from sparring.oracles.tokens import Token
from sparring.oracles.units import PLACES, Unit
from sparring.oracles.words import DOUBTFUL_WORDS, word_set

# Ratios between units that people pass over without writing them down.
FACTORS = frozenset(
    (2, 3, 4, 5, 7, 8, 10, 12, 16, 20, 24, 25, 30, 36, 50, 52, 60, 100, 144, 365, 1000, 1760, 2000, 3600)
)  # fmt: skip
_FAMILIES = [
    word_set(family)
    for family in (
        "seconds sec secs minute minutes min mins hour hours hr hrs h day days week weeks month months year "
        "years yr yrs decade decades century centuries",
        "inch inches in foot feet ft yard yards mile miles mi mm millimeters cm centimeter centimeters m "
        "meter meters km kilometer kilometers",
        "cent cents penny pennies nickel nickels dime dimes quarters dollar dollars buck bucks",
        "ounce ounces oz pound pounds lb lbs ton tons mg g gram grams kg kilogram kilograms",
        "cup cups pint pints quart quarts gallon gallons liter liters litre litres ml milliliters tablespoon "
        "tablespoons teaspoon teaspoons",
    )
]
_CONVERTIBLE = frozenset().union(*_FAMILIES)
_ANGLE = re.compile(r"°|\\circ|degrees?|radians?")
_SCALED = re.compile(
    r"%|percent|cents?\b|¢|\$|pennies|dimes?|nickels?|quarters?|thousand|million|dollar", re.IGNORECASE
)


def value_or_none(
    run: Run,
    number: Callable[[Token], Fraction] | None = None,
    strength: dict[str, int] | None = None,
    *,
    right_first: bool = False,
    shares: bool = False,
) -> Fraction | None:
    """Return the value of a run, possibly in another reading (see `numbers`), ``None`` without one."""
    try:
        postfix = to_postfix(run.tokens, strength=strength, right_first=right_first)
        return value_of(postfix, number, shares=shares)
    except EvaluationError:
        return None


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
    except EvaluationError:
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
        power = _power_of(first, units)
    except EvaluationError:
        return False
    same = {unit.name.partition("^")[0] for unit in units.values()} == {result.name.partition("^")[0]}
    if power != int(exponent or 1):
        return same and (base in ("length", "money") or power == 0 or len(units) > 1)
    if same or exponent or any("^" in unit.name for unit in units.values()):
        return False
    ratios = {max(unit.factor / result.factor, result.factor / unit.factor) for unit in units.values()}
    return not _products(first) & (ratios - {Fraction(1)})


def _power_of(run: Run, units: Mapping[int, Unit]) -> int:
    """Return to which power the dimension of these units is raised in a run's value.

    Raises:
        EvaluationError: different powers are added, or something is raised.
    """
    powers_of = {
        id(run.tokens[place]): int(unit.dimension.partition("^")[2] or 1) for place, unit in units.items()
    }
    powers: list[int] = []
    for item in to_postfix(run.tokens):
        if isinstance(item, Token):
            powers.append(powers_of.get(id(item), 0))
        elif item in ("*", "/", "of"):
            right = powers.pop()
            powers[-1] += -right if item == "/" else right
        elif item in ("+", "-", "and"):
            right = powers.pop()
            if powers[-1] != right:
                raise EvaluationError("not_numeric")
        elif powers[-1] or item == "^":
            raise EvaluationError("not_numeric")
    return powers.pop()


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
        EvaluationError: it has no value, or different powers are added.
    """
    factors = {id(run.tokens[place]): unit for place, unit in run.measures.items()}
    powers: list[int] = []
    for item in (postfix := to_postfix(run.tokens)):
        if isinstance(item, Token):
            powers.append(id(item) in factors and factors[id(item)].dimension != "count")
        elif item in ("*", "/", "of"):
            right = powers.pop()
            powers.append(powers.pop() + (-right if item == "/" else right))
        elif item in ("+", "-", "and"):
            right = powers.pop()
            if powers[-1] != right:
                raise EvaluationError("not_numeric")
        elif powers[-1] or item == "^":
            raise EvaluationError("not_numeric")
    value = value_of(
        postfix,
        lambda token: (
            (token.value or Fraction(0)) * (factors[id(token)].factor if id(token) in factors else 1)
        ),
    )
    return value, powers.pop()


def scale_differs(first: Run, second: Run, left: Fraction, right: Fraction, step: str) -> bool:
    """Whether the sides differ by a factor between units, with units or percent in the text."""
    units = [unit for unit in first.units + second.units if unit in _CONVERTIBLE]
    ratio = max(left / right, right / left) if left and right else Fraction(0)
    adds = any(token.kind == "operator" and token.text in "+-" for token in first.tokens)
    several = any(len({_singular(unit) for unit in units if unit in family}) > 1 for family in _FAMILIES)
    if adds and "cents" in units and "$" in step:
        return True  # "$2.75 + 50¢"
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
    bare = [
        Run(tokens=[token for token in run.tokens if token.kind != "percent"], operators=run.operators)
        for run in (first, second)
    ]
    one, other = (value_or_none(run) for run in bare)
    shown = next((token for token in second.tokens if token.kind == "number"), None)
    if one is None or other is None or shown is None:
        return False
    return one == other or (second.operators == 0 and abs(one - other) < Fraction(1, 10**shown.places))


def _singular(unit: str) -> str:
    short = {"hrs": "hour", "hr": "hour", "mins": "minute", "min": "minute", "feet": "foot", "lbs": "pound"}
    return short.get(unit, unit.removesuffix("s"))
