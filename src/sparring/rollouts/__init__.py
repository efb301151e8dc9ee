"""Rollouts: sampling solutions from a policy. In-process sampling with transformers lives in `local.py`."""

from sparring.rollouts.local import sample_solutions

__all__ = ["sample_solutions"]
