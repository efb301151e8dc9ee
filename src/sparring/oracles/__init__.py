"""Oracles: exact verdicts on steps, without a model. The verdict itself is `traces/verdict.py`.

- One lexer `reading.py`, one tree `expressions.py`, its values `values.py`. Text that calculates: `arithmetic.py` over
  `equations.py`, `excuses.py`; where numbers come from: `quantities.py` over `units.py`.
- Formulas: `algebra.py` over `chains.py` → `derivations.py` → `polynomials.py`.
- Answers: `equality.py` → `answer_values.py` → `amounts.py`, `precise.py`.
- A step against the correct one that it replaces: `reference.py`.
- Several together within limits of time and memory: `panel.py` over `sandbox.py` → `members.py`.
- Correct steps made wrong: `perturbations.py` over `perturbations_text.py`, `perturbations_latex.py`.

Calculus, logic and hypotheses of theorems are `sparring.contrib.oracles`; exact oracles of procedural worlds live with
their worlds. Code here looks at texts alone: no model, no torch. The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.oracles.perturbations import PERTURBATIONS, Perturbation, perturb
    from sparring.oracles.reference import is_malformed, judge_against
    from sparring.traces.verdict import Oracle, Truth, Verdict

_HOMES = {
    "sparring.oracles.perturbations": ("PERTURBATIONS", "Perturbation", "perturb"),
    "sparring.oracles.reference": ("is_malformed", "judge_against"),
    "sparring.traces.verdict": ("Oracle", "Truth", "Verdict"),
}
__all__ = [
    "PERTURBATIONS",
    "Oracle",
    "Perturbation",
    "Truth",
    "Verdict",
    "is_malformed",
    "judge_against",
    "perturb",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'sparring.oracles' has no attribute '{name}'")
