"""Exact evaluation of number expressions over fractions, from tokens or from text.

Contract: hand-written precedence parsing (no `eval`, no recursion), exact `fractions.Fraction` arithmetic,
and bounds on everything that an expression could blow up: characters, digits, operations, nesting, exponents
and bits. Whatever cannot be evaluated comes back as an `Evaluation` with a reason, never as an exception and
never slowly. Grammar: ``+ - * / ^``, ``of`` after a fraction or percentage, unary minus, ``%``, ``!`` on
small whole numbers, square roots (exact where the root is a fraction, else to `ROOT_BITS`), brackets, and what
`tokens.py` reads as a number (separators, decimals, mixed numbers,
vulgar fractions, LaTeX). Not here: units, words, variables, and the equations that expressions stand in
(`equations.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from sparring.oracles.tokens import TextTooLargeError, Token, tokenize

MAX_OPERATIONS = 400
MAX_DEPTH = 64
MAX_EXPONENT = 64
MAX_BITS = 4096
MAX_FACTORIAL = 50
# Binary floating point leaves its mark in decimals of this many digits: 99.00000000000001.
FLOAT_DIGITS = 12
FLOAT_PRECISION = Fraction(1, 10**9)
# Roots that are no fraction are carried to ROOT_BITS bits; values that rest on them (or on π) are equal within this share.
ROOT_BITS = 200
IRRATIONAL_PRECISION = Fraction(1, 10**30)

Failure = Literal["too_large", "not_numeric", "division_by_zero"]


class Evaluation(NamedTuple):
    """The exact value of an expression, or why there is none (exactly one of the two is set)."""

    value: Fraction | None
    failure: Failure | None = None


class EvaluationError(ValueError):
    """Internal to the number modules: an expression that has no value, with the failure as its argument."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure)


def evaluate(text: str) -> Evaluation:
    """Return the value of a text that is one number expression and nothing else (no words, no relation)."""
    try:
        tokens = tokenize(text)
    except TextTooLargeError:
        return Evaluation(None, "too_large")
    return evaluate_tokens(expand_fractions(tokens))


def evaluate_tokens(tokens: Sequence[Token]) -> Evaluation:
    """Return the value of the expression that the tokens spell."""
    if len(tokens) == 1 and tokens[0].value is not None:
        return Evaluation(tokens[0].value)
    try:
        return Evaluation(value_of(to_postfix(tokens)))
    except EvaluationError as error:
        return Evaluation(None, error.failure)


def expand_fractions(tokens: Sequence[Token]) -> list[Token]:
    r"""Return the tokens with every LaTeX ``\frac{a}{b}`` spelled as ``((a)/(b))``; other uses stay as they
    are."""
    result: list[Token] = []
    roles: list[str] = []  # one entry per open bracket: plain, numerator or denominator
    awaited = ""  # the role of the bracket that has to open next
    for token in tokens:
        if awaited and token.kind != "open":
            return list(tokens)
        if token.kind == "fraction":
            awaited = "numerator"
            continue
        result.append(token)
        if token.kind == "open":
            roles.append(awaited or "plain")
            if awaited == "numerator":
                result.append(token)
            awaited = ""
        elif token.kind == "close" and roles:
            role = roles.pop()
            if role == "numerator":
                result.append(Token("operator", "/", token.start, token.end))
                awaited = "denominator"
            elif role == "denominator":
                result.append(token)
    return list(tokens) if awaited else result


# Binding strength. A unary minus binds looser than a power (-3^2 is -9) and tighter than a product.
_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, "of": 2, "negative": 3, "^": 4, "root": 5, "and": 6}
Postfix = list[Token | str]


