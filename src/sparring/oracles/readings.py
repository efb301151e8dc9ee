r"""What the reference oracle compares of a step: the calculations that it claims, its words, numbers and formulas.

Contract: `read` takes a text apart, without a verdict. Calculations have canonical forms: ``3 * 4`` and ``4 * 3``,
``24 / 2`` and ``24 * 0.5``, ``20% of 50`` and ``50 * 0.2`` are the same; ``2 + 2`` and ``2 * 2`` are not, although their
values agree. Formulas with unknowns are compared sign by sign: ``\dfrac{x}{2}`` is ``\frac{x}{2}`` and ``x^{2}`` is
``x^2``, but ``x + 3`` is not ``3 + x``. Bounded time on any text. Readings of the last texts are kept, because all rewrites
of a step share the original and its prefix. Not here: the comparison of two texts (`reference.py`), algebra (`algebra.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, zip_longest
from typing import Literal

from sparring.oracles.arithmetic import check_equations
from sparring.oracles.equations import read_step
from sparring.oracles.expressions import Node, calculation
from sparring.oracles.reading import COMPARISONS, Token, UnreadableError, kept, tokenize
from sparring.oracles.units import unit_of
from sparring.oracles.values import calculate, without_float_noise
from sparring.oracles.words import word_set

# Characters of an earlier result that is written out: sums that double would grow without end.
MAX_WRITTEN_OUT = 300
# Words that carry no content: with or without them, a step says the same.
CONNECTIVES = word_set("a an the so then thus hence therefore and that")

Formula = tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Claim:
    """A calculation and its result as a text claims them.

    Attributes:
        calculation: canonical form of the left side, earlier results of the same text written out.
        direct: canonical form of the left side as written.
        operands: the numbers of the left side, sorted.
        result: its value: the exact one of the left side where the right side is that, correctly rounded.
        shown: the right side's value as written.
        error: how far a rounded right side is from the exact result, 0 elsewhere.
        span: characters of the equation.
    """

    calculation: Canonical
    direct: Canonical
    operands: tuple[Fraction, ...]
    result: Fraction
    shown: Fraction
    error: Fraction
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reference oracle compares of a step, everything in order.

    Attributes:
        claims: its calculations, each once.
        words: the words of the visible text, without articles and words of inference.
        numbers: the numbers of the visible text, a percentage as its share of one.
        loose: those of them that stand in no claim; `loose_at` are their first characters.
        percents: how many of the numbers are percentages.
        units: how often each unit of measurement is named, whatever its spelling.
        formulas: its formulas outside the claims, each as its signs.
    """

    claims: tuple[Claim, ...]
    words: tuple[str, ...]
    numbers: tuple[Fraction, ...]
    loose: tuple[Fraction, ...]
    loose_at: tuple[int, ...]
    percents: int
    units: Counter[str]
    formulas: tuple[Formula, ...]

    @property
    def symbolic(self) -> Counter[Formula]:
        """The formulas that hold anything but numbers."""
        return Counter(formula for formula in self.formulas if any(map(_is_symbol, formula)))


def _is_symbol(sign: str) -> bool:
    return sign.isalpha() or sign[0] == "\\" or sign in COMPARISONS


@kept
def read(step: str) -> Reading:
    """Return what is compared of a step.

    Raises:
        TooLargeError: the step exceeds what is read.
    """
    claims = claims_of(step)
    tokens, _ = read_step(step)
    all_words = [token.text for token in tokens if token.kind in ("word", "of", "unknown")]
    units = Counter(unit[0] for word in all_words if (unit := unit_of(word)) is not None)
    units["dollar"] += sum(token.dollars for token in tokens)
    units = +units
    spans = iter(sorted(claim.span for claim in claims))
    span = next(spans, None)
    numbers: list[Fraction] = []
    loose: list[tuple[Fraction, int]] = []
    percents = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.value is None:
            continue
        percent = after is not None and after.kind == "percent"
        percents += percent
        number = without_float_noise(token.value)
        numbers.append(number / 100 if percent else number)
        while span is not None and span[1] <= token.start:
            span = next(spans, None)
        if span is None or token.start < span[0]:
            loose.append((numbers[-1], token.start))
    return Reading(
        claims,
        tuple(word for word in all_words if word not in CONNECTIVES),
        tuple(numbers),
        tuple(number for number, _ in loose),
        tuple(place for _, place in loose),
        percents,
        units,
        _formulas_of(tokens, [claim.span for claim in claims]),
    )


