"""What every row of `benchmarks/speed.py` shares: arms in turn, ratios of the same round, and what is written of them.

Contract: the arms of a row run one after the other in every round, in alternating order, so that whatever else the machine
does meets all of them; a ratio is taken within each round, and its median and range over the rounds are told, for
processor time and for wall time. Every arm runs once before, unmeasured. One thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Clock = Literal["cpu", "wall"]
CLOCKS: tuple[Clock, ...] = ("cpu", "wall")
Seconds = tuple[float, float]
"""Processor and wall seconds of one run of an arm."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a row is told: how many rounds, a smaller form, where data lie, where it may write, and on what it runs."""

    rounds: int
    quick: bool
    data: Path
    place: Path
    base: Path | None
    peer_python: str
    device: str = "cpu"
    model: Path | None = None
    traces: Path | None = None

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the table: what is told of a row, and what it should be.

    Attributes:
        title: what is compared, in words.
        aim: the bound.
        at_least: whether the bound is a lower one.
        samples: the number in every round, by clock; a number that is no time has the clock ``cpu`` only.
        unit: empty for a ratio.
    """

    title: str
    aim: float
    at_least: bool
    samples: Mapping[Clock, list[float]]
    unit: str = ""


@dataclass(slots=True)
class Measured:
    """What a row found: seconds of every arm in every round, claims made of them, and further numbers."""

    arms: dict[str, list[Seconds]]
    claims: dict[str, Claim]
    settings: dict[str, Any]
    numbers: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {
            "arms": {
                name: {clock: [one[i] for one in found] for i, clock in enumerate(CLOCKS)}
                for name, found in self.arms.items()
            },
            "claims": {name: asdict(claim) for name, claim in self.claims.items()},
            "settings": self.settings,
            "numbers": self.numbers,
        }


def timed(work: Callable[[], object], device: str = "cpu") -> Seconds:
    """Return the seconds of some work in this process; on a GPU its processor time means nothing, and is the wall's."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
        wall = time.perf_counter() - wall
        return wall, wall
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turn(
    arms: Mapping[str, Callable[[], Seconds]], rounds: int, *, warm: bool = True
) -> dict[str, list[Seconds]]:
    """Return the seconds of every arm in every round."""
    for run in arms.values() if warm else ():
        run()
    found: dict[str, list[Seconds]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in sorted(arms, reverse=bool(number % 2)):
            found[name].append(arms[name]())
    return found


def ratio(
    title: str, arms: Mapping[str, list[Seconds]], over: str, under: str, aim: float, *, at_least: bool
) -> Claim:
    """Return the claim about the time of the arm `over` for one unit of time of the arm `under`."""
    samples = {
        clock: [one[i] / other[i] for one, other in zip(arms[over], arms[under], strict=True)]
        for i, clock in enumerate(CLOCKS)
    }
    return Claim(title, aim, at_least, samples)
