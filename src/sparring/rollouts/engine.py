"""One small interface behind which everything that samples text lives: this process, servers, pools of them.

Contract: completion j of a prefix depends only on (prefix, its seed, j), never on what else is in the batch or in which
order things finish; an engine that cannot promise this says `reproducible = False`. What a policy writes is never
trusted: empty and unfinished completions come back as such, and callers count them.

Not here: the engines themselves (`local.py`, `server.py`), what a completion is worth (`labels/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from sparring.errors import SparringError
from sparring.rollouts.thinking import Tags
from sparring.traces.records import Problem, Trace

Finish = Literal["stop", "end", "length"]
ServerKind = Literal["vllm", "llama.cpp", "transformers", "openai"]
SEPARATOR = "\n"
"""What ends a step, as in the layouts of `models/prompts.py`."""


class EngineError(SparringError):
    """An engine cannot go on at all: a server is gone, or answers nothing usable after all retries."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What is continued: a problem and the steps written so far.

    Attributes:
        ids: the prompt's ids, where it is another text than question and steps by the engine's layout.
    """

    problem: Problem
    steps: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prefix.

    Attributes:
        text: what was written, without the stop text and without the end token; thinking is blanked out where asked for.
        token_ids: sampled ids, those that hold a stop text or the end included; empty where the engine does not say.
        log_probabilities: natural logarithms, one per sampled token, under the distribution that was sampled from (at
            temperature 0 under the model's own); empty where unknown.
        finish: a stop text was met, the text ended, or the limit came first. A server that does not tell the first two
            apart says `stop` for both.
        whole: the text with its thinking, where that was blanked out.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish: Finish
    whole: str | None = None


def completion_from(values: Mapping[str, Any]) -> Completion:
    """Return a completion from its fields as JSON values (`dataclasses.asdict`)."""
    ids, numbers = tuple(values["token_ids"]), tuple(values["log_probabilities"])
    return Completion(**{**values, "token_ids": ids, "log_probabilities": numbers})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is written and how.

    Attributes:
        max_new_tokens: most tokens of a completion.
        temperature: 0 is greedy.
        fit: a prompt that leaves less room in the model's positions gets what it leaves, instead of being refused.
        thinking: the tags between which a policy thinks; what it writes there is blanked out, and stop texts in it do not
            count.
    """

    max_new_tokens: int
    temperature: float = 1.0
    fit: bool = False
    thinking: Tags | None = None

    @classmethod
    def wanted(
        cls, tokens: int | None, usual: int, temperature: float, thinking: Tags | None = None
    ) -> Limits:
        """Return the limits of a setting: a number that is given must fit, the usual one fits itself to the model."""
        return cls(tokens or usual, temperature, fit=tokens is None, thinking=thinking)


@dataclass(slots=True)
class Usage:
    """What an engine has done so far; tokens are counted exactly where the engine knows them, else not at all.

    `doubts` says what makes its completions doubtful, one sentence each: commands show them and write them down.
    Requests are those to a server; an engine in this process counts the prefixes that it was given. So usage is a sum over
    prefixes, however they are batched.
    """

    tokens_generated: int = 0
    tokens_prefilled: int = 0
    requests: int = 0
    doubts: list[str] = field(default_factory=list)

    def copy(self) -> Usage:
        """Return what it is now: an engine's own goes on counting."""
        return replace(self, doubts=list(self.doubts))

    def since(self, before: Usage) -> Usage:
        """Return what has come since an earlier state."""
        return Usage(
            self.tokens_generated - before.tokens_generated,
            self.tokens_prefilled - before.tokens_prefilled,
            self.requests - before.requests,
            [doubt for doubt in self.doubts if doubt not in before.doubts],
        )

    def plus(self, other: Usage) -> Usage:
        """Return the sum; a doubt counts once."""
        return Usage(
            self.tokens_generated + other.tokens_generated,
            self.tokens_prefilled + other.tokens_prefilled,
            self.requests + other.requests,
            list(dict.fromkeys([*self.doubts, *other.doubts])),
        )


