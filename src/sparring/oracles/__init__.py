"""Oracles: exact verdicts on steps, without a model. The verdict itself is `traces/verdict.py`.

- One lexer `reading.py`, one tree `expressions.py`, its values `values.py`. Text that calculates: `arithmetic.py` over
  `equations.py`, `excuses.py`; where numbers come from: `quantities.py` over `units.py`.
- Formulas: `algebra.py` over `chains.py`, `polynomials.py`.
- Answers: `equality.py` → `answer_values.py` → `amounts.py`, `precise.py`.
- A step against the correct one that it replaces: `reference.py`.
- Several together within limits of time and memory: `panel.py` over `sandbox.py` → `members.py`.
- Correct steps made wrong: `perturbations.py` over `perturbations_text.py`, `perturbations_latex.py`.

Calculus, logic and preconditions are `sparring.contrib.oracles`; exact oracles of procedural worlds live with
their worlds. Code here looks at texts alone: no model, no torch.
"""

from sparring.traces.verdict import Oracle, Truth, Verdict

__all__ = ["Oracle", "Truth", "Verdict"]
