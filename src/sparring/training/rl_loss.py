"""The loss of reinforcement learning: from answers with advantages to a gradient on the policy.

Contract: a function of policy, answers and settings; sums over sampled tokens, so that batches add up to the whole. KL and
entropy are exact sums over the vocabulary. Not here: advantages (`rl.give_credit`, `credit.py`), the optimiser (`rl.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from sparring.training.policy_gradient import (
    categorical_entropy,
    categorical_kl,
    clipped_surrogate,
    update_size,
)
from sparring.training.rl_policy import Policy, Row
from sparring.training.rl_scores import Answer
from sparring.training.rl_settings import RlSettings


def objective(
    policy: Policy,
    answers: Sequence[Answer],
    settings: RlSettings,
    before: Mapping[Row, Sequence[float]] | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of some answers, summed over their tokens, and sums for the record.

    Prompts and padding are not among the outputs, so nothing about them can be rewarded. Equal answers are computed once
    and counted as often as they are there.

    Args:
        policy: what is trained.
        answers: with their advantages.
        settings: of the run.
        before: the policy's log-probabilities of every answer's tokens before the update; without them it has not moved.
    """
    first: dict[Row, int] = {}
    tokens = 0
    for answer in answers:
        if answer.row not in first:
            first[answer.row] = tokens
            tokens += len(answer.completion.token_ids)
    reference = policy.reference_logits(list(first))
    out = policy.outputs(list(first))
    starts = [(first[answer.row], len(answer.completion.token_ids)) for answer in answers]
    places = torch.tensor(
        [start + i for start, length in starts for i in range(length)], device=policy.device
    )

    def flat(parts: Sequence[Sequence[float]]) -> torch.Tensor:
        return torch.tensor([x for part in parts for x in part], dtype=torch.float32, device=policy.device)

    def summed(weight: float, term: Callable[..., torch.Tensor], *logits: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):  # else it is only for the record
            return term(*logits)[places].sum()

    sampler = flat([answer.completion.log_probabilities for answer in answers])
    returns = flat([answer.advantages.tolist() for answer in answers])
    advantages, value_loss = returns, None
    log_probs = out.log_probs[places]
    start_of_update = (
        log_probs.detach() if before is None else flat([before[answer.row] for answer in answers])
    )
    # Importance sampling with the sampler's part truncated: PPO's clip is for the policy's own moves, not for rounding.
    old, weight = sampler, torch.ones_like(sampler)
    if settings.sampler_cap is not None:
        old, weight = start_of_update, (start_of_update - sampler).exp().clamp(max=settings.sampler_cap)
    if out.values is not None:
        values = out.values[places]
        advantages = returns - values.detach()
        value_loss = (values - returns).square().sum()
    if settings.objective == "ppo":
        surrogate = clipped_surrogate(log_probs, old, weight * advantages, settings.clip)
    else:
        surrogate = (log_probs - old).exp() * weight * advantages
    entropy = summed(settings.entropy, categorical_entropy, out.logits)
    kl = summed(settings.kl, categorical_kl, out.logits, reference)
    loss = -(surrogate.sum() - settings.kl * kl + settings.entropy * entropy)
    every = torch.ones_like(old)
    approx_kl, clipfrac = update_size(log_probs.detach(), old, settings.clip, every)
    sampler_kl, _ = update_size(start_of_update, sampler, settings.clip, every)
    count = len(old)
    sums = {
        "tokens": float(count),
        "policy_loss": -float(surrogate.detach().sum()),
        "kl_per_token": float(kl.detach()),
        "entropy": float(entropy.detach()),
        "approx_kl": approx_kl * count,
        "clipfrac": clipfrac * count,
        "sampler_kl": sampler_kl * count,
        "advantage_size": float(advantages.abs().sum()),
    }
    if value_loss is None:
        return loss, sums
    sums |= {
        "value_loss": float(value_loss.detach()),
        "return": float(returns.sum()),
        "square_return": float(returns.square().sum()),
    }
    return loss + value_loss, sums
