"""Does an equation of a step follow from the equations before it?

Contract: a `History` collects the equations of problem, prefix and step in order. `History.judge` answers about a new
one: ``follows`` (it shares a solution with the equations before, exactly), ``conflict`` (no earlier equation in its
variable shares a solution, or the linear equations before exclude it), ``slip`` (the previous equation but for one
term), or ``unknown``. Polynomials are compared exactly by common divisors and elimination; no equation is solved
numerically. Not here: whether words make the equation a claim (`algebra.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from sparring.oracles.formulas import Node, TooLargeError, UnreadableError, variables, walk
from sparring.oracles.polynomials import (
    LinearSystem,
    Polynomial,
    add,
    coefficients,
    common_divisor,
    cross_difference,
    is_linear,
    names,
)
from sparring.oracles.values import Reading, UndefinedError, as_complex, evaluate

Answer = Literal["follows", "conflict", "slip", "unknown"]
MAX_EQUATIONS = 400
MAX_DEGREE = 12
RECENT = 1  # steps back from which an equation is taken up without being named
CLOSE = 0.02


@dataclass(frozen=True, slots=True)
class Fact:
    """An equation: both sides, ``left - right`` as a polynomial where it is one, the step that it stands in."""

    left: Node
    right: Node
    polynomial: Polynomial | None
    names: frozenset[str]
    place: int
    approximate: bool


@dataclass(slots=True)
class History:
    """The equations so far, in order; `place` counts steps (the problem is 0)."""

    facts: list[Fact] = field(default_factory=list)
    system: LinearSystem = field(default_factory=LinearSystem)
    consistent: bool = True

    def include(self, fact: Fact) -> None:
        """Remember an equation."""
        if len(self.facts) >= MAX_EQUATIONS:
            return
        self.facts.append(fact)
        if fact.polynomial is not None and is_linear(fact.polynomial) and not fact.approximate:
            self.consistent &= self.system.include(fact.polynomial)

    def forget(self, name: str) -> None:
        """Drop everything about a variable that is introduced again."""
        self.facts = [fact for fact in self.facts if name not in fact.names]
        self.system, self.consistent = LinearSystem(), True
        for fact in self.facts:
            if fact.polynomial is not None and is_linear(fact.polynomial) and not fact.approximate:
                self.consistent &= self.system.include(fact.polynomial)

    def judge(self, fact: Fact) -> Answer:
        """Return what the equations before say of a new one."""
        if fact.polynomial is None or not fact.polynomial or not names(fact.polynomial):
            return "unknown"
        if len(fact.names) == 1:
            answer = self._one_variable(fact)
            if answer != "unknown":
                return answer
        else:
            answer = self._same_but_for_a_term(fact)
            if answer != "unknown":
                return answer
        return self._linear(fact)

    def _one_variable(self, fact: Fact) -> Answer:
        (name,) = fact.names
        earlier = [old for old in self.facts if old.names == fact.names]
        if not earlier or earlier[-1].place < fact.place - RECENT:
            return "unknown"
        answers = [_compare(old, fact, name) for old in reversed(earlier)]
        if "unknown" in answers:
            return "unknown"
        return "follows" if "follows" in answers else "conflict"

    def _linear(self, fact: Fact) -> Answer:
        polynomial = fact.polynomial
        assert polynomial is not None
        if not self.consistent or fact.approximate or not is_linear(polynomial):
            return "unknown"
        rest = self.system.reduced(polynomial)
        if not rest:
            return "follows"
        return "conflict" if not any(rest) else "unknown"

    def _same_but_for_a_term(self, fact: Fact) -> Answer:
        earlier = [old for old in self.facts if old.place >= fact.place - RECENT and old.names == fact.names]
        if not earlier or fact.approximate:
            return "unknown"
        differences = []
        for old in earlier:
            if old.polynomial is None or old.approximate:
                return "unknown"
            differences.append(_smallest_difference(old.polynomial, fact.polynomial or {}))
        if 0 in differences:
            return "follows"
        return (
            "slip"
            if differences[-1] == 1 and len(earlier) == 1 and len(fact.polynomial or {}) >= 3
            else "unknown"
        )


def make_fact(left: Node, right: Node, place: int) -> Fact | None:
    """Return the equation ``left = right``, ``None`` where it is none between readable sides with variables."""
    nodes = [*walk(left), *walk(right)]
    if any(one.kind in ("application", "sigma", "plusminus", "percent", "mixed") for one in nodes):
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
    approximate = any("." in one.name for one in nodes if one.kind == "number") or any(
        one.kind == "constant" for one in nodes
    )
    return Fact(left, right, polynomial, found, place, approximate)


def _compare(old: Fact, new: Fact, name: str) -> Answer:
    """Compare two equations in one variable: do they share a solution?"""
    assert new.polynomial is not None
    fresh = coefficients(new.polynomial)
    root = -fresh[0] / fresh[1] if len(fresh) == 2 else None
    if old.polynomial is not None and old.polynomial and not (old.approximate or new.approximate):
        known = coefficients(old.polynomial)
        if len(known) < 2 or len(fresh) < 2 or max(len(known), len(fresh)) > MAX_DEGREE:
            return "unknown"
        return "follows" if len(common_divisor(known, fresh)) > 1 else "conflict"
    if root is None:
        return "unknown"
    return _holds_at(old, name, root, new.approximate or old.approximate)


def _holds_at(old: Fact, name: str, root: Fraction, approximate: bool) -> Answer:
    """Whether an equation holds at a number, within rounding where numbers are rounded."""
    try:
        left, right = (as_complex(evaluate(side, {name: root})) for side in (old.left, old.right))
        slack = 0.0
        if approximate:
            near = [as_complex(evaluate(side, {name: root * Fraction(1 + CLOSE) + Fraction(1, 100)}))
                    for side in (old.left, old.right)]  # fmt: skip
            slack = abs((near[0] - near[1]) - (left - right))
    except (UndefinedError, UnreadableError):
        return "unknown"
    if abs(left.imag) > 1e-9 or abs(right.imag) > 1e-9:
        return "unknown"
    distance = abs(left - right)
    if distance <= 1e-7 * max(abs(left), abs(right), 1) + slack:
        return "follows"
    return "unknown" if approximate and distance < 3 * slack else "conflict"


def _smallest_difference(old: Polynomial, new: Polynomial) -> int:
    """Return the number of terms by which two equations differ after the best scaling."""
    best = len(old) + len(new)
    for monomial, coefficient in old.items():
        if monomial in new:
            best = min(best, len(add(old, new, -coefficient / new[monomial])))
    return best
