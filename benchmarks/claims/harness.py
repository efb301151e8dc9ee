"""Claims and the experiments under them: what is run, what is compared, and the verdict that the numbers give.

A claim file holds one `EXPERIMENT` (arms × points × seeds, each a call of `run`) and `CLAIMS` about its records:

    EXPERIMENT = Experiment(
        name="toy", run=run, arms={"game": "the trained adversary", "rules": "rules only"},
        points=product(kinds=(1, 3, 6)), settings={"updates": 400}, minutes=1.5,
        reduced=Reduced(points=product(kinds=(1,)), seeds=3, settings={"updates": 40}),
        expectation="before the run: what would change our mind", failed=("what was tried and did not help",),
    )
    CLAIMS = (
        Claim("toy-choice", "The game chooses better than rules", Aim(3.4, "points"), ours="game", baselines=("rules",),
              value=lambda record: 100 * record["accuracy"], regions={"half the kinds": lambda point: point["kinds"] <= 3}),
    )

`run(arm, seed, settings, folder)` gets the settings with the point's dials among them and returns a record: plain JSON,
per-problem outcomes where there are some. It seeds everything itself, and may resume from what it left in `folder`.
What several arms share is made with `made_once(folder.parent / "name", make)`.

Contract: what is compared is paired by seed. A gain is larger when ours is better; where several baselines were run it is
the gain over the strongest at that point, the one with the best mean (which favours the baseline). Intervals are
Student's over seeds (`sparring.statistics`), and `verdict` sees nothing but the interval, the aim and how many seeds.

After a claim file or a published record changed, `make claims-page` writes the page anew; a test holds it to that.

Not here: running many in order (`runner.py`), the page (`page.py`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sparring.files import atomic_directory, to_json
from sparring.locks import LockedError, sole_writer
from sparring.runs import Metric
from sparring.statistics import mean_over_runs

Point = Mapping[str, Any]
Record = Mapping[str, Any]
Run = Callable[[str, int, Mapping[str, Any], Path], Record]
Size = Literal["full", "reduced"]
SIZES: tuple[Size, ...] = ("full", "reduced")

FEWEST_SEEDS = 3
"""Below so many seeds nothing is settled."""
HOLDS = "holds"
HOLDS_HERE = "holds in this region"
GAIN_OPEN = "gain, aim open"
GAIN_BELOW = "gain below the aim"
FAILS = "does not hold here"
OPEN = "not settled"
VERDICTS = {
    HOLDS: "the whole interval is at or above the aim, over all points of the claim",
    HOLDS_HERE: "the same over the points of the region named",
    GAIN_OPEN: "the whole interval is above no gain; the aim lies inside",
    GAIN_BELOW: "the whole interval is above no gain and below the aim",
    FAILS: "the interval reaches down to no gain or lies below it, and all of it is below the aim",
    OPEN: f"both no gain and the aim lie inside the interval, or fewer than {FEWEST_SEEDS} seeds, or a baseline is missing",
}
"""What each verdict means; the first that fits, from the interval alone."""
EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a gain must reach.

    Attributes:
        number: in `unit`.
        unit: as printed behind numbers: "points", "times", …
        none: the gain that is none: 0 of differences, 1 of ratios, or a margin below it for "is not worse".

    Raises:
        ValueError: the aim is less than no gain.
    """

    number: float
    unit: str = "points"
    none: float = 0.0

    def __post_init__(self) -> None:
        if self.number < self.none:
            raise ValueError(f"an aim of {self.number} is less than no gain, {self.none}")


def verdict(found: Metric, aim: Aim, *, everywhere: bool = False) -> str:
    """Return the verdict on an interval over seeds; see `VERDICTS`."""
    if found.low is None or found.high is None or found.n is None or found.n < FEWEST_SEEDS:
        return OPEN
    if found.low >= aim.number and found.low > aim.none:
        return HOLDS if everywhere else HOLDS_HERE
    if found.low > aim.none:
        return GAIN_OPEN if found.high >= aim.number else GAIN_BELOW
    return FAILS if found.high < aim.number else OPEN


