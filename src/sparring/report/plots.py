"""Plots as inline SVG: bars with intervals, and curves with the raw points behind a smoothed line.

Contract: a plot is a small panel that stays readable at the width of a phone; a page sets panels side by
side. Colours are written as CSS variables, so that the page's light and dark style colours the plots too;
ids carry the plot's name, so that plots in one page never meet; the same data give the same bytes. Texts
stay texts. Bars and curves can be drawn on any axes (`picture.py` does). Not here: tables behind plots,
captions (`demo.py`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sparring.report.page import Html, escape
from sparring.report.wording import percent

# Role → colour in the light style; every colour is used for one role only, so that it can be told in the SVG.
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


def bar_panel(name: str, title: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> Html:
    """Return a panel of horizontal bars, in titled groups (one group with an empty title: no grouping)."""
    rows = sum(len(bars) for _, bars in groups) + 0.9 * sum(bool(group) for group, _ in groups)
    described = "; ".join(
        f"{group} {bar.label} {percent(bar.value)}".strip() for group, bars in groups for bar in bars
    )
    return panel(name, title, described, 66 + 25 * rows, lambda axes: draw_bars(axes, groups))


def curve_panel(
    name: str, title: str, curves: Sequence[Curve], *, x_label: str, shares: bool = True, window: int = 1
) -> Html:
    """Return a panel of curves; `shares` fixes the vertical axis to 0–100 %."""
    described = f"Curves of {', '.join(curve.label for curve in curves)}; the numbers are in the table below."
    return panel(
        name,
        title,
        described,
        270,
        lambda axes: draw_curves(axes, curves, x_label=x_label, shares=shares, window=window),
    )


def panel(name: str, title: str, described: str, height: float, draw: Callable[[Any], None]) -> Html:
    """Return a titled panel: `draw` paints on the axes of a figure `height` units high."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(PANEL_WIDTH / INCH, height / INCH), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        set_title(axes, title)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        draw(axes)
        return inline_svg(figure, name, title, described)


def draw_bars(axes: Any, groups: Sequence[tuple[str, Sequence[Bar]]]) -> None:
    """Draw horizontal bars from top to bottom, whiskers for the intervals, the value at the right edge."""
    positions: list[float] = []
    labels: list[str] = []
    height = 0.0
    for group, bars in groups:
        if group:
            axes.text(0.0, height, group, va="center", ha="left", color=PALETTE["ink"], style="italic")
            height += 0.9
        for bar in bars:
            draw_bar(axes, bar, height)
            positions.append(height)
            labels.append(bar.label)
            height += 1
    axes.set_yticks(positions, labels)
    axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.xaxis.grid(True, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_color(PALETTE["baseline"])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def draw_bar(axes: Any, bar: Bar, height: float) -> None:
    """Draw one bar with its interval and its number."""
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


def draw_curves(
    axes: Any, curves: Sequence[Curve], *, x_label: str, shares: bool = True, window: int = 1
) -> None:
    """Draw every curve: the raw points pale, their moving mean over `window` points as a line."""
    for curve in curves:
        known = [(x, y) for x, y in curve.points if y is not None]
        if not known:
            continue
        horizontal = [x for x, _ in known]
        raw = [y for _, y in known]
        color = PALETTE[curve.role]
        if window > 1:
            some = slice(None, None, -(-len(known) // MOST_POINTS))
            axes.plot(
                horizontal[some], raw[some], ".", color=color, alpha=0.4, markersize=4, markeredgewidth=0
            )
        line = smoothed(raw, window)
        some = slice(None, None, -(-len(known) // MOST_POINTS))
        axes.plot(horizontal[some], line[some], curve.dashes, color=color, linewidth=2.0, label=curve.label)
    if shares:
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel(x_label, color=PALETTE["muted"])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.grid(True, linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    if axes.lines:
        legend_above(axes, len(curves))


def legend_above(axes: Any, count: int) -> None:
    """Set the legend between title and axes, where it never covers a curve."""
    columns = 2 if count > 1 else 1
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=11,
        borderaxespad=0.1,
        borderpad=0.2,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.2,
    )
    set_title(axes, axes.get_title(loc="left"), legend_rows=-(-count // columns))


def set_title(axes: Any, title: str, legend_rows: int = 0) -> None:
    """Set the title, high enough for a legend of so many rows under it."""
    pad = 6 + 17 * legend_rows
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=PALETTE["ink"], pad=pad)


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Return the centred moving mean over `window` values; at both ends over those that there are."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    means = []
    for index in range(len(values)):
        first, end = max(index - window // 2, 0), min(index + window // 2 + 1, len(values))
        means.append((sums[end] - sums[first]) / (end - first))
    return means


def inline_svg(figure: Figure, name: str, title: str, described: str) -> Html:
    """Return the figure as an SVG element for a page: no prolog, no addresses, own ids, themed colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    written = buffer.getvalue()
    opening = re.search(r"<svg[^>]*?viewBox=\"([^\"]+)\"[^>]*>", written, flags=re.DOTALL)
    if opening is None:
        raise RuntimeError("matplotlib wrote an SVG without a view box")
    inside = written[opening.end() : written.rindex("</svg>")]
    inside = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r"\bid=\"([^\"]+)\"", rf'id="{name}-\1"', inside)
    inside = re.sub(r"(?:xlink:)?href=\"#", f'href="#{name}-', inside)
    inside = re.sub(r"url\(#", f"url(#{name}-", inside)
    inside = re.sub(r"font: ([^;\"]*?)([\d.]+px)[^;\"]*", r"font: \1\2 var(--font)", inside)
    inside = re.sub(r'(?<= d=")[^"]+|(?<= [xy]=")[^"]+', lambda found: rounded(found.group()), inside)
    inside = re.sub(r'(?:<use [^>]*?style="[^"]*"/>\s*){2,}', lambda found: grouped(found.group()), inside)
    for role, color in PALETTE.items():
        inside = inside.replace(color, f"var(--{role})")
    head = (
        f'<svg viewBox="{opening.group(1)}" role="img" aria-labelledby="{name}-title {name}-described">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-described">{escape(described)}</desc>'
    )
    inside = re.sub(r"\n\s*", "\n", inside).strip()
    return Html(f"{head}{inside}</svg>")


def rounded(numbers: str) -> str:
    """Return path data or a coordinate with one decimal: a tenth of a unit is finer than a screen shows."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number.group()):.1f}", numbers)


def grouped(marks: str) -> str:
    """Return a run of marks in one group that carries their style, where they share one."""
    styles = set(re.findall(r' style="[^"]*"', marks))
    if len(styles) > 1:
        return marks
    style = styles.pop()
    return f"<g{style}>{marks.replace(style, '')}</g>"
