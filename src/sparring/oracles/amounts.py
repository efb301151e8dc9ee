r"""Numbers and amounts, as an answer writes them: ``3 1/2``, ``0.\overline{3}``, ``\frac{\pi}{2}``, "twenty-five km/h".

Contract: `amount` and `expression` understand all of a text, or say None. Nothing is evaluated or rounded. A known unit
has dimensions and an exact scale, so that two of them can be converted; a word that is no unit is a noun (``apples``) and
only its stem counts. Own rows are added to those of `units.py`, which serve the judging of prose and leave single letters
out. Not here: answers with parts (`answer_values.py`), values (`equality.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from sparring.oracles.expressions import FUNCTIONS, Node, number, parse, walk
from sparring.oracles.reading import UnreadableError, tokenize_formula
from sparring.oracles.units import SHORT_UNITS, UNITS
from sparring.oracles.words import CARDINALS, SCALES, SHARES, SHORT_WORDS, singular, word_set

Dimensions = tuple[tuple[str, int], ...]

# dimensions, size, spellings; + takes prefixes. Lengths are in meters, masses in grams, times in seconds, money in cents.
_ROWS = """
+ length:1 1 m meter metre
+ time:1 1 s second
+ mass:1 1 g gram
  mass:1 1 gm
  mass:1 1000000 t
+ mass:1 1000000 tonne
+ length:3 1/1000 l L liter litre
+ mass:1,length:1,time:-2 1000 N newton
+ mass:1,length:2,time:-2 1000 J joule
+ mass:1,length:2,time:-3 1000 W watt
+ mass:1,length:-1,time:-2 1000 Pa pascal
+ time:-1 1 Hz hertz
+ mass:1,length:2,time:-3,current:-1 1000 V volt
+ mass:1,length:2,time:-3,current:-2 1000 Ω ohm
+ current:1 1 A ampere amp
+ current:1,time:1 1 C
  current:1,time:1 1 coulomb
+ temperature:1 1 K
  temperature:1 1 kelvin
+ amount:1 1 mol mole
+ mass:1,length:2,time:-2 4184 cal calorie
+ mass:1,length:2,time:-2 1602176634/10000000000000000000000000 eV
+ data:1 8 B byte
+ data:1 1 bit
  length:1 1609344/1000 mi
  length:2 40468564224/10000000 acre
  length:2 10000 hectare ha
  length:1,time:-1 1609344/3600000 mph
  length:1,time:-1 1000/3600 kph
  length:1,time:-1 3048/10000 fps
  length:3 1/1000000 cc
  length:3 473176473/1000000000000 pt
  calendar:1 1 month
  calendar:1 12 year yr
  calendar:1 120 decade
  calendar:1 1200 century centuries
  angle:1 1 ° degree deg
  unit:1 1 unit
  radian:1 1 rad radian
  percent:1 1 % percent percentage pct
  money:1 100 $ USD
  money:1 1 ¢
  euro:1 100 € euro EUR
  sterling:1 100 £ GBP
  yen:1 1 ¥ yen
  celsius:1 1 celsius
  fahrenheit:1 1 fahrenheit
