"""Credit rules: from an outcome and the scores of an answer's steps to one advantage per token.

Every rule answers one question about a group of answers to the same problem: how much credit does each *step* get? What a
token gets is then always the same sum (`token_advantages`):

    advantage of a token = outcome weight · (outcome − baseline) + process weight · credit of the token's step

The outcome part is the reward-to-go of a reward at the end, so all tokens share it. Baselines are means over the *other*
answers of the group: they depend on nothing that the answer in question did, so they bias no gradient. Or the baseline is
the value of the prefix before the step (`above_values`), which depends on nothing that the step itself did: it takes off
what was decided before, and is the baseline with which any gain by `progress` must be compared.

| rule | credit of step h | given |
|---|---|---|
| `progress` | A_h = Q_h − Q_{h−1}, this step's only (PAV) | values of every prefix, the empty one included |
| `step_sum` | Σ_{j≥h} min(s_j − b, 0) | correctness scores |
| `soft_min` | Σ_{j≥h} w_j (s_j − b), w = softmax(−s/T) (PURE) | correctness scores |
| `log_ratio` | Σ_{j≥h} (ℓ_j − ℓ_{j−1} − b) (PRIME) | log-odds ℓ_j of an implicit PRM, summed up to each step |

A value model that never saw some kind of mistake is pleased by it; `gated` takes a value away once a correctness source has
called a step wrong.

Contract: pure functions of numbers, numpy in and out, one array per answer; an answer without steps has an empty array and
no say in any baseline. Adding a constant to all scores of a group (for `log_ratio`: to every step's increment) changes no
credit, and another step of the same quality never raises what an answer's steps get.

Not here: where scores come from (`rl_scores.py`), which tokens belong to a step (`alignment.py`), the gradient (`rl.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sparring.errors import plural
from sparring.progress.rewards import advantages
from sparring.training.policy_gradient import group_advantages

Floats = NDArray[np.float64]
Spans = Sequence[tuple[int, int]]
"""Per step, the half-open range of an answer's tokens that belong to it."""


def outcome_advantages(outcomes: ArrayLike) -> Floats:
    """Return each outcome of a group, (answers,), minus the mean of the others' (RLOO); 0 for an answer that is alone."""
    rewards = torch.as_tensor(np.asarray(outcomes, dtype=np.float64))[None]
    found: Floats = group_advantages(rewards, torch.ones_like(rewards))[0].numpy()
    return found


def progress(values: Sequence[ArrayLike]) -> list[Floats]:
    """Return every step's own advantage under the prover (PAV eq. 2 and 5; arXiv 2410.08146).

    Never the sum over the steps that follow: that telescopes to the outcome minus Q of where the step began, in which
    nothing is left of the steps between (`progress/rewards.py`).

    Args:
        values: per answer, Q^μ of every prefix from the empty one to the whole, (steps + 1,).
    """
    return [advantages(row) for row in values]


def above_values(outcome: float, values: ArrayLike, steps: int) -> Floats:
    """Return the outcome minus the value of the prefix before each step, (steps,).

    A baseline that depends on the prefix alone leaves the expected policy gradient as it is, however wrong the values are;
    with the policy's own values it takes off all variance that comes from what was written before.

    Args:
        outcome: the reward at the end.
        values: V of the prefixes from the empty one on, at most (steps + 1,); the last one stands for those that follow.
        steps: of the answer.
    """
    row = np.asarray(values, dtype=np.float64)
    return outcome - np.pad(row[:steps], (0, max(0, steps - len(row))), mode="edge")


def gated(values: ArrayLike, correctness: ArrayLike, threshold: float | None = 0.5) -> Floats:
    """Return values that are 0 from the first step on that is called wrong.

    Args:
        values: after each step, (steps,).
        correctness: score of each step in [0, 1]; of fewer where the last ones could not be scored, which close nothing.
        threshold: a score below it calls a step wrong; None for a soft gate, which multiplies a value by the lowest score
            so far: with a PRM's probabilities, correctness × value.
    """
    row, scores = np.asarray(values, dtype=np.float64), np.asarray(correctness, dtype=np.float64)
    scores = np.pad(scores[: len(row)], (0, max(0, len(row) - len(scores))), constant_values=1.0)
    return row * np.minimum.accumulate(scores if threshold is None else scores >= threshold)


def step_sum(scores: Sequence[ArrayLike], *, clip: bool = True) -> list[Floats]:
    """Return the sum of this and all later steps' scores, each minus b, the mean score of the others' steps.

    Unclipped, steps above the mean are paid, so an answer grows by easy steps that a PRM likes: the best-known way of
    hacking a PRM. Clipped at 0 (Gao et al. 2024, arXiv 2410.15115) a step can only cost, and length never pays.

    Args:
        scores: per answer, one score per step, (steps,).
        clip: whether credit above the mean is cut off.
    """
    rows = _rows(scores)
    rewards = [row - b for row, b in zip(rows, _others_mean(rows, [_mean(row) for row in rows]), strict=True)]
    return [reward_to_go(np.minimum(row, 0.0) if clip else row) for row in rewards]


