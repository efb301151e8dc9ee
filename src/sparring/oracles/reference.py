r"""The reference oracle: is a rewritten step still right, given the correct step that it replaces?

Contract: `judge_against` compares what `read` takes of two texts: the calculations that they claim, their words, numbers
and formulas. Calculations have canonical forms: ``3 * 4`` and ``4 * 3``, ``24 / 2`` and ``24 * 0.5``, ``20% of 50`` and
``50 * 0.2`` are the same, intermediate results written out or not; ``2 + 2`` and ``2 * 2`` are not, although their values
agree. Formulas with unknowns are compared sign by sign: ``\dfrac{x}{2}`` is ``\frac{x}{2}`` and ``x^{2}`` is ``x^2``,
but ``x + 3`` is not ``3 + x``. The same calculations are ``correct`` whatever the words, if the formulas around them
agree; so are the same formulas with unknowns, up to words of inference. A different result or number where the words say
the same (one text may say more, but not each something of its own) is ``wrong``; texts that cannot be compared are
``undecided``. The original is taken to be correct. `is_malformed` says, separately, that an output is no single step at
all, which is a failure of its writer and not a question of truth.

Bounded time on any text. Readings of the last texts are kept, because all rewrites of a step share the original and its
prefix. Lists of words that change the meaning are open and short: others ("sells" for "mends") pass. Not here: whether
one formula follows from another (`algebra.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest
from typing import Literal, NamedTuple

from sparring.oracles.arithmetic import Check, check_equations, judge_text
from sparring.oracles.equations import ANNOTATION, read_step
from sparring.oracles.excuses import usual_error
from sparring.oracles.expressions import Node, Order, calculation
from sparring.oracles.reading import COMPARISONS, Token, TooLargeError, UnreadableError, cached, tokenize
from sparring.oracles.units import unit_of
from sparring.oracles.values import calculate, decimal_places, show, without_float_noise
from sparring.oracles.words import (
    APPROXIMATE_WORDS,
    CARDINALS,
    CLAUSE_WORDS,
    LEAD_WORDS,
    MULTIPLES,
    SCALES,
    SHARES,
    SPELLED_NUMBERS,
    word_set,
)
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

SAME_SHAPE = 0.7  # share of common words from which two steps count as saying the same
MAX_LENGTH_RATIO = 4
MIN_LENGTH_ALLOWED = 200
# Characters of an earlier result that is written out: sums that double would grow without end.
MAX_WRITTEN_OUT = 300
# Words that carry no content: with or without them, a step says the same.
CONNECTIVES = word_set("a an the so then thus hence therefore and that")
_INFERENCES = CONNECTIVES | word_set(
    """
    this means we get obtain have which gives us now can see it follows is as find know yields implies or be
    finally first next also because since simplifies becomes equals
    """
)
_SHARES_OF_ONE = Order(shares=True)
_DOUBTFUL_UNITS = ("arithmetic:unit_of_result", "arithmetic:unit_or_percent_scale")
_REVERSED = (("+", "-"), ("-", "+"), ("<", ">"), (">", "<"), ("<=", ">="), (">=", "<="))
_ECHO = re.compile(
    r"<\|[^|>]*\|>|</?s>|\[/?INST\]|^\s*(?:question|problem|original|rewritten|corrupted|modified|step|prompt"
    r"|instruction|assistant|user)\b[^:\n]{0,20}:|^\s*(?:sure|certainly|of course)\b[,!.]",
    re.IGNORECASE,
)


def judge_against(problem: Problem, prefix: Sequence[str], original: str, step: str) -> Verdict:
    """Return the verdict on `step`, written in place of the correct step `original` after `prefix`.

    An identical text is correct by assumption; otherwise wrong arithmetic is wrong, and the rest is
    comparison.
    """
    try:
        if plain(original) == plain(step) and _same_annotations(original, step):
            return Verdict("correct", "reference:same_text")
        judged = judge_text(step)
        if judged.truth == "wrong":
            if judge_text(original).truth == "wrong":
                return Verdict("undecided", "reference:original_fails", judged.detail, judged.span)
            return judged
        old, new = read(original), read(step)
        if not old.claims and not new.claims:
            verdict = _compare_texts(old, new)
        elif old.claims and new.claims:
            verdict = _compare_claims(old, new)
        else:
            return Verdict("undecided", "reference:incomparable")
        if verdict.reason == "reference:different_number" and _same_results(original, step):
            return Verdict("undecided", "reference:same_result")
        if verdict.truth != "correct":
            return verdict
        if _rounds_further(old, new):
            return Verdict("undecided", "reference:rounded_further")
        doubt = _doubt_about(old, new, (problem.question, *prefix), (original, step), problem.answer)
        if doubt is None and judged.reason in _DOUBTFUL_UNITS and judge_text(original).truth == "correct":
            return Verdict("undecided", "reference:other_unit", judged.detail, judged.span)
        return doubt or verdict
    except TooLargeError as error:
        return Verdict("undecided", "reference:too_large", str(error))


def is_malformed(original: str, step: str) -> str | None:
    """Return why `step` is no single step that could replace `original`, or ``None`` if it is one.

    Reasons: ``empty``, ``no_words_or_numbers``, ``too_long`` (over `MAX_LENGTH_RATIO` times the original and
    over `MIN_LENGTH_ALLOWED` characters), ``several_steps`` (more line ends than the original),
    ``prompt_echo`` (template marks, labels and chat phrases), ``repeats_original`` (the original at least
    twice).
    """
    text = step.strip()
    if not text:
        return "empty"
    if not any(character.isalnum() for character in text):
        return "no_words_or_numbers"
    if len(text) > max(MIN_LENGTH_ALLOWED, MAX_LENGTH_RATIO * len(original.strip())):
        return "too_long"
    if text.count("\n") > original.strip().count("\n"):
        return "several_steps"
    if _ECHO.search(text) and not _ECHO.search(original):
        return "prompt_echo"
    if len(original.strip()) > 20 and text.count(original.strip()) > 1:
        return "repeats_original"
    return None


def plain(text: str) -> str:
    """Return the text without differences of case, white space, annotations and end marks."""
    return " ".join(ANNOTATION.sub("", text).lower().split()).rstrip(" .!")


def _same_annotations(original: str, step: str) -> bool:
    """Whether the calculator annotations of a text are those of the original, or there are none."""
    old, new = (["".join(found.split()) for found in ANNOTATION.findall(text)] for text in (original, step))
    return not new or old == new


# --- what is read of a step ---

Formula = tuple[str, ...]


class Canonical(NamedTuple):
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


class Claim(NamedTuple):
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


class Reading(NamedTuple):
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


@cached
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
    spans = [claim.span for claim in claims]
    numbers: list[Fraction] = []
    loose: list[tuple[Fraction, int]] = []
    percents = 0
    for token, number, percent in _amounts(tokens):
        percents += percent
        numbers.append(number)
        if not _is_inside(token.start, spans):
            loose.append((number, token.start))
    return Reading(
        claims,
        tuple(word for word in all_words if word not in CONNECTIVES),
        tuple(numbers),
        tuple(number for number, _ in loose),
        tuple(place for _, place in loose),
        percents,
        units,
        _formulas_of(tokens, spans),
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
            tree = calculation(tokens, _SHARES_OF_ONE)
            direct, expanded = _canonical(tree, {}), _canonical(tree, derived)
        except (UnreadableError, RecursionError):
            continue
        if any(claim.direct == direct and claim.shown == shown for claim in claims):
            continue
        operands = tuple(sorted(token.value for token in tokens if token.value is not None))
        error = abs(result - shown) if check.reason == "rounded" else Fraction(0)
        claims.append(Claim(expanded, direct, operands, result, shown, error, check.equation.span))
        if len(str(expanded)) <= MAX_WRITTEN_OUT:
            derived.setdefault(shown, expanded)
    return tuple(claims)


def _denoised(token: Token) -> Token:
    return token if token.value is None else token._replace(value=without_float_noise(token.value))


@cached
def known_numbers(text: str) -> frozenset[Fraction]:
    """Return the numbers of a text; of a percentage also its share of one.

    Raises:
        TooLargeError: the text exceeds what is read.
    """
    amounts = list(_amounts(tokenize(text)))
    return frozenset(number for _, number, _ in amounts) | {
        token.value for token, _, _ in amounts if token.value
    }


def _amounts(tokens: Sequence[Token]) -> Iterator[tuple[Token, Fraction, bool]]:
    """Yield the numbers of a text with their values, and whether they are percentages: these as shares of one."""
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.value is not None:
            percent = after is not None and after.kind == "percent"
            yield token, without_float_noise(token.value) / (100 if percent else 1), percent


# --- formulas with unknowns ---

_FORMULA_KINDS = frozenset(
    ("number", "operator", "open", "close", "percent", "factorial", "fraction", "root", "relation", "unknown")
)


def _formulas_of(tokens: Sequence[Token], claimed: Sequence[tuple[int, int]]) -> tuple[Formula, ...]:
    """Return the stretches of mathematical tokens between words and breaks, those of calculations left out."""
    found: list[Formula] = []
    stretch: list[Token] = []
    for token in [*tokens, None]:
        if token is not None and _is_inside(token.start, claimed):
            continue
        if token is not None and token.kind in _FORMULA_KINDS:
            stretch.append(token)
        elif stretch:
            found.append(_signs(stretch))
            stretch = []
    return tuple(found)


def _is_inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    for start, end in spans:  # noqa: SIM110 (asked of every token, and `any` is slower)
        if start <= place < end:
            return True
    return False


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


# --- two readings compared ---


def _compare_claims(old: Reading, new: Reading) -> Verdict:
    """Compare two texts with calculations: these first, then the numbers of the same words around them."""
    old_set, new_set = ({(one.direct, one.result) for one in reading.claims} for reading in (old, new))
    last_old, last_new = old.claims[-1], new.claims[-1]
    same_calculation = (last_old.calculation, last_old.result) == (last_new.calculation, last_new.result)
    if old_set == new_set:
        return _same_claims(old, new)
    if same_calculation and len(old.claims) != len(new.claims):
        extra = [
            (claim, reading)
            for reading, others in ((old, new_set), (new, old_set))
            for claim in reading.claims
            if (claim.direct, claim.result) not in others
        ]
        if all(_is_used(*one) for one in extra):
            return _same_claims(old, new)
        return Verdict("undecided", "reference:other_claims")
    if new_set < old_set:
        return Verdict("undecided", "reference:part_of_original")
    if old_set < new_set:
        return Verdict("undecided", "reference:goes_on")
    if likeness(old.words, new.words) < SAME_SHAPE:
        return Verdict("undecided", "reference:incomparable")
    if len(old.claims) != len(new.claims):
        return Verdict("undecided", "reference:other_claims")
    for before, after in zip(old.claims, new.claims, strict=True):
        if before.result != after.result:
            return _contradiction(before, after, old, new)
    return Verdict("undecided", "reference:same_result")


def _rounds_further(old: Reading, new: Reading) -> bool:
    """Whether a result is rounded more coarsely than in the original (whose results are exact where it has them not)."""
    errors = {claim.result: claim.error for claim in sorted(old.claims, key=lambda claim: claim.error)}
    return any(
        claim.error > max(errors.get(claim.result, Fraction(0)), usual_error(claim.result))
        for claim in new.claims
    )


def _is_used(claim: Claim, reading: Reading) -> bool:
    """Whether a claim is the last, or its result is calculated with later: then the last claim vouches for it."""
    later = reading.claims[reading.claims.index(claim) + 1 :]
    return not later or any(claim.shown in other.operands for other in later)


def _same_claims(old: Reading, new: Reading) -> Verdict:
    """The calculations agree; where the words do too, so must the numbers between them."""
    if old.words == new.words and len(old.loose) == len(new.loose) and old.symbolic == new.symbolic:
        verdict = _compare_numbers(old.loose, new.loose, old.percents == new.percents)
        if verdict.truth != "correct" and Counter(old.loose) != Counter(new.loose):
            return verdict
    return Verdict("correct", "reference:same_calculation")


def _contradiction(before: Claim, after: Claim, old: Reading, new: Reading) -> Verdict:
    """Name what differs between two claims with different results, if they speak of the same thing.

    Another calculation is an error only where the words say that the same quantity is calculated: a solution
    may take its steps in another order, or count meters where another counts rounds.
    """
    if before.direct == after.direct:
        kind = "different_result"
    elif not same_subject(old.words, new.words):
        return Verdict("undecided", "reference:other_quantity")
    elif before.operands == after.operands:
        kind = "different_operation"
    elif _differ_by_rounding(before, after):
        return Verdict("undecided", "reference:rounded_operands")
    else:
        kind = "different_operands"
    detail = f"the result is {show(before.shown)}, not {show(after.shown)}"
    return Verdict("wrong", f"reference:{kind}", detail, after.span)


def same_subject(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one text has only words of the other: where each has its own, they may mean other things."""
    return Counter(one) <= Counter(other) or Counter(other) <= Counter(one)


