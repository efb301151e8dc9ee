r"""Canonical forms of calculations: which two ways of writing are the same calculation.

Contract: ``3 * 4`` and ``4 * 3``, ``24 / 2`` and ``24 * 0.5``, ``20% of 50`` and ``50 * 0.2`` have equal
canonical forms; ``2 + 2`` and ``2 * 2`` have not, although their values agree. Built from
bounded trees. Formulas with unknowns are compared sign by sign (`formulas_of`): ``\dfrac{x}{2}`` is
``\frac{x}{2}`` and ``x^{2}`` is ``x^2``, but ``x + 3`` is not ``3 + x``. Not here: values (`values.py`), algebra
(`algebra.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sparring.oracles.expressions import Node
from sparring.oracles.reading import Token


@dataclass(frozen=True, slots=True)
class Canonical:
    """A calculation up to the order of terms and factors.

    Attributes:
        kind: ``number``, ``sum``, ``product`` or ``other``.
        parts: sorted texts of the terms or factors; subtraction is a negative term, division a reciprocal
            factor.
        value: of a number.
    """

    kind: Literal["number", "sum", "product", "other"]
    parts: tuple[str, ...]
    value: Fraction | None = None

    def __str__(self) -> str:
        return self.parts[0] if len(self.parts) == 1 else f"{self.kind}({','.join(self.parts)})"


Formula = tuple[str, ...]
_FORMULA_KINDS = frozenset(
    ("number", "operator", "open", "close", "percent", "factorial", "fraction", "root", "relation", "unknown")
)


def formulas_of(tokens: Sequence[Token], claimed: Sequence[tuple[int, int]] = ()) -> tuple[Formula, ...]:
    """Return the formulas of a text in order: stretches of mathematical tokens between words and breaks.

    Args:
        tokens: of the text.
        claimed: character ranges to leave out, because their content is compared as a calculation.
    """
    found: list[Formula] = []
    stretch: list[Token] = []
    for token in [*tokens, None]:
        if token is not None and any(start <= token.start < end for start, end in claimed):
            continue
        if token is not None and token.kind in _FORMULA_KINDS:
            stretch.append(token)
        elif stretch:
            found.append(_signs(stretch))
            stretch = []
    return tuple(found)


def _signs(stretch: Sequence[Token]) -> Formula:
    """Return the texts of tokens, numbers by value, without brackets around a single sign."""
    signs: list[str] = []
    before: Token | None = None
    for token in _expanded(stretch):
        if token.kind == "percent" and before is not None and before.value is not None:
            signs[-1] = str(before.value / 100)
        else:
            signs.append(token.text if token.value is None else str(token.value))
        before = token
    kept: list[str] = []
    for sign in signs:
        kept.append(sign)
        if sign == ")" and len(kept) > 2 and kept[-3] == "(" and kept[-2] not in "()":
            kept[-3:] = [kept[-2]]
    return tuple(kept)


def _expanded(tokens: Sequence[Token]) -> list[Token]:
    r"""Return the tokens with every LaTeX ``\frac{a}{b}`` spelled as ``((a)/(b))``; other uses stay as they
    are."""
    result: list[Token] = []
    roles: list[str] = []  # one entry per open bracket: plain, numerator or denominator
    awaited = ""  # the role of the bracket that has to open next
    for token in tokens:
        if awaited and token.kind != "open":
            return list(tokens)
        if token.kind == "fraction":
            awaited = "numerator"
            continue
        result.append(token)
        if token.kind == "open":
            roles.append(awaited or "plain")
            if awaited == "numerator":
                result.append(token)
            awaited = ""
        elif token.kind == "close" and roles:
            role = roles.pop()
            if role == "numerator":
                result.append(Token("operator", "/", token.start, token.end))
                awaited = "denominator"
            elif role == "denominator":
                result.append(token)
    return list(tokens) if awaited else result


def canonical_of(node: Node, derived: Mapping[Fraction, Canonical]) -> Canonical:
    """Return the canonical form of a calculation, operands that are `derived` results written out."""
    if node.kind == "number":
        return derived.get(node.value) or _atom(node.value)
    first, *others = [canonical_of(part, derived) for part in node.parts]
    if node.kind == "negative":
        return _negated(first)
    if node.kind == "percent":
        hundredth = Fraction(1, 100)
        return (
            _atom(first.value * hundredth)
            if first.value is not None
            else _joined("product", first, _atom(hundredth))
        )
    if node.kind == "call":
        return Canonical("other", (f"root({first})" if node.name == "root" else f"{first}!",))
    for other in others:
        if node.kind == "power":
            first = Canonical("other", (f"({first})^({other})",))
        elif node.kind == "sum":
            first = _joined("sum", first, other)
        else:
            first = _joined("product", first, _inverted(other) if node.kind == "quotient" else other)
    return first


def _atom(value: Fraction) -> Canonical:
    return Canonical("number", (str(value),), value)


def _joined(kind: Literal["sum", "product"], left: Canonical, right: Canonical) -> Canonical:
    neutral = 0 if kind == "sum" else 1
    kept = [side for side in (left, right) if side.value != neutral]
    if len(kept) < 2:
        return kept[0] if kept else left
    parts: list[str] = []
    for side in kept:
        parts += side.parts if side.kind in (kind, "number") else (str(side),)
    return Canonical(kind, tuple(sorted(parts)))


def _negated(operand: Canonical) -> Canonical:
    if operand.value is not None:
        return _atom(-operand.value)
    if operand.kind == "sum":
        return Canonical("sum", tuple(sorted(_flipped(part, "-") for part in operand.parts)))
    return Canonical("other", (_flipped(str(operand), "-"),))


def _inverted(operand: Canonical) -> Canonical:
    if operand.value:
        return _atom(1 / operand.value)
    return Canonical("other", (_flipped(str(operand), "1/"),))


def _flipped(part: str, mark: str) -> str:
    """Put a mark before a part, or take it off again."""
    return part.removeprefix(mark) if part.startswith(mark) else mark + part
