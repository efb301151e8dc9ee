r"""The lexer: text → tokens with their places, for prose that calculates and for formulas.

Contract: one linear pass over any text; every token carries its character range, so that a verdict can point at the text.
`tokenize` reads mixed prose, LaTeX and calculator text, whose words and spaces decide what a sign means (``x``, ``%``,
``-``); what cannot be a number there (a variable, an unknown LaTeX command, a clock time, a base subscript) becomes an
``unknown`` token, and later stages refuse to judge what contains one. `tokenize_formula` reads one formula, in which
letters are names and spaces, sizes and ``\left`` are dropped. Numbers are exact and bounded. `without_marks` blanks what
says nothing of the subject: ``\tag{2}``, ``\label{eq:1}``, ``\quad (3)``. Not here: what tokens mean together
(`equations.py` and `chains.py`, `expressions.py`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import lru_cache, wraps
from typing import NamedTuple, TypeVar

from sparring.oracles.units import UNITS, unit_or_place
from sparring.oracles.words import SHORT_WORDS, SPELLED_NUMBERS, word_set

MAX_DIGITS = 60


class UnreadableError(ValueError):
    """The text is not (only) an expression that is understood, or has no value."""


class TooLargeError(UnreadableError):
    """The text, the expression, or a value in it exceeds the bounds."""


class UndefinedError(UnreadableError):
    """There is no value at this point: division by zero, logarithm of zero."""


MAX_CHARACTERS = 10_000
MAX_CACHED_CHARACTERS = 2000
COMPARISONS = frozenset(("<", ">", "<=", ">="))
ARROWS = word_set(
    "implies Rightarrow Longrightarrow iff Leftrightarrow Longleftrightarrow rightarrow longrightarrow therefore"
)
RELATIONS = {
    "=": "=", "==": "=", "<": "<", ">": ">", "≤": "<=", "≥": ">=", "<=": "<=", "=<": "<=", ">=": ">=", "≈": "~",
    "≠": "!=", "!=": "!=", "=>": "implies", "->": "implies", "→": "implies", "⇒": "implies", "≡": "mod",
    ":=": "defines", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<",
    "gt": ">", "approx": "~", "simeq": "~", "ne": "!=", "neq": "!=", "equiv": "mod", "sim": "~", "cong": "mod",
}  # fmt: skip
"""Sign or LaTeX command → relation."""
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
T = TypeVar("T")


class Token(NamedTuple):
    """One lexical unit.

    Attributes:
        kind: in prose ``number``, ``operator``, ``open``, ``close``, ``percent``, ``factorial``, ``fraction`` (opens
            ``((a)/(b))``, as which ``\\frac{a}{b}`` is read), ``root`` (a square root sign), ``of``, ``relation``,
            ``word``, ``unknown``, ``break``, ``approximate`` (a mark such as ``~`` or ``...``), ``formula`` (the beginning
            of an inline formula that holds a relation of its own); in formulas ``number``, ``letter``, ``name``,
            ``command``, ``symbol``, ``relation``, ``words`` (of ``\\text``), ``degrees``, ``newline``, ``dots``,
            ``escaped``.
        text: normalised: operators are ``+ - * / ^``, relations of prose ``=``, ``~``, ``is`` or one of `COMPARISONS`, its
            words are lower case; commands have no backslash.
        start: first character in the step; `end` is one past the last.
        value: exact value of a number; ``None`` for other kinds and for numbers with too many digits.
        places: digits after the decimal point of a number as written.
        gap: whether white space (or something skipped) lies before it.
        dollars: whether it is a number with a dollar sign before it that begins no formula.
    """

    kind: str
    text: str
    start: int
    end: int
    value: Fraction | None = None
    places: int = 0
    gap: bool = False
    dollars: bool = False


def closing_place(signs: Iterable[str]) -> int:
    """Return the place of the bracket that closes the one at the beginning; -1 where there is none."""
    depth = 0
    for place, sign in enumerate(signs):
        depth += (sign in _OPENING) - (sign in _CLOSING)
        if depth == 0:
            return place
    return -1


def cached(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return `read` with a cache of the last short texts, because several oracles ask for the same ones."""
    remembered = lru_cache(maxsize=64)(read)

    @wraps(read)
    def reader(text: str) -> T:
        return read(text) if len(text) > MAX_CACHED_CHARACTERS else remembered(text)

    return reader