def claims_of(step: str) -> tuple[Claim, ...]:
    """Return the calculations of a step in order, each once.

    Raises:
        TooLargeError: the step exceeds what is read.
    """
    claims: list[Claim] = []
    derived: dict[Fraction, Canonical] = {}
    for check in check_equations(step):
        if check.equation.source == "printed" or check.equation.relation in COMPARISONS:
            continue
        left, right, shown = check.equation.left, check.equation.right, check.right
        if check.finding == "right" and left is not None and not left.operators:
            left, right, shown = right, left, check.left  # "24 = 48 / 2"
        if left is None or right is None or check.left is None or shown is None:
            continue
        # "17 500" may not be the whole of what was written
        ambiguous = check.finding == "unclear" and "two_numbers_side_by_side" in (left.doubt, right.doubt)
        if left.operators == 0 or right.operators or ambiguous:
            continue
        shown = without_float_noise(shown)
        tokens = [_denoised(token) for token in left.tokens]
        try:
            result = calculate(tokens) if check.finding == "right" else shown
            tree = calculation(tokens, shares=True)
            direct, expanded = _canonical(tree, {}), _canonical(tree, derived)
        except (UnreadableError, RecursionError):
            continue
        if any(claim.direct == direct and claim.shown == shown for claim in claims):
            continue
        numbers = (token.value for token in tokens if token.value is not None)
        error = abs(result - shown) if check.reason == "rounded" else Fraction(0)
        claims.append(
            Claim(expanded, direct, tuple(sorted(numbers)), result, shown, error, check.equation.span)
        )
        if len(str(expanded)) <= MAX_WRITTEN_OUT:
            derived.setdefault(shown, expanded)
    return tuple(claims)


def _denoised(token: Token) -> Token:
    return token if token.value is None else token._replace(value=without_float_noise(token.value))


@kept
def known_numbers(text: str) -> frozenset[Fraction]:
    """Return the numbers of a text; of a percentage also its share of one.

    Raises:
        TooLargeError: the text exceeds what is read.
    """
    tokens = tokenize(text)
    values = [token.value for token in tokens if token.value is not None]
    shares = [
        token.value / 100
        for token, after in pairwise(tokens)
        if token.value is not None and after.kind == "percent"
    ]
    return frozenset(values + shares)


# --- formulas with unknowns ---

_FORMULA_KINDS = frozenset(
    ("number", "operator", "open", "close", "percent", "factorial", "fraction", "root", "relation", "unknown")
)


def _formulas_of(tokens: Sequence[Token], claimed: Sequence[tuple[int, int]]) -> tuple[Formula, ...]:
    """Return the stretches of mathematical tokens between words and breaks, those of calculations left out."""
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
    for token in stretch:
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


# --- canonical forms ---


def _canonical(node: Node, derived: Mapping[Fraction, Canonical]) -> Canonical:
    """Return the canonical form of a calculation, operands that are `derived` results written out."""
    if node.kind == "number":
        return derived.get(node.value) or _atom(node.value)
    first, *others = [_canonical(part, derived) for part in node.parts]
    if node.kind == "negative":
        return _negated(first)
    if node.kind == "percent":
        share = None if first.value is None else _atom(first.value / 100)
        return share or _joined("product", first, _atom(Fraction(1, 100)))
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