class Engine(Protocol):
    """Samples completions of prefixes."""

    name: str
    reproducible: bool
    usage: Usage

    def sample(
        self,
        prefixes: Sequence[Prefix],
        n: int,
        *,
        limits: Limits,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """Return `n` completions of each prefix.

        Args:
            seeds: one per prefix, each in [0, 2**63).
            stop: texts after which a completion ends.

        Raises:
            DataError: a prefix cannot be continued (too long, an empty step); names the problem.
            EngineError: the engine is out of order.
        """
        ...


class TakesAdapters(Engine, Protocol):
    """An engine on a backbone, which samples with a LoRA adapter that it is given: vLLM, as a server or in this process."""

    def load_adapter(self, name: str, folder: Path) -> None:
        """Sample with the adapter in a folder (peft's format) from now on.

        Args:
            name: of these very weights: what is known by it already is not loaded again, and engines keep what they have
                computed by it.
            folder: absolute, and there until the adapter is dropped.

        Raises:
            EngineError: the engine refuses it, or does not answer.
        """
        ...

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter that is not sampled with any more, as far as the engine lets itself be told."""
        ...


@dataclass(frozen=True, slots=True)
class EngineAbout:
    """What is known here of an engine that is elsewhere, in the actors of a pool.

    Attributes:
        layout: of its prompts (`traces.spans.Layout`), where it has one.
        positions: most tokens of a prompt with its completion, where known.
        usage: what all of them have done, as far as it was told.
    """

    name: str
    reproducible: bool
    layout: Any = None
    positions: int | None = None
    usage: Usage = field(default_factory=Usage)


def about_engine(engine: Engine) -> EngineAbout:
    """Return what is to be told of an engine elsewhere."""
    layout, positions = getattr(engine, "layout", None), getattr(engine, "positions", None)
    return EngineAbout(engine.name, engine.reproducible, layout, positions)


def next_steps(
    engine: Engine,
    prefixes: Sequence[Prefix],
    n: int,
    *,
    limits: Limits,
    seeds: Sequence[int],
    separator: str = SEPARATOR,
) -> list[list[Completion]]:
    """Return `n` candidates for the next step of each prefix: each ends at the separator.

    A solution is over when a completion has finish `end`; where its last step is followed by a separator, the end
    comes as an empty completion after that step. An empty text with finish `stop` is an empty line, not a step.
    """
    return engine.sample(prefixes, n, limits=limits, seeds=seeds, stop=(separator,))


def solutions(
    engine: Engine,
    prefixes: Sequence[Prefix],
    n: int,
    *,
    limits: Limits,
    seeds: Sequence[int],
    separator: str = SEPARATOR,
) -> list[list[Trace | None]]:
    """Return `n` solutions per prefix, the prefix's steps included; None where there is no step at all.

    `meta["finished"]` is False where the limit came before the end.
    """
    groups = engine.sample(prefixes, n, limits=limits, seeds=seeds)
    return [
        [as_trace(prefix, completion, source=engine.name, separator=separator) for completion in group]
        for prefix, group in zip(prefixes, groups, strict=True)
    ]


def as_trace(
    prefix: Prefix, completion: Completion, *, source: str, separator: str = SEPARATOR
) -> Trace | None:
    """Return prefix and completion as a trace, None if that has no step."""
    steps = (*prefix.steps, *split_completion(completion.text, separator))
    finished = completion.finish != "length"
    return Trace(prefix.problem, steps, source=source, meta={"finished": finished}) if steps else None


def split_completion(text: str, separator: str = SEPARATOR) -> tuple[str, ...]:
    """Return the steps of a completion's text; empty ones are dropped."""
    return tuple(step.strip() for step in text.split(separator) if step.strip())


def room_note(engine: Engine | EngineAbout, limits: Limits) -> str | None:
    """Return what to tell a user whose policy has hardly room for completions as long as they may be by default."""
    positions = getattr(engine, "positions", None)
    if not limits.fit or positions is None or positions >= 2 * limits.max_new_tokens:
        return None
    return (
        f"completions have at most {limits.max_new_tokens} tokens, and no more than their prompts leave of the {positions} "
        f"positions of {engine.name}"
    )


def repeats(group: Sequence[Completion]) -> int:
    """Return how many of a prefix's completions say what an earlier one of them says."""
    return len(group) - len({one.whole or one.text for one in group})


def checked_seeds(prefixes: Sequence[Prefix], seeds: Sequence[int], n: int, limits: Limits) -> None:
    """Raise ValueError where a caller's arguments do not fit together."""
    if len(seeds) != len(prefixes):
        raise ValueError(f"{len(seeds)} seeds for {len(prefixes)} prefixes")
    if n < 1 or limits.max_new_tokens < 1 or not limits.temperature >= 0:
        raise ValueError(f"cannot sample {n} completions with {limits}")