def soft_min(scores: Sequence[ArrayLike], *, temperature: float = 0.1) -> list[Floats]:
    """Return the sum to come of w_h (s_h − b): what an answer is worth is about its worst step (PURE, arXiv 2504.15275).

    The weights are a softmax of −s/T, so credit from the first step on sums to the soft minimum minus b, the mean soft
    minimum of the others, however many steps there are; after the worst step there is hardly any left. The weight of a
    step depends on later ones, so, as in PURE, this is a heuristic split of the soft minimum and not its exact gradient.

    Args:
        scores: per answer, one score per step, (steps,).
        temperature: T; towards 0 only the worst step counts, towards ∞ all alike.
    """
    rows = _rows(scores)
    weights = [min_weights(row, temperature) for row in rows]
    ends = [float(w @ row) for w, row in zip(weights, rows, strict=True)]
    means = _others_mean(rows, ends)
    return [reward_to_go(w * (row - b)) for w, row, b in zip(weights, rows, means, strict=True)]


def log_ratio(log_odds: Sequence[ArrayLike]) -> list[Floats]:
    """Return the sum to come of the log-likelihood ratios of an implicit PRM, each step's minus the others' mean (PRIME).

    Args:
        log_odds: per answer, β · log(p(answer so far) / p_reference(answer so far)) after each step, (steps,); a step's own
            reward is its increment (arXiv 2412.01981; 2502.01456 for its use in RL), and these telescope.
    """
    rows = [np.diff(row, prepend=0.0) for row in _rows(log_odds)]
    means = _others_mean(rows, [_mean(row) for row in rows])
    return [reward_to_go(row - b) for row, b in zip(rows, means, strict=True)]


def token_advantages(
    outcome: float | Floats,
    steps: ArrayLike,
    spans: Spans,
    length: int,
    *,
    outcome_weight: float,
    process_weight: float,
) -> Floats:
    """Return the advantage of every token of an answer, (length,).

    Args:
        outcome: the outcome's advantage, shared by all tokens, or one per span (`above_values`).
        steps: credit per step, (steps,); fewer than spans where the last steps could not be scored, which then get none.
        spans: per step, its tokens.
        length: tokens of the answer.
        outcome_weight: of the outcome.
        process_weight: of the steps' credit (PAV's α).

    Raises:
        ValueError: spans are not in order within the answer, or there is credit for more steps than spans.
    """
    credit = np.asarray(steps, dtype=np.float64)
    edges = [edge for span in spans for edge in span]
    if (
        len(credit) > len(spans)
        or edges != sorted(edges)
        or (edges and not 0 <= edges[0] <= edges[-1] <= length)
    ):
        raise ValueError(
            f"{plural(len(credit), 'step')} with spans {list(spans)} do not fit an answer of {plural(length, 'token')}"
        )
    result = np.zeros(length)
    if isinstance(outcome, np.ndarray):
        for value, (start, end) in zip(outcome, spans, strict=True):
            result[start:end] = outcome_weight * value
    else:
        result += outcome_weight * outcome
    for value, (start, end) in zip(credit, spans, strict=False):
        result[start:end] += process_weight * value
    return result


def with_start(values: Sequence[ArrayLike]) -> list[Floats]:
    """Put a value of the empty prefix before the values after each step, for a value model, which has no score there.

    It is the mean of the other answers' values after their first step: the value of the empty prefix is the mean of those,
    and without the answer's own no gradient is biased. An answer without such neighbours gets its own first value, so its
    first step has no advantage.
    """
    rows = _rows(values)
    firsts = [float(row[0]) if len(row) else 0.0 for row in rows]
    starts = _others_mean(rows, firsts)
    return [
        np.concatenate([[start], row]) if len(row) else row for start, row in zip(starts, rows, strict=True)
    ]


def reward_to_go(rewards: ArrayLike) -> Floats:
    """Return the sum of each reward and all that follow it, along the last axis."""
    return np.flip(np.cumsum(np.flip(np.asarray(rewards, dtype=np.float64), -1), -1), -1)


def min_weights(scores: ArrayLike, temperature: float) -> Floats:
    """Return softmax(−scores / temperature), the weights of the soft minimum; they sum to 1."""
    row = np.asarray(scores, dtype=np.float64)
    weights: Floats = np.exp((row.min(initial=np.inf) - row) / temperature)
    return weights / weights.sum() if len(row) else weights


def _rows(scores: Sequence[ArrayLike]) -> list[Floats]:
    return [np.asarray(row, dtype=np.float64) for row in scores]


def _mean(row: Floats) -> float:
    return float(row.mean()) if len(row) else 0.0


def _others_mean(rows: Sequence[Floats], numbers: Sequence[float]) -> list[float]:
    """Return the mean of the other answers' numbers, over those with steps; its own where there are no others."""
    counted = [index for index, row in enumerate(rows) if len(row)]
    total = sum(numbers[index] for index in counted)
    return [
        (total - numbers[index]) / (len(counted) - 1) if len(row) and len(counted) > 1 else numbers[index]
        for index, row in enumerate(rows)
    ]
