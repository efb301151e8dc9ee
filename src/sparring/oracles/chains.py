r"""Chains of relations in a step: ``a = b = c < d``, read out of LaTeX and plain text, with what joins them.

Contract: `find_chains` returns every chain in text order; a member that is not understood stays in its place without
a tree, so that no relation is invented across it. A chain remembers the prose before it and whether it follows from
the one before (``\implies``, the next row of an aligned block). Drawing code (``[asy]``) is blanked out. Not here:
what the relations mean (`algebra.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sparring.oracles.expressions import FUNCTIONS, Node, parse, walk
from sparring.oracles.reading import (
    ARROWS,
    RELATIONS,
    Token,
    TooLargeError,
    UnreadableError,
    cached,
    closing_place,
    tokenize_formula,
    without_marks,
)
from sparring.oracles.units import UNITS
from sparring.oracles.words import NUMBERED_WORDS, word_set

MAX_CHARACTERS = 20_000
MAX_CHAINS = 120
MAX_MEMBERS = 40

_BLANKED = re.compile(r"\[asy\].*?(?:\[/asy\]|$)|<<[^<>\n]{0,400}>>", re.DOTALL)
# A formula that is opened again before it is closed begins where it is opened last: linear time.
_ENVIRONMENT = (
    r"\\begin\{(?P<env>align\*?|aligned|equation\*?|gather\*?|eqnarray\*?|multline\*?)\}"
    r"(?P<body>(?:[^\\]|\\(?!(?:begin|end)\{(?P=env)\}))*+)\\end\{(?P=env)\}"
)
_MATHEMATICS = re.compile(
    rf"{_ENVIRONMENT}|\$\$(?P<dd>[^$]+)\$\$|(?<!\\)\$(?P<d>(?:\\.|[^$\\])+)\$"
    r"|\\\[(?P<b>(?:[^\\]|\\[^\[\]])*+)\\\]|\\\((?P<p>(?:[^\\]|\\[^()])*+)\\\)",
    re.DOTALL,
)
_INNER = re.compile(r"\\(?:begin|end)\{(?:align(?:ed)?|split|gathered|gather|equation)\*?\}")
# Plain text: everything that may belong to a formula, words excepted.
_WORD = re.compile(
    r"\\?[A-Za-z]{2,}|(?<![\w\\^_=+*/(-])[aAI](?=\s+[A-Za-z]{2,})|[^\x00-\x7f\u00a0\u2009\u202fα-ω×·÷−²³√π≤≥≠≈⇒→∴°…–]+"
)
_PLAIN_NAMES = FUNCTIONS | {"sqrt", "pi"}
_PLAIN_RELATION = re.compile(r"[=<>≤≥≠≈]|\\(?:le|ge|ne|approx|leq|geq)\b")
_BREAK_COMMANDS = word_set("to because quad qquad land lor hspace vee wedge")
_UNIT = re.compile(
    r"[.\s]*(?:square |sq\.? |cubic )?(?:cm|mm|m|km|in|ft|inch(?:es)?|feet|foot|units?|degrees?|dollars?|cents?|meters?|"
    r"miles?|hours?|minutes?|seconds?|hr|min|sec|mph|years?|days?|ways?|yards?|points?|pounds?)[.\s]*(?:\^?\s*\{?\d\}?)?[.\s]*"
)
_LINKING_WORD = re.compile(
    r"[,.\s]*(?:and|or|so|thus|hence|if|where|when|for|with|then|therefore|gives)[,.\s]*"
)
_VALUE_WORDS = re.compile(
    r"(?:\b(?:of|times|minus|plus|by|per|mod|modulo|root|than|divided|over|percent|sum|product|choose|to|base|"
    r"remainder|log|minutes?|hours?|cents?|dollars?|feet|inches|d(?:\^?\d)?/d[a-z])|[-+*/^])\s*$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    rf"(?<!\bthe )(?<!\ban )(?<!\ba )\b(?:{'|'.join(sorted(NUMBERED_WORDS))})\s*$", re.IGNORECASE
)
_AFTER_UNIT = re.compile(rf"\d\s*(?:{'|'.join(sorted(UNITS))})\.?,?\s*(?:and\s*)?$", re.IGNORECASE)
_WORDS_AFTER = re.compile(
    r"\s*(?:times|mod|modulo|percent|plus|minus|divided|of|squared|cubed|more|less|choose|base|over|remainder|r)\b",
    re.I,
)


# "29 inches + 12 inches": the word is a unit, and the calculation goes on after it.
_UNFINISHED = re.compile(r"[ ]*+(?:[A-Za-z]++[ ]?){0,3}(?:\([^()]*\)[ ]*)?[-+*/×÷^]\s*[\d$(A-Za-z]")


Joined = Literal["", "implies", "row"]


class Member(NamedTuple):
    """One side: its tree (``None`` where it is not understood), its unit words, its character range."""

    node: Node | None
    unit: str
    start: int
    end: int
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """Members and the relations between them (one fewer: ``=``, ``<``, ``<=``, ``>``, ``>=``, ``~``, ``!=``, ``mod``).

    Attributes:
        prose: the words between the chain before and this one, lower case.
        joined: ``implies`` after an arrow, ``row`` as the next row of a display, else empty.
        latex: whether it stands between LaTeX delimiters.
        after: the text that follows, up to a few words.
    """

    members: tuple[Member, ...]
    relations: tuple[str, ...]
    prose: str
    joined: Joined
    latex: bool
    after: str = ""

    @property
    def span(self) -> tuple[int, int]:
        """Character range of the whole chain."""
        return self.members[0].start, self.members[-1].end

    def links(self) -> Iterator[tuple[Member, str, Member]]:
        """Yield each two neighbouring members with the relation between them."""
        return zip(self.members, self.relations, self.members[1:], strict=False)


class _Passage(NamedTuple):
    start: int
    end: int
    latex: bool


@cached
def find_chains(text: str) -> tuple[Chain, ...]:
    """Return the chains of a text in order.

    Raises:
        TooLargeError: the text, or the number of its chains, exceeds the bounds.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError(f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    text = without_marks(_BLANKED.sub(lambda match: " " * len(match.group()), text))
    found: list[Chain] = []
    before = 0
    for passage in _passages(text):
        for chain in _chains_of(text, passage, before):
            found.append(chain)
            before = chain.span[1]
            if len(found) > MAX_CHAINS:
                raise TooLargeError(f"over {MAX_CHAINS} chains of relations")
    return tuple(found)


def _passages(text: str) -> Iterator[_Passage]:
    position = 0
    for match in _MATHEMATICS.finditer(text):
        yield from _plain_passages(text, position, match.start())
        group = next(name for name in ("body", "dd", "d", "b", "p") if match[name] is not None)
        yield _Passage(match.start(group), match.end(group), True)
        position = match.end()
    yield from _plain_passages(text, position, len(text))


def _plain_passages(text: str, start: int, end: int) -> Iterator[_Passage]:
    """Stretches between words that hold a relation."""
    position = start
    for word in [*_WORD.finditer(text, start, end), None]:
        if word is not None and _in_formula(word.group()):
            continue
        last = word.start() if word is not None else end
        for line in re.finditer(r"[^\n]+", text[position:last]):
            if _PLAIN_RELATION.search(line.group()):
                yield _Passage(position + line.start(), position + line.end(), False)
        position = word.end() if word is not None else end


def _in_formula(word: str) -> bool:
    named = word[0] == "\\" or word.lower() in _PLAIN_NAMES
    return named or (word.isupper() and len(word) <= 4 and word != "I")


def _chains_of(text: str, passage: _Passage, before: int) -> Iterator[Chain]:
    """Split a passage at commas, arrows and rows; yield the pieces that hold a relation."""
    inside = _INNER.sub(lambda match: " " * len(match.group()), text[passage.start : passage.end])
    try:
        tokens = [
            token._replace(start=token.start + passage.start, end=token.end + passage.start)
            for token in tokenize_formula(inside)
        ]
    except TooLargeError:
        yield Chain((Member(None, "", passage.start, passage.end, True),) * 2, ("=",), "", "", passage.latex)
        return
    joined: Joined = ""
    prose_from = before
    for piece, ended_by in _pieces(tokens):
        chain = _chain(text, piece, passage, prose_from, joined) if piece else None
        if chain is not None:
            yield chain
            prose_from = chain.span[1]
        if piece or ended_by == "implies" or (ended_by == "row" and joined != "implies"):
            joined = ended_by


def _pieces(tokens: Sequence[Token]) -> Iterator[tuple[list[Token], Joined]]:
    piece: list[Token] = []
    depth = 0
    tokens = [token for token in tokens if token.text != "&"]
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.kind == "newline":
            if following is not None and _relation(following) and not _is_arrow(following) and piece:
                continue
            if piece and following is not None and following.text in ("+", "*"):
                continue  # a sum that goes on
            if piece and (_relation(piece[-1]) or piece[-1].text in ("+", "-", "*", "(")):
                continue
            yield piece, "row"
            piece, depth = [], 0
        elif _is_arrow(token):
            yield piece, "implies"
            piece, depth = [], 0
        elif depth <= 0 and _breaks(token, following) and not _is_decimal_comma(tokens, index):
            yield piece, ""
            piece = []
        else:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            piece.append(token)
    yield piece, ""


def _relation(token: Token) -> str:
    return RELATIONS.get(token.text, "") if token.kind in ("relation", "command") else ""


def _is_arrow(token: Token) -> bool:
    return _relation(token) == "implies" or (token.kind == "command" and token.text in ARROWS)


def _is_decimal_comma(tokens: Sequence[Token], index: int) -> bool:
    """Whether a comma stands between two numbers without a space, and in no list: "3,5" ends no formula."""
    if tokens[index].text != "," or not 0 < index < len(tokens) - 1:
        return False
    before, after = tokens[index - 1], tokens[index + 1]
    glued = before.end == tokens[index].start and after.start == tokens[index].end
    listed = any(0 <= place < len(tokens) and tokens[place].text == "," for place in (index - 2, index + 2))
    return glued and not listed and before.kind == after.kind == "number"


def _breaks(token: Token, following: Token | None) -> bool:
    if token.kind == "symbol":
        if token.text in (".", ":") and following is not None and following.start == token.end:
            return False  # 3.\overline{6}, 1:2
        return token.text in (",", ";", ":", "?", "•", "#", ".")
    if token.kind == "words":
        return _LINKING_WORD.fullmatch(token.text) is not None
    return token.kind == "command" and token.text in _BREAK_COMMANDS


def _chain(
    text: str, piece: Sequence[Token], passage: _Passage, prose_from: int, joined: Joined
) -> Chain | None:
    sides: list[list[Token]] = [[]]
    relations: list[str] = []
    places: list[int] = [piece[0].start]
    depth = 0
    for token in piece:
        relation = _relation(token)
        if relation and depth == 0:
            relations.append(relation)
            sides.append([])
            places.append(token.end)
        else:
            depth += (token.text in ("(", "{")) - (token.text in (")", "}"))
            sides[-1].append(token)
    if not relations or len(sides) > MAX_MEMBERS:
        return None
    members = [_member(side, place) for side, place in zip(sides, places, strict=True)]
    if _is_numbered(sides[-1]):  # "x + y = 5 (2)": the number of the equation, or a factor
        members[-1] = _either(_member(sides[-1][:-3], places[-1]), members[-1])
    if not passage.latex and piece[-1].text == "!":  # "= 25!": a factorial, or the end of a cry
        members[-1] = _either(_member(sides[-1][:-1], places[-1]), members[-1])
    lead = text[max(0, piece[0].start - 30) : piece[0].start].rstrip(" $\\([\n")
    continues = piece[0].text in "+-" and not passage.latex and re.search(r"\w[\s]*$", text[: piece[0].start])
    plain = piece[0].kind == "number" and piece[1].kind != "letter"  # "line 3x + 2y = 12" has no number 3
    numbered = plain and (_NUMBERED.search(lead) or _AFTER_UNIT.search(lead))
    # "max(3, 7) = 7"
    applied = not passage.latex and piece[0].text == "(" and text[: piece[0].start][-1:].isalpha()
    following = text[piece[-1].end : piece[-1].end + 1] or " "
    based = piece[-1].text == "0" and following in "xXbBoO"
    after = text[piece[-1].end : piece[-1].end + 40].lstrip(" $)]\\.")
    unread = {
        0: _VALUE_WORDS.search(lead) or continues or numbered or applied,
        len(sides) - 1: (not passage.latex and _UNFINISHED.match(text, piece[-1].end))
        or unicodedata.combining(following)  # 0.3 with a bar
        or based
        or _WORDS_AFTER.match(after),
    }
    if not passage.latex:  # "12(x + 1) = 12 3x = 0": rows that have lost their ends
        unread |= {place: _may_be_two(side) for place, side in enumerate(sides[1:-1], start=1)}
    members = [
        member._replace(node=None) if unread.get(place) else member for place, member in enumerate(members)
    ]
    prose = text[prose_from : piece[0].start].lower()
    return Chain(tuple(members), tuple(relations), prose, joined, passage.latex, after.lower())


def _may_be_two(side: Sequence[Token]) -> bool:
    """Whether a side may be the end of one equation and the beginning of the next."""
    for place in range(1, len(side)):
        before, token = side[place - 1], side[place]
        apart = token.start > before.end
        operands = (
            before.kind in ("number", "letter") or before.text in ")}",
            token.kind in ("number", "letter"),
        )
        if apart and all(operands):
            return True
        glued = place + 1 < len(side) and side[place + 1].start == token.end
        if apart and glued and token.text == "-" and operands[0]:
            return True
    return False


def _either(usual: Member, other: Member) -> Member:
    """Return a side that can be read in two ways; the usual one, where that has two readings itself."""
    if usual.node is None or other.node is None:
        return other
    if any(one.kind == "either" for one in walk(usual.node)):
        return usual
    return usual._replace(node=Node("either", (usual.node, other.node)))


def _is_numbered(side: Sequence[Token]) -> bool:
    """Whether a side ends in a small whole number in brackets that stands apart."""
    if len(side) < 4 or [side[-3].text, side[-1].text] != ["(", ")"] or side[-3].start == side[-4].end:
        return False
    return side[-2].kind == "number" and len(side[-2].text) <= 2 and side[-2].text.isdigit()


def _member(side: Sequence[Token], place: int) -> Member:
    start, end = (side[0].start, side[-1].end) if side else (place, place)
    unit = ""
    kept = list(side)
    if len(kept) > 3 and kept[0].text in ("boxed", "fbox") and kept[-1].text == "}":
        kept = kept[2:-1] if closing_place(token.text for token in kept[1:]) == len(kept) - 2 else kept
    while kept and (kept[-1].kind == "words" or kept[-1].text in ("\\$", "$")):
        words = kept.pop()
        if words.kind == "words" and words.text and not _UNIT.fullmatch(words.text):
            return Member(None, "", start, end)
        unit = words.text if words.kind == "words" else unit
        if kept and not words.text.strip():
            unit = ""
    if kept and kept[0].text == "\\$":
        kept = kept[1:]
    if unit and len(kept) > 1 and side[-1].kind != "words":
        return Member(None, "", start, end)
    words_at = next((index for index, token in enumerate(kept) if token.kind == "words"), None)
    raised = words_at is not None and words_at == len(kept) - 3 and kept[-2].text == "^" and len(side) > 3
    if raised and _UNIT.fullmatch(kept[-3].text):
        unit, kept = kept[-3].text + "^", kept[:-3]  # 12 \text{ cm}^2
    try:
        return Member(parse(kept), unit.strip(), start, end)
    except TooLargeError:
        return Member(None, "", start, end, True)
    except UnreadableError:
        return Member(None, "", start, end)
