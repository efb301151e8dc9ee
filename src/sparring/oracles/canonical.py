r"""Canonical forms of calculations: which two ways of writing are the same calculation.

Contract: ``3 * 4`` and ``4 * 3``, ``24 / 2`` and ``24 * 0.5``, ``20% of 50`` and ``50 * 0.2`` have equal
canonical forms; ``2 + 2`` and ``2 * 2`` have not, although their values agree. Built without recursion from
the bounded postfix form. Formulas with unknowns are compared sign by sign (`formulas_of`): ``\dfrac{x}{2}`` is
``\frac{x}{2}`` and ``x^{2}`` is ``x^2``, but ``x + 3`` is not ``3 + x``. Not here: values (`numbers.py`), algebra
(`algebra.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sparring.oracles.numbers import Postfix, expand_fractions
from sparring.oracles.tokens import Token


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
    for token in expand_fractions(stretch):
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


def canonical_of(postfix: Postfix, derived: Mapping[Fraction, Canonical]) -> Canonical:
    """Return the canonical form of a postfix expression, operands that are `derived` results written out."""
    stack: list[Canonical] = []
    for item in postfix:
        if isinstance(item, Token):
            assert item.value is not None  # refused by to_postfix
            stack.append(derived.get(item.value) or _atom(item.value))
        elif item == "negative":
            stack.append(_negated(stack.pop()))
        elif item == "%":
            operand = stack.pop()
            hundredth = Fraction(1, 100)
            share = None if operand.value is None else _atom(operand.value * hundredth)
            stack.append(share or _joined("product", operand, _atom(hundredth)))
        elif item == "root":
            stack.append(Canonical("other", (f"root({stack.pop()})",)))
        elif item == "!":
            stack.append(Canonical("other", (f"{stack.pop()}!",)))
        else:
            right, left = stack.pop(), stack.pop()
            if item in ("+", "and"):
                stack.append(_joined("sum", left, right))
            elif item == "-":
                stack.append(_joined("sum", left, _negated(right)))
            elif item == "/":
                stack.append(_joined("product", left, _inverted(right)))
            elif item == "^":
                stack.append(Canonical("other", (f"({left})^({right})",)))
            else:
                stack.append(_joined("product", left, right))
    return stack.pop()


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
