"""Regular expressions: none of the package takes more than a short time on any text, however long its runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import sparring

LENGTH = 800  # answers are read up to 400 characters, steps up to 20,000
SECONDS = 1.0  # of processor time per text; usual are thousandths
TRIES = 8
REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT)
CALLS = {f"re.{name}" for name in ("search", "match", "fullmatch", "split", "sub", "findall", "finditer")}
PROBES = [*"azAZ09 \n\t.,;:!?+-*/=^_$%&#@~|'\"`\\()[]{}<>", "\u00a0", "é", "·"]


@cache
def patterns() -> dict[tuple[str, int], str]:
    """Return every pattern of the package with the place where it stands: compiled, in tables, or in a call of `re`."""
    found: dict[tuple[str, int], str] = {}

    def collect(value: Any, place: str, depth: int = 0) -> None:
        if isinstance(value, re.Pattern):
            if isinstance(value.pattern, str):
                found.setdefault((value.pattern, value.flags), place)
        elif depth < 4 and isinstance(value, list | tuple | dict | set | frozenset):
            for item in value.values() if isinstance(value, dict) else value:
                collect(item, place, depth + 1)

    for module in pkgutil.walk_packages(sparring.__path__, "sparring."):
        if module.name.endswith("__main__"):
            continue
        calls = CALLS
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:  # what it plugs us into is not here: its text has to do
            assert module.name.startswith("sparring.contrib.")
            calls = CALLS | {"re.compile"}
        else:
            for name, value in vars(loaded).items():
                collect(value, f"{module.name}.{name}")
        file = importlib.util.find_spec(module.name).origin
        for node in ast.walk(ast.parse(Path(str(file)).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in calls:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.setdefault((first.value, 0), f"{module.name}:{node.lineno}")
    return found


def characters(tree: Sequence[Any], flags: int) -> set[str]:
    """Return the probes that one of the single-character items of a tree matches."""
    return {
        probe for probe in PROBES for item in tree
        if item[0] in (code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN) and matches(item, probe, flags)
    }  # fmt: skip


def matches(item: Any, probe: str, flags: int) -> bool:
    kind, value = item
    if kind is code.LITERAL:
        return chr(value) == probe
    if kind is code.NOT_LITERAL:
        return chr(value) != probe
    if kind is code.ANY:
        return probe != "\n" or bool(flags & re.DOTALL)
    return in_set(value, probe)


def in_set(items: Sequence[Any], probe: str) -> bool:
    negated = bool(items) and items[0][0] is code.NEGATE
    classes = {
        code.CATEGORY_DIGIT: r"\d", code.CATEGORY_SPACE: r"\s", code.CATEGORY_WORD: r"\w",
        code.CATEGORY_NOT_DIGIT: r"\D", code.CATEGORY_NOT_SPACE: r"\S", code.CATEGORY_NOT_WORD: r"\W",
    }  # fmt: skip
    inside = any(
        (kind is code.LITERAL and chr(value) == probe)
        or (kind is code.RANGE and value[0] <= ord(probe) <= value[1])
        or (kind is code.CATEGORY and re.match(classes[value], probe) is not None)
        for kind, value in items
    )
    return inside != negated


def below(item: Any) -> list[Sequence[Any]]:
    """Return the trees inside an item."""
    kind, value = item
    if kind in (*REPEATS, code.POSSESSIVE_REPEAT):
        return [value[2]]
    if kind is code.SUBPATTERN:
        return [value[3]]
    if kind is code.ATOMIC_GROUP:
        return [value]
    if kind is code.BRANCH:
        return list(value[1])
    return [value[1]] if kind in (code.ASSERT, code.ASSERT_NOT) else []


def flat(tree: Sequence[Any]) -> list[list[Any]]:
    """Return the sequences that a tree can be, groups without a quantifier opened."""
    ways: list[list[Any]] = [[]]
    for item in tree:
        inner = (
            [way for part in below(item) for way in flat(part)]
            if item[0] in (code.SUBPATTERN, code.BRANCH)
            else [[item]]
        )
        ways = [[*way, *more] for way in ways for more in inner][:200]
    return ways


def ambiguous(tree: Sequence[Any], flags: int) -> Iterator[str]:
    """Yield repeats whose body is, or may be, nothing but another repeat: ``(?:a+b?)*`` matches one text in many ways."""
    for item in tree:
        if item[0] in REPEATS and item[1][1] > 2:
            for way in flat(item[1][2]):
                for place, inner in enumerate(way):
                    if inner[0] not in REPEATS or inner[1][1] < 50:
                        continue
                    repeated = {
                        one for seq in flat(inner[1][2]) if len(seq) == 1 for one in characters(seq, flags)
                    }
                    rest = [one for at, one in enumerate(way) if at != place]
                    needed = [one for one in rest if one[0] not in REPEATS or one[1][0] > 0]
                    if all(
                        repeated & characters([one], flags)
                        for one in needed
                        if one[0] not in (code.AT, code.ASSERT)
                    ):
                        yield f"{inner} in a repeat"
        for part in below(item):
            yield from ambiguous(part, flags)


def sample(tree: Sequence[Any], rng: random.Random) -> str:
    """Return a text that the tree might match."""
    made = ""
    for item in tree:
        kind, value = item
        if kind in (*REPEATS, code.POSSESSIVE_REPEAT):
            made += "".join(sample(value[2], rng) for _ in range(value[0] or rng.randrange(2)))
        elif kind is code.BRANCH:
            made += sample(rng.choice(value[1]), rng)
        elif kind in (code.SUBPATTERN, code.ATOMIC_GROUP):
            made += sample(below(item)[0], rng)
        elif kind is code.LITERAL:
            made += chr(value)
        elif kind in (code.NOT_LITERAL, code.ANY, code.IN):
            made += rng.choice([probe for probe in PROBES if matches(item, probe, 0)] or ["x"])
    return made


def runs(tree: Sequence[Any], rng: random.Random, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield (text before, text to repeat) for each repeat of a tree."""
    for item in tree:
        if item[0] in (*REPEATS, code.POSSESSIVE_REPEAT) and item[1][1] > 2:
            yield before, sample(item[1][2], rng)
        for part in below(item):
            yield from runs(part, rng, before)
        before += sample([item], rng)


