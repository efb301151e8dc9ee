"""Rule perturbations: a correct step made wrong in one known way, and the taxonomy that they make up.

Contract: `PERTURBATIONS` lists every kind with its class of errors, the styles of writing that it has generators for
(`text`: GSM8K-like; `latex`: formulas with or without unknowns), and those in which the comparison with the original is
expected to find it (`computable`). Whether a step of the others is wrong is decided by its meaning or by other members;
`perturb` leaves those out unless they are named. A kind never counts as a verdict. These are the static negatives that an
adversary is compared with, and its warm start. Not here: paraphrase, errors of reasoning without a formula, the game.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sparring.oracles import perturbations_latex as latex
from sparring.oracles import perturbations_text as text
from sparring.oracles.perturbations_text import Generator, Place, at_site
from sparring.traces.records import Problem

Style = Literal["text", "latex"]
BOTH: tuple[Style, ...] = ("text", "latex")
NEITHER: tuple[Style, ...] = ()


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One kind of error of the taxonomy; called to make it.

    Attributes:
        error_class: the class of errors that it belongs to.
        name: the kind.
        computable: the styles in which the comparison with the original is expected to find it.
        text: makes it in steps that calculate, of either style.
        latex: makes it in formulas with unknowns, where `text` does not apply.
    """

    error_class: str
    name: str
    computable: tuple[Style, ...]
    text: Generator | None = None
    latex: Generator | None = None

    def generators(self, style: Style) -> list[Generator]:
        """Return the generators for steps of a style, in the order in which they are tried."""
        tried = (self.text,) if style == "text" else (self.text, self.latex)
        return [generator for generator in tried if generator is not None]

    def __call__(self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random) -> str | None:
        """Return the wrong step, ``None`` where the kind does not apply."""
        made = (make(Place(problem, prefix, step, rng)) for make in self.generators(style_of(step)))
        return next((one for one in made if one is not None), None)


def _result(change: text.ValueChange) -> tuple[Generator, Generator]:
    return at_site(text.with_result, change), partial(latex.with_result, change=change)


def _operand(confused: text.Confusion) -> tuple[Generator, Generator]:
    return at_site(text.with_operand, confused), partial(latex.with_operand, confused=confused)


_OTHER_OPERATIONS = {"+": "-*", "-": "+/", "*": "+/", "/": "*-"}
PERTURBATIONS: dict[str, Perturbation] = {
    row[1]: Perturbation(*row)
    for row in (
        ("arithmetic slip", "arithmetic_slip", BOTH, *_result(text.slipped)),
        ("arithmetic slip", "digit_swap", BOTH, *_result(text.digits_swapped)),
        ("arithmetic slip", "magnitude_slip", BOTH, *_result(text.magnitude_changed)),
        ("off by one", "off_by_one", BOTH, *_operand(text.neighbours)),
        ("wrong operand", "wrong_operand", BOTH, *_operand(text.elsewhere)),
        ("wrong operand", "misstated_number", BOTH, text.misstated_number),
        ("wrong operation", "wrong_operation", BOTH, at_site(text.with_operator, _OTHER_OPERATIONS)),
        ("wrong operation", "swapped_operands", BOTH, at_site(text.recomputed, text.operands_exchanged, True)),
        ("wrong reference", "wrong_reference", ("text",), at_site(text.with_operand, text.other_results),
         latex.wrong_reference),
        ("contradiction of an earlier step", "wrong_value_carried", BOTH, *_operand(text.miscopied)),
        ("contradiction of an earlier step", "contradiction", NEITHER, text.contradiction, latex.contradiction),
        ("sign error", "sign_error", BOTH, at_site(text.with_operator, {"+": "-", "-": "+"}), latex.sign_error),
        ("sign error", "flipped_inequality", NEITHER, None, latex.flipped_inequality),
        ("unit error", "unit_slip", BOTH, at_site(text.with_operand, text.other_factors)),
        ("unit error", "percent_slip", BOTH, at_site(text.with_operand, text.other_shares)),
        ("unit error", "wrong_unit", ("text",), text.wrong_unit),
        ("skipped step", "skipped_operand", BOTH, at_site(text.recomputed, text.last_operand_dropped)),
        ("skipped step", "skipped_step", NEITHER, text.skipped_step),
        ("premature answer", "premature_answer", NEITHER, text.premature_answer),
        ("dropped case", "dropped_case", NEITHER, None, latex.dropped_case),
        ("unjustified theorem", "false_law", NEITHER, None, latex.false_law),
    )
}  # fmt: skip


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
    computable = (name for name, kind in PERTURBATIONS.items() if style in kind.computable)
    names = list(computable if kinds is None else kinds)
    rng.shuffle(names)
    for name in names:
        made = PERTURBATIONS[name](problem, prefix, step, rng)
        if made is not None and made != step:
            return name, made
    return None
