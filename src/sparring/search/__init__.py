"""Search: from scored steps to a chosen solution. A line here may ask engine and PRM, and knows nothing of answers.

A method is a generator over one problem (`task.py`); the driver runs many at once and answers their questions together.
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
