"""Numbers as people read them, and sentences whose wording the intervals decide.

Contract: a difference is called more or less only where its 95 % interval excludes 0; where the interval
includes 0 the sentence says *no difference shown*, where there is no interval it says so. Not here: markup
(`page.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sparring.report.run_files import Metric

Finding = Literal["more", "less", "none shown", "no interval", "not measured"]
THIN_SPACE = "\u202f"
MINUS = "\u2212"
SHARE_ENDINGS = ("accuracy", "accuracy_erroneous", "accuracy_correct", "f1", "fool_rate")
PERCENT_UNITS = frozenset({"%", "percent"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers and their difference (first − second) with its interval.

    Attributes:
        paired: the run measured the difference on the same cases; otherwise it is made from the two
        intervals.
    """

    first: Metric | None
    second: Metric | None
    difference: Metric | None
    paired: bool

    @property
    def finding(self) -> Finding:
        """What the interval of the difference allows to say of the first number."""
        if self.difference is None:
            return "not measured"
        if self.difference.low is None or self.difference.high is None:
            return "no interval"
        if self.difference.low > 0:
            return "more"
        return "less" if self.difference.high < 0 else "none shown"


def compare(metrics: Mapping[str, Metric], first: str, second: str, difference: str = "") -> Comparison:
    """Compare two metrics by name, with the paired difference of that name where the run measured it."""
    one, other = as_share(metrics.get(first)), as_share(metrics.get(second))
    measured = as_share(metrics.get(difference))
    if measured is not None:
        return Comparison(one, other, measured, paired=True)
    return Comparison(one, other, unpaired_difference(one, other), paired=False)


def unpaired_difference(first: Metric | None, second: Metric | None) -> Metric | None:
    """Return first − second with an interval made from the two single ones, taken as independent.

    The lower margin is the root of the summed squares of the first's lower and the second's upper margin,
    and the other way round (Newcombe 1998, method 10; Zou and Donner 2008). Positive correlation only makes
    it too wide.
    """
    if first is None or second is None:
        return None
    value = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Metric(value, None, None, None, first.unit)
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Metric(value, low, high, None, first.unit)


def as_share(metric: Metric | None) -> Metric | None:
    """Return the metric with a share from 0 to 1 where it was written in per cent."""
    if metric is None or metric.unit not in PERCENT_UNITS:
        return metric
    low = None if metric.low is None else metric.low / 100
    high = None if metric.high is None else metric.high / 100
    return Metric(metric.value / 100, low, high, metric.n, "share", metric.interval)


def percent(share: float | None) -> str:
    """Return a share of 1 as per cent with one decimal; ``None`` is a dash."""
    return "–" if share is None else f"{fixed(100 * share)}{THIN_SPACE}%"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return ("+" if share > 0 else "") + fixed(100 * share)


def fixed(number: float) -> str:
    """Return a number with one decimal, with more where that would show a number other than 0 as 0."""
    for decimals in (1, 2, 3):
        shown = f"{number:.{decimals}f}"
        if float(shown) != 0:
            return shown.replace("-", MINUS)
    return "0.0"


def plain(number: float | None) -> str:
    """Return any number with four significant digits, thousands set apart; ``None`` is a dash."""
    if number is None:
        return "–"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}".replace(",", THIN_SPACE).replace("-", MINUS)
    return f"{number:.4g}".replace("-", MINUS)


def duration(seconds: float | None) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds is None:
        return "–"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}{THIN_SPACE}{unit}"
    return f"{seconds:.1f}{THIN_SPACE}s"


def share_with_interval(metric: Metric | None) -> str:
    """Return ``54.2 % (50.1 to 58.3)``."""
    share = as_share(metric)
    if share is None:
        return "not measured"
    if share.low is None or share.high is None:
        return f"{percent(share.value)} (no interval)"
    return f"{percent(share.value)} ({fixed(100 * share.low)} to {fixed(100 * share.high)})"


def difference_with_interval(metric: Metric | None) -> str:
    """Return ``+9.1 points (5.0 to 13.2)`` for a difference of shares."""
    if metric is None:
        return "not measured"
    if metric.low is None or metric.high is None:
        return f"{points(metric.value)} points (no interval)"
    return f"{points(metric.value)} points ({points(metric.low)} to {points(metric.high)})"


def verdict(comparison: Comparison) -> str:
    """Return what may be said of the difference: ``9.1 points higher (95 % interval +5.0 to +13.2)``."""
    difference = comparison.difference
    if difference is None:
        return "the difference was not measured"
    if difference.low is None or difference.high is None:
        return f"{points(difference.value)} points, but without an interval, so nothing can be concluded"
    interval = f"95{THIN_SPACE}% interval {points(difference.low)} to {points(difference.high)}"
    if comparison.finding == "none shown":
        return f"no difference shown ({points(difference.value)} points, {interval}, which includes 0)"
    word = "higher" if comparison.finding == "more" else "lower"
    return f"{fixed(100 * abs(difference.value))} points {word} ({interval})"


def range_of_difference(comparison: Comparison) -> str:
    """Return the finding in few words: ``higher by 5.0 to 13.2 points``."""
    difference = comparison.difference
    if difference is None:
        return "not compared"
    if difference.low is None or difference.high is None:
        return "without an interval, so nothing can be concluded"
    if comparison.finding == "none shown":
        return f"no difference shown, {points(difference.low)} to {points(difference.high)} points"
    least, most = sorted((abs(difference.low), abs(difference.high)))
    word = "higher" if comparison.finding == "more" else "lower"
    return f"{word} by {fixed(100 * least)} to {fixed(100 * most)} points"


def both(comparison: Comparison, name_first: str, name_second: str) -> str:
    """Return ``61.2 % with the APRM, 52.1 % with the rules PRM``."""
    first, second = share_or_nothing(comparison.first), share_or_nothing(comparison.second)
    return f"{first} {name_first}, {second} {name_second}"


def share_or_nothing(metric: Metric | None) -> str:
    """Return a share in per cent, or that it was not measured."""
    return "not measured" if metric is None else percent(metric.value)


def metric_cells(name: str, metric: Metric) -> tuple[str, ...]:
    """Return value, low, high, kind of interval, n and unit of any metric as table cells; shares are shown in per cent."""
    is_difference = "_minus_" in name
    if name.rsplit(".", 1)[-1].endswith(SHARE_ENDINGS) or (is_difference and metric.unit != "seconds"):
        share = as_share(metric) or metric
        show = points if is_difference else percent
        low, high = ("–" if bound is None else show(bound) for bound in (share.low, share.high))
        return (
            show(share.value),
            low,
            high,
            metric.interval or "–",
            plain(metric.n),
            "percentage points" if is_difference else "share",
        )
    return (
        *(plain(one) for one in (metric.value, metric.low, metric.high)),
        metric.interval or "–",
        plain(metric.n),
        metric.unit or "–",
    )
