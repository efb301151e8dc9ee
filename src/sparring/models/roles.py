"""LoRA or full fine-tuning of one backbone in several roles, each with a frozen reference where it has one.

`Roles` is the wrapper; what is read off the backbone in a role stands below it:

- `Players`: an adversary and a PRM, with what they were at the start of the game as references;
- `StepModel`: a step scorer of supervised training, without a reference;
- `Policy`: a policy of reinforcement learning; its reference is what it was when it was loaded.

With `adapter="lora"` there is one frozen backbone and an adapter per role; a reference is an adapter as well, or the
backbone without one. With `adapter="full"` every role and every reference has its own weights.

Contract: only the weights of `parameters(role)` get gradients, and they are float32 whatever the backbone's type; a
reference changes in `freeze_references` only. Rows are padded to the right, where a causal model never looks. There is no
dropout. Not here: objectives and optimisers (`training/`), how folders are loaded (`loading.py`) and written
(`checkpoint.py`).
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from sparring.errors import SettingsError
from sparring.files import atomic_directory
from sparring.models.batching import pad_right
from sparring.models.branches import BranchedBatch, BranchedRow, collate, hidden_states
from sparring.models.checkpoint import CORRECT, LABELS, token_classifier, write_folder, write_model
from sparring.models.fused_lora import forget, fuse
from sparring.models.loading import checkpoint_activations, quiet
from sparring.models.prefix_cache import cacheable
from sparring.models.scorer import correct_log_odds
from sparring.models.sharding import full, is_sharded, whole
from sparring.models.sidecar import Sidecar

Autocast = Callable[[], AbstractContextManager[Any]]
"""Makes the context of a forward pass (mixed precision)."""

Player = Literal["adversary", "prm"]
Role = Literal["adversary", "prm", "adversary_reference", "prm_reference"]
PLAYERS: tuple[Player, ...] = get_args(Player)

Row = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids of a prompt and of the answer that was sampled after it."""

_HEADS = ("score", "classifier", "lm_head", "embed_out")
_LINEAR = (nn.Linear, Conv1D)


