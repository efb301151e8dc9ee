"""Sparring: train, check and use process reward models.

The names below are imported when they are first used, so that `import sparring` needs neither torch nor time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.models.scorer import load_scorer
    from sparring.traces.records import Problem, Trace
    from sparring.training.aprm import train_aprm
    from sparring.training.aprm_settings import AprmSettings

__version__ = "0.1.0"

__all__ = ["AprmSettings", "Problem", "Trace", "__version__", "load_scorer", "train_aprm"]

_HOMES = {
    "AprmSettings": "sparring.training.aprm_settings",
    "Problem": "sparring.traces.records",
    "Trace": "sparring.traces.records",
    "load_scorer": "sparring.models.scorer",
    "train_aprm": "sparring.training.aprm",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