# --- numbers ---

MAX_SCIENTIFIC_EXPONENT = 64
MAX_BINOMIAL = 200
# Fifty digits: a value that rests on it is compared with tolerance, see `values.IRRATIONAL_PRECISION`.
PI = Fraction(314159265358979323846264338327950288419716939937510, 10**50)
VULGAR = {
    character: Fraction(*map(int, unicodedata.normalize("NFKC", character).split("⁄")))
    for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
}
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
BASE_PREFIXES = {"x": 16, "b": 2, "o": 8}
# Between groups of three digits: LaTeX's spaces and commas, and the spaces that do not break a line.
SEPARATOR = r"(?:,|\{,\}|,?\\!|\\,|[\u00a0\u2009\u202f])"
_NUMBER = rf"(?:\d{{1,3}}(?:{SEPARATOR}\d{{3}})+(?!\d)|\d+)(?:\.\d+)?"
_SEPARATORS = re.compile(r"[{},\\!\u00a0\u2009\u202f]+")
_DIGITS = re.compile(r"\d+")


@lru_cache(maxsize=4096)
def exact_number(text: str) -> Fraction | None:
    """Return the exact value of digits with separators, point and exponent, ``None`` beyond the bounds."""
    digits, _, exponent = _SEPARATORS.sub("", text).lower().partition("e")
    if len(digits) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_SCIENTIFIC_EXPONENT:
        return None
    value = Fraction("0" + digits) if digits[0] == "." else Fraction(digits)
    return value * Fraction(10) ** int(exponent) if exponent else value


def decimals_shown(text: str) -> int:
    """Return the digits after the decimal point of a number as written, its exponent applied."""
    mantissa, _, exponent = text.lower().partition("e")
    point = mantissa.find(".")
    places = 0 if point < 0 else len(mantissa) - point - 1
    return max(0, places - int(exponent)) if exponent else places


def two_numbers(text: str) -> tuple[int, int]:
    """Return the numbers of ``{5}{12}``, or those of ``57`` where LaTeX takes single digits."""
    found = _DIGITS.findall(text)
    one, other = found if len(found) == 2 else found[-1]
    return int(one), int(other)


def proper_fraction(text: str) -> Fraction | None:
    """Return the value of ``1/3`` or ``{1}{3}`` if it lies between zero and one."""
    numerator, denominator = two_numbers(text)
    return Fraction(numerator, denominator) if 0 < numerator < denominator else None


def binomial(text: str) -> Fraction | None:
    """Return the binomial coefficient that ``{5}{2}`` names."""
    total, chosen = two_numbers(text)
    return Fraction(math.comb(total, chosen)) if total <= MAX_BINOMIAL else None


# --- prose ---

