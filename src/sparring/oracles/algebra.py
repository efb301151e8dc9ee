"""The algebra oracle: identities, equations that follow from others, values of functions.

Contract: ``wrong`` only where a link ``a = b`` of a chain is false for all values, or where an equation that the words
present as derived shares no solution with what it is derived from. ``correct``: at least one relation was verified and
none is left open. Links are decided exactly by rational functions where both sides are some, and otherwise by values at
fixed points under every reading of signs with two meanings (`values.Reading`); "false" means false at every point and
under every reading. Equations are compared exactly by common divisors and elimination; none is solved numerically.
Problem and prefix are taken to be true. Definitions, hypotheses, congruences, other operations, ellipses and units that
differ are ``undecided``. Bounded on any text, no `eval`. Not here: plain number calculations in prose (`arithmetic.py`);
inequalities; derivatives, integrals, lost roots (`sparring.contrib.oracles`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

from sparring.oracles.chains import Chain, Member, find_chains
from sparring.oracles.excuses import NEAR_PI, ROUGH, is_rounding
from sparring.oracles.expressions import Functions, Node, inlined, replaced, variables, walk
from sparring.oracles.polynomials import (
    LinearSystem,
    Monomial,
    Polynomial,
    coefficients,
    common_divisor,
    cross_difference,
    is_linear,
    multiply,
    proportional,
    rational,
)
from sparring.oracles.reading import TooLargeError, UndefinedError, UnreadableError
from sparring.oracles.units import UNITS
from sparring.oracles.values import (
    NOISE,
    Reading,
    Value,
    as_complex,
    evaluate,
    readings,
    same,
    sample_points,
    show,
    unknowns,
)
from sparring.oracles.words import is_only_reported, word_set
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict

# --- one link of a chain: an identity, true for some values, or false? ---

Outcome = Literal[
    "identity_holds", "values_agree", "definition", "equation", "false_identity", "false_value", "units_or_rounding",
    "unread", "too_large",
]  # fmt: skip
"""What was found of two neighbouring members.