def attacked() -> Iterator[str]:
    """Run every pattern on texts that nearly match, and name those that take too long."""

    def interrupt(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, interrupt)
    for (pattern, flags), place in patterns().items():
        rng = random.Random(len(pattern))
        compiled, found = re.compile(pattern, flags), list(runs(parser.parse(pattern, flags), rng))
        texts = [("", one) for one in ("a", "1", " ")] + rng.sample(found, min(len(found), TRIES))
        for before, again in texts:
            text = before + again * (LENGTH // max(len(again), 1)) + "\x00"
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            started = time.process_time()
            try:
                compiled.search(text)
            except TimeoutError:
                spent = time.process_time() - started
                yield f"{place}: {spent:.1f} s on {before!r} + {again!r} * n: {pattern[:120]}"
                break
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def test_no_repeat_is_nested_into_another_over_the_same_characters() -> None:
    found = {
        place: reason
        for (pattern, flags), place in patterns().items()
        for reason in ambiguous(parser.parse(pattern, flags), flags)
    }
    assert len(patterns()) > 200
    assert not found, "\n".join(f"{place}: {reason}" for place, reason in found.items())


def test_the_check_sees_nested_repeats() -> None:
    def seen(pattern: str) -> bool:
        return any(True for _ in ambiguous(parser.parse(pattern, 0), 0))

    assert all(map(seen, (r"(?:a+)+b", r"(?:[A-Za-z]+[ ]?){0,3}x", r"(?:\d*,?)*$", r"((?:a|b)+c*)*")))
    assert not any(
        map(seen, (r"(?:a+b)+", r"(?:a++)+b", r"(?:\\.|[^$\\])+", r"(?:,\d{3})+", r"(?:[a-z]+ )*"))
    )


def test_no_pattern_takes_long_on_long_runs() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    try:
        slow = list(attacked())
    finally:
        signal.signal(signal.SIGVTALRM, before)
    assert not slow, "\n".join(slow)
