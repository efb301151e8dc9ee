"""One link ``a = b`` of a chain: is it an identity, true for some values, or false?

Contract: `check_link` decides exactly by rational functions where both sides are some, and otherwise by values at fixed
points under every reading of signs with two meanings (`values.Reading`); "false" means false at every point and
under every reading. Rounding, units and percent are excuses. Not here: whether an equation follows from others
(`derivations.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sparring.oracles.chains import Chain, Member
from sparring.oracles.formulas import Node, TooLargeError, UnreadableError, variables, walk
from sparring.oracles.functions import Functions, inlined
from sparring.oracles.polynomials import Monomial, Polynomial, cross_difference, multiply, rational
from sparring.oracles.values import (
    Reading,
    UndefinedError,
    Value,
    as_complex,
    evaluate,
    readings,
    same,
    sample_points,
    unknowns,
)

Outcome = Literal[
    "identity",
    "value",
    "rounded",
    "label",
    "equation",
    "slip",
    "false_value",
    "excused",
    "unread",
    "too_large",
]
ROUNDING = 0.012
ROUGH = 0.12
_SCALES = (10, 12, 60, 100, 1000, 3600, 16, 24, 7, 36, 3, 365)


@dataclass(frozen=True, slots=True)
class Link:
    """A pair of neighbouring members and what was found.

    Attributes:
        outcome: ``identity`` (equal for all values), ``value`` (equal numbers), ``rounded``, ``label`` (nothing is
            claimed: a name, two plain numbers), ``equation`` (true for some values at most), ``slip`` (a rewriting
            that is off by a single term), ``false_value`` (different numbers), ``excused``, ``unread``, ``too_large``.
        left: the first member.
        right: the second member.
        detail: both values, for people.
    """

    outcome: Outcome
    left: Member
    right: Member
    detail: str = ""

    @property
    def span(self) -> tuple[int, int]:
        """Character range of both members."""
        return self.left.start, self.right.end


def check_chain(chain: Chain, functions: Functions | None = None) -> list[Link]:
    """Return the link of every ``=`` and ``≈`` in a chain; `functions` are those that the text defines."""
    return [
        check_link(_inlined(left, functions), _inlined(right, functions), relation, len(chain.members))
        for left, right, relation in zip(chain.members, chain.members[1:], chain.relations, strict=False)
        if relation in ("=", "~")
    ]


def _inlined(member: Member, functions: Functions | None) -> Member:
    if member.node is None or not functions:
        return member
    try:
        return member._replace(node=inlined(member.node, functions))
    except TooLargeError:
        return member._replace(node=None, too_large=True)


def check_link(left: Member, right: Member, relation: str, length: int) -> Link:
    """Return what was found about ``left = right`` in a chain of `length` members."""
    if left.node is None or right.node is None:
        return Link("too_large" if left.too_large or right.too_large else "unread", left, right)
    try:
        outcome, detail = _compare(left, right, relation, length)
    except TooLargeError as error:
        outcome, detail = "too_large", str(error)
    except (UnreadableError, UndefinedError) as error:
        outcome, detail = "unread", str(error)
    return Link(outcome, left, right, detail)


def _compare(left: Member, right: Member, relation: str, length: int) -> tuple[Outcome, str]:
    first, second = left.node, right.node
    assert first is not None and second is not None
    if any(one.kind == "application" for side in (first, second) for one in walk(side)):
        return "unread", ""
    found: tuple[Outcome, str] | None = None
    for reading in readings((first, second)):
        names = unknowns(variables(first) | variables(second), reading)
        one = (
            _values(left, right, relation, reading)
            if not names
            else _identity(first, second, names, reading, length)
        )
        if one[0] in ("identity", "value", "rounded"):
            return one
        if found is None or one[0] in ("label", "equation", "excused"):
            found = one
    assert found is not None
    return found


# --- numbers ---


def _values(left: Member, right: Member, relation: str, reading: Reading) -> tuple[Outcome, str]:
    first, second = left.node, right.node
    assert first is not None and second is not None
    pairs = [(a, b) for a in _signed_values(first, reading) for b in _signed_values(second, reading)]
    if _is_literal(first) and _is_literal(second):
        return "label", ""
    if any(same(a, b) for a, b in pairs):
        return "value", show(pairs[0][0])
    a, b = pairs[0]
    detail = f"{show(a)} is not {show(b)}"
    distance = abs(as_complex(a) - as_complex(b)) / max(abs(as_complex(a)), abs(as_complex(b)), 1e-12)
    decimals = relation == "~" or _has_decimals(first) or _has_decimals(second)
    if decimals or _has_pi(first) != _has_pi(second):
        places = min((_places(side) for side in (first, second) if _has_decimals(side)), default=0)
        if distance <= ROUNDING or abs(as_complex(a) - as_complex(b)) <= 0.51 * 10.0**-places:
            return "rounded", ""
        if relation == "~" or distance <= ROUGH:
            return "excused", detail
    if left.unit != right.unit and left.unit and right.unit:
        return "excused", detail
    if (left.unit or right.unit) and any(
        same(a * scale, b) or same(a, b * scale) for scale in map(Fraction, _SCALES)
    ):
        return "excused", detail
    if same(a * 100, b) or same(a, b * 100):
        return "excused", detail  # percent
    if isinstance(a, complex) and same(abs(a), abs(as_complex(b))) and _has_call(first, second):
        return "excused", detail  # another branch of a root
    if _is_imaginary(a) != _is_imaginary(b):
        return "excused", detail  # rather a letter misread than a number that is no real one
    if _rounds_to_whole(a, second) or _rounds_to_whole(b, first):
        return "excused", detail  # "11 / 5 = 2 trays", "4 / 3 = 1 and 1/3"
    return "false_value", detail


def _is_imaginary(value: Value) -> bool:
    return isinstance(value, complex) and abs(value.imag) > ROUNDING * max(abs(value), 1)


def _rounds_to_whole(value: Value, written: Node) -> bool:
    """Whether a fraction is given as one of the whole numbers beside it."""
    whole = (
        isinstance(written.value, Fraction) and written.kind == "number" and written.value.denominator == 1
    )
    return whole and isinstance(value, Fraction) and value.denominator != 1 and abs(value - written.value) < 1


def _signed_values(node: Node, reading: Reading) -> list[Value]:
    if not any(one.kind == "plusminus" for one in walk(node)):
        return [evaluate(node, {}, reading)]
    return [
        evaluate(node, {}, Reading(reading.mixed, reading.percent, reading.imaginary, reading.euler, sign))
        for sign in (1, -1)
    ]


def _is_literal(node: Node) -> bool:
    while node.kind in ("negative", "degrees", "percent", "plusminus"):
        node = node.parts[0]
    return node.kind == "number"


def _has_decimals(node: Node) -> bool:
    return any("." in one.name for one in walk(node) if one.kind == "number")


def _places(node: Node) -> int:
    return max(len(one.name.partition(".")[2]) for one in walk(node) if one.kind == "number")


def _has_pi(node: Node) -> bool:
    return any(one.kind == "constant" for one in walk(node))


def _has_call(*nodes: Node) -> bool:
    return any(one.kind == "call" for node in nodes for one in walk(node))


def show(value: Value) -> str:
    """Write a value for people."""
    if isinstance(value, Fraction):
        text = str(value)
        return (
            text
            if len(text) <= 40
            else f"about {float(value):.6g}"
            if abs(value) < 10**300
            else "a huge number"
        )
    return f"{value.real:.6g}" if abs(value.imag) < 1e-9 else f"{value:.6g}"


# --- variables ---


def _identity(
    first: Node, second: Node, names: Sequence[str], reading: Reading, length: int
) -> tuple[Outcome, str]:
    if first.kind == "variable" or second.kind == "variable":
        return "label" if first != second else "identity", ""
    try:
        difference, _ = cross_difference(first, second, reading)
    except TooLargeError:
        raise
    except UnreadableError:
        return _numeric_identity(first, second, names, reading, length)
    if not difference:
        return "identity", ""
    if _invites_rewriting(first, second, length) and _is_slip(first, second, difference, reading, length):
        return "slip", f"the difference is {show_polynomial(difference)}, not 0"
    return "equation", ""


def _numeric_identity(
    first: Node, second: Node, names: Sequence[str], reading: Reading, length: int
) -> tuple[Outcome, str]:
    pairs: list[tuple[complex, complex]] = []
    agreed = 0
    for point in sample_points(names):
        try:
            a, b = as_complex(evaluate(first, point, reading)), as_complex(evaluate(second, point, reading))
        except (UndefinedError, TooLargeError):
            continue
        if abs(a.imag) < 1e-9:  # else outside the real domain
            pairs.append((a, b))
            agreed += same(a, b, 1e-7)
    if agreed >= 2 and 2 * agreed >= len(pairs):
        return "identity", ""
    if (
        len(pairs) >= 4
        and not agreed
        and _invites_rewriting(first, second, length)
        and _constant_ratio(pairs)
    ):
        return "slip", "one side is a multiple of the other"
    return "equation", ""


def _constant_ratio(pairs: Sequence[tuple[complex, complex]]) -> bool:
    ratios = [a / b for a, b in pairs if abs(b) > 1e-9 and abs(a) > 1e-9]
    moves = max(abs(a - pairs[0][0]) for a, _ in pairs) > 1e-6  # a constant is no rewriting of a variable
    return (
        moves
        and len(ratios) == len(pairs)
        and all(abs(ratio - ratios[0]) < 1e-7 * abs(ratios[0]) for ratio in ratios)
    )


def _is_slip(first: Node, second: Node, difference: Polynomial, reading: Reading, length: int) -> bool:
    """Whether two sides differ as rewritings with a mistake do and equations to be solved do not.

    Either one is a multiple of the other (``3x + 5x = 9x``), or they agree but for a single term
    (``(x + 3)(x - 2) = x^2 + 5x - 6``): as equations they would say that a monomial is zero.
    """
    left, below_left = rational(first, reading)
    right, below_right = rational(second, reading)
    same_denominator = _proportional(below_left, below_right)
    left, right = multiply(left, below_right), multiply(right, below_left)
    if any(left) and (len(left) == 1 or length > 2) and _proportional(left, right):
        return True
    if len(difference) != 1 or not same_denominator:
        return False
    return any(key and left[key] == right.get(key) for key in left)


def _proportional(left: Polynomial, right: Polynomial) -> bool:
    if left.keys() != right.keys():
        return False
    return len({left[key] / right[key] for key in left}) == 1


def _invites_rewriting(first: Node, second: Node, length: int) -> bool:
    """Whether one side is a plain sum of terms and the other is not, or a longer chain rewrites."""
    plain = _is_plain(first), _is_plain(second)
    return plain[0] != plain[1] or (length > 2 and not plain[0])


def _is_plain(node: Node) -> bool:
    """Whether nothing is left to be worked out: a sum of different terms, each of numbers, letters and powers."""
    terms = node.parts if node.kind == "sum" else (node,)
    if any(one.kind in ("sum", "mixed", "call") or (one.kind == "product" and one.parts[1].kind == "number")
           for term in terms for one in walk(term)):  # fmt: skip
        return False
    keys: list[Monomial] = []
    for term in terms:
        try:
            keys.extend(rational(term, Reading())[0])
        except UnreadableError:
            return True
    return len(keys) == len(set(keys))


def show_polynomial(polynomial: Polynomial) -> str:
    """Write a short polynomial for people."""
    terms = []
    for monomial, coefficient in list(polynomial.items())[:6]:
        power = "*".join(name if exponent == 1 else f"{name}^{exponent}" for name, exponent in monomial)
        terms.append(f"{coefficient}*{power}" if power and coefficient != 1 else power or str(coefficient))
    return re.sub(r"\+ -", "- ", " + ".join(terms)) or "0"