def _differ_by_rounding(before: Claim, after: Claim) -> bool:
    """Whether the same operands stand in both, rounded to more places in one of them (3.33 and 3.333)."""
    return len(before.operands) == len(after.operands) and all(
        one == other or _rounds_to(one, other) or _rounds_to(other, one)
        for one, other in zip(before.operands, after.operands, strict=True)
    )


def _rounds_to(fine: Fraction, coarse: Fraction) -> bool:
    """Whether a number is another one, rounded to its two or more decimal places."""
    places = decimal_places(coarse)
    return places is not None and places >= 2 and abs(fine - coarse) <= Fraction(1, 2 * 10**places)


def _same_results(original: str, step: str) -> bool:
    """Whether both texts have equations of numbers alone that hold, with the same results: 2/4 + 1/4 for 1/2 + 1/4."""
    before, after = (check_equations(text) for text in (original, step))
    return (
        bool(before)
        and [*map(_written, before)] != [*map(_written, after)]
        and all(one.finding == "right" for one in (*before, *after))
        and [one.right for one in before] == [one.right for one in after]
    )


def _written(check: Check) -> list[str]:
    sides = (check.equation.left, check.equation.right)
    return [token.text for side in sides if side is not None for token in side.tokens]


def _compare_texts(old: Reading, new: Reading) -> Verdict:
    """Compare two texts without calculations: their words, then their formulas, then their numbers."""
    if old.words != new.words:
        meant = [[word for word in reading.words if word not in _INFERENCES] for reading in (old, new)]
        if old.symbolic and old.formulas == new.formulas and meant[0] == meant[1]:
            return Verdict("correct", "reference:same_formula")
        if old.formulas == new.formulas and (unit := _different_unit(old, new)) is not None:
            return unit
        return Verdict("undecided", "reference:incomparable")
    if old.formulas == new.formulas:
        return _compare_numbers(old.numbers, new.numbers, old.percents == new.percents)
    pairs = zip(old.formulas, new.formulas, strict=False)
    changed = [signs for pair in pairs for signs in zip_longest(*pair) if signs[0] != signs[1]]
    if any(_is_sign(sign) for pair in changed for sign in pair) or len(old.formulas) != len(new.formulas):
        if len(changed) == 1 and changed[0] in _REVERSED:
            detail = f"the sign is {changed[0][0]}, not {changed[0][1]}"
            return Verdict("wrong", "reference:different_sign", detail)
        return Verdict("undecided", "reference:other_formula")
    if old.symbolic and (len(changed) > 1 or 0 in old.numbers):
        return Verdict("undecided", "reference:rescaled")  # "2x = 6" and "4x = 12" say the same
    return _compare_numbers(old.numbers, new.numbers, old.percents == new.percents)


