"""A policy in training: what samples, what is trained, and the frozen reference that it is kept near to.

With `adapter="lora"` the reference is the same model with the adapter switched off; with `full` it is a copy. Forward
passes give numbers for sampled tokens only: a row is a prompt and an answer, and nothing is given out, and nothing can be
rewarded, at the prompt's places or at padding.

Contract: rows are padded to the right, where a causal model never looks. Log-probabilities are those of the distribution
that is sampled from, at its temperature. Not here: losses and credit (`rl.py`, `credit.py`), sampling
(`rollouts/local.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import get_peft_model
from torch import nn

from sparring.files import atomic_directory
from sparring.models.batching import pad_right
from sparring.models.checkpoint import write_model
from sparring.models.loading import quiet
from sparring.models.lora import lora_config

Row = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids of a prompt and of the answer that was sampled after it."""


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


class Policy:
    """A causal language model in training, with its reference.

    Args:
        model: it is taken over; do not use it elsewhere.
        pad_id: any valid id.
        adapter: `lora` or `full`.
        lora_rank: rank of the adapter; its scale alpha is twice the rank.
        lora_targets: names of the linear layers that get adapters, or ``all-linear``.
        value_head: whether there is a value function: a linear head on the last hidden states, which it does not train.
        temperature: of the distribution that is sampled from.
        autocast: makes the context of every forward pass (mixed precision).

    Attributes:
        version: counts the optimiser's steps; whoever moves the weights raises it.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        adapter: Literal["lora", "full"],
        lora_rank: int = 16,
        lora_targets: str | list[str] = "all-linear",
        value_head: bool = False,
        temperature: float = 1.0,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.device: torch.device = next(model.parameters()).device
        self.pad_id, self.temperature, self.autocast = pad_id, temperature, autocast
        self.version = 0
        self._adapted: Any = None
        if adapter == "lora":
            # trains the adapter only
            self._adapted = get_peft_model(model, lora_config(model, lora_rank, lora_targets))
            model = self._adapted.get_base_model()
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()
            self._reference: Any = model
        else:
            self._reference = copy.deepcopy(model).requires_grad_(False)
            model.float().requires_grad_(True)
        self.model: Any = model.eval()  # no dropout: importance ratios would measure it
        self.value_head: nn.Linear | None = None
        if value_head:
            self.value_head = nn.Linear(model.config.hidden_size, 1).to(self.device)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by a stable name; those of the value function begin with ``value.``."""
        found = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        head = {} if self.value_head is None else dict(self.value_head.named_parameters())
        return found | {f"value.{name}": parameter for name, parameter in head.items()}

    def outputs(self, rows: Sequence[Row]) -> TokenOutputs:
        """Return logits, log-probabilities and values at the rows' sampled tokens, with gradients."""
        kept: list[torch.Tensor] = []
        hook = self.model.get_output_embeddings().register_forward_pre_hook(
            lambda module, inputs: kept.append(inputs[0].detach())  # hidden states of the kept places
        )
        with hook, self.autocast():
            logits, places, chosen = self._logits(self.model, rows)
        log_probs = torch.log_softmax(logits, dim=-1).gather(-1, chosen[:, None])[:, 0]
        values = None if self.value_head is None else self.value_head(kept[0][places].float())[:, 0]
        return TokenOutputs(logits, log_probs, values)

    @torch.no_grad()
    def reference_logits(self, rows: Sequence[Row]) -> torch.Tensor:
        """Return the reference's logits at the rows' sampled tokens, (tokens, vocabulary)."""
        off = self._adapted.disable_adapter() if self._adapted is not None else nullcontext()
        with off, self.autocast():
            return self._logits(self._reference, rows)[0]

    def _logits(
        self, model: Any, rows: Sequence[Row]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return logits at the sampled tokens, the (rows, kept columns) that they were read at, and the tokens."""
        ids = pad_right([[*prompt, *answer] for prompt, answer in rows], self.pad_id, self.device)
        # Logits are the largest tensors of all, and those within every prompt are of no use.
        start = min(len(prompt) for prompt, _ in rows) - 1
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - start).logits
        # A token is predicted at the place before it.
        pairs = [
            (row, len(prompt) - 1 + place)
            for row, (prompt, answer) in enumerate(rows)
            for place in range(len(answer))
        ]
        index = torch.tensor(pairs, device=self.device).reshape(-1, 2)
        row_places, columns = index[:, 0], index[:, 1]
        read = logits[row_places, columns - start].float() / self.temperature
        return read, (row_places, columns - start), ids[row_places, columns + 1]

    @contextmanager
    def sampling(self) -> Iterator[Any]:
        """Give the context in which the model samples: the same numeric type as in training."""
        with torch.no_grad(), self.autocast():
            yield self.model

    def save(self, folder: Path, tokenizer: Any, card: str) -> None:
        """Write the policy as an ordinary Hugging Face folder (adapter merged in), atomically."""
        whole = (
            self.model if self._adapted is None else copy.deepcopy(self._adapted).float().merge_and_unload()
        )
        with atomic_directory(folder) as temporary, quiet():
            write_model(temporary, whole, tokenizer, card)