In a ``definition`` nothing is claimed (a name, two plain numbers), an ``equation`` is true for some values at most, a
``false_identity`` is a rewriting that is off by a single term.
"""
Finding = tuple[Outcome, str]
"""An outcome, and what it says for people."""
_VERIFIED = ("identity_holds", "values_agree")
_SCALES = (10, 12, 60, 100, 1000, 3600, 16, 24, 7, 36, 3, 365)


def _link(left: Member, right: Member, rough: bool, length: int, functions: Functions) -> Finding:
    """Return what was found about ``left = right`` in a chain of `length` members."""
    if left.node is None or right.node is None:
        return "too_large" if left.too_large or right.too_large else "unread", ""
    try:
        first, second = (inlined(node, functions) if functions else node for node in (left.node, right.node))
        return _compared(first, second, rough, (left.unit, right.unit), length)
    except TooLargeError as error:
        return "too_large", str(error)
    except UnreadableError as error:
        return "unread", str(error)


def _compared(first: Node, second: Node, rough: bool, units: tuple[str, str], length: int) -> Finding:
    if _has(first, "application", second):
        return "unread", ""
    found: list[Finding] = []
    for reading in readings((first, second)):
        names = unknowns(variables(first) | variables(second), reading)
        if names:
            found.append(_identity(first, second, names, reading, length))
        else:
            found.append(_values(first, second, rough, units, reading))
        if found[-1][0] in _VERIFIED:
            by_sign = reading.degrees and not _has(first, "degrees", second)
            return ("units_or_rounding", "") if by_sign or not reading.usual else found[-1]
    open_ones = ("definition", "equation", "units_or_rounding")
    return next((one for one in reversed(found) if one[0] in open_ones), found[0])


# --- numbers ---


def _values(first: Node, second: Node, rough: bool, units: tuple[str, str], reading: Reading) -> Finding:
    """Compare two numbers; where ± gives several, any pair may agree."""
    if _is_literal(first) and _is_literal(second):
        return "definition", ""
    pairs = [(a, b) for a in _signed_values(first, reading) for b in _signed_values(second, reading)]
    a, b = pairs[0]
    if (
        any(same(*pair) for pair in pairs)
        or _same_angle(first, a, second, b)
        or _same_angle(second, b, first, a)
    ):
        return "values_agree", ""
    detail = f"{show(a)} is not {show(b)}"
    apart = abs(as_complex(a) - as_complex(b))
    distance = apart / max(abs(as_complex(a)), abs(as_complex(b)), 1e-12)
    with_decimals = [side for side in (first, second) if _has_decimals(side)]
    if rough or with_decimals or _has(first, "constant") != _has(second, "constant"):
        noise = distance <= NOISE  # 48 / 2 = 24.00000000000001
        if noise or _is_rounded(first, second, a, b, rough) or (not with_decimals and distance <= NEAR_PI):
            return "values_agree", ""
        if rough or distance <= ROUGH:
            return "units_or_rounding", detail
    scales = [100, *(_SCALES if any(units) else ())]  # percent, units
    excused = (
        (units[0] != units[1] and all(units))
        or any(same(a * scale, b) or same(a, b * scale) for scale in map(Fraction, scales))
        # another branch of a root
        or (isinstance(a, complex) and same(abs(a), abs(as_complex(b))) and _has(first, "call", second))
        or _runs_on(a, second)  # "5 + 3 = 8 - 2 = 6"
        or _rounds_to_whole(a, second)  # "11 / 5 = 2 trays", "4 / 3 = 1 and 1/3"
        or _rounds_to_whole(b, first)
    )
    return ("units_or_rounding" if excused else "false_value"), detail


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
            error = Fraction(abs(as_complex(a) - as_complex(b)) * (1 - NOISE))
            places = max(len(numeral.partition(".")[2]) for numeral in _numerals(shown))
            unit = Fraction(1, 10**places * (100 if _has(shown, "percent") else 1))
            if is_rounding(
                "".join(_numerals(shown)).replace(",", ""), unit, error, Fraction(abs(as_complex(value)))
            ):
                return True
    return False


def _numerals(node: Node) -> list[str]:
    return [one.name for one in walk(node) if one.kind == "number"]


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
    return any("." in numeral for numeral in _numerals(node))


def _has(node: Node, kind: str, *others: Node) -> bool:
    return any(one.kind == kind for tree in (node, *others) for one in walk(tree))


# --- variables ---


def _identity(first: Node, second: Node, names: Sequence[str], reading: Reading, length: int) -> Finding:
    if first.kind == "variable" or second.kind == "variable":
        return "definition" if first != second else "identity_holds", ""
    try:
        difference, _ = cross_difference(first, second, reading)
    except UnreadableError as error:
        if isinstance(error, TooLargeError):
            raise
        return _numeric_identity(first, second, names, reading)
    if not difference:
        return "identity_holds", ""
    if _invites_rewriting(first, second, length) and _is_slip(first, second, difference, reading, length):
        return "false_identity", f"the difference is {show_polynomial(difference)}, not 0"
    return "equation", ""


def _numeric_identity(first: Node, second: Node, names: Sequence[str], reading: Reading) -> Finding:
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
        return "identity_holds", ""
    return "equation", ""


def _is_slip(first: Node, second: Node, difference: Polynomial, reading: Reading, length: int) -> bool:
    """Whether two sides differ as rewritings with a mistake do and equations to be solved do not.

    Either one is a multiple of the other (``3x + 5x = 9x``), or they agree but for a single term
    (``(x + 3)(x - 2) = x^2 + 5x - 6``): as equations they would say that a monomial is zero.
    """
    left, below_left = rational(first, reading)
    right, below_right = rational(second, reading)
    same_denominator = proportional(below_left, below_right)
    left, right = multiply(left, below_right), multiply(right, below_left)
    if any(left) and (len(left) == 1 or length > 2) and proportional(left, right):
        return True
    if len(difference) != 1 or not same_denominator:
        return False
    return any(key and left[key] == right.get(key) for key in left)


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


# --- does an equation follow from the equations before it? ---

Following = Literal["follows", "conflict", "unknown"]
"""It shares a solution with those before, exactly; no earlier one in its variable does, or the linear ones exclude it."""
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

    def judge(self, fact: Fact) -> Following:
        """Return what the equations before say of a new one."""
        if not fact.polynomial or not any(fact.polynomial):
            return "unknown"
        units = {old.unit for old in (*self.facts, fact) if old.unit and old.names & fact.names}
        if len(units) > 1:
            return "unknown"  # 3x = 1 hour, 3x = 60 minutes
        answer = self._one_variable(fact) if len(fact.names) == 1 else self._rescaled(fact)
        return self._linear(fact, fact.polynomial) if answer == "unknown" else answer

    def _one_variable(self, fact: Fact) -> Following:
        earlier = [old for old in self.facts if old.names == fact.names]
        if not earlier or earlier[-1].place < fact.place - RECENT:
            return "unknown"
        answers = [_share_solution(old, fact) for old in earlier]
        if "unknown" in answers:
            return "unknown"
        return "follows" if "follows" in answers else "conflict"

    def _linear(self, fact: Fact, polynomial: Polynomial) -> Following:
        if not self.consistent or fact.approximate or not is_linear(polynomial):
            return "unknown"
        rest = self.system.reduced(polynomial)
        return "follows" if not rest else "unknown" if any(rest) else "conflict"

    def _rescaled(self, fact: Fact) -> Following:
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


def _share_solution(old: Fact, new: Fact) -> Following:
    """Compare two equations in one variable: do they share a solution?"""
    if not old.polynomial or not new.polynomial:
        return "unknown"
    known, fresh = coefficients(old.polynomial), coefficients(new.polynomial)
    if len(known) < 2 or len(fresh) < 2 or max(len(known), len(fresh)) > MAX_DEGREE:
        return "unknown"
    if len(common_divisor(known, fresh)) > 1:
        return "follows"
    return "unknown" if old.approximate or new.approximate else "conflict"


# --- a step ---

MAX_PREFIX = 60
ZERO = Node("number")

RETRACTED = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|false|contradict\w*|impossible|mistake|invalid|doesn't|don't|error|cannot|can't|"
    r"never|no solutions?|extraneous|nope|oops|fails?|typo)\b|\?\s*$|≠|\\ne\b|\\neq\b",
    re.IGNORECASE,
)
_OTHER_ARITHMETIC = re.compile(
    r"\\p?mod\b|\bmod(?:ulo)?\b|\\equiv|≡|\bbase[- ]|\bbinary\b|\\ast\b|\\star\b|\\oplus|\\otimes|\\diamond|\\clubsuit|"
    r"\\spadesuit|\\heartsuit|\\odot|\\circledast|\boperations?\b[^.]{0,30}\bdefined\b|\bdefine\b[^.$]{0,30}\boperation|"
    r"\bclock\b|\bremainder\b|matri|determinant|vector",
    re.IGNORECASE,
)
_OWN_STAR = re.compile(r"[A-Za-z)]\s*(?:\*|@|#|\\#|\\&|\$ ?x ?\$)\s*[A-Za-z(]|\d\s*\*\s*\d")
_NAMED_E = re.compile(r"(?<![A-Za-z\\])e\s*(?:\\left)?\(")  # a function called e, and not Euler's number
_SUPPOSED = re.compile(
    r"\b(?:if|when|whenever|let|lets|suppose|supposing|assume|assuming|for|case|cases|try|trying|test|plug\w*|"
    r"substitut\w*|check\w*|another|other|similarly|or|where|consider|instead|say|choose|would|could|might|example|guess|"
    r"at|minimum|maximum|vertex|axis|line|point|passes|next|initial\w*|first|second|third|but|want|need|define|"
    r"denote|given|possib\w*|either|same|now|different|as|unless|until|take|taking|setting|set|equation|with|given|know)\b|let's",
    re.IGNORECASE,
)
_DERIVED = re.compile(
    r"\b(?:so|thus|therefore|hence|then|gives?|giving|get|gets|getting|obtain\w*|yields?|simplif\w*|becomes?|means|"
    r"implies|which is|divid\w*|multipl\w*|subtract\w*|adding|add|solv\w*|rearrang\w*|factor\w*|expand\w*|find|"
    r"reduces?|isolat\w*|equivalent\w*|combin\w*|distribut\w*|cancel\w*|tak(?:e|ing) the)\b",
    re.IGNORECASE,
)
# Words around a derivation that say nothing of what it is about.
_OF_DERIVATIONS = word_set(
    """
    the and both sides side equation equations this that these from into with now can which are value values left right hand
    using term terms variable solution solutions find answer result use its our further finally next step also all above
    expression following back inequality have has will must true where determine calculate compute let substituting
    substitute value plugging evaluating evaluate simplifying dollars final number numbers need know problem each two one
    """
)
_CASES = re.compile(
    r"\b(?:if|suppose|supposing|assum\w+|cases?|try|trying|tests?|testing|when|guess|would|possibilit\w+|possible|"
    r"either|for example|plug\w*|for each|for \$?\\?\(?[a-z] ?=|works?)\b",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(r"\b(?:if|suppose|assum\w+|case|try|trying|test\w*|when|guess|would)\b")
_NO_CLAIM_AFTER = re.compile(r"\s*(?:or|and|if|when|for|works|as|is|in)\b")
_CASE = re.compile(r"\b(?:for|when|where|with|since|because|as|at|if|given)(?: that)?\W*$")
_ZERO_CASE = re.compile(
    r"\b(?:for|when|where|with|since|because|as|at|if|given)(?: that)? \$?(?P<name>[a-z])\$? (?:is|equals|was) (?:zero|0)\b"
)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the algebra verdict on `step`; never raises on bad text, never runs unbounded."""
    try:
        chains = find_chains(step)
        if not chains:
            return Verdict("undecided", "algebra:nothing_to_check")
        return _judge(problem, prefix, step, chains)
    except TooLargeError as error:
        return Verdict("undecided", "algebra:too_large", str(error))
    except RecursionError:
        return Verdict("undecided", "algebra:too_large", "nested too deeply")