class Roles:
    """A backbone that is trained in one or several roles.

    Args:
        backbone: a model of transformers; it is taken over, do not use it elsewhere.
        roles: names of the trained roles; the reference of a role is called ``<role>_reference``.
        references: `none`; `start`: what the backbone is when given; or `kept`: what the roles were at the last
            `freeze_references`.
        adapter: `lora` or `full`.
        lora_rank: rank of the adapters; their scale alpha is twice the rank.
        lora_targets: names of the linear layers that get adapters, or ``all-linear``.
        autocast: makes the context of every forward pass.
        gradient_checkpointing: compute activations again in the backward pass.
        heads: names of output heads, which get no adapter.
        new_heads: those of them that are trained whole beside the adapters.
    """

    def __init__(
        self,
        backbone: Any,
        roles: Sequence[str],
        *,
        references: Literal["none", "start", "kept"],
        adapter: Literal["lora", "full"],
        lora_rank: int = 16,
        lora_targets: str | list[str] = "all-linear",
        autocast: Autocast = nullcontext,
        gradient_checkpointing: bool = False,
        heads: Sequence[str] = (),
        new_heads: Sequence[str] = (),
    ) -> None:
        self.roles, self.adapter, self.autocast = tuple(roles), adapter, autocast
        self.device: torch.device = next(backbone.parameters()).device
        bare = references == "none" or (adapter == "lora" and references == "start")
        self.references = {} if bare else {role: f"{role}_reference" for role in roles}
        names = [*roles, *self.references.values()]
        self._models: dict[str, Any] = {}
        self._adapters: dict[str, str] = {}
        self._player = self.roles[0]
        if adapter == "lora":
            backbone.requires_grad_(False)
            self._adapters = {name: name if len(names) > 1 else "default" for name in names}
            # Every role has an adapter of the same shape, so that references can be copied over.
            config = lora_config(backbone, lora_rank, lora_targets, heads)
            for name in self._adapters.values():
                with warnings.catch_warnings():  # several adapters in one model are just what is meant
                    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                    add_adapter(backbone, config, name)
            self._new = [n for n, _ in backbone.named_parameters() if n.split(".")[0] in new_heads]
            for name, parameter in backbone.named_parameters():
                if "lora_" in name or name in self._new:
                    parameter.data = parameter.data.float()
                    parameter.requires_grad_(True)
            self._models = dict.fromkeys(names, backbone)
            self._layers = [module for module in backbone.modules() if isinstance(module, BaseTunerLayer)]
            if not is_sharded(backbone):  # else a layer's weights come and go with its own forward pass
                fuse(self._layers)
            self._trained = [p for role in roles for p in self._weights(role).values()]
            self._frozen = [p for name in self.references.values() for p in self._weights(name).values()]
        else:
            self._models = {n: backbone if n == names[0] else copy.deepcopy(backbone) for n in names}
            for name, model in self._models.items():
                model.float().requires_grad_(name in roles)
        if gradient_checkpointing:
            for role in self.roles if adapter == "full" else self.roles[:1]:
                checkpoint_activations(self._models[role])

    @contextmanager
    def acting(self, role: str) -> Iterator[Any]:
        """Make the role's weights the active ones and give the model that carries them.

        A role with LoRA that has no adapter of its own (a reference that is the start) is the backbone without adapters.
        After a reference the trained role that acted last is active again: a backward pass may compute its activations
        anew.
        """
        if self.adapter == "full":
            yield self._models[role]
            return
        backbone = self._models[self.roles[0]]
        for layer in self._layers:
            if role in self._adapters:
                layer.set_adapter(self._adapters[role])
            else:
                layer.enable_adapters(enabled=False)
        # Switching adapters turns the others' gradients off. A reference is used between a player's forward and
        # backward pass, and the player's gradient would be lost without a word.
        self._restore_gradients()
        if role in self.roles:
            self._player = role
        try:
            yield backbone
        finally:
            forget(self._layers)
            if role not in self.roles:
                for layer in self._layers:
                    if role not in self._adapters:
                        layer.enable_adapters(enabled=True)
                    else:
                        layer.set_adapter(self._adapters[self._player])
                self._restore_gradients()

    def _restore_gradients(self) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(True)
        for parameter in self._frozen:
            parameter.requires_grad_(False)

    def parameters(self, role: str = "") -> dict[str, nn.Parameter]:
        """Return the trainable parameters of a role (without a name, of the first) by a stable name."""
        return self._weights(role or self.roles[0])

    def _weights(self, role: str) -> dict[str, nn.Parameter]:
        """Return what is a role's own."""
        named = dict(self._models[role].named_parameters())
        if self.adapter == "full":
            return named
        part = f".{self._adapters[role]}."
        return {name: p for name, p in named.items() if part in name or name in self._new}

    @property
    def sharded(self) -> bool:
        """Whether the backbone is shared among processes, which must then compute in step."""
        return self.adapter == "lora" and is_sharded(self._models[self.roles[0]])

    def whole(self) -> AbstractContextManager[None]:
        """Give the context in which this process need not compute in step with others (`sharding.whole`)."""
        return whole(self._models[self.roles[0]]) if self.sharded else nullcontext()

    def idle(self, passes: int, role: str = "", *, forward: int = 1) -> None:
        """Compute nothing, in step with processes that have more rows, so many times; with gradients where they are on.

        `forward` passes are made each time, those of references counted; `role` acts in them.
        """
        ids = torch.zeros((1, 1), dtype=torch.long, device=self.device)
        for _ in range(passes):
            with self.acting(role or self.roles[0]) as model, self.autocast():
                with torch.no_grad():
                    for _ in range(forward - 1):
                        model.base_model(input_ids=ids, use_cache=False)
                states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            if torch.is_grad_enabled():
                (states.float() * 0).sum().backward()

    def save_adapter(self, folder: Path, role: str = "") -> None:
        """Write the adapter of a role (without a name, of the first) alone, in peft's format, atomically."""
        role = role or self.roles[0]
        model, adapter = self._models[role], self._adapters[role]
        state = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
        tensors = {f"base_model.model.{name}": full(one.detach()).cpu() for name, one in state.items()}
        with atomic_directory(folder) as temporary:
            model.peft_config[adapter].save_pretrained(temporary)
            save_file(tensors, temporary / "adapter_model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def freeze_references(self) -> None:
        """Make every reference equal to what its role is now."""
        for role, reference in self.references.items():
            to = self._weights(reference)
            for name, parameter in self._weights(role).items():
                if self.adapter == "lora":
                    name = name.replace(f".{self._adapters[role]}.", f".{self._adapters[reference]}.")
                to[name].copy_(parameter)

    def reference_state(self) -> dict[str, torch.Tensor]:
        """Return the references' tensors, which belong in a checkpoint where they are `kept`."""
        return {
            f"{reference}/{name}": tensor
            for reference in self.references.values()
            for name, tensor in self._weights(reference).items()
        }

    @torch.no_grad()
    def merged_state(self, role: str, part: str = "") -> dict[str, torch.Tensor]:
        """Return a role's weights under the names of the model without adapters, these merged in.

        On the CPU and in float32 whatever the backbone's type: a small adapter would vanish in the rounding of a
        half-precision sum. `part` is what names must begin with. Of a shared backbone all processes must ask, and the first
        alone gets the weights: the others could not hold them too.
        """
        model = self._models[role]
        kept = not self.sharded or torch.distributed.get_rank() == 0
        state = {}
        for name, tensor in model.state_dict().items():
            if "lora_" not in name and name.startswith(part):
                found = full(tensor.detach())
                if kept:
                    state[name.replace(".base_layer.", ".")] = found.to("cpu", torch.float32, copy=True)
        for name, module in model.named_modules() if self.adapter == "lora" else ():
            if isinstance(module, BaseTunerLayer) and f"{name}.weight" in state:
                state[f"{name}.weight"] += module.get_delta_weight(self._adapters[role]).float().cpu()
        return state

    @property
    def config(self) -> Any:
        """The backbone's configuration."""
        return self._models[self.roles[0]].config

    @property
    def mask_dtype(self) -> torch.dtype:
        """The type that additive attention masks must have."""
        with self.autocast():
            if torch.is_autocast_enabled(self.device.type):
                return torch.bfloat16
        dtype: torch.dtype = next(self._models[self.roles[0]].parameters()).dtype
        return dtype


class Players(Roles):
    """Adversary and PRM on one backbone, a causal language model; the PRM reads its hidden states by a head of its own.

    Args:
        backbone: taken over.
        players: who plays; an attack on a frozen PRM needs the adversary only.
        options: as `Roles` takes them.
    """

    def __init__(self, backbone: Any, *, players: Sequence[Player] = PLAYERS, **options: Any) -> None:
        width, device = backbone.config.hidden_size, next(backbone.parameters()).device
        # Zeros say "half" to everything: the game starts from no opinion rather than from a random one.
        self._heads = {role: _zero_head(width, len(LABELS), device) for role in ("prm", "prm_reference")}
        self._heads["prm_reference"].requires_grad_(False)
        super().__init__(backbone, players, references="kept", **options)
        self.freeze_references()

    def parameters(self, role: str = "") -> dict[str, nn.Parameter]:
        """Return the trainable parameters of a player by a stable name; the PRM's head begins with ``head.``."""
        found = super().parameters(role)
        if role != "prm":
            return found
        if self.adapter == "full":  # an untied language-model head would never get a gradient
            model = self._models[role]
            output = model.get_output_embeddings().weight
            tied = output is model.get_input_embeddings().weight
            found = {name: p for name, p in found.items() if tied or p is not output}
        return found | {f"head.{name}": p for name, p in self._heads["prm"].named_parameters()}

    def freeze_references(self) -> None:
        """Make both references equal to what their players are now."""
        super().freeze_references()
        self._heads["prm_reference"].load_state_dict(self._heads["prm"].state_dict())

    def reference_state(self) -> dict[str, torch.Tensor]:
        """Return the tensors of both references, for a checkpoint."""
        head = self._heads["prm_reference"].state_dict()
        return {f"head.{name}": tensor for name, tensor in head.items()} | super().reference_state()

    def hidden_states(self, model: Any, batch: BranchedBatch) -> torch.Tensor:
        """Return the last hidden states of the acting model, (rows, columns, width), without its language-model head."""
        with self.autocast():
            return hidden_states(model.base_model, batch)

    def prm_log_odds(
        self,
        batch: BranchedBatch,
        places: tuple[list[int], list[int]],
        role: Literal["prm", "prm_reference"] = "prm",
    ) -> torch.Tensor:
        """Return log p(correct) − log p(wrong) at the given (rows, columns) of a batch, (places,)."""
        with self.acting(role) as model:
            states = self.hidden_states(model, batch)[places]
        logits = self._heads[role](states.float())
        log_odds: torch.Tensor = logits[..., CORRECT] - logits[..., 1 - CORRECT]
        return log_odds

    def prm_state_dict(self) -> dict[str, torch.Tensor]:
        """Return the PRM's weights under the names of a native token-classification model."""
        head = self._heads["prm"].state_dict()
        state = self.merged_state("prm", f"{self._models['prm'].base_model_prefix}.")
        return state | {f"score.{name}": tensor.detach().cpu().clone() for name, tensor in head.items()}


class StepModel(Roles):
    """A step scorer in supervised training: a new token-classification head, or two tokens of the language model.

    Args:
        model: from `load_new_token_classifier` or `load_label_token_model`; taken over.
        pad_id: any valid token id.
        label_tokens: ids of the tokens that say correct and wrong; None for a token-classification head.
        options: as `Roles` takes them.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        label_tokens: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        self.model, self.pad_id, self.label_tokens = model, pad_id, label_tokens
        _remove_dropout(model)
        options |= {"heads": _HEADS, "new_heads": _HEADS if label_tokens is None else ()}
        super().__init__(model, ["model"], references="none", **options)

    def log_odds(self, rows: Sequence[Sequence[int]], columns: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the log-odds of "correct" at the columns of every row, row by row: shape (places,).

        Args:
            rows: token ids.
            columns: per row, the positions to read.
        """
        ids = pad_right(rows, self.pad_id, self.device)
        with self.autocast():
            logits = self.model(input_ids=ids, use_cache=False).logits
        row_index = [row for row, places in enumerate(columns) for _ in places]
        column_index = [column for places in columns for column in places]
        read = logits[row_index, column_index].float()
        return correct_log_odds(read, CORRECT if self.label_tokens is None else 0)

    def export(
        self, folder: Path, tokenizer: Any, sidecar: Sidecar, card: str, *, write: bool = True
    ) -> None:
        """Write the model as the native folder that `load_scorer` reads; of several processes all ask and one writes."""
        state = self.merged_state("model") if write or self.sharded else {}
        if not write:
            return
        make = token_classifier if self.label_tokens is None else _causal_model
        model = make(self.config, state)
        write_folder(folder, model.eval(), tokenizer, sidecar, card)


@dataclass(frozen=True, slots=True)
class TokenOutputs:
    """At every sampled token of a batch, row after row without padding.

    Attributes:
        logits: (tokens, vocabulary), divided by the temperature.
        log_probs: of the sampled tokens, (tokens,).
        values: of the value function before each token, (tokens,); None without one.
    """

    logits: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor | None


class Policy(Roles):
    """A causal language model in reinforcement learning: what samples, what is trained, and the start as reference.

    Forward passes give numbers for sampled tokens only: nothing can be rewarded at a prompt's places or at padding.
    Log-probabilities are those of the distribution that is sampled from, at its temperature.

    Args:
        model: taken over.
        pad_id: any valid id.
        value_head: whether there is a value function: a linear head on the last hidden states, which it does not train.
        temperature: of the distribution that is sampled from.
        reference: whether the start is kept as a reference.
        branches: most answers after one another with the same prompt that share a row, which reads the prompt once.
        options: as `Roles` takes them.

    Raises:
        SettingsError: answers shall share rows, and the model's attention or positions do not allow it.

    Attributes:
        version: counts the optimiser's steps; whoever moves the weights raises it.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        value_head: bool = False,
        temperature: float = 1.0,
        reference: bool = True,
        branches: int = 1,
        **options: Any,
    ) -> None:
        # In evaluation mode: importance ratios would measure dropout.
        super().__init__(model.eval(), ["policy"], references="start" if reference else "none", **options)
        self.model: Any = self._models["policy"]
        self.branches = branches
        if branches > 1 and not cacheable(self.model):
            raise SettingsError(
                "answers can share a row (answers_per_row) only in models with rotary positions, SDPA attention and no "
                "windows; set it to 1"
            )
        self.pad_id, self.temperature, self.version = pad_id, temperature, 0
        width = self.config.hidden_size
        self.value_head = _zero_head(width, 1, self.device) if value_head else None

    def parameters(self, role: str = "") -> dict[str, nn.Parameter]:
        """Return the trainable parameters by a stable name; those of the value function begin with ``value.``."""
        head = {} if self.value_head is None else dict(self.value_head.named_parameters())
        return super().parameters(role) | {f"value.{name}": p for name, p in head.items()}

    def outputs(self, rows: Sequence[Row]) -> TokenOutputs:
        """Return logits, log-probabilities and values at the rows' sampled tokens, with gradients."""
        kept: list[torch.Tensor] = []
        hook = self.model.get_output_embeddings().register_forward_pre_hook(
            lambda module, inputs: kept.append(inputs[0].detach())  # hidden states of the kept places
        )
        with hook, self.autocast():
            logits, places, chosen = self._logits(self.model, rows)
        if self.adapter == "lora":
            forget(self._layers)
        log_probs = torch.log_softmax(logits, dim=-1).gather(-1, chosen[:, None])[:, 0]
        values = None if self.value_head is None else self.value_head(kept[0][places].float())[:, 0]
        return TokenOutputs(logits, log_probs, values)

    @torch.no_grad()
    def reference_logits(self, rows: Sequence[Row]) -> torch.Tensor:
        """Return the reference's logits at the rows' sampled tokens, (tokens, vocabulary)."""
        with self.acting("policy_reference") as model, self.autocast():
            return self._logits(model, rows)[0]

    def in_rows(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Return the answers that share a row: those after one another with the same prompt, `branches` at most."""
        return [
            list(group[start : start + self.branches])
            for _, members in groupby(rows, key=lambda row: row[0])
            for group in [list(members)]
            for start in range(0, len(group), self.branches)
        ]

    def _logits(
        self, model: Any, rows: Sequence[Row]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return logits at the sampled tokens, the (rows, kept columns) that they were read at, and the tokens."""
        packed = [BranchedRow(group[0][0], [ids for _, ids in group]) for group in self.in_rows(rows)]
        # Logits are the largest tensors of all, and those within every prompt are of no use.
        start = min(len(row.prefix) for row in packed) - 1
        inputs: dict[str, Any] = {}
        if any(len(row.branches) > 1 for row in packed):
            batch = collate(packed, self.pad_id, self.device, self.mask_dtype)
            ids, inputs = batch.ids, {"position_ids": batch.positions, "attention_mask": batch.mask}
        else:
            ids = pad_right([[*prompt, *answer] for prompt, answer in rows], self.pad_id, self.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - start, **inputs).logits
        places = [(number, column) for number, row in enumerate(packed) for column in row.predicted_at()]
        written = [token for row in packed for token in row.branch_ids()]
        index = torch.tensor(places, device=self.device).reshape(-1, 2)
        row_places, columns = index[:, 0], index[:, 1]
        read = logits[row_places, columns - start].float() / self.temperature
        return read, (row_places, columns - start), torch.tensor(written, device=self.device)

    @contextmanager
    def sampling(self) -> Iterator[Any]:
        """Give the context in which the model samples: the same numeric type as in training (a shared one `whole`)."""
        with torch.no_grad(), self.autocast():
            yield self.model

    def save(self, folder: Path, tokenizer: Any, card: str, *, write: bool = True) -> None:
        """Write the policy as an ordinary Hugging Face folder (adapter merged in), atomically.

        Of several processes all ask and one writes.
        """
        state = self.merged_state("policy") if self.adapter == "lora" and (write or self.sharded) else {}
        if not write:
            return
        merged = self.model
        if state:
            merged = _causal_model(self.config, state)
            merged.generation_config = self.model.generation_config
        with atomic_directory(folder) as temporary, quiet():
            write_model(temporary, merged, tokenizer, card)


def _zero_head(width: int, outputs: int, device: torch.device) -> nn.Linear:
    head = nn.Linear(width, outputs).to(device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _causal_model(config: Any, state: Mapping[str, torch.Tensor]) -> Any:
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(state)
    return model


def _remove_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


# --- LoRA ------------------------------------------------------------------------------------------------------------


def add_adapter(model: Any, config: LoraConfig, name: str = "default") -> None:
    """Give a model an adapter under a name.

    By peft alone: transformers' own way refuses versions of peft that it has not been tried with, and 5.24 one that is not
    out yet.
    """
    config = copy.deepcopy(config)
    config.base_model_name_or_path = model.name_or_path
    inject_adapter_in_model(config, model, name)


def lora_config(model: Any, rank: int, targets: str | list[str], exclude: Sequence[str] = ()) -> LoraConfig:
    """Return peft's configuration of adapters for a model, checked so that no run trains less than was asked for.

    Args:
        model: a model of transformers.
        rank: of the adapters.
        targets: last parts of names of linear layers, a regular expression that whole names match, or ``all-linear``.
        exclude: last parts of names that get no adapter whatever the targets say.

    Raises:
        SettingsError: a target names no layer, or one that is not linear or is the input embedding under another name.
    """
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    if exclude:
        config.exclude_modules = set(exclude)
    if targets == "all-linear":
        return config
    modules = {
        name: module
        for name, module in model.named_modules()
        if name and not any(_ends(part, name) for part in exclude)
    }
    layers = {name.rpartition(".")[2] for name, module in modules.items() if isinstance(module, _LINEAR)}
    known = f"(linear layers here: {', '.join(sorted(layers))})"
    as_a_whole = isinstance(targets, str)
    matches: Callable[[str, str], Any] = re.fullmatch if as_a_whole else _ends
    for target in [targets] if isinstance(targets, str) else targets or [""]:
        try:
            found = [name for name in modules if matches(target, name)]
        except re.error as error:
            raise SettingsError(f"lora_targets: {target!r} is not a regular expression: {error}") from None
        if not found:
            form = " as a whole; a list such as [q_proj] takes last parts of names" if as_a_whole else ""
            raise SettingsError(f"lora_targets: {target!r} matches no layer{form} {known}")
        for name in found:
            module = modules[name]
            if not isinstance(module, _LINEAR):
                raise SettingsError(
                    f"lora_targets: {target!r} matches '{name}', of class {type(module).__name__}; adapters go on linear "
                    f"layers {known}"
                )
            if module.weight is model.get_input_embeddings().weight:
                raise SettingsError(
                    f"lora_targets: '{name}' shares its weights with the input embedding, which an adapter would change too"
                )
    return config


def _ends(part: str, name: str) -> bool:
    return name == part or name.endswith(f".{part}")
