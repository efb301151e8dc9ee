"""Equations in a step: pairs of number expressions that the text says are equal.

Contract: `find_equations` returns every such pair in the order of the text, chains ``a = b = c`` as
neighbouring pairs, GSM8K calculator annotations ``<<48/2=24>>`` as equations of their own and as a link to
the number printed after them. Sides that are not number expressions stay in the list with `known` false, so
that a judge can refuse instead of overlook. Not here: whether an equation holds (`arithmetic.py`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sparring.oracles.expressions import read_runs
from sparring.oracles.marks import without_marks
from sparring.oracles.run import Run, bracket_partners
from sparring.oracles.tokens import Token, kept, tokenize
from sparring.oracles.words import APPROXIMATE_WORDS, LEAD_WORDS

ANNOTATION = re.compile(r"<<([^<>\n]{0,400})>>")
MAX_TRAILING_WORDS = 4
_BEFORE_SIDE = LEAD_WORDS | APPROXIMATE_WORDS
_RELATION_HINT = re.compile(
    r"[=≈≅≃<>≤≥]|\bequals?\b|\b(?:is|are)\s|\\(?:approx|sim|[lg](?:eq?|t)\b|[lg]eqslant)", re.IGNORECASE
)

Source = Literal["text", "annotation", "printed"]


@dataclass(frozen=True, slots=True)
class Equation:
    """Two expressions that a step equates.

    Attributes:
        left: the expression before the relation, ``None`` where words stand there (``Total = 5 + 3``).
        right: the expression after it, ``None`` where words stand there.
        relation: ``=``, ``~`` (approximately), ``is``, or one of `tokens.COMPARISONS`.
        source: ``text``, ``annotation`` (inside ``<<...>>``), or ``printed`` (an annotation's result against
            the number printed straight after it).
        symbolic: a missing side holds numbers, variables or operators that could not be read.
        chained: the left side is, as a whole, the right side of the equation before.
    """

    left: Run | None
    right: Run | None
    relation: str
    source: Source
    symbolic: bool = False
    chained: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """Character range from the first to the last side that is there."""
        sides = [side for side in (self.left, self.right) if side is not None]
        return (min(side.start for side in sides), max(side.end for side in sides)) if sides else (0, 0)


def may_hold_equation(text: str) -> bool:
    """Return quickly whether the text has any sign of a relation."""
    return _RELATION_HINT.search(text) is not None


def find_equations(text: str) -> list[Equation]:
    """Return the equations of a step in the order of their first characters.

    Raises:
        TextTooLargeError: see `tokenize`.
    """
    tokens, annotations = read_step(text)
    found = equations_of(tokens, "text")
    for _, end, inside in annotations:
        inner = equations_of(inside, "annotation")
        found += inner
        result = inner[-1].right if inner else _only_run(inside)
        printed = number_after(tokens, end)
        if result is not None and printed is not None:
            found.append(Equation(result, printed, "=", "printed"))
    return sorted(found, key=lambda equation: equation.span) if annotations else found


def _only_run(tokens: Sequence[Token]) -> Run | None:
    """Return the expression that an annotation without a result is: ``<<2*3>>6``."""
    if any(token.kind in ("relation", "break") for token in tokens):
        return None
    runs = read_runs(tokens, 0, len(tokens), bracket_partners(tokens))
    return runs[0] if len(runs) == 1 and runs[0].known else None


Annotations = tuple[tuple[int, int, list[Token]], ...]


@kept
def read_step(text: str) -> tuple[tuple[Token, ...], Annotations]:
    """Return the tokens of the visible text, and (start, end, tokens) of every calculator annotation.

    Annotations are blanked out of the visible text with spaces, so that all character ranges stay those of `text`.

    Raises:
        TextTooLargeError: see `tokenize`.
    """
    text = without_marks(text)
    annotations = tuple(
        (match.start(), match.end(), _shifted(tokenize(match.group(1)), match.start(1)))
        for match in ANNOTATION.finditer(text)
    )
    visible = ANNOTATION.sub(lambda match: " " * len(match.group()), text) if annotations else text
    return tuple(tokenize(visible)), annotations


def number_after(tokens: Sequence[Token], position: int) -> Run | None:
    """Return the number printed straight after an annotation that ends at `position`, if there is one."""
    for index, token in enumerate(tokens):
        if token.start >= position:
            if token.kind != "number" or token.value is None or token.start - position > 2:
                return None
            printed = Run(tokens=[token], start=token.start, end=token.end)
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            if after is not None and after.kind in ("number", "unknown"):
                printed.doubt = "two_numbers_side_by_side"  # "17 500": one number or two
            elif after is not None and after.text == "/" and not after.gap:
                printed.doubt = "fraction"  # "3/4"
            return printed
    return None


def _shifted(tokens: Sequence[Token], offset: int) -> list[Token]:
    return [token._replace(start=token.start + offset, end=token.end + offset) for token in tokens]


def equations_of(tokens: Sequence[Token], source: Source) -> list[Equation]:
    """Return the equations that a token list spells."""
    found: list[Equation] = []
    tokens = _joined_lines(tokens)
    if not any(token.kind == "relation" for token in tokens):
        return found
    partners = bracket_partners(tokens)
    first, relation, left = 0, "", None  # of the stretch being read: its beginning and what stands before it
    chained = False
    end = len(tokens)
    for index in range(end + 1):
        token = tokens[index] if index < end else None
        if token is not None and token.kind not in ("relation", "break"):
            continue
        last_of_chain = token is None or token.kind == "break"
        if relation or not last_of_chain:
            runs, right = read_runs(tokens, first, index, partners), None
            stretch = tokens[first:index]
            if relation and left is not None:
                right = _first_side(runs)
                symbolic = left[1] or (right is None and is_symbolic(stretch))
                found.append(Equation(left[0], right, relation, source, symbolic, chained))
            side = _last_side(runs)
            chained = bool(found) and side is not None and side is right
            left = (side, side is None and is_symbolic(stretch))
        relation = "" if last_of_chain else (token.text if token is not None else "")
        if last_of_chain:
            left, chained = None, False
        first = index + 1
    return found


def is_symbolic(stretch: Sequence[Token]) -> bool:
    """Whether a stretch that is no expression still looks like mathematics and not like a label."""
    kinds = {token.kind for token in stretch}
    return "unknown" in kinds or ("number" in kinds and ("operator" in kinds or "fraction" in kinds))


def _joined_lines(tokens: Sequence[Token]) -> list[Token]:
    """Drop line ends inside a calculation: aligned chains and sums go on over several lines."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        if token.kind == "break" and token.text in ("\n", "\\\\"):
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            if (kept and kept[-1].kind in ("relation", "operator")) or (after and after.kind == "relation"):
                continue
            if after is not None and _continues(token, after):
                if _is_relation_row(tokens, index + 1):  # the sum above goes on, or a new equation begins
                    kept.append(token._replace(kind="unknown"))
                continue
        kept.append(token)
    return kept


def _continues(line_end: Token, after: Token) -> bool:
    """Whether a sign that begins a line carries on the sum above; a dash or star may be a list mark."""
    return after.kind == "operator" and (line_end.text != "\n" or after.text == "+")


def _is_relation_row(tokens: Sequence[Token], first: int) -> bool:
    """Whether the line that begins here holds a relation of its own."""
    row = itertools.takewhile(lambda token: token.kind != "break", itertools.islice(tokens, first, None))
    return any(token.kind == "relation" for token in row)


def _last_side(runs: Sequence[Run]) -> Run | None:
    """The expression that a relation after these runs speaks of."""
    run = runs[-1] if runs else None
    return None if run is None or run.closed or run.trailing > MAX_TRAILING_WORDS else run


def _first_side(runs: Sequence[Run]) -> Run | None:
    """The expression that a relation before these runs speaks of."""
    return runs[0] if runs and _BEFORE_SIDE.issuperset(runs[0].lead) else None


def expression_text(run: Run) -> str:
    """Write the cleaned expression for people."""
    text = "".join(token.text if token.kind != "of" else " of " for token in run.tokens)
    return text if len(text) <= 80 else text[:77] + "..."
