"""A language model as judge of steps: k votes per question, each kept by its content, with what it all cost.

Contract: the score of a step is the mean of its votes, with a Wilson interval over them. An answer without a verdict is
no vote: it is asked for again, at most as often as there are votes and once more, and where fewer than half of the votes
can be had the question fails with what the judge has said; never a number in its place. A vote is a function of (model,
template, temperature, question, number of the vote), and its seed is made of these, so that a finished one is never asked
again: within a process, and with a file (`cache`) after a kill. Requests, retries and bounds are `http_client.py`'s.

What a model does not take (`temperature`, `seed`, `logprobs` or `max_tokens`, which some refuse) is left out from then on,
and said in `record`.

Not here: what a score is used for (`scorers/judge.py`, `oracles/judged.py`).
"""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sparring.addresses import Address, number_option, whole_option
from sparring.errors import DataError, SettingsError, plural
from sparring.fingerprints import Identity, records_digest
from sparring.http_client import HttpClient, RefusedError, Session, field_of, gather, json_answer, waited
from sparring.journals import Journal
from sparring.judging.reading import Answer, UnreadableError, read_verdicts
from sparring.judging.templates import template_of
from sparring.locks import sole_writer
from sparring.settings_shared import seed_from
from sparring.statistics import wilson

OPTIONS = (
    "model", "preset", "template", "votes", "temperature", "max_tokens", "seed", "cache",
    "concurrency", "timeout", "retries",
)  # fmt: skip
"""Options of a judge's address."""
MOST_KEPT = 1 << 17
"""Votes kept in memory."""
_LEFT_OUT = ("temperature", "seed", "logprobs", "top_logprobs", "max_tokens")
_TOO_LONG = re.compile(r"context|too long|too large|exceed|max_model_len", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """Steps to judge after `previous`: one where the template asks for a step at a time."""

    problem: str
    previous: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What k votes make of a question's steps.

    Attributes:
        scores: per step, the mean probability of its being correct; a step after a vote's first wrong one counts as wrong
            in that vote.
        intervals: per step, the ends of a 95 % interval over the votes (Wilson).
        votes: that were read.
        unreadable: answers without a verdict.
    """

    scores: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    votes: int
    unreadable: int


@dataclass(slots=True)
class Cost:
    """What judging has cost so far; votes that were known already cost nothing."""

    requests: int = 0
    votes: int = 0
    known_votes: int = 0
    unreadable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Vote:
    row: tuple[float | None, ...] | None
    told: str = ""


class TooLongError(DataError):
    """A question that does not fit the judge's context."""


@dataclass
class Judge:
    """A judge on an OpenAI-compatible server (`/v1/chat/completions`).

    Args:
        address: where, and options: `model`, `preset` and `template` (`templates.py`), `votes`, `temperature` (0 for one
            vote, else 0.7), `max_tokens`, `seed`, `cache` (a file), `concurrency`, `timeout`, `retries`.

    Raises:
        SettingsError: an option; several votes at temperature 0, which would be copies; no such model.
        ServerError: the server cannot be used.
    """

    address: Address
    model: str | None = None
    token: str | None = field(default=None, repr=False)
    cost: Cost = field(default_factory=Cost, init=False)

    def __post_init__(self) -> None:
        options = self.address.options
        self.template = template_of(options.get("preset", "yes_no"), options.get("template"))
        self.votes = whole_option(options, "votes", 1)
        self.temperature = number_option(options, "temperature", 0.0 if self.votes == 1 else 0.7, 0.0, 2.0)
        if self.votes > 1 and self.temperature == 0:
            raise SettingsError(
                "several votes at temperature 0 are copies of one: give ?temperature=0.7 or so"
            )
        self.most_tokens = whole_option(options, "max_tokens", self.template.tokens)
        self.seed = whole_option(options, "seed", 0, least=0)
        self.client = HttpClient.at(self.address, self.token, concurrency=16, timeout=600)
        self.model = self.model or options.get("model")
        if self.model is None:
            self.model = str(self.client.chosen(self.client.models(), None)["id"])
        asked = [self.template.name, self.template.scope, self.template.system, self.template.text]
        fingerprint = records_digest([[*asked, self.temperature, self.most_tokens, self.seed]])[:16]
        key = f"judge {self.model} {fingerprint}"
        self.identity = Identity(
            f"judge+{self.address.url}", self.model, fingerprint, f"{key} {self.votes} votes"
        )
        self.left_out: list[str] = []
        self._known: dict[tuple[str, int], _Vote] = {}
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        if (cache := options.get("cache")) is not None:
            stack = ExitStack()
            stack.enter_context(sole_writer(cache, inside=False))
            try:
                self._journal = stack.enter_context(
                    Journal(Path(cache), {"judge": key}, lambda record: (record["question"], record["vote"]))
                )
            except BaseException:
                stack.close()
                raise
            self._closing = weakref.finalize(self, stack.close)

    def close(self) -> None:
        """Let go of the file of votes; nothing can be asked after that."""
        if self._journal is not None:
            self._closing()

    def record(self) -> dict[str, Any]:
        """Return what records name: who judges, how, and what it has cost."""
        made = {"preset": self.template.name, "votes": self.votes, "temperature": self.temperature}
        left_out = {"left_out": list(self.left_out)} if self.left_out else {}
        return self.identity.record() | made | left_out | {"cost": asdict(self.cost)}

    def judge(
        self,
        questions: Sequence[Question],
        progress: Callable[[int], None] | None = None,
        refused: Callable[[int, DataError], None] | None = None,
    ) -> list[Judgement | DataError]:
        """Return a judgement per question, or why there is none.

        Args:
            refused: told of every question that cannot be judged, by its place; what it raises ends the work.

        Raises:
            ServerError: the server gives nothing usable.
        """
        if not questions:
            return []
        before = self.client.tries
        try:
            return waited(self._all(questions, progress, refused))
        finally:
            with self._lock:
                self.cost.requests += self.client.tries - before

    # --- votes --------------------------------------------------------------------------------------------------------

    async def _all(
        self,
        questions: Sequence[Question],
        progress: Callable[[int], None] | None,
        refused: Callable[[int, DataError], None] | None,
    ) -> list[Judgement | DataError]:
        # A question is finished before many others begin, so that a useless judge is found out soon.
        begun = asyncio.Semaphore(self.client.concurrency)
        async with self.client.session() as session:
            under_way: dict[Question, asyncio.Task[Judgement | DataError]] = {}

            async def once(place: int, question: Question) -> Judgement | DataError:
                # Equal questions are asked once: a beam has many that begin alike.
                async with begun:
                    if question not in under_way:
                        under_way[question] = asyncio.ensure_future(self._judgement(session, question))
                    found = await under_way[question]
                if isinstance(found, DataError) and refused is not None:
                    refused(place, found)
                if progress is not None:
                    progress(1)
                return found

            try:
                return await gather([once(place, question) for place, question in enumerate(questions)])
            finally:
                for task in under_way.values():
                    task.cancel()
                await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def _judgement(self, session: Session, question: Question) -> Judgement | DataError:
        key = records_digest([[question.problem, question.previous, question.steps]])
        try:
            votes = await gather([self._vote(session, question, key, n) for n in range(self.votes)])
            for number in range(self.votes, 2 * self.votes + 1):
                if sum(vote.row is not None for vote in votes) >= self.votes:
                    break
                votes.append(await self._vote(session, question, key, number))
        except RefusedError as error:
            kind = TooLongError if _TOO_LONG.search(error.message) else DataError
            return kind(f"the judge at {self.client.url} refuses it: {error.message}", field=error.field)
        rows = [vote.row for vote in votes if vote.row is not None]
        unread = [vote.told for vote in votes if vote.row is None]
        if 2 * len(rows) < self.votes or not rows:
            return DataError(
                f"the judge at {self.client.url} gave no verdict in {len(unread)} of "
                f"{plural(len(votes), 'answer')}; the last: {unread[-1]}"
            )
        means = [sum(row[step] or 0.0 for row in rows) / len(rows) for step in range(len(question.steps))]
        intervals = tuple(wilson(mean, len(rows)) for mean in means)
        return Judgement(tuple(means), intervals, len(rows), len(unread))

    async def _vote(self, session: Session, question: Question, key: str, number: int) -> _Vote:
        """Return one vote, known or new."""
        if (known := self._remembered(key, number)) is not None:
            return known
        answer = await self._ask(session, question, seed_from(self.seed, key, number))
        try:
            vote = _Vote(read_verdicts(answer, self.template, len(question.steps)))
        except UnreadableError as error:
            beginning = " ".join(answer.text[-300:].split())[-120:]
            vote = _Vote(None, f"{error} (it ends with {beginning!r})")
        with self._lock:
            self.cost.votes += vote.row is not None
            self.cost.unreadable += vote.row is None
            if self._journal is not None:
                record = {"question": key, "vote": number, "row": vote.row, "told": vote.told}
                self._journal.add(record)
            else:
                self._known[key, number] = vote
                if len(self._known) > MOST_KEPT:
                    del self._known[next(iter(self._known))]
        return vote

    def _remembered(self, key: str, number: int) -> _Vote | None:
        with self._lock:
            vote = self._known.get((key, number))
            if vote is None and self._journal is not None:
                record = self._journal.found.get((key, number))
                if record is not None:
                    row = record["row"]
                    vote = _Vote(None if row is None else tuple(row), str(record["told"]))
            if vote is not None:
                self.cost.known_votes += 1
            return vote

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _ask(self, session: Session, question: Question, seed: int) -> Answer:
        """Return the judge's answer; what it does not take is left out of the request from then on.

        Raises:
            RefusedError: it refuses the question.
        """
        while True:
            left_out = tuple(self.left_out)
            try:
                body = self._body(question, seed, left_out)
                return await session.ask("/v1/chat/completions", body, self._read)
            except RefusedError as error:
                unknown = [one for one in _LEFT_OUT if one == error.field or f"'{one}'" in error.message]
                if not unknown or set(unknown) <= set(left_out) or _TOO_LONG.search(error.message):
                    raise
                with self._lock:
                    self.left_out += [one for one in unknown if one not in self.left_out]

    def _body(self, question: Question, seed: int, left_out: Sequence[str]) -> dict[str, Any]:
        template = self.template
        messages = [{"role": "system", "content": template.system}] if template.system else []
        text = template.filled(question.problem, question.previous, question.steps)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": text}],
            "temperature": self.temperature,
            "max_tokens": self.most_tokens,
            "seed": seed & 0x7FFFFFFF,
            "logprobs": True,
            "top_logprobs": 20 if template.reads == "first" else 5,  # of every word of a long answer
        }
        if "max_tokens" in left_out:  # newer models of OpenAI call it otherwise
            body["max_completion_tokens"] = self.most_tokens
        if "logprobs" in left_out:
            left_out = (*left_out, "top_logprobs")
        return {name: value for name, value in body.items() if name not in left_out}

    def _read(self, content: bytes) -> Answer:
        answer = json_answer(content)
        choices = field_of(answer, "choices", list)
        choice = choices[0] if choices else None
        message = field_of(choice, "message", dict, "choices[0]")
        text = message.get("content")
        usage = answer.get("usage")
        with self._lock:
            self.cost.prompt_tokens += _count(usage, "prompt_tokens")
            self.cost.completion_tokens += _count(usage, "completion_tokens")
        given = choice.get("logprobs") if isinstance(choice, dict) else None
        tokens = given.get("content") if isinstance(given, dict) else None
        known = isinstance(tokens, list) and all(isinstance(one, dict) for one in tokens)
        return Answer(
            text if isinstance(text, str) else "",
            cut=isinstance(choice, dict) and choice.get("finish_reason") == "length",
            tokens=tuple(tokens) if known and tokens is not None else (),
        )


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and value >= 0 else 0
