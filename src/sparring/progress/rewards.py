"""From the values of a trace's prefixes to rewards of its steps.

Contract: pure numpy. The last axis of values is the prefixes of a trace, from the empty one to the whole: (…, steps + 1);
the last axis of rewards is its steps. Probabilities of success in, differences of them out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def advantages(values: ArrayLike) -> Floats:
    """Return the progress A^μ of every step: Q^μ with the step minus Q^μ before it (PAV eq. 2).

    Summed over a whole trace this is its outcome minus the value of the empty prefix, so only the immediate advantage
    of a step tells steps apart; as a reward it must not be added up over the steps that follow.

    Args:
        values: Q^μ of every prefix, (…, steps + 1).

    Returns:
        (…, steps), in [−1, 1].
    """
    return np.diff(np.asarray(values, dtype=np.float64), axis=-1)


def effective_rewards(base: ArrayLike, prover: ArrayLike, alpha: float) -> Floats:
    """Return Q^π + α · A^μ of every step (PAV eq. 5).

    Args:
        base: Q^π of every prefix, (…, steps + 1).
        prover: Q^μ of every prefix, the same shape.
        alpha: weight of progress.
    """
    return np.asarray(base, dtype=np.float64)[..., 1:] + alpha * advantages(prover)
