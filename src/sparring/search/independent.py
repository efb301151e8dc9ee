"""Independent solutions, the best by Q: best-of-N, and what majority, weighted vote and pass@N are computed from.

Source: best-of-N with a verifier (Cobbe et al. 2021); the baseline of every search. A larger N has the solutions of a
smaller one among its own, so one run with the largest N gives the whole curve (`selection.py`).
"""

from __future__ import annotations

from sparring.search.task import Search, State, Task

ROUND = 8
"""Solutions that share a seed and the computation of the prompt; a budget is looked at between rounds."""


def independent(task: Task) -> Search[list[State]]:
    """Return N solutions in the order in which they were sampled; fewer where the budget ends or some are empty."""
    rounds = [(number, min(ROUND, task.n - first)) for number, first in enumerate(range(0, task.n, ROUND))]
    limited = task.settings.budget_tokens is not None or task.settings.budget_flops is not None
    found: list[State] = []
    for part in [[one] for one in rounds] if limited else [rounds]:
        if task.exhausted():
            break
        found += yield from task.solutions(part)
    return found
