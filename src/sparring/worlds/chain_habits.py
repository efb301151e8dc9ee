"""Human-like mistakes in the text that the tiny policy learns from.

Language models imitate their corpus, its mistakes included: what people often get wrong is wrong in the text more often
than right, and a model that only imitates cannot know better. The author of the chain world's training text misreads
some definitions: for a fixed small share of all pairs of a sign and a right operand (`* c`, `- 4`), the newest name is
read in place of that operand, most of the times that the pair occurs; what follows is calculated correctly from that.
So the solver has habitual mistakes that voting cannot remove, and that a verdict can teach a PRM to see.

Contract: which pairs are misread is fixed by the pair alone; `habitual_solution` is a function of (chain, share, rate,
rng). Problems, reference solutions, verdicts and rule perturbations know nothing of habits.
"""

from __future__ import annotations

import random

from sparring.worlds.chain import Chain, Expression, render_step, substitute


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
