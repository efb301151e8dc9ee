"""Solutions sampled in this process from a causal language model.

Contract: a solution is cut into steps at the layout's separator when that is a line break; what a policy writes is never
trusted: empty lines are dropped, a solution without any step is None and left to the caller to count. Reproducible from
the seed. Not here: servers and other engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sparring.models.sampling import sample
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Layout, prompt_ids


def sample_solutions(
    model: Any,
    tokenizer: Any,
    layout: Layout,
    problems: Sequence[Problem],
    *,
    samples: int,
    max_new_tokens: int,
    seed: int,
    temperature: float = 1.0,
    source: str = "policy",
    row_budget: int = 256,
) -> list[list[Trace | None]]:
    """Return `samples` solutions per problem.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        layout: the texts around question and steps that the policy was trained on.
        problems: what to solve.
        samples: solutions per problem.
        max_new_tokens: limit per solution; one that reaches it has `meta["finished"]` False.
        seed: of the sampling.
        temperature: 0 for greedy.
        source: the policy's name, kept in each trace.
        row_budget: solutions in flight at once.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    rows = sample(
        model,
        [prompt_ids(problem.question, tokenizer, layout) for problem in problems],
        samples=samples,
        max_new_tokens=max_new_tokens,
        stop_ids={tokenizer.eos_token_id},
        pad_id=tokenizer.pad_token_id,
        generator=generator,
        temperature=temperature,
        row_budget=row_budget,
    )
    return [
        [_as_trace(problem, ids, tokenizer, source) for ids in group]
        for problem, group in zip(problems, rows, strict=True)
    ]


def _as_trace(problem: Problem, ids: list[int], tokenizer: Any, source: str) -> Trace | None:
    finished = ids[-1] == tokenizer.eos_token_id
    text = tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=False)
    steps = tuple(line.strip() for line in text.split("\n") if line.strip())
    return Trace(problem, steps, source=source, meta={"finished": finished}) if steps else None
