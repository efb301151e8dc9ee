"""its_hub with our PRMs: its beam search, particle filtering and best-of-N ask these for scores.

    BeamSearch(StepGeneration(max_steps=20, step_token="\\n"), SparringPRM("models/prm"), beam_width=4)
    BestOfN(SparringORM("models/prm"))

What its_hub hands to a process reward model are solutions so far, as texts, and what it takes back is one number for
each: the step scores, aggregated. A single text gives a single number.

Contract: scores are made in a thread, so that other requests go on; what cannot be scored raises. Tested with its-hub
1.2.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.contrib.rewards import StepRewards
from sparring.errors import DataError, needs
from sparring.rollouts.engine import SEPARATOR
from sparring.scorers.door import StepScorer

with needs("sparring.contrib.its_hub", "its_hub", "pip install its-hub==1.2.0"):
    from its_hub.api import AbstractOutcomeRewardModel, AbstractProcessRewardModel, ChatMessage, ChatMessages


class _Scored:
    """A PRM behind one of its_hub's interfaces.

    Args:
        source: a PRM's folder, a server's address, or a scorer.
        aggregation: from step scores to one number; ``auto`` as the PRM's sidecar says.
        separator: what ends a step; its_hub's `step_token`.
    """

    def __init__(
        self, source: str | Path | StepScorer, *, aggregation: str = "auto", separator: str = SEPARATOR
    ) -> None:
        self.rewards = StepRewards(source, aggregation=aggregation, separator=separator)


class SparringPRM(_Scored, AbstractProcessRewardModel):  # type: ignore[misc]
    """A PRM for its_hub's searches (arguments: `_Scored`)."""

    def score(self, prompt_or_messages: Any, steps: str | Sequence[str]) -> float | list[float]:
        """Return one number per solution so far."""
        texts = [steps] if isinstance(steps, str) else list(steps)
        values = self.rewards.values([_question(prompt_or_messages)] * len(texts), texts)
        return values[0] if isinstance(steps, str) else values

    async def ascore(self, prompt_or_messages: Any, steps: str | Sequence[str]) -> float | list[float]:
        """Return the same without holding up the event loop."""
        return await asyncio.to_thread(self.score, prompt_or_messages, steps)


class SparringORM(_Scored, AbstractOutcomeRewardModel):  # type: ignore[misc]
    """The same PRM where its_hub takes an outcome reward model: a conversation is scored by its last answer."""

    def score(self, messages: Any, **options: Any) -> float | list[float]:
        """Return one number per conversation."""
        given = messages.to_chat_messages() if isinstance(messages, ChatMessages) else messages
        single = bool(given) and not isinstance(given[0], list)
        conversations = [given] if single else given
        answers = [_text(one[-1]) for one in conversations]
        values = self.rewards.values([_question(one[:-1]) for one in conversations], answers)
        return values[0] if single else values

    async def ascore(self, messages: Any, orchestrator: Any = None, **options: Any) -> float | list[float]:
        """Return the same without holding up the event loop."""
        return await asyncio.to_thread(self.score, messages)


def _question(prompt: Any) -> str:
    """Return the last words of the user."""
    if isinstance(prompt, str):
        return prompt
    messages = prompt.to_chat_messages() if isinstance(prompt, ChatMessages) else prompt
    for message in reversed(messages):
        if (message.role if isinstance(message, ChatMessage) else message["role"]) == "user":
            return _text(message)
    raise DataError("the conversation has no message of the user", field="messages")


def _text(message: Any) -> str:
    found = message if isinstance(message, ChatMessage) else ChatMessage.from_dict(message)
    return str(found.extract_text_content())
