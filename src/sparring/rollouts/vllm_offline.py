"""The engine of vLLM in this process: `vllm:FOLDER` where a policy is named (extra `vllm`).

Contract: prompts are ids made by the step contract, texts are decoded here from the ids that were sampled, exactly as the
engine of transformers does it (`local.py`); every completion is a request with a seed of its own, and prefix caching reads
a prefix once. Log-probabilities are those of the distribution that was sampled from, at any temperature. The same seed
gives the same text only in the same batches, since vLLM's sums are rounded by batch: `reproducible` is False.

Written from vLLM's source (docs/engines.md names the versions). Not here: vLLM's server (`server.py`), how an adapter
that is trained gets there (`training/engine_beside.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from sparring.errors import SettingsError, install_extra, needs
from sparring.models.loading import load_tokenizer, resolve_model
from sparring.rollouts.engine import Completion, EngineError, Limits, Prefix, Usage, checked_seeds
from sparring.rollouts.local import completion_of, fitted_prompt
from sparring.rollouts.thinking import opens_thinking, up_to_stop
from sparring.settings_shared import seed_from
from sparring.traces.spans import Layout

SCHEME = "vllm:"
_OPTIONS: dict[str, type] = {
    "tensor_parallel_size": int,
    "gpu_memory_utilization": float,
    "max_model_len": int,
}
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes as `max_lora_rank`


def is_vllm(policy: str) -> bool:
    """Whether a policy is named as one that vLLM runs in this process."""
    return policy.startswith(SCHEME)


def vllm_folder(policy: str) -> str:
    """Return the model folder or hub name in such a name."""
    return policy.removeprefix(SCHEME).partition("?")[0]


class VllmEngine:
    """Samples from vLLM in this process.

    Args:
        policy: `vllm:FOLDER?option=value&…`; the options are those of `vllm.LLM` that decide what fits.
        tokenizer: the folder's; loaded where not given.
        lora_rank: rank of the adapters that will be loaded; None for none.

    Raises:
        MissingPackageError: vLLM is not installed.
        SettingsError: an option is not known, or vLLM refuses to start.
    """

    reproducible = False

    def __init__(
        self,
        policy: str,
        layout: Layout,
        *,
        tokenizer: Any = None,
        dtype: str = "auto",
        lora_rank: int | None = None,
    ) -> None:
        options = _options(policy)
        with needs(f"'{SCHEME}' (vLLM in this process)", "vllm", install_extra("vllm")):
            import vllm
            from vllm.lora.request import LoRARequest
        folder = resolve_model(vllm_folder(policy))
        if lora_rank is not None:
            rank = next((known for known in _RANKS if known >= lora_rank), None)
            if rank is None:
                raise SettingsError(f"vLLM takes adapters up to rank {_RANKS[-1]}, lora_rank is {lora_rank}")
            options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
        try:
            self._llm: Any = vllm.LLM(
                model=folder,
                dtype=dtype,
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",
                trust_remote_code=False,
                **options,
            )
        except (
            ValueError,
            RuntimeError,
        ) as error:
            # What it raises where a model is unknown, or memory too small
            raise SettingsError(f"vLLM does not start with '{policy}': {_line(error)}") from error
        self._sampling, self._request = vllm.SamplingParams, LoRARequest
        self.tokenizer = load_tokenizer(folder) if tokenizer is None else tokenizer
        self.layout, self.name, self.usage = layout, Path(folder).name, Usage()
        self.positions: int | None = self._llm.llm_engine.model_config.max_model_len
        self._adapters: dict[str, Any] = {}
        self._adapter: Any = None
        self._loaded = 0

    def load_adapter(self, name: str, folder: Path) -> None:
        """Sample with the LoRA adapter in a folder from now on (see `TakesAdapters.load_adapter`)."""
        if name not in self._adapters:
            self._loaded += 1  # vLLM knows an adapter by this number
            request = self._request(name, self._loaded, str(folder))
            try:
                self._llm.llm_engine.add_lora(request)
            except Exception as error:
                raise EngineError(
                    f"vLLM in this process refuses the adapter '{folder}': {type(error).__name__}: {_line(error)}"
                ) from error
            self._adapters[name] = request
        self._adapter = self._adapters[name]

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter that is not sampled with any more."""
        if (request := self._adapters.pop(name, None)) is not None:
            self._llm.llm_engine.remove_lora(request.lora_int_id)

    def sample(
        self,
        prefixes: Sequence[Prefix],
        n: int,
        *,
        limits: Limits,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """Return `n` completions of each prefix (see `Engine.sample`)."""
        checked_seeds(prefixes, seeds, n, limits)
        asked = [
            fitted_prompt(prefix, limits, self.tokenizer, self.layout, self.positions) for prefix in prefixes
        ]
        prompts, parameters = [], []
        for prefix, (ids, room), seed in zip(prefixes, asked, seeds, strict=True):
            # A stop text inside thinking does not count, which vLLM does not know: there it is cut off here.
            sent = [] if limits.thinking is not None and not prefix.steps else list(stop)
            for number in range(n):
                prompts.append({"prompt_token_ids": list(ids)})
                parameters.append(
                    self._sampling(
                        n=1,
                        temperature=limits.temperature,
                        top_p=1.0,
                        top_k=0,
                        min_p=0.0,
                        seed=seed_from(seed, number),
                        stop=sent,
                        max_tokens=room,
                        logprobs=0,
                        skip_special_tokens=False,
                    )
                )
        try:
            outputs = self._llm.generate(prompts, parameters, use_tqdm=False, lora_request=self._adapter)
        except Exception as error:  # its engine runs in a process of its own, whose end has many names
            raise EngineError(
                f"vLLM in this process gave up: {type(error).__name__}: {_line(error)}"
            ) from error
        written = iter(outputs)
        groups = [
            [self._completion(next(written).outputs[0], prefix, limits, stop) for _ in range(n)]
            for prefix in prefixes
        ]
        self.usage.requests += len(prefixes)
        self.usage.tokens_prefilled += sum(len(ids) for ids, _ in asked)
        self.usage.tokens_generated += sum(len(one.token_ids) for group in groups for one in group)
        return groups

    def _completion(self, output: Any, prefix: Prefix, limits: Limits, stop: Sequence[str]) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            raise EngineError(f"vLLM in this process broke a completion off ({output.finish_reason})")
        opened = opens_thinking(self.layout, prefix.steps, limits.thinking)
        ids = list(output.token_ids)
        # A stop text is named; at the end of a text there is no reason, or an end token's number.
        ended = output.finish_reason == "stop" and not isinstance(output.stop_reason, str)
        return completion_of(
            ids,
            [float(place[token].logprob) for place, token in zip(output.logprobs, ids, strict=True)],
            ended,
            self.tokenizer,
            lambda text: up_to_stop(text, stop, limits.thinking, opened=opened),
        )


def _options(policy: str) -> dict[str, Any]:
    text = policy.partition("?")[2]
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in _OPTIONS:
            raise SettingsError(f"'{policy}': no such option '{name}' (there are {', '.join(_OPTIONS)})")
        try:
            found[name] = _OPTIONS[name](value)
        except ValueError:
            raise SettingsError(
                f"'{policy}': {name} is {'a whole number' if _OPTIONS[name] is int else 'a number'}, got {value!r}"
            ) from None
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
