"""Write problems of a reasoning-gym task, with their answers, as problems of our own form.

    pip install -e '.[reasoning-gym]'
    python scripts/reasoning_gym_problems.py gsm_symbolic --count 1000 --out data/gsm-symbolic.jsonl
    python scripts/reasoning_gym_problems.py basic_arithmetic --count 500 --out data/sums.jsonl \
        --template $'Calculate 8 + 5.\n8 + 5 = 13\nThe answer is 13\n{question}' max_terms=3 'operators=["+"]'

`name=value` is handed to the task (its own documentation lists names); a value is read as YAML. No question comes twice, so
a file can be split into problems to train on and problems to measure with.

Contract: a function of task, options, seed and reasoning-gym's version; the file appears whole or not at all. Not here:
reasoning-gym's own scoring. Our checker compares an answer with the reference answer, so a task whose answers are not
unique (it would take a plan, a route, any valid expression) is of no use, and one without answers is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sparring.errors import DataError, SettingsError, SparringError, did_you_mean, install_extra
from sparring.traces.jsonl import write_problems
from sparring.traces.records import Problem

PLACE = "{question}"
TRIES = 20  # problems looked at per problem wanted, before a task is said to have too few different ones
OURS = {"seed", "size"}  # options that this command sets


def draw_problems(
    task: str, count: int, *, seed: int, template: str = PLACE, options: Mapping[str, Any] | None = None
) -> list[Problem]:
    """Return `count` different problems of a task, in the order in which the task makes them.

    Args:
        task: a name of reasoning-gym.
        count: how many.
        seed: the same seed gives the same problems.
        template: the question's text, with ``{question}`` where the task's own goes.
        options: the task's own.

    Raises:
        SettingsError: reasoning-gym is missing, knows no such task, or the task refuses an option.
        DataError: a problem has no answer, or the task has fewer different questions.
    """
    if PLACE not in template:
        raise SettingsError(f"the template does not say where the question goes; put {PLACE} there")
    if taken := OURS & set(options or {}):
        raise SettingsError(f"{', '.join(sorted(taken))}: given by --seed and --count")
    source = _task(task, seed, TRIES * count, options or {})
    found: dict[str, Problem] = {}
    for index in range(TRIES * count):
        item = source[index]
        if not isinstance(item["answer"], str) or not item["answer"].strip():
            raise DataError(f"task '{task}' gives no reference answer to its problem {index}", field="answer")
        question = template.replace(PLACE, item["question"].strip())
        meta = {"source": "reasoning-gym", "task": task}
        found.setdefault(
            question, Problem(f"{task}-{seed}-{index}", question, item["answer"].strip(), meta=meta)
        )
        if len(found) == count:
            return list(found.values())
    raise DataError(
        f"task '{task}' with these options made {len(found)} different questions in {TRIES * count} tries, wanted are "
        f"{count}; lower --count or make the problems larger"
    )


def _task(task: str, seed: int, size: int, options: Mapping[str, Any]) -> Any:
    """Return reasoning-gym's data set of a task."""
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise SettingsError(
            f"reasoning-gym cannot be imported ({error}): {install_extra('reasoning-gym')}"
        ) from error
    if task not in DATASETS:
        raise SettingsError(f"reasoning-gym has no task '{task}'{did_you_mean(task, DATASETS)}")
    try:  # a task checks its options with assertions, and an unknown one is an unknown argument
        return create_dataset(task, seed=seed, size=size, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise SettingsError(f"task '{task}' refuses its options: {error}") from error


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """Return options written as ``name=value``, values read as YAML.

    Raises:
        SettingsError: one is not of that form.
    """
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"expected name=value, got '{text}'")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"{name}: not a YAML value: {value!r}") from error
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", help="name of a reasoning-gym task, such as gsm_symbolic")
    parser.add_argument("options", nargs="*", help="the task's options as name=value")
    parser.add_argument("--count", type=int, required=True, help="problems to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--template", default=PLACE, help=f"text of a question; {PLACE} is the task's own")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    given = parser.parse_intermixed_args(arguments)
    try:
        if given.count < 1:
            raise SettingsError("--count is at least 1")
        problems = draw_problems(
            given.task,
            given.count,
            seed=given.seed,
            template=given.template,
            options=parse_options(given.options),
        )
        given.out.parent.mkdir(parents=True, exist_ok=True)
        print(f"{given.out}: {write_problems(given.out, problems)} problems of {given.task}")
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