def _judge(problem: Problem, prefix: Sequence[str], step: str, chains: Sequence[Chain]) -> Verdict:
    if any(_OTHER_ARITHMETIC.search(text) for text in (step, problem.question)) or _OWN_STAR.search(
        problem.question
    ):
        return Verdict("undecided", "algebra:other_arithmetic")
    background = [problem.question, *prefix[-MAX_PREFIX:]]
    texts = [*map(chains_of, background), chains]
    functions = {
        name: (argument, body)
        for name, (argument, body) in defined(texts[:-1]).items()
        if variables(body) - {"e", "i"} == {argument} and body.kind != "variable"
    }
    findings: list[Verdict] = []
    for chain in chains:
        findings += _link_verdicts(chain, step, functions)
        if any(relation in ("<", "<=", ">", ">=") for relation in chain.relations):
            findings.append(Verdict("undecided", "algebra:inequality", "", chain.span))
    if any(True for _ in zero_divisors(chains, step)):
        detail = "a divisor is zero where the step says so"
        findings.append(Verdict("undecided", "algebra:division_by_zero", detail))
    return _combined([*findings, *_derivation_verdicts(background, step, chains)])


def defined(texts: Sequence[Sequence[Chain]]) -> Functions:
    """Return the functions of one variable, ``f(x) = ...`` or ``y = ...``, that texts define and never contradict."""
    bodies: dict[str, list[tuple[str, Node]]] = {}
    doubtful: set[str] = set()
    for chain in (chain for chains in texts for chain in chains):
        head, body = chain.members[0].node, chain.members[1].node
        if head is None or chain.relations[0] not in ("=", "defines"):
            continue
        applied = head.kind == "application" and len(head.parts) == 1 and head.parts[0].kind == "variable"
        if not applied and head.kind != "variable":
            continue
        names = variables(body) - {"e"} if body is not None else frozenset()
        if body is None:
            doubtful.add(head.name)
        elif not names or any(one.kind in ("application", "plusminus") for one in walk(body)):
            continue  # a value, or an equation between functions
        elif head.name in names:
            doubtful.add(head.name)
        else:
            if not applied and len(names) > 1:
                doubtful.add(head.name)
            bodies.setdefault(head.name, []).append((head.parts[0].name if applied else min(names), body))
    found: Functions = {}
    for name, ((argument, body), *others) in bodies.items():
        agree = all(
            _same_function(body, replaced(other, its, Node("variable", name=argument)))
            for its, other in others[:8]
        )
        if name not in doubtful and agree and argument in variables(body) - {"e"}:
            found[name] = (argument, body)
    return found


