"""Adversary and PRM, with a frozen reference of each, on one backbone.

With `adapter="lora"` there is one frozen backbone and a LoRA adapter per role; the reference of a player is a frozen copy
of its adapter (all zeros, hence the bare backbone, when there was no warm start). With `adapter="full"` each role has its
own weights. Either way a role is used through `acting(role)`.

Contract: only the acting role's weights get gradients; a reference never changes after `freeze_references`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from sparring.models.branches import BranchedBatch, hidden_states
from sparring.models.lora import lora_config

Player = Literal["adversary", "prm"]
Role = Literal["adversary", "prm", "adversary_reference", "prm_reference"]
PLAYERS: tuple[Player, ...] = get_args(Player)
LABELS = ("wrong", "correct")
CORRECT = LABELS.index("correct")


class Players:
    """The four roles on one backbone.

    Args:
        backbone: a causal language model; it is taken over, do not use it elsewhere.
        adapter: `lora` (frozen backbone, small adapters) or `full` (own weights per role).
        lora_rank: rank of the adapters; their scale alpha is twice the rank.
        lora_targets: names of the linear layers that get adapters, or ``all-linear``.
        autocast: makes the context of every forward pass (mixed precision).
        players: who plays; an attack on a frozen PRM needs the adversary only.
    """

    def __init__(
        self,
        backbone: Any,
        *,
        adapter: Literal["lora", "full"],
        lora_rank: int = 16,
        lora_targets: str | list[str] = "all-linear",
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        players: Sequence[Player] = PLAYERS,
    ) -> None:
        self.adapter = adapter
        self.autocast = autocast
        self.players = tuple(players)
        roles = [role for role in get_args(Role) if role.removesuffix("_reference") in players]
        self.device: torch.device = next(backbone.parameters()).device
        self._heads = {
            role: _zero_head(backbone.config.hidden_size, self.device) for role in ("prm", "prm_reference")
        }
        self._models: dict[str, Any] = {}
        if adapter == "lora":
            backbone.requires_grad_(False)
            # Every role has an adapter of the same shape, so that references can be copied over.
            config = lora_config(backbone, lora_rank, lora_targets)
            for role in roles:
                with warnings.catch_warnings():  # several adapters in one model are just what is meant
                    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                    backbone.add_adapter(copy.deepcopy(config), adapter_name=role)
            for name, parameter in backbone.named_parameters():
                if "lora_" in name:
                    parameter.data = parameter.data.float()
            self._models = dict.fromkeys(roles, backbone)
            named = dict(backbone.named_parameters())
            self._trained = {p: [v for name, v in named.items() if f".{p}." in name] for p in players}
            self._frozen = [v for name, v in named.items() if "_reference." in name]
        else:
            for role in roles:
                self._models[role] = copy.deepcopy(backbone).float().requires_grad_(role in PLAYERS)
        self.freeze_references()

    @contextmanager
    def acting(self, role: Role) -> Iterator[Any]:
        """Make the role's weights the active ones and give the causal language model that carries them."""
        model = self._models[role]
        if self.adapter == "lora":
            for module in model.modules():
                if isinstance(module, BaseTunerLayer):
                    module.set_adapter(role)
            # Switching adapters turns the others' gradients off. A reference is used between a player's forward and
            # backward pass, and the player's gradient would be lost without a word.
            for player in self.players:
                for parameter in self._trained[player]:
                    parameter.requires_grad_(True)
            for parameter in self._frozen:
                parameter.requires_grad_(False)
        yield model

    def parameters(self, player: Player) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of a player by a stable name."""
        model = self._models[player]
        if self.adapter == "lora":
            found = {name: p for name, p in model.named_parameters() if f".{player}." in name}
        else:
            found = dict(model.named_parameters())
            if (
                player == "prm"
            ):  # it has a head of its own; an untied language-model head would never get a gradient
                output = model.get_output_embeddings()
                tied = output.weight is model.get_input_embeddings().weight
                found = {name: p for name, p in found.items() if tied or p is not output.weight}
        if player == "prm":
            found |= {f"head.{name}": p for name, p in self._heads["prm"].named_parameters()}
        return found

    def freeze_references(self) -> None:
        """Make both references equal to what their players are now."""
        with torch.no_grad():
            for player in self.players:
                reference = f"{player}_reference"
                if self.adapter == "lora":
                    named = dict(self._models[player].named_parameters())
                    for name, parameter in named.items():
                        if f".{player}." in name:
                            named[name.replace(f".{player}.", f".{reference}.")].copy_(parameter)
                else:
                    self._models[reference].load_state_dict(self._models[player].state_dict())
            self._heads["prm_reference"].load_state_dict(self._heads["prm"].state_dict())
            self._heads["prm_reference"].requires_grad_(False)

    def reference_state(self) -> dict[str, torch.Tensor]:
        """Return the tensors of both references, for a checkpoint."""
        state = {f"head.{name}": p for name, p in self._heads["prm_reference"].state_dict().items()}
        for player in self.players:
            reference = f"{player}_reference"
            for name, parameter in self._models[reference].named_parameters():
                if self.adapter == "full" or f".{reference}." in name:
                    state[f"{reference}/{name}"] = parameter
        return state

    def load_reference_state(self, state: dict[str, torch.Tensor]) -> None:
        """Set both references from a checkpoint."""
        with torch.no_grad():
            for name, tensor in self.reference_state().items():
                tensor.copy_(state[name])

    @property
    def mask_dtype(self) -> torch.dtype:
        """The type that additive attention masks must have."""
        return torch.bfloat16 if self._autocasts() else next(self._any_model().parameters()).dtype

    def _any_model(self) -> Any:
        return next(iter(self._models.values()))

    def _autocasts(self) -> bool:
        with self.autocast():
            return torch.is_autocast_enabled(self.device.type)

    def hidden_states(self, model: Any, batch: BranchedBatch) -> torch.Tensor:
        """Return the last hidden states of the acting model, without its language-model head."""
        with self.autocast():
            return hidden_states(model.base_model, batch)

    def prm_log_odds(
        self,
        batch: BranchedBatch,
        places: tuple[list[int], list[int]],
        role: Literal["prm", "prm_reference"] = "prm",
    ) -> torch.Tensor:
        """Return log p(correct) − log p(wrong) at the given (rows, columns) of a batch."""
        with self.acting(role) as model:
            states = self.hidden_states(model, batch)[places]
        logits = self._heads[role](states.float())
        log_odds: torch.Tensor = logits[..., CORRECT] - logits[..., 1 - CORRECT]
        return log_odds

    def prm_state_dict(self) -> dict[str, torch.Tensor]:
        """Return the PRM's weights under the names of a native token-classification model (adapters merged in)."""
        model = self._models["prm"]
        prefix = model.base_model_prefix
        state = {
            f"{prefix}.{name}": tensor for name, tensor in _merged_state(model.base_model, "prm").items()
        }
        head = self._heads["prm"].state_dict()
        return state | {f"score.{name}": tensor.clone() for name, tensor in head.items()}

    @property
    def config(self) -> Any:
        """The backbone's configuration."""
        return self._any_model().config


def _zero_head(width: int, device: torch.device) -> nn.Linear:
    # Zeros say "half" to everything: the game starts from no opinion rather than from a random one.
    head = nn.Linear(width, len(LABELS)).to(device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _merged_state(model: nn.Module, adapter: str) -> dict[str, torch.Tensor]:
    # In float32 whatever the backbone's type: a small adapter would vanish in the rounding of a half-precision sum.
    state = {
        name.replace(".base_layer.", "."): tensor.detach().clone().float()
        for name, tensor in model.state_dict().items()
        if "lora_" not in name
    }
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, BaseTunerLayer):
                weight = state[f"{name}.weight"]
                weight += module.get_delta_weight(adapter).to(weight.dtype)
    return state
