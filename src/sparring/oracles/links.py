"""One link ``a = b`` of a chain: is it an identity, true for some values, or false?

Contract: `check_link` decides exactly by rational functions where both sides are some, and otherwise by values at fixed
points under every reading of signs with two meanings (`values.Reading`); "false" means false at every point and
under every reading. Rounding, units and percent are excuses. Not here: whether an equation follows from others
(`derivations.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from sparring.oracles.chains import Chain, Member
from sparring.oracles.formula_nodes import Functions, Node, inlined, variables, walk
from sparring.oracles.formula_tokens import TooLargeError, UnreadableError
from sparring.oracles.polynomials import Monomial, Polynomial, cross_difference, multiply, rational
from sparring.oracles.rounding import FINE, NEAR_PI, ROUGH
from sparring.oracles.values import (
    NOISE,
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
    "identity", "value", "rounded", "label", "equation", "slip", "false_value", "excused", "unread", "too_large",
]  # fmt: skip
_SCALES = (10, 12, 60, 100, 1000, 3600, 16, 24, 7, 36, 3, 365)


@dataclass(frozen=True, slots=True)
class Link:
    """What was found of two neighbouring members, for people in `detail`, and their character range.

    ``identity`` (equal for all values), ``value`` (equal numbers), ``rounded``, ``label`` (nothing is claimed: a name, two
    plain numbers), ``equation`` (true for some values at most), ``slip`` (a rewriting that is off by a single term),
    ``false_value`` (different numbers), ``excused``, ``unread``, ``too_large``.
    """

    outcome: Outcome
    span: tuple[int, int]
    detail: str = ""


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
    span = (left.start, right.end)
    if left.node is None or right.node is None:
        return Link("too_large" if left.too_large or right.too_large else "unread", span)
    try:
        outcome, detail = _compare(left, left.node, right, right.node, relation, length)
        return Link(outcome, span, detail)
    except TooLargeError as error:
        return Link("too_large", span, str(error))
    except (UnreadableError, UndefinedError) as error:
        return Link("unread", span, str(error))


def _compare(
    left: Member, first: Node, right: Member, second: Node, relation: str, length: int
) -> tuple[Outcome, str]:
    if _has(first, "application", second):
        return "unread", ""
    found: list[tuple[Outcome, str]] = []
    for reading in readings((first, second)):
        names = unknowns(variables(first) | variables(second), reading)
        if names:
            found.append(_identity(first, second, names, reading, length))
        else:
            rough = relation == "~"
            found.append(_values(first, second, rough, (left.unit, right.unit), reading))
        if found[-1][0] in ("identity", "value", "rounded"):
            by_sign = reading.degrees and not _has(first, "degrees", second)
            return ("excused", "") if by_sign or not reading.usual else found[-1]
    return next((one for one in reversed(found) if one[0] in ("label", "equation", "excused")), found[0])


# --- numbers ---


def _values(
    first: Node, second: Node, rough: bool, units: tuple[str, str], reading: Reading
) -> tuple[Outcome, str]:
    """Compare two numbers; where ± gives several, any pair may agree."""
    if _is_literal(first) and _is_literal(second):
        return "label", ""
    pairs = [(a, b) for a in _signed_values(first, reading) for b in _signed_values(second, reading)]
    a, b = pairs[0]
    if any(same(*pair) for pair in pairs):
        return "value", show(a)
    if _same_angle(first, a, second, b) or _same_angle(second, b, first, a):
        return "value", show(a)
    detail = f"{show(a)} is not {show(b)}"
    apart = abs(as_complex(a) - as_complex(b))
    distance = apart / max(abs(as_complex(a)), abs(as_complex(b)), 1e-12)
    with_decimals = [side for side in (first, second) if _has_decimals(side)]
    if rough or with_decimals or _has(first, "constant") != _has(second, "constant"):
        noise = distance <= NOISE  # 48 / 2 = 24.00000000000001
        if noise or _is_rounded(first, second, a, b, rough) or (not with_decimals and distance <= NEAR_PI):
            return "rounded", ""
        if rough or distance <= ROUGH:
            return "excused", detail
    scales = [100, *(_SCALES if any(units) else ())]  # percent, units
    excused = (
        (units[0] != units[1] and all(units))
        or any(same(a * scale, b) or same(a, b * scale) for scale in map(Fraction, scales))
        # another branch of a root
        or (isinstance(a, complex) and same(abs(a), abs(as_complex(b))) and _has(first, "call", second))
        or _is_imaginary(a) != _is_imaginary(b)  # rather a letter misread than a number that is no real one
        or _runs_on(a, second)  # "5 + 3 = 8 - 2 = 6"
        or _rounds_to_whole(a, second)  # "11 / 5 = 2 trays", "4 / 3 = 1 and 1/3"
        or _rounds_to_whole(b, first)
    )
    return ("excused" if excused else "false_value"), detail


def _same_angle(first: Node, degrees: Value, second: Node, radians: Value) -> bool:
    """Whether an angle in degrees is given in radians, as a multiple of pi."""
    if not _has(first, "degrees") or _has(second, "degrees") or not _has(second, "constant"):
        return False
    return same(as_complex(degrees) * math.pi / 180, radians)


def _runs_on(value: Value, written: Node) -> bool:
    """Whether a calculation goes on with the result before it."""
    while written.kind in ("sum", "product", "quotient"):
        written = written.parts[0]
        if written.kind == "number":
            return same(value, written.value)
    return False


def _is_rounded(first: Node, second: Node, a: Value, b: Value, rough: bool) -> bool:
    """Whether one side is a plain number that is the other, rounded to the digits that it shows."""
    for shown, value in ((first, b), (second, a)):
        if _is_literal(shown) and (rough or _has_decimals(shown)):
            error = abs(as_complex(a) - as_complex(b))
            percent = 100 if _has(shown, "percent") else 1
            if error * percent <= 0.5 * 10.0 ** -_places(shown) * (1 + 1e-9):
                return True
            zeros = 0 if _has_decimals(shown) else len(_digits(shown)) - len(_digits(shown).rstrip("0"))
            if zeros and error <= min(0.5 * 10.0**zeros, float(FINE) * abs(as_complex(value))):
                return True
    return False


def _digits(node: Node) -> str:
    return "".join(one.name for one in walk(node) if one.kind == "number").replace(",", "")


def _is_imaginary(value: Value) -> bool:
    return isinstance(value, complex) and abs(value.imag) > 0.01 * max(abs(value), 1)


def _rounds_to_whole(value: Value, written: Node) -> bool:
    """Whether a fraction is given as one of the whole numbers beside it."""
    whole = written.kind == "number" and written.value.denominator == 1
    return whole and isinstance(value, Fraction) and value.denominator != 1 and abs(value - written.value) < 1


def _signed_values(node: Node, reading: Reading) -> list[Value]:
    signs = (1, -1) if _has(node, "plusminus") else (1,)
    return [evaluate(node, {}, replace(reading, sign=sign)) for sign in signs]


def _is_literal(node: Node) -> bool:
    while node.kind in ("negative", "degrees", "percent", "plusminus"):
        node = node.parts[0]
    return node.kind == "number"


def _has_decimals(node: Node) -> bool:
    return any("." in one.name for one in walk(node) if one.kind == "number")


def _places(node: Node) -> int:
    return max(len(one.name.partition(".")[2]) for one in walk(node) if one.kind == "number")


def _has(node: Node, kind: str, *others: Node) -> bool:
    return any(one.kind == kind for tree in (node, *others) for one in walk(tree))


def show(value: Value) -> str:
    """Write a value for people."""
    if isinstance(value, Fraction):
        if len(text := str(value)) <= 40:
            return text
        return f"about {float(value):.6g}" if abs(value) < 10**300 else "a huge number"
    return f"{value.real:.6g}" if abs(value.imag) < 1e-9 else f"{value:.6g}"


# --- variables ---


def _identity(
    first: Node, second: Node, names: Sequence[str], reading: Reading, length: int
) -> tuple[Outcome, str]:
    if first.kind == "variable" or second.kind == "variable":
        return "label" if first != second else "identity", ""
    try:
        difference, _ = cross_difference(first, second, reading)
    except UnreadableError as error:
        if isinstance(error, TooLargeError):
            raise
        return _numeric_identity(first, second, names, reading)
    if not difference:
        return "identity", ""
    if _invites_rewriting(first, second, length) and _is_slip(first, second, difference, reading, length):
        return "slip", f"the difference is {show_polynomial(difference)}, not 0"
    return "equation", ""


def _numeric_identity(
    first: Node, second: Node, names: Sequence[str], reading: Reading
) -> tuple[Outcome, str]:
    agreed = compared = 0
    for point in sample_points(names):
        try:
            a, b = as_complex(evaluate(first, point, reading)), as_complex(evaluate(second, point, reading))
        except (UndefinedError, TooLargeError):
            continue
        if abs(a.imag) < 1e-9 and abs(b.imag) < 1e-9:  # else outside the real domain
            compared += 1
            agreed += same(a, b, 1e-7)
    if agreed >= 2 and agreed == compared:
        return "identity", ""
    return "equation", ""


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
