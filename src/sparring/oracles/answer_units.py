"""Units behind an answer: ``km/h``, ``m s^{-1}``, "square inches per minute" → what is measured, and how big.

Contract: `read_unit` understands all of a text as a unit, or says None. Known units have dimensions and an exact scale, so
that two of them can be converted; a word that is no unit is a noun (``apples``) and only its stem counts. Own rows are
added to those of `units.py`, which serve the judging of prose and leave single letters out. Not here: numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from sparring.oracles.units import UNITS
from sparring.oracles.words import word_set

Dimensions = tuple[tuple[str, int], ...]

_ROWS = """
m length:1 1
s time:1 1
h time:1 3600
g mass:1 1
gm mass:1 1
t mass:1 1000000
tonne mass:1 1000000
l length:3 1/1000
L length:3 1/1000
N mass:1,length:1,time:-2 1000
newton mass:1,length:1,time:-2 1000
J mass:1,length:2,time:-2 1000
joule mass:1,length:2,time:-2 1000
W mass:1,length:2,time:-3 1000
watt mass:1,length:2,time:-3 1000
Pa mass:1,length:-1,time:-2 1000
pascal mass:1,length:-1,time:-2 1000
Hz time:-1 1
hertz time:-1 1
V mass:1,length:2,time:-3,current:-1 1000
volt mass:1,length:2,time:-3,current:-1 1000
A current:1 1
ampere current:1 1
amp current:1 1
C current:1,time:1 1
coulomb current:1,time:1 1
K temperature:1 1
kelvin temperature:1 1
mol amount:1 1
mole amount:1 1
cal mass:1,length:2,time:-2 4184
calorie mass:1,length:2,time:-2 4184
eV mass:1,length:2,time:-2 1602176634/10000000000000000000000000
B data:1 8
byte data:1 8
bit data:1 1
ohm mass:1,length:2,time:-3,current:-2 1000
Ω mass:1,length:2,time:-3,current:-2 1000
in length:1 254/10000
inch length:1 254/10000
ft length:1 3048/10000
yd length:1 9144/10000
mi length:1 1609344/1000
acre length:2 40468564224/10000000
hectare length:2 10000
ha length:2 10000
mph length:1,time:-1 1609344/3600000
kph length:1,time:-1 1000/3600
fps length:1,time:-1 3048/10000
cc length:3 1/1000000
qt length:3 946352946/1000000000000
pt length:3 473176473/1000000000000
gal length:3 3785411784/1000000000000
month calendar:1 1
year calendar:1 12
yr calendar:1 12
decade calendar:1 120
century calendar:1 1200
centuries calendar:1 1200
° angle:1 1
degree angle:1 1
deg angle:1 1
unit unit:1 1
rad radian:1 1
radian radian:1 1
% percent:1 1
percent percent:1 1
percentage percent:1 1
pct percent:1 1
$ money:1 100
USD money:1 100
¢ money:1 1
€ euro:1 100
euro euro:1 100
EUR euro:1 100
£ sterling:1 100
GBP sterling:1 100
¥ yen:1 1
yen yen:1 1
celsius celsius:1 1
fahrenheit fahrenheit:1 1
"""
_PREFIXED = {"m", "s", "g", "l", "L", "N", "J", "W", "Pa", "Hz", "V", "A", "C", "K", "mol", "cal", "eV", "B", "Ω",
             "newton", "joule", "watt", "pascal", "hertz", "volt", "ampere", "amp", "meter", "metre", "gram", "liter",
             "litre", "second", "byte", "bit", "mole", "calorie", "ohm", "tonne"}  # fmt: skip
_PREFIXES = {"k": 3, "c": -2, "m": -3, "μ": -6, "µ": -6, "n": -9, "p": -12, "M": 6, "G": 9, "T": 12, "d": -1}
_LONG_PREFIXES = {
    "kilo": 3,
    "centi": -2,
    "milli": -3,
    "micro": -6,
    "nano": -9,
    "mega": 6,
    "giga": 9,
    "tera": 12,
}
_BASE = {"time": "time", "length": "length", "mass": "mass", "money": "money"}
_FILLERS = word_set(
    """
    the a an of in total altogether all each more left remaining per for whole exactly long wide high tall
    old away on at his her their its it overall combined approximately about roughly only way ways
    """
)
"""Words that say nothing about what is counted."""
_LOGIC = word_set(
    """
    not or nor and plus minus times than less to through if unless except but sin cos tan log ln exp sqrt pi where when
    is are was were equals equal has have between either neither mod over divided multiplied into
    """
)
"""Words that a unit does not hold; a text with them says something else."""
_PIECE = re.compile(
    r"\s*(?:(?P<slash>/|÷|\bper\b)|(?P<times>[*·]|\\cdot|\\times)|(?P<word>[A-Za-zμµΩ][A-Za-zμµΩ'’-]*\.?|[°%$¢€£¥])"
    r"(?P<power>\s*\^\s*(?:\{\s*(?P<braced>[-+]?\d)\s*\}|(?P<bare>[-+]?\d)))?)"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is measured: dimensions with exponents, the size in base units, and the stems of nouns."""

    dimensions: Dimensions
    scale: Fraction
    nouns: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[Counter[str], Fraction]]:
    table: dict[str, tuple[Counter[str], Fraction]] = {}
    for spelling, unit in UNITS.items():
        if unit.dimension == "volume":
            table[spelling] = (Counter({"length": 3}), unit.factor / 1000)
        else:
            # units.py has grams, cents, seconds and metres as bases
            table[spelling] = (Counter({_BASE[unit.dimension]: 1}), unit.factor)
    for row in _ROWS.strip().splitlines():
        spelling, dimensions, size = row.split()
        exponents = Counter(
            {name: int(power) for name, _, power in (one.partition(":") for one in dimensions.split(","))}
        )
        table[spelling] = (exponents, Fraction(size))
    for spelling in _PREFIXED:
        exponents, factor = table[spelling]
        prefixes = _PREFIXES if len(spelling) <= 3 else _LONG_PREFIXES
        for prefix, power in prefixes.items():
            table.setdefault(prefix + spelling, (exponents, factor * Fraction(10) ** power))
    return table


