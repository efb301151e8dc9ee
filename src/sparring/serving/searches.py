"""One search for one client: run beside others, watched step by step, stopped when nobody waits for it any more.

A search is `search.driver.run_search` in a thread of its own, whose policy and PRM are those of the server: what it asks
goes through their batchers, together with what other searches and other endpoints ask at the time. So its result is that
of `sparring search` with the same settings and seed.

Events, in the order in which they happen:

    step      {"node", "parent", "step", "score", "kept"}: a new node of the tree; it comes once more, with `kept` true or
              false, when the search goes on from it or has given it up (null: not decided yet). The question is node 0.
    progress  {"tokens_generated", "nodes", "seconds"}
    solution  {"index", "node", "steps", "scores", "value", "finished", "answer", "chosen"}: a candidate in the end
    done      {"answer", "steps", "value", "candidates", "usage", "counts", …}

Contract: at most `searches` run and `searches_waiting` wait; more are refused. A client that leaves stops its search before
the next question, and so does time that is up. Not here: HTTP (`search.py`, `chat.py`).
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sparring.errors import DataError, SettingsError, SparringError, plural
from sparring.oracles.equality import answer_groups
from sparring.rollouts.engine import Completion, EngineError, Limits, Prefix, Usage
from sparring.search.driver import Candidate, Found, run_search
from sparring.search.scoring import NothingFoundError
from sparring.search.settings import MethodSettings
from sparring.search.task import Steps
from sparring.search.tree import Tree
from sparring.serving.batcher import BatcherError, Ticket, TooLate, WorkFailed
from sparring.serving.errors import ApiError, from_batcher_error
from sparring.serving.models import CALL, SCORES, Models, Policy, Prm
from sparring.serving.settings import SearchMethod, ServeSettings
from sparring.traces.answers import stated_answer
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import prompt_ids

Event = tuple[str, dict[str, Any]]
"""Its name and its fields."""
INDEPENDENT = ("best_of_n", "weighted_vote", "majority")
PROBLEM = "problem"
"""Id of every problem that is searched: seeds derive from it, so equal requests give equal answers."""
_comparing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for.

    Attributes:
        deadline: on the clock of `time.monotonic`.
        last_number: whether the last number is the answer where none is stated.
    """

    problem: str
    policy: Policy
    prm: Prm
    method: SearchMethod
    n: int
    settings: MethodSettings
    deadline: float
    last_number: bool = True

    def check(self) -> None:
        """Check that both models can read the problem, before anything is written.

        Raises:
            ApiError: it is too long, or has words that a vocabulary lacks.
        """
        scorer, engine = self.prm.scorer, self.policy.engine
        room = getattr(
            getattr(getattr(engine, "model", None), "config", None), "max_position_embeddings", None
        )
        readers = [
            ("PRM", scorer.tokenizer, scorer.sidecar.layout, scorer.sidecar.max_length),
            ("policy", getattr(engine, "tokenizer", None), engine.layout, room),
        ]
        for name, tokenizer, layout, most in readers:
            if tokenizer is None:  # on another server
                continue
            try:
                length = len(prompt_ids(self.problem, tokenizer, layout))
            except DataError as error:
                raise ApiError(422, f"the {name} cannot read it: {error.message}", field=PROBLEM) from None
            if most is not None and length >= most:
                raise ApiError(
                    422,
                    f"the problem has {plural(length, 'token')}, past the limit of {most} of the {name}",
                    field=PROBLEM,
                )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search has found.

    Attributes:
        chosen: index of the candidate that is the answer; None where there is none.
    """

    found: Found
    chosen: int | None
    answers: tuple[str | None, ...]
    seconds: float

    @property
    def candidate(self) -> Candidate | None:
        """The chosen solution."""
        return None if self.chosen is None else self.found.candidates[self.chosen]


class Stopped(SparringError):
    """Nobody waits for the search any more."""


class Searches:
    """All searches of a server."""

    def __init__(self, models: Models, settings: ServeSettings) -> None:
        self.models, self.settings = models, settings
        self.accepted = 0
        self._counting = threading.Lock()
        self._running: set[Job] = set()
        self._threads = ThreadPoolExecutor(settings.searches, thread_name_prefix="sparring-search")

    def start(self, wish: Wish, tell: Callable[[Event], None] = lambda _: None) -> Job:
        """Begin a search, or put it in the line.

        Args:
            tell: told every event, from the search's thread.

        Raises:
            ApiError: too many are waiting, or the server goes down.
        """
        with self._counting:
            if self.accepted >= self.settings.searches + self.settings.searches_waiting:
                raise ApiError(429, "too many searches are waiting", retry_after=5)
            job = Job(wish, tell)
            try:
                job.future = self._threads.submit(job.run)
            except RuntimeError:
                raise ApiError(503, "the server is going down", retry_after=1) from None
            self.accepted += 1
            self._running.add(job)
        job.future.add_done_callback(lambda _: self._ended(job))
        return job

    def _ended(self, job: Job) -> None:
        with self._counting:
            self.accepted -= 1
            self._running.discard(job)

    def close(self) -> None:
        """Take nothing more, and stop what is left: those that somebody waits for have been waited for."""
        for job in list(self._running):
            job.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


class Job:
    """A search that runs or waits."""

    future: Future[Outcome]

    def __init__(self, wish: Wish, tell: Callable[[Event], None]) -> None:
        self.wish, self.tell, self.stopped = wish, tell, threading.Event()
        self.asked: Ticket | None = None
        self.tree, self.tokens = Tree(most=math.inf, tell=self._met), 0

    def stop(self) -> None:
        """Let it end before its next question; what it has asked and nobody has begun to compute is taken back."""
        self.stopped.set()
        self.future.cancel()
        if self.asked is not None:
            self.asked.future.cancel()

    def run(self) -> Outcome:
        """Search, choose, and tell.

        Raises:
            ApiError: nothing can be found, the models failed, or time is up.
        """
        self.started = time.monotonic()
        wish = self.wish
        try:
            [found] = run_search(
                "independent" if wish.method in INDEPENDENT else wish.method,
                [Problem(PROBLEM, wish.problem)],
                _SharedEngine(wish.policy, self),
                _scorer(wish.prm, self),
                wish.settings,
                n=wish.n,
                tree=lambda: self.tree,
            )
        except SparringError as error:
            raise _search_error(error) from None
        answers = tuple(stated_answer(one.steps, last_number=wish.last_number) for one in found.candidates)
        with _comparing:  # hard comparisons share worker processes
            chosen = choose(wish.method, found, answers)
        outcome = Outcome(found, chosen, answers, time.monotonic() - self.started)
        self.tree.ended(candidate.steps for candidate in found.candidates)
        for index, candidate in enumerate(found.candidates):
            fields = {"index": index, "node": self._number(candidate.steps)}
            self.tell(("solution", fields | described(outcome, index)))
        self.tell(("done", summary(wish, outcome)))
        return outcome

    def waited(self, submit: Callable[[], Ticket]) -> Any:
        """Return the results of work; a word on the work itself is raised as it was said."""
        if self.stopped.is_set():
            raise Stopped("the client left")
        if time.monotonic() >= self.wish.deadline:
            raise TooLate("not done in time")
        self.asked = ticket = submit()
        if self.stopped.is_set():  # in between
            ticket.future.cancel()
        try:
            return ticket.result()
        except WorkFailed as error:
            if isinstance(error.__cause__, SparringError):
                raise error.__cause__ from None
            raise

    def wrote(self, tokens: int) -> None:
        """Tell how far it is."""
        self.tokens += tokens
        seconds = round(time.monotonic() - self.started, 6)
        fields = {"tokens_generated": self.tokens, "nodes": len(self.tree.nodes), "seconds": seconds}
        self.tell(("progress", fields))

    def _number(self, steps: Steps) -> int | None:
        """Return the number of a node, None where there is no such; the question is node 0."""
        if not steps:
            return 0
        return self.tree.nodes[steps][0] + 1 if steps in self.tree.nodes else None

    def _met(self, steps: Steps) -> None:
        """Tell of a node that is new or decided."""
        _, score, _ = self.tree.nodes[steps]
        fields = {"node": self._number(steps), "parent": self._number(steps[:-1]), "step": steps[-1]}
        self.tell(("step", fields | {"score": score, "kept": self.tree.kept.get(steps)}))


def _search_error(error: SparringError) -> ApiError:
    """Return what a client is told of a search that failed."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BatcherError):
        return from_batcher_error(error)
    if isinstance(error, Stopped):
        return ApiError(499, str(error))
    if isinstance(error, (DataError, SettingsError, NothingFoundError)):
        return ApiError(422, str(error), field="problem")
    return ApiError(502 if isinstance(error, EngineError) else 500, str(error), type="search_failed")


