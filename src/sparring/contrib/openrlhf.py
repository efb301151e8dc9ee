"""OpenRLHF's remote reward with a PRM, as a file: `--reward.remote_url path/to/sparring/contrib/openrlhf.py`.

OpenRLHF loads the file by its path and calls `reward_func(queries, prompts, labels)`; what it needs to know stands in the
environment: `SPARRING_PRM` (a folder or an address), and, where the defaults do not do, `SPARRING_AGGREGATION`,
`SPARRING_SEPARATOR`, `SPARRING_OUTCOME` (weight of a right answer, 0 by default) and `SPARRING_STRIP` (texts around
prompt and answer that are no part of them, such as a template's marks, separated by `|`). With a server that runs
`sparring serve` its address does the same without this file: `--reward.remote_url http://host:port/get_reward`.

Contract: what cannot be scored raises. OpenRLHF logs an error of a reward function and goes on without that reward, so
look for "Failed to fetch reward" in its log. Tested with the interface of OpenRLHF 0.11.2.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import torch

from sparring.contrib.rewards import StepRewards, outcomes
from sparring.errors import SettingsError
from sparring.rollouts.engine import SEPARATOR


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **options: Any
) -> dict[str, Any]:
    """Return `rewards` and `scores` of answers, and what to log.

    Args:
        queries: prompt and answer, as they were tokenised.
        labels: the reference answers; needed with `SPARRING_OUTCOME` only.
        options: of other versions; not used.

    Raises:
        SettingsError: `SPARRING_PRM` is not set, or the weight is no number.
        DataError: an answer cannot be scored, or a query does not begin with its prompt.
    """
    rewards = _rewards(
        os.environ.get("SPARRING_PRM", ""),
        os.environ.get("SPARRING_AGGREGATION", "auto"),
        os.environ.get("SPARRING_SEPARATOR", SEPARATOR).encode().decode("unicode_escape"),
    )
    answers = [_answer(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    questions = [_stripped(prompt) for prompt in prompts]
    values = torch.tensor(rewards.values(questions, answers), dtype=torch.float32)
    logs = {"prm": values.mean(), "unscored_steps": torch.tensor(float(rewards.unscored_steps))}
    total = values
    if weight := _weight():
        judged = outcomes(questions, answers, labels, separator=rewards.separator)
        right = torch.tensor([one or 0.0 for one in judged], dtype=torch.float32)
        logs["outcome"] = right.mean()
        total = values + weight * right
    return {"rewards": total, "scores": values, "extra_logs": logs}


@functools.cache
def _rewards(source: str, aggregation: str, separator: str) -> StepRewards:
    if not source:
        raise SettingsError("set SPARRING_PRM to a PRM's folder or the address of a server")
    return StepRewards(source, aggregation=aggregation, separator=separator)


def _weight() -> float:
    given = os.environ.get("SPARRING_OUTCOME", "0")
    try:
        return float(given)
    except ValueError:
        raise SettingsError(f"SPARRING_OUTCOME is a number, got {given!r}") from None


def _answer(query: str, prompt: str) -> str:
    place = query.find(prompt)
    if place < 0:
        raise SettingsError("a query does not hold its prompt, so it is not known where the answer begins")
    return _stripped(query[place + len(prompt) :])


def _stripped(text: str) -> str:
    for mark in filter(None, os.environ.get("SPARRING_STRIP", "").split("|")):
        text = text.replace(mark, "")
    return text.strip()
