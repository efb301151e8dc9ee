"""Rule perturbations of chain-arithmetic steps: one small function per kind of error.

Contract: each takes (chain, names that have a value, the parsed step, rng) and returns a wrong step, or None where that
error cannot be made there. All but `arithmetic` are *consistent*: after the mistake the step calculates on faithfully, as a
careless solver would. Used as the static adversary, as warm start of a learned one, and in `sparring attack`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from sparring.worlds.chain import (
    Chain,
    Expression,
    ParsedStep,
    judge_step,
    known_names,
    parse_step,
    render_step,
    substitute,
)

ChainError = Callable[[Chain, AbstractSet[str], ParsedStep, random.Random], str | None]


def arithmetic(chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random) -> str:
    """Give another result; everything before it stays right."""
    result = rng.choice([value for value in range(chain.modulus) if value != step.result])
    return render_step(step.name, step.expression, step.substituted, result)


def wrong_reference(
    chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random
) -> str | None:
    """Use another known name, or another number, in place of one operand."""
    operands = list(step.expression.operands())
    position = rng.randrange(2)
    if operands[position].isdigit():
        choices = [number for number in chain.form.numbers(chain.modulus) if number != operands[position]]
    else:
        choices = sorted(known - {operands[position]})
    if not choices:
        return None
    operands[position] = rng.choice(choices)
    return _carried_out(chain, step.name, Expression(operands[0], step.expression.operation, operands[1]))


def wrong_operation(chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random) -> str:
    """Use another operation and calculate it correctly."""
    left, right = step.expression.operands()
    signs = [sign for sign in chain.form.signs(left, right) if sign != step.expression.operation]
    return _carried_out(chain, step.name, Expression(left, rng.choice(signs), right))


def wrong_value(chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random) -> str | None:
    """Carry over a wrong value of a name, mostly that of another name, and calculate with it correctly."""
    positions = [index for index, word in enumerate(step.expression.operands()) if not word.isdigit()]
    if not positions:
        return None
    operands = list(step.substituted.operands())
    position = rng.choice(positions)
    others = [str(value) for value in range(chain.modulus) if str(value) != operands[position]]
    confused = sorted({str(chain.values[name]) for name in known & chain.values.keys()})
    confused = [value for value in confused if value != operands[position]]
    operands[position] = rng.choice(confused if confused and rng.random() < 0.75 else others)
    substituted = Expression(operands[0], step.substituted.operation, operands[1])
    result = substituted.evaluate(chain.values, chain.modulus)
    return render_step(step.name, step.expression, substituted, result)


def skipped_step(chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random) -> str | None:
    """Jump to a later definition although a value that it needs has not been computed; guess that value."""
    jumps = [
        (name, expression)
        for name, expression in chain.definitions.items()
        if name not in known
        and any(not word.isdigit() and word not in known for word in expression.operands())
    ]
    if not jumps:
        return None
    name, expression = rng.choice(jumps)
    guesses = {word: rng.randrange(chain.modulus) for word in chain.definitions if word not in known}
    return _carried_out(chain, name, expression, {**chain.values, **guesses})


def invented_step(chain: Chain, known: AbstractSet[str], step: ParsedStep, rng: random.Random) -> str | None:
    """Compute a name that the problem never mentions, from known values."""
    unused = [name for name in chain.form.names if name not in chain.values]
    if not unused:
        return None
    names = sorted(known)
    left, operation, right = rng.choice(names), rng.choice(chain.form.signs("", "")), rng.choice(names)
    return _carried_out(chain, rng.choice(unused), Expression(left, operation, right))


CHAIN_ERRORS: Mapping[str, ChainError] = {
    "arithmetic": arithmetic,
    "wrong_reference": wrong_reference,
    "wrong_operation": wrong_operation,
    "wrong_value": wrong_value,
    "skipped_step": skipped_step,
    "invented_step": invented_step,
}


def perturb_step(
    chain: Chain,
    prefix: Sequence[str],
    step: str,
    rng: random.Random,
    kinds: Sequence[str] = tuple(CHAIN_ERRORS),
) -> tuple[str, str] | None:
    """Return (kind, wrong step) of a random kind, or None if none of the kinds is possible here.

    A candidate that happens to be correct (an operand swapped for one of equal standing) is thrown away.
    """
    parsed, known = parse_step(step), known_names(chain, prefix)
    if parsed is None:
        return None
    for kind in rng.sample(list(kinds), len(kinds)) if len(kinds) > 1 else kinds:
        candidate = CHAIN_ERRORS[kind](chain, known, parsed, rng)
        if candidate is not None and judge_step(chain, prefix, candidate).truth == "wrong":
            return kind, candidate
    return None


def _carried_out(
    chain: Chain, name: str, expression: Expression, values: Mapping[str, int] | None = None
) -> str:
    values = values or chain.values
    result = expression.evaluate(values, chain.modulus)
    return render_step(name, expression, substitute(expression, values), result)
