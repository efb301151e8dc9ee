"""Inequalities in one variable: solved where linear, compared with the one that they come from.

Contract: `bounds` turns ``a < b`` with linear sides into ``x < c`` or ``x > c`` exactly; `follows` compares two chains
of one link each: ``follows`` (the second has the same bound and direction), ``flipped`` (same bound, other direction),
``conflict`` (another bound, neither derived by strictness), ``unknown``. Not here: products, systems, absolute values.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

from sparring.oracles.chains import Chain
from sparring.oracles.formulas import UnreadableError, variables
from sparring.oracles.polynomials import coefficients, cross_difference
from sparring.oracles.values import Reading

_DIRECTIONS = {"<": -1, "<=": -1, ">": 1, ">=": 1}


class Bound(NamedTuple):
    """``name < value`` (direction −1) or ``name > value`` (direction 1)."""

    name: str
    value: Fraction
    direction: int


def bounds(chain: Chain) -> Bound | None:
    """Return what a chain of a single linear inequality in one variable says of it, ``None`` for anything else."""
    if len(chain.members) != 2 or chain.relations[0] not in _DIRECTIONS:
        return None
    left, right = chain.members[0].node, chain.members[1].node
    if left is None or right is None:
        return None
    names = variables(left) | variables(right)
    if len(names) != 1 or names & {"e", "i"}:
        return None
    try:
        above, below = cross_difference(left, right, Reading())
    except UnreadableError:
        return None
    if any(below) or not above:
        return None
    values = [value / below[()] for value in coefficients(above)]
    if len(values) != 2:
        return None
    sign = 1 if values[1] > 0 else -1
    return Bound(next(iter(names)), -values[0] / values[1], _DIRECTIONS[chain.relations[0]] * sign)


def follows(earlier: Chain, later: Chain) -> Literal["follows", "flipped", "conflict", "unknown"]:
    """Return whether a linear inequality says the same as the one before it."""
    first, second = bounds(earlier), bounds(later)
    if first is None or second is None or first.name != second.name:
        return "unknown"
    if first.value == second.value:
        return "follows" if first.direction == second.direction else "flipped"
    solved = [
        any(member.node is not None and member.node.kind == "variable" for member in chain.members)
        for chain in (earlier, later)
    ]
    # a bound beside an earlier bound (x > 3/2, then x > 3) is another fact, not a solution of it
    return "conflict" if first.direction == second.direction and solved == [False, True] else "unknown"
