r"""What an answer is: text, LaTeX or plain, → a number with a unit, a set, an interval, an option, words, …

Contract: `read` returns the readings of an answer, most likely first; several where a writing means several things
(``(0,1)`` is a point and an interval, ``10:30`` a time and a ratio), none where it is not understood. All of the text is
read or nothing: numbers in a sentence that says more than them are not fished out. Nothing is evaluated; length and
nesting are bounded. Dress does not count: mathematics signs, markdown, spacing commands, separators of thousands,
``\text``, a lead ("the answer is", "approximately"), a clause, noun or full stop behind.

Not here: whether two answers are equal (`equality.py`); numbers and units (`amounts.py`); trees (`expressions.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

from sparring.oracles.amounts import Amount, amount, compound, expression, repeating_decimal
from sparring.oracles.expressions import Node, number, variables
from sparring.oracles.precise import approximate
from sparring.oracles.reading import BASE_PREFIXES, SUBSCRIPTS, VULGAR, closing_place
from sparring.oracles.words import CARDINALS, word_set
from sparring.traces.answers import MATHS, OPENING, bare
from sparring.traces.boxed import boxes

MAX_CHARACTERS = 400
_MAX_ITEMS = 60


class Choice(NamedTuple):
    """An option of a multiple choice: its capital letter, and the option's text where it is repeated."""

    letter: str
    text: str = ""


class Words(NamedTuple):
    """Words without a number: lower case, without articles and punctuation."""

    words: tuple[str, ...]


class Clock(NamedTuple):
    """A time of day: minutes after twelve, the half of the day (None: not said), and whether 24 hours are counted."""

    minutes: int
    half: Literal["am", "pm"] | None
    of_24: bool = False


class Ratio(NamedTuple):
    """Numbers with colons between."""

    parts: tuple[Node, ...]


class Items(NamedTuple):
    """Several answers: ``{…}`` set, ``(…)`` or ``<…>`` tuple, ``[…]`` bracket, or a bare list."""

    kind: Literal["set", "tuple", "bracket", "list"]
    items: tuple[tuple[Answer, ...], ...]


End = Node | Literal["-inf", "inf"]


class Piece(NamedTuple):
    """An interval: ends, and whether they belong to it."""

    low: End
    low_closed: bool
    high: End
    high_closed: bool


class Range(NamedTuple):
    """A union of intervals in order, and the variable that an inequality names."""

    variable: str | None
    pieces: tuple[Piece, ...]


class Named(NamedTuple):
    """A value given to a name: ``x = 5``, ``f(x) = x^2``, ``Area = 12``."""

    name: str
    value: tuple[Answer, ...]


class Equation(NamedTuple):
    """Two sides that are equal for some values of the variables."""

    left: Node
    right: Node


