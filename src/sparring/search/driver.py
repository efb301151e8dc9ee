"""Running a search method over problems: many in flight, their questions answered together, finished ones replaced.

    found = run_search("beam", problems, engine, scorer, MethodSettings(expansions=4), n=8)

Contract: in each round the questions of all problems in flight go to the engine in one call per number of
continuations, and to the PRM in one call. Results do not depend on what else is in flight, as far as engine and PRM do
not (rounding aside). Every finished problem is in the journal, with its candidates, before the next ones start; a run
that was killed goes on, and a journal of another run is refused. A problem of which nothing could be continued or
scored has no candidates, and says why; if that is so for all problems, the search fails.

Not here: the methods (one file each), whether an answer is right (`evaluation/search.py`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparring.errors import DataError, SettingsError, did_you_mean
from sparring.files import to_json
from sparring.fingerprints import records_digest
from sparring.journals import Journal
from sparring.labels.settings import parse_prover
from sparring.rollouts.engine import Completion, Engine, Limits, Prefix
from sparring.scorers.door import StepScorer
from sparring.search.aggregation import aggregation_for
from sparring.search.beam import beam
from sparring.search.budget import Spent, measured
from sparring.search.dvts import dvts
from sparring.search.independent import independent
from sparring.search.lookahead import lookahead
from sparring.search.particles import particles
from sparring.search.puct import puct
from sparring.search.scoring import Lengths, NothingFoundError, StepScores, each_that_fits
from sparring.search.settings import MethodSettings
from sparring.search.task import Sample, Sampled, Score, Scored, Search, State, Steps, Task, Valuation, choice
from sparring.search.tree import MOST_TREES, Tree
from sparring.settings import dump_settings
from sparring.traces.records import Problem

METHODS: Mapping[str, Callable[[Task], Search[list[State]]]] = {
    "independent": independent,
    "beam": beam,
    "dvts": dvts,
    "lookahead": lookahead,
    "puct": puct,
    "particles": particles,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution in the end: its steps, whether it was written to its end, its step scores and Q."""

    steps: Steps
    finished: bool
    scores: tuple[float, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found for one problem.

    Attributes:
        problem: its id.
        chosen: index of the candidate that is the answer; None: there is no candidate.
        candidates: solutions in the method's order, possibly fewer than N.
        spent: what it cost.
        counts: what was odd (steps cut, prefixes refused, …), by name.
        refusal: what was said of the last prefix that engine or PRM refused.
        seconds: time since the result before it, the problems in flight together.
    """

    problem: str
    chosen: int | None
    candidates: tuple[Candidate, ...]
    spent: Spent
    counts: Mapping[str, int]
    refusal: str | None
    seconds: float


Searched = tuple[Found, Callable[[], Mapping[str, Any]]]
"""What was found of a problem, and what gives the record of its tree."""


@dataclass(slots=True)
class _Flight:
    task: Task
    search: Search[list[State]]
    question: Sample | Score
    tree: Tree


def run_search(
    method: str,
    problems: Sequence[Problem],
    engine: Engine,
    scorer: StepScorer,
    settings: MethodSettings,
    *,
    n: int,
    prover: StepScorer | None = None,
    value: StepScorer | None = None,
    journal: Path | None = None,
    trees: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
    tree: Callable[[], Tree] = Tree,
) -> list[Found]:
    """Search every problem and return what was found, in the problems' order.

    Args:
        method: a name in `METHODS`.
        problems: with different ids.
        engine: the policy.
        scorer: the PRM.
        settings: of the method.
        n: solutions, beam width, next steps of all trees, walks or particles, as the method says.
        prover: the prover's value model, where `settings.prover` names one.
        value: a value model beside a PRM of correctness: Q is the product of both.
        journal: file that finished problems are written to and read from.
        trees: file for the trees of the first `MOST_TREES` problems (`search/tree.py`), kept like the journal.
        identity: what else must agree for a journal to be continued, such as the models' names.
        progress: called with the number of problems that were finished, at the start with those in the journal.
        tree: makes the tree of a problem's search, which may watch it.

    Raises:
        SettingsError: no such method, n below 1, the journal is of another run, or a budget in units that the engine
            or a model cannot be counted in, or a value model stands beside a PRM that is one itself.
        DataError: two problems share an id, or the journal is damaged.
        SearchError: scores that are no numbers, or no problem could be searched.
        EngineError: the engine is out of order.
    """
    return search_kept(
        lambda waiting: searched(
            method, waiting, engine, scorer, settings, n=n, prover=prover, value=value, tree=tree
        ),
        method,
        problems,
        settings,
        n=n,
        journal=journal,
        trees=trees,
        identity=identity,
        progress=progress,
    )


def search_kept(
    search: Callable[[Sequence[Problem]], Iterator[Searched]],
    method: str,
    problems: Sequence[Problem],
    settings: MethodSettings,
    *,
    n: int,
    journal: Path | None = None,
    trees: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Found]:
    """Search the problems that are not in the journal with `search`; return what was found of all, in their order.

    What `search` yields may have any order; a problem that it leaves out is missing. All else is as in `run_search`.
    """
    numbers = _check(method, problems, n)
    job = {
        "method": method,
        "n": n,
        "settings": _lasting(settings),
        "problems": records_digest([problem.id, problem.question] for problem in problems),
        **(identity or {}),
    }
    results: dict[str, Found] = {}
    with ExitStack() as stack:
        kept = None
        if journal is not None:
            kept = stack.enter_context(Journal(journal, job, lambda record: record["problem"]))
            results = _finished(kept)
        drawn = None
        if trees is not None:
            drawn = stack.enter_context(Journal(trees, job, lambda record: record["problem"]))
        if progress is not None:
            progress(len(results))
        for found, tree in search([problem for problem in problems if problem.id not in results]):
            results[found.problem] = found
            wanted = drawn is not None and numbers[found.problem] < MOST_TREES
            if drawn is not None and wanted and found.problem not in drawn.found:
                drawn.add({"problem": found.problem, **tree()})
                drawn.sync()  # a problem in the journal is not searched again, so its tree must outlive a power cut
            if kept is not None:
                kept.add(to_json(found)[0])
            if progress is not None:
                progress(1)
    ordered = [results[problem.id] for problem in problems if problem.id in results]
    refusal = next((found.refusal for found in ordered if found.refusal), None)
    if refusal is not None and not any(found.candidates for found in ordered):
        raise NothingFoundError(f"nothing was found for any problem: {refusal}")
    return ordered


def _check(method: str, problems: Sequence[Problem], n: int) -> dict[str, int]:
    """Return the problems' numbers by their ids, if they and the method can be used."""
    if method not in METHODS:
        raise SettingsError(f"no search method {method!r}{did_you_mean(method, METHODS)}")
    if n < 1:
        raise SettingsError(f"n must be at least 1, got {n}")
    numbers = {problem.id: index for index, problem in enumerate(problems)}
    if len(numbers) < len(problems):
        twice = next(one.id for index, one in enumerate(problems) if numbers[one.id] != index)
        raise DataError(f"two problems have the id {twice!r}", field="id")
    return numbers


def searched(
    method: str,
    problems: Sequence[Problem],
    engine: Engine,
    scorer: StepScorer,
    settings: MethodSettings,
    *,
    n: int,
    prover: StepScorer | None = None,
    value: StepScorer | None = None,
    tree: Callable[[], Tree] = Tree,
) -> Iterator[Searched]:
    """Yield what is found of each problem, and what gives the record of its tree, as they are finished (`run_search`)."""
    run = _Run(engine, scorer, prover, value, settings)
    flights: list[_Flight] = []
    waiting = list(reversed(problems))
    last = time.perf_counter()
    # An engine in this process need not read a prefix again that it has just written.
    with getattr(run.engine, "keeping", nullcontext)():
        while waiting or flights:
            done: list[tuple[_Flight, list[State]]] = []
            while waiting and len(flights) < settings.in_flight:
                task = Task(waiting.pop(), n, settings, run.valuation)
                _advance(_Flight(task, METHODS[method](task), Score(()), tree()), None, flights, done)
            for kind in (Sample, Score):
                asking = [flight for flight in flights if isinstance(flight.question, kind)]
                flights = [flight for flight in flights if not isinstance(flight.question, kind)]
                answers = run.sample(asking) if kind is Sample else run.score(asking)
                for flight, answer in zip(asking, answers, strict=True):
                    _advance(flight, answer, flights, done)
            for flight, states in done:
                run.forget(flight.task.problem)
                now = time.perf_counter()
                found = _found(flight.task, states, now - last)
                last = now
                yield found, partial(flight.tree.record, states, found.chosen)


def _advance(
    flight: _Flight, answer: Any, flights: list[_Flight], done: list[tuple[_Flight, list[State]]]
) -> None:
    """Send a search its answer, and put it where it belongs: in flight again, or done."""
    try:
        flight.question = flight.search.send(answer)
    except StopIteration as end:
        done.append((flight, end.value))
    else:
        flight.tree.asked(flight.question)
        flights.append(flight)


class _Run:
    """Answers the questions of the searches in flight, together."""

    def __init__(
        self,
        engine: Engine,
        scorer: StepScorer,
        prover: StepScorer | None,
        value: StepScorer | None,
        settings: MethodSettings,
    ) -> None:
        other = parse_prover(settings.prover)
        if settings.alpha > 0 and other.policy is not None and prover is None:
            raise SettingsError(f"the prover {settings.prover!r} has no value model: give one as `prover`")
        for one, wanted in ((scorer, "correctness"), (value, "value")) if value is not None else ():
            sidecar = getattr(one, "sidecar", None)
            if sidecar is not None and sidecar.meaning != wanted:
                raise SettingsError(
                    f"the product of correctness and value needs a {'`prm`' if one is scorer else '`value`'} whose scores "
                    f"mean '{wanted}'; those of the one given mean '{sidecar.meaning}' (its sparring.json)"
                )
        self.engine, self.settings = engine, settings
        self.scores = StepScores(scorer)
        self.prover = StepScores(prover) if prover is not None and settings.alpha > 0 else None
        self.value = StepScores(value) if value is not None else None
        self.valuation = Valuation(
            aggregation_for(scorer, settings.aggregation),
            other.best_of,
            None if prover is None or self.prover is None else aggregation_for(prover, "auto"),
            None if value is None else aggregation_for(value, "auto"),
        )
        self.lengths = Lengths(getattr(engine, "tokenizer", None), getattr(engine, "layout", None))
        self.policy = measured(getattr(engine, "model", None)) if self.lengths.known else None
        self.readers = [one for one in (self.scores, self.prover, self.value) if one is not None]
        if settings.budget_flops is not None and None in (self.policy, *(one.model for one in self.readers)):
            raise SettingsError("budget_flops needs models in this process; use budget_tokens")

    def sample(self, flights: Sequence[_Flight]) -> list[Sampled]:
        """Answer questions for continuations: one call of the engine per kind and number of continuations."""
        asked = [(flight.task, flight.question) for flight in flights if isinstance(flight.question, Sample)]
        answers: list[Sampled] = [[[] for _ in question.prefixes] for _, question in asked]
        calls: dict[tuple[bool, bool, int], list[tuple[int, int]]] = defaultdict(list)
        for index, (_, question) in enumerate(asked):
            for place, count in enumerate(question.counts):
                calls[question.whole, question.greedy, count].append((index, place))
        for (whole, greedy, count), places in calls.items():
            limits = self.settings.limits(whole=whole, greedy=greedy)
            stop = self.settings.stop if whole else (self.settings.separator,)
            items = [
                (
                    Prefix(asked[index][0].problem, asked[index][1].prefixes[place]),
                    asked[index][1].seeds[place],
                )
                for index, place in places
            ]

            def call(
                part: Sequence[tuple[Prefix, int]],
                count: int = count,
                limits: Limits = limits,
                stop: Sequence[str] = stop,
            ) -> Sequence[list[Completion]]:
                prefixes, seeds = [prefix for prefix, _ in part], [seed for _, seed in part]
                return self.engine.sample(prefixes, count, limits=limits, seeds=seeds, stop=stop)

            found = each_that_fits(call, items)
            for (index, place), (prefix, _), answer in zip(places, items, found, strict=True):
                answers[index][place] = answer
                if not isinstance(answer, DataError):
                    self._count(prefix, answer, asked[index][0].spent)
        return answers

    def _count(self, prefix: Prefix, completions: Sequence[Completion], spent: Spent) -> None:
        start = self.lengths.of(prefix.problem, prefix.steps)
        silent = any(one.text and not one.token_ids for one in completions)
        generated = None if silent else sum(len(one.token_ids) for one in completions)
        if generated is None and self.settings.budget_tokens is not None:
            raise SettingsError("budget_tokens: this engine does not say which tokens it wrote")
        flops = None
        if self.policy is not None and start is not None and not silent:
            # The last sampled token is not read; a completion's first one comes out of the prompt.
            written = (self.policy.flops(start, start + len(one.token_ids) - 1) for one in completions)
            flops = self.policy.flops(0, start) + sum(written)
        spent.add(tokens_generated=generated, tokens_prefilled=start, policy_flops=flops)

    def score(self, flights: Sequence[_Flight]) -> list[Scored]:
        """Answer questions for scores: one call of each scorer."""
        asked = [
            (flight.task.problem, flight.question.prefixes, flight.task.spent)
            for flight in flights
            if isinstance(flight.question, Score)
        ]
        rows = self.scores.score(asked)
        found: list[Scored] = []
        prover = None if self.prover is None else self.prover.score(asked)
        value = None if self.value is None else self.value.score(asked)
        for number, row in enumerate(rows):
            scored: Scored = []
            for place, mine in enumerate(row):
                theirs = None if prover is None else prover[number][place]
                worth = None if value is None else value[number][place]
                refused = next((one for one in (mine, theirs, worth) if isinstance(one, DataError)), None)
                scored.append(refused or (mine, theirs, worth))  # type: ignore[arg-type]
            found.append(scored)
            flights[number].tree.scored(asked[number][1], scored, self.valuation)
        return found

    def forget(self, problem: Problem) -> None:
        """Forget what was kept for a problem."""
        for scores in self.readers:
            scores.forget(problem)


def _lasting(settings: MethodSettings) -> dict[str, Any]:
    """Return the settings that decide results."""
    names = set(MethodSettings.model_fields) - {"in_flight"}
    return {name: value for name, value in dump_settings(settings).items() if name in names}


def _found(task: Task, states: Sequence[State], seconds: float) -> Found:
    candidates = tuple(
        Candidate(state.steps, state.end == "finished", state.scores, state.value) for state in states
    )
    refusal = None if task.refusal is None else str(task.refusal)
    return Found(
        task.problem.id, choice(states), candidates, task.spent, dict(+task.counts), refusal, seconds
    )


def _finished(journal: Journal) -> dict[str, Found]:
    """Return what earlier processes finished."""
    results = {}
    for start, record in journal.starts():
        try:
            found = TypeAdapter(Found).validate_python(record)
        except ValidationError as error:
            reason = error.errors()[0]
            field = ".".join(map(str, reason["loc"]))
            raise DataError(
                f"not a line of a search journal: {reason['msg']}",
                file=journal.path,
                line=journal.line(start),
                field=field,
            ) from error
        results[found.problem] = found
    return results