def product(**dials: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Return every combination of the dials' values."""
    return tuple(dict(zip(dials, values, strict=True)) for values in itertools.product(*dials.values()))


@dataclass(frozen=True, slots=True)
class Reduced:
    """What `make claims` does of an experiment without FULL=1.

    Attributes:
        points: of these; all if None.
        seeds: how many.
        settings: in place of the full ones; where there are none, its records count for the full run too.
    """

    points: Sequence[Point] | None = None
    seeds: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """One call of an experiment's `run`; `key` is a digest of everything that its record depends on."""

    experiment: str
    arm: str
    seed: int
    settings: Mapping[str, Any]
    version: int

    @property
    def key(self) -> str:
        """The digest, as in the names of files."""
        plain, _ = to_json([self.experiment, self.version, self.arm, self.seed, self.settings])
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode("utf-8")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Arms that are run at the same points with the same seeds.

    Attributes:
        name: of the records' file.
        run: makes one record.
        arms: name → what it is, for people. Ceilings and chance are arms as well.
        retired: those that can no longer be run; their published records count.
        points: of the dials swept; one point without dials is ``({},)``.
        seeds: how many: 0, 1, …
        settings: what all points share.
        minutes: CPU minutes of one call, or a function of (arm, settings).
        minutes_reduced: of one call at the reduced size; as `minutes` if None.
        reduced: what is done without FULL=1.
        depends: arm → the dials that it depends on, where not on all: it is then run once for points that agree in them.
        lacks: of an experiment that needs more than a CPU core: what this machine lacks for a call of (arm, settings), in
            one line, empty if nothing. Such an experiment is run only where it is named.
        version: to be raised when `run` changes its meaning; older records no longer count.
        expectation: written before the run: ceilings, and which result would change our mind.
        failed: what was tried and did not help, a sentence each.
        caveats: what the numbers do not say.
    """

    name: str
    run: Run
    arms: Mapping[str, str]
    retired: Collection[str] = ()
    points: Sequence[Point] = ({},)
    seeds: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | Callable[[str, Mapping[str, Any]], float] = 1.0
    minutes_reduced: float | None = None
    reduced: Reduced = Reduced()
    depends: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lacks: Callable[[str, Mapping[str, Any]], str] | None = None
    version: int = 1
    expectation: str = ""
    failed: Sequence[str] = ()
    caveats: Sequence[str] = ()

    def points_of(self, size: Size) -> Sequence[Point]:
        """Return the points of a size."""
        return self.points if size == "full" or self.reduced.points is None else self.reduced.points

    def seeds_of(self, size: Size) -> range:
        """Return the seeds of a size."""
        return range(self.seeds if size == "full" else min(self.seeds, self.reduced.seeds))

    def cell(self, arm: str, seed: int, point: Point, size: Size) -> Cell:
        """Return the call that gives this arm's record at a point."""
        dials = {name: value for name, value in point.items() if name in self.depends.get(arm, point)}
        fixed = {**self.settings, **(self.reduced.settings if size == "reduced" else {})}
        return Cell(self.name, arm, seed, {**fixed, **dials}, self.version)

    def cells(self, size: Size) -> list[Cell]:
        """Return all calls of a size, each once, seed by seed so that what is there first is a whole map."""
        found = {
            cell.key: cell
            for seed in self.seeds_of(size)
            for point in self.points_of(size)
            for arm in self.arms
            for cell in [self.cell(arm, seed, point, size)]
        }
        return list(found.values())

    def cost(self, cell: Cell, size: Size) -> float:
        """Return the CPU minutes that a call is declared to take."""
        if size == "reduced" and self.minutes_reduced is not None:
            return self.minutes_reduced
        return self.minutes(cell.arm, cell.settings) if callable(self.minutes) else self.minutes


def _value(record: Record) -> float | None:
    found: float | None = record["value"]
    return found


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of an experiment's records.

    Attributes:
        id: short name.
        sentence: what is claimed.
        aim: what the gain must reach.
        ours: the arm that the claim is about.
        baselines: the arms that it is compared with; without any, the value itself is the gain.
        value: of a record, and of the readings' values by name; None where it is not defined.
        readings: dials that one record answers for all values: ``{"n": (4, 16, 64)}``.
        ratio: the gain is ours / baseline (its mean and interval are those of the logarithm), not the difference.
        lower_is_better: of the value; the gain is then turned round.
        gain: of (our record, baseline's record, readings by name), in place of difference or ratio of values.
        regions: what is said of which points, by name; the first is what the claim is about.
    """

    id: str
    sentence: str
    aim: Aim
    ours: str
    baselines: Sequence[str] = ()
    value: Callable[..., float | None] = _value
    readings: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    ratio: bool = False
    lower_is_better: bool = False
    gain: Callable[..., float | None] | None = None
    regions: Mapping[str, Callable[[Point], bool]] = field(
        default_factory=lambda: {EVERYWHERE: lambda point: True}
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a claim in a region (several points) or at one point.

    `gain` is in the aim's unit with its interval over `gain.n` seeds; `against` names the baseline of a point that was
    the strongest; `missing` the baselines without records.
    """

    claim: Claim
    region: str
    point: Point | None
    gain: Metric
    verdict: str
    against: str = ""
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClaimFile:
    """An experiment and its claims."""

    experiment: Experiment
    claims: Sequence[Claim]


class Records:
    """Finished records by the key of their cell."""

    def __init__(self, found: Mapping[str, Record]) -> None:
        self.found = dict(found)

    def of(self, cell: Cell) -> Record | None:
        """Return what the cell's run returned, if it has been run."""
        entry = self.found.get(cell.key)
        return None if entry is None else entry["record"]


def measure(file: ClaimFile, records: Records, size: Size) -> list[Finding]:
    """Return what was found of every claim of a file: its regions, then its points one by one.

    Of a region the points with records count, and its name says how many there are.
    """
    return [finding for claim in file.claims for finding in _findings(file.experiment, claim, records, size)]


def measure_best(file: ClaimFile, records: Records) -> tuple[Size, list[Finding]]:
    """Return the findings at the size at which more points have an interval, the full one of equals."""

    def settled(findings: Sequence[Finding]) -> tuple[int, int]:
        points = [one.gain for one in findings if one.point is not None]
        return sum(gain.low is not None for gain in points), sum(gain.value is not None for gain in points)

    found = {size: measure(file, records, size) for size in SIZES}
    best = max(SIZES, key=lambda size: settled(found[size]))
    return best, found[best]


def _findings(experiment: Experiment, claim: Claim, records: Records, size: Size) -> list[Finding]:
    at_points = [
        _at_point(experiment, claim, records, size, point, reading)
        for point in experiment.points_of(size)
        for reading in product(**claim.readings)
    ]
    regions = []
    for name, inside in claim.regions.items():
        asked = [(finding, gains) for finding, gains in at_points if inside(_point(finding))]
        members = [(finding, gains) for finding, gains in asked if gains]
        common = set.intersection(*(set(gains) for _, gains in members)) if members else set()
        means = [sum(gains[seed] for _, gains in members) / len(members) for seed in sorted(common)]
        partly = 0 < len(members) < len(asked)
        where = f"{name} ({len(members)} of {len(asked)} points)" if partly else name
        missing = sorted({arm for finding, _ in members for arm in finding.missing})
        gain = _mean(claim, means)
        word = OPEN if missing else verdict(gain, claim.aim, everywhere=where == EVERYWHERE)
        regions.append(Finding(claim, where, None, gain, word, missing=missing))
    return regions + [finding for finding, _ in at_points]


def _point(finding: Finding) -> Point:
    assert finding.point is not None
    return finding.point


def _at_point(
    experiment: Experiment, claim: Claim, records: Records, size: Size, point: Point, reading: Point
) -> tuple[Finding, dict[int, float]]:
    """Return the finding at one point, and the gain of every seed (of ratios, its logarithm)."""

    def record(arm: str, seed: int) -> Record | None:
        return records.of(experiment.cell(arm, seed, point, size))

    arms = (claim.ours, *claim.baselines)
    runs = {
        arm: {seed: found for seed in range(experiment.seeds) if (found := record(arm, seed)) is not None}
        for arm in arms
    }
    values = {
        arm: {
            seed: value for seed, one in found.items() if (value := claim.value(one, **reading)) is not None
        }
        for arm, found in runs.items()
    }
    missing = [arm for arm in claim.baselines if not values[arm]]
    seeds = sorted(set.intersection(*(set(values[arm]) for arm in arms if arm not in missing)))
    against = ""
    if seeds and len(missing) < len(claim.baselines):
        best = min if claim.lower_is_better else max
        against = best(
            (arm for arm in claim.baselines if arm not in missing),
            key=lambda arm: sum(values[arm][seed] for seed in seeds),
        )
    gains = {}
    for seed in seeds if against or not claim.baselines else ():  # against nothing there is no gain
        if against and claim.gain is not None:
            gain = claim.gain(runs[claim.ours][seed], runs[against][seed], **reading)
        else:
            gain = _plain_gain(claim, values[claim.ours][seed], values[against][seed] if against else None)
        if gain is not None and (not claim.ratio or gain > 0):
            gains[seed] = math.log(gain) if claim.ratio else gain
    found = _mean(claim, [gains[seed] for seed in sorted(gains)])
    word = OPEN if missing else verdict(found, claim.aim)
    where = {**point, **reading}
    return Finding(claim, point_text(where), where, found, word, against, missing), gains


def _plain_gain(claim: Claim, ours: float, baseline: float | None) -> float | None:
    if baseline is None:
        return -ours if claim.lower_is_better and not claim.ratio else ours
    one, other = (baseline, ours) if claim.lower_is_better else (ours, baseline)
    if claim.ratio:
        return one / other if one > 0 and other > 0 else None
    return one - other


def _mean(claim: Claim, gains: Sequence[float]) -> Metric:
    """Return the mean over seeds with Student's interval, of ratios the geometric one."""
    found = mean_over_runs(gains, unit=claim.aim.unit)
    if not claim.ratio:
        return found
    ends = [None if end is None else math.exp(end) for end in (found.value, found.low, found.high)]
    return Metric(ends[0], ends[1], ends[2], found.n, found.unit, found.interval)


def point_text(point: Point) -> str:
    """Return a point for people: `kinds 3, length 8`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in point.items()) or EVERYWHERE


def arm_values(
    experiment: Experiment, claim: Claim, records: Records, size: Size, point: Point
) -> dict[str, Metric]:
    """Return every arm's mean value at a point of the dials and readings, over the seeds that it has."""
    dials = {name: value for name, value in point.items() if name not in claim.readings}
    reading = {name: value for name, value in point.items() if name in claim.readings}
    found = {}
    for arm in experiment.arms:
        runs = [records.of(experiment.cell(arm, seed, dials, size)) for seed in range(experiment.seeds)]
        values = [
            value for one in runs if one is not None and (value := _try(claim, one, reading)) is not None
        ]
        if values:
            found[arm] = mean_over_runs(values)
    return found


def _try(claim: Claim, record: Record, reading: Point) -> float | None:
    """Return the claim's value of another arm's record, which need not have one."""
    try:
        return claim.value(record, **reading)
    except KeyError:
        return None


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Return the folder at `path`, made by whoever comes first (`make` fills a draft); others wait for it."""
    while not path.exists():
        try:
            with sole_writer(path, inside=False):
                if not path.exists():
                    with atomic_directory(path) as draft:
                        make(draft)
        except LockedError:
            time.sleep(0.5)
    return path