class Matrix(NamedTuple):
    """Rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


class Digits(NamedTuple):
    """A number written in a base."""

    sign: int
    digits: str
    base: int

    def value(self, base: int | None = None) -> Fraction | None:
        """Return the number, or what the digits mean in another base; None where it has no such digits."""
        base = base or self.base
        whole, _, part = self.digits.partition(".")
        if any(int(digit, 16) >= base for digit in whole + part):
            return None
        return self.sign * (int(whole + part, base) / Fraction(base) ** len(part))


Answer = Amount | Choice | Words | Clock | Ratio | Items | Range | Named | Equation | Matrix | Digits


# --- dress ---

_VULGAR = re.compile(rf"(?:(?<=\d)\s)?([{''.join(VULGAR)}])")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n")
_SIGNS = {
    **dict.fromkeys("−–‒﹣－", "-"),
    **dict.fromkeys("\u00a0\u2009\u202f\u2007\u2008\u200a\u2002\u2003\u2004\u2005\u2006\u3000", "\u2009"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("×✕", "*"), **dict.fromkeys("·⋅∙", "*"), "÷": "/", "⁄": "/", "∕": "/",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp ", "ℝ": r"\mathbb{R}", "°": r"^\circ ", "º": r"^\circ ",
    "∅": r"\emptyset ", "⟨": r"\langle ", "⟩": r"\rangle ", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "％": "%",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "θ": r"\theta ", "λ": r"\lambda ", "π": r"\pi ",
    "φ": r"\phi ", "ω": r"\omega ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "∠": r"\angle ",
}  # fmt: skip
_RENAMED = [
    (re.compile(r"\\(?:left|right|big|Big|bigg|Bigg)[lrm]?\s*\.?"
                r"(?=\\?[()\[\]{}|<>]|\\[lr]angle|\\[lr](?:brace|brack|vert))"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|boldsymbol|bm|phantom|hspace\{[^{}]*\})(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:degree|textdegree)(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\{\s*\}\s*(?=\^)"), ""),
    (re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ"), r"^\\circ "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:leqslant|leq|le)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geqslant|geq|ge)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\(?:neq|ne)(?![A-Za-z])|!=|\\not\s*="), r"\\ne "),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\(?:dfrac|tfrac|cfrac)(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:varnothing)(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\(?:Bbb|mathbf\s*\{?R\}?|mathbb)\s*\{?\s*R\s*\}?"), r"\\mathbb{R}"),
    (re.compile(r"\\ang\s*\{([^{}]*)\}"), r"\1^\\circ "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\#|\\&(?=\s*\d)"), ""),
]  # fmt: skip
_WORDY = re.compile(
    r"\\(?:text(?:rm|bf|it|sf|tt|normal)?|mbox|hbox|mathrm|mathbf|mathit|mathsf|operatorname\*?|emph)"
    r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_OUTER = re.compile(
    r"\\(?:text(?:rm|bf|it)?|math(?:rm|bf|it)|boldsymbol|bm|emph|underline|displaystyle)\s*\{"
)
_GAP = r"(?:(?<!\\)\\[,!;:> ]|\{\s*,\s*\}|,\s*\\!|\\,|\u2009|\\thinspace\s?|~)"
_THOUSANDS = re.compile(rf"(?<![\d.])(\d{{1,3}})((?:{_GAP}+\s*\d{{3}})+)(?!\d)")
_COMMA_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]|\.\d*,)")
_SPACES = re.compile(r"(?:(?<!\\)\\[,!;:> ]|\\q?quad(?![A-Za-z])|\\thinspace|\\enspace|~|\s|\u2009)+")
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1(?![\w*])")
_SENTENCE = re.compile(
    r"[A-Za-z][A-Za-z' -]{1,60}?\s(?:is|are|was|were|equals|costs?|needs?|has|have|had|got|gets|earned|earns|"
    r"spent|paid|pays|sold|left):?\s+(?=[-$\d(\\])",
    re.I,
)
_NAMED_AMOUNT = re.compile(r"[A-Za-z][A-Za-z' -]{2,40}:\s+(?=[-$\d(\\])")
_HEDGE = re.compile(
    r"\b(?:not|n't|isn't|if|unless|cannot|can't|never|nor|neither|or|without|except|than)\b", re.I
)
_CLAUSE = re.compile(
    r"(?:\s*,\s+(?:which|so|because|since|as|where|and so|thus|hence|therefore|that|this|i|we|he|she|it|they|giving|making|"
    r"given|who|assuming|after|before|in|the|for|with|not counting|including|rounded|total|altogether)\b"
    r"|\s*;\s+(?=[A-Za-z]{2})|\s+(?:-|—)+\s+(?=[A-Za-z]{2})"
    r"|\s+because\s|\s+since\s+|\s+so\s+that\s|\s+which\s|\.\s+(?=[A-Z][a-z]*[ ,'])|!\s+(?=[A-Z])"
    r"|\.?\s*\n\s*\n|\s+\((?=[A-Za-z]{2}[^()]*\)\.?$)|\s+(?:in total|altogether|overall)\b).*$",
    re.S,
)  # fmt: skip


def undress(text: str) -> str:
    """Return an answer without its dress: one line of mathematics and words."""
    text = _plain_signs(text.strip())
    found = boxes(text)
    if found and not (text[: found[0].start] + text[found[-1].end :]).strip(" $.\\()[]*\n"):
        text = found[-1].content
    for _ in range(3):
        before = text
        while (outer := _OUTER.match(text)) and closing_place(text[outer.end() - 1 :]) == len(
            text
        ) - outer.end():
            text = text[outer.end() : -1].strip()
        text = _EMPHASIS.sub(r"\2", text.strip())
        text = MATHS.sub(lambda match: f" {next(filter(None, match.groups()), '')} ", text).strip()
        if text == before:
            break
    for _ in range(3):
        text = _WORDY.sub(lambda match: f" {match[1]} ", text)
    for pattern, instead in _RENAMED:
        text = pattern.sub(instead, text)
    text = _THOUSANDS.sub(lambda match: match[1] + re.sub(r"\D", "", match[2]), text)
    text = _SPACES.sub(lambda match: "\n\n" if match[0].count("\n") > 1 else " ", text).strip()
    text = re.sub(r"\\\$", "$", text)
    text = _clean_ends(text)
    text = OPENING.sub("", text, count=1) or text
    text = re.sub(r"^(?:minus|negative)\s+(?=[\d$\\])", "-", text, flags=re.I)
    clause = _CLAUSE.search(text, 1)
    if clause is not None and not re.search(r"\d|\\|=|^\W*(?:or|and)\b(?! so)", clause[0]):
        text = text[: clause.start()]
    for pattern in (_SENTENCE, _NAMED_AMOUNT):
        lead = pattern.match(text)
        if lead is not None and not _HEDGE.search(lead[0]):
            text = text[lead.end() :]
    return _clean_ends(text)


def _plain_signs(text: str) -> str:
    text = _VULGAR.sub(lambda match: "\\frac{{{}}}{{{}}}".format(*VULGAR[match[1]].as_integer_ratio()), text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda match: f"_{{{match[0].translate(SUBSCRIPTS)}}}", text)
    text = "".join(_SIGNS.get(character, character) for character in text)
    return unicodedata.normalize("NFKC", text.replace("\u2009", "\ue000")).replace("\ue000", "\u2009")


def _clean_ends(text: str) -> str:
    before = None
    while text != before:
        before = text
        text = bare(text).strip("' \n").removesuffix("\\\\").strip()
        if re.search(r"[a-z]{2}!+$", text):
            text = text.rstrip("!")
        if text[:1] == "{" and text[-1:] == "}" and closing_place(text) == len(text) - 1:
            text = text[1:-1]
    return text


# --- readings ---

_ELLIPSIS = re.compile(r"\\[lcdv]?dots[cbmio]?(?![A-Za-z])|\.\.\.|…")


@lru_cache(maxsize=8192)
def read(text: str) -> tuple[Answer, ...]:
    """Return the readings of an answer, most likely first; empty where it is not understood. Never raises."""
    if len(text) > MAX_CHARACTERS:
        return ()
    try:
        return tuple(_readings(undress(text), 0))
    except RecursionError:
        return ()


def _readings(text: str, depth: int) -> Iterator[Answer]:
    if not text or depth > 4:
        return
    if _ELLIPSIS.search(text):
        repeating = repeating_decimal(text)
        if repeating is not None:
            yield Amount(number(repeating))
        return
    if (choice := _choice(text)) is not None:
        yield choice
    if (clock := _clock(text)) is not None:
        yield clock
    if (based := _based(text)) is not None:
        yield based
        return
    whole = compound(text) or _date(text)
    structured = [whole] if whole is not None else _structures(text, depth)
    if not structured and (last := amount(text) or _words(text)) is not None:
        yield last
    yield from structured


def _structures(text: str, depth: int) -> list[Answer]:
    """Return what has parts: intervals, unions, inequalities, matrices, sets, tuples, lists, ratios, equations."""
    found: list[Answer] = [value for read in (_range, _matrix, _ratio) if (value := read(text)) is not None]
    items = _bracketed(text, depth) or (None if found else _listed(text, depth))
    if items is not None:
        found.append(items)
    return found or list(_equation(text, depth))


def _choice(text: str) -> Choice | None:
    match = re.fullmatch(r"(?:(?:option|choice|answer)\s+)?\(?\s*([A-Za-e])\s*\)?\.?", text) or re.fullmatch(
        r"(?:(?:option|choice)\s+)?\(\s*([A-Za-h])\s*\)|(?:option|choice)\s+([A-Za-h])", text, re.I
    )
    if match is not None:
        return Choice(next(filter(None, match.groups())).upper())
    match = re.fullmatch(
        r"(?:(?:option|choice)\s+)?(?:\(\s*([A-Za-h])\s*\)\s*[:.,-]?|([A-Z])\s*[).:])\s*(\S.*)", text, re.S
    )
    return None if match is None else Choice((match[1] or match[2]).upper(), match[3])


def _clock(text: str) -> Clock | None:
    if text.lower() in ("noon", "midnight", "12 noon", "12 midnight"):
        return Clock(0, "pm" if "noon" in text.lower() else "am")
    match = re.fullmatch(
        r"(?:at\s+)?(\d{1,2})(?:[:.](\d{2}))?\s*(?:(a|p)\.?\s?m\.?|(o'?clock)|hours|h)?"
        r"(?:\s+in the (morning|afternoon|evening))?",
        text, re.I,
    )  # fmt: skip
    if match is None or (match[2] is None and not (match[3] or match[4] or match[5])):
        return None
    if "." in text and not match[3] and not match[5]:
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    if hour > 24 or minute > 59:
        return None
    half: Literal["am", "pm"] | None = None
    if match[3] or match[5]:
        half = "am" if (match[3] or "").lower() == "a" or match[5] == "morning" else "pm"
    elif hour > 12 or (hour == 0 and len(match[1]) == 2):
        half = "am" if hour in (0, 24) else "pm"
    return Clock(hour % 12 * 60 + minute, half, half is not None and not match[3] and not match[5])


_BASE = re.compile(
    r"(?P<sign>-?)\(?(?P<digits>[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)\)?\s*(?:_\s*\{?\s*(?P<low>\d{1,2}|[a-z]+)\s*\}?"
    r"|\(?\s*(?:in\s+)?base[\s-]*(?P<said>\d{1,2}|[a-z]+)\s*\)?)"
)


def _based(text: str) -> Digits | None:
    written = re.fullmatch(r"(-?)0([xXbBoO])([0-9A-Fa-f]+)", text)
    if written is not None:
        made = Digits(-1 if written[1] else 1, written[3].upper(), BASE_PREFIXES[written[2].lower()])
        value = made.value()
        return None if value is None else Digits(made.sign, str(abs(value)), 10)
    match = _BASE.fullmatch(re.sub(r"(?<=[0-9A-F]) (?=[0-9A-F])", "", text))
    if match is None:
        return None
    said = match["low"] or match["said"]
    base = int(said) if said.isdigit() else CARDINALS.get(said, 0)
    digits = match["digits"].upper().lstrip("0") or "0"
    if not 2 <= base <= 36:
        return None
    return Digits(-1 if match["sign"] else 1, digits, base)


# --- parts ---


def _split(text: str, separator: str) -> list[str]:
    """Split at a pattern outside of brackets."""
    parts, depth, start, position = [], 0, 0, 0
    pattern = re.compile(separator)
    while position < len(text):
        character = text[position]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and (match := pattern.match(text, position)) is not None and match.end() > position:
            parts.append(text[start:position])
            start = position = match.end()
            continue
        position += 1
    return [*parts, text[start:]]


_OPEN = {
    "\\{": ("set", "\\}"),
    "\\langle": ("tuple", "\\rangle"),
    "<": ("tuple", ">"),
    "(": ("tuple", ")"),
    "[": ("bracket", "]"),
}


def _bracketed(text: str, depth: int) -> Items | None:
    for opening, (kind, closing) in _OPEN.items():  # noqa: B007  used below
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            inside = text[len(opening) : len(text) - len(closing)]
            break
    else:
        return None
    if opening in "([" and closing_place(text) != len(text) - 1:
        return None
    if kind == "set" and re.search(r"\\mid|(?<!\|)\|(?!.*\|)|\\vert|:", inside):
        return None
    parts = _split(inside, r"\s*[,;]\s*")
    if len(parts) == 1 and kind != "set":
        return None
    if kind == "set" and not inside.strip():
        return Items("set", ())
    return _items(kind, parts, depth)


def _items(kind: str, parts: list[str], depth: int) -> Items | None:
    items: list[tuple[Answer, ...]] = []
    for part in parts[: _MAX_ITEMS + 1]:
        for one in _both_signs(part.strip()):
            readings = tuple(_readings(_clean_ends(one), depth + 1))
            if not readings or (isinstance(readings[0], Words) and re.search(r"\d", one)):
                return None
            items.append(readings)
    return None if len(items) > _MAX_ITEMS else Items(kind, tuple(items))  # type: ignore[arg-type]


_PLUS_MINUS = re.compile(r"\\pm(?![A-Za-z])|\+/-|\+-")


def _both_signs(text: str) -> list[str]:
    r"""Return both answers of one with ``\pm``."""
    if len(_PLUS_MINUS.findall(text)) != 1 or "\\mp" in text:
        return [text]
    # "1 - 2" would be a range
    return [_PLUS_MINUS.sub(sign, text).strip().removeprefix("+").strip() for sign in ("+", "+-")]


def _listed(text: str, depth: int) -> Items | None:
    if "," not in text and "+-" not in text and len(_both_signs(text)) == 2:
        return _items("list", [text], depth)
    text = _COMMA_THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    parts = [part for part in _split(text, _BETWEEN_ITEMS) if part.strip()]
    return _items("list", parts, depth) if len(parts) > 1 else None


_BETWEEN_ITEMS = (
    r"\s*(?:[,;](?:\s*(?:and|or)\b)?|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\(?:wedge|vee|land|lor)\b)\s*"
)


def _expressions(parts: list[str]) -> tuple[Node, ...] | None:
    nodes = tuple(node for part in parts if (node := expression(part)) is not None)
    return nodes if len(nodes) == len(parts) else None


def _matrix(text: str) -> Matrix | None:
    match = re.fullmatch(
        r"(?:\\left)?\s*[(\[]?\s*\\begin\s*\{([pbv]?matrix|smallmatrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\s*\{\1\}\s*[)\]]?",
        text,
    )
    if match is None or match[1] == "vmatrix":
        return None
    lines = re.split(r"\\\\(?:\[[^\]]{0,9}\])?", match[2])
    rows = [_expressions(line.split("&")) for line in lines if line.strip() not in ("", "\\hline")]
    read = tuple(row for row in rows if row is not None)
    return Matrix(read) if len(read) == len(rows) and len({len(row) for row in read}) == 1 else None


def _ratio(text: str) -> Ratio | None:
    parts = re.split(r"\s*(?::|\\colon)\s*|(?<=\d) to (?=\d)", text)
    nodes = _expressions(parts) if 2 <= len(parts) <= 6 else None
    return None if nodes is None else Ratio(nodes)


# --- intervals and inequalities ---

_VARIABLE = (
    r"(?:[A-Za-z](?:_\{?\w\}?)?|\\(?:alpha|beta|gamma|theta|lambda|phi|omega|mu|sigma|tau|rho)\s?"
    r"|[fghP]\([a-z]\)|\|[a-z]\|)"
)
_NAME_OF = re.compile(_VARIABLE)
_ELEMENT = re.compile(rf"({_VARIABLE})\s*\\in\s*")
_SET_BUILDER = re.compile(r"\\\{\s*[a-z]\s*(?:\\in\s*\\mathbb\{R\})?\s*(?:\\mid|\\vert|\||:)\s*(.*?)\\\}")
_UNEQUAL = re.compile(rf"({_VARIABLE})\s*\\ne\s*(.+)")
_RELATION = re.compile(r"\s*(<|>|\\le |\\ge |\\le(?![a-z])|\\ge(?![a-z]))\s*")


def _end(text: str) -> End | None:
    text = text.strip()
    if re.fullmatch(r"[-+]?\s*(?:\\infty|infinity|infty|inf|oo)", text):
        return "-inf" if text.startswith("-") else "inf"
    node = expression(text)
    return None if node is None or variables(node) - {"e"} else node


def _place(end: End) -> float | None:
    return float(end) if isinstance(end, str) else approximate(end)


_FIGURE = r"(\d+(?:\.\d+)?)"
_SPAN = re.compile(rf"(?:from )?{_FIGURE}\s*(?:-|\bto\b)\s*{_FIGURE}|between {_FIGURE} and {_FIGURE}")
"""``10-20``, ``10 to 20``, ``between 10 and 20``: the smaller number comes first."""


def _range(text: str) -> Range | None:
    text = text.strip()
    if (span := _SPAN.fullmatch(text)) is not None:
        low, high = (Fraction(figure) for figure in span.groups() if figure)
        if low < high:
            return Range(None, (Piece(number(low), True, number(high), True),))
    if re.fullmatch(
        r"(?:all )?(?:the )?real numbers?|\\mathbb\{R\}|all reals|(?:[a-z] \\in )?\\mathbb\{R\}", text, re.I
    ):
        return Range(None, (Piece("-inf", False, "inf", False),))
    variable = None
    if (match := _ELEMENT.match(text)) is not None:
        variable, text = match[1].strip(), text[match.end() :]
    elif (match := _SET_BUILDER.fullmatch(text)) is not None:
        text = match[1].strip()
    without = re.fullmatch(r"\\mathbb\{R\}\s*(?:\\setminus|\\backslash|-)\s*\\\{(.*)\\\}", text)
    if without is not None:
        found = _excluding([without[1]])
        return Range(None, tuple(found)) if found else None
    pieces: list[Piece] = []
    for part in map(str.strip, _split(text, r"\s*(?:\\cup|\bor\b|\bU\b|\\vee|\\lor)\s*")):
        name, found = _inequality(part) or (variable, _interval(part))
        if not found or (variable is not None and name != variable):
            return None
        variable = name
        pieces += found
    if any(_place(piece.low) is None for piece in pieces):
        return None
    return Range(variable, tuple(sorted(pieces, key=lambda piece: _place(piece.low) or 0.0)))


def _interval(text: str) -> list[Piece]:
    """Return the piece that an interval or a set of one number is; none for anything else."""
    single = re.fullmatch(r"\\\{(.*)\\\}", text)
    if single is not None:
        node = _end(single[1])
        return [] if node is None or isinstance(node, str) else [Piece(node, True, node, True)]
    if text[:1] not in ("(", "[", "]") or text[-1:] not in (")", "]", "["):
        return []
    parts = _split(text[1:-1], r"[,;]")
    ends = [end for end in map(_end, parts) if end is not None]
    places = [place for end in ends if (place := _place(end)) is not None]
    if len(parts) != 2 or len(places) != 2 or places[0] >= places[1]:
        return []
    return [Piece(ends[0], text[0] == "[", ends[1], text[-1] == "]")]


def _inequality(text: str) -> tuple[str, list[Piece]] | None:
    """Return the variable of one inequality or two, and the pieces where it holds."""
    not_equal = _UNEQUAL.fullmatch(text)
    if not_equal is not None:
        pieces = _excluding(_split(not_equal[2], r"\s*,\s*"))
        return (not_equal[1].strip(), pieces) if pieces else None
    parts = _RELATION.split(text)
    if len(parts) not in (3, 5):
        return None
    sides, signs = [side.strip() for side in parts[::2]], [sign.strip() for sign in parts[1::2]]
    rises = ["<" in sign or "le" in sign for sign in signs]
    if len(set(rises)) > 1:
        return None
    if not rises[0]:
        sides, signs = sides[::-1], signs[::-1]
    named = [_NAME_OF.fullmatch(side) is not None for side in sides]
    if len(sides) == 2:
        sides, signs = (
            ([r"-\infty", *sides], ["<", *signs]) if named[0] else ([*sides, r"\infty"], [*signs, "<"])
        )
        named = [False, *named] if named[0] else [*named, False]
    low, high = _end(sides[0]), _end(sides[2])
    if named != [False, True, False] or low is None or high is None:
        return None
    # "x < infinity" bounds nothing
    closed = ["e" in sign for sign in signs]
    return sides[1], [Piece(low, closed[0] and low != "-inf", high, closed[1] and high != "inf")]


def _excluding(points: list[str]) -> list[Piece]:
    """Return the pieces between some points; none where they are no numbers."""
    ends = [end for end in map(_end, points) if end is not None and not isinstance(end, str)]
    if len(ends) < len(points) or any(_place(end) is None for end in ends):
        return []
    borders: list[End] = ["-inf", *sorted(ends, key=lambda end: _place(end) or 0.0), "inf"]
    return [Piece(low, False, high, False) for low, high in pairwise(borders)]


# --- equations and amounts ---

_NAME = re.compile(
    r"(?:\\(?:angle|triangle|vec|overline|overrightarrow|mathbf|widehat)\s*)?\{?\s*"
    r"(?:[A-Za-z]+(?:[ -][A-Za-z]+){0,4}|\\[a-z]+)\s*\}?"
    r"(?:_\{?\w+\}?)?"
    r"(?:\^\{-1\})?(?:\([A-Za-z](?:\s*,\s*[A-Za-z])*\))?'?|\|[A-Za-z]{1,2}\||m\s?\\angle\s?[A-Z]{1,3}|[A-Za-z]+\(\d\)"
)


def _equation(text: str, depth: int) -> Iterator[Answer]:
    parts = [part.strip() for part in _split(text, r"(?<![<>!\\])=(?![=>])")]
    if len(parts) < 2 or not all(parts):
        return
    if _NAME.fullmatch(parts[0]):
        value = tuple(_readings(_clean_ends(parts[-1]), depth + 1))
        if value:
            yield Named(re.sub(r"[\s{}]+", "", parts[0]), value)
    left, right = expression(parts[0]), expression(parts[1])
    if left is None:
        return
    if len(parts) == 2 and right is not None and variables(left) | variables(right):
        yield Equation(left, right)
    elif not variables(left) - {"e", "i"}:
        last = amount(parts[-1])
        if last is not None:
            yield last


# --- words ---

_ARTICLES = word_set("the a an is are it its it's on in at be to by he she they this that would will")
_SYNONYMS = {
    spelling: meaning
    for meaning, spellings in (
        ("true", "yes"),
        ("false", "no"),
        ("not exist", "dne|does not exist|doesn't exist|nonexistent"),
        ("no solution", "no solutions|no real solution|no real solutions|no such|there no solution"),
        ("infinite", "infinitely many|infinite number|infinitely many solutions"),
    )
    for spelling in spellings.split("|")
}
_MONTHS = word_set("january february march april may june july august september october november december")
_MONTH = {name[:length]: name for name in _MONTHS for length in (3, 4, len(name))}


def _date(text: str) -> Words | None:
    """Return a month and a day, with a year or without, written one way."""
    said = [word for word in re.findall(r"\w+", text.lower()) if word not in ("of", "the", "on")]
    months = [_MONTH[word] for word in said if word in _MONTH]
    days = [match[1] for word in said if (match := re.fullmatch(r"0?([1-9]\d?)(?:st|nd|rd|th)?", word))]
    years = [word for word in said if re.fullmatch(r"\d{4}", word)]
    if len(months) != 1 or len(days) != 1 or len(years) > 1 or len(said) != 2 + len(years):
        return None
    return Words((*months, *days, *years)) if re.fullmatch(r"[\w\s.,]+", text) else None


def _words(text: str) -> Words | None:
    """Return the words of a text without numbers and mathematics."""
    bare = re.sub(r"\\emptyset", " empty set ", text)
    bare = re.sub(
        r"^\+?\s*\\infty$", "infinity", re.sub(r"^-\s*(?:\\infty|infinity)$", "minus_infinity", bare)
    )
    if re.search(r"[\\=<>^{}+*/|$%]", bare):
        return None
    found = re.findall(r"[\w']+", bare.lower())
    if not found or not re.search(r"[a-z]", bare, re.I):
        return None
    if re.search(r"\d", bare) and (not re.search(r"[a-z]{3}", bare, re.I) or "(" in bare):
        return None
    kept = [word for word in found if word not in _ARTICLES] or found
    said = " ".join(kept)
    said = _SYNONYMS.get(said, said)
    return Words(tuple(said.split()))
