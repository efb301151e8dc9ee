"""A part of a model that is trained: its parameters, their optimiser (Adam), one step of it, and when it has diverged.

Contract: of several processes each has a share of the gradients, and all take the step on their sum. Not here: gradients
(`aprm.py`, `supervised.py`, `rl.py`), what else a checkpoint holds (`run.py`).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sparring.errors import SparringError, install_extra, needs
from sparring.settings_shared import Trained
from sparring.training.processes import sum_gradients
from sparring.training.states import Tensors, check_tensor, damaged

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # of Adam and AdamW
_MOMENTS_8 = {"step", "state1", "state2"}  # of bitsandbytes, which keeps those of small parameters in 32 bits
_SCALES_8 = {"qmap1", "qmap2", "absmax1", "absmax2"}
_MOST_GROWTH, _LEAST_START = 100.0, 0.05


def adam(
    settings: Trained, parameters: Sequence[Any], *, weight_decay: float | None = None, **options: Any
) -> Any:
    """Return Adam, or with a weight decay AdamW, of parameters or groups of them, its moments in `optimizer_bits` bits.

    Raises:
        SettingsError: 8 bits, and bitsandbytes is not installed.
    """
    name = "Adam" if weight_decay is None else "AdamW"
    options |= {} if weight_decay is None else {"weight_decay": weight_decay}
    if settings.optimizer_bits == 32:
        return getattr(torch.optim, name)(parameters, **options)
    with needs("optimizer_bits: 8", "bitsandbytes", install_extra("bits")):
        optimizers = importlib.import_module("bitsandbytes.optim")
    return getattr(optimizers, f"{name}8bit")(parameters, **options)


class Part:
    """Parameters of a model by a stable name, the optimiser that trains them, and whether they have diverged.

    Args:
        name: in checkpoints.
        parameters: as they are at the start.
        make_optimizer: gives an optimiser of them, its groups at their full step sizes.
        most: their gradient is clipped to this norm.
        what, setting: for messages, the model in words and the name of its learning rate's setting.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, torch.nn.Parameter],
        make_optimizer: Callable[[], torch.optim.Optimizer],
        *,
        most: float,
        what: str = "",
        setting: str = "learning_rate",
    ) -> None:
        self.name, self.parameters, self.most = name, parameters, most
        self._make_optimizer = make_optimizer
        self._divergence = Divergence(what or name, parameters.values(), setting)
        self.renew()

    def renew(self) -> None:
        """Take a fresh optimiser."""
        self.optimizer = self._make_optimizer()
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def step(
        self,
        update: int,
        factor: float,
        *,
        before: Callable[[], None] | None = None,
        clipped: Callable[[str], bool] = lambda name: True,
    ) -> float:
        """Sum the gradients of all processes, clip, step, clear; return the gradient's norm before clipping.

        Args:
            update: its number, from 1, for messages.
            factor: share of the full step sizes.
            before: may change the clipped gradients.
            clipped: which parameters' gradients are clipped, and are in the norm.

        Raises:
            DivergedError: the numbers have left all bounds.
        """
        sum_gradients(self.parameters.values())
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        members = [parameter for name, parameter in self.parameters.items() if clipped(name)]
        norm = float(torch.nn.utils.clip_grad_norm_(members, self.most))
        if before is not None:
            before()
        self._divergence.step(self.optimizer, update, norm)
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def moments(self) -> dict[str, torch.Tensor]:
        """Return the optimiser's moments, by parameter and name."""
        return {
            f"{name}/{moment}": torch.as_tensor(value)
            for name, parameter in self.parameters.items()
            for moment, value in self.optimizer.state.get(parameter, {}).items()
        }

    def set_moments(self, file: Path, found: Tensors) -> None:
        """Set the optimiser's moments: of a parameter all of them, or none where it has had no gradient yet.

        Raises:
            CheckpointError: they do not fit; names the file.
        """
        by_parameter: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in found.items():
            name, _, moment = key.rpartition("/")
            by_parameter.setdefault(name, {})[moment] = tensor
        for name, moments in by_parameter.items():
            known = moments.keys() in (_MOMENTS, _MOMENTS_8, _MOMENTS_8 | _SCALES_8)
            if name not in self.parameters or not known:
                raise damaged(
                    file,
                    f"does not fit: the optimiser's tensors of {self.name} '{name}' are {sorted(moments)}",
                )
            parameter = self.parameters[name]
            for moment, tensor in moments.items():
                shape, dtype = ((), torch.float32) if moment == "step" else (parameter.shape, parameter.dtype)
                # bitsandbytes counts in whole numbers and has shapes of its own
                if moments.keys() != _MOMENTS:
                    shape, dtype = tensor.shape if moment in _SCALES_8 else shape, tensor.dtype
                check_tensor(
                    file, f"the optimiser's '{moment}' of {self.name} '{name}'", tensor, shape, dtype
                )
                place = "cpu" if moment == "step" else parameter.device
                counted = moment == "step" and not tensor.is_floating_point()
                self.optimizer.state[parameter][moment] = int(tensor) if counted else tensor.clone().to(place)


class DivergedError(SparringError):
    """Training has left the numbers: there is nothing to export."""


class Divergence:
    """Says when the training of some parameters has diverged.

    It has when a gradient or a weight is not finite, or when the root mean square of the weights is more than 100 times
    what it was at the start (or than 0.05, if that was less): fine-tuning changes it by a few per cent, training from
    nothing by a factor of about three.

    Args:
        what: the player or model, in words.
        parameters: as they are at the start.
        setting: the name of the learning rate's setting.
    """

    def __init__(
        self, what: str, parameters: Iterable[torch.nn.Parameter], setting: str = "learning_rate"
    ) -> None:
        self.what, self.setting, self._parameters = what, setting, list(parameters)
        self._count = sum(parameter.numel() for parameter in self._parameters)
        self._start = max(self._size(), _LEAST_START)

    def step(self, optimizer: torch.optim.Optimizer, update: int, norm: float) -> None:
        """Let the optimiser make its step, and look at the gradient's norm before it and at the weights after it.

        Raises:
            DivergedError: they are not finite, or the weights have grown out of all proportion.
        """
        if not math.isfinite(norm):
            raise self._error(update, f"its gradient's norm is {norm}")
        try:
            optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise self._error(update, "the step is larger than any number of its weights' type") from error
        size = self._size()
        if not math.isfinite(size):
            largest = max(float(parameter.detach().abs().max()) for parameter in self._parameters)
            raise self._error(update, f"its largest weight is {largest:.3g}")
        if size > _MOST_GROWTH * self._start:
            words = f"the root mean square of its weights is {size:.3g}, {size / self._start:.3g} times that of the start"
            raise self._error(update, words)

    def _size(self) -> float:
        with torch.no_grad():
            norms = [torch.linalg.vector_norm(p, dtype=torch.float32).cpu() for p in self._parameters]
        return float(torch.linalg.vector_norm(torch.stack(norms))) / math.sqrt(self._count)

    def _error(self, update: int, why: str) -> DivergedError:
        return DivergedError(
            f"training of the {self.what} has diverged at update {update}: {why}. Nothing was exported; start anew with a "
            f"lower {self.setting}"
        )