"""
_PREFIXES = {"k": 3, "c": -2, "m": -3, "μ": -6, "µ": -6, "n": -9, "p": -12, "M": 6, "G": 9, "T": 12, "d": -1}
_LONG_PREFIXES = {
    "kilo": 3, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "mega": 6, "giga": 9, "tera": 12,
}  # fmt: skip
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
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
_FUNCTIONS = FUNCTIONS | {"sqrt", "pi"}
_SCALE = re.compile(rf"({'|'.join(SCALES)})s?\b\s*(?:of\s+)?", re.I)
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """What is measured: dimensions with exponents, the size in base units, and the stems of nouns."""

    dimensions: Dimensions
    scale: Fraction
    nouns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Amount:
    """A number or an expression, with what it counts where that is said."""

    node: Node
    unit: Unit | None = None


# --- units ---


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[Counter[str], Fraction]]:
    table = {
        spelling: (Counter({"length": 3}), unit.factor / 1000)  # liters
        if unit.dimension == "volume"
        else (Counter({unit.dimension: 1}), unit.factor)
        for spelling, unit in (UNITS | SHORT_UNITS).items()
    }
    prefixed: list[str] = []
    for row in _ROWS.strip("\n").splitlines():
        dimensions, size, *spellings = row[2:].split()
        exponents = Counter(
            {name: int(power) for name, _, power in (one.partition(":") for one in dimensions.split(","))}
        )
        table |= dict.fromkeys(spellings, (exponents, Fraction(size)))
        prefixed += spellings if row[0] == "+" else []
    for spelling in prefixed:
        exponents, factor = table[spelling]
        prefixes = _PREFIXES if len(spelling) <= 3 else _LONG_PREFIXES
        for prefix, power in prefixes.items():
            table.setdefault(prefix + spelling, (exponents, factor * Fraction(10) ** power))
    return table


def _known(word: str) -> tuple[Counter[str], Fraction] | None:
    table, bare = _table(), word.rstrip(".")
    spellings = [bare]
    if len(bare) > 2:
        spellings += [bare.lower(), bare.lower().removesuffix("s"), bare.lower().removesuffix("es")]
    return next((table[one] for one in spellings if one in table), None)


_PIECE = re.compile(
    r"\s*(?:(?P<slash>/|÷|\bper\b)|(?P<times>[*·]|\\cdot|\\times)|(?P<word>[A-Za-zμµΩ][A-Za-zμµΩ'’-]*\.?|[°%$¢€£¥])"
    r"(?P<power>\s*\^\s*(?:\{\s*(?P<braced>[-+]?\d)\s*\}|(?P<bare>[-+]?\d)))?)"
)


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
        if piece["word"] is None:
            continue
        word, exponent = piece["word"], int(piece["braced"] or piece["bare"] or 1)
        lower = word.lower().rstrip(".")
        if lower in _LOGIC and not (lower == "in" and not said):
            return None
        if lower in _POWERS:
            if lower.endswith("ed"):  # what stands before
                exponents = Counter({name: count * _POWERS[lower] for name, count in exponents.items()})
                scale **= _POWERS[lower]
            else:
                power = _POWERS[lower]
            continue
        # "29 dollars in total": a preposition; "5 in": the inch
        rest = text[position:].strip()
        filler = lower in _FILLERS and (word == lower or len(word) > 1)
        known = None if filler and (rest or said or lower != "in") else _known(word)
        if known is not None:
            total = exponent * power * sign
            for name, one in known[0].items():
                exponents[name] += one * total
            scale *= known[1] ** total
            said = True
        elif not filler:
            if len(lower) < 3:
                return None  # letters of a formula
            nouns.add(singular(lower))
        power = 1
    kept = tuple(sorted((name, count) for name, count in exponents.items() if count))
    return Unit(kept, scale, frozenset(nouns))


# --- expressions ---

_SPACED_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\d.^_\\{])(\d+(?:\.\d+)?)[eE]([-+]?)(\d{1,4})(?![\d.A-Za-z])")
_LETTER_TIMES = re.compile(r"(?<=[\d)])\s*[xX]\s*(?=10\s*\^|10\*\*)")
_MIXED = re.compile(
    r"([-+]?)\s*(\d+)(?:\s*\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))"
    r"|(?:\s+and\s+|\s+|-|\s*\+\s*)(\d+)\s*/\s*(\d+))"
)
_REPEATING = re.compile(
    r"(-?)\s*(\d*)\.(?:(\d*)(?:\\overline\s*\{?\s*(\d+)\s*\}?|\((\d+)\)|\\bar\s*\{?\s*(\d+)\s*\}?)"
    r"|(\d*?)(\d{1,6}?)(\8{2,})(?:\.\.\.|\\[lcd]?dots))"
)


@lru_cache(maxsize=8192)
def expression(text: str) -> Node | None:
    """Return the tree of an expression; None where it is none that is understood."""
    text = text.strip()
    text = _SCIENTIFIC.sub(lambda match: f"({match[1]}*10^{{{match[2].strip('+')}{int(match[3])}}})", text)
    text = _LETTER_TIMES.sub("*", text)
    if _SPACED_THOUSANDS.fullmatch(text.lstrip("-+")):
        text = text.replace(" ", "")
    text = re.sub(r"(?<![\d.,])0+(?=\d)", "", text) if re.fullmatch(r"[-+]?[\d.,]+", text) else text
    if (mixed := _MIXED.fullmatch(text)) is not None:
        sign, whole, *parts = mixed.groups()
        above, below = (int(part) for part in parts if part)
        if above < below:
            value = int(whole) + Fraction(above, below)
            return number(-value if sign == "-" else value)
    repeating = repeating_decimal(text)
    if repeating is not None:
        return number(repeating)
    if re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+|sqrt|sin|cos|tan|log", "", text)):
        return None  # words are no products of letters
    if any(word in SHORT_WORDS for word in (text.lower(), *re.findall(r"(?<= )[a-z]{2}(?![A-Za-z])", text))):
        return None
    try:
        return _proper(parse(tokenize_formula(text)))
    except (UnreadableError, ValueError, RecursionError):
        return None


def _proper(node: Node) -> Node | None:
    """Return the tree with whole numbers before improper fractions as factors; None for what an answer cannot hold."""
    kinds = {one.kind for one in walk(node)}
    if "plusminus" in kinds:
        return None
    if "application" in kinds or "mixed" in kinds:
        parts = tuple(proper for part in node.parts if (proper := _proper(part)) is not None)
        if len(parts) < len(node.parts):
            return None
        node = node._replace(parts=parts)
        if node.kind == "application":
            if len(node.parts) != 1 or len(node.name) > 1 or node.name in "fghFGHP":
                return None
            return Node("product", (Node("variable", name=node.name), node.parts[0]))
        if node.kind == "mixed":
            above, below = node.parts[1].parts
            if not above.value < below.value:
                return node._replace(kind="product")
    return node


def repeating_decimal(text: str) -> Fraction | None:
    r"""Return the value of ``0.1\overline{6}``, ``0.(3)`` or ``0.333...``, None for anything else."""
    match = _REPEATING.fullmatch(text)
    if match is None:
        return None
    start = match[3] or match[7] or ""
    again = next(filter(None, match.group(4, 5, 6, 8)))
    shift = 10 ** len(start)
    value = Fraction(int((match[2] or "0") + start), shift) + Fraction(
        int(again), shift * (10 ** len(again) - 1)
    )
    return -value if match[1] else value


# --- amounts ---


def amount(text: str) -> Amount | None:
    """Return the number or expression that a text is, with its unit."""
    if text.count("%") + text.count("$") > 2:
        return None
    money = re.fullmatch(r"([-+]?)\s*(US\s?\$|USD|\$|€|£|¥)\s*([-+]?[\d.\\(].*)", text)
    if money is not None:
        return _money(money[2].replace("US", "").strip() or "USD", money[1] + money[3])
    text = re.sub(r"^(\d+)(?:st|nd|rd|th)\b", r"\1", text)
    if text.lower() in _ORDINALS:
        return Amount(number(_ORDINALS.index(text.lower()) + 1))
    spelled = _spelled(text)
    if spelled is not None:
        return spelled
    for head, tail in _tails(text):
        node = expression(head)
        behind = None if node is None else _unit_behind(tail)
        if node is None or behind is None:
            continue
        factor, unit = behind
        if re.fullmatch(r"[A-Za-z]", head) and (unit is None or not unit.dimensions):
            continue  # an article
        return Amount(node if factor == 1 else Node("product", (node, number(factor))), unit)
    node = expression(text)
    return None if node is None else Amount(node)


def _money(currency: str, text: str) -> Amount | None:
    """Return "$5", "$5 million", "$5 per hour" as an amount."""
    inner, unit = amount(text), read_unit(currency)
    if inner is None or unit is None:
        return None
    if inner.unit is None or (not inner.unit.dimensions and unit.dimensions):
        return replace(inner, unit=replace(unit, nouns=inner.unit.nouns if inner.unit else frozenset()))
    if inner.unit.dimensions == unit.dimensions:
        return inner
    behind = re.search("[A-Za-z/]", text)
    combined = None if behind is None else read_unit(f"$ {text[behind.start() :]}")
    return None if combined is None else replace(inner, unit=combined)


_UNIT_BEGINS = re.compile(
    r"(?<=[\d)}!|A-Za-z. ])\s*(?=[A-Za-zμµΩ%$¢€£¥/]|\^\\circ|\\(?:cdot|times) )|(?<=\d)-(?=[a-z]{3})"
)


def _tails(text: str) -> Iterator[tuple[str, str]]:
    """Yield (number, unit) for every place where a unit may begin."""
    for match in _UNIT_BEGINS.finditer(text):
        head, tail = text[: match.start()].strip(), text[match.end() :].strip()
        if not head or not re.search(r"\d|\\pi|\\sqrt|\\frac|^[a-z]$", head) or head[-1] in "+-*/^_=(,":
            continue
        if re.search(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])", head) and text.startswith("^", match.end()):
            continue  # an angle inside
        if re.search(r"\\[A-Za-z]+$", head) and not re.search(r"\\(?:pi|circ)$", head):
            continue  # inside of a command
        if re.search(r"[A-Za-z]$", head) and re.match(r"[A-Za-z]", text[match.start() :]):
            continue  # inside of a word
        yield head, tail


def _unit_behind(tail: str) -> tuple[Fraction, Unit | None] | None:
    """Return the factor ("million") and the unit that stand behind a number; None if it is something else."""
    factor = Fraction(1)
    while (word := _SCALE.match(tail)) is not None:
        factor *= SCALES[word[1].lower()]
        tail = tail[word.end() :].strip()
        if not tail:
            return factor, None
    tail = re.sub(r"\^\\circ\s*(?:F|Fahrenheit)\b", " fahrenheit", tail)
    tail = re.sub(r"\^\\circ\s*(?:C|Celsius)\b|degrees? celsius", " celsius", tail, flags=re.I)
    tail = re.sub(r"\^\\circ", " ° ", tail).strip()
    if re.search(r"\d", re.sub(r"\^\s*\{?\s*[-+]?\d\s*\}?", "", tail)):
        return None
    if "\\" in re.sub(r"\\(?:cdot|times)", "", tail):
        return None
    words = re.findall(r"[A-Za-zμµΩ]+", tail)
    if any(word in _FUNCTIONS for word in words):
        return None
    if len(words) == 1 and tail == words[0] and len(tail) < 3 and _known(tail) is None:
        return None  # letters: factors of an expression
    if words and all(len(word) == 1 for word in words) and not all(map(_known, words)):
        return None
    unit = read_unit(tail)
    return None if unit is None else (factor, unit)


def compound(text: str) -> Amount | None:
    """Return "5 feet 3 inches", "2 hours and 30 minutes", "3 dollars and 50 cents" as one amount."""
    if not re.search(r"\d.*\d", text):
        return None
    text = re.sub(r"^\$\s*(\d[\d,]*(?:\.\d+)?)", r"\1 $", text)
    found = re.findall(r"(\d[\d,]*(?:\.\d+)?)\s*([A-Za-z]+|\$|%)\.?(?:\s*,?\s*(?:and\s+)?|$)", text)
    read = "".join(count.replace(",", "") + word for count, word in found).replace("and", "")
    if len(found) < 2 or read != "".join(re.findall(r"[\dA-Za-z.$%]", text)).replace("and", ""):
        return None
    units = [read_unit(word) for _, word in found]
    kept = [unit for unit in units if unit is not None and unit.dimensions and not unit.nouns]
    if len(kept) < len(units) or len({unit.dimensions for unit in kept}) != 1:
        return None
    if any(one.scale <= other.scale for one, other in pairwise(kept)):
        return None  # "3 feet and 5 feet" are two
    sizes = [
        Fraction(count.replace(",", "")) * unit.scale for (count, _), unit in zip(found, kept, strict=True)
    ]
    return Amount(number(sum(sizes)), Unit(kept[0].dimensions, Fraction(1)))


# --- numbers in words ---


def _spelled(text: str) -> Amount | None:
    """Return a number in words, with a unit behind: "twenty-five", "one half", "three apples", "5 and a half"."""
    half = re.fullmatch(r"(-?\d+) and (?:a|one) (half|third|quarter)\b\s*(.*)", text)
    if half is not None:
        part = SHARES[half[2]]
        value: Fraction | None = int(half[1]) + (-part if half[1][0] == "-" else part)
        rest = half[3]
    else:
        words = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower()).split()
        taken, value = _spelled_value(words)
        rest = " ".join(words[taken:])
    if value is None:
        return None
    if not rest:
        return Amount(number(value))
    behind = None if re.search(r"\d", rest) else _unit_behind(rest)
    return None if behind is None else Amount(number(value * behind[0]), behind[1])


def _spelled_value(words: list[str]) -> tuple[int, Fraction | None]:
    """Return how many words spell a number at the beginning, and the number."""
    sign, place = (-1, 1) if words[:1] in (["minus"], ["negative"]) else (1, 0)
    total = part = None
    position = place
    for position in range(place, len(words) + 1):
        word = words[position] if position < len(words) else ""
        if word in CARDINALS:
            part = (part or 0) + CARDINALS[word]
        elif word == "hundred" and part:
            part *= 100
        elif word in SCALES and word != "dozen" and part:
            total, part = (total or 0) + part * SCALES[word], None
        elif (
            word != "and" or not (part or total) or not CARDINALS.keys() & words[position + 1 : position + 2]
        ):
            break
    if total is None and part is None:
        if words[place:] in (["half"], ["a", "half"]):
            return len(words), Fraction(sign, 2)
        return (place + 2, Fraction(12 * sign)) if words[place : place + 2] == ["a", "dozen"] else (0, None)
    value = Fraction((total or 0) + (part or 0))
    share = SHARES.get(words[position]) if position < len(words) else None
    if share is not None and (len(words) == position + 1 or words[position + 1] == "of"):
        return len(words), sign * value * share
    return position, sign * value
