"""Oracles: exact verdicts on steps, without a model.

What lives here: the three-valued `Verdict` and the `Oracle` protocol; the arithmetic oracle for
natural-language and LaTeX steps (`arithmetic.py` over `tokens.py` → `numbers.py` → `expressions.py` →
`equations.py` → `excuses.py`); the comparison of a step with the correct one that it replaces (`reference.py`
over `canonical.py`); the panel that lets several oracles judge together within limits of time and memory
(`panel.py` over `sandbox.py` → `worker.py` → `members.py`); and rule perturbations, which make correct steps wrong
(`perturbations.py` over `sites.py`). Exact oracles of procedural worlds live with their worlds.
"""

from sparring.oracles.arithmetic import ArithmeticOracle
from sparring.oracles.perturbations import PERTURBATIONS, Perturbation, perturb
from sparring.oracles.reference import ReferenceOracle, is_malformed, judge_against
from sparring.oracles.verdict import Oracle, Truth, Verdict

__all__ = [
    "PERTURBATIONS",
    "ArithmeticOracle",
    "Oracle",
    "Perturbation",
    "ReferenceOracle",
    "Truth",
    "Verdict",
    "is_malformed",
    "judge_against",
    "perturb",
]
