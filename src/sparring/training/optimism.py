"""Optimistic gradients (OGDA): step along 2·g_t − g_{t−1} instead of g_t.

In a game both players' gradients turn around the equilibrium; plain simultaneous ascent cycles or diverges, the
extrapolated gradient anticipates the opponent's next move and converges (linearly on bilinear and strongly monotone
games for steps of order 1/L). With g_{−1} := g_0 the first step is a plain one. (APRM: "PPO augmented with OGDA";
how the paper combines it with Adam is not public. Here the extrapolated gradient is what the optimiser is fed.)

Contract: works on `.grad` between backward and the optimiser's step; its memory is part of every checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch


class OptimisticGradient:
    """Replaces the gradients of one player by their extrapolation.

    Args:
        parameters: the player's parameters by a stable name.
        strength: 1 for OGDA, 0 for the plain gradient: g_t + strength · (g_t − g_{t−1}).
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], strength: float = 1.0) -> None:
        self.parameters = dict(parameters)
        self.strength = strength
        self._previous: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def extrapolate(self) -> None:
        """Replace every `.grad` g_t by g_t + strength · (g_t − g_{t−1}) and remember g_t."""
        if self.strength == 0:
            return
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            current = parameter.grad.clone()
            previous = self._previous.get(name, current)
            parameter.grad.add_(current - previous, alpha=self.strength)
            self._previous[name] = current

    def state(self) -> dict[str, torch.Tensor]:
        """Return the previous gradients by name."""
        return dict(self._previous)

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the previous gradients."""
        self._previous = {name: tensor.clone() for name, tensor in state.items()}