_OPERATORS = {
    "+": "+", "-": "-", "−": "-", "﹣": "-", "*": "*", "×": "*", "·": "*", "∗": "*", "⋅": "*", "∙": "*",
    "/": "/", "÷": "/", "∕": "/", "⁄": "/", "^": "^",
}  # fmt: skip
_COMMANDS: dict[str, tuple[str, str] | None] = {
    **dict.fromkeys(("times", "cdot"), ("operator", "*")),
    "div": ("operator", "/"),
    "sqrt": ("root", "root"),
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), ("fraction", "/")),
    **{
        name: ("relation", relation) if relation in COMPARISONS or relation == "~" else ("break", "")
        for name, relation in RELATIONS.items()
    },
    "cong": ("relation", "~"),
    **dict.fromkeys(
        word_set(
            """
            left right text mathrm mbox textbf mathbf textrm boxed fbox quad qquad displaystyle big bigg Big
            Bigg bigl bigr Bigl Bigr hspace phantom underline textit mathit
            """
        )
    ),
    **dict.fromkeys(ARROWS | word_set("to because bullet item begin end land lor"), ("break", "")),
}
_OPERATOR_WORDS = {"times": "*", "plus": "+", "minus": "-", "divided": "/", "multiplied": "*"}
# What people write straight after a number ("8hrs", "100mg"); any other letters there are variables.
_ATTACHED_UNITS = UNITS.keys() | word_set(
    "in sq gm gms mi mph kph am pm month months year years yr yrs gb mb kb"
)
_SCAN = re.compile(
    r"""(?P<space>[ \t\r\f\v\u00a0\u2009\u202f]+)
    |(?P<line>\n\s*|\\\\\s*)
    |(?P<circle>\^\s*\{?\s*\\circ\s*\}?|°|\^\s*º)
    |(?P<clock>\d+(?::\d+)+)
    |(?P<latexmixed>(?<![\d.^_/])\d{1,4}[ ]?\\[dt]?frac(?:\s*\{\s*\d{1,3}\s*\}\s*\{\s*\d{1,3}\s*\}|\s*\d\d))
    |(?P<binomial>\\[dt]?binom(?:\s*\{\s*\d{1,3}\s*\}\s*\{\s*\d{1,3}\s*\}|\s*\d\d))
    |(?P<nthroot>\\sqrt\s*\[[^\[\]\n]{0,12}\]\s*)
    |(?P<pi>\\pi(?![A-Za-z])|π)|(?P<radical>√)
    |(?P<mixed>(?<![\d./])\d{1,4}[ ]\d{1,2}/\d{1,2}(?![\d./]|,\d))
    |(?P<radix>(?<![\w.])0(?:[xX][0-9A-Fa-f]+|[bB][01]+|[oO][0-7]+)(?![\w.]))
    |(?P<number>"""
    + _NUMBER
    + r"""(?:(?:(?<=\.\d)|(?<=\.\d\d)|(?<=\.\d{3})|(?=[eE][-+]?\d\d)|(?=[eE]\d))[eE][-+]?\d{1,2}(?![\w.]))?|\.\d+)
    |(?P<vulgar>[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])
    |(?P<digits>\\[dt]?frac\s*\d\s*\d)
    |(?P<command>\\[A-Za-z]+|\\.)
    |(?P<ellipsis>\.\.\.+|…)
    |(?P<power>\*\*)|(?P<rule>---+)
    |(?P<comparison><=|>=|=<|!=|=>|->|-->|[<>≤≥≠→⇒⟹∴≡]+)
    |(?P<approximate>≈|≅|≃|=~|~=)
    |(?P<relation>:=|==|=)
    |(?P<superscript>[²³])
    |(?P<word>[^\W\d_²³]+(?:['’-][^\W\d_²³]+)*)
    |(?P<operator>[-+−﹣*×·∗⋅∙/÷∕⁄^])
    |(?P<open>[(\[{])|(?P<close>[)\]}])
    |(?P<percent>[%٪])
    |(?P<currency>[$£€₹¥&"“”`'’‘]+)
    |(?P<cent>¢)|(?P<tilde>~)|(?P<bang>!)
    |(?P<stop>[.,;:?•#—–\u2022]+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER_AHEAD = re.compile(
    r"\s*(?:\\?[$£€]\s*(?:\d|\.\d)|\d|\.\d|\(|\\[dt]?(?:frac|binom)|\\left\(|[½⅓⅔¼¾√]|\\sqrt|sqrt\()"
)
_ROUGHLY = re.compile(r"\s+(?:about|approximately|roughly|around|nearly|almost|exactly)\b")
_SIGN_AHEAD = re.compile(
    r"\s*(?:[-+*/^=×·−<>≤≥]|\\(?:cdot|times|div|left|[bB]igg?l?|[dt]?frac|sqrt|[lg]eq?|approx|pi)(?![a-z])|[(\[]\s*\d)|[(\[{_\d]"
)
# Straight after the beginning of a formula, or after a sign.
_SIGN_BEHIND = re.compile(r"(?:(?<!\d)\$|\\\(|[=+/^({×·−]\s*|\*)$")
_PROSE_AHEAD = re.compile(r"\s+[A-Za-z]{2}")
_SEPARATED = re.compile(r",\d|, \d{3}(?!\d)")
_SPACED_NUMBER = re.compile(r"\s+(?:\\?[$£€]\s*)?[(\d.]")
_BY_NUMBER_AHEAD = re.compile(r"\s+by(?=\s*(?:\\?[$£€]|\d|\.\d|\())")
_OPERATION_AHEAD = re.compile(r"\s+[=+*/×÷]")
_POSTFIX_END = re.compile(r"\(|\d+!|[.,;]|\s*(?:[-+*/×÷=)}^$]|\\)")
# As pandoc does: no space inside the dollars, no digit after them, so that prices are none.
_INLINE = re.compile(
    r"(?<![\\$])\$(?=[^\s$])(?P<dollar>[^$\n]{1,400})(?<!\s)\$(?![\d$])|\\\((?P<round>.{1,400}?)\\\)"
)
_DOLLARS = re.compile(r"\$[ ]?(?=[\d.])")
_UNESCAPED = re.compile(r"(?<!\\)\$")
# "$5 + 5$": there are no prices in such a text
_CLOSED_FORMULA = re.compile(r"(?<![$\\])[\w})\]]\$(?![\d$])")
_OWN_RELATION = re.compile(r"\s*+(?![=<>+*/×÷·^≈]|\\(?:times|cdot|div|approx|[lg]eq?)\b)[^=]+=")
_PART = re.compile(r"\s*\d+(?:\.\d+)?\s*([A-Za-z-]+)")
_VOWELS = frozenset("aeiouy")
_OPERAND_KINDS = frozenset(("number", "close", "percent", "factorial"))
_BEFORE_NUMBERS = frozenset(("x", "times", "plus", "minus"))  # operators where a number follows
# A lone x after one of these is the name of a variable, not a sign of multiplication.
_BEFORE_VARIABLE = word_set(
    "let for of is that value and find where so then if be by to in with find solve equation"
)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text` in order.

    Raises:
        TooLargeError: `text` is longer than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError(f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    tokens: list[Token] = []
    position, length, gap = 0, len(text), False
    formulas = _formula_starts(text)
    signs = _dollar_signs(text) if "$" in text else frozenset()
    while position < length:
        if position in formulas and tokens and tokens[-1].kind not in ("relation", "operator"):
            tokens.append(Token("formula", "", position, position, gap=gap))
        match = _SCAN.match(text, position)
        assert match is not None  # the last alternative takes any character
        group = match.lastgroup
        if group == "space" or group == "currency" or group == "circle":
            position, gap = match.end(), True if group == "space" else gap
            continue
        if group == "number":
            position = match.end()
            number = _number(match.group(), match.start(), position, gap)
            number = number._replace(dollars=match.start() in signs)
            malformed = _is_malformed(text, match, tokens)
            tokens.append(number._replace(kind="unknown", value=None, places=0) if malformed else number)
        elif group == "word":
            position = _read_word(text, match, tokens, gap)
        else:
            count = len(tokens)
            position = _read_other(text, match, group or "other", tokens, gap)
            gap = group == "command" and len(tokens) == count
            continue
        gap = False
    return _with_fractions(tokens) if any(token.kind == "fraction" for token in tokens) else tokens


def bracket_partners(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the index of the closing bracket for every opening one that closes within the same clause.

    A bracket that a relation or a break interrupts has no partner: it is a boundary, not part of an
    expression.
    """
    partners: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind in ("open", "fraction"):
            stack.append(index)
        elif token.kind == "close":
            if stack:
                partners[stack.pop()] = index
        elif token.kind in ("relation", "break"):
            stack.clear()
    return partners


def _with_fractions(tokens: Sequence[Token]) -> list[Token]:
    r"""Return the tokens with every ``\frac{a}{b}`` as ``((a)/(b))``; the command is unknown before anything else."""
    bare = [token if token.kind != "fraction" else token._replace(kind="unknown") for token in tokens]
    partners = bracket_partners(bare)
    slashes, ends = set[int](), Counter[int]()
    for index, token in enumerate(tokens):
        bar = partners.get(index + 1, -1)
        if token.kind == "fraction" and bar > 0 and (end := partners.get(bar + 1, -1)) > 0:
            bare[index] = token._replace(text="(")
            slashes.add(bar)
            ends[end] += 1
    made: list[Token] = []
    for index, token in enumerate(bare):
        made += [token] * (1 + ends[index])
        if index in slashes:
            made.append(Token("operator", "/", token.start, token.end))
    return made


def _formula_starts(text: str) -> frozenset[int]:
    """Return where inline formulas begin that hold a relation between two sides of their own."""
    if text.count("$") < 4 and text.count("\\(") < 2:
        return frozenset()
    return frozenset(
        match.start()
        for match in _INLINE.finditer(text)
        if _OWN_RELATION.match(match["dollar"] or match["round"] or "")
    )


def _dollar_signs(text: str) -> frozenset[int]:
    """Return where numbers begin that stand after a dollar sign, which is no delimiter of a formula."""
    delimiters = {
        place
        for match in _INLINE.finditer(text)
        if match["dollar"]
        for place in (match.start(), match.end() - 1)
    }
    if _CLOSED_FORMULA.search(text):
        delimiters.update(match.end() - 1 for match in _UNESCAPED.finditer(text))
    return frozenset(
        match.end() for match in _DOLLARS.finditer(text) if text.find("$", match.start()) not in delimiters
    )


def _number(raw: str, start: int, end: int, gap: bool) -> Token:
    return Token("number", raw, start, end, exact_number(raw), decimals_shown(raw), gap)


def _is_malformed(text: str, match: re.Match[str], tokens: list[Token]) -> bool:
    """Whether digits are no plain number: a time or code (0730), commas out of place (13,2000)."""
    raw, end = match.group(), match.end()
    if raw[0] == "0" and len(raw) > 1 and raw[1] != ".":
        return True
    if text.startswith(".\\", end) or (text.startswith(",", end) and text[end + 1 : end + 2].isdigit()):
        return True
    if len(tokens) < 2 or tokens[-1].text != "," or tokens[-2].end != tokens[-1].start:
        return False
    before = tokens[-2]
    if before.kind not in ("number", "unknown") or not before.text[-1:].isdigit():
        return False
    return _SEPARATED.match(text, tokens[-1].start) is not None and len(raw) <= 4 + 3 * raw.count(",")


def _read_word(text: str, match: re.Match[str], tokens: list[Token], gap: bool) -> int:
    """Append the token for a word and return the position after it."""
    start, end = match.span()
    word = match.group().lower()
    before = tokens[-1] if tokens else None
    attached = before is not None and before.end == start and before.kind in ("number", "close") and not gap
    after_operand = before is not None and before.kind in _OPERAND_KINDS
    number_follows = word in _BEFORE_NUMBERS and _NUMBER_AHEAD.match(text, end) is not None
    kind = "word"
    if word == "x" and number_follows and before is not None and _x_means_times(text, end, before, attached):
        kind, word = "operator", "*"
    elif attached and word not in _ATTACHED_UNITS:
        kind = "unknown"
    elif word in ("divided", "multiplied") and (by := _BY_NUMBER_AHEAD.match(text, end)):
        kind, word, end = "operator", _OPERATOR_WORDS[word], by.end()
    elif word in ("times", "plus", "minus") and number_follows and before is not None:
        kind, word = "operator", _OPERATOR_WORDS[word]
    elif word == "sqrt" and text.startswith("(", end):
        kind, word = "root", "root"
    elif word == "of":
        kind = "of"
    elif word == "percent":
        kind, word = "percent", "%"
    elif word == "equals" or (word in ("is", "are") and after_operand and _value_ahead(text, end)):
        kind, word = "relation", "=" if word == "equals" else "is"
    elif _is_variable(match.group(), text, start, end):
        kind = "unknown"
    tokens.append(Token(kind, word, start, end, gap=gap))
    return end


def _value_ahead(text: str, position: int) -> bool:
    """Whether a number follows, possibly after "about" or the like."""
    roughly = _ROUGHLY.match(text, position)
    return _NUMBER_AHEAD.match(text, roughly.end() if roughly else position) is not None


def _is_variable(raw: str, text: str, start: int, end: int) -> bool:
    """Whether a word is rather a symbol: a single letter, points such as AB, a product such as bh."""
    if raw in ("a", "A", "I"):
        behind = _SIGN_BEHIND.search(text, max(0, start - 3), start) is not None
        return _SIGN_AHEAD.match(text, end) is not None or (behind and not _PROSE_AHEAD.match(text, end))
    if len(raw) == 1:
        return True
    if len(raw) > 3:
        return False
    if len(raw) == 2 and raw.islower() and raw not in SHORT_WORDS and raw not in _ATTACHED_UNITS:
        return True
    return raw.isupper() or (_VOWELS.isdisjoint(raw.lower()) and raw.lower() not in _ATTACHED_UNITS)


def _x_means_times(text: str, end: int, before: Token, attached: bool) -> bool:
    """A lone x is a sign of multiplication after an operand or its unit; ``3x(`` is left to the variable."""
    if attached:
        return not text.startswith(("(", " ("), end)
    return before.kind in _OPERAND_KINDS or (before.kind == "word" and before.text not in _BEFORE_VARIABLE)


def _read_other(text: str, match: re.Match[str], group: str, tokens: list[Token], gap: bool) -> int:
    """Append the tokens for anything but numbers and words and return the position after it."""
    start, end = match.span()
    raw = match.group()
    before = tokens[-1] if tokens else None
    touching = before is not None and before.end == start
    after_number = touching and tokens[-1].kind == "number"
    after_operand = before is not None and before.kind in _OPERAND_KINDS
    kind = "unknown"
    shown, value = "", None
    if group == "operator":
        if raw == "-" and after_number and text[end : end + 2].isalpha() and text[end].islower():
            # "18-inch": the hyphen of a compound, not a minus
            word = _SCAN.match(text, end)
            assert word is not None
            if word.group() not in SPELLED_NUMBERS:
                tokens.append(Token("word", word.group().lower(), start, word.end(), gap=gap))
                return word.end()
        kind, shown = "operator", _OPERATORS[raw]
    elif group == "power":
        # Two stars are an exponent between operands and Markdown's bold everywhere else.
        if before is None or before.kind not in ("number", "close") or not _NUMBER_AHEAD.match(text, end):
            return end
        kind, shown = "operator", "^"
    elif group == "mixed":
        return _read_mixed(raw, raw.index(" "), start, tokens, gap)
    elif group == "latexmixed":
        return _read_mixed(raw, raw.index("\\"), start, tokens, gap)
    elif group == "binomial":
        kind, value = "number", binomial(raw)
    elif group == "pi":
        kind, shown, value = "number", "π", PI
    elif group == "comparison" and RELATIONS.get(raw) in COMPARISONS:
        kind, shown = "relation", RELATIONS[raw]
    elif group == "vulgar":
        kind, value = "number", VULGAR[raw]
        whole = before.value if before is not None and before.kind == "number" else None
        if before is not None and whole is not None and before.end >= start - 1:
            tokens[-1] = before._replace(end=end, value=whole + value, text=text[before.start : end])
            return end
    elif group == "digits":
        numerator, denominator = two_numbers(raw)
        if denominator:
            kind, value = "number", Fraction(numerator, denominator)
    elif group == "superscript":
        if after_number or (touching and tokens[-1].kind == "close"):
            tokens.append(Token("operator", "^", start, end))
            tokens.append(Token("number", raw, start, end, Fraction(2 if raw == "²" else 3)))
        return end
    elif group == "command":
        known = _command(raw)
        if known is None:
            return end
        kind, shown = known
    elif group == "ellipsis":
        kind = "approximate" if after_number and tokens[-1].places > 0 else "unknown"
    elif group == "bang":
        kind = "factorial" if after_number and _POSTFIX_END.match(text, end) else "break"
    elif group == "stop":
        joins = touching and tokens[-1].kind in (*_OPERAND_KINDS, "unknown")
        if raw in "–—" and gap and before and _SPACED_NUMBER.match(text, end):
            kind, shown = "operator", "-"
        elif raw in ",." and before is not None and _part_follows(text, before, end):
            return end  # "3 feet, 9 inches", "5 lb. 4 oz."
        elif raw == "." and (before is None or before.kind != "number") and _OPERATION_AHEAD.match(text, end):
            return end  # "5 lbs. * 3": the point of an abbreviation
        elif raw != "#" and not (raw == "–" and joins):  # "9–5", "56k–21" are unknown
            kind = "break"  # a range dash or a colon ends the expression
    elif group == "comparison" and raw == "!=" and after_number:
        kind = "unknown"  # "5!=120" or "5 is not 6"
    elif group == "rule":
        kind = "break"
    elif group == "line":
        kind, shown = "break", "\\\\" if raw[0] == "\\" else "\n"
    elif group in _PLAIN:
        kind, shown = _PLAIN[group]
    elif (
        group == "other"
        and unicodedata.category(raw) == "So"
        and not (after_operand and _NUMBER_AHEAD.match(text, end))
    ):
        kind = "break"  # a tick or a picture, and no sign between two operands
    tokens.append(Token(kind, shown or raw, start, end, value, 0, gap))
    return end


def _part_follows(text: str, before: Token, end: int) -> bool:
    """Whether the next part of an amount in several units follows its unit."""
    unit, part = unit_or_place(before.text), _PART.match(text, end)
    smaller = unit_or_place(part.group(1).lower()) if part else None
    if before.kind != "word" or unit is None or smaller is None:
        return False
    return unit.dimension == smaller.dimension and smaller.factor < unit.factor


_PLAIN: dict[str, tuple[str, str]] = {
    "radical": ("root", "root"),
    "comparison": ("break", ""),
    "approximate": ("relation", "~"),
    "relation": ("relation", "="),
    "open": ("open", "("),
    "close": ("close", ")"),
    "percent": ("percent", "%"),
    "tilde": ("approximate", "~"),
    "cent": ("word", "cents"),
}


def _read_mixed(raw: str, cut: int, start: int, tokens: list[Token], gap: bool) -> int:
    r"""Read ``2 1/3`` or ``2\frac{1}{3}`` as one number where its fraction is proper, else its first number."""
    whole, share = raw[:cut].rstrip(), proper_fraction(raw[cut:])
    if share is None:
        tokens.append(_number(whole, start, start + len(whole), gap))
        return start + len(whole)
    tokens.append(Token("number", raw, start, start + len(raw), int(whole) + share, 0, gap))
    return start + len(raw)


def _command(raw: str) -> tuple[str, str] | None:
    """Return kind and text of a LaTeX command, ``None`` where it only spaces or dresses the text."""
    name = raw[1:]
    if name in _SIGNS:
        return _SIGNS[name]
    if name[0].isalpha():
        return _COMMANDS.get(name, ("unknown", raw))
    return None if name in "()$,;:! " else ("unknown", raw)


_SIGNS: dict[str, tuple[str, str]] = {
    "[": ("break", ""), "]": ("break", ""), "%": ("percent", "%"), "{": ("open", "("), "}": ("close", ")"),
}  # fmt: skip


# --- formulas ---

_FORMULA_SCAN = re.compile(
    r"""(?P<space>(?:\s|\\[,;:!\ ]|\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|q?quad(?=\s*[-+*/=]))(?![A-Za-z])|~)+)
    |(?P<degrees>\^\s*\{?\s*\\circ\s*\}?|°)
    |(?P<number>"""
    + _NUMBER
    + r"""|\.\d+)
    |(?P<newline>\\\\(?:\[[^\]]{0,9}\])?)
    |(?P<words>\\(?:text|mbox|textrm|textbf|mathrm|operatorname|textit)\*?\s*\{(?P<inner>[^{}]*)\})
    |(?P<command>\\[A-Za-z]+)
    |(?P<escaped>\\.)
    |(?P<name>[A-Z]{2,}(?![a-z])|sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|pi(?![a-z]))
    |(?P<letter>[A-Za-zα-ω])
    |(?P<relation><=|>=|(?<![\d)}])!=|==|=>|->|:=|[=<>≤≥≠≈→⇒≡])
    |(?P<dots>\.\.\.+|…|---+)
    |(?P<symbol>\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)
_SYMBOLS = {**_OPERATORS, "÷": "÷", "–": "-", "**": "^"}
_SAME = {"cdot": "*", "times": "*", "div": "÷", "pm": "±", "mp": "∓", "lbrack": "[", "rbrack": "]",
         "lvert": "|", "rvert": "|", "vert": "|", "cdotp": "*"}  # fmt: skip


def tokenize_formula(text: str) -> list[Token]:
    """Return the tokens of mathematical text; spaces, sizes and ``\\left`` are dropped.

    Raises:
        TooLargeError: a number has more than `MAX_DIGITS` digits.
    """
    tokens: list[Token] = []
    for match in _FORMULA_SCAN.finditer(text):
        kind, raw = match.lastgroup or "symbol", match.group()
        if kind == "inner":
            kind = "words"
        if kind == "space":
            continue
        value = None
        if kind == "number":
            value = exact_number(raw)
            if value is None:
                raise TooLargeError(f"a number of {len(raw)} digits")
        elif kind == "words":
            raw = (match["inner"] or "").strip()
        elif kind in ("command", "name"):
            raw = raw.lstrip("\\")
            if raw in _SAME:
                kind, raw = "symbol", _SAME[raw]
            elif kind == "name" and raw.islower():
                kind = "command"
        elif kind == "escaped":
            kind, raw = ("symbol", "%") if raw == "\\%" else ("symbol", raw)
        elif kind == "symbol":
            raw = _SYMBOLS.get(raw, raw)
        tokens.append(Token(kind, raw, match.start(), match.end(), value))
    return tokens


# --- marks of layout ---

_MARK = re.compile(
    r"\\(?:tag|label|ref|eqref|[cC]ref|autoref|cite|footnotemark|[hv]space|[hv]?phantom|(?:text)?color)\*?"
    r"(?:\[[^\]\n]{0,20}\])?\{[^{}\n]{0,200}\}"
    r"|\\(?:notag|nonumber|footnotemark)(?![A-Za-z])|\[\^\w{1,9}\]"
    r"|(?<=[\d}).,;])(?:\\q?quad|\\hfill|\\dots|\\ldots|\\cdots|(?<!\.)\.{2,}+|[ \t]{2,}+)[ \t]*"
    r"\((?:\d{1,2}|i{1,3}|iv|\*{1,3})\)"
    r"(?=\s*(?:\$|\\[\])]|\\\\|\n|$))"
)
_HINT = re.compile(r"\\[a-zA-Z]|\[\^|\)\s*(?:\n|$)")


def without_marks(text: str) -> str:
    """Return the text of the same length with spaces for its marks."""
    if _HINT.search(text) is None:
        return text
    return _MARK.sub(lambda match: " " * len(match.group()), text)
