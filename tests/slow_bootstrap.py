"""The bootstrap of any statistic, one resample at a time: what the fast ones are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sparring.runs import Metric
from sparring.statistics import Floats, Integers, bootstrap_weighted


def bootstrap_statistic(statistic: Callable[[Integers], float], size: int, **options: Any) -> Metric:
    """Return a statistic of case indices, repeated where drawn repeatedly; NaN where undefined."""

    def by_rows(weights: Floats) -> Floats:
        cases = np.arange(size, dtype=np.int64)
        return np.array([statistic(np.repeat(cases, row.astype(np.int64))) for row in weights])

    return bootstrap_weighted(by_rows, size, **options)
