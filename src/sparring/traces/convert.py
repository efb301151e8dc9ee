"""From one layout of labelled traces to another: `sparring convert` and `sparring migrate`.

`convert` reads any format of `FORMATS` and writes our own form, TRL's stepwise supervision or Math-Shepherd. `migrate`
reads data made for TRL's `PRMTrainer` or OpenRLHF's `train_prm`. Both read whatever `sources` does, as a stream.

Contract: the output appears whole or not at all; what is left out or cut is counted by its reason, never silent. Foreign
layouts know two labels and no unknown ones: a label counts as right from `threshold` on, and a trace ends before its first
step without a label. What is written reads back with the same labels.

Not here: other people's layouts as they are read (`formats/`); options for training (`docs/training.md`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from sparring.compressed import refuse_other_ending
from sparring.errors import DataError, SettingsError, did_you_mean, plural
from sparring.settings import Settings
from sparring.traces.fields import Fields, shown
from sparring.traces.formats.automatic import trl_stepwise
from sparring.traces.formats.common import FIRST_STEP, TAG, Oddity, ReadOptions, question_id
from sparring.traces.jsonl import LAYOUT, trace_to_record
from sparring.traces.parquet import Layout, write_records
from sparring.traces.readers import Found, holds_traces, traces_with_places
from sparring.traces.records import Label, Problem, Trace
from sparring.traces.sources import refuse_other_kind, refuse_own_input, shards


@dataclass
class Conversion:
    """What was written, and what was not.

    Attributes:
        traces: how many.
        steps: of all of them.
        wrong: steps labelled below 0.5.
        unknown: steps without a label.
        lost: (``left out`` or ``cut``, why) → how often.
        first: the same → file and line of the first.
    """

    traces: int = 0
    steps: int = 0
    wrong: int = 0
    unknown: int = 0
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], str] = field(default_factory=dict)

    def lose(self, how: str, reason: str, place: str) -> None:
        """Count one more that was left out or cut."""
        self.lost[how, reason] += 1
        self.first.setdefault((how, reason), place)

    def count(self, labels: Sequence[Label]) -> None:
        """Count one more trace that is written, with these labels."""
        self.steps += len(labels)
        self.wrong += sum(label is not None and label < 0.5 for label in labels)
        self.unknown += labels.count(None)

    def show(self, target: Path, console: Console | None = None) -> None:
        """Say what was written and what was left out."""
        console = console or Console()
        steps = f"{plural(self.steps, 'step')} ({self.wrong} wrong, {self.unknown} without a label)"
        console.print(
            f"{plural(self.traces, 'trace')}, {steps}: {target}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        for (how, reason), count in self.lost.most_common():
            words = f"{how}: {count} × {reason}, first at {self.first[how, reason]}"
            console.print(words, style="yellow", soft_wrap=True, highlight=False, markup=False)


def convert(
    source: Path,
    target: Path,
    *,
    to: str,
    data_format: str = "auto",
    threshold: float = 0.5,
    options: ReadOptions | None = None,
) -> Conversion:
    """Convert a file of traces.

    Args:
        source: what `sources` reads: a file, a folder of shards, a pattern, `hf:…`.
        target: JSONL to write; packed or Parquet by its ending (``.jsonl.gz``, ``.jsonl.zst``, ``.parquet``).
        to: a name of `WRITERS`.
        data_format: the source's format, ``auto`` or a name of `FORMATS`.
        threshold: label from which on a step counts as right, where the target knows only two labels.
        options: what the source's format leaves open.

    Raises:
        SettingsError: no such target format, a threshold outside [0, 1], or `target` is read as data, or is there and no
            file of traces.
        DataError: the source cannot be used, or nothing of it can be written.
    """
    if to not in WRITERS:
        raise SettingsError(f"unknown target format '{to}'{did_you_mean(to, WRITERS)}")
    if not 0.0 <= threshold <= 1.0:
        raise SettingsError(f"a threshold is a number from 0 to 1, got {threshold}")
    return _write(source, target, traces_with_places(source, data_format, options), to, threshold)


def show_conversion(source: Path, target: Path, *, to: str, data_format: str, threshold: float) -> None:
    """Convert, and say what was written and what was left out."""
    convert(source, target, to=to, data_format=data_format, threshold=threshold).show(target)


def _write(
    source: Path, target: Path, found: Iterable[tuple[str, int, Found]], to: str, threshold: float
) -> Conversion:
    """Write everything of what was found, (file, line, trace or oddity) each, that the target's layout can hold."""
    refuse_other_ending(target, parquet=True)
    refuse_own_input(target, source)
    refuse_other_kind(target, holds_traces, "file of traces")
    done = Conversion()

    def records() -> Iterator[Record]:
        empty = True
        for file, line, trace in found:
            place = f"{file}:{line}"
            record = trace if isinstance(trace, Oddity) else WRITERS[to](trace, threshold)
            if isinstance(record, Oddity):
                done.lose("left out", record.reason, place)
                continue
            assert isinstance(trace, Trace)
            labels = trace.labels or (None,) * len(trace.steps)
            if to != "sparring" and None in labels:
                labels = labels[: labels.index(None)]
                done.lose("cut", "before the first step without a label", place)
            done.count(labels)
            empty = False
            yield record
        if empty:
            reasons = "; ".join(f"{reason} ({count})" for (_, reason), count in done.lost.items())
            raise DataError(f"nothing can be written as {to}: {reasons or 'it holds no trace'}", file=source)

    done.traces = write_records(target, records(), LAYOUTS[to])
    return done


