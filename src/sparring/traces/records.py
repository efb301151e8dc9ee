"""Problem and Trace: the two records that flow through everything.

Contract: both are immutable and checked when made, so that code further down never meets an empty step or a label
out of range. What a label means: 1.0 the step is correct, 0.0 it is wrong, in between a soft value, ``None`` nobody
knows (for instance steps after the first error). Not here: reading and writing files (`readers.py`, `jsonl.py`),
tokens (`spans.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparring.errors import DataError, plural

Label = float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of a prefix (the probability of reaching the right answer from it), measured by rollouts.

    Attributes:
        value: the estimate.
        count: rollouts that it rests on; 0 where it is known exactly, as for a finished solution.
        low: lower end of a 95 % interval.
        high: upper end.

    Raises:
        DataError: not 0 ≤ low ≤ value ≤ high ≤ 1, or a negative count.
    """

    value: float
    count: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.value <= self.high <= 1.0:
            message = f"expected 0 ≤ low ≤ value ≤ high ≤ 1, got {self.low}, {self.value}, {self.high}"
            raise DataError(message, field="estimates")
        if self.count < 0:
            raise DataError(f"a count is not negative, got {self.count}", field="estimates")


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with, where known, its reference answer and a reference solution split into steps.

    Raises:
        DataError: the question is empty, the solution holds an empty step, or a text is not valid Unicode.
    """

    id: str
    question: str
    answer: str | None = None
    solution: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise DataError("the question is empty", field="problem")
        for name, text in (("id", self.id), ("problem", self.question), ("answer", self.answer)):
            if isinstance(text, str):
                refuse_half_pair(text, name)
        if self.solution is not None:
            object.__setattr__(self, "solution", checked_steps(self.solution, "solution"))


@dataclass(frozen=True, slots=True)
class Trace:
    """A problem with ordered steps: a partial or whole solution.

    Attributes:
        problem: what the steps try to solve.
        steps: at least one non-empty text.
        labels: one entry per step, or ``None`` when there are no labels at all.
        outcome: whether the final answer is correct, where known.
        source: who wrote the steps (a model's name, ``reference``, a data set).
        meta: anything else; written as JSON.
        estimates: the measured value of the prefix that ends with each step, ``None`` where it was not measured.

    Raises:
        DataError: no step, an empty step, one that is not valid Unicode, a label count or estimate count that differs
            from the step count, a label outside [0, 1].
    """

    problem: Problem
    steps: tuple[str, ...]
    labels: tuple[Label, ...] | None = None
    outcome: bool | None = None
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    estimates: tuple[Estimate | None, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.steps) == 0:
            raise DataError("a trace needs at least one step", field="steps")
        object.__setattr__(self, "steps", checked_steps(self.steps, "steps"))
        if self.labels is not None:
            object.__setattr__(self, "labels", checked_labels(self.labels, len(self.steps)))
        if self.estimates is not None:
            if len(self.estimates) != len(self.steps):
                message = f"{plural(len(self.estimates), 'estimate')} for {plural(len(self.steps), 'step')}"
                raise DataError(message, field="estimates")
            object.__setattr__(self, "estimates", tuple(self.estimates))

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step, -1 if every step is known to be correct, ``None`` if that is unknown.

        A soft label counts as wrong below 0.5.
        """
        return None if self.labels is None else first_error_of(self.labels)

    def prefix(self, length: int) -> Trace:
        """Return the trace cut to its first `length` steps (1 ≤ length ≤ number of steps); the outcome is dropped."""
        if not 1 <= length <= len(self.steps):
            raise ValueError(
                f"a prefix of {plural(length, 'step')} does not exist in a trace of {len(self.steps)}"
            )
        labels = None if self.labels is None else self.labels[:length]
        estimates = None if self.estimates is None else self.estimates[:length]
        return replace(self, steps=self.steps[:length], labels=labels, outcome=None, estimates=estimates)

    def __rich__(self) -> Any:
        """The steps with their labels as a table, in a terminal."""
        from sparring.traces.shown import labels_said, plain, steps_table

        shown = steps_table(self, self.labels or (), 0.5)
        shown.add_row("", "", plain(labels_said(self.labels)))
        return shown

    def _repr_html_(self) -> str:
        """The same, in a notebook."""
        from sparring.traces.shown import labels_said, steps_html

        return steps_html(self, self.labels or (), 0.5, labels_said(self.labels))


def labels_from_first_error(first_error: int, length: int) -> tuple[Label, ...]:
    """Return step labels for a ProcessBench-style label: 1 before the first error, 0 at it, unknown after; −1 = no error.

    Raises:
        DataError: the index is below −1 or past the last step.
    """
    if not -1 <= first_error < length:
        raise DataError(f"first error {first_error} is not in -1..{length - 1}", field="label")
    if first_error == -1:
        return (1.0,) * length
    return (1.0,) * first_error + (0.0,) + (None,) * (length - first_error - 1)


def first_error_of(labels: Sequence[Label]) -> int | None:
    """Return what `Trace.first_error` says of these labels."""
    for index, label in enumerate(labels):
        if label is None:
            return None
        if label < 0.5:
            return index
    return -1


def step_labels(truths: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels of an answer's steps from an oracle's words on them; nothing is said after the first error."""
    known: dict[str, Label] = {"correct": 1.0, "wrong": 0.0}
    count = truths.index("wrong") + 1 if "wrong" in truths else len(truths)
    return (*(known.get(truth) for truth in truths[:count]), *[None] * (len(truths) - count))


def checked_steps(steps: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the steps as a tuple, or raise DataError naming the first one that is not a non-empty text."""
    if isinstance(steps, str):
        raise DataError("expected a list of texts, got one text", field=name)
    for index, step in enumerate(steps):
        if not isinstance(step, str):
            raise DataError(f"expected a text, got {type(step).__name__}", field=f"{name}[{index}]")
        if not step.strip():
            raise DataError("the step is empty", field=f"{name}[{index}]")
        refuse_half_pair(step, f"{name}[{index}]")
    return tuple(steps)


def refuse_half_pair(text: str, field: str) -> None:
    """Raise DataError for a text that is not valid Unicode: no tokenizer takes it, and no file."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                "the text holds half of a surrogate pair, which is not valid Unicode", field=field
            ) from None


def checked_labels(labels: Sequence[Label], length: int) -> tuple[Label, ...]:
    """Return the labels as a tuple of floats or None, or raise DataError naming the bad one."""
    if len(labels) != length:
        raise DataError(f"{plural(len(labels), 'label')} for {plural(length, 'step')}", field="labels")
    for index, label in enumerate(labels):
        if label is None:
            continue
        if not isinstance(label, (int, float)) or not 0.0 <= label <= 1.0:
            raise DataError(
                f"a label is a number from 0 to 1 or null, got {label!r}", field=f"labels[{index}]"
            )
    return tuple(None if label is None else float(label) for label in labels)