def _same_function(one: Node, other: Node) -> bool:
    if one == other:
        return True
    try:
        return not cross_difference(one, other, Reading())[0]
    except UnreadableError:
        return False


def zero_divisors(chains: Sequence[Chain], step: str) -> Iterator[Chain]:
    """Yield the equations with a divisor that is zero in the case of which the step speaks: ``x/x = 1 for x = 0``."""
    cases = [(match["name"], ZERO) for match in _ZERO_CASE.finditer(step)]
    for case in chains:
        left, right = case.members[0].node, case.members[-1].node
        if left is None or right is None or left.kind != "variable" or case.relations != ("=",):
            continue
        if _CASE.search(case.prose):
            cases.append((left.name, right))
    for chain in chains if cases else ():
        trees = [member.node for member in chain.members if member.node is not None]
        divisors = [one.parts[1] for tree in trees for one in walk(tree) if one.kind == "quotient"]
        if "=" in chain.relations and any(
            _vanishes(divisor, *case) for divisor in divisors for case in cases
        ):
            yield chain


def _vanishes(divisor: Node, name: str, value: Node) -> bool:
    """Whether a divisor is zero where a letter of it has a value."""
    if name not in variables(divisor):
        return False
    try:
        return not cross_difference(replaced(divisor, name, value), ZERO, Reading())[0]
    except UnreadableError:
        return False


