"""Does an equation of a step follow from the equations before it?

Contract: a `History` collects the equations of problem, prefix and step in order. `History.judge` answers about a new
one: ``follows`` (it shares a solution with the equations before, exactly), ``conflict`` (no earlier equation in its
variable shares a solution, or the linear equations before exclude it), or ``unknown``. Polynomials are compared exactly
by common divisors and elimination; no equation is solved numerically. Not here: whether words make them a claim
(`algebra.py`); inequalities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sparring.oracles.expressions import Node, variables, walk
from sparring.oracles.polynomials import (
    LinearSystem,
    Polynomial,
    coefficients,
    common_divisor,
    cross_difference,
    is_linear,
    proportional,
)
from sparring.oracles.reading import TooLargeError, UnreadableError
from sparring.oracles.values import Reading

Answer = Literal["follows", "conflict", "unknown"]
MAX_EQUATIONS = 400
MAX_DEGREE = 12
RECENT = 1  # steps back from which an equation is taken up without being named


class Fact(NamedTuple):
    """An equation: both sides, ``left - right`` as a polynomial where it is one, its step and its unit."""

    left: Node
    right: Node
    polynomial: Polynomial | None
    names: frozenset[str]
    place: int
    approximate: bool
    unit: str = ""


@dataclass(slots=True)
class History:
    """The equations so far, in order; `place` counts steps (the problem is 0)."""

    facts: list[Fact] = field(default_factory=list)
    system: LinearSystem = field(default_factory=LinearSystem)
    consistent: bool = True

    def include(self, fact: Fact) -> None:
        """Remember an equation."""
        if len(self.facts) < MAX_EQUATIONS:
            self.facts.append(fact)
            if fact.polynomial is not None and is_linear(fact.polynomial) and not fact.approximate:
                self.consistent &= self.system.include(fact.polynomial)

    def judge(self, fact: Fact) -> Answer:
        """Return what the equations before say of a new one."""
        if not fact.polynomial or not any(fact.polynomial):
            return "unknown"
        units = {old.unit for old in (*self.facts, fact) if old.unit and old.names & fact.names}
        if len(units) > 1:
            return "unknown"  # 3x = 1 hour, 3x = 60 minutes
        answer = self._one_variable(fact) if len(fact.names) == 1 else self._rescaled(fact)
        return self._linear(fact, fact.polynomial) if answer == "unknown" else answer

    def _one_variable(self, fact: Fact) -> Answer:
        earlier = [old for old in self.facts if old.names == fact.names]
        if not earlier or earlier[-1].place < fact.place - RECENT:
            return "unknown"
        answers = [_compare(old, fact) for old in earlier]
        if "unknown" in answers:
            return "unknown"
        return "follows" if "follows" in answers else "conflict"

    def _linear(self, fact: Fact, polynomial: Polynomial) -> Answer:
        if not self.consistent or fact.approximate or not is_linear(polynomial):
            return "unknown"
        rest = self.system.reduced(polynomial)
        return "follows" if not rest else "unknown" if any(rest) else "conflict"

    def _rescaled(self, fact: Fact) -> Answer:
        recent = [old for old in self.facts if old.place >= fact.place - RECENT and old.names == fact.names]
        if any(old.polynomial is None or old.approximate for old in (*recent, fact)):
            return "unknown"
        same = any(proportional(old.polynomial or {}, fact.polynomial or {}) for old in recent)
        return "follows" if same else "unknown"


def make_fact(left: Node, right: Node, place: int, unit: str = "") -> Fact | None:
    """Return the equation ``left = right``, ``None`` where it is none between readable sides with variables."""
    nodes = [*walk(left), *walk(right)]
    if any(one.kind in ("application", "sigma", "plusminus", "percent", "mixed", "either") for one in nodes):
        return None
    found = variables(left) | variables(right)
    if not found or found & {"e", "i"}:
        return None
    try:
        polynomial: Polynomial | None = cross_difference(left, right, Reading())[0]
    except TooLargeError:
        return None
    except UnreadableError:
        polynomial = None
    approximate = any(one.kind == "constant" or (one.kind == "number" and "." in one.name) for one in nodes)
    return Fact(left, right, polynomial, found, place, approximate, unit)


def is_assignment(fact: Fact) -> bool:
    """Whether an equation gives one letter a value that is written as a number: ``n = 8``."""
    sides = {fact.left.kind, fact.right.kind}
    return (
        "variable" in sides
        and bool(sides & {"number", "negative", "quotient"})
        and not any(
            one.kind in ("sum", "product", "power", "call")
            for side in (fact.left, fact.right)
            for one in walk(side)
        )
    )


def _compare(old: Fact, new: Fact) -> Answer:
    """Compare two equations in one variable: do they share a solution?"""
    if not old.polynomial or not new.polynomial:
        return "unknown"
    known, fresh = coefficients(old.polynomial), coefficients(new.polynomial)
    if len(known) < 2 or len(fresh) < 2 or max(len(known), len(fresh)) > MAX_DEGREE:
        return "unknown"
    if len(common_divisor(known, fresh)) > 1:
        return "follows"
    return "unknown" if old.approximate or new.approximate else "conflict"
