"""Rollouts: sampling completions from a policy, through engines behind one interface (`engine.py`)."""

from sparring.rollouts.engine import (
    Completion,
    Engine,
    EngineError,
    Limits,
    Prefix,
    Usage,
    next_steps,
    seed_from,
    solutions,
)
from sparring.rollouts.local import LocalEngine, sample_solutions

__all__ = [
    "Completion",
    "Engine",
    "EngineError",
    "Limits",
    "LocalEngine",
    "Prefix",
    "Usage",
    "next_steps",
    "sample_solutions",
    "seed_from",
    "solutions",
]