def to_postfix(
    tokens: Sequence[Token], *, strength: dict[str, int] | None = None, right_first: bool = False
) -> Postfix:
    """Return the expression in postfix order: number tokens and operator names.

    Args:
        tokens: the expression; a bracket directly after an operand multiplies.
        strength: binding strengths in place of the usual ones (to test other readings of a sloppy
            expression).
        right_first: read ``a / b / c`` as ``a / (b / c)``, and ``a ^ b ^ c`` as ``(a ^ b) ^ c`` (other such readings).

    Raises:
        EvaluationError: ``not_numeric`` where the tokens are no expression, ``too_large`` past a bound.
    """
    strength = strength or _STRENGTH
    output: Postfix = []
    stack: list[str] = []
    depth = operations = 0
    operand_next = True
    for token in tokens:
        kind = token.kind
        if kind == "number":
            if not operand_next:
                raise EvaluationError("not_numeric")
            if token.value is None:
                raise EvaluationError("too_large")
            output.append(token)
            operand_next = False
        elif kind == "open":
            if not operand_next:
                operations += 1
                _push("*", stack, output, strength, right_first)
            depth += 1
            if depth > MAX_DEPTH:
                raise EvaluationError("too_large")
            stack.append("(")
            operand_next = True
        elif kind == "root":
            operations += 1
            if not operand_next:
                _push("*", stack, output, strength, right_first)
            stack.append("root")
            operand_next = True
        elif kind == "close":
            if operand_next or depth == 0:
                raise EvaluationError("not_numeric")
            depth -= 1
            while stack[-1] != "(":
                output.append(stack.pop())
            stack.pop()
        elif kind in ("percent", "factorial"):
            if operand_next:
                raise EvaluationError("not_numeric")
            output.append(token.text)
        elif kind in ("operator", "of"):
            operations += 1
            if operations > MAX_OPERATIONS:
                raise EvaluationError("too_large")
            if not operand_next:
                _push(token.text, stack, output, strength, right_first)
                operand_next = True
            elif token.text == "-":
                stack.append("negative")
            elif token.text != "+":
                raise EvaluationError("not_numeric")
        else:
            raise EvaluationError("not_numeric")
    if operand_next or depth:
        raise EvaluationError("not_numeric")
    output.extend(reversed(stack))
    return output


def _push(
    operator: str, stack: list[str], output: Postfix, strength: dict[str, int], right_first: bool
) -> None:
    own = strength[operator]
    right_associative = (operator == "^") != right_first and operator in "^/"
    while stack and stack[-1] != "(":
        top = strength[stack[-1]]
        if top < own or (top == own and right_associative):
            break
        output.append(stack.pop())
    stack.append(operator)


def value_of(
    postfix: Postfix, number: Callable[[Token], Fraction] | None = None, *, shares: bool = False
) -> Fraction:
    """Return the exact value of a postfix expression.

    Args:
        postfix: as `to_postfix` returns it.
        number: replaces the value of a number token (to test how a result depends on its operands).
        shares: read every percentage as its share of one; else ``40 - 25%`` takes a quarter of the 40 away.

    Raises:
        EvaluationError: ``division_by_zero``, ``too_large`` or ``not_numeric`` (a fractional exponent).
    """
    stack: list[Fraction] = []
    percents: set[int] = set()  # places of the stack that hold percentages
    for item in postfix:
        if isinstance(item, Token):
            assert item.value is not None  # refused by to_postfix
            percents.discard(len(stack))
            stack.append(item.value if number is None else number(item))
        elif item == "negative":
            stack.append(-stack.pop())
        elif item == "%":
            stack.append(stack.pop() / 100)
            percents.add(len(stack) - 1)
        elif item == "!":
            stack.append(_factorial(stack.pop()))
        elif item == "root":
            stack.append(_square_root(stack.pop()))
        else:
            right, left = stack.pop(), stack.pop()
            place = len(stack)
            changes = item in ("+", "-") and place + 1 in percents
            if changes and place not in percents and not shares:
                right *= left
            elif not changes:
                percents.discard(place)
            stack.append(_apply(item, left, right))
    return stack.pop()


