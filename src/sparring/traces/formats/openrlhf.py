"""OpenRLHF's data for `train_prm`: one text with a placeholder after every step, and a list of labels.

    {"input": "Question … Step 1: … ки\\nStep 2: … ки", "label": ["+", "-"]}

The n-th label belongs to the n-th placeholder. Labels are texts from `reward_tokens` (the first means correct) or
numbers from 0 to 1. Names of fields, placeholder and reward tokens are options of OpenRLHF's command, and so they are
here. Where the question ends is not in the data: `first_step` says with which text the first step begins.

Contract: nothing is cut or guessed. OpenRLHF cuts labels that have no placeholder without a word; here their counts must
agree. Only through `sparring migrate` (`traces/migrate.py`), since no key tells the format.
"""

from __future__ import annotations

from typing import Literal

from sparring.settings import Settings
from sparring.traces.fields import Fields, kind
from sparring.traces.formats.common import question_id
from sparring.traces.records import Label, Problem, Trace


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


def openrlhf_trace(record: Fields, settings: MigrateSettings) -> Trace:
    """Return the trace of one record.

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
    labels = list(_labels(record, settings))
    if len(labels) != len(parts):
        raise record.error(settings.label_key, f"{len(labels)} labels for {len(parts)} placeholders")
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


def _labels(record: Fields, settings: MigrateSettings) -> tuple[Label, ...]:
    values = record.values.get(settings.label_key)
    if isinstance(values, str):
        raise record.error(
            settings.label_key,
            "expected a list of labels, got a text; Math-Shepherd's own files need no migration "
            "(data_format=math_shepherd)",
        )
    if not any(isinstance(value, str) for value in record.array(settings.label_key)):
        return record.labels(settings.label_key, booleans=True, unknown=True)
    meanings = dict(zip(settings.reward_tokens, (1.0, 0.0), strict=True))
    found: list[Label] = []
    for index, value in enumerate(record.array(settings.label_key)):
        if value not in settings.reward_tokens:
            shown = repr(value) if isinstance(value, str) else kind(value)
            raise record.error(
                f"{settings.label_key}[{index}]",
                f"expected one of the reward_tokens {list(settings.reward_tokens)}, got {shown}",
            )
        found.append(meanings[value])
    return tuple(found)
