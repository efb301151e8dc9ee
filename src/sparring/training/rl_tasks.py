"""What a policy is trained on and measured on, and how its answers are sampled and judged.

Contract: drawing is a pure function of the generator passed in; held-out problems are never drawn. Problems that cannot be
used are counted in `left_out`. An answer's ids are those that were sampled, its steps are found in their text. Whatever
engine samples, it samples from the weights as they are now: the engine in this process shares them, and any other is
given them first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sparring.errors import DataError, plural
from sparring.fingerprints import records_digest
from sparring.labels.answers import AnswerChecker, Checker, WorldChecker
from sparring.models.roles import Policy
from sparring.oracles.panel import Panel
from sparring.rollouts.engine import Completion, Engine, Prefix, completion_from, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.settings_shared import seed_from
from sparring.traces.readers import read_problems_as
from sparring.traces.records import Problem
from sparring.traces.spans import Layout, prompt_ids
from sparring.traces.verdict import Judge
from sparring.training.alignment import pieces_of, step_spans
from sparring.training.engine_beside import OtherEngine, with_probabilities
from sparring.training.processes import is_main, spread, wait
from sparring.training.rl_scores import Answer
from sparring.training.rl_settings import RlSettings
from sparring.training.rollout_ahead import Ahead
from sparring.training.run import random_for
from sparring.worlds.chain import LONGER
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.subject import TEXT
from sparring.worlds.world import world_problems

HELD_OUT_SEED = 0  # the same held-out problems whatever the run's seed, so that runs can be compared


@dataclass
class Subject:
    """Problems to train on, problems to watch, and who judges answers."""

    draw: Callable[[random.Random, int], list[Problem]]
    held_out: list[Problem]
    checker: Checker
    judge: Judge | None = None
    """An oracle of steps: the world's own where there is one, and for texts the panel where a gate asks for it."""
    longer: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    """Fingerprint of the data; empty where problems are generated."""


def load_subject(settings: RlSettings) -> Subject:
    """Return the subject of the settings.

    Raises:
        DataError: the file cannot be read, or has too few problems with answers to train on and to watch.
    """
    if settings.task != TEXT:
        return world_subject(settings)
    assert settings.data is not None
    result = read_problems_as(settings.data, settings.data_format)
    problems = [problem for problem in result.problems if problem.answer is not None][: settings.max_problems]
    left_out = Counter(item.reason for item in result.skipped)
    left_out["no reference answer"] = sum(problem.answer is None for problem in result.problems)
    if len(problems) < settings.watch_problems + settings.problems_per_update:
        raise DataError(
            f"too few to hold out {settings.watch_problems} and train on {settings.problems_per_update} per update: "
            f"{plural(len(problems), 'problem')} with answers",
            file=settings.data,
        )
    digest = records_digest([one.id, one.question, one.answer] for one in problems)
    random.Random(HELD_OUT_SEED).shuffle(problems)
    held_out, training = problems[: settings.watch_problems], problems[settings.watch_problems :]
    return Subject(
        lambda rng, count: rng.sample(training, count),
        held_out,
        AnswerChecker(),
        Panel(settings.gate_oracle).judge_many if settings.gate == "oracle" else None,
        left_out=+left_out,
        digest=digest,
    )


def world_subject(settings: RlSettings) -> Subject:
    """Return endless problems of a world; one that is held out is drawn again."""
    world = settings.world
    held_out = world_problems(world, settings.watch_problems, seed=HELD_OUT_SEED, name="rl-held-out")
    longer = []
    if isinstance(world, ChainWorld):
        long_world = replace(world, steps=LONGER)
        longer = world_problems(long_world, settings.watch_longer, seed=HELD_OUT_SEED, name="rl-longer")
    kept_back = {problem.question for problem in held_out}

    def draw(rng: random.Random, count: int) -> list[Problem]:
        drawn: list[Problem] = []
        while len(drawn) < count:
            problem = world.problem(rng, f"rl-{rng.getrandbits(48):012x}")
            if problem.question not in kept_back:
                drawn.append(problem)
        return drawn

    return Subject(
        draw, held_out, WorldChecker(world), lambda steps: [world.judge(*step) for step in steps], longer
    )