def _is_sign(sign: str | None) -> bool:
    return sign is None or not (sign[-1].isdigit() or sign == "π")


def _compare_numbers(old: Sequence[Fraction], new: Sequence[Fraction], same_percents: bool) -> Verdict:
    """Compare the numbers of two texts with the same words."""
    if len(old) != len(new):
        return Verdict("undecided", "reference:incomparable")
    if old != new and Counter(old) == Counter(new):
        return Verdict("undecided", "reference:reordered")
    for before, after in zip(old, new, strict=True):
        if before != after:
            if not same_percents and before in (100 * after, after / 100):
                return Verdict("undecided", "reference:percent_scale")
            detail = f"the number is {show(before)}, not {show(after)}"
            return Verdict("wrong", "reference:different_number", detail)
    return Verdict("correct", "reference:same_text")


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of common words (Dice coefficient of the two bags), 1.0 for two empty texts."""
    total = len(one) + len(other)
    common = (Counter(one) & Counter(other)).total()
    return 2 * common / total if total else 1.0


# --- the words around the same calculations ---

_NEGATIONS = word_set(
    "not no never none cannot neither nor without except isn't doesn't don't didn't can't won't"
)
_PAIRS = """
    more less fewer, most least fewest, older younger, taller shorter, longer shorter, bigger smaller, larger smaller,
    higher lower, faster slower, heavier lighter, before after, earlier later, first last, increase decrease,
    increases decreases, increased decreased, gains loses, gained lost, gain loss, profit loss cost, adds subtracts,
    added subtracted, buys sells, bought sold, earns spends, earned spent, even odd, maximum minimum, left right,
    left gone, remaining used, above below, over under, positive negative, inside outside, total difference,
    sum difference, sum product, numerator denominator, all half, both neither, always never, daily weekly monthly yearly
