"""Chain arithmetic: problems, steps and verdicts of a small reasoning world whose every step can be judged exactly.

A problem gives base values and definitions that build on each other, modulo a small number:

    mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d

A solution computes the definitions in order. A step says what it computes, substitutes the values, gives the result:

    c = b + 5 = 7 + 5 , c is 12
    d = c * b = 12 * 7 , d is 6

All texts are words separated by single spaces, so a word-level tokenizer of a few dozen words suffices. Names are
consecutive letters from a random first one, definitions stand in the order in which they can be computed: what comes
next is then easy to learn, and what stays hard is looking values up, arithmetic, and long chains.
Difficulty is the number of computed definitions.

Contract: everything is a pure function of a seed; `judge` is exact on any text and takes time linear in it; values
are judged against the truth, so a step that builds on an earlier mistake is wrong as well. Not here: the dials
(`chain_world.py`), models, prompts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sparring.errors import DataError
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

NAMES = "abcdefghijkl"
OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
}
MODULUS = 13

IN_DISTRIBUTION = (3, 5)
"""Number of computed definitions, lowest and highest, that the tiny policy was trained on."""
LONGER = (6, 8)
"""Longer chains: never seen in training."""

_MODULUS = re.compile(r"mod ([1-9][0-9]?)")
_DEFINITION = re.compile(r"([a-z]) = ([a-z]|[0-9]{1,2}) ([-+*]) ([a-z]|[0-9]{1,2})")
_BASE_VALUE = re.compile(r"([a-z]) is ([0-9]{1,2})")
_STEP = re.compile(
    r"([a-z]) = (\w+) ([-+*]) (\w+) = ([0-9]{1,2}) ([-+*]) ([0-9]{1,2}) , ([a-z]) is ([0-9]{1,2})", re.ASCII
)
_LONGEST_STEP = 80  # characters; a well-formed step has fewer


@dataclass(frozen=True, slots=True)
class Expression:
    """Two operands (a name or a number, as text) and an operation."""

    left: str
    operation: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} {self.operation} {self.right}"

    def operands(self) -> tuple[str, str]:
        """Return both operands, left first."""
        return self.left, self.right

    def same_as(self, other: Expression) -> bool:
        """Tell whether both say the same: equal, or swapped operands of a commutative operation."""
        if self == other:
            return True
        swapped = Expression(other.right, other.operation, other.left)
        return self.operation in "+*" and self == swapped

    def evaluate(self, values: Mapping[str, int], modulus: int) -> int:
        """Return the value; raises KeyError if a name has no value."""
        left, right = (int(word) if word.isdigit() else values[word] for word in self.operands())
        return OPERATIONS[self.operation](left, right) % modulus


@dataclass(frozen=True, slots=True)
class Form:
    """What definitions are made of.

    Attributes:
        names: letters that stand for values.
        constants: 0: numbers below the modulus on either side of any sign. Else numbers from 1 to this, right of a name
            only, products only with 2 or 3, one definition in five of two names: what a small model learns modulo a large
            number. Every definition uses the newest name, so that no mistake is without consequence.
    """

    names: str = NAMES
    constants: int = 0

    def numbers(self, modulus: int) -> list[str]:
        """Return the numbers that definitions hold."""
        return [str(n) for n in (range(1, self.constants + 1) if self.constants else range(modulus))]

    def signs(self, left: str, right: str) -> list[str]:
        """Return the signs that may stand between two operands."""
        narrow = self.constants and right not in ("2", "3")
        return [sign for sign in OPERATIONS if not (narrow and sign == "*")]


@dataclass(frozen=True, slots=True)
class Chain:
    """A parsed problem: base values, definitions in computable order, the name asked for, and every true value."""

    base: Mapping[str, int]
    definitions: Mapping[str, Expression]
    asked: str
    modulus: int = MODULUS
    form: Form = Form()
    values: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        values = dict(self.base)
        for name, expression in self.definitions.items():
            values[name] = expression.evaluate(values, self.modulus)
        object.__setattr__(self, "values", values)

    def question(self) -> str:
        """Return the problem as text."""
        parts = [f"{name} is {value}" for name, value in self.base.items()]
        parts += [f"{name} = {expression}" for name, expression in self.definitions.items()]
        return f"mod {self.modulus} : " + " ; ".join([*parts, f"find {self.asked}"])

    def correct_steps(self) -> tuple[str, ...]:
        """Return the reference solution, one step per definition."""
        return tuple(
            render_step(name, expression, substitute(expression, self.values), self.values[name])
            for name, expression in self.definitions.items()
        )


def substitute(expression: Expression, values: Mapping[str, int]) -> Expression:
    """Return the expression with every name replaced by its value."""
    left, right = (word if word.isdigit() else str(values[word]) for word in expression.operands())
    return Expression(left, expression.operation, right)


def render_step(name: str, expression: Expression, substituted: Expression, result: int) -> str:
    """Return a step as text."""
    return f"{name} = {expression} = {substituted} , {name} is {result}"


def generate_chain(
    rng: random.Random, steps: tuple[int, int], modulus: int = MODULUS, form: Form = Form()
) -> Chain:
    """Return a random chain with `steps` = (fewest, most) computed definitions.

    Raises:
        ValueError: there are not enough names for that many definitions.
    """
    lowest, highest = steps
    computed, bases = rng.randint(lowest, highest), rng.randint(1, 2)
    if not 1 <= lowest <= highest or highest + 2 > len(form.names):
        raise ValueError(f"a chain has 1 to {len(form.names) - 2} computed definitions, got {steps}")
    first = rng.randrange(len(form.names) - computed - bases + 1)
    names = form.names[first : first + computed + bases]
    base = {name: rng.randrange(modulus) for name in names[:bases]}
    definitions: dict[str, Expression] = {}
    for position in range(bases, len(names)):
        earlier = names[:position]
        # Mostly the newest name, so that the chain is as deep as it is long.
        reference = earlier[-1] if rng.random() < 0.7 else rng.choice(earlier)
        if form.constants:
            # Always the newest name, and never twice: b - b and values that nobody uses would let mistakes vanish.
            reference, others = earlier[-1], earlier[:-1]
            other = rng.choice(others if others and rng.random() < 0.2 else form.numbers(modulus))
            pair = [reference, other]
            if not other.isdigit():
                rng.shuffle(pair)
            definitions[names[position]] = Expression(pair[0], rng.choice(form.signs(*pair)), pair[1])
            continue
        other = rng.choice(earlier) if rng.random() < 0.5 else str(rng.randrange(modulus))
        pair = [reference, other]
        rng.shuffle(pair)
        definitions[names[position]] = Expression(pair[0], rng.choice("+-*"), pair[1])
    return Chain(base, definitions, asked=names[-1], modulus=modulus, form=form)


def generate_problem(
    rng: random.Random,
    steps: tuple[int, int],
    identifier: str,
    modulus: int = MODULUS,
    form: Form = Form(),
) -> Problem:
    """Return a random problem with its reference solution and answer."""
    chain = generate_chain(rng, steps, modulus, form)
    return Problem(
        id=identifier,
        question=chain.question(),
        answer=str(chain.values[chain.asked]),
        solution=chain.correct_steps(),
    )


def generate_problems(
    count: int, *, steps: tuple[int, int], seed: int, start: int = 0, name: str = "chain"
) -> list[Problem]:
    """Return `count` problems; problem i depends only on (name, seed, start + i), so any slice can be made alone."""
    return [
        generate_problem(random.Random(f"{name}/{seed}/{index}"), steps, f"{name}-{seed}-{index}")
        for index in range(start, start + count)
    ]


def parse_question(question: str, form: Form = Form()) -> Chain:
    """Return the chain that a question text describes; the form is what the rules that make mistakes keep to.

    Raises:
        DataError: the text is not a question of this world.
    """
    head, _, body = question.partition(" : ")
    modulus = _MODULUS.fullmatch(head)
    parts = body.split(" ; ")
    if modulus is None or not parts[-1].startswith("find "):
        raise DataError("not a chain-arithmetic question", field="problem")
    base: dict[str, int] = {}
    definitions: dict[str, Expression] = {}
    for part in parts[:-1]:
        if match := _BASE_VALUE.fullmatch(part):
            base[match[1]] = int(match[2])
        elif match := _DEFINITION.fullmatch(part):
            definitions[match[1]] = Expression(match[2], match[3], match[4])
        else:
            raise DataError(f"not a base value or a definition: {part[:60]!r}", field="problem")
    asked = parts[-1][5:]
    if asked not in base and asked not in definitions:
        raise DataError(f"the name asked for has no value: {asked[:60]!r}", field="problem")
    try:
        return Chain(base, definitions, asked, modulus=int(modulus[1]), form=form)
    except KeyError as error:
        raise DataError(f"the name {error} is used before it has a value", field="problem") from None


@dataclass(frozen=True, slots=True)
class ParsedStep:
    """The parts of a well-formed step."""

    name: str
    expression: Expression
    substituted: Expression
    named_again: str
    result: int


def parse_step(step: str) -> ParsedStep | None:
    """Return the parts of a step, or None where the text does not have a step's form; white space around it is ignored."""
    if len(step) > _LONGEST_STEP:
        return None
    match = _STEP.fullmatch(step.strip())
    if match is None:
        return None
    return ParsedStep(
        name=match[1],
        expression=Expression(match[2], match[3], match[4]),
        substituted=Expression(match[5], match[6], match[7]),
        named_again=match[8],
        result=int(match[9]),
    )


