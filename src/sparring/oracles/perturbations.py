"""Rule perturbations: a correct step made wrong in one known way, and the taxonomy that they make up.

Contract: `TAXONOMY` lists every kind with its class of errors, its generator per style of writing (`text`:
GSM8K-like; `latex`: formulas with or without unknowns), and the styles in which the comparison with the
original is expected to find it (`computable`). The rest can be generated, but whether such a step is wrong is
decided by its meaning or by other members; those kinds are *not computable* and `perturb` leaves them out
unless they are named. A kind never counts as a verdict. These are the static negatives that an adversary is
compared with, and its warm start. Not here: paraphrase, errors of reasoning without a formula, the game.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sparring.oracles import perturbations_latex as latex
from sparring.oracles import perturbations_text as text
from sparring.traces.records import Problem

Perturbation = Callable[[Problem, Sequence[str], str, random.Random], str | None]
Style = Literal["text", "latex"]
BOTH: tuple[Style, ...] = ("text", "latex")


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error of the taxonomy; called like any perturbation.

    Attributes:
        name: the kind.
        error_class: the class of errors that it belongs to.
        text: generator for GSM8K-like steps.
        latex: generators for LaTeX steps, the first that applies.
        computable: the styles in which the comparison with the original is expected to find it.
    """

    name: str
    error_class: str
    text: Perturbation | None
    latex: tuple[Perturbation, ...]
    computable: tuple[Style, ...]

    def __call__(self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
        """Return the wrong step, ``None`` where the kind does not apply."""
        if style_of(step) == "text":
            return None if self.text is None else self.text(problem, prefix, step, rng)
        for generator in self.latex:
            made = generator(problem, prefix, step, rng)
            if made is not None:
                return made
        return None


def _kind(
    error_class: str,
    name: str,
    *,
    formulas: bool = True,
    computable: tuple[Style, ...] = BOTH,
) -> ErrorKind:
    """Return the kind whose generators have its name in the modules of the two styles."""
    of_text: Perturbation | None = getattr(text, name, None)
    of_latex: Perturbation | None = getattr(latex, name, None) if formulas else None
    found = tuple(generator for generator in (of_text, of_latex) if generator is not None)
    return ErrorKind(name, error_class, of_text, found, computable)


TAXONOMY: tuple[ErrorKind, ...] = (
    _kind("arithmetic slip", "arithmetic_slip"),
    _kind("arithmetic slip", "digit_swap"),
    _kind("arithmetic slip", "magnitude_slip"),
    _kind("off by one", "off_by_one"),
    _kind("wrong operand", "wrong_operand"),
    _kind("wrong operand", "misstated_number"),
    _kind("wrong operation", "wrong_operation"),
    _kind("wrong operation", "swapped_operands"),
    _kind("wrong reference", "wrong_reference", computable=("text",)),
    _kind("contradiction of an earlier step", "wrong_value_carried"),
    _kind("contradiction of an earlier step", "contradiction", computable=()),
    _kind("sign error", "sign_error"),
    _kind("sign error", "flipped_inequality", computable=()),
    _kind("unit error", "unit_slip"),
    _kind("unit error", "percent_slip"),
    _kind("unit error", "wrong_unit", computable=("text",)),
    _kind("skipped step", "skipped_operand"),
    _kind("skipped step", "skipped_step", computable=()),
    _kind("premature answer", "premature_answer", computable=()),
    _kind("dropped case", "dropped_case", computable=()),
    _kind("unjustified theorem", "false_law", computable=()),
)
PERTURBATIONS: dict[str, ErrorKind] = {kind.name: kind for kind in TAXONOMY}


def style_of(step: str) -> Style:
    """Return how a step is written."""
    return "latex" if latex.is_latex(step) else "text"


def perturb(
    problem: Problem,
    prefix: Sequence[str],
    step: str,
    rng: random.Random,
    kinds: Sequence[str] | None = None,
) -> tuple[str, str] | None:
    """Return (kind, wrong step) of the first kind that applies, tried in random order, or ``None``.

    Args:
        problem: the problem.
        prefix: the steps before.
        step: a correct step.
        rng: the source of every choice.
        kinds: names out of `PERTURBATIONS`; by default those that are computable in the step's style.

    Raises:
        KeyError: an unknown kind.
    """
    style = style_of(step)
    names = [kind.name for kind in TAXONOMY if style in kind.computable] if kinds is None else list(kinds)
    rng.shuffle(names)
    for name in names:
        made = PERTURBATIONS[name](problem, prefix, step, rng)
        if made is not None and made != step:
            return name, made
    return None
