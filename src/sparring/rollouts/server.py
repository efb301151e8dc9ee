"""The engine on any server that speaks OpenAI's `/v1/completions`: vLLM, llama.cpp, `transformers serve`, …

Contract: requests are sent, bounded and tried again as `http_client.py` says; a server that gives nothing usable is an
EngineError, and a request that it refuses as such (400, 413, 422) a DataError about that prefix. Answers are untrusted:
every field is checked. Nothing is kept between calls, so a job is resumable where its caller journals.

Seeds: every request carries a seed made from (seed, completion number). Whether the same seed gives the same text is
the server's affair, hence `reproducible` is False: see docs/engines.md.

What a server does otherwise than it is asked is noticed in its answers. One that repeats the prompt cannot be used; one
that seems to ignore seeds, stop texts or limits, or answers as several models, is a doubt (`Usage.doubts`). Where an
answer alone does not tell (a policy may be sure of itself, or restate a question), a made-up question is asked once.

Not here: chat completions (a prefix must be continued in the middle of an answer), streaming, starting servers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparring.errors import DataError, SettingsError, plural
from sparring.http_client import (
    HttpClient,
    Patience,
    RefusedError,
    ServerError,
    Session,
    UnusableError,
    gather,
    json_answer,
    waited,
)
from sparring.rollouts.engine import (
    Completion,
    EngineError,
    Finish,
    Limits,
    Prefix,
    ServerKind,
    Usage,
    checked_seeds,
    repeats,
)
from sparring.rollouts.thinking import layout_of, opens_thinking, up_to_stop
from sparring.settings_shared import seed_from
from sparring.traces.fields import finite_number
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, Tokenizer, encode

# Plain sampling, as in process, has to be asked for: servers cut tails and penalise repetition by default. A server
# refuses fields that it does not know, so they differ.
_FIELDS: dict[str, dict[str, Any]] = {
    "vllm": {
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "logprobs": 0,
        "return_token_ids": True,
        "skip_special_tokens": False,  # texts are what the ids say, as in process
    },
    "llama.cpp": {
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "logprobs": 1,
        "cache_prompt": True,
    },
    "transformers": {},
    "openai": {"top_p": 1.0, "logprobs": 0},
}


class ServerEngine:
    """Samples from a server.

    Args:
        url: up to and including `/v1`, as in `http://localhost:8000/v1`.
        layout: the texts around question and steps that the policy was trained on.
        tokenizer: where given, prompts are sent as token ids, exactly as the in-process engine would read them (vLLM
            and llama.cpp take them). Without one they are sent as text: the server adds its own start token and reads
            special tokens in the question as such.
        kind: what the server is; decides how plain sampling and log-probabilities are asked for.
        concurrency: requests in flight.
        choices_per_request: completions asked for at once. 1 lets every completion have a seed of its own.
    """

    reproducible = False

    def __init__(
        self,
        url: str,
        model: str,
        layout: Layout,
        *,
        tokenizer: Tokenizer | None = None,
        kind: ServerKind = "vllm",
        concurrency: int = 32,
        choices_per_request: int = 1,
        patience: Patience | None = None,
        api_key: str | None = None,
    ) -> None:
        self.client = HttpClient(url, concurrency=concurrency, patience=patience, token=api_key)
        if choices_per_request < 1:
            raise SettingsError("choices_per_request must be at least 1")
        if kind == "transformers" and choices_per_request > 1:
            raise SettingsError("'transformers serve' gives one choice per request")
        self.url, self.name, self.layout = self.client.url, model, layout
        self.model = model  # the one that is asked now: `name`, or an adapter on it
        self.tokenizer, self.kind = tokenizer, kind
        self.choices_per_request, self.usage = choices_per_request, Usage()
        # Kinds of misbehaviour that are reported, or asked after and ruled out.
        self._noticed: set[str] = set()
        self._restated = False  # whether a text had its question near its beginning
        self._models: set[str] = set()

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
        groups: list[list[_Request]] = []
        for prefix, seed in zip(prefixes, seeds, strict=True):
            prompt, at_once = self._prompt(prefix, limits), self.choices_per_request
            groups.append(
                [
                    self._request(
                        prefix, prompt, min(at_once, n - first), limits, seed_from(seed, first), stop
                    )
                    for first in range(0, n, at_once)
                ]
            )
        before = self.client.tries
        try:
            return waited(self._fulfil(groups, limits))
        finally:
            self.usage.requests += self.client.tries - before

    # --- adapters (vLLM only) -------------------------------------------------------------------------------------

    def load_adapter(self, name: str, folder: Path) -> None:
        """Sample with the LoRA adapter in a folder from now on (see `TakesAdapters.load_adapter`).

        Every state of the weights needs a name of its own: vLLM's prefix cache tells adapters apart by name, and one that
        is loaded again under its name is answered from what the old weights have computed (its issue 42125).
        """
        told = self._tell("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        if told is not None and "already been loaded" not in told:
            raise EngineError(f"the server at {self.url} refuses the adapter '{folder}': {told}")
        self.model, self._models = name, set()

    def drop_adapter(self, name: str) -> None:
        """Let the server forget an adapter; one that it does not know is forgotten already."""
        with suppress(EngineError):  # it costs the server memory, nobody a wrong answer
            self._tell("/unload_lora_adapter", {"lora_name": name})

    def _tell(self, path: str, body: dict[str, Any]) -> str | None:
        """Send a request about an adapter; return why it was refused, None where it was not.

        Raises:
            EngineError: the server does not take such requests, or does not answer.
        """

        async def tell() -> None:
            # A broken adapter is answered with status 500, which waiting does not mend: few tries.
            retries = min(2, self.client.patience.retries)
            async with self.client.session() as session:
                await session.ask(path, body, lambda content: None, retries=retries)

        try:
            waited(tell())
        except RefusedError as error:
            return error.reason
        except ServerError as error:
            hint = (
                "; is it vLLM, started with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and can it read "
                "the run directory?"
            )
            raise EngineError(
                f"{error} (asked for {path}){hint if error.status in (404, 405) else ''}"
            ) from None
        return None

    # --- what is asked --------------------------------------------------------------------------------------------

    def _request(
        self,
        prefix: Prefix,
        prompt: str | list[int],
        count: int,
        limits: Limits,
        seed: int,
        stop: Sequence[str] = (),
    ) -> _Request:
        # A stop text inside thinking does not count, which no server knows: there it is cut off here.
        sent = () if limits.thinking is not None and not prefix.steps else stop
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": limits.max_new_tokens,
            "temperature": limits.temperature,
            "seed": seed & 0x7FFFFFFF,
            **_FIELDS[self.kind],
        }
        if self.kind == "transformers":  # it samples only where its generation settings say so
            sampling = {"do_sample": True, "top_k": 0, "top_p": 1.0} if limits.temperature > 0 else {}
            body["generation_config"] = json.dumps(sampling)
        if count > 1:
            body["n"] = count
        if sent:
            body["stop"] = list(sent)
        return _Request(prefix, count, limits, tuple(stop), body)

    def _prompt(self, prefix: Prefix, limits: Limits) -> str | list[int]:
        if prefix.ids:
            return list(prefix.ids)
        question, steps = prefix.problem.question, prefix.steps
        layout = layout_of(self.layout, steps, limits.thinking)
        if self.tokenizer is not None:
            return list(encode(question, steps, self.tokenizer, layout).input_ids)
        written = "".join(step + layout.separator for step in steps)
        return layout.before + question + layout.after + written

    # --- requests and retries -------------------------------------------------------------------------------------

    async def _fulfil(self, groups: Sequence[Sequence[_Request]], limits: Limits) -> list[list[Completion]]:
        """Return each group's completions."""
        async with self.client.session() as session:
            parts = iter(await gather([self._ask(session, request) for group in groups for request in group]))
            found = [[one for _ in group for one in next(parts)] for group in groups]
            await self._notice(session, [group[0].prefix for group in groups], found, limits)
        return found

    async def _ask(self, session: Session, request: _Request, retries: int | None = None) -> list[Completion]:
        """Return one request's completions, trying again where that may help."""

        def read(content: bytes) -> list[Completion]:
            return self._completions(content, request)

        try:
            return await session.ask("/completions", request.body, read, retries=retries)
        except RefusedError as error:
            raise DataError(
                f"problem {request.prefix.problem.id!r}: the server refused the request with {error.reason}"
            ) from None
        except ServerError as error:
            raise EngineError(str(error)) from None

    # --- what is answered -----------------------------------------------------------------------------------------

    def _completions(self, content: bytes, request: _Request) -> list[Completion]:
        answer = json_answer(content)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or len(choices) != request.count:
            found = len(choices) if isinstance(choices, list) else "no"
            hint = "; does it ignore `n`? Then set choices_per_request=1" if request.count > 1 else ""
            raise UnusableError(f"{found} choices instead of {request.count}{hint}")
        completions = [self._completion(choice, request) for choice in choices]
        if isinstance(answer.get("model"), str):
            self._models.add(answer["model"])
            if len(self._models) > 1:
                self._doubt("models", f"answers as several models: {', '.join(sorted(self._models))}")
        usage = answer.get("usage")
        if isinstance(usage, dict):
            generated = _whole(usage.get("completion_tokens"))
            self.usage.tokens_prefilled += _whole(usage.get("prompt_tokens"))
            self.usage.tokens_generated += generated
            # llama.cpp leaves out tokens that are part of a character: an incomplete list is worth nothing.
            if request.count == 1:
                completions = [self._within(completions[0], generated, request.limits)]
            listed = sum(max(len(one.token_ids), len(one.log_probabilities)) for one in completions)
            if listed != generated:
                completions = [replace(one, token_ids=(), log_probabilities=()) for one in completions]
        return completions

    def _completion(self, choice: Any, request: _Request) -> Completion:
        text = choice.get("text") if isinstance(choice, dict) else None
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if not isinstance(text, str) or reason not in ("stop", "length"):
            raise UnusableError("a choice without text or without a known finish_reason")
        self._restated = self._restated or _restates(request.prefix.problem.question, text)
        limits, sent = request.limits, "stop" in request.body
        opened = opens_thinking(self.layout, request.prefix.steps, limits.thinking)
        answer, whole, met = up_to_stop(text, request.stop, limits.thinking, opened=opened)
        finish: Finish = "length" if reason == "length" else "end"
        if met:
            finish = "stop"
            more = text[len(whole) :]
            if sent and all(more.removeprefix(one).strip() for one in request.stop):
                self._doubt(
                    "stop",
                    "writes on after stop texts; what comes after them is left out, yet has to be waited for",
                )
        elif reason == "stop" and sent and not self._says_end(choice):
            finish = "stop"
        ids, log_probabilities = _tokens(choice)
        # Servers report the model's own distribution, which is the one sampled from only at these temperatures.
        known = log_probabilities if limits.temperature in (0.0, 1.0) else ()
        completion = Completion(answer, ids, known, finish, None if answer == whole else whole)
        return self._within(completion, len(ids), limits)

    def _says_end(self, choice: Mapping[str, Any]) -> bool:
        """Whether a choice that stopped, and whose text holds no stop text, can only have met the end token."""
        if self.kind == "vllm":
            return not isinstance(choice.get("stop_reason"), str)
        return self.kind == "transformers"  # it leaves the stop text in

    def _within(self, completion: Completion, tokens: int, limits: Limits) -> Completion:
        """Return the completion, cut by its own word where it is longer than was asked for."""
        if tokens <= limits.max_new_tokens:
            return completion
        self._doubt(
            "limit",
            f"wrote {plural(tokens, 'token')} where at most {limits.max_new_tokens} were asked for (max_tokens); longer "
            "completions count as cut",
        )
        return replace(completion, finish="length")

    # --- what answers say about the server ------------------------------------------------------------------------

    def _first(self, kind: str) -> bool:
        """Whether this kind of misbehaviour is met for the first time."""
        met = kind in self._noticed
        self._noticed.add(kind)
        return not met

    def _doubt(self, kind: str, what: str) -> None:
        if self._first(kind):
            self._tell_doubt(what)

    def _tell_doubt(self, what: str) -> None:
        self.usage.doubts.append(f"the server at {self.url} {what}")

    async def _notice(
        self,
        session: Session,
        prefixes: Sequence[Prefix],
        groups: Sequence[Sequence[Completion]],
        limits: Limits,
    ) -> None:
        """Notice what completions say about the server.

        Raises:
            EngineError: it repeats the prompt in front of what it writes.
        """
        if self._restated and self._first("echo"):
            told = await self._asked_aside(session, Limits(1), seeds=(1,))
            if any(_ASIDE_MARK in one.text for one in told):
                raise EngineError(
                    f"the server at {self.url} repeats the prompt in front of every completion: switch that off "
                    "(`echo`, `return_full_text`), for the question would be taken for the first step"
                )
        sampled = limits.temperature > 0
        doubted = sampled and any(map(_one_text, groups)) and self._first("copies")
        if doubted := doubted and await self._one_text_aside(session, seeds=(1, 2)):
            self._tell_doubt(
                "gives one text for different seeds, even at temperature 2: it ignores them, samples greedily or answers "
                "from a cache; rollouts are copies of one, and counts and intervals say too much"
            )
        size = self.choices_per_request
        requests = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
        copied = sampled and not doubted and any(map(_one_text, requests))
        if copied and self._first("choices") and await self._one_text_aside(session, seeds=(1,), count=2):
            self._tell_doubt(
                "gives all choices of a request one text, even at temperature 2: they are copies, and counts and intervals "
                "say too much; set choices_per_request=1"
            )
        bare = [
            one for prefix, group in zip(prefixes, groups, strict=True) if not prefix.steps for one in group
        ]
        if len(bare) > 1 and not any((one.whole or one.text).strip() for one in bare):
            self._doubt("empty", f"answered {plural(len(bare), 'question')} with empty texts")

    async def _one_text_aside(self, session: Session, seeds: Sequence[int], count: int = 1) -> bool:
        """Whether a made-up question is answered with a text twice, where no policy would."""
        limits = Limits(32, temperature=2.0)
        texts = [one.text for one in await self._asked_aside(session, limits, seeds, count)]
        return len(texts) > len(set(texts)) and bool(texts[0].strip())

    async def _asked_aside(
        self, session: Session, limits: Limits, seeds: Sequence[int], count: int = 1
    ) -> list[Completion]:
        """Return what the server answers to a made-up question that no policy knows; nothing where it does not."""
        prefix = Prefix(Problem("made-up question", _ASIDE))
        requests = [
            self._request(prefix, self._prompt(prefix, limits), count, limits, seed) for seed in seeds
        ]
        try:
            return [one for request in requests for one in await self._ask(session, request, retries=1)]
        except (DataError, EngineError):
            return []