# --- our form and others, to write ----------------------------------------------------------------------------

_HEADING = re.compile(r"step \d+:", re.IGNORECASE)

Record = dict[str, Any]


def trl_stepwise_record(trace: Trace, threshold: float) -> Record | Oddity:
    """Return `prompt`, `completions` and boolean `labels`; answer, outcome and estimates have no place."""
    labels = _signs(trace, threshold)
    if isinstance(labels, Oddity):
        return labels
    steps = list(trace.steps[: len(labels)])
    return {"prompt": trace.problem.question, "completions": steps, "labels": labels}


def math_shepherd_record(trace: Trace, threshold: float) -> Record | Oddity:
    """Return `input` with a tag after every step, `label` with a sign in each tag's place, and `task`.

    Steps get headings (``Step 1: …``) unless all have one; without them nobody could tell the question from the steps.
    """
    labels = _signs(trace, threshold)
    if isinstance(labels, Oddity):
        return labels
    steps = list(trace.steps[: len(labels)])
    question = trace.problem.question.strip()
    if not all(_HEADING.match(step) for step in steps) or not FIRST_STEP.match(steps[0]):
        steps = [f"Step {number}: {step}" for number, step in enumerate(steps, start=1)]
    if any(TAG in text for text in (question, *steps)):
        return Oddity(f"the text holds the tag '{TAG}'")
    if len(FIRST_STEP.findall(steps[0])) > 1:
        return Oddity("the first step holds 'Step 1:' twice")

    def written(marks: list[str]) -> str:
        return question + " " + "\n".join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))

    task = trace.problem.meta.get("task")
    return {
        "input": written([TAG] * len(steps)),
        "label": written(["+" if label else "-" for label in labels]),
        "task": task if isinstance(task, str) else "sparring",
    }


WRITERS: Mapping[str, Callable[[Trace, float], Record | Oddity]] = {
    "sparring": lambda trace, threshold: trace_to_record(trace),
    "trl_stepwise": trl_stepwise_record,
    "math_shepherd": math_shepherd_record,
}

LAYOUTS: Mapping[str, Layout] = {
    "sparring": LAYOUT,
    "trl_stepwise": {"prompt": "text", "completions": "texts", "labels": "bools"},
    "math_shepherd": {"input": "text", "label": "text", "task": "text"},
}


def _signs(trace: Trace, threshold: float) -> list[bool] | Oddity:
    """Return whether each step is right, up to the first step that has no label."""
    signs: list[bool] = []
    for label in trace.labels or ():
        if label is None:
            break
        signs.append(label >= threshold)
    return signs or Oddity("the first step has no label")


# --- data of other trainers -----------------------------------------------------------------------------------