def known_names(chain: Chain, prefix: Sequence[str]) -> set[str]:
    """Return the names that have a value after the prefix."""
    known = set(chain.base)
    for step in prefix:
        if (parsed := parse_step(step)) is not None:
            known.add(parsed.name)
    return known


def judge_step(chain: Chain, prefix: Sequence[str], step: str) -> Verdict:
    """Return the exact verdict on a step; its reason names the kind of the first mistake found, reading left to right."""
    parsed = parse_step(step)
    if parsed is None:
        return Verdict("wrong", "chain:malformed", "not of the form 'x = a + b = 1 + 2 , x is 3'")
    definition = chain.definitions.get(parsed.name)
    if definition is None:
        return Verdict("wrong", "chain:invented_step", f"{parsed.name} has no definition in the problem")
    if parsed.named_again != parsed.name:
        return Verdict(
            "wrong", "chain:wrong_reference", f"computes {parsed.name}, names {parsed.named_again}"
        )
    kind = _expression_mistake(definition, parsed.expression)
    if kind is not None:
        return Verdict("wrong", kind, f"the problem says {parsed.name} = {definition}")
    unknown = [
        word
        for word in parsed.expression.operands()
        if not word.isdigit() and word not in known_names(chain, prefix)
    ]
    if unknown:
        return Verdict("wrong", "chain:skipped_step", f"{unknown[0]} has not been computed yet")
    expected = substitute(parsed.expression, chain.values)
    if parsed.substituted.operation != expected.operation:
        return Verdict("wrong", "chain:wrong_operation", f"{parsed.expression} is {expected}")
    if parsed.substituted != expected:
        return Verdict("wrong", "chain:wrong_value", f"{parsed.expression} is {expected}")
    value = chain.values[parsed.name]
    if parsed.result != value:
        return Verdict(
            "wrong", "chain:arithmetic", f"{expected} mod {chain.modulus} is {value}, not {parsed.result}"
        )
    return Verdict("correct", "chain:exact")


def _expression_mistake(definition: Expression, stated: Expression) -> str | None:
    if stated.same_as(definition):
        return None
    if stated.operation != definition.operation and set(stated.operands()) == set(definition.operands()):
        return "chain:wrong_operation"
    return "chain:wrong_reference"


def final_answer(problem: Problem, steps: Sequence[str]) -> str | None:
    """Return the value that the last step gives to the name asked for, or None if it does not."""
    asked = problem.question.rpartition("find ")[2].strip()
    parsed = parse_step(steps[-1]) if steps else None
    return str(parsed.result) if parsed is not None and parsed.name == parsed.named_again == asked else None