def changes_by_share(tokens: Sequence[Token]) -> bool:
    """Whether a percentage is added to, or taken from, anything."""
    return any(token.kind == "percent" for token in tokens) and any(
        token.text in ("+", "-") for token in tokens
    )


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "/" and right == 0:
        raise EvaluationError("division_by_zero")
    result = _OPERATIONS[operator](left, right)
    if bits(result) > MAX_BITS:
        raise EvaluationError("too_large")
    return result


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise EvaluationError("not_numeric")
    power = int(exponent)
    if abs(power) > MAX_EXPONENT or bits(base) * abs(power) > MAX_BITS:
        raise EvaluationError("too_large")
    if base == 0 and power < 0:
        raise EvaluationError("division_by_zero")
    return Fraction(base**power)


_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": Fraction.__add__, "and": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "of": Fraction.__mul__,
    "/": Fraction.__truediv__, "^": _power,
}  # fmt: skip


def _factorial(number: Fraction) -> Fraction:
    if number.denominator != 1 or number < 0:
        raise EvaluationError("not_numeric")
    if number > MAX_FACTORIAL:
        raise EvaluationError("too_large")
    return Fraction(math.factorial(int(number)))


def _square_root(number: Fraction) -> Fraction:
    if number < 0:
        raise EvaluationError("not_numeric")
    numerator, denominator = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if numerator**2 == number.numerator and denominator**2 == number.denominator:
        return Fraction(numerator, denominator)
    magnitude = number.numerator.bit_length() - number.denominator.bit_length()
    shift = max(0, ROOT_BITS - magnitude // 2)
    return Fraction(math.isqrt((number.numerator << 2 * shift) // number.denominator), 1 << shift)


def is_irrational(tokens: Sequence[Token]) -> bool:
    """Whether an expression has a root or π, so that its value may only be a close one."""
    return any(token.kind == "root" or token.text == "π" for token in tokens)


def close(one: Fraction, other: Fraction) -> bool:
    """Whether two values that rest on roots or π are the same but for the bits that were cut."""
    return abs(one - other) <= IRRATIONAL_PRECISION * max(abs(one), abs(other), Fraction(1))


def is_float_noise(tokens: Sequence[Token], one: Fraction, other: Fraction) -> bool:
    """Whether two values differ only by what binary floating point adds.

    True where one of the numbers in `tokens` is a decimal of at least `FLOAT_DIGITS` significant digits and
    the values agree to `FLOAT_PRECISION` of the larger.
    """
    if abs(one - other) > FLOAT_PRECISION * max(abs(one), abs(other)):
        return False
    return any(
        token.kind == "number"
        and token.places > 0
        and len(token.text.replace(".", "").replace(",", "").lstrip("0")) >= FLOAT_DIGITS
        for token in tokens
    )


def without_float_noise(value: Fraction) -> Fraction:
    """Return the short decimal that a value is, but for what binary floating point adds to it.

    99.00000000000001 becomes 99. A value that is close to no decimal of `FLOAT_DIGITS` - 2 significant digits
    (26.666666666666668) stays as it is.
    """
    if value.denominator < 10 ** (FLOAT_DIGITS // 2) or decimal_places(value) is None:
        return value
    short = round(value, max(0, FLOAT_DIGITS - 2 - len(str(int(abs(value))))))
    return short if abs(short - value) <= abs(value) / 10**FLOAT_DIGITS else value


def bits(value: Fraction) -> int:
    """Return the size of a fraction: bits of numerator and denominator together."""
    return value.numerator.bit_length() + value.denominator.bit_length()


def show(value: Fraction) -> str:
    """Write a value for people: a whole number, a short exact decimal, or a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    if bits(value) > ROOT_BITS and abs(value) < 10**9:
        return f"about {float(value):.6g}"
    places = decimal_places(value)
    if places is not None and places <= 6:
        return f"{value.numerator / value.denominator:.{places}f}" if bits(value) < 100 else str(value)
    return str(value)


def decimal_places(value: Fraction) -> int | None:
    """Return how many decimal places write the value exactly, ``None`` if it never ends."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None
