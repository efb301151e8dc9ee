"""What a world is: problems without end, steps judged exactly, rules that make mistakes, and what can still succeed.

The game, labels, RL, search and policy training take any world. Its dials (how long, how many kinds of mistakes) are the
fields of a frozen dataclass, one per world, and `make_world` reads them from a text: ``countdown:numbers=4``.

Contract: everything is a pure function of its arguments, exact on any text, and takes bounded time; texts of models are
only parsed. `correct` is judged against the truth of the problem: a step that builds on an earlier mistake is wrong as well
unless the world says otherwise. A correct step may still lead nowhere; that is `alive`'s affair, not the verdict's.

In this order: the protocol; worlds by name, from a text and back; what follows from a world (problems by number, judged
traces). Settings that choose a world: `subject.py`.
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from sparring.errors import SettingsError, did_you_mean
from sparring.traces.records import Problem, Trace, step_labels
from sparring.traces.verdict import Verdict

WORLDS = {
    "chain": "sparring.worlds.chain_world:ChainWorld",
    "countdown": "sparring.worlds.countdown:Countdown",
}
"""World's name → its module and its dataclass, imported when it is asked for; a program adds its own
(`benchmarks/ledger_world`)."""

_LONGEST_TEXT = 300  # characters of a world's name and dials


class World(Protocol):
    """A reasoning world with its dials set."""

    @property
    def name(self) -> str:
        """Return the world's name and every dial that is not at its default, as `make_world` reads it."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of mistakes that the rules can make, those first that a rule-writer thinks of first."""
        ...

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return every word of problems and steps by its part of speech; words are separated by single spaces."""
        ...

    def problem(self, rng: random.Random, identifier: str) -> Problem:
        """Return a random problem with its answer and a correct reference solution that succeeds."""
        ...

    def written(self, problem: Problem, rng: random.Random) -> tuple[str, ...]:
        """Return a solution as the author of a policy's training text writes it, with the author's mistakes."""
        ...

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the exact verdict on a step; its reason is ``<world>:<kind>``.

        Raises:
            DataError: the problem is not one of this world.
        """
        ...

    def is_step(self, text: str) -> bool:
        """Tell whether a text has a step's form."""
        ...

    def perturb(
        self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random, kinds: Sequence[str]
    ) -> tuple[str, str] | None:
        """Return (kind, wrong step) of a random one of the kinds, or None where none of them is possible."""
        ...

    def answer(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the answer that a finished solution states, or None."""
        ...

    def solved(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether a finished solution succeeds: the outcome."""
        ...

    def alive(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step so far is correct and some continuation with correct steps succeeds."""
        ...


# --- worlds by name --------------------------------------------------------------------------------------------------


def make_world(text: str) -> World:
    """Return the world that a text names: ``chain``, or with dials ``chain:modulus=97,steps=6-8``.

    Raises:
        ValueError: there is no such world or dial, or a dial's value cannot be read or is out of range.
    """
    name, colon, given = text.strip().partition(":")
    if name not in WORLDS or len(text) > _LONGEST_TEXT:
        raise ValueError(f"{name[:40]!r} is no world{did_you_mean(name[:40], WORLDS)}")
    module, _, kind = WORLDS[name].partition(":")
    cls = getattr(importlib.import_module(module), kind)
    types = get_type_hints(cls)
    dials = [field.name for field in fields(cls)]
    values: dict[str, Any] = {}
    for part in given.split(",") if colon else ():
        dial, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(f"after '{name}:' stand dials such as {dials[0]}=value, got {part.strip()!r}")
        if dial not in dials:
            raise ValueError(f"the world '{name}' has no dial {dial!r}{did_you_mean(dial, dials)}")
        if dial in values:
            raise ValueError(f"the dial '{dial}' is given twice")
        values[dial] = _dial_value(dial, value, types[dial])
    world: World = cls(**values)
    return world


def world_name(name: str, world: Any) -> str:
    """Return a world's name and its dials that are not at their defaults, as `make_world` reads them.

    Args:
        name: under which `WORLDS` has the world.
        world: its dataclass.
    """
    turned = []
    for field in fields(world):
        if (value := getattr(world, field.name)) != field.default:
            shown = "-".join(map(str, dict.fromkeys(value))) if isinstance(value, tuple) else str(value)
            if isinstance(value, float):
                shown = f"{value:.9f}".rstrip("0").rstrip(".")  # never 1e-05, which is no dial's value
            turned.append(f"{field.name}={shown.lower() if isinstance(value, bool) else shown}")
    return f"{name}:{','.join(turned)}" if turned else name


def _dial_value(dial: str, text: str, kind: Any) -> Any:
    """Return a dial's value; a range is written ``6-8``, or ``6`` where both ends are the same."""
    if kind is int and re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    if kind is float and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", text):
        return float(text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is str and re.fullmatch(r"\w+", text):
        return text
    if kind == tuple[int, int] and (match := re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)):
        return int(match[1]), int(match[2] or match[1])
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    raise ValueError(f"the dial '{dial}' is {wanted.get(kind, 'a range such as 6-8')}, got {text[:40]!r}")


# --- what follows from a world ---------------------------------------------------------------------------------------


def world_problems(world: World, count: int, *, seed: int, name: str, start: int = 0) -> list[Problem]:
    """Return `count` problems; problem i depends only on (world, name, seed, start + i), so any slice can be made alone."""
    return [
        world.problem(random.Random(f"{name}/{seed}/{index}"), f"{name}-{seed}-{index}")
        for index in range(start, start + count)
    ]


def judged(world: World, trace: Trace) -> Trace:
    """Return the trace with exact labels (None where undecided, nothing after the first error) and outcome.

    Raises:
        DataError: the problem is not one of this world.
    """
    truths: list[str] = []
    for index, step in enumerate(trace.steps):
        truths.append(
            "undecided" if "wrong" in truths else world.judge(trace.problem, trace.steps[:index], step).truth
        )
    return replace(trace, labels=step_labels(truths), outcome=world.solved(trace.problem, trace.steps))


def require_words(world: World, tokenizer: Any, model: str | Path) -> None:
    """Refuse a model whose tokenizer cannot tell this world's words apart.

    Raises:
        SettingsError: a word of the world is unknown to it.
    """
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    if unknown_id is None:
        return
    words = [word for group in world.words.values() for word in group]
    unknown = [word for word in words if unknown_id in tokenizer.encode(word, add_special_tokens=False)]
    if unknown:
        raise SettingsError(
            f"'{model}' does not know {len(unknown)} of the {len(words)} words of the world '{world.name}' "
            f"({', '.join(map(repr, unknown[:3]))} …); `sparring train world-policy world={world.name}` trains a policy "
            "that does"
        )