"""
_OPPOSITES = [frozenset(pair.split()) for pair in _PAIRS.split(",")]
_ANSWER = re.compile(r"\\f?boxed\b|####|\b(?:final|answers?)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SPELLED: dict[str, int | Fraction] = {**CARDINALS, **MULTIPLES, **SHARES, **SCALES}
# Words that stand for whatever the sentence speaks of: they may take the place of any other word.
_NEUTRAL = CONNECTIVES | LEAD_WORDS | CLAUSE_WORDS | APPROXIMATE_WORDS | SPELLED_NUMBERS
_NEUTRAL |= word_set(
    """
    to in at on by with for each per every in as also will would can could do does did i me him them us
    many much how what who there here this those these than now there's it's dollars dollar
    """
)


def _doubt_about(
    old: Reading, new: Reading, before: Sequence[str], texts: tuple[str, str], answer: str | None
) -> Verdict | None:
    """Return why the words around the same calculations may say something else than the original's, or None.

    Args:
        old: of the original.
        new: of the rewrite.
        before: what stands before both.
        texts: the original and the rewrite.
        answer: of the problem.
    """
    unit = _unit_doubt(old, new, (texts[0], *before))
    if unit is not None:
        return unit
    gone, come = set(old.words) - set(new.words), set(new.words) - set(old.words)
    for kind, applies in (
        ("other_formula", old.symbolic != new.symbolic),
        ("new_number", _adds_number(old, new, before)),
        ("restated_number", _restates_number(old, new)),
        ("spelled_number", _changes_spelled_number(old, new)),
        ("claims_answer", _claims_answer(*texts, answer)),
        ("negation", _negations(old) != _negations(new)),
        ("opposite", any(gone & pair and come & pair for pair in _OPPOSITES)),
        ("other_subject", _changes_subject(gone - _NEUTRAL, come - _NEUTRAL, before)),
    ):
        if applies:
            return Verdict("undecided", f"reference:{kind}")
    return None


def _unit_doubt(old: Reading, new: Reading, texts: Sequence[str]) -> Verdict | None:
    """Units exchanged, or added although nothing before has named them; the sign of a currency names one too."""
    if old.units == new.units:
        return None
    gone, come = old.units - new.units, new.units - old.units
    if gone and come:
        return _different_unit(old, new) or Verdict("undecided", "reference:other_unit")
    named = {unit[0] for text in texts for word in _words_of(text) if (unit := unit_of(word)) is not None}
    if any("$" in text for text in texts):
        named |= {"dollar", "cent"}
    return Verdict("undecided", "reference:other_unit") if come.keys() - named else None


def _different_unit(old: Reading, new: Reading) -> Verdict | None:
    """Return ``wrong`` where two texts differ in one unit, exchanged for another of its dimension, and in nothing else."""
    pairs = [pair for pair in zip(old.words, new.words, strict=False) if pair[0] != pair[1]]
    if len(pairs) != 1 or len(old.words) != len(new.words) or old.numbers != new.numbers or not old.numbers:
        return None
    before, after = (unit_of(word) for word in pairs[0])
    if before is None or after is None or before[0] == after[0] or before[1] != after[1]:
        return None
    return Verdict("wrong", "reference:different_unit", f"the unit is {pairs[0][0]}, not {pairs[0][1]}")


def _adds_number(old: Reading, new: Reading, before: Sequence[str]) -> bool:
    """Whether the words hold a number that neither the original, nor what stands before, nor the calculation has."""
    added = set(new.loose) - set(old.numbers) - {claim.shown for claim in new.claims}
    return any(all(number not in known_numbers(text) for text in before) for number in added)


def _restates_number(old: Reading, new: Reading) -> bool:
    """Whether the words say a number again that the original's do not, before it is calculated: of another thing?"""
    spare = Counter(old.loose)
    ends: dict[Fraction, int] = {}
    for claim in new.claims:
        ends.setdefault(claim.shown, claim.span[1])
    for number, place in zip(new.loose, new.loose_at, strict=True):
        if spare[number]:
            spare[number] -= 1
        elif place < ends.get(number, place + 1):
            return True
    return False