class MigrateSettings(Settings):
    """Settings of `sparring migrate`."""

    source: Literal["openrlhf", "trl"]
    """Whose data it is: OpenRLHF's `train_prm` or TRL's `PRMTrainer`."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """A record that cannot be used stops the command, or is left out and counted."""

    input_key: str = "input"
    """OpenRLHF: field of the text (its option of the same name)."""
    label_key: str = "label"
    """OpenRLHF: field of the labels (its option of the same name)."""
    placeholder_token: str = "ки"  # noqa: S105 (a text, no secret)
    """OpenRLHF: what stands after every step (its option of the same name)."""
    reward_tokens: tuple[str, str] = ("+", "-")
    """OpenRLHF: the labels that mean correct and wrong (its option of the same name)."""
    first_step: str = "Step 1:"
    """OpenRLHF: text with which the first step begins (its first occurrence); a line break for one-line questions."""
    keep_spaces: bool = False
    """OpenRLHF: leave white space around question and steps as it is, so that `layout` can rebuild the text exactly."""


def migrate(source: Path, out: Path, settings: MigrateSettings) -> Conversion:
    """Write the traces of a trainer's data to `out` in our own form.

    Raises:
        SettingsError: `out` is read as data, or is there and no file of traces.
        DataError: a file cannot be read or written, a record cannot be used (`on_bad=refuse`), or none can.
    """

    def found() -> Iterator[tuple[str, int, Found]]:
        for shard in shards(source):
            for line, record in shard.records():
                try:
                    if settings.source == "trl":
                        yield shard.name, line, trl_stepwise(Fields(record), ReadOptions())
                    else:
                        yield shard.name, line, openrlhf_trace(Fields(record), settings)
                except DataError as error:
                    if settings.on_bad == "refuse":
                        raise error.at(file=shard.name, line=line) from None
                    yield shard.name, line, Oddity(f"field '{error.field}': {error.message}")

    return _write(source, out, found(), "sparring", 0.5)


def show_migration(
    source: Path, out: Path, settings: MigrateSettings, console: Console | None = None
) -> None:
    """Migrate, and say what was written and what was left out."""
    migrate(source, out, settings).show(out, console)


def openrlhf_trace(record: Fields, settings: MigrateSettings) -> Trace:
    """Return the trace of a record of OpenRLHF: a text with a placeholder after every step, and a list of labels.

        {"input": "Question … Step 1: … ки\\nStep 2: … ки", "label": ["+", "-"]}

    The n-th label belongs to the n-th placeholder: one of `reward_tokens`, or a number from 0 to 1. Where the question ends
    is not in the data: `first_step` says with which text the first step begins. Nothing is cut or guessed, unlike
    OpenRLHF's cutting of labels without a placeholder.

    Raises:
        DataError: a field is missing or ill-typed, labels and placeholders differ in number, or no question or step is
            found; names the field.
    """
    text = record.text(settings.input_key)
    *parts, rest = text.split(settings.placeholder_token)
    if not parts:
        raise record.error(
            settings.input_key, f"there is no placeholder {settings.placeholder_token!r} (placeholder_token)"
        )
    labels = list(_openrlhf_labels(record, settings))
    if len(labels) != len(parts):
        raise record.error(
            settings.label_key, f"{plural(len(labels), 'label')} for {plural(len(parts), 'placeholder')}"
        )
    start = parts[0].find(settings.first_step)
    if start < 0:
        raise record.error(
            settings.input_key,
            f"{settings.first_step!r} does not occur before the first placeholder, so it is not known where the "
            "question ends: set first_step",
        )
    question, parts[0] = parts[0][:start], parts[0][start:]
    if rest.strip():  # text after the last placeholder: a step that nobody labelled
        parts.append(rest)
        labels.append(None)
    if not settings.keep_spaces:
        question, parts = question.strip(), [part.strip() for part in parts]
    if not question.strip():
        raise record.error(settings.input_key, f"the question before {settings.first_step!r} is empty")
    for number, part in enumerate(parts, start=1):
        if not part.strip():
            raise record.error(settings.input_key, f"step {number} is empty")
    return Trace(Problem(question_id(question), question), tuple(parts), tuple(labels), source="openrlhf")


def _openrlhf_labels(record: Fields, settings: MigrateSettings) -> tuple[Label, ...]:
    if isinstance(record.values.get(settings.label_key), str):
        raise record.error(
            settings.label_key,
            "expected a list of labels, got a text; Math-Shepherd's own files need no migration "
            "(data_format=math_shepherd)",
        )
    values = record.array(settings.label_key)
    if not any(isinstance(value, str) for value in values):
        return record.labels(settings.label_key, booleans=True, unknown=True)
    for index, value in enumerate(values):
        if value not in settings.reward_tokens:
            wanted = f"expected one of the reward_tokens {list(settings.reward_tokens)}"
            raise record.error(f"{settings.label_key}[{index}]", f"{wanted}, got {shown(value)}")
    return tuple(1.0 if value == settings.reward_tokens[0] else 0.0 for value in values)
