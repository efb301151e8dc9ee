"""Sparring: train, check and use process reward models.

The names below are imported when they are first used, so that `import sparring` needs neither torch nor time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.models.scorer import load_scorer
    from sparring.notebook import frame, load, read
    from sparring.oracles.equality import answer_groups, compare_answers
    from sparring.oracles.panel import Panel
    from sparring.traces.answers import stated_answer
    from sparring.traces.records import Problem, Trace
    from sparring.training.aprm import train_aprm
    from sparring.training.aprm_settings import AprmSettings

__version__ = "0.1.0"

__all__ = [
    "AprmSettings",
    "Panel",
    "Problem",
    "Trace",
    "__version__",
    "answer_groups",
    "compare_answers",
    "frame",
    "load",
    "load_scorer",
    "read",
    "stated_answer",
    "train_aprm",
]

_HOMES = {
    "AprmSettings": "sparring.training.aprm_settings",
    "Panel": "sparring.oracles.panel",
    "Problem": "sparring.traces.records",
    "Trace": "sparring.traces.records",
    "answer_groups": "sparring.oracles.equality",
    "compare_answers": "sparring.oracles.equality",
    "frame": "sparring.notebook",
    "load": "sparring.notebook",
    "load_scorer": "sparring.models.scorer",
    "read": "sparring.notebook",
    "stated_answer": "sparring.traces.answers",
    "train_aprm": "sparring.training.aprm",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return list(__all__)  # not what this file itself needs
