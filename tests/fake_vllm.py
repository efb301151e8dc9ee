"""A stand-in for vLLM, in process and as a server, that computes with transformers.

Names, defaults and refusals are those of vLLM's source (docs/engines.md says which); what is not used is left out. Like
vLLM it tells adapters apart by name: one that is loaded again under its name answers from the old weights.
"""

from __future__ import annotations

import copy
import json
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from fake_scorers import FakeHttp
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.sampling import sample_seeded

ENGINE_ARGS = {  # of vllm.EngineArgs, beside those that LLM names itself
    "max_model_len", "enable_prefix_caching", "logprobs_mode", "enable_lora", "max_loras", "max_lora_rank", "max_num_seqs",
}  # fmt: skip


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str
    base_model_name: str | None = None
    load_inplace: bool = False


@dataclass
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Any]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class LLM:
    """As `vllm.LLM`, for causal language models."""

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        enforce_eager: bool = False,
        **kwargs: Any,
    ) -> None:
        if unknown := kwargs.keys() - ENGINE_ARGS:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{min(unknown)}'")
        if not 0 < gpu_memory_utilization <= 1:
            raise ValueError("GPU memory utilization must be less than 1.0")
        self.folder, self.options = model, kwargs
        self.tokenizer = load_tokenizer(model)
        self.base = load_causal_model(model, device=torch.device("cpu"), dtype=torch.float32)
        self.adapters: dict[int, Any] = {}
        self.by_name: dict[str, Any] = {}
        self.asked: list[tuple[dict[str, Any], SamplingParams]] = []
        longest = kwargs.get("max_model_len") or self.base.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=longest),
            add_lora=self._add_lora,
            remove_lora=lambda number: self.adapters.pop(number, None) is not None,
        )

    def _add_lora(self, request: LoRARequest) -> bool:
        if not self.options.get("enable_lora"):
            raise RuntimeError("LoRA is not enabled.")
        file = Path(request.lora_path) / "adapter_config.json"
        if not file.is_file():
            raise ValueError(
                f"Loading lora {request.lora_name} failed: No adapter found for {request.lora_path}"
            )
        rank, most = json.loads(file.read_text())["r"], self.options.get("max_lora_rank", 16)
        if rank > most:
            raise ValueError(f"LoRA rank {rank} is greater than max_lora_rank {most}.")
        if request.lora_name not in self.by_name:
            self.by_name[request.lora_name] = copy.deepcopy(self.base)
            self.by_name[request.lora_name].load_adapter(request.lora_path)
        self.adapters[request.lora_int_id] = self.by_name[request.lora_name]
        return True

    def generate(
        self,
        prompts: Any,
        sampling_params: Any = None,
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
        priority: list[int] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        if lora_request is not None and lora_request.lora_int_id not in self.adapters:
            self._add_lora(lora_request)
        model = self.base if lora_request is None else self.adapters[lora_request.lora_int_id]
        with torch.no_grad():
            return [
                SimpleNamespace(
                    prompt_token_ids=prompt["prompt_token_ids"],
                    # A child of a request with n > 1 has the request's seed plus its number (ParentRequest).
                    outputs=[
                        self._one(model, prompt, replace(parameters, seed=parameters.seed + index), index)
                        for index in range(parameters.n)
                    ],
                )
                for prompt, parameters in zip(prompts, sampling_params, strict=True)
            ]

    def _one(
        self, model: Any, prompt: dict[str, Any], parameters: SamplingParams, index: int
    ) -> CompletionOutput:
        self.asked.append((prompt, parameters))
        room = self.llm_engine.model_config.max_model_len - len(prompt["prompt_token_ids"])
        assert parameters.max_tokens <= room
        stop = [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or []
        end = self.tokenizer.eos_token_id

        def text(ids: list[int]) -> str:
            return self.tokenizer.decode(ids, skip_special_tokens=parameters.skip_special_tokens)

        def over(ids: list[int]) -> bool:
            return ids[-1] == end or any(one in text(ids) for one in stop)

        [[row]] = sample_seeded(
            model,
            [prompt["prompt_token_ids"]],
            seeds=[parameters.seed],
            samples=1,
            max_new_tokens=[parameters.max_tokens],
            ends=over,
            pad_id=self.tokenizer.pad_token_id,
            temperature=parameters.temperature,
            row_budget=8,
        )
        ids, reason, met = list(row.ids), "length", None
        written = text(ids[:-1] if ids[-1] == end else ids)
        if ids[-1] == end:
            reason = "stop"
        else:
            places = sorted((written.find(one), one) for one in stop if one in written)
            if places:
                reason, met, written = "stop", places[0][1], written[: places[0][0]]
        logprobs = None
        if parameters.logprobs is not None:
            logprobs = [
                {token: SimpleNamespace(logprob=value, rank=1, decoded_token=None)}
                for token, value in zip(ids, row.log_probabilities, strict=True)
            ]
        return CompletionOutput(index, written, ids, sum(row.log_probabilities), logprobs, reason, met)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `vllm`, as it would be imported."""
    module, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    module.LLM, module.SamplingParams, request.LoRARequest = LLM, SamplingParams, LoRARequest  # type: ignore[attr-defined]
    for one in (module, lora, request):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    return module


@dataclass
class Served:
    """What a test tells the server, and what it was told."""

    llm: LLM
    runtime_updating: bool = True
    loads: list[str] = field(default_factory=list)
    requests: dict[str, LoRARequest] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    break_after: int | None = None
    """Completions after which it is gone."""
    spoil: Any = None
    """Called with an adapter's model once it is loaded."""


class FakeVllm(FakeHttp):
    """`vllm serve FOLDER --enable-lora` with VLLM_ALLOW_RUNTIME_LORA_UPDATING, as far as it is asked here."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.state = Served(LLM(str(folder), enable_lora=True, **options))
        self.one_at_a_time = threading.Lock()
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        with self.one_at_a_time:
            state = self.state
            if state.break_after is not None and len(state.models) >= state.break_after:
                return None
            if path == "/v1/completions":
                return self.complete(state, body)
            if state.runtime_updating and path == "/v1/load_lora_adapter":
                return self.load(state, body)
            if state.runtime_updating and path == "/v1/unload_lora_adapter":
                return self.unload(state, body)
            return 404, {"detail": "Not Found"}

    def load(self, state: Served, body: dict[str, Any]) -> tuple[int, Any]:
        name, path = body["lora_name"], body["lora_path"]
        if name in state.requests and not body.get("load_inplace", False):
            message = (
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True."
            )
            return refusal(400, "InvalidUserInput", message)
        request = LoRARequest(name, len(state.loads) + 1, path)
        try:
            state.llm._add_lora(request)
        except ValueError as error:
            gone = "No adapter found" in str(error)
            return refusal(
                404 if gone else 500, "NotFoundError" if gone else "InternalServerError", str(error)
            )
        state.loads.append(name)
        state.requests[name] = request
        if state.spoil is not None:
            state.spoil(state.llm.adapters[request.lora_int_id])
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, state: Served, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["lora_name"]
        if name not in state.requests:
            return refusal(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        state.llm.llm_engine.remove_lora(state.requests.pop(name).lora_int_id)
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, state: Served, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["model"]
        if name != state.llm.folder and name not in state.requests:
            return refusal(404, "NotFoundError", f"The model `{name}` does not exist.")
        assert all(type(one) is int for one in body["prompt"])
        names = ("n", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "max_tokens", "logprobs")
        parameters = SamplingParams(
            **{name: body[name] for name in (*names, "skip_special_tokens") if name in body}
        )
        state.models.append(name)
        [output] = state.llm.generate(
            [{"prompt_token_ids": body["prompt"]}], [parameters], lora_request=state.requests.get(name)
        )
        choices = []
        for one in output.outputs:
            values = [next(iter(place.values())).logprob for place in one.logprobs]
            logprobs = {"text_offset": [], "token_logprobs": values, "tokens": [], "top_logprobs": []}
            ids = {"token_ids": one.token_ids, "prompt_token_ids": body["prompt"]}
            choices.append(
                {"index": one.index, "text": one.text, "logprobs": logprobs}
                | {"finish_reason": one.finish_reason, "stop_reason": one.stop_reason}
                | (ids if body.get("return_token_ids") else dict.fromkeys(ids))
            )
        written = sum(len(one.token_ids) for one in output.outputs)
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": written}
        answer = {"id": "cmpl-1", "object": "text_completion", "model": name}
        return 200, answer | {"choices": choices, "usage": usage}


def refusal(status: int, kind: str, message: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": status}}
