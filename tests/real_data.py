"""Real data sets, which do not travel with the project: tests that need them skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("SPARRING_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def sample(name: str) -> Path:
    """Return the path of a real file or folder, or skip the test where there is none."""
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not here (SPARRING_DATA names the folder of real data sets)")
    return DATA / name
