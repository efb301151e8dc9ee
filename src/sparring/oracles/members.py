"""The members of a panel: which there are, how one is found by its name, and how one is asked.

A member is named by a word of `MEMBERS`, or is somebody's own: ``package.module:function`` or
``path/to/file.py:function`` (without ``:function``, `judge`). It has ``judge(problem, prefix, step) -> Verdict``; one
that compares a step with the correct one that it replaces has ``judge_against(problem, prefix, original, step)``
instead.

Contract: only `load_member` imports members, so that it belongs into a worker; `ask` never raises anything but
MemoryError, whatever the member does. Members see question and answer of a problem, nothing else of it. Not here:
limits of time and memory (`sandbox.py`), the combination of verdicts (`panel.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator

from sparring.errors import SettingsError, did_you_mean
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict

CORE = {
    "arithmetic": "sparring.oracles.arithmetic:judge",
    "reference": "sparring.oracles.reference:judge_against",
    "algebra": "sparring.oracles.algebra:judge",
    "quantities": "sparring.oracles.quantities:judge",
    "answer": "sparring.oracles.equality:judge",
}
"""Name → where it is; all but `reference` judge a step by itself."""

CONTRIB = {name: f"sparring.contrib.oracles.{name}:judge" for name in ("calculus", "logic", "preconditions")}
"""Members beside the core's: ``contrib.logic`` on a panel, or ``logic`` for short."""

MEMBERS = CORE | CONTRIB

JUDGE = "judge"
"""A language model on a server, named by its address, ``judge+http://…`` (`judged.py`); asked by the panel itself."""

MAX_DETAIL = 500
_TRUTHS = frozenset(get_args(Truth))
_OWN = re.compile(r"(?P<place>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?::(?P<name>[A-Za-z_]\w*))?")


class Member(NamedTuple):
    """A loaded member: its name and its function, which takes the original before the step where it `compares`."""

    name: str
    judge: Callable[..., Any]
    compares: bool

    @property
    def confined(self) -> bool:
        """Whether it needs no network, no files and no other processes: ours do not, others say ``CONFINED = True``."""
        return self.name in MEMBERS or getattr(self.judge, "__globals__", {}).get("CONFINED") is True


class Question(NamedTuple):
    """What a panel is asked: is `step` right after `prefix`, where known in place of the correct step `original`?"""

    problem: Problem
    prefix: tuple[str, ...]
    original: str | None
    step: str


def check_members(names: Sequence[str]) -> None:
    """Refuse names that cannot be a panel's, without looking at any file.

    Raises:
        SettingsError: no name, a name twice, or an unknown one (the nearest known one is told).
    """
    if not names:
        raise SettingsError(f"an oracle needs at least one member (known: {', '.join(MEMBERS)})")
    short = [JUDGE if is_judge(name) else _without_room(name) for name in names]
    for position, name in enumerate(short):
        if name in short[:position]:
            raise SettingsError(f"the oracle member '{name}' is given twice")
        if is_judge(names[position]):
            from sparring.oracles.judged import judge_address  # workers have no need of it

            judge_address(names[position])
            continue
        if name == JUDGE:
            raise SettingsError(
                "the oracle member 'judge' is named by its address: judge+http://host:8000/v1?model=…"
            )
        if name not in MEMBERS and not _OWN.fullmatch(name):
            raise SettingsError(
                f"unknown oracle member '{name}'{did_you_mean(name, MEMBERS)}; "
                "one of your own is written 'file.py:function' or 'package.module:function'"
            )


def _known(names: list[str]) -> list[str]:
    try:
        check_members(names)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    return names


OracleMembers = Annotated[list[str], AfterValidator(_known)]
"""A setting that names the members of a panel."""


def is_judge(name: str) -> bool:
    """Whether a member is a judge's address."""
    return name.startswith((f"{JUDGE}+http://", f"{JUDGE}+https://"))


def _without_room(name: str) -> str:
    """Return ``logic`` for ``contrib.logic``, and any other name as it is."""
    short = name.removeprefix("contrib.")
    return short if short in CONTRIB else name


def resolve_members(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as workers take them: paths absolute, functions named, ``contrib.`` left out.

    Raises:
        SettingsError: as in `check_members`, or a file is not there.
    """
    check_members(names)
    resolved = []
    for name in map(_without_room, names):
        if name not in MEMBERS and not is_judge(name) and (own := _OWN.fullmatch(name)) is not None:
            place = own["place"]
            if place.endswith(".py"):
                place = str(Path(place).expanduser().resolve())
                if not Path(place).is_file():
                    raise SettingsError(f"oracle member '{name}': there is no file {place}")
            name = f"{place}:{own['name'] or 'judge'}"
        resolved.append(name)
    return tuple(resolved)


def load_member(name: str) -> Member:
    """Import a member, as `resolve_members` names it.

    Raises:
        SettingsError: it cannot be imported, or is no function.
    """
    place, _, attribute = MEMBERS.get(name, name).rpartition(":")
    try:
        found: Any = getattr(_module(place), attribute)
    except Exception as error:  # a user's file may raise anything while it is imported
        raise SettingsError(
            f"oracle member '{name}' cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(found) or isinstance(found, type):
        raise SettingsError(f"oracle member '{name}' is no function")
    return Member(name, found, compares=attribute == "judge_against")


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(f"sparring_member_{Path(place).stem}", place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(member: Member, question: Question) -> Verdict:
    """Return a member's verdict; ``undecided`` where it raises, or returns something else than a verdict.

    Where the correct original is known, a member that would call the original wrong too is mistaken about both: its
    ``wrong`` becomes ``undecided`` with the kind ``original_fails``.

    Raises:
        MemoryError: the member ran out of memory.
    """
    problem, prefix, original, step = question.problem, question.prefix, question.original, question.step
    label = short_name(member.name)
    try:
        if member.compares:
            if original is None:
                return Verdict("undecided", f"{label}:no_original")
            return _tidy(member.judge(problem, prefix, original, step), label)
        verdict = _tidy(member.judge(problem, prefix, step), label)
        if verdict.truth != "wrong" or original is None:
            return verdict
        if _tidy(member.judge(problem, prefix, original), label).truth == "wrong":
            return Verdict("undecided", f"{label}:original_fails", verdict.detail, verdict.span)
        return verdict
    except MemoryError:
        raise
    except BaseException as error:  # SystemExit too: a member ends neither its worker nor a training run
        return Verdict("undecided", f"{label}:raised", f"{type(error).__name__}: {error}"[:MAX_DETAIL])


def short_name(name: str) -> str:
    """Return a member's name for reasons: of one's own member, the last part of its module's name."""
    place = name.rpartition(":")[0] or name
    return Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]


def _tidy(verdict: object, label: str) -> Verdict:
    """Return the verdict fit for the wire: known truth, short texts, a span of two numbers."""
    if not isinstance(verdict, Verdict) or verdict.truth not in _TRUTHS:
        return Verdict("undecided", f"{label}:bad_verdict", f"got {type(verdict).__name__}")
    if len(verdict.detail) <= MAX_DETAIL:
        return verdict
    return Verdict(verdict.truth, verdict.reason, verdict.detail[:MAX_DETAIL] + "…", verdict.span)