class Sampler:
    """Answers of the policy as it is now, judged.

    Args:
        policy: its model is sampled from in place, so that engine and trained weights are the same.
        tokenizer: the policy's.
        layout: the texts around a question.
        checker: judges the answers.
        settings: limits and temperature.
        other: another engine to sample from, which is given the weights whenever they have changed.
        judge: of the answers' steps, where there is one.
    """

    def __init__(
        self,
        policy: Policy,
        tokenizer: Any,
        layout: Layout,
        checker: Checker,
        settings: RlSettings,
        other: OtherEngine | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.policy, self.tokenizer, self.layout = policy, tokenizer, layout
        self.checker, self.other, self.judge = checker, other, judge
        self.limits = settings.limits(settings.temperature)
        self.stop, self.piece = settings.stop, pieces_of(tokenizer)
        self.engine: Engine = (
            LocalEngine(policy.model, tokenizer, layout, row_budget=settings.row_budget)
            if other is None
            else other.engine
        )
        self._published: int | None = None
        self.ahead: Rollouts | None = None  # what samples in a thread: weights change when it is done

    def in_step(self) -> Engine:
        """Return the engine after it has the weights as they are now, and nothing else is sampling."""
        if self.ahead is not None:
            self.ahead.wait()
        if self.other is not None and self._published != self.policy.version:
            if is_main() or self.other.everywhere:
                self.other.publish(self.policy)
            wait()
            self._published = self.policy.version
        return self.engine

    def close(self) -> None:
        """Let another engine go."""
        if self.other is not None:
            self.other.close()

    def answers(self, problems: Sequence[Problem], samples: int, seed: int) -> list[list[Answer]]:
        """Return `samples` answers per problem, in every process; each samples and judges those to its share of problems.

        Raises:
            DataError: a prompt does not fit into the model's positions.
            SettingsError: the engine does not tell what was sampled with what probability.
        """
        engine = self.in_step()
        with self.policy.whole():
            return spread(self.asked(problems, seed), lambda own: self.answers_of(engine, own, samples))

    def asked(self, problems: Sequence[Problem], seed: int) -> list[tuple[Problem, int]]:
        """Return each problem with the seed of its answers."""
        return [(problem, seed_from(seed, place)) for place, problem in enumerate(problems)]

    def answers_of(
        self, engine: Engine, asked: Sequence[tuple[Problem, int]], samples: int
    ) -> list[list[Answer]]:
        """Return judged answers to problems, in this process, from the weights that the engine has."""
        if not asked:
            return []
        problems = [problem for problem, _ in asked]
        with self.policy.sampling():
            completions = engine.sample(
                [Prefix(problem) for problem in problems],
                samples,
                limits=self.limits,
                stop=self.stop,
                seeds=[seed for _, seed in asked],
            )
        return self.judged(problems, completions)

    def judged(
        self, problems: Sequence[Problem], completions: Sequence[Sequence[Completion]]
    ) -> list[list[Answer]]:
        """Return what was sampled for each problem as judged answers."""
        groups = [self._group(problem, group) for problem, group in zip(problems, completions, strict=True)]
        answers = [answer for group in groups for answer in group]
        verdicts = self.checker.judge([answer.solution for answer in answers])
        for answer, verdict in zip(answers, verdicts, strict=True):
            answer.unreadable = verdict is None
            answer.outcome = float(verdict is True and not answer.truncated)
        if self.judge is not None:
            judge_steps(answers, self.judge)
        return groups

    def _group(self, problem: Problem, completions: Sequence[Completion]) -> list[Answer]:
        with_probabilities(self.engine, self.limits.temperature, completions)
        prompt = tuple(prompt_ids(problem.question, self.tokenizer, self.layout))
        return [
            Answer(
                problem,
                prompt,
                one,
                split_completion(one.text),
                step_spans(
                    self.tokenizer, one.token_ids, one.whole or one.text, answer=one.text, piece=self.piece
                ),
            )
            for one in completions
        ]


class Rollouts(Ahead[tuple[Problem, int], list[Answer]]):
    """The answers of one update after another, a group per problem."""

    def __init__(self, settings: RlSettings, subject: Subject, sampler: Sampler) -> None:
        super().__init__(settings.staleness, settings.updates)
        self.settings, self.subject, self.sampler = settings, subject, sampler
        sampler.ahead = self

    def asked(self, step: int) -> list[tuple[Problem, int]]:
        """Return an update's problems, each with the seed of its answers."""
        return self.sampler.asked(*self._problems(step))

    def fresh(self, step: int) -> list[list[Answer]]:
        """Return judged answers from the present weights."""
        problems, seed = self._problems(step)
        return self.sampler.answers(problems, self.settings.samples_per_problem, seed)

    def engine(self) -> Engine:
        """Return the engine, in step with the policy."""
        return self.sampler.in_step()

    def make(self, engine: Engine, own: Sequence[tuple[Problem, int]]) -> list[list[Answer]]:
        """Return judged answers from the weights that the engine has."""
        return self.sampler.answers_of(engine, own, self.settings.samples_per_problem)

    def packed(self, made: list[Answer]) -> list[dict[str, Any]]:
        """Return a group's completions; verdicts are found again."""
        return [asdict(answer.completion) for answer in made]

    def unpacked(self, step: int, values: Sequence[Any]) -> list[list[Answer]]:
        """Return the groups, judged again."""
        completions = [[completion_from(one) for one in group] for group in values]
        return self.sampler.judged(self._problems(step)[0], completions)

    def _problems(self, step: int) -> tuple[list[Problem], int]:
        """Return an update's problems, and the seed of their answers."""
        seed = self.settings.seed
        problems = self.subject.draw(random_for(seed, step, "problems"), self.settings.problems_per_update)
        return problems, seed_from(seed, step, "rollouts")


def judge_steps(answers: Sequence[Answer], judge: Judge) -> None:
    """Set an oracle's word on every step of some answers; equal beginnings of answers are judged once."""
    places: dict[tuple[str, tuple[str, ...]], tuple[Problem, Sequence[str], str]] = {}
    for answer in answers:
        for count, step in enumerate(answer.steps):
            before = answer.steps[:count]
            places.setdefault((answer.problem.question, (*before, step)), (answer.problem, before, step))
    truths = {place: one.truth for place, one in zip(places, judge(list(places.values())), strict=True)}
    for answer in answers:
        answer.truths = tuple(
            truths[answer.problem.question, answer.steps[: count + 1]] for count in range(len(answer.steps))
        )