def _one_text(completions: Sequence[Completion]) -> bool:
    """Whether several completions are one text over and over."""
    return len(completions) > 1 and bool(completions[0].text) and repeats(completions) == len(completions) - 1


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for: so many completions of a prefix, cut at stop texts, and the request, which may not name them."""

    prefix: Prefix
    count: int
    limits: Limits
    stop: tuple[str, ...]
    body: dict[str, Any]


_ASIDE_MARK = "48151623"
_ASIDE = f"Tell a long story about the number {_ASIDE_MARK}."


def _restates(question: str, text: str) -> bool:
    """Whether a text has the question's first line near its beginning, as if the prompt were repeated."""
    line = "".join(question.strip().split("\n")[0].split())
    return bool(line) and line in "".join(text[: 2 * len(question) + 2000].split())[: len(line) + 300]


def _tokens(choice: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return token ids and log-probabilities where the answer gives them in a known form, else empty ones."""
    given = choice.get("logprobs")
    given = given if isinstance(given, dict) else {}
    content = given.get("content")  # llama.cpp's form
    ids: Any = choice.get("token_ids")
    values: Any = given.get("token_logprobs")
    if isinstance(content, list) and all(isinstance(item, dict) for item in content):
        ids, values = [item.get("id") for item in content], [item.get("logprob") for item in content]
    if not isinstance(ids, list) or not all(type(item) is int and item >= 0 for item in ids):
        ids = []
    numbers = [finite_number(value) for value in values] if isinstance(values, list) else []
    known = tuple(number for number in numbers if number is not None and number <= 1e-3)
    if len(known) != len(numbers) or (ids and len(known) != len(ids)):
        known = ()
    return tuple(ids), known


def _whole(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
