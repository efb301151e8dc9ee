"""Search: from scored steps to a chosen solution.

task.py       a problem being searched: its states, and the questions that methods ask
independent, beam, dvts, lookahead, puct, particles: one method each
driver.py     `run_search`: many problems in flight, resumable
scoring.py    every prefix scored once;  budget.py  tokens and FLOPs
aggregation.py, selection.py  choosing among whole solutions
"""

from sparring.search.aggregation import AGGREGATIONS
from sparring.search.budget import Spent
from sparring.search.driver import METHODS, Candidate, Found, run_search
from sparring.search.selection import best_at, pass_at, random_choice, vote_at
from sparring.search.settings import MethodSettings

__all__ = [
    "AGGREGATIONS",
    "METHODS",
    "Candidate",
    "Found",
    "MethodSettings",
    "Spent",
    "best_at",
    "pass_at",
    "random_choice",
    "run_search",
    "vote_at",
]