def is_unit(word: str) -> bool:
    """Return whether a word names a known unit."""
    return _known(word) is not None


def _known(word: str) -> tuple[Counter[str], Fraction] | None:
    table = _table()
    bare = word.rstrip(".")
    candidates = [bare]
    if len(bare) > 2:
        candidates += [bare.lower(), bare.lower().removesuffix("s"), bare.lower().removesuffix("es")]
    return next((table[one] for one in candidates if one in table), None)


def read_unit(text: str) -> Unit | None:
    """Return the unit that a text is, nouns and all; None where it holds anything else."""
    exponents: Counter[str] = Counter()
    scale, nouns, sign, power = Fraction(1), set[str](), 1, 1
    position, said = 0, False
    text = text.strip().rstrip(".,;")
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None or piece.end() == position:
            return None
        position = piece.end()
        if piece["slash"]:
            sign = -1
            continue
        if piece["times"]:
            continue
        word, exponent = piece["word"], int(piece["braced"] or piece["bare"] or 1)
        lower = word.lower().rstrip(".")
        if lower in _LOGIC and not (lower == "in" and not said):
            return None
        if lower in ("square", "sq", "cubic", "cu", "squared", "cubed"):
            wanted = 2 if lower.startswith("s") else 3
            if lower.endswith("ed"):
                for name in list(exponents):
                    exponents[name] *= wanted
                scale **= wanted
            else:
                power = wanted
            continue
        # "29 dollars in total": a preposition; "5 in": the inch
        rest = text[position:].strip()
        filler = lower in _FILLERS and (word == lower or len(word) > 1)
        known = None if filler and (rest or said or lower != "in") else _known(word)
        if known is None:
            if filler:
                power = 1
                continue
            if len(lower) < 3:
                return None  # letters of a formula
            nouns.add(_stem(lower))
        else:
            total = exponent * power * sign
            for name, one in known[0].items():
                exponents[name] += one * total
            scale *= known[1] ** total
            said = True
        power = 1
    kept = tuple(sorted((name, count) for name, count in exponents.items() if count))
    return Unit(kept, scale, frozenset(nouns))


def _stem(noun: str) -> str:
    for ending, instead in (
        ("ies", "y"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("xes", "x"),
        ("sses", "ss"),
        ("s", ""),
    ):
        if noun.endswith(ending) and len(noun) > len(ending) + 1:
            return noun.removesuffix(ending) + instead
    return noun
