"""What adapters need: texts as traces, a PRM's scores as rewards, one of several answers chosen by values.

Contract: an answer without a step has nothing to be scored and gets 0; a score that cannot be made is an error, never a
number. An answer that is longer than the PRM's context loses whole last steps; `StepRewards.unscored_steps` counts them.
Equal answers are scored once. Not here: credit rules (`training/credit.py`), the trainers (one file each beside this).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from sparring.errors import DataError, plural
from sparring.evaluation.scores import checked_scores
from sparring.labels.answers import AnswerChecker
from sparring.labels.posterior import best_of_k
from sparring.notebook import as_trace
from sparring.oracles.equality import answer_groups
from sparring.rollouts.engine import SEPARATOR, split_completion
from sparring.scorers.door import StepScorer, open_scorer
from sparring.search.aggregation import AGGREGATIONS, aggregation_for
from sparring.traces.answers import stated_answer
from sparring.training.credit import Floats, progress, with_start

Rule = Literal["best_of_n", "weighted_vote", "majority"]
RULES: tuple[Rule, ...] = get_args(Rule)
Text = str | Sequence[Mapping[str, Any]]
"""A text, or a conversation as trainers hold it: messages with `role` and `content`."""


def text_of(given: Text, role: str | None = None) -> str:
    """Return a text: of a conversation its last message, or the last one of a role.

    Raises:
        DataError: it is neither, or holds no such message.
    """
    if isinstance(given, str):
        return given
    messages = [one for one in given if isinstance(one, Mapping)] if isinstance(given, Sequence) else []
    for message in reversed(messages):
        if role is None or message.get("role") == role:
            return _content(message.get("content"))
    raise DataError(
        f"expected a text or a conversation with a message{f' of the {role}' if role else ''}, got {given!r:.80}"
    )


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    raise DataError(
        f"a message's content is a text or a list of parts, got {repr(content)[:80]}", field="content"
    )


class StepRewards:
    """Scores a trainer's answers with a PRM.

    Args:
        source: a PRM's folder, a server's address, or a scorer.
        separator: what ends a step of the answers.
        aggregation: from step scores to one reward; ``auto`` as the PRM's sidecar says.
    """

    def __init__(
        self, source: str | Path | StepScorer, *, separator: str = SEPARATOR, aggregation: str = "auto"
    ) -> None:
        opened = isinstance(source, (str, Path))
        self.scorer: StepScorer = (
            open_scorer(source, overflow="drop_steps") if opened else source  # type: ignore[arg-type, assignment]
        )
        self.separator, self.aggregation = separator, aggregation_for(self.scorer, aggregation)
        self.unscored_steps = 0

    def steps(self, answer: Text) -> tuple[str, ...]:
        """Return the steps of an answer."""
        return split_completion(text_of(answer), self.separator)

    def rows(self, questions: Sequence[Text], answers: Sequence[Text]) -> list[Floats]:
        """Return the step scores of every answer; an empty row for one without steps."""
        keys = [
            (text_of(question, "user"), self.steps(answer))
            for question, answer in zip(questions, answers, strict=True)
        ]
        traces = {key: as_trace(*key) for key in keys if key[1]}
        scores = self.scorer.score(list(traces.values())) if traces else []
        if len(scores) != len(traces):
            raise DataError(
                f"the scorer returned {plural(len(scores), 'row')} for {plural(len(traces), 'answer')}"
            )
        may_drop = getattr(self.scorer, "overflow", "refuse") == "drop_steps"
        known: dict[tuple[str, tuple[str, ...]], Floats] = {}
        for (key, trace), row in zip(traces.items(), scores, strict=True):
            length = len(row) if may_drop and 0 < len(row) <= len(trace.steps) else len(trace.steps)
            known[key] = np.array(checked_scores(row, length, trace.problem.id), dtype=np.float64)
        self.unscored_steps += sum(len(key[1]) - len(known[key]) for key in keys if key[1])
        return [known[key] if key[1] else np.zeros(0) for key in keys]

    def values(self, questions: Sequence[Text], answers: Sequence[Text]) -> list[float]:
        """Return one number per answer: its step scores, aggregated."""
        rule = AGGREGATIONS[self.aggregation]
        return [
            float(rule(cast("list[float]", row.tolist()))) if len(row) else 0.0
            for row in self.rows(questions, answers)
        ]

    def progress(
        self, questions: Sequence[Text], answers: Sequence[Text], *, best_of: int = 4
    ) -> list[Floats]:
        """Return the progress of every step under best-of-K of the policy behind a value model (PAV eq. 2).

        The value before the first step is the mean over the other answers to the same question (`credit.with_start`).
        """
        rows = [best_of_k(row, best_of) for row in self.rows(questions, answers)]
        groups: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            groups.setdefault(text_of(question, "user"), []).append(place)
        found: list[Floats] = [np.zeros(0) for _ in rows]
        for places in groups.values():
            values = with_start([rows[place] for place in places])
            for place, row in zip(places, values, strict=True):
                found[place] = progress([row])[0] if len(row) else row
        return found


def outcomes(
    questions: Sequence[Text],
    answers: Sequence[Text],
    references: Sequence[Any],
    *,
    separator: str = SEPARATOR,
    last_number: bool = True,
) -> list[float | None]:
    """Return 1 for an answer that equals its reference, 0 for another, None where the answer cannot be read.

    Args:
        answers: whole solutions.
        references: the right answers; numbers are taken as written.
        separator: what ends a step.
        last_number: where no answer is stated, take the last number of the last step.
    """
    pairs = []
    for question, answer, reference in zip(questions, answers, references, strict=True):
        steps = split_completion(text_of(answer), separator)
        trace = as_trace(text_of(question, "user"), steps or ("-",))
        if reference is None or not str(reference).strip():
            raise DataError(
                f"the question {trace.problem.question[:60]!r} has no reference answer", field="answer"
            )
        pairs.append((type(trace.problem)(trace.problem.id, trace.problem.question, str(reference)), steps))
    judged = AnswerChecker(last_number=last_number).judge(pairs)
    return [None if one is None else float(one) for one in judged]


def choose(answers: Sequence[str], values: Sequence[float], rule: Rule = "best_of_n") -> int:
    """Return the index of the chosen answer; of equals the earlier one.

    In expectation over subsets the same rules are in `search/selection.py`; here a harness has drawn its N answers.

    Args:
        answers: whole texts, at least one.
        values: one per answer, in [0, 1].
        rule: `best_of_n`: the highest value; `weighted_vote`: the best of the class of equal answers with the highest sum
            of values; `majority`: of the largest class, by its first answer. Where no text states an answer, a vote is
            best-of-N.

    Raises:
        DataError: no answer, another number of values, a value that is no number, or no such rule.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule '{rule}' (known: {', '.join(RULES)})", field="rule")
    if not answers or len(values) != len(answers):
        raise DataError(
            f"{plural(len(values), 'value')} for {plural(len(answers), 'answer')}", field="values"
        )
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise DataError("a value is not a number from 0 to 1", field="values")
    best = max(range(len(answers)), key=values.__getitem__)
    if rule == "best_of_n":
        return best
    groups = answer_groups([stated_answer(split_completion(text)) for text in answers])
    weights: dict[int, float] = {}
    for place, group in enumerate(groups):
        if group >= 0:
            weights[group] = weights.get(group, 0.0) + (1.0 if rule == "majority" else values[place])
    if not weights:
        return best
    won = max(weights, key=weights.__getitem__)
    members = [place for place, group in enumerate(groups) if group == won]
    return members[0] if rule == "majority" else max(members, key=values.__getitem__)