@lru_cache(maxsize=512)
def chains_of(text: str) -> tuple[Chain, ...]:
    """Return the chains of a text, none where it is too large; remembered, as prefixes come again."""
    try:
        return find_chains(text)
    except TooLargeError:
        return ()


# --- identities and values ---


def _link_verdicts(chain: Chain, step: str, functions: Functions) -> Iterator[Verdict]:
    for left, relation, right in chain.links():
        if relation not in ("=", "~"):
            continue
        span = (left.start, right.end)
        found, detail = _link(left, right, relation == "~", len(chain.members), functions)
        kind: str = found
        if found.startswith("false_"):
            if RETRACTED.search(step) or is_only_reported(step, *span):
                kind = "retracted"
            elif found == "false_value" and _NAMED_E.search(step):
                kind = "unread"
        truth: Truth = (
            "correct" if kind in _VERIFIED else "wrong" if kind.startswith("false_") else "undecided"
        )
        yield Verdict(truth, f"algebra:{kind}", detail, span)


# --- derivations ---


def _derivation_verdicts(background: Sequence[str], step: str, chains: Sequence[Chain]) -> list[Verdict]:
    history = History()
    place = 0
    for place, text in enumerate(background):
        for chain in chains_of(text):
            _include(history, chain, place)
    place += 1
    found: list[Verdict] = []
    for number, chain in enumerate(chains):
        claimed = is_claim(chain, number, background[-1] if len(background) > 1 else "", step)
        for fact, span in facts_of(chain, place):
            answer = history.judge(fact)
            if answer == "follows":
                found.append(Verdict("correct", "algebra:follows", "", span))
            elif answer == "conflict" and claimed and not _another_case(history, fact, step[: chain.span[0]]):
                detail = "no solution of this equation solves what it is derived from"
                found.append(Verdict("wrong", "algebra:does_not_follow", detail, span))
        _include(history, chain, place)
    return found


