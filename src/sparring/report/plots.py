"""Plots of the demo: bars with intervals, and curves with the raw points behind a smoothed line (matplotlib).

Contract: a plot is a small panel that stays readable at the width of a phone; a page sets panels side by side. Equal data
give equal bytes. Texts stay texts. Bars and curves can be drawn on any axes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sparring.pictures import svg_of
from sparring.report.numbers import percent

PALETTE = {
    "ink": "#1c2430",
    "muted": "#5b6675",
    "grid": "#d9dee5",
    "paper": "#fefefd",
    "aprm": "#1a6aa8",
    "rules": "#c05a12",
    "baseline": "#8a94a2",
    "oracle": "#4f7d58",
    "adversary": "#9b3a86",
}
PANEL_WIDTH, INCH = 350, 72
LEGEND = 38
"""Most letters in a line of a legend."""
MOST_POINTS = 200
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sparring",
    "font.size": 12,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.default": "regular",
    "axes.edgecolor": PALETTE["baseline"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "text.color": PALETTE["ink"],
    "grid.color": PALETTE["grid"],
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in [0, 1] with its interval; `value` is None where it was not measured."""

    label: str
    role: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (update, value) of one series in order, None = a gap; `dashes` is a matplotlib line style."""

    label: str
    role: str
    points: Sequence[tuple[float, float | None]]
    dashes: str = "-"


class Panel(NamedTuple):
    """A plot: what it shows in words, and its SVG in base64."""

    said: str
    svg: str


def bar_panel(title: str, groups: Mapping[str, Sequence[Bar]]) -> Panel:
    """Return a panel of horizontal bars, in groups by their title (one group with an empty title: no grouping)."""
    rows = sum(len(bars) for bars in groups.values()) + 0.9 * sum(map(bool, groups))
    described = "; ".join(
        f"{group} {bar.label} {percent(bar.value)}".strip() for group, bars in groups.items() for bar in bars
    )
    return _panel(title, described, 66 + 25 * rows, lambda axes: draw_bars(axes, groups))


def curve_panel(title: str, curves: Sequence[Curve]) -> Panel:
    """Return a panel of curves of shares over the updates."""
    described = f"Curves of {', '.join(curve.label for curve in curves)}; the numbers are in the log."
    return _panel(title, described, 270, lambda axes: draw_curves(axes, curves))


def draw_bars(axes: Any, groups: Mapping[str, Sequence[Bar]]) -> None:
    """Draw horizontal bars from top to bottom, whiskers for the intervals, the value at the right edge."""
    positions: list[float] = []
    height = 0.0
    for group, bars in groups.items():
        if group:
            style = {"va": "center", "ha": "left", "color": PALETTE["ink"], "style": "italic"}
            axes.text(0.0, height, group, **style).set_in_layout(False)
            height += 0.9
        for bar in bars:
            _draw_bar(axes, bar, height)
            positions.append(height)
            height += 1
    axes.set_yticks(positions, [bar.label for bars in groups.values() for bar in bars])
    axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.xaxis.grid(True, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _draw_bar(axes: Any, bar: Bar, height: float) -> None:
    if bar.value is not None:
        axes.barh(height, bar.value, height=0.62, color=PALETTE[bar.role])
        if bar.low is not None and bar.high is not None:
            # A pale line under the dark one keeps the whisker visible inside the bar.
            for color, width in (("paper", 4.0), ("ink", 1.5)):
                axes.plot(
                    [bar.low, bar.high],
                    [height, height],
                    color=PALETTE[color],
                    linewidth=width,
                    solid_capstyle="butt",
                )
    shown = "not measured" if bar.value is None else percent(bar.value)
    axes.text(1.02, height, shown, va="center_baseline", ha="left", transform=axes.get_yaxis_transform())


def draw_curves(axes: Any, curves: Sequence[Curve]) -> None:
    """Draw every curve: the raw points pale, their moving mean as a line, with a legend between title and axes."""
    window = smoothing(curves)
    for curve in curves:
        known = [(x, y) for x, y in curve.points if y is not None]
        if not known:
            continue
        some = slice(None, None, -(-len(known) // MOST_POINTS))
        horizontal, raw = ([point[axis] for point in known] for axis in (0, 1))
        color = PALETTE[curve.role]
        if window > 1:
            dots = {"color": color, "alpha": 0.4, "markersize": 4, "markeredgewidth": 0}
            axes.plot(horizontal[some], raw[some], ".", **dots)
        line = smoothed(raw, window)
        axes.plot(horizontal[some], line[some], curve.dashes, color=color, linewidth=2.0, label=curve.label)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel("update", color=PALETTE["muted"])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.grid(True, linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    if axes.lines:
        lengths = [len(label) for label in axes.get_legend_handles_labels()[1]]
        half = -(-len(lengths) // 2)
        columns = 2 if max(lengths[:half]) + max(lengths[half:], default=LEGEND) <= LEGEND else 1
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1, "borderpad": 0.2}
        form = {"fontsize": 11, "handlelength": 1.6, "handletextpad": 0.5, "columnspacing": 1.2}
        axes.legend(ncols=columns, frameon=False, **place, **form)
        set_title(axes, axes.get_title(loc="left"), legend_rows=-(-len(lengths) // columns))


def set_title(axes: Any, title: str, legend_rows: int = 0) -> Any:
    """Set the title, high enough for a legend of so many rows under it, and return its artist."""
    pad = 6 + 17 * legend_rows
    return axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=PALETTE["ink"], pad=pad)


def smoothing(curves: Sequence[Curve]) -> int:
    """Return the width of the moving mean: odd, about a fifteenth of the longest curve, 1 = none."""
    longest = max((len(curve.points) for curve in curves), default=0)
    return 1 if longest < 15 else 2 * (longest // 30) + 1


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Return the centred moving mean over `window` values; at both ends over those that there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, end = np.maximum(places - window // 2, 0), np.minimum(places + window // 2 + 1, len(values))
    return list(((sums[end] - sums[first]) / (end - first)).tolist())


def _panel(title: str, described: str, height: float, draw: Callable[[Any], None]) -> Panel:
    """Return a figure `height` units high."""
    title = title[:1].upper() + title[1:]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(PANEL_WIDTH / INCH, height / INCH), layout="constrained")
        axes = figure.add_subplot()
        heading = set_title(axes, title)
        draw(axes)
        _keep_inside(figure, [heading, *axes.texts])
        svg = svg_of(figure)
    return Panel(f"{title}: {described}", base64.b64encode(svg.encode()).decode("ascii"))


def _keep_inside(figure: Figure, texts: Sequence[Any]) -> None:
    """Move texts to the left where they would leave the figure on the right; a reader's font may be wider than ours."""
    figure.draw_without_rendering()
    for text in texts:
        ends = text.get_window_extent()
        if (over := ends.x0 + 1.05 * ends.width - figure.bbox.x1) > 0:
            text.set_x(text.get_transform().inverted().transform((max(ends.x0 - over, 0), ends.y0))[0])
