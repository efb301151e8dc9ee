"""Labelled traces as training examples: targets per step, split by problem, class balance.

Contract: pure functions. What cannot be used (no label, too long) is refused or counted in the given counter, never lost.
The split goes by the question's text, so that no problem is on both sides whatever its ids are. Not here: models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparring.errors import DataError
from sparring.fingerprints import records_digest
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Label, Trace
from sparring.traces.spans import Encoded, Layout, encode

Targets = Callable[[Trace], "tuple[Label, ...] | None"]
"""From a trace to one target per step (None: this step trains nobody), or None where the trace has no label at all."""


@dataclass(frozen=True, slots=True)
class Example:
    """A trace as token ids, with one target in [0, 1] or None per scoring position.

    Examples of one `group`, the question, stay on one side of the split.
    """

    group: str
    encoded: Encoded
    targets: tuple[Label, ...]

    @property
    def columns(self) -> list[int]:
        """The scoring positions that have a target."""
        return [
            column
            for column, target in zip(self.encoded.positions, self.targets, strict=True)
            if target is not None
        ]

    @property
    def known(self) -> list[float]:
        """The targets at `columns`."""
        return [target for target in self.targets if target is not None]


def hard_labels(trace: Trace) -> tuple[Label, ...] | None:
    """Return step labels as 0 or 1 (from 0.5 on)."""
    if trace.labels is None:
        return None
    return tuple(None if label is None else float(label >= 0.5) for label in trace.labels)


def soft_labels(trace: Trace) -> tuple[Label, ...] | None:
    """Return step labels as they are: probabilities, for instance Monte-Carlo values."""
    return trace.labels


def estimated_values(trace: Trace) -> tuple[Label, ...] | None:
    """Return the measured value of every prefix, where it was measured."""
    if trace.estimates is None:
        return None
    return tuple(None if estimate is None else estimate.value for estimate in trace.estimates)


def outcome_at_last_step(trace: Trace) -> tuple[Label, ...] | None:
    """Return the outcome at the last step and nothing at the others."""
    if trace.outcome is None:
        return None
    return (*[None] * (len(trace.steps) - 1), float(trace.outcome))


def outcome_at_every_step(trace: Trace) -> tuple[Label, ...] | None:
    """Return the outcome at every step: a label that is often wrong, most of all in wrong solutions."""
    return None if trace.outcome is None else (float(trace.outcome),) * len(trace.steps)


def read_labelled(
    files: Sequence[str], data_format: str, keep_annotations: bool, left_out: Counter[str]
) -> list[Trace]:
    """Return the traces of all files; what the readers skip is counted.

    Raises:
        DataError: a file cannot be used, or holds no trace.
    """
    traces: list[Trace] = []
    for file in files:
        found = read_traces_as(file, data_format, ReadOptions(keep_annotations=keep_annotations))
        if not found.traces:
            raise DataError("no traces in this file", file=file)
        traces += found.traces
        left_out.update(entry.reason for entry in found.skipped)
    return traces


def make_examples(
    traces: Sequence[Trace],
    targets: Targets,
    tokenizer: Any,
    layout: Layout,
    *,
    max_length: int,
    overflow: Literal["refuse", "drop_trace", "drop_steps"],
    left_out: Counter[str],
    missing: str = "trace without a label",
) -> list[Example]:
    """Return the examples; traces without a target (reason `missing`) and, on request, over-long ones are counted.

    Raises:
        DataError: a trace does not fit and `overflow` is `refuse`, or no trace has a target.
    """
    examples: list[Example] = []
    for trace in traces:
        wanted = targets(trace)
        if wanted is None or all(target is None for target in wanted):
            left_out[missing] += 1
            continue
        try:
            encoded = encode(
                trace.problem.question,
                trace.steps,
                tokenizer,
                layout,
                max_length=None if overflow == "drop_trace" else max_length,
                overflow="drop_steps" if overflow == "drop_steps" else "refuse",
            )
        except DataError as error:
            if overflow == "drop_steps":
                left_out[f"trace whose first step ends past {max_length} tokens"] += 1
                continue
            hint = "" if overflow == "drop_trace" else "; see the settings max_length and overflow"
            raise DataError(
                f"trace of problem '{trace.problem.id}': {error.message}{hint}", field=error.field
            ) from None
        if len(encoded.input_ids) > max_length:
            left_out[f"trace longer than {max_length} tokens"] += 1
            continue
        kept = wanted[: len(encoded.positions)]
        if all(target is None for target in kept):
            left_out[f"trace with no label left within {max_length} tokens"] += 1
            continue
        if encoded.dropped:
            left_out[f"step past {max_length} tokens"] += encoded.dropped
        examples.append(Example(trace.problem.question.strip(), encoded, kept))
    if not examples:
        counted = "; ".join(f"{count} × {reason}" for reason, count in left_out.items())
        raise DataError(f"no trace is left to train on: {counted or 'there was none'}")
    return examples


def split_by_group(
    examples: Sequence[Example], share: float, rng: random.Random
) -> tuple[list[Example], list[Example]]:
    """Return training and validation examples; a random share of the questions is held out.

    Raises:
        DataError: there are not two questions to put on two sides.
    """
    groups = sorted({example.group for example in examples})
    if share == 0:
        return list(examples), []
    if len(groups) < 2:
        raise DataError(
            "all traces are of one problem: nothing can be held out (validation_share=0 trains without)"
        )
    count = min(len(groups) - 1, max(1, round(share * len(groups))))
    held = set(rng.sample(groups, count))
    return (
        [example for example in examples if example.group not in held],
        [example for example in examples if example.group in held],
    )


def place_weights(
    examples: Sequence[Example], balance: Literal["none", "weights", "sampling"], rng: random.Random
) -> list[list[float]]:
    """Return one weight per known target of every example.

    With `weights` both classes (target below 0.5, and from 0.5 on) have the same total and the mean is 1; with
    `sampling` a random subset of the larger class, as large as the smaller one, has weight 1 and the rest 0. Where one
    class is missing all weights are 1.
    """
    weights = [[1.0] * len(example.known) for example in examples]
    places: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for row, example in enumerate(examples):
        for column, target in enumerate(example.known):
            places[target >= 0.5].append((row, column))
    total, smaller = len(places[False]) + len(places[True]), min(map(len, places.values()))
    if balance == "none" or smaller == 0:
        return weights
    for members in places.values():
        if balance == "weights":
            for row, column in members:
                weights[row][column] = total / (2 * len(members))
        else:
            for row, column in rng.sample(members, len(members) - smaller):
                weights[row][column] = 0.0
    return weights


def examples_digest(examples: Sequence[Example]) -> str:
    """Return a SHA-256 of ids, positions and targets, in order: what a resumed run must agree in."""
    return records_digest(
        [example.encoded.input_ids, example.encoded.positions, example.targets] for example in examples
    )