def _another_case(history: History, fact: Fact, before: str) -> bool:
    """Whether a letter that had a value may stand for another thing now: the words before it name a subject."""
    earlier = [old for old in history.facts if old.names == fact.names]
    if not earlier or not (is_assignment(earlier[0]) and is_assignment(fact)):
        return False
    words = re.findall(r"[a-z]{3,}", re.sub(r"\\[a-zA-Z]+", " ", before.lower()))
    return any(word not in _OF_DERIVATIONS and not _DERIVED.fullmatch(word) for word in words)


def facts_of(chain: Chain, place: int) -> Iterator[tuple[Fact, tuple[int, int]]]:
    """Yield the equations of a chain that say something of a variable, with their character ranges."""
    for left, relation, right in chain.links():
        if relation == "=" and left.node is not None and right.node is not None:
            fact = make_fact(left.node, right.node, place, _unit(right, chain))
            if fact is not None and fact.polynomial != {}:
                yield fact, (left.start, right.end)


def _unit(member: Member, chain: Chain) -> str:
    """Return the unit of a side: its own, or for the last one the first word after the chain."""
    words = member.unit.split() or (chain.after.split()[:1] if member is chain.members[-1] else [])
    unit = UNITS.get(words[0].strip(".,;:!?$)\\}").lower()) if words else None
    return member.unit if unit is None else unit.name


def _include(history: History, chain: Chain, place: int) -> None:
    if not _HYPOTHETICAL.search(_sentence(chain.prose)):
        for fact, _ in facts_of(chain, place):
            history.include(fact)


def _sentence(prose: str) -> str:
    """The part of the prose that belongs to the sentence of the formula after it."""
    return re.split(r"[.!?]\s|\n", prose)[-1]


def is_claim(chain: Chain, number: int, before: str, step: str) -> bool:
    """Whether the words present a chain as following from what stands before; `before` is the step before."""
    sentence = _sentence(chain.prose)
    if RETRACTED.search(step) or _CASES.search(before) or _CASES.search(step[: chain.span[0]]):
        return False
    if _SUPPOSED.search(sentence) or _NO_CLAIM_AFTER.match(chain.after):
        return False
    joined = chain.joined == "implies" or (chain.joined == "row" and number > 0)
    return joined or _DERIVED.search(sentence) is not None


# --- the verdict ---

_OPEN = (
    "too_large", "retracted", "units_or_rounding", "division_by_zero", "unread", "inequality", "equation",
)  # fmt: skip


def _combined(findings: Sequence[Verdict]) -> Verdict:
    """One wrong finding makes the step wrong; correct needs one verified and nothing open."""
    wrong = next((finding for finding in findings if finding.truth == "wrong"), None)
    if wrong is not None:
        return wrong
    verified = [finding for finding in findings if finding.truth == "correct"]
    settled = {finding.span for finding in verified}
    for kind in _OPEN:
        for finding in findings:
            if finding.reason == f"algebra:{kind}" and finding.span not in settled:
                return finding
    if verified:
        detail = f"{len(verified)} relation{'s' if len(verified) > 1 else ''} checked"
        return Verdict("correct", verified[0].reason, detail, verified[0].span)
    return Verdict("undecided", "algebra:definition" if findings else "algebra:nothing_to_check")