def _changes_spelled_number(old: Reading, new: Reading) -> bool:
    """Whether a number in words has given way to another, or has come without being one of the original's numbers."""
    before, after = (Counter(word for word in one.words if _is_number(word)) for one in (old, new))
    gone, come = before - after, after - before
    known = {*old.numbers, *(claim.shown for claim in old.claims)}
    return bool(come) and (
        bool(gone) or any(_SPELLED.get(word) not in known for word in come if word != "one")
    )


def _is_number(word: str) -> bool:
    return all(part in _SPELLED for part in word.split("-"))


def _claims_answer(original: str, step: str, answer: str | None) -> bool:
    """Whether the rewrite names a final answer that the original does not, and that is not the problem's."""
    said = [match.end() for match in _ANSWER.finditer(step)]
    if len(said) <= len(_ANSWER.findall(original)):
        return False
    return known_numbers(step[said[-1] :]) != known_numbers(answer or "none")


def _negations(reading: Reading) -> int:
    return sum(word in _NEGATIONS for word in reading.words)


def _changes_subject(gone: set[str], come: set[str], before: Sequence[str]) -> bool:
    """Whether a word of the problem has given way to another word of the problem: one name to another."""
    if not gone or not come:
        return False
    known = frozenset().union(*map(_words_of, before))
    return bool(gone & known) and bool(come & known)


@cached
def _words_of(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
