"""SVG of a figure: the same bytes for the same figure, at any time and in any process; and the reliability diagram.

Contract: matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparring.statistics import ReliabilityBin


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG text, without the random ids and the date that matplotlib puts in by itself."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sparring", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def reliability_plot(tables: Mapping[str, Sequence[ReliabilityBin]], title: str = "Reliability") -> str:
    """Return an SVG: mean score against share of right steps per bin, dots as large as the bin is full."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for name, bins in tables.items():
        filled = [row for row in bins if row.count]
        total = sum(row.count for row in filled)
        scores = [row.mean_score or 0.0 for row in filled]
        shares = [row.share_correct or 0.0 for row in filled]
        [line] = axes.plot(scores, shares, linewidth=1)
        sizes = [10 + 160 * (row.count / total) ** 0.5 for row in filled]
        axes.scatter(scores, shares, s=sizes, alpha=0.5, color=line.get_color(), label=name)
    axes.set(xlabel="mean score", ylabel="share of right steps", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.legend(fontsize=8)
    return svg_of(figure)