def choose(method: SearchMethod, found: Found, answers: Sequence[str | None]) -> int | None:
    """Return the index of the answer among the candidates.

    Votes are between classes of equal answers; a candidate's vote counts its Q, or 1 for a majority. The winner is
    represented by its finished candidate of the highest Q. Of equal classes the one with the better candidate wins. Where
    no candidate states an answer, the search's own choice stands.
    """
    candidates = found.candidates
    classes = answer_groups(answers) if method in ("weighted_vote", "majority") else []
    votes: dict[int, float] = defaultdict(float)
    for one, candidate in zip(classes, candidates, strict=False):
        if one >= 0:
            votes[one] += candidate.value if method == "weighted_vote" else 1.0
    if not votes:
        return found.chosen

    def rank(index: int) -> tuple[bool, float]:
        return candidates[index].finished, candidates[index].value

    best = {one: max((i for i, c in enumerate(classes) if c == one), key=rank) for one in votes}
    winner = max(votes, key=lambda one: (round(votes[one], 12), rank(best[one])))
    return best[winner]


# --- policy and PRM as a search sees them ----------------------------------------------------------------------------


class _SharedEngine:
    """The policy for one search: its questions go to the batcher."""

    def __init__(self, policy: Policy, job: Job) -> None:
        self._policy, self._job = policy, job
        engine = policy.engine
        self.name, self.reproducible, self.usage = engine.name, engine.reproducible, Usage()
        self.model, self.tokenizer = getattr(engine, "model", None), getattr(engine, "tokenizer", None)
        self.layout = engine.layout

    def sample(
        self,
        prefixes: Sequence[Prefix],
        n: int,
        *,
        limits: Limits,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """Return completions (see `Engine.sample`)."""
        works = list(zip(prefixes, seeds, strict=True))
        kind = (n, limits, tuple(stop))
        found: list[list[Completion]] = self._job.waited(
            lambda: self._policy.batcher.submit(
                kind, works, [n] * len(works), self._job.wish.deadline, bounded=False
            )
        )
        self._job.wrote(sum(len(one.token_ids) for group in found for one in group))
        return found


class _SharedScorer:
    """The PRM for one search: whole traces, in batches with those of others."""

    def __init__(self, prm: Prm, job: Job) -> None:
        self._prm, self._job = prm, job
        scorer = prm.scorer
        self.sidecar, self.model, self.tokenizer = scorer.sidecar, scorer.model, scorer.tokenizer

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        """Return scores (see `StepScorer`)."""
        prm, job = self._prm, self._job
        rows = [prm.scorer.encode(trace) for trace in traces]
        tokens = [len(row.input_ids) for row in rows]
        found: list[list[float]] = job.waited(
            lambda: prm.batcher.submit(SCORES, rows, tokens, job.wish.deadline, bounded=False)
        )
        return found


class _GrowingScorer(_SharedScorer):
    """The same for a PRM that can read new steps only: it has the model to itself for that."""

    def prefix_cache(self) -> Any:
        """Return an empty cache."""
        scorer: Any = self._prm.scorer
        return scorer.prefix_cache()

    def score_new(self, traces: Sequence[Trace], cache: Any) -> list[tuple[list[float], int]]:
        """Return scores and how many tokens were not read again."""
        prm, job = self._prm, self._job
        scorer: Any = prm.scorer
        [found] = job.waited(
            lambda: prm.batcher.submit(
                CALL,
                [lambda: scorer.score_new(traces, cache)],
                [prm.batcher.batch_tokens],  # a batch of its own
                job.wish.deadline,
                bounded=False,
            )
        )
        return list(found)


def _scorer(prm: Prm, job: Job) -> Any:
    growing = getattr(prm.scorer, "prefix_cache", lambda: None)() is not None
    return (_GrowingScorer if growing else _SharedScorer)(prm, job)


def described(outcome: Outcome, index: int) -> dict[str, Any]:
    """Return a candidate as a client gets it."""
    candidate = outcome.found.candidates[index]
    return {
        "steps": list(candidate.steps),
        "scores": list(candidate.scores),
        "value": candidate.value,
        "finished": candidate.finished,
        "answer": outcome.answers[index],
        "chosen": index == outcome.chosen,
    }


def summary(wish: Wish, outcome: Outcome) -> dict[str, Any]:
    """Return what there is to say of a search in the end."""
    chosen = outcome.candidate
    answer = None if outcome.chosen is None else outcome.answers[outcome.chosen]
    return {
        "policy": wish.policy.name,
        "model": wish.prm.name,
        "method": wish.method,
        "n": wish.n,
        "answer": answer,
        "steps": None if chosen is None else list(chosen.steps),
        "scores": None if chosen is None else list(chosen.scores),
        "value": None if chosen is None else chosen.value,
        "candidates": len(outcome.found.candidates),
        "usage": {**outcome.found.spent.as_dict(), "seconds": outcome.seconds},
        "counts": dict(outcome.found.counts),
    }
