"""One number expression of a clause, and where its brackets close.

Contract: plain data, filled in by `expressions.py` and read by everything that evaluates or compares expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from sparring.oracles.tokens import Token
from sparring.oracles.units import Unit


@dataclass(slots=True)
class Run:
    """One expression in a clause.

    Attributes:
        tokens: the cleaned expression, for `numbers.to_postfix`.
        start: first character; `end` is one past the last character of the last operand.
        known: every operand is a number.
        operators: how many operators it has (a fraction bar counts).
        doubt: why it can be read in more than one way, or empty.
        units: words inside and after it.
        measures: the unit straight after an operand, by that operand's place in `tokens`; none for rates. Amounts such as
            "5 lb 4 oz" are joined by the operator ``and``, which adds and binds closest.
        short: places of `measures` whose unit is spelled as a variable could be ("500 g").
        lead: words between the clause's beginning (or the run before) and this run.
        approximate: a hedge ("about", "~", "rounded") governs it: it stands straight before it or one of its numbers, or
            after it as a phrase of its own.
        digit: the digit that such a phrase names: 100 in "rounded to the nearest hundred".
        closed: a word that ends expressions follows its units.
        trailing: number of words after the last operand.
        listed: a list mark that could be a minus stands before it.
        group: the number of an enclosing group that the first operand belongs to (8 in "8 packs of 5 bags *").
    """

    tokens: list[Token] = field(default_factory=list)
    start: int = -1
    end: int = -1
    known: bool = True
    operators: int = 0
    doubt: str = ""
    units: list[str] = field(default_factory=list)
    measures: dict[int, Unit] = field(default_factory=dict)
    short: set[int] = field(default_factory=set)
    lead: list[str] = field(default_factory=list)
    approximate: bool = False
    digit: Fraction | None = None
    closed: bool = False
    trailing: int = 0
    group: Fraction | None = None
    listed: bool = False

    @property
    def compound(self) -> bool:
        """Whether an amount in several units stands in it."""
        return any(token.text == "and" for token in self.tokens)


def is_share(run: Run) -> bool:
    """Whether the run ends in a fraction or a percentage, after which ``of`` multiplies."""
    if not run.tokens:
        return False
    if run.tokens[-1].kind == "percent" or "/" in run.tokens[-1].text:
        return True
    if run.tokens[-1].kind == "close":
        return run.operators > 0
    return len(run.tokens) >= 3 and run.tokens[-2].text == "/" and run.tokens[-3].kind == "number"


def bracket_partners(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the index of the closing bracket for every opening one that closes within the same clause.

    A bracket that a relation or a break interrupts has no partner: it is a boundary, not part of an
    expression.
    """
    partners: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == "open":
            stack.append(index)
        elif token.kind == "close":
            if stack:
                partners[stack.pop()] = index
        elif token.kind in ("relation", "break"):
            stack.clear()
    return partners
