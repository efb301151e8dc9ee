"""Policy-gradient arithmetic: pure functions on tensors, shared by the game and by reinforcement learning.

Contract: nothing here knows of models or steps. Every function says what its axes are; masks are float, 1 where an
entry counts.
"""

from __future__ import annotations

import torch


def clipped_surrogate(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """Return PPO's clipped surrogate per action, min(r·A, clip(r, 1 ± ε)·A) (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: of the taken actions under the current policy, any shape.
        old_log_probs: the same under the policy that took them (no gradient).
        advantages: one per action.
        clip: ε, the ratio's range is 1 ± ε.
    """
    ratio = (log_probs - old_log_probs).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


@torch.no_grad()
def update_size(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, clip: float, mask: torch.Tensor
) -> tuple[float, float]:
    """Return (approx_kl, clipfrac): the mean of r − 1 − log r, and the share of ratios outside 1 ± ε, where mask is 1."""
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    total = mask.sum().clamp(min=1)
    approx_kl = ((ratio - 1 - log_ratio) * mask).sum() / total
    clipfrac = (((ratio - 1).abs() > clip).float() * mask).sum() / total
    return float(approx_kl), float(clipfrac)


def group_advantages(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return each reward minus the mean of the *other* samples of its state (leave-one-out; unbiased).

    Args:
        rewards: (states, samples).
        weights: (states, samples), 0 where a sample has no reward: it gets advantage 0 and is in no baseline. A sample
            alone in its group has no baseline to be compared with and gets 0 as well.
    """
    counted = rewards * weights
    others = weights.sum(dim=1, keepdim=True) - weights
    baseline = (counted.sum(dim=1, keepdim=True) - counted) / others.clamp(min=1)
    return (rewards - baseline) * weights * (others > 0)


def normalised_advantages(rewards: torch.Tensor, weights: torch.Tensor, floor: float = 1e-4) -> torch.Tensor:
    """Return `group_advantages` divided by the standard deviation of their state's rewards (plus a small floor).

    So a state in which all rewards are nearly alike moves the policy as much as any other (Shao et al. 2024, eq. 3; there
    with the mean of all samples).
    """
    total = weights.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (rewards * weights).sum(dim=1, keepdim=True) / total
    deviation = ((rewards - mean).square() * weights).sum(dim=1, keepdim=True).div(total).sqrt()
    return group_advantages(rewards, weights) / (deviation + floor)


def categorical_kl(logits: torch.Tensor, reference_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p ‖ reference) per row of (..., choices) logits."""
    log_p = torch.log_softmax(logits, dim=-1)
    log_q = torch.log_softmax(reference_logits, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def categorical_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy per row of (..., choices) logits, in nats."""
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def bernoulli_kl(log_odds: torch.Tensor, reference_log_odds: torch.Tensor) -> torch.Tensor:
    """Return KL(p ‖ reference) of binary choices given by log-odds, elementwise."""
    p = torch.sigmoid(log_odds)
    accept = torch.nn.functional.logsigmoid(log_odds) - torch.nn.functional.logsigmoid(reference_log_odds)
    reject = torch.nn.functional.logsigmoid(-log_odds) - torch.nn.functional.logsigmoid(-reference_log_odds)
    return p * accept + (1 - p) * reject


def bernoulli_entropy(log_odds: torch.Tensor) -> torch.Tensor:
    """Return the entropy of binary choices given by log-odds, elementwise, in nats."""
    # softplus(x) − x·σ(x), stable for any x.
    return torch.nn.functional.softplus(log_odds) - log_odds * torch.sigmoid(log_odds)
