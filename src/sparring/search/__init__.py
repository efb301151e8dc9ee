"""Search: from scored steps to a chosen solution."""

from sparring.search.aggregation import AGGREGATIONS
from sparring.search.selection import best_of_n, majority

__all__ = ["AGGREGATIONS", "best_of_n", "majority"]
