"""Units of measurement: which words name one, what it measures, and how many base units it holds.

Contract: an open table of exact factors, one row per unit; `UNITS` finds a unit by any of its spellings. A word that is
not here is a count (``apples``) and has no dimension. An own table, because a general parser of units reads prose too
eagerly (``cats`` as centi-atmospheres) and takes far longer than the verdict; the tests compare every row with pint. Not
here: units that mean several things (``ton``, ``quarter``), prices of currencies, temperature scales, and factors that
are customs rather than definitions (weeks in a month).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_TABLE = """
time      second   1          seconds sec secs
time      minute   60         minutes min mins
time      hour     3600       hours hr hrs
time      day      86400      days
time      week     604800     weeks
length    millimeter 1/1000   millimeters millimetre millimetres mm
length    centimeter 1/100    centimeters centimetre centimetres cm
length    meter    1          meters metre metres
length    kilometer 1000      kilometers kilometre kilometres km kms
length    inch     254/10000  inches
length    foot     3048/10000 feet ft
length    yard     9144/10000 yards yd yds
length    mile     1609344/1000 miles
mass      milligram 1/1000    milligrams mg
mass      gram     1          grams
mass      kilogram 1000       kilograms kg kgs
mass      ounce    28349523125/1000000000 ounces oz
mass      pound    45359237/100000 pounds lb lbs
volume    milliliter 1/1000   milliliters millilitre millilitres ml
volume    liter    1          liters litre litres
volume    teaspoon 492892159375/100000000000000 teaspoons tsp
volume    tablespoon 1478676478125/100000000000000 tablespoons tbsp
volume    cup      2365882365/10000000000 cups
volume    pint     473176473/1000000000 pints
volume    quart    946352946/1000000000 quarts qt qts
volume    gallon   3785411784/1000000000 gallons gal gals
money     cent     1          cents penny pennies
money     nickel   5          nickels
money     dime     10         dimes
money     dollar   100        dollars buck bucks
"""
# Names whose dimension is left open: weights and volumes share the ounce, money and weights the pound.
AMBIGUOUS = frozenset(("ounce", "pound"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its name in the singular, what it measures, and its size in the base unit of that dimension."""

    name: str
    dimension: str
    factor: Fraction


def _read_table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for row in _TABLE.strip().splitlines():
        dimension, name, factor, *spellings = row.split()
        unit = Unit(name, dimension, Fraction(factor))
        units.update(dict.fromkeys((name, *spellings), unit))
    return units


UNITS: dict[str, Unit] = _read_table()
"""Spelling → unit."""

SHORT_UNITS = {
    short: UNITS[long]
    for short, long in (
        ("h", "hour"),
        ("g", "gram"),
        ("m", "meter"),
        ("s", "second"),
        ("l", "liter"),
        ("in", "inch"),
    )
}
"""Spellings that are units only beside another unit of their dimension: ``5 ft 7 in``, ``3 kg + 500 g``."""

PLACES = {
    spelling: Unit(name, "count", Fraction(value))
    for name, value in (
        ("one", "1"), ("ten", "10"), ("hundred", "100"), ("thousand", "1000"), ("ten-thousand", "10000"),
        ("hundred-thousand", "100000"), ("million", "1000000"), ("billion", "1000000000"), ("half", "1/2"),
        ("third", "1/3"),
        ("fourth", "1/4"), ("fifth", "1/5"), ("sixth", "1/6"), ("eighth", "1/8"), ("tenth", "1/10"), ("hundredth", "1/100"),
        ("thousandth", "1/1000"), ("dozen", "12"), ("score", "20"), ("gross", "144"),
    )
    for spelling in (name, "halves" if name == "half" else name + "s")
}  # fmt: skip
"""Words after a number that say what it counts: ``5 tens + 3 ones``."""


_INEXACT = {
    spelling: (name, dimension)
    for name, dimension, spellings in (
        ("month", "time", "month months"), ("year", "time", "year years yr yrs"), ("decade", "time", "decade decades"),
        ("century", "time", "century centuries"), ("ton", "mass", "ton tons tonnes"), ("mile", "length", "mi"),
        ("quarter", "money", "quarters"),
    )
    for spelling in spellings.split()
}  # fmt: skip


def unit_of(word: str, *, short: bool = False) -> tuple[str, str] | None:
    """Return name and dimension of the unit of measurement that a word spells, also of those without an exact size.

    With `short`, also of a letter that may be one.
    """
    unit = UNITS.get(word) or (SHORT_UNITS.get(word) if short else None)
    return _INEXACT.get(word) if unit is None else (unit.name, unit.dimension)


def unit_or_place(word: str) -> Unit | None:
    """Return what a word after a number says of it."""
    return UNITS.get(word) or PLACES.get(word)


POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
"""Words before a unit that raise it: ``12 square feet``."""


def raised(unit: Unit, power: int) -> Unit:
    """Return the square or cube of a unit, a unit of its own dimension."""
    if power == 1:
        return unit
    return Unit(f"{unit.name}^{power}", f"{unit.dimension}^{power}", unit.factor**power)


@lru_cache(maxsize=64)
def conversion_factors(dimensions: frozenset[str]) -> frozenset[Fraction]:
    """Return the whole-number ratios between two units of one of the dimensions: 60, 3600, 24, 7, 12, 16, 100, …"""
    units = {unit for unit in UNITS.values() if unit.dimension in dimensions}
    ratios = {
        one.factor / other.factor
        for one in units
        for other in units
        if one.dimension == other.dimension and one.factor > other.factor
    }
    return frozenset(ratio for ratio in ratios if ratio.denominator == 1)
