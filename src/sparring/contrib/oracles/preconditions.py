r"""The preconditions oracle: is a step allowed where it is made?

Contract: ``wrong`` for (1) an inequality whose direction changes between two lines that say the same bound, (2) a
quotient by zero that is given a value, also in the case of which the step speaks (``x/x = 1 for x = 0``), (3) a variable
cancelled by an explicit division although zero solves the equation before, where nothing says that it is not zero, (4) a
theorem whose hypothesis the text contradicts. All other
doubts (a root of a square without ``|x|``, squaring, a logarithm, a hypothesis that is nowhere stated) are
``undecided`` with the doubt as reason; nothing is ever called ``correct``: that no precondition is seen to fail is no
proof. Not here: whether the calculation is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from sparring.oracles.algebra import RETRACTED, chains_of, is_claim, zero_divisors
from sparring.oracles.chains import Chain, find_chains
from sparring.oracles.derivations import bounds, make_fact, same_bound
from sparring.oracles.expressions import Node, variables, walk
from sparring.oracles.polynomials import coefficients
from sparring.oracles.reading import TooLargeError, UndefinedError, UnreadableError
from sparring.oracles.values import evaluate
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict

MAX_CHARACTERS = 40_000

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
_SQUARED = re.compile(r"\bsquar(?:e|ed|ing)\b[^.]{0,20}\bboth sides", re.IGNORECASE)
_CHECKED = re.compile(r"extraneous|check|verif|satisf|positive|non-?negative|valid", re.IGNORECASE)


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
            *_theorems(before, step),
            *_doubts(chains, before, step),
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
        if old is None or same_bound(old, chain) != "flipped" or not is_claim(chain, number, before, step):
            continue
        bound = bounds(chain)
        detail = f"{bound.name} lies on the other side of {bound.value} in the line before" if bound else ""
        yield Verdict("wrong", "preconditions:inequality_direction", detail, chain.span)


def _zero_denominators(chains: Sequence[Chain], step: str) -> Iterator[Verdict]:
    """Quotients by zero in an equation with a number."""
    for chain in chains:
        for index, relation in enumerate(chain.relations):
            pair = chain.members[index : index + 2]
            if relation != "=" or any(member.node is None or variables(member.node) for member in pair):
                continue
            undefined = [_is_undefined(member.node) for member in pair if member.node is not None]
            if sum(undefined) == 1:
                truth: Truth = "undecided" if _UNDEFINED.search(step) or RETRACTED.search(step) else "wrong"
                yield Verdict(truth, "preconditions:division_by_zero", "", (pair[0].start, pair[1].end))

    for chain in zero_divisors(chains, step):
        excused = _UNDEFINED.search(step) or RETRACTED.search(step) or _LIMIT.search(step)
        detail = "a divisor is zero in the case of which the step speaks"
        found: Truth = "undecided" if excused else "wrong"
        yield Verdict(found, "preconditions:division_by_zero", detail, chain.span)


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
    old = _last_with_zero([*earlier], name)
    for chain in chains:
        values = _coefficients(chain, name)
        if values is not None and chain.span[0] > divided.start() and old and values[0]:
            guarded = _NOT_ZERO.search(before) or _NOT_ZERO.search(step) or RETRACTED.search(step)
            detail = f"{name} = 0 solves the equation before and is lost"
            yield Verdict("undecided" if guarded else "wrong", "preconditions:lost_root", detail, chain.span)
            return
        old = old or (
            values is not None and len(values) > 2 and not values[0] and chain.span[1] < divided.start()
        )


def _last_with_zero(chains: Sequence[Chain], name: str) -> bool:
    found = [values for values in (_coefficients(chain, name) for chain in chains) if values is not None]
    return bool(found) and len(found[-1]) > 2 and not found[-1][0]


def _coefficients(chain: Chain, name: str) -> list[object] | None:
    """The coefficients of an equation in one variable, the constant first."""
    first, second = chain.members[0].node, chain.members[1].node
    if len(chain.members) != 2 or chain.relations[0] != "=" or first is None or second is None:
        return None
    fact = make_fact(first, second, 0)
    if fact is None or fact.polynomial is None or fact.names != {name} or not fact.polynomial:
        return None
    return list(coefficients(fact.polynomial))


def _theorems(before: str, step: str) -> Iterator[Verdict]:
    """Theorems that the step uses, with what the text says of their hypothesis."""
    everything = before + "\n" + step
    for theorem in THEOREMS:
        if not theorem.says("used", step):
            continue
        # the theorem's own name is no statement of its hypothesis
        rest = re.sub(theorem.used, " ", everything, flags=re.IGNORECASE)
        detail = f"needs: {theorem.hypothesis}"
        stated = theorem.says("stated", rest)
        if theorem.says("denied", rest) and not stated and not RETRACTED.search(step):
            yield Verdict("wrong", f"preconditions:{theorem.name}_contradicted", detail)
        elif not stated:
            yield Verdict("undecided", f"preconditions:{theorem.name}_not_stated", detail)


def _doubts(chains: Sequence[Chain], before: str, step: str) -> Iterator[Verdict]:
    """Steps that are legal only under conditions that nobody states."""
    if _SQUARED.search(step) and not _CHECKED.search(step):
        detail = "roots may be added; they need a check"
        yield Verdict("undecided", "preconditions:squared_both_sides", detail)
    if _NOT_ZERO.search(before) or _NOT_ZERO.search(step):
        return
    for chain in chains:
        for member in chain.members:
            for one in walk(member.node) if member.node is not None else ():
                if one.kind == "call" and one.name in ("log", "ln") and variables(one.parts[0]):
                    span = (member.start, member.end)
                    yield Verdict("undecided", "preconditions:logarithm_of_variable", "", span)
        for left, right in pairwise(chain.members):
            if left.node is not None and right.node is not None and _root_of_square(left.node, right.node):
                span = (left.start, right.end)
                yield Verdict("undecided", "preconditions:root_of_square", "sqrt(x^2) is |x|", span)


def _root_of_square(left: Node, right: Node) -> bool:
    return (
        left.kind == "call" and left.name == "sqrt" and left.parts[0].kind == "power"
        and left.parts[0].parts[1].kind == "number" and left.parts[0].parts[1].value == 2
        and left.parts[0].parts[0] == right and bool(variables(right))
    )  # fmt: skip


# --- theorems and the words of their hypotheses: to add one, add a row ---


@dataclass(frozen=True, slots=True)
class Theorem:
    """One row.

    Attributes:
        name: part of the reason, ``preconditions:<name>_...``.
        hypothesis: for people.
        used: words in the step that say the theorem is used.
        stated: words in problem, prefix or step that state the hypothesis (or make it plain).
        denied: words there that contradict it; empty where words cannot.
    """

    name: str
    hypothesis: str
    used: str
    stated: str
    denied: str = ""

    def says(self, kind: Literal["used", "stated", "denied"], text: str) -> bool:
        """Whether a text holds the words of one kind."""
        pattern: str = getattr(self, kind)
        return bool(pattern) and re.search(pattern, text, re.IGNORECASE) is not None


THEOREMS = (
    Theorem(
        "pythagoras", "the triangle has a right angle", r"\bpythag",
        r"right|perpendicular|altitude|height|\\perp|90|square|rectang|legs?\b|hypotenuse|coordinate|distance|tangent|radius|"
        r"midpoint|rhomb|isosceles|equilateral|kite|cone|cube|box|prism|pyramid|cylinder|sphere|circle|\\sin|\\cos|triple|diameter",
        r"\b(?:obtuse|acute)(?:-angled)? triangle|not a right triangle|no right angle",
    ),
    Theorem(
        "am_gm", "all terms are nonnegative", r"\bam\s*[-–]\s*gm\b|arithmetic[- ](?:mean )?(?:and )?geometric mean",
        r"positive|non-?negative|>\s*0|\\ge(?:q)?\s*0|≥\s*0|length|squares?\b|\^\{?2",
        r"\b(?:all|any) real (?:numbers|values)\b[^.]{0,40}(?:positive or negative|including negative)|\bnegative (?:real )?numbers\b",  # noqa: E501
    ),
    Theorem("vieta", "a polynomial whose degree and leading coefficient are used", r"\bvieta", r"polynomial|quadratic|cubic|roots?|x\^|equation"),  # noqa: E501
    Theorem(
        "geometric_series", "the ratio lies between -1 and 1",
        r"infinite geometric (?:series|sum)|sum (?:of|to) (?:an? )?infin|\\frac\{a[^}]*\}\{1\s*-\s*r\}",
        r"\|r\|\s*<\s*1|between|converge|ratio",
        r"diverg|common ratio (?:of|is|=|r =)\s*\$?(?:[2-9]|-[2-9]|1\d)(?![\d/.])",
    ),
    Theorem("inscribed_angle", "the vertex lies on the circle", r"\binscribed angle", r"circle|circum|\barc\b|cyclic|inscribed"),  # noqa: E501
    Theorem("lhopital", "the quotient has the form 0/0 or infinity/infinity", r"l['’]?h[oô]pital",
            r"0/0|\\frac\{0\}\{0\}|indeterminate|\\infty|∞|infinity|both[^.]*(?:zero|0|infin)",
            r"(?:numerator|denominator)[^.]{0,40}(?:approaches|tends to|goes to|is)\s*\$?(?:-?[1-9]\d*)\b(?!/)"),
    Theorem("triangle_inequality", "the three lengths are sides of one triangle", r"\btriangle inequality", r"triangle|sides?|\|"),  # noqa: E501
    Theorem("discriminant", "a quadratic with real coefficients", r"\bdiscriminant", r"quadratic|x\^|real|roots?|parabola|\^2",  # noqa: E501
            r"\blinear equation|\b(?:complex|imaginary|non-?real) coefficients"),
    Theorem("rational_root", "integer coefficients", r"\brational root", r"integer|polynomial|\d\s*x", r"irrational coefficients"),  # noqa: E501
    Theorem("product_rule", "the events are independent", r"multiply the probabilities|product of (?:the|their) probabilities",  # noqa: E501
            r"independent|each|replace|coin|dice|die|rolls?|flips?", r"not independent|dependent events"),
    Theorem("intermediate_value", "the function is continuous", r"intermediate value theorem", r"continuous|polynomial", r"discontinu|not continuous"),  # noqa: E501
    Theorem("mean_value", "continuous and differentiable", r"\bmean value theorem", r"differentiable|polynomial|smooth", r"not differentiable"),  # noqa: E501
    Theorem("similar_triangles", "two equal angles, or proportional sides", r"similar triangles|triangles? (?:are|is) similar|by similarity",  # noqa: E501
            r"similar|parallel|angle|\\sim|∼|ratio"),
    Theorem("fermat_little", "the modulus is prime and does not divide the base", r"fermat['’]?s little", r"prime|\bp\b",
            r"\bmodulus[^.]{0,20}(?:is )?(?:composite|not prime)"),
    Theorem("chinese_remainder", "the moduli are coprime", r"chinese remainder", r"coprime|relatively prime|prime|gcd", r"not (?:coprime|relatively prime)"),  # noqa: E501
)  # fmt: skip
"""Every theorem that is looked for."""
