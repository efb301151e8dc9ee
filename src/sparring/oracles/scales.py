"""Units and percent signs between the two sides of an equation.

Contract: `mixed_units` converts a sum of units of one dimension exactly; `scale_differs` says whether a false equation may
be true after a conversion that its writer passed over. Not here: the table of units (`units.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from sparring.oracles.numbers import EvaluationError, to_postfix, value_of
from sparring.oracles.run import Run
from sparring.oracles.tokens import Token
from sparring.oracles.words import word_set

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
    """Return both sides in base units where every number of a sum and its result carry a unit of one dimension.

    "2 hours + 30 minutes = 150 minutes" gives (9000, 9000). ``None`` where that is not so, or all units agree.
    """
    units = [*first.measures.values(), *second.measures.values()]
    if len({unit.name for unit in units}) < 2 or len({unit.dimension for unit in units}) != 1:
        return None
    if not first.operators or second.operators or len(second.tokens) != 1 or not second.measures:
        return None
    for place, token in enumerate(first.tokens):
        if token.text not in "+-" and place not in first.measures:
            return None

    def in_base(run: Run) -> Fraction | None:
        sizes = {id(run.tokens[place]): unit.factor for place, unit in run.measures.items()}
        return value_or_none(run, lambda token: (token.value or Fraction(0)) * sizes[id(token)])

    sides = in_base(first), in_base(second)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def scale_differs(first: Run, second: Run, left: Fraction, right: Fraction, step: str) -> bool:
    """Whether the sides differ by a factor between units, with units or percent in the text."""
    units = [unit for unit in first.units + second.units if unit in _CONVERTIBLE]
    ratio = max(left / right, right / left) if left and right else Fraction(0)
    adds = any(token.kind == "operator" and token.text in "+-" for token in first.tokens)
    several = any(len({_singular(unit) for unit in units if unit in family}) > 1 for family in _FAMILIES)
    if several and (ratio in FACTORS or adds):
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
