r"""The preconditions oracle: is a step allowed where it is made?

Contract: ``wrong`` for (1) an inequality whose direction changes between two lines that say the same bound, (2) a
quotient by zero that is given a value, also in the case of which the step speaks (``x/x = 1 for x = 0``), (3) a variable
cancelled by an explicit division although zero solves the equation before, where nothing says that it is not zero.
Nothing is ever called ``correct``: that no precondition is seen to fail is no proof. Not here: whether the calculation is
right, conditions that nobody states, theorems and their hypotheses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from sparring.oracles.algebra import RETRACTED, chains_of, is_claim, zero_divisors
from sparring.oracles.chains import Chain, find_chains
from sparring.oracles.expressions import Node, variables, walk
from sparring.oracles.polynomials import coefficients, cross_difference
from sparring.oracles.reading import TooLargeError, UndefinedError, UnreadableError
from sparring.oracles.values import Reading, evaluate
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict

MAX_CHARACTERS = 40_000
_DIRECTIONS = {"<": -1, "<=": -1, ">": 1, ">=": 1}

_UNDEFINED = re.compile(
    r"undefin|infinit|\\infty|∞|not exist|does not|division by zero|divide by zero|asymptot|zero in",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"\\?lim(?:it)?\b|approach|tends|hole|removable|continu|exclud|except|unless|pole|singular|\\to\b|→",
    re.IGNORECASE,
)
_NOT_ZERO = re.compile(
    r"positive|non-?zero|not zero|not (?:be |equal (?:to )?)0|\\ne|≠|!=|>\s*0|natural|length|sides? of|radius|distance|speed|age|area|"  # noqa: E501
    r"number of|triangle|width|height|price|cost|distinct|greater than|ratio",
    re.IGNORECASE,
)
_DIVIDED = re.compile(
    r"(?:divid\w++|cancel\w*+)[^.]{0,40}?\b(?:by|out|the)\s*(?:\$|\\\()?\s*(?P<name>[a-z])(?![A-Za-z0-9^_])",
    re.IGNORECASE,
)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the preconditions of `step`; never raises on bad text, never runs unbounded."""
    before = "\n".join([problem.question, *prefix])
    if len(before) + len(step) > MAX_CHARACTERS:
        return Verdict("undecided", "preconditions:too_large")
    try:
        chains = find_chains(step)
        earlier = [chain for text in (prefix[-1:] or [problem.question]) for chain in chains_of(text)]
        findings = [
            *_directions(earlier, chains, prefix[-1] if prefix else "", step),
            *_zero_denominators(chains, step),
            *_lost_roots(earlier, chains, before, step),
        ]
    except (TooLargeError, RecursionError):
        return Verdict("undecided", "preconditions:too_large")
    nothing = Verdict("undecided", "preconditions:nothing_to_check")
    return next((one for one in findings if one.truth == "wrong"), next(iter(findings), nothing))


def _directions(
    earlier: Sequence[Chain], chains: Sequence[Chain], before: str, step: str
) -> Iterator[Verdict]:
    """Inequalities that turn round without a reason."""
    for number, chain in enumerate(chains):
        old = chains[number - 1] if number else (earlier[-1] if earlier else None)
        first, second = None if old is None else _bound(old), _bound(chain)
        if first is None or second is None or first != second._replace(direction=-second.direction):
            continue
        if is_claim(chain, number, before, step):
            detail = f"{second.name} lies on the other side of {second.value} in the line before"
            yield Verdict("wrong", "preconditions:inequality_direction", detail, chain.span)


class Bound(NamedTuple):
    """``name < value`` (direction −1) or ``name > value`` (direction 1)."""

    name: str
    value: Fraction
    direction: int


def _bound(chain: Chain) -> Bound | None:
    """Return what a chain of a single linear inequality in one variable says of it, ``None`` for anything else."""
    if len(chain.members) != 2 or chain.relations[0] not in _DIRECTIONS:
        return None
    left, right = chain.members[0].node, chain.members[1].node
    if left is None or right is None:
        return None
    found = variables(left) | variables(right)
    if len(found) != 1 or found & {"e", "i"}:
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
    return Bound(next(iter(found)), -values[0] / values[1], _DIRECTIONS[chain.relations[0]] * sign)


def _zero_denominators(chains: Sequence[Chain], step: str) -> Iterator[Verdict]:
    """Quotients by zero in an equation with a number."""
    excused = _UNDEFINED.search(step) or RETRACTED.search(step)
    for chain in chains:
        for left, relation, right in chain.links():
            sides = [one.node for one in (left, right) if one.node is not None and not variables(one.node)]
            if relation == "=" and len(sides) == 2 and sum(map(_is_undefined, sides)) == 1:
                truth: Truth = "undecided" if excused else "wrong"
                yield Verdict(truth, "preconditions:division_by_zero", "", (left.start, right.end))
    for chain in zero_divisors(chains, step):
        truth = "undecided" if excused or _LIMIT.search(step) else "wrong"
        detail = "a divisor is zero in the case of which the step speaks"
        yield Verdict(truth, "preconditions:division_by_zero", detail, chain.span)


def _is_undefined(node: Node) -> bool:
    for one in walk(node):
        if one.kind == "quotient":
            try:
                if evaluate(one.parts[1], {}) == 0:
                    return True
            except (UnreadableError, UndefinedError):
                continue
    return False


def _lost_roots(
    earlier: Sequence[Chain], chains: Sequence[Chain], before: str, step: str
) -> Iterator[Verdict]:
    """Divisions by a variable that may be zero: the equation before has the root 0, the new one has not."""
    divided = _DIVIDED.search(step)
    if divided is None:
        return
    name = divided["name"]
    known = [zero for chain in earlier if (zero := _solved_by_zero(chain, name)) is not None]
    solved = bool(known) and known[-1]
    for chain in chains:
        zero = _solved_by_zero(chain, name)
        if chain.span[1] < divided.start():
            solved = solved or zero is True
        elif chain.span[0] > divided.start() and solved and zero is False:
            guarded = _NOT_ZERO.search(before) or _NOT_ZERO.search(step) or RETRACTED.search(step)
            detail = f"{name} = 0 solves the equation before and is lost"
            yield Verdict("undecided" if guarded else "wrong", "preconditions:lost_root", detail, chain.span)
            return


def _solved_by_zero(chain: Chain, name: str) -> bool | None:
    """Whether zero solves an equation in one variable that says more than ``x = 0``; None for anything else."""
    sides = [member.node for member in chain.members if member.node is not None]
    names = frozenset().union(*map(variables, sides))
    if len(chain.members) != 2 or len(sides) != 2 or chain.relations[0] != "=" or names != {name}:
        return None
    try:
        one, other = (evaluate(side, {name: Fraction(0)}) for side in sides)
    except UnreadableError:
        return None
    return one == other and any(side.kind not in ("variable", "number") for side in sides)
