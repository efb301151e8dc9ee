"""Reading candidates for best-of-N: several solutions of the same problems, with outcomes.

Two kinds of files are read: traces in any known format with an `outcome`, grouped by problem; and one record per problem
with parallel lists (`response`, `score` for right or wrong, `pred` for answers, `pred_score` for a reward model's raw
outputs, as Qwen2.5-Math's evaluation writes them). Raw outputs become scores through a sigmoid, which keeps their order.

Contract: a problem may have any number of candidates, none included; a candidate without an outcome is refused, for it can
neither be right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import DataError
from sparring.evaluation.commands import distinct_ids
from sparring.traces.answers import stated_answer
from sparring.traces.fields import Fields, finite_number, is_number
from sparring.traces.formats.common import question_id
from sparring.traces.jsonl import json_objects
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Problem, Trace
from sparring.traces.splitting import split_steps

_LISTS = frozenset(("question", "response", "score"))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates by problem.

    Attributes:
        groups: per problem id, the ids of its candidates in order.
        traces: the candidates that have steps, by id.
        answers: answer per candidate id as it was written, None where there is none.
        correct: outcome per candidate id.
        scores: scores that came with the file, by candidate id.
        skipped: records that the reader left out.
    """

    groups: dict[str, list[str]]
    traces: dict[str, Trace]
    answers: dict[str, str | None]
    correct: dict[str, bool]
    scores: dict[str, tuple[float, ...]]
    skipped: int


def read_candidates(paths: Sequence[Path]) -> Candidates:
    """Return the candidates of one or more files.

    Raises:
        DataError: a file cannot be used, or a candidate has no outcome.
    """
    found = Candidates({}, {}, {}, {}, {}, 0)
    skipped = 0
    for path in paths:
        _, first = next(json_objects(path), (0, {}))
        if first.keys() >= _LISTS:
            for line, record in json_objects(path):
                try:
                    _add_record(found, Fields(record), str(record.get("idx", line)))
                except DataError as error:
                    raise error.at(file=path, line=line) from error
        else:
            skipped += _add_traces(found, path)
    if not found.groups:
        raise DataError(f"no candidates in {', '.join(map(str, paths))}")
    return Candidates(found.groups, found.traces, found.answers, found.correct, found.scores, skipped)


def _add_traces(found: Candidates, path: Path) -> int:
    result = read_traces_as(path)
    if not result.traces:
        raise DataError("no traces in this file", file=path)
    for identity, trace in zip(distinct_ids(result.traces), result.traces, strict=True):
        if trace.outcome is None:
            raise DataError(
                f"trace {identity!r} has no outcome: was its answer right?", file=path, field="outcome"
            )
        if identity in found.correct:
            raise DataError(f"candidate {identity!r} stands twice", file=path, field="id")
        answer = trace.meta.get("answer") if "answer" in trace.meta else stated_answer(trace.steps)
        found.groups.setdefault(trace.problem.id, []).append(identity)
        found.traces[identity] = trace
        found.answers[identity] = _stated(answer)
        found.correct[identity] = trace.outcome
    return len(result.skipped)


def _add_record(found: Candidates, record: Fields, name: str) -> None:
    question = record.text("question")
    responses = record.strings("response")
    outcomes = record.values["score"]
    answers: Any = record.values.get("pred", [None] * len(responses))
    rewards: Any = record.values.get("pred_score")
    for field, values in (("score", outcomes), ("pred", answers), ("pred_score", rewards)):
        if values is not None and (not isinstance(values, list) or len(values) != len(responses)):
            raise record.error(
                field, f"expected a list with one entry for each of {len(responses)} responses"
            )
    problem = Problem(f"{name}-{question_id(question)}", question)
    group = found.groups.setdefault(problem.id, [])
    if group:
        raise record.error("question", "the problem stands twice")
    for number, (response, right, answer) in enumerate(
        zip(responses, outcomes, answers, strict=True), start=1
    ):
        if not isinstance(right, bool):
            raise record.error("score", f"entry {number} is not true or false")
        identity = f"{problem.id}#{number}"
        group.append(identity)
        found.correct[identity] = right
        found.answers[identity] = _stated(answer)
        if response.strip():
            found.traces[identity] = Trace(problem, tuple(split_steps(response)), outcome=right)
        if rewards is not None:
            found.scores[identity] = _sigmoid(record, rewards[number - 1])


def _stated(answer: object) -> str | None:
    """Return an answer as text, None where it is none; public sets also write numbers."""
    text = str(answer) if is_number(answer) else answer
    return text.strip() or None if isinstance(text, str) else None


def _sigmoid(record: Fields, rewards: Any) -> tuple[float, ...]:
    values = [finite_number(value) for value in (rewards if isinstance(rewards, list) else [rewards])]
    if not values or None in values:
        raise record.error("pred_score", "expected finite numbers")
    return tuple(0.5 * (1 + math.tanh(value / 2)) for value in values if value is not None)
