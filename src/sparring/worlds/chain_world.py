"""The chain world with its dials: how long, modulo what, over which names, and how careless its author is.

    chain                                        answers modulo 13, 3 to 5 steps: what the shipped tiny policy solves
    chain:modulus=97,constants=9,names=26        hardly a wrong solution reaches the right answer by luck
    chain:modulus=97,constants=9,names=26,steps=6-8

Contract: as `World`'s. At the dials' defaults every text and every random choice is that of `chain.py` and
`chain_errors.py` called directly. `alive`: a chain of correct steps can always be finished, so progress is correctness.
Problems, reference solutions, verdicts and rule perturbations know nothing of the author's habits.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    MODULUS,
    NAMES,
    OPERATIONS,
    Chain,
    Expression,
    Form,
    final_answer,
    generate_problem,
    judge_step,
    parse_question,
    parse_step,
    render_step,
    substitute,
)
from sparring.worlds.chain_errors import CHAIN_ERRORS, perturb_step
from sparring.worlds.world import world_name

_parsed = lru_cache(maxsize=4096)(parse_question)  # the game asks many times about one problem


@dataclass(frozen=True, slots=True)
class ChainWorld:
    """Chain arithmetic. Implements `sparring.worlds.world.World`.

    Attributes:
        modulus: of all calculations; the number of possible answers.
        steps: fewest and most computed definitions.
        names: so many letters of the alphabet stand for values.
        constants: largest number in a definition, and simple definitions only (`Form`); 0 for any definition.
        habits: share of the pairs of a sign and a right operand that the author of a policy's training text misreads.
        habit_rate: how often a misread pair is misread.
    """

    modulus: int = MODULUS
    steps: tuple[int, int] = IN_DISTRIBUTION
    names: int = len(NAMES)
    constants: int = 0
    habits: float = 0.12
    habit_rate: float = 0.7

    def __post_init__(self) -> None:
        if not 2 <= self.modulus <= 97:
            raise ValueError(f"modulus is from 2 to 97, got {self.modulus}")
        if not 3 <= self.names <= len(string.ascii_lowercase):
            raise ValueError(f"names is from 3 to {len(string.ascii_lowercase)}, got {self.names}")
        most = min(16, self.names - 2)
        if not 1 <= self.steps[0] <= self.steps[1] <= most:
            raise ValueError(f"steps are the fewest and the most, from 1 to {most} with {self.names} names")
        if not 0 <= self.constants < self.modulus or self.constants == 1:
            raise ValueError("constants is 0 (any), or from 2 to less than the modulus")
        if not (0 <= self.habits <= 1 and 0 <= self.habit_rate <= 1):
            raise ValueError("habits and habit_rate are shares, from 0 to 1")

    @property
    def name(self) -> str:
        """Return `chain` and the dials that are turned."""
        return world_name("chain", self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of mistakes; plain arithmetic slips are what a rule-writer thinks of first."""
        return tuple(CHAIN_ERRORS)

    @property
    def form(self) -> Form:
        """Return what definitions are made of."""
        return Form(string.ascii_lowercase[: self.names], self.constants)

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return every word by its part of speech; the modulus itself stands in the question."""
        return {
            "grammar": ("mod", ":", ";", ",", "=", "is", "find"),
            "operations": tuple(OPERATIONS),
            "names": tuple(self.form.names),
            "numbers": tuple(str(value) for value in range(self.modulus)),
            "modulus": (str(self.modulus),),
        }

    def problem(self, rng: random.Random, identifier: str) -> Problem:
        """Return a random problem with its answer and reference solution."""
        return generate_problem(rng, self.steps, identifier, self.modulus, self.form)

    def written(self, problem: Problem, rng: random.Random) -> tuple[str, ...]:
        """Return a solution as an author with habitual mistakes writes it."""
        return habitual_solution(self._chain(problem), self.habits, self.habit_rate, rng)

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the exact verdict; raises DataError when the problem is not one of this world."""
        return judge_step(self._chain(problem), prefix, step)

    def is_step(self, text: str) -> bool:
        """Tell whether a text has a step's form."""
        return parse_step(text) is not None

    def perturb(
        self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random, kinds: Sequence[str]
    ) -> tuple[str, str] | None:
        """Return (kind, wrong step) of a random one of the kinds, or None where none of them is possible."""
        return perturb_step(self._chain(problem), prefix, step, rng, kinds)

    def answer(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the value that the last step gives to the name asked for, or None."""
        return final_answer(problem, steps)

    def solved(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether the last step gives the name asked for its true value, however it came about."""
        chain = self._chain(problem)
        return self.answer(problem, steps) == str(chain.values[chain.asked])

    def alive(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step is correct: then the rest can be computed."""
        return all(
            self.judge(problem, steps[:place], step).truth == "correct" for place, step in enumerate(steps)
        )

    def _chain(self, problem: Problem) -> Chain:
        return _parsed(problem.question, self.form)


# --- the author of a policy's training text ----------------------------------------------------------------------------

# Language models imitate their corpus, its mistakes included. This author reads, for a fixed share of all pairs of a sign
# and a right operand (`* c`, `- 4`), the newest name in place of that operand, most of the times that the pair occurs, and
# goes on correctly from there. So the solver has habits that voting cannot remove and a verdict can teach a PRM to see.


def is_misread(expression: Expression, share: float) -> bool:
    """Tell whether the author often misreads the right operand of this expression."""
    return random.Random(f"habit/{expression.operation}/{expression.right}").random() < share


def habitual_solution(chain: Chain, share: float, rate: float, rng: random.Random) -> tuple[str, ...]:
    """Return a solution as the author writes it: the reference solution, but for misread definitions.

    Args:
        chain: the problem.
        share: of all pairs of a sign and a right operand, how many are misread.
        rate: how often a misread pair is misread.
        rng: decides when.
    """
    values = dict(chain.base)
    steps = []
    for name, definition in chain.definitions.items():
        expression = definition
        misread = Expression(definition.left, definition.operation, next(reversed(values)))
        possible = misread.operation in chain.form.signs(*misread.operands())
        if possible and is_misread(definition, share) and rng.random() < rate:
            expression = misread
        values[name] = expression.evaluate(values, chain.modulus)
        steps.append(render_step(name, expression, substitute(expression, values), values[name]))
    return tuple(steps)
