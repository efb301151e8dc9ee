"""The engine in this process: a causal language model of transformers.

Contract: prompts are built by the step contract (`traces/spans.py`), so a prefix is exactly what a PRM would read;
batches are of similar length, a prefix is computed once for its samples, finished rows leave. A prompt that does not
fit into the model's positions is refused, never cut; with `Limits.fit` its completions get the room that it leaves.

Not here: the loop over tokens (`models/sampling.py`), servers (`server.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from sparring.errors import DataError, plural
from sparring.models.fused_lora import forget
from sparring.models.loading import positions
from sparring.models.prefix_cache import PrefixCache, tokens_to_keep
from sparring.models.sampling import Sampled, ids_containing, sample_seeded
from sparring.rollouts.engine import (
    Completion,
    Limits,
    Prefix,
    Usage,
    checked_seeds,
)
from sparring.rollouts.thinking import layout_of, opens_thinking, up_to_stop
from sparring.traces.spans import Layout, encode

Cut = Callable[[str], tuple[str, str, bool]]
"""From what was written to the answer up to a stop text, the whole text up to there, and whether one was met."""


class LocalEngine:
    """Samples from a model in this process; reproducible from the seeds.

    Args:
        model: a causal language model in evaluation mode.
        layout: the texts around question and steps that the policy was trained on.
        row_budget: completions in flight at once.
    """

    reproducible = True

    def __init__(
        self, model: Any, tokenizer: Any, layout: Layout, *, row_budget: int = 256, name: str = "policy"
    ) -> None:
        self.model, self.tokenizer, self.layout = model, tokenizer, layout
        self.row_budget, self.name, self.usage = row_budget, name, Usage()
        self._ends = end_ids(model, tokenizer)
        self.positions = positions(model.config)
        self._containing = cache(lambda text: ids_containing(tokenizer, text))
        self._kept: PrefixCache | None = None

    @contextmanager
    def keeping(self, tokens: int | None = None) -> Iterator[None]:
        """Keep keys and values between calls, so that a prefix is not read again where it grew by a step.

        The weights must stay as they are meanwhile.

        Args:
            tokens: most tokens whose keys and values are kept; without it, what fits into 2 GiB, at most 65,536.
        """
        kept = PrefixCache(tokens_to_keep(self.model) if tokens is None else tokens)
        before, self._kept = self._kept, kept
        try:
            yield
        finally:
            self._kept = before

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
        groups: list[list[Completion]] = [[] for _ in prefixes]
        # Where the prompt opens a block of thinking, what comes before a first step is read otherwise than what follows.
        opened = [opens_thinking(self.layout, prefix.steps, limits.thinking) for prefix in prefixes]
        for kind in sorted(set(opened)):
            places = [place for place, one in enumerate(opened) if one is kind]

            def cut(text: str, kind: bool = kind) -> tuple[str, str, bool]:
                return up_to_stop(text, stop, limits.thinking, opened=kind)

            rows = sample_seeded(
                self.model,
                [asked[place][0] for place in places],
                seeds=[seeds[place] for place in places],
                samples=n,
                max_new_tokens=[asked[place][1] for place in places],
                ends=self._over(stop, cut),
                pad_id=self.tokenizer.pad_token_id,
                temperature=limits.temperature,
                row_budget=self.row_budget,
                kept=self._kept,
            )
            for place, group in zip(places, rows, strict=True):
                groups[place] = [self._completion(row, cut) for row in group]
        forget(self.model.modules())  # this model's own, whichever thread samples from it
        self.usage.requests += len(prefixes)
        self.usage.tokens_prefilled += sum(len(ids) for ids, _ in asked)
        self.usage.tokens_generated += sum(len(one.token_ids) for group in groups for one in group)
        return groups

    def _over(self, stop: Sequence[str], cut: Cut) -> Callable[[Sequence[int]], bool]:
        """Return the test whether a completion is over: an end token, or a stop text in what is written."""
        # Only a token that holds a stop text's last character can complete it; only then is the text decoded.
        completing = frozenset[int]().union(*(self._containing(text[-1]) for text in stop))

        def over(ids: Sequence[int]) -> bool:
            if ids[-1] in self._ends:
                return True
            if ids[-1] not in completing:
                return False
            return cut(self.tokenizer.decode(ids, skip_special_tokens=False))[2]

        return over

    def _completion(self, row: Sampled, cut: Cut) -> Completion:
        return completion_of(row.ids, row.log_probabilities, row.ids[-1] in self._ends, self.tokenizer, cut)


def fitted_prompt(
    prefix: Prefix, limits: Limits, tokenizer: Any, layout: Layout, positions: int | None
) -> tuple[Sequence[int], int]:
    """Return a prefix's ids by the step contract, and how many tokens may be written after them.

    Raises:
        DataError: it cannot be continued, or does not fit into the model's positions; names the problem.
    """
    layout = layout_of(layout, prefix.steps, limits.thinking)
    ids: Sequence[int]
    try:
        ids = prefix.ids or encode(prefix.problem.question, prefix.steps, tokenizer, layout).input_ids
    except DataError as error:
        raise DataError(f"problem {prefix.problem.id!r}: {error.message}", field=error.field) from error
    wanted = limits.max_new_tokens
    room = wanted if positions is None else min(wanted, positions - len(ids))
    if room < (1 if limits.fit else wanted):
        raise DataError(
            f"problem {prefix.problem.id!r}: {plural(len(ids), 'token')} and up to {wanted} new ones do not "
            f"fit into the model's {positions} positions; "
            + ("leave the problem out" if limits.fit else "lower max_new_tokens or leave the problem out")
        )
    return ids, room


def completion_of(
    ids: Sequence[int], log_probabilities: Sequence[float], ended: bool, tokenizer: Any, cut: Cut
) -> Completion:
    """Return sampled ids as a completion; `ended` says that the last one ends the text."""
    text = tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=False)
    answer, whole, met = cut(text)
    return Completion(
        answer,
        tuple(ids),
        tuple(log_probabilities),
        "stop" if met else "end" if ended else "length",
        None if answer == whole else whole,
    )


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a text: the tokenizer's, the model's, and those of its generation settings."""
    found: set[int | None] = {tokenizer.eos_token_id}
    for holder in (model.config, getattr(model, "generation_config", None)):
        ends = getattr(holder, "eos_token_id", None)
        found |= set(ends) if isinstance(ends, (list, tuple)) else {ends}
    return frozenset(end for end in found if end is not None)
